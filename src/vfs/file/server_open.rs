//! An open of the file at the server. A plain value.
//!
//! Invariant: it serves a handle only if it was opened with at least the handle's access.

use super::handle::Access;
use crate::share::LeaseKey;

/// What an open at the server is used for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Use {
    /// At least one handle uses it.
    Used,
    /// No handle uses it. It is kept for the next open(2), under a lease.
    Kept,
    /// Its CLOSE is under way.
    Closing,
}

/// An open at the server. `O` is the driver's object for requests on it.
#[derive(Clone, Debug)]
pub(super) struct ServerOpen<O> {
    pub(super) id: u64,
    pub(super) open: O,
    /// The lease that it asked for.
    pub(super) lease: LeaseKey,
    pub(super) usage: Use,
    read: bool,
    write: bool,
    /// Something was changed through it, so its CLOSE reports new times.
    pub(super) changed: bool,
}

impl<O> ServerOpen<O> {
    pub(super) fn new(id: u64, open: O, access: Access, lease: LeaseKey) -> ServerOpen<O> {
        let (read, write) = (access.read, access.modifies());
        ServerOpen { id, open, lease, usage: Use::Used, read, write, changed: access.truncate }
    }

    /// Whether another handle with this access can use it.
    pub(super) fn serves(&self, access: Access) -> bool {
        let allows = (self.read || !access.read) && (self.write || !access.write) && !access.truncate;
        allows && self.usage != Use::Closing
    }

    pub(super) fn can_write(&self) -> bool {
        self.write
    }
}
