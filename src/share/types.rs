//! The plain values of this room's traits: paths, times, attributes, metadata, leases, changes and limits. They know
//! no connection and no NTSTATUS.

pub use super::kinds::{Device, FileKind, NewSpecial, Special};
use crate::wire::crypto::random_bytes;
use crate::wire::messages::snapshots::{self, Previous};
use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A path on the share, relative to its root: UTF-16 with `\` between components and none at either end. The empty
/// path is the root. Names are in the form of the wire (MS-FSCC 2.1.5): characters that POSIX allows and SMB reserves
/// were mapped before.
///
/// A component `@GMT-YYYY.MM.DD-HH.MM.SS` means the rest of the path as it was at that time
/// ([`crate::wire::messages::snapshots`]).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct RemotePath(Vec<u16>);

const SEPARATOR: u16 = b'\\' as u16;

impl RemotePath {
    /// The root of the share.
    pub fn root() -> RemotePath {
        RemotePath::default()
    }

    /// From text with `/` or `\` between components; empty components are dropped.
    pub fn parse(text: &str) -> RemotePath {
        text.split(['/', '\\'])
            .filter(|component| !component.is_empty())
            .fold(RemotePath::root(), |path, component| path.join(&component.encode_utf16().collect::<Vec<_>>()))
    }

    /// This path with one more component.
    pub fn join(&self, name: &[u16]) -> RemotePath {
        let mut path = Vec::with_capacity(self.0.len() + 1 + name.len());
        path.extend_from_slice(&self.0);
        if !path.is_empty() {
            path.push(SEPARATOR);
        }
        path.extend_from_slice(name);
        RemotePath(path)
    }

    /// The parent directory; `None` for the root.
    pub fn parent(&self) -> Option<RemotePath> {
        if self.is_root() {
            return None;
        }
        let end = self.0.iter().rposition(|unit| *unit == SEPARATOR).unwrap_or(0);
        Some(RemotePath(self.0[..end].to_vec()))
    }

    /// The last component; `None` for the root.
    pub fn name(&self) -> Option<&[u16]> {
        self.components().last()
    }

    /// Whether this path is below `folder`, at any depth. The folder itself is not below it.
    pub fn is_below(&self, folder: &RemotePath) -> bool {
        let Some(rest) = self.0.strip_prefix(&folder.0[..]) else { return false };
        if folder.is_root() { !rest.is_empty() } else { rest.first() == Some(&SEPARATOR) }
    }

    /// This path after `from` was renamed to `to`; `None` if the rename does not move it.
    pub(super) fn moved(&self, from: &RemotePath, to: &RemotePath) -> Option<RemotePath> {
        if self == from {
            return Some(to.clone());
        }
        let rest = self.0.get(from.0.len()..).filter(|_| self.is_below(from))?;
        Some(RemotePath([&to.0, rest].concat()))
    }

    /// Whether the path leads to a previous version, which cannot be changed.
    pub fn is_previous(&self) -> bool {
        Previous::parse(&self.0).is_some()
    }

    /// Whether the path is that of a folder of previous versions, if the server has nothing else there.
    pub(super) fn is_folder_of_previous(&self) -> bool {
        self.name().is_some_and(snapshots::is_folder) && !self.is_previous()
    }

    /// Whether this is the root of the share.
    pub fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    /// The path in UTF-16 code units.
    pub fn as_utf16(&self) -> &[u16] {
        &self.0
    }

    /// The components, from the root down.
    pub fn components(&self) -> impl Iterator<Item = &[u16]> {
        self.0.split(|unit| *unit == SEPARATOR).filter(|component| !component.is_empty())
    }
}

impl fmt::Display for RemotePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\\{}", String::from_utf16_lossy(&self.0))
    }
}

impl fmt::Debug for RemotePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Time in units of 100 ns since 1601-01-01 UTC (MS-DTYP 2.3.3). 0 means "not given".
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct FileTime(pub u64);

/// 1970-01-01 as a [`FileTime`], in units of 100 ns.
const UNIX_EPOCH_TICKS: u64 = 116_444_736_000_000_000;
const TICKS_PER_SECOND: u64 = 10_000_000;

impl FileTime {
    /// From seconds and nanoseconds since 1970. Seconds may be negative; nanoseconds always count forward, as in
    /// POSIX. A time that a [`FileTime`] cannot hold becomes the nearest value that it can.
    pub fn from_unix(seconds: i64, nanoseconds: u32) -> FileTime {
        let ticks = i128::from(seconds) * i128::from(TICKS_PER_SECOND)
            + i128::from(nanoseconds / 100)
            + i128::from(UNIX_EPOCH_TICKS);
        // -1 and -2 mean "unchanged" in SET_INFO (MS-FSCC 2.4.7), and 0 means "not given".
        FileTime(ticks.clamp(1, i64::MAX as i128) as u64)
    }

    /// Seconds and nanoseconds since 1970, in the form of [`FileTime::from_unix`].
    pub fn to_unix(self) -> (i64, u32) {
        let ticks = i128::from(self.0) - i128::from(UNIX_EPOCH_TICKS);
        let seconds = ticks.div_euclid(i128::from(TICKS_PER_SECOND));
        let rest = ticks.rem_euclid(i128::from(TICKS_PER_SECOND));
        (seconds as i64, rest as u32 * 100)
    }
}

impl From<SystemTime> for FileTime {
    fn from(time: SystemTime) -> FileTime {
        match time.duration_since(UNIX_EPOCH) {
            Ok(after) => FileTime::from_unix(after.as_secs() as i64, after.subsec_nanos()),
            Err(before) => {
                let before = before.duration();
                let whole = before.as_secs() as i64;
                match before.subsec_nanos() {
                    0 => FileTime::from_unix(-whole, 0),
                    nanos => FileTime::from_unix(-whole - 1, 1_000_000_000 - nanos),
                }
            }
        }
    }
}

impl From<FileTime> for SystemTime {
    fn from(time: FileTime) -> SystemTime {
        let (seconds, nanos) = time.to_unix();
        let nanos = Duration::from_nanos(u64::from(nanos));
        match u64::try_from(seconds) {
            Ok(seconds) => UNIX_EPOCH + Duration::from_secs(seconds) + nanos,
            Err(_) => UNIX_EPOCH - Duration::from_secs(seconds.unsigned_abs()) + nanos,
        }
    }
}

/// File attributes (MS-FSCC 2.6). A bit field: a directory can be hidden or archived as well.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Attributes(pub u32);

impl Attributes {
    /// `FILE_ATTRIBUTE_READONLY`
    pub const READONLY: u32 = 0x0001;
    /// `FILE_ATTRIBUTE_HIDDEN`
    pub const HIDDEN: u32 = 0x0002;
    /// `FILE_ATTRIBUTE_SYSTEM`
    pub const SYSTEM: u32 = 0x0004;
    /// `FILE_ATTRIBUTE_DIRECTORY`
    pub const DIRECTORY: u32 = 0x0010;
    /// `FILE_ATTRIBUTE_ARCHIVE`
    pub const ARCHIVE: u32 = 0x0020;
    /// `FILE_ATTRIBUTE_NORMAL`, only valid alone
    pub const NORMAL: u32 = 0x0080;
    /// `FILE_ATTRIBUTE_REPARSE_POINT`
    pub const REPARSE_POINT: u32 = 0x0400;

    /// Whether all of `bits` are set.
    pub fn has(self, bits: u32) -> bool {
        self.0 & bits == bits
    }

    /// The same attributes with the read-only bit set or cleared. An empty set becomes `NORMAL`, because 0 means
    /// "unchanged" in SET_INFO (MS-FSCC 2.4.7).
    pub fn with_readonly(self, readonly: bool) -> Attributes {
        let without = self.0 & !(Self::READONLY | Self::NORMAL);
        match without | if readonly { Self::READONLY } else { 0 } {
            0 => Attributes(Self::NORMAL),
            bits => Attributes(bits),
        }
    }
}

/// What a directory entry or an open reports about a file.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Metadata {
    /// The server's 64-bit id of the file within its volume; 0 where the server gives none.
    pub file_id: u64,
    /// The number of the file's names (hard links); 0 where the answer does not tell, as in listings.
    pub links: u32,
    /// Attribute bits, the directory bit among them.
    pub attributes: Attributes,
    /// Size of the data, in bytes.
    pub size: u64,
    /// Bytes allocated on the server's disk.
    pub allocation: u64,
    /// Time of creation.
    pub created: FileTime,
    /// Time of the last access.
    pub accessed: FileTime,
    /// Time of the last write: POSIX mtime.
    pub modified: FileTime,
    /// Time of the last change of data or metadata: POSIX ctime.
    pub changed: FileTime,
    /// The reparse tag where the server gave it (MS-FSCC 2.1.2.1), else 0.
    pub reparse_tag: u32,
    /// What the file is, if it was found to be neither a regular file nor a directory. The metadata of an open file
    /// never says so: only regular files are opened.
    pub special: Option<Special>,
}

impl Metadata {
    /// What the file is to a program.
    pub fn kind(&self) -> FileKind {
        self.special.map_or_else(|| self.stored_kind(), Special::kind)
    }

    /// What the file is to the server: file or directory, by the directory bit alone. A symbolic link of Windows is
    /// either.
    pub fn stored_kind(&self) -> FileKind {
        if self.attributes.has(Attributes::DIRECTORY) { FileKind::Directory } else { FileKind::File }
    }

    /// The identity of this file.
    pub fn identity(&self) -> FileIdentity {
        FileIdentity { file_id: self.file_id, created: self.created }
    }
}

/// Distinguishes a file from others that had its name before, or have it later.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FileIdentity {
    /// The server's id of the file; 0 where the server gives none.
    pub file_id: u64,
    /// Time of creation; 0 where the server reports none.
    pub created: FileTime,
}

/// One entry of a listing.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DirEntry {
    /// The name as the server stores it, without any separator.
    pub name: Vec<u16>,
    /// What the listing reports about it.
    pub metadata: Metadata,
}

/// What happened to an entry of a watched directory (MS-FSCC 2.7.1).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum ChangeKind {
    /// It appeared: created, renamed to this name or moved here.
    Added,
    /// It disappeared: deleted, renamed to another name or moved away.
    Removed,
    /// Its size, times or attributes changed.
    Modified,
}

/// A change in a watched directory.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DirChange {
    /// The entry's name as the server stores it, without any separator.
    pub name: Vec<u16>,
    /// What happened.
    pub kind: ChangeKind,
}

/// What a second look at a watched directory found ([`Watches::look_again`](super::Watches::look_again)).
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Again {
    /// The whole directory as it is now.
    Everything {
        /// The directory itself.
        itself: Metadata,
        /// Its entries.
        entries: Vec<DirEntry>,
    },
    /// The directory is too long to be listed again. No entry was added or removed since it was listed; entries may
    /// have been modified.
    Same,
    /// The directory is too long to be listed again, and entries were, or may have been, added or removed.
    Changed,
}

/// What to do about a file that exists or doesn't (MS-SMB2 2.2.13 CreateDisposition).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Disposition {
    /// Open what exists; fail otherwise (FILE_OPEN).
    Open,
    /// Create; fail if it exists (FILE_CREATE).
    Create,
    /// Open or create (FILE_OPEN_IF).
    OpenIf,
    /// Truncate what exists; fail otherwise (FILE_OVERWRITE).
    Overwrite,
    /// Truncate or create (FILE_OVERWRITE_IF).
    OverwriteIf,
}

/// What may be cached of an open file or directory: LeaseState bits (MS-SMB2 2.2.13.2.8).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Caching(u8);

impl Caching {
    /// Nothing.
    pub const NONE: Caching = Caching(0);
    /// Data that was read: no other client writes the file.
    pub const READ: Caching = Caching(1);
    /// The open itself: its CLOSE may be delayed.
    pub const HANDLE: Caching = Caching(2);
    /// Data that is not written yet: no other client reads or writes the file.
    pub const WRITE: Caching = Caching(4);
    /// All of them.
    pub const ALL: Caching = Caching(7);

    /// From LeaseState bits; bits without a meaning are dropped.
    pub(super) fn from_bits(bits: u32) -> Caching {
        Caching((bits & 7) as u8)
    }

    /// As LeaseState bits.
    pub(super) fn bits(self) -> u32 {
        u32::from(self.0)
    }

    /// What both allow.
    #[must_use]
    pub fn and(self, other: Caching) -> Caching {
        Caching(self.0 & other.0)
    }

    /// Whether this allows all that `other` allows.
    pub fn covers(self, other: Caching) -> bool {
        self.and(other) == other
    }

    /// Whether data that was read may be kept.
    pub fn reads(self) -> bool {
        self.covers(Caching::READ)
    }

    /// Whether a CLOSE may be delayed.
    pub fn handles(self) -> bool {
        self.covers(Caching::HANDLE)
    }

    /// Whether written data may be held back.
    pub fn writes(self) -> bool {
        self.covers(Caching::WRITE)
    }
}

impl std::ops::BitOr for Caching {
    type Output = Caching;

    fn bitor(self, other: Caching) -> Caching {
        Caching(self.0 | other.0)
    }
}

/// What is granted under a lease, with a serial number: of two reports about one key the one with the higher number
/// is the newer. A break has a serial number of its own.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Granted {
    /// What may be cached.
    pub caching: Caching,
    /// Counts, over all leases of the share, the opens that were answered and the breaks that were read. The loss of a
    /// lease is read as a break. A break that was received and not read yet changes `caching` and not this number.
    pub serial: u64,
}

impl Granted {
    /// The value before anything was granted.
    pub const NOTHING: Granted = Granted { caching: Caching::NONE, serial: 0 };
}

/// The key that names a lease (MS-SMB2 2.2.13.2.8). A key belongs to one file or directory of this client.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct LeaseKey(pub u128);

impl LeaseKey {
    /// A random key, which no other lease has, here or at another client.
    pub fn random() -> LeaseKey {
        LeaseKey(u128::from_le_bytes(random_bytes()))
    }
}

/// The lease to request with an open.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Lease {
    /// All opens of one file have the same key, so that they never break each other's lease.
    pub key: LeaseKey,
    /// The caching to request. [`Caching::NONE`] adds the open to the key's opens and requests nothing more.
    pub caching: Caching,
}

/// How to open a file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct OpenHow {
    /// Data will be read.
    pub read: bool,
    /// Data will be written.
    pub write: bool,
    /// What to do if the file exists, or does not.
    pub disposition: Disposition,
    /// A file that is created gets the read-only attribute. The open that creates it may still write.
    pub readonly: bool,
    /// The lease to request, or the nearest oplock where the server has no leases.
    pub lease: Option<Lease>,
}

/// What an open did (MS-SMB2 2.2.14 CreateAction).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CreateAction {
    /// An existing file was opened.
    Opened,
    /// A new file was created.
    Created,
    /// An existing file was truncated.
    Overwritten,
}

/// What to change about a file; `None` leaves a field as it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Change {
    /// New size in bytes. Added space reads as zeros.
    pub size: Option<u64>,
    /// New time of creation.
    pub created: Option<FileTime>,
    /// New time of the last access.
    pub accessed: Option<FileTime>,
    /// New time of the last write.
    pub modified: Option<FileTime>,
    /// New attribute bits.
    pub attributes: Option<Attributes>,
}

/// How a write is done, and what follows it in the same round trip.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct After {
    /// The write was held back under a lease: the program's write(2) has already returned. Such data is not written
    /// over data that another client wrote since the session was lost
    /// ([`Cause::Conflict`](super::error::Cause::Conflict)).
    pub held: bool,
    /// What to change about the file after the write.
    pub change: Change,
    /// Whether the server then puts the file's data on stable storage.
    pub flush: bool,
}

/// The target of [`Files::set`](super::Files::set).
#[derive(Debug)]
pub enum Target<'a, F> {
    /// The file or directory at this path, which is opened for the operation.
    Path(&'a RemotePath),
    /// A file that is open for writing.
    File(&'a F),
}

/// The largest READ and WRITE, in bytes, and the chunk grid that reads and writes keep to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct IoLimits {
    /// The read chunk: reads are cut at multiples of this size.
    pub read: u32,
    /// The write chunk: writes are cut at multiples of this size.
    pub write: u32,
}

/// Size and free space of a file system.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Space {
    /// Total size, in bytes.
    pub total: u64,
    /// Free space, in bytes.
    pub free: u64,
    /// Bytes that this user may still write; less than `free` under a quota.
    pub available: u64,
    /// The allocation unit, in bytes.
    pub unit: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_join_and_split() {
        let path = RemotePath::parse("/films//old/a b/");
        assert_eq!(path.to_string(), "\\films\\old\\a b");
        assert_eq!(path.components().count(), 3);
        assert!(RemotePath::parse("//").is_root());
    }

    #[test]
    fn a_renamed_folder_moves_what_is_below_and_nothing_beside() {
        let [from, to] = ["a/b", "z"].map(RemotePath::parse);
        let moved = |path: &str| RemotePath::parse(path).moved(&from, &to).map(|path| path.to_string());
        assert_eq!(moved("a/b").as_deref(), Some("\\z"));
        assert_eq!(moved("a/b/c/d").as_deref(), Some("\\z\\c\\d"));
        assert_eq!([moved("a"), moved("a/bc"), moved("b"), moved("")], [None, None, None, None]);
        assert!(RemotePath::parse("a").is_below(&RemotePath::root()) && !from.is_below(&from));
    }

    #[test]
    fn file_time_keeps_100_ns_and_reaches_back_before_1970() {
        for (seconds, nanos) in [(0, 0), (1_700_000_000, 123_456_700), (-1, 999_999_900), (-11_644_473_600, 100)] {
            assert_eq!(FileTime::from_unix(seconds, nanos).to_unix(), (seconds, nanos));
        }
        let before = UNIX_EPOCH - Duration::from_nanos(300);
        assert_eq!(SystemTime::from(FileTime::from(before)), before);
    }

    #[test]
    fn clearing_the_last_attribute_leaves_normal() {
        assert_eq!(Attributes(Attributes::READONLY).with_readonly(false).0, Attributes::NORMAL);
        assert_eq!(Attributes(Attributes::NORMAL).with_readonly(true).0, Attributes::READONLY);
        assert_eq!(Attributes(0x21).with_readonly(false).0, Attributes::ARCHIVE);
    }
}
