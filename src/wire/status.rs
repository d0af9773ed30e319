//! NTSTATUS: the result code in every SMB2 response (MS-ERREF 2.3).
//!
//! The statuses that this client knows have names here. What a refusal means for a caller is decided in
//! `share::refusal`, what a refused sign-in means in `wire::signin::refusal`.

use std::fmt;

/// A 32-bit NTSTATUS. Every value is representable, with or without a name here, so an unexpected status reaches the
/// log and the caller unchanged.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct NtStatus(pub u32);

macro_rules! statuses {
    ($($name:ident = $value:literal),+ $(,)?) => {
        impl NtStatus {
            $(#[doc = concat!("`STATUS_", stringify!($name), "`")] pub const $name: NtStatus = NtStatus($value);)+

            /// Every status that has a name here, with that name.
            pub const NAMED: &'static [(NtStatus, &'static str)] =
                &[$((NtStatus($value), concat!("STATUS_", stringify!($name)))),+];
        }
    };
}

statuses! {
    SUCCESS = 0x0000_0000,
    PENDING = 0x0000_0103,
    NOTIFY_CLEANUP = 0x0000_010B,
    NOTIFY_ENUM_DIR = 0x0000_010C,
    BUFFER_OVERFLOW = 0x8000_0005,
    NO_MORE_FILES = 0x8000_0006,
    STOPPED_ON_SYMLINK = 0x8000_002D,
    UNSUCCESSFUL = 0xC000_0001,
    NOT_IMPLEMENTED = 0xC000_0002,
    INVALID_INFO_CLASS = 0xC000_0003,
    INFO_LENGTH_MISMATCH = 0xC000_0004,
    INVALID_HANDLE = 0xC000_0008,
    INVALID_PARAMETER = 0xC000_000D,
    NO_SUCH_DEVICE = 0xC000_000E,
    NO_SUCH_FILE = 0xC000_000F,
    INVALID_DEVICE_REQUEST = 0xC000_0010,
    END_OF_FILE = 0xC000_0011,
    NO_MEDIA_IN_DEVICE = 0xC000_0013,
    MORE_PROCESSING_REQUIRED = 0xC000_0016,
    NO_MEMORY = 0xC000_0017,
    INVALID_VIEW_SIZE = 0xC000_001F,
    ACCESS_DENIED = 0xC000_0022,
    BUFFER_TOO_SMALL = 0xC000_0023,
    OBJECT_TYPE_MISMATCH = 0xC000_0024,
    OBJECT_NAME_INVALID = 0xC000_0033,
    OBJECT_NAME_NOT_FOUND = 0xC000_0034,
    OBJECT_NAME_COLLISION = 0xC000_0035,
    OBJECT_PATH_INVALID = 0xC000_0039,
    OBJECT_PATH_NOT_FOUND = 0xC000_003A,
    OBJECT_PATH_SYNTAX_BAD = 0xC000_003B,
    SHARING_VIOLATION = 0xC000_0043,
    QUOTA_EXCEEDED = 0xC000_0044,
    EA_TOO_LARGE = 0xC000_0050,
    NO_EAS_ON_FILE = 0xC000_0052,
    FILE_LOCK_CONFLICT = 0xC000_0054,
    LOCK_NOT_GRANTED = 0xC000_0055,
    DELETE_PENDING = 0xC000_0056,
    PRIVILEGE_NOT_HELD = 0xC000_0061,
    LOGON_FAILURE = 0xC000_006D,
    ACCOUNT_RESTRICTION = 0xC000_006E,
    INVALID_LOGON_HOURS = 0xC000_006F,
    PASSWORD_EXPIRED = 0xC000_0071,
    ACCOUNT_DISABLED = 0xC000_0072,
    RANGE_NOT_LOCKED = 0xC000_007E,
    DISK_FULL = 0xC000_007F,
    INSUFFICIENT_RESOURCES = 0xC000_009A,
    MEDIA_WRITE_PROTECTED = 0xC000_00A2,
    BAD_IMPERSONATION_LEVEL = 0xC000_00A5,
    INSTANCE_NOT_AVAILABLE = 0xC000_00AB,
    PIPE_NOT_AVAILABLE = 0xC000_00AC,
    PIPE_BUSY = 0xC000_00AE,
    PIPE_DISCONNECTED = 0xC000_00B0,
    IO_TIMEOUT = 0xC000_00B5,
    FILE_IS_A_DIRECTORY = 0xC000_00BA,
    NOT_SUPPORTED = 0xC000_00BB,
    BAD_NETWORK_PATH = 0xC000_00BE,
    NETWORK_BUSY = 0xC000_00BF,
    UNEXPECTED_NETWORK_ERROR = 0xC000_00C4,
    NETWORK_NAME_DELETED = 0xC000_00C9,
    NETWORK_ACCESS_DENIED = 0xC000_00CA,
    BAD_DEVICE_TYPE = 0xC000_00CB,
    BAD_NETWORK_NAME = 0xC000_00CC,
    TOO_MANY_SESSIONS = 0xC000_00CE,
    REQUEST_NOT_ACCEPTED = 0xC000_00D0,
    NOT_SAME_DEVICE = 0xC000_00D4,
    FILE_RENAMED = 0xC000_00D5,
    INTERNAL_ERROR = 0xC000_00E5,
    UNEXPECTED_IO_ERROR = 0xC000_00E9,
    DIRECTORY_NOT_EMPTY = 0xC000_0101,
    NOT_A_DIRECTORY = 0xC000_0103,
    NAME_TOO_LONG = 0xC000_0106,
    TOO_MANY_OPENED_FILES = 0xC000_011F,
    CANCELLED = 0xC000_0120,
    CANNOT_DELETE = 0xC000_0121,
    FILE_DELETED = 0xC000_0123,
    FILE_CLOSED = 0xC000_0128,
    INVALID_BUFFER_SIZE = 0xC000_0206,
    USER_SESSION_DELETED = 0xC000_0203,
    INSUFF_SERVER_RESOURCES = 0xC000_0205,
    NO_LOGON_SERVERS = 0xC000_005E,
    LOGON_TYPE_NOT_GRANTED = 0xC000_015B,
    NO_TRUST_SAM_ACCOUNT = 0xC000_018B,
    NO_SUCH_USER = 0xC000_0064,
    INVALID_ACCOUNT_NAME = 0xC000_0062,
    WRONG_PASSWORD = 0xC000_006A,
    INVALID_WORKSTATION = 0xC000_0070,
    INVALID_SERVER_STATE = 0xC000_00DC,
    NO_SUCH_DOMAIN = 0xC000_00DF,
    TIME_DIFFERENCE_AT_DC = 0xC000_0133,
    LOGON_NOT_GRANTED = 0xC000_0155,
    NO_TRUST_LSA_SECRET = 0xC000_018A,
    TRUSTED_DOMAIN_FAILURE = 0xC000_018C,
    TRUSTED_RELATIONSHIP_FAILURE = 0xC000_018D,
    TRUST_FAILURE = 0xC000_0190,
    NETLOGON_NOT_STARTED = 0xC000_0192,
    ACCOUNT_EXPIRED = 0xC000_0193,
    FS_DRIVER_REQUIRED = 0xC000_019C,
    NOLOGON_INTERDOMAIN_TRUST_ACCOUNT = 0xC000_0198,
    NOLOGON_WORKSTATION_TRUST_ACCOUNT = 0xC000_0199,
    NOLOGON_SERVER_TRUST_ACCOUNT = 0xC000_019A,
    DOMAIN_TRUST_INCONSISTENT = 0xC000_019B,
    DOMAIN_CONTROLLER_NOT_FOUND = 0xC000_0233,
    SMARTCARD_LOGON_REQUIRED = 0xC000_02FA,
    AUTHENTICATION_FIREWALL_FAILED = 0xC000_0413,
    NTLM_BLOCKED = 0xC000_0418,
    CONNECTION_DISCONNECTED = 0xC000_020C,
    CONNECTION_RESET = 0xC000_020D,
    TOO_MANY_LINKS = 0xC000_0265,
    PASSWORD_MUST_CHANGE = 0xC000_0224,
    NOT_FOUND = 0xC000_0225,
    ACCOUNT_LOCKED_OUT = 0xC000_0234,
    CONNECTION_REFUSED = 0xC000_0236,
    PATH_NOT_COVERED = 0xC000_0257,
    NOT_A_REPARSE_POINT = 0xC000_0275,
    DIRECTORY_IS_A_REPARSE_POINT = 0xC000_0281,
    NETWORK_SESSION_EXPIRED = 0xC000_035C,
    IO_REPARSE_TAG_NOT_HANDLED = 0xC000_0279,
    FILE_SYSTEM_LIMITATION = 0xC000_0427,
    FILE_NOT_AVAILABLE = 0xC000_0467,
    SHARE_UNAVAILABLE = 0xC000_0480,
}

impl NtStatus {
    /// Whether this is an error: the two top bits are the severity, and 3 is an error (MS-ERREF 2.3). A warning (2),
    /// such as STATUS_NO_MORE_FILES or STATUS_STOPPED_ON_SYMLINK, is not.
    pub fn is_error(self) -> bool {
        self.0 >> 30 == 3
    }

    /// The name `STATUS_…`; `None` if this status has no name here.
    pub fn name(self) -> Option<&'static str> {
        Self::NAMED.iter().find(|(status, _)| *status == self).map(|(_, name)| *name)
    }
}

impl fmt::Display for NtStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(f, "NTSTATUS {:#010x}", self.0),
        }
    }
}

impl fmt::Debug for NtStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn every_named_status_is_listed_once() {
        let mut seen = HashSet::new();
        for (status, name) in NtStatus::NAMED {
            assert!(seen.insert(status.0), "{name} repeats {:#x}", status.0);
        }
    }

    #[test]
    fn an_unknown_status_shows_its_number() {
        assert_eq!(NtStatus(0xC012_3456).to_string(), "NTSTATUS 0xc0123456");
        assert_eq!(NtStatus::DISK_FULL.to_string(), "STATUS_DISK_FULL");
    }
}
