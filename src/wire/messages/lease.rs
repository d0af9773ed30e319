//! Leases and oplocks: requested and granted with CREATE (MS-SMB2 2.2.13.2.8, 2.2.13.2.10, 2.2.14.2.10, 2.2.14.2.11),
//! broken and acknowledged with OPLOCK_BREAK (2.2.23, 2.2.24).
//!
//! Lease keys are 16 bytes, held as a little-endian `u128`. Only the encoding is here; what a lease permits is decided
//! in `share` and `vfs`.

use super::FileId;
use crate::wire::codec::{Fields, Malformed, Put};
use crate::wire::frame::{Reply, Request};
use crate::wire::header::Command;

/// The bits of LeaseState (MS-SMB2 2.2.13.2.8).
pub mod state {
    /// `SMB2_LEASE_READ_CACHING`: data may be cached
    pub const READ: u32 = 1;
    /// `SMB2_LEASE_HANDLE_CACHING`: opens may be kept open
    pub const HANDLE: u32 = 2;
    /// `SMB2_LEASE_WRITE_CACHING`: dirty data may be cached
    pub const WRITE: u32 = 4;
}

/// The values of OplockLevel (MS-SMB2 2.2.13, 2.2.14).
pub mod level {
    /// `SMB2_OPLOCK_LEVEL_NONE`
    pub const NONE: u8 = 0;
    /// `SMB2_OPLOCK_LEVEL_II`
    pub const II: u8 = 1;
    /// `SMB2_OPLOCK_LEVEL_EXCLUSIVE`
    pub const EXCLUSIVE: u8 = 8;
    /// `SMB2_OPLOCK_LEVEL_BATCH`
    pub const BATCH: u8 = 9;
    /// `SMB2_OPLOCK_LEVEL_LEASE`: the lease context has the state
    pub const LEASE: u8 = 0xff;
}

/// `SMB2_LEASE_FLAG_BREAK_IN_PROGRESS` (MS-SMB2 2.2.14.2.10)
const FLAG_BREAK_IN_PROGRESS: u32 = 2;
/// `SMB2_LEASE_FLAG_PARENT_LEASE_KEY_SET` (MS-SMB2 2.2.13.2.10)
const FLAG_PARENT_LEASE_KEY_SET: u32 = 4;
/// `SMB2_NOTIFY_BREAK_LEASE_FLAG_ACK_REQUIRED` (MS-SMB2 2.2.23.2)
const NOTIFY_ACK_REQUIRED: u32 = 1;
/// The size of the data of a lease context of version 1, in bytes.
const V1_SIZE: usize = 32;
/// The size of the data of a lease context of version 2, in bytes.
const V2_SIZE: usize = 52;

/// The oplock or lease that a CREATE asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Wanted {
    /// Neither.
    Nothing,
    /// An oplock, which covers this open alone: see [`level`].
    Oplock(u8),
    /// A lease of version 1, which covers all opens under its key: SMB 2.1.
    LeaseV1 {
        /// Names the lease within this client.
        key: u128,
        /// See [`state`].
        state: u32,
    },
    /// A lease of version 2, which covers all opens under its key: SMB 3.
    LeaseV2 {
        /// Names the lease within this client.
        key: u128,
        /// See [`state`].
        state: u32,
        /// The key of the lease on the file's directory, if there is one.
        parent: Option<u128>,
    },
}

impl Wanted {
    /// RequestedOplockLevel (MS-SMB2 2.2.13).
    pub fn level(self) -> u8 {
        match self {
            Wanted::Nothing => level::NONE,
            Wanted::Oplock(level) => level,
            Wanted::LeaseV1 { .. } | Wanted::LeaseV2 { .. } => level::LEASE,
        }
    }

