//! A server that goes away, comes back, does not answer or is slow.

use crate::support::files::{fails_with, names, noise};
use crate::support::line::Line;
use crate::support::mount::{Mount, Request};
use crate::support::scene::{Scene, url_of};
use crate::support::server::{Kind, Server, Settings, both_servers, url};
use crate::support::smbd::Smbd;
use crate::support::wait_until;
use rustix::process::Signal;
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::time::Duration;

both_servers!(
    a_mount_works_after_a_closed_connection,
    a_mount_works_after_a_reset_connection,
    connections_lost_many_times_lose_no_synced_file,
    a_silent_server_fails_calls_within_the_deadline,
    a_short_silence_of_the_server_is_no_error,
    a_mount_works_on_a_slow_connection,
    unmounting_is_bounded_though_the_server_is_silent,
);

const LIMIT: Duration = Duration::from_secs(30);

fn works_again(mount: &Mount) {
    assert!(wait_until(LIMIT, || fs::read_dir(mount.path()).is_ok()), "no listing {LIMIT:?} after the server is back");
    fs::write(mount.join("after"), "works again").unwrap();
    assert_eq!(fs::read(mount.join("after")).unwrap(), b"works again");
}

fn a_mount_works_after_a_closed_connection(kind: Kind) {
    let line = Line::to(Server::shared(kind), &[]);
    fs::write(line.mount.join("before"), "x").unwrap();
    line.proxy.cut();
    works_again(&line.mount);
    assert_eq!(names(&line.folder), ["after", "before"]);
    line.mount.unmount();
}

fn a_mount_works_after_a_reset_connection(kind: Kind) {
    let line = Line::to(Server::shared(kind), &[]);
    fs::write(line.mount.join("before"), "x").unwrap();
    line.proxy.reset();
    works_again(&line.mount);
    line.mount.unmount();
}

/// A file whose fsync returned 0 is on the server, whatever happens to the connection afterwards. A write
/// that failed returned an error.
fn connections_lost_many_times_lose_no_synced_file(kind: Kind) {
    let line = Line::to(Server::shared(kind), &[]);
    let mut confirmed = Vec::new();
    for round in 0..40_u64 {
        if round % 4 == 3 {
            line.proxy.cut();
        }
        let name = format!("file {round}");
        let data = noise(round, 20_000);
        let write = || {
            let mut file = File::create(line.mount.join(&name))?;
            file.write_all(&data)?;
            file.sync_all()
        };
        if write().is_ok() {
            confirmed.push((name.clone(), data.clone()));
        }
    }
    assert!(confirmed.len() >= 20, "only {} of 40 files could be written", confirmed.len());
    for (name, data) in confirmed {
        assert!(fs::read(line.folder.join(&name)).unwrap() == data, "{name}");
    }
}

fn a_silent_server_fails_calls_within_the_deadline(kind: Kind) {
    let line = Line::to(Server::shared(kind), &["--request-timeout=1", "--connect-timeout=1", "--attr-timeout=0"]);
    fs::write(line.mount.join("file"), "x").unwrap();
    line.proxy.stall();
    // If the call waited for ever, the watchdog would end it and fail the test.
    let error = fs::metadata(line.mount.join("file")).expect_err("the server does not answer");
    assert!(matches!(error.raw_os_error(), Some(libc::EIO | libc::ETIMEDOUT | libc::EHOSTDOWN)), "{error}");
    line.proxy.forward();
    works_again(&line.mount);
    line.mount.unmount();
}

fn a_short_silence_of_the_server_is_no_error(kind: Kind) {
    let line = Line::to(Server::shared(kind), &["--attr-timeout=0"]);
    fs::write(line.mount.join("file"), "patience").unwrap();
    line.proxy.stall();
    let text = std::thread::scope(|scope| {
        let reader = scope.spawn(|| fs::read_to_string(line.mount.join("file")));
        let before = line.proxy.frames();
        wait_until(Duration::from_secs(1), || line.proxy.frames() > before);
        line.proxy.forward();
        reader.join().unwrap()
    });
    assert_eq!(text.unwrap(), "patience");
}

fn a_mount_works_on_a_slow_connection(kind: Kind) {
    let line = Line::to(Server::shared(kind), &[]);
    line.proxy.delay(Duration::from_millis(15));
    let data = noise(1, 2_000_000);
    fs::write(line.mount.join("file"), &data).unwrap();
    assert!(fs::read(line.mount.join("file")).unwrap() == data);
    assert_eq!(names(line.mount.path()), ["file"]);
    line.mount.unmount();
}

fn unmounting_is_bounded_though_the_server_is_silent(kind: Kind) {
    let line = Line::to(Server::shared(kind), &["--request-timeout=2", "--connect-timeout=2"]);
    fs::write(line.mount.join("file"), "x").unwrap();
    line.proxy.stall();
    line.mount.unmount();
}

#[test]
fn a_server_that_was_restarted_is_used_again() {
    let server = Smbd::start(Settings::default());
    let mount = Request::new(url("127.0.0.1", server.port(), "")).mount();
    fs::write(mount.join("before"), "x").unwrap();
    server.restart();
    works_again(&mount);
    assert_eq!(names(server.folder()), ["after", "before"]);
    mount.unmount();
}

#[test]
fn calls_fail_and_do_not_hang_while_the_server_is_away() {
    let server = Smbd::start(Settings::default());
    let request = Request::new(url("127.0.0.1", server.port(), ""));
    let mount = request.args(["--connect-timeout=2", "--request-timeout=2", "--attr-timeout=0"]).mount();
    fs::write(mount.join("file"), "x").unwrap();
    let open = File::open(mount.join("file")).unwrap();
    server.kill();
    assert!(fs::metadata(mount.join("file")).is_err());
    assert!(fs::write(mount.join("new"), "x").is_err());
    assert!(open.read_at(&mut [0; 10], 1 << 20).is_err());
    server.restart();
    works_again(&mount);
    drop(open);
    mount.unmount();
}

