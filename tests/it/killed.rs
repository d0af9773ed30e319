//! A program that is killed while the server does not answer: it ends soon, and no other program or file is affected.

use crate::support::command::{run, spawn_quiet, wait};
use crate::support::files::{names, noise};
use crate::support::mount::{Mount, Request};
use crate::support::processes::is_running;
use crate::support::server::{Settings, url};
use crate::support::smbd::Smbd;
use crate::support::{scratch, wait_until};
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command};
use std::time::Duration;

/// Far longer than a kill needs to be noticed, and shorter than the time limit of a request to a silent server.
const SOON: Duration = Duration::from_secs(15);
const LIMIT: Duration = Duration::from_secs(30);
/// A user id other than root's: that of the account `nobody` on Debian.
const OTHER_UID: u32 = 65534;

fn start(mount: &Mount, script: &str) -> Child {
    started(|_| (), mount, script)
}

/// Starts a script as another user. The kernel admits only the user who mounted, and requires the same group as well.
fn start_as(user: u32, mount: &Mount, script: &str) -> Child {
    started(
        |command| {
            command.uid(user).gid(user);
        },
        mount,
        script,
    )
}

fn started(adjust: impl FnOnce(&mut Command), mount: &Mount, script: &str) -> Child {
    let mut command = Command::new("sh");
    command.args(["-c", &format!("exec {script}")]).current_dir("/").env("M", mount.path());
    adjust(&mut command);
    spawn_quiet(command).expect("a shell")
}

/// Whether a program waits for an answer of the mount, by its wait channel in the kernel. Polls for up to [`SOON`].
fn hangs(program: &mut Child) -> bool {
    let status = format!("/proc/{}/wchan", program.id());
    let waits = || fs::read_to_string(&status).is_ok_and(|place| place.contains("request_wait_answer"));
    wait_until(SOON, waits)
}

/// Kills programs that wait for a silent server. A program for which `may_go_on` is true need not be waiting.
#[track_caller]
fn can_be_killed(programs: &mut [(Child, &str)], may_go_on: impl Fn(&str) -> bool) {
    for (program, script) in &mut *programs {
        assert!(may_go_on(script) || hangs(program), "{script:?} must wait for the server");
        program.kill().unwrap();
    }
    for (program, script) in programs {
        assert!(wait(program, SOON).is_some(), "{script:?} cannot be killed while the server does not answer");
    }
}

/// Programs with operations of every kind, at a server that stops answering.
#[test]
fn a_program_that_waits_for_a_silent_server_can_be_killed() {
    let server = Smbd::start(Settings::default());
    let data = noise(3, 3_000_000);
    fs::create_dir(server.folder().join("d")).unwrap();
    for name in ["a", "b", "d/c"] {
        fs::write(server.folder().join(name), &data).unwrap();
    }
    let mount = Request::new(url("127.0.0.1", server.port(), "")).arg("--attr-timeout=0").mount();
    let mut kept = File::create(mount.join("kept")).unwrap();
    kept.write_all(&data).unwrap();
    kept.sync_all().unwrap();

    let paused = server.pause();
    let scripts = [
        "cat $M/a",
        "ls -l $M/d",
        "stat $M/b",
        "df $M",
        "cp $M/a $M/copy",
        "dd if=/dev/zero of=$M/new bs=1M count=3",
        "mkdir $M/made",
        "rm -f $M/b",
        "mv $M/d $M/e",
    ];
    let mut programs: Vec<_> = scripts.map(|script| (start(&mount, script), script)).into();
    can_be_killed(&mut programs, |_| false);
    drop(paused);

    assert!(wait_until(LIMIT, || fs::write(mount.join("after"), "works").is_ok()), "the mount does not work again");
    assert!(fs::read(mount.join("a")).unwrap() == data);
    assert!(fs::read(mount.join("kept")).unwrap() == data, "synced data must be there");
    drop(kept);
    let known = ["a", "after", "b", "copy", "d", "e", "kept", "made", "new"];
    let left = names(server.folder());
    assert!(left.iter().all(|name| known.contains(&name.as_str())), "unexpected names: {left:?}");
    assert_eq!(names(mount.path()), left);
    // Files that are kept open are closed when another client opens them for writing.
    let other_client = Request::new(url("127.0.0.1", server.port(), "")).mount();
    for name in left.iter().filter(|name| server.folder().join(name).is_file()) {
        File::options().write(true).open(other_client.join(name)).unwrap();
    }
    other_client.unmount();
    assert!(wait_until(LIMIT, || !has_open(server.folder())), "the server has files open that no program uses");
    assert!(is_running(mount.process()));
    mount.unmount();
}

