//! Conversions between types of fuser and types of this program.

use crate::share::{Device, FileKind, FileTime};
use crate::vfs::Attr;
use crate::vfs::operations::{Listed, Maker, Opened, SetTime};
use fuser::{
    FileAttr, FileType, FopenFlags, Generation, INodeNo, ReplyDirectory, ReplyDirectoryPlus, Request, TimeOrNow,
};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

pub(super) fn file_type(kind: FileKind) -> FileType {
    match kind {
        FileKind::Directory => FileType::Directory,
        FileKind::File => FileType::RegularFile,
        FileKind::Symlink => FileType::Symlink,
        FileKind::Fifo => FileType::NamedPipe,
        FileKind::Socket => FileType::Socket,
        FileKind::CharDevice => FileType::CharDevice,
        FileKind::BlockDevice => FileType::BlockDevice,
    }
}

/// The number of a device as FUSE carries it: 12 bits of the major and 20 bits of the minor number (Linux's
/// new_encode_dev).
pub(super) fn encoded_device(device: Device) -> u32 {
    device.minor & 0xFF | (device.major & 0xFFF) << 8 | (device.minor & 0xF_FF00) << 12
}

/// The device that FUSE carries as this number.
pub(super) fn device(encoded: u32) -> Device {
    Device { major: encoded >> 8 & 0xFFF, minor: encoded & 0xFF | encoded >> 12 & 0xF_FF00 }
}

pub(super) fn file_attr(attr: &Attr) -> FileAttr {
    FileAttr {
        ino: INodeNo(attr.ino),
        size: attr.size,
        blocks: attr.blocks,
        atime: attr.accessed.into(),
        mtime: attr.modified.into(),
        ctime: attr.changed.into(),
        crtime: attr.created.into(),
        kind: file_type(attr.kind),
        perm: attr.permissions,
        nlink: attr.links,
        uid: attr.uid,
        gid: attr.gid,
        rdev: encoded_device(attr.device),
        blksize: attr.block_size,
        flags: 0,
    }
}

/// Whether a SETATTR by the user `by` clears set-id bits: a change of the owner or group always does, a size if the user
/// is not root. With FUSE_HANDLE_KILLPRIV_V2 the kernel does not send the mode without them.
pub(super) fn kills_set_id(by: u32, mode: Option<u32>, owner: Option<u32>, size: Option<u64>) -> bool {
    mode.is_none() && (owner.is_some() || size.is_some() && by != 0)
}

/// The program that makes a file with this mode. The kernel has taken its umask from the mode, because FUSE_DONT_MASK is
/// not negotiated.
pub(super) fn maker(request: &Request, mode: u32) -> Maker {
    Maker { uid: request.uid(), gid: request.gid(), mode }
}

/// Adds a name to the reply. Returns true if there was no room for it.
pub(super) fn add_name(reply: &mut ReplyDirectory, entry: &Listed<'_>) -> bool {
    reply.add(INodeNo(entry.ino), entry.next, file_type(entry.kind), entry.name)
}

/// The same, with attributes.
pub(super) fn add_entry(reply: &mut ReplyDirectoryPlus, entry: &Listed<'_>) -> bool {
    // Only `.` and `..` have no attributes, and of these the kernel uses only the inode number and the kind.
    let attr = entry.attr.as_ref().map_or_else(|| bare_attr(entry), file_attr);
    let (ttl, generation) = entry.attr.as_ref().map_or((Duration::ZERO, 0), |attr| (attr.joint_ttl(), attr.generation));
    reply.add(INodeNo(entry.ino), entry.next, entry.name, &ttl, &attr, Generation(generation))
}

fn bare_attr(entry: &Listed<'_>) -> FileAttr {
    FileAttr {
        ino: INodeNo(entry.ino),
        size: 0,
        blocks: 0,
        atime: UNIX_EPOCH,
        mtime: UNIX_EPOCH,
        ctime: UNIX_EPOCH,
        crtime: UNIX_EPOCH,
        kind: file_type(entry.kind),
        perm: 0,
        nlink: 0,
        uid: 0,
        gid: 0,
        rdev: 0,
        blksize: 0,
        flags: 0,
    }
}

pub(super) fn open_flags(opened: &Opened) -> FopenFlags {
    let mut flags = FopenFlags::empty();
    flags.set(FopenFlags::FOPEN_DIRECT_IO, opened.direct);
    flags.set(FopenFlags::FOPEN_KEEP_CACHE, opened.keep_cache);
    flags
}

pub(super) fn set_time(time: TimeOrNow) -> SetTime {
    match time {
        TimeOrNow::Now => SetTime::Now,
        TimeOrNow::SpecificTime(time) => SetTime::At(requested_time(time)),
    }
}

/// The time that the kernel sent, from the time that fuser decoded. Before 1970 the kernel counts the nanoseconds
/// forward from the second, but fuser subtracts them. That is undone here.
fn requested_time(time: SystemTime) -> FileTime {
    match UNIX_EPOCH.duration_since(time) {
        Ok(before) if !before.is_zero() => {
            let seconds = i64::try_from(before.as_secs()).map_or(i64::MIN, |seconds| -seconds);
            FileTime::from_unix(seconds, before.subsec_nanos())
        }
        _ => time.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_before_1970_arrive_as_the_program_set_them() {
        // utimensat with tv_sec -2 and tv_nsec 999999900, as fuser 0.18 decodes it.
        let decoded = UNIX_EPOCH - Duration::new(2, 999_999_900);
        assert_eq!(requested_time(decoded).to_unix(), (-2, 999_999_900));
        let after = UNIX_EPOCH + Duration::new(1_700_000_000, 123_456_700);
        assert_eq!(requested_time(after).to_unix(), (1_700_000_000, 123_456_700));
        assert_eq!(requested_time(UNIX_EPOCH).to_unix(), (0, 0));
    }

    #[test]
    fn devices_are_carried_as_the_kernel_encodes_them() {
        for (device, encoded) in [
            (Device { major: 1, minor: 3 }, 0x103),
            (Device { major: 259, minor: 0x1_2345 }, 0x1231_0345),
            (Device { major: 4095, minor: 1_048_575 }, u32::MAX),
        ] {
            assert_eq!((super::device(encoded), encoded_device(device)), (device, encoded));
        }
    }

    #[test]
    fn direct_io_and_keep_cache_reach_the_kernel() {
        let opened = Opened { handle: 1, direct: true, keep_cache: false };
        assert_eq!(open_flags(&opened), FopenFlags::FOPEN_DIRECT_IO);
        let opened = Opened { handle: 1, direct: false, keep_cache: true };
        assert_eq!(open_flags(&opened), FopenFlags::FOPEN_KEEP_CACHE);
    }
}
