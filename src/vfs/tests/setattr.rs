//! Changing attributes: mode, owner, times and size.

use super::*;
use crate::config::Keeping;
use crate::share::{Attributes, FileTime};
use crate::wire::NtStatus;

fn mode(mode: u32) -> SetAttr {
    SetAttr { mode: Some(mode), ..SetAttr::default() }
}

fn size(size: u64) -> SetAttr {
    SetAttr { size: Some(size), ..SetAttr::default() }
}

/// A user whose mount denies changes of owner and mode.
fn denying() -> User {
    let owner = OwnerOptions { chmod: Keeping::Deny, chown: Keeping::Deny, ..OwnerOptions::default() };
    User::with(MemoryShare::new(), VfsOptions { owner, ..options() })
}

async fn user_with_file() -> (User, u64) {
    let user = User::new();
    user.share.put("a", b"0123456789");
    let ino = user.ino("a").await;
    user.share.forget_log();
    (user, ino)
}

#[tokio::test]
async fn chmod_keeps_the_owners_write_bit() {
    let (user, ino) = user_with_file().await;
    assert_eq!(operations::setattr(&user.vfs, ino, &mode(0o444)).await.unwrap().permissions, 0o444);
    assert_eq!(user.share.total(), 1);
    assert!(user.share.look("a").unwrap().attributes.has(Attributes::READONLY | Attributes::ARCHIVE));
    assert_eq!(operations::setattr(&user.vfs, ino, &mode(0o600)).await.unwrap().permissions, 0o600);
    assert!(!user.share.look("a").unwrap().attributes.has(Attributes::READONLY));
}

#[tokio::test]
async fn chmod_of_bits_that_the_server_does_not_keep_succeeds_without_a_request() {
    let (user, ino) = user_with_file().await;
    operations::setattr(&user.vfs, ino, &mode(0o755)).await.unwrap();
    user.share.put_directory("d");
    let directory = user.ino("d").await;
    user.share.forget_log();
    assert_eq!(operations::setattr(&user.vfs, directory, &mode(0o500)).await.unwrap().permissions, 0o500);
    assert_eq!(user.share.total(), 0);
}

#[tokio::test]
async fn chmod_keeps_an_attribute_that_another_client_set() {
    let user = User::with_zero_timeout();
    user.share.put("a", b"");
    let ino = user.ino("a").await;
    user.share.mark("a", Attributes::HIDDEN);
    operations::setattr(&user.vfs, ino, &mode(0o444)).await.unwrap();
    assert_eq!(user.share.look("a").unwrap().attributes.0, Attributes::HIDDEN | Attributes::READONLY);
}

#[tokio::test]
async fn where_chown_is_denied_it_succeeds_only_with_the_present_owner() {
    let user = denying();
    user.share.put("a", b"0123456789");
    let ino = user.ino("a").await;
    let own = SetAttr { uid: Some(1000), gid: Some(100), ..SetAttr::default() };
    operations::setattr(&user.vfs, ino, &own).await.unwrap();
    let other = SetAttr { uid: Some(0), size: Some(0), ..SetAttr::default() };
    assert_eq!(errno(operations::setattr(&user.vfs, ino, &other).await), libc::EPERM);
    assert_eq!(
        errno(operations::setattr(&user.vfs, ino, &SetAttr { gid: Some(5), ..SetAttr::default() }).await),
        libc::EPERM
    );
    assert_eq!(user.share.data("a").unwrap().len(), 10);
}

#[tokio::test]
async fn times_are_set_to_100_ns_and_other_times_stay() {
    let (user, ino) = user_with_file().await;
    let time = FileTime::from_unix(1_600_000_000, 123_456_700);
    let before = user.share.look("a").unwrap();
    let set = SetAttr { modified: Some(SetTime::At(time)), ..SetAttr::default() };
    assert_eq!(operations::setattr(&user.vfs, ino, &set).await.unwrap().modified, time);
    let after = user.share.look("a").unwrap();
    assert_eq!((after.modified, after.accessed, after.created), (time, before.accessed, before.created));
    assert_eq!(operations::getattr(&user.vfs, ino).await.unwrap().modified, time);

    let set = SetAttr { accessed: Some(SetTime::At(FileTime::from_unix(-5, 100))), ..SetAttr::default() };
    operations::setattr(&user.vfs, ino, &set).await.unwrap();
    let after = user.share.look("a").unwrap();
    assert_eq!((after.accessed.to_unix(), after.modified), ((-5, 100), time));
}

#[tokio::test]
async fn touch_sets_the_present_time() {
    let (user, ino) = user_with_file().await;
    let begin = FileTime::from(std::time::SystemTime::now());
    let now = SetAttr { accessed: Some(SetTime::Now), modified: Some(SetTime::Now), ..SetAttr::default() };
    operations::setattr(&user.vfs, ino, &now).await.unwrap();
    assert_eq!(user.share.total(), 1);
    let after = user.share.look("a").unwrap();
    assert!(after.modified >= begin && after.accessed >= begin);
}

