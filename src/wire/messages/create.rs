//! CREATE (MS-SMB2 2.2.13, 2.2.14) and CLOSE (2.2.15, 2.2.16): access, disposition, options and sharing of an open, and
//! the attributes that its responses carry.

use super::FileId;
use super::contexts::{self, Answers, Context};
use super::lease::{Granted, Wanted};
use super::snapshots::Previous;
use crate::wire::codec::{Fields, Malformed, Put, TooLong, length16, length32};
use crate::wire::frame::{Reply, Request};
use crate::wire::header::{Command, behind};

/// The bits of DesiredAccess (MS-SMB2 2.2.13.1).
pub mod access {
    /// `FILE_READ_DATA`, or `FILE_LIST_DIRECTORY`
    pub const READ_DATA: u32 = 0x0001;
    /// `FILE_WRITE_DATA`
    pub const WRITE_DATA: u32 = 0x0002;
    /// `FILE_APPEND_DATA`
    pub const APPEND_DATA: u32 = 0x0004;
    /// `FILE_READ_EA`: extended attributes
    pub const READ_EA: u32 = 0x0008;
    /// `FILE_READ_ATTRIBUTES`
    pub const READ_ATTRIBUTES: u32 = 0x0080;
    /// `FILE_EXECUTE`, or `FILE_TRAVERSE`
    pub const EXECUTE: u32 = 0x0020;
    /// `FILE_WRITE_ATTRIBUTES`
    pub const WRITE_ATTRIBUTES: u32 = 0x0100;
    /// `DELETE`: to delete or rename
    pub const DELETE: u32 = 0x0001_0000;
    /// `READ_CONTROL`: to read the security descriptor
    pub const READ_CONTROL: u32 = 0x0002_0000;
    /// `WRITE_DAC`: to set the access control list
    pub const WRITE_DAC: u32 = 0x0004_0000;
    /// `WRITE_OWNER`: to set owner and group
    pub const WRITE_OWNER: u32 = 0x0008_0000;
    /// `SYNCHRONIZE`
    pub const SYNCHRONIZE: u32 = 0x0010_0000;
}

/// The values of CreateDisposition (MS-SMB2 2.2.13).
pub mod disposition {
    /// `FILE_OPEN`: open an existing file, or fail
    pub const OPEN: u32 = 1;
    /// `FILE_CREATE`: create a file, or fail if it exists
    pub const CREATE: u32 = 2;
    /// `FILE_OPEN_IF`: open an existing file, or create it
    pub const OPEN_IF: u32 = 3;
}

/// The bits of CreateOptions (MS-SMB2 2.2.13).
pub mod options {
    /// `FILE_DIRECTORY_FILE`: a directory
    pub const DIRECTORY: u32 = 0x01;
    /// `FILE_NON_DIRECTORY_FILE`: not a directory
    pub const NON_DIRECTORY: u32 = 0x40;
    /// `FILE_DELETE_ON_CLOSE`: the file is deleted once this open and all others are closed
    pub const DELETE_ON_CLOSE: u32 = 0x1000;
    /// `FILE_OPEN_REPARSE_POINT`: the link itself, not its target
    pub const REPARSE_POINT: u32 = 0x0020_0000;
}

/// ShareAccess (MS-SMB2 2.2.13): other opens may read, write, rename and delete the file, as POSIX demands.
const SHARE_ALL: u32 = 7;
/// ShareAccess: other opens may write the file (FILE_SHARE_WRITE).
const SHARE_WRITE: u32 = 2;
/// ShareAccess: no other open may read, write or delete the file.
const SHARE_NONE: u32 = 0;
/// ImpersonationLevel: the server acts with the user's rights.
const IMPERSONATION: u32 = 2;

/// The fields of a CREATE request that vary (MS-SMB2 2.2.13).
#[derive(Clone, Copy, Debug)]
pub struct Create<'a> {
    /// The path from the tree's root, in UTF-16 units, without a leading backslash. It may lead to a previous version
    /// ([`snapshots`](super::snapshots)): then the file is opened as it was at that time, without a lease or an oplock,
    /// and its id on disk is not asked for, because it would be that of the live file.
    pub path: &'a [u16],
    /// DesiredAccess: see [`access`]. SYNCHRONIZE is added.
    pub access: u32,
    /// FileAttributes of a file that is created.
    pub attributes: u32,
    /// CreateDisposition: see [`disposition`].
    pub disposition: u32,
    /// CreateOptions: see [`options`].
    pub options: u32,
}

