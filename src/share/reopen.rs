//! Opens that outlive their connection: how a file is opened again, and whether it may be written then.
//!
//! A lost connection closes every open at the server. An open is made again by name, and goes on only if the name still
//! means the same file. Whether another client has changed that file meanwhile is for [`FileRecord`] to judge, once for all
//! opens of the file; here is what has to be asked for it.
//!
//! Invariant: nothing is written through an open before the file was judged in the session that the open is in.
//!
//! [`FileRecord`]: super::record::FileRecord

use super::Result;
use super::attempts::Attempts;
use super::error::Cause;
use super::file::{Identity, Open, SmbFile};
use super::record::{Judgement, Known};
use super::records::{Record, known};
use super::smb::{Failure, Repeat, SmbShare, open_request, send, why_ended};
use super::task::Task;
use super::types::{Disposition, OpenHow, RemotePath};
use super::unflushed::PAGE;
use crate::wire::NtStatus;
use crate::wire::connect::Tree;
use crate::wire::error::WireError;
use crate::wire::frame::RELATED_FILE;
use crate::wire::messages::create::{self, Create, access, disposition, options};
use crate::wire::messages::io;
use crate::wire::messages::lease::Wanted;
use bytes::{Bytes, BytesMut};
use std::ops::Range;
use std::sync::Arc;
use tokio::time::Instant;

/// How often a range is read that differs from what was written.
const LOOKS: usize = 3;

impl SmbShare {
    /// The file's open on a connection that works.
    pub(super) async fn live(&self, file: &SmbFile, task: Task<'_>, deadline: Instant) -> Result<Open> {
        let open = file.open();
        if open.tree.channels.ended().is_none() {
            return Ok(open);
        }
        let _turn = file.record.turn.acquire().await.map_err(|_| task.fail(Cause::Stale))?;
        let mut attempts = Attempts::until(deadline);
        loop {
            let open = file.open();
            if open.tree.channels.ended().is_none() {
                return Ok(open);
            }
            let tree = self.tree_by(task, deadline).await?;
            match self.reopen(file, task, Arc::clone(&tree), deadline).await? {
                Some(open) => file.replace(open),
                None => attempts.lost(&why_ended(&tree)).map_err(|cause| task.fail(cause))?,
            }
        }
    }

    /// Opens a file by its name once more; `None` if that connection was lost as well.
    async fn reopen(&self, file: &SmbFile, task: Task<'_>, tree: Arc<Tree>, deadline: Instant) -> Result<Option<Open>> {
        let looked = self.is_being_written(file, &tree, deadline).await;
        let Some(is_written) = unless_lost(task, looked)? else { return Ok(None) };
        let how = OpenHow { disposition: Disposition::Open, ..file.how };
        let opened = send(&tree, vec![open_request(&file.path, how, Wanted::Nothing)], deadline).await;
        let Some(replies) = unless_lost(task, opened)? else { return Ok(None) };
        let created = match task.created(&replies) {
            Err(error) if error.nt_status() == Some(NtStatus::OBJECT_NAME_NOT_FOUND) => {
                return Err(task.fail(Cause::Stale));
            }
            created => created?,
        };
        let open = Open::new(Arc::clone(&tree), created.file);
        let found = Identity { disk_id: created.disk_id, created: created.info.created };
        if !file.identity.is_same(found) {
            open.post_close();
            return Err(task.fail(Cause::Stale));
        }
        self.judge(&file.record, &tree, (known(&created.info), is_written), &file.path, deadline).await;
        tracing::info!(path = %file.path, "opened again after the connection was lost");
        Ok(Some(open))
    }

    /// Whether another client may be writing the file in the new session: an open that does not share writing is refused
    /// then. It has other clients that hold data back send it, too, and Samba would tell the time of that only when they close.
    /// No, if that was asked before for this file, or this open writes nothing.
    async fn is_being_written(
        &self,
        file: &SmbFile,
        tree: &Arc<Tree>,
        deadline: Instant,
    ) -> std::result::Result<bool, Failure> {
        if !file.how.write || !file.record.is_older_than(tree) {
            return Ok(false);
        }
        let look = Create {
            path: file.path.as_utf16(),
            access: access::READ_DATA | access::READ_ATTRIBUTES,
            attributes: 0,
            disposition: disposition::OPEN,
            options: options::NON_DIRECTORY,
        };
        let replies = send(tree, vec![look.request_unless_written(), create::close(RELATED_FILE)], deadline).await?;
        Ok(replies.first().is_some_and(|reply| reply.status() == NtStatus::SHARING_VIOLATION))
    }

    /// Judges a file that was just opened in a session, if its record is of an earlier one. `is_written` says that another
    /// client may be writing it. For the one who has the record's turn.
    pub(super) async fn judge(
        &self,
        record: &Record,
        tree: &Arc<Tree>,
        (found, is_written): (Known, bool),
        path: &RemotePath,
        deadline: Instant,
    ) {
        if !record.is_older_than(tree) {
            return;
        }
        let loss = record.loss(tree);
        let mut judgement = if is_written { Judgement::Conflict } else { record.lock().judge(found, &loss) };
        if judgement == Judgement::ReadBack {
            let mut read = Vec::new();
            let under_way = record.lock().under_way();
            if let Ok(Some(reader)) = Reader::open(tree, path, deadline).await {
                for (number, range) in under_way {
                    let range = range.start / PAGE * PAGE..range.end.next_multiple_of(PAGE).min(found.size);
                    if let Ok(Some(data)) = reader.read(range, self.limits.read, deadline).await {
                        read.push((number, data));
                    }
                }
            }
            if tree.channels.ended().is_some() {
                // Nothing was found out: the next session judges.
                return;
            }
            judgement = record.lock().weigh(found, &read, &loss);
        }
        if judgement == Judgement::Conflict {
            tracing::info!(%path, "another client changed the file while the connection was lost");
        }
        record.lock().adopt(found, judgement);
        record.move_to(tree);
    }