/// Whether a process, such as a server process, has a file in the folder open.
fn has_open(folder: &Path) -> bool {
    let processes = fs::read_dir("/proc").unwrap().flatten();
    let opens = processes.filter_map(|process| fs::read_dir(process.path().join("fd")).ok()).flatten().flatten();
    opens
        .filter_map(|open| fs::read_link(open.path()).ok())
        .any(|path| path.starts_with(folder) && path != *folder && path.is_file())
}

/// A mount of an ordinary user, which no other user may access.
#[test]
fn an_ordinary_users_programs_can_be_killed() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: without root the other tests run as an ordinary user");
        return;
    }
    let server = Smbd::start(Settings::default());
    let data = noise(4, 100_000);
    fs::write(server.folder().join("a"), &data).unwrap();
    let mount = Request::new(url("127.0.0.1", server.port(), "")).arg("--attr-timeout=0").by_user(OTHER_UID).mount();
    let paused = server.pause();
    let scripts = ["cat $M/a", "ls -l $M", "dd if=/dev/zero of=$M/new count=1", "mkdir $M/made"];
    let mut programs: Vec<_> = scripts.map(|script| (start_as(OTHER_UID, &mount, script), script)).into();
    can_be_killed(&mut programs, |_| false);
    drop(paused);
    let local = scratch::folder("local").join("a");
    fs::write(&local, &data).unwrap();
    let mut cmp = start_as(OTHER_UID, &mount, &format!("cmp $M/a {}", local.display()));
    assert!(wait(&mut cmp, LIMIT).is_some_and(|status| status.success()), "the mount does not work again");
    mount.unmount();
}

/// Reads and writes that the server has not answered.
#[test]
fn a_program_that_is_reading_or_writing_can_be_killed() {
    let server = Smbd::start(Settings::default());
    File::create(server.folder().join("big")).unwrap().set_len(1 << 40).unwrap();
    let mount = Request::new(url("127.0.0.1", server.port(), "")).mount();
    let scripts = [
        "dd if=$M/big iflag=direct bs=4096 of=/dev/null",
        "dd if=/dev/zero of=$M/written oflag=direct bs=4096",
        "cat $M/big",
    ];
    let mut programs: Vec<_> = scripts.map(|script| (start(&mount, script), script)).into();
    let written = server.folder().join("written");
    assert!(wait_until(LIMIT, || fs::metadata(&written).is_ok_and(|file| file.len() > 100_000)));
    let paused = server.pause();
    // A buffered read waits for a page in the kernel, and the kernel itself ends that wait.
    can_be_killed(&mut programs, |script| script.starts_with("cat"));
    drop(paused);
    // The last write of the killed program is in flight or done; a later write to the same range must come after it.
    assert!(wait_until(LIMIT, || fs::write(mount.join("written"), "later").is_ok()));
    assert_eq!(fs::read(&written).unwrap(), b"later");
    assert_eq!(fs::read(mount.join("written")).unwrap(), b"later");
    mount.unmount();
}

/// A program is killed while it waits in close(2) or fsync(2) for data that write(2) has accepted. The data is sent
/// nevertheless.
#[test]
fn data_written_by_a_killed_program_reaches_the_server() {
    let server = Smbd::start(Settings::default());
    let mount = Request::new(url("127.0.0.1", server.port(), "")).mount();
    for (name, script) in [("closed", "cat"), ("synced", "dd bs=512 conv=fsync")] {
        let pipe = scratch::folder("pipe").join("pipe");
        run(Command::new("mkfifo").arg(&pipe), LIMIT).success();
        let mut program = start(&mount, &format!("{script} >$M/{name} <{}", pipe.display()));
        let mut input = File::options().write(true).open(pipe).unwrap();
        let there = server.folder().join(name);
        input.write_all(b"sent").unwrap();
        assert!(
            wait_until(LIMIT, || fs::read(&there).is_ok_and(|data| data == b"sent")),
            "{name}: no data reaches the server"
        );
        let paused = server.pause();
        input.write_all(b" and held").unwrap();
        let offset = format!("/proc/{}/fdinfo/1", program.id());
        let is_written = || fs::read_to_string(&offset).is_ok_and(|info| info.starts_with("pos:\t13\n"));
        assert!(wait_until(LIMIT, is_written), "{name}: write(2) must not wait for the server");
        drop(input);
        assert!(hangs(&mut program), "{name}: the program must wait for the server");
        program.kill().unwrap();
        drop(paused);
        assert!(wait(&mut program, LIMIT).is_some(), "{name}: the program does not end");
        let arrived = || fs::read(&there).is_ok_and(|data| data == b"sent and held");
        assert!(wait_until(LIMIT, arrived), "{name}: written data is lost when its program is killed");
    }
    mount.unmount();
}
