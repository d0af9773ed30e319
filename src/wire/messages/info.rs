//! QUERY_DIRECTORY (MS-SMB2 2.2.33, 2.2.34), QUERY_INFO (2.2.37, 2.2.38) and SET_INFO (2.2.39), with the structures of
//! MS-FSCC that they carry: listings, attributes and times, space, rename, size and deletion.

use super::FileId;
use super::create::FileInfo;
use crate::wire::codec::{Entries, Fields, Linked, Malformed, Put, TooLong, length16, length32};
use crate::wire::frame::{Reply, Request};
use crate::wire::header::{Command, behind};
use smb_fscc::{QueryDirectoryInfoClass, QueryFileInfoClass, QueryFileSystemInfoClass, SetFileInfoClass};

/// InfoType `SMB2_0_INFO_FILE` (MS-SMB2 2.2.37)
const INFO_FILE: u8 = 1;
/// InfoType `SMB2_0_INFO_FILESYSTEM`
const INFO_FILESYSTEM: u8 = 2;
const ID_FULL_DIRECTORY: u8 = QueryDirectoryInfoClass::IdFullDirectoryInformation as u8;
const FILE_STANDARD: u8 = QueryFileInfoClass::StandardInformation as u8;
const FILE_NETWORK_OPEN: u8 = QueryFileInfoClass::NetworkOpenInformation as u8;
const FILE_BASIC: u8 = SetFileInfoClass::BasicInformation as u8;
const FILE_RENAME: u8 = SetFileInfoClass::RenameInformation as u8;
const FILE_DISPOSITION: u8 = SetFileInfoClass::DispositionInformation as u8;
const FILE_END_OF_FILE: u8 = SetFileInfoClass::EndOfFileInformation as u8;
const FS_ATTRIBUTE: u8 = QueryFileSystemInfoClass::FsAttributeInformation as u8;
const FS_FULL_SIZE: u8 = QueryFileSystemInfoClass::FsFullSizeInformation as u8;

/// Where a QUERY_DIRECTORY starts (MS-SMB2 2.2.33).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Scan {
    /// After the last entry that the same open has returned.
    Continues,
    /// At the first entry (SMB2_RESTART_SCANS).
    Restarts,
}

/// A QUERY_DIRECTORY for all entries, in a buffer of `buffer` bytes (MS-SMB2 2.2.33).
pub fn query_directory(directory: FileId, buffer: u32, scan: Scan) -> Request {
    const RESTART_SCANS: u8 = 1;
    const FIXED: u16 = 32;
    let mut body = Vec::with_capacity(usize::from(FIXED) + 2);
    body.put_u16(33)
        .put_u8(ID_FULL_DIRECTORY)
        .put_u8(if scan == Scan::Restarts { RESTART_SCANS } else { 0 })
        .put_u32(0)
        .put_bytes(&directory)
        .put_u16(behind(FIXED))
        .put_u16(2)
        .put_u32(buffer)
        .put_utf16(&[u16::from(b'*')]);
    Request::new(Command::QueryDirectory, body).with_response(buffer)
}

/// One entry of a listing, as the server sent it: FileIdFullDirectoryInformation (MS-FSCC 2.4.24).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The name, in UTF-16 units.
    pub name: Vec<u16>,
    /// Times, sizes and attributes.
    pub info: FileInfo,
    /// The file's id on disk (FileId); its meaning depends on the server.
    pub disk_id: u64,
    /// The reparse tag of a reparse point (the EaSize field holds it); 0 for other files.
    pub reparse_tag: u32,
}

/// The entries of a listing: 80 bytes and a name, at multiples of 8 (MS-FSCC 2.4.24).
const ENTRIES: Entries = Entries { least: 80, alignment: 8 };

/// The entries of a QUERY_DIRECTORY response, in the server's order.
///
/// # Errors
///
/// [`Malformed`] if the response is not that of a QUERY_DIRECTORY, or an entry or name lies outside of its bounds.
pub fn parse_entries(reply: &Reply) -> Result<Vec<Entry>, Malformed> {
    const REPARSE_POINT: u32 = 0x400;
    let entry = |entry: Result<Fields<'_>, Malformed>| {
        let entry = entry?;
        let attributes = entry.u32(56)?;
        Ok(Entry {
            name: entry.name(80, entry.u32(60)? as usize)?,
            info: FileInfo {
                created: entry.u64(8)?,
                accessed: entry.u64(16)?,
                modified: entry.u64(24)?,
                changed: entry.u64(32)?,
                size: entry.u64(40)?,
                allocation: entry.u64(48)?,
                attributes,
            },
            disk_id: entry.u64(72)?,
            reparse_tag: if attributes & REPARSE_POINT != 0 { entry.u32(64)? } else { 0 },
        })
    };
    Linked::new(output(reply)?, ENTRIES).map(entry).collect()
}

