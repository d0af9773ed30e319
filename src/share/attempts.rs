//! How often one operation is sent again when connections are lost under it: a plain value.
//!
//! Two bounds. An operation whose connection is lost again and again is given up, since it may be the cause. And what
//! changes the share is sent again only where the server is known to have ended the session that it was sent on before:
//! a process that hangs at the server can still do what lies in its socket.

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
}

impl Attempts {
    pub(super) fn until(deadline: Instant) -> Attempts {
        Attempts { deadline, losses: 0, unanswered: None }
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

    /// The server said that it has ended the session, and so has not done what was sent.
    pub(super) fn refused(&mut self, why: &str) -> Result<(), Cause> {
        self.unanswered = None;
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
    fn a_read_is_sent_again_anywhere() {
        let mut attempts = attempts();
        let read = vec![io::read([1; 16], 0, 10)];
        attempts.send(&read, 7).unwrap();
        attempts.lost("reset").unwrap();
        assert_eq!(attempts.send(&read, 8), Ok(()));
    }
}
