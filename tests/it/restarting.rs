//! `--restart`: a mount whose process is killed is mounted again by its guardian; a mount that was unmounted is not.

use crate::support::command::run;
use crate::support::mount::{Mount, Request, program, program_for_all};
use crate::support::mountinfo;
use crate::support::processes::{guardian_of, is_running, processes_of};
use crate::support::proxy::Proxy;
use crate::support::scene::url_of;
use crate::support::scratch;
use crate::support::server::{Kind, PASSWORD, Server, url, user};
use crate::support::wait_until;
use rustix::process::{Pid, Signal, kill_process};
use std::fs::{self, File};
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(30);
/// A user id other than root's: that of the account `nobody` on Debian.
const OTHER_UID: u32 = 65534;

fn credentials(owner: u32) -> PathBuf {
    let file = scratch::folder("secret").join("credentials");
    write_password(&file, PASSWORD);
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    chown(&file, Some(owner), Some(owner)).unwrap();
    file
}

fn write_password(file: &Path, password: &str) {
    fs::write(file, format!("username={}\npassword={password}\n", user())).unwrap();
}

/// A request for a mount with `restart` and a credentials file.
fn request(url: &str, credentials: &Path) -> Request {
    Request::new(url).without_credentials().args(["-o", &format!("restart,credentials={}", credentials.display())])
}

/// A new file on the server, and the URL of its folder.
fn shared_file() -> (PathBuf, String) {
    let server = Server::shared(Kind::Smbd);
    let folder = server.new_folder("restart");
    fs::write(folder.join("file"), "x").unwrap();
    (folder.join("file"), url_of(&server, &folder))
}

fn send(pid: i32, signal: Signal) {
    kill_process(Pid::from_raw(pid).expect("a process has a number above 0"), signal).expect("our own process");
}

#[track_caller]
fn guardian(mount: &Mount) -> i32 {
    guardian_of(mount.process()).expect("a mount has a guardian")
}

/// Kills the process of a mount and returns the mount made by its successor. The guardian ends when that works.
#[track_caller]
fn killed_and_back(mount: &Mount) -> Mount {
    let guardian = guardian(mount);
    mount.signal(Signal::KILL);
    assert!(wait_until(LIMIT, || !is_running(guardian)), "the guardian has not ended");
    let back = Mount::found_at(mount.path(), Duration::from_secs(90));
    assert_ne!(back.process(), mount.process());
    back
}

/// Asserts that the guardian ends and that then neither a mount is there nor a process that could make one.
#[track_caller]
fn is_over(mountpoint: &Path, guardian: i32) {
    assert!(wait_until(LIMIT, || !is_running(guardian)), "the guardian has not ended");
    assert!(mountinfo::at(mountpoint).is_none(), "it was mounted again");
    assert!(wait_until(LIMIT, || processes_of(mountpoint).is_empty()), "{:?}", processes_of(mountpoint));
}

/// The content of a file as this user reads it. Without `allow_other` not even root may access another user's mount.
#[track_caller]
fn read_as(user: u32, file: &Path) -> String {
    run(Command::new("cat").arg(file).uid(user).gid(user), LIMIT).success().stdout
}

#[test]
fn a_mount_is_made_again_each_time_its_process_is_killed() {
    for owner in [0, OTHER_UID] {
        let (file, url) = shared_file();
        let request = request(&url, &credentials(owner));
        let first = if owner == 0 { request } else { request.by_user(owner) }.mount();
        let second = killed_and_back(&first);
        assert_eq!(read_as(owner, &second.join("file")), "x");
        assert_eq!(second.info().source, url);

        fs::write(&file, "changed").unwrap();
        let third = killed_and_back(&second);
        assert_eq!(read_as(owner, &third.join("file")), "changed");
        let last = guardian(&third);
        third.signal(Signal::TERM);
        is_over(third.path(), last);
    }
}

/// The process and its guardian have `/` as working directory; the paths on the command line are relative to another
/// folder.
#[test]
fn relative_paths_keep_their_meaning_after_a_restart() {
    let (_, url) = shared_file();
    let (mountpoint, secret) = (scratch::folder("again"), credentials(0));
    let relative = |path: &Path| path.strip_prefix(scratch::root()).unwrap().to_str().unwrap().to_owned();
    let words = [&url, &relative(&mountpoint), "--restart", "--credentials", &relative(&secret)];
    run(program(words).current_dir(scratch::root()), LIMIT).success();
    let first = Mount::found_at(&mountpoint, Duration::from_secs(90));
    let second = killed_and_back(&first);
    assert_eq!(fs::read(second.join("file")).unwrap(), b"x");
    second.unmount();
}

#[test]
fn a_working_directory_that_the_user_may_not_enter_does_not_matter() {
    let (_, url) = shared_file();
    let (closed, mountpoint) = (scratch::folder("closed"), scratch::folder("again"));
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o700)).unwrap();
    chown(&mountpoint, Some(OTHER_UID), Some(OTHER_UID)).unwrap();
    let mut command = Command::new("setpriv");
    command.args([&format!("--reuid={OTHER_UID}"), &format!("--regid={OTHER_UID}"), "--clear-groups", "--"]);
    command.arg(program_for_all()).arg(&url).arg(&mountpoint).arg("--restart");
    command.arg("--credentials").arg(credentials(OTHER_UID)).current_dir(&closed);
    run(&mut command, LIMIT).success();
    let first = Mount::found_at(&mountpoint, Duration::from_secs(90));
    killed_and_back(&first).unmount();
}

