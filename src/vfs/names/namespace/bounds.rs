//! How many entries, directories and watches are kept at most, and which are dropped first: the least recently used.

use super::Namespace;
use lru::LruCache;
use std::time::{Duration, Instant};

/// The most entries without a node, in all directories together: some tens of megabytes.
pub(crate) const MAX_FREE: usize = 131_072;
/// The most directories whose entries without a node are kept.
pub(super) const MAX_DIRECTORIES: usize = 8_192;
/// The most watches, each of which is an open directory at the server.
pub(crate) const MAX_WATCHES: usize = 1_000;
/// The bound of watches is not lowered below this, however few opens the server has room for.
const MIN_WATCHES: usize = 4;
/// The time after which an unused watch ends. With the 4 s between two checks, an unused directory is open at the
/// server for less than half a minute.
pub(super) const IDLE: Duration = Duration::from_secs(24);
/// The time from a refusal for too many opens, or from the last growth, until the bound of watches grows by a quarter.
const GROWS_AFTER: Duration = Duration::from_secs(120);

/// See the module.
#[derive(Debug)]
pub(super) struct Bounds {
    /// The number of entries without a node.
    pub free: usize,
    /// The directories of which something is known, in the order of their use.
    known: LruCache<u64, ()>,
    /// The directories with a watch, in the order of their use.
    watched: LruCache<u64, ()>,
    most_free: usize,
    most_directories: usize,
    /// The bound of watches now, which the server's refusals lower.
    most_watches: usize,
    /// The highest bound of watches.
    max_watches: usize,
    /// When the bound of watches last changed; `None` while it is the highest.
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
    /// Sets other bounds.
    #[cfg(test)]
    pub(super) fn limit(&mut self, free: usize, directories: usize, watches: usize) {
        (self.most_free, self.most_directories) = (free, directories);
        (self.most_watches, self.max_watches) = (watches, watches);
    }

    /// A directory is watched from now on.
    pub(super) fn watch_begins(&mut self, ino: u64) {
        self.watched.put(ino, ());
    }

    /// A directory is not watched any more.
    pub(super) fn watch_ends(&mut self, ino: u64) {
        self.watched.pop(&ino);
    }

    /// Whether any watch is allowed.
    pub(super) fn can_watch(&self) -> bool {
        self.most_watches > 0
    }

    /// Raises the bound of watches if [`GROWS_AFTER`] has passed.
    fn grow(&mut self, now: Instant) {
        if let Some(learnt) = self.learnt.filter(|learnt| now.saturating_duration_since(*learnt) >= GROWS_AFTER) {
            self.most_watches = (self.most_watches + self.most_watches.div_ceil(4)).min(self.max_watches);
            self.learnt = (self.most_watches < self.max_watches).then(|| learnt + GROWS_AFTER);
        }
    }
}

impl<O: Clone> Namespace<O> {
    /// Records that an answer uses what is known of a directory.
    pub(super) fn uses(&mut self, ino: u64, now: Instant) {
        self.bounds.known.get(&ino);
        if let Some(watch) = self.directories.get_mut(&ino).and_then(|directory| directory.watch.as_mut()) {
            watch.used = now;
            self.bounds.watched.get(&ino);
        }
    }

    /// Records that something of the directory `latest` is known, and drops what exceeds the bounds. A directory that
    /// alone exceeds them is dropped too. If there are too many watches, that of `latest` stays.
    pub(super) fn keep_bounds(&mut self, latest: u64) {
        self.bounds.known.put(latest, ());
        while self.bounds.free > self.bounds.most_free || self.bounds.known.len() > self.bounds.most_directories {
            let Some((oldest, ())) = self.bounds.known.pop_lru() else { break };
            self.drop_known(oldest);
        }
        while self.bounds.watched.len() > self.bounds.most_watches {
            let oldest = self.bounds.watched.iter().rev().map(|(ino, ())| *ino).find(|ino| *ino != latest);
            let Some(oldest) = oldest else { break };
            self.end_watch_for_room(oldest);
        }
    }

    /// Ends the watch of a directory, because there is no room for it. Until a listing watches the directory again, its
    /// present names are valid for the attribute timeout.
    fn end_watch_for_room(&mut self, ino: u64) {
        self.give_up_watch(ino);
        if let Some(directory) = self.directories.get_mut(&ino) {
            directory.is_unwatchable = true;
        }
    }

    /// Drops the entries of a directory that have no node, and its watch.
    pub(super) fn drop_known(&mut self, ino: u64) {
        let version = self.next_version();
        self.end_watch(ino);
        let Some(directory) = self.directories.get_mut(&ino) else { return };
        self.bounds.free -= directory.drop_known(version);
    }

    /// Drops a directory whose node is evicted.
    pub(super) fn forget_directory(&mut self, ino: u64) {
        self.end_watch(ino);
        self.bounds.known.pop(&ino);
        if let Some(directory) = self.directories.remove(&ino) {
            self.bounds.free -= directory.entries.len() - directory.nodes;
        }
    }

    /// The server has no room for another open: ends the least recently used half of the watches. The bound becomes the
    /// number of the others, but at least [`MIN_WATCHES`]; without a watch it stays. Returns how many ended.
    pub(crate) fn end_half_of_watches(&mut self, now: Instant) -> usize {
        let count = self.bounds.watched.len();
        let oldest: Vec<u64> = self.bounds.watched.iter().rev().take(count.div_ceil(2)).map(|(ino, ())| *ino).collect();
        oldest.iter().for_each(|ino| self.end_watch_for_room(*ino));
        if count > 0 {
            self.bounds.most_watches =
                (count / 2).clamp(MIN_WATCHES.min(self.bounds.max_watches), self.bounds.max_watches);
            self.bounds.learnt = Some(now);
        }
        oldest.len()
    }

    /// Ends the watches that were not used for [`IDLE`], and raises the bound of watches if it is time.
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
