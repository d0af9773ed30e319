//! Opens that no program uses any more, and that are kept at the server for a while: the next open(2) of
//! the file then costs nothing. A plain value without I/O.
//!
//! The invariant: no more are kept than the bound, and none for longer than [`IDLE`] after its last use.
//! What leaves is handed to the caller, who closes it.

use lru::LruCache;
use std::num::NonZeroUsize;
use std::time::{Duration, Instant};

/// The most that are kept: a quarter of what servers allow a client to have open.
const MOST: NonZeroUsize = NonZeroUsize::new(4096).unwrap();
/// So many are always allowed, however often the server has said that it has too many.
const LEAST: NonZeroUsize = NonZeroUsize::new(16).unwrap();
/// For so long.
const IDLE: Duration = Duration::from_secs(30);

/// The opens that are kept, by the file's key; one of each file.
#[derive(Debug)]
pub(crate) struct Deferred<T> {
    kept: LruCache<u64, (Instant, T)>,
}

impl<T> Deferred<T> {
    pub(crate) fn new() -> Deferred<T> {
        Deferred { kept: LruCache::new(MOST) }
    }

    /// The last user of an open has gone. What has to be closed for that: the one that was kept of the same
    /// file, or else the one that was used longest ago.
    #[must_use = "it is to be closed"]
    pub(crate) fn keep(&mut self, key: u64, open: T, now: Instant) -> Option<T> {
        self.kept.push(key, (now, open)).map(|(_, (_, open))| open)
    }

    /// The open that is kept of a file, if it is wanted.
    pub(crate) fn take(&mut self, key: u64, wanted: impl FnOnce(&T) -> bool) -> Option<T> {
        let (_, open) = self.kept.peek(&key)?;
        if wanted(open) { self.kept.pop(&key).map(|(_, open)| open) } else { None }
    }

    /// Whether an open of this file is kept.
    pub(crate) fn has(&self, key: u64) -> bool {
        self.kept.contains(&key)
    }

    /// Those that nobody has used for too long.
    #[must_use = "they are to be closed"]
    pub(crate) fn expire(&mut self, now: Instant) -> Vec<T> {
        let mut expired = Vec::new();
        while let Some((_, (since, _))) = self.kept.peek_lru()
            && now.saturating_duration_since(*since) >= IDLE
        {
            expired.extend(self.kept.pop_lru().map(|(_, (_, open))| open));
        }
        expired
    }

    /// All of them whose key is meant.
    #[must_use = "they are to be closed"]
    pub(crate) fn take_all(&mut self, meant: impl Fn(&T) -> bool) -> Vec<T> {
        let keys: Vec<u64> = self.kept.iter().filter(|(_, (_, open))| meant(open)).map(|(key, _)| *key).collect();
        keys.iter().filter_map(|key| self.kept.pop(key)).map(|(_, open)| open).collect()
    }

    /// The server has no room for more: all go, and from now on half as many are kept.
    #[must_use = "they are to be closed"]
    pub(crate) fn give_way(&mut self) -> Vec<T> {
        let all = self.take_all(|_| true);
        let half = NonZeroUsize::new(self.kept.cap().get() / 2).unwrap_or(LEAST);
        self.kept.resize(half.max(LEAST));
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_of_each_file_is_kept() {
        let (mut deferred, now) = (Deferred::new(), Instant::now());
        assert_eq!(deferred.keep(1, 'a', now), None);
        assert_eq!(deferred.keep(1, 'b', now), Some('a'));
        assert_eq!(deferred.take(1, |open| *open == 'a'), None);
        assert_eq!(deferred.take(1, |open| *open == 'b'), Some('b'));
        assert_eq!(deferred.take(1, |_| true), None);
    }

    #[test]
    fn the_number_is_bounded() {
        let (mut deferred, now) = (Deferred::new(), Instant::now());
        for key in 0..MOST.get() as u64 {
            assert_eq!(deferred.keep(key, key, now), None);
        }
        assert_eq!(deferred.keep(99_999, 99_999, now), Some(0), "the one that was used longest ago");
        assert_eq!(deferred.give_way().len(), MOST.get());
        for key in 0..MOST.get() as u64 / 2 {
            assert_eq!(deferred.keep(key, key, now), None);
        }
        assert!(deferred.keep(99_999, 99_999, now).is_some());
        for _ in 0..20 {
            let _ = deferred.give_way();
        }
        assert_eq!(deferred.keep(1, 1, now), None, "some always are");
    }

    #[test]
    fn what_nobody_uses_goes() {
        let (mut deferred, start) = (Deferred::new(), Instant::now());
        assert_eq!(deferred.keep(1, 1, start), None);
        assert_eq!(deferred.keep(2, 2, start + IDLE / 2), None);
        assert_eq!(deferred.expire(start + IDLE - Duration::from_millis(1)), []);
        assert_eq!(deferred.expire(start + IDLE), [1]);
        assert_eq!(deferred.expire(start + 2 * IDLE), [2]);
    }

    #[test]
    fn those_that_are_meant_are_taken() {
        let (mut deferred, now) = (Deferred::new(), Instant::now());
        (0..6).for_each(|key| assert_eq!(deferred.keep(key, key, now), None));
        let mut even = deferred.take_all(|open| open % 2 == 0);
        even.sort_unstable();
        assert_eq!(even, [0, 2, 4]);
        assert_eq!(deferred.take(3, |_| true), Some(3));
    }
}
