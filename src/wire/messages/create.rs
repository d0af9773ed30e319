//! CREATE (MS-SMB2 2.2.13, 2.2.14) and CLOSE (2.2.15, 2.2.16).

use super::FileId;
use crate::wire::codec::{Fields, Malformed, Put};
use crate::wire::frame::{Reply, Request};
use crate::wire::header::{Command, HEADER_SIZE};

/// Access that an open asks for (MS-SMB2 2.2.13.1).
pub mod access {
    /// `FILE_READ_DATA`, or `FILE_LIST_DIRECTORY`
    pub const READ_DATA: u32 = 0x0001;
    /// `FILE_WRITE_DATA`
    pub const WRITE_DATA: u32 = 0x0002;
    /// `FILE_APPEND_DATA`
    pub const APPEND_DATA: u32 = 0x0004;
    /// `FILE_READ_ATTRIBUTES`
    pub const READ_ATTRIBUTES: u32 = 0x0080;
    /// `FILE_WRITE_ATTRIBUTES`
    pub const WRITE_ATTRIBUTES: u32 = 0x0100;
    /// `DELETE`, for renaming as well
    pub const DELETE: u32 = 0x0001_0000;
    /// `SYNCHRONIZE`
    pub const SYNCHRONIZE: u32 = 0x0010_0000;
}

/// CreateDisposition.
pub mod disposition {
    /// `FILE_OPEN`
    pub const OPEN: u32 = 1;
    /// `FILE_CREATE`
    pub const CREATE: u32 = 2;
    /// `FILE_OPEN_IF`
    pub const OPEN_IF: u32 = 3;
}

/// CreateOptions.
pub mod options {
    /// `FILE_DIRECTORY_FILE`
    pub const DIRECTORY: u32 = 0x01;
    /// `FILE_NON_DIRECTORY_FILE`
    pub const NON_DIRECTORY: u32 = 0x40;
    /// `FILE_OPEN_REPARSE_POINT`: the link, not what it points to
    pub const REPARSE_POINT: u32 = 0x0020_0000;
}

/// Others may read, write, rename and delete the file while it is open: what POSIX expects.
const SHARE_ALL: u32 = 7;
const IMPERSONATION: u32 = 2;
/// Asks for the file's id on disk (MS-SMB2 2.2.13.2.9).
const QUERY_ON_DISK_ID: &[u8; 4] = b"QFid";

/// A CREATE request.
#[derive(Clone, Copy, Debug)]
pub struct Create<'a> {
    /// The path from the tree's root, in UTF-16.
    pub path: &'a [u16],
    /// See [`access`].
    pub access: u32,
    /// The attributes of a file that is made.
    pub attributes: u32,
    /// See [`disposition`].
    pub disposition: u32,
    /// See [`options`].
    pub options: u32,
}

impl Create<'_> {
    /// The request.
    pub fn request(&self) -> Request {
        const FIXED: usize = 56;
        let name_length = 2 * self.path.len();
        let contexts_at = (HEADER_SIZE + FIXED + name_length).next_multiple_of(8);
        const CONTEXT_SIZE: u32 = 24;
        let mut body = Vec::with_capacity(FIXED + name_length + 40);
        body.put_u16(57)
            .put_u8(0)
            .put_u8(0)
            .put_u32(IMPERSONATION)
            .put_u64(0)
            .put_u64(0)
            .put_u32(self.access | access::SYNCHRONIZE)
            .put_u32(self.attributes)
            .put_u32(SHARE_ALL)
            .put_u32(self.disposition)
            .put_u32(self.options)
            .put_u16((HEADER_SIZE + FIXED) as u16)
            .put_u16(name_length as u16)
            .put_u32(contexts_at as u32)
            .put_u32(CONTEXT_SIZE)
            .put_utf16(self.path)
            .align(8);
        // Next, NameOffset, NameLength, Reserved, DataOffset, DataLength, Name.
        body.put_u32(0).put_u16(16).put_u16(4).put_u16(0).put_u16(0).put_u32(0).put_bytes(QUERY_ON_DISK_ID).align(8);
        Request::new(Command::Create, body)
    }
}

