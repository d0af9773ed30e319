//! The kernel's table of mounts, from `/proc/self/mountinfo` (proc_pid_mountinfo(5)).
//!
//! Reading it touches no file system, so it never hangs. The invariant: a [`MountTable`] is the kernel's table at one
//! moment, without guesses, and it is read again for every decision.

use std::collections::HashSet;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

/// The device number of a mounted file system (`st_dev` of what is in it).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub struct DeviceId {
    /// 0 for file systems without a block device, such as FUSE.
    pub major: u32,
    /// For FUSE also the name of its directory in `/sys/fs/fuse/connections`.
    pub minor: u32,
}

impl fmt::Display for DeviceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.major, self.minor)
    }
}

/// One mount.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MountEntry {
    /// The mount id. Unique among the mounts of one moment; reused after an unmount.
    pub id: u32,
    /// The id of the mount that this one is mounted on.
    pub parent: u32,
    /// The device number of the file system.
    pub device: DeviceId,
    /// The directory it is mounted on: an absolute path without symbolic links.
    pub mountpoint: PathBuf,
    /// The options of the mount: `rw`, `nosuid`, …
    pub options: String,
    /// The type, with the subtype: `fuse.cifs`.
    pub fs_type: String,
    /// The source, as the file system names it.
    pub source: OsString,
    /// The options of the file system itself: `user_id=0`, `default_permissions`, …
    pub super_options: String,
}

/// All mounts of this mount namespace.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MountTable(Vec<MountEntry>);

impl MountTable {
    /// The mounts at present.
    ///
    /// # Errors
    ///
    /// /proc is not mounted or not readable.
    pub fn read() -> io::Result<MountTable> {
        std::fs::read("/proc/self/mountinfo").map(|text| MountTable::parse(&text))
    }

    /// The mounts in a text of the kernel's form.
    pub(super) fn parse(text: &[u8]) -> MountTable {
        MountTable(text.split(|byte| *byte == b'\n').filter_map(parse_line).collect())
    }

    /// All mounts.
    pub fn entries(&self) -> impl Iterator<Item = &MountEntry> {
        self.0.iter()
    }

    /// The mount that a path lookup of `mountpoint` finds. The path is absolute and without symbolic links. Other
    /// mounts may be at the same path: below the one that is found, or covered because a folder above was mounted on
    /// later.
    pub fn topmost(&self, mountpoint: &Path) -> Option<&MountEntry> {
        let listed: HashSet<u32> = self.entries().map(|entry| entry.id).collect();
        let mut found: Option<&MountEntry> = None;
        // Follows the kernel's walk: to the first mount on the way, and from there to the mounts on it. No step leads
        // to the same mount twice, so there are no more steps than mounts.
        for _ in self.entries() {
            let is_on = |entry: &&MountEntry| match found {
                Some(below) => entry.parent == below.id && entry.id != below.id,
                None => entry.parent == entry.id || !listed.contains(&entry.parent),
            };
            let on_the_way = self.entries().filter(is_on).filter(|entry| mountpoint.starts_with(&entry.mountpoint));
            let Some(next) = on_the_way.min_by_key(|entry| entry.mountpoint.components().count()) else { break };
            found = Some(next);
        }
        found.filter(|entry| entry.mountpoint == mountpoint)
    }

    /// The mount that was `entry` at another moment, in its present place.
    pub fn find(&self, entry: &MountEntry) -> Option<&MountEntry> {
        self.entries().find(|other| other.is_same(entry))
    }

    /// Whether the same mount is listed at the same place. Any unmount frees numbers for the next mount, so a mount
    /// elsewhere with the numbers of `entry` proves nothing.
    pub fn has(&self, entry: &MountEntry) -> bool {
        self.entries().any(|other| other.is_same(entry) && other.mountpoint == entry.mountpoint)
    }

    /// Whether a path lookup of its mountpoint finds this mount.
    pub fn is_on_top(&self, entry: &MountEntry) -> bool {
        self.topmost(&entry.mountpoint).is_some_and(|top| top.is_same(entry))
    }
}

/// `36 35 98:0 /root /mountpoint rw,noatime shared:1 master:2 - type source super,options`
fn parse_line(line: &[u8]) -> Option<MountEntry> {
    let mut fields = line.split(|byte| *byte == b' ');
    let mut next = || fields.next();
    let number = |field: &[u8]| std::str::from_utf8(field).ok()?.parse::<u32>().ok();
    let text = |field: &[u8]| String::from_utf8_lossy(&unescape(field)).into_owned();

    let id = number(next()?)?;
    let parent = number(next()?)?;
    let (major, minor) = std::str::from_utf8(next()?).ok()?.split_once(':')?;
    let device = DeviceId { major: major.parse().ok()?, minor: minor.parse().ok()? };
    let _root = next()?;
    let mountpoint = PathBuf::from(OsString::from_vec(unescape(next()?)));
    let options = text(next()?);
    // Any number of optional fields, up to a single hyphen.
    while next()? != b"-" {}
    let fs_type = text(next()?);
    let source = OsString::from_vec(unescape(next()?));
    let super_options = text(next().unwrap_or_default());
    Some(MountEntry { id, parent, device, mountpoint, options, fs_type, source, super_options })
}

