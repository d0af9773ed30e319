//! `cifs-fuse doctor`: what it finds on servers that work and on those that do not.

use crate::support::command::{Run, run};
use crate::support::frames::command::SESSION_SETUP;
use crate::support::mount::program;
use crate::support::proxy::Proxy;
use crate::support::server::{Demand, Kind, PASSWORD, PASSWORD_MARK, Server, Settings, both_servers, url, user};
use crate::support::stranger::Stranger;
use crate::support::{files, scratch};
use cifs_fuse::config::Dialect;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::time::Duration;

both_servers!(all_steps_succeed_on_a_share_that_can_be_mounted, a_path_that_does_not_exist_fails_as_a_mount_does);

const LIMIT: Duration = Duration::from_secs(60);
/// The steps that every diagnosis without `--throughput` has.
const STEPS: [&str; 17] = [
    "URL",
    "name",
    "port",
    "SMB",
    "dialect",
    "signing",
    "encryption",
    "clock",
    "sign-in",
    "share",
    "path",
    "rights",
    "leases",
    "watches",
    "symlinks",
    "space",
    "round trip",
];

fn doctor_with(url: &str, password: &str, more: &[&str]) -> Run {
    let mut command = program(["doctor", url].into_iter().chain(more.iter().copied()));
    let outcome = run(command.env("AUTH_USERNAME", user()).env("AUTH_PASSWORD", password), LIMIT);
    assert!(!outcome.text().contains(PASSWORD_MARK), "the password is in the output");
    assert!(!outcome.text().contains('\u{1b}'), "colours without a terminal: {outcome}");
    outcome
}

fn doctor(url: &str, more: &[&str]) -> Run {
    doctor_with(url, PASSWORD, more)
}

/// The mark of a step, and its text without the lines below it.
#[track_caller]
fn step<'a>(outcome: &'a Run, name: &str) -> (&'a str, &'a str) {
    let line = outcome.stdout.lines().find(|line| line.get(5..).is_some_and(|rest| rest.starts_with(name)));
    let line = line.unwrap_or_else(|| panic!("no line {name}: {outcome}"));
    (line[..5].trim(), line[17..].trim())
}

/// Asserts that this step failed, with this exit code, that the steps before it did not, and that none was tried
/// afterwards.
#[track_caller]
fn fails_at(outcome: &Run, name: &str, code: i32) {
    assert_eq!(outcome.code, Some(code), "{outcome}");
    let at = STEPS.iter().position(|step| *step == name).unwrap();
    for (number, other) in STEPS.iter().enumerate() {
        let (mark, text) = step(outcome, other);
        match number.cmp(&at) {
            std::cmp::Ordering::Less => assert!(matches!(mark, "ok" | "note"), "{other}: {outcome}"),
            std::cmp::Ordering::Equal => assert_eq!(mark, "FAIL", "{outcome}"),
            std::cmp::Ordering::Greater => assert_eq!((mark, text), ("-", "not tried"), "{other}: {outcome}"),
        }
    }
}

fn all_steps_succeed_on_a_share_that_can_be_mounted(kind: Kind) {
    let server = Server::start(kind, Settings::default());
    let folder = server.new_folder("doctor");
    fs::write(folder.join("large"), files::noise(1, 8 << 20)).unwrap();
    let before = files::tree(server.folder());
    let path = folder.file_name().unwrap().to_str().unwrap();
    let outcome = doctor(&server.url(path), &["--throughput"]).success();
    for name in STEPS {
        let (mark, text) = step(&outcome, name);
        assert!(matches!(mark, "ok" | "note") && !text.is_empty(), "{name}: {outcome}");
    }
    assert!(step(&outcome, "throughput").1.contains("MB/s"), "{outcome}");
    assert!(step(&outcome, "dialect").1.starts_with("SMB 3.1.1"), "{outcome}");
    assert_eq!(step(&outcome, "path").1, path);
    assert_eq!(step(&outcome, "clock").1, "the server's clock and this machine's agree");
    assert!(outcome.stdout.lines().all(|line| line.chars().count() <= 80 || line.contains("cifs://")), "{outcome}");
    assert_eq!(files::tree(server.folder()), before, "something was left on the server");
}

#[test]
fn a_share_for_reading_and_one_for_guests_are_described() {
    let server = Server::start(Kind::Smbd, Settings { read_only: true, guests: true, ..Settings::default() });
    let outcome = doctor(&server.url(""), &[]).success();
    assert_eq!(step(&outcome, "rights"), ("note", "list; not: create files, create folders"));
    outcome.says("--ro");
    let outcome = run(&mut program(["doctor", &server.url(""), "--guest", "--throughput"]), LIMIT).success();
    outcome.says("with the rights of a guest");
    assert!(step(&outcome, "throughput").1.starts_with("not measured"), "{outcome}");
}

/// Servers lock accounts after some refused sign-ins.
#[test]
fn a_wrong_password_is_sent_once() {
    let server = Server::start(Kind::Smbd, Settings::default());
    server.smbd().configure("[global]\nlog level = 1 auth_audit:2");
    server.smbd().restart();
    let proxy = Proxy::to_port(server.port());
    let outcome = doctor_with(&url("127.0.0.1", proxy.port(), ""), "wrong-password-mark", &[]);
    fails_at(&outcome, "sign-in", 33);
    outcome.says("STATUS_LOGON_FAILURE").says("cifs-fuse: doctor: a mount fails at the step 'sign-in'");
    assert!(!outcome.text().contains("wrong-password-mark"));
    assert_eq!(proxy.requests(SESSION_SETUP), 2, "the two rounds of one NTLM sign-in");
    let refusals = server.smbd().log().matches("NT_STATUS_WRONG_PASSWORD").count();
    assert_eq!(refusals, 1, "{}", server.smbd().log());
}

