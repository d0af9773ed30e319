//! What the log shows of a mount at work: requests, frames, failures, losses, and what was counted.

use crate::support::files::{fails_with, noise};
use crate::support::line::Line;
use crate::support::mount::Request;
use crate::support::scratch;
use crate::support::server::{Kind, PASSWORD, Server, Settings, both_servers};
use crate::support::wait_until;
use rustix::io::Errno;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

both_servers!(
    trace_shows_the_requests_of_the_kernel_and_the_frames_for_them,
    a_failure_names_the_request_that_it_belongs_to,
    loss_and_recovery_of_the_connection_are_logged_at_the_same_level,
    what_a_mount_has_counted_is_logged_at_its_end,
);

const LIMIT: Duration = Duration::from_secs(30);

/// A mount through a proxy that logs to a file.
struct Logged {
    line: Line,
    log: PathBuf,
}

impl Logged {
    fn at(kind: Kind, level: &str, options: &[&str]) -> Logged {
        let log = scratch::folder("log").join("log");
        let (level, target) = (format!("--log-level={level}"), format!("--log-target=file:{}", log.display()));
        let options: Vec<&str> = options.iter().copied().chain([level.as_str(), target.as_str()]).collect();
        Logged { line: Line::to(Server::shared(kind), &options), log }
    }

    /// The lines that contain all of these words.
    fn lines(&self, words: &[&str]) -> Vec<String> {
        let log = fs::read_to_string(&self.log).unwrap();
        log.lines().filter(|line| words.iter().all(|word| line.contains(word))).map(str::to_owned).collect()
    }

    #[track_caller]
    fn shows(&self, words: &[&str]) {
        let is_shown = wait_until(LIMIT, || !self.lines(words).is_empty());
        assert!(is_shown, "no line with {words:?} in\n{}", fs::read_to_string(&self.log).unwrap());
    }
}

fn trace_shows_the_requests_of_the_kernel_and_the_frames_for_them(kind: Kind) {
    let logged = Logged::at(kind, "trace", &[]);
    let secret = "the content of the file is private";
    fs::write(logged.line.mount.join("file"), secret).unwrap();
    fs::rename(logged.line.mount.join("file"), logged.line.mount.join("renamed")).unwrap();
    let thread = format!("pid={}", nix::unistd::gettid());
    logged.shows(&["request{operation=create ino=1 fh=0 unique=", &thread, "cifs_fuse::wire", "sent CREATE"]);
    logged.shows(&["received CREATE", "status=STATUS_SUCCESS", "message_id="]);
    logged.shows(&["replied", "request{operation=rename ino=1", &thread, "took="]);
    logged.shows(&["sent", "SET_INFO"]);
    for hidden in [PASSWORD, secret] {
        assert_eq!(logged.lines(&[hidden]), Vec::<String>::new());
    }
    logged.line.mount.unmount();
}

fn a_failure_names_the_request_that_it_belongs_to(kind: Kind) {
    let logged = Logged::at(kind, "warn", &["--request-timeout=2"]);
    fs::write(logged.line.mount.join("file"), "x").unwrap();
    logged.line.proxy.stall();
    fails_with(fs::create_dir(logged.line.mount.join("folder")), Errno::TIMEDOUT);
    let thread = format!("pid={}", nix::unistd::gettid());
    logged.shows(&[" WARN ", "request{operation=lookup ino=1 fh=0 unique=", &thread, "errno=110", "folder"]);
    logged.line.proxy.forward();
    logged.line.mount.unmount();
}

/// A log of warnings that shows a loss must show the recovery as well.
fn loss_and_recovery_of_the_connection_are_logged_at_the_same_level(kind: Kind) {
    let logged = Logged::at(kind, "warn", &[]);
    fs::write(logged.line.mount.join("before"), "x").unwrap();
    logged.line.proxy.cut();
    fs::write(logged.line.mount.join("after"), "x").unwrap();
    logged.shows(&[" WARN ", "the connection is lost"]);
    logged.shows(&[" WARN ", "connected again"]);
    logged.line.mount.unmount();
}

fn what_a_mount_has_counted_is_logged_at_its_end(kind: Kind) {
    let logged = Logged::at(kind, "debug", &["--symlinks=off"]);
    let path = logged.line.mount.join("file");
    fs::write(&path, noise(1, 300_000)).unwrap();
    logged.line.proxy.cut();
    assert!(wait_until(LIMIT, || fs::create_dir(logged.line.mount.join("folder")).is_ok()));
    assert_eq!(fs::read(&path).unwrap().len(), 300_000);
    fails_with(std::os::unix::fs::symlink("file", logged.line.mount.join("link")), Errno::PERM);
    let Logged { line, log } = logged;
    line.mount.unmount();
    let log = fs::read_to_string(log).unwrap();
    let counted = |what: &str| -> u64 {
        let begin = format!("counted: {what} ");
        let value = log.lines().find_map(|line| line.split_once(&begin)).map(|(_, value)| value);
        let digits = value.map(|value| value.split(|c: char| !c.is_ascii_digit()).next().unwrap_or_default());
        digits.unwrap_or("0").parse().unwrap()
    };
    assert_eq!(counted("requests{create}"), 1);
    assert_eq!((counted("requests_waited{create}"), counted("requests_failed{create}")), (1, 0), "{log}");
    assert_eq!((counted("requests{symlink}"), counted("requests_failed{symlink}")), (1, 1), "{log}");
    assert_eq!(counted("requests_waited{symlink}"), 0, "a rule refuses it at once");
    assert!(counted("requests{write}") >= 1 && counted("round_trips{CREATE}") >= 2, "{log}");
    assert!(counted("messages{WRITE}") >= 1 && counted("messages{NEGOTIATE}") >= 2, "{log}");
    assert_eq!((counted("losses"), counted("reconnects")), (1, 1), "{log}");
    let (sent, received) = (counted("frames_sent"), counted("frames_received"));
    assert!(sent >= 10 && received >= 10, "{sent} sent, {received} received");
    assert!(sent >= counted("round_trips{CREATE}") + counted("round_trips{NEGOTIATE}"), "{log}");
}

/// A refusal is an error, not a warning, and so is the news that it is over.
#[test]
fn a_log_of_errors_shows_a_refusing_server_and_its_return() {
    let server = Server::start(Kind::Smbd, Settings::default());
    let log = scratch::folder("log").join("log");
    let target = format!("--log-target=file:{}", log.display());
    let mount = Request::new(server.url("")).args(["--log-level=error", &target]).mount();
    let shows = |text: &str| wait_until(LIMIT, || fs::read_to_string(&log).unwrap().matches(text).count() == 1);
    fs::write(mount.join("before"), "x").unwrap();
    server.smbd().configure("available = no");
    server.smbd().kill_clients();
    assert!(shows("the server refuses the share"), "{}", fs::read_to_string(&log).unwrap());
    server.smbd().configure("available = yes");
    assert!(wait_until(LIMIT, || fs::write(mount.join("after"), "x").is_ok()));
    assert!(shows("connected again"), "{}", fs::read_to_string(&log).unwrap());
    mount.unmount();
}
