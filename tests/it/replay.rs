//! Directories and files are created, removed and renamed while connections are lost. The program gets the true result,
//! and nothing of another client is removed or renamed.

use crate::support::command::{run, spawn_quiet, wait};
use crate::support::files::{fails_with, source_tree, tree};
use crate::support::frames::{command, commands, makes, sets};
use crate::support::line::Line;
use crate::support::mount::{Mount, Request};
use crate::support::proxy::Proxy;
use crate::support::scratch;
use crate::support::server::{Kind, Server, Settings, both_servers, url};
use crate::support::smbd::Smbd;
use crate::support::wait_until;
use rustix::io::Errno;
use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

both_servers!(
    a_lost_answer_is_no_error,
    a_lost_request_is_no_error,
    a_name_that_another_client_creates_meanwhile_is_eexist,
    a_file_that_another_client_puts_there_meanwhile_is_not_removed,
    a_file_that_another_client_puts_there_meanwhile_is_not_renamed,
    a_lost_verification_is_made_again,
    a_verification_that_always_ends_the_connection_is_eio,
    a_change_whose_answer_is_lost_for_too_long_fails_but_may_be_done,
);

const LIMIT: Duration = Duration::from_secs(60);
/// A pause that is longer than the errors of clocks and timestamps.
const CLEARLY_LATER: Duration = Duration::from_millis(700);
const OPTIONS: &[&str] = &["--request-timeout=25"];

type Frame = fn(&[u8]) -> bool;

/// Creates a file with O_EXCL, this content and this mode, and syncs it.
fn create_new(path: &Path, content: &str, mode: u32) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
    file.write_all(content.as_bytes())?;
    file.sync_all()
}

/// Makes every kind of change that is not simply repeated. Before each, `lose` is called with a test for the frame that
/// carries it.
fn every_change(line: &Line, mut lose: impl FnMut(Frame)) {
    let (here, there) = (|name: &str| line.here(name), |name: &str| line.there(name));
    let mut losing = |frame| {
        assert!(line.proxy.has_lost(), "nothing was lost");
        lose(frame);
    };
    losing(makes);
    fs::create_dir(here("folder")).unwrap();
    assert!(there("folder").is_dir());
    losing(makes);
    create_new(&here("folder/new"), "new", 0o644).unwrap();
    assert_eq!(fs::read(there("folder/new")).unwrap(), b"new");
    losing(makes);
    create_new(&here("folder/read-only"), "for ever", 0o444).unwrap();
    assert_eq!(fs::read(there("folder/read-only")).unwrap(), b"for ever");
    assert!(fs::metadata(here("folder/read-only")).unwrap().permissions().readonly());
    losing(sets);
    fs::rename(here("folder/new"), here("folder/renamed")).unwrap();
    assert_eq!(fs::read(there("folder/renamed")).unwrap(), b"new");
    assert!(!there("folder/new").exists());
    fs::write(here("folder/other"), "other").unwrap();
    losing(sets);
    fs::rename(here("folder/other"), here("folder/renamed")).unwrap();
    assert_eq!(fs::read(there("folder/renamed")).unwrap(), b"other");
    losing(sets);
    fs::rename(here("folder"), here("moved")).unwrap();
    assert!(there("moved/renamed").is_file() && !there("folder").exists());
    // An open file that is removed stays under a hidden name until it is closed.
    let open = File::open(here("moved/renamed")).unwrap();
    losing(sets);
    fs::remove_file(here("moved/renamed")).unwrap();
    assert!(!there("moved/renamed").exists());
    assert_eq!(fs::read_dir(there("moved")).unwrap().count(), 2);
    assert_eq!(io::read_to_string(open).unwrap(), "other");
    fs::create_dir(here("empty")).unwrap();
    losing(sets);
    fs::remove_dir(here("empty")).unwrap();
    fs::write(here("file"), "file").unwrap();
    losing(sets);
    fs::remove_file(here("file")).unwrap();
    assert!(line.proxy.has_lost(), "nothing was lost");
    assert!(!there("empty").exists() && !there("file").exists());
    assert!(wait_until(LIMIT, || fs::read_dir(there("moved")).unwrap().count() == 1));
}

fn a_lost_answer_is_no_error(kind: Kind) {
    let line = Line::to(Server::shared(kind), OPTIONS);
    every_change(&line, |frame| line.proxy.lose_answer(frame));
}

fn a_lost_request_is_no_error(kind: Kind) {
    let line = Line::to(Server::shared(kind), OPTIONS);
    every_change(&line, |frame| line.proxy.lose_request(frame));
}

/// Does `work` and loses its request or its answer. Another client then changes the share (`other_client`), and only after
/// that the client can connect again.
fn with_a_change_by_another_client<T: Send>(
    line: &Line,
    lose: impl Fn(),
    work: impl FnOnce() -> T + Send,
    other_client: impl FnOnce(),
) -> T {
    std::thread::sleep(CLEARLY_LATER);
    lose();
    std::thread::scope(|scope| {
        let work = scope.spawn(|| {
            line.proxy.limit(line.proxy.connections());
            work()
        });
        assert!(wait_until(LIMIT, || line.proxy.has_lost() && line.proxy.living().is_empty()), "nothing was lost");
        std::thread::sleep(CLEARLY_LATER);
        other_client();
        line.proxy.limit(usize::MAX);
        work.join().unwrap()
    })
}

