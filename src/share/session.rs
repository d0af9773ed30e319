//! The state of the session, and what may be done after it is lost: a plain value.
//!
//! The states are `Live → Lost → Reconnecting → Reclaiming → Verifying → Live`; a failed attempt to reconnect leads
//! back to `Lost`. The value keeps the results of all attempts, whichever operation wanted them: pauses
//! ([`Backoff`]), refused sign-ins ([`Refusals`]), a refused share, and a previous session that does not end at the
//! server.
//!
//! An *outage* begins when the session is lost, or earlier: with the request whose missing answer caused the loss.
//! Operations wait for the end of the outage for as long as one operation may take, counted from the beginning of the
//! outage and not of each operation. After that they fail at once until there is a session again. Two exceptions: the
//! first attempt, each attempt for an operation, and the one after a session that hangs have [`FIRST_ANSWER`]; and once
//! the server has answered an attempt, operations wait for its end until their own deadlines.

use super::backoff::Backoff;
use super::error::{Away, Cause, Refused};
use super::sign_in_pauses::Refusals;
use crate::wire::{ConnectError, NtStatus, Proof, Stage};
use std::time::Duration;
use tokio::time::Instant;

/// The time that the server has to answer an attempt, however long the outage has lasted: a new connection often
/// repairs a silent one.
const FIRST_ANSWER: Duration = Duration::from_secs(2);

/// What may be done about a lost session now.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Next {
    /// Begin an attempt to connect; `name_previous` says whether it names the previous session.
    Try { name_previous: bool },
    /// Nothing before this time.
    Wait(Instant),
    /// Nothing until the attempt in flight has ended, or an operation wants a session.
    WaitForNews,
    /// Operations fail: the server refuses the sign-in, or denies the share to this user.
    Refused(Refused),
}

/// What a session is wanted for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum For {
    /// An operation of a program.
    Operation,
    /// No operation waits for it: the background task wants it for later operations.
    Later,
}

/// The state of the session.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SessionState {
    /// The session works, as far as is known.
    Live,
    /// The session was lost, and no attempt to reconnect is in flight.
    Lost,
    /// An attempt to reconnect is in flight.
    Reconnecting,
    /// There is a new session, in which files are opened again.
    Reclaiming,
    /// There is a new session, in which changes without an answer are verified.
    Verifying,
}

/// What is done in a new session because the previous one was lost.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Repair {
    /// Opening a file again.
    Reclaim,
    /// Verifying a change without an answer.
    Verify,
}

/// The session as all operations share it.
#[derive(Debug, Default)]
pub(super) struct Session {
    backoff: Backoff,
    refusals: Refusals,
    /// The current outage.
    outage: Option<Outage>,
    /// Why the last attempt failed, if one failed since the session was lost and since [`Session::renew`].
    failure: Option<Failure>,
    /// The last attempt named the previous session, and the server did not end that session in time.
    previous_hangs: bool,
    /// How many repairs of each kind are in progress, indexed by [`Repair`].
    repairs: [usize; 2],
}

#[derive(Debug)]
struct Outage {
    /// Why the session was lost.
    why: String,
    began: Instant,
    /// Until when the server has time to answer an attempt.
    hope: Instant,
    /// The attempt in flight.
    trying: Option<Trying>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Trying {
    Asks,
    /// The server has answered: it is not away.
    Answered,
}

#[derive(Clone, PartialEq, Eq, Debug)]
enum Failure {
    Trouble(Stage, String),
    Refused(Refused),
}

impl Session {
    /// The state.
    pub(super) fn state(&self) -> SessionState {
        match (&self.outage, self.repairs) {
            (Some(Outage { trying: None, .. }), _) => SessionState::Lost,
            (Some(Outage { trying: Some(_), .. }), _) => SessionState::Reconnecting,
            (None, [0, 0]) => SessionState::Live,
            (None, [0, _]) => SessionState::Verifying,
            (None, _) => SessionState::Reclaiming,
        }
    }

