//! The one error type of this room.

use super::refusal::Refusal;
use super::types::RemotePath;
pub use crate::wire::codec::TooLong;
use crate::wire::{ConnectError, NtStatus, Stage};
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
    /// The session was lost, and the server is away for longer than operations wait.
    Away(Away),
    /// The server is there, and does not let us in: it refused the sign-in, or the share.
    NotLetIn(Refused),
    /// The connection was lost so many times while this was being done; with the last reason.
    LostAgain {
        /// How many times.
        times: u32,
        /// Why it was lost the last time.
        why: String,
    },
    /// The session that a change was sent on hangs at the server, which may still make the change.
    Uncertain,
    /// The connection was lost while this was being done, and nothing shows whether the server has done it.
    Unverified,
    /// The file was open on a connection that was lost, and what its name names now is another file.
    Stale,
    /// Another client changed the file while the connection was lost, and this is from before.
    Conflict,
    /// The server took data, and does not have it any more since the connection was lost.
    Lost,
    /// The server's answer broke the protocol; with what was wrong.
    Malformed(String),
    /// The protocol has no room for this; nothing was sent.
    TooLong(TooLong),
}

/// A server that is away.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Away {
    /// For so many seconds.
    pub seconds: u64,
    /// How far the last try to come back has got; `None` if none has ended.
    pub stage: Option<Stage>,
    /// Why the session was lost, and why the last try failed.
    pub why: String,
}

/// What the server refused when it was connected to again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// The sign-in, or the share.
    pub stage: Stage,
    /// The server's status; none for a guest session that nobody asked for.
    pub status: Option<NtStatus>,
    /// A sentence with the remedy, for the log.
    pub message: String,
}

impl Refused {
    /// The refusal that a failed connect is; `None` if it is trouble that may pass.
    pub(super) fn of(error: &ConnectError) -> Option<Refused> {
        let refused = match error.stage {
            Stage::SignIn => error.refusal().is_some(),
            Stage::Share => error.status.is_some_and(is_refusal_of_share),
            _ => false,
        };
        let message = error.to_string();
        refused.then_some(Refused { stage: error.stage, status: error.status, message })
    }

    /// Whether there is no such share any more, rather than one that this user may not use.
    pub fn is_share_missing(&self) -> bool {
        let refusal = self.status.map(|status| Refusal::of("TREE_CONNECT", status));
        self.stage == Stage::Share
            && refusal.is_some_and(|refusal| !matches!(refusal, Refusal::Denied | Refusal::NotSignedIn))
    }
}

/// Whether this answer to a TREE_CONNECT is about the share, and not about trouble of the server.
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
    /// An error with the status that the server answered.
    pub fn status(operation: &'static str, path: &RemotePath, status: NtStatus) -> ShareError {
        ShareError { operation, path: path.clone(), cause: Cause::Status(status) }
    }

    /// What the server's refusal means, if it was the server that refused.
    pub fn refusal(&self) -> Option<Refusal> {
        match self.cause {
            Cause::Status(status) => Some(Refusal::of(self.operation, status)),
            Cause::Unsupported(_) => Some(Refusal::Unsupported),
            _ => None,
        }
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
            Cause::Away(away) => write!(f, "no connection to the server for {} s ({})", away.seconds, away.why),
            Cause::NotLetIn(refused) => f.write_str(&refused.message),
            Cause::LostAgain { times, why } => {
                write!(f, "given up after the connection was lost {times} times (last: {why})")
            }
            Cause::Uncertain => f.write_str(
                "the session that it was sent on hangs at the server, which may still do it: not sent again",
            ),
            Cause::Unverified => f.write_str(
                "the connection was lost while this was being done, and what the server has now does not show whether it was",
            ),
            Cause::Stale => f.write_str("the connection was lost, and the name now names another file"),
            Cause::Conflict => f.write_str("another client changed the file while the connection was lost"),
            Cause::Lost => f.write_str("the server has lost data that it had taken before the connection was lost"),
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
    fn a_share_that_has_gone_is_not_one_that_is_denied() {
        let is_missing = |stage, status| Refused { stage, status, message: String::new() }.is_share_missing();
        assert!(is_missing(Stage::Share, Some(NtStatus::BAD_NETWORK_NAME)));
        assert!(!is_missing(Stage::Share, Some(NtStatus::ACCESS_DENIED)));
        assert!(!is_missing(Stage::Share, Some(NtStatus::NETWORK_ACCESS_DENIED)));
        assert!(!is_missing(Stage::Share, None));
        assert!(!is_missing(Stage::SignIn, Some(NtStatus::LOGON_FAILURE)));
        assert!(!is_missing(Stage::SignIn, Some(NtStatus(0xC0DE_0001))));
    }

    #[test]
    fn only_the_server_refuses() {
        let refusal = |cause| ShareError { operation: "CREATE", path: RemotePath::root(), cause }.refusal();
        assert_eq!(refusal(Cause::Status(NtStatus::SHARING_VIOLATION)), Some(Refusal::Busy));
        assert_eq!(refusal(Cause::Unsupported(NtStatus::INVALID_DEVICE_REQUEST)), Some(Refusal::Unsupported));
        assert_eq!(refusal(Cause::TimedOut), None);
        assert_eq!(refusal(Cause::TooLong(TooLong::Path)), None);
    }
}
