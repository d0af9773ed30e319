//! Opens at the server that no handle uses, in the order in which they were released. A plain value.
//!
//! They are guests at the server: while one is open, other clients wait for its break, and the server cannot unmount the
//! disk behind the share. How many the server bears is learnt: when it refuses an open, half of the kept ones go.
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
/// How long an open is kept: with the five seconds between two looks, 30 s at the most.
const IDLE: Duration = Duration::from_secs(25);
/// How long after a refusal, or after the last growth, the bound doubles. Servers refuse opens because of a peak in their
/// use, by this client or by others, so the bound has to come back: one more a minute would take days. A bound that is too
/// high again costs one refused request in this time.
const GROWS_AFTER: Duration = Duration::from_secs(600);

/// Files with kept opens, by their keys.
#[derive(Debug)]
pub(crate) struct KeptOpens<T> {
    kept: LruCache<u64, (Instant, T)>,
    /// The last change of the bound; `None` while it is [`MOST`].
    bounded: Option<Instant>,
}

impl<T> KeptOpens<T> {
    pub(crate) fn new() -> KeptOpens<T> {
        KeptOpens { kept: LruCache::new(MOST), bounded: None }
    }

    /// A file's open is kept from now on. The file whose kept open has to be closed for that, if there is one.
    #[must_use = "its open is to be closed"]
    pub(crate) fn keep(&mut self, key: u64, file: T, now: Instant) -> Option<T> {
        self.grow(now);
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

    /// The server has no room for more opens: the half that was unused longest is to be closed, and no more than the other
    /// half are kept from now on. None if nothing is kept.
    #[must_use = "their opens are to be closed"]
    pub(crate) fn give_way(&mut self, now: Instant) -> Vec<T> {
        let count = self.kept.len().div_ceil(2);
        let oldest = (0..count).filter_map(|_| self.kept.pop_lru()).map(|(_, (_, file))| file).collect();
        self.kept.resize(NonZeroUsize::new(self.kept.len()).unwrap_or(NonZeroUsize::MIN));
        self.bounded = Some(now);
        oldest
    }

    fn grow(&mut self, now: Instant) {
        while let Some(since) = self.bounded
            && now.saturating_duration_since(since) >= GROWS_AFTER
        {
            let bound = self.kept.cap().saturating_add(self.kept.cap().get()).min(MOST);
            self.kept.resize(bound);
            self.bounded = Some(since + GROWS_AFTER).filter(|_| bound < MOST);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As many files are kept, by keys from 0, and how many of them are pushed out.
    fn keep(kept: &mut KeptOpens<u64>, count: u64, now: Instant) -> usize {
        (0..count).filter_map(|key| kept.keep(key, key, now)).count()
    }

    #[test]
    fn the_number_is_bounded() {
        let (mut kept, now) = (KeptOpens::new(), Instant::now());
        assert_eq!(keep(&mut kept, MOST.get() as u64, now), 0);
        assert_eq!(kept.keep(5, 5, now), None, "a file counts once");
        assert_eq!(kept.keep(99_999, 99_999, now), Some(0), "the one that was released first");
    }

    #[test]
    fn a_refusal_closes_the_half_that_was_unused_longest_and_bounds_the_rest() {
        let (mut kept, now) = (KeptOpens::new(), Instant::now());
        assert_eq!(keep(&mut kept, 7, now), 0);
        assert_eq!(kept.keep(0, 0, now), None, "it was used again");
        assert_eq!(kept.give_way(now), [1, 2, 3, 4]);
        assert_eq!(kept.keep(10, 10, now), Some(5), "three are as many as the server bears");
        assert_eq!(kept.give_way(now), [6, 0]);
        assert_eq!(kept.give_way(now), [10]);
        assert_eq!(kept.give_way(now), [], "nothing is left to close");
        assert_eq!(kept.keep(1, 1, now), None, "one is always kept");
        assert_eq!(kept.keep(2, 2, now), Some(1));
    }

    #[test]
    fn the_bound_grows_slowly_and_no_further_than_at_first() {
        let (mut kept, start) = (KeptOpens::new(), Instant::now());
        assert_eq!(keep(&mut kept, 8, start), 0);
        assert_eq!(kept.give_way(start).len(), 4);
        let bound = |kept: &mut KeptOpens<u64>, now| {
            let _ = kept.take_all(|_| true);
            10_000 - keep(kept, 10_000, now)
        };
        assert_eq!(bound(&mut kept, start + GROWS_AFTER - Duration::from_millis(1)), 4);
        assert_eq!(bound(&mut kept, start + GROWS_AFTER), 8);
        assert_eq!(bound(&mut kept, start + GROWS_AFTER * 3), 32, "as much as if it had been asked in between");
        assert_eq!(bound(&mut kept, start + GROWS_AFTER * 20), MOST.get());
        assert_eq!(kept.give_way(start + GROWS_AFTER * 20).len(), MOST.get() / 2);
        assert_eq!(bound(&mut kept, start + GROWS_AFTER * 20), MOST.get() / 2);
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
        assert_eq!(keep(&mut kept, 6, now), 0);
        let mut even = kept.take_all(|file| file % 2 == 0);
        even.sort_unstable();
        assert_eq!(even, [0, 2, 4]);
        assert_eq!(kept.take_all(|_| true).len(), 3);
    }
}
