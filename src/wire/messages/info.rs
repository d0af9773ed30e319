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
const FILE_FULL_EA: u8 = QueryFileInfoClass::FullEaInformation as u8;
const FILE_STANDARD: u8 = QueryFileInfoClass::StandardInformation as u8;
const FILE_NETWORK_OPEN: u8 = QueryFileInfoClass::NetworkOpenInformation as u8;
const FILE_BASIC: u8 = SetFileInfoClass::BasicInformation as u8;
const FILE_LINK: u8 = SetFileInfoClass::LinkInformation as u8;
const FILE_RENAME: u8 = SetFileInfoClass::RenameInformation as u8;
const FILE_DISPOSITION: u8 = SetFileInfoClass::DispositionInformation as u8;
const FILE_END_OF_FILE: u8 = SetFileInfoClass::EndOfFileInformation as u8;
const FS_ATTRIBUTE: u8 = QueryFileSystemInfoClass::FsAttributeInformation as u8;
const FS_SIZE: u8 = QueryFileSystemInfoClass::FsSizeInformation as u8;
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
pub(super) fn output(reply: &Reply) -> Result<&[u8], Malformed> {
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
        (INFO_FILESYSTEM, FS_SIZE) => 24,
        (INFO_FILESYSTEM, FS_FULL_SIZE) => 32,
        (INFO_FILESYSTEM, FS_ATTRIBUTE) => 4,
        _ => 0,
    };
    Fields(output(reply)?).bytes(0, least).map(drop)
}

/// A QUERY_INFO with an output buffer of `length` bytes (MS-SMB2 2.2.37).
fn query(kind: u8, class: u8, file: FileId, length: u32) -> Request {
    query_of((kind, class), 0, file, length)
}

/// A QUERY_INFO of this InfoType and class, with AdditionalInformation.
pub(super) fn query_of((kind, class): (u8, u8), additional: u32, file: FileId, length: u32) -> Request {
    let mut body = Vec::with_capacity(40);
    body.put_u16(41)
        .put_u8(kind)
        .put_u8(class)
        .put_u32(length)
        .put_u16(0)
        .put_u16(0)
        .put_u32(0)
        .put_u32(additional)
        .put_u32(0)
        .put_bytes(&file);
    Request::new(Command::QueryInfo, body)
}

/// A query for the times, sizes and attributes of an open file: FileNetworkOpenInformation.
pub fn query_file(file: FileId) -> Request {
    query(INFO_FILE, FILE_NETWORK_OPEN, file, 56)
}

/// A query for all extended attributes of an open file: FileFullEaInformation.
pub fn query_extended_attributes(file: FileId) -> Request {
    // Space for the four attributes that the Windows Subsystem for Linux gives a file, and some others.
    query(INFO_FILE, FILE_FULL_EA, file, 2048)
}

/// A query for the number of links of an open file or directory, and whether it will be deleted on its last close:
/// FileStandardInformation.
pub fn query_standard(file: FileId) -> Request {
    query(INFO_FILE, FILE_STANDARD, file, 24)
}

/// NumberOfLinks of FileStandardInformation (MS-FSCC 2.4.47). Windows counts a file that is being deleted one lower.
///
/// # Errors
///
/// [`Malformed`] if the response is not that of a QUERY_INFO, or too short.
pub fn parse_links(reply: &Reply) -> Result<u32, Malformed> {
    Fields(output(reply)?).u32(16)
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
    let unit = unit_of(space.u32(24)?, space.u32(28)?)?;
    Ok((space.u64(0)?, space.u64(8)?, space.u64(16)?, unit))
}

/// A query for the size of the file system of an open file: FileFsSizeInformation, which older servers know as well.
pub fn query_less_space(file: FileId) -> Request {
    query(INFO_FILESYSTEM, FS_SIZE, file, 24)
}

/// FileFsSizeInformation (MS-FSCC 2.5.8), as [`parse_space`] returns it: the units available to this user count as the
/// free ones too.
///
/// # Errors
///
/// As [`parse_space`].
pub fn parse_less_space(reply: &Reply) -> Result<(u64, u64, u64, u32), Malformed> {
    let space = Fields(output(reply)?);
    let unit = unit_of(space.u32(16)?, space.u32(20)?)?;
    let (total, available) = (space.u64(0)?, space.u64(8)?);
    Ok((total, available, available, unit))
}

/// The bytes of an allocation unit of this many sectors of this size.
fn unit_of(sectors: u32, size: u32) -> Result<u32, Malformed> {
    let unit = sectors.checked_mul(size).filter(|unit| *unit > 0);
    unit.ok_or(Malformed("an allocation unit of no sensible size"))
}

/// A query for the features of the file system of an open file: FileFsAttributeInformation.
pub fn query_abilities(file: FileId) -> Request {
    // The buffer has space for the file system's name, which is not used.
    query(INFO_FILESYSTEM, FS_ATTRIBUTE, file, 256)
}

/// What a file system says about itself: FileFsAttributeInformation (MS-FSCC 2.5.1).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Volume {
    /// FileSystemAttributes: its features, see [`feature`].
    pub features: u32,
    /// The longest name of a file, in UTF-16 units.
    pub longest_name: u32,
    /// The name of the file system, such as `NTFS`, as the server sent it.
    pub name: String,
}