/// Unmounting in each way from a server that is dead and stays dead.
#[test]
fn unmounting_is_bounded_though_the_server_is_dead() {
    for way in ["fusermount3", "umount", "signal"] {
        let server = Smbd::start(Settings::default());
        let request = Request::new(url("127.0.0.1", server.port(), ""));
        let mut mount = request.args(["--connect-timeout=2", "--request-timeout=2"]).mount();
        fs::write(mount.join("file"), "x").unwrap();
        server.kill();
        match way {
            "fusermount3" => mount.unmount_by(&[way, "-u"]),
            "umount" => mount.unmount_by(&[way]),
            _ => mount.signal(Signal::TERM),
        }
        mount.is_gone();
    }
}

/// A file is open while the server restarts. No other client changes it.
#[test]
fn an_open_file_never_reads_wrong_bytes_after_a_restart_of_the_server() {
    let server = Smbd::start(Settings::default());
    let mount = Request::new(url("127.0.0.1", server.port(), "")).mount();
    let data = noise(3, 3_000_000);
    fs::write(server.folder().join("file"), &data).unwrap();
    let file = File::open(mount.join("file")).unwrap();
    let mut head = vec![0; 1000];
    file.read_exact_at(&mut head, 0).unwrap();
    server.restart();
    let mut tail = vec![0; 1000];
    if file.read_exact_at(&mut tail, 2_900_000).is_ok() {
        assert!(tail == data[2_900_000..2_901_000]);
    }
    drop(file);
    assert!(fs::read(mount.join("file")).unwrap() == data);
    mount.unmount();
}

/// If a name means another file after an outage, an open handle must not use that file.
#[test]
fn a_write_after_an_outage_does_not_reach_a_file_that_replaced_the_open_one() {
    let server = Smbd::start(Settings::default());
    let mount = Request::new(url("127.0.0.1", server.port(), "")).mount();
    fs::write(mount.join("file"), "original").unwrap();
    let file = fs::OpenOptions::new().write(true).open(mount.join("file")).unwrap();
    server.kill();
    fs::write(server.folder().join("other"), "successor").unwrap();
    fs::rename(server.folder().join("other"), server.folder().join("file")).unwrap();
    server.restart();
    let written = file.write_all_at(b"WRONG", 0).and_then(|()| file.sync_all());
    assert!(written.is_err(), "a write to a file that was replaced succeeded");
    drop(file);
    assert_eq!(fs::read(server.folder().join("file")).unwrap(), b"successor");
    mount.unmount();
}

#[test]
fn a_mount_of_a_deleted_folder_is_enoent_and_can_be_unmounted() {
    let scene = Scene::with(Kind::Smbd, |request| request.arg("--attr-timeout=0"));
    fs::remove_dir(&scene.folder).unwrap();
    fails_with(fs::write(scene.here("file"), "x"), rustix::io::Errno::NOENT);
    let Scene { mount, folder, server } = scene;
    assert!(url_of(&server, &folder).ends_with(folder.file_name().unwrap().to_str().unwrap()));
    mount.unmount();
}

/// How long one call to a server that is away waits.
const TIMEOUT: &str = "--request-timeout=8";
const CALLS: usize = 8;
/// Longer than one call may wait, and far shorter than [`CALLS`] calls that each wait.
const MUCH_LESS_THAN_ALL: Duration = Duration::from_secs(40);

/// Asserts that all calls fail, and that only the first waits for the timeout: after it, the server is known to be
/// away.
fn fails_with_one_timeout_for_all(path: &std::path::Path) {
    let began = std::time::Instant::now();
    for call in 0..CALLS {
        let file = path.join(format!("none {call}"));
        assert!(fs::metadata(&file).is_err_and(|error| error.kind() != std::io::ErrorKind::NotFound), "call {call}");
    }
    let df = rustix::fs::statfs(path);
    assert!(df.is_err() || df.is_ok_and(|space| space.f_blocks > 0));
    assert!(began.elapsed() < MUCH_LESS_THAN_ALL, "{CALLS} calls to an absent server took {:?}", began.elapsed());
}

#[test]
fn calls_to_an_absent_server_fail_at_once_and_the_mount_reconnects_by_itself() {
    let line = Line::to(Server::shared(Kind::Smbd), &[TIMEOUT]);
    line.proxy.refuse();
    line.proxy.cut();
    fails_with_one_timeout_for_all(line.mount.path());
    line.proxy.forward();
    assert!(wait_until(LIMIT, || !line.proxy.living().is_empty()), "the mount does not connect again");
    works_again(&line.mount);
    line.mount.unmount();
}

#[test]
fn calls_to_a_server_that_hangs_wait_for_one_timeout_only() {
    let server = Smbd::start(Settings::default());
    let mount = Request::new(url("127.0.0.1", server.port(), "")).args([TIMEOUT]).mount();
    fs::write(mount.join("file"), "x").unwrap();
    let paused = server.pause();
    fails_with_one_timeout_for_all(mount.path());
    drop(paused);
    works_again(&mount);
    mount.unmount();
}

#[test]
fn a_lost_connection_is_made_again_without_a_request() {
    let line = Line::to(Server::shared(Kind::Smbd), &[]);
    for _ in 0..3 {
        let before = line.proxy.connections();
        line.proxy.cut();
        let is_back = || line.proxy.connections() > before && !line.proxy.living().is_empty();
        assert!(wait_until(LIMIT, is_back), "the mount does not connect again");
    }
    works_again(&line.mount);
    line.mount.unmount();
}
