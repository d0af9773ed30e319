//! Copies on the server: only the requests go over the wire, not the data.
//!
//! Where the server's volume lets files share blocks, blocks are shared, which takes no time whatever the length
//! ([`Extents`]). Otherwise, and for parts that are no whole blocks, the server copies chunks ([`Slices`]). Each call
//! copies one slice in one request.
//!
//! Invariant: a request that names two opens is sent only on the one session that both belong to. A key of another
//! session could mean any file.
//!
//! [`Slices`]: super::slices::Slices

use super::Files;
use super::Result;
use super::error::Cause;
use super::extents::Extents;
use super::file::{Open, SmbFile};
use super::record::OwnChange;
use super::refusal::is_unknown_request;
use super::slices::Slice;
use super::smb::{Failure, Repeat, SmbShare, send};
use super::task::Task;
use super::uses::begin_both;
use crate::wire::NtStatus;
use crate::wire::codec::Malformed;
use crate::wire::error::WireError;
use crate::wire::frame::Reply;
use crate::wire::messages::ioctl::{self, CopyRange, ResumeKey};
use crate::wire::messages::{info, io};
use bytes::Bytes;
use std::sync::Arc;
use tokio::time::Instant;

/// Attempts per slice: the first ones may only show the server's limits, or that the source has become shorter.
const ATTEMPTS: usize = 4;

/// How the server copies.
#[derive(Clone, Copy, Debug)]
enum Way {
    /// In chunks of this many bytes.
    Chunks(u32),
    /// By sharing blocks.
    Extents,
}

/// The result of one slice.
enum Outcome {
    Copied(u32),
    /// The server's limits are smaller: try a smaller slice.
    Limited,
    /// The source ends before the end of the slice.
    SourceEnded(NtStatus),
}

impl SmbShare {
    /// Copies the beginning of `range`. Returns how many bytes were copied.
    ///
    /// # Errors
    /// Those of [`Files::copy`].
    pub(super) async fn copy_slice(&self, from: &SmbFile, to: &SmbFile, mut range: CopyRange) -> Result<u32> {
        let task = Task { operation: "COPYCHUNK", path: &to.path };
        if let Some(blocks) = self.extents_of(to).await?.whole(range)
            && self.share_extents(from, to, blocks).await?
        {
            return Ok(blocks.length);
        }
        for _ in 0..ATTEMPTS {
            if range.length == 0 {
                return Ok(0);
            }
            let slice = self.slices.lock().next(range.length);
            let slice = slice.map_err(|status| task.fail(Cause::Unsupported(status)))?;
            match self.copy_chunks(task, from, to, range, slice).await? {
                Outcome::Copied(length) => return Ok(length),
                Outcome::Limited => {}
                Outcome::SourceEnded(status) => {
                    let left = self.metadata(from).await?.size.saturating_sub(range.from);
                    if left >= u64::from(range.length) {
                        return Err(task.status(status));
                    }
                    range.length = left as u32;
                }
            }
        }
        Err(task.fail(Cause::Malformed("every answer to a copy request names other limits".into())))
    }

    async fn copy_chunks(
        &self,
        task: Task<'_>,
        from: &SmbFile,
        to: &SmbFile,
        range: CopyRange,
        slice: Slice,
    ) -> Result<Outcome> {
        let range = CopyRange { length: slice.length, ..range };
        let started = Instant::now();
        let reply = self.ask_with_both(task, from, to, range, Way::Chunks(slice.chunk)).await.inspect_err(|error| {
            if error.cause == Cause::TimedOut {
                self.slices.lock().timed_out(slice.length);
            }
        })?;
        let chunks = task.parsed(ioctl::parse_chunks(&reply))?;
        let status = reply.status();
        if status == NtStatus::INVALID_PARAMETER
            && let Some(limits) = chunks
            && self.slices.lock().limited(limits, slice)
        {
            return Ok(Outcome::Limited);
        }
        let copied = match chunks {
            Some(chunks) if status != NtStatus::INVALID_PARAMETER => {
                task.parsed(ioctl::copied(range, slice.chunk, chunks))?
            }
            _ => 0,
        };
        match status {
            NtStatus::SUCCESS if copied == 0 => task.parsed(Err(Malformed("a copy that succeeded and copied nothing"))),
            // If the copy failed in the middle, the next slice reports it.
            _ if copied > 0 => {
                self.slices.lock().copied(copied, started.elapsed());
                Ok(Outcome::Copied(copied))
            }
            NtStatus::INVALID_VIEW_SIZE => Ok(Outcome::SourceEnded(status)),
            _ => {
                if is_unknown_request(status) {
                    self.slices.lock().refused(status);
                }
                let cause = if is_refusal(status) { Cause::Unsupported(status) } else { Cause::Status(status) };
                Err(task.fail(cause))
            }
        }
    }

