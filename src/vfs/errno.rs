//! What a failure means to a POSIX program: one table from NTSTATUS to errno.
//!
//! [`errno_of`] maps every status that has a name in [`NtStatus::NAMED`] on purpose; a test holds the
//! table to that. Where Linux's own client answers something that only its authors understand, the
//! table takes what users of a local file system would expect. A status without a row is `EIO`.
//!
//! [`VfsError`] is the one error of this room: the errno for the kernel, the cause for the log, and
//! how loud the log is. It is logged once, by the room that answers the kernel.

use crate::share::ShareError;
use crate::share::error::Cause;
use crate::wire::codec::TooLong;
use crate::wire::{NtStatus, Stage};
use std::fmt;
use tracing::Level;

/// The errno of a status that the server answered.
pub fn errno_of(status: NtStatus) -> i32 {
    known_errno(status).unwrap_or(libc::EIO)
}

/// The table itself; `None` for a status that has no row.
fn known_errno(status: NtStatus) -> Option<i32> {
    Some(match status {
        // The name is not there, or is about to go.
        NtStatus::NO_SUCH_FILE
        | NtStatus::OBJECT_NAME_NOT_FOUND
        | NtStatus::OBJECT_PATH_NOT_FOUND
        | NtStatus::DELETE_PENDING
        | NtStatus::FILE_DELETED
        | NtStatus::FILE_RENAMED
        | NtStatus::NOT_FOUND
        | NtStatus::BAD_NETWORK_PATH
        | NtStatus::BAD_NETWORK_NAME => libc::ENOENT,

        // Names and kinds.
        NtStatus::OBJECT_NAME_COLLISION => libc::EEXIST,
        NtStatus::OBJECT_NAME_INVALID | NtStatus::OBJECT_PATH_SYNTAX_BAD => libc::EINVAL,
        NtStatus::NAME_TOO_LONG => libc::ENAMETOOLONG,
        NtStatus::FILE_IS_A_DIRECTORY => libc::EISDIR,
        NtStatus::NOT_A_DIRECTORY | NtStatus::OBJECT_PATH_INVALID => libc::ENOTDIR,
        NtStatus::DIRECTORY_NOT_EMPTY => libc::ENOTEMPTY,
        NtStatus::NOT_SAME_DEVICE => libc::EXDEV,
        NtStatus::TOO_MANY_LINKS => libc::EMLINK,
        NtStatus::PATH_NOT_COVERED | NtStatus::NO_SUCH_DEVICE => libc::ENODEV,
        NtStatus::STOPPED_ON_SYMLINK
        | NtStatus::DIRECTORY_IS_A_REPARSE_POINT
        | NtStatus::IO_REPARSE_TAG_NOT_HANDLED => libc::EOPNOTSUPP,
        NtStatus::NOT_A_REPARSE_POINT => libc::EINVAL,

        // Permission. A delete that the read-only attribute forbids is refused like any other.
        NtStatus::ACCESS_DENIED
        | NtStatus::CANNOT_DELETE
        | NtStatus::NETWORK_ACCESS_DENIED
        | NtStatus::BAD_IMPERSONATION_LEVEL
        | NtStatus::LOGON_FAILURE
        | NtStatus::ACCOUNT_RESTRICTION
        | NtStatus::INVALID_LOGON_HOURS
        | NtStatus::PASSWORD_EXPIRED
        | NtStatus::PASSWORD_MUST_CHANGE
        | NtStatus::ACCOUNT_DISABLED
        | NtStatus::ACCOUNT_LOCKED_OUT
        | NtStatus::LOGON_TYPE_NOT_GRANTED
        | NtStatus::NO_LOGON_SERVERS
        | NtStatus::NO_TRUST_SAM_ACCOUNT
        | NtStatus::NO_SUCH_USER
        | NtStatus::INVALID_ACCOUNT_NAME
        | NtStatus::WRONG_PASSWORD
        | NtStatus::INVALID_WORKSTATION
        | NtStatus::INVALID_SERVER_STATE
        | NtStatus::NO_SUCH_DOMAIN
        | NtStatus::TIME_DIFFERENCE_AT_DC
        | NtStatus::LOGON_NOT_GRANTED
        | NtStatus::NO_TRUST_LSA_SECRET
        | NtStatus::TRUSTED_DOMAIN_FAILURE
        | NtStatus::TRUSTED_RELATIONSHIP_FAILURE
        | NtStatus::TRUST_FAILURE
        | NtStatus::NETLOGON_NOT_STARTED
        | NtStatus::ACCOUNT_EXPIRED
        | NtStatus::NOLOGON_INTERDOMAIN_TRUST_ACCOUNT
        | NtStatus::NOLOGON_WORKSTATION_TRUST_ACCOUNT
        | NtStatus::NOLOGON_SERVER_TRUST_ACCOUNT
        | NtStatus::DOMAIN_TRUST_INCONSISTENT
        | NtStatus::DOMAIN_CONTROLLER_NOT_FOUND
        | NtStatus::SMARTCARD_LOGON_REQUIRED
        | NtStatus::AUTHENTICATION_FIREWALL_FAILED
        | NtStatus::NTLM_BLOCKED
        | NtStatus::NETWORK_SESSION_EXPIRED => libc::EACCES,
        NtStatus::PRIVILEGE_NOT_HELD => libc::EPERM,
        NtStatus::MEDIA_WRITE_PROTECTED => libc::EROFS,

        // Somebody else is at it. Linux answers ETXTBSY to a sharing violation, which makes users
        // look for a running program; the file is busy.
        NtStatus::SHARING_VIOLATION
        | NtStatus::NETWORK_BUSY
        | NtStatus::PIPE_BUSY
        | NtStatus::PIPE_NOT_AVAILABLE
        | NtStatus::INSTANCE_NOT_AVAILABLE => libc::EBUSY,
        NtStatus::FILE_LOCK_CONFLICT => libc::EACCES,
        NtStatus::LOCK_NOT_GRANTED => libc::EAGAIN,
        NtStatus::RANGE_NOT_LOCKED => libc::ENOLCK,

        // Room and resources.
        NtStatus::DISK_FULL => libc::ENOSPC,
        NtStatus::QUOTA_EXCEEDED => libc::EDQUOT,
        NtStatus::FILE_SYSTEM_LIMITATION => libc::EFBIG,
        NtStatus::EA_TOO_LARGE => libc::E2BIG,
        NtStatus::NO_EAS_ON_FILE | NtStatus::END_OF_FILE => libc::ENODATA,
        NtStatus::NO_MEMORY | NtStatus::INSUFFICIENT_RESOURCES | NtStatus::INSUFF_SERVER_RESOURCES => libc::ENOMEM,
        NtStatus::TOO_MANY_OPENED_FILES => libc::EMFILE,
        NtStatus::TOO_MANY_SESSIONS | NtStatus::REQUEST_NOT_ACCEPTED => libc::EUSERS,
        NtStatus::NO_MEDIA_IN_DEVICE => libc::ENOMEDIUM,

        // What the server cannot do.
        NtStatus::NOT_IMPLEMENTED
        | NtStatus::NOT_SUPPORTED
        | NtStatus::INVALID_DEVICE_REQUEST
        | NtStatus::INVALID_INFO_CLASS => libc::EOPNOTSUPP,
        NtStatus::INVALID_PARAMETER | NtStatus::INVALID_VIEW_SIZE => libc::EINVAL,

        // The server no longer knows the handle, though the program's descriptor is good.
        NtStatus::INVALID_HANDLE | NtStatus::FILE_CLOSED => libc::ESTALE,

        // The way to the server.
        NtStatus::IO_TIMEOUT => libc::ETIMEDOUT,
        NtStatus::NETWORK_NAME_DELETED
        | NtStatus::USER_SESSION_DELETED
        | NtStatus::CONNECTION_DISCONNECTED
        | NtStatus::CONNECTION_RESET
        | NtStatus::CONNECTION_REFUSED
        | NtStatus::SHARE_UNAVAILABLE
        | NtStatus::FILE_NOT_AVAILABLE => libc::EHOSTDOWN,
        NtStatus::PIPE_DISCONNECTED => libc::EPIPE,

        // Trouble without a better word. The first group are no errors at all: that one arrives here
        // as an error says that the server broke the protocol.
        NtStatus::SUCCESS
        | NtStatus::PENDING
        | NtStatus::NOTIFY_CLEANUP
        | NtStatus::NOTIFY_ENUM_DIR
        | NtStatus::BUFFER_OVERFLOW
        | NtStatus::NO_MORE_FILES
        | NtStatus::MORE_PROCESSING_REQUIRED => libc::EIO,
        NtStatus::UNSUCCESSFUL
        | NtStatus::INFO_LENGTH_MISMATCH
        | NtStatus::BUFFER_TOO_SMALL
        | NtStatus::INVALID_BUFFER_SIZE
        | NtStatus::OBJECT_TYPE_MISMATCH
        | NtStatus::UNEXPECTED_NETWORK_ERROR
        | NtStatus::BAD_DEVICE_TYPE
        | NtStatus::INTERNAL_ERROR
        | NtStatus::UNEXPECTED_IO_ERROR
        | NtStatus::CANCELLED => libc::EIO,
        _ => return None,
    })
}

