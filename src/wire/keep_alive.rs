//! The detection of a dead server on a quiet connection (MS-SMB2 3.2.6.1): a plain value.
//!
//! After an interval without a frame the connection is probed with an ECHO. After another interval without a frame the
//! server is given up. Every received frame proves that the server is alive. No ECHO is due before there is a session.

use std::time::{Duration, Instant};

/// The silence of one connection.
#[derive(Debug)]
pub struct KeepAlive {
    /// How long a connection is quiet before it is probed, and before a probe counts as failed.
    interval: Duration,
    /// When the last frame was received.
    last_received: Instant,
    /// When the connection was probed, if no frame was received since.
    probed: Option<Instant>,
    /// Whether there is a session: without one, no ECHO may be sent.
    has_session: bool,
}

/// The action that is due.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Due {
    /// An ECHO is to be sent.
    Probe,
    /// The connection is to end: the server was silent for at least this time.
    Silent(Duration),
}

impl KeepAlive {
    /// A new connection without a session.
    pub fn new(interval: Duration, now: Instant) -> KeepAlive {
        KeepAlive { interval, last_received: now, probed: None, has_session: false }
    }

    /// Records that there is a session from now on.
    pub fn begin(&mut self) {
        self.has_session = true;
    }

    /// Records a received frame.
    pub fn received(&mut self, now: Instant) {
        self.last_received = now;
        self.probed = None;
    }

    /// When the last frame was received; the start of the connection if none was.
    pub fn last_received(&self) -> Instant {
        self.last_received
    }

    /// When something is due next; `None` without a session.
    pub fn next_timeout(&self) -> Option<Instant> {
        // A probe counts from the time at which it was sent: a client process that was stopped for long sends it late.
        self.has_session.then(|| self.probed.unwrap_or(self.last_received) + self.interval)
    }

    /// The action that is due at `now`, if any. The caller carries it out.
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
    fn a_quiet_connection_is_probed_and_then_given_up() {
        let (mut line, start) = line();
        assert_eq!(line.on_timeout(start + INTERVAL / 2), None);
        assert_eq!(line.on_timeout(start + INTERVAL), Some(Due::Probe));
        assert_eq!(line.on_timeout(start + INTERVAL * 3 / 2), None);
        assert_eq!(line.on_timeout(start + 2 * INTERVAL), Some(Due::Silent(2 * INTERVAL)));
    }

    #[test]
    fn every_received_frame_proves_that_the_server_is_alive() {
        let (mut line, start) = line();
        assert_eq!(line.on_timeout(start + INTERVAL), Some(Due::Probe));
        line.received(start + INTERVAL * 3 / 2);
        assert_eq!(line.on_timeout(start + 2 * INTERVAL), None);
        assert_eq!(line.next_timeout(), Some(start + INTERVAL * 5 / 2));
    }

    #[test]
    fn a_client_that_was_stopped_still_waits_a_full_interval_for_the_probe() {
        let (mut line, start) = line();
        let late = start + 100 * INTERVAL;
        assert_eq!(line.on_timeout(late), Some(Due::Probe));
        assert_eq!(line.on_timeout(late + INTERVAL / 2), None);
    }

    #[test]
    fn a_connection_without_a_session_is_not_probed() {
        let start = Instant::now();
        let mut line = KeepAlive::new(INTERVAL, start);
        assert_eq!((line.next_timeout(), line.on_timeout(start + 9 * INTERVAL)), (None, None));
    }
}