fn a_name_that_another_client_creates_meanwhile_is_eexist(kind: Kind) {
    let line = Line::to(Server::shared(kind), OPTIONS);
    let lose = || line.proxy.lose_request(makes);
    let (folder, file) = ("folder", "file");
    let make = || fs::create_dir(line.here(folder));
    fails_with(
        with_a_change_by_another_client(&line, lose, make, || fs::create_dir(line.there(folder)).unwrap()),
        Errno::EXIST,
    );
    let make = || create_new(&line.here(file), "mine", 0o644);
    fails_with(
        with_a_change_by_another_client(&line, lose, make, || fs::write(line.there(file), "").unwrap()),
        Errno::EXIST,
    );
    assert_eq!(fs::read(line.there(file)).unwrap(), b"");
}

fn a_file_that_another_client_puts_there_meanwhile_is_not_removed(kind: Kind) {
    let line = Line::to(Server::shared(kind), OPTIONS);
    let (here, there) = (line.here("file"), line.there("file"));
    for lost_request in [false, true] {
        fs::write(&here, "mine").unwrap();
        let lose = || if lost_request { line.proxy.lose_request(sets) } else { line.proxy.lose_answer(sets) };
        let other_client = || {
            fs::write(line.there("other"), "theirs").unwrap();
            fs::rename(line.there("other"), &there).unwrap();
        };
        with_a_change_by_another_client(&line, lose, || fs::remove_file(&here), other_client).unwrap();
        assert_eq!(fs::read(&there).unwrap(), b"theirs");
        assert!(wait_until(LIMIT, || fs::read(&here).is_ok_and(|here| here == b"theirs")));
    }
}

fn a_file_that_another_client_puts_there_meanwhile_is_not_renamed(kind: Kind) {
    let line = Line::to(Server::shared(kind), OPTIONS);
    let (from, to) = (line.here("from"), line.here("to"));
    let other_client = || {
        fs::write(line.there("other"), "theirs").unwrap();
        fs::rename(line.there("other"), line.there("from")).unwrap();
    };
    fs::write(&from, "mine").unwrap();
    let lose = || line.proxy.lose_answer(sets);
    with_a_change_by_another_client(&line, lose, || fs::rename(&from, &to), other_client).unwrap();
    assert_eq!(fs::read(line.there("from")).unwrap(), b"theirs");
    assert_eq!(fs::read(line.there("to")).unwrap(), b"mine");
    assert!(wait_until(LIMIT, || fs::remove_file(&from).is_ok()));
    fs::write(&from, "mine again").unwrap();
    let lose = || line.proxy.lose_request(sets);
    fails_with(with_a_change_by_another_client(&line, lose, || fs::rename(&from, &to), other_client), Errno::NOENT);
    assert_eq!(fs::read(line.there("from")).unwrap(), b"theirs");
    assert_eq!(fs::read(line.there("to")).unwrap(), b"mine");
}

/// Whether a frame begins with a CREATE, as a verification does.
fn opens(frame: &[u8]) -> bool {
    commands(frame).first() == Some(&command::CREATE)
}

fn a_lost_verification_is_made_again(kind: Kind) {
    let line = Line::to(Server::shared(kind), OPTIONS);
    let (file, folder) = (line.here("file"), line.here("folder"));
    for lose_the_look in [Proxy::lose_request, Proxy::lose_answer] {
        let lost_again = || lose_the_look(&line.proxy, opens);
        let lose = || line.proxy.lose_answer(makes);
        with_a_change_by_another_client(&line, lose, || fs::create_dir(&folder), lost_again).unwrap();
        assert!(line.proxy.has_lost(), "no verification was made");
        assert!(line.there("folder").is_dir());
        fs::write(&file, "mine").unwrap();
        let lose = || line.proxy.lose_answer(sets);
        with_a_change_by_another_client(&line, lose, || fs::rename(&file, folder.join("file")), lost_again).unwrap();
        assert_eq!(fs::read(line.there("folder/file")).unwrap(), b"mine");
        let lose = || line.proxy.lose_request(sets);
        with_a_change_by_another_client(&line, lose, || fs::remove_file(folder.join("file")), lost_again).unwrap();
        assert!(!line.there("folder/file").exists());
        fs::remove_dir(&folder).unwrap();
    }
}

fn a_verification_that_always_ends_the_connection_is_eio(kind: Kind) {
    let line = Line::to(Server::shared(kind), OPTIONS);
    let lose = || line.proxy.lose_answer(makes);
    let folder = line.here("folder");
    let made = with_a_change_by_another_client(
        &line,
        lose,
        || fs::create_dir(&folder),
        || line.proxy.poison(Some(command::CREATE)),
    );
    fails_with(made, Errno::IO);
    line.proxy.poison(None);
    assert!(wait_until(LIMIT, || fs::metadata(&folder).is_ok_and(|folder| folder.is_dir())));
    line.mount.unmount();
}

