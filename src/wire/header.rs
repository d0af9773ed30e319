//! The SMB2 packet header, 64 bytes before each message body (MS-SMB2 2.2.1): written for requests, parsed for
//! responses.
//!
//! A [`Header`] holds every field that varies but the signature, which [`super::frame`] writes and verifies.

use super::codec::{Fields, Malformed, Put};
use super::status::NtStatus;

pub use smb_msg::Command;

/// The size of a header, in bytes, as its StructureSize field has it.
const STRUCTURE_SIZE: u16 = 64;
/// The size of a header, in bytes.
pub const HEADER_SIZE: usize = STRUCTURE_SIZE as usize;
/// The range of the Signature field in a header, in bytes from its start.
pub const SIGNATURE: std::ops::Range<usize> = 48..64;
/// The first four bytes of an SMB2 message: the ProtocolId.
pub const PROTOCOL_ID: [u8; 4] = *b"\xfeSMB";
/// The MessageId of every message that the server sends without a request: oplock and lease breaks (MS-SMB2 3.3.4.6,
/// 3.3.4.7).
pub const UNSOLICITED: u64 = u64::MAX;

/// The bits of the header's Flags field (MS-SMB2 2.2.1.2).
pub mod flags {
    /// `SMB2_FLAGS_SERVER_TO_REDIR`: this is a response.
    pub const RESPONSE: u32 = 0x1;
    /// `SMB2_FLAGS_ASYNC_COMMAND`: the header holds an AsyncId instead of a TreeId.
    pub const ASYNC: u32 = 0x2;
    /// `SMB2_FLAGS_RELATED_OPERATIONS`: the request works on the file of the message before it in the compound.
    pub const RELATED: u32 = 0x4;
    /// `SMB2_FLAGS_SIGNED`: the message is signed.
    pub const SIGNED: u32 = 0x8;
}

/// The offset, from the start of the header, of the data behind the first `fixed` bytes of a body.
pub const fn behind(fixed: u16) -> u16 {
    STRUCTURE_SIZE + fixed
}

/// A header, for both directions, without its signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// CreditCharge: the credits that the request costs; 0 if multi-credit requests are not supported.
    pub credit_charge: u16,
    /// Status: the result, in a response; 0 in a request.
    pub status: NtStatus,
    /// Command: the command's number.
    pub command: u16,
    /// CreditRequest or CreditResponse: the credits that are requested or granted.
    pub credits: u16,
    /// Flags: see [`flags`].
    pub flags: u32,
    /// NextCommand: the offset in bytes of the next message in a compound, from the start of this header; 0 in the last
    /// one.
    pub next_command: u32,
    /// MessageId: pairs a response with its request.
    pub message_id: u64,
    /// The AsyncId of an asynchronous message; otherwise the TreeId in the upper 32 bits.
    pub async_or_tree: u64,
    /// SessionId: the session; 0 before there is one.
    pub session_id: u64,
}

impl Header {
    /// A header with a command and zeros, whose other fields tests fill in.
    #[cfg(test)]
    pub(crate) const fn blank(command: Command) -> Header {
        Header {
            credit_charge: 0,
            status: NtStatus::SUCCESS,
            command: command as u16,
            credits: 0,
            flags: 0,
            next_command: 0,
            message_id: 0,
            async_or_tree: 0,
            session_id: 0,
        }
    }

    /// The AsyncId, if the message is asynchronous.
    pub fn async_id(&self) -> Option<u64> {
        self.has(flags::ASYNC).then_some(self.async_or_tree)
    }

    /// The TreeId; meaningful only if the message is synchronous.
    pub fn tree_id(&self) -> u32 {
        (self.async_or_tree >> 32) as u32
    }

    /// Whether all of these flags are set.
    pub fn has(&self, bits: u32) -> bool {
        self.flags & bits == bits
    }

    /// Whether this is an interim response: the final one comes later (MS-SMB2 3.3.4.2).
    pub fn is_interim(&self) -> bool {
        self.has(flags::ASYNC) && self.status == NtStatus::PENDING
    }

    /// Appends the header, with zeros as its signature.
    pub fn put(&self, out: &mut Vec<u8>) {
        out.put_bytes(&PROTOCOL_ID)
            .put_u16(STRUCTURE_SIZE)
            .put_u16(self.credit_charge)
            .put_u32(self.status.0)
            .put_u16(self.command)
            .put_u16(self.credits)
            .put_u32(self.flags)
            .put_u32(self.next_command)
            .put_u64(self.message_id)
            .put_u64(self.async_or_tree)
            .put_u64(self.session_id)
            .put_bytes(&[0; 16]);
    }

    /// Parses the header at the start of a message.
    ///
    /// # Errors
    ///
    /// [`Malformed`] if the message is shorter than a header, or its ProtocolId or StructureSize is wrong.
    pub fn parse(message: &[u8]) -> Result<Header, Malformed> {
        let fields = Fields(message);
        if fields.bytes(0, HEADER_SIZE)?[..4] != PROTOCOL_ID {
            return Err(Malformed("a message without the SMB2 protocol id"));
        }
        if usize::from(fields.u16(4)?) != HEADER_SIZE {
            return Err(Malformed("a header whose StructureSize is not 64"));
        }
        Ok(Header {
            credit_charge: fields.u16(6)?,
            status: NtStatus(fields.u32(8)?),
            command: fields.u16(12)?,
            credits: fields.u16(14)?,
            flags: fields.u32(16)?,
            next_command: fields.u32(20)?,
            message_id: fields.u64(24)?,
            async_or_tree: fields.u64(32)?,
            session_id: fields.u64(40)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Header {
        Header {
            credit_charge: 2,
            status: NtStatus::PENDING,
            command: Command::ChangeNotify as u16,
            credits: 7,
            flags: flags::RESPONSE | flags::ASYNC,
            next_command: 0,
            message_id: 0x0102_0304_0506_0708,
            async_or_tree: 99,
            session_id: 0x1122_3344,
        }
    }

    #[test]
    fn a_header_survives_the_wire() {
        let mut bytes = Vec::new();
        sample().put(&mut bytes);
        assert_eq!(bytes.len(), HEADER_SIZE);
        assert_eq!(Header::parse(&bytes), Ok(sample()));
        assert!(sample().is_interim());
        assert_eq!(sample().async_id(), Some(99));
    }

    #[test]
    fn broken_headers_are_refused() {
        let mut bytes = Vec::new();
        sample().put(&mut bytes);
        assert!(Header::parse(&bytes[..63]).is_err());
        bytes[4] = 65;
        assert!(Header::parse(&bytes).is_err());
        bytes[4] = 64;
        bytes[0] = 0xff;
        assert!(Header::parse(&bytes).is_err());
    }
}
