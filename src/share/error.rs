//! The error type of this room: which operation failed, on which path, and why.
//!
//! [`Cause`] says what kept the operation from succeeding; [`ShareError::refusal`] says what the server's own refusal
//! means. The sentences of [`Display`](fmt::Display) are for the log.

use super::refusal::Refusal;
use super::types::RemotePath;
pub use crate::wire::codec::TooLong;
use crate::wire::{ConnectError, NtStatus, Stage};
use std::fmt;

/// Why an operation on the share failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShareError {
    /// The operation: a command of the protocol ("CREATE", "WRITE", …), or what its compound does ("DELETE", "RENAME",
    /// "REPLACE", "COPYCHUNK", "DUPLICATE_EXTENTS", "ENUMERATE_SNAPSHOTS"). The meaning of a status depends on it
    /// ([`ShareError::refusal`]).
    pub operation: &'static str,
    /// The path that it worked on.
    pub path: RemotePath,
    /// Why it failed.
    pub cause: Cause,
}

/// The causes that callers distinguish.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cause {
    /// The server answered with this status.
    Status(NtStatus),
    /// The server cannot do this at all, or not with this file. It answered this status, now or earlier. Nothing was
    /// changed.
    Unsupported(NtStatus),
    /// No answer came before the deadline.
    TimedOut,
    /// The connection has ended and the request is not sent again, or the share was left; with the reason.
    Disconnected(String),
    /// The session was lost, and the server has been away for longer than operations wait.
    Away(Away),
    /// The server answers and refuses access: it refused the sign-in, or the share.
    AccessRefused(Refused),
    /// The connection was lost too often during this operation.
    LostAgain {
        /// How often it was lost.
        times: u32,
        /// The reason of the last loss.
        why: String,
    },
    /// The session that a change was sent on hangs at the server, which may still make the change.
    Uncertain,
    /// The connection was lost during this operation, and nothing shows whether the server has done it.
    Unverified,
    /// The file was open on a connection that was lost, and its name now means another file or nothing. Or: the open,
    /// or the watch, was closed by this client during the operation.
    Stale,
    /// Another client changed the file while the connection was lost, and this change is from before.
    Conflict,
    /// The server acknowledged data before the connection was lost, and does not have it any more, or the data cannot
    /// be compared.
    Lost,
    /// The server's answer broke the protocol; with the fault.
    Malformed(String),
    /// The request does not fit into the protocol's fields. Nothing was sent.
    TooLong(TooLong),
}

/// An outage that lasts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Away {
    /// Its duration so far, in seconds.
    pub seconds: u64,
    /// The stage that the last attempt to reconnect reached; `None` if no attempt has ended.
    pub stage: Option<Stage>,
    /// Why the session was lost, and why the last attempt failed.
    pub why: String,
}

/// What the server refused when this client reconnected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// The sign-in or the share.
    pub stage: Stage,
    /// The server's status; `None` for a guest session that was not requested.
    pub status: Option<NtStatus>,
    /// The sentence for the log, with the remedy.
    pub message: String,
}

impl Refused {
    /// The refusal in a failed connect; `None` if the server refused neither the sign-in nor the share.
    pub(super) fn of(error: &ConnectError) -> Option<Refused> {
        let refused = match error.stage {
            Stage::SignIn => error.refusal().is_some(),
            Stage::Share => error.status.is_some_and(is_refusal_of_share),
            _ => false,
        };
        let message = error.to_string();
        refused.then_some(Refused { stage: error.stage, status: error.status, message })
    }

    /// Whether the share no longer exists, as opposed to a share that this user may not use.
    pub fn is_share_missing(&self) -> bool {
        let refusal = self.status.map(|status| Refusal::of("TREE_CONNECT", status));
        self.stage == Stage::Share
            && refusal.is_some_and(|refusal| !matches!(refusal, Refusal::Denied | Refusal::NotSignedIn))
    }
}

/// Whether this answer to a TREE_CONNECT refuses the share, and is no failure of the server.
fn is_refusal_of_share(status: NtStatus) -> bool {
    matches!(
        status,
        NtStatus::ACCESS_DENIED
            | NtStatus::NETWORK_ACCESS_DENIED
            | NtStatus::BAD_NETWORK_NAME
            | NtStatus::NETWORK_NAME_DELETED
            | NtStatus::OBJECT_NAME_NOT_FOUND
            | NtStatus::OBJECT_PATH_NOT_FOUND
            | NtStatus::BAD_DEVICE_TYPE
    )
}

impl ShareError {
    /// An error with this status as the server's answer.
    pub fn status(operation: &'static str, path: &RemotePath, status: NtStatus) -> ShareError {
        ShareError { operation, path: path.clone(), cause: Cause::Status(status) }
    }

    /// The meaning of the server's refusal; `None` if the server did not refuse.
    pub fn refusal(&self) -> Option<Refusal> {
        match self.cause {
            Cause::Status(status) => Some(Refusal::of(self.operation, status)),
            Cause::Unsupported(_) => Some(Refusal::Unsupported),
            _ => None,
        }
    }

    /// The status that the server answered to this operation; `None` for any other cause, [`Cause::Unsupported`]
    /// included.
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
            Cause::Away(away) => write!(f, "no connection to the server for {} s ({})", away.seconds, away.why),
            Cause::AccessRefused(refused) => f.write_str(&refused.message),
            Cause::LostAgain { times, why } => {
                write!(f, "the operation was given up after the connection was lost {times} times (last: {why})")
            }
            Cause::Uncertain => f.write_str(
                "the session of this request hangs at the server, which may still carry it out: it is not sent again",
            ),
            Cause::Unverified => f.write_str(
                "the connection was lost before the answer came, and the share does not show whether the server did it",
            ),
            Cause::Stale => f.write_str("the connection was lost, and the name now means another file"),
            Cause::Conflict => f.write_str("another client changed the file while the connection was lost"),
            Cause::Lost => f.write_str("the server lost data that it had acknowledged before the connection was lost"),
            Cause::Malformed(what) => write!(f, "the server's answer is malformed ({what})"),
            Cause::TooLong(what) => write!(f, "{what}"),
        }
    }
}

impl std::error::Error for ShareError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_that_no_longer_exists_is_not_a_share_that_is_denied() {
        let is_missing = |stage, status| Refused { stage, status, message: String::new() }.is_share_missing();
        assert!(is_missing(Stage::Share, Some(NtStatus::BAD_NETWORK_NAME)));
        assert!(!is_missing(Stage::Share, Some(NtStatus::ACCESS_DENIED)));
        assert!(!is_missing(Stage::Share, Some(NtStatus::NETWORK_ACCESS_DENIED)));
        assert!(!is_missing(Stage::Share, None));
        assert!(!is_missing(Stage::SignIn, Some(NtStatus::LOGON_FAILURE)));
        assert!(!is_missing(Stage::SignIn, Some(NtStatus(0xC0DE_0001))));
    }

    #[test]
    fn only_an_answer_of_the_server_is_a_refusal() {
        let refusal = |cause| ShareError { operation: "CREATE", path: RemotePath::root(), cause }.refusal();
        assert_eq!(refusal(Cause::Status(NtStatus::SHARING_VIOLATION)), Some(Refusal::Busy));
        assert_eq!(refusal(Cause::Unsupported(NtStatus::INVALID_DEVICE_REQUEST)), Some(Refusal::Unsupported));
        assert_eq!(refusal(Cause::TimedOut), None);
        assert_eq!(refusal(Cause::TooLong(TooLong::Path)), None);
    }
}
