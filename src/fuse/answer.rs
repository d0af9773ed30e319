//! How a request is answered: with the result of its operation, or with EINTR as soon as its program was killed.
//!
//! An operation is never dropped half-way: the server would keep an open file, a temporary name or a change that this
//! mount knows nothing of. It continues without its request, up to its own deadline, and keeps its claim until it ends
//! ([`super::claims`]). Then what this mount counts for the kernel (a lookup, an open handle, attributes shown) is
//! undone, since the kernel did not get it. Changes at the server stay.
//!
//! FLUSH, FSYNC and RELEASE are not answered this way: the close of an exiting program waits for its writes and reports
//! their errors.

use super::abandoned::Watch;
use super::call::Call;
use super::claims::{Claim, Claims};
use super::convert::{file_attr, open_flags};
use crate::share::{Share, Space};
use crate::vfs::operations::{self, Listed, Opened};
use crate::vfs::{Attr, Result, Vfs, VfsError};
use bytes::Bytes;
use fuser::{
    Errno, FileHandle, Generation, ReplyAttr, ReplyCreate, ReplyData, ReplyDirectory, ReplyDirectoryPlus, ReplyEmpty,
    ReplyEntry, ReplyOpen, ReplyStatfs, ReplyWrite, ReplyXattr,
};
use parking_lot::Mutex;
use std::pin::pin;
use std::sync::Arc;

/// The longest file name, in bytes: the limit of Linux. Names of 255 UTF-16 units can be longer in UTF-8, but no
/// program could use them.
const NAME_MAX: u32 = 255;

/// A reply to the kernel that carries a value of type `T`.
pub(super) trait Respond<S: Share, T>: Sized + Send + 'static {
    fn send(self, value: T);

    fn fail(self, errno: Errno);

    /// How many bytes of file data the reply is about.
    fn payload(_value: &T) -> u64 {
        0
    }

    /// Undoes the result of an operation whose program was killed before it was answered.
    fn undo(_vfs: &Arc<Vfs<S>>, _value: T) -> impl Future<Output = ()> + Send {
        std::future::ready(())
    }
}

/// Replies with the result of an operation. An error is logged.
pub(super) fn respond<S: Share, T, R: Respond<S, T>>(call: &Call, reply: R, result: Result<T>) {
    match result {
        Ok(value) => {
            call.transfers(R::payload(&value));
            reply.send(value);
            call.replied();
        }
        Err(error) => refuse(call, reply, &error),
    }
}

/// Replies with the errno of an error, which is logged.
pub(super) fn refuse<S: Share, T>(call: &Call, reply: impl Respond<S, T>, error: &VfsError) {
    let errno = call.report(error);
    reply.fail(errno);
    call.refused(errno);
}

/// A request that may have to wait, with what its answer needs.
pub(super) struct Asked<S: Share> {
    pub call: Call,
    pub claim: Claim,
    pub vfs: Arc<Vfs<S>>,
    pub watch: Arc<Watch>,
    pub claims: Arc<Claims>,
}

impl<S: Share> Asked<S> {
    /// Does the work, once no older operation conflicts with it, and replies.
    pub(super) async fn answer<T, R: Respond<S, T>>(self, work: impl Future<Output = Result<T>> + Send, reply: R) {
        let Asked { call, claim, vfs, watch, claims } = self;
        let killed = VfsError::interrupted();
        if !claims.admit(&claim) && watch.unless_killed(call.span.thread, pin!(claims.wait(&claim))).await.is_none() {
            return refuse(&call, reply, &killed);
        }
        let mut work = pin!(work);
        if let Some(result) = watch.unless_killed(call.span.thread, work.as_mut()).await {
            return respond(&call, reply, result);
        }
        let kept = claims.keep(claim);
        refuse(&call, reply, &killed);
        let result = work.await;
        drop(kept);
        match result {
            Ok(value) => R::undo(&vfs, value).await,
            Err(error) => drop(call.report(&error)),
        }
    }
}

impl<S: Share> Respond<S, ()> for ReplyEmpty {
    fn send(self, (): ()) {
        self.ok();
    }

    fn fail(self, errno: Errno) {
        self.error(errno);
    }
}

impl<S: Share> Respond<S, Attr> for ReplyEntry {
    fn send(self, attr: Attr) {
        self.entry_with_ttls(&attr.ttl, &attr.name_ttl, &file_attr(&attr), Generation(attr.generation));
    }

    fn fail(self, errno: Errno) {
        self.error(errno);
    }

    async fn undo(vfs: &Arc<Vfs<S>>, attr: Attr) {
        operations::entry_unanswered(vfs, attr.ino);
    }
}

impl<S: Share> Respond<S, Attr> for ReplyAttr {
    fn send(self, attr: Attr) {
        self.attr(&attr.ttl, &file_attr(&attr));
    }

    fn fail(self, errno: Errno) {
        self.error(errno);
    }

    async fn undo(vfs: &Arc<Vfs<S>>, attr: Attr) {
        operations::attributes_unanswered(vfs, attr.ino);
    }
}

