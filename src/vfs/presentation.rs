//! What stat(2) shows: POSIX attributes made from the server's metadata.
//!
//! Owner, group and permission bits are those known of the file ([`Ownership`]), or else the mount's options. The
//! read-only attribute of a file clears its write bits. On a directory the attribute means something different on every
//! server, so it has no effect.

use crate::share::{Attributes, Device, FileKind, FileTime, Metadata, Ownership, Special};
use std::time::Duration;

/// Attributes as stat(2) shows them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Attr {
    /// Inode number.
    pub ino: u64,
    /// Distinguishes files that had this inode number one after the other: each has another generation.
    pub generation: u64,
    /// What it is.
    pub kind: FileKind,
    /// The number of a device; 0 for all others.
    pub device: Device,
    /// Size in bytes: of a symbolic link the length of its target, of a fifo, socket or device 0.
    pub size: u64,
    /// Allocated space on the server's disk, in units of 512 bytes.
    pub blocks: u64,
    /// Time of the last access.
    pub accessed: FileTime,
    /// Time of the last write.
    pub modified: FileTime,
    /// Time of the last change of data or metadata.
    pub changed: FileTime,
    /// Time of creation.
    pub created: FileTime,
    /// Permission bits (`0o7777`).
    pub permissions: u16,
    /// 1, also for a directory, whose subdirectories are not counted (2 would tell find(1) and others that it has none);
    /// 0 once this mount has removed or replaced it.
    pub links: u32,
    /// User id of the owner.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
    /// The best size for reads and writes, in bytes.
    pub block_size: u32,
    /// How long the kernel may use these attributes without asking.
    pub ttl: Duration,
    /// How long the kernel may use the name of this reply without asking.
    pub name_ttl: Duration,
}

impl Attr {
    /// How long the kernel may use both, for replies of READDIRPLUS and CREATE, in which fuser has one field for them.
    pub fn joint_ttl(&self) -> Duration {
        self.ttl.min(self.name_ttl)
    }
}

/// The permission bits of all symbolic links: Linux does not look at them.
const LINK_MODE: u16 = 0o777;

/// How a mount shows metadata: the values that come from its options.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Presentation {
    pub uid: u32,
    pub gid: u32,
    pub file_mode: u16,
    pub dir_mode: u16,
    /// A file without any write bit has the read-only attribute: if another client has cleared the attribute, the
    /// owner's write bit is shown although a program of this mount has removed it.
    pub has_write_bit_from_server: bool,
    /// Owner, group and mode are the server's: without them attributes are not valid.
    pub owner_is_fetched: bool,
    pub block_size: u32,
}

impl Presentation {
    /// The attributes of an inode with this metadata and owner, which the kernel may use for `ttl`.
    pub(crate) fn attr(
        &self,
        ino: u64,
        generation: u64,
        (metadata, owner): (&Metadata, Ownership),
        ttl: Duration,
    ) -> Attr {
        let kind = metadata.kind();
        let (size, device) = match metadata.special {
            None => (metadata.size, Device::default()),
            Some(Special::Symlink { length }) => (length.into(), Device::default()),
            Some(Special::CharDevice(device) | Special::BlockDevice(device)) => (0, device),
            Some(Special::Fifo | Special::Socket) => (0, Device::default()),
        };
        // Servers report 0 for a time that they do not keep.
        let or_modified = |time: FileTime| if time == FileTime(0) { metadata.modified } else { time };
        Attr {
            ino,
            generation,
            kind,
            device,
            // The kernel accepts no larger size, whatever the server reports.
            size: size.min(i64::MAX as u64),
            blocks: metadata.allocation.div_ceil(512),
            accessed: or_modified(metadata.accessed),
            modified: metadata.modified,
            changed: or_modified(metadata.changed),
            created: or_modified(metadata.created),
            permissions: self.permissions(metadata, owner.mode) & 0o7777,
            links: 1,
            uid: owner.uid.unwrap_or(self.uid),
            gid: owner.gid.unwrap_or(self.gid),
            block_size: self.block_size,
            ttl,
            name_ttl: ttl,
        }
    }

