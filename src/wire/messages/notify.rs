//! CHANGE_NOTIFY (MS-SMB2 2.2.35, 2.2.36) with FILE_NOTIFY_INFORMATION (MS-FSCC 2.7.1): the watch of one directory.
//!
//! The server answers when a change happens, which may be never. Subdirectories are not watched (WATCH_TREE is not
//! set).

use super::FileId;
use crate::wire::codec::{Entries, Fields, Linked, Malformed, Put};
use crate::wire::frame::{Reply, Request};
use crate::wire::header::Command;

/// CompletionFilter (MS-SMB2 2.2.35): names of files and directories, attributes, size, times of the last write and of
/// creation.
const FILTER: u32 = 0x01 | 0x02 | 0x04 | 0x08 | 0x10 | 0x40;
/// The Action values of FILE_NOTIFY_INFORMATION (MS-FSCC 2.7.1) that are used.
pub mod action {
    /// `FILE_ACTION_ADDED`
    pub const ADDED: u32 = 1;
    /// `FILE_ACTION_REMOVED`
    pub const REMOVED: u32 = 2;
    /// `FILE_ACTION_RENAMED_OLD_NAME`: the entry has the old name of a renamed file.
    pub const RENAMED_OLD_NAME: u32 = 4;
    /// `FILE_ACTION_RENAMED_NEW_NAME`: the entry has the new name of a renamed file.
    pub const RENAMED_NEW_NAME: u32 = 5;
}

/// A CHANGE_NOTIFY: asks the server to report changes in an open directory, in a buffer of `length` bytes (MS-SMB2
/// 2.2.35).
pub fn change_notify(directory: FileId, length: u32) -> Request {
    let mut body = Vec::with_capacity(32);
    body.put_u16(32).put_u16(0).put_u32(length).put_bytes(&directory).put_u32(FILTER).put_u32(0);
    Request::new(Command::ChangeNotify, body).with_response(length)
}

/// The entries of a report: 12 bytes and a name, at multiples of 4 (MS-FSCC 2.7.1).
const CHANGES: Entries = Entries { least: 12, alignment: 4 };

/// The reported changes, each with its [`action`] and the UTF-16 name in the directory. An empty report means that
/// there were more changes than the buffer holds, as STATUS_NOTIFY_ENUM_DIR does.
///
/// # Errors
///
/// [`Malformed`] if the response is not that of a CHANGE_NOTIFY, or an entry or name lies outside of its bounds.
pub fn parse_changes(reply: &Reply) -> Result<Vec<(u32, Vec<u16>)>, Malformed> {
    let change = |change: Result<Fields<'_>, Malformed>| {
        let change = change?;
        Ok((change.u32(4)?, change.name(12, change.u32(8)? as usize)?))
    };
    Linked::new(output(reply)?, CHANGES).map(change).collect()
}

/// Checks the changes as [`parse_changes`] does, without copying them.
pub(super) fn check_changes(reply: &Reply) -> Result<(), Malformed> {
    Linked::new(output(reply)?, CHANGES).try_for_each(|change| {
        let change = change?;
        change.check_name(12, change.u32(8)? as usize)
    })
}

/// The output buffer of a CHANGE_NOTIFY response (MS-SMB2 2.2.36).
fn output(reply: &Reply) -> Result<&[u8], Malformed> {
    let body = Fields(reply.body());
    body.expect_structure(9, "a CHANGE_NOTIFY response whose StructureSize is not 9")?;
    Fields(&reply.message).buffer(usize::from(body.u16(2)?), body.u32(4)? as usize)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::header::{HEADER_SIZE, Header};

    fn reply(changes: &[u8]) -> Reply {
        let header = Header::blank(Command::ChangeNotify);
        let mut body = Vec::new();
        body.put_u16(9).put_u16((HEADER_SIZE + 8) as u16).put_u32(changes.len() as u32).put_bytes(changes);
        let message = [vec![0; HEADER_SIZE], body].concat().into();
        Reply { header, message, signature: Default::default(), sealed: false }
    }

    fn change(next: u32, action: u32, name: &str) -> Vec<u8> {
        let name: Vec<u16> = name.encode_utf16().collect();
        let mut bytes = Vec::new();
        bytes.put_u32(next).put_u32(action).put_u32(2 * name.len() as u32).put_utf16(&name);
        bytes
    }

    #[test]
    fn the_changes_of_a_report_are_parsed_in_order() {
        let bytes = [change(16, action::ADDED, "ab"), change(0, action::REMOVED, "c")].concat();
        let found = parse_changes(&reply(&bytes)).unwrap();
        assert_eq!(found, [(1, vec![97, 98]), (2, vec![99])]);
        assert_eq!(parse_changes(&reply(&[])).unwrap(), []);
    }

    #[test]
    fn changes_with_wrong_offsets_or_lengths_are_refused() {
        for next in [1, 8, 11, 4000, u32::MAX] {
            assert!(parse_changes(&reply(&change(next, 1, "name"))).is_err(), "{next}");
        }
        let mut long = change(0, 1, "name");
        long[8] = 200;
        assert!(parse_changes(&reply(&long)).is_err());
        assert!(parse_changes(&reply(&[0; 7])).is_err());
    }
}
