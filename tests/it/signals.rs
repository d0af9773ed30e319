//! The effect of signals on a mount.

use crate::support::apart::{apart, spawn};
use crate::support::command::{run, wait};
use crate::support::mount::{Mount, PROGRAM, Request, program};
use crate::support::mountinfo;
use crate::support::proxy::Proxy;
use crate::support::scene::{Scene, url_of};
use crate::support::server::{Kind, PASSWORD, Server, url, user};
use crate::support::{scratch, wait_until};
use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use std::fs::{self, File};
use std::io::Write;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(20);

/// All signals that another program may send, that end a process by default, and that do not request its end.
#[test]
fn signals_that_do_not_request_the_end_do_not_end_a_mount() {
    let scene = Scene::on(Kind::Smbd);
    let mut file = File::create(scene.here("file")).unwrap();
    let pid = scene.mount.process();
    let names =
        ["USR1", "USR2", "ALRM", "VTALRM", "PROF", "IO", "PIPE", "PWR", "STKFLT", "XFSZ", "HUP", "RTMIN", "RTMAX"];
    for name in names {
        run(Command::new("bash").args(["-c", &format!("kill -s {name} {pid}")]), LIMIT).success();
        file.write_all(b"line\n").unwrap_or_else(|error| panic!("after SIG{name}: {error}"));
        assert!(fs::metadata(scene.here("file")).is_ok(), "after SIG{name}");
    }
    drop(file);
    assert_eq!(fs::read_to_string(scene.there("file")).unwrap(), "line\n".repeat(names.len()));
    scene.mount.unmount();
}

#[test]
fn sigquit_unmounts_in_order() {
    let mut scene = Scene::with(Kind::Smbd, Request::foreground);
    let mut file = File::create(scene.here("file")).unwrap();
    file.write_all(b"written before").unwrap();
    scene.mount.signal(Signal::QUIT);
    assert_eq!(scene.mount.is_gone(), Some(0));
    assert_eq!(fs::read(scene.there("file")).unwrap(), b"written before");
}

/// A signal also ends the program while it waits for the server.
#[test]
fn a_signal_while_connecting_ends_the_program() {
    for signal in [Signal::INT, Signal::TERM] {
        // This server accepts the connection and never answers.
        let server = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let url = url("127.0.0.1", server.local_addr().unwrap().port(), "");
        let mountpoint = scratch::folder("mnt");
        let mut command =
            program(["--guest", "--connect-timeout=60", "--foreground", &url, mountpoint.to_str().unwrap()]);
        let quiet = || Stdio::null();
        let started = apart(move || spawn(command.stdin(quiet()).stdout(quiet()).stderr(quiet())));
        let mut child = started.unwrap();
        let _connection = server.accept().unwrap();
        kill_process(Pid::from_child(&child), signal).unwrap();
        assert_eq!(wait(&mut child, LIMIT).and_then(|status| status.code()), Some(8), "{signal:?}");
    }
}

/// The program raises the log level before it logs the reload at level info, so that line shows that the new
/// level is in effect.
#[test]
fn sighup_reads_the_log_level_again() {
    let level = scratch::folder("log").join("level");
    fs::write(&level, "warn\n").unwrap();
    let option = format!("--log-level=file:{}", level.display());
    let scene = Scene::with(Kind::Smbd, |request| request.foreground().arg(option));
    let says = |text: &str| wait_until(LIMIT, || scene.mount.messages().contains(text));
    assert!(!scene.mount.messages().contains("INFO"));
    fs::write(&level, "info\n").unwrap();
    scene.mount.signal(Signal::HUP);
    assert!(says("credentials and log level were read anew"), "{}", scene.mount.messages());
    fs::write(&level, "loud\n").unwrap();
    scene.mount.signal(Signal::HUP);
    assert!(says("'loud' is no log level"), "{}", scene.mount.messages());
    fs::write(scene.here("file"), "still here").unwrap();
    scene.mount.unmount();
}

/// The counters at the end of the mount are debug lines as well, so a switch that was not ended would show itself.
#[test]
fn sigusr1_switches_the_log_to_debug_and_back() {
    let log = scratch::folder("log").join("log");
    let option = format!("--log-target=file:{}", log.display());
    let scene = Scene::with(Kind::Smbd, |request| request.arg(option));
    let text = || fs::read_to_string(&log).unwrap();
    let says = |said: &str| assert!(wait_until(LIMIT, || text().contains(said)), "no {said:?}: {}", text());
    let look_for = |name: &str| assert!(fs::metadata(scene.here(name)).is_err());
    look_for("missing before");
    assert!(!text().contains("DEBUG"), "{}", text());
    scene.mount.signal(Signal::USR1);
    says("the log level is now warn,cifs_fuse=debug\n");
    look_for("missing now");
    says("DEBUG");
    scene.mount.signal(Signal::USR1);
    says("the log level is now warn\n");
    look_for("missing after");
    scene.mount.unmount();
    let text = text();
    let (_, after) = text.split_once("the log level is now warn\n").unwrap();
    assert!(!after.contains("DEBUG"), "{after}");
    assert!(!text.contains("ERROR"), "{text}");
}

