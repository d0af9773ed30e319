//! `cifs-fuse status`: what a mount tells about itself, to whom, and when.

use crate::support::command::{Run, run};
use crate::support::files::{fails_with, noise};
use crate::support::line::Line;
use crate::support::mount::{Mount, PROGRAM, Request, program, program_for_all};
use crate::support::scene::Scene;
use crate::support::server::{Kind, PASSWORD, Server, Settings, both_servers};
use crate::support::terminal::Terminal;
use crate::support::{scratch, wait_until};
use rustix::io::Errno;
use rustix::process::Signal;
use serde_json::Value;
use std::fs;
use std::os::unix::fs::{DirBuilderExt, chown, symlink};
use std::os::unix::net::UnixListener;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

both_servers!(
    a_mount_shows_its_server_its_buffers_its_cache_and_its_counters,
    a_mount_answers_while_its_server_is_away_and_says_since_when,
);

const LIMIT: Duration = Duration::from_secs(20);

/// The status of a mount as JSON.
#[track_caller]
fn status(mount: &Mount) -> Value {
    let path = mount.path().to_str().unwrap();
    let said = run(&mut program(["status", "--json", path]), LIMIT).success().stdout;
    let answers: Value = serde_json::from_str(&said).unwrap_or_else(|error| panic!("{error}: {said}"));
    answers["mounts"][0].clone()
}

/// The mountpoints in the list of all mounts.
fn listed() -> Vec<String> {
    let said = run(&mut program(["status", "--json"]), LIMIT).success().stdout;
    let answers: Value = serde_json::from_str(&said).unwrap();
    let mounts = answers["mounts"].as_array().unwrap();
    mounts.iter().map(|mount| mount["mountpoint"].as_str().unwrap().to_owned()).collect()
}

fn a_mount_shows_its_server_its_buffers_its_cache_and_its_counters(kind: Kind) {
    let line = Line::to(Server::shared(kind), &["--read-buffer-size=65536", "--write-buffer-size=5"]);
    let path = line.here("file");
    fs::write(&path, noise(1, 300_000)).unwrap();
    assert_eq!(fs::read(&path).unwrap().len(), 300_000);
    let status = status(&line.mount);
    let text = run(&mut program(["status", line.mount.path().to_str().unwrap()]), LIMIT).success().stdout;
    assert_eq!(status["version"], 1);
    assert_eq!(status["mountpoint"], line.mount.path().to_str().unwrap());
    assert_eq!(status["process"], line.mount.process());
    assert_eq!(status["server"]["state"], "live");
    assert_eq!(status["server"]["address"], format!("127.0.0.1:{}", line.proxy.port()));
    assert_eq!(status["buffers"]["read"]["bytes"], 65536);
    assert_eq!(status["buffers"]["read"]["reason"], "64 KiB: as requested");
    assert!(status["buffers"]["write"]["reason"].as_str().unwrap().contains("below 10000 bytes"), "{status}");
    assert_eq!(status["cache"]["mode"], "strict");
    assert_eq!(status["cache"]["dirty"], 0);
    let creates = status["counters"].as_array().unwrap().iter().find(|counter| {
        counter["name"] == "round_trips" && counter["of"] == "CREATE" && counter["value"].as_u64() > Some(0)
    });
    assert!(creates.is_some_and(|creates| creates["latency"]["median_micros"].as_u64() > Some(0)), "{status}");
    for shown in ["64 KiB: as requested", "strict: ", "CREATE ", "create ", "SMB "] {
        assert!(text.contains(shown), "{shown} is not in\n{text}");
    }
    assert!(!text.contains(PASSWORD) && !status.to_string().contains(PASSWORD));
    line.mount.unmount();
}