/// The bits of FileSystemAttributes that are shown (MS-FSCC 2.5.1).
pub mod feature {
    /// `FILE_CASE_SENSITIVE_SEARCH`: names can differ in case alone
    pub const CASE_SENSITIVE: u32 = 0x01;
    /// `FILE_SUPPORTS_SPARSE_FILES`
    pub const SPARSE_FILES: u32 = 0x40;
    /// `FILE_SUPPORTS_REPARSE_POINTS`: symbolic links among others
    pub const REPARSE_POINTS: u32 = 0x80;
    /// `FILE_NAMED_STREAMS`
    pub const NAMED_STREAMS: u32 = 0x0004_0000;
    /// `FILE_READ_ONLY_VOLUME`
    pub const READ_ONLY_VOLUME: u32 = 0x0008_0000;
    /// `FILE_SUPPORTS_BLOCK_REFCOUNTING`: files can share blocks
    pub const SHARED_BLOCKS: u32 = 0x0800_0000;
}

/// The answer to [`query_abilities`].
///
/// # Errors
///
/// [`Malformed`] if the response is not that of a QUERY_INFO or too short, or the name lies outside of its bounds.
pub fn parse_volume(reply: &Reply) -> Result<Volume, Malformed> {
    let answer = Fields(output(reply)?);
    let name = answer.name(12, answer.u32(8)? as usize)?;
    Ok(Volume { features: answer.u32(0)?, longest_name: answer.u32(4)?, name: String::from_utf16_lossy(&name) })
}

/// Whether files of the file system can share blocks (MS-FSCC 2.5.1: FILE_SUPPORTS_BLOCK_REFCOUNTING).
///
/// # Errors
///
/// [`Malformed`] if the response is not that of a QUERY_INFO, or too short.
pub fn parse_shares_blocks(reply: &Reply) -> Result<bool, Malformed> {
    Ok(Fields(output(reply)?).u32(0)? & feature::SHARED_BLOCKS != 0)
}

/// A SET_INFO on a file (MS-SMB2 2.2.39).
fn set(class: u8, file: FileId, data: &[u8]) -> Request {
    set_of((INFO_FILE, class), 0, file, data)
}

/// A SET_INFO of this InfoType and class, with AdditionalInformation.
pub(super) fn set_of(kind: (u8, u8), additional: u32, file: FileId, data: &[u8]) -> Request {
    Request::checked(Command::SetInfo, set_body(kind, additional, file, data))
}

/// The body of a SET_INFO; an error if the data is too long.
fn set_body((kind, class): (u8, u8), additional: u32, file: FileId, data: &[u8]) -> Result<Vec<u8>, TooLong> {
    const FIXED: u16 = 32;
    let mut body = Vec::with_capacity(usize::from(FIXED) + data.len());
    body.put_u16(33)
        .put_u8(kind)
        .put_u8(class)
        .put_u32(length32(data.len(), TooLong::Other("the data of a SET_INFO"))?)
        .put_u16(behind(FIXED))
        .put_u16(0)
        .put_u32(additional)
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
    set_path(FILE_RENAME, file, path, replace)
}

/// Gives the file one more name, a path from the tree's root in UTF-16 units: FileLinkInformation (MS-FSCC 2.4.28.2).
/// Refused if the name exists.
pub fn set_link(file: FileId, path: &[u16]) -> Request {
    set_path(FILE_LINK, file, path, false)
}

/// FileRenameInformation and FileLinkInformation have the same layout in SMB2.
fn set_path(class: u8, file: FileId, path: &[u16], replace: bool) -> Request {
    // FileNameLength has 32 bits, but NameLength of a CREATE has 16: a longer path could never be opened.
    let length = match length16(2 * path.len(), TooLong::Path) {
        Ok(length) => u32::from(length),
        Err(too_long) => return Request::checked(Command::SetInfo, Err(too_long)),
    };
    let mut data = Vec::with_capacity(20 + 2 * path.len());
    data.put_u8(u8::from(replace)).put_bytes(&[0; 7]).put_u64(0).put_u32(length).put_utf16(path);
    // Servers demand at least the size of the structure, which ends in padding.
    data.resize(data.len().max(24), 0);
    set(class, file, &data)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::frame::Chain;
    use crate::wire::header::{HEADER_SIZE, Header};

    /// A QUERY_INFO response with this output.
    fn reply(output: &[u8]) -> Reply {
        let mut body = Vec::new();
        body.put_u16(9).put_count(HEADER_SIZE + 8).put_count(output.len()).put_u16(0).put_bytes(output);
        let message = [vec![0; HEADER_SIZE], body].concat().into();
        Reply { header: Header::blank(Command::QueryInfo), message, signature: Default::default(), sealed: false }
    }

    #[test]
    fn a_volume_has_features_and_a_name_within_its_answer() {
        let mut output = Vec::new();
        output.put_u32(feature::REPARSE_POINTS).put_u32(255).put_u32(8);
        output.put_utf16(&"NTFS".encode_utf16().collect::<Vec<_>>());
        let volume = Volume { features: 0x80, longest_name: 255, name: "NTFS".to_owned() };
        assert_eq!(parse_volume(&reply(&output)), Ok(volume));
        output[8] = 9;
        assert!(parse_volume(&reply(&output)).is_err(), "an odd length");
        output[8] = 10;
        assert!(parse_volume(&reply(&output)).is_err(), "past the end");
        assert!(parse_volume(&reply(&[0; 11])).is_err());
    }

    #[test]
    fn a_rename_to_a_path_too_long_for_an_open_is_refused() {
        let fits = |units: usize| Chain::single(set_name([0; 16], &vec![0x61; units], false)).fits();
        assert_eq!(fits(32_767), Ok(()));
        assert_eq!(fits(32_768), Err(TooLong::Path));
    }
}