/// logrotate sends SIGHUP for this.
#[test]
fn sighup_opens_the_log_file_again() {
    let folder = scratch::folder("log");
    let (log, old) = (folder.join("log"), folder.join("log.1"));
    let options = ["--log-level=info".to_owned(), format!("--log-target=file:{}", log.display())];
    let scene = Scene::with(Kind::Smbd, |request| request.args(options));
    fs::rename(&log, &old).unwrap();
    scene.mount.signal(Signal::HUP);
    let begun = wait_until(LIMIT, || fs::read_to_string(&log).is_ok_and(|text| text.contains("read anew")));
    assert!(begun, "no new log file");
    assert!(fs::read_to_string(&old).unwrap().contains("mounted"));
    scene.mount.unmount();
}

/// The next login uses the credentials that the file has after the signal.
#[test]
fn sighup_reads_the_credentials_again() {
    let server = Server::shared(Kind::Smbd);
    let folder = server.new_folder("scene");
    let proxy = Proxy::to_port(server.port());
    let file = scratch::folder("secret").join("credentials");
    let write = |password: &str| fs::write(&file, format!("username={}\npassword={password}\n", user())).unwrap();
    write(PASSWORD);
    let url = url("127.0.0.1", proxy.port(), &folder.file_name().unwrap().to_string_lossy());
    let options = ["--log-level=info", "--request-timeout=4", "--attr-timeout=0", "--credentials"];
    let request = Request::new(url).without_credentials().args(options).arg(&file).foreground();
    let mount = request.mount();
    let renew = |password: &str, count: usize| {
        write(password);
        mount.signal(Signal::HUP);
        let renewed = || mount.messages().matches("were read anew").count() == count;
        assert!(wait_until(LIMIT, renewed), "{}", mount.messages());
    };
    renew("another", 1);
    fs::read_dir(mount.path()).expect("an established session keeps the password of its login");
    proxy.cut();
    assert!(wait_until(LIMIT, || fs::read_dir(mount.path()).is_err()), "the old password is still used");
    renew(PASSWORD, 2);
    assert!(wait_until(LIMIT, || fs::read_dir(mount.path()).is_ok()), "the new password is not used");
    // A missing file changes nothing.
    fs::remove_file(&file).unwrap();
    mount.signal(Signal::HUP);
    assert!(wait_until(LIMIT, || mount.messages().contains("the credentials stay as they were")));
    fs::write(mount.join("file"), "still here").unwrap();
    mount.unmount();
}

/// A terminal with a mount that runs in its foreground.
struct Terminal {
    script: Child,
    mount: Mount,
    folder: std::path::PathBuf,
}

impl Terminal {
    fn with(prefix: &str) -> Terminal {
        let server = Server::shared(Kind::Smbd);
        let folder = server.new_folder("scene");
        let mountpoint = scratch::folder("mnt");
        let words =
            format!("exec {prefix} {PROGRAM} {} {} --foreground", url_of(&server, &folder), mountpoint.display());
        // The end of the terminal has its usual effect, also if the tests run under nohup.
        let mut command = Command::new("env");
        // nohup writes its output file into the working directory.
        command
            .args(["--default-signal=HUP", "script", "-q", "-c", &words, "/dev/null"])
            .current_dir(scratch::root())
            .env("AUTH_USERNAME", user())
            .env("AUTH_PASSWORD", PASSWORD);
        let started = apart(move || spawn(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null())));
        let script = started.expect("script(1) is part of every Debian");
        assert!(wait_until(LIMIT, || mountinfo::at(&mountpoint).is_some()), "no mount");
        Terminal { script, mount: Mount::found_at(&mountpoint, Duration::from_secs(60)), folder }
    }

    /// Closes the terminal: killing `script` closes the last descriptor of the master side.
    fn close(&mut self) {
        self.script.kill().unwrap();
        assert!(wait(&mut self.script, LIMIT).is_some());
    }
}

#[test]
fn closing_the_terminal_unmounts_in_order() {
    let mut terminal = Terminal::with("");
    let mut file = File::create(terminal.mount.join("file")).unwrap();
    file.write_all(b"written before").unwrap();
    terminal.close();
    terminal.mount.is_gone();
    assert_eq!(fs::read(terminal.folder.join("file")).unwrap(), b"written before");
}

#[test]
fn a_mount_under_nohup_outlives_its_terminal() {
    let mut terminal = Terminal::with("nohup");
    terminal.close();
    let works = |name: &str| {
        fs::write(terminal.mount.join(name), "x").unwrap();
        assert_eq!(fs::read(terminal.folder.join(name)).unwrap(), b"x");
    };
    works("after the terminal");
    terminal.mount.signal(Signal::HUP);
    works("after a signal");
    terminal.mount.unmount();
}

/// Ctrl-C signals the whole process group.
#[test]
fn a_signal_to_the_whole_group_unmounts_in_order() {
    let mut scene = Scene::with(Kind::Smbd, Request::foreground);
    fs::write(scene.here("file"), "safe").unwrap();
    let group = rustix::process::getpgid(Pid::from_raw(scene.mount.process())).unwrap();
    kill_process_group(group, Signal::INT).unwrap();
    assert_eq!(scene.mount.is_gone(), Some(0));
    assert!(Path::new(&scene.there("file")).exists());
}