    /// How long the outage has lasted, and its cause; `None` if there is a session.
    pub(super) fn outage(&self, now: Instant) -> Option<(Duration, String)> {
        let Outage { began, why, .. } = self.outage.as_ref()?;
        let cause = match &self.failure {
            Some(Failure::Refused(refused)) => refused.message.clone(),
            Some(Failure::Trouble(_, trouble)) => format!("{why}; {trouble}"),
            None => why.clone(),
        };
        Some((now.saturating_duration_since(*began), cause))
    }

    /// Whether there is no session.
    pub(super) fn is_lost(&self) -> bool {
        self.outage.is_some()
    }

    /// What may be done about a lost session. After refused credentials, or repeated sign-ins without a result,
    /// attempts are made for operations only: an idle mount must not lock an account.
    pub(super) fn next(&self, wanted: For, now: Instant) -> Next {
        let is_trying = self.outage.as_ref().is_some_and(|outage| outage.trying.is_some());
        let is_for_operations = self.has_refused_credentials() || self.backoff.is_for_operations();
        if is_trying || (wanted == For::Later && is_for_operations) {
            return Next::WaitForNews;
        }
        match (&self.failure, self.refusals.refused_until(now), self.backoff.not_before(now)) {
            (Some(Failure::Refused(refused)), Some(_), _) => Next::Refused(refused.clone()),
            (Some(Failure::Refused(refused)), _, Some(_)) if is_denied(refused) => Next::Refused(refused.clone()),
            (_, _, Some(at)) => Next::Wait(at),
            _ => Next::Try { name_previous: !self.previous_hangs },
        }
    }

    /// Whether further connections of the session may sign in.
    pub(super) fn allow_binding(&self, now: Instant) -> bool {
        self.refusals.allow_binding(now)
    }

    /// Whether the server refused the credentials, and accepted none since.
    pub(super) fn has_refused_credentials(&self) -> bool {
        self.refusals.has_refused()
    }

    /// The session was lost. The server answered on it for `active_for` after it was made. The outage began at
    /// the earlier of `began` and `now`.
    pub(super) fn lost(&mut self, why: &str, active_for: Duration, began: Instant, now: Instant) {
        self.outage =
            Some(Outage { why: why.to_owned(), began: began.min(now), hope: now + FIRST_ANSWER, trying: None });
        self.failure = None;
        self.backoff.lost(active_for, now);
    }

    /// An attempt to connect begins. If an operation wants it, the server gets time to answer.
    pub(super) fn tries(&mut self, wanted: For, now: Instant) {
        let Some(outage) = &mut self.outage else { return };
        outage.trying = Some(Trying::Asks);
        if wanted == For::Operation {
            outage.hope = outage.hope.max(now + FIRST_ANSWER);
        }
    }

    /// The server has answered the attempt.
    pub(super) fn answered(&mut self) {
        if let Some(outage) = &mut self.outage {
            outage.trying = outage.trying.map(|_| Trying::Answered);
        }
    }

    /// Until when an operation waits for a lost session, if the operation may take until `deadline` and every
    /// operation may take `patience`.
    pub(super) fn waits_until(&self, deadline: Instant, patience: Duration) -> Instant {
        let Some(outage) = &self.outage else { return deadline };
        match outage.trying {
            Some(Trying::Answered) => deadline,
            _ => deadline.min((outage.began + patience).max(outage.hope)),
        }
    }

    /// An attempt has failed; `named_previous` says whether it named the previous session. Returns whether the
    /// failure differs from the one before it.
    pub(super) fn failed(&mut self, error: &ConnectError, named_previous: bool, now: Instant) -> bool {
        let failure = match Refused::of(error) {
            Some(refused) => Failure::Refused(refused),
            None => Failure::Trouble(error.stage, error.to_string()),
        };
        let is_news = self.failure.as_ref() != Some(&failure);
        self.failure = Some(failure);
        // The next attempt does not name the previous session: it shows whether that session hangs or the whole server.
        self.previous_hangs = named_previous && error.proof == Proof::Unanswered && error.status.is_none();
        if let Some(outage) = &mut self.outage {
            outage.trying = None;
            outage.hope = if self.previous_hangs { now + FIRST_ANSWER } else { outage.began };
        }
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
        self.outage = None;
        self.previous_hangs = false;
    }

