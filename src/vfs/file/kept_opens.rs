//! Kept opens, in the order in which they were released. A plain value.
//!
//! They burden the server: while one is open, other clients wait for its break, and the server cannot unmount
//! the disk behind the share. The number that the server allows is learned: when it refuses an open, half of the kept
//! ones are closed.
//!
//! [`FileState`](super::FileState) decides whether a file has a kept open. This value only keeps the order in which
//! they are closed. An entry may be stale, because the file's open is used again: closing the kept open of such a
//! file does nothing.
//!
//! Invariant: no more are kept than the bound allows, and each is closed at the first search after [`IDLE`].

use lru::LruCache;
use std::num::NonZeroUsize;
use std::time::{Duration, Instant};

/// The most kept opens: a quarter of the opens that servers allow a client.
const MOST: NonZeroUsize = NonZeroUsize::new(4096).unwrap();
/// How long an open is kept. With the four seconds between two searches it is closed 29 s after its release at the
/// latest.
const IDLE: Duration = Duration::from_secs(25);
/// The time after a refusal, or after the last doubling, until the bound doubles. Servers refuse opens at a peak of
/// their use, by this client or another, so the bound must recover, and growth by one open per minute would take days.
/// If the doubled bound is too high, the cost is one refused request.
const GROWS_AFTER: Duration = Duration::from_secs(600);

/// Files with kept opens, by the keys of the files.
#[derive(Debug)]
pub(crate) struct KeptOpens<T> {
    kept: LruCache<u64, (Instant, T)>,
    /// The time of the last change of the bound; `None` while it is [`MOST`].
    bounded: Option<Instant>,
}

impl<T> KeptOpens<T> {
    pub(crate) fn new() -> KeptOpens<T> {
        KeptOpens { kept: LruCache::new(MOST), bounded: None }
    }

    /// Registers the kept open of a file. Returns the file whose kept open must be closed to make room, if there is
    /// one.
    #[must_use = "its open is to be closed"]
    pub(crate) fn keep(&mut self, key: u64, file: T, now: Instant) -> Option<T> {
        self.grow(now);
        self.kept.push(key, (now, file)).filter(|(pushed_out, _)| *pushed_out != key).map(|(_, (_, file))| file)
    }

    /// Removes and returns the files whose opens have been kept for too long.
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

    /// Removes and returns all files that match.
    #[must_use = "their opens are to be closed"]
    pub(crate) fn remove_matching(&mut self, meant: impl Fn(&T) -> bool) -> Vec<T> {
        let keys: Vec<u64> = self.kept.iter().filter(|(_, (_, file))| meant(file)).map(|(key, _)| *key).collect();
        keys.iter().filter_map(|key| self.kept.pop(key)).map(|(_, file)| file).collect()
    }

    /// The server has no room for more opens. Removes and returns the half of the files whose opens have been idle
    /// longest; no more than the other half are kept from now on. Empty if there are no kept opens.
    #[must_use = "their opens are to be closed"]
    pub(crate) fn close_unused_half(&mut self, now: Instant) -> Vec<T> {
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

    /// Keeps `count` files with keys from 0. Returns how many of them were pushed out.
    fn keep(kept: &mut KeptOpens<u64>, count: u64, now: Instant) -> usize {
        (0..count).filter_map(|key| kept.keep(key, key, now)).count()
    }

    #[test]
    fn the_number_of_kept_opens_is_bounded() {
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
        assert_eq!(kept.close_unused_half(now), [1, 2, 3, 4]);
        assert_eq!(kept.keep(10, 10, now), Some(5), "the server allows three");
        assert_eq!(kept.close_unused_half(now), [6, 0]);
        assert_eq!(kept.close_unused_half(now), [10]);
        assert_eq!(kept.close_unused_half(now), [0; 0], "nothing is left to close");
        assert_eq!(kept.keep(1, 1, now), None, "one is always kept");
        assert_eq!(kept.keep(2, 2, now), Some(1));
    }

    #[test]
    fn the_bound_grows_slowly_and_no_further_than_at_first() {
        let (mut kept, start) = (KeptOpens::new(), Instant::now());
        assert_eq!(keep(&mut kept, 8, start), 0);
        assert_eq!(kept.close_unused_half(start).len(), 4);
        let bound = |kept: &mut KeptOpens<u64>, now| {
            let _ = kept.remove_matching(|_| true);
            10_000 - keep(kept, 10_000, now)
        };
        assert_eq!(bound(&mut kept, start + GROWS_AFTER - Duration::from_millis(1)), 4);
        assert_eq!(bound(&mut kept, start + GROWS_AFTER), 8);
        assert_eq!(bound(&mut kept, start + GROWS_AFTER * 3), 32, "the same as with questions in between");
        assert_eq!(bound(&mut kept, start + GROWS_AFTER * 20), MOST.get());
        assert_eq!(kept.close_unused_half(start + GROWS_AFTER * 20).len(), MOST.get() / 2);
        assert_eq!(bound(&mut kept, start + GROWS_AFTER * 20), MOST.get() / 2);
    }

    #[test]
    fn a_kept_open_that_is_not_used_again_is_closed_when_it_is_idle() {
        let (mut kept, start) = (KeptOpens::new(), Instant::now());
        assert_eq!(kept.keep(1, 1, start), None);
        assert_eq!(kept.keep(2, 2, start + IDLE / 2), None);
        assert_eq!(kept.expire(start + IDLE - Duration::from_millis(1)), [0; 0]);
        assert_eq!(kept.expire(start + IDLE), [1]);
        assert_eq!(kept.keep(2, 2, start + IDLE), None, "it was used in between");
        assert_eq!(kept.expire(start + 2 * IDLE - Duration::from_millis(1)), [0; 0]);
        assert_eq!(kept.expire(start + 2 * IDLE), [2]);
    }

    #[test]
    fn only_the_files_that_match_are_removed() {
        let (mut kept, now) = (KeptOpens::new(), Instant::now());
        assert_eq!(keep(&mut kept, 6, now), 0);
        let mut even = kept.remove_matching(|file| file % 2 == 0);
        even.sort_unstable();
        assert_eq!(even, [0, 2, 4]);
        assert_eq!(kept.remove_matching(|_| true).len(), 3);
    }
}
