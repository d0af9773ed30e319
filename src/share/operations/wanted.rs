//! What opens that cache nothing ask for, so that they break no lease of this client.

use crate::share::breaks::wanted;
use crate::share::smb::SmbShare;
use crate::share::types::{Caching, Lease, LeaseKey, RemotePath};
use crate::wire::connect::Terms;
use crate::wire::messages::lease::Wanted;

impl SmbShare {
    /// What an open that caches nothing asks for: in a leased directory, to be known as ours.
    pub(in crate::share) fn wanted_for(&self, path: &RemotePath) -> Wanted {
        match self.directory_leases.on_parent_of(path) {
            Some(parent) => Wanted::LeaseV2 { key: LeaseKey::random().0, state: 0, parent: Some(parent.0) },
            None => Wanted::Nothing,
        }
    }

    /// What an open that caches nothing asks for where this client has a lease on the file: not to break it.
    pub(in crate::share) fn wanted_under(&self, key: LeaseKey, path: &RemotePath, terms: &Terms) -> Wanted {
        let parent = self.directory_leases.on_parent_of(path);
        wanted(terms, Lease { key, caching: Caching::NONE }, parent)
    }
}
