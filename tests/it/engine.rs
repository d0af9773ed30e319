//! The library without a mount, on real servers: frames per operation, credits, long listings, server-side
//! copies, lost connections.

use crate::support::proxy::Proxy;
use crate::support::server::{Kind, PASSWORD, SHARE, Server, Settings, user};
use crate::support::smbd::Smbd;
use bytes::Bytes;
use cifs_fuse::config::{DialectRange, Identity, Protection, Transport};
use cifs_fuse::share::error::Cause;
use cifs_fuse::share::{
    Change, Disposition, FileKind, FileTime, Files, IoLimits, Names, OpenHow, RemotePath, SmbFile, SmbShare, Target,
};
use cifs_fuse::wire::ConnectConfig;
use std::fs;
use std::time::Duration;

const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
const NEW_FILE: OpenHow =
    OpenHow { read: true, write: true, disposition: Disposition::Create, readonly: false, lease: None };

fn config(port: u16, dialects: DialectRange) -> ConnectConfig {
    ConnectConfig {
        host: "127.0.0.1".into(),
        port,
        transport: Transport::DirectTcp,
        share: SHARE.into(),
        identity: Identity::User { username: user().into(), domain: None, password: PASSWORD.to_owned().into() },
        dialects,
        signing: Protection::Auto,
        encryption: Protection::Auto,
        connections: 2,
        connect_timeout: Duration::from_secs(10),
        echo_interval: Duration::from_secs(30),
        counters: Default::default(),
    }
}

async fn connect(port: u16) -> SmbShare {
    connect_with(port, DialectRange::default()).await
}

/// Connects to the share of a server on this port with these dialects, without a mount.
pub(crate) async fn connect_with(port: u16, dialects: DialectRange) -> SmbShare {
    let limits = |_: &_| IoLimits { read: 1 << 20, write: 1 << 20 };
    SmbShare::connect(config(port, dialects), REQUEST_TIMEOUT, RemotePath::root(), limits)
        .await
        .expect("the server is up")
}

/// The path on the share of a folder on the server's disk.
fn remote(server: &Server, folder: &std::path::Path) -> RemotePath {
    RemotePath::parse(folder.strip_prefix(server.folder()).unwrap().to_str().unwrap())
}

fn utf16(name: &str) -> Vec<u16> {
    name.encode_utf16().collect()
}

#[tokio::test]
async fn each_small_operation_is_one_frame() {
    let server = Server::shared(Kind::Smbd);
    let folder = server.new_folder("frames");
    let proxy = Proxy::to_port(server.port());
    let share = connect(proxy.port()).await;
    let root = remote(&server, &folder);
    let (file, moved, directory) = (root.join(&utf16("file")), root.join(&utf16("moved")), root.join(&utf16("dir")));
    fs::write(folder.join("file"), b"data").unwrap();

    let mut before = proxy.frames();
    let mut one_frame = |what: &str| {
        assert_eq!(proxy.frames() - before, 1, "{what}");
        before = proxy.frames();
    };
    share.stat(&file).await.unwrap();
    one_frame("stat");
    share.stat(&root.join(&utf16("missing"))).await.unwrap_err();
    one_frame("stat of a missing name");
    let change = Change { modified: Some(FileTime::from_unix(1, 0)), size: Some(2), ..Change::default() };
    share.set(Target::Path(&file), &change).await.unwrap();
    one_frame("truncating and setting a time");
    share.create_directory(&directory).await.unwrap();
    one_frame("mkdir");
    share.rename(&file, &moved, false, None).await.unwrap();
    one_frame("rename");
    let mut listing = share.list(&root).await.unwrap();
    assert_eq!(share.next_entries(&mut listing).await.unwrap().len(), 2);
    assert!(share.next_entries(&mut listing).await.unwrap().is_empty());
    one_frame("listing a small folder");
    share.remove(&moved, FileKind::File, None, None, None).await.unwrap();
    one_frame("unlink");
    share.remove(&directory, FileKind::Directory, None, None, None).await.unwrap();
    one_frame("rmdir");
    share.space(&root).await.unwrap();
    one_frame("statfs");
}

