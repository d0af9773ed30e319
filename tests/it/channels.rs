//! Several connections of one mount: how many there are, that data is right on all of them, and what happens when one is lost.

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

/// A mount of a new folder of the shared smbd, through a proxy, on so many connections.
fn line(connections: usize, options: &[&str]) -> Line {
    let connections = format!("--connections={connections}");
    Line::to(Server::shared(Kind::Smbd), &[&[connections.as_str()], options].concat())
}

/// A mount of this server on so many connections, as far as it offers them.
fn mounted(server: &Server, connections: usize, options: &[String]) -> (Mount, Proxy) {
    let proxy = Proxy::to_port(server.port());
    let request = Request::new(url("127.0.0.1", proxy.port(), "")).arg(format!("--connections={connections}"));
    (request.args(options).mount(), proxy)
}

/// Waits until there are so many connections, and answers their numbers. The servers' end of one that the
/// program gave up while it mounted may be seen late.
#[track_caller]
fn living(proxy: &Proxy, connections: usize) -> Vec<usize> {
    wait_until(LIMIT, || proxy.living().len() == connections);
    let living = proxy.living();
    assert_eq!(living.len(), connections, "{living:?} of {} connections", proxy.connections());
    living
}

/// Copies files there, all at the same time, and back; every one must be on the server what it was.
fn copies(mount: &Path, folder: &Path) {
    thread::scope(|scope| {
        for number in 0..4_u64 {
            scope.spawn(move || {
                let data = noise(number, 3 * MIB + 77 * number as usize);
                let name = format!("copy {number}");
                fs::write(mount.join(&name), &data).unwrap();
                assert!(fs::read(folder.join(&name)).unwrap() == data, "{name} as it came to the server");
                assert!(fs::read(mount.join(&name)).unwrap() == data, "{name} as it was read");
                fs::remove_file(mount.join(&name)).unwrap();
            });
        }
    });
}

#[test]
fn as_many_connections_are_made_as_are_asked_for() {
    for connections in [1, 2, 4, 16] {
        let line = line(connections, &[]);
        let made = living(&line.proxy, connections);
        copies(line.mount.path(), &line.folder);
        assert_eq!(line.proxy.living(), made, "none was lost");
        line.mount.unmount();
        living(&line.proxy, 0);
    }
}

#[test]
fn two_connections_are_the_default() {
    let server = Server::shared(Kind::Smbd);
    let proxy = Proxy::to_port(server.port());
    let mount = Request::new(url("127.0.0.1", proxy.port(), "")).mount();
    living(&proxy, 2);
    mount.unmount();
}

#[test]
fn copies_are_right_in_every_dialect_and_older_ones_have_one_connection() {
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
fn copies_are_right_however_they_are_protected() {
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

/// smbd refuses a binding that is not encrypted, where it requires encryption of every session.
#[test]
fn a_server_that_requires_encryption_gets_it_on_one_connection() {
    let server = Server::start(Kind::Smbd, Settings { encryption: Demand::Required, ..Settings::default() });
    let (mount, proxy) = mounted(&server, 4, &[]);
    copies(mount.path(), server.folder());
    living(&proxy, 1);
    assert_eq!(proxy.requests(command::CREATE) + proxy.requests(command::WRITE), 0, "something passed in the clear");
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
fn connections_that_cannot_be_had_are_done_without_until_the_next_reconnect() {
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
    assert_eq!(proxy.connections(), tried, "they are not tried again while the mount works");
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
fn one_connection_lost_in_the_middle_of_a_copy_spoils_nothing() {
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
        // What was read ahead may have been all: then somebody has to want something first.
        fs::write(line.mount.join("after"), "x").unwrap();
        let third = living(&line.proxy, connections);
        assert!(first.last() < second.first() && second.last() < third.first(), "the loss of one is the end of all");
        line.mount.unmount();
    }
}

/// Does something, and closes a connection when some requests of this command have passed.
fn cut_while(proxy: &Proxy, command: u16, number: usize, work: impl FnOnce() -> std::io::Result<()> + Send) {
    let before = proxy.requests(command);
    thread::scope(|scope| {
        let working = scope.spawn(work);
        assert!(wait_until(LIMIT, || proxy.requests(command) >= before + 5), "no requests");
        proxy.cut_only(number..number + 1);
        working.join().unwrap().unwrap();
    });
}

/// Nothing passes on the connection that carries bulk; everything else goes on.
#[test]
fn small_operations_do_not_wait_behind_bulk() {
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
        assert!(!reading.is_finished(), "the bulk was to be held back");
        line.proxy.release();
        assert_eq!(reading.join().unwrap(), checksum(&line.folder.join("image")));
    });
    line.mount.unmount();
}

/// A WRITE is still on its way when its connection is lost, and comes to the server after everything
/// that was written later, on the new connections.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_of_a_lost_connection_is_not_done_after_a_later_one() {
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
            share.tree().channels.end("the test has lost it");
        };
        // It is sent again, on the new connections.
        tokio::join!(writing, losing).0.unwrap();
        share.write(&file, 0, new.clone()).await.unwrap();
        proxy.release();
        // The server has taken all that came on the old connections when it has closed them.
        tokio::task::block_in_place(|| living(&proxy, usize::from(connections)));
        assert!(fs::read(server.folder().join("file")).unwrap() == new, "the old WRITE was done at last");
        assert_eq!(share.read(&file, 0, 100_000).await.unwrap(), new);
    }
}
