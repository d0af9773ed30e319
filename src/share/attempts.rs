//! How often one operation is sent again when its connections are lost: a plain value.
//!
//! Two bounds. An operation whose connection is lost again and again is given up, since it may be the cause of the
//! losses. And a change is sent again, or verified, only if the server is known to have ended the session that it was
//! sent on before: a process that hangs at the server can still carry out what lies in its socket. Consecutive sessions
//! have the same *lineage* while the server is known to have ended each one before the next.

use super::error::Cause;
use crate::wire::frame::{self, Request};
use tokio::time::Instant;

/// The number of lost connections at which an operation is given up.
const LOSSES: u32 = 5;

/// The attempts of one operation.
#[derive(Debug)]
pub(super) struct Attempts {
    /// The deadline of the operation.
    pub(super) deadline: Instant,
    losses: u32,
    /// The lineage of the session on which a change was sent and not answered.
    unanswered: Option<u32>,
    /// The change may have been made. It is verified before it is sent again.
    is_doubtful: bool,
}

impl Attempts {
    pub(super) fn until(deadline: Instant) -> Attempts {
        Attempts { deadline, losses: 0, unanswered: None, is_doubtful: false }
    }

    /// Call it before these requests are sent on a session of this lineage.
    ///
    /// # Errors
    /// Those of [`Attempts::change`], if the requests change anything.
    pub(super) fn send(&mut self, requests: &[Request], lineage: u32) -> Result<(), Cause> {
        if frame::changes(requests) { self.change(lineage) } else { Ok(()) }
    }

    /// Call it before a change is sent on a session of this lineage.
    ///
    /// # Errors
    /// [`Cause::Uncertain`], if the change was sent before on a session of another lineage, which may still carry it
    /// out.
    pub(super) fn change(&mut self, lineage: u32) -> Result<(), Cause> {
        match self.unanswered.replace(lineage) {
            Some(before) if before != lineage => Err(Cause::Uncertain),
            _ => Ok(()),
        }
    }

    /// Whether a change has to be verified on a session of this lineage before it is sent again.
    ///
    /// # Errors
    /// [`Cause::Uncertain`], if the change was sent before on a session of another lineage, which may still carry it
    /// out.
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

    /// The server answered that it has ended the session, so it did not carry out what was sent.
    ///
    /// # Errors
    /// Those of [`Attempts::lost`].
    pub(super) fn refused(&mut self, why: &str) -> Result<(), Cause> {
        self.verified();
        self.lost(why)
    }

    /// The connection was lost during a change that is verified before it is sent again.
    ///
    /// # Errors
    /// Those of [`Attempts::lost`].
    pub(super) fn lost_in_doubt(&mut self, why: &str) -> Result<(), Cause> {
        self.is_doubtful = true;
        self.lost(why)
    }

    /// The connection was lost.
    ///
    /// # Errors
    /// [`Cause::LostAgain`] at loss number [`LOSSES`].
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
    fn a_write_on_a_session_that_the_server_no_longer_knew_is_sent_again() {
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
    fn a_change_on_a_session_that_the_server_no_longer_knew_is_not_verified() {
        let mut attempts = attempts();
        attempts.change(7).unwrap();
        attempts.refused("ended").unwrap();
        assert_eq!(attempts.must_verify(8), Ok(false));
    }

    #[test]
    fn a_read_is_sent_again_on_a_session_of_any_lineage() {
        let mut attempts = attempts();
        let read = vec![io::read([1; 16], 0, 10)];
        attempts.send(&read, 7).unwrap();
        attempts.lost("reset").unwrap();
        assert_eq!(attempts.send(&read, 8), Ok(()));
    }
}
