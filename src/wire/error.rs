//! Why a request had no answer, and why there is no connection.

use super::codec::{Malformed, TooLong};
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
    /// The request cannot be put into a message, and was not sent.
    TooLong(TooLong),
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
}

impl ConnectError {
    /// A failure without a status.
    pub fn new(stage: Stage, message: impl Into<String>) -> ConnectError {
        ConnectError { stage, message: message.into(), status: None }
    }

    /// A refusal by the server.
    pub fn refused(stage: Stage, message: impl Into<String>, status: NtStatus) -> ConnectError {
        ConnectError { stage, message: message.into(), status: Some(status) }
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