#[tokio::test]
async fn a_folder_of_50_000_entries_is_listed_completely_five_times() {
    let server = Server::shared(Kind::Smbd);
    let folder = server.new_folder("long");
    for number in 0..50_000 {
        fs::write(folder.join(format!("file-{number:05}")), b"").unwrap();
    }
    let share = connect(server.port()).await;
    let path = remote(&server, &folder);
    for round in 0..5 {
        let mut listing = share.list(&path).await.unwrap();
        let mut names = std::collections::HashSet::new();
        loop {
            let entries = share.next_entries(&mut listing).await.unwrap();
            if entries.is_empty() {
                break;
            }
            names.extend(entries.into_iter().map(|entry| entry.name));
        }
        assert_eq!(names.len(), 50_000, "round {round}");
    }
    fs::remove_dir_all(&folder).unwrap();
}

#[tokio::test]
async fn ten_thousand_dropped_reads_lose_no_credit() {
    let server = Server::shared(Kind::Smbd);
    let folder = server.new_folder("dropped");
    let share = connect(server.port()).await;
    let (file, _, _) = share.open(&remote(&server, &folder).join(&utf16("data")), NEW_FILE).await.unwrap();
    share.write(&file, 0, Bytes::from(vec![7; 200_000])).await.unwrap();
    let (before, in_use) = share.tree().channels.credits();
    assert_eq!(in_use, 0);
    for round in 0..10_000u64 {
        let reading = share.read(&file, 0, 200_000);
        let _ = tokio::time::timeout(Duration::from_micros(round % 200), reading).await;
    }
    assert_eq!(share.read(&file, 199_999, 10).await.unwrap(), Bytes::from(vec![7]));
    // The answers to the last dropped reads may still be in flight.
    tokio::time::timeout(REQUEST_TIMEOUT, async {
        while share.tree().channels.credits().1 > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await
    .expect("every request is answered");
    assert!(share.tree().channels.credits().0 >= before, "credits were lost");
    assert!(share.tree().channels.ended().is_none());
}

#[tokio::test]
async fn a_server_that_grants_few_credits_gets_large_requests_in_pieces() {
    let server = Server::start(Kind::Smbd, Settings { max_credits: Some(8), ..Settings::default() });
    let share = connect(server.port()).await;
    let (file, _, _) = share.open(&RemotePath::parse("large"), NEW_FILE).await.unwrap();
    let data: Vec<u8> = (0..3_000_000u32).map(|byte| (byte / 251) as u8).collect();
    share.write(&file, 0, data.clone().into()).await.unwrap();
    assert!(share.read(&file, 0, 3_000_000).await.unwrap() == data);
    assert!(fs::read(server.folder().join("large")).unwrap() == data);
}

/// A source that is open for reading and contains `data`, and a target that is open only for writing.
async fn source_and_target(share: &SmbShare, data: Vec<u8>) -> (SmbFile, SmbFile) {
    let how =
        |write: bool| OpenHow { read: !write, write, disposition: Disposition::OpenIf, readonly: false, lease: None };
    let (path, target) = (RemotePath::parse("source"), RemotePath::parse("target"));
    let (writer, ..) = share.open(&path, how(true)).await.unwrap();
    share.write(&writer, 0, data.into()).await.unwrap();
    share.close(&writer).await.unwrap();
    (share.open(&path, how(false)).await.unwrap().0, share.open(&target, how(true)).await.unwrap().0)
}

#[tokio::test]
async fn a_copy_sends_one_frame_per_slice_and_ends_at_the_end_of_the_source() {
    let smbd = Smbd::start(Settings::default());
    let proxy = Proxy::to_port(smbd.port());
    let share = connect(proxy.port()).await;
    let data: Vec<u8> = (0..500_000u32).map(|byte| (byte / 251) as u8).collect();
    let (source, target) = source_and_target(&share, data.clone()).await;
    assert_eq!(share.copy(&source, 0, &target, 0, 100_000).await.unwrap(), 100_000);
    let before = proxy.frames();
    assert_eq!(share.copy(&source, 100_000, &target, 100_000, 100_000).await.unwrap(), 100_000);
    assert_eq!(proxy.frames() - before, 1);
    assert_eq!(share.copy(&source, 200_000, &target, 200_000, 10_000_000).await.unwrap(), 300_000);
    assert_eq!(share.copy(&source, 500_000, &target, 500_000, 10).await.unwrap(), 0);
    assert_eq!(share.copy(&source, 600_000, &target, 500_000, 10).await.unwrap(), 0);
    assert!(fs::read(smbd.folder().join("target")).unwrap() == data);
}

#[tokio::test]
async fn a_copy_continues_after_a_restart_of_the_server() {
    let smbd = Smbd::start(Settings::default());
    let share = connect(smbd.port()).await;
    let (source, target) = source_and_target(&share, b"before and after".to_vec()).await;
    assert_eq!(share.copy(&source, 0, &target, 0, 6).await.unwrap(), 6);
    smbd.restart();
    // The source has a new resume key after the restart.
    assert_eq!(share.copy(&source, 6, &target, 6, 10).await.unwrap(), 10);
    assert_eq!(fs::read(smbd.folder().join("target")).unwrap(), b"before and after");
}

#[tokio::test]
async fn an_open_file_works_after_a_restart_of_the_server() {
    let smbd = Smbd::start(Settings::default());
    let share = connect(smbd.port()).await;
    let path = RemotePath::parse("kept");
    let (file, _, _) = share.open(&path, NEW_FILE).await.unwrap();
    share.write(&file, 0, Bytes::from_static(b"before")).await.unwrap();
    smbd.restart();
    share.write(&file, 6, Bytes::from_static(b" and after")).await.unwrap();
    assert_eq!(share.read(&file, 0, 100).await.unwrap(), "before and after");
    share.close(&file).await.unwrap();
    assert_eq!(fs::read(smbd.folder().join("kept")).unwrap(), b"before and after");
}

#[tokio::test]
async fn an_open_file_that_was_replaced_while_the_server_was_away_is_stale() {
    let smbd = Smbd::start(Settings::default());
    let share = connect(smbd.port()).await;
    let (file, _, _) = share.open(&RemotePath::parse("kept"), NEW_FILE).await.unwrap();
    smbd.kill();
    fs::write(smbd.folder().join("another"), b"precious").unwrap();
    fs::rename(smbd.folder().join("another"), smbd.folder().join("kept")).unwrap();
    smbd.restart();
    let error = share.write(&file, 0, Bytes::from_static(b"lost")).await.unwrap_err();
    assert_eq!(error.cause, Cause::Stale);
    assert_eq!(fs::read(smbd.folder().join("kept")).unwrap(), b"precious");
}

#[tokio::test]
async fn an_operation_fails_within_its_deadline_if_the_server_stays_away() {
    let smbd = Smbd::start(Settings::default());
    let limits = |_: &_| IoLimits { read: 65_536, write: 65_536 };
    let short = Duration::from_millis(1500);
    let share = SmbShare::connect(config(smbd.port(), DialectRange::default()), short, RemotePath::root(), limits)
        .await
        .unwrap();
    smbd.kill();
    let root = RemotePath::root();
    let waiting = tokio::time::timeout(REQUEST_TIMEOUT, share.stat(&root));
    let error = waiting.await.expect("the operation ends by its own deadline").unwrap_err();
    assert!(matches!(error.cause, Cause::Away(_)), "{error}");
    smbd.restart();
    let is_back = async {
        while share.stat(&root).await.is_err() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(REQUEST_TIMEOUT, is_back).await.expect("the share reconnects by itself");
}