#[tokio::test]
async fn times_of_directories_can_be_set() {
    let user = User::new();
    user.share.put_directory("d");
    let time = FileTime::from_unix(1_500_000_000, 0);
    let set = SetAttr { modified: Some(SetTime::At(time)), ..SetAttr::default() };
    let ino = user.ino("d").await;
    operations::setattr(&user.vfs, ino, &set).await.unwrap();
    assert_eq!(user.share.look("d").unwrap().modified, time);
}

#[tokio::test]
async fn truncate_cuts_and_extends_with_zeros() {
    let (user, ino) = user_with_file().await;
    user.cat("a").await.unwrap();
    assert_eq!(operations::setattr(&user.vfs, ino, &size(4)).await.unwrap().size, 4);
    assert_eq!(user.cat("a").await.unwrap(), b"0123");
    assert_eq!(operations::setattr(&user.vfs, ino, &size(6)).await.unwrap().size, 6);
    assert_eq!(user.cat("a").await.unwrap(), b"0123\0\0");
}

#[tokio::test]
async fn an_open_file_that_is_cut_and_extended_has_no_old_data() {
    let (user, ino) = user_with_file().await;
    let opened = user.open("a", libc::O_RDWR).await.unwrap();
    user.read(opened, 0, 10).await.unwrap();
    operations::setattr(&user.vfs, ino, &size(2)).await.unwrap();
    operations::setattr(&user.vfs, ino, &size(10)).await.unwrap();
    assert_eq!(user.read(opened, 0, 10).await.unwrap(), b"01\0\0\0\0\0\0\0\0");
}

#[tokio::test]
async fn ftruncate_works_on_a_read_only_file_through_its_handle() {
    let user = User::new();
    let (attr, opened) = operations::create(&user.vfs, ROOT, OsStr::new("a"), by(0o444), libc::O_RDWR).await.unwrap();
    // By path the server would refuse the change: the file is read-only.
    let set = SetAttr { handle: Some(opened.handle), ..size(100) };
    operations::setattr(&user.vfs, attr.ino, &set).await.unwrap();
    assert_eq!(user.share.look("a").unwrap().size, 100);
}

#[tokio::test]
async fn a_directory_has_no_size_to_set() {
    let user = User::new();
    user.share.put_directory("d");
    let ino = user.ino("d").await;
    assert_eq!(errno(operations::setattr(&user.vfs, ino, &size(0)).await), libc::EISDIR);
}

#[tokio::test]
async fn a_change_that_failed_is_not_shown() {
    let (user, ino) = user_with_file().await;
    user.share.refuse("SET_INFO", 1, NtStatus::DISK_FULL);
    assert_eq!(errno(operations::setattr(&user.vfs, ino, &size(1 << 40)).await), libc::ENOSPC);
    assert_eq!(operations::getattr(&user.vfs, ino).await.unwrap().size, 10);
}

#[tokio::test]
async fn no_attribute_is_changed_on_a_read_only_mount() {
    let share = MemoryShare::new();
    share.put("a", b"1");
    let user = User::with(share, VfsOptions { read_only: true, ..options() });
    let ino = user.ino("a").await;
    assert_eq!(errno(operations::setattr(&user.vfs, ino, &size(0)).await), libc::EROFS);
}

#[tokio::test]
async fn truncating_to_the_same_size_moves_the_write_time() {
    for handle in [false, true] {
        let (user, ino) = user_with_file().await;
        let opened = if handle { Some(operations::open(&user.vfs, ino, libc::O_RDWR).await.unwrap()) } else { None };
        let long_ago = FileTime::from_unix(1_000_000, 0);
        let set = SetAttr { modified: Some(SetTime::At(long_ago)), ..SetAttr::default() };
        operations::setattr(&user.vfs, ino, &set).await.unwrap();
        assert_eq!(user.share.look("a").unwrap().modified, long_ago);
        let attr = operations::setattr(&user.vfs, ino, &size(10)).await.unwrap();
        assert!(attr.modified > long_ago && user.share.look("a").unwrap().modified > long_ago, "handle: {handle}");
        if let Some(opened) = opened {
            user.close(opened).await;
        }
    }
}

#[tokio::test]
async fn each_change_moves_the_change_time_at_once() {
    let (user, ino) = user_with_file().await;
    let long_ago = SetTime::At(FileTime::from_unix(1_000_000, 0));
    let sets = [mode(0o444), mode(0o644), SetAttr { modified: Some(long_ago), ..SetAttr::default() }, size(4)];
    let mut before = operations::getattr(&user.vfs, ino).await.unwrap().changed;
    for set in sets {
        let changed = operations::setattr(&user.vfs, ino, &set).await.unwrap().changed;
        assert!(changed > before, "{set:?}");
        before = changed;
    }
}
