//! Reparse points (MS-FSCC 2.1.2): symbolic links, junctions, fifos, sockets and devices, with the requests that read
//! and set them (MS-FSCC 2.3.31, 2.3.75).
//!
//! The smb crates have no types for reparse data, so it is parsed here. Every offset and length is checked against the
//! received bytes. A [`Content`] is never larger than the answer that it was parsed from.

use super::FileId;
use super::info;
use super::ioctl::{ioctl, output};
use crate::wire::codec::{Entries, Fields, Linked, Malformed, Put, TooLong, length16};
use crate::wire::frame::{Reply, Request};

/// `FSCTL_GET_REPARSE_POINT` (MS-FSCC 2.3.31)
pub(in crate::wire) const GET_REPARSE_POINT: u32 = 0x0009_00A8;
/// `FSCTL_SET_REPARSE_POINT` (MS-FSCC 2.3.75)
const SET_REPARSE_POINT: u32 = 0x0009_00A4;
/// MAXIMUM_REPARSE_DATA_BUFFER_SIZE, in bytes: no reparse point is longer.
const LONGEST: u32 = 16 * 1024;
/// The bytes before the data: tag, length, reserved.
const HEADER: usize = 8;

/// Reparse tags (MS-FSCC 2.1.2.1).
pub mod tag {
    /// `IO_REPARSE_TAG_MOUNT_POINT`: a junction, or the mount point of a volume
    pub const MOUNT_POINT: u32 = 0xA000_0003;
    /// `IO_REPARSE_TAG_SYMLINK`
    pub const SYMLINK: u32 = 0xA000_000C;
    /// `IO_REPARSE_TAG_NFS`: a link or special file as Windows' NFS server stores it
    pub const NFS: u32 = 0x8000_0014;
    /// `IO_REPARSE_TAG_LX_SYMLINK`: a symbolic link of the Windows Subsystem for Linux
    pub const LX_SYMLINK: u32 = 0xA000_001D;
    /// `IO_REPARSE_TAG_AF_UNIX`: a socket
    pub const AF_UNIX: u32 = 0x8000_0023;
    /// `IO_REPARSE_TAG_LX_FIFO`
    pub const LX_FIFO: u32 = 0x8000_0024;
    /// `IO_REPARSE_TAG_LX_CHR`: a character device
    pub const LX_CHR: u32 = 0x8000_0025;
    /// `IO_REPARSE_TAG_LX_BLK`: a block device
    pub const LX_BLK: u32 = 0x8000_0026;
}

/// The types of an NFS special file (MS-FSCC 2.1.2.6: InodeType): the ASCII letters of their names.
mod inode_type {
    pub(super) const LNK: u64 = 0x014B_4E4C;
    pub(super) const CHR: u64 = 0x0052_4843;
    pub(super) const BLK: u64 = 0x004B_4C42;
    pub(super) const FIFO: u64 = 0x4F46_4946;
    pub(super) const SOCK: u64 = 0x4B43_4F53;
}

/// What a reparse point contains.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// A symbolic link of Windows (MS-FSCC 2.1.2.4): the substitute name, and whether it is relative to the link's
    /// directory.
    Symlink {
        /// The substitute name, in UTF-16 units.
        target: Vec<u16>,
        /// SYMLINK_FLAG_RELATIVE.
        is_relative: bool,
    },
    /// A junction (MS-FSCC 2.1.2.5): the substitute name, which is absolute.
    Junction(Vec<u16>),
    /// A special file of Windows' NFS server (MS-FSCC 2.1.2.6).
    Nfs(Nfs),
    /// A symbolic link of the Windows Subsystem for Linux: the target, which ought to be UTF-8.
    LxSymlink(Vec<u8>),
    /// Any other reparse point, whose data is not parsed.
    Other,
}

/// An NFS special file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Nfs {
    /// A symbolic link: the target, in UTF-16 units.
    Link(Vec<u16>),
    /// A character device: major and minor number.
    CharDevice(u32, u32),
    /// A block device: major and minor number.
    BlockDevice(u32, u32),
    /// A fifo.
    Fifo,
    /// A socket.
    Socket,
}

