//! Listings ahead that are in progress.
//!
//! Invariant: a directory is listed ahead by one task at a time. An operation that lists the directory meanwhile waits
//! for that task.

use crate::waiting::until;
use parking_lot::Mutex;
use std::collections::HashSet;
use std::sync::Arc;
use tokio::sync::Notify;

/// The directories that are being listed ahead.
#[derive(Debug, Default)]
pub(crate) struct Ahead {
    /// By the inode numbers of their nodes.
    underway: Mutex<HashSet<u64>>,
    ended: Notify,
}

/// A listing ahead, which ends when this is dropped.
pub(crate) struct Underway {
    ahead: Arc<Ahead>,
    ino: u64,
}

impl Ahead {
    /// Begins a listing ahead; `None` if the directory is being listed ahead already.
    pub(crate) fn begin(self: &Arc<Self>, ino: u64) -> Option<Underway> {
        let is_first = self.underway.lock().insert(ino);
        is_first.then(|| Underway { ahead: Arc::clone(self), ino })
    }

    /// The directories that are being listed ahead now.
    pub(crate) fn underway(&self) -> Vec<u64> {
        self.underway.lock().iter().copied().collect()
    }

    /// Notified when a listing ahead has ended.
    pub(crate) fn ended(&self) -> &Notify {
        &self.ended
    }

    /// Waits until a directory is not being listed ahead.
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
