//! What a server's refusal means: one table from NTSTATUS to [`Refusal`].
//!
//! Not this type: `wire::Refusal`, the refusal of credentials; [`Refused`](super::error::Refused), why operations fail
//! without a session. What the mount does after a [`Refusal`] is decided by `vfs/refusals.rs`.
//!
//! The rooms above decide by [`Refusal`] and name no NTSTATUS. The status itself stays in the error, for the log.
//! Every status in [`NtStatus::NAMED`] has exactly one row; a test checks that.

use crate::wire::NtStatus;

/// Why the server refused an operation.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Refusal {
    /// Nothing has the name.
    Absent,
    /// A folder of the path is missing, which says nothing of the name.
    FolderAbsent,
    /// The name exists.
    Exists,
    /// The file of this name is deleted and still open at a client.
    DeletePending,
    /// Another open, of any client, does not share the file in the requested way.
    Busy,
    /// The access control list, the share, or the read-only attribute of a file to be written forbids it; for a rename,
    /// also an open target, or an open file below the folder.
    Denied,
    /// The file's read-only attribute forbids its deletion.
    ReadOnly,
    /// The medium or the share is write-protected.
    WriteProtected,
    /// A privilege is missing that no access right replaces.
    NotPermitted,
    /// The user may not sign in, or the sign-in has expired.
    NotSignedIn,
    /// The directory is not empty.
    NotEmpty,
    /// The target is a directory.
    IsDirectory,
    /// The target, or a part of its path, is not a directory.
    NotDirectory,
    /// The server does not accept the name.
    NameInvalid,
    /// The name or path is too long.
    NameTooLong,
    /// The path leads through a symbolic link or another reparse point.
    ReparsePoint,
    /// The file is no reparse point.
    NotReparsePoint,
    /// The two names are on different volumes.
    OtherVolume,
    /// The file has the maximum number of names.
    TooManyLinks,
    /// The volume is full.
    NoSpace,
    /// The user's quota is used up.
    Quota,
    /// The file would be larger than its file system allows.
    FileTooLarge,
    /// The extended attributes are too large.
    AttributesTooLarge,
    /// The file has no extended attribute, or no data at this offset.
    NoData,
    /// The server has no room for one more open of this client.
    TooManyOpen,
    /// The server has too little memory.
    NoMemory,
    /// The server has no room for one more session.
    TooManySessions,
    /// A byte-range lock of another open forbids the access.
    Locked,
    /// A byte-range lock cannot be granted now.
    LockNotGranted,
    /// The range to be unlocked is not locked.
    NotLocked,
    /// The server cannot do this.
    Unsupported,
    /// The server does not accept an argument, or not with this file.
    InvalidArgument,
    /// The server does not know the open.
    OpenGone,
    /// A wait inside the server timed out.
    TimedOut,
    /// The share or the session is gone.
    Disconnected,
    /// The server has no such share.
    NoShare,
    /// The name belongs to another server (DFS, whose referrals are not followed) or to a device that does not exist.
    NoDevice,
    /// There is no medium in the drive.
    NoMedium,
    /// The server is busy.
    ServerBusy,
    /// A pipe has no reader.
    PipeGone,
    /// The status is no refusal. As the answer to a failed operation it breaks the protocol, except for
    /// NOTIFY_CLEANUP: the watched directory was deleted or closed.
    NoRefusal,
    /// A failure without a more specific meaning, or a status that has no row.
    Failed,
}

impl Refusal {
    /// The meaning of this status as the answer to this operation ([`ShareError::operation`]).
    ///
    /// [`ShareError::operation`]: super::ShareError::operation
    pub(super) fn of(operation: &str, status: NtStatus) -> Refusal {
        match status {
            // smbd and Windows answer this to an open beyond the maximum number of opens.
            NtStatus::INSUFFICIENT_RESOURCES | NtStatus::INSUFF_SERVER_RESOURCES if opens_a_file(operation) => {
                Refusal::TooManyOpen
            }
            status => known(status).unwrap_or(Refusal::Failed),
        }
    }
}

