//! Links and special files against a scripted server: which frames are sent, and what is left if the server refuses a
//! part, or agrees and does something else.

use super::super::breaks::Leases;
use super::super::link::Link;
use super::super::smb::SmbShare;
use super::super::types::*;
use super::super::{Names, Refusal, Result};
use crate::config::{Dialect, DialectRange, Identity, Protection, Symlinks, Transport};
use crate::telemetry::Counters;
use crate::wire::NtStatus;
use crate::wire::codec::Put;
use crate::wire::connect::ConnectConfig;
use crate::wire::header::{Command, HEADER_SIZE};
use crate::wire::messages::reparse::{self, tag};
use crate::wire::scripted::{Scripted, Seen, response, tree};
use std::sync::Arc;
use std::time::Duration;

const OPEN: [u8; 16] = [7; 16];
const LIMIT: Duration = Duration::from_secs(20);
const GET_REPARSE: &[u8] = &0x0009_00A8_u32.to_le_bytes();
const SET_REPARSE: &[u8] = &0x0009_00A4_u32.to_le_bytes();

/// A share, and the server that the test plays, which has granted enough credits.
async fn share() -> (SmbShare, Scripted) {
    let (tree, mut server) = tree(Dialect::Smb302, false).await;
    let (leases, counters) = (Arc::<Leases>::default(), Arc::<Counters>::default());
    let config = ConnectConfig {
        host: "server".into(),
        port: 445,
        transport: Transport::DirectTcp,
        share: "share".into(),
        identity: Identity::Anonymous,
        dialects: DialectRange::default(),
        signing: Protection::Off,
        encryption: Protection::Off,
        connections: 1,
        connect_timeout: LIMIT,
        echo_interval: LIMIT,
        counters: Arc::clone(&counters),
    };
    let link = Link::from(tree, config, Arc::clone(&leases), LIMIT);
    let limits = IoLimits { read: 65_536, write: 65_536 };
    let share = SmbShare::over(link, leases, counters, (LIMIT, RemotePath::root(), limits));
    let echo = async {
        let seen = server.receive_one().await;
        server.answer(&seen.header, NtStatus::SUCCESS, 100, &[4, 0, 0, 0]).await;
    };
    let (sent, ()) = tokio::join!(share.round_trips(1, LIMIT), echo);
    sent.unwrap();
    (share, server)
}

/// The times, sizes and attributes of a file.
fn info(size: u64, attributes: u32) -> Vec<u8> {
    let mut info = Vec::new();
    info.put_u64(11).put_u64(12).put_u64(13).put_u64(14).put_u64(size).put_u64(size).put_u32(attributes);
    info
}

fn created(size: u64, attributes: u32) -> Vec<u8> {
    let mut body = Vec::new();
    body.put_u16(89).put_u16(0).put_u32(1).put_bytes(&info(size, attributes)).put_u32(0);
    body.put_bytes(&OPEN).put_u32(0).put_u32(0);
    body
}

fn closed(size: u64, attributes: u32) -> Vec<u8> {
    let mut body = Vec::new();
    body.put_u16(60).put_u16(1).put_u32(0).put_bytes(&info(size, attributes));
    body
}

fn ioctl(output: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    body.put_u16(49).put_u16(0).put_u32(0).put_bytes(&OPEN).put_u32(0).put_u32(0);
    body.put_u32(HEADER_SIZE as u32 + 48).put_u32(output.len() as u32).put_u32(0).put_u32(0).put_bytes(output);
    body
}

fn written(count: u32) -> Vec<u8> {
    let mut body = Vec::new();
    body.put_u16(17).put_u16(0).put_u32(count).put_u32(0).put_u16(0).put_u16(0);
    body
}

fn read(data: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    body.put_u16(17).put_u8(HEADER_SIZE as u8 + 16).put_u8(0).put_u32(data.len() as u32).put_u32(0).put_u32(0);
    body.put_bytes(data);
    body
}

const REFUSAL: [u8; 9] = [9, 0, 0, 0, 0, 0, 0, 0, 0];

/// Receives a frame of these commands, and answers each request.
async fn exchange<const N: usize>(
    server: &mut Scripted,
    commands: [Command; N],
    answers: [(NtStatus, Vec<u8>); N],
) -> Vec<Seen> {
    let seen = server.receive().await;
    let found: Vec<u16> = seen.iter().map(|seen| seen.header.command).collect();
    assert_eq!(found, commands.map(|command| command as u16));
    let mut frame = Vec::new();
    for (number, (request, (status, body))) in seen.iter().zip(&answers).enumerate() {
        let mut message = response(&request.header, *status, 10, 0, body);
        if number + 1 < N {
            message.resize(message.len().next_multiple_of(8), 0);
            let next = (message.len() as u32).to_le_bytes();
            message[20..24].copy_from_slice(&next);
        }
        frame.extend(message);
    }
    server.send(&frame).await;
    seen
}

