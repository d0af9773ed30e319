//! When the server is asked for the next changes of a directory later than at once. A plain value.
//!
//! Own changes of names are reported one by one, and names are what is answered from a watch: it is armed again at once. A file
//! that is written has its directory report every WRITE, by which no name changes: a few of these in a row, and the next
//! question waits a moment. So it does where a server reports without end.

use super::namespace::Report;
use std::time::{Duration, Instant};

/// So many reports of own data in a row are a stream.
const STREAM: u32 = 4;
/// The pause in a stream.
const STREAM_PAUSE: Duration = Duration::from_millis(20);
/// So many reports...
const FLOOD: u32 = 200;
/// ... within this time are too many.
const FLOOD_WITHIN: Duration = Duration::from_millis(50);

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Brake {
    own_data: u32,
    reports: u32,
    since: Option<Instant>,
}

impl Brake {
    /// A report has come: how long to wait before the next question, if at all.
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
    fn names_are_asked_for_at_once_and_a_stream_of_own_data_now_and_then() {
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
        assert_eq!(pauses(&mut brake, start + 2 * FLOOD_WITHIN), 0, "so many in a longer time are not too many");
    }
}