impl Create<'_> {
    /// The request of an open without an oplock or a lease.
    pub fn request(&self) -> Request {
        self.request_caching(Wanted::Nothing)
    }

    /// The request of an open that also asks for an oplock or a lease.
    pub fn request_caching(&self, wanted: Wanted) -> Request {
        Request::checked(Command::Create, self.body(wanted, SHARE_ALL))
    }

    /// The request of an open that is refused with STATUS_SHARING_VIOLATION while another open may write the file
    /// (MS-SMB2 2.2.13: ShareAccess).
    pub fn request_unless_written(&self) -> Request {
        Request::checked(Command::Create, self.body(Wanted::Nothing, SHARE_ALL & !SHARE_WRITE))
    }

    /// The request of an open that also asks what else the user may do with the file: see
    /// [`Created::maximal_access`].
    pub fn request_asking_access(&self) -> Request {
        let contexts = [Context::OnDiskId, Context::MaximalAccess];
        Request::checked(Command::Create, self.body_with(Wanted::Nothing.level(), &contexts, SHARE_ALL))
    }

    /// The request of an open that is refused with STATUS_SHARING_VIOLATION while another open has access to the file's
    /// data or may delete it (MS-SMB2 2.2.13: ShareAccess). If another client keeps an open under a handle lease, the
    /// server breaks this lease first.
    pub fn request_if_unused(&self, wanted: Wanted) -> Request {
        Request::checked(Command::Create, self.body(wanted, SHARE_NONE))
    }

    fn body(&self, wanted: Wanted, sharing: u32) -> Result<Vec<u8>, TooLong> {
        self.body_with(wanted.level(), &[Context::OnDiskId, Context::Lease(wanted)], sharing)
    }

    /// The body of the request; an error if the path is too long.
    fn body_with(&self, oplock: u8, contexts: &[Context], sharing: u32) -> Result<Vec<u8>, TooLong> {
        match Previous::parse(self.path) {
            None => self.body_at(self.path, oplock, contexts, sharing),
            Some(previous) => {
                let asked = contexts.iter().filter(|context| **context == Context::MaximalAccess).copied();
                let contexts: Vec<_> = asked.chain([Context::Timewarp(previous.at)]).collect();
                self.body_at(&previous.path, Wanted::Nothing.level(), &contexts, sharing)
            }
        }
    }

    /// The body of the request with this path.
    fn body_at(&self, path: &[u16], oplock: u8, contexts: &[Context], sharing: u32) -> Result<Vec<u8>, TooLong> {
        const FIXED: u16 = 56;
        let name_length = length16(2 * path.len(), TooLong::Path)?;
        let contexts_at = (u32::from(behind(FIXED)) + u32::from(name_length)).next_multiple_of(8);
        let contexts = contexts::list(contexts);
        let mut body = Vec::with_capacity(usize::from(FIXED) + usize::from(name_length) + 8 + contexts.len());
        body.put_u16(57)
            .put_u8(0)
            .put_u8(oplock)
            .put_u32(IMPERSONATION)
            .put_u64(0)
            .put_u64(0)
            .put_u32(self.access | access::SYNCHRONIZE)
            .put_u32(self.attributes)
            .put_u32(sharing)
            .put_u32(self.disposition)
            .put_u32(self.options)
            .put_u16(behind(FIXED))
            .put_u16(name_length)
            .put_u32(contexts_at)
            .put_u32(length32(contexts.len(), TooLong::Other("the list of contexts of an open"))?)
            .put_utf16(path)
            .align(8)
            .put_bytes(&contexts);
        Ok(body)
    }
}

/// Times, sizes and attributes of a file. CREATE, CLOSE and FileNetworkOpenInformation have them in the same order and
/// without gaps. Times are FILETIMEs: 100 ns since 1601 (MS-DTYP 2.3.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct FileInfo {
    /// CreationTime.
    pub created: u64,
    /// LastAccessTime.
    pub accessed: u64,
    /// LastWriteTime: the last change of the data.
    pub modified: u64,
    /// ChangeTime: the last change of data or attributes.
    pub changed: u64,
    /// AllocationSize, in bytes.
    pub allocation: u64,
    /// EndOfFile: the size in bytes.
    pub size: u64,
    /// FileAttributes (MS-FSCC 2.6).
    pub attributes: u32,
}

