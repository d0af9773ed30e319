//! An open file, which outlives the connection it was opened on.
//!
//! A lost connection closes every open at the server. An open is then made again by the path that the file has by then
//! ([`super::places`], [`super::reopen`]), but only continues if that names the same file ([`Identity::is_same`]). What was
//! written before the loss goes there only if no other client has changed it.

use super::breaks::Holding;
use super::record::INEXACT;
use super::records::{Place, Record};
use super::types::{FileTime, LeaseKey, OpenHow, RemotePath};
use crate::wire::NtStatus;
use crate::wire::connect::Tree;
use crate::wire::messages::FileId;
use crate::wire::messages::create::Created;
use crate::wire::messages::ioctl::ResumeKey;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

/// An open file.
#[derive(Debug)]
pub struct SmbFile {
    /// The path that it was opened by, for messages.
    pub(super) path: RemotePath,
    pub(super) how: OpenHow,
    pub(super) identity: Identity,
    /// The path that it has now.
    pub(super) place: Arc<Place>,
    /// What is known of the file, shared by all opens of it.
    pub(super) record: Arc<Record>,
    /// The conflicts of the file before this open.
    pub(super) conflicts: u64,
    /// A change through this open was refused because of a conflict: all later ones are.
    refuses: AtomicBool,
    open: Mutex<Open>,
    /// Its part in a lease, while it is open at the server.
    holding: Mutex<Option<Holding>>,
    closed: AtomicBool,
    /// Something was written, or cut off: the server may take the time of its CLOSE for that of the last write.
    written: AtomicBool,
}

/// What makes a file the same file.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) struct Identity {
    pub(super) disk_id: u64,
    pub(super) created: u64,
}

impl Identity {
    /// Of the file that a CREATE opened.
    pub(super) fn of(created: &Created) -> Identity {
        Identity { disk_id: created.disk_id, created: created.info.created }
    }

    /// Whether a file that is found by name in a later session is this one. Its id says so, unless its time of creation
    /// speaks against that: file systems give the id of a file that is gone to a new one. Where the server has no ids the
    /// time of creation has to be the same.
    pub(super) fn is_same(self, found: Identity, birth: Birth) -> bool {
        let is_born_alike = self.created == found.created;
        if self.disk_id == 0 && found.disk_id == 0 {
            return self.created != 0 && is_born_alike;
        }
        self.disk_id == found.disk_id && (is_born_alike || birth.may_move(found.created))
    }
}

/// What the time of creation tells about a file. Samba takes the earliest of the other times for it where it cannot keep it,
/// and then it may become later.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Birth {
    /// It was seen to be earlier than all other times of the file: the server keeps it.
    pub(super) is_kept: bool,
    /// When the last session was lost, by the server's clock, if that is known.
    pub(super) lost: Option<FileTime>,
}

impl Birth {
    /// Whether another time of creation may be that of the same file.
    fn may_move(self, found: u64) -> bool {
        !self.is_kept && self.lost.is_none_or(|lost| found <= lost.0.saturating_add(INEXACT))
    }
}

/// An open at the server, valid on one connection.
#[derive(Clone, Debug)]
pub(super) struct Open {
    pub(super) tree: Arc<Tree>,
    pub(super) file: FileId,
    /// It could be opened for reading only, though the program writes: why the server refuses that.
    pub(super) refuses_writes: Option<NtStatus>,
    /// By what it is the source of copies, once it was asked for.
    pub(super) resume_key: Arc<OnceLock<ResumeKey>>,
}

impl SmbFile {
    pub(super) fn new(path: RemotePath, how: OpenHow, identity: Identity, place: Arc<Place>, open: Open) -> SmbFile {
        let record = Arc::clone(&place.about);
        let conflicts = record.lock().conflicts();
        SmbFile {
            path,
            how,
            identity,
            conflicts,
            refuses: AtomicBool::new(false),
            place,
            record,
            open: Mutex::new(open),
            holding: Mutex::new(None),
            closed: AtomicBool::new(false),
            written: AtomicBool::new(false),
        }
    }

