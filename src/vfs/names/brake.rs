//! [`Brake`] decides how long a watch waits before its next CHANGE_NOTIFY. A plain value.
//!
//! After a report of names the watch is armed again at once, because until then no name is answered from it, and own
//! changes of names are reported one by one. A file that is being written makes its directory report every WRITE,
//! though no name changes: from the [`STREAM`]th such report in a row on, each next CHANGE_NOTIFY waits
//! [`STREAM_PAUSE`]. After [`FLOOD`] reports of any kind in less than [`FLOOD_WITHIN`] the next one waits
//! [`FLOOD_WITHIN`].

use super::namespace::Report;
use std::time::{Duration, Instant};

/// Reports of own data in a row, from which on they are a stream.
const STREAM: u32 = 4;
/// The pause before each CHANGE_NOTIFY during a stream.
const STREAM_PAUSE: Duration = Duration::from_millis(20);
/// Reports that are too many within [`FLOOD_WITHIN`].
const FLOOD: u32 = 200;
/// The time in which [`FLOOD`] reports are too many, and the pause after them.
const FLOOD_WITHIN: Duration = Duration::from_millis(50);

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Brake {
    /// Reports of own data since the last report of another kind.
    own_data: u32,
    /// Reports since `since`.
    reports: u32,
    /// When the count of `reports` began.
    since: Option<Instant>,
}

impl Brake {
    /// A report has arrived. Returns the pause before the next CHANGE_NOTIFY, if any.
    pub(super) fn on(&mut self, report: Report, now: Instant) -> Option<Duration> {
        self.own_data = if report == Report::OwnData { self.own_data + 1 } else { 0 };
        let since = *self.since.get_or_insert(now);
        self.reports += 1;
        if self.reports >= FLOOD {
            (self.reports, self.since) = (0, None);
            if now.saturating_duration_since(since) < FLOOD_WITHIN {
                return Some(FLOOD_WITHIN);
            }
        }
        (self.own_data >= STREAM).then_some(STREAM_PAUSE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reported_names_arm_the_watch_at_once_and_a_stream_of_own_data_after_a_pause() {
        let (mut brake, now) = (Brake::default(), Instant::now());
        for _ in 1..STREAM {
            assert_eq!(brake.on(Report::OwnData, now), None);
        }
        assert_eq!(brake.on(Report::OwnData, now), Some(STREAM_PAUSE));
        assert_eq!(brake.on(Report::OwnNames, now), None);
        assert_eq!(brake.on(Report::OwnData, now), None, "the stream is over");
        assert_eq!(brake.on(Report::ByOthers { gone: false }, now), None);
    }

    #[test]
    fn a_server_that_reports_without_end_does_not_keep_the_client_busy() {
        let (mut brake, start) = (Brake::default(), Instant::now());
        let others = Report::ByOthers { gone: false };
        let pauses = |brake: &mut Brake, now| (0..FLOOD).filter_map(|_| brake.on(others, now)).count();
        assert_eq!(pauses(&mut brake, start), 1);
        assert_eq!(brake.on(others, start), None);
        assert_eq!(pauses(&mut brake, start + 2 * FLOOD_WITHIN), 0, "as many reports in a longer time are no flood");
    }
}