/// Whether an operation of this name begins with an open at the server. SET_INFO and QUERY_INFO, which may work on an
/// open file, count as operations without one.
fn opens_a_file(operation: &str) -> bool {
    matches!(operation, "CREATE" | "DELETE" | "RENAME" | "REPLACE" | "QUERY_DIRECTORY")
}

/// Whether servers answer this to a request that they do not know.
pub(super) fn is_unknown_request(status: NtStatus) -> bool {
    matches!(
        status,
        NtStatus::NOT_SUPPORTED
            | NtStatus::NOT_IMPLEMENTED
            | NtStatus::INVALID_DEVICE_REQUEST
            | NtStatus::INVALID_PARAMETER
    )
}

/// Looks the status up; `None` if it has no row.
fn known(status: NtStatus) -> Option<Refusal> {
    of_name(status).or_else(|| of_access(status)).or_else(|| of_resources(status)).or_else(|| of_trouble(status))
}

/// What names stand for, and which names are allowed.
fn of_name(status: NtStatus) -> Option<Refusal> {
    Some(match status {
        NtStatus::NO_SUCH_FILE
        | NtStatus::OBJECT_NAME_NOT_FOUND
        | NtStatus::FILE_DELETED
        | NtStatus::FILE_RENAMED
        | NtStatus::NOT_FOUND => Refusal::Absent,
        NtStatus::OBJECT_PATH_NOT_FOUND => Refusal::FolderAbsent,
        NtStatus::OBJECT_NAME_COLLISION => Refusal::Exists,
        NtStatus::DELETE_PENDING => Refusal::DeletePending,
        NtStatus::OBJECT_NAME_INVALID | NtStatus::OBJECT_PATH_SYNTAX_BAD => Refusal::NameInvalid,
        NtStatus::NAME_TOO_LONG => Refusal::NameTooLong,
        NtStatus::FILE_IS_A_DIRECTORY => Refusal::IsDirectory,
        NtStatus::NOT_A_DIRECTORY | NtStatus::OBJECT_PATH_INVALID => Refusal::NotDirectory,
        NtStatus::DIRECTORY_NOT_EMPTY => Refusal::NotEmpty,
        NtStatus::NOT_SAME_DEVICE => Refusal::OtherVolume,
        NtStatus::TOO_MANY_LINKS => Refusal::TooManyLinks,
        NtStatus::STOPPED_ON_SYMLINK
        | NtStatus::DIRECTORY_IS_A_REPARSE_POINT
        | NtStatus::IO_REPARSE_TAG_NOT_HANDLED => Refusal::ReparsePoint,
        NtStatus::NOT_A_REPARSE_POINT => Refusal::NotReparsePoint,
        NtStatus::BAD_NETWORK_PATH | NtStatus::BAD_NETWORK_NAME => Refusal::NoShare,
        NtStatus::PATH_NOT_COVERED | NtStatus::NO_SUCH_DEVICE => Refusal::NoDevice,
        _ => return None,
    })
}

/// Access rights, sharing, byte-range locks and sign-in.
fn of_access(status: NtStatus) -> Option<Refusal> {
    Some(match status {
        NtStatus::ACCESS_DENIED => Refusal::Denied,
        NtStatus::CANNOT_DELETE => Refusal::ReadOnly,
        NtStatus::MEDIA_WRITE_PROTECTED => Refusal::WriteProtected,
        NtStatus::PRIVILEGE_NOT_HELD => Refusal::NotPermitted,
        NtStatus::SHARING_VIOLATION => Refusal::Busy,
        NtStatus::FILE_LOCK_CONFLICT => Refusal::Locked,
        NtStatus::LOCK_NOT_GRANTED => Refusal::LockNotGranted,
        NtStatus::RANGE_NOT_LOCKED => Refusal::NotLocked,
        NtStatus::NETWORK_ACCESS_DENIED
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
        | NtStatus::NETWORK_SESSION_EXPIRED => Refusal::NotSignedIn,
        _ => return None,
    })
}

