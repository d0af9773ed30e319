//! What changes on a running mount: its log level by `cifs-fuse log`, and `-o remount`.

use crate::support::command::{Run, run};
use crate::support::files::fails_with;
use crate::support::mount::{Request, linked_as, program, program_for_all};
use crate::support::scene::Scene;
use crate::support::server::{Kind, Server, both_servers};
use crate::support::{scratch, wait_until};
use rustix::io::Errno;
use rustix::process::Signal;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::net::UnixListener;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::time::Duration;

both_servers!(a_mount_becomes_read_only_and_writable_again);

const LIMIT: Duration = Duration::from_secs(40);

/// The command as root's or, with a number, as another user's.
fn called(words: &[&str], user: Option<u32>) -> Run {
    let Some(user) = user else { return run(&mut program(words.iter().copied()), LIMIT) };
    run(Command::new(program_for_all()).env_clear().args(words).uid(user).gid(user), LIMIT)
}

/// A remount as mount(8) calls its helper.
fn remount(scene: &Scene, options: &str) -> Run {
    let mut helper = Command::new(linked_as("mount.fuse.cifs"));
    helper.env_clear().arg(scene.url()).arg(scene.mount.path());
    run(helper.args(["-o", &format!("remount,nosuid,nodev,relatime,user_id=0,default_permissions,{options}")]), LIMIT)
}

fn a_mount_becomes_read_only_and_writable_again(kind: Kind) {
    let scene = Scene::on(kind);
    let path = scene.here("file");
    fs::write(&path, "before").unwrap();
    let mut open = OpenOptions::new().append(true).open(&path).unwrap();
    open.write_all(b" and after").unwrap();
    let busy = remount(&scene, "ro");
    assert_eq!(busy.code, Some(32), "{busy}");
    busy.says("has a file open for writing");
    drop(open);
    remount(&scene, "ro").success();
    assert_eq!(fs::read(scene.there("file")).unwrap(), b"before and after");
    assert!(scene.mount.info().options.split(',').any(|option| option == "ro"), "{:?}", scene.mount.info().options);
    fails_with(fs::write(scene.here("new"), "x"), Errno::ROFS);
    fails_with(fs::remove_file(&path), Errno::ROFS);
    let path_of_mount = scene.mount.path().to_str().unwrap();
    called(&["status", path_of_mount, "--json"], None).success().says("\"read_only\": true");
    remount(&scene, "rw").success();
    fs::write(scene.here("new"), "x").unwrap();
    assert!(scene.there("new").exists());
    scene.mount.unmount();
}

/// The files of a mount that was made read-only can be changed after `remount,rw`: this program does not refuse either.
#[test]
fn a_mount_that_was_made_read_only_becomes_writable() {
    let scene = Scene::with(Kind::Smbd, |request| request.arg("--ro"));
    fails_with(fs::write(scene.here("file"), "x"), Errno::ROFS);
    remount(&scene, "rw").success();
    fs::write(scene.here("file"), "x").unwrap();
    scene.mount.unmount();
}

#[test]
fn what_cannot_be_changed_is_refused_and_what_is_equal_is_accepted() {
    let scene = Scene::with(Kind::Smbd, |request| request.args(["--uid=7", "--allow-other", "--actimeo=1"]));
    for (options, names) in [("rw,uid=8", "uid"), ("ro,cache=none,gid=9", "gid, cache"), ("rw,noexec", "noexec")] {
        let refused = remount(&scene, options);
        assert_eq!(refused.code, Some(32), "{refused}");
        refused.says(&format!("{names} cannot be changed on a running mount: unmount it, and mount it again"));
    }
    assert_eq!(remount(&scene, "rw,bogus").code, Some(1));
    // Nothing of a refused line is carried out.
    fs::write(scene.here("file"), "x").unwrap();
    remount(&scene, "rw,uid=7,allow_other,attr-timeout=1.0,cache=strict,_netdev,x-systemd.automount").success();
    let other = called(&[&scene.server.url(""), scene.mount.path().to_str().unwrap(), "-oremount,ro"], None);
    assert_eq!(other.code, Some(32), "{other}");
    fs::write(scene.here("file"), "y").unwrap();
    scene.mount.unmount();
}

#[test]
fn a_remount_sets_the_log_level_too() {
    let scene = Scene::on(Kind::Smbd);
    let path = scene.mount.path().to_str().unwrap().to_owned();
    remount(&scene, "ro,log-level=debug").success();
    assert_eq!(called(&["log", &path], None).stdout, "warn,cifs_fuse=debug (configured: warn)\n");
    let bad = remount(&scene, "rw,log-level=loud");
    assert_eq!(bad.code, Some(1), "{bad}");
    fails_with(fs::write(scene.here("file"), "x"), Errno::ROFS);
    scene.mount.unmount();
}

