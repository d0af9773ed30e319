//! The session as all operations share it, and what is to be done when it is lost: a plain value.
//!
//! It goes `Live → Lost → Reconnecting → Reclaiming → Verifying → Live`. It remembers what became of the tries to get a new
//! session, over all operations that want one: pauses ([`Backoff`]), refused sign-ins ([`Refusals`]), a share that is
//! refused, and a session at the server that does not end.
//!
//! An *outage* begins when the session is lost, or with the request that the server left unanswered until it was called
//! lost. Operations wait for its end as long as one may take, counted from there and not from each of them. After that they
//! fail at once, until there is a session again.

use super::backoff::Backoff;
use super::error::{Away, Cause, Refused};
use super::refusals::Refusals;
use crate::wire::{ConnectError, NtStatus, Proof, Stage};
use std::time::Duration;
use tokio::time::Instant;

/// The time that a server is given to answer the first try after a loss, however long the outage has been then: a line that
/// has fallen silent is often mended by a new connection.
const FIRST_ANSWER: Duration = Duration::from_secs(2);

/// What may be done now.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Next {
    /// A try to connect; whether it names the session before it.
    Try { name_previous: bool },
    /// Nothing before this time.
    Wait(Instant),
    /// Nothing before a try that is under way has ended, or an operation wants one.
    WaitForNews,
    /// Operations fail: the server does not let us in.
    Refused(Refused),
}

/// Who wants a session.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum For {
    /// An operation of a program.
    Operation,
    /// Nobody yet.
    Later,
}

/// Where the session stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SessionState {
    /// It works, as far as is known.
    Live,
    /// It was lost, and the next try waits for its time.
    Lost,
    /// A try to get the next one is under way.
    Reconnecting,
    /// There is a new one, in which files are being opened again.
    Reclaiming,
    /// There is a new one, in which it is being found out what became of changes without an answer.
    Verifying,
}

/// What takes place in a new session because of the loss of the one before.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Repair {
    /// A file is opened again.
    Reclaim,
    /// It is found out what became of a change.
    Verify,
}

/// The session.
#[derive(Debug, Default)]
pub(super) struct Session {
    backoff: Backoff,
    refusals: Refusals,
    /// The loss of the last session, until there is the next.
    outage: Option<Outage>,
    /// Why the last try failed, if one did since the session was lost.
    failure: Option<Failure>,
    /// The server did not end the session before in time, when it was named the last time.
    previous_hangs: bool,
    /// Files that are being opened again, and changes that are being verified.
    repairs: [usize; 2],
}

#[derive(Debug)]
struct Outage {
    /// Why the session was lost.
    why: String,
    began: Instant,
    /// Until when the server is given time to answer a try.
    hope: Instant,
    /// What became of a try that is under way.
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
    /// Where it stands.
    pub(super) fn state(&self) -> SessionState {
        match (&self.outage, self.repairs) {
            (Some(Outage { trying: None, .. }), _) => SessionState::Lost,
            (Some(Outage { trying: Some(_), .. }), _) => SessionState::Reconnecting,
            (None, [0, 0]) => SessionState::Live,
            (None, [0, _]) => SessionState::Verifying,
            (None, _) => SessionState::Reclaiming,
        }
    }

    /// Whether there is none.
    pub(super) fn is_lost(&self) -> bool {
        self.outage.is_some()
    }

    /// What may be done about a session that is lost. Credentials that were refused, or led to nothing again and again, are
    /// tried for an operation only: an idle mount must not lock an account.
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

    /// Whether further connections may sign in.
    pub(super) fn allow_binding(&self, now: Instant) -> bool {
        self.refusals.allow_binding(now)
    }

    /// Whether the credentials were refused the last time.
    pub(super) fn has_refused_credentials(&self) -> bool {
        self.refusals.has_refused()
    }

    /// The session was lost, on which the server had answered for so long. The outage began then, or earlier.
    pub(super) fn lost(&mut self, why: &str, active_for: Duration, began: Instant, now: Instant) {
        self.outage =
            Some(Outage { why: why.to_owned(), began: began.min(now), hope: now + FIRST_ANSWER, trying: None });
        self.failure = None;
        self.backoff.lost(active_for, now);
    }

    /// A try to connect begins. The operation that wants it gives the server time to answer.
    pub(super) fn tries(&mut self, wanted: For, now: Instant) {
        let Some(outage) = &mut self.outage else { return };
        outage.trying = Some(Trying::Asks);
        if wanted == For::Operation {
            outage.hope = outage.hope.max(now + FIRST_ANSWER);
        }
    }

