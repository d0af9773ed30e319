//! What is to be done about a session that was lost: a plain value.
//!
//! It remembers what became of the tries to get a new one, over all operations that want it: pauses ([`Backoff`]),
//! refused sign-ins ([`Refusals`]), a share that is refused, and a session at the server that does not end.

use super::backoff::Backoff;
use super::error::{Cause, Refused};
use super::refusals::Refusals;
use crate::wire::{ConnectError, NtStatus, Proof, Stage};
use std::time::Duration;
use tokio::time::Instant;

/// What may be done now.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Next {
    /// A try to connect; whether it names the session before it.
    Try { name_previous: bool },
    /// Nothing before this time.
    Wait(Instant),
    /// Operations fail: the server does not let us in.
    Refused(Refused),
}

/// The way from a lost session to the next one.
#[derive(Debug, Default)]
pub(super) struct Recovery {
    backoff: Backoff,
    refusals: Refusals,
    /// Why the session was lost.
    lost: String,
    /// Why the last try failed, if one did since then.
    failure: Option<Failure>,
    /// The server did not end the session before in time, when it was named the last time.
    previous_hangs: bool,
}

#[derive(Clone, PartialEq, Eq, Debug)]
enum Failure {
    Trouble(String),
    Refused(Refused),
}

impl Recovery {
    /// What may be done about a session that is lost.
    pub(super) fn next(&self, now: Instant) -> Next {
        match (&self.failure, self.refusals.refused_until(now), self.backoff.not_before(now)) {
            (Some(Failure::Refused(refused)), Some(_), _) => Next::Refused(refused.clone()),
            (Some(Failure::Refused(refused)), _, Some(_)) if is_denied(refused) => Next::Refused(refused.clone()),
            (_, _, Some(at)) => Next::Wait(at),
            _ => Next::Try { name_previous: !self.previous_hangs },
        }
    }

    /// Whether further connections may sign in.
    pub(super) fn allow_binding(&self, now: Instant) -> bool {
        self.refusals.allow_binding(now)
    }

    /// Whether the credentials were refused the last time.
    pub(super) fn has_refused_credentials(&self) -> bool {
        self.refusals.has_refused()
    }

    /// The session was lost, on which the server had answered for so long.
    pub(super) fn lost(&mut self, why: &str, active_for: Duration, now: Instant) {
        why.clone_into(&mut self.lost);
        self.failure = None;
        self.backoff.lost(active_for, now);
    }

    /// A try failed, that named the session before or did not. Whether that is news, and not what the one before it
    /// has said.
    pub(super) fn failed(&mut self, error: &ConnectError, named_previous: bool, now: Instant) -> bool {
        let failure = match Refused::of(error) {
            Some(refused) => Failure::Refused(refused),
            None => Failure::Trouble(error.to_string()),
        };
        let is_news = self.failure.as_ref() != Some(&failure);
        self.failure = Some(failure);
        // Without naming it the next try shows whether it is the session before that hangs, or all of the server.
        self.previous_hangs = named_previous && error.proof == Proof::Unanswered && error.status.is_none();
        match (error.refusal(), error.proof) {
            (Some(refusal), _) => self.refusals.refused(refusal, now),
            _ if self.previous_hangs => {}
            (None, Proof::NotSent) => self.backoff.unreachable(now),
            (None, _) => self.backoff.fruitless(now),
        }
        is_news
    }

    /// There is a new session. The sign-in of its further connections may have been refused.
    pub(super) fn connected(&mut self, binding_refused: Option<&ConnectError>, now: Instant) {
        self.backoff.connected();
        self.refusals.accepted();
        if let Some(refusal) = binding_refused.and_then(ConnectError::refusal) {
            self.refusals.binding_refused(refusal, now);
        }
        self.failure = None;
        self.previous_hangs = false;
    }

    /// There are new credentials, or the user wants the old ones tried.
    pub(super) fn renew(&mut self) {
        self.refusals.forget();
        self.backoff = Backoff::default();
        // If it is refused again, that is said again.
        self.failure = None;
    }

    /// Why there is no session.
    pub(super) fn why(&self) -> Cause {
        match &self.failure {
            Some(Failure::Refused(refused)) => Cause::NotLetIn(refused.clone()),
            Some(Failure::Trouble(trouble)) => Cause::Disconnected(format!("{}; {trouble}", self.lost)),
            None => Cause::Disconnected(format!("{}; it was not made again in time", self.lost)),
        }
    }
}