    /// Its data is about to be changed.
    pub(super) fn writes(&self) {
        self.written.store(true, Ordering::Release);
    }

    /// Whether its data was changed.
    pub(super) fn is_written(&self) -> bool {
        self.written.load(Ordering::Acquire)
    }

    pub(super) fn open(&self) -> Open {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether a change may be made that is indifferent to so many conflicts of the file.
    pub(super) fn may_change(&self, tolerates: u64) -> bool {
        if self.record.lock().conflicts() > tolerates && !self.refuses.swap(true, Ordering::AcqRel) {
            tracing::error!(path = %self.path, "another client changed the file while the connection was lost: what was written \
                here before, and had not reached the server, is not written over that; write(2), fsync(2) and close(2) answer EIO");
        }
        !self.refuses.load(Ordering::Acquire)
    }

    /// It was opened with a lease.
    pub(super) fn hold(&self, holding: Option<Holding>) {
        *self.holding.lock().unwrap_or_else(PoisonError::into_inner) = holding;
    }

    /// It was opened again, and holds its part in a lease by that.
    pub(super) fn replace(&self, open: Open) {
        *self.open.lock().unwrap_or_else(PoisonError::into_inner) = open;
    }

    /// The key of the lease that it was opened with.
    pub(super) fn key(&self) -> Option<LeaseKey> {
        self.how.lease.map(|lease| lease.key)
    }

    /// Whether its program has closed it.
    pub(super) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// Marks it closed, and its part in a lease given up; whether it was open until now.
    pub(super) fn take(&self) -> bool {
        self.hold(None);
        !self.closed.swap(true, Ordering::AcqRel)
    }
}

impl Drop for SmbFile {
    fn drop(&mut self) {
        if self.take() {
            self.open().post_close();
        }
    }
}

impl Open {
    pub(super) fn new(tree: Arc<Tree>, file: FileId) -> Open {
        Open { tree, file, refuses_writes: None, resume_key: Arc::default() }
    }

    /// Closes it without waiting for the answer.
    pub(super) fn post_close(&self) {
        let mut chain = crate::wire::frame::Chain::single(crate::wire::messages::create::close(self.file));
        (chain.tree_id, chain.seal) = (self.tree.id, self.tree.seal);
        self.tree.channels.post(&chain);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(disk_id: u64, created: u64) -> Identity {
        Identity { disk_id, created }
    }

    const UNKNOWN: Birth = Birth { is_kept: false, lost: None };

    #[test]
    fn a_file_is_the_same_by_its_id_or_else_by_its_creation() {
        assert!(identity(7, 1).is_same(identity(7, 2), UNKNOWN));
        assert!(!identity(7, 1).is_same(identity(8, 1), UNKNOWN));
        assert!(!identity(7, 1).is_same(identity(0, 1), UNKNOWN) && !identity(0, 1).is_same(identity(7, 1), UNKNOWN));
        assert!(identity(0, 5).is_same(identity(0, 5), UNKNOWN) && !identity(0, 5).is_same(identity(0, 6), UNKNOWN));
        assert!(!identity(0, 0).is_same(identity(0, 0), UNKNOWN), "nothing is known, so nothing is the same");
    }

    #[test]
    fn a_new_file_with_the_id_of_one_that_is_gone_is_another_one() {
        let kept = Birth { is_kept: true, lost: None };
        assert!(!identity(7, 1).is_same(identity(7, 2), kept), "the server keeps times of creation");
        let lost = Birth { is_kept: false, lost: Some(FileTime(100)) };
        assert!(!identity(7, 1).is_same(identity(7, 101 + INEXACT), lost), "it was made after the session was lost");
        assert!(identity(7, 1).is_same(identity(7, 50), lost), "the earliest time of a file that was written");
        assert!(identity(7, 1).is_same(identity(7, 1), kept));
    }
}