    /// The server has answered the try.
    pub(super) fn answered(&mut self) {
        if let Some(outage) = &mut self.outage {
            outage.trying = outage.trying.map(|_| Trying::Answered);
        }
    }

    /// Until when an operation waits for a session that is lost, which may itself take until `deadline` and
    /// any operation so long.
    pub(super) fn waits_until(&self, deadline: Instant, patience: Duration) -> Instant {
        let Some(outage) = &self.outage else { return deadline };
        match outage.trying {
            Some(Trying::Answered) => deadline,
            _ => deadline.min((outage.began + patience).max(outage.hope)),
        }
    }

    /// A try failed, that named the session before or did not. Whether that is news, and not what the one before it
    /// has said.
    pub(super) fn failed(&mut self, error: &ConnectError, named_previous: bool, now: Instant) -> bool {
        let failure = match Refused::of(error) {
            Some(refused) => Failure::Refused(refused),
            None => Failure::Trouble(error.stage, error.to_string()),
        };
        let is_news = self.failure.as_ref() != Some(&failure);
        self.failure = Some(failure);
        // Without naming it the next try shows whether it is the session before that hangs, or all of the server.
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

    /// A file begins to be opened again, or a change to be verified; once for each.
    pub(super) fn begins(&mut self, repair: Repair) {
        self.repairs[repair as usize] += 1;
    }

    /// That has ended.
    pub(super) fn ends(&mut self, repair: Repair) {
        self.repairs[repair as usize] = self.repairs[repair as usize].saturating_sub(1);
    }

    /// There are new credentials, or the user wants the old ones tried.
    pub(super) fn renew(&mut self) {
        self.refusals.forget();
        self.backoff = Backoff::default();
        // If it is refused again, that is said again.
        self.failure = None;
    }

    /// Why there is no session.
    pub(super) fn why(&self, now: Instant) -> Cause {
        let (seconds, lost) = match &self.outage {
            Some(outage) => (now.saturating_duration_since(outage.began).as_secs(), &outage.why[..]),
            None => (0, "it was lost"),
        };
        let away = |stage, why| Cause::Away(Away { seconds, stage, why });
        match &self.failure {
            Some(Failure::Refused(refused)) => Cause::NotLetIn(refused.clone()),
            Some(Failure::Trouble(stage, trouble)) => away(Some(*stage), format!("{lost}; {trouble}")),
            None => away(None, format!("{lost}; it was not made again in time")),
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
    fn a_lost_connection_is_made_again_at_once() {
        let now = Instant::now();
        assert_eq!(lost(now).next(For::Operation, now), TRY);
    }

    #[test]
    fn a_refused_password_fails_everything_until_it_may_be_tried_again() {
        let now = Instant::now();
        let mut session = lost(now);
        let error = refused(Stage::SignIn, NtStatus::LOGON_FAILURE);
        assert!(session.failed(&error, true, now));
        let later = now + Duration::from_secs(59);
        assert!(
            matches!(session.next(For::Operation, later), Next::Refused(refused) if refused.stage == Stage::SignIn)
        );
        assert!(matches!(session.why(now), Cause::NotLetIn(_)));
        let again = now + Duration::from_secs(60);
        assert_eq!(session.next(For::Operation, again), TRY);
        assert!(!session.failed(&error, true, again), "it was said before");
        assert!(matches!(session.next(For::Operation, now + Duration::from_secs(1799)), Next::Refused(_)));
        session.renew();
        assert_eq!(session.next(For::Operation, again), TRY);
        assert!(session.failed(&error, true, again), "the user has changed something, and it is not enough");
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
    fn a_session_that_does_not_end_is_not_named_the_next_time() {
        let now = Instant::now();
        let mut session = lost(now);
        session.failed(&hangs(), true, now);
        assert_eq!(session.next(For::Operation, now), TRY_UNNAMED);
        session.connected(None, now);
        session.lost("reset", Duration::from_secs(60), now, now);
        assert_eq!(session.next(For::Operation, now), TRY, "the next one is named");
    }

    #[test]
    fn a_server_that_answers_no_sign_in_is_asked_to_end_the_session_every_other_time() {
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
    fn a_share_that_is_denied_fails_operations_and_one_that_is_missing_lets_them_wait() {
        let now = Instant::now();
        let mut session = lost(now);
        session.failed(&refused(Stage::Share, NtStatus::ACCESS_DENIED), true, now);
        assert!(matches!(session.next(For::Operation, now), Next::Refused(_)));
        assert_eq!(session.next(For::Operation, now + Duration::from_millis(100)), TRY);
        session.failed(&refused(Stage::Share, NtStatus::BAD_NETWORK_NAME), true, now);
        assert_eq!(session.next(For::Operation, now), Next::Wait(now + Duration::from_millis(200)));
        assert!(matches!(session.why(now), Cause::NotLetIn(_)));
    }

    #[test]
    fn trouble_of_the_server_refuses_nobody() {
        let now = Instant::now();
        let mut session = lost(now);
        session.failed(&refused(Stage::SignIn, NtStatus::NO_LOGON_SERVERS), true, now);
        assert!(matches!(session.next(For::Operation, now), Next::Wait(_)));
        session.failed(&refused(Stage::Share, NtStatus::NO_MEMORY), true, now);
        assert!(matches!(session.next(For::Operation, now), Next::Wait(_)));
        assert!(matches!(session.why(now), Cause::Away(_)));
    }

    #[test]
    fn further_connections_that_are_refused_are_not_tried_with_every_session() {
        let now = Instant::now();
        let mut session = lost(now);
        assert!(session.allow_binding(now));
        session.connected(Some(&refused(Stage::SignIn, NtStatus::LOGON_FAILURE)), now);
        assert!(!session.allow_binding(now));
        session.lost("reset", Duration::from_secs(60), now, now);
        assert_eq!(session.next(For::Operation, now), TRY, "the session itself was let in");
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
    fn an_outage_is_waited_for_from_its_beginning_and_not_from_that_of_each_operation() {
        let now = Instant::now();
        let mut session = lost(now);
        session.tries(For::Later, now);
        session.failed(&unreachable(), true, now);
        let waits = |began: u64| session.waits_until(now + seconds(began) + PATIENCE, PATIENCE);
        assert_eq!(waits(0), now + PATIENCE);
        assert_eq!(waits(20), now + PATIENCE);
        assert_eq!(waits(500), now + PATIENCE, "it fails at once");
        let before = now - seconds(10);
        assert_eq!(session.waits_until(before + PATIENCE, PATIENCE), before + PATIENCE, "its own time ends sooner");
        let Cause::Away(away) = session.why(now + seconds(40)) else { panic!("another cause") };
        assert_eq!((away.seconds, away.stage), (40, Some(Stage::Connect)));
    }

    #[test]
    fn an_outage_begins_with_the_request_that_had_no_answer() {
        let now = Instant::now();
        let mut session = Session::default();
        session.lost("silent", seconds(60), now - PATIENCE, now);
        let later = now + PATIENCE;
        assert_eq!(session.waits_until(later, PATIENCE), now + FIRST_ANSWER, "a new connection may mend it at once");
        session.tries(For::Later, now);
        assert_eq!(session.waits_until(later, PATIENCE), now + FIRST_ANSWER);
        session.answered();
        assert_eq!(session.waits_until(later, PATIENCE), later, "the server is there");
        session.failed(&unreachable(), true, now);
        assert_eq!(session.waits_until(later, PATIENCE), now, "it is known to be away");
    }

    #[test]
    fn a_session_that_hangs_at_the_server_is_no_server_that_is_away() {
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
    fn the_next_outage_has_its_own_beginning() {
        let now = Instant::now();
        let mut session = lost(now);
        session.failed(&unreachable(), true, now);
        session.connected(None, now);
        let next = now + seconds(100);
        session.lost("reset", seconds(60), next, next);
        assert_eq!(session.waits_until(next + seconds(500), PATIENCE), next + PATIENCE);
    }

    #[test]
    fn refused_credentials_are_not_tried_again_while_no_operation_wants_it() {
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
        assert_eq!(session.next(For::Later, tomorrow + seconds(10)), Next::WaitForNews, "the server is only away now");
        session.renew();
        assert_eq!(session.next(For::Later, now), TRY);
    }

    #[test]
    fn sign_ins_that_lead_to_nothing_are_left_to_operations_in_the_end() {
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
    fn a_server_that_is_away_is_tried_again_though_no_operation_wants_it() {
        let now = Instant::now();
        let mut session = lost(now);
        session.failed(&unreachable(), true, now);
        let Next::Wait(at) = session.next(For::Later, now) else { panic!("no pause") };
        assert_eq!(session.next(For::Later, at), TRY);
    }

    #[test]
    fn its_states_come_in_order() {
        let now = Instant::now();
        let mut session = Session::default();
        assert_eq!(session.state(), SessionState::Live);
        session.lost("reset", seconds(60), now, now);
        assert_eq!(session.state(), SessionState::Lost);
        session.tries(For::Later, now);
        assert_eq!(session.state(), SessionState::Reconnecting);
        assert_eq!(session.next(For::Operation, now), Next::WaitForNews, "one try at a time");
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
