//! What a failure means to a POSIX program: one table from [`Refusal`] to errno.
//!
//! Where the errno of Linux's own client would mislead a user, the table has the errno that users of a local file
//! system expect.
//!
//! [`VfsError`] is the one error of this room: the errno for the kernel, the cause for the log, and the log level. It
//! is logged once, by the room that answers the kernel.

use crate::share::error::{Cause, TooLong};
use crate::share::{Refusal, ShareError};
use std::fmt;
use tracing::Level;

/// The errno for a refusal by the server.
pub fn errno_of(refusal: Refusal) -> i32 {
    match refusal {
        Refusal::Absent | Refusal::FolderAbsent | Refusal::DeletePending | Refusal::NoShare => libc::ENOENT,
        Refusal::Exists => libc::EEXIST,
        Refusal::NameInvalid | Refusal::NotReparsePoint | Refusal::InvalidArgument => libc::EINVAL,
        Refusal::NameTooLong => libc::ENAMETOOLONG,
        Refusal::IsDirectory => libc::EISDIR,
        Refusal::NotDirectory => libc::ENOTDIR,
        Refusal::NotEmpty => libc::ENOTEMPTY,
        Refusal::OtherVolume => libc::EXDEV,
        Refusal::TooManyLinks => libc::EMLINK,
        Refusal::NoDevice => libc::ENODEV,
        Refusal::ReparsePoint | Refusal::Unsupported => libc::EOPNOTSUPP,
        Refusal::Denied | Refusal::ReadOnly | Refusal::NotSignedIn | Refusal::Locked => libc::EACCES,
        Refusal::NotPermitted => libc::EPERM,
        Refusal::WriteProtected => libc::EROFS,
        // Linux answers ETXTBSY to a sharing violation, which makes users look for a running program. The file is
        // busy.
        Refusal::Busy | Refusal::ServerBusy => libc::EBUSY,
        Refusal::LockNotGranted => libc::EAGAIN,
        Refusal::NotLocked => libc::ENOLCK,
        Refusal::NoSpace => libc::ENOSPC,
        Refusal::Quota => libc::EDQUOT,
        Refusal::FileTooLarge => libc::EFBIG,
        Refusal::AttributesTooLarge => libc::E2BIG,
        Refusal::NoData => libc::ENODATA,
        Refusal::NoMemory => libc::ENOMEM,
        Refusal::TooManyOpen => libc::EMFILE,
        Refusal::TooManySessions => libc::EUSERS,
        Refusal::NoMedium => libc::ENOMEDIUM,
        // The server no longer knows the handle, although the program's descriptor is valid.
        Refusal::OpenGone => libc::ESTALE,
        Refusal::TimedOut => libc::ETIMEDOUT,
        // "Host is down" points the user to the cause, and is the answer of Linux's own client.
        Refusal::Disconnected => libc::EHOSTDOWN,
        Refusal::PipeGone => libc::EPIPE,
        Refusal::NoRefusal | Refusal::Failed => libc::EIO,
    }
}

/// Why an operation on the file system failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VfsError {
    /// The errno that the program gets.
    pub errno: i32,
    /// The level of the log line.
    pub level: Level,
    /// The cause.
    pub source: ErrorSource,
}

/// The cause of an error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ErrorSource {
    /// The share refused or failed the request.
    Share(ShareError),
    /// A rule of this file system forbids it: the text for the log.
    Rule(&'static str),
}

/// The result of an operation on the file system.
pub type Result<T> = std::result::Result<T, VfsError>;

impl VfsError {
    /// An error that this file system answers by a rule of its own, without asking the server.
    pub(crate) fn rule(errno: i32, why: &'static str) -> VfsError {
        VfsError { errno, level: level_of(errno), source: ErrorSource::Rule(why) }
    }

    /// The program was killed, so the kernel no longer waits for the answer.
    pub(crate) fn interrupted() -> VfsError {
        VfsError { level: Level::DEBUG, ..VfsError::rule(libc::EINTR, "the program was killed") }
    }

