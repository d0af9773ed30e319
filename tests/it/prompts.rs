//! A user at a terminal: the questions for name and password, and the line that says what was mounted.

use crate::support::mount::{Mount, PROGRAM};
use crate::support::scratch;
use crate::support::server::{Kind, PASSWORD, PASSWORD_MARK, Server, Settings, url, user};
use crate::support::terminal::Terminal;
use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(60);
const NAME: &str = "User name on 127.0.0.1 (empty for guest): ";

/// The program at a terminal, with these arguments after URL and directory.
fn mounting(url: &str, mountpoint: &Path, more: &str) -> Terminal {
    Terminal::run(&format!("exec {PROGRAM} '{url}' {} {more}", mountpoint.display()))
}

/// The question for the password of the user that every server knows.
fn password() -> String {
    format!("Password for {}: ", user())
}

/// Asserts success with the line about the mount, and returns the mount and all that the terminal has shown.
#[track_caller]
fn mounted(terminal: Terminal, url: &str, mountpoint: &Path, terms: &str) -> (Mount, String) {
    let (code, text) = terminal.end();
    assert_eq!(code, Some(0), "{text}");
    let line = format!("cifs-fuse: {url} on {}: {terms}\r\n", mountpoint.display());
    assert_eq!(text.matches(&line).count(), 1, "no {line:?} in {text}");
    assert!(!text.contains(PASSWORD_MARK), "the password was shown: {text}");
    (Mount::found_at(mountpoint, LIMIT), text)
}

#[test]
fn name_and_password_are_asked_for_and_the_mount_says_what_it_is() {
    let server = Server::shared(Kind::Smbd);
    let (url, mountpoint) = (server.url(""), scratch::folder("mnt"));
    let terminal = mounting(&url, &mountpoint, "");
    terminal.answer(NAME, &format!("{}\n", user()));
    terminal.answer(&password(), &format!("{PASSWORD}\n"));
    let (mount, _) = mounted(terminal, &url, &mountpoint, &format!("SMB 3.1.1, signed, as {}", user()));
    mount.unmount();
    // An unmount by the fixture removes the directory.
    let mountpoint = scratch::folder("mnt");
    let terminal = mounting(&url, &mountpoint, &format!("--username {} --encryption required --ro", user()));
    terminal.answer(&password(), &format!("{PASSWORD}\n"));
    let terms = format!("SMB 3.1.1, encrypted, as {}, read-only", user());
    let (mount, text) = mounted(terminal, &url, &mountpoint, &terms);
    assert!(!text.contains("User name"), "{text}");
    mount.unmount();
}

#[test]
fn an_empty_name_is_the_guest_and_a_read_only_share_is_said_once() {
    let server = Server::start(Kind::Smbd, Settings { guests: true, read_only: true, ..Settings::default() });
    let (url, mountpoint) = (server.url(""), scratch::folder("mnt"));
    let terminal = mounting(&url, &mountpoint, "");
    terminal.answer(NAME, "\n");
    let terms = "SMB 3.1.1, not signed, as guest, read-only (the share is)";
    let (mount, text) = mounted(terminal, &url, &mountpoint, terms);
    assert_eq!(text.matches("read-only").count(), 1, "{text}");
    mount.unmount();
}

#[test]
fn nobody_is_asked_for_a_mount_that_cannot_work() {
    let server = Server::shared(Kind::Smbd);
    let full = scratch::folder("mnt");
    fs::write(full.join("precious"), "x").unwrap();
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let silent = silent.local_addr().unwrap().port();
    let closed = scratch::free_port();
    let free = scratch::folder("mnt");
    let refused = |terminal: Terminal, stage: &str| {
        let (code, text) = terminal.end();
        assert_eq!(code, Some(32), "{text}");
        assert!(text.contains(stage) && !text.contains("User name") && !text.contains("Password"), "{text}");
    };
    refused(mounting(&server.url(""), &full, ""), "cifs-fuse: mountpoint: ");
    refused(mounting(&server.url(""), &full, "--username ann"), "cifs-fuse: mountpoint: ");
    refused(mounting(&url("127.0.0.1", closed, ""), &free, "--username ann"), "cifs-fuse: connect: ");
    refused(mounting(&url("127.0.0.1", silent, ""), &free, "--connect-timeout 1"), "cifs-fuse: ");
    refused(Terminal::run(&format!("{PROGRAM} shares 127.0.0.1:{closed}")), "cifs-fuse: connect: ");
}

