//! Several connections of one mount (multichannel): their number, the data sent on them, and the loss of one of them.

use crate::support::engine::connect;
use crate::support::files::{checksum, noise};
use crate::support::frames::command;
use crate::support::line::Line;
use crate::support::mount::{Mount, Request};
use crate::support::proxy::Proxy;
use crate::support::scratch;
use crate::support::server::{Demand, Kind, Server, Settings, url};
use crate::support::wait_until;
use bytes::Bytes;
use cifs_fuse::config::Dialect;
use cifs_fuse::share::{Disposition, Files, OpenHow, RemotePath};
use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::thread;
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(30);
const MIB: usize = 1 << 20;

/// A mount of a new folder of the shared smbd, through a proxy, with `--connections`.
fn line(connections: usize, options: &[&str]) -> Line {
    let connections = format!("--connections={connections}");
    Line::to(Server::shared(Kind::Smbd), &[&[connections.as_str()], options].concat())
}

/// A mount of this server through a proxy, with `--connections`. The server may support fewer.
fn mounted(server: &Server, connections: usize, options: &[String]) -> (Mount, Proxy) {
    let proxy = Proxy::to_port(server.port());
    let request = Request::new(url("127.0.0.1", proxy.port(), "")).arg(format!("--connections={connections}"));
    (request.args(options).mount(), proxy)
}

/// Waits until there are `connections` connections and returns their numbers. The proxy may notice late that the
/// program has closed one while it mounted.
#[track_caller]
fn living(proxy: &Proxy, connections: usize) -> Vec<usize> {
    wait_until(LIMIT, || proxy.living().len() == connections);
    let living = proxy.living();
    assert_eq!(living.len(), connections, "{living:?} of {} connections", proxy.connections());
    living
}

/// Copies several files to the mount at the same time and back. Each must be unchanged on the server and on the mount.
fn copies(mount: &Path, folder: &Path) {
    thread::scope(|scope| {
        for number in 0..4_u64 {
            scope.spawn(move || {
                let data = noise(number, 3 * MIB + 77 * number as usize);
                let name = format!("copy {number}");
                fs::write(mount.join(&name), &data).unwrap();
                assert!(fs::read(folder.join(&name)).unwrap() == data, "{name} on the server");
                assert!(fs::read(mount.join(&name)).unwrap() == data, "{name} on the mount");
                fs::remove_file(mount.join(&name)).unwrap();
            });
        }
    });
}

#[test]
fn a_mount_makes_as_many_connections_as_requested() {
    for connections in [1, 2, 4, 16] {
        let line = line(connections, &[]);
        let made = living(&line.proxy, connections);
        copies(line.mount.path(), &line.folder);
        assert_eq!(line.proxy.living(), made, "no connection may be lost");
        line.mount.unmount();
        living(&line.proxy, 0);
    }
}

#[test]
fn a_mount_makes_two_connections_by_default() {
    let server = Server::shared(Kind::Smbd);
    let proxy = Proxy::to_port(server.port());
    let mount = Request::new(url("127.0.0.1", proxy.port(), "")).mount();
    living(&proxy, 2);
    mount.unmount();
}

#[test]
fn copies_are_right_in_every_dialect_and_dialects_before_3_use_one_connection() {
    let server = Server::start(Kind::Smbd, Settings::default());
    for dialect in Dialect::ALL {
        let range = [format!("--min-dialect={dialect}"), format!("--max-dialect={dialect}")];
        let (mount, proxy) = mounted(&server, 4, &range);
        copies(mount.path(), server.folder());
        living(&proxy, if dialect < Dialect::Smb300 { 1 } else { 4 });
        mount.unmount();
    }
}

