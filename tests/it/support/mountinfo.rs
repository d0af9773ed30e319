//! The mounts of this process's namespace, from /proc/self/mountinfo. Reading that file asks no file system,
//! so it cannot hang.

use std::fs;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

/// One line of /proc/self/mountinfo (proc(5)).
#[derive(Clone, Debug)]
pub(crate) struct MountInfo {
    /// The mountpoint.
    pub(crate) mountpoint: PathBuf,
    /// The minor number of the device, which is also the number of the FUSE connection.
    pub(crate) minor: u32,
    /// The options of this mount.
    pub(crate) options: String,
    /// The file system type with its subtype: `fuse.cifs`.
    pub(crate) kind: String,
    /// The mount source.
    pub(crate) source: String,
    /// The options of the file system.
    pub(crate) super_options: String,
}

impl MountInfo {
    /// Whether `option` is among the options of the mount or of the file system.
    pub(crate) fn has_option(&self, option: &str) -> bool {
        self.options.split(',').chain(self.super_options.split(',')).any(|one| one == option)
    }
}

/// The mount at exactly this path; of several, the one that was made last.
pub(crate) fn at(mountpoint: &Path) -> Option<MountInfo> {
    all().into_iter().rfind(|mount| mount.mountpoint == mountpoint)
}

/// Every mount at this path or under it.
pub(crate) fn below(folder: &Path) -> Vec<MountInfo> {
    all().into_iter().filter(|mount| mount.mountpoint.starts_with(folder)).collect()
}

fn all() -> Vec<MountInfo> {
    let text = fs::read_to_string("/proc/self/mountinfo").expect("/proc is mounted");
    text.lines().map(|line| parse(line).unwrap_or_else(|| panic!("odd line in mountinfo: {line}"))).collect()
}

fn parse(line: &str) -> Option<MountInfo> {
    let (mount, system) = line.split_once(" - ")?;
    let mut mount = mount.split(' ').skip(2);
    let (_, minor) = mount.next()?.split_once(':')?;
    let (_root, mountpoint, options) = (mount.next()?, mount.next()?, mount.next()?);
    let mut system = system.splitn(3, ' ');
    Some(MountInfo {
        mountpoint: PathBuf::from(std::ffi::OsString::from_vec(unescape(mountpoint))),
        minor: minor.parse().ok()?,
        options: options.to_owned(),
        kind: system.next()?.to_owned(),
        source: String::from_utf8_lossy(&unescape(system.next()?)).into_owned(),
        super_options: system.next()?.to_owned(),
    })
}

/// Decodes a field: space, tab, newline and backslash are each written as a backslash and three octal digits.
fn unescape(field: &str) -> Vec<u8> {
    let bytes = field.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let code = (bytes[at] == b'\\').then(|| field.get(at + 1..at + 4)).flatten();
        match code.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(byte) => {
                out.push(byte);
                at += 4;
            }
            None => {
                out.push(bytes[at]);
                at += 1;
            }
        }
    }
    out
}

#[test]
fn a_line_of_mountinfo_is_parsed() {
    let line = r"412 27 0:53 / /mnt/my\040share rw,nosuid,nodev shared:9 - fuse.cifs cifs://nas/a\134b rw,user_id=0";
    let mount = parse(line).unwrap();
    assert_eq!(mount.mountpoint, Path::new("/mnt/my share"));
    assert_eq!((mount.minor, mount.kind.as_str(), mount.source.as_str()), (53, "fuse.cifs", r"cifs://nas/a\b"));
    assert!(mount.has_option("nodev") && mount.has_option("user_id=0") && !mount.has_option("ro"));
}
