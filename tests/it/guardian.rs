//! A process that is killed at any moment: no other process hangs because of it, and its mount does not stay.

use crate::support::apart::{apart, spawn};
use crate::support::command::{run, spawn_quiet, wait};
use crate::support::files::noise;
use crate::support::line::Line;
use crate::support::mount::{Mount, PROGRAM, Request};
use crate::support::mountinfo;
use crate::support::processes::{guardian_of, is_running};
use crate::support::scene::Scene;
use crate::support::scratch;
use crate::support::server::{Kind, PASSWORD_MARK, Server};
use crate::support::wait_until;
use rustix::process::{Pid, Signal, kill_process};
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const LIMIT: Duration = Duration::from_secs(20);
/// A user id other than root's: that of the account `nobody` on Debian.
const OTHER_UID: u32 = 65534;

/// The guardian of a mount. Every mount has one.
fn guardian(mount: &Mount) -> i32 {
    guardian_of(mount.process()).expect("a mount has a guardian")
}

fn kill(pid: i32) {
    kill_process(Pid::from_raw(pid).expect("a process has a number above 0"), Signal::KILL).expect("our own process");
}

/// Asserts that the mount, its process with all threads, and its guardian are gone.
#[track_caller]
fn leaves_nothing(mut mount: Mount, guardian: i32) {
    let free = wait_until(LIMIT, || mountinfo::at(mount.path()).is_none());
    assert!(free, "still mounted {LIMIT:?} after the process was killed");
    mount.is_gone();
    // The main thread of a process can be gone while another thread is stuck.
    let threads = format!("/proc/{}/task", mount.process());
    assert!(wait_until(LIMIT, || !Path::new(&threads).exists()), "the process is stuck in the kernel");
    assert!(wait_until(LIMIT, || !is_running(guardian)), "the guardian has not ended");
    assert!(fs::read_dir(mount.path()).unwrap().next().is_none(), "the mountpoint must be empty and usable");
}

#[test]
fn a_killed_process_leaves_nothing() {
    for adjust in [|request: Request| request, Request::foreground, |request: Request| request.by_user(OTHER_UID)] {
        let scene = Scene::with(Kind::Smbd, adjust);
        let guardian = guardian(&scene.mount);
        scene.mount.signal(Signal::KILL);
        leaves_nothing(scene.mount, guardian);
    }
}

#[test]
fn a_crashed_process_leaves_nothing() {
    for signal in [Signal::SEGV, Signal::ABORT, Signal::BUS] {
        let scene = Scene::with(Kind::Smbd, Request::foreground);
        fs::write(scene.here("file"), "safe").unwrap();
        let guardian = guardian(&scene.mount);
        let file = scene.there("file");
        scene.mount.signal(signal);
        leaves_nothing(scene.mount, guardian);
        assert_eq!(fs::read(file).unwrap(), b"safe");
    }
}

/// Programs with open files get an error. Their open files do not keep the dead mount.
#[test]
fn open_files_do_not_keep_a_dead_mount() {
    let scene = Scene::on(Kind::Smbd);
    let file = File::create(scene.here("file")).unwrap();
    let guardian = guardian(&scene.mount);
    scene.mount.signal(Signal::KILL);
    leaves_nothing(scene.mount, guardian);
    assert!(file.write_at(b"x", 0).is_err());
}

/// Data is on the server after fsync(2) or close(2) has returned, and so is a name after rename(2). Data is lost if
/// only write(2) has returned. fsync(2) of a directory sends nothing.
#[test]
fn a_killed_process_loses_only_data_that_was_not_synced_or_closed() {
    let line = Line::to(Server::shared(Kind::Smbd), &[]);
    let mut file = File::create(line.here("file")).unwrap();
    file.write_all(b"synced").unwrap();
    file.sync_all().unwrap();
    fs::write(line.here("new"), "closed").unwrap();
    fs::rename(line.here("new"), line.here("renamed")).unwrap();
    let directory = File::open(line.mount.path()).unwrap();
    let mut other = File::create(line.here("other")).unwrap();
    line.proxy.stall();
    directory.sync_all().unwrap();
    for file in [&mut file, &mut other] {
        file.write_all(b" and held").unwrap();
    }
    let guardian = guardian(&line.mount);
    let waiting = [
        std::thread::spawn(move || file.sync_all()),
        std::thread::spawn(move || nix::unistd::close(other).map_err(std::io::Error::from)),
    ];
    line.mount.signal(Signal::KILL);
    assert!(waiting.into_iter().all(|call| call.join().unwrap().is_err()));
    drop(directory);
    let Line { mount, folder, proxy: _proxy, .. } = line;
    leaves_nothing(mount, guardian);
    assert_eq!(fs::read(folder.join("other")).unwrap(), b"");
    assert_eq!(fs::read(folder.join("file")).unwrap(), b"synced");
    assert_eq!(fs::read(folder.join("renamed")).unwrap(), b"closed");
    assert!(!folder.join("new").exists());
}

