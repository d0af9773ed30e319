//! Watches of the share in memory: a queue of changes per watch, as a server keeps it for an open directory.

use super::super::types::{ChangeKind, DirChange, RemotePath};
use super::tree::Tree;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::sync::Notify;

/// The maximum number of changes that are kept. With more, the queue overflows and loses count.
const MOST: usize = 100;

/// The watches at the server.
#[derive(Debug, Default)]
pub(super) struct Watchers {
    queues: BTreeMap<u64, Queue>,
    next: u64,
    pub(super) reported: Arc<Notify>,
}

#[derive(Debug)]
struct Queue {
    node: u64,
    changes: Vec<DirChange>,
    overflown: bool,
    /// The directory has been deleted.
    gone: bool,
}

impl Watchers {
    /// An entry of a directory changed.
    pub(super) fn note(&mut self, node: u64, name: &[u16], kind: ChangeKind) {
        for queue in self.queues.values_mut().filter(|queue| queue.node == node) {
            queue.changes.push(DirChange { name: name.to_vec(), kind });
            queue.overflown |= queue.changes.len() > MOST;
            self.reported.notify_waiters();
        }
    }

    pub(super) fn begin(&mut self, node: u64) -> u64 {
        self.next += 1;
        self.queues.insert(self.next, Queue { node, changes: Vec::new(), overflown: false, gone: false });
        self.next
    }

    /// Ends a watch. Returns the directory that was watched.
    pub(super) fn end(&mut self, watch: u64) -> Option<u64> {
        self.reported.notify_waiters();
        self.queues.remove(&watch).map(|queue| queue.node)
    }

    /// The directory was deleted. It still exists for clients that have it open.
    pub(super) fn deleted(&mut self, node: u64) {
        self.queues.values_mut().filter(|queue| queue.node == node).for_each(|queue| queue.gone = true);
        self.reported.notify_waiters();
    }

    pub(super) fn is_empty(&self, watch: u64) -> bool {
        self.queues.get(&watch).is_some_and(|queue| queue.changes.is_empty() && !queue.gone)
    }

    /// The changes to report: `None` if there are none yet, `Some(None)` if the queue has overflowed; `Err` if there
    /// will never be any.
    pub(super) fn take(&mut self, watch: u64) -> Result<Option<Option<Vec<DirChange>>>, ()> {
        let queue = self.queues.get_mut(&watch).filter(|queue| !queue.gone).ok_or(())?;
        if queue.changes.is_empty() {
            return Ok(None);
        }
        let changes = std::mem::take(&mut queue.changes);
        Ok(Some(if std::mem::take(&mut queue.overflown) { None } else { Some(changes) }))
    }

    pub(super) fn count(&self) -> usize {
        self.queues.len()
    }
}

/// A watched directory.
#[derive(Debug)]
pub(crate) struct MemoryWatch {
    pub(super) watch: u64,
    pub(super) path: RemotePath,
    pub(super) tree: Arc<Mutex<Tree>>,
}

impl Drop for MemoryWatch {
    fn drop(&mut self) {
        self.tree.lock().unwatch(self.watch);
    }
}
