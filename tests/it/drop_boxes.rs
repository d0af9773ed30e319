//! Folders that may be entered and not listed, and files that may be written and not read.

use crate::support::command::run;
use crate::support::files::{fails_with, names};
use crate::support::scene::Scene;
use crate::support::server::{Kind, Server, Settings, both_servers};
use crate::support::smbd::Smbd;
use rustix::io::Errno;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

both_servers!(df_shows_the_free_space_of_each_folder_and_file);

/// The account that Samba acts as where the tests run as root, to whom everything is allowed.
const NOT_ROOT: &[&str] = &["force user = daemon"];

/// A folder on a server that acts as a user with ordinary rights.
fn scene() -> Scene {
    let is_root = rustix::process::geteuid().is_root();
    let settings = Settings { share_lines: if is_root { NOT_ROOT } else { &[] }, ..Settings::default() };
    let scene = Scene::of(Arc::new(Server::Smbd(Smbd::start(settings))), |request| request);
    set_mode(&scene.folder, 0o777);
    scene
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

/// A folder on the server's disk with this mode, and a file in it.
fn folder(scene: &Scene, name: &str, mode: u32) {
    fs::create_dir(scene.there(name)).unwrap();
    fs::write(scene.there(name).join("known"), "known").unwrap();
    set_mode(&scene.there(name), mode);
}

#[test]
fn files_are_put_into_a_folder_that_may_not_be_listed() {
    let scene = scene();
    folder(&scene, "box", 0o333);
    fs::write(scene.here("box/new"), "scan").unwrap();
    File::create_new(scene.here("box/exclusive")).unwrap().write_all(b"one").unwrap();
    fails_with(File::create_new(scene.here("box/exclusive")), Errno::EXIST);
    fs::create_dir(scene.here("box/folder")).unwrap();
    fs::write(scene.here("box/folder/below"), "x").unwrap();
    OpenOptions::new().append(true).open(scene.here("box/new")).unwrap().write_all(b", more").unwrap();
    fails_with(fs::read_dir(scene.here("box")).and_then(|mut entries| entries.next().transpose()), Errno::ACCESS);
    set_mode(&scene.there("box"), 0o777);
    assert_eq!(names(&scene.there("box")), ["exclusive", "folder", "known", "new"]);
    assert_eq!(fs::read(scene.there("box/new")).unwrap(), b"scan, more");
    assert_eq!(fs::read(scene.there("box/exclusive")).unwrap(), b"one");
}

#[test]
fn a_name_in_a_folder_that_may_not_be_listed_is_found_or_absent() {
    let scene = scene();
    folder(&scene, "walk", 0o111);
    assert_eq!(fs::read(scene.here("walk/known")).unwrap(), b"known");
    for _ in 0..6 {
        fails_with(fs::metadata(scene.here("walk/absent")), Errno::NOENT);
    }
    assert_eq!(fs::metadata(scene.here("walk/known")).unwrap().len(), 5);
    fails_with(fs::write(scene.here("walk/new"), "x"), Errno::ACCESS);
    folder(&scene, "closed", 0o444);
    fails_with(fs::metadata(scene.here("closed/known")), Errno::ACCESS);
    set_mode(&scene.there("walk"), 0o777);
    set_mode(&scene.there("closed"), 0o777);
}

#[test]
fn a_file_that_may_be_written_and_not_read_is_written() {
    let scene = scene();
    fs::write(scene.there("log"), "first").unwrap();
    set_mode(&scene.there("log"), 0o222);
    assert_eq!(fs::metadata(scene.here("log")).unwrap().len(), 5);
    fails_with(File::open(scene.here("log")), Errno::ACCESS);
    fails_with(OpenOptions::new().read(true).write(true).open(scene.here("log")), Errno::ACCESS);
    let mut log = OpenOptions::new().append(true).open(scene.here("log")).unwrap();
    log.write_all(b", second").unwrap();
    log.sync_all().unwrap();
    assert_eq!(log.metadata().unwrap().len(), 13);
    drop(log);
    fs::write(scene.here("log"), "new").unwrap();
    assert_eq!(fs::metadata(scene.here("log")).unwrap().len(), 3);
    set_mode(&scene.there("log"), 0o666);
    assert_eq!(fs::read(scene.there("log")).unwrap(), b"new");
    fs::write(scene.there("secret"), "read").unwrap();
    set_mode(&scene.there("secret"), 0o444);
    fails_with(OpenOptions::new().write(true).open(scene.here("secret")), Errno::ACCESS);
    assert_eq!(fs::read(scene.here("secret")).unwrap(), b"read");
}

/// As in /tmp: everyone makes files, and removes own ones only. Only root can make a file of another user.
#[test]
fn files_are_made_where_those_of_others_cannot_be_removed() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let scene = scene();
    folder(&scene, "shared", 0o1777);
    fs::write(scene.here("shared/own"), "own").unwrap();
    fails_with(fs::remove_file(scene.here("shared/known")), Errno::ACCESS);
    fails_with(fs::rename(scene.here("shared/known"), scene.here("shared/other")), Errno::ACCESS);
    assert_eq!(fs::read(scene.here("shared/known")).unwrap(), b"known");
    fs::remove_file(scene.here("shared/own")).unwrap();
    assert_eq!(names(&scene.there("shared")), ["known"]);
}

fn df_shows_the_free_space_of_each_folder_and_file(kind: Kind) {
    let scene = Scene::on(kind);
    fs::create_dir_all(scene.here("a/b")).unwrap();
    fs::write(scene.here("a/b/file"), "x").unwrap();
    let there = rustix::fs::statvfs(scene.there("a/b")).unwrap();
    for name in ["", "a/b", "a/b/file"] {
        let here = rustix::fs::statvfs(scene.here(name)).unwrap();
        let (shown, real) = (here.f_blocks * here.f_frsize, there.f_blocks * there.f_frsize);
        assert!(shown.abs_diff(real) <= real / 10, "{name:?}: {shown} against {real}");
    }
    let file = File::open(scene.here("a/b/file")).unwrap();
    fs::remove_file(scene.here("a/b/file")).unwrap();
    assert!(rustix::fs::fstatvfs(&file).unwrap().f_blocks > 0);
}

/// A file system that is mounted for a test. Mounting needs root.
struct Disk(PathBuf);

impl Disk {
    fn mount(at: &Path) -> Option<Disk> {
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", "size=1M", "none"]).arg(at);
        (run(&mut mount, Duration::from_secs(10)).code == Some(0)).then(|| Disk(at.to_owned()))
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        run(Command::new("umount").arg("-l").arg(&self.0), Duration::from_secs(10));
    }
}

#[test]
fn df_shows_the_disk_that_a_folder_is_on() {
    let scene = Scene::on(Kind::Smbd);
    fs::create_dir(scene.there("disk")).unwrap();
    let Some(_disk) = Disk::mount(&scene.there("disk")) else { return };
    fs::create_dir(scene.there("disk/d")).unwrap();
    fs::write(scene.there("disk/d/file"), "x").unwrap();
    let total = |name: &str| {
        let space = rustix::fs::statvfs(scene.here(name)).unwrap();
        space.f_blocks * space.f_frsize
    };
    let root = total("");
    assert_ne!(root, 1 << 20);
    for name in ["disk", "disk/d", "disk/d/file"] {
        assert_eq!(total(name), 1 << 20, "{name}");
    }
    assert_eq!(total(""), root, "each folder has its own numbers");
}