/// Like the first process, the new one has a session of its own, blocks the same signals, and has no descriptor of the
/// guardian open.
#[test]
fn the_new_process_has_the_session_and_signals_of_the_old_one() {
    let (_, url) = shared_file();
    let first = request(&url, &credentials(0)).mount();
    let state = |mount: &Mount| {
        let process = format!("/proc/{}", mount.process());
        let status = fs::read_to_string(format!("{process}/status")).unwrap();
        // Signals up to 31 have names. Of the real-time signals above them, the C library uses the first two itself.
        let named =
            |line: &str| u64::from_str_radix(line.split_whitespace().last()?, 16).ok().map(|mask| mask & 0x7fff_ffff);
        let masks: Vec<_> = status.lines().filter(|line| line.starts_with("Sig")).skip(2).map(named).collect();
        let stat = fs::read_to_string(format!("{process}/stat")).unwrap();
        let session = stat.rsplit_once(") ").unwrap().1.split(' ').nth(3).unwrap().to_owned();
        let of_the_guardian = fs::read_dir(format!("{process}/fd")).unwrap().filter_map(|entry| {
            let opened = fs::read_link(entry.ok()?.path()).ok()?.display().to_string();
            // The process also opens the mount's own control file.
            opened.contains("signalfd").then_some(opened)
        });
        (masks, session == mount.process().to_string(), of_the_guardian.count())
    };
    let before = state(&first);
    let second = killed_and_back(&first);
    assert_eq!(state(&second), before);
    let words = fs::read(format!("/proc/{}/cmdline", guardian(&second))).unwrap();
    assert!(
        !String::from_utf8_lossy(&words).contains("credentials"),
        "the guardian's command line shows the arguments of the program"
    );
    second.unmount();
}

#[test]
fn an_unmounted_mount_is_not_made_again() {
    let ways: [&[&str]; 3] = [&["fusermount3", "-u"], &["umount"], &["umount", "-l"]];
    for way in ways {
        let (_, url) = shared_file();
        let mount = request(&url, &credentials(0)).mount();
        let last = guardian(&mount);
        // After `umount -l` an open file keeps the process running; that process is then killed.
        let open = way.contains(&"-l").then(|| File::open(mount.join("file")).unwrap());
        mount.unmount_by(way);
        if open.is_some() {
            mount.signal(Signal::KILL);
        }
        is_over(mount.path(), last);
    }
}

/// A process is killed during an unmount that takes too long. An open file keeps the unmount from ending.
#[test]
fn a_mount_killed_during_its_unmount_is_not_made_again() {
    let (_, url) = shared_file();
    let log = scratch::folder("log").join("log");
    let target = format!("--log-target=file:{}", log.display());
    let mount = request(&url, &credentials(0)).args(["--log-level=info", &target]).mount();
    let last = guardian(&mount);
    let _open = File::open(mount.join("file")).unwrap();
    mount.signal(Signal::TERM);
    let begun = || fs::read_to_string(&log).unwrap().contains("SIGTERM: unmounting");
    assert!(wait_until(LIMIT, begun), "the unmount has not begun");
    mount.signal(Signal::KILL);
    is_over(mount.path(), last);
}

/// The guardian tries again with growing pauses. SIGTERM to the guardian, or a removed mountpoint, ends that.
#[test]
fn the_guardian_tries_a_server_that_is_away_until_it_answers() {
    for ending in ["it comes", "SIGTERM", "rmdir"] {
        let server = Server::shared(Kind::Smbd);
        let proxy = Proxy::to_port(server.port());
        let mount = request(&url("127.0.0.1", proxy.port(), ""), &credentials(0)).mount();
        let last = guardian(&mount);
        proxy.refuse();
        proxy.cut();
        mount.signal(Signal::KILL);
        assert!(wait_until(LIMIT, || mountinfo::at(mount.path()).is_none()), "the dead mount was not removed");
        assert!(is_running(last), "the guardian has given up");
        match ending {
            "SIGTERM" => send(last, Signal::TERM),
            "rmdir" => fs::remove_dir(mount.path()).unwrap(),
            _ => {
                proxy.forward();
                assert!(wait_until(LIMIT, || !is_running(last)), "the guardian has not ended");
                Mount::found_at(mount.path(), Duration::from_secs(60)).unmount();
            }
        }
        is_over(mount.path(), last);
    }
}

/// Another attempt would only lock the account.
#[test]
fn a_refused_login_is_not_tried_again_by_the_guardian() {
    let (_, url) = shared_file();
    let secret = credentials(0);
    let mount = request(&url, &secret).mount();
    let last = guardian(&mount);
    write_password(&secret, "wrong");
    mount.signal(Signal::KILL);
    is_over(mount.path(), last);
}

#[test]
fn a_mount_that_dies_soon_after_each_restart_is_given_up() {
    let (_, url) = shared_file();
    let mount = request(&url, &credentials(0)).env("CIFS_FUSE_QUICK_DEATHS", "5").mount();
    let last = guardian(&mount);
    mount.signal(Signal::KILL);
    is_over(mount.path(), last);
}

#[test]
fn restart_is_refused_if_the_password_would_be_lost() {
    let (_, url) = shared_file();
    let refused = Request::new(&url).arg("--restart").fails(1);
    refused.says("--restart").says("AUTH_PASSWORD").says("--credentials FILE");
    Request::new(&url).args(["--restart", "--guest", "--foreground"]).fails(1).says("Restart=on-failure");
}
