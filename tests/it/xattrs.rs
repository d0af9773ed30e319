//! `getfattr`: the creation time and the file attributes, which no copy takes along.

use crate::round_trips::{frames, within};
use crate::support::command::run;
use crate::support::line::Line;
use crate::support::scene::Scene;
use crate::support::server::{Kind, Server, both_servers};
use rustix::fs::{AtFlags, CWD, StatxFlags, XattrFlags, fgetxattr, getxattr, listxattr, removexattr, setxattr, statx};
use rustix::io::Errno;
use std::fs::{self, File, Permissions};
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::Duration;

both_servers!(
    the_creation_time_is_that_of_the_servers_disk,
    each_file_and_folder_has_its_attributes_on_all_mounts,
    other_extended_attributes_do_not_exist_and_none_can_be_set,
);

const LIMIT: Duration = Duration::from_secs(60);
/// 1970 in units of 100 ns since 1601.
const EPOCH: u64 = 116_444_736_000_000_000;

fn value<const N: usize>(path: &Path, name: &str) -> Result<[u8; N], Errno> {
    let mut value = [0; 100];
    let length = getxattr(path, name, &mut value)?;
    assert_eq!(length, N, "{name}");
    Ok(value[..N].try_into().unwrap())
}

fn created(path: &Path) -> u64 {
    u64::from_le_bytes(value(path, "user.cifs.creationtime").unwrap())
}

fn attributes(path: &Path) -> u32 {
    u32::from_le_bytes(value(path, "user.cifs.dosattrib").unwrap())
}

/// The creation time on a local disk, if its file system keeps it.
fn birth(path: &Path) -> Option<u64> {
    let found = statx(CWD, path, AtFlags::empty(), StatxFlags::BTIME).unwrap();
    let is_kept = StatxFlags::from_bits_retain(found.stx_mask).contains(StatxFlags::BTIME);
    is_kept.then(|| EPOCH + found.stx_btime.tv_sec as u64 * 10_000_000 + u64::from(found.stx_btime.tv_nsec) / 100)
}

fn the_creation_time_is_that_of_the_servers_disk(kind: Kind) {
    let scene = Scene::on(kind);
    fs::write(scene.there("file"), "first").unwrap();
    fs::create_dir(scene.there("folder")).unwrap();
    thread::sleep(Duration::from_millis(20));
    File::options().append(true).open(scene.there("file")).unwrap().write_all(b" and more").unwrap();
    let modified = fs::metadata(scene.here("file")).unwrap();
    let modified = EPOCH + modified.mtime() as u64 * 10_000_000 + modified.mtime_nsec() as u64 / 100;
    match birth(&scene.there("file")) {
        Some(birth) => {
            assert_eq!(created(&scene.here("file")), birth);
            assert!(birth < modified, "{birth} is no earlier than {modified}");
        }
        None => assert!(created(&scene.here("file")) <= modified),
    }
    if let Some(birth) = birth(&scene.there("folder")) {
        assert_eq!(created(&scene.here("folder")), birth);
    }
}

fn each_file_and_folder_has_its_attributes_on_all_mounts(kind: Kind) {
    const DIRECTORY: u32 = 0x10;
    const READONLY: u32 = 0x1;
    let scene = Scene::on(kind);
    fs::create_dir(scene.here("folder")).unwrap();
    fs::write(scene.here("file"), "x").unwrap();
    let other = scene.second_mount();
    for name in ["file", "folder", "."] {
        let (here, other) = (scene.here(name), other.join(name));
        assert_eq!((created(&here), attributes(&here)), (created(&other), attributes(&other)), "{name}");
        assert_eq!(attributes(&here) & DIRECTORY != 0, name != "file", "{name}");
        for value_name in ["creationtime", "dosattrib"] {
            let value = |prefix: &str| {
                let mut value = [0; 8];
                let length = getxattr(&here, format!("{prefix}.{value_name}"), &mut value).unwrap();
                value[..length].to_vec()
            };
            assert_eq!(value("user.cifs"), value("user.smb3"), "{name}: {value_name}");
        }
    }
    fs::set_permissions(scene.here("file"), Permissions::from_mode(0o444)).unwrap();
    assert_eq!(attributes(&scene.here("file")) & READONLY, READONLY);
    fs::set_permissions(scene.here("file"), Permissions::from_mode(0o644)).unwrap();
    assert_eq!(attributes(&scene.here("file")) & READONLY, 0);
    other.unmount();
}

