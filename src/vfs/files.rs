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
    pub flushes: Mutex<Flushes>,
    /// What the kernel keeps of it is going to be forgotten.
    pub fades: AtomicBool,
}

impl<S: Share> SharedFile<S> {
    /// Whether there is something that the server does not have.
    pub(crate) fn is_dirty(&self) -> bool {
        self.back.is_dirty() || *self.pending.lock() != Change::default()
    }

    /// What is to come after the last write, which is about to go: a change, and a FLUSH by its number.
    pub(crate) fn take_after(&self) -> (Change, Option<u64>) {
        (std::mem::take(&mut *self.pending.lock()), self.flushes.lock().take())
    }
}

/// The FLUSHes of a file that travel with its last write: to the server goes one for all who want it. A plain value.
#[derive(Debug, Default)]
pub(crate) struct Flushes {
    wanted: bool,
    begun: u64,
    done: u64,
}

impl Flushes {
    /// Somebody wants all that is written by now to be flushed. The mark is for [`Flushes::is_done_since`].
    pub(crate) fn want(&mut self) -> u64 {
        self.wanted = true;
        self.begun
    }

    /// The last write is about to go: the number of the FLUSH that goes with it, if one is wanted.
    fn take(&mut self) -> Option<u64> {
        self.begun += u64::from(self.wanted);
        std::mem::take(&mut self.wanted).then_some(self.begun)
    }

    /// The server has answered a FLUSH, and the write before it.
    pub(crate) fn done(&mut self, number: u64) {
        self.done = self.done.max(number);
    }

    /// Whether a FLUSH that was begun after the mark is done: it was of all that was written then. If not, nothing was left
    /// that it could have gone with, and it is not wanted that way any more.
    pub(crate) fn is_done_since(&mut self, mark: u64) -> bool {
        self.wanted = false;
        self.done > mark
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
            let (back, pending, flushes) = (Arc::new(back()), Mutex::default(), Mutex::default());
            Arc::new(SharedFile { ino, key, lease, back, pending, flushes, fades: AtomicBool::new(false) })
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flush_that_was_begun_before_it_was_wanted_is_not_enough() {
        let mut flushes = Flushes::default();
        assert_eq!(flushes.take(), None);
        let first = flushes.want();
        let number = flushes.take().unwrap();
        let second = flushes.want();
        flushes.done(number);
        assert!(flushes.is_done_since(first));
        assert!(!flushes.is_done_since(second), "something may have been written after it had gone");
        assert_eq!(flushes.take(), None, "nobody waits any more");
    }

    #[test]
    fn one_flush_serves_all_who_want_it() {
        let mut flushes = Flushes::default();
        let marks = [flushes.want(), flushes.want()];
        let number = flushes.take().unwrap();
        assert_eq!(flushes.take(), None);
        assert!(!flushes.is_done_since(marks[0]));
        flushes.done(number);
        assert!(marks.iter().all(|mark| flushes.is_done_since(*mark)));
    }
}
