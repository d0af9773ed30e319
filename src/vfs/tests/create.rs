//! Creating files.

use super::*;
use crate::share::error::Cause;
use crate::share::{Attributes, Device};

#[tokio::test]
async fn a_new_file_is_made_opened_and_described_in_one_round_trip() {
    let user = User::new();
    let (attr, opened) = user.create("a", libc::O_RDWR).await.unwrap();
    assert_eq!(user.share.total(), 1);
    assert_eq!((attr.size, attr.permissions), (0, 0o644));
    user.write(opened, 0, b"hello").await.unwrap();
    assert_eq!(user.read(opened, 0, 10).await.unwrap(), b"hello");
    assert_eq!(user.share.data("a").unwrap(), b"hello");
}

#[tokio::test]
async fn o_excl_fails_if_the_file_exists() {
    let user = User::new();
    user.share.put("a", b"1");
    assert_eq!(errno(user.create("a", libc::O_RDWR | libc::O_EXCL).await), libc::EEXIST);
    assert_eq!(user.share.data("a").unwrap(), b"1");
    user.create("b", libc::O_RDWR | libc::O_EXCL).await.unwrap();
}

#[tokio::test]
async fn without_o_excl_an_existing_file_is_opened() {
    let user = User::new();
    user.share.put("a", b"1");
    let (attr, opened) = user.create("a", libc::O_RDONLY).await.unwrap();
    assert_eq!(attr.size, 1);
    assert_eq!(user.read(opened, 0, 10).await.unwrap(), b"1");
}

#[tokio::test]
async fn o_trunc_empties_an_existing_file() {
    let user = User::new();
    user.share.put("a", b"12345");
    user.cat("a").await.unwrap();
    let (attr, opened) = user.create("a", libc::O_RDWR | libc::O_TRUNC).await.unwrap();
    assert_eq!(attr.size, 0);
    assert_eq!(user.read(opened, 0, 10).await.unwrap(), b"");
}

#[tokio::test]
async fn a_mode_without_write_makes_a_read_only_file_that_can_still_be_filled() {
    let user = User::new();
    let (attr, opened) =
        operations::create(&user.vfs, ROOT, OsStr::new("a"), by(0o444), libc::O_WRONLY | libc::O_EXCL).await.unwrap();
    assert_eq!(attr.permissions, 0o444);
    user.write(opened, 0, b"object").await.unwrap();
    user.close(opened).await;
    assert_eq!(user.cat("a").await.unwrap(), b"object");
    assert!(user.share.look("a").unwrap().attributes.has(Attributes::READONLY));
}

#[tokio::test]
async fn creating_a_file_moves_the_time_of_its_directory() {
    let user = User::new();
    let before = operations::getattr(&user.vfs, ROOT).await.unwrap().modified;
    user.create("a", libc::O_RDWR).await.unwrap();
    assert!(operations::getattr(&user.vfs, ROOT).await.unwrap().modified > before);
}

#[tokio::test]
async fn a_new_file_may_get_the_file_id_of_a_deleted_one() {
    let user = User::new();
    user.share.put("a", b"old");
    let old = user.ino("a").await;
    user.share.remove_as_other_client_at_once("a");
    let (attr, _) = user.create("a", libc::O_RDWR).await.unwrap();
    assert_ne!((attr.ino, attr.generation), (old, 0));
    assert_eq!(errno(operations::open(&user.vfs, old, libc::O_RDONLY).await), libc::ESTALE);
}

#[tokio::test]
async fn mknod_makes_regular_files() {
    let user = User::new();
    let node =
        |name: &'static str, mode| operations::mknod(&user.vfs, ROOT, OsStr::new(name), by(mode), Device::default());
    assert_eq!(node("a", libc::S_IFREG | 0o644).await.unwrap().size, 0);
    assert_eq!(user.share.open_files(), 0);
    assert_eq!(errno(node("a", libc::S_IFREG | 0o644).await), libc::EEXIST);
}

#[tokio::test]
async fn no_file_is_created_on_a_read_only_mount() {
    let user = User::with(MemoryShare::new(), VfsOptions { read_only: true, ..options() });
    assert_eq!(errno(user.create("a", libc::O_RDWR).await), libc::EROFS);
    assert_eq!(user.share.total(), 0);
}

#[tokio::test]
async fn a_server_that_is_away_is_reported_to_the_program() {
    let user = User::new();
    user.share.fail("CREATE", 1, Cause::TimedOut);
    assert_eq!(errno(user.create("a", libc::O_RDWR).await), libc::ETIMEDOUT);
    user.share.fail("CREATE", 1, Cause::Disconnected("reset".into()));
    assert_eq!(errno(user.create("a", libc::O_RDWR).await), libc::EHOSTDOWN);
}
