//! `cifs-fuse status`: what a mount tells about itself, to whom, and when.

use crate::support::command::run;
use crate::support::files::noise;
use crate::support::line::Line;
use crate::support::mount::{Mount, program, program_for_all};
use crate::support::server::{Kind, PASSWORD, Server, both_servers};
use crate::support::wait_until;
use rustix::process::Signal;
use serde_json::Value;
use std::fs;
use std::os::unix::process::CommandExt;
use std::process::Command;
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
    let run = run(&mut program(["status", &paths[1]]), LIMIT);
    assert_eq!(run.code, Some(32), "{}", run.text());
    assert!(run.stderr.contains("no mount of this program on"), "{}", run.text());
}

/// Another user sees nothing of a mount of root, and cannot ask it.
#[test]
fn the_mounts_of_root_are_hidden_from_other_users() {
    let line = Line::to(Server::shared(Kind::Smbd), &[]);
    let mut as_user = Command::new(program_for_all());
    let said = run(as_user.env_clear().args(["status"]).uid(65_534).gid(65_534), LIMIT).success().stdout;
    assert_eq!(said, "nothing is mounted by this user\n");
    line.mount.unmount();
}