    /// The data of the lease context; `None` if no lease is wanted.
    pub fn context(self) -> Option<Vec<u8>> {
        let mut data = Vec::with_capacity(V2_SIZE);
        let mut common = |key: u128, state: u32, flags: u32| {
            data.put_bytes(&key.to_le_bytes()).put_u32(state).put_u32(flags).put_u64(0);
        };
        match self {
            Wanted::Nothing | Wanted::Oplock(_) => return None,
            Wanted::LeaseV1 { key, state } => common(key, state, 0),
            Wanted::LeaseV2 { key, state, parent } => {
                common(key, state, if parent.is_some() { FLAG_PARENT_LEASE_KEY_SET } else { 0 });
                data.put_bytes(&parent.unwrap_or(0).to_le_bytes()).put_u16(0).put_u16(0);
            }
        }
        Some(data)
    }
}

/// The state of a lease in a CREATE response (MS-SMB2 2.2.14.2.10, 2.2.14.2.11).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Granted {
    /// The lease's key.
    pub key: u128,
    /// Its state, which covers all opens under the key: see [`state`].
    pub state: u32,
    /// Whether the server has sent a break of it that is not acknowledged yet.
    pub break_in_progress: bool,
    /// The number of changes of the state so far (Epoch); `None` in version 1.
    pub epoch: Option<u16>,
}

impl Granted {
    /// Parses the data of a lease context of either version.
    ///
    /// # Errors
    ///
    /// [`Malformed`] if the data has the size of neither version.
    pub fn parse(data: &[u8]) -> Result<Granted, Malformed> {
        let fields = Fields(data);
        let epoch = match data.len() {
            V1_SIZE => None,
            V2_SIZE => Some(fields.u16(48)?),
            _ => return Err(Malformed("a lease context of an unknown size")),
        };
        Ok(Granted {
            key: u128::from_le_bytes(fields.block(0)?),
            state: fields.u32(16)?,
            break_in_progress: fields.u32(20)? & FLAG_BREAK_IN_PROGRESS != 0,
            epoch,
        })
    }
}

/// A break notification (MS-SMB2 2.2.23).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Break {
    /// Of an oplock (MS-SMB2 2.2.23.1).
    Oplock {
        /// The open that has the oplock.
        file: FileId,
        /// The level that remains: see [`level`].
        level: u8,
    },
    /// Of a lease (MS-SMB2 2.2.23.2).
    Lease {
        /// The lease's key.
        key: u128,
        /// The state that remains: see [`state`].
        left: u32,
        /// The number of changes of the state so far (NewEpoch); without meaning in SMB 2.1.
        epoch: u16,
        /// Whether the server waits for an acknowledgement.
        acknowledge: bool,
    },
}

impl Break {
    /// Parses a notification. Its StructureSize distinguishes the two kinds.
    ///
    /// # Errors
    ///
    /// [`Malformed`] if the StructureSize is neither 24 nor 44, or the notification is too short.
    pub fn parse(reply: &Reply) -> Result<Break, Malformed> {
        let body = Fields(reply.body());
        match body.u16(0)? {
            24 => Ok(Break::Oplock { file: body.block(8)?, level: body.u8(2)? }),
            44 => Ok(Break::Lease {
                key: u128::from_le_bytes(body.block(8)?),
                left: body.u32(28)?,
                epoch: body.u16(2)?,
                acknowledge: body.u32(4)? & NOTIFY_ACK_REQUIRED != 0,
            }),
            _ => Err(Malformed("a break that is neither an oplock's nor a lease's")),
        }
    }
}

/// The acknowledgement of an oplock break, with the level that remains (MS-SMB2 2.2.24.1).
pub fn acknowledge_oplock(file: FileId, level: u8) -> Request {
    let mut body = Vec::with_capacity(24);
    body.put_u16(24).put_u8(level).put_u8(0).put_u32(0).put_bytes(&file);
    Request::new(Command::OplockBreak, body)
}