fn a_mount_answers_while_its_server_is_away_and_says_since_when(kind: Kind) {
    let line = Line::to(Server::shared(kind), &[]);
    fs::write(line.here("file"), "x").unwrap();
    line.proxy.refuse();
    line.proxy.cut();
    let is_away = || status(&line.mount)["server"]["away"]["why"].is_string();
    assert!(wait_until(LIMIT, is_away), "{}", status(&line.mount));
    let lost = status(&line.mount);
    let messages = lost["recent"].as_array().unwrap();
    assert!(messages.iter().any(|m| m["message"].as_str().unwrap().contains("the connection is lost")), "{lost}");
    let text = run(&mut program(["status", line.mount.path().to_str().unwrap()]), LIMIT).success().stdout;
    assert!(text.contains("\naway ") && text.contains(" WARN "), "{text}");
    line.proxy.forward();
    assert!(wait_until(LIMIT, || status(&line.mount)["server"]["state"] == "live"));
    line.mount.unmount();
}

/// The list contains a mount from its beginning to its end, and not after its process was killed.
#[test]
fn a_mount_is_listed_until_it_ends_however_it_ends() {
    let server = Server::shared(Kind::Smbd);
    let (unmounted, killed) = (Line::to(server.clone(), &[]), Line::to(server, &[]));
    let paths = [&unmounted, &killed].map(|line| line.mount.path().to_str().unwrap().to_owned());
    assert!(paths.iter().all(|path| listed().contains(path)), "{:?}", listed());
    unmounted.mount.unmount();
    killed.mount.signal(Signal::KILL);
    assert!(wait_until(LIMIT, || !listed().contains(&paths[1])));
    assert!(paths.iter().all(|path| !listed().contains(path)), "{:?}", listed());
    let asked = || run(&mut program(["status", &paths[1]]), LIMIT);
    assert!(wait_until(LIMIT, || asked().stderr.contains("is not in a mount of this program")), "{}", asked());
    assert_eq!(asked().code, Some(32));
}

/// Another user sees nothing of a mount of root, and cannot ask it.
#[test]
fn the_mounts_of_root_are_hidden_from_other_users() {
    let line = Line::to(Server::shared(Kind::Smbd), &[]);
    assert_eq!(as_user(65_533, &["status"]).success().stdout, "nothing is mounted by this user\n");
    let foreign = as_user(65_533, &["status", line.mount.path().to_str().unwrap()]);
    assert_eq!(foreign.code, Some(32), "{foreign}");
    foreign.says("was mounted by root; only that user and root");
    line.mount.unmount();
}

/// The program as another user, without an environment.
fn as_user(user: u32, words: &[&str]) -> Run {
    run(Command::new(program_for_all()).env_clear().args(words).uid(user).gid(user), LIMIT)
}

/// A folder of this user that nobody else can enter.
fn private_folder(path: PathBuf, user: u32) -> PathBuf {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(&path).unwrap();
    chown(&path, Some(user), Some(user)).unwrap();
    path
}

/// The process keeps its socket in a directory that this call does not know: the mount is listed all the same, and
/// nobody is advised to end it.
#[test]
fn a_mount_whose_socket_is_elsewhere_is_listed_and_not_declared_dead() {
    const USER: u32 = 65_534;
    let server = Server::shared(Kind::Smbd);
    let folder = server.new_folder("user");
    let url = server.url(&folder.file_name().unwrap().to_string_lossy());
    let runtime = private_folder(scratch::folder("runtime").join("own"), USER);
    let mount = Request::new(&url).by_user(USER).env("XDG_RUNTIME_DIR", &runtime).mount();
    let path = mount.path().to_str().unwrap();
    let text = as_user(USER, &["status"]).success().stdout;
    assert!(text.contains(path) && text.contains("its process does not answer here"), "{text}");
    let said = run(&mut program(["status", "--json"]), LIMIT).success().stdout;
    let answers: Value = serde_json::from_str(&said).unwrap();
    let unreachable = answers["unreachable"].as_array().unwrap();
    assert!(unreachable.iter().any(|mount| mount["mountpoint"] == path), "{said}");
    for asked in [as_user(USER, &["log", path]), run(&mut program(["log", path]), LIMIT)] {
        assert_eq!(asked.code, Some(32), "{asked}");
        asked.says("its process cannot be reached");
        assert!(!asked.text().contains("cleanup"), "{asked}");
    }
    let mut with_its_directory = Command::new(program_for_all());
    with_its_directory.env_clear().env("XDG_RUNTIME_DIR", &runtime).args(["log", path]).uid(USER).gid(USER);
    assert_eq!(run(&mut with_its_directory, LIMIT).success().stdout, "warn\n");
    mount.unmount();
}

