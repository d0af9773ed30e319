//! Times of changes by this mount that the server has not reported yet. A plain value.
//!
//! While a file is open, Samba reports a write time up to two seconds after the WRITE. It has no ChangeTime of its
//! own, and reports the write time instead. So a time that this mount knows is shown until the server reports a later
//! one.
//!
//! Invariant: an estimate is never part of the metadata by which versions of a file are compared.

use crate::share::{FileTime, Metadata};
use std::time::{Duration, Instant};

/// How long an estimated write time is shown if the server reports no other: longer than Samba's delay of two
/// seconds. A time that has not changed by then is right: a program set it, and the server does not move a time that
/// was set through the handle of the WRITEs.
const DELAY: Duration = Duration::from_secs(3);

/// Estimated times, by the server's clock.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct EstimatedTimes {
    /// The ChangeTime is at least this. A server that keeps ChangeTimes reports a later one.
    changed: FileTime,
    /// The estimated write time, and until when it is shown.
    written: Option<(FileTime, Instant)>,
}

impl EstimatedTimes {
    /// This mount wrote at `clock`.
    pub(super) fn wrote(&mut self, clock: FileTime, now: Instant) {
        self.written = Some((clock, now + DELAY));
    }

    /// The server has answered for the data written before: the server's delay begins now.
    pub(super) fn sent(&mut self, now: Instant) {
        self.written = self.written.map(|(time, _)| (time, now + DELAY));
    }

    /// The server has reported a new write time, or a program has set one: the estimate ends.
    pub(super) fn write_time_known(&mut self) {
        self.written = None;
    }

    /// This mount changed attributes, times or the name at `clock`. The ChangeTime always increases: the time `shown`
    /// until now may be ahead of the clock.
    pub(super) fn changed(&mut self, shown: &Metadata, clock: FileTime) {
        self.changed = clock.max(FileTime(change_time(shown).0.saturating_add(1)));
    }

    /// Metadata that the server reported, with the estimated times.
    pub(super) fn over(&self, metadata: Metadata, now: Instant) -> Metadata {
        let written = self.written.filter(|(_, until)| now < *until).map(|(time, _)| time);
        let modified = written.map_or(metadata.modified, |written| written.max(metadata.modified));
        let latest = written.unwrap_or_default().max(self.changed);
        let changed = if latest > change_time(&metadata) { latest } else { metadata.changed };
        Metadata { modified, changed, ..metadata }
    }
}

/// The ChangeTime; the write time if it is 0, which servers report for a time that they do not keep.
fn change_time(metadata: &Metadata) -> FileTime {
    if metadata.changed == FileTime(0) { metadata.modified } else { metadata.changed }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reported(modified: u64, changed: u64) -> Metadata {
        Metadata { modified: FileTime(modified), changed: FileTime(changed), ..Metadata::default() }
    }

    #[test]
    fn the_times_of_the_server_are_shown_while_nothing_is_estimated() {
        let (none, now) = (EstimatedTimes::default(), Instant::now());
        assert_eq!(none.over(reported(7, 9), now), reported(7, 9));
        assert_eq!(none.over(reported(7, 0), now), reported(7, 0));
    }

    #[test]
    fn a_write_time_is_shown_until_the_servers_delay_is_over() {
        let (mut times, now) = (EstimatedTimes::default(), Instant::now());
        times.wrote(FileTime(50), now);
        assert_eq!(times.over(reported(7, 7), now), reported(50, 50));
        assert_eq!(times.over(reported(60, 55), now), reported(60, 55), "times never go back");
        times.sent(now + DELAY / 2);
        assert_eq!(times.over(reported(7, 7), now + DELAY), reported(50, 50), "the WRITE was sent later");
        assert_eq!(times.over(reported(7, 7), now + DELAY * 3 / 2), reported(7, 7));
    }

    #[test]
    fn a_change_time_moves_with_each_change_and_never_goes_back() {
        let (mut times, now) = (EstimatedTimes::default(), Instant::now());
        times.changed(&reported(7, 7), FileTime(50));
        assert_eq!(times.over(reported(7, 7), now + 10 * DELAY), reported(7, 50));
        times.changed(&times.over(reported(7, 7), now), FileTime(50));
        assert_eq!(times.over(reported(7, 7), now), reported(7, 51), "also within one tick of the clock");
        assert_eq!(times.over(reported(7, 52), now), reported(7, 52), "the server's own is later");
    }

    #[test]
    fn a_change_moves_the_change_time_of_a_server_that_keeps_none() {
        let (mut times, now) = (EstimatedTimes::default(), Instant::now());
        times.changed(&reported(100, 0), FileTime(50));
        assert_eq!(times.over(reported(100, 0), now), reported(100, 101));
        assert_eq!(times.over(reported(200, 0), now), reported(200, 0));
    }
}
