//! The list of a server's shares: NetrShareEnum, level 1 (MS-SRVS 3.1.4.8), as bytes on the pipe `srvsvc` of IPC$.
//!
//! This one call is written and parsed by hand, in NDR32 (C706 chapter 14), which every server accepts. `rpc` has the
//! PDUs around it. Not done: other levels, resuming a list, NDR64, RPC authentication; the SMB session protects the
//! pipe.
//!
//! Invariant: no length, count or offset of the server is used before it is checked against the bytes that it sent. At
//! most [`MOST_BYTES`] are kept, and at most [`MOST_SHARES`] shares are listed.

mod rpc;

use super::codec::{Fields, Malformed, Put};
use std::fmt;

pub use rpc::{MAX_FRAGMENT, Reassembly, RpcError, bind_request, parse_bind_ack};

/// The most bytes that a server may send in the answer to one call: 1 MiB.
pub const MOST_BYTES: usize = 1 << 20;
/// The most shares in a list.
pub const MOST_SHARES: usize = 4096;

/// A share in a server's list (MS-SRVS 2.2.4.23: SHARE_INFO_1).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ListedShare {
    /// The share's name, as the server sent it: it can contain control characters.
    pub name: String,
    /// What the share gives access to.
    pub kind: ShareKind,
    /// The server's comment on the share, as the server sent it.
    pub comment: String,
}

impl ListedShare {
    /// Whether the share is hidden from users by the convention that its name ends with `$`.
    pub fn is_hidden(&self) -> bool {
        self.name.ends_with('$')
    }
}

/// What a share gives access to (MS-SRVS 2.2.2.4).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ShareKind {
    /// Files (STYPE_DISKTREE).
    Disk,
    /// A print queue (STYPE_PRINTQ).
    Printer,
    /// A communication device (STYPE_DEVICE).
    Device,
    /// Named pipes (STYPE_IPC).
    Pipe,
    /// A type that MS-SRVS does not define.
    Other,
}

impl ShareKind {
    /// The kind in a share's type, whose high bits are flags.
    fn of(share_type: u32) -> ShareKind {
        match share_type & 0xff {
            0 => ShareKind::Disk,
            1 => ShareKind::Printer,
            2 => ShareKind::Device,
            3 => ShareKind::Pipe,
            _ => ShareKind::Other,
        }
    }
}

impl fmt::Display for ShareKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            ShareKind::Disk => "disk",
            ShareKind::Printer => "printer",
            ShareKind::Device => "device",
            ShareKind::Pipe => "pipe",
            ShareKind::Other => "other",
        })
    }
}

/// A pointer that is not null. The value has no meaning; the referent follows (C706 14.3.10).
const POINTER: u32 = 0x0002_0000;
/// The level of SHARE_INFO_1.
const LEVEL: u32 = 1;
/// ERROR_MORE_DATA: the list is incomplete. What came of it is listed.
const MORE_DATA: u32 = 234;

/// The request PDU of NetrShareEnum (MS-SRVS 3.1.4.8, opnum 15) for all shares of the server with this name.
pub fn enum_request(server: &str) -> Vec<u8> {
    const NETR_SHARE_ENUM: u16 = 15;
    /// MAX_PREFERRED_LENGTH: the whole list in one answer.
    const EVERYTHING: u32 = u32::MAX;
    // The name only informs the server; DNS allows 255 characters.
    let name: Vec<u16> = format!("\\\\{server}").encode_utf16().take(258).chain([0]).collect();
    // `take` bounds the length.
    let units = u32::try_from(name.len()).unwrap_or(0);
    let mut stub = Vec::with_capacity(64 + 2 * name.len());
    stub.put_u32(POINTER).put_u32(units).put_u32(0).put_u32(units).put_utf16(&name).align(4);
    // The level, the discriminant of the union, an empty container to be filled.
    stub.put_u32(LEVEL).put_u32(LEVEL).put_u32(POINTER).put_u32(0).put_u32(0);
    stub.put_u32(EVERYTHING).put_u32(POINTER).put_u32(0);
    rpc::request(NETR_SHARE_ENUM, &stub)
}

/// The shares in the stub data of a NetrShareEnum response (MS-SRVS 3.1.4.8).
///
/// # Errors
///
/// [`RpcError::Refused`] with the server's Win32 error (MS-ERREF 2.2) if it refused the call; [`RpcError::Malformed`] if
/// the response is not that of level 1, contradicts itself, reaches past its end or has more than [`MOST_SHARES`]
/// shares.
pub fn parse_shares(stub: &[u8]) -> Result<Vec<ListedShare>, RpcError> {
    let mut reader = Reader { fields: Fields(stub), at: 0 };
    if (reader.u32()?, reader.u32()?) != (LEVEL, LEVEL) {
        return Err(Malformed("a list of shares of another level than 1").into());
    }
    let shares = if reader.u32()? == 0 { Vec::new() } else { reader.container()? };
    let _total = reader.u32()?;
    if reader.u32()? != 0 {
        let _resume_handle = reader.u32()?;
    }
    match reader.u32()? {
        0 | MORE_DATA => Ok(shares),
        error => Err(RpcError::Refused(error)),
    }
}

/// Reads NDR from front to back.
struct Reader<'a> {
    fields: Fields<'a>,
    /// The offset of the next field, at most one field behind the end.
    at: usize,
}

impl Reader<'_> {
    fn u32(&mut self) -> Result<u32, Malformed> {
        let value = self.fields.u32(self.at)?;
        self.at += 4;
        Ok(value)
    }

    /// SHARE_INFO_1_CONTAINER (MS-SRVS 2.2.4.33): all entries, then the strings that they point to.
    fn container(&mut self) -> Result<Vec<ListedShare>, Malformed> {
        let count = self.u32()?;
        if self.u32()? == 0 {
            return if count == 0 { Ok(Vec::new()) } else { Err(Malformed("a list of shares without its entries")) };
        }
        if self.u32()? != count {
            return Err(Malformed("a list of shares with two different lengths"));
        }
        if count as usize > MOST_SHARES {
            return Err(Malformed("a list of more than 4096 shares"));
        }
        let mut entries = Vec::new();
        for _ in 0..count {
            entries.push((self.u32()?, self.u32()?, self.u32()?));
        }
        let mut shares = Vec::new();
        for (name, share_type, comment) in entries {
            let name = if name == 0 { String::new() } else { self.string()? };
            let comment = if comment == 0 { String::new() } else { self.string()? };
            shares.push(ListedShare { name, kind: ShareKind::of(share_type), comment });
        }
        Ok(shares)
    }

    /// A conformant varying string of UTF-16 units (C706 14.3.4.2). It ends at its first NUL.
    fn string(&mut self) -> Result<String, Malformed> {
        let (most, offset, count) = (self.u32()?, self.u32()?, self.u32()?);
        if offset != 0 || count > most {
            return Err(Malformed("a string that lies outside its array"));
        }
        let length = (count as usize).checked_mul(2).ok_or(Malformed("a string whose length overflows"))?;
        let units = self.fields.utf16(self.at, length)?;
        // The string was in the message, so this does not overflow.
        self.at = (self.at + length).next_multiple_of(4);
        let end = units.iter().position(|unit| *unit == 0).unwrap_or(units.len());
        Ok(String::from_utf16_lossy(&units[..end]))
    }
}

#[cfg(test)]
mod tests;