#[test]
fn the_log_level_of_a_running_mount_is_shown_and_changed() {
    let log = scratch::folder("log").join("log");
    let target = format!("--log-target=file:{}", log.display());
    let scene = Scene::with(Kind::Smbd, |request| request.args(["--log-level=error", &target]));
    let path = scene.mount.path().to_str().unwrap().to_owned();
    let answers = |level: &[&str]| called(&[&["log", path.as_str()], level].concat(), None).success().stdout;
    assert_eq!(answers(&[]), "error\n");
    assert_eq!(answers(&["trace"]), "warn,cifs_fuse=trace (configured: error)\n");
    fs::write(scene.here("traced"), "x").unwrap();
    let logged = || fs::read_to_string(&log).unwrap();
    assert!(wait_until(LIMIT, || logged().contains("operation=create")), "{}", logged());
    let refused = called(&["log", &path, "loud"], None);
    assert_eq!(refused.code, Some(1), "{refused}");
    refused.says("'loud' is no log level");
    assert_eq!(answers(&[]), "warn,cifs_fuse=trace (configured: error)\n");
    assert_eq!(answers(&["cifs_fuse::wire=info"]), "warn,cifs_fuse::wire=info (configured: error)\n");
    let long = called(&["log", &path, &"x".repeat(5000)], None);
    assert_eq!(long.code, Some(1), "{long}");
    long.says("at most 4096 bytes");
    assert_eq!(answers(&["configured"]), "error\n");
    assert!(logged().contains("the log level is now error"), "{}", logged());
    scene.mount.unmount();
}

#[test]
fn what_is_no_mount_and_what_does_not_answer_is_said() {
    let nothing = called(&["log", "/usr", "debug"], None);
    assert_eq!(nothing.code, Some(32), "{nothing}");
    nothing.says("/usr is not in a mount of this program");
    let scene = Scene::on(Kind::Smbd);
    let path = scene.mount.path().to_str().unwrap().to_owned();
    let foreign = called(&["log", &path, "debug"], Some(65_534));
    assert_eq!(foreign.code, Some(32), "{foreign}");
    foreign.says("was mounted by root; only that user and root");
    scene.mount.signal(Signal::STOP);
    let hangs = called(&["log", &path], None);
    scene.mount.signal(Signal::CONT);
    assert_eq!(hangs.code, Some(32), "{hangs}");
    hangs.says("no answer within 2 s");
    assert_eq!(called(&["log", &path], None).success().stdout, "warn\n");
    scene.mount.unmount();
}

/// A user's own mount: its log level changes, but the kernel lets only root make it read-only.
#[test]
fn an_ordinary_user_changes_the_log_level_and_is_told_that_remounting_needs_root() {
    let server = Server::shared(Kind::Smbd);
    let folder = server.new_folder("user");
    let url = server.url(&folder.file_name().unwrap().to_string_lossy());
    let mount = Request::new(&url).by_user(65_534).mount();
    let path = mount.path().to_str().unwrap();
    called(&["log", path, "debug"], Some(65_534)).success();
    let refused = called(&[&url, path, "-o", "remount,ro"], Some(65_534));
    assert_eq!(refused.code, Some(32), "{refused}");
    refused.says("only root can remount");
    called(&[&url, path, "-o", "remount,rw,log-level=info"], Some(65_534)).success();
    // The files belong to the user who mounted, whoever remounts.
    called(&[&url, path, "-o", "remount,rw,uid=65534,gid=65534"], None).success();
    let other = called(&[&url, path, "-o", "remount,rw,uid=0"], None);
    assert_eq!(other.code, Some(32), "{other}");
    other.says("uid cannot be changed");
    mount.unmount();
}

/// A mount removes the sockets that killed processes of its user have left, and no others.
#[test]
fn a_mount_removes_dead_sockets() {
    let scene = Scene::on(Kind::Smbd);
    let folder = std::path::Path::new("/run/cifs-fuse");
    let (dead, live) = (folder.join("4194305.sock"), folder.join("4194306.sock"));
    drop(UnixListener::bind(&dead).unwrap());
    let _live = UnixListener::bind(&live).unwrap();
    let second = scene.second_mount();
    assert!(!dead.exists() && live.exists());
    fs::remove_file(&live).unwrap();
    second.unmount();
    scene.mount.unmount();
}