    /// Whether the server shared the blocks of an aligned range.
    async fn share_extents(&self, from: &SmbFile, to: &SmbFile, range: CopyRange) -> Result<bool> {
        let task = Task { operation: "DUPLICATE_EXTENTS", path: &to.path };
        // The target gets its new length before the source's blocks are in it. It must not if the source has no such
        // blocks, so the source's length is queried here and not assumed.
        if self.metadata(from).await?.size < range.from.saturating_add(u64::from(range.length)) {
            return Ok(false);
        }
        let reply = self.ask_with_both(task, from, to, range, Way::Extents).await.inspect_err(|error| {
            if error.cause == Cause::TimedOut {
                self.extents.lock().timed_out();
            }
        })?;
        let status = reply.status();
        let shared = status == NtStatus::SUCCESS;
        tracing::debug!(from = %from.path, to = %to.path, ?range, %status, "the server answered a request to share blocks");
        self.extents.lock().answered(shared);
        Ok(shared)
    }

    /// Whether the volume of a file shares blocks. The server is asked once.
    async fn extents_of(&self, file: &SmbFile) -> Result<Extents> {
        let known = *self.extents.lock();
        if known != Extents::Unknown {
            return Ok(known);
        }
        let requests = |open: &Open| vec![info::query_abilities(open.file), info::query_space(open.file)];
        let replies = self.run_on(file, "QUERY_INFO", requests).await?;
        let found = match &replies[..] {
            [abilities, space] if [abilities, space].iter().all(|reply| reply.status() == NtStatus::SUCCESS) => {
                let shares_blocks = info::parse_shares_blocks(abilities).unwrap_or(false);
                Extents::of(shares_blocks, info::parse_space(space).map_or(0, |(.., unit)| unit))
            }
            _ => Extents::NotShared,
        };
        *self.extents.lock() = found;
        Ok(found)
    }

    /// Sends a request that works on two files, both open in the same session. It is sent again if the session is
    /// lost, because the ranges do not overlap.
    async fn ask_with_both(
        &self,
        task: Task<'_>,
        from: &SmbFile,
        to: &SmbFile,
        range: CopyRange,
        way: Way,
    ) -> Result<Reply> {
        let mut attempts = self.attempts();
        let fail = |cause| task.fail(cause);
        let end = range.to.saturating_add(u64::from(range.length));
        let under_way = to.record.begin(OwnChange::Copy { end });
        loop {
            let _uses = begin_both(&from.uses, &to.uses).await;
            let source = self.live(from, Task { path: &from.path, ..task }, attempts.deadline).await?;
            let target = self.live(to, task, attempts.deadline).await?;
            if !Arc::ptr_eq(&source.tree, &target.tree) {
                // The session of one of them has ended meanwhile: that file is opened again.
                attempts.lost("it was lost while files were opened again").map_err(fail)?;
                continue;
            }
            attempts.change(target.tree.lineage).map_err(fail)?;
            match ask(&source, &target, range, way, attempts.deadline).await {
                Ok(reply) => {
                    if reply.status() == NtStatus::SUCCESS {
                        under_way.answered(&target.tree, None);
                    }
                    return Ok(reply);
                }
                Err(failure) => failure.allows(Repeat::Harmless, task, &target.tree, &mut attempts)?,
            }
        }
    }
}

/// The reply that decides: the last one, or the refusal of the key.
async fn ask(
    source: &Open,
    target: &Open,
    range: CopyRange,
    way: Way,
    deadline: Instant,
) -> std::result::Result<Reply, Failure> {
    let requests = match way {
        Way::Chunks(chunk) => match resume_key(source, deadline).await? {
            Ok(key) => vec![ioctl::copy_chunks(target.file, &key, range, chunk)],
            Err(refusal) => return Ok(refusal),
        },
        Way::Extents => {
            // Blocks are shared only within the target's size. A byte in the range makes the target long enough and
            // can never make it shorter; setting the size could, while another client writes.
            let last = range.to.saturating_add(u64::from(range.length)).saturating_sub(1);
            let lengthen = io::write(target.file, last, Bytes::from_static(&[0]));
            vec![lengthen, ioctl::duplicate_extents(target.file, source.file, range)]
        }
    };
    last(send(&target.tree, requests, deadline).await?)
}

/// The key of an open, or the reply that refuses it.
async fn resume_key(
    source: &Open,
    deadline: Instant,
) -> std::result::Result<std::result::Result<ResumeKey, Reply>, Failure> {
    if let Some(key) = source.resume_key.get() {
        return Ok(Ok(*key));
    }
    let reply = last(send(&source.tree, vec![ioctl::request_resume_key(source.file)], deadline).await?)?;
    if reply.status() != NtStatus::SUCCESS {
        return Ok(Err(reply));
    }
    let key = ioctl::parse_resume_key(&reply).map_err(|malformed| Failure::Wire(WireError::Malformed(malformed)))?;
    Ok(Ok(*source.resume_key.get_or_init(|| key)))
}

fn last(mut replies: Vec<Reply>) -> std::result::Result<Reply, Failure> {
    replies.pop().ok_or(Failure::Wire(WireError::Malformed(Malformed("a reply is missing"))))
}

/// Whether the refusal concerns the copy request, so that reading and writing the data may still work. If reading or
/// writing is not allowed either, the READ or WRITE fails with the reason.
fn is_refusal(status: NtStatus) -> bool {
    is_unknown_request(status) || matches!(status, NtStatus::ACCESS_DENIED | NtStatus::OBJECT_NAME_NOT_FOUND)
}
