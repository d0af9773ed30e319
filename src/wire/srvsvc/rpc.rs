//! The PDUs of connection-oriented RPC (MS-RPCE 2.2.2, C706 chapter 12): bind, request, and the reassembly of a response
//! from its fragments.

use super::MOST_BYTES;
use crate::wire::codec::{Fields, Malformed, Put};
use std::fmt;

/// The largest fragment that the client sends or accepts, in bytes; the common value of Windows and Samba.
pub const MAX_FRAGMENT: u16 = 4280;

/// Why a call has no result.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RpcError {
    /// The answer breaks the protocol.
    Malformed(Malformed),
    /// The server could not make the call: the status of its fault PDU (C706 appendix E, MS-ERREF).
    Fault(u32),
    /// The server made the call and refused: a Win32 error (MS-ERREF 2.2).
    Refused(u32),
    /// The server does not accept the interface or NDR32: the reason in its answer to the bind.
    NotBound(u16),
}

impl From<Malformed> for RpcError {
    fn from(malformed: Malformed) -> RpcError {
        RpcError::Malformed(malformed)
    }
}

impl fmt::Display for RpcError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RpcError::Malformed(what) => write!(f, "the server sent {what}"),
            RpcError::Fault(status) => write!(f, "the server could not carry out the call (RPC fault 0x{status:08x})"),
            RpcError::Refused(5) => f.write_str("the server does not show its shares to this user (Win32 error 5)"),
            RpcError::Refused(error) => write!(f, "the server refused to list its shares (Win32 error {error})"),
            RpcError::NotBound(reason) => write!(f, "the server does not offer the list of shares (reason {reason})"),
        }
    }
}

impl std::error::Error for RpcError {}

/// The types of PDUs that are used (C706 12.6.4).
mod kind {
    pub(super) const REQUEST: u8 = 0;
    pub(super) const RESPONSE: u8 = 2;
    pub(super) const FAULT: u8 = 3;
    pub(super) const BIND: u8 = 11;
    pub(super) const BIND_ACK: u8 = 12;
    pub(super) const BIND_NAK: u8 = 13;
}

/// PFC_FIRST_FRAG.
const FIRST: u8 = 1;
/// PFC_LAST_FRAG.
const LAST: u8 = 2;
/// The size of the common header, in bytes.
const HEADER: usize = 16;
/// The size of the header of a response, in bytes.
const RESPONSE_HEADER: usize = HEADER + 8;
/// The call's number. There is one call per pipe.
const CALL: u32 = 1;
/// 4b324fc8-1670-01d3-1278-5a47bf6ee188 version 3.0: the Server Service (MS-SRVS 1.9).
const SRVSVC: [u8; 20] =
    [0xc8, 0x4f, 0x32, 0x4b, 0x70, 0x16, 0xd3, 0x01, 0x12, 0x78, 0x5a, 0x47, 0xbf, 0x6e, 0xe1, 0x88, 3, 0, 0, 0];
/// 8a885d04-1ceb-11c9-9fe8-08002b104860 version 2: NDR32 (MS-RPCE 2.2.4.12).
const NDR32: [u8; 20] =
    [0x04, 0x5d, 0x88, 0x8a, 0xeb, 0x1c, 0xc9, 0x11, 0x9f, 0xe8, 0x08, 0x00, 0x2b, 0x10, 0x48, 0x60, 2, 0, 0, 0];

/// A PDU in one fragment. `body` is short: the caller bounds it below [`MAX_FRAGMENT`].
fn pdu(kind: u8, body: &[u8]) -> Vec<u8> {
    let mut pdu = Vec::with_capacity(HEADER + body.len());
    // Version 5.0; integers are little-endian, characters ASCII, floating-point numbers IEEE.
    pdu.put_u8(5).put_u8(0).put_u8(kind).put_u8(FIRST | LAST).put_bytes(&[0x10, 0, 0, 0]);
    pdu.put_count(HEADER + body.len()).put_u16(0).put_u32(CALL).put_bytes(body);
    pdu
}

/// The bind PDU for the Server Service with NDR32 (C706 12.6.4.3).
pub fn bind_request() -> Vec<u8> {
    let mut body = Vec::with_capacity(56);
    // Sizes of fragments, a new association, one context with one transfer syntax.
    body.put_u16(MAX_FRAGMENT).put_u16(MAX_FRAGMENT).put_u32(0).put_u32(1).put_u16(0).put_u16(1);
    body.put_bytes(&SRVSVC).put_bytes(&NDR32);
    pdu(kind::BIND, &body)
}

/// The request PDU of a call (C706 12.6.4.9).
pub(super) fn request(operation: u16, stub: &[u8]) -> Vec<u8> {
    let mut body = Vec::with_capacity(8 + stub.len());
    // The hint may be 0; the context is the one of the bind.
    body.put_u32(0).put_u16(0).put_u16(operation).put_bytes(stub);
    pdu(kind::REQUEST, &body)
}

/// A received PDU with a valid header (C706 12.6.3.1).
#[derive(Clone, Copy)]
struct Pdu<'a> {
    kind: u8,
    flags: u8,
    /// The PDU from its header on.
    fields: Fields<'a>,
}

