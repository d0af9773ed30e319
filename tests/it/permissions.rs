//! Owners, modes, who may access the mount, and read-only mounts and shares.

use crate::support::command::{Run, run};
use crate::support::files::{fails_with, names};
use crate::support::mount::Request;
use crate::support::scene::{Scene, url_of};
use crate::support::server::{Kind, Server, Settings, both_servers};
use rustix::io::Errno;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

both_servers!(
    files_belong_to_the_user_who_mounts,
    owner_group_and_modes_are_those_of_the_options,
    a_read_only_mount_changes_nothing,
    a_read_only_share_changes_nothing,
    an_ordinary_user_mounts_works_and_unmounts,
);

/// A user id other than root's: that of the account `nobody` on Debian.
const OTHER_UID: u32 = 65534;

fn files_belong_to_the_user_who_mounts(kind: Kind) {
    let scene = Scene::on(kind);
    fs::write(scene.there("file"), "x").unwrap();
    fs::create_dir(scene.there("folder")).unwrap();
    let (uid, gid) = (rustix::process::getuid().as_raw(), rustix::process::getgid().as_raw());
    for (name, mode) in [("file", 0o100_755), ("folder", 0o040_755), ("", 0o040_755)] {
        let metadata = fs::metadata(scene.here(name)).unwrap();
        assert_eq!((metadata.uid(), metadata.gid(), metadata.mode()), (uid, gid, mode), "{name:?}");
    }
}

fn owner_group_and_modes_are_those_of_the_options(kind: Kind) {
    let options = ["--uid=4711", "--gid=4712", "--file-mode=0640", "--dir-mode=0750"];
    let scene = Scene::with(kind, |request| options.iter().fold(request, |request, option| request.arg(option)));
    fs::write(scene.there("theirs"), "x").unwrap();
    fs::write(scene.here("mine"), "x").unwrap();
    fs::create_dir(scene.here("folder")).unwrap();
    for (name, mode) in [("theirs", 0o100_640), ("mine", 0o100_640), ("folder", 0o040_750), ("", 0o040_750)] {
        let metadata = fs::metadata(scene.here(name)).unwrap();
        assert_eq!((metadata.uid(), metadata.gid(), metadata.mode()), (4711, 4712, mode), "{name:?}");
    }
}

fn refuses_changes(folder: &Path, expected: &[Errno]) {
    let refused = |what: &str, result: std::io::Result<()>| {
        let error = result.map_err(|error| Errno::from_io_error(&error));
        assert!(error.is_err_and(|error| expected.contains(&error.unwrap())), "{what}");
    };
    refused("create", fs::write(folder.join("new"), "x"));
    refused("write", fs::OpenOptions::new().write(true).open(folder.join("file")).map(drop));
    refused("truncate", fs::File::create(folder.join("file")).map(drop));
    refused("delete", fs::remove_file(folder.join("file")));
    refused("rename", fs::rename(folder.join("file"), folder.join("other")));
    refused("mkdir", fs::create_dir(folder.join("new")));
    refused("rmdir", fs::remove_dir(folder.join("folder")));
    refused("chmod", fs::set_permissions(folder.join("file"), fs::Permissions::from_mode(0o444)));
}

fn a_read_only_mount_changes_nothing(kind: Kind) {
    let scene = Scene::with(kind, |request| request.arg("--ro"));
    fs::write(scene.there("file"), "kept").unwrap();
    fs::create_dir(scene.there("folder")).unwrap();
    assert!(scene.mount.info().has_option("ro"), "the kernel does not list it as read-only: {:?}", scene.mount.info());
    refuses_changes(scene.mount.path(), &[Errno::ROFS]);
    assert_eq!(fs::read(scene.here("file")).unwrap(), b"kept");
    assert_eq!(names(&scene.folder), ["file", "folder"]);
}

fn a_read_only_share_changes_nothing(kind: Kind) {
    let server = Server::start(kind, Settings { read_only: true, ..Settings::default() });
    fs::write(server.folder().join("file"), "kept").unwrap();
    fs::create_dir(server.folder().join("folder")).unwrap();
    let mount = Request::new(server.url("")).mount();
    assert_eq!(fs::read(mount.join("file")).unwrap(), b"kept");
    refuses_changes(mount.path(), &[Errno::ACCESS, Errno::ROFS, Errno::PERM]);
    assert_eq!(names(server.folder()), ["file", "folder"]);
    assert_eq!(fs::read(server.folder().join("file")).unwrap(), b"kept");
}

fn an_ordinary_user_mounts_works_and_unmounts(kind: Kind) {
    let scene = Scene::with(kind, |request| request.by_user(OTHER_UID));
    let info = scene.mount.info();
    assert_eq!(info.kind, "fuse.cifs");
    assert!(info.has_option(&format!("user_id={OTHER_UID}")) && info.has_option("nosuid") && info.has_option("nodev"));
    let path = scene.here("file");
    as_user(OTHER_UID, &format!("echo hello > {0} && mkdir {0}.d && cat {0}", path.display())).success().says("hello");
    let listed = as_user(OTHER_UID, &format!("ls -ln {}", scene.mount.path().display())).success();
    listed.says(&format!(" {OTHER_UID} {OTHER_UID} "));
    assert_eq!(fs::read(scene.there("file")).unwrap(), b"hello\n");
    scene.mount.unmount();
}

#[test]
fn other_users_cannot_access_the_mount_of_an_ordinary_user() {
    let scene = Scene::with(Kind::Smbd, |request| request.by_user(OTHER_UID));
    // Not even root has access.
    fails_with(fs::read_dir(scene.mount.path()), Errno::ACCESS);
}

#[test]
fn other_users_can_access_a_mount_only_with_allow_other() {
    let closed = Scene::on(Kind::Smbd);
    assert_ne!(as_user(OTHER_UID, &format!("ls {}", closed.mount.path().display())).code, Some(0));
    let open = Scene::with(Kind::Smbd, |request| request.arg("--allow-other"));
    fs::write(open.there("file"), "for all").unwrap();
    let path = open.here("file");
    as_user(OTHER_UID, &format!("cat {}", path.display())).success().says("for all");
    // The kernel enforces the modes that the mount shows.
    let denied = as_user(OTHER_UID, &format!("echo more >> {}", path.display()));
    denied.says("permission denied");
    assert_eq!(fs::read(open.there("file")).unwrap(), b"for all");
}

#[test]
fn allow_other_by_an_ordinary_user_fails_and_names_fuse_conf() {
    let allowed = fs::read_to_string("/etc/fuse.conf").unwrap_or_default();
    if allowed.lines().any(|line| line.trim() == "user_allow_other") {
        eprintln!("skipped: /etc/fuse.conf already has user_allow_other");
        return;
    }
    let server = Server::shared(Kind::Smbd);
    let folder = server.new_folder("scene");
    let request = Request::new(url_of(&server, &folder)).by_user(OTHER_UID).arg("--allow-other");
    request.fails(32).says("user_allow_other").says("/etc/fuse.conf");
}

fn as_user(id: u32, script: &str) -> Run {
    let mut command = Command::new("sh");
    command.arg("-c").arg(script).uid(id).gid(id);
    run(&mut command, Duration::from_secs(30))
}