#[test]
fn copies_are_right_on_several_connections_with_every_protection() {
    let server = Server::start(Kind::Smbd, Settings::default());
    for dialect in [Dialect::Smb300, Dialect::Smb302, Dialect::Smb311] {
        for protection in ["--signing=required", "--signing=off", "--encryption=required"] {
            let options =
                [protection.to_owned(), format!("--min-dialect={dialect}"), format!("--max-dialect={dialect}")];
            let connections = if dialect == Dialect::Smb311 { 4 } else { 2 };
            let (mount, proxy) = mounted(&server, connections, &options);
            copies(mount.path(), server.folder());
            living(&proxy, connections);
            if protection == "--encryption=required" {
                assert_eq!(proxy.requests(command::CREATE) + proxy.requests(command::WRITE), 0, "{options:?}");
            }
            mount.unmount();
        }
    }
}

/// smbd refuses to bind an unencrypted connection to a session if it requires encryption of every session.
#[test]
fn a_server_that_requires_encryption_gets_one_connection() {
    let server = Server::start(Kind::Smbd, Settings { encryption: Demand::Required, ..Settings::default() });
    let (mount, proxy) = mounted(&server, 4, &[]);
    copies(mount.path(), server.folder());
    living(&proxy, 1);
    assert_eq!(proxy.requests(command::CREATE) + proxy.requests(command::WRITE), 0, "a request was sent unencrypted");
    mount.unmount();
}

#[test]
fn a_server_without_multichannel_gets_one_connection() {
    let server = Server::start(Kind::Smbd, Settings { single_channel: true, ..Settings::default() });
    let (mount, proxy) = mounted(&server, 4, &[]);
    copies(mount.path(), server.folder());
    assert_eq!(proxy.connections(), 1);
    mount.unmount();
}

#[test]
fn a_guest_gets_one_connection() {
    let server = Server::start(Kind::Smbd, Settings { guests: true, ..Settings::default() });
    let (mount, proxy) = mounted(&server, 4, &["--guest".to_owned()]);
    copies(mount.path(), server.folder());
    assert_eq!(proxy.connections(), 1);
    mount.unmount();
}

#[test]
fn connections_that_cannot_be_made_are_tried_again_at_the_next_reconnect() {
    let server = Server::start(Kind::Smbd, Settings::default());
    let proxy = Proxy::to_port(server.port());
    proxy.limit(2);
    let log = scratch::folder("log").join("messages");
    let request = Request::new(url("127.0.0.1", proxy.port(), "")).args(["--connections=4", "--log-level=info"]);
    let mount = request.arg(format!("--log-target=file:{}", log.display())).mount();
    copies(mount.path(), server.folder());
    living(&proxy, 2);
    let tried = proxy.connections();
    copies(mount.path(), server.folder());
    assert_eq!(proxy.connections(), tried, "the missing connections must not be tried again while the mount works");
    let said = fs::read_to_string(&log).unwrap();
    assert_eq!(said.matches("not all connections could be had").count(), 1, "{said}");
    proxy.limit(usize::MAX);
    proxy.cut();
    assert!(wait_until(LIMIT, || fs::read_dir(mount.path()).is_ok()));
    copies(mount.path(), server.folder());
    living(&proxy, 4);
    mount.unmount();
}

#[test]
fn one_connection_lost_during_a_copy_damages_no_data() {
    let data = noise(7, 24 * MIB);
    for (connections, lost) in [(2, 1), (2, 0), (4, 2)] {
        let line = line(connections, &[]);
        let (there, here) = (line.folder.join("image"), line.mount.join("image"));
        let first = living(&line.proxy, connections);
        cut_while(&line.proxy, command::WRITE, first[lost], || {
            let mut file = File::create(&here)?;
            file.write_all(&data)?;
            file.sync_all()
        });
        assert!(fs::read(&there).unwrap() == data, "{lost} of {connections} lost while writing");
        fs::write(&there, noise(8, 24 * MIB)).unwrap();
        let second = living(&line.proxy, connections);
        cut_while(&line.proxy, command::READ, second[lost], || {
            assert!(fs::read(&here)? == noise(8, 24 * MIB), "{lost} lost while reading");
            Ok(())
        });
        // Read-ahead may have read the rest before the loss. Then only a new request makes the client connect again.
        fs::write(line.mount.join("after"), "x").unwrap();
        let third = living(&line.proxy, connections);
        assert!(
            first.last() < second.first() && second.last() < third.first(),
            "the loss of one connection must end all of them"
        );
        line.mount.unmount();
    }
}

