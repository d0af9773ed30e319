//! How much of a copy one request to the server carries: a plain value.
//!
//! Two things bound a slice: what the server accepts in one request, and how much it copies well before the deadline,
//! because a request that takes longer than its deadline is lost. The second bound is learnt: the first slice is
//! small, and each slice that took less than its share of the deadline makes the next one larger. So a disk may be
//! slow, or become slow in the middle of a copy, and each slice still ends long before its deadline.
//!
//! Invariant: a failure concerns one slice only, because each slice is a request of its own.

use crate::wire::NtStatus;
use crate::wire::messages::ioctl::Chunks;
use std::time::Duration;

/// What Windows and Samba accept (MS-SMB2 3.3.3: ServerSideCopyMaxNumberofChunks, …MaxChunkSize, …MaxDataSize):
/// chunks per request, bytes per chunk, bytes per request.
const DEFAULT_LIMITS: Chunks = Chunks { count: 256, bytes: 1 << 20, total: 16 << 20 };
/// The first slice, in bytes.
const FIRST: u32 = 1 << 20;
/// The smallest slice, in bytes. A smaller one costs more than it saves.
const SMALLEST: u32 = 64 * 1024;
/// A slice may take this fraction of the deadline: one eighth. The rest is for a disk that becomes slower.
const SHARE_OF_DEADLINE: u32 = 8;

/// What is known of a server's copies.
#[derive(Debug)]
pub(super) struct Slices {
    limits: Chunks,
    /// The largest slice that is copied in time, in bytes.
    pace: u32,
    /// How long a slice may take.
    patience: Duration,
    ability: Ability,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Ability {
    Unknown,
    Proven,
    /// The server has answered that it cannot copy.
    None(NtStatus),
}

/// The next slice to be copied.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Slice {
    /// Its length, in bytes.
    pub(super) length: u32,
    /// The length of each chunk, in bytes.
    pub(super) chunk: u32,
}

impl Slices {
    pub(super) fn new(deadline: Duration) -> Slices {
        let patience = deadline / SHARE_OF_DEADLINE;
        Slices { limits: DEFAULT_LIMITS, pace: FIRST, patience, ability: Ability::Unknown }
    }

    /// The next slice of a copy of `length` bytes.
    ///
    /// # Errors
    /// The server's status, if it cannot copy.
    pub(super) fn next(&self, length: u32) -> Result<Slice, NtStatus> {
        if let Ability::None(status) = self.ability {
            return Err(status);
        }
        let most = self.limits.count.saturating_mul(self.limits.bytes).min(self.limits.total);
        Ok(Slice { length: length.min(self.pace).min(most), chunk: self.limits.bytes })
    }

    /// A slice of `length` bytes was copied in this time.
    pub(super) fn copied(&mut self, length: u32, took: Duration) {
        self.ability = Ability::Proven;
        let in_time = u128::from(length) * self.patience.as_millis() / took.as_millis().max(1);
        let in_time = u32::try_from(in_time).unwrap_or(u32::MAX).max(SMALLEST);
        if took > self.patience {
            self.pace = self.pace.min(in_time);
        } else if length >= self.pace {
            // A shorter slice that was fast enough says nothing about longer ones.
            self.pace = in_time.min(self.pace.saturating_mul(2)).min(DEFAULT_LIMITS.total);
        }
    }

    /// A slice of `length` bytes was not answered in time.
    pub(super) fn timed_out(&mut self, length: u32) {
        self.pace = self.pace.min(length / SHARE_OF_DEADLINE).max(SMALLEST);
    }

    /// The server refused a slice and reports its limits. Returns whether the next slice, or its chunk, is smaller than
    /// the refused one.
    pub(super) fn limited(&mut self, limits: Chunks, refused: Slice) -> bool {
        if limits.count == 0 || limits.bytes == 0 || limits.total == 0 {
            return false;
        }
        self.limits = Chunks {
            count: limits.count.min(DEFAULT_LIMITS.count),
            bytes: limits.bytes.min(DEFAULT_LIMITS.bytes),
            total: limits.total.min(DEFAULT_LIMITS.total),
        };
        self.next(refused.length).is_ok_and(|slice| slice.length < refused.length || slice.chunk < refused.chunk)
    }