impl<S: Share> Respond<S, Opened> for ReplyOpen {
    fn send(self, opened: Opened) {
        self.opened(FileHandle(opened.handle), open_flags(&opened));
    }

    fn fail(self, errno: Errno) {
        self.error(errno);
    }

    async fn undo(vfs: &Arc<Vfs<S>>, opened: Opened) {
        operations::open_unanswered(vfs, opened).await;
    }
}

impl<S: Share> Respond<S, (Attr, Opened)> for ReplyCreate {
    fn send(self, (attr, opened): (Attr, Opened)) {
        let (generation, handle) = (Generation(attr.generation), FileHandle(opened.handle));
        self.created(&attr.joint_ttl(), &file_attr(&attr), generation, handle, open_flags(&opened));
    }

    fn fail(self, errno: Errno) {
        self.error(errno);
    }

    async fn undo(vfs: &Arc<Vfs<S>>, (attr, opened): (Attr, Opened)) {
        operations::open_unanswered(vfs, opened).await;
        operations::entry_unanswered(vfs, attr.ino);
    }
}

impl<S: Share> Respond<S, Bytes> for ReplyData {
    fn send(self, data: Bytes) {
        self.data(&data);
    }

    fn payload(data: &Bytes) -> u64 {
        data.len() as u64
    }

    fn fail(self, errno: Errno) {
        self.error(errno);
    }
}

impl<S: Share> Respond<S, u32> for ReplyWrite {
    fn send(self, written: u32) {
        self.written(written);
    }

    fn payload(written: &u32) -> u64 {
        u64::from(*written)
    }

    fn fail(self, errno: Errno) {
        self.error(errno);
    }
}

impl<S: Share> Respond<S, Space> for ReplyStatfs {
    fn send(self, space: Space) {
        let unit = space.unit.max(512);
        let units = |bytes: u64| bytes / u64::from(unit);
        let (total, free, available) = (units(space.total), units(space.free), units(space.available));
        // SMB does not count files.
        self.statfs(total, free, available, 0, 0, unit, NAME_MAX, unit);
    }

    fn fail(self, errno: Errno) {
        self.error(errno);
    }
}

/// The reply with the value or the list of extended attributes, for a program that has room for `size` bytes; with 0 it
/// asks for the length only (getxattr(2), listxattr(2)).
pub(super) struct ReplyValue {
    pub reply: ReplyXattr,
    pub size: u32,
}

impl<S: Share> Respond<S, Vec<u8>> for ReplyValue {
    fn send(self, value: Vec<u8>) {
        let ReplyValue { reply, size } = self;
        let length = u32::try_from(value.len()).unwrap_or(u32::MAX);
        match size {
            0 => reply.size(length),
            size if size < length => reply.error(Errno::ERANGE),
            _ => reply.data(&value),
        }
    }

    fn fail(self, errno: Errno) {
        self.reply.error(errno);
    }
}

/// The reply to a listing, which is filled entry by entry.
pub(super) trait ListingReply: Send + 'static {
    /// Adds an entry. Returns true if there was no room for it.
    fn add(&mut self, entry: &Listed<'_>) -> bool;
    fn ok(self);
    fn error(self, errno: Errno);
}

/// A listing being filled: the reply to its request, and whether it has an entry. Sending the reply, as a success or a
/// failure, ends both.
pub(super) struct Filled<R>(Arc<Mutex<Option<(R, bool)>>>);

impl<R: ListingReply> Filled<R> {
    /// Both halves. The second one adds entries, and returns true if there was no room.
    pub(super) fn new(reply: R) -> (Filled<R>, impl FnMut(Listed<'_>) -> bool + Send) {
        let shared = Arc::new(Mutex::new(Some((reply, false))));
        let filled = Arc::clone(&shared);
        let add = move |entry: Listed<'_>| match &mut *filled.lock() {
            Some((reply, any)) => {
                let is_full = reply.add(&entry);
                *any |= !is_full;
                is_full
            }
            // The program was killed: no further entry counts as looked up.
            None => true,
        };
        (Filled(shared), add)
    }
}

impl<S: Share, R: ListingReply> Respond<S, ()> for Filled<R> {
    fn send(self, (): ()) {
        if let Some((reply, _)) = self.0.lock().take() {
            reply.ok();
        }
    }

    /// Entries already in the reply count as looked up by the kernel, so the kernel must get them.
    fn fail(self, errno: Errno) {
        match self.0.lock().take() {
            Some((reply, true)) => reply.ok(),
            Some((reply, false)) => reply.error(errno),
            None => {}
        }
    }
}

impl ListingReply for ReplyDirectory {
    fn add(&mut self, entry: &Listed<'_>) -> bool {
        super::convert::add_name(self, entry)
    }

    fn ok(self) {
        self.ok();
    }

    fn error(self, errno: Errno) {
        self.error(errno);
    }
}

impl ListingReply for ReplyDirectoryPlus {
    fn add(&mut self, entry: &Listed<'_>) -> bool {
        super::convert::add_entry(self, entry)
    }

    fn ok(self) {
        self.ok();
    }

    fn error(self, errno: Errno) {
        self.error(errno);
    }
}