    /// Compares what was answered and not flushed, in a session that was lost, with what the server has now: to be called
    /// after a FLUSH of the mark.
    ///
    /// # Errors
    /// [`Cause::Lost`] if the server does not have all of it; what a READ answered.
    pub(super) async fn verify_flushed(&self, file: &SmbFile, task: Task<'_>, mark: u64) -> Result<()> {
        let (ranges, is_unknown) = {
            let mut record = file.record.lock();
            if !record.is_doubtful() {
                record.unflushed.flushed(mark);
                return Ok(());
            }
            let longest = u64::from(self.limits.read.max(1));
            (record.unflushed.ranges(longest), record.unflushed.has_copied() || record.is_short())
        };
        let is_there = !is_unknown && self.all_agree(file, task, ranges).await?;
        file.record.lock().resolve(mark);
        if is_there {
            return Ok(());
        }
        tracing::error!(path = %file.path, "the server has lost data that it had taken before the connection was lost: \
            fsync(2) answers EIO; what the file holds now has to be checked");
        Err(task.fail(Cause::Lost))
    }

    async fn all_agree(&self, file: &SmbFile, task: Task<'_>, ranges: Vec<Range<u64>>) -> Result<bool> {
        if ranges.is_empty() {
            return Ok(true);
        }
        let mut attempts = self.attempts();
        loop {
            let tree = self.live(file, task, attempts.deadline).await?.tree;
            match self.agree_in(file, &tree, &ranges, attempts.deadline).await {
                Ok(agree) => return Ok(agree),
                Err(failure) => failure.allows(Repeat::Harmless, task, &tree, &mut attempts)?,
            }
        }
    }

    async fn agree_in(
        &self,
        file: &SmbFile,
        tree: &Arc<Tree>,
        ranges: &[Range<u64>],
        deadline: Instant,
    ) -> std::result::Result<bool, Failure> {
        // What may not be read cannot be called safe.
        let Some(reader) = Reader::open(tree, &file.path, deadline).await? else { return Ok(false) };
        for range in ranges {
            if !self.range_agrees(file, &reader, range.clone()).await? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Whether the server has what was written to a range. A WRITE that is answered between reading and comparing makes a
    /// difference that the next look does not find.
    async fn range_agrees(
        &self,
        file: &SmbFile,
        reader: &Reader,
        range: Range<u64>,
    ) -> std::result::Result<bool, Failure> {
        for _ in 0..LOOKS {
            let deadline = Instant::now() + self.request_timeout;
            let Some(data) = reader.read(range.clone(), self.limits.read, deadline).await? else { return Ok(false) };
            // Nothing to compare is left where the file was cut here meanwhile.
            if file.record.lock().unflushed.agrees(range.clone(), &data) != Some(false) {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

/// What came of a request; `None` if its session was lost, too.
fn unless_lost<T>(task: Task<'_>, result: std::result::Result<T, Failure>) -> Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(Failure::SessionGone | Failure::Wire(WireError::Closed(_))) => Ok(None),
        Err(Failure::Wire(error)) => Err(task.wire(error)),
    }
}

/// An open for looking at a file's data: that of the program may be for writing only.
struct Reader {
    open: Open,
}

impl Reader {
    /// `None` if the server refuses.
    async fn open(
        tree: &Arc<Tree>,
        path: &RemotePath,
        deadline: Instant,
    ) -> std::result::Result<Option<Reader>, Failure> {
        let how = OpenHow { read: true, write: false, disposition: Disposition::Open, readonly: false, lease: None };
        let replies = send(tree, vec![open_request(path, how, Wanted::Nothing)], deadline).await?;
        let created = Task { operation: "CREATE", path }.created(&replies).ok();
        Ok(created.map(|created| Reader { open: Open::new(Arc::clone(tree), created.file) }))
    }

    /// A range, or as much of it as there is before the end of the file; in READs of at most `most` bytes. `None` if the
    /// server refuses one.
    async fn read(
        &self,
        range: Range<u64>,
        most: u32,
        deadline: Instant,
    ) -> std::result::Result<Option<Bytes>, Failure> {
        let mut data = BytesMut::new();
        let mut at = range.start;
        while at < range.end {
            let wanted = (range.end - at).min(u64::from(most.max(1))) as u32;
            let replies = send(&self.open.tree, vec![io::read(self.open.file, at, wanted)], deadline).await?;
            let piece = match replies.first() {
                Some(reply) if reply.status() == NtStatus::END_OF_FILE => break,
                Some(reply) if reply.status() == NtStatus::SUCCESS => io::parse_read(reply, wanted),
                _ => return Ok(None),
            };
            let piece = piece.map_err(|malformed| Failure::Wire(WireError::Malformed(malformed)))?;
            if piece.is_empty() {
                break;
            }
            at += piece.len() as u64;
            data.extend_from_slice(&piece);
        }
        Ok(Some(data.freeze()))
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.open.post_close();
    }
}