    /// The file of the inode was deleted, or its name means another file now. The kernel then looks the path up once
    /// more.
    pub(crate) fn stale() -> VfsError {
        VfsError::rule(libc::ESTALE, "the file was deleted or replaced")
    }
}

impl From<ShareError> for VfsError {
    fn from(error: ShareError) -> VfsError {
        let errno = match &error.cause {
            Cause::Status(_) | Cause::Unsupported(_) => error.refusal().map_or(libc::EIO, errno_of),
            Cause::TimedOut => libc::ETIMEDOUT,
            Cause::Disconnected(_) | Cause::Away(_) => errno_of(Refusal::Disconnected),
            // A missing share is not a missing file: programs would treat the share's files as deleted.
            Cause::AccessRefused(refused) if refused.is_share_missing() => libc::ENODEV,
            Cause::AccessRefused(_) => libc::EACCES,
            Cause::LostAgain { .. } | Cause::Uncertain | Cause::Unverified => libc::EIO,
            Cause::Stale => libc::ESTALE,
            Cause::Conflict | Cause::Lost | Cause::Malformed(_) => libc::EIO,
            Cause::TooLong(TooLong::Path) => libc::ENAMETOOLONG,
            Cause::TooLong(TooLong::Other(_)) => libc::EINVAL,
        };
        let level = match error.cause {
            // The share has already logged it once, with the remedy.
            Cause::AccessRefused(_) => Level::INFO,
            Cause::Away(_) => Level::DEBUG,
            _ => level_of(errno),
        };
        VfsError { errno, level, source: ErrorSource::Share(error) }
    }
}

/// The log level for an errno: quiet for answers that programs cause all day, loud for trouble.
fn level_of(errno: i32) -> Level {
    match errno {
        libc::ENOENT
        | libc::EEXIST
        | libc::ENOTDIR
        | libc::EISDIR
        | libc::ENOTEMPTY
        | libc::EINVAL
        | libc::EILSEQ
        | libc::ENAMETOOLONG
        | libc::EPERM
        | libc::EROFS
        | libc::EBADF
        | libc::ESTALE
        | libc::EOPNOTSUPP => Level::DEBUG,
        libc::EACCES | libc::EBUSY | libc::EAGAIN => Level::INFO,
        _ => Level::WARN,
    }
}

impl fmt::Display for VfsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.source {
            ErrorSource::Share(error) => error.fmt(f),
            ErrorSource::Rule(why) => f.write_str(why),
        }
    }
}

impl std::error::Error for VfsError {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::share::RemotePath;
    use crate::share::error::Away;

    #[test]
    fn each_cause_that_is_no_refusal_has_its_errno() {
        let error = |cause| VfsError::from(ShareError { operation: "READ", path: RemotePath::root(), cause }).errno;
        assert_eq!(error(Cause::TimedOut), libc::ETIMEDOUT);
        assert_eq!(error(Cause::Disconnected("reset".into())), libc::EHOSTDOWN);
        let away = Away { seconds: 40, stage: None, why: "refused".into() };
        assert_eq!(error(Cause::Away(away)), libc::EHOSTDOWN);
        assert_eq!(error(Cause::LostAgain { times: 5, why: "reset".into() }), libc::EIO);
        assert_eq!(error(Cause::Uncertain), libc::EIO);
        assert_eq!(error(Cause::Unverified), libc::EIO);
        assert_eq!(error(Cause::Stale), libc::ESTALE);
        assert_eq!(error(Cause::TooLong(TooLong::Path)), libc::ENAMETOOLONG);
        assert_eq!(error(Cause::TooLong(TooLong::Other("it"))), libc::EINVAL);
        assert_eq!(error(Cause::Malformed("short".into())), libc::EIO);
    }

    #[test]
    fn a_full_disk_is_logged_as_a_warning_and_a_missing_file_is_not() {
        assert_eq!(level_of(errno_of(Refusal::Absent)), Level::DEBUG);
        assert_eq!(level_of(errno_of(Refusal::NoSpace)), Level::WARN);
    }
}