/// Times, sizes and attributes as CREATE, CLOSE and FileNetworkOpenInformation have them: in the same
/// order and without gaps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct FileInfo {
    /// Time of creation, as all times in 100 ns since 1601.
    pub created: u64,
    /// Time of the last access.
    pub accessed: u64,
    /// Time of the last write.
    pub modified: u64,
    /// Time of the last change.
    pub changed: u64,
    /// Allocated bytes.
    pub allocation: u64,
    /// Size in bytes.
    pub size: u64,
    /// Attribute bits.
    pub attributes: u32,
}

impl FileInfo {
    /// Reads the seven fields at `offset`.
    pub fn parse(fields: Fields<'_>, offset: usize) -> Result<FileInfo, Malformed> {
        Ok(FileInfo {
            created: fields.u64(offset)?,
            accessed: fields.u64(offset + 8)?,
            modified: fields.u64(offset + 16)?,
            changed: fields.u64(offset + 24)?,
            allocation: fields.u64(offset + 32)?,
            size: fields.u64(offset + 40)?,
            attributes: fields.u32(offset + 48)?,
        })
    }
}

/// What CREATE answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Created {
    /// The open.
    pub file: FileId,
    /// What was done: 0 superseded, 1 opened, 2 created, 3 overwritten.
    pub action: u32,
    /// The file.
    pub info: FileInfo,
    /// The file's id on disk; 0 where the server gives none.
    pub disk_id: u64,
}

impl Created {
    /// Reads a successful CREATE response.
    pub fn parse(reply: &Reply) -> Result<Created, Malformed> {
        let body = Fields(reply.body());
        body.expect_structure(89, "a CREATE response whose StructureSize is not 89")?;
        Ok(Created {
            file: body.block(64)?,
            action: body.u32(4)?,
            info: FileInfo::parse(body, 8)?,
            disk_id: disk_id(reply, body.u32(80)? as usize, body.u32(84)? as usize)?,
        })
    }
}

/// The DiskFileId among the create contexts (MS-SMB2 2.2.14.2.9).
fn disk_id(reply: &Reply, offset: usize, length: usize) -> Result<u64, Malformed> {
    if length == 0 {
        return Ok(0);
    }
    let mut contexts = Fields(&reply.message).bytes(offset, length)?;
    loop {
        let context = Fields(contexts);
        let next = context.u32(0)? as usize;
        let name = context.bytes(usize::from(context.u16(4)?), usize::from(context.u16(6)?))?;
        if name == QUERY_ON_DISK_ID {
            let data = context.bytes(usize::from(context.u16(10)?), context.u32(12)? as usize)?;
            return Fields(data).u64(0);
        }
        // Each step goes forward, so the walk ends.
        contexts = match next {
            0 => return Ok(0),
            next if next >= 16 => contexts.get(next..).ok_or(Malformed("a create context that lies outside"))?,
            _ => return Err(Malformed("a create context that overlaps the one before")),
        };
    }
}

/// A CLOSE, which asks for the file's last state.
pub fn close(file: FileId) -> Request {
    const POSTQUERY_ATTRIB: u16 = 1;
    let mut body = Vec::with_capacity(24);
    body.put_u16(24).put_u16(POSTQUERY_ATTRIB).put_u32(0).put_bytes(&file);
    Request::new(Command::Close, body)
}

/// The file's last state, where the server tells it.
pub fn parse_close(reply: &Reply) -> Result<Option<FileInfo>, Malformed> {
    let body = Fields(reply.body());
    body.expect_structure(60, "a CLOSE response whose StructureSize is not 60")?;
    let told = body.u16(2)? & 1 != 0;
    told.then(|| FileInfo::parse(body, 8)).transpose()
}
