//! The three command line forms: long options, `-o`, and the mount helper that mount(8) and systemd call.

use crate::support::command::run;
use crate::support::files::names;
use crate::support::mount::{Mount, Request, linked_as};
use crate::support::scene::Scene;
use crate::support::scratch;
use crate::support::server::{Kind, PASSWORD, Server, user};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(30);

fn scene() -> Scene {
    let scene = Scene::on(Kind::Smbd);
    fs::write(scene.there("file"), "x").unwrap();
    scene
}

fn shows(mount: &Mount, mode: u32, owner: u32) {
    let metadata = fs::metadata(mount.join("file")).unwrap();
    assert_eq!((metadata.mode() & 0o777, metadata.uid()), (mode, owner));
}

#[test]
fn the_kernel_shows_the_type_and_the_source() {
    let scene = scene();
    let info = scene.mount.info();
    assert_eq!(info.kind, "fuse.cifs", "systemd treats this type as a network mount");
    assert!(info.source.starts_with("cifs://127.0.0.1:") && !info.source.contains("auth"), "{}", info.source);
    assert!(info.has_option("nosuid") && info.has_option("nodev"), "{info:?}");
    scene.mount.unmount();
}

#[test]
fn long_options_and_o_options_mean_the_same() {
    let scene = scene();
    let forms: [&[&str]; 4] = [
        &["--file-mode=0600", "--uid", "1234"],
        &["-o", "file_mode=0600,uid=1234"],
        &["-o", "file-mode=0600", "-ouid=1234"],
        &["-o", "rw,nosuid,nodev,noatime,_netdev,nofail,user,x-gvfs-show,comment=hi,file-mode=0600,uid=1234,dev,suid"],
    ];
    for form in forms {
        let mount = Request::new(scene.url()).args(form).mount();
        shows(&mount, 0o600, 1234);
        mount.unmount();
    }
}

fn credentials() -> PathBuf {
    let file = scratch::folder("secret").join("credentials");
    fs::write(&file, format!("username={}\npassword={PASSWORD}\n", user())).unwrap();
    fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    file
}

/// The arguments that mount(8) passes, in its order: the options come last.
#[test]
fn the_mount_helper_mounts() {
    let scene = scene();
    let helper = linked_as("mount.fuse.cifs");
    let options =
        format!("rw,noexec,nosuid,nodev,uid=1234,_netdev,nofail,user,credentials={}", credentials().display());
    let request = Request::new(scene.url()).without_credentials().program(&helper);
    let mount = request.args(["-s", "-n", "-v", "-o", &options, "-t", "fuse.cifs"]).mount();
    shows(&mount, 0o755, 1234);
    assert!(mount.info().has_option("noexec"));
    mount.unmount();
}

#[test]
fn the_mount_helper_mounts_read_only() {
    let scene = scene();
    let mount = Request::new(scene.url()).program(&linked_as("mount.fuse.cifs")).args(["-o", "ro"]).mount();
    assert!(mount.info().has_option("ro"));
    mount.unmount();
}

#[test]
fn errors_of_the_mount_helper_have_the_exit_codes_of_mount() {
    let server = Server::shared(Kind::Smbd);
    let helper = linked_as("mount.fuse.cifs");
    let request = || Request::new(server.url("")).program(&helper);
    request().args(["-o", "no_such_option=1"]).fails(1).says("no_such_option");
    Request::new("cifs://host").program(&helper).fails(1).says("share");
    request().at(Path::new("/no/such/folder")).fails(32).says("mountpoint");
    request().args(["-o", "rw,remount"]).fails(32).says("is not in a mount of this program");
    // With -s, unknown options are ignored.
    let mount = request().args(["-s", "-o", "no_such_option=1,ro"]).mount();
    assert!(mount.info().has_option("ro"));
    mount.unmount();
}

/// `mount -f` checks everything that needs no connection, and then does nothing.
#[test]
fn a_fake_mount_connects_to_nothing() {
    let port = scratch::free_port();
    let helper = linked_as("mount.fuse.cifs");
    for (url, code) in [(format!("cifs://127.0.0.1:{port}/share"), 0), ("cifs://127.0.0.1".to_owned(), 1)] {
        let mountpoint = scratch::folder("mnt");
        let mut command = Command::new(&helper);
        command.arg(url).arg(&mountpoint).args(["-s", "-f", "-n", "-v", "-o", "rw,guest"]);
        let outcome = run(&mut command, LIMIT);
        assert_eq!(outcome.code, Some(code), "{outcome}");
        assert!(crate::support::mountinfo::at(&mountpoint).is_none());
    }
}

/// `mount -t fuse.cifs-fuse` finds the program by the name after `fuse.`. Because mount(8) sets `PATH`, a
/// program that is not installed needs its full path there.
#[test]
fn mount_itself_mounts_and_unmounts() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: for users other than root mount(8) needs a line in /etc/fstab");
        return;
    }
    let scene = scene();
    let options = format!("rw,_netdev,nofail,uid=1234,credentials={}", credentials().display());
    let mountpoint = scratch::folder("mnt");
    let fs_type = format!("fuse.{}", linked_as("cifs-fuse").display());
    let mount = |url: &str| {
        let mut command = Command::new("mount");
        run(command.args(["-t", &fs_type, url]).arg(&mountpoint).args(["-o", &options]), LIMIT)
    };
    mount(&scene.url()).success();
    let found = Mount::found_at(&mountpoint, LIMIT);
    assert_eq!(found.info().kind, "fuse.cifs");
    shows(&found, 0o755, 1234);
    assert_eq!(names(found.path()), ["file"]);
    found.unmount();

    fs::create_dir(&mountpoint).unwrap();
    let outcome = mount(&format!("{}-missing", scene.url()));
    assert_eq!(outcome.code, Some(32), "{outcome}");
    outcome.says("STATUS_OBJECT_NAME_NOT_FOUND");
}

/// A relative mountpoint is relative to the working directory of the caller, though the process changes its
/// own to `/`.
#[test]
fn a_relative_mountpoint_is_relative_to_the_caller() {
    let scene = scene();
    let folder = scratch::folder("stand-here");
    fs::create_dir(folder.join("mnt")).unwrap();
    let mut command = crate::support::mount::program([scene.url().as_str(), "mnt"]);
    command.env("AUTH_USERNAME", user()).env("AUTH_PASSWORD", PASSWORD);
    run(command.current_dir(&folder), LIMIT).success();
    let mount = Mount::found_at(&folder.join("mnt"), LIMIT);
    assert_eq!(fs::read_link(format!("/proc/{}/cwd", mount.process())).unwrap(), Path::new("/"));
    assert_eq!(names(mount.path()), ["file"]);
    mount.unmount();
}

/// A shell script that captures the output relies on this, and a terminal can be closed.
#[test]
fn a_process_in_the_background_holds_no_descriptor_of_the_caller() {
    let scene = scene();
    let process = scene.mount.process();
    for descriptor in 0..3 {
        let target = fs::read_link(format!("/proc/{process}/fd/{descriptor}")).unwrap();
        assert_eq!(target, Path::new("/dev/null"), "descriptor {descriptor}");
    }
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit_once(") ").unwrap().1.split(' ').collect();
    let own = fs::read_to_string("/proc/self/stat").unwrap();
    let own_session = own.rsplit_once(") ").unwrap().1.split(' ').nth(3).unwrap().to_owned();
    assert_ne!(fields[3], own_session, "the process must have a session of its own");
    assert_eq!(fields[4], "0", "the process must have no terminal");
    scene.mount.unmount();
}
