//! The table again, by the numbers of MS-ERREF 2.3.1, so that a row cannot change unnoticed.

use super::*;
use std::collections::HashSet;

const ROWS: &[(Refusal, &[u32])] = &[
    (Refusal::FolderAbsent, &[0xC000_003A]),
    (Refusal::Absent, &[0xC000_000F, 0xC000_0034, 0xC000_0123, 0xC000_00D5, 0xC000_0225]),
    (Refusal::Exists, &[0xC000_0035]),
    (Refusal::DeletePending, &[0xC000_0056]),
    (Refusal::NameInvalid, &[0xC000_0033, 0xC000_003B]),
    (Refusal::NameTooLong, &[0xC000_0106]),
    (Refusal::IsDirectory, &[0xC000_00BA]),
    (Refusal::NotDirectory, &[0xC000_0103, 0xC000_0039]),
    (Refusal::NotEmpty, &[0xC000_0101]),
    (Refusal::OtherVolume, &[0xC000_00D4]),
    (Refusal::TooManyLinks, &[0xC000_0265]),
    (Refusal::ReparsePoint, &[0x8000_002D, 0xC000_0281, 0xC000_0279]),
    (Refusal::NotReparsePoint, &[0xC000_0275]),
    (Refusal::NoShare, &[0xC000_00BE, 0xC000_00CC]),
    (Refusal::NoDevice, &[0xC000_0257, 0xC000_000E]),
    (Refusal::Denied, &[0xC000_0022]),
    (Refusal::ReadOnly, &[0xC000_0121]),
    (Refusal::WriteProtected, &[0xC000_00A2]),
    (Refusal::NotPermitted, &[0xC000_0061]),
    (Refusal::Busy, &[0xC000_0043]),
    (Refusal::Locked, &[0xC000_0054]),
    (Refusal::LockNotGranted, &[0xC000_0055]),
    (Refusal::NotLocked, &[0xC000_007E]),
    (
        Refusal::NotSignedIn,
        &[
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
        ],
    ),
    (Refusal::NoSpace, &[0xC000_007F]),
    (Refusal::Quota, &[0xC000_0044]),
    (Refusal::FileTooLarge, &[0xC000_0427]),
    (Refusal::AttributesTooLarge, &[0xC000_0050]),
    (Refusal::NoData, &[0xC000_0052, 0xC000_0011]),
    (Refusal::NoMemory, &[0xC000_0017, 0xC000_009A, 0xC000_0205]),
    (Refusal::TooManyOpen, &[0xC000_011F]),
    (Refusal::TooManySessions, &[0xC000_00CE, 0xC000_00D0]),
    (Refusal::NoMedium, &[0xC000_0013]),
    (Refusal::Unsupported, &[0xC000_0002, 0xC000_00BB, 0xC000_0010, 0xC000_0003, 0xC000_019C]),
    (Refusal::InvalidArgument, &[0xC000_000D, 0xC000_001F]),
    (Refusal::OpenGone, &[0xC000_0008, 0xC000_0128]),
    (Refusal::TimedOut, &[0xC000_00B5]),
    (
        Refusal::Disconnected,
        &[0xC000_00C9, 0xC000_0203, 0xC000_020C, 0xC000_020D, 0xC000_0236, 0xC000_0480, 0xC000_0467],
    ),
    (Refusal::ServerBusy, &[0xC000_00BF, 0xC000_00AE, 0xC000_00AC, 0xC000_00AB]),
    (Refusal::PipeGone, &[0xC000_00B0]),
    (Refusal::NoRefusal, &[0x0000_0000, 0x0000_0103, 0x0000_010B, 0x0000_010C, 0x8000_0005, 0x8000_0006, 0xC000_0016]),
    (
        Refusal::Failed,
        &[
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
];

#[test]
fn each_row_of_the_table_has_its_refusal() {
    for (refusal, statuses) in ROWS {
        for status in *statuses {
            assert_eq!(Refusal::of("SET_INFO", NtStatus(*status)), *refusal, "{}", NtStatus(*status));
        }
    }
}

#[test]
fn every_named_status_has_one_row() {
    let rows: Vec<u32> = ROWS.iter().flat_map(|(_, statuses)| statuses.iter().copied()).collect();
    let distinct: HashSet<u32> = rows.iter().copied().collect();
    let named: HashSet<u32> = NtStatus::NAMED.iter().map(|(status, _)| status.0).collect();
    assert_eq!((rows.len(), distinct), (named.len(), named));
}

#[test]
fn an_unknown_status_is_a_general_failure() {
    assert_eq!(Refusal::of("CREATE", NtStatus(0xC0DE_0001)), Refusal::Failed);
}

#[test]
fn a_server_without_room_for_an_open_is_not_out_of_memory() {
    for status in [NtStatus::INSUFFICIENT_RESOURCES, NtStatus::INSUFF_SERVER_RESOURCES] {
        for operation in ["CREATE", "DELETE", "RENAME", "QUERY_DIRECTORY"] {
            assert_eq!(Refusal::of(operation, status), Refusal::TooManyOpen);
        }
        assert_eq!(Refusal::of("WRITE", status), Refusal::NoMemory);
    }
    assert_eq!(Refusal::of("WRITE", NtStatus::TOO_MANY_OPENED_FILES), Refusal::TooManyOpen);
}
