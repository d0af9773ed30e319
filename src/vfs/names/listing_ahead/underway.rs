//! Listings ahead that are under way.
//!
//! Invariant: a directory is listed ahead by one task at a time; an operation that lists it meanwhile waits for that.

use crate::waiting::until;
use parking_lot::Mutex;
use std::collections::HashSet;
use std::sync::Arc;
use tokio::sync::Notify;

/// Directories that are being listed ahead.
#[derive(Debug, Default)]
pub(crate) struct Ahead {
    /// By the numbers of their nodes.
    underway: Mutex<HashSet<u64>>,
    ended: Notify,
}

/// A listing ahead, until dropped.
pub(crate) struct Underway {
    ahead: Arc<Ahead>,
    ino: u64,
}

impl Ahead {
    /// Begins one; `None` if it is under way.
    pub(crate) fn begin(self: &Arc<Self>, ino: u64) -> Option<Underway> {
        let is_first = self.underway.lock().insert(ino);
        is_first.then(|| Underway { ahead: Arc::clone(self), ino })
    }

    /// Those that are under way now.
    pub(crate) fn underway(&self) -> Vec<u64> {
        self.underway.lock().iter().copied().collect()
    }

    /// Notified when one has ended.
    pub(crate) fn ended(&self) -> &Notify {
        &self.ended
    }

    /// Waits for a directory that is being listed.
    pub(crate) async fn until_ended(&self, ino: u64) {
        until(&self.ended, || !self.underway.lock().contains(&ino)).await;
    }
}

impl Drop for Underway {
    fn drop(&mut self) {
        self.ahead.underway.lock().remove(&self.ino);
        self.ahead.ended.notify_waiters();
    }
}
