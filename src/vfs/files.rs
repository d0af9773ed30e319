//! What all opens of one file share: the lease that they ask for, the opens at the server, and the data
//! that was written to it and is on its way.
//!
//! Invariant: at any time there is at most one [`SharedFile`] of a file, from its first open to the last
//! close at the server, and it is found under every lease that one of its opens has. An open at the server
//! ([`Remote`]) that nobody uses is either kept ([`super::deferred`]) or being closed, and which of both is
//! decided once.

use super::handles::{Access, OpenFile};
use crate::cache::WriteBack;
use crate::share::{Change, LeaseKey, Share};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};

/// A file that is open.
pub(crate) struct SharedFile<S: Share> {
    pub ino: u64,
    /// The key of its cached data.
    pub key: u64,
    /// The lease that opens ask for.
    pub lease: LeaseKey,
    pub back: Arc<WriteBack<OpenFile<S>>>,
    /// Times and attributes that were set after what is written back, and go with it.
    pub pending: Mutex<Change>,
    /// What the kernel keeps of it is going to be forgotten.
    pub fades: AtomicBool,
}

impl<S: Share> SharedFile<S> {
    /// Whether there is something that the server does not have.
    pub(crate) fn is_dirty(&self) -> bool {
        self.back.is_dirty() || *self.pending.lock() != Change::default()
    }
}

/// An open of a file at the server, which several handles may use.
pub(crate) struct Remote<S: Share> {
    pub file: S::File,
    /// The lease that it was opened with.
    pub lease: LeaseKey,
    read: bool,
    write: bool,
    /// Handles that use it.
    users: AtomicUsize,
    /// Something was changed through it.
    changed: AtomicBool,
}

impl<S: Share> Remote<S> {
    /// With one user.
    pub(crate) fn new(file: S::File, access: Access, lease: LeaseKey) -> Remote<S> {
        let (read, write) = (access.read, access.modifies());
        Remote { file, lease, read, write, users: AtomicUsize::new(1), changed: AtomicBool::new(access.truncate) }
    }

    /// Whether it is good for this.
    pub(crate) fn allows(&self, access: Access) -> bool {
        (self.read || !access.read) && (self.write || !access.write) && !access.truncate
    }

    /// One more user, if it has one already: says whether.
    pub(crate) fn join(&self) -> bool {
        let more = |users: usize| (users > 0).then_some(users + 1);
        self.users.fetch_update(Ordering::AcqRel, Ordering::Acquire, more).is_ok()
    }

    /// The first user of one that was kept.
    pub(crate) fn take_up(&self) {
        self.users.store(1, Ordering::Release);
    }

    /// A user goes: whether it was the last one.
    pub(crate) fn leave(&self) -> bool {
        self.users.fetch_sub(1, Ordering::AcqRel) == 1
    }

    /// Something is being changed through it.
    pub(crate) fn changes(&self) {
        self.changed.store(true, Ordering::Release);
    }

    /// Whether nothing was changed through it: then its close tells nothing that is not known.
    pub(crate) fn is_unchanged(&self) -> bool {
        !self.changed.load(Ordering::Acquire)
    }
}

/// An open at the server that nobody uses at present.
pub(crate) struct Idle<S: Share> {
    pub remote: Arc<Remote<S>>,
    pub shared: Arc<SharedFile<S>>,
}

/// All files that are open.
pub(crate) struct SharedFiles<S: Share>(Mutex<Tables<S>>);

struct Tables<S: Share> {
    by_key: HashMap<u64, Weak<SharedFile<S>>>,
    by_lease: HashMap<LeaseKey, Weak<SharedFile<S>>>,
    /// The number of leases at which those of closed files are swept out.
    sweep_at: usize,
}

const SMALLEST_SWEEP: usize = 64;

impl<S: Share> SharedFiles<S> {
    pub(crate) fn new() -> SharedFiles<S> {
        SharedFiles(Mutex::new(Tables { by_key: HashMap::new(), by_lease: HashMap::new(), sweep_at: SMALLEST_SWEEP }))
    }

    /// The file with this key, if it is open.
    pub(crate) fn get(&self, key: u64) -> Option<Arc<SharedFile<S>>> {
        self.0.lock().by_key.get(&key)?.upgrade()
    }

    /// The file with an open under this lease.
    pub(crate) fn under(&self, lease: LeaseKey) -> Option<Arc<SharedFile<S>>> {
        self.0.lock().by_lease.get(&lease)?.upgrade()
    }

    /// The file with this key, which is being opened under a lease. It begins to be shared with this
    /// open if it is the first.
    pub(crate) fn join(
        &self,
        (ino, key): (u64, u64),
        lease: LeaseKey,
        back: impl FnOnce() -> WriteBack<OpenFile<S>>,
    ) -> Arc<SharedFile<S>> {
        let mut tables = self.0.lock();
        let known = tables.by_key.get(&key).and_then(Weak::upgrade);
        let file = known.unwrap_or_else(|| {
            Arc::new(SharedFile {
                ino,
                key,
                lease,
                back: Arc::new(back()),
                pending: Mutex::default(),
                fades: AtomicBool::new(false),
            })
        });
        tables.by_key.insert(key, Arc::downgrade(&file));
        tables.by_lease.insert(lease, Arc::downgrade(&file));
        if tables.by_lease.len() >= tables.sweep_at {
            tables.sweep();
        }
        file
    }
}

impl<S: Share> Tables<S> {
    fn sweep(&mut self) {
        self.by_key.retain(|_, file| file.strong_count() > 0);
        self.by_lease.retain(|_, file| file.strong_count() > 0);
        self.sweep_at = (2 * self.by_lease.len()).max(SMALLEST_SWEEP);
    }
}

/// A key for a lease that nobody has, here or on another machine.
pub(crate) fn new_lease() -> LeaseKey {
    // Each RandomState has keys of its own, from the system's source of randomness.
    let half = |salt: u64| u128::from(RandomState::new().hash_one(salt));
    LeaseKey(half(1) << 64 | half(2))
}
