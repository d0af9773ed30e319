//! READ (MS-SMB2 2.2.19, 2.2.20), WRITE (2.2.21, 2.2.22), FLUSH (2.2.17).

use super::FileId;
use crate::wire::codec::{Fields, Malformed, Put};
use crate::wire::frame::{Reply, Request};
use crate::wire::header::{Command, HEADER_SIZE};
use bytes::Bytes;

/// A READ of up to `length` bytes.
pub fn read(file: FileId, offset: u64, length: u32) -> Request {
    const DATA_OFFSET: u8 = HEADER_SIZE as u8 + 16;
    let mut body = Vec::with_capacity(49);
    body.put_u16(49)
        .put_u8(DATA_OFFSET)
        .put_u8(0)
        .put_u32(length)
        .put_u64(offset)
        .put_bytes(&file)
        .put_u32(0)
        .put_u32(0)
        .put_u32(0)
        .put_u32(0)
        .put_u8(0);
    Request::new(Command::Read, body).with_response(length)
}

/// The data of a READ of `length` bytes: a slice of the frame it came in.
pub fn parse_read(reply: &Reply, length: u32) -> Result<Bytes, Malformed> {
    let body = Fields(reply.body());
    body.expect_structure(17, "a READ response whose StructureSize is not 17")?;
    let (offset, count) = (usize::from(body.u8(2)?), body.u32(4)?);
    if count > length {
        return Err(Malformed("a READ response with more bytes than were asked for"));
    }
    let end = offset + count as usize;
    if end > reply.message.len() {
        return Err(Malformed("a READ response whose data is not there"));
    }
    Ok(reply.message.slice(offset..end))
}

/// A WRITE of `data`.
pub fn write(file: FileId, offset: u64, data: Bytes) -> Request {
    const FIXED: usize = 48;
    let mut body = Vec::with_capacity(FIXED);
    body.put_u16(49)
        .put_u16((HEADER_SIZE + FIXED) as u16)
        .put_u32(data.len() as u32)
        .put_u64(offset)
        .put_bytes(&file)
        .put_u32(0)
        .put_u32(0)
        .put_u32(0)
        .put_u32(0);
    Request::new(Command::Write, body).with_payload(data)
}

/// How many of `length` bytes a WRITE has written.
pub fn parse_write(reply: &Reply, length: u32) -> Result<u32, Malformed> {
    let body = Fields(reply.body());
    body.expect_structure(17, "a WRITE response whose StructureSize is not 17")?;
    match body.u32(4)? {
        0 if length > 0 => Err(Malformed("a WRITE that succeeded and wrote nothing")),
        count if count > length => Err(Malformed("a WRITE that wrote more bytes than it was given")),
        count => Ok(count),
    }
}

/// A FLUSH.
pub fn flush(file: FileId) -> Request {
    let mut body = Vec::with_capacity(24);
    body.put_u16(24).put_u16(0).put_u32(0).put_bytes(&file);
    Request::new(Command::Flush, body)
}