/// Why an operation on the file system failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VfsError {
    /// What the program gets.
    pub errno: i32,
    /// How loud the log is about it.
    pub level: Level,
    /// What happened.
    pub source: ErrorSource,
}

/// Where an error comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ErrorSource {
    /// The share refused or failed.
    Share(ShareError),
    /// A rule of this file system, in words for the log.
    Rule(&'static str),
}

/// The result of an operation on the file system.
pub type Result<T> = std::result::Result<T, VfsError>;

impl VfsError {
    /// An error that this file system itself answers.
    pub(crate) fn rule(errno: i32, why: &'static str) -> VfsError {
        VfsError { errno, level: level_of(errno), source: ErrorSource::Rule(why) }
    }

    /// The program was killed, so the kernel does not wait for the answer any more.
    pub(crate) fn interrupted() -> VfsError {
        VfsError { level: Level::DEBUG, ..VfsError::rule(libc::EINTR, "the program was killed") }
    }

    /// What the inode named is gone, or is another file now: the kernel looks the path up once more.
    pub(crate) fn stale() -> VfsError {
        VfsError::rule(libc::ESTALE, "the file was deleted or replaced")
    }
}

impl From<ShareError> for VfsError {
    fn from(error: ShareError) -> VfsError {
        let errno = match &error.cause {
            // smbd's answer to one open more than it allows a client.
            Cause::Status(NtStatus::INSUFFICIENT_RESOURCES) if opens_a_file(error.operation) => libc::EMFILE,
            Cause::Status(status) => errno_of(*status),
            Cause::Unsupported(_) => libc::EOPNOTSUPP,
            Cause::TimedOut => libc::ETIMEDOUT,
            // "Host is down" tells the user where to look, and is what Linux's own client says.
            Cause::Disconnected(_) | Cause::Away(_) => libc::EHOSTDOWN,
            Cause::NotLetIn(refused) => match (refused.stage, refused.status) {
                // A share that has gone is no missing file: programs would take its files for deleted.
                (Stage::Share, Some(status)) if errno_of(status) != libc::EACCES => libc::ENODEV,
                _ => libc::EACCES,
            },
            Cause::LostAgain { .. } | Cause::Uncertain | Cause::Unverified => libc::EIO,
            Cause::Stale => libc::ESTALE,
            Cause::Conflict | Cause::Lost | Cause::Malformed(_) => libc::EIO,
            Cause::TooLong(TooLong::Path) => libc::ENAMETOOLONG,
            Cause::TooLong(TooLong::Other(_)) => libc::EINVAL,
        };
        let level = match error.cause {
            // The share has said it once, with what to do.
            Cause::NotLetIn(_) => Level::INFO,
            Cause::Away(_) => Level::DEBUG,
            _ => level_of(errno),
        };
        VfsError { errno, level, source: ErrorSource::Share(error) }
    }
}

