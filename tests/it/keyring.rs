//! Passwords in the desktop's keyring: `cifs-fuse login`, mounts with `--keyring`, `cifs-fuse logout`.

use crate::support::command::{Run, run};
use crate::support::desktop::Desktop;
use crate::support::mount::{Request, program};
use crate::support::server::{Kind, PASSWORD, Server, Settings, user};
use std::process::Command;
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(30);

fn in_session(desktop: &Desktop, words: &[&str]) -> Command {
    let mut command = program(words.iter().copied());
    command.envs(desktop.variables());
    command
}

fn log_in(desktop: &Desktop, server: &Server, password: &str) -> Run {
    let address = address(server);
    let mut command = in_session(desktop, &["login", &address, "--username", user()]);
    run(command.env("AUTH_PASSWORD", password), LIMIT)
}

fn address(server: &Server) -> String {
    format!("127.0.0.1:{}", server.port())
}

fn request(desktop: &Desktop, server: &Server) -> Request {
    let request = Request::new(server.url("")).without_credentials().arg("--keyring");
    desktop.variables().iter().fold(request, |request, (name, value)| request.env(name, value))
}

#[test]
fn a_stored_password_mounts_until_it_is_removed() {
    let server = Server::start(Kind::Smbd, Settings::default());
    let mut desktop = Desktop::start();
    desktop.keyring(true);
    log_in(&desktop, &server, PASSWORD).success().says(user());

    // The keyring knows the user as well.
    let mount = request(&desktop, &server).mount();
    std::fs::write(mount.join("file"), "text").unwrap();
    mount.unmount();
    request(&desktop, &server).args(["--username", user()]).mount().unmount();
    request(&desktop, &server).args(["--username", "somebody"]).fails(1).says("no password of 'somebody'");

    let removed = run(&mut in_session(&desktop, &["logout", &address(&server)]), LIMIT).success();
    removed.says(user());
    let again = run(&mut in_session(&desktop, &["logout", &address(&server)]), LIMIT);
    assert_eq!(again.code, Some(1), "{again}");
    request(&desktop, &server).args(["--username", user()]).fails(1).says("cifs-fuse login");
}

#[test]
fn a_refused_password_is_not_stored() {
    let server = Server::start(Kind::Smbd, Settings::default());
    let mut desktop = Desktop::start();
    desktop.keyring(true);
    let refused = log_in(&desktop, &server, "wrong");
    assert_eq!(refused.code, Some(33), "{refused}");
    refused.says("sign-in");
    request(&desktop, &server).args(["--username", user()]).fails(1).says("no password");
}

#[test]
fn a_keyring_that_does_not_answer_fails_the_mount_with_the_cause() {
    let server = Server::shared(Kind::Smbd);
    let mut desktop = Desktop::start();
    let failed = request(&desktop, &server).args(["--username", user()]).fails(2);
    failed.says("keyring: it cannot be reached").says("desktop session");

    desktop.keyring(true);
    log_in(&desktop, &server, PASSWORD).success();
    desktop.keyring(false);
    request(&desktop, &server).args(["--username", user()]).fails(2).says("keyring: it is locked");
    let failed = log_in(&desktop, &server, PASSWORD);
    assert_eq!(failed.code, Some(2), "{failed}");
    failed.says("keyring: it is locked");
}

#[test]
fn two_users_of_a_server_are_told_apart() {
    let server = Server::shared(Kind::Smbd);
    let mut desktop = Desktop::start();
    desktop.keyring(true);
    log_in(&desktop, &server, PASSWORD).success();
    let words = ["keyring", "keep", &address(&server), "Other"];
    let kept = crate::support::command::run_with_input(&mut in_session(&desktop, &words), b"secret", LIMIT);
    kept.success();
    request(&desktop, &server).fails(2).says("several users").says("Other");
    request(&desktop, &server).args(["--username", user()]).mount().unmount();
}

#[test]
fn a_password_is_stored_for_a_user() {
    let desktop = Desktop::start();
    let failed = run(&mut in_session(&desktop, &["login", "127.0.0.1:1"]), LIMIT);
    assert_eq!(failed.code, Some(1), "{failed}");
    failed.says("--username");
}