/// Readers of a file while another client writes it: the kernel gets invalidations of pages that it is about to read.
struct Storm {
    readers: Vec<Child>,
}

impl Storm {
    /// Starts three readers on `mount`, and changes what they read through `other` for `length`.
    fn over(mount: &Mount, other: &Mount, length: Duration) -> Storm {
        let script = format!("while cat {}/big; do :; done", mount.path().display());
        let reader = || {
            let mut command = Command::new("sh");
            command.arg("-c").arg(&script).process_group(0);
            spawn_quiet(command).expect("a shell")
        };
        let readers = (0..3).map(|_| reader()).collect();
        let writer = File::options().write(true).open(other.join("big")).unwrap();
        let end = Instant::now() + length;
        let mut at = 0;
        while Instant::now() < end {
            at = (at + 1_300_021) % (SIZE as u64 - 70_000);
            // Writing makes the storm, and is not what is tested: under it smbd 4.17 may leave a WRITE without an answer.
            let _ = writer.write_at(&[b'x'; 70_000], at);
            std::thread::sleep(Duration::from_millis(2));
        }
        Storm { readers }
    }
}

const SIZE: usize = 16 << 20;

impl Drop for Storm {
    fn drop(&mut self) {
        for reader in &mut self.readers {
            // `cat` is in the process group of its shell.
            let _ = rustix::process::kill_process_group(Pid::from_child(reader), Signal::KILL);
            wait(reader, LIMIT);
        }
    }
}

fn storms(round: impl Fn(Mount, i32)) {
    let scene = Scene::on(Kind::Smbd);
    fs::write(scene.there("big"), noise(7, SIZE)).unwrap();
    for number in 0..6 {
        let mount = scene.second_mount();
        let guardian = guardian(&mount);
        let storm = Storm::over(&mount, &scene.mount, Duration::from_millis(300 + 70 * number));
        round(mount, guardian);
        drop(storm);
    }
}

#[test]
fn a_process_killed_during_lease_breaks_and_reads_leaves_nothing() {
    storms(|mount, guardian| {
        mount.signal(Signal::KILL);
        leaves_nothing(mount, guardian);
    });
}

/// systemd kills the guardian too, and then runs the command in `ExecStopPost=`.
#[test]
fn cleanup_removes_the_mount_when_the_guardian_is_killed_too() {
    storms(|mount, guardian| {
        kill(guardian);
        mount.signal(Signal::KILL);
        assert!(wait_until(LIMIT, || !is_running(guardian)));
        assert!(mountinfo::at(mount.path()).is_some(), "the dead mount must still be there");
        cleanup(&mount, &mount.info().source).success();
        leaves_nothing(mount, guardian);
    });
}

fn cleanup(mount: &Mount, url: &str) -> crate::support::command::Run {
    run(Command::new(PROGRAM).arg("cleanup").arg(mount.path()).arg(url), LIMIT)
}

#[test]
fn cleanup_leaves_a_living_mount_alone() {
    let scene = Scene::on(Kind::Smbd);
    cleanup(&scene.mount, &scene.url()).success();
    fs::write(scene.here("file"), "still here").unwrap();
    scene.mount.unmount();
}

/// A dead mount with another URL belongs to another service.
#[test]
fn cleanup_leaves_a_mount_of_another_url_alone() {
    let scene = Scene::on(Kind::Smbd);
    let guardian = guardian(&scene.mount);
    kill(guardian);
    scene.mount.signal(Signal::KILL);
    assert!(wait_until(LIMIT, || !is_running(scene.mount.process())));
    cleanup(&scene.mount, "cifs://127.0.0.1/another").success();
    assert!(mountinfo::at(scene.mount.path()).is_some());
    cleanup(&scene.mount, &scene.url()).success();
    leaves_nothing(scene.mount, guardian);
}