/// Whether an operation begins with an open at the server.
fn opens_a_file(operation: &str) -> bool {
    matches!(operation, "CREATE" | "DELETE" | "RENAME" | "QUERY_DIRECTORY")
}

/// Answers that programs ask for all day are quiet; trouble is not.
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
    use crate::share::error::{Away, Refused};

    #[test]
    fn every_named_status_is_mapped_on_purpose() {
        for (status, name) in NtStatus::NAMED {
            assert!(known_errno(*status).is_some(), "{name} has no row");
        }
    }

    /// The whole table once more, by the numbers of MS-ERREF 2.3.1, so that no row moves unnoticed.
    #[test]
    fn each_row_of_the_table() {
        let rows: &[(i32, &[u32])] = &[
            (
                libc::EIO,
                &[
                    0,
                    0x103,
                    0x10B,
                    0x10C,
                    0x8000_0005,
                    0x8000_0006,
                    0xC000_0016,
                    0xC000_0001,
                    0xC000_0004,
                    0xC000_0023,
                    0xC000_0206,
                    0xC000_0024,
                    0xC000_00C4,
                    0xC000_00CB,
                    0xC000_00E5,
                    0xC000_00E9,
                    0xC000_0120,
                ],
            ),
            (
                libc::ENOENT,
                &[
                    0xC000_000F,
                    0xC000_0034,
                    0xC000_003A,
                    0xC000_0056,
                    0xC000_0123,
                    0xC000_00D5,
                    0xC000_0225,
                    0xC000_00BE,
                    0xC000_00CC,
                ],
            ),
            (libc::EEXIST, &[0xC000_0035]),
            (libc::EINVAL, &[0xC000_0033, 0xC000_003B, 0xC000_0275, 0xC000_000D, 0xC000_001F]),
            (libc::ENAMETOOLONG, &[0xC000_0106]),
            (libc::EISDIR, &[0xC000_00BA]),
            (libc::ENOTDIR, &[0xC000_0103, 0xC000_0039]),
            (libc::ENOTEMPTY, &[0xC000_0101]),
            (libc::EXDEV, &[0xC000_00D4]),
            (libc::EMLINK, &[0xC000_0265]),
            (libc::ENODEV, &[0xC000_0257, 0xC000_000E]),
            (
                libc::EOPNOTSUPP,
                &[0x8000_002D, 0xC000_0281, 0xC000_0279, 0xC000_0002, 0xC000_00BB, 0xC000_0010, 0xC000_0003],
            ),
            (
                libc::EACCES,
                &[
                    0xC000_0022,
                    0xC000_0121,
                    0xC000_00CA,
                    0xC000_00A5,
                    0xC000_006D,
                    0xC000_006E,
                    0xC000_006F,
                    0xC000_0071,
                    0xC000_0224,
                    0xC000_0072,
                    0xC000_0234,
                    0xC000_015B,
                    0xC000_005E,
                    0xC000_018B,
                    0xC000_0064,
                    0xC000_0062,
                    0xC000_006A,
                    0xC000_0070,
                    0xC000_00DC,
                    0xC000_00DF,
                    0xC000_0133,
                    0xC000_0155,
                    0xC000_018A,
                    0xC000_018C,
                    0xC000_018D,
                    0xC000_0190,
                    0xC000_0192,
                    0xC000_0193,
                    0xC000_0198,
                    0xC000_0199,
                    0xC000_019A,
                    0xC000_019B,
                    0xC000_0233,
                    0xC000_02FA,
                    0xC000_0413,
                    0xC000_0418,
                    0xC000_035C,
                    0xC000_0054,
                ],
            ),
            (libc::EPERM, &[0xC000_0061]),
            (libc::EROFS, &[0xC000_00A2]),
            (libc::EBUSY, &[0xC000_0043, 0xC000_00BF, 0xC000_00AE, 0xC000_00AC, 0xC000_00AB]),
            (libc::EAGAIN, &[0xC000_0055]),
            (libc::ENOLCK, &[0xC000_007E]),
            (libc::ENOSPC, &[0xC000_007F]),
            (libc::EDQUOT, &[0xC000_0044]),
            (libc::EFBIG, &[0xC000_0427]),
            (libc::E2BIG, &[0xC000_0050]),
            (libc::ENODATA, &[0xC000_0052, 0xC000_0011]),
            (libc::ENOMEM, &[0xC000_0017, 0xC000_009A, 0xC000_0205]),
            (libc::EMFILE, &[0xC000_011F]),
            (libc::EUSERS, &[0xC000_00CE, 0xC000_00D0]),
            (libc::ENOMEDIUM, &[0xC000_0013]),
            (libc::ESTALE, &[0xC000_0008, 0xC000_0128]),
            (libc::ETIMEDOUT, &[0xC000_00B5]),
            (
                libc::EHOSTDOWN,
                &[0xC000_00C9, 0xC000_0203, 0xC000_020C, 0xC000_020D, 0xC000_0236, 0xC000_0480, 0xC000_0467],
            ),
            (libc::EPIPE, &[0xC000_00B0]),
        ];
        for (errno, statuses) in rows {
            for status in *statuses {
                assert_eq!(errno_of(NtStatus(*status)), *errno, "{}", NtStatus(*status));
            }
        }
        let tested: usize = rows.iter().map(|(_, statuses)| statuses.len()).sum();
        assert_eq!(tested, NtStatus::NAMED.len(), "a status has no row in this test");
    }

    #[test]
    fn an_unknown_status_is_eio() {
        assert_eq!(errno_of(NtStatus(0xC0DE_0001)), libc::EIO);
    }

    #[test]
    fn causes_other_than_a_status() {
        let error = |cause| VfsError::from(ShareError { operation: "READ", path: RemotePath::root(), cause }).errno;
        assert_eq!(error(Cause::TimedOut), libc::ETIMEDOUT);
        assert_eq!(error(Cause::Disconnected("reset".into())), libc::EHOSTDOWN);
        let away = Away { seconds: 40, stage: Some(Stage::Connect), why: "refused".into() };
        assert_eq!(error(Cause::Away(away)), libc::EHOSTDOWN);
        assert_eq!(error(Cause::LostAgain { times: 5, why: "reset".into() }), libc::EIO);
        assert_eq!(error(Cause::Uncertain), libc::EIO);
        assert_eq!(error(Cause::Unverified), libc::EIO);
        let not_let_in = |stage, status| error(Cause::NotLetIn(Refused { stage, status, message: String::new() }));
        assert_eq!(not_let_in(Stage::SignIn, Some(NtStatus::LOGON_FAILURE)), libc::EACCES);
        assert_eq!(not_let_in(Stage::SignIn, Some(NtStatus(0xC0DE_0001))), libc::EACCES);
        assert_eq!(not_let_in(Stage::SignIn, None), libc::EACCES);
        assert_eq!(not_let_in(Stage::Share, Some(NtStatus::ACCESS_DENIED)), libc::EACCES);
        assert_eq!(not_let_in(Stage::Share, Some(NtStatus::BAD_NETWORK_NAME)), libc::ENODEV);
        assert_eq!(error(Cause::Stale), libc::ESTALE);
        assert_eq!(error(Cause::TooLong(TooLong::Path)), libc::ENAMETOOLONG);
        assert_eq!(error(Cause::TooLong(TooLong::Other("it"))), libc::EINVAL);
        assert_eq!(error(Cause::Malformed("short".into())), libc::EIO);
    }

    #[test]
    fn too_many_open_files_are_not_too_little_memory() {
        let error = |operation| {
            let error = ShareError::status(operation, &RemotePath::root(), NtStatus::INSUFFICIENT_RESOURCES);
            VfsError::from(error).errno
        };
        assert_eq!((error("CREATE"), error("QUERY_DIRECTORY")), (libc::EMFILE, libc::EMFILE));
        assert_eq!((error("WRITE"), error("FLUSH")), (libc::ENOMEM, libc::ENOMEM));
    }

    #[test]
    fn a_missing_file_is_no_news_and_a_full_disk_is() {
        let error = |status| VfsError::from(ShareError::status("CREATE", &RemotePath::root(), status)).level;
        assert_eq!(error(NtStatus::OBJECT_NAME_NOT_FOUND), Level::DEBUG);
        assert_eq!(error(NtStatus::DISK_FULL), Level::WARN);
    }
}