fn done(body: Vec<u8>) -> (NtStatus, Vec<u8>) {
    (NtStatus::SUCCESS, body)
}

fn refused(status: NtStatus) -> (NtStatus, Vec<u8>) {
    (status, REFUSAL.to_vec())
}

async fn symlink(share: &SmbShare, target: &[u8]) -> Result<Metadata> {
    share.create_special(&RemotePath::parse("link"), NewSpecial::Symlink(target)).await
}

const POINT: u32 = Attributes::REPARSE_POINT | Attributes::ARCHIVE;

#[tokio::test]
async fn the_first_link_shows_that_the_server_takes_reparse_points_and_the_next_needs_one_frame() {
    let (share, mut server) = share().await;
    let script = async {
        let set = [done(created(0, Attributes::ARCHIVE)), done(ioctl(&[]))];
        let seen = exchange(&mut server, [Command::Create, Command::Ioctl], set).await;
        assert_eq!(&seen[1].body[4..8], SET_REPARSE);
        let data = reparse::symlink(&"a\\b".encode_utf16().collect::<Vec<_>>(), true).unwrap();
        assert_eq!(&seen[1].body[56..56 + data.len()], data);
        exchange(&mut server, [Command::Close], [done(closed(0, POINT))]).await;
        let all = [done(created(0, Attributes::ARCHIVE)), done(ioctl(&[])), done(closed(0, POINT))];
        exchange(&mut server, [Command::Create, Command::Ioctl, Command::Close], all).await;
    };
    let make = async {
        for _ in 0..2 {
            let made = symlink(&share, b"a/b").await.unwrap();
            assert_eq!((made.special, made.reparse_tag), (Some(Special::Symlink { length: 3 }), tag::SYMLINK));
            let target = share.read_link(&RemotePath::parse("link"), &made).await.unwrap();
            assert_eq!(target.unwrap(), &b"a/b"[..], "without a request");
        }
    };
    tokio::join!(script, make);
}

#[tokio::test]
async fn a_server_without_reparse_points_gets_a_file_through_the_same_open() {
    let (share, mut server) = share().await;
    let script = async {
        let set = [done(created(0, 32)), refused(NtStatus::NOT_A_REPARSE_POINT)];
        exchange(&mut server, [Command::Create, Command::Ioctl], set).await;
        let fill = [done(written(1067)), done(closed(1067, 32))];
        let seen = exchange(&mut server, [Command::Write, Command::Close], fill).await;
        assert_eq!(&seen[0].body[16..32], OPEN);
        let all = [done(created(0, 32)), done(written(1067)), done(closed(1067, 32))];
        exchange(&mut server, [Command::Create, Command::Write, Command::Close], all).await;
    };
    let make = async {
        for _ in 0..2 {
            assert_eq!(symlink(&share, b"x").await.unwrap().special, Some(Special::Symlink { length: 1 }));
        }
    };
    tokio::join!(script, make);
}

#[tokio::test]
async fn a_link_to_a_directory_becomes_one_to_a_file_where_directories_cannot_be_links() {
    let (share, mut server) = share().await;
    let script = async {
        let directory = [done(created(0, 16)), refused(NtStatus::ACCESS_DENIED), done(closed(0, 16))];
        let seen = exchange(&mut server, [Command::Create, Command::Ioctl, Command::Close], directory).await;
        assert_eq!(seen[0].body[40] & 0x41, 0x01, "a directory");
        removal(&mut server, done(created(0, 16))).await;
        let file = [done(created(0, 32)), done(ioctl(&[]))];
        let seen = exchange(&mut server, [Command::Create, Command::Ioctl], file).await;
        assert_eq!(seen[0].body[40] & 0x41, 0x40, "no directory");
        exchange(&mut server, [Command::Close], [done(closed(0, POINT))]).await;
        let all = [done(created(0, 32)), done(ioctl(&[])), done(closed(0, POINT))];
        exchange(&mut server, [Command::Create, Command::Ioctl, Command::Close], all).await;
    };
    let make = async {
        for _ in 0..2 {
            assert_eq!(symlink(&share, b"..").await.unwrap().special, Some(Special::Symlink { length: 2 }));
        }
    };
    tokio::join!(script, make);
}

