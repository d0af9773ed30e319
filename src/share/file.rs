//! An open file, which outlives the connection it was opened on.
//!
//! A lost connection closes every open at the server. An open is then made again by name ([`super::reopen`]), but only
//! continues if the name still names the same file: the same id on disk, or, where the server has no
//! ids, the same time of creation. What was written before the loss goes there only if no other client has changed it.

use super::breaks::Holding;
use super::records::Record;
use super::types::{OpenHow, RemotePath};
use crate::wire::connect::Tree;
use crate::wire::messages::FileId;
use crate::wire::messages::ioctl::ResumeKey;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

/// An open file.
#[derive(Debug)]
pub struct SmbFile {
    pub(super) path: RemotePath,
    pub(super) how: OpenHow,
    pub(super) identity: Identity,
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
    pub(super) fn is_same(self, other: Identity) -> bool {
        if self.disk_id != 0 || other.disk_id != 0 {
            return self.disk_id == other.disk_id;
        }
        self.created != 0 && self.created == other.created
    }
}

/// An open at the server, valid on one connection.
#[derive(Clone, Debug)]
pub(super) struct Open {
    pub(super) tree: Arc<Tree>,
    pub(super) file: FileId,
    /// By what it is the source of copies, once it was asked for.
    pub(super) resume_key: Arc<OnceLock<ResumeKey>>,
}

impl SmbFile {
    pub(super) fn new(path: RemotePath, how: OpenHow, identity: Identity, record: Arc<Record>, open: Open) -> SmbFile {
        let conflicts = record.lock().conflicts();
        SmbFile {
            path,
            how,
            identity,
            conflicts,
            refuses: AtomicBool::new(false),
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

    /// It was opened again.
    pub(super) fn replace(&self, open: Open) {
        self.hold(None);
        *self.open.lock().unwrap_or_else(PoisonError::into_inner) = open;
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
        Open { tree, file, resume_key: Arc::default() }
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

    #[test]
    fn a_file_is_the_same_by_its_id_or_else_by_its_creation() {
        assert!(identity(7, 1).is_same(identity(7, 2)));
        assert!(!identity(7, 1).is_same(identity(8, 1)));
        assert!(!identity(7, 1).is_same(identity(0, 1)));
        assert!(identity(0, 5).is_same(identity(0, 5)));
        assert!(!identity(0, 0).is_same(identity(0, 0)), "nothing is known, so nothing is the same");
    }
}