#[test]
fn a_share_that_does_not_exist_fails_after_the_sign_in() {
    let server = Server::shared(Kind::Smbd);
    let outcome = doctor(&format!("cifs://127.0.0.1:{}/elsewhere", server.port()), &[]);
    fails_at(&outcome, "share", 32);
    outcome.says("STATUS_BAD_NETWORK_NAME").says("It has \"share\"").says("cifs-fuse shares 'cifs://");
}

fn a_path_that_does_not_exist_fails_as_a_mount_does(kind: Kind) {
    let server = Server::shared(kind);
    let outcome = doctor(&server.url("no-such-folder"), &[]);
    fails_at(&outcome, "path", 32);
    outcome.says("no-such-folder").says("check the path after the share's name");
}

#[test]
fn a_host_without_an_address_fails_at_the_name() {
    // RFC 2606 reserves .invalid: no host has a name in it.
    let outcome = doctor("cifs://no-such-host.invalid/share", &["--connect-timeout=5"]);
    fails_at(&outcome, "name", 32);
}

#[test]
fn a_closed_port_is_named() {
    let port = scratch::free_port();
    let outcome = doctor(&url("127.0.0.1", port, ""), &[]);
    fails_at(&outcome, "port", 32);
    outcome.says(&port.to_string()).says("check that the server is up");
}

#[test]
fn a_port_where_something_else_answers_or_nothing_does_is_not_an_smb_server() {
    let http = Stranger::Answers(b"HTTP/1.1 400 Bad Request\r\n\r\n");
    for (stranger, words) in [(http, "not an SMB server"), (Stranger::IsSilent, "never answered")] {
        let outcome = doctor(&url("127.0.0.1", stranger.start(), ""), &["--connect-timeout=3"]);
        fails_at(&outcome, "SMB", 32);
        outcome.says(words);
        assert!(outcome.took < Duration::from_secs(3 + 10), "{outcome}");
    }
}

#[test]
fn a_server_without_a_common_dialect_is_an_smb_server() {
    let dialects = Some((Dialect::Smb202, Dialect::Smb210));
    let server = Server::start(Kind::Smbd, Settings { dialects, ..Settings::default() });
    let outcome = doctor(&server.url(""), &["--min-dialect=3.0"]);
    fails_at(&outcome, "dialect", 32);
    outcome.says("speaks none of the offered dialects");
    let outcome = doctor(&server.url(""), &[]).success();
    assert!(step(&outcome, "dialect").1.starts_with("SMB 2.1 "), "{outcome}");
}

#[test]
fn required_encryption_that_the_server_lacks_fails_before_the_sign_in() {
    let server = Server::start(Kind::Smbd, Settings { encryption: Demand::Off, ..Settings::default() });
    let proxy = Proxy::to_port(server.port());
    let outcome = doctor(&url("127.0.0.1", proxy.port(), ""), &["--encryption=required"]);
    fails_at(&outcome, "encryption", 32);
    outcome.says("encryption is required");
    assert_eq!(proxy.requests(SESSION_SETUP), 0);
}

#[test]
fn a_report_has_no_secret_and_only_its_owner_can_read_it() {
    let server = Server::shared(Kind::Smbd);
    let path = scratch::folder("report").join("report.txt");
    let name = path.to_str().unwrap();
    let with_password = server.url("").replacen("://", &format!("://{}:{}@", user(), encoded(PASSWORD)), 1);
    let outcome = run(&mut program(["doctor", &with_password, "--report", name]), LIMIT).success();
    assert!(outcome.stdout.contains(name), "{outcome}");
    let text = fs::read_to_string(&path).unwrap();
    assert!(!text.contains(PASSWORD_MARK) && !outcome.text().contains(PASSWORD_MARK), "the password is in the report");
    for part in [env!("CARGO_PKG_VERSION"), "kernel", "fusermount3", "SMB 3.1.1", "capabilities", "connect timeout"] {
        assert!(text.contains(part), "no {part} in\n{text}");
    }
    for step in STEPS {
        assert!(text.contains(&format!(" {step} ")), "no {step} in\n{text}");
    }
    assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o600);

    let again = doctor(&server.url(""), &["--report", name]);
    assert_eq!(again.code, Some(2), "{again}");
    again.says("exists already");
    assert_eq!(fs::read_to_string(&path).unwrap(), text);
}

/// A password as a part of a URL.
fn encoded(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

#[test]
fn a_host_and_a_windows_path_are_understood() {
    let server = Server::shared(Kind::Smbd);
    let place = format!("127.0.0.1:{}", server.port());
    let listed = doctor(&place, &[]).success();
    let (mark, text) = step(&listed, "share");
    assert_eq!(mark, "ok", "{listed}");
    assert!(text.contains("share"), "{listed}");
    for url in [format!("//{place}/share"), format!("smb://{place}/share")] {
        let outcome = doctor(&url, &[]).success();
        assert_eq!(step(&outcome, "path").1, "the root of the share", "{outcome}");
    }
}

#[test]
fn wrong_usage_is_reported_before_anything_is_sent() {
    for arguments in [&["doctor"][..], &["doctor", "cifs://nas/share", "/mnt"], &["doctor", "http://nas/share"]] {
        let outcome = run(&mut program(arguments.iter().copied()), LIMIT);
        assert_eq!(outcome.code, Some(1), "{outcome}");
    }
    let help = run(&mut program(["doctor", "--help"]), LIMIT).success();
    help.says("--report").says("--throughput").says("Exit codes");
}