    /// The server answers that it cannot do this. If it has copied before, the answer concerns these files; otherwise
    /// it is not asked again.
    pub(super) fn refused(&mut self, status: NtStatus) {
        if self.ability == Ability::Unknown {
            self.ability = Ability::None(status);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEADLINE: Duration = Duration::from_secs(32);
    const MIB: u32 = 1 << 20;

    fn slices() -> Slices {
        Slices::new(DEADLINE)
    }

    fn length(slices: &Slices) -> u32 {
        slices.next(u32::MAX).unwrap().length
    }

    /// Copies on a disk of this speed, in bytes per second. Returns the longest time of a slice.
    fn copy(slices: &mut Slices, speed: u64, rounds: usize) -> Duration {
        let mut longest = Duration::ZERO;
        for _ in 0..rounds {
            let length = length(slices);
            let took = Duration::from_millis(u64::from(length) * 1000 / speed);
            slices.copied(length, took);
            longest = longest.max(took);
        }
        longest
    }

    #[test]
    fn slices_grow_to_what_the_server_accepts() {
        let mut slices = slices();
        assert_eq!(slices.next(u32::MAX), Ok(Slice { length: MIB, chunk: MIB }));
        copy(&mut slices, 1 << 30, 10);
        assert_eq!(slices.next(u32::MAX), Ok(Slice { length: 16 * MIB, chunk: MIB }));
        assert_eq!(slices.next(10), Ok(Slice { length: 10, chunk: MIB }));
    }

    #[test]
    fn each_slice_ends_long_before_its_deadline_on_a_disk_of_any_speed() {
        for speed in [1 << 30, 100 << 20, 1 << 20, 64 << 10, 40 << 10] {
            assert!(copy(&mut slices(), speed, 100) < DEADLINE, "{speed} bytes a second");
        }
        // A disk that becomes four times slower in the middle.
        let mut slices = slices();
        copy(&mut slices, 1 << 20, 100);
        assert!(copy(&mut slices, 256 << 10, 1) < DEADLINE);
        assert!(copy(&mut slices, 256 << 10, 100) <= DEADLINE / 8);
    }

    #[test]
    fn a_timeout_makes_slices_smaller_and_they_grow_again() {
        let mut slices = slices();
        copy(&mut slices, 1 << 30, 10);
        slices.timed_out(16 * MIB);
        assert_eq!(length(&slices), 2 * MIB);
        for _ in 0..10 {
            slices.timed_out(length(&slices));
        }
        assert_eq!(length(&slices), SMALLEST);
        copy(&mut slices, 1 << 30, 10);
        assert_eq!(length(&slices), 16 * MIB);
    }

    #[test]
    fn a_short_copy_says_nothing_about_long_ones_unless_it_was_slow() {
        let mut slices = slices();
        slices.copied(10, Duration::from_millis(1));
        slices.copied(10, Duration::from_secs(1));
        assert_eq!(length(&slices), MIB);
        slices.copied(10, Duration::from_secs(10));
        assert_eq!(length(&slices), SMALLEST);
    }

    #[test]
    fn the_limits_of_the_server_are_respected_and_remembered() {
        let mut slices = slices();
        copy(&mut slices, 1 << 30, 10);
        let refused = slices.next(u32::MAX).unwrap();
        assert!(slices.limited(Chunks { count: 16, bytes: 65_536, total: 2 * MIB }, refused));
        assert_eq!(slices.next(u32::MAX), Ok(Slice { length: MIB, chunk: 65_536 }));
        assert!(!slices.limited(Chunks { count: 16, bytes: 65_536, total: MIB }, slices.next(u32::MAX).unwrap()));
        assert!(!slices.limited(Chunks { count: 0, bytes: 65_536, total: MIB }, slices.next(u32::MAX).unwrap()));
        let huge = Chunks { count: u32::MAX, bytes: u32::MAX, total: u32::MAX };
        assert!(!slices.limited(huge, refused), "larger limits are not used");
        assert_eq!(slices.next(u32::MAX), Ok(Slice { length: 16 * MIB, chunk: MIB }));
    }

    #[test]
    fn a_server_that_cannot_copy_is_asked_once() {
        let mut unable = slices();
        unable.refused(NtStatus::NOT_SUPPORTED);
        assert_eq!(unable.next(100), Err(NtStatus::NOT_SUPPORTED));

        let mut able = slices();
        able.copied(100, Duration::ZERO);
        able.refused(NtStatus::NOT_SUPPORTED);
        assert!(able.next(100).is_ok(), "it cannot copy these files, but may copy others");
    }
}
