//! Watching directories with CHANGE_NOTIFY (MS-SMB2 3.3.5.19).
//!
//! A directory is opened, listed and watched in one compound, whose last request stays unanswered until
//! something changes. From the first one on the server counts what changes in the directory, also while no
//! request waits for it, until the directory is closed. What changed between the listing and the first
//! CHANGE_NOTIFY is missed; the times of the directory tell whether there was anything.
//!
//! Invariant: a directory stays open at the server as long as a watch or a listing of it lives, and no longer.

use super::Result;
use super::error::Cause;
use super::file::Open;
use super::listing::{SmbListing, Whole};
use super::smb::SmbShare;
use super::task::Task;
use super::types::{ChangeKind, DirChange, RemotePath};
use crate::wire::NtStatus;
use crate::wire::connection::{Pending, Probe};
use crate::wire::error::WireError;
use crate::wire::frame::Reply;
use crate::wire::messages::create::{self, FileInfo};
use crate::wire::messages::{info, notify};
use futures_util::FutureExt;
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use tokio::sync::Notify;

/// Room for changes in one answer, in bytes: some 600 of them. It costs one credit.
pub(super) const BUFFER: u32 = 32 * 1024;
/// Times of files are as exact as this on servers that keep fractions of seconds, in 100 ns: a tick of the
/// clock, and some more.
const TICK: u64 = 1_000_000;
/// The same on servers that keep whole seconds, or even ones.
const COARSE: u64 = 20_000_000;
const SECOND: u64 = 10_000_000;

/// An open directory; closed when dropped.
#[derive(Debug)]
pub(super) struct Directory(Option<Open>);

impl Directory {
    pub(super) fn new(open: Open) -> Arc<Directory> {
        Arc::new(Directory(Some(open)))
    }

    /// It is open until it is dropped.
    pub(super) fn open(&self) -> Option<&Open> {
        self.0.as_ref()
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        if let Some(open) = self.0.take() {
            open.post_close();
        }
    }
}

/// A directory that is watched.
#[derive(Debug)]
pub struct SmbWatch {
    path: RemotePath,
    /// `None` once it is not watched any more.
    directory: Mutex<Option<Arc<Directory>>>,
    ended: Notify,
    /// The CHANGE_NOTIFY that is at the server; who waits for its answer holds this.
    pending: tokio::sync::Mutex<Option<Pending>>,
    /// The same one, for those who only want to know whether it is there.
    probe: Mutex<Option<Probe>>,
    /// The directory's times when it was opened, and the server's clock after that.
    listed: (FileInfo, Option<u64>),
}

impl SmbWatch {
    fn directory(&self) -> Option<Arc<Directory>> {
        self.directory.lock().clone()
    }

    /// Whether the server is going to tell of the next change, and has told of all before.
    pub(super) fn is_armed(&self) -> bool {
        self.probe.lock().as_ref().is_some_and(Probe::is_kept)
    }

    /// Waits for changes; sends another CHANGE_NOTIFY if none is at the server.
    pub(super) async fn changes(&self, share: &SmbShare) -> Result<Option<Vec<DirChange>>> {
        let task = Task { operation: "CHANGE_NOTIFY", path: &self.path };
        let gone = || task.fail(Cause::Stale);
        let ended = self.ended.notified();
        let mut pending = self.pending.lock().await;
        let told = async {
            if pending.is_none() {
                let directory = self.directory().ok_or_else(gone)?;
                let open = directory.open().ok_or_else(gone)?;
                let chain = super::task::compound(&open.tree, vec![notify::change_notify(open.file, BUFFER)]);
                let sent = open.tree.channels.send_open_ended(&chain, share.request_timeout).await;
                let (_, request) = sent.map_err(|error| task.wire(error))?;
                *self.probe.lock() = Some(request.probe());
                *pending = Some(request);
            }
            let Some(request) = pending.as_mut() else { return Err(gone()) };
            let reply = request.reply().await;
            *pending = None;
            changes_in(task, reply)
        };
        if self.directory().is_none() {
            return Err(gone());
        }
        tokio::select! {
            told = told => told,
            () = ended => Err(gone()),
        }
    }

    /// Closes the directory, with others, unless a listing goes on in it.
    pub(super) fn end(&self, share: &SmbShare) {
        let directory = self.directory.lock().take();
        self.probe.lock().take();
        self.ended.notify_waiters();
        let Some(mut directory) = directory.and_then(Arc::into_inner) else { return };
        if let Some(open) = directory.0.take().filter(|open| open.tree.channels.ended().is_none()) {
            drop(share.closes.gather(Arc::clone(&open.tree), create::close(open.file)));
        }
    }