/// Does `work`, and closes one connection when five requests of this command have passed.
fn cut_while(proxy: &Proxy, command: u16, number: usize, work: impl FnOnce() -> std::io::Result<()> + Send) {
    let before = proxy.requests(command);
    thread::scope(|scope| {
        let working = scope.spawn(work);
        assert!(wait_until(LIMIT, || proxy.requests(command) >= before + 5), "no requests");
        proxy.cut_only(number..number + 1);
        working.join().unwrap().unwrap();
    });
}

/// The connection for bulk data is held. All other requests must be answered.
#[test]
fn small_operations_do_not_wait_behind_bulk_data() {
    let line = line(2, &["--attr-timeout=0"]);
    fs::write(line.folder.join("other"), "here").unwrap();
    fs::write(line.folder.join("image"), noise(1, 8 * MIB)).unwrap();
    let bulk = living(&line.proxy, 2)[1];
    line.proxy.hold(bulk..bulk + 1);
    let before = line.proxy.requests(command::READ);
    thread::scope(|scope| {
        let reading = scope.spawn(|| checksum(&line.mount.join("image")));
        assert!(wait_until(LIMIT, || line.proxy.requests(command::READ) > before), "no READ");
        assert_eq!(fs::metadata(line.mount.join("other")).unwrap().len(), 4);
        assert_eq!(fs::read(line.mount.join("other")).unwrap(), b"here");
        fs::create_dir(line.mount.join("new")).unwrap();
        fs::rename(line.mount.join("other"), line.mount.join("new/other")).unwrap();
        assert_eq!(fs::read_dir(line.mount.path()).unwrap().count(), 2);
        assert!(!reading.is_finished(), "the bulk data must still be held");
        line.proxy.release();
        assert_eq!(reading.join().unwrap(), checksum(&line.folder.join("image")));
    });
    line.mount.unmount();
}

/// A WRITE is in flight when its connection is lost. It must not be carried out after a WRITE that was sent later on
/// the new connections.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_in_flight_on_a_lost_connection_is_not_done_after_a_later_one() {
    const NEW: OpenHow =
        OpenHow { read: true, write: true, disposition: Disposition::Create, readonly: false, lease: None };
    for connections in [1, 2, 4] {
        let server = Server::start(Kind::Smbd, Settings::default());
        let proxy = Proxy::to_port(server.port());
        let share = connect(proxy.port(), connections, LIMIT).await;
        let (file, _, _) = share.open(&RemotePath::parse("file"), NEW).await.unwrap();
        let (old, new) = (Bytes::from(vec![b'o'; 100_000]), Bytes::from(vec![b'n'; 100_000]));
        proxy.hold(0..proxy.connections());
        let writing = share.write(&file, 0, old);
        let losing = async {
            let passed = async {
                while proxy.requests(command::WRITE) != 1 {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            };
            tokio::time::timeout(LIMIT, passed).await.expect("no WRITE");
            share.tree().channels.end("ended by the test");
        };
        // The WRITE is sent again on the new connections.
        tokio::join!(writing, losing).0.unwrap();
        share.write(&file, 0, new.clone()).await.unwrap();
        proxy.release();
        // When the server has closed the old connections, it has processed everything that came on them.
        tokio::task::block_in_place(|| living(&proxy, usize::from(connections)));
        assert!(fs::read(server.folder().join("file")).unwrap() == new, "the old WRITE was done after the new one");
        assert_eq!(share.read(&file, 0, 100_000).await.unwrap(), new);
    }
}
