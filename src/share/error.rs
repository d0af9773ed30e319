//! The one error type of this room.

use super::types::RemotePath;
use crate::wire::NtStatus;
use crate::wire::codec::TooLong;
use std::fmt;

/// Why an operation on the share failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShareError {
    /// What was being done, in the words of the protocol: "CREATE", "WRITE", …
    pub operation: &'static str,
    /// What it was done to.
    pub path: RemotePath,
    /// Why it failed.
    pub cause: Cause,
}

/// The causes that callers tell apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cause {
    /// The server answered with this status.
    Status(NtStatus),
    /// The server cannot do this at all, or not to this file; it said so with this status, now or earlier.
    /// Nothing was changed.
    Unsupported(NtStatus),
    /// No answer came in time.
    TimedOut,
    /// The connection is gone, and could not be made again in time; with the reason.
    Disconnected(String),
    /// The file was open on a connection that was lost, and what its name names now is another file.
    Stale,
    /// The server's answer broke the protocol; with what was wrong.
    Malformed(String),
    /// The protocol has no room for this; nothing was sent.
    TooLong(TooLong),
}

impl ShareError {
    /// An error with the status that the server answered.
    pub fn status(operation: &'static str, path: &RemotePath, status: NtStatus) -> ShareError {
        ShareError { operation, path: path.clone(), cause: Cause::Status(status) }
    }

    /// The server's status, if it was the server that refused.
    pub fn nt_status(&self) -> Option<NtStatus> {
        match self.cause {
            Cause::Status(status) => Some(status),
            _ => None,
        }
    }
}

impl fmt::Display for ShareError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: ", self.operation, self.path)?;
        match &self.cause {
            Cause::Status(status) => write!(f, "the server answered {status}"),
            Cause::Unsupported(status) => write!(f, "the server cannot do it ({status})"),
            Cause::TimedOut => f.write_str("the server did not answer in time"),
            Cause::Disconnected(why) => write!(f, "no connection to the server ({why})"),
            Cause::Stale => f.write_str("the connection was lost, and the name now names another file"),
            Cause::Malformed(what) => write!(f, "the server's answer is malformed ({what})"),
            Cause::TooLong(what) => write!(f, "{what}"),
        }
    }
}

impl std::error::Error for ShareError {}
