//! Whether the server still has data that it had acknowledged: after a lost session the data is read back and compared.

use super::Result;
use super::breaks::Holding;
use super::error::Cause;
use super::file::{Open, SmbFile};
use super::identity::Identity;
use super::records::Record;
use super::reopen::Answer;
use super::smb::{Failure, Repeat, SmbShare, send};
use super::task::Task;
use super::types::{Disposition, LeaseKey, OpenHow, RemotePath};
use crate::wire::NtStatus;
use crate::wire::connect::Tree;
use crate::wire::error::WireError;
use crate::wire::messages::io;
use bytes::{Bytes, BytesMut};
use std::ops::Range;
use std::sync::Arc;
use tokio::time::Instant;

/// The number of times that a range is read and found different before its data counts as lost.
const LOOKS: usize = 3;

impl SmbShare {
    /// Compares the data that was acknowledged and not flushed in a lost session with what the server has now. Called
    /// after a FLUSH of this mark.
    ///
    /// # Errors
    /// [`Cause::Lost`] if the server does not have all of it, does not let it be read, or had copied a part of it, of
    /// which there is no checksum; those of opening the file again ([`SmbShare::live`]).
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
        tracing::error!(path = %file.path, "data that the server had acknowledged before the connection was lost is \
            missing or cannot be compared: fsync(2) answers EIO; check the content of the file");
        Err(task.fail(Cause::Lost))
    }

    async fn all_agree(&self, file: &SmbFile, task: Task<'_>, ranges: Vec<Range<u64>>) -> Result<bool> {
        if ranges.is_empty() {
            return Ok(true);
        }
        let mut attempts = self.attempts();
        loop {
            let _use = file.uses.begin().await;
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
        let mut reader = None;
        for path in file.place.paths() {
            reader = self.reader(tree, &path, (&file.record, file.key()), deadline).await?;
            if reader.is_some() {
                break;
            }
        }
        // Data that the server does not let be read counts as lost.
        let Some(reader) = reader else { return Ok(false) };
        for range in ranges {
            if !self.range_agrees(file, &reader, range.clone()).await? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Whether the server has what was written to a range. A WRITE that is acknowledged between reading and comparing
    /// causes a difference, which the next look does not find.
    async fn range_agrees(
        &self,
        file: &SmbFile,
        reader: &Reader,
        range: Range<u64>,
    ) -> std::result::Result<bool, Failure> {
        for _ in 0..LOOKS {
            let deadline = Instant::now() + self.request_timeout;
            let Some(data) = reader.read(range.clone(), self.limits.read, deadline).await? else { return Ok(false) };
            // If the file was truncated here meanwhile, nothing is left to compare.
            if file.record.lock().unflushed.agrees(range.clone(), &data) != Some(false) {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

impl SmbShare {
    /// Opens a file for reading its data. `None` if the server refuses, or has another file at this path.
    pub(super) async fn reader(
        &self,
        tree: &Arc<Tree>,
        path: &RemotePath,
        (record, key): (&Record, Option<LeaseKey>),
        deadline: Instant,
    ) -> std::result::Result<Option<Reader>, Failure> {
        let how = OpenHow { read: true, write: false, disposition: Disposition::Open, readonly: false, lease: None };
        let opened = self.open_by_key(tree, path, (how, key), &[], deadline).await?;
        let Answer::Created(created) = opened.answer else { return Ok(None) };
        let reader = Reader { open: Open::new(Arc::clone(tree), created.file), _holding: opened.holding };
        Ok(record.identity.is_same(Identity::of(&created), record.birth(tree)).then_some(reader))
    }
}

/// An open for reading a file's data. The program's own open may be for writing only.
pub(super) struct Reader {
    open: Open,
    _holding: Option<Holding>,
}

impl Reader {
    /// Reads a range up to the end of the file, in READs of at most `most` bytes. `None` if the server refuses one of
    /// them.
    pub(super) async fn read(
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
