//! The pause before the next attempt to reach a server: a plain value.
//!
//! The value outlives operations and connections. A server that is away is tried again every two seconds at the latest.
//! Connections that are lost soon after they were made cost the server a sign-in each: there the pauses grow longer,
//! until a connection has proved good. They grow longest where sign-ins have no result at all.

use std::time::Duration;
use tokio::time::Instant;

/// The first pause. Each further failure doubles it.
const FIRST: Duration = Duration::from_millis(100);
/// The longest pause while the server cannot be reached.
const LONGEST_AWAY: Duration = Duration::from_secs(2);
/// The longest pause after connections that were soon lost. A bad line is usually repaired within it, and it is
/// shorter than the wait of an operation.
const LONGEST_BRIEF: Duration = Duration::from_secs(4);
/// The longest pause after sign-ins that had no result.
const LONGEST_FRUITLESS: Duration = Duration::from_secs(30);
/// After this many failures in all, sign-ins without a result and soon lost connections, the next attempt waits for an
/// operation.
const UNASKED: u32 = 10;
/// A connection on which the server still answers this long after it was made is good: its loss is repaired at once.
const PROVEN: Duration = Duration::from_secs(5);

/// Counts of consecutive failures, and the time of the next attempt.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Backoff {
    /// Attempts that did not get as far as a sign-in.
    away: u32,
    /// Sign-ins without a result, and connections that were soon lost.
    brief: u32,
    /// Sign-ins without a result since the last connection. Counted apart, so that a bad line does not cause their
    /// long pauses.
    fruitless: u32,
    not_before: Option<Instant>,
}

impl Backoff {
    /// The server could not be reached.
    pub(super) fn unreachable(&mut self, now: Instant) {
        self.away = self.away.saturating_add(1);
        self.not_before = Some(now + pause(self.away, LONGEST_AWAY));
    }

    /// The server was reached, and the sign-in or a step after it had no result.
    pub(super) fn fruitless(&mut self, now: Instant) {
        (self.brief, self.fruitless) = (self.brief.saturating_add(1), self.fruitless.saturating_add(1));
        self.not_before = Some(now + pause(self.fruitless, LONGEST_FRUITLESS));
    }

    /// A connection was made.
    pub(super) fn connected(&mut self) {
        (self.away, self.fruitless) = (0, 0);
        self.not_before = None;
    }

    /// A connection was lost on which the server answered for `active_for` after it was made. The first loss is
    /// repaired at once, whatever the age of the connection.
    pub(super) fn lost(&mut self, active_for: Duration, now: Instant) {
        if active_for >= PROVEN {
            self.brief = 0;
            self.not_before = None;
            return;
        }
        self.not_before = (self.brief > 0).then(|| now + pause(self.brief, LONGEST_BRIEF));
        self.brief = self.brief.saturating_add(1);
    }

    /// Whether the next attempt waits for an operation. A server may count a sign-in that it does not answer, and
    /// lock the account.
    pub(super) fn is_for_operations(&self) -> bool {
        self.brief >= UNASKED
    }

    /// The time of the next attempt; `None` if it may be made now.
    pub(super) fn not_before(&self, now: Instant) -> Option<Instant> {
        self.not_before.filter(|at| *at > now)
    }
}

/// The pause after this many failures: it doubles from [`FIRST`] up to `longest`.
fn pause(failures: u32, longest: Duration) -> Duration {
    let doubled = 1_u32.checked_shl(failures.saturating_sub(1)).unwrap_or(u32::MAX);
    FIRST.saturating_mul(doubled).min(longest)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The pauses after each of `count` failures, in milliseconds.
    fn pauses(backoff: &mut Backoff, count: usize, fail: impl Fn(&mut Backoff, Instant)) -> Vec<u128> {
        let mut now = Instant::now();
        let mut pauses = Vec::new();
        for _ in 0..count {
            fail(backoff, now);
            let next = backoff.not_before(now).unwrap_or(now);
            pauses.push((next - now).as_millis());
            now = next;
        }
        pauses
    }

    fn made_and_lost(backoff: &mut Backoff, now: Instant) {
        backoff.connected();
        backoff.lost(Duration::from_millis(20), now);
    }

    #[test]
    fn a_server_that_is_away_is_tried_again_soon() {
        let waits = pauses(&mut Backoff::default(), 7, Backoff::unreachable);
        assert_eq!(waits, [100, 200, 400, 800, 1600, 2000, 2000]);
    }

    #[test]
    fn pauses_grow_while_connections_are_soon_lost() {
        let waits = pauses(&mut Backoff::default(), 11, made_and_lost);
        assert_eq!(waits, [0, 100, 200, 400, 800, 1600, 3200, 4000, 4000, 4000, 4000]);
    }

    #[test]
    fn the_loss_of_a_good_connection_is_repaired_at_once() {
        let mut backoff = Backoff::default();
        pauses(&mut backoff, 9, made_and_lost);
        backoff.connected();
        let now = Instant::now();
        backoff.lost(Duration::from_secs(6), now);
        assert_eq!(backoff.not_before(now), None);
        assert_eq!(pauses(&mut backoff, 2, made_and_lost), [0, 100]);
    }

    #[test]
    fn an_idle_mount_does_not_repeat_fruitless_sign_ins_all_night() {
        let mut backoff = Backoff::default();
        pauses(&mut backoff, 60, Backoff::unreachable);
        assert!(!backoff.is_for_operations(), "a server that is away costs no sign-in");
        pauses(&mut backoff, UNASKED as usize - 1, Backoff::fruitless);
        assert!(!backoff.is_for_operations());
        pauses(&mut backoff, 1, Backoff::fruitless);
        assert!(backoff.is_for_operations());
        backoff.connected();
        backoff.lost(PROVEN, Instant::now());
        assert!(!backoff.is_for_operations());
    }

    #[test]
    fn a_fruitless_sign_in_on_a_bad_line_is_soon_repeated() {
        let mut backoff = Backoff::default();
        pauses(&mut backoff, 12, made_and_lost);
        assert_eq!(pauses(&mut backoff, 3, Backoff::fruitless), [100, 200, 400]);
    }

    #[test]
    fn a_long_absence_of_the_server_does_not_count_against_a_connection() {
        let mut backoff = Backoff::default();
        pauses(&mut backoff, 60, Backoff::unreachable);
        assert_eq!(pauses(&mut backoff, 2, made_and_lost), [0, 100]);
    }

    #[test]
    fn sign_ins_without_a_result_count_as_soon_lost_connections() {
        let mut backoff = Backoff::default();
        assert_eq!(pauses(&mut backoff, 4, Backoff::fruitless), [100, 200, 400, 800]);
        assert_eq!(pauses(&mut backoff, 2, made_and_lost), [1600 / 2, 1600]);
        assert_eq!(pauses(&mut backoff, 40, Backoff::fruitless).last(), Some(&30_000));
    }
}
