//! What a server's refusal means: one table from NTSTATUS to [`Refusal`].
//!
//! The rooms above this one decide by [`Refusal`] and name no NTSTATUS; the status itself stays in the error, for the log.
//! Every status that has a name in [`NtStatus::NAMED`] has a row, and a test holds the table to that.

use crate::wire::NtStatus;

/// Why the server refused an operation.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Refusal {
    /// Nothing has the name, or a folder of its path is missing.
    Absent,
    /// The name is taken.
    Exists,
    /// The name's file is being deleted, and is still open at a client.
    DeletePending,
    /// Another open, of any client, does not share the file in the wanted way.
    Busy,
    /// The access control list, the share, or an open of the same server process forbids it.
    Denied,
    /// The read-only attribute of the file forbids to delete it.
    ReadOnly,
    /// The medium or the share is write-protected.
    WriteProtected,
    /// A privilege is missing that no access right makes up for.
    NotPermitted,
    /// The user may not sign in, or the sign-in has expired.
    NotSignedIn,
    /// The directory is not empty.
    NotEmpty,
    /// It is a directory.
    IsDirectory,
    /// It, or a part of its path, is not a directory.
    NotDirectory,
    /// The server does not take the name.
    NameInvalid,
    /// The name or path is too long.
    NameTooLong,
    /// The path leads through a symbolic link or another reparse point.
    ReparsePoint,
    /// It is no reparse point.
    NotReparsePoint,
    /// Both names are on different volumes.
    OtherVolume,
    /// The file has as many names as it may have.
    TooManyLinks,
    /// The volume is full.
    NoSpace,
    /// The user's quota is used up.
    Quota,
    /// The file would be larger than its file system allows.
    FileTooLarge,
    /// The extended attributes are too large.
    AttributesTooLarge,
    /// There is no extended attribute, or no data there.
    NoData,
    /// The server has no room for one more open of this client.
    TooManyOpen,
    /// The server has too little memory.
    NoMemory,
    /// The server has no room for one more session.
    TooManySessions,
    /// A byte-range lock of another open forbids the access.
    Locked,
    /// A byte-range lock cannot be had now.
    LockNotGranted,
    /// The range to be unlocked is not locked.
    NotLocked,
    /// The server cannot do this.
    Unsupported,
    /// The server does not take an argument, or not with this file.
    InvalidArgument,
    /// The server does not know the open.
    OpenGone,
    /// The server itself waited too long.
    TimedOut,
    /// The share or the session is gone.
    Disconnected,
    /// The server has no such share.
    NoShare,
    /// The name belongs to another server or device.
    NoDevice,
    /// There is no medium in the drive.
    NoMedium,
    /// The server is busy.
    ServerBusy,
    /// A pipe has no reader.
    PipeGone,
    /// The status is no refusal: as one it breaks the protocol.
    NoRefusal,
    /// Trouble without a better word, or a status without a name here.
    Failed,
}

impl Refusal {
    /// What this status means as the answer to this operation.
    pub(super) fn of(operation: &str, status: NtStatus) -> Refusal {
        match status {
            // The answer of smbd, and of Windows, to one open more than it has room for.
            NtStatus::INSUFFICIENT_RESOURCES | NtStatus::INSUFF_SERVER_RESOURCES if opens_a_file(operation) => {
                Refusal::TooManyOpen
            }
            status => known(status).unwrap_or(Refusal::Failed),
        }
    }
}

/// Whether an operation begins with an open at the server.
fn opens_a_file(operation: &str) -> bool {
    matches!(operation, "CREATE" | "DELETE" | "RENAME" | "REPLACE" | "QUERY_DIRECTORY")
}

/// The table itself; `None` for a status that has no row.
fn known(status: NtStatus) -> Option<Refusal> {
    of_name(status).or_else(|| of_access(status)).or_else(|| of_resources(status)).or_else(|| of_trouble(status))
}

/// What names mean, and what they may be.
fn of_name(status: NtStatus) -> Option<Refusal> {
    Some(match status {
        NtStatus::NO_SUCH_FILE
        | NtStatus::OBJECT_NAME_NOT_FOUND
        | NtStatus::OBJECT_PATH_NOT_FOUND
        | NtStatus::FILE_DELETED
        | NtStatus::FILE_RENAMED
        | NtStatus::NOT_FOUND => Refusal::Absent,
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

/// What may be done, and by whom.
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

/// What there is no room for, and what the server cannot do.
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
        | NtStatus::INVALID_INFO_CLASS => Refusal::Unsupported,
        NtStatus::INVALID_PARAMETER | NtStatus::INVALID_VIEW_SIZE => Refusal::InvalidArgument,
        _ => return None,
    })
}

/// The way to the server, and trouble of its own.
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
