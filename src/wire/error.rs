//! The errors of this room: why a request has no answer ([`WireError`]), and why there is no connection to a share
//! ([`ConnectError`]).
//!
//! An error status of the server is a reply, not a [`WireError`]. A [`ConnectError`] also says what became of the proof
//! of the password ([`Proof`]), because servers lock accounts after several failed sign-ins.

use super::codec::{Malformed, TooLong};
use super::signin::Refusal;
use super::status::NtStatus;
use std::fmt;
use std::sync::Arc;

/// Why a request has no usable answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WireError {
    /// The connection has ended, or the request must be encrypted and there is no key (it was not sent then); with the
    /// reason.
    Closed(Arc<str>),
    /// No answer came within the deadline.
    TimedOut,
    /// The answer broke the protocol.
    Malformed(Malformed),
    /// A part of the request is longer than the protocol allows; it was not sent.
    TooLong(TooLong),
    /// The server has not granted as many credits as the request costs, or not enough of them are available to a
    /// request that does not wait; it was not sent.
    Credits {
        /// The credits that the request costs.
        needed: u32,
        /// The credits that the server has granted: available ones and those of requests in flight.
        capacity: u32,
    },
}

impl fmt::Display for WireError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            WireError::Closed(reason) => write!(f, "the connection ended: {reason}"),
            WireError::TimedOut => f.write_str("no answer in time"),
            WireError::Malformed(what) => write!(f, "a malformed answer: {what}"),
            WireError::TooLong(what) => what.fmt(f),
            WireError::Credits { needed, capacity } => {
                write!(f, "the request costs {needed} credits and the server grants {capacity}")
            }
        }
    }
}

impl std::error::Error for WireError {}

impl From<Malformed> for WireError {
    fn from(malformed: Malformed) -> Self {
        WireError::Malformed(malformed)
    }
}

impl From<TooLong> for WireError {
    fn from(too_long: TooLong) -> Self {
        WireError::TooLong(too_long)
    }
}

/// The stages of connecting to a share, in order; only the validation of the dialect comes last.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stage {
    /// Resolving the host name.
    Resolve,
    /// The TCP connection and the NetBIOS session.
    Connect,
    /// The negotiation of dialect and protection, and its validation, which needs the tree.
    Dialect,
    /// The session: SESSION_SETUP.
    SignIn,
    /// The share: TREE_CONNECT.
    Share,
}

impl Stage {
    /// The name under which failures are counted ([`crate::telemetry::Counters::connect_failed`]).
    pub fn name(self) -> &'static str {
        match self {
            Stage::Resolve => "resolve",
            Stage::Connect => "connect",
            Stage::Dialect => "dialect",
            Stage::SignIn => "sign_in",
            Stage::Share => "share",
        }
    }
}

/// Why there is no connection to the share.
#[derive(Clone, Debug)]
pub struct ConnectError {
    /// The stage that failed.
    pub stage: Stage,
    /// The failure as a sentence for the user.
    pub message: String,
    /// The server's status, if it answered with an error.
    pub status: Option<NtStatus>,
    /// What became of the proof of the password that a sign-in sends: it decides how soon another sign-in may be tried.
    pub proof: Proof,
    /// What the user can do, where that follows from this failure and not only from its stage.
    pub remedy: Option<&'static str>,
}

/// What became of the proof of the password. The server can count a failed sign-in only if the proof was sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Proof {
    /// It was not sent.
    NotSent,
    /// The server accepted it; a later step failed.
    Accepted,
    /// No answer to it came in time, or the server answered with a status that decides nothing about the credentials.
    Unanswered,
    /// The connection ended, or broke the protocol, before an answer to it came.
    Dropped,
    /// The server refused it.
    Refused(Refusal),
}

impl ConnectError {
    /// A failure without a status from the server.
    pub fn new(stage: Stage, message: impl Into<String>) -> ConnectError {
        // The tree connect follows a successful sign-in.
        let proof = if stage == Stage::Share { Proof::Accepted } else { Proof::NotSent };
        ConnectError { stage, message: message.into(), status: None, proof, remedy: None }
    }

    /// A refusal by the server with an error status.
    pub fn refused(stage: Stage, message: impl Into<String>, status: NtStatus) -> ConnectError {
        let refusal = if stage == Stage::SignIn { Refusal::of(status) } else { None };
        let proof = match (stage, refusal) {
            (_, Some(refusal)) => Proof::Refused(refusal),
            // The server answered and did not decide about the credentials.
            (Stage::SignIn, None) => Proof::Unanswered,
            (Stage::Share, None) => Proof::Accepted,
            _ => Proof::NotSent,
        };
        ConnectError { status: Some(status), proof, ..ConnectError::new(stage, message) }
    }

    /// The same failure with another [`Proof`].
    #[must_use]
    pub fn with_proof(self, proof: Proof) -> ConnectError {
        ConnectError { proof, ..self }
    }

    /// The same failure with what the user can do about it, as a clause.
    #[must_use]
    pub fn with_remedy(self, remedy: &'static str) -> ConnectError {
        ConnectError { remedy: Some(remedy), ..self }
    }

    /// Whether the server refused nothing: the failure has no error status and no refusal of the credentials. It is a
    /// missing or unusable answer.
    pub fn is_silence(&self) -> bool {
        self.status.is_none() && self.refusal().is_none()
    }

    /// The refusal, if the server refused the credentials. Another try fails too until the credentials or the account
    /// change.
    pub fn refusal(&self) -> Option<Refusal> {
        match self.proof {
            Proof::Refused(refusal) => Some(refusal),
            _ => None,
        }
    }
}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        match self.status {
            Some(status) => write!(f, " ({status})"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for ConnectError {}
