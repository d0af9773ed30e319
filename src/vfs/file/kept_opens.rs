//! Opens at the server that no handle uses, in the order in which they were released. A plain value.
//!
//! Whether a file has a kept open is known by its [`FileState`](super::FileState); this is the order in which they go. An
//! entry may be out of date, since the file's open is used again: closing a kept open of such a file does nothing.
//!
//! Invariant: no more are kept than the bound, and none for longer than [`IDLE`] after its release.

use lru::LruCache;
use std::num::NonZeroUsize;
use std::time::{Duration, Instant};

/// The most kept opens: a quarter of what servers allow a client to have open.
const MOST: NonZeroUsize = NonZeroUsize::new(4096).unwrap();
/// The bound never goes below this, however often the server has refused more opens.
const LEAST: NonZeroUsize = NonZeroUsize::new(16).unwrap();
/// How long an open is kept.
const IDLE: Duration = Duration::from_secs(30);

/// Files with kept opens, by their keys.
#[derive(Debug)]
pub(crate) struct KeptOpens<T> {
    kept: LruCache<u64, (Instant, T)>,
}

impl<T> KeptOpens<T> {
    pub(crate) fn new() -> KeptOpens<T> {
        KeptOpens { kept: LruCache::new(MOST) }
    }

    /// A file's open is kept from now on. The file whose kept open has to be closed for that, if there is one.
    #[must_use = "its open is to be closed"]
    pub(crate) fn keep(&mut self, key: u64, file: T, now: Instant) -> Option<T> {
        self.kept.push(key, (now, file)).filter(|(pushed_out, _)| *pushed_out != key).map(|(_, (_, file))| file)
    }

    /// The files whose opens have been kept for too long.
    #[must_use = "their opens are to be closed"]
    pub(crate) fn expire(&mut self, now: Instant) -> Vec<T> {
        let mut expired = Vec::new();
        while let Some((_, (since, _))) = self.kept.peek_lru()
            && now.saturating_duration_since(*since) >= IDLE
        {
            expired.extend(self.kept.pop_lru().map(|(_, (_, file))| file));
        }
        expired
    }

    /// All files that are meant.
    #[must_use = "their opens are to be closed"]
    pub(crate) fn take_all(&mut self, meant: impl Fn(&T) -> bool) -> Vec<T> {
        let keys: Vec<u64> = self.kept.iter().filter(|(_, (_, file))| meant(file)).map(|(key, _)| *key).collect();
        keys.iter().filter_map(|key| self.kept.pop(key)).map(|(_, file)| file).collect()
    }

    /// The server has no room for more opens: all are to be closed, and from now on half as many are kept.
    #[must_use = "their opens are to be closed"]
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
    fn the_number_is_bounded() {
        let (mut kept, now) = (KeptOpens::new(), Instant::now());
        for key in 0..MOST.get() as u64 {
            assert_eq!(kept.keep(key, key, now), None);
        }
        assert_eq!(kept.keep(5, 5, now), None, "a file counts once");
        assert_eq!(kept.keep(99_999, 99_999, now), Some(0), "the one that was released first");
        assert_eq!(kept.give_way().len(), MOST.get());
        for key in 0..MOST.get() as u64 / 2 {
            assert_eq!(kept.keep(key, key, now), None);
        }
        assert!(kept.keep(99_999, 99_999, now).is_some());
        for _ in 0..20 {
            let _ = kept.give_way();
        }
        assert_eq!(kept.keep(1, 1, now), None, "some always are");
    }

    #[test]
    fn an_open_that_is_not_used_again_goes() {
        let (mut kept, start) = (KeptOpens::new(), Instant::now());
        assert_eq!(kept.keep(1, 1, start), None);
        assert_eq!(kept.keep(2, 2, start + IDLE / 2), None);
        assert_eq!(kept.expire(start + IDLE - Duration::from_millis(1)), []);
        assert_eq!(kept.expire(start + IDLE), [1]);
        assert_eq!(kept.keep(2, 2, start + IDLE), None, "it was used in between");
        assert_eq!(kept.expire(start + 2 * IDLE - Duration::from_millis(1)), []);
        assert_eq!(kept.expire(start + 2 * IDLE), [2]);
    }

    #[test]
    fn those_that_are_meant_are_taken() {
        let (mut kept, now) = (KeptOpens::new(), Instant::now());
        (0..6).for_each(|key| assert_eq!(kept.keep(key, key, now), None));
        let mut even = kept.take_all(|file| file % 2 == 0);
        even.sort_unstable();
        assert_eq!(even, [0, 2, 4]);
        assert_eq!(kept.take_all(|_| true).len(), 3);
    }
}
