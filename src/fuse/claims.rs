//! Claims of operations that continue after their program was killed.
//!
//! While the kernel waits for an answer it holds locks: no other request changes the same file, or names in the same
//! directory, and no handle in use is released. When a request is answered EINTR the kernel releases these locks,
//! although the operation is still in flight. A later change could then reach the server before the older one. So the
//! claims of such operations are kept here until the operations end, and a request that conflicts with one waits.
//!
//! Invariant: a claim is kept from before its request is answered EINTR until its operation has ended.

use crate::waiting::until;
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::sync::Notify;

/// What one operation needs: up to two inodes that it alone may change, and up to two handles that may not be released.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Claim {
    inodes: [Option<u64>; 2],
    handles: [Option<u64>; 2],
}

impl Claim {
    /// Needs nothing.
    pub(super) const NONE: Claim = Claim { inodes: [None; 2], handles: [None; 2] };

    /// Changes this file, or names in this directory.
    pub(super) fn changes(ino: u64) -> Claim {
        Claim { inodes: [Some(ino), None], ..Claim::NONE }
    }

    /// Changes names in two directories.
    pub(super) fn changes_both(one: u64, other: u64) -> Claim {
        Claim { inodes: [Some(one), Some(other)], ..Claim::NONE }
    }

    /// Also uses this handle. A claim holds two handles: a third replaces the first.
    pub(super) fn uses(mut self, handle: u64) -> Claim {
        self.handles = [Some(handle), self.handles[0]];
        self
    }

    /// Whether an operation with this claim must wait for an older one with the claim `older`.
    fn waits_for(&self, older: &Claim) -> bool {
        self.inodes.iter().flatten().any(|ino| older.inodes.contains(&Some(*ino)))
    }
}

/// The claims of operations that continue after their program was killed.
#[derive(Debug, Default)]
pub(super) struct Claims {
    /// The last number used, and the claims by number. There are few.
    kept: Mutex<(u64, Vec<(u64, Claim)>)>,
    count: AtomicUsize,
    ended: Notify,
}

/// A kept claim; removed when dropped.
pub(super) struct Kept {
    claims: Arc<Claims>,
    number: u64,
}

impl Claims {
    /// Keeps a claim. Must be called before the request is answered.
    pub(super) fn keep(self: &Arc<Self>, claim: Claim) -> Kept {
        let mut kept = self.kept.lock();
        kept.0 += 1;
        let number = kept.0;
        kept.1.push((number, claim));
        self.count.store(kept.1.len(), Ordering::Release);
        Kept { claims: Arc::clone(self), number }
    }

    /// Whether an operation with this claim can begin.
    pub(super) fn admit(&self, claim: &Claim) -> bool {
        self.is_free_of(|older| claim.waits_for(older))
    }

    /// Waits until an operation with this claim can begin.
    pub(super) async fn wait(&self, claim: &Claim) {
        until(&self.ended, || self.admit(claim)).await;
    }

    /// Whether no operation uses the handle any more, so that it can be released.
    pub(super) fn is_unused(&self, handle: u64) -> bool {
        self.is_free_of(|older| older.handles.contains(&Some(handle)))
    }

    /// Waits until no operation uses the handle any more.
    pub(super) async fn unused(&self, handle: u64) {
        until(&self.ended, || self.is_unused(handle)).await;
    }

    fn is_free_of(&self, conflicts: impl Fn(&Claim) -> bool) -> bool {
        self.count.load(Ordering::Acquire) == 0 || !self.kept.lock().1.iter().any(|(_, older)| conflicts(older))
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        let mut kept = self.claims.kept.lock();
        kept.1.retain(|(number, _)| *number != self.number);
        self.claims.count.store(kept.1.len(), Ordering::Release);
        drop(kept);
        self.claims.ended.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;

    #[test]
    fn a_change_waits_for_an_older_change_of_the_same_inode() {
        let claims = Arc::new(Claims::default());
        let renaming = claims.keep(Claim::changes_both(1, 2));
        assert!(!claims.admit(&Claim::changes(2)) && !claims.admit(&Claim::changes_both(3, 1)));
        assert!(claims.admit(&Claim::changes(3)) && claims.admit(&Claim::NONE), "a read does not wait");
        let mut waiting = Box::pin(async { claims.wait(&Claim::changes(1)).await });
        assert_eq!(waiting.as_mut().now_or_never(), None);
        drop(renaming);
        assert_eq!(waiting.now_or_never(), Some(()));
        assert!(claims.admit(&Claim::changes(2)));
    }

    #[test]
    fn a_handle_is_released_when_nothing_uses_it() {
        let claims = Arc::new(Claims::default());
        let reading = claims.keep(Claim::NONE.uses(7));
        let copying = claims.keep(Claim::changes(1).uses(7).uses(8));
        assert!(claims.admit(&Claim::changes(7)), "a handle number is not an inode number");
        assert!(claims.is_unused(1) && !claims.is_unused(8));
        let mut waiting = Box::pin(async { claims.unused(7).await });
        assert_eq!(waiting.as_mut().now_or_never(), None);
        drop(copying);
        assert!(waiting.as_mut().now_or_never().is_none() && claims.is_unused(8));
        drop(reading);
        assert_eq!(waiting.now_or_never(), Some(()));
    }
}