    /// A repair begins: a file is opened again, or a change is verified. Call it once for each.
    pub(super) fn begins(&mut self, repair: Repair) {
        self.repairs[repair as usize] += 1;
    }

    /// A repair has ended.
    pub(super) fn ends(&mut self, repair: Repair) {
        self.repairs[repair as usize] = self.repairs[repair as usize].saturating_sub(1);
    }

    /// There are new credentials, or the user wants the old ones tried again.
    pub(super) fn renew(&mut self) {
        self.refusals.forget();
        self.backoff = Backoff::default();
        // If the credentials are refused again, that is reported again.
        self.failure = None;
    }

    /// The cause for operations that fail because there is no session.
    pub(super) fn why(&self, now: Instant) -> Cause {
        let (seconds, lost) = match &self.outage {
            Some(outage) => (now.saturating_duration_since(outage.began).as_secs(), &outage.why[..]),
            None => (0, "it was lost"),
        };
        let away = |stage, why| Cause::Away(Away { seconds, stage, why });
        match &self.failure {
            Some(Failure::Refused(refused)) => Cause::AccessRefused(refused.clone()),
            Some(Failure::Trouble(stage, trouble)) => away(Some(*stage), format!("{lost}; {trouble}")),
            None => away(None, format!("{lost}; no new session was made in time")),
        }
    }
}

/// Whether the user may not use the share. Operations wait for a share that is missing: it may appear with the disks
/// of a server that has just started.
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

    fn lost(now: Instant) -> Session {
        let mut session = Session::default();
        session.lost("reset", Duration::from_secs(60), now, now);
        session
    }

    fn refused(stage: Stage, status: NtStatus) -> ConnectError {
        ConnectError::refused(stage, "refused", status)
    }

    fn hangs() -> ConnectError {
        ConnectError::new(Stage::SignIn, "no answer").with_proof(Proof::Unanswered)
    }

    #[test]
    fn after_a_loss_the_first_attempt_is_made_at_once() {
        let now = Instant::now();
        assert_eq!(lost(now).next(For::Operation, now), TRY);
    }

    #[test]
    fn operations_fail_after_a_refused_password_until_it_may_be_tried_again() {
        let now = Instant::now();
        let mut session = lost(now);
        let error = refused(Stage::SignIn, NtStatus::LOGON_FAILURE);
        assert!(session.failed(&error, true, now));
        let later = now + Duration::from_secs(59);
        assert!(
            matches!(session.next(For::Operation, later), Next::Refused(refused) if refused.stage == Stage::SignIn)
        );
        assert!(matches!(session.why(now), Cause::AccessRefused(_)));
        let again = now + Duration::from_secs(60);
        assert_eq!(session.next(For::Operation, again), TRY);
        assert!(!session.failed(&error, true, again), "reported before");
        assert!(matches!(session.next(For::Operation, now + Duration::from_secs(1799)), Next::Refused(_)));
        session.renew();
        assert_eq!(session.next(For::Operation, again), TRY);
        assert!(session.failed(&error, true, again), "the user changed something, which did not help");
    }

    #[test]
    fn a_guest_session_instead_of_the_users_is_a_refused_password() {
        let now = Instant::now();
        let mut session = lost(now);
        let guest = ConnectError::new(Stage::SignIn, "as guest").with_proof(Proof::Refused(Refusal::Password));
        session.failed(&guest, true, now);
        assert!(matches!(session.next(For::Operation, now), Next::Refused(_)));
    }

    #[test]
    fn a_session_that_does_not_end_is_not_named_in_the_next_attempt() {
        let now = Instant::now();
        let mut session = lost(now);
        session.failed(&hangs(), true, now);
        assert_eq!(session.next(For::Operation, now), TRY_UNNAMED);
        session.connected(None, now);
        session.lost("reset", Duration::from_secs(60), now, now);
        assert_eq!(session.next(For::Operation, now), TRY, "the next one is named");
    }