fn other_extended_attributes_do_not_exist_and_none_can_be_set(kind: Kind) {
    let scene = Scene::on(kind);
    let file = scene.here("file");
    fs::write(&file, "x").unwrap();
    let before = created(&file);
    for name in ["user.colour", "user.cifs.creationtime.", "security.capability", "trusted.overlay.opaque"] {
        assert_eq!(getxattr(&file, name, &mut [0; 8]), Err(Errno::NOTSUP), "{name}");
        assert_eq!(removexattr(&file, name), Err(Errno::NOTSUP), "{name}");
    }
    for name in ["user.colour", "user.cifs.creationtime", "user.cifs.dosattrib"] {
        assert_eq!(setxattr(&file, name, &[1; 8], XattrFlags::empty()), Err(Errno::NOTSUP), "{name}");
    }
    assert_eq!(removexattr(&file, "user.cifs.creationtime"), Err(Errno::NOTSUP));
    assert_eq!(created(&file), before);
    assert_eq!(getxattr(&file, "user.cifs.creationtime", &mut [0; 7]), Err(Errno::RANGE));
    assert_eq!(listxattr(&file, &mut [0; 100]), Ok(0));
}

/// The attributes of a file that is renamed and written here stay its own, also while it is open and its data is dirty.
#[test]
fn the_creation_time_stays_after_a_write_a_rename_and_a_change_of_times() {
    let scene = Scene::on(Kind::Smbd);
    fs::write(scene.here("file"), "x").unwrap();
    let before = created(&scene.here("file"));
    thread::sleep(Duration::from_millis(20));
    let mut file = File::options().append(true).open(scene.here("file")).unwrap();
    file.write_all(b"dirty").unwrap();
    assert_eq!(created(&scene.here("file")), before);
    fs::rename(scene.here("file"), scene.here("renamed")).unwrap();
    assert_eq!(created(&scene.here("renamed")), before);
    drop(file);
    assert_eq!(created(&scene.here("renamed")), before);
    let other = scene.second_mount();
    assert_eq!(created(&other.join("renamed")), before);
    other.unmount();
}

/// The kernel asks for `security.capability` before writes of a file that is open for reading and writing.
#[test]
fn a_name_without_a_value_is_refused_without_asking_the_server() {
    let line = Line::to(Server::shared(Kind::Smbd), &["--attr-timeout=0"]);
    fs::write(line.here("file"), "x").unwrap();
    let file = File::open(line.here("file")).unwrap();
    let others = || {
        for name in ["security.capability", "trusted.overlay.opaque"] {
            assert_eq!(fgetxattr(&file, name, &mut [0; 8]), Err(Errno::NOTSUP), "{name}");
        }
    };
    within(0, frames(&line, others), "names without a value");
    drop(file);
    line.mount.unmount();
}

/// Copies with extended attributes, into the mount and out of it, succeed, say nothing and copy none.
#[test]
fn programs_that_copy_extended_attributes_are_quiet() {
    let scene = Scene::on(Kind::Smbd);
    fs::create_dir(scene.there("source")).unwrap();
    for name in ["one", "two"] {
        fs::write(scene.there("source").join(name), name).unwrap();
        assert_ne!(created(&scene.here("source").join(name)), 0);
    }
    let local = scene.server.new_folder("local");
    let mount = scene.mount.path().display();
    let script = format!(
        "set -e
        cp -a {mount}/source {mount}/by-cp
        cp -a {mount}/source out-by-cp
        cp -a out-by-cp {mount}/back-by-cp
        cp --preserve=all {mount}/source/one {mount}/one
        mv {mount}/back-by-cp out-by-mv
        rsync -aX {mount}/source/ {mount}/by-rsync/
        rsync -aX {mount}/source/ out-by-rsync/
        rsync -aAX --no-owner --no-group out-by-rsync/ {mount}/back-by-rsync/
        tar --xattrs -C {mount} -cf archive.tar source
        mkdir {mount}/by-tar out-by-tar
        tar --xattrs --xattrs-include='*' -C {mount}/by-tar -xf archive.tar
        tar --xattrs --xattrs-include='*' -C out-by-tar -xf archive.tar
        ls -l {mount}/source >listed
        getfattr --dump --recursive --match=- {mount}/source
        cd {mount}
        getfattr --only-values --name=user.cifs.creationtime source/one >{value}",
        value = local.join("value").display()
    );
    let done = run(Command::new("sh").args(["-c", &script]).current_dir(&local), LIMIT).success();
    assert_eq!((done.stdout.as_str(), done.stderr.as_str()), ("", ""));
    // getfattr asks for the length first.
    let value = fs::read(local.join("value")).unwrap();
    assert_eq!(value, created(&scene.here("source/one")).to_le_bytes());
    for copy in ["by-cp", "by-rsync", "back-by-rsync", "by-tar/source"] {
        assert_eq!(fs::read(scene.there(copy).join("two")).unwrap(), b"two", "{copy}");
    }
    for copy in ["out-by-cp", "out-by-mv", "out-by-rsync", "out-by-tar/source"] {
        let copied = getxattr(local.join(copy).join("two"), "user.cifs.creationtime", &mut [0; 8]);
        assert!(matches!(copied, Err(Errno::NODATA | Errno::NOTSUP)), "{copy}: {copied:?}");
    }
    assert!(!String::from_utf8_lossy(&fs::read(local.join("archive.tar")).unwrap()).contains("creationtime"));
}
