//! A server that ends the connection, the session or the tree connect again and again, or hangs: how many connections
//! the mount makes, and which errors programs get. The tests count connections, not seconds.

use crate::support::engine::connect;
use crate::support::files::fails_with;
use crate::support::frames::command;
use crate::support::line::Line;
use crate::support::mount::Request;
use crate::support::proxy::Proxy;
use crate::support::server::{Kind, Server, Settings, both_servers, url};
use crate::support::smbd::Smbd;
use crate::support::wait_until;
use bytes::Bytes;
use cifs_fuse::share::error::Cause;
use cifs_fuse::share::{Disposition, Files, Names, OpenHow, RemotePath};
use rustix::io::Errno;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

both_servers!(a_request_that_ends_the_connection_is_given_up);

const LIMIT: Duration = Duration::from_secs(30);

/// The most connections that one operation may use: five sessions of two connections each, and some for work beside it
/// such as read-ahead.
const CONNECTIONS: usize = 24;

fn a_request_that_ends_the_connection_is_given_up(kind: Kind) {
    type Work = fn(&Line) -> io::Result<()>;
    let works: [(u16, Work); 4] = [
        (command::READ, |line| fs::read(line.here("file")).map(drop)),
        (command::WRITE, |line| {
            let file = fs::OpenOptions::new().write(true).open(line.here("file"))?;
            io::Write::write_all(&mut &file, b"new")?;
            file.sync_all()
        }),
        (command::CREATE, |line| fs::metadata(line.here("none")).map(drop)),
        (command::QUERY_DIRECTORY, |line| fs::read_dir(line.here("folder"))?.try_for_each(|entry| entry.map(drop))),
    ];
    for (command, work) in works {
        let line = Line::to(Server::shared(kind), &["--attr-timeout=0"]);
        fs::write(line.there("file"), vec![b'x'; 100_000]).unwrap();
        fs::create_dir(line.there("folder")).unwrap();
        fs::metadata(line.here("file")).unwrap();
        let before = line.proxy.connections();
        line.proxy.poison(Some(command));
        fails_with(work(&line), Errno::IO);
        let made = line.proxy.connections() - before;
        assert!((2..=CONNECTIONS).contains(&made), "command {command}: {made} connections");
        line.proxy.poison(None);
        assert!(
            wait_until(LIMIT, || fs::read(line.here("file")).is_ok()),
            "command {command}: the mount does not recover"
        );
        line.mount.unmount();
    }
}

/// The share becomes unavailable to this user, or disappears, while the mount is in use. Programs get the error for
/// that cause, and not every operation connects again.
#[test]
fn a_share_refused_while_mounted_returns_the_error_for_its_cause() {
    for (line, errno) in [("valid users = nobody-else", Errno::ACCESS), ("available = no", Errno::NODEV)] {
        let server = Smbd::start(Settings::default());
        let proxy = Proxy::to_port(server.port());
        let request = Request::new(url("127.0.0.1", proxy.port(), ""));
        let mount = request.args(["--attr-timeout=0", "--request-timeout=2"]).mount();
        fs::write(mount.join("file"), "x").unwrap();
        server.configure(line);
        let before = proxy.connections();
        proxy.cut();
        for _ in 0..30 {
            fails_with(fs::metadata(mount.join("file")), errno);
        }
        let made = proxy.connections() - before;
        assert!((1..=16).contains(&made), "{line}: {made} connections for 30 operations");
        mount.unmount();
    }
}

/// smbd lets the user connect to the share and refuses a CREATE of a name in it. It answers the related requests of the
/// compound as if the share did not exist.
#[test]
fn a_share_folder_that_the_user_may_not_enter_is_permission_denied() {
    let server = Smbd::start(Settings::default());
    let proxy = Proxy::to_port(server.port());
    let request = || Request::new(url("127.0.0.1", proxy.port(), "")).arg("--attr-timeout=0");
    let mount = request().mount();
    fs::write(mount.join("file"), "x").unwrap();
    fs::set_permissions(server.folder(), fs::Permissions::from_mode(0o000)).unwrap();
    if rustix::process::geteuid().is_root() {
        server.configure("force user = nobody");
    }
    let before = proxy.connections();
    proxy.cut();
    for _ in 0..10 {
        fails_with(fs::metadata(mount.join("file")), Errno::ACCESS);
    }
    request().fails(32).says("STATUS_ACCESS_DENIED").says("path");
    let made = proxy.connections() - before;
    fs::set_permissions(server.folder(), fs::Permissions::from_mode(0o777)).unwrap();
    assert!(made <= 6, "{made} connections after one loss and one new mount");
    mount.unmount();
}

#[test]
fn the_mount_works_on_when_one_process_of_the_server_hangs() {
    let server = Smbd::start(Settings::default());
    let mount =
        Request::new(url("127.0.0.1", server.port(), "")).args(["--request-timeout=4", "--attr-timeout=0"]).mount();
    fs::write(server.folder().join("file"), "x").unwrap();
    assert_eq!(fs::read_dir(mount.path()).unwrap().count(), 1);
    let hanging = server.stop_serving();
    assert!(!hanging.is_empty(), "no process serves the mount");
    assert!(wait_until(LIMIT, || fs::read(mount.join("file")).is_ok_and(|text| text == b"x")));
    drop(hanging);
    assert_eq!(fs::read(mount.join("file")).unwrap(), b"x");
    mount.unmount();
}

/// A WRITE is in the socket buffer of a server process that hangs. The process will carry it out when it continues.
/// Until then the mount must not return success for it, and must not write newer data to the same range as if the range
/// were free.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_sent_to_a_process_that_hangs_is_reported_as_uncertain() {
    const NEW: OpenHow =
        OpenHow { read: true, write: true, disposition: Disposition::Create, readonly: false, lease: None };
    let server = Smbd::start(Settings::default());
    let proxy = Proxy::to_port(server.port());
    let share = connect(proxy.port(), 1, Duration::from_secs(10)).await;
    let (file, _, _) = share.open(&RemotePath::parse("file"), NEW).await.unwrap();
    let hanging = server.stop_serving();
    let writing = share.write(&file, 0, Bytes::from_static(b"old"));
    let losing = async {
        let passed = || wait_until(LIMIT, || proxy.requests(command::WRITE) == 1);
        assert!(tokio::task::block_in_place(passed), "no WRITE");
        share.tree().channels.end("ended by the test");
    };
    let error = tokio::join!(writing, losing).0.unwrap_err();
    assert_eq!(error.cause, Cause::Uncertain, "{error}");
    assert_eq!(proxy.requests(command::WRITE), 1, "it was sent again");
    // Other operations still work.
    share.stat(&RemotePath::root()).await.unwrap();
    drop(hanging);
}