/// The acknowledgement of a lease break, with the state that remains (MS-SMB2 2.2.24.2).
pub fn acknowledge_lease(key: u128, state: u32) -> Request {
    let mut body = Vec::with_capacity(36);
    body.put_u16(36).put_u16(0).put_u32(0).put_bytes(&key.to_le_bytes()).put_u32(state).put_u64(0);
    Request::new(Command::OplockBreak, body)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::header::{HEADER_SIZE, Header, UNSOLICITED};

    const KEY: u128 = 0x0f0e_0d0c_0b0a_0908_0706_0504_0302_0100;
    const KEY_BYTES: [u8; 16] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15];

    fn notification(body: &[u8]) -> Reply {
        let header = Header { flags: 1, message_id: UNSOLICITED, ..Header::blank(Command::OplockBreak) };
        let message = [&[0; HEADER_SIZE], body].concat().into();
        Reply { header, message, signature: Default::default(), sealed: false }
    }

    #[test]
    fn a_lease_is_requested_in_either_version() {
        let v1 = Wanted::LeaseV1 { key: KEY, state: state::READ | state::WRITE };
        let mut expected = KEY_BYTES.to_vec();
        expected.extend([5, 0, 0, 0]);
        expected.extend([0; 12]);
        assert_eq!(v1.context(), Some(expected.clone()));

        let v2 = |parent| Wanted::LeaseV2 { key: KEY, state: 5, parent };
        expected.extend([0; 20]);
        assert_eq!(v2(None).context(), Some(expected.clone()));
        expected[20] = 4;
        expected[32..48].copy_from_slice(&KEY_BYTES);
        assert_eq!(v2(Some(KEY)).context(), Some(expected));
        assert_eq!((v1.level(), v2(None).level()), (0xff, 0xff));
    }

    #[test]
    fn an_oplock_needs_no_context() {
        assert_eq!((Wanted::Oplock(level::BATCH).level(), Wanted::Oplock(level::BATCH).context()), (9, None));
        assert_eq!((Wanted::Nothing.level(), Wanted::Nothing.context()), (0, None));
    }

    #[test]
    fn a_granted_lease_is_parsed_in_either_version() {
        let mut data = KEY_BYTES.to_vec();
        data.extend([3, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        let granted = Granted { key: KEY, state: 3, break_in_progress: true, epoch: None };
        assert_eq!(Granted::parse(&data), Ok(granted));
        data.extend([0; 16]);
        data.extend([0xfe, 0xff, 0, 0]);
        assert_eq!(Granted::parse(&data), Ok(Granted { epoch: Some(0xfffe), ..granted }));
        assert!(Granted::parse(&data[..51]).is_err());
        assert!(Granted::parse(&[]).is_err());
    }

    #[test]
    fn breaks_are_read() {
        let mut oplock = vec![24, 0, 1, 0, 0, 0, 0, 0];
        oplock.extend([7; 16]);
        let broken = Break::Oplock { file: [7; 16], level: level::II };
        assert_eq!(Break::parse(&notification(&oplock)), Ok(broken));
        assert!(Break::parse(&notification(&oplock[..23])).is_err());

        let mut lease = vec![44, 0, 9, 0, 1, 0, 0, 0];
        lease.extend(KEY_BYTES);
        lease.extend([7, 0, 0, 0, 3, 0, 0, 0]);
        lease.extend([0; 12]);
        let broken = Break::Lease { key: KEY, left: 3, epoch: 9, acknowledge: true };
        assert_eq!(Break::parse(&notification(&lease)), Ok(broken));
        assert!(Break::parse(&notification(&lease[..31])).is_err());
        assert!(Break::parse(&notification(&[36, 0, 0, 0])).is_err());
    }

    #[test]
    fn acknowledgements_carry_the_remaining_state() {
        let oplock = acknowledge_oplock([7; 16], level::II);
        assert_eq!(oplock.body, [&[24, 0, 1, 0, 0, 0, 0, 0][..], &[7; 16]].concat());
        let lease = acknowledge_lease(KEY, 3);
        assert_eq!(lease.body, [&[36, 0, 0, 0, 0, 0, 0, 0][..], &KEY_BYTES, &[3, 0, 0, 0], &[0; 8]].concat());
    }
}
