//! An open file. It outlives the connection that it was opened on.
//!
//! A lost connection closes every open at the server. The file is then opened again by the path that it has by that
//! time ([`super::places`], [`super::reopen`]), and continues only if the path names the same file
//! ([`Identity::is_same`]). Data that was held back before the loss is written only if no other client has changed
//! the file.

use super::breaks::Holding;
use super::identity::Identity;
use super::records::{Place, Record};
use super::types::{LeaseKey, OpenHow, RemotePath};
use super::uses::Uses;
use crate::wire::NtStatus;
use crate::wire::connect::Tree;
use crate::wire::messages::FileId;
use crate::wire::messages::ioctl::ResumeKey;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

/// An open file.
#[derive(Debug)]
pub struct SmbFile {
    /// The path at the time of the open, for messages.
    pub(super) path: RemotePath,
    pub(super) how: OpenHow,
    pub(super) identity: Identity,
    /// The path that the file has now.
    pub(super) place: Arc<Place>,
    /// The record of the file, shared by all opens of it.
    pub(super) record: Arc<Record>,
    /// The number of conflicts of the file when it was opened.
    pub(super) conflicts: u64,
    /// A change through this open was refused because of a conflict. All later changes are refused too.
    refuses: AtomicBool,
    open: Mutex<Open>,
    /// The requests that use the open.
    pub(super) uses: Uses,
    /// Its share in a lease, while it is open at the server.
    holding: Mutex<Option<Holding>>,
    closed: AtomicBool,
    /// Data was written or truncated. The server may use the time of the CLOSE as the time of the last write.
    written: AtomicBool,
}

/// An open at the server, valid on one connection.
#[derive(Clone, Debug)]
pub(super) struct Open {
    pub(super) tree: Arc<Tree>,
    pub(super) file: FileId,
    /// The status with which the server refused to open the file again for writing, if it is now open for reading only.
    pub(super) refuses_writes: Option<NtStatus>,
    /// The key that names this open as the source of copies, once the server was asked for it (MS-SMB2 2.2.32.3).
    pub(super) resume_key: Arc<OnceLock<ResumeKey>>,
    /// It was closed at the server, and is to be made again ([`super::moving`]).
    pub(super) is_aside: bool,
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
            uses: Uses::default(),
            holding: Mutex::new(None),
            closed: AtomicBool::new(false),
            written: AtomicBool::new(false),
        }
    }

    /// The file's data is about to be changed through this open.
    pub(super) fn writes(&self) {
        self.written.store(true, Ordering::Release);
    }

    /// Whether the file's data was changed through this open.
    pub(super) fn is_written(&self) -> bool {
        self.written.load(Ordering::Acquire)
    }

    pub(super) fn open(&self) -> Open {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether a change may be made that tolerates this number of conflicts of the file. Once it may not, no later
    /// change may.
    pub(super) fn may_change(&self, tolerates: u64) -> bool {
        if self.record.lock().conflicts() > tolerates && !self.refuses.swap(true, Ordering::AcqRel) {
            tracing::error!(path = %self.path, "another client changed the file while the connection was lost: data that was \
                written here before and had not reached the server is not written; write(2), fsync(2) and close(2) answer EIO");
        }
        !self.refuses.load(Ordering::Acquire)
    }

    /// Sets the share in a lease that this open has, or ends it (`None`).
    pub(super) fn hold(&self, holding: Option<Holding>) {
        *self.holding.lock().unwrap_or_else(PoisonError::into_inner) = holding;
    }

    /// The file was opened again: requests go through this open from now on.
    pub(super) fn replace(&self, open: Open) {
        *self.open.lock().unwrap_or_else(PoisonError::into_inner) = open;
    }

    /// The open is closed at the server now, and is made again by the next request that needs it. Gives up its share in
    /// a lease. Returns the open to be closed; `None` if the server has none.
    pub(super) fn put_aside(&self) -> Option<Open> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if self.is_closed() || !open.is_live() {
            return None;
        }
        let aside = Open { is_aside: true, resume_key: Arc::default(), ..open.clone() };
        let closed = std::mem::replace(&mut *open, aside);
        drop(open);
        self.hold(None);
        Some(closed)
    }

    /// The lease key that the file was opened with.
    pub(super) fn key(&self) -> Option<LeaseKey> {
        self.how.lease.map(|lease| lease.key)
    }

    /// Whether the file was closed by its user.
    pub(super) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// Marks the file closed and gives up its share in a lease. Returns whether it was open until now.
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
        Open { tree, file, refuses_writes: None, resume_key: Arc::default(), is_aside: false }
    }

    /// Whether the server has this open, as far as is known.
    pub(super) fn is_live(&self) -> bool {
        !self.is_aside && self.tree.channels.ended().is_none()
    }

    /// Whether it was closed at the server to be made again, in a session that has not been lost.
    pub(super) fn is_aside(&self) -> bool {
        self.is_aside && self.tree.channels.ended().is_none()
    }

    /// Sends the CLOSE without waiting for the answer.
    pub(super) fn post_close(&self) {
        if self.is_aside {
            return;
        }
        let mut chain = crate::wire::frame::Chain::single(crate::wire::messages::create::close(self.file));
        (chain.tree_id, chain.seal) = (self.tree.id, self.tree.seal);
        self.tree.channels.post(&chain);
    }
}