/// Root looks at the sockets of another user, and leaves them alone, also dead ones.
#[test]
fn root_removes_nothing_from_the_directory_of_another_user() {
    const USER: u32 = 65_530;
    let folder = private_folder(PathBuf::from(format!("/tmp/cifs-fuse-{USER}")), USER);
    let dead = folder.join("4194305.sock");
    drop(UnixListener::bind(&dead).unwrap());
    run(&mut program(["status"]), LIMIT).success();
    let is_there = dead.exists();
    fs::remove_dir_all(&folder).unwrap();
    assert!(is_there, "root has removed {}", dead.display());
}

/// A link to a mount, a path below that link, and another place of the same mount.
#[test]
fn a_mount_is_found_by_any_of_its_names() {
    let scene = Scene::on(Kind::Smbd);
    let (link, bound) = (scratch::folder("names").join("link"), scratch::folder("bound"));
    symlink(scene.mount.path(), &link).unwrap();
    run(Command::new("mount").arg("--bind").arg(scene.mount.path()).arg(&bound), LIMIT).success();
    let asked = [&link, &link.join("below"), &bound].map(|path| run(program(["log"]).arg(path), LIMIT));
    let shown = run(program(["status"]).arg(&link), LIMIT);
    let remounted = run(program([&*scene.url()]).arg(&link).args(["-o", "remount,ro"]), LIMIT);
    run(Command::new("umount").arg(&bound), LIMIT).success();
    for asked in asked {
        assert_eq!(asked.success().stdout, "warn\n");
    }
    assert!(shown.success().stdout.contains("read and write"));
    remounted.success();
    fails_with(fs::write(scene.here("new"), "x"), Errno::ROFS);
    scene.mount.unmount();
}

/// `--watch` shows the end of the mount and goes on, and the terminal keeps what it showed before.
#[test]
fn a_watch_survives_the_end_of_the_mount() {
    let scene = Scene::on(Kind::Smbd);
    let terminal = Terminal::run(&format!("{PROGRAM} status --watch {}", scene.mount.path().display()));
    terminal.shows("read and write");
    scene.mount.unmount();
    terminal.answer("is not in a mount of this program", "\u{3}");
    let (_, text) = terminal.end();
    assert!(!text.contains("\u{1b}[3J"), "{text:?}");
}

/// A server that comes back with smaller limits: the sizes stay, and larger pieces of data still arrive.
#[test]
fn the_buffer_sizes_stay_when_the_server_comes_back_with_other_limits() {
    let server = Arc::new(Server::start(Kind::Smbd, Settings { max_io: Some(262_144), ..Settings::default() }));
    let scene = Scene::of(server.clone(), |request| request);
    fs::write(scene.here("before"), noise(1, 1_000_000)).unwrap();
    server.smbd().configure("[global]\nsmb2 max read = 65536\nsmb2 max write = 65536\nsmb2 max trans = 65536");
    server.smbd().restart();
    let data = noise(2, 1_000_000);
    assert!(wait_until(LIMIT, || fs::write(scene.here("after"), &data).is_ok()));
    assert!(fs::read(scene.there("after")).unwrap() == data);
    fs::write(scene.there("new"), &data).unwrap();
    assert!(fs::read(scene.here("new")).unwrap() == data);
    let buffers = status(&scene.mount)["buffers"].clone();
    assert_eq!((&buffers["read"]["bytes"], &buffers["write"]["bytes"]), (&262_144.into(), &262_144.into()));
    scene.mount.unmount();
}