/// Checks the entries as [`parse_entries`] does, without copying them.
pub(super) fn check_entries(reply: &Reply) -> Result<(), Malformed> {
    Linked::new(output(reply)?, ENTRIES).try_for_each(|entry| {
        let entry = entry?;
        entry.check_name(80, entry.u32(60)? as usize)
    })
}

/// The output buffer of a QUERY_DIRECTORY or QUERY_INFO response, which have the same structure (MS-SMB2 2.2.34,
/// 2.2.38).
fn output(reply: &Reply) -> Result<&[u8], Malformed> {
    let body = Fields(reply.body());
    body.expect_structure(9, "a QUERY response whose StructureSize is not 9")?;
    Fields(&reply.message).buffer(usize::from(body.u16(2)?), body.u32(4)? as usize)
}

/// Checks that the response to a QUERY_INFO of [`query`] contains the fields that its parser reads. The response to
/// [`query_standard`] is checked by its parser only.
pub(super) fn check(request: &Request, reply: &Reply) -> Result<(), Malformed> {
    let asked = Fields(&request.body);
    let least = match (asked.u8(2)?, asked.u8(3)?) {
        (INFO_FILE, FILE_NETWORK_OPEN) => 52,
        (INFO_FILESYSTEM, FS_FULL_SIZE) => 32,
        (INFO_FILESYSTEM, FS_ATTRIBUTE) => 4,
        _ => 0,
    };
    Fields(output(reply)?).bytes(0, least).map(drop)
}

/// A QUERY_INFO with an output buffer of `length` bytes (MS-SMB2 2.2.37).
fn query(kind: u8, class: u8, file: FileId, length: u32) -> Request {
    let mut body = Vec::with_capacity(40);
    body.put_u16(41)
        .put_u8(kind)
        .put_u8(class)
        .put_u32(length)
        .put_u16(0)
        .put_u16(0)
        .put_u32(0)
        .put_u32(0)
        .put_u32(0)
        .put_bytes(&file);
    Request::new(Command::QueryInfo, body)
}

/// A query for the times, sizes and attributes of an open file: FileNetworkOpenInformation.
pub fn query_file(file: FileId) -> Request {
    query(INFO_FILE, FILE_NETWORK_OPEN, file, 56)
}

/// A query whether an open file or directory will be deleted on its last close: FileStandardInformation.
pub fn query_standard(file: FileId) -> Request {
    query(INFO_FILE, FILE_STANDARD, file, 24)
}

/// DeletePending of FileStandardInformation (MS-FSCC 2.4.47).
///
/// # Errors
///
/// [`Malformed`] if the response is not that of a QUERY_INFO, or too short.
pub fn parse_delete_pending(reply: &Reply) -> Result<bool, Malformed> {
    Ok(Fields(output(reply)?).u8(20)? != 0)
}

/// FileNetworkOpenInformation (MS-FSCC 2.4.34).
///
/// # Errors
///
/// [`Malformed`] if the response is not that of a QUERY_INFO, or too short.
pub fn parse_file(reply: &Reply) -> Result<FileInfo, Malformed> {
    FileInfo::parse(Fields(output(reply)?), 0)
}

/// A query for the size of the file system of an open file: FileFsFullSizeInformation.
pub fn query_space(file: FileId) -> Request {
    query(INFO_FILESYSTEM, FS_FULL_SIZE, file, 32)
}

/// FileFsFullSizeInformation (MS-FSCC 2.5.4): all allocation units, units available to this user, free units, bytes per
/// unit.
///
/// # Errors
///
/// [`Malformed`] if the response is not that of a QUERY_INFO or too short, or if a unit has 0 bytes or at least 2^32
/// bytes.
pub fn parse_space(reply: &Reply) -> Result<(u64, u64, u64, u32), Malformed> {
    let space = Fields(output(reply)?);
    let unit = space.u32(24)?.checked_mul(space.u32(28)?).filter(|unit| *unit > 0);
    let unit = unit.ok_or(Malformed("an allocation unit of no sensible size"))?;
    Ok((space.u64(0)?, space.u64(8)?, space.u64(16)?, unit))
}