/// Whether this user may not use the share. One that is missing may come with the disks of a server that has just
/// begun to work: operations wait for it.
fn is_denied(refused: &Refused) -> bool {
    refused.stage == Stage::Share
        && matches!(refused.status, Some(NtStatus::ACCESS_DENIED | NtStatus::NETWORK_ACCESS_DENIED))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Refusal;

    const TRY: Next = Next::Try { name_previous: true };
    const TRY_UNNAMED: Next = Next::Try { name_previous: false };

    fn lost(now: Instant) -> Recovery {
        let mut recovery = Recovery::default();
        recovery.lost("reset", Duration::from_secs(60), now);
        recovery
    }

    fn refused(stage: Stage, status: NtStatus) -> ConnectError {
        ConnectError::refused(stage, "refused", status)
    }

    fn hangs() -> ConnectError {
        ConnectError::new(Stage::SignIn, "no answer").with_proof(Proof::Unanswered)
    }

    #[test]
    fn a_lost_connection_is_made_again_at_once() {
        let now = Instant::now();
        assert_eq!(lost(now).next(now), TRY);
    }

    #[test]
    fn a_refused_password_fails_everything_until_it_may_be_tried_again() {
        let now = Instant::now();
        let mut recovery = lost(now);
        let error = refused(Stage::SignIn, NtStatus::LOGON_FAILURE);
        assert!(recovery.failed(&error, true, now));
        let later = now + Duration::from_secs(59);
        assert!(matches!(recovery.next(later), Next::Refused(refused) if refused.stage == Stage::SignIn));
        assert!(matches!(recovery.why(), Cause::NotLetIn(_)));
        let again = now + Duration::from_secs(60);
        assert_eq!(recovery.next(again), TRY);
        assert!(!recovery.failed(&error, true, again), "it was said before");
        assert!(matches!(recovery.next(now + Duration::from_secs(1799)), Next::Refused(_)));
        recovery.renew();
        assert_eq!(recovery.next(again), TRY);
        assert!(recovery.failed(&error, true, again), "the user has changed something, and it is not enough");
    }

    #[test]
    fn a_guest_session_instead_of_the_users_is_a_refused_password() {
        let now = Instant::now();
        let mut recovery = lost(now);
        let guest = ConnectError::new(Stage::SignIn, "as guest").with_proof(Proof::Refused(Refusal::Password));
        recovery.failed(&guest, true, now);
        assert!(matches!(recovery.next(now), Next::Refused(_)));
    }

    #[test]
    fn a_session_that_does_not_end_is_not_named_the_next_time() {
        let now = Instant::now();
        let mut recovery = lost(now);
        recovery.failed(&hangs(), true, now);
        assert_eq!(recovery.next(now), TRY_UNNAMED);
        recovery.connected(None, now);
        recovery.lost("reset", Duration::from_secs(60), now);
        assert_eq!(recovery.next(now), TRY, "the next one is named");
    }

    #[test]
    fn a_server_that_answers_no_sign_in_is_asked_to_end_the_session_every_other_time() {
        let now = Instant::now();
        let mut recovery = lost(now);
        recovery.failed(&hangs(), true, now);
        recovery.failed(&hangs(), false, now);
        let Next::Wait(at) = recovery.next(now) else { panic!("no pause after two sign-ins without an answer") };
        assert_eq!(recovery.next(at), TRY);
    }

    #[test]
    fn a_share_that_is_denied_fails_operations_and_one_that_is_missing_lets_them_wait() {
        let now = Instant::now();
        let mut recovery = lost(now);
        recovery.failed(&refused(Stage::Share, NtStatus::ACCESS_DENIED), true, now);
        assert!(matches!(recovery.next(now), Next::Refused(_)));
        assert_eq!(recovery.next(now + Duration::from_millis(100)), TRY);
        recovery.failed(&refused(Stage::Share, NtStatus::BAD_NETWORK_NAME), true, now);
        assert_eq!(recovery.next(now), Next::Wait(now + Duration::from_millis(200)));
        assert!(matches!(recovery.why(), Cause::NotLetIn(_)));
    }

    #[test]
    fn trouble_of_the_server_refuses_nobody() {
        let now = Instant::now();
        let mut recovery = lost(now);
        recovery.failed(&refused(Stage::SignIn, NtStatus::NO_LOGON_SERVERS), true, now);
        assert!(matches!(recovery.next(now), Next::Wait(_)));
        recovery.failed(&refused(Stage::Share, NtStatus::NO_MEMORY), true, now);
        assert!(matches!(recovery.next(now), Next::Wait(_)));
        assert!(matches!(recovery.why(), Cause::Disconnected(_)));
    }

    #[test]
    fn further_connections_that_are_refused_are_not_tried_with_every_session() {
        let now = Instant::now();
        let mut recovery = lost(now);
        assert!(recovery.allow_binding(now));
        recovery.connected(Some(&refused(Stage::SignIn, NtStatus::LOGON_FAILURE)), now);
        assert!(!recovery.allow_binding(now));
        recovery.lost("reset", Duration::from_secs(60), now);
        assert_eq!(recovery.next(now), TRY, "the session itself was let in");
        recovery.connected(None, now);
        assert!(!recovery.allow_binding(now));
    }
}
