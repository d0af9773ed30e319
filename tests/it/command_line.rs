//! The command line: usage errors, forms of the URL, `--help` and `--version`.

use crate::support::command::{Run, run};
use crate::support::files::names;
use crate::support::mount::{Request, program};
use crate::support::scene::Scene;
use crate::support::scratch;
use crate::support::server::{Kind, PASSWORD, SHARE, Server, user};
use std::fs;
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(20);

fn says(arguments: &[&str]) -> Run {
    run(&mut program(arguments.iter().copied()), LIMIT)
}

#[track_caller]
fn is_wrong_usage(arguments: &[&str], words: &[&str]) {
    let outcome = says(arguments);
    assert_eq!(outcome.code, Some(1), "{outcome}");
    assert!(outcome.stdout.is_empty(), "errors belong on standard error: {outcome}");
    for word in words {
        outcome.says(word);
    }
}

#[test]
fn help_and_version_exit_with_0() {
    let help = says(&["--help"]).success();
    for option in [
        "--read-buffer-size",
        "--write-buffer-size",
        "--uid",
        "--gid",
        "--file-mode",
        "--dir-mode",
        "--ro",
        "--allow-other",
        "--cache-size",
        "--attr-timeout",
        "--connect-timeout",
        "--request-timeout",
        "--min-dialect",
        "--max-dialect",
        "--signing",
        "--encryption",
        "--username",
        "--domain",
        "--credentials",
        "--password-fd",
        "--guest",
        "--anonymous",
        "--foreground",
        "--log-level",
        "--log-target",
    ] {
        help.says(option);
    }
    help.says("cifs://").says("32");
    says(&["-h"]).success().says("URL");
    assert_eq!(says(&["--version"]).success().stdout.trim(), format!("cifs-fuse {}", env!("CARGO_PKG_VERSION")));
}

#[test]
fn a_missing_argument_is_reported_with_the_usage() {
    is_wrong_usage(&[], &["cifs-fuse URL DIR"]);
    is_wrong_usage(&["cifs://host/share"], &["DIR"]);
    is_wrong_usage(&["cifs:///share", "/mnt"], &["host", "cifs://"]);
    is_wrong_usage(&["cifs://host", "/mnt"], &["share", "cifs://"]);
    is_wrong_usage(&["cifs://host/", "/mnt"], &["share", "cifs://"]);
}

#[test]
fn a_mistake_in_the_url_is_named_in_the_error() {
    is_wrong_usage(&["http://host/share", "/mnt"], &["cifs://"]);
    is_wrong_usage(&["/dev/sda1", "/mnt"], &["cifs://"]);
    is_wrong_usage(&["cifs://host:notaport/share", "/mnt"], &["port"]);
    is_wrong_usage(&["cifs://host:99999/share", "/mnt"], &["port"]);
    let transports = "Transport must be one of: directtcp, netbios";
    is_wrong_usage(&["cifs://host/share?transport=carrier-pigeon", "/mnt"], &[transports]);
    is_wrong_usage(&["cifs://host/share?no-such-option=1", "/mnt"], &["no-such-option"]);
}

#[test]
fn a_url_cut_by_the_shell_at_an_ampersand_is_recognised() {
    let missing = scratch::folder("mnt").join("missing");
    let url = format!("cifs://127.0.0.1:{}/{SHARE}?auth-username=ann", scratch::free_port());
    let outcome = says(&[&url, missing.to_str().unwrap()]);
    assert_ne!(outcome.code, Some(0));
    outcome.says("quote").says("&");
}

#[test]
fn a_mistake_in_an_option_is_named_in_the_error() {
    for (option, words) in [
        ("--read-buffer-size=64x", ["read-buffer-size", "64x"]),
        ("--write-buffer-size=many", ["write-buffer-size", "many"]),
        ("--file-mode=0999", ["file-mode", "0999"]),
        ("--uid=nobody-of-that-name", ["uid", "nobody-of-that-name"]),
        ("--min-dialect=1.0", ["min-dialect", "1.0"]),
        ("--signing=perhaps", ["signing", "perhaps"]),
        ("--cache-size=huge", ["cache-size", "huge"]),
        ("--connect-timeout=soon", ["connect-timeout", "soon"]),
        ("--log-level=@@", ["log level", "@@"]),
        ("--no-such-option", ["no-such-option", "--help"]),
        ("-ono_such_option", ["no_such_option", "-o"]),
    ] {
        is_wrong_usage(&["cifs://guest@host/share", "/mnt", option], &words);
    }
    is_wrong_usage(&["cifs://guest@host/share", "/mnt", "--min-dialect=3.0", "--max-dialect=2.1"], &["dialect"]);
    is_wrong_usage(&["cifs://guest@host/share?read-buffer-size=64x", "/mnt"], &["read-buffer-size", "64x"]);
    let unreadable = says(&["cifs://ann@host/share", "/mnt", "--credentials=/no/such/file"]);
    assert_eq!(unreadable.code, Some(2), "{unreadable}");
    unreadable.says("/no/such/file");
}

