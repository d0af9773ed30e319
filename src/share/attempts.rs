//! How often one operation is sent again when connections are lost under it: a plain value.
//!
//! Two bounds. An operation whose connection is lost again and again is given up, since it may be the cause. And what
//! changes the share is sent again, or verified, only where the server is known to have ended the session that it was sent
//! on before: a process that hangs at the server can still do what lies in its socket.

use super::error::Cause;
use crate::wire::frame::{self, Request};
use tokio::time::Instant;

/// How many lost connections an operation outlives.
const LOSSES: u32 = 5;

/// The tries of one operation.
#[derive(Debug)]
pub(super) struct Attempts {
    /// When the operation must have ended.
    pub(super) deadline: Instant,
    losses: u32,
    /// The lineage of the session that a change was sent on, without an answer.
    unanswered: Option<u32>,
    /// The change may have been made, and is verified before it is sent again.
    is_doubtful: bool,
}

impl Attempts {
    pub(super) fn until(deadline: Instant) -> Attempts {
        Attempts { deadline, losses: 0, unanswered: None, is_doubtful: false }
    }

    /// Before these requests are sent on a session of this lineage.
    pub(super) fn send(&mut self, requests: &[Request], lineage: u32) -> Result<(), Cause> {
        if frame::changes(requests) { self.change(lineage) } else { Ok(()) }
    }

    /// Before a change is sent on a session of this lineage.
    pub(super) fn change(&mut self, lineage: u32) -> Result<(), Cause> {
        match self.unanswered.replace(lineage) {
            Some(before) if before != lineage => Err(Cause::Uncertain),
            _ => Ok(()),
        }
    }

    /// Whether a change is to be verified on a session of this lineage before it is sent again.
    pub(super) fn must_verify(&self, lineage: u32) -> Result<bool, Cause> {
        match self.unanswered {
            Some(before) if before != lineage && self.is_doubtful => Err(Cause::Uncertain),
            _ => Ok(self.is_doubtful),
        }
    }

    /// The change was not made, and can no longer be made by what was sent before.
    pub(super) fn verified(&mut self) {
        (self.unanswered, self.is_doubtful) = (None, false);
    }

    /// The server said that it has ended the session, and so has not done what was sent.
    pub(super) fn refused(&mut self, why: &str) -> Result<(), Cause> {
        self.verified();
        self.lost(why)
    }

    /// The connection was lost under a change that is verified before it is sent again.
    pub(super) fn lost_in_doubt(&mut self, why: &str) -> Result<(), Cause> {
        self.is_doubtful = true;
        self.lost(why)
    }

    /// The connection was lost.
    pub(super) fn lost(&mut self, why: &str) -> Result<(), Cause> {
        self.losses += 1;
        if self.losses < LOSSES {
            return Ok(());
        }
        Err(Cause::LostAgain { times: self.losses, why: why.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::messages::io;
    use bytes::Bytes;

    fn attempts() -> Attempts {
        Attempts::until(Instant::now())
    }

    fn write() -> Vec<Request> {
        vec![io::write([1; 16], 0, Bytes::from_static(b"new"))]
    }

    #[test]
    fn an_operation_is_given_up_when_connections_are_lost_again_and_again() {
        let mut attempts = attempts();
        for _ in 1..LOSSES {
            assert_eq!(attempts.lost("reset"), Ok(()));
        }
        assert_eq!(attempts.lost("reset"), Err(Cause::LostAgain { times: LOSSES, why: "reset".into() }));
    }

    #[test]
    fn a_write_is_sent_again_only_where_its_session_has_ended() {
        let mut attempts = attempts();
        attempts.send(&write(), 7).unwrap();
        attempts.lost("reset").unwrap();
        attempts.send(&write(), 7).unwrap();
        attempts.lost("reset").unwrap();
        assert_eq!(attempts.send(&write(), 8), Err(Cause::Uncertain));
    }

    #[test]
    fn a_write_that_the_server_has_refused_with_its_session_is_sent_again() {
        let mut attempts = attempts();
        attempts.send(&write(), 7).unwrap();
        attempts.refused("ended").unwrap();
        assert_eq!(attempts.send(&write(), 8), Ok(()));
    }

    #[test]
    fn a_change_is_verified_only_where_its_session_has_ended_and_is_free_of_it_then() {
        let mut attempts = attempts();
        attempts.change(7).unwrap();
        assert_eq!(attempts.must_verify(7), Ok(false), "nothing was lost yet");
        attempts.lost_in_doubt("reset").unwrap();
        assert_eq!(attempts.must_verify(8), Err(Cause::Uncertain));
        assert_eq!(attempts.must_verify(7), Ok(true));
        attempts.verified();
        assert_eq!(attempts.must_verify(8), Ok(false));
        assert_eq!(attempts.change(8), Ok(()));
    }

    #[test]
    fn a_change_that_the_server_has_refused_with_its_session_is_not_verified() {
        let mut attempts = attempts();
        attempts.change(7).unwrap();
        attempts.refused("ended").unwrap();
        assert_eq!(attempts.must_verify(8), Ok(false));
    }

    #[test]
    fn a_read_is_sent_again_anywhere() {
        let mut attempts = attempts();
        let read = vec![io::read([1; 16], 0, 10)];
        attempts.send(&read, 7).unwrap();
        attempts.lost("reset").unwrap();
        assert_eq!(attempts.send(&read, 8), Ok(()));
    }
}