fn a_change_whose_answer_is_lost_for_too_long_fails_but_may_be_done(kind: Kind) {
    let line = Line::to(Server::shared(kind), &["--request-timeout=2", "--connect-timeout=2"]);
    line.proxy.lose_answer(makes);
    line.proxy.limit(line.proxy.connections());
    let folder = line.here("folder");
    fails_with(fs::create_dir(&folder), Errno::HOSTDOWN);
    assert!(line.there("folder").is_dir());
    line.proxy.limit(usize::MAX);
    assert!(wait_until(LIMIT, || folder.is_dir()), "the mount does not show the new folder");
    line.mount.unmount();
}

/// A server whose processes are killed while programs work on the mount.
struct Killed {
    server: Smbd,
    mount: Mount,
    /// A folder outside of the mount.
    scratch: PathBuf,
}

impl Killed {
    fn new() -> Killed {
        let server = Smbd::start(Settings::default());
        let mount = Request::new(url("127.0.0.1", server.port(), "")).args(OPTIONS).mount();
        Killed { server, mount, scratch: scratch::folder("replay") }
    }

    /// Runs a program in the mount to its end. Meanwhile the server processes for the mount are killed up to ten times.
    /// Returns how many times.
    fn survives(&self, program: &str, arguments: &[&OsStr]) -> usize {
        let mut command = Command::new(program);
        command.args(arguments).current_dir(self.mount.path()).env("GIT_CONFIG_GLOBAL", "/dev/null");
        let mut child = spawn_quiet(command).unwrap();
        let mut kills = 0;
        while kills < 10 && wait(&mut child, Duration::from_millis(250)).is_none() {
            self.server.kill_clients();
            kills += 1;
        }
        let ended = wait(&mut child, LIMIT);
        assert!(ended.is_some_and(|status| status.success()), "{program} {arguments:?}: {ended:?} after {kills} kills");
        kills
    }
}

#[test]
fn programs_succeed_though_the_processes_of_the_server_are_killed() {
    let killed = Killed::new();
    let there = |name: &str| killed.server.folder().join(name);
    let source = killed.scratch.join("source");
    source_tree(&source, 1200);
    let archive = killed.scratch.join("archive.tar");
    let text = |words: &[&str]| words.iter().map(OsStr::new).map(OsStr::to_owned).collect::<Vec<_>>();
    run(Command::new("tar").args(["-cf", archive.to_str().unwrap(), "-C"]).arg(&source).arg("."), LIMIT).success();
    fs::create_dir(killed.mount.join("unpacked")).unwrap();
    let mut kills = 0;
    let mut survives = |program: &str, arguments: &[&str]| {
        let arguments = text(arguments);
        kills += killed.survives(program, &arguments.iter().map(AsRef::as_ref).collect::<Vec<_>>());
    };
    survives("tar", &["-xf", archive.to_str().unwrap(), "-C", "unpacked"]);
    assert_eq!(tree(&there("unpacked")), tree(&source));
    survives("cp", &["-r", source.to_str().unwrap(), "copied"]);
    assert_eq!(tree(&there("copied")), tree(&source));
    survives("mv", &["copied", "moved"]);
    survives("sh", &["-e", "-c", "for folder in unpacked/*; do mv \"$folder\" \"$folder.moved\"; done"]);
    survives("sh", &["-e", "-c", "for folder in unpacked/*; do mv \"$folder\" \"${folder%.moved}\"; done"]);
    assert_eq!(tree(&there("moved")), tree(&source));
    assert_eq!(tree(&there("unpacked")), tree(&source));
    survives("rm", &["-r", "moved", "unpacked"]);
    assert!(!there("moved").exists() && !there("unpacked").exists());
    assert!(kills >= 10, "only {kills} connections were lost");
    killed.mount.unmount();
}

#[test]
fn a_repository_is_cloned_though_the_processes_of_the_server_are_killed() {
    let killed = Killed::new();
    let source = killed.scratch.join("source");
    source_tree(&source, 600);
    let git = |words: &[&str]| {
        let mut command = Command::new("git");
        command.args(["-c", "user.name=a", "-c", "user.email=a@b"]).args(words).current_dir(&source);
        run(command.env("GIT_CONFIG_GLOBAL", "/dev/null"), LIMIT).success();
    };
    git(&["init", "-q"]);
    git(&["add", "."]);
    git(&["commit", "-q", "-m", "all"]);
    let from = format!("file://{}", source.display());
    let kills = killed.survives("git", &["clone".as_ref(), "-q".as_ref(), from.as_ref(), "clone".as_ref()]);
    assert!(kills > 0, "no connection was lost");
    git(&["--git-dir", killed.server.folder().join("clone/.git").to_str().unwrap(), "fsck", "--full"]);
    let without_git = |folder: &Path| {
        let mut files = tree(folder);
        files.retain(|path, _| !path.starts_with(".git"));
        files
    };
    assert_eq!(without_git(&killed.server.folder().join("clone")), without_git(&source));
    killed.mount.unmount();
}
