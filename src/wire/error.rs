//! Why a request had no answer, and why there is no connection.

use super::codec::Malformed;
use super::signin::Refusal;
use super::status::NtStatus;
use std::fmt;
use std::sync::Arc;

/// Why a request had no usable answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WireError {
    /// The connection has ended; with the reason.
    Closed(Arc<str>),
    /// No answer within the deadline.
    TimedOut,
    /// The answer broke the protocol.
    Malformed(Malformed),
    /// The server will never grant as many credits as this request costs.
    Credits {
        /// What it costs.
        needed: u32,
        /// What the server grants in all.
        capacity: u32,
    },
}

impl fmt::Display for WireError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            WireError::Closed(reason) => write!(f, "the connection ended: {reason}"),
            WireError::TimedOut => f.write_str("no answer in time"),
            WireError::Malformed(what) => write!(f, "a malformed answer: {what}"),
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

/// The stages of getting to a share, in order.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stage {
    /// The host's name to addresses.
    Resolve,
    /// TCP, and the NetBIOS session.
    Connect,
    /// Which SMB is spoken, and how it is protected.
    Dialect,
    /// The session.
    SignIn,
    /// The tree connect.
    Share,
}

/// Why there is no connection to the share.
#[derive(Clone, Debug)]
pub struct ConnectError {
    /// Where it failed.
    pub stage: Stage,
    /// What failed, for people.
    pub message: String,
    /// The server's verdict, where there was one.
    pub status: Option<NtStatus>,
    /// What became of the proof of the password that a sign-in sends.
    pub proof: Proof,
}

/// What became of the proof of the password: only once it is sent, the server may count a failed sign-in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Proof {
    /// It was not sent.
    NotSent,
    /// The server accepted it; what failed came after it.
    Accepted,
    /// No answer to it came in time.
    Unanswered,
    /// The connection ended instead of an answer to it.
    Dropped,
    /// The server refused it.
    Refused(Refusal),
}

impl ConnectError {
    /// A failure without a status.
    pub fn new(stage: Stage, message: impl Into<String>) -> ConnectError {
        // Behind the sign-in nothing fails that was not let in.
        let proof = if stage == Stage::Share { Proof::Accepted } else { Proof::NotSent };
        ConnectError { stage, message: message.into(), status: None, proof }
    }

    /// A refusal by the server.
    pub fn refused(stage: Stage, message: impl Into<String>, status: NtStatus) -> ConnectError {
        let refusal = if stage == Stage::SignIn { Refusal::of(status) } else { None };
        let proof = match (stage, refusal) {
            (_, Some(refusal)) => Proof::Refused(refusal),
            // The server answered, and did not decide.
            (Stage::SignIn, None) => Proof::Unanswered,
            (Stage::Share, None) => Proof::Accepted,
            _ => Proof::NotSent,
        };
        ConnectError { status: Some(status), proof, ..ConnectError::new(stage, message) }
    }

    /// The same failure, with what became of the proof of the password.
    #[must_use]
    pub fn with_proof(self, proof: Proof) -> ConnectError {
        ConnectError { proof, ..self }
    }

    /// Whether the server neither refused nor granted anything.
    pub fn is_silence(&self) -> bool {
        self.status.is_none() && self.refusal().is_none()
    }

    /// What the server refused, if it refused the credentials. A refusal stays until they, or the account, change.
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