    fn permissions(&self, metadata: &Metadata, known: Option<u16>) -> u16 {
        match metadata.kind() {
            FileKind::Symlink => LINK_MODE,
            FileKind::Directory => known.unwrap_or(self.dir_mode),
            FileKind::File => {
                let mode = known.unwrap_or(self.file_mode);
                match metadata.attributes.has(Attributes::READONLY) {
                    true => mode & !0o222,
                    false if self.has_write_bit_from_server && mode & 0o222 == 0 && known.is_some() => mode | 0o200,
                    false => mode,
                }
            }
            _ => known.unwrap_or(self.file_mode),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMEOUT: Duration = Duration::from_secs(1);

    fn metadata(size: u64) -> Metadata {
        Metadata { size, modified: FileTime(size + 100), ..Metadata::default() }
    }

    fn presentation() -> Presentation {
        Presentation {
            uid: 5,
            gid: 6,
            file_mode: 0o640,
            dir_mode: 0o750,
            has_write_bit_from_server: true,
            owner_is_fetched: false,
            block_size: 4096,
        }
    }

    fn shown(attributes: u32) -> Attr {
        shown_with(attributes, Ownership::NOTHING)
    }

    fn shown_with(attributes: u32, owner: Ownership) -> Attr {
        let metadata = Metadata { attributes: Attributes(attributes), ..metadata(1000) };
        presentation().attr(9, 3, (&metadata, owner), TIMEOUT)
    }

    #[test]
    fn modes_come_from_the_options_and_the_read_only_attribute() {
        assert_eq!(shown(0).permissions, 0o640);
        assert_eq!(shown(Attributes::READONLY).permissions, 0o440);
        assert_eq!(shown(Attributes::DIRECTORY).permissions, 0o750);
        assert_eq!(shown(Attributes::DIRECTORY | Attributes::READONLY).permissions, 0o750);
        assert_eq!((shown(0).uid, shown(0).gid, shown(0).links), (5, 6, 1));
        assert_eq!(shown(Attributes::DIRECTORY).links, 1);
    }

    #[test]
    fn links_and_special_files_have_their_own_sizes_and_modes() {
        let shown = |special| {
            let metadata =
                Metadata { attributes: Attributes(Attributes::READONLY), special: Some(special), ..metadata(1067) };
            let attr = presentation().attr(9, 3, (&metadata, Ownership::NOTHING), TIMEOUT);
            (attr.kind, attr.size, attr.permissions, attr.device.minor, attr.links)
        };
        assert_eq!(shown(Special::Symlink { length: 7 }), (FileKind::Symlink, 7, 0o777, 0, 1));
        assert_eq!(shown(Special::Fifo), (FileKind::Fifo, 0, 0o640, 0, 1));
        let device = Device { major: 1, minor: 3 };
        assert_eq!(shown(Special::BlockDevice(device)), (FileKind::BlockDevice, 0, 0o640, 3, 1));
    }

    #[test]
    fn what_is_known_of_a_file_is_shown_instead_of_the_options() {
        let known = Ownership { uid: Some(7), gid: None, mode: Some(0o4711) };
        let attr = shown_with(0, known);
        assert_eq!((attr.uid, attr.gid, attr.permissions), (7, 6, 0o4711));
        assert_eq!(shown_with(Attributes::READONLY, known).permissions, 0o4511);
        let without_write = Ownership { mode: Some(0o440), ..Ownership::NOTHING };
        assert_eq!(shown_with(Attributes::READONLY, without_write).permissions, 0o440);
        assert_eq!(shown_with(0, without_write).permissions, 0o640, "another client has made it writable");
        assert_eq!(shown_with(Attributes::DIRECTORY, without_write).permissions, 0o440);
        let group_writes = Ownership { mode: Some(0o460), ..Ownership::NOTHING };
        assert_eq!(shown_with(0, group_writes).permissions, 0o460);
    }

    #[test]
    fn a_time_that_the_server_does_not_keep_is_shown_as_the_write_time() {
        assert_eq!(shown(0).changed, FileTime(1100));
        assert_eq!(shown(0).created, FileTime(1100));
    }

    #[test]
    fn blocks_show_the_allocated_space() {
        let metadata = Metadata { allocation: 4096, ..metadata(1) };
        assert_eq!(presentation().attr(9, 3, (&metadata, Ownership::NOTHING), TIMEOUT).blocks, 8);
    }
}
