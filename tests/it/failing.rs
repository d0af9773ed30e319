//! Mounts that must fail. Each case has its own message, which names the stage and the server's status, comes
//! within the connect timeout, and leaves nothing behind.

use crate::support::command::{Run, run};
use crate::support::mount::{Request, program};
use crate::support::processes::is_running;
use crate::support::proxy::Proxy;
use crate::support::scene::Scene;
use crate::support::server::{Kind, PASSWORD, PASSWORD_MARK, SHARE, Server, both_servers, url, user};
use crate::support::silent::Silent;
use crate::support::stranger::Stranger;
use crate::support::watchdog;
use crate::support::{mountinfo, scratch, wait_until};
use rustix::process::Signal;
use std::fs;
use std::path::Path;
use std::time::Duration;

both_servers!(a_wrong_password, an_unknown_user, an_unknown_share, an_unknown_path, a_path_that_is_a_file_is_refused);

/// The message of a failed mount: at most three lines, without a panic and without the password.
fn message(outcome: &Run) -> &str {
    let text = outcome.stderr.trim_end();
    assert!(text.starts_with("cifs-fuse: "), "{outcome}");
    assert!(text.lines().count() <= 3, "the message is too long: {outcome}");
    assert!(!text.contains("panicked") && !text.contains("RUST_BACKTRACE"), "{outcome}");
    assert!(!text.contains(PASSWORD_MARK), "the password is in the message");
    text
}

/// Asserts that a mount failed at this stage with a message that contains these words.
#[track_caller]
fn fails_at(request: Request, stage: &str, words: &[&str]) -> Run {
    // A refused login has its own exit code, since the server would refuse it again.
    let refused = words.contains(&"STATUS_LOGON_FAILURE");
    let outcome = request.fails(if refused { 33 } else { 32 });
    assert!(message(&outcome).starts_with(&format!("cifs-fuse: {stage}: ")), "{outcome}");
    for word in words {
        outcome.says(word);
    }
    outcome
}

fn a_wrong_password(kind: Kind) {
    let server = Server::shared(kind);
    let request = Request::new(server.url("")).without_credentials();
    let request = request.env("AUTH_USERNAME", user()).env("AUTH_PASSWORD", "wrong-password-mark");
    let outcome = fails_at(request, "sign-in", &["STATUS_LOGON_FAILURE", user()]);
    assert!(!outcome.text().contains("wrong-password-mark"));
}

fn an_unknown_user(kind: Kind) {
    let server = Server::shared(kind);
    let request = Request::new(server.url("")).without_credentials();
    let request = request.env("AUTH_USERNAME", "stranger").env("AUTH_PASSWORD", "x");
    fails_at(request, "sign-in", &["STATUS_LOGON_FAILURE", "stranger"]);
}

fn an_unknown_share(kind: Kind) {
    let server = Server::shared(kind);
    let request = Request::new(format!("cifs://127.0.0.1:{}/elsewhere", server.port()));
    fails_at(request, "share", &["STATUS_BAD_NETWORK_NAME", "elsewhere"]);
}

fn an_unknown_path(kind: Kind) {
    let server = Server::shared(kind);
    fails_at(Request::new(server.url("no-such-folder")), "path", &["STATUS_OBJECT_NAME_NOT_FOUND", "no-such-folder"]);
    fails_at(Request::new(server.url("no-such/folder")), "path", &["STATUS_OBJECT_PATH_NOT_FOUND"]);
}

fn a_path_that_is_a_file_is_refused(kind: Kind) {
    let server = Server::shared(kind);
    let folder = server.new_folder("failing");
    fs::write(folder.join("file"), "x").unwrap();
    let path = format!("{}/file", folder.file_name().unwrap().to_str().unwrap());
    fails_at(Request::new(server.url(&path)), "path", &["file"]);
}

#[test]
fn a_host_that_does_not_exist_is_named_in_the_error() {
    // RFC 2606 reserves .invalid: no host has a name in it.
    let request = Request::new("cifs://no-such-host.invalid/share").arg("--connect-timeout=5");
    fails_at(request, "name resolution", &["no-such-host.invalid"]);
}

#[test]
fn a_port_without_a_listening_server_is_named_in_the_error() {
    let port = scratch::free_port();
    fails_at(Request::new(url("127.0.0.1", port, "")), "connect", &["refused", &port.to_string()]);
}

#[test]
fn a_server_that_never_answers_fails_the_mount_in_time() {
    let server = Server::shared(Kind::Smbd);
    let proxy = Proxy::to_port(server.port());
    proxy.stall();
    let outcome = fails_at(Request::new(url("127.0.0.1", proxy.port(), "")).arg("--connect-timeout=2"), "dialect", &[]);
    within(&outcome, 2);
}

/// Packets to this address are lost: TEST-NET-1 (RFC 5737) is not routed.
#[test]
fn an_address_without_a_host_fails_the_mount_in_time() {
    let outcome = Request::new("cifs://192.0.2.1/share").arg("--connect-timeout=2").fails(32);
    assert!(message(&outcome).starts_with("cifs-fuse: connect: "), "{outcome}");
    within(&outcome, 2);
}

