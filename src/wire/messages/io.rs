//! READ (MS-SMB2 2.2.19, 2.2.20), WRITE (2.2.21, 2.2.22), FLUSH (2.2.17, 2.2.18).
//!
//! The data of a READ is a slice of the received message where that wastes little memory, and a copy otherwise. The
//! data of a WRITE is the payload of its request and is not copied here.

use super::FileId;
use crate::wire::codec::{Fields, Malformed, Put, TooLong, length32};
use crate::wire::frame::{Reply, Request};
use crate::wire::header::{Command, behind};
use bytes::Bytes;

/// A READ of up to `length` bytes at `offset` (MS-SMB2 2.2.19).
pub fn read(file: FileId, offset: u64, length: u32) -> Request {
    /// The requested offset of the data in the response, in bytes: behind the header and the fixed part of the body.
    const DATA_OFFSET: u8 = 64 + 16;
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

/// How many bytes longer than its data a response may be, beyond an eighth of the data, for the data to be a slice of
/// it: 1024.
const SLACK: usize = 1024;

/// The data of a READ of `length` bytes (MS-SMB2 2.2.20): a slice of the response, or a copy if the response is much
/// larger.
///
/// # Errors
///
/// [`Malformed`] if the response is not that of a READ, or has more than `length` bytes of data or less than it claims.
pub fn parse_read(reply: &Reply, length: u32) -> Result<Bytes, Malformed> {
    let data = read_data(reply, length)?;
    if reply.message.len() > data.len() + data.len() / 8 + SLACK {
        return Ok(Bytes::copy_from_slice(data));
    }
    Ok(reply.message.slice_ref(data))
}

/// The data in the response to a READ of `length` bytes.
fn read_data(reply: &Reply, length: u32) -> Result<&[u8], Malformed> {
    let body = Fields(reply.body());
    body.expect_structure(17, "a READ response whose StructureSize is not 17")?;
    let (offset, count) = (usize::from(body.u8(2)?), body.u32(4)?);
    if count > length {
        return Err(Malformed("a READ response with more bytes than were asked for"));
    }
    Fields(&reply.message).buffer(offset, count as usize)
}

/// Checks the response to a READ as [`parse_read`] does.
pub(super) fn check_read(request: &Request, reply: &Reply) -> Result<(), Malformed> {
    read_data(reply, Fields(&request.body).u32(4)?).map(drop)
}

/// A WRITE of `data` at `offset` (MS-SMB2 2.2.21).
pub fn write(file: FileId, offset: u64, data: Bytes) -> Request {
    const FIXED: u16 = 48;
    let length = match length32(data.len(), TooLong::Other("the data of a WRITE")) {
        Ok(length) => length,
        Err(too_long) => return Request::checked(Command::Write, Err(too_long)),
    };
    let mut body = Vec::with_capacity(usize::from(FIXED));
    body.put_u16(49)
        .put_u16(behind(FIXED))
        .put_u32(length)
        .put_u64(offset)
        .put_bytes(&file)
        .put_u32(0)
        .put_u32(0)
        .put_u32(0)
        .put_u32(0);
    Request::new(Command::Write, body).with_payload(data)
}

/// The number of bytes that a WRITE of `length` bytes has written (MS-SMB2 2.2.22).
///
/// # Errors
///
/// [`Malformed`] if the response is not that of a WRITE, or claims more than `length` bytes, or 0 of more than 0.
pub fn parse_write(reply: &Reply, length: u32) -> Result<u32, Malformed> {
    let body = Fields(reply.body());
    body.expect_structure(17, "a WRITE response whose StructureSize is not 17")?;
    match body.u32(4)? {
        0 if length > 0 => Err(Malformed("a WRITE that succeeded and wrote nothing")),
        count if count > length => Err(Malformed("a WRITE that wrote more bytes than it was given")),
        count => Ok(count),
    }
}

/// Checks the response to a WRITE as [`parse_write`] does.
pub(super) fn check_write(request: &Request, reply: &Reply) -> Result<(), Malformed> {
    parse_write(reply, Fields(&request.body).u32(4)?).map(drop)
}

/// A FLUSH of an open file (MS-SMB2 2.2.17).
pub fn flush(file: FileId) -> Request {
    let mut body = Vec::with_capacity(24);
    body.put_u16(24).put_u16(0).put_u32(0).put_bytes(&file);
    Request::new(Command::Flush, body)
}