/// After an unmount in order the guardian ends as well.
#[test]
fn the_guardian_ends_with_the_mount() {
    for signal in [None, Some(Signal::TERM)] {
        let mut scene = Scene::on(Kind::Smbd);
        let guardian = guardian(&scene.mount);
        match signal {
            Some(signal) => scene.mount.signal(signal),
            None => scene.mount.unmount_by(&["fusermount3", "-u"]),
        }
        scene.mount.is_gone();
        assert!(!is_running(guardian), "the guardian is still running after its process has ended");
    }
}

/// If its guardian is killed, a mount works on and leaves no zombie.
#[test]
fn a_mount_works_on_when_its_guardian_is_killed() {
    let scene = Scene::with(Kind::Smbd, Request::foreground);
    let guardian = guardian(&scene.mount);
    kill(guardian);
    let entry = format!("/proc/{guardian}");
    assert!(wait_until(LIMIT, || !Path::new(&entry).exists()), "a zombie is left");
    assert!(wait_until(LIMIT, || scene.mount.messages().contains("the guardian has ended")));
    fs::write(scene.here("file"), "still here").unwrap();
    scene.mount.unmount();
}

/// Signals that end a session, a terminal or a process group do not end the guardian. The signal for "the process has
/// died" has an effect only if the kernel sends it.
#[test]
fn the_guardian_ignores_signals_of_other_processes() {
    let scene = Scene::on(Kind::Smbd);
    let guardian = guardian(&scene.mount);
    let pid = Pid::from_raw(guardian).unwrap();
    for signal in [Signal::TERM, Signal::INT, Signal::HUP, Signal::QUIT, Signal::USR1, Signal::USR2] {
        kill_process(pid, signal).unwrap();
    }
    fs::write(scene.here("file"), "still here").unwrap();
    assert!(is_running(guardian));
    scene.mount.signal(Signal::KILL);
    leaves_nothing(scene.mount, guardian);
}

/// The guardian has no password, does not hold the FUSE device, and has no descriptor of the caller.
#[test]
fn the_guardian_holds_no_password_and_no_unneeded_descriptor() {
    let scene = Scene::on(Kind::Smbd);
    let mountpoint = scratch::folder("mnt");
    let arguments = [PROGRAM, &scene.url(), mountpoint.to_str().unwrap(), "--allow-other", "--foreground"];
    let mut command = Command::new("sh");
    command.args(["-c", "exec \"$@\" 7</etc/passwd", "sh"]).args(arguments);
    command.env("AUTH_USERNAME", crate::support::server::user()).env("AUTH_PASSWORD", crate::support::server::PASSWORD);
    let started = apart(move || spawn(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null())));
    let mut child = started.unwrap();
    assert!(wait_until(LIMIT, || mountinfo::at(&mountpoint).is_some()));
    let mount = Mount::found_at(&mountpoint, Duration::from_secs(60));
    let process = format!("/proc/{}", guardian(&mount));
    let opens = |folder: &str| -> Vec<String> {
        let entries = fs::read_dir(folder).unwrap();
        entries.filter_map(|entry| Some(fs::read_link(entry.ok()?.path()).ok()?.display().to_string())).collect()
    };
    let held = wait_until(LIMIT, || opens(&format!("{process}/fd")).iter().any(|name| name.ends_with("/abort")));
    let open = opens(&format!("{process}/fd"));
    assert!(held, "the guardian does not hold the abort file: {open:?}");
    assert!(!open.iter().any(|name| name.contains("/dev/fuse") || name.contains("passwd")), "{open:?}");
    for place in ["environ", "cmdline"] {
        let shown = String::from_utf8_lossy(&fs::read(format!("{process}/{place}")).unwrap()).into_owned();
        assert!(!shown.contains("AUTH_") && !shown.contains(PASSWORD_MARK), "{place}: {shown}");
    }
    let stdio = [1, 2].map(|fd| fs::read_link(format!("{process}/fd/{fd}")).unwrap());
    assert!(stdio.iter().all(|path| path == Path::new("/dev/null")), "{stdio:?}");
    assert_eq!(fs::read_link(format!("{process}/cwd")).unwrap(), Path::new("/"));
    mount.unmount();
    assert!(wait(&mut child, LIMIT).is_some());
}
