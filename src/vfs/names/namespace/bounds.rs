//! How much is known at the most, and what goes first.

use super::Namespace;
use lru::LruCache;
use std::time::{Duration, Instant};

/// Entries without a node in all directories together: some tens of megabytes.
pub(crate) const MAX_FREE: usize = 131_072;
/// Directories of which something is known that can be dropped.
pub(super) const MAX_DIRECTORIES: usize = 8_192;
/// Watches, each of which is an open directory at the server.
pub(crate) const MAX_WATCHES: usize = 1_000;
/// However few opens a server has room for, so many watches are tried.
const MIN_WATCHES: usize = 4;
/// A watch by which nothing was answered for so long ends: its directory is not to be in use at the server for longer than
/// half a minute.
pub(super) const IDLE: Duration = Duration::from_secs(24);
/// After the server had no room for another open, the bound grows by a quarter each time that this has passed.
const GROWS_AFTER: Duration = Duration::from_secs(120);

/// See the module.
#[derive(Debug)]
pub(super) struct Bounds {
    /// Entries without a node.
    pub free: usize,
    /// The directories of which something is known, in the order of their use.
    known: LruCache<u64, ()>,
    /// Those with a watch.
    watched: LruCache<u64, ()>,
    most_free: usize,
    most_directories: usize,
    /// Watches that are tried, and the most that ever are.
    most_watches: usize,
    max_watches: usize,
    /// When that changed last.
    learnt: Option<Instant>,
}

impl Default for Bounds {
    fn default() -> Bounds {
        Bounds {
            free: 0,
            known: LruCache::unbounded(),
            watched: LruCache::unbounded(),
            most_free: MAX_FREE,
            most_directories: MAX_DIRECTORIES,
            most_watches: MAX_WATCHES,
            max_watches: MAX_WATCHES,
            learnt: None,
        }
    }
}

impl Bounds {
    /// Other bounds, for tests.
    #[cfg(test)]
    pub(super) fn limit(&mut self, free: usize, directories: usize, watches: usize) {
        (self.most_free, self.most_directories) = (free, directories);
        (self.most_watches, self.max_watches) = (watches, watches);
    }

    pub(super) fn watch_begins(&mut self, ino: u64) {
        self.watched.put(ino, ());
    }

    pub(super) fn watch_ends(&mut self, ino: u64) {
        self.watched.pop(&ino);
    }

    /// Whether there is room for watches at all.
    pub(super) fn can_watch(&self) -> bool {
        self.most_watches > 0
    }

    fn grow(&mut self, now: Instant) {
        if let Some(learnt) = self.learnt.filter(|learnt| now.saturating_duration_since(*learnt) >= GROWS_AFTER) {
            self.most_watches = (self.most_watches + self.most_watches.div_ceil(4)).min(self.max_watches);
            self.learnt = (self.most_watches < self.max_watches).then(|| learnt + GROWS_AFTER);
        }
    }
}

impl<O: Clone> Namespace<O> {
    /// Something of a directory is used to answer.
    pub(super) fn uses(&mut self, ino: u64, now: Instant) {
        self.bounds.known.get(&ino);
        if let Some(watch) = self.directories.get_mut(&ino).and_then(|directory| directory.watch.as_mut()) {
            watch.used = now;
            self.bounds.watched.get(&ino);
        }
    }

    /// Something of a directory is known from now on: others are dropped where that is too much. A directory that alone
    /// exceeds the bounds goes as well.
    pub(super) fn keep_bounds(&mut self, latest: u64) {
        self.bounds.known.put(latest, ());
        while self.bounds.free > self.bounds.most_free || self.bounds.known.len() > self.bounds.most_directories {
            let Some((oldest, ())) = self.bounds.known.pop_lru() else { break };
            self.drop_known(oldest);
        }
        while self.bounds.watched.len() > self.bounds.most_watches {
            let oldest = self.bounds.watched.iter().rev().map(|(ino, ())| *ino).find(|ino| *ino != latest);
            let Some(oldest) = oldest else { break };
            self.crowd_out(oldest);
        }
    }

    /// There is no room for a directory's watch. Until it is listed again, it is believed for the timeout.
    fn crowd_out(&mut self, ino: u64) {
        self.give_up_watch(ino);
        if let Some(directory) = self.directories.get_mut(&ino) {
            directory.is_unwatchable = true;
        }
    }

    /// Drops what is known of a directory beside its nodes.
    pub(super) fn drop_known(&mut self, ino: u64) {
        let version = self.next_version();
        self.end_watch(ino);
        let Some(directory) = self.directories.get_mut(&ino) else { return };
        self.bounds.free -= directory.drop_known(version);
    }

    /// A directory goes with its node.
    pub(super) fn forget_directory(&mut self, ino: u64) {
        self.end_watch(ino);
        self.bounds.known.pop(&ino);
        if let Some(directory) = self.directories.remove(&ino) {
            self.bounds.free -= directory.entries.len() - directory.nodes;
        }
    }

    /// The server has no room for another open: half of the watches end, those that were not used for longest, and so many are
    /// the bound from now on. How many end.
    pub(crate) fn watches_give_way(&mut self, now: Instant) -> usize {
        let count = self.bounds.watched.len();
        let oldest: Vec<u64> = self.bounds.watched.iter().rev().take(count.div_ceil(2)).map(|(ino, ())| *ino).collect();
        oldest.iter().for_each(|ino| self.crowd_out(*ino));
        if count > 0 {
            self.bounds.most_watches =
                (count / 2).clamp(MIN_WATCHES.min(self.bounds.max_watches), self.bounds.max_watches);
            self.bounds.learnt = Some(now);
        }
        oldest.len()
    }

    /// Ends the watches that were not used for too long.
    pub(crate) fn end_idle_watches(&mut self, now: Instant) {
        self.bounds.grow(now);
        while let Some((ino, ())) = self.bounds.watched.peek_lru() {
            let ino = *ino;
            let watch = self.directories.get(&ino).and_then(|directory| directory.watch.as_ref());
            if watch.is_some_and(|watch| now.saturating_duration_since(watch.used) < IDLE) {
                break;
            }
            self.give_up_watch(ino);
            self.bounds.watched.pop(&ino);
        }
    }
}
