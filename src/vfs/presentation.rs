//! What stat(2) shows: POSIX attributes made from the server's metadata.
//!
//! Owner, group and permission bits come from the mount's options. The read-only attribute of a file clears its write
//! bits. On a directory the attribute means something different on every server, so it has no effect.

use crate::share::{Attributes, FileKind, FileTime, Metadata};
use std::time::Duration;

/// Attributes as stat(2) shows them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Attr {
    /// Inode number.
    pub ino: u64,
    /// Distinguishes files that had this inode number one after the other: each has another generation.
    pub generation: u64,
    /// File or directory.
    pub kind: FileKind,
    /// Size in bytes.
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
    /// 1 for a file; 2 for a directory, whose subdirectories are not counted; 0 once this mount has removed or
    /// replaced it.
    pub links: u32,
    /// User id of the owner.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
    /// The best size for reads and writes, in bytes.
    pub block_size: u32,
    /// How long the kernel may use these attributes without asking.
    pub ttl: Duration,
    /// How long the kernel may use the name of this reply without asking; never longer than `ttl`.
    pub name_ttl: Duration,
}

/// How a mount shows metadata: the values that come from its options.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Presentation {
    pub uid: u32,
    pub gid: u32,
    pub file_mode: u16,
    pub dir_mode: u16,
    pub block_size: u32,
}

impl Presentation {
    /// The attributes of an inode with this metadata, which the kernel may use for `ttl`.
    pub(crate) fn attr(&self, ino: u64, generation: u64, metadata: &Metadata, ttl: Duration) -> Attr {
        let kind = metadata.kind();
        let permissions = match kind {
            FileKind::Directory => self.dir_mode,
            FileKind::File if metadata.attributes.has(Attributes::READONLY) => self.file_mode & !0o222,
            FileKind::File => self.file_mode,
        };
        // Servers report 0 for a time that they do not keep.
        let or_modified = |time: FileTime| if time == FileTime(0) { metadata.modified } else { time };
        Attr {
            ino,
            generation,
            kind,
            // The kernel accepts no larger size, whatever the server reports.
            size: metadata.size.min(i64::MAX as u64),
            blocks: metadata.allocation.div_ceil(512),
            accessed: or_modified(metadata.accessed),
            modified: metadata.modified,
            changed: or_modified(metadata.changed),
            created: or_modified(metadata.created),
            permissions: permissions & 0o7777,
            links: if kind == FileKind::Directory { 2 } else { 1 },
            uid: self.uid,
            gid: self.gid,
            block_size: self.block_size,
            ttl,
            name_ttl: ttl,
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
        Presentation { uid: 5, gid: 6, file_mode: 0o640, dir_mode: 0o750, block_size: 4096 }
    }

    fn shown(attributes: u32) -> Attr {
        let metadata = Metadata { attributes: Attributes(attributes), ..metadata(1000) };
        presentation().attr(9, 3, &metadata, TIMEOUT)
    }

    #[test]
    fn modes_come_from_the_options_and_the_read_only_attribute() {
        assert_eq!(shown(0).permissions, 0o640);
        assert_eq!(shown(Attributes::READONLY).permissions, 0o440);
        assert_eq!(shown(Attributes::DIRECTORY).permissions, 0o750);
        assert_eq!(shown(Attributes::DIRECTORY | Attributes::READONLY).permissions, 0o750);
        assert_eq!((shown(0).uid, shown(0).gid, shown(0).links), (5, 6, 1));
        assert_eq!(shown(Attributes::DIRECTORY).links, 2);
    }

    #[test]
    fn a_time_that_the_server_does_not_keep_is_shown_as_the_write_time() {
        assert_eq!(shown(0).changed, FileTime(1100));
        assert_eq!(shown(0).created, FileTime(1100));
    }

    #[test]
    fn blocks_show_the_allocated_space() {
        let metadata = Metadata { allocation: 4096, ..metadata(1) };
        assert_eq!(presentation().attr(9, 3, &metadata, TIMEOUT).blocks, 8);
    }
}