/// A reparse point: its tag and what it contains. The content is an error if it breaks the rules of its tag.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reparse {
    /// The reparse tag, see [`tag`].
    pub tag: u32,
    /// The content.
    pub content: Result<Content, Malformed>,
}

/// A query for the reparse point that is open.
pub fn get_reparse_point(file: FileId) -> Request {
    ioctl(GET_REPARSE_POINT, file, Ok(Vec::new()), LONGEST)
}

/// A request to make the open file or directory, which must be empty, a reparse point.
pub fn set_reparse_point(file: FileId, data: Result<Vec<u8>, TooLong>) -> Request {
    ioctl(SET_REPARSE_POINT, file, data, 0)
}

/// The answer to [`get_reparse_point`].
///
/// # Errors
///
/// [`Malformed`] if the response is not that of an IOCTL, or has no tag.
pub fn parse_reparse_point(reply: &Reply) -> Result<Reparse, Malformed> {
    parse(output(reply)?)
}

fn parse(buffer: &[u8]) -> Result<Reparse, Malformed> {
    let fields = Fields(buffer);
    let tag = fields.u32(0)?;
    let data = fields.u16(4).and_then(|length| fields.buffer(HEADER, usize::from(length)));
    Ok(Reparse { tag, content: data.and_then(|data| content(tag, Fields(data))) })
}

fn content(tag: u32, data: Fields<'_>) -> Result<Content, Malformed> {
    const SYMLINK_PATHS: usize = 12;
    const JUNCTION_PATHS: usize = 8;
    const RELATIVE: u32 = 1;
    const LX_VERSION: u32 = 2;
    match tag {
        tag::SYMLINK => Ok(Content::Symlink {
            target: substitute_name(data, SYMLINK_PATHS)?,
            is_relative: data.u32(8)? & RELATIVE != 0,
        }),
        tag::MOUNT_POINT => Ok(Content::Junction(substitute_name(data, JUNCTION_PATHS)?)),
        tag::NFS => nfs(data).map(Content::Nfs),
        tag::LX_SYMLINK if data.u32(0)? == LX_VERSION => Ok(Content::LxSymlink(data.0[4..].to_vec())),
        tag::LX_SYMLINK => Err(Malformed("a symbolic link of an unknown version")),
        _ => Ok(Content::Other),
    }
}

/// The substitute name of a link. The path buffer begins at `paths`; the offset counts from there.
fn substitute_name(data: Fields<'_>, paths: usize) -> Result<Vec<u16>, Malformed> {
    let (offset, length) = (usize::from(data.u16(0)?), usize::from(data.u16(2)?));
    Fields(data.buffer(paths + offset, length)?).utf16(0, length)
}

fn nfs(data: Fields<'_>) -> Result<Nfs, Malformed> {
    const DATA: usize = 8;
    let device = || Ok((data.u32(DATA)?, data.u32(DATA + 4)?));
    match data.u64(0)? {
        inode_type::LNK => data.utf16(DATA, data.0.len() - DATA).map(Nfs::Link),
        inode_type::CHR => device().map(|(major, minor)| Nfs::CharDevice(major, minor)),
        inode_type::BLK => device().map(|(major, minor)| Nfs::BlockDevice(major, minor)),
        inode_type::FIFO => Ok(Nfs::Fifo),
        inode_type::SOCK => Ok(Nfs::Socket),
        _ => Err(Malformed("a special file of an unknown type")),
    }
}

/// The data of a symbolic link of Windows (MS-FSCC 2.1.2.4). Substitute name and print name are the same.
///
/// # Errors
///
/// [`TooLong`] if the target does not fit into a reparse point.
pub fn symlink(target: &[u16], is_relative: bool) -> Result<Vec<u8>, TooLong> {
    const TARGET: TooLong = TooLong::Other("the target of a symbolic link");
    let length = length16(2 * target.len(), TARGET)?;
    let mut data = Vec::with_capacity(12 + 4 * target.len());
    data.put_u16(0).put_u16(length).put_u16(length).put_u16(length).put_u32(u32::from(is_relative));
    data.put_utf16(target).put_utf16(target);
    buffer(tag::SYMLINK, &data, TARGET)
}

