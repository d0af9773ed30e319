//! An open file, which outlives the connection it was opened on.
//!
//! A lost connection closes every open at the server. An open is then made again by the path that the file has by then
//! ([`super::places`], [`super::reopen`]), but only continues if that names the same file ([`Identity::is_same`]). What was
//! written before the loss goes there only if no other client has changed it.

use super::breaks::Holding;
use super::identity::Identity;
use super::records::{Place, Record};
use super::types::{LeaseKey, OpenHow, RemotePath};
use crate::wire::NtStatus;
use crate::wire::connect::Tree;
use crate::wire::messages::FileId;
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
