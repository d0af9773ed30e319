//! Which mount of this program a path is in, and whose it is: from the kernel's table, without asking the mount.
//!
//! The invariant: what is in a mount of this program is never looked at, because that mount may not answer.

use crate::mount::kernel::FS_TYPE;
use crate::mount::mountinfo::{MountEntry, MountTable};
use std::collections::VecDeque;
use std::ffi::OsString;
use std::fs;
use std::path::{Component, Path, PathBuf};

/// The types of this program's mounts: its own, and the one that a line of fstab can give.
const TYPES: [&str; 2] = [FS_TYPE, "fuse.cifs-fuse"];
/// The most symbolic links that are followed in one path (the kernel's own limit).
const MOST_LINKS: usize = 40;

/// Whether it is a mount of this program.
pub(super) fn is_of_this_program(entry: &MountEntry) -> bool {
    TYPES.contains(&entry.fs_type.as_str())
}

/// The user who mounted.
pub(super) fn owner(entry: &MountEntry) -> Option<u32> {
    number(entry, "user_id=")
}

/// The group of the user who mounted.
pub(super) fn group(entry: &MountEntry) -> Option<u32> {
    number(entry, "group_id=")
}

fn number(entry: &MountEntry, name: &str) -> Option<u32> {
    entry.super_options.split(',').find_map(|option| option.strip_prefix(name))?.parse().ok()
}

/// The mount of this program that a path is in, directly or through symbolic links outside of this program's mounts. The
/// path is absolute. Following links can hang if they are on another file system that does not answer.
pub(super) fn find(table: &MountTable, path: &Path) -> Option<MountEntry> {
    let found = innermost(table, path).filter(|entry| is_of_this_program(entry));
    let found = found.or_else(|| innermost(table, &follow(table, path)).filter(|entry| is_of_this_program(entry)));
    found.cloned()
}

fn innermost<'a>(table: &'a MountTable, path: &Path) -> Option<&'a MountEntry> {
    path.ancestors().find_map(|path| table.topmost(path))
}

/// The path without the symbolic links that come before the first mount of this program on it.
fn follow(table: &MountTable, path: &Path) -> PathBuf {
    let mut links = 0;
    let mut is_inside = false;
    let mut resolved = PathBuf::from("/");
    let mut ahead = names(path);
    while let Some(name) = ahead.pop_front() {
        if name == ".." {
            resolved.pop();
            continue;
        }
        resolved.push(name);
        is_inside = is_inside || table.topmost(&resolved).is_some_and(is_of_this_program);
        if is_inside {
            continue;
        }
        let Ok(target) = fs::read_link(&resolved) else { continue };
        links += 1;
        if links > MOST_LINKS {
            break;
        }
        match target.is_absolute() {
            true => resolved = PathBuf::from("/"),
            false => drop(resolved.pop()),
        }
        names(&target).into_iter().rev().for_each(|name| ahead.push_front(name));
    }
    resolved
}

/// The names in a path, and `..`.
fn names(path: &Path) -> VecDeque<OsString> {
    let is_step = |component: &Component<'_>| matches!(component, Component::Normal(_) | Component::ParentDir);
    path.components().filter(is_step).map(|component| component.as_os_str().to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::fs::symlink;

    fn table(lines: &str) -> MountTable {
        MountTable::parse(format!("22 1 254:0 / / rw - ext4 /dev/root rw\n{lines}").as_bytes())
    }

    #[test]
    fn a_path_is_in_the_innermost_mount() {
        let table = table(
            "45 22 0:41 / /mnt/a rw - fuse.cifs cifs://nas/a rw,user_id=7,group_id=8\n\
             46 45 0:42 / /mnt/a/b rw - fuse.cifs-fuse cifs://nas/b rw,user_id=0\n\
             47 45 0:43 / /mnt/a/t rw - tmpfs none rw\n",
        );
        let found = |path: &str| find(&table, Path::new(path)).map(|entry| entry.id);
        assert_eq!(found("/mnt/a/c"), Some(45));
        assert_eq!(found("/mnt/a/b/c"), Some(46));
        assert_eq!([found("/mnt/a/t/x"), found("/mnt/ab"), found("/")], [None; 3]);
        let entry = find(&table, Path::new("/mnt/a")).unwrap();
        assert_eq!((owner(&entry), group(&entry)), (Some(7), Some(8)));
    }

    #[test]
    fn a_mountpoint_need_not_be_utf_8() {
        let mut lines = b"22 1 254:0 / / rw - ext4 /dev/root rw\n45 22 0:41 / /mnt/\xff rw - fuse.cifs x rw\n".to_vec();
        lines.extend_from_slice(b"46 22 0:42 / /mnt/\xfe rw - fuse.cifs x rw\n");
        let found = find(&MountTable::parse(&lines), Path::new(OsStr::from_bytes(b"/mnt/\xfe/below")));
        assert_eq!(found.map(|entry| entry.id), Some(46));
    }

    #[test]
    fn symbolic_links_lead_to_a_mount_and_none_in_it_is_followed() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().canonicalize().unwrap();
        let at = |name: &str| folder.join(name);
        for name in ["mount", "links"] {
            fs::create_dir(at(name)).unwrap();
        }
        symlink(at("mount"), at("absolute")).unwrap();
        symlink("../mount/below", at("links/relative")).unwrap();
        symlink("loop", at("loop")).unwrap();
        symlink("/", at("mount/away")).unwrap();
        let table = table(&format!("45 22 0:41 / {} rw - fuse.cifs x rw\n", at("mount").display()));
        for path in ["absolute", "absolute/x/y", "links/relative", "absolute/away/x", "links/../absolute"] {
            assert_eq!(find(&table, &at(path)).map(|entry| entry.id), Some(45), "{path}");
        }
        assert_eq!(find(&table, &at("loop")), None);
        assert_eq!(find(&table, &at("links")), None);
    }
}