/// Answers the removal of the file that was made.
async fn removal(server: &mut Scripted, found: (NtStatus, Vec<u8>)) {
    exchange(server, [Command::Create], [found]).await;
    let gone = [done(vec![2, 0]), done(closed(0, 0))];
    exchange(server, [Command::SetInfo, Command::Close], gone).await;
}

#[tokio::test]
async fn a_file_that_cannot_be_filled_is_removed() {
    let (share, mut server) = share().await;
    share.use_symlinks(Symlinks::MfSymlinks);
    let script = async {
        let full = [done(created(0, 32)), refused(NtStatus::DISK_FULL), done(closed(0, 32))];
        exchange(&mut server, [Command::Create, Command::Write, Command::Close], full).await;
        removal(&mut server, done(created(0, 32))).await;
    };
    let (made, ()) = tokio::join!(symlink(&share, b"x"), script);
    assert_eq!(made.unwrap_err().refusal(), Some(Refusal::NoSpace));
}

#[tokio::test]
async fn another_file_that_has_the_name_by_then_is_not_removed() {
    let (share, mut server) = share().await;
    share.use_symlinks(Symlinks::MfSymlinks);
    let script = async {
        let full = [done(created(0, 32)), refused(NtStatus::DISK_FULL), done(closed(0, 32))];
        exchange(&mut server, [Command::Create, Command::Write, Command::Close], full).await;
        let mut other = created(5, 32);
        other[8] = 99;
        exchange(&mut server, [Command::Create], [done(other)]).await;
        exchange(&mut server, [Command::Close], [done(closed(5, 32))]).await;
    };
    let (made, ()) = tokio::join!(symlink(&share, b"x"), script);
    assert_eq!(made.unwrap_err().refusal(), Some(Refusal::NoSpace));
}

#[tokio::test]
async fn a_server_that_agrees_and_stores_no_reparse_point_is_not_believed() {
    let (share, mut server) = share().await;
    share.use_symlinks(Symlinks::Reparse);
    let script = async {
        let all = [done(created(0, 32)), done(ioctl(&[])), done(closed(0, 32))];
        exchange(&mut server, [Command::Create, Command::Ioctl, Command::Close], all).await;
        removal(&mut server, done(created(0, 32))).await;
    };
    let (made, ()) = tokio::join!(symlink(&share, b"x"), script);
    assert_eq!(made.unwrap_err().refusal(), Some(Refusal::Unsupported));
}

#[tokio::test]
async fn a_special_file_without_the_system_attribute_is_removed() {
    let (share, mut server) = share().await;
    share.use_symlinks(Symlinks::MfSymlinks);
    let script = async {
        let all = [done(created(0, 32)), done(written(24)), done(closed(24, 32))];
        exchange(&mut server, [Command::Create, Command::Write, Command::Close], all).await;
        removal(&mut server, done(created(24, 32))).await;
    };
    let path = RemotePath::parse("fifo");
    let (made, ()) = tokio::join!(share.create_special(&path, NewSpecial::Fifo), script);
    assert_eq!(made.unwrap_err().refusal(), Some(Refusal::Unsupported));
}

#[tokio::test]
async fn a_folder_that_may_not_be_written_says_nothing_about_the_server() {
    let (share, mut server) = share().await;
    let script = async {
        let refusals = [refused(NtStatus::ACCESS_DENIED), refused(NtStatus::ACCESS_DENIED)];
        exchange(&mut server, [Command::Create, Command::Ioctl], refusals).await;
        let set = [done(created(0, 32)), done(ioctl(&[]))];
        exchange(&mut server, [Command::Create, Command::Ioctl], set).await;
        exchange(&mut server, [Command::Close], [done(closed(0, POINT))]).await;
    };
    let make = async {
        assert_eq!(symlink(&share, b"x").await.unwrap_err().refusal(), Some(Refusal::Denied));
        assert_eq!(symlink(&share, b"x").await.unwrap().reparse_tag, tag::SYMLINK);
    };
    tokio::join!(script, make);
}

#[tokio::test]
async fn a_target_too_long_for_a_file_is_too_long_where_there_are_no_reparse_points() {
    let (share, mut server) = share().await;
    let script = async {
        let set = [done(created(0, 32)), refused(NtStatus::INVALID_DEVICE_REQUEST), done(closed(0, 32))];
        exchange(&mut server, [Command::Create, Command::Ioctl, Command::Close], set).await;
        removal(&mut server, done(created(0, 32))).await;
    };
    let (made, ()) = tokio::join!(symlink(&share, &[b'x'; 1025]), script);
    assert!(matches!(made.unwrap_err().cause, super::super::error::Cause::TooLong(_)));
}

