//! The leases that this client has on directories (MS-SMB2 3.2.4.3.8).
//!
//! Every change in a directory breaks the leases on it, this client's own included, unless the CREATE of the change
//! names the key of the directory's lease as its parent. So each open in a leased directory names this key.
//!
//! Invariant: an entry exists only while its directory is open under that lease. If a directory is open under two
//! leases, the later one has the entry.

use super::breaks::Holding;
use super::types::{LeaseKey, RemotePath};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;

/// The lease keys, by the paths of their directories.
#[derive(Debug, Default)]
pub(super) struct DirectoryLeases(Mutex<HashMap<RemotePath, LeaseKey>>);

impl DirectoryLeases {
    /// The lease on the directory that contains this path.
    pub(super) fn on_parent_of(&self, path: &RemotePath) -> Option<LeaseKey> {
        let leases = self.0.lock();
        if leases.is_empty() {
            return None;
        }
        leases.get(&path.parent()?).copied()
    }
}

/// A lease on an open directory. Dropping it means that the directory is being closed.
#[derive(Debug)]
pub(super) struct DirectoryLease {
    pub(super) key: LeaseKey,
    path: RemotePath,
    leases: Arc<DirectoryLeases>,
    _holding: Holding,
}

impl DirectoryLease {
    pub(super) fn new(
        leases: &Arc<DirectoryLeases>,
        path: &RemotePath,
        key: LeaseKey,
        holding: Holding,
    ) -> DirectoryLease {
        leases.0.lock().insert(path.clone(), key);
        DirectoryLease { key, path: path.clone(), leases: Arc::clone(leases), _holding: holding }
    }
}

impl Drop for DirectoryLease {
    fn drop(&mut self) {
        let mut leases = self.leases.0.lock();
        // The directory may have been opened again under another lease.
        if leases.get(&self.path) == Some(&self.key) {
            leases.remove(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::breaks::Leases;
    use super::super::leases::Grant;
    use super::super::types::{Caching, Lease};
    use super::*;

    fn lease(all: &Arc<DirectoryLeases>, path: &str, key: u128) -> DirectoryLease {
        let (key, state) = (LeaseKey(key), Caching::READ | Caching::HANDLE);
        let announced = Arc::<Leases>::default().announce(Lease { key, caching: state });
        let holding = announced.granted(1, Grant::Lease { key, state, break_in_progress: false, epoch: Some(1) });
        DirectoryLease::new(all, &RemotePath::parse(path), key, holding)
    }

    #[test]
    fn an_open_directly_in_a_leased_directory_names_its_lease() {
        let all = Arc::<DirectoryLeases>::default();
        let leases = [lease(&all, "", 1), lease(&all, "a/b", 2)];
        let parent = |path: &str| all.on_parent_of(&RemotePath::parse(path)).map(|key| key.0);
        assert_eq!((parent("x"), parent("a"), parent("")), (Some(1), Some(1), None));
        assert_eq!((parent("a/b"), parent("a/b/c"), parent("a/b/c/d")), (None, Some(2), None));
        drop(leases);
        assert_eq!((parent("x"), parent("a/b/c")), (None, None));
    }

    #[test]
    fn an_ended_lease_leaves_the_later_one_in_place() {
        let all = Arc::<DirectoryLeases>::default();
        let (first, _second) = (lease(&all, "a", 1), lease(&all, "a", 2));
        drop(first);
        assert_eq!(all.on_parent_of(&RemotePath::parse("a/b")), Some(LeaseKey(2)));
    }
}