    /// Whether the directory's times are those from before it was listed, and old enough to have told of a change
    /// after that.
    pub(super) async fn vouches(&self, share: &SmbShare) -> Result<bool> {
        let task = Task { operation: "QUERY_INFO", path: &self.path };
        let gone = || task.fail(Cause::Stale);
        let reply = {
            let directory = self.directory().ok_or_else(gone)?;
            let open = directory.open().ok_or_else(gone)?;
            share.questions.gather(Arc::clone(&open.tree), info::query_file(open.file))
        };
        let reply = reply.await.map_err(|_| task.fail(Cause::Disconnected("no answer came".into())))?;
        let now = task.parsed(info::parse_file(task.reply(&[reply], 0)?))?;
        let (before, clock) = self.listed;
        Ok((now.modified, now.changed) == (before.modified, before.changed)
            && clock.is_some_and(|clock| is_settled(before.modified.max(before.changed), clock)))
    }
}

/// Whether a change that came at this time of the server's clock would have another time than the one before.
fn is_settled(last: u64, clock: u64) -> bool {
    let exactness = if last.is_multiple_of(SECOND) { COARSE } else { TICK };
    last.saturating_add(exactness) < clock
}

fn changes_in(task: Task<'_>, reply: std::result::Result<Reply, WireError>) -> Result<Option<Vec<DirChange>>> {
    let reply = reply.map_err(|error| task.wire(error))?;
    if reply.status() == NtStatus::NOTIFY_ENUM_DIR {
        return Ok(None);
    }
    let told = task.parsed(notify::parse_changes(task.reply(&[reply], 0)?))?;
    // No change at all means that there was no room for them.
    Ok(Some(told).filter(|told| !told.is_empty()).map(|told| {
        told.into_iter()
            .map(|(action, name)| {
                let kind = match action {
                    notify::action::ADDED | notify::action::RENAMED_NEW_NAME => ChangeKind::Added,
                    notify::action::REMOVED | notify::action::RENAMED_OLD_NAME => ChangeKind::Removed,
                    _ => ChangeKind::Modified,
                };
                DirChange { name, kind }
            })
            .collect()
    }))
}

impl SmbShare {
    /// Lists a directory and has it watched, in one frame if it is small.
    pub(super) async fn list_and_watch(&self, path: &RemotePath) -> Result<(SmbListing, Option<SmbWatch>)> {
        if !self.can_watch.load(Ordering::Relaxed) {
            return Ok((SmbListing::begin(self, path).await?, None));
        }
        let task = Task { operation: "QUERY_DIRECTORY", path };
        let requests = |tree: &_| {
            let mut requests = Whole::requests(tree, path);
            requests.push(notify::change_notify(crate::wire::frame::RELATED_FILE, BUFFER));
            requests
        };
        let (tree, replies, mut pending) = self.run_open_ended(task, requests).await?;
        let created = task.created(&replies)?;
        let directory = Directory::new(Open::new(Arc::clone(&tree), created.file));
        let listing = SmbListing::from_whole(task, &replies, Arc::clone(&directory))?;
        // What cannot be watched is refused with the other answers.
        if let Some(answer) = pending.reply().now_or_never() {
            if let Some(status) = answer.ok().map(|reply| reply.status()).filter(|status| is_refusal(*status)) {
                tracing::info!(%path, %status, "the server watches no directories");
                self.can_watch.store(false, Ordering::Relaxed);
            }
            return Ok((listing, None));
        }
        let watch = SmbWatch {
            path: path.clone(),
            directory: Mutex::new(Some(directory)),
            ended: Notify::new(),
            probe: Mutex::new(Some(pending.probe())),
            pending: tokio::sync::Mutex::new(Some(pending)),
            listed: (created.info, tree.terms.clock.now()),
        };
        Ok((listing, Some(watch)))
    }
}

fn is_refusal(status: NtStatus) -> bool {
    matches!(
        status,
        NtStatus::NOT_SUPPORTED
            | NtStatus::NOT_IMPLEMENTED
            | NtStatus::INVALID_DEVICE_REQUEST
            | NtStatus::INVALID_PARAMETER
            | NtStatus::INTERNAL_ERROR
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_tell_of_a_change_once_they_are_old_enough() {
        let last = 7 * SECOND + 5;
        assert!(!is_settled(last, last));
        assert!(!is_settled(last, last + TICK));
        assert!(is_settled(last, last + TICK + 1));
        // Somebody who keeps whole seconds may keep even ones.
        assert!(!is_settled(7 * SECOND, 9 * SECOND));
        assert!(is_settled(7 * SECOND, 9 * SECOND + 1));
        assert!(!is_settled(u64::MAX, u64::MAX));
    }
}