/// The data of an NFS special file (MS-FSCC 2.1.2.6).
///
/// # Errors
///
/// [`TooLong`] if the target of a link does not fit into a reparse point.
pub fn nfs_file(file: &Nfs) -> Result<Vec<u8>, TooLong> {
    let mut data = Vec::with_capacity(16);
    match file {
        Nfs::Link(target) => data.put_u64(inode_type::LNK).put_utf16(target),
        Nfs::CharDevice(major, minor) => data.put_u64(inode_type::CHR).put_u32(*major).put_u32(*minor),
        Nfs::BlockDevice(major, minor) => data.put_u64(inode_type::BLK).put_u32(*major).put_u32(*minor),
        Nfs::Fifo => data.put_u64(inode_type::FIFO),
        Nfs::Socket => data.put_u64(inode_type::SOCK),
    };
    buffer(tag::NFS, &data, TooLong::Other("the target of a symbolic link"))
}

fn buffer(tag: u32, data: &[u8], too_long: TooLong) -> Result<Vec<u8>, TooLong> {
    if HEADER + data.len() > LONGEST as usize {
        return Err(too_long);
    }
    let mut buffer = Vec::with_capacity(HEADER + data.len());
    buffer.put_u32(tag).put_u16(length16(data.len(), too_long)?).put_u16(0).put_bytes(data);
    Ok(buffer)
}