/// Every form in which a user may write the URL. Each must mount the same folder.
#[test]
fn every_form_of_the_url_works() {
    let server = Server::shared(Kind::Smbd);
    let folder = server.new_folder("url");
    fs::create_dir(folder.join("a b")).unwrap();
    fs::write(folder.join("a b/file"), "x").unwrap();
    let (port, path) = (server.port(), folder.file_name().unwrap().to_str().unwrap());
    let user = user();
    let password = encoded(PASSWORD);
    // In a query, + stands for a space.
    let with_plus = encoded(PASSWORD).replace("%20", "+");
    for (url, anonymous) in [
        (format!("cifs://127.0.0.1:{port}/{SHARE}/{path}/a%20b"), false),
        (format!("smb://127.0.0.1:{port}/{SHARE}/{path}/a b///"), false),
        (format!("CIFS://127.0.0.1:{port}\\{SHARE}\\{path}\\a b"), false),
        (format!("cifs://localhost:{port}/{SHARE}/{path}/a%20b?transport=DIRECTTCP"), false),
        (format!("cifs://{user}:{password}@127.0.0.1:{port}/{SHARE}/{path}/a%20b"), true),
        (format!("cifs://127.0.0.1:{port}/{SHARE}/{path}/a%20b?auth-username={user}&auth-password={password}"), true),
        (
            format!(
                "cifs://127.0.0.1:{port}/{SHARE}/{path}/a%20b?AUTH-PASSWORD={with_plus}&Auth-Username={user}&\
                 transport=directtcp&auth-domain=WORKGROUP"
            ),
            true,
        ),
    ] {
        let request = Request::new(&url);
        let mount = if anonymous { request.without_credentials() } else { request }.mount();
        assert_eq!(names(mount.path()), ["file"], "{url}");
        mount.unmount();
    }
}

/// A proxy on the IPv6 loopback forwards to the server. Skipped where the loopback has no IPv6 address.
#[test]
fn the_url_can_have_an_ipv6_address_in_brackets() {
    let server = Server::shared(Kind::Smbd);
    let Ok(listener) = TcpListener::bind("[::1]:0") else {
        eprintln!("skipped: the loopback has no IPv6 address");
        return;
    };
    let (port, target) = (listener.local_addr().unwrap().port(), server.port());
    std::thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let server = TcpStream::connect(("127.0.0.1", target)).unwrap();
            let (upstream, downstream) = (server.try_clone().unwrap(), client.try_clone().unwrap());
            std::thread::spawn(move || std::io::copy(&mut &client, &mut &upstream));
            std::thread::spawn(move || std::io::copy(&mut &server, &mut &downstream));
        }
    });
    let folder = server.new_folder("ipv6");
    fs::write(folder.join("file"), "x").unwrap();
    let path = folder.file_name().unwrap().to_str().unwrap();
    let mount = Request::new(format!("cifs://[::1]:{port}/{SHARE}/{path}")).mount();
    assert_eq!(names(mount.path()), ["file"]);
    mount.unmount();
}

/// The URL's query overrides the command line.
#[test]
fn options_in_the_url_override_the_command_line() {
    let scene = Scene::on(Kind::Smbd);
    fs::write(scene.there("file"), "x").unwrap();
    let url = format!("{}?file-mode=0600&ro", scene.url());
    let mount = Request::new(url).args(["--file-mode=0644", "-o", "rw"]).mount();
    let mode = std::os::unix::fs::MetadataExt::mode(&fs::metadata(mount.join("file")).unwrap());
    assert_eq!(mode & 0o777, 0o600);
    assert!(mount.info().has_option("ro"));
    mount.unmount();
}

/// The text with every byte except ASCII letters, digits and `-` as `%XX`.
pub(crate) fn encoded(text: &str) -> String {
    let one = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' => char::from(byte).to_string(),
        other => format!("%{other:02X}"),
    };
    text.bytes().map(one).collect()
}