#[test]
fn a_refused_password_is_not_asked_for_again() {
    let server = Server::shared(Kind::Smbd);
    let terminal = mounting(&server.url(""), &scratch::folder("mnt"), &format!("--username {}", user()));
    terminal.answer(&password(), "wrong\n");
    let (code, text) = terminal.end();
    assert_eq!((code, text.matches("Password").count()), (Some(33), 1), "{text}");
    assert!(text.contains("STATUS_LOGON_FAILURE") && !text.contains("wrong\r\n"), "{text}");
}

#[test]
fn ctrl_c_at_a_question_ends_the_program_and_leaves_the_terminal_as_it_was() {
    let server = Server::shared(Kind::Smbd);
    for (key, cause) in [("\x03", "SIGINT came"), ("\x04", "there was no answer")] {
        let mountpoint = scratch::folder("mnt");
        let script = format!(
            "trap : INT; {PROGRAM} '{}' {} --username {}; echo code $?; stty -a",
            server.url(""),
            mountpoint.display(),
            user()
        );
        let terminal = Terminal::run(&script);
        terminal.answer(&password(), key);
        let (_, text) = terminal.end();
        assert!(text.contains(&format!("cifs-fuse: interrupted: {cause}")), "{text}");
        assert!(text.contains("code 8\r\n") && text.contains(" echo "), "{text}");
    }
}

fn private_file(content: &str) -> PathBuf {
    let path = scratch::folder("secret").join("file");
    fs::write(&path, content).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    path
}

/// The line may be why there is a question, so the warning comes first.
#[test]
fn a_line_of_the_credentials_file_that_is_not_understood_is_named_before_the_question() {
    let server = Server::shared(Kind::Smbd);
    let mountpoint = scratch::folder("mnt");
    let file = private_file(&format!("username={}\npasword=x\n", user()));
    let terminal = mounting(&server.url(""), &mountpoint, &format!("--credentials {}", file.display()));
    terminal.answer(&password(), &format!("{PASSWORD}\n"));
    let terms = format!("SMB 3.1.1, signed, as {}", user());
    let (mount, text) = mounted(terminal, &server.url(""), &mountpoint, &terms);
    mount.unmount();
    let (before, after) = text.split_once("Password for").unwrap();
    assert!(before.contains("line 2 is neither") && !after.contains("is neither"), "{text}");

    let option = format!("--credentials {}", private_file("usrname=ann\n").display());
    let terminal = mounting(&server.url(""), &scratch::folder("mnt"), &option);
    terminal.answer(NAME, "\x03");
    let (code, text) = terminal.end();
    assert!(text.split_once("User name").unwrap().0.contains("line 1 is neither"), "{code:?} {text}");
}

#[test]
fn a_mount_in_the_foreground_says_what_it_is() {
    let server = Server::shared(Kind::Smbd);
    let (url, mountpoint) = (server.url(""), scratch::folder("mnt"));
    let terminal = mounting(&url, &mountpoint, &format!("--username {} --foreground", user()));
    terminal.answer(&password(), &format!("{PASSWORD}\n"));
    terminal.shows(&format!("cifs-fuse: {url} on {}: SMB 3.1.1, signed, as {}\r\n", mountpoint.display(), user()));
    terminal.answer("", "\x03");
    let (code, text) = terminal.end();
    assert_eq!((code, text.matches("SMB 3.1.1").count()), (Some(0), 1), "{text}");
}