/// The numbers of a device of the Windows Subsystem for Linux: its extended attribute `$LXDEV` (major, minor). `None`
/// if the answer has none.
///
/// # Errors
///
/// [`Malformed`] if the response is not that of a QUERY_INFO, or an attribute lies outside of its bounds.
pub fn parse_device(reply: &Reply) -> Result<Option<(u32, u32)>, Malformed> {
    const NAME: &[u8] = b"$LXDEV";
    const ATTRIBUTES: Entries = Entries { least: 8, alignment: 4 };
    for entry in Linked::new(info::output(reply)?, ATTRIBUTES) {
        let entry = entry?;
        let (name, value) = (usize::from(entry.u8(5)?), usize::from(entry.u16(6)?));
        let (name, value) = (entry.bytes(8, name)?, Fields(entry.bytes(8 + name + 1, value)?));
        if name.eq_ignore_ascii_case(NAME) {
            return Ok(Some((value.u32(0)?, value.u32(4)?)));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn utf16(text: &str) -> Vec<u16> {
        text.encode_utf16().collect()
    }

    fn bytes(text: &str) -> Vec<u8> {
        utf16(text).into_iter().flat_map(u16::to_le_bytes).collect()
    }

    fn with_header(tag: u32, data: &[u8]) -> Vec<u8> {
        let mut whole = Vec::new();
        whole.put_u32(tag).put_u16(data.len() as u16).put_u16(0).put_bytes(data);
        whole
    }

    /// What `mklink link ..\target` leaves behind: the print name first, then the substitute name.
    fn relative_link() -> Vec<u8> {
        let target = bytes("..\\target");
        let length = target.len() as u8;
        let fields = [length, 0, length, 0, 0, 0, length, 0, 1, 0, 0, 0];
        with_header(0xA000_000C, &[&fields[..], &target, &target].concat())
    }

    #[test]
    fn a_symbolic_link_has_a_substitute_name_and_a_flag() {
        let parsed = parse(&relative_link()).unwrap();
        let content = Content::Symlink { target: utf16("..\\target"), is_relative: true };
        assert_eq!(parsed, Reparse { tag: tag::SYMLINK, content: Ok(content) });
    }

    #[test]
    fn a_junction_has_no_flags() {
        let (substitute, print) = (bytes("\\??\\C:\\data"), bytes("C:\\data"));
        let lengths = [0, substitute.len() as u8, substitute.len() as u8 + 2, print.len() as u8];
        let fields: Vec<u8> = lengths.into_iter().flat_map(|length| [length, 0]).collect();
        let data = [&fields[..], &substitute, &[0, 0], &print, &[0, 0]].concat();
        let parsed = parse(&with_header(0xA000_0003, &data)).unwrap();
        assert_eq!(parsed.content, Ok(Content::Junction(utf16("\\??\\C:\\data"))));
    }

    #[test]
    fn links_and_special_files_are_parsed_as_they_were_built() {
        let of = |built: Result<Vec<u8>, TooLong>| parse(&built.unwrap()).unwrap().content.unwrap();
        let link = Content::Symlink { target: utf16("a\\b"), is_relative: true };
        assert_eq!(of(symlink(&utf16("a\\b"), true)), link);
        for file in
            [Nfs::Link(utf16("/a/b")), Nfs::CharDevice(1, 3), Nfs::BlockDevice(259, 70_000), Nfs::Fifo, Nfs::Socket]
        {
            assert_eq!(of(nfs_file(&file)), Content::Nfs(file));
        }
    }

    #[test]
    fn special_files_have_the_bytes_of_windows_nfs_server() {
        let fifo = [0x14, 0, 0, 0x80, 8, 0, 0, 0, b'F', b'I', b'F', b'O', 0, 0, 0, 0];
        assert_eq!(nfs_file(&Nfs::Fifo).unwrap(), fifo);
        let device = [&[0x14, 0, 0, 0x80, 16, 0, 0, 0][..], b"CHR\0\0\0\0\0", &[5, 0, 0, 0, 1, 0, 0, 0]].concat();
        assert_eq!(nfs_file(&Nfs::CharDevice(5, 1)).unwrap(), device);
        let link = [&[0x14, 0, 0, 0x80, 10, 0, 0, 0][..], b"LNK\x01\0\0\0\0", b"x\0"].concat();
        assert_eq!(nfs_file(&Nfs::Link(utf16("x"))).unwrap(), link);
    }

    #[test]
    fn a_link_of_the_subsystem_for_linux_is_utf8_behind_a_version() {
        let parsed = |data: &[u8]| parse(&with_header(0xA000_001D, data)).unwrap().content;
        assert_eq!(parsed(b"\x02\0\0\0a/b"), Ok(Content::LxSymlink(b"a/b".to_vec())));
        assert!(parsed(b"\x03\0\0\0a/b").is_err());
        assert!(parsed(b"\x02\0\0").is_err());
    }

    #[test]
    fn an_unknown_tag_is_reported_without_its_content() {
        let parsed = parse(&with_header(0x9000_601A, &[1, 2, 3])).unwrap();
        assert_eq!(parsed, Reparse { tag: 0x9000_601A, content: Ok(Content::Other) });
    }

    #[test]
    fn offsets_and_lengths_beyond_the_buffer_are_refused() {
        let is_refused = |buffer: &[u8]| parse(buffer).is_ok_and(|parsed| parsed.content.is_err());
        for at in [8, 10] {
            let mut link = relative_link();
            (link[at], link[at + 1]) = (0xFF, 0xFF);
            assert!(is_refused(&link), "field at {at}");
        }
        let mut claims_more = relative_link();
        claims_more[4] += 1;
        assert!(is_refused(&claims_more), "more data than there is");
        let mut odd = relative_link();
        odd[10] -= 1;
        assert!(is_refused(&odd), "half a character");
        for length in 4..relative_link().len() {
            assert!(is_refused(&relative_link()[..length]), "cut at {length}");
        }
        assert!(parse(&[0x0C, 0, 0]).is_err(), "no tag");
    }

    #[test]
    fn a_target_that_does_not_fit_is_refused() {
        assert!(symlink(&[0x61; 4091], true).is_ok());
        assert!(symlink(&[0x61; 4092], true).is_err());
        assert!(symlink(&[0x61; 40_000], true).is_err());
        assert!(nfs_file(&Nfs::Link(vec![0x61; 9000])).is_err());
    }

    proptest! {
        #[test]
        fn any_bytes_are_parsed_or_refused(
            tag in prop::sample::select(vec![
                tag::SYMLINK, tag::MOUNT_POINT, tag::NFS, tag::LX_SYMLINK, tag::LX_FIFO, 0x1234_5678,
            ]),
            kind in prop::sample::select(vec![inode_type::LNK, inode_type::CHR, inode_type::BLK, inode_type::SOCK, 7]),
            data in prop::collection::vec(any::<u8>(), 0..64),
        ) {
            let all = [&tag.to_le_bytes()[..], &data].concat();
            let _ = parse(&all);
            let _ = parse(&with_header(tag, &data));
            let _ = parse(&with_header(tag::NFS, &[&kind.to_le_bytes()[..], &data].concat()));
        }
    }
}
