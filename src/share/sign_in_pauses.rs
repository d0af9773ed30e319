//! Which sign-ins were refused, and when the next one may be tried: a plain value.
//!
//! Invariant: within [`WINDOW`] a password is refused at most [`TRIES`] times, refusals of further connections
//! included, however many operations wait. Servers count refused passwords and lock the account. The auxiliary session
//! is not included: it has a pause of its own ([`super::auxiliary`]).
//!
//! A refusal here is a [`wire::Refusal`](crate::wire::Refusal): of the password, or of the account. The refusal of an
//! operation is [`super::Refusal`].

use crate::wire::Refusal;
use std::collections::VecDeque;
use std::time::Duration;
use tokio::time::Instant;

/// How often a password may be refused within [`WINDOW`]. Twice, because the first refusal can come from a domain
/// controller that does not know a new password yet. Servers usually lock an account after three to ten refusals.
const TRIES: usize = 2;
/// How long a refused password counts: servers usually count within half an hour.
const WINDOW: Duration = Duration::from_secs(30 * 60);
/// The shortest pause after a refused password, and the pause between attempts with an account that is disabled,
/// expired or locked.
const PAUSE: Duration = Duration::from_secs(60);

/// The refused sign-ins that still count.
#[derive(Debug, Default)]
pub(super) struct Refusals {
    /// The times of refused passwords, oldest first.
    passwords: VecDeque<Instant>,
    /// No sign-in before this time.
    sign_in: Option<Instant>,
    /// No sign-in of further connections before this time. The session itself was accepted.
    binding: Option<Instant>,
}

impl Refusals {
    /// Until when no sign-in may be tried; `None` if one may be tried now.
    pub(super) fn refused_until(&self, now: Instant) -> Option<Instant> {
        self.sign_in.filter(|until| *until > now)
    }

    /// Whether further connections may sign in.
    pub(super) fn allow_binding(&self, now: Instant) -> bool {
        self.binding.is_none_or(|until| until <= now)
    }

    /// Whether a sign-in was refused, and none was accepted since.
    pub(super) fn has_refused(&self) -> bool {
        self.sign_in.is_some()
    }

    /// A sign-in was refused.
    pub(super) fn refused(&mut self, refusal: Refusal, now: Instant) {
        self.sign_in = Some(match refusal {
            Refusal::Password => self.password_refused(now).unwrap_or(now + PAUSE),
            Refusal::Account => now + PAUSE,
        });
    }

    /// A sign-in succeeded, and the one of a further connection was refused.
    pub(super) fn binding_refused(&mut self, refusal: Refusal, now: Instant) {
        self.binding = Some(match refusal {
            Refusal::Password => {
                let _ = self.password_refused(now);
                now + WINDOW
            }
            Refusal::Account => now + PAUSE,
        });
    }

    /// A sign-in succeeded: the password is right.
    pub(super) fn accepted(&mut self) {
        self.passwords.clear();
        self.sign_in = None;
    }

    /// There are other credentials, or the user wants the old ones tried again: no earlier refusal counts.
    pub(super) fn forget(&mut self) {
        *self = Refusals::default();
    }

    /// Counts a refused password. Returns when a password may be sent again, if [`TRIES`] are used up.
    fn password_refused(&mut self, now: Instant) -> Option<Instant> {
        self.passwords.push_back(now);
        while self.passwords.len() > TRIES {
            self.passwords.pop_front();
        }
        let oldest = self.passwords.front().copied()?;
        (self.passwords.len() == TRIES).then(|| (oldest + WINDOW).max(now + PAUSE))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn minutes(minutes: u64) -> Duration {
        Duration::from_secs(60 * minutes)
    }

    /// An operation wants a sign-in every second for this time: the seconds at which one is made.
    fn tried(refusals: &mut Refusals, start: Instant, time: Duration, refusal: Refusal) -> Vec<u64> {
        let seconds = 0..time.as_secs();
        let tried = seconds.filter(|second| {
            let now = start + Duration::from_secs(*second);
            let allowed = refusals.refused_until(now).is_none();
            if allowed {
                refusals.refused(refusal, now);
            }
            allowed
        });
        tried.collect()
    }

    #[test]
    fn a_wrong_password_is_tried_twice_in_any_half_hour() {
        let tried = tried(&mut Refusals::default(), Instant::now(), minutes(10 * 60), Refusal::Password);
        assert_eq!(tried[..4], [0, 60, 1800, 1860]);
        assert!(tried.windows(3).all(|three| three[2] - three[0] >= 1800), "{tried:?}");
    }

    #[test]
    fn a_disabled_account_is_tried_once_a_minute() {
        let tried = tried(&mut Refusals::default(), Instant::now(), minutes(5), Refusal::Account);
        assert_eq!(tried, [0, 60, 120, 180, 240]);
    }

    #[test]
    fn a_refused_account_in_between_allows_no_more_password_attempts() {
        let (mut refusals, start) = (Refusals::default(), Instant::now());
        refusals.refused(Refusal::Password, start);
        refusals.refused(Refusal::Account, start + minutes(1));
        refusals.refused(Refusal::Password, start + minutes(2));
        assert_eq!(refusals.refused_until(start + minutes(2)), Some(start + minutes(30)));
    }

    #[test]
    fn a_refused_further_connection_counts_but_does_not_stop_the_session() {
        let (mut refusals, start) = (Refusals::default(), Instant::now());
        refusals.binding_refused(Refusal::Password, start);
        assert_eq!(refusals.refused_until(start), None);
        assert!(!refusals.allow_binding(start + minutes(29)));
        // The connection is lost a minute later, and the password is refused for the session too.
        refusals.refused(Refusal::Password, start + minutes(1));
        assert_eq!(refusals.refused_until(start + minutes(2)), Some(start + minutes(30)));
        assert!(refusals.allow_binding(start + minutes(30)));
    }

    #[test]
    fn an_accepted_session_does_not_let_further_connections_try_again() {
        let (mut refusals, start) = (Refusals::default(), Instant::now());
        refusals.binding_refused(Refusal::Password, start);
        refusals.accepted();
        assert!(!refusals.allow_binding(start + minutes(29)));
    }

    #[test]
    fn a_success_and_other_credentials_reset_the_count() {
        let (mut refusals, now) = (Refusals::default(), Instant::now());
        for forget in [Refusals::accepted, Refusals::forget] {
            refusals.refused(Refusal::Password, now);
            refusals.refused(Refusal::Password, now);
            assert!(refusals.refused_until(now + minutes(29)).is_some());
            forget(&mut refusals);
            assert_eq!(refusals.refused_until(now), None);
            assert!(!refusals.has_refused());
        }
        refusals.binding_refused(Refusal::Password, now);
        refusals.forget();
        assert!(refusals.allow_binding(now));
    }
}