/// Decodes the kernel's escapes: a backslash and three octal digits stand for one byte.
fn unescape(field: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(field.len());
    let mut rest = field;
    while let [first, tail @ ..] = rest {
        match tail {
            [a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', after @ ..] if *first == b'\\' => {
                plain.push((a - b'0') << 6 | (b - b'0') << 3 | (c - b'0'));
                rest = after;
            }
            _ => {
                plain.push(*first);
                rest = tail;
            }
        }
    }
    plain
}

impl MountEntry {
    /// Whether both are the same mount, at two moments. Numbers are reused, so two mounts that never existed at the
    /// same time can look the same.
    pub fn is_same(&self, other: &MountEntry) -> bool {
        self.id == other.id && self.device == other.device && self.fs_type == other.fs_type
    }

    /// The source for users: control characters and bytes that are not UTF-8 are replaced.
    pub fn shown_source(&self) -> String {
        show(&self.source)
    }
}

fn show(text: &OsStr) -> String {
    String::from_utf8_lossy(text.as_bytes()).chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &[u8] = b"\
22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/root rw
40 22 0:40 / /mnt/my\\040nas rw,relatime shared:7 master:3 - autofs systemd-1 rw,fd=35
45 40 0:41 / /mnt/my\\040nas rw,nosuid,nodev - fuse.cifs cifs://nas/a\\040b\\134c,d rw,user_id=0,group_id=0
46 22 0:42 / /srv rw - tmpfs  rw
not a mount at all
";

    #[test]
    fn escapes_and_optional_fields_are_read() {
        let table = MountTable::parse(TABLE);
        assert_eq!(table.entries().count(), 4);
        let nas = table.topmost(Path::new("/mnt/my nas")).unwrap();
        assert_eq!(nas.fs_type, "fuse.cifs");
        assert_eq!(nas.source, "cifs://nas/a b\\c,d");
        assert_eq!(nas.device, DeviceId { major: 0, minor: 41 });
        assert_eq!(nas.super_options, "rw,user_id=0,group_id=0");
    }

    #[test]
    fn the_topmost_of_two_mounts_is_the_one_that_nothing_is_mounted_on() {
        let mut lines: Vec<&[u8]> = TABLE.split_inclusive(|byte| *byte == b'\n').collect();
        for _ in 0..2 {
            let table = MountTable::parse(&lines.concat());
            assert_eq!(table.topmost(Path::new("/mnt/my nas")).unwrap().id, 45);
            assert_eq!(table.topmost(Path::new("/")).unwrap().id, 22);
            assert_eq!(table.topmost(Path::new("/mnt")), None);
            lines.reverse();
        }
    }

    /// Two mounts at one path, neither on the other: a folder above was mounted on in between.
    #[test]
    fn a_mount_below_a_folder_that_was_mounted_on_is_not_found() {
        let hidden = "22 1 254:0 / / rw - ext4 /dev/root rw\n\
                      45 22 0:41 / /mnt/nas rw - fuse.cifs cifs://nas/a rw\n\
                      46 22 0:42 / /mnt rw - tmpfs none rw\n";
        let table = MountTable::parse(hidden.as_bytes());
        assert_eq!(table.topmost(Path::new("/mnt/nas")), None);
        let table =
            MountTable::parse(format!("{hidden}47 46 0:43 / /mnt/nas rw - fuse.cifs cifs://nas/b rw\n").as_bytes());
        let found = table.topmost(Path::new("/mnt/nas")).unwrap();
        assert_eq!(found.id, 47);
        let hidden = table.entries().find(|entry| entry.id == 45).unwrap();
        assert!(table.is_on_top(found) && !table.is_on_top(hidden));
        assert_eq!(table.find(hidden), Some(hidden));
    }

    /// Another mount is unmounted while this one is made, and the kernel reuses its numbers.
    #[test]
    fn a_mount_that_got_the_numbers_of_another_one_is_new() {
        let table = |mountpoint: &str| {
            let line =
                format!("22 1 254:0 / / rw - ext4 /dev/root rw\n45 22 0:41 / {mountpoint} rw - fuse.cifs x rw\n");
            MountTable::parse(line.as_bytes())
        };
        let (before, after) = (table("/mnt/other"), table("/mnt/nas"));
        assert!(!before.has(after.topmost(Path::new("/mnt/nas")).unwrap()));
        assert!(after.has(after.topmost(Path::new("/mnt/nas")).unwrap()));
    }

    #[test]
    fn the_table_of_this_system_is_read() {
        let table = MountTable::read().unwrap();
        assert_eq!(table.topmost(Path::new("/proc")).unwrap().fs_type, "proc");
    }
}
