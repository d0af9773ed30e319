//! Several mounts at one path: each can be ended without the others.

use crate::support::command::run;
use crate::support::mount::program_for_all;
use crate::support::mountinfo;
use crate::support::processes::is_running;
use crate::support::scene::Scene;
use crate::support::scratch;
use crate::support::server::{Kind, PASSWORD, user};
use crate::support::wait_until;
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
use rustix::process::Signal;
use std::fs;
use std::process::Command;
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(30);

/// Shell script: detaches a first mount while a file on it is open, makes a second mount at the same path, and ends the
/// first process. It runs in a mount namespace without the FUSE control file system, where a connection can be ended
/// only by its path.
const DETACHED: &str = r#"
    # Below a chroot / is no mount, and the namespace around it is private already.
    mount --make-rprivate / 2>/dev/null
    umount /sys/fs/fuse/connections 2>/dev/null
    program=$1 url=$2 folder=$3; shift 3
    mounted() { grep -q " $folder .*fuse.cifs" /proc/self/mountinfo; }
    wait_for() { for i in $(seq 200); do "$@" && return; sleep 0.1; done; echo "in vain: $*"; exit 1; }
    trap 'kill -9 $first $second $holder 2>/dev/null' EXIT
    "$@" "$program" "$url" "$folder" --foreground & first=$!
    wait_for mounted
    "$@" sh -c "echo x > $folder/file; exec sleep 100 5<$folder/file" & holder=$!
    holds() { readlink /proc/$holder/fd/5 >/dev/null; }
    wait_for holds
    umount -l "$folder"
    "$@" "$program" "$url" "$folder" --foreground & second=$!
    wait_for mounted
    "$@" ls "$folder" >/dev/null || exit 1
    kill -TERM $first
    wait $first
    mounted || { echo "the mount of the second process is gone"; exit 1; }
    "$@" ls "$folder" | grep -q file || { echo "the mount of the second process is dead"; exit 1; }
    kill -TERM $second
    wait $second || { echo "the second process failed"; exit 1; }
    ! mounted || { echo "the second mount is still there"; exit 1; }
"#;

fn a_detached_mount_ends_alone(owner: u32, prefix: &[&str]) {
    let scene = Scene::on(Kind::Smbd);
    let folder = scratch::folder("mnt");
    std::os::unix::fs::chown(&folder, Some(owner), Some(owner)).unwrap();
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation", "unchanged", "bash", "-c", DETACHED, "bash"]);
    command
        .arg(program_for_all())
        .arg(scene.url())
        .arg(&folder)
        .args(prefix)
        .env("AUTH_USERNAME", user())
        .env("AUTH_PASSWORD", PASSWORD);
    run(&mut command, Duration::from_secs(90)).success();
}

#[test]
fn a_detached_mount_of_root_ends_alone() {
    a_detached_mount_ends_alone(0, &[]);
}

#[test]
fn a_detached_mount_of_an_ordinary_user_ends_alone() {
    a_detached_mount_ends_alone(65534, &["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]);
}

/// A mount that is covered by another one cannot be unmounted. Its process ends nevertheless, with all written data on
/// the server. When the covering mount is gone, the dead mount under it goes too.
#[test]
fn a_mount_on_top_of_ours_stays_when_ours_ends() {
    let scene = Scene::on(Kind::Smbd);
    fs::write(scene.here("file"), "safe").unwrap();
    mount("cover", scene.mount.path(), "tmpfs", MountFlags::empty(), None).unwrap();
    scene.mount.signal(Signal::TERM);
    assert!(wait_until(LIMIT, || !is_running(scene.mount.process())), "the process is still running after SIGTERM");
    assert_eq!(mountinfo::at(scene.mount.path()).unwrap().kind, "tmpfs");
    fs::write(scene.here("on the cover"), "x").unwrap();
    unmount(scene.mount.path(), UnmountFlags::empty()).unwrap();
    assert!(wait_until(LIMIT, || mountinfo::at(scene.mount.path()).is_none()), "a dead mount is left");
    assert_eq!(fs::read(scene.there("file")).unwrap(), b"safe");
}