    #[test]
    fn while_sign_ins_have_no_answer_every_other_attempt_names_the_old_session() {
        let now = Instant::now();
        let mut session = lost(now);
        session.failed(&hangs(), true, now);
        session.failed(&hangs(), false, now);
        let Next::Wait(at) = session.next(For::Operation, now) else {
            panic!("no pause after two sign-ins without an answer")
        };
        assert_eq!(session.next(For::Operation, at), TRY);
    }

    #[test]
    fn operations_fail_on_a_denied_share_and_wait_for_a_missing_one() {
        let now = Instant::now();
        let mut session = lost(now);
        session.failed(&refused(Stage::Share, NtStatus::ACCESS_DENIED), true, now);
        assert!(matches!(session.next(For::Operation, now), Next::Refused(_)));
        assert_eq!(session.next(For::Operation, now + Duration::from_millis(100)), TRY);
        session.failed(&refused(Stage::Share, NtStatus::BAD_NETWORK_NAME), true, now);
        assert_eq!(session.next(For::Operation, now), Next::Wait(now + Duration::from_millis(200)));
        assert!(matches!(session.why(now), Cause::AccessRefused(_)));
    }

    #[test]
    fn a_failure_inside_the_server_is_not_a_refusal() {
        let now = Instant::now();
        let mut session = lost(now);
        session.failed(&refused(Stage::SignIn, NtStatus::NO_LOGON_SERVERS), true, now);
        assert!(matches!(session.next(For::Operation, now), Next::Wait(_)));
        session.failed(&refused(Stage::Share, NtStatus::NO_MEMORY), true, now);
        assert!(matches!(session.next(For::Operation, now), Next::Wait(_)));
        assert!(matches!(session.why(now), Cause::Away(_)));
    }

    #[test]
    fn refused_further_connections_are_not_tried_again_with_every_session() {
        let now = Instant::now();
        let mut session = lost(now);
        assert!(session.allow_binding(now));
        session.connected(Some(&refused(Stage::SignIn, NtStatus::LOGON_FAILURE)), now);
        assert!(!session.allow_binding(now));
        session.lost("reset", Duration::from_secs(60), now, now);
        assert_eq!(session.next(For::Operation, now), TRY, "the session itself was accepted");
        session.connected(None, now);
        assert!(!session.allow_binding(now));
    }

    const PATIENCE: Duration = Duration::from_secs(30);

    fn unreachable() -> ConnectError {
        ConnectError::new(Stage::Connect, "refused")
    }

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn operations_wait_from_the_beginning_of_the_outage_and_not_from_their_own() {
        let now = Instant::now();
        let mut session = lost(now);
        session.tries(For::Later, now);
        session.failed(&unreachable(), true, now);
        let waits = |began: u64| session.waits_until(now + seconds(began) + PATIENCE, PATIENCE);
        assert_eq!(waits(0), now + PATIENCE);
        assert_eq!(waits(20), now + PATIENCE);
        assert_eq!(waits(500), now + PATIENCE, "fails at once");
        let before = now - seconds(10);
        assert_eq!(session.waits_until(before + PATIENCE, PATIENCE), before + PATIENCE, "its own deadline is earlier");
        let Cause::Away(away) = session.why(now + seconds(40)) else { panic!("another cause") };
        assert_eq!((away.seconds, away.stage), (40, Some(Stage::Connect)));
    }

    #[test]
    fn an_outage_begins_with_the_request_that_was_not_answered() {
        let now = Instant::now();
        let mut session = Session::default();
        session.lost("silent", seconds(60), now - PATIENCE, now);
        let later = now + PATIENCE;
        assert_eq!(session.waits_until(later, PATIENCE), now + FIRST_ANSWER, "a new connection may repair it at once");
        session.tries(For::Later, now);
        assert_eq!(session.waits_until(later, PATIENCE), now + FIRST_ANSWER);
        session.answered();
        assert_eq!(session.waits_until(later, PATIENCE), later, "the server is there");
        session.failed(&unreachable(), true, now);
        assert_eq!(session.waits_until(later, PATIENCE), now, "it is known to be away");
    }