/// Missing space, memory and other resources, and requests that the server does not support.
fn of_resources(status: NtStatus) -> Option<Refusal> {
    Some(match status {
        NtStatus::DISK_FULL => Refusal::NoSpace,
        NtStatus::QUOTA_EXCEEDED => Refusal::Quota,
        NtStatus::FILE_SYSTEM_LIMITATION => Refusal::FileTooLarge,
        NtStatus::EA_TOO_LARGE => Refusal::AttributesTooLarge,
        NtStatus::NO_EAS_ON_FILE | NtStatus::END_OF_FILE => Refusal::NoData,
        NtStatus::NO_MEMORY | NtStatus::INSUFFICIENT_RESOURCES | NtStatus::INSUFF_SERVER_RESOURCES => Refusal::NoMemory,
        NtStatus::TOO_MANY_OPENED_FILES => Refusal::TooManyOpen,
        NtStatus::TOO_MANY_SESSIONS | NtStatus::REQUEST_NOT_ACCEPTED => Refusal::TooManySessions,
        NtStatus::NO_MEDIA_IN_DEVICE => Refusal::NoMedium,
        NtStatus::NOT_IMPLEMENTED
        | NtStatus::NOT_SUPPORTED
        | NtStatus::INVALID_DEVICE_REQUEST
        | NtStatus::FS_DRIVER_REQUIRED
        | NtStatus::INVALID_INFO_CLASS => Refusal::Unsupported,
        NtStatus::INVALID_PARAMETER | NtStatus::INVALID_VIEW_SIZE => Refusal::InvalidArgument,
        _ => return None,
    })
}

/// The connection, the open, and failures of the server itself.
fn of_trouble(status: NtStatus) -> Option<Refusal> {
    Some(match status {
        NtStatus::INVALID_HANDLE | NtStatus::FILE_CLOSED => Refusal::OpenGone,
        NtStatus::IO_TIMEOUT => Refusal::TimedOut,
        NtStatus::NETWORK_NAME_DELETED
        | NtStatus::USER_SESSION_DELETED
        | NtStatus::CONNECTION_DISCONNECTED
        | NtStatus::CONNECTION_RESET
        | NtStatus::CONNECTION_REFUSED
        | NtStatus::SHARE_UNAVAILABLE
        | NtStatus::FILE_NOT_AVAILABLE => Refusal::Disconnected,
        NtStatus::NETWORK_BUSY
        | NtStatus::PIPE_BUSY
        | NtStatus::PIPE_NOT_AVAILABLE
        | NtStatus::INSTANCE_NOT_AVAILABLE => Refusal::ServerBusy,
        NtStatus::PIPE_DISCONNECTED => Refusal::PipeGone,
        NtStatus::SUCCESS
        | NtStatus::PENDING
        | NtStatus::NOTIFY_CLEANUP
        | NtStatus::NOTIFY_ENUM_DIR
        | NtStatus::BUFFER_OVERFLOW
        | NtStatus::NO_MORE_FILES
        | NtStatus::MORE_PROCESSING_REQUIRED => Refusal::NoRefusal,
        NtStatus::UNSUCCESSFUL
        | NtStatus::INFO_LENGTH_MISMATCH
        | NtStatus::BUFFER_TOO_SMALL
        | NtStatus::INVALID_BUFFER_SIZE
        | NtStatus::OBJECT_TYPE_MISMATCH
        | NtStatus::UNEXPECTED_NETWORK_ERROR
        | NtStatus::BAD_DEVICE_TYPE
        | NtStatus::INTERNAL_ERROR
        | NtStatus::UNEXPECTED_IO_ERROR
        | NtStatus::CANCELLED => Refusal::Failed,
        _ => return None,
    })
}

#[cfg(test)]
mod tests;