impl FileInfo {
    /// Parses the seven fields at `offset`.
    ///
    /// # Errors
    ///
    /// [`Malformed`] if they reach past the end.
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

/// The fields of a CREATE response (MS-SMB2 2.2.14).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Created {
    /// The FileId of the open.
    pub file: FileId,
    /// CreateAction: 0 superseded, 1 opened, 2 created, 3 overwritten.
    pub action: u32,
    /// Times, sizes and attributes of the file.
    pub info: FileInfo,
    /// The file's id on disk (DiskFileId); 0 if the server sends none.
    pub disk_id: u64,
    /// OplockLevel: see [`level`](super::lease::level).
    pub oplock: u8,
    /// The state of the lease, if the response has a valid lease context.
    pub lease: Option<Granted>,
    /// The most access that the user can open the file with: bits of [`access`]. `None` unless the request asked
    /// ([`Create::request_asking_access`]) and the server knows.
    pub maximal_access: Option<u32>,
}

impl Created {
    /// Parses a successful CREATE response.
    ///
    /// # Errors
    ///
    /// [`Malformed`] if the response is not that of a CREATE or too short, or its list of contexts is malformed.
    pub fn parse(reply: &Reply) -> Result<Created, Malformed> {
        let body = Fields(reply.body());
        body.expect_structure(89, "a CREATE response whose StructureSize is not 89")?;
        let (offset, length) = (body.u32(80)? as usize, body.u32(84)? as usize);
        let contexts = if length > 0 { Fields(&reply.message).bytes(offset, length)? } else { &[] };
        let Answers { disk_id, lease, maximal_access } = Answers::parse(contexts)?;
        Ok(Created {
            file: body.block(64)?,
            action: body.u32(4)?,
            info: FileInfo::parse(body, 8)?,
            disk_id: disk_id.unwrap_or(0),
            oplock: body.u8(2)?,
            lease,
            maximal_access,
        })
    }
}

/// A CLOSE that also asks for the file's attributes (MS-SMB2 2.2.15: POSTQUERY_ATTRIB).
pub fn close(file: FileId) -> Request {
    const POSTQUERY_ATTRIB: u16 = 1;
    close_request(file, POSTQUERY_ATTRIB)
}

/// A CLOSE of a named pipe, which has no attributes: smbd logs a stack trace when it is asked for them.
pub fn close_pipe(pipe: FileId) -> Request {
    close_request(pipe, 0)
}

fn close_request(file: FileId, flags: u16) -> Request {
    let mut body = Vec::with_capacity(24);
    body.put_u16(24).put_u16(flags).put_u32(0).put_bytes(&file);
    Request::new(Command::Close, body)
}