#[tokio::test]
async fn a_name_that_exists_is_left_alone() {
    let (share, mut server) = share().await;
    let script = async {
        let refusals = [refused(NtStatus::OBJECT_NAME_COLLISION), refused(NtStatus::OBJECT_NAME_COLLISION)];
        exchange(&mut server, [Command::Create, Command::Ioctl], refusals).await;
    };
    let (made, ()) = tokio::join!(symlink(&share, b"x"), script);
    assert_eq!(made.unwrap_err().refusal(), Some(Refusal::Exists));
}

/// The result of a stat of a reparse point with this data.
async fn stat_of_point(share: &SmbShare, server: &mut Scripted, data: &[u8]) -> Metadata {
    let script = async {
        let open = [done(created(0, POINT)), refused(NtStatus::NOT_SUPPORTED), done(closed(0, POINT))];
        exchange(server, [Command::Create, Command::QueryInfo, Command::Close], open).await;
        let look = [done(created(0, POINT)), done(ioctl(data)), done(closed(0, POINT))];
        let seen = exchange(server, [Command::Create, Command::Ioctl, Command::Close], look).await;
        assert_eq!(&seen[1].body[4..8], GET_REPARSE);
    };
    let path = RemotePath::parse("name");
    let (found, ()) = tokio::join!(share.stat(&path), script);
    found.unwrap()
}

#[tokio::test]
async fn a_reparse_point_is_looked_at_once() {
    let (share, mut server) = share().await;
    let fifo = reparse::nfs_file(&reparse::Nfs::Fifo).unwrap();
    let found = stat_of_point(&share, &mut server, &fifo).await;
    assert_eq!((found.special, found.reparse_tag), (Some(Special::Fifo), tag::NFS));
    let again = async {
        let open = [done(created(0, POINT)), refused(NtStatus::NOT_SUPPORTED), done(closed(0, POINT))];
        exchange(&mut server, [Command::Create, Command::QueryInfo, Command::Close], open).await;
    };
    let path = RemotePath::parse("name");
    let (second, ()) = tokio::join!(share.stat(&path), again);
    assert_eq!(second.unwrap(), found);
}

#[tokio::test]
async fn hostile_and_unknown_reparse_points_are_shown_and_harm_nothing() {
    let (share, mut server) = share().await;
    let mut hostile = reparse::symlink(&[0x61], true).unwrap();
    hostile[8..12].fill(0xFF);
    let found = stat_of_point(&share, &mut server, &hostile).await;
    assert_eq!(found.kind(), FileKind::Symlink);
    let target = share.read_link(&RemotePath::parse("name"), &found).await;
    assert!(matches!(target.unwrap_err().cause, super::super::error::Cause::Malformed(_)));
    let (share, mut server) = self::share().await;
    let unknown = [0x1A, 0x60, 0, 0x90, 4, 0, 0, 0, 1, 2, 3, 4];
    assert_eq!(stat_of_point(&share, &mut server, &unknown).await.kind(), FileKind::File);
    let (share, mut server) = self::share().await;
    // Shorter than a tag: the answer breaks the protocol, and the file is not hidden by that.
    let script = async {
        let open = [done(created(0, POINT)), refused(NtStatus::NOT_SUPPORTED), done(closed(0, POINT))];
        exchange(&mut server, [Command::Create, Command::QueryInfo, Command::Close], open).await;
        let look = [done(created(0, POINT)), done(ioctl(&[1])), done(closed(0, POINT))];
        exchange(&mut server, [Command::Create, Command::Ioctl, Command::Close], look).await;
    };
    let path = RemotePath::parse("name");
    let (found, ()) = tokio::join!(share.stat(&path), script);
    assert_eq!(found.unwrap().kind(), FileKind::File);
}

#[tokio::test]
async fn a_file_that_grows_while_it_is_looked_at_is_a_file() {
    let (share, mut server) = share().await;
    let script = async {
        let open = [done(created(1067, 32)), refused(NtStatus::NOT_SUPPORTED), done(closed(1067, 32))];
        exchange(&mut server, [Command::Create, Command::QueryInfo, Command::Close], open).await;
        let look = [done(created(2000, 32)), done(read(&[b'X'; 1067])), done(closed(2000, 32))];
        exchange(&mut server, [Command::Create, Command::Read, Command::Close], look).await;
    };
    let path = RemotePath::parse("name");
    let (found, ()) = tokio::join!(share.stat(&path), script);
    let found = found.unwrap();
    assert_eq!((found.kind(), found.size), (FileKind::File, 2000));
}
