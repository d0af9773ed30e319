//! How a server that has gone is noticed on a quiet line (MS-SMB2 3.2.6.1): a plain value.
//!
//! When nothing has come for an interval, the line is probed with an ECHO. When nothing comes for another interval, the
//! server has gone. Anything that comes is a sign of life.

use std::time::{Duration, Instant};

/// The silence of one line.
#[derive(Debug)]
pub struct KeepAlive {
    interval: Duration,
    last_received: Instant,
    /// When the line was probed, if nothing has come since.
    probed: Option<Instant>,
    /// Whether there is a session: without one, no ECHO may be sent.
    has_session: bool,
}

/// What is due.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Due {
    /// An ECHO.
    Probe,
    /// The end: the server was silent for this long, at the least.
    Silent(Duration),
}

impl KeepAlive {
    /// A new line without a session.
    pub fn new(interval: Duration, now: Instant) -> KeepAlive {
        KeepAlive { interval, last_received: now, probed: None, has_session: false }
    }

    /// There is a session from now on.
    pub fn begin(&mut self) {
        self.has_session = true;
    }

    /// A frame has come.
    pub fn received(&mut self, now: Instant) {
        self.last_received = now;
        self.probed = None;
    }

    /// When a frame came last.
    pub fn last_received(&self) -> Instant {
        self.last_received
    }

    /// When something is due next.
    pub fn next_timeout(&self) -> Option<Instant> {
        // A probe counts from when it was sent: a process that was stopped for long sends it late.
        self.has_session.then(|| self.probed.unwrap_or(self.last_received) + self.interval)
    }

    /// What is due now.
    pub fn on_timeout(&mut self, now: Instant) -> Option<Due> {
        if self.next_timeout().is_none_or(|at| now < at) {
            return None;
        }
        match self.probed.replace(now) {
            None => Some(Due::Probe),
            Some(_) => Some(Due::Silent(2 * self.interval)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTERVAL: Duration = Duration::from_secs(10);

    fn line() -> (KeepAlive, Instant) {
        let now = Instant::now();
        let mut line = KeepAlive::new(INTERVAL, now);
        line.begin();
        (line, now)
    }

    #[test]
    fn a_quiet_line_is_probed_and_then_given_up() {
        let (mut line, start) = line();
        assert_eq!(line.on_timeout(start + INTERVAL / 2), None);
        assert_eq!(line.on_timeout(start + INTERVAL), Some(Due::Probe));
        assert_eq!(line.on_timeout(start + INTERVAL * 3 / 2), None);
        assert_eq!(line.on_timeout(start + 2 * INTERVAL), Some(Due::Silent(2 * INTERVAL)));
    }

    #[test]
    fn whatever_comes_is_a_sign_of_life() {
        let (mut line, start) = line();
        assert_eq!(line.on_timeout(start + INTERVAL), Some(Due::Probe));
        line.received(start + INTERVAL * 3 / 2);
        assert_eq!(line.on_timeout(start + 2 * INTERVAL), None);
        assert_eq!(line.next_timeout(), Some(start + INTERVAL * 5 / 2));
    }

    #[test]
    fn a_process_that_was_stopped_gives_the_server_its_time() {
        let (mut line, start) = line();
        let late = start + 100 * INTERVAL;
        assert_eq!(line.on_timeout(late), Some(Due::Probe));
        assert_eq!(line.on_timeout(late + INTERVAL / 2), None);
    }

    #[test]
    fn a_line_without_a_session_is_left_alone() {
        let start = Instant::now();
        let mut line = KeepAlive::new(INTERVAL, start);
        assert_eq!((line.next_timeout(), line.on_timeout(start + 9 * INTERVAL)), (None, None));
    }
}