/// The file's attributes in a CLOSE response (MS-SMB2 2.2.16); `None` if the server sends none.
///
/// # Errors
///
/// [`Malformed`] if the response is not that of a CLOSE, or too short.
pub fn parse_close(reply: &Reply) -> Result<Option<FileInfo>, Malformed> {
    let body = Fields(reply.body());
    body.expect_structure(60, "a CLOSE response whose StructureSize is not 60")?;
    let has_attributes = body.u16(2)? & 1 != 0;
    has_attributes.then(|| FileInfo::parse(body, 8)).transpose()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::frame::Chain;
    use crate::wire::header::HEADER_SIZE;
    use crate::wire::messages::lease::level;

    #[test]
    fn an_open_of_a_path_longer_than_its_length_field_is_refused() {
        let fits = |units: usize| Chain::single(Create { path: &vec![0x61; units], ..OPEN }.request()).fits();
        assert_eq!(fits(32_767), Ok(()));
        assert_eq!(fits(32_768), Err(TooLong::Path));
        assert_eq!(fits(65_536 + 1), Err(TooLong::Path), "it would wrap to a path of one character");
    }

    const OPEN: Create<'_> =
        Create { path: &[0x61], access: 1, attributes: 0, disposition: disposition::OPEN, options: 0 };

    fn context(next: u32, name: &[u8; 4], data: &[u8]) -> Vec<u8> {
        let mut context = Vec::new();
        context.put_u32(next).put_u16(16).put_u16(4).put_u16(0).put_u16(24).put_u32(data.len() as u32);
        context.put_bytes(name).align(8).put_bytes(data).align(8);
        context
    }

    fn reply(oplock: u8, contexts: &[u8]) -> Reply {
        let header = crate::wire::header::Header {
            credit_charge: 1,
            credits: 1,
            flags: 1,
            message_id: 1,
            session_id: 1,
            ..crate::wire::header::Header::blank(Command::Create)
        };
        let mut body = vec![0; 80];
        (body[0], body[2]) = (89, oplock);
        body.put_u32((HEADER_SIZE + 88) as u32).put_u32(contexts.len() as u32).put_bytes(contexts);
        Reply {
            header,
            message: [vec![0; HEADER_SIZE], body].concat().into(),
            signature: Default::default(),
            sealed: false,
        }
    }

    #[test]
    fn an_open_that_caches_nothing_has_no_oplock_and_one_context() {
        let body = OPEN.request().body;
        assert_eq!(body[3], 0);
        assert_eq!(body[52..56], [24, 0, 0, 0]);
        assert_eq!(body[64..68], [0; 4], "there is no next context");
        assert_eq!(body[80..84], *b"QFid");
    }

    #[test]
    fn a_requested_lease_is_the_second_context() {
        let wanted = Wanted::LeaseV2 { key: 7, state: 3, parent: None };
        let body = OPEN.request_caching(wanted).body;
        assert_eq!(body[3], 0xff);
        assert_eq!(body[52..56], [24 + 24 + 52, 0, 0, 0]);
        assert_eq!(body[64..68], [24, 0, 0, 0]);
        assert_eq!(body[88..104], [0, 0, 0, 0, 16, 0, 4, 0, 0, 0, 24, 0, 52, 0, 0, 0]);
        assert_eq!(body[104..108], *b"RqLs");
        assert_eq!(body[112..], wanted.context().unwrap());
    }

    #[test]
    fn a_requested_oplock_is_a_level_and_no_context() {
        let request = OPEN.request_caching(Wanted::Oplock(level::EXCLUSIVE));
        assert_eq!(request.body[3], 8);
        assert_eq!(request.body.len(), OPEN.request().body.len());
    }

    #[test]
    fn an_open_of_a_previous_version_has_its_time_and_neither_lease_nor_id() {
        let path: Vec<u16> = "a\\.snapshots\\@GMT-1601.01.01-00.00.01\\b".encode_utf16().collect();
        let wanted = Wanted::LeaseV2 { key: 7, state: 7, parent: None };
        let body = Create { path: &path, ..OPEN }.request_caching(wanted).body;
        assert_eq!(body[3], 0, "no oplock");
        assert_eq!(body[46..48], [6, 0]);
        assert_eq!(body[52..56], [32, 0, 0, 0]);
        assert_eq!(body[56..62], [b'a', 0, b'\\', 0, b'b', 0]);
        assert_eq!(body[64..68], [0; 4], "there is no next context");
        assert_eq!(body[80..84], *b"TWrp");
        assert_eq!(body[88..96], 10_000_000u64.to_le_bytes());
        let asking = Create { path: &path, ..OPEN }.request_asking_access().body;
        assert_eq!((&asking[80..84], &asking[104..108]), (&b"MxAc"[..], &b"TWrp"[..]));
    }

    #[test]
    fn id_and_lease_are_found_in_either_order() {
        let id = [&77u64.to_le_bytes()[..], &[0; 24]].concat();
        let lease = Wanted::LeaseV1 { key: 7, state: 3 }.context().unwrap();
        let granted = Granted { key: 7, state: 3, break_in_progress: false, epoch: None };
        for contexts in [
            [context(56, b"QFid", &id), context(0, b"RqLs", &lease)].concat(),
            [context(56, b"RqLs", &lease), context(0, b"QFid", &id)].concat(),
        ] {
            let created = Created::parse(&reply(0xff, &contexts)).unwrap();
            assert_eq!((created.disk_id, created.oplock, created.lease), (77, 0xff, Some(granted)));
        }
        let created = Created::parse(&reply(9, &[])).unwrap();
        assert_eq!((created.disk_id, created.oplock, created.lease), (0, 9, None));
    }
}