/// Asserts the bound by the connect timeout, which covers everything until the mount works. A busy machine
/// gets 5 s more.
#[track_caller]
fn within(outcome: &Run, seconds: u64) {
    assert!(outcome.took < Duration::from_secs(seconds + 5), "{outcome}");
}

#[test]
fn a_server_that_speaks_only_smb1_is_reported_as_such() {
    // An SMB_COM_NEGOTIATE response (MS-CIFS 2.2.4.52.2) that chose no dialect.
    let smb1 = b"\0\0\0\x25\xffSMB\x72\0\0\0\0\x80\x01\xc8\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x01\xff\xff\0\0";
    let request = Request::new(url("127.0.0.1", Stranger::Answers(smb1).start(), "")).arg("--connect-timeout=3");
    fails_at(request, "dialect", &["SMB1"]);
}

/// Old servers close the connection on a NEGOTIATE that they do not understand.
#[test]
fn a_server_that_closes_the_connection_at_negotiate_fails_the_mount() {
    let request = Request::new(url("127.0.0.1", Stranger::IsSilent.start(), "")).arg("--connect-timeout=3");
    fails_at(request, "dialect", &[]);
}

#[test]
fn a_server_that_speaks_another_protocol_fails_the_mount() {
    for bytes in [&b"HTTP/1.1 400 Bad Request\r\n\r\n"[..], b"SSH-2.0-OpenSSH_9.2\r\n", b"\0\xff\xff\xff\xfeSMB"] {
        let request = Request::new(url("127.0.0.1", Stranger::Answers(bytes).start(), "")).arg("--connect-timeout=3");
        fails_at(request, "dialect", &[]);
    }
}

#[test]
fn a_missing_mountpoint_is_refused_with_the_command_that_creates_it() {
    let server = Server::shared(Kind::Smbd);
    let missing = scratch::folder("mnt").join("missing");
    fails_at(Request::new(server.url("")).at(&missing), "mountpoint", &[missing.to_str().unwrap(), "mkdir"]);
}

#[test]
fn a_mountpoint_that_is_a_file_is_refused() {
    let server = Server::shared(Kind::Smbd);
    let file = scratch::folder("mnt").join("file");
    fs::write(&file, "x").unwrap();
    fails_at(Request::new(server.url("")).at(&file), "mountpoint", &["directory"]);
}

#[test]
fn a_mountpoint_that_is_not_empty_is_refused_and_unchanged() {
    let server = Server::shared(Kind::Smbd);
    let full = scratch::folder("mnt");
    fs::write(full.join("precious"), "x").unwrap();
    fails_at(Request::new(server.url("")).at(&full), "mountpoint", &["not empty"]);
    assert_eq!(fs::read(full.join("precious")).unwrap(), b"x");
}

#[test]
fn a_mountpoint_that_has_a_mount_is_refused_and_the_mount_works_on() {
    let scene = Scene::on(Kind::Smbd);
    fs::write(scene.here("file"), "x").unwrap();
    let outcome = fails_on_mount(&scene.url(), scene.mount.path());
    assert!(message(&outcome).starts_with("cifs-fuse: mountpoint: "), "{outcome}");
    assert_eq!(fs::read(scene.here("file")).unwrap(), b"x", "the existing mount must still work");
    scene.mount.unmount();
}

/// A mount left by a crash of this program does not prevent the next mount.
#[test]
fn a_stale_mount_of_this_program_is_removed_by_the_next_mount() {
    let scene = Scene::on(Kind::Smbd);
    fs::write(scene.there("file"), "x").unwrap();
    scene.mount.signal(Signal::KILL);
    assert!(wait_until(Duration::from_secs(20), || !is_running(scene.mount.process())));
    let again = Request::new(scene.url()).at(scene.mount.path()).mount();
    assert_eq!(fs::read(again.join("file")).unwrap(), b"x");
    again.unmount();
}

/// A stale mount of another program is left alone, and the error names the command that removes it.
#[test]
fn a_stale_mount_of_another_program_is_named_in_the_error() {
    let server = Server::shared(Kind::Smbd);
    let stale = Silent::new();
    watchdog::abort(mountinfo::at(&stale.mountpoint).unwrap().minor);
    let outcome = fails_on_mount(&server.url(""), &stale.mountpoint);
    assert!(message(&outcome).starts_with("cifs-fuse: mountpoint: "), "{outcome}");
    outcome.says("stale").says("fusermount3 -u");
}

/// Tries to mount on a mountpoint that has a mount already. That mount must stay.
#[track_caller]
fn fails_on_mount(url: &str, mountpoint: &Path) -> Run {
    let mut command = program([url, mountpoint.to_str().unwrap()]);
    command.env("AUTH_USERNAME", user()).env("AUTH_PASSWORD", PASSWORD);
    let outcome = run(&mut command, Duration::from_secs(30));
    assert_eq!(outcome.code, Some(32), "{outcome}");
    assert!(mountinfo::at(mountpoint).is_some(), "the existing mount was unmounted");
    outcome
}

#[test]
fn a_mount_fails_in_the_foreground_with_the_same_message() {
    let port = scratch::free_port();
    let request = Request::new(format!("cifs://127.0.0.1:{port}/{SHARE}")).arg("--foreground");
    fails_at(request, "connect", &["refused"]);
}
