//! Owners and modes in the share in memory.

use super::*;
use crate::share::{Owners, Ownership};

impl MemoryShare {
    /// What the server has of a file's owner, group and mode.
    pub(crate) fn owner_of(&self, path: &str) -> Ownership {
        self.tree.lock().owner(&RemotePath::parse(path)).unwrap()
    }

    /// Another client sets owner, group or mode.
    pub(crate) fn set_owner(&self, path: &str, owner: Ownership) {
        self.tree.lock().set_owner(&RemotePath::parse(path), owner).unwrap();
    }
}

impl Owners for MemoryShare {
    async fn stat_with_owner(&self, path: &RemotePath, _lease: Option<LeaseKey>) -> Result<(Metadata, Ownership)> {
        self.call("STAT", path, |tree| Ok((tree.stat(path)?, tree.owner(path)?))).await
    }

    async fn store_owner(
        &self,
        path: &RemotePath,
        _known: FileIdentity,
        _lease: Option<LeaseKey>,
        set: Ownership,
    ) -> Result<Ownership> {
        if !self.behaviour.keeps_owners {
            return Ok(Ownership::NOTHING);
        }
        self.call("SET_OWNER", path, |tree| tree.set_owner(path, set)).await
    }
}
