//! The lease context of opens that need no caching: with it they break no lease of this client.

use crate::share::breaks::wanted;
use crate::share::smb::SmbShare;
use crate::share::types::{Caching, Lease, LeaseKey, RemotePath};
use crate::wire::connect::Terms;
use crate::wire::messages::lease::Wanted;

impl SmbShare {
    /// For an open that requests no caching: in a leased directory, a lease without caching that names the
    /// directory's lease as its parent, which marks the open as this client's; elsewhere nothing.
    pub(in crate::share) fn wanted_for(&self, path: &RemotePath) -> Wanted {
        match self.directory_leases.on_parent_of(path) {
            Some(parent) => Wanted::LeaseV2 { key: LeaseKey::random().0, state: 0, parent: Some(parent.0) },
            None => Wanted::Nothing,
        }
    }

    /// For an open that requests no caching of a file on which this client has a lease: the lease's key, so that the
    /// lease is not broken.
    pub(in crate::share) fn wanted_under(&self, key: LeaseKey, path: &RemotePath, terms: &Terms) -> Wanted {
        let parent = self.directory_leases.on_parent_of(path);
        wanted(terms, Lease { key, caching: Caching::NONE }, parent)
    }
}