    #[test]
    fn a_session_that_hangs_at_the_server_does_not_mean_the_server_is_away() {
        let now = Instant::now();
        let mut session = Session::default();
        session.lost("silent", seconds(60), now - PATIENCE, now);
        session.tries(For::Later, now);
        session.answered();
        let later = now + seconds(15);
        session.failed(&hangs(), true, later);
        assert_eq!(session.waits_until(later + PATIENCE, PATIENCE), later + FIRST_ANSWER);
        session.tries(For::Later, now);
        session.failed(&hangs(), false, later);
        assert_eq!(session.waits_until(later + PATIENCE, PATIENCE), now);
    }

    #[test]
    fn the_next_outage_has_a_beginning_of_its_own() {
        let now = Instant::now();
        let mut session = lost(now);
        session.failed(&unreachable(), true, now);
        session.connected(None, now);
        let next = now + seconds(100);
        session.lost("reset", seconds(60), next, next);
        assert_eq!(session.waits_until(next + seconds(500), PATIENCE), next + PATIENCE);
    }

    #[test]
    fn refused_credentials_are_not_tried_again_until_an_operation_needs_them() {
        let now = Instant::now();
        let mut session = lost(now);
        assert_eq!(session.next(For::Later, now), TRY);
        session.failed(&refused(Stage::SignIn, NtStatus::LOGON_FAILURE), true, now);
        let tomorrow = now + seconds(86_400);
        assert_eq!(session.next(For::Later, tomorrow), Next::WaitForNews);
        assert_eq!(session.next(For::Operation, tomorrow), TRY);
        session.tries(For::Operation, tomorrow);
        assert_eq!(session.waits_until(tomorrow + PATIENCE, PATIENCE), tomorrow + FIRST_ANSWER);
        session.failed(&unreachable(), true, tomorrow);
        assert_eq!(session.next(For::Later, tomorrow + seconds(10)), Next::WaitForNews, "now the server is only away");
        session.renew();
        assert_eq!(session.next(For::Later, now), TRY);
    }

    #[test]
    fn sign_ins_without_a_result_are_in_the_end_made_for_operations_only() {
        let mut now = Instant::now();
        let mut session = lost(now);
        let mut tries = 0;
        while let Next::Try { name_previous } = session.next(For::Later, now) {
            session.tries(For::Later, now);
            session.failed(&ConnectError::new(Stage::SignIn, "dropped").with_proof(Proof::Dropped), name_previous, now);
            tries += 1;
            now += seconds(60);
        }
        assert_eq!((tries, session.next(For::Later, now)), (10, Next::WaitForNews));
        assert_eq!(session.next(For::Operation, now), TRY);
    }

    #[test]
    fn an_idle_mount_tries_a_server_that_is_away_again() {
        let now = Instant::now();
        let mut session = lost(now);
        session.failed(&unreachable(), true, now);
        let Next::Wait(at) = session.next(For::Later, now) else { panic!("no pause") };
        assert_eq!(session.next(For::Later, at), TRY);
    }

    #[test]
    fn the_states_of_the_session_come_in_order() {
        let now = Instant::now();
        let mut session = Session::default();
        assert_eq!(session.state(), SessionState::Live);
        session.lost("reset", seconds(60), now, now);
        assert_eq!(session.state(), SessionState::Lost);
        session.tries(For::Later, now);
        assert_eq!(session.state(), SessionState::Reconnecting);
        assert_eq!(session.next(For::Operation, now), Next::WaitForNews, "one attempt at a time");
        session.failed(&unreachable(), true, now);
        assert_eq!(session.state(), SessionState::Lost);
        session.tries(For::Later, now);
        session.connected(None, now);
        session.begins(Repair::Verify);
        assert_eq!(session.state(), SessionState::Verifying);
        session.begins(Repair::Reclaim);
        assert_eq!(session.state(), SessionState::Reclaiming, "opens come first");
        session.ends(Repair::Reclaim);
        assert_eq!(session.state(), SessionState::Verifying);
        session.ends(Repair::Verify);
        assert_eq!(session.state(), SessionState::Live);
    }
}