impl<'a> Pdu<'a> {
    /// The first PDU in `bytes`, and its length; `None` if it is not complete.
    fn cut(bytes: &'a [u8]) -> Result<Option<(Pdu<'a>, usize)>, Malformed> {
        let Some(header) = bytes.get(..HEADER) else { return Ok(None) };
        let header = Fields(header);
        if header.u16(0)? != 5 {
            return Err(Malformed("an RPC message of another version than 5.0"));
        }
        if header.u8(4)? & 0xf0 != 0x10 {
            return Err(Malformed("an RPC message that is not little-endian"));
        }
        if header.u16(10)? != 0 || header.u32(12)? != CALL {
            return Err(Malformed("an RPC message with a signature or of another call"));
        }
        let length = usize::from(header.u16(8)?);
        if length < HEADER {
            return Err(Malformed("an RPC message that is shorter than its header"));
        }
        let Some(whole) = bytes.get(..length) else { return Ok(None) };
        Ok(Some((Pdu { kind: header.u8(2)?, flags: header.u8(3)?, fields: Fields(whole) }, length)))
    }

    /// The status of a fault PDU (C706 12.6.4.7).
    fn fault(self) -> RpcError {
        self.fields.u32(RESPONSE_HEADER).map_or_else(RpcError::Malformed, RpcError::Fault)
    }
}

/// Checks that the answer to [`bind_request`] accepts the interface with NDR32 (C706 12.6.4.4).
///
/// # Errors
///
/// [`RpcError::NotBound`] if the server does not accept it, [`RpcError::Fault`] if it answers with a fault,
/// [`RpcError::Malformed`] for anything else.
pub fn parse_bind_ack(bytes: &[u8]) -> Result<(), RpcError> {
    let (pdu, _) = Pdu::cut(bytes)?.ok_or(Malformed("an incomplete answer to an RPC bind"))?;
    match pdu.kind {
        kind::BIND_ACK => {}
        kind::BIND_NAK => return Err(RpcError::NotBound(pdu.fields.u16(HEADER)?)),
        kind::FAULT => return Err(pdu.fault()),
        _ => return Err(Malformed("an RPC message that does not answer a bind").into()),
    }
    // The sizes of fragments and the association, then the address of the pipe, which is not used.
    let address = usize::from(pdu.fields.u16(HEADER + 8)?);
    let results = (HEADER + 10 + address).next_multiple_of(4);
    if pdu.fields.u8(results)? != 1 {
        return Err(Malformed("an RPC bind with another number of results than 1").into());
    }
    let (result, reason) = (pdu.fields.u16(results + 4)?, pdu.fields.u16(results + 6)?);
    if result != 0 {
        return Err(RpcError::NotBound(reason));
    }
    if pdu.fields.bytes(results + 8, NDR32.len())? != NDR32 {
        return Err(Malformed("an RPC bind to another transfer syntax than NDR32").into());
    }
    Ok(())
}

/// The reassembly of a response from its fragments (C706 12.6.4.10). The fragments may arrive in any pieces.
#[derive(Debug, Default)]
pub struct Reassembly {
    /// All bytes that have arrived so far, for the limit.
    received: usize,
    /// The start of a fragment that is not complete.
    rest: Vec<u8>,
    /// The stub data of the complete fragments.
    stub: Vec<u8>,
    has_begun: bool,
}

impl Reassembly {
    /// Adds bytes. Returns the stub data of the response once its last fragment is complete.
    ///
    /// # Errors
    ///
    /// [`RpcError::Fault`] if the server sent a fault instead; [`RpcError::Malformed`] if the bytes are no response, or
    /// are more than [`MOST_BYTES`] in all.
    pub fn add(&mut self, bytes: &[u8]) -> Result<Option<Vec<u8>>, RpcError> {
        self.received = self.received.saturating_add(bytes.len());
        if self.received > MOST_BYTES {
            return Err(Malformed("an RPC response of more than 1 MiB").into());
        }
        self.rest.extend_from_slice(bytes);
        let rest = std::mem::take(&mut self.rest);
        let mut left = &rest[..];
        while let Some((pdu, length)) = Pdu::cut(left)? {
            left = left.get(length..).unwrap_or_default();
            match pdu.kind {
                kind::RESPONSE => {}
                kind::FAULT => return Err(pdu.fault()),
                _ => return Err(Malformed("an RPC message that does not answer a request").into()),
            }
            if self.has_begun == (pdu.flags & FIRST != 0) {
                return Err(Malformed("fragments of an RPC response that are out of order").into());
            }
            self.has_begun = true;
            let stub = pdu.fields.0.get(RESPONSE_HEADER..);
            self.stub.extend_from_slice(stub.ok_or(Malformed("an RPC response that is shorter than its header"))?);
            if pdu.flags & LAST != 0 {
                return match left.is_empty() {
                    true => Ok(Some(std::mem::take(&mut self.stub))),
                    false => Err(Malformed("bytes behind the last fragment of an RPC response").into()),
                };
            }
        }
        self.rest = left.to_vec();
        Ok(None)
    }
}
