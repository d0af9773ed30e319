//! Opening a file.

use super::*;
use crate::share::Attributes;

#[tokio::test]
async fn an_open_is_one_round_trip() {
    let user = User::new();
    user.share.put("a", b"1");
    let ino = user.ino("a").await;
    user.share.forget_log();
    operations::open(&user.vfs, ino, libc::O_RDONLY).await.unwrap();
    assert_eq!(user.share.log(), [("CREATE", "\\a".to_owned())]);
}

#[tokio::test]
async fn a_handle_allows_only_what_it_was_opened_for() {
    let user = User::new();
    user.share.put("a", b"1");
    let reader = user.open("a", libc::O_RDONLY).await.unwrap();
    let writer = user.open("a", libc::O_WRONLY).await.unwrap();
    assert_eq!(errno(user.write(reader, 0, b"2").await), libc::EBADF);
    assert_eq!(errno(user.read(writer, 0, 1).await), libc::EBADF);
    assert_eq!(errno(user.open("a", libc::O_ACCMODE).await), libc::EINVAL);
}

#[tokio::test]
async fn a_directory_cannot_be_opened_as_a_file() {
    let user = User::new();
    user.share.put_directory("d");
    assert_eq!(errno(user.open("d", libc::O_RDONLY).await), libc::EISDIR);
}

#[tokio::test]
async fn o_trunc_empties_the_file_in_the_open() {
    let user = User::new();
    user.share.put("a", b"12345");
    user.cat("a").await.unwrap();
    let ino = user.ino("a").await;
    user.share.forget_log();
    let opened = operations::open(&user.vfs, ino, libc::O_RDWR | libc::O_TRUNC).await.unwrap();
    assert_eq!(user.share.total(), 1);
    assert_eq!(operations::getattr(&user.vfs, ino).await.unwrap().size, 0);
    assert_eq!(user.read(opened, 0, 10).await.unwrap(), b"");
}

#[tokio::test]
async fn a_read_only_file_cannot_be_opened_for_writing() {
    let user = User::new();
    user.share.put("a", b"1");
    user.share.mark("a", Attributes::READONLY);
    assert_eq!(errno(user.open("a", libc::O_RDWR).await), libc::EACCES);
    assert_eq!(errno(user.open("a", libc::O_WRONLY | libc::O_TRUNC).await), libc::EACCES);
    assert_eq!(user.cat("a").await.unwrap(), b"1");
    assert_eq!(user.share.open_files(), 0);
}

#[tokio::test]
async fn on_a_read_only_mount_files_are_opened_for_reading() {
    let share = MemoryShare::new();
    share.put("a", b"1");
    let user = User::with(share, VfsOptions { read_only: true, ..options() });
    assert_eq!(user.cat("a").await.unwrap(), b"1");
    assert_eq!(errno(user.open("a", libc::O_RDWR).await), libc::EROFS);
    assert_eq!(errno(user.open("a", libc::O_RDONLY | libc::O_TRUNC).await), libc::EROFS);
}

#[tokio::test]
async fn a_file_opened_with_o_direct_uses_no_cache() {
    let user = User::new();
    user.share.put("a", b"1");
    let opened = user.open("a", libc::O_RDONLY | libc::O_DIRECT).await.unwrap();
    assert!(opened.direct);
    assert_eq!(user.read(opened, 0, 10).await.unwrap(), b"1");
    user.share.put("a", b"grown by another client");
    assert_eq!(user.read(opened, 0, 5).await.unwrap(), b"grown");
    assert_eq!(user.vfs.cache.used(), 0);
}

#[tokio::test]
async fn the_kernel_keeps_its_pages_of_a_file_that_has_not_changed() {
    let user = User::new();
    user.share.put("a", b"1");
    let opens = async || {
        let opened = user.open("a", libc::O_RDONLY).await.unwrap();
        user.close(opened).await;
        opened.keep_cache
    };
    assert!(!opens().await, "the kernel has no pages yet");
    assert!(opens().await);
    user.share.put("a", b"2");
    assert!(!opens().await, "another client has written");
    assert!(opens().await);
    let opened = user.open("a", libc::O_WRONLY).await.unwrap();
    user.write(opened, 0, b"3").await.unwrap();
    user.close(opened).await;
    assert!(!opens().await, "this user has written");
}

#[tokio::test]
async fn a_known_name_whose_file_is_gone_is_stale_and_then_looked_up_again() {
    let user = User::new();
    user.share.put("a", b"1");
    let ino = user.ino("a").await;
    user.ls("").await.unwrap();
    user.share.remove_as_other_client_at_once("a");
    assert_eq!(
        errno(operations::open(&user.vfs, ino, libc::O_WRONLY).await),
        libc::ESTALE,
        "so that the kernel looks it up again"
    );
    assert!(
        operations::known_entry(&user.vfs, ROOT, OsStr::new("a")).is_none(),
        "the kernel does not get the stale name"
    );
    assert_eq!(errno(operations::lookup(&user.vfs, ROOT, OsStr::new("a")).await), libc::ENOENT);
    let size = SetAttr { size: Some(0), ..SetAttr::default() };
    user.share.put("b", b"1");
    let ino = user.ino("b").await;
    user.share.remove_as_other_client_at_once("b");
    assert_eq!(errno(operations::setattr(&user.vfs, ino, &size).await), libc::ESTALE);
}
