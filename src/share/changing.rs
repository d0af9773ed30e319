//! Changes of an open file. Each is noted in the file's record from before it is sent until it is answered.
//!
//! Every change of an open file can be made twice: writes at given offsets, times and sizes. So a change whose
//! connection was lost is sent again when the file was opened again. One exception: a change that began while no other
//! client could have the file open is not sent after another client has changed the file ([`super::record`]).

use super::error::Cause;
use super::file::{Open, SmbFile};
use super::record::{OwnChange, Sent};
use super::smb::{Repeat, SmbShare, send};
use super::task::Task;
use super::unflushed::Checksums;
use super::{Result, records::UnderWay};
use crate::wire::NtStatus;
use crate::wire::frame::{Reply, Request};

/// A change to be made.
pub(super) struct Changing {
    pub(super) change: OwnChange,
    /// The write was held back: its program's write(2) has returned already, under a lease that excludes other opens.
    pub(super) held: bool,
    /// The mark of the FLUSH that follows in the same compound.
    pub(super) mark: Option<u64>,
}

impl Changing {
    /// A change that a program is waiting for.
    pub(super) fn now(change: OwnChange) -> Changing {
        Changing { change, held: false, mark: None }
    }
}

impl SmbShare {
    /// Sends requests that change an open file. The first reply says whether the change was made; the replies are not
    /// checked.
    ///
    /// # Errors
    /// [`Cause::Conflict`] if another client has changed the file and the change is from before; the status with
    /// which the server refuses writing since the file was opened again; those of opening it again
    /// ([`SmbShare::live`]); [`Cause::Uncertain`] and those of every operation.
    pub(super) async fn change_on(
        &self,
        file: &SmbFile,
        operation: &'static str,
        Changing { change, held, mark }: Changing,
        build: impl Fn(&Open) -> Vec<Request>,
    ) -> Result<Vec<Reply>> {
        let task = Task { operation, path: &file.path };
        let data = match &change {
            OwnChange::Write { offset, data } => Some(Sent { sums: Checksums::of(*offset, data), mark }),
            _ => None,
        };
        let tolerates = self.conflicts_tolerated(file, held);
        let under_way = file.record.begin(change);
        let mut attempts = self.attempts();
        loop {
            let _use = file.uses.begin().await;
            let open = self.live(file, task, attempts.deadline).await?;
            if !file.may_change(tolerates) {
                return Err(task.fail(Cause::Conflict));
            }
            if let Some(status) = open.refuses_writes {
                return Err(task.status(status));
            }
            attempts.change(open.tree.lineage).map_err(|cause| task.fail(cause))?;
            match send(&open.tree, build(&open), attempts.deadline).await {
                Ok(replies) => {
                    note(under_way, &open, &replies, data);
                    return Ok(replies);
                }
                Err(failure) => failure.allows(Repeat::Harmless, task, &open.tree, &mut attempts)?,
            }
        }
    }

    /// How many conflicts of the file a change tolerates. A change that begins under a lease with WRITE caching, while
    /// no other client can have the file open, must not overwrite what another client writes after the lease has
    /// ended. Without such a lease the file is shared openly, and each client's writes go through.
    fn conflicts_tolerated(&self, file: &SmbFile, held: bool) -> u64 {
        if held {
            return file.conflicts;
        }
        let still_true = file.how.lease.is_some_and(|lease| self.leases.caching(lease.key).writes());
        if still_true { file.record.lock().conflicts() } else { u64::MAX }
    }

    /// Flushes a file that has more unflushed data than checksums can be kept of.
    ///
    /// # Errors
    /// Those of [`Files::flush`](super::Files::flush).
    pub(super) async fn flush_if_full(&self, file: &SmbFile) -> Result<()> {
        let is_full = file.record.lock().unflushed.is_full();
        if is_full { super::Files::flush(self, file).await } else { Ok(()) }
    }
}

/// Notes the server's answer. A change that was refused may have been made in part.
fn note(under_way: UnderWay, open: &Open, replies: &[Reply], data: Option<Sent>) {
    if replies.first().is_some_and(|reply| reply.status() == NtStatus::SUCCESS) {
        under_way.answered(&open.tree, data);
    }
}