/// A query for the features of the file system of an open file: FileFsAttributeInformation.
pub fn query_abilities(file: FileId) -> Request {
    // The buffer has space for the file system's name, which is not used.
    query(INFO_FILESYSTEM, FS_ATTRIBUTE, file, 256)
}

/// Whether files of the file system can share blocks (MS-FSCC 2.5.1: FILE_SUPPORTS_BLOCK_REFCOUNTING).
///
/// # Errors
///
/// [`Malformed`] if the response is not that of a QUERY_INFO, or too short.
pub fn parse_shares_blocks(reply: &Reply) -> Result<bool, Malformed> {
    const SUPPORTS_BLOCK_REFCOUNTING: u32 = 0x0800_0000;
    Ok(Fields(output(reply)?).u32(0)? & SUPPORTS_BLOCK_REFCOUNTING != 0)
}

/// A SET_INFO on a file (MS-SMB2 2.2.39).
fn set(class: u8, file: FileId, data: &[u8]) -> Request {
    Request::checked(Command::SetInfo, set_body(class, file, data))
}

/// The body of a SET_INFO; an error if the data is too long.
fn set_body(class: u8, file: FileId, data: &[u8]) -> Result<Vec<u8>, TooLong> {
    const FIXED: u16 = 32;
    let mut body = Vec::with_capacity(usize::from(FIXED) + data.len());
    body.put_u16(33)
        .put_u8(INFO_FILE)
        .put_u8(class)
        .put_u32(length32(data.len(), TooLong::Other("the data of a SET_INFO"))?)
        .put_u16(behind(FIXED))
        .put_u16(0)
        .put_u32(0)
        .put_bytes(&file)
        .put_bytes(data);
    Ok(body)
}

/// Sets times (FILETIMEs) and attributes: FileBasicInformation (MS-FSCC 2.4.7). A field of 0 leaves its value
/// unchanged. The server sets the change time itself.
pub fn set_basic(file: FileId, created: u64, accessed: u64, modified: u64, attributes: u32) -> Request {
    const CHANGED_BY_THE_SERVER: u64 = 0;
    let mut data = Vec::with_capacity(40);
    data.put_u64(created)
        .put_u64(accessed)
        .put_u64(modified)
        .put_u64(CHANGED_BY_THE_SERVER)
        .put_u32(attributes)
        .put_u32(0);
    set(FILE_BASIC, file, &data)
}

/// Sets the size, in bytes: FileEndOfFileInformation.
pub fn set_size(file: FileId, size: u64) -> Request {
    set(FILE_END_OF_FILE, file, &size.to_le_bytes())
}

/// Marks the file for deletion when its last open is closed: FileDispositionInformation.
pub fn set_delete(file: FileId) -> Request {
    set(FILE_DISPOSITION, file, &[1])
}

/// Renames to a path from the tree's root, in UTF-16 units: FileRenameInformation (MS-FSCC 2.4.42.2). `replace` allows
/// that an existing file is replaced.
pub fn set_name(file: FileId, path: &[u16], replace: bool) -> Request {
    // FileNameLength has 32 bits, but NameLength of a CREATE has 16: a longer path could never be opened.
    let length = match length16(2 * path.len(), TooLong::Path) {
        Ok(length) => u32::from(length),
        Err(too_long) => return Request::checked(Command::SetInfo, Err(too_long)),
    };
    let mut data = Vec::with_capacity(20 + 2 * path.len());
    data.put_u8(u8::from(replace)).put_bytes(&[0; 7]).put_u64(0).put_u32(length).put_utf16(path);
    // Servers demand at least the size of the structure, which ends in padding.
    data.resize(data.len().max(24), 0);
    set(FILE_RENAME, file, &data)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::frame::Chain;

    #[test]
    fn a_rename_to_a_path_too_long_for_an_open_is_refused() {
        let fits = |units: usize| Chain::single(set_name([0; 16], &vec![0x61; units], false)).fits();
        assert_eq!(fits(32_767), Ok(()));
        assert_eq!(fits(32_768), Err(TooLong::Path));
    }
}
