//! Removing files, also while they are open.

use super::*;
use crate::share::Attributes;
use crate::wire::NtStatus;
use futures_util::FutureExt;

#[tokio::test]
async fn a_file_is_removed_in_one_round_trip() {
    let user = User::new();
    user.save("a", b"1").await.unwrap();
    user.share.forget_log();
    operations::unlink(&user.vfs, ROOT, OsStr::new("a")).await.unwrap();
    assert_eq!(user.share.log(), [("REMOVE", "\\a".to_owned())]);
    assert_eq!(errno(user.look("a").await), libc::ENOENT);
}

#[tokio::test]
async fn unlink_does_not_remove_a_directory_or_a_missing_file() {
    let user = User::new();
    user.share.put_directory("d");
    assert_eq!(errno(user.rm("d").await), libc::EISDIR);
    user.ino("d").await;
    assert_eq!(errno(user.rm("d").await), libc::EISDIR);
    assert_eq!(errno(user.rm("b").await), libc::ENOENT);
}

#[tokio::test]
async fn a_read_only_file_can_be_deleted() {
    let user = User::new();
    user.share.put("a", b"1");
    user.share.mark("a", Attributes::READONLY);
    user.rm("a").await.unwrap();
    assert_eq!(user.share.look("a"), None);
}

#[tokio::test]
async fn a_read_only_file_that_cannot_be_deleted_stays_read_only() {
    let user = User::new();
    user.share.put("a", b"1");
    user.share.mark("a", Attributes::READONLY);
    user.share.refuse("REMOVE", 2, NtStatus::SHARING_VIOLATION);
    assert_eq!(errno(user.rm("a").await), libc::EBUSY);
    assert!(user.share.look("a").unwrap().attributes.has(Attributes::READONLY));
}

#[tokio::test]
async fn an_unlinked_file_can_be_used_until_it_is_closed() {
    let user = User::new();
    user.save("a", b"still here").await.unwrap();
    let opened = user.open("a", libc::O_RDWR).await.unwrap();
    let ino = user.vfs.handles.file(opened.handle).unwrap().file.ino;
    user.rm("a").await.unwrap();
    assert_eq!(errno(user.look("a").await), libc::ENOENT);
    assert_eq!(user.ls("").await.unwrap(), Vec::<String>::new());

    assert_eq!(user.read(opened, 0, 20).await.unwrap(), b"still here");
    user.write(opened, 0, b"STILL").await.unwrap();
    assert_eq!(operations::getattr(&user.vfs, ino).await.unwrap().size, 10);
    let cut = SetAttr { size: Some(5), handle: Some(opened.handle), ..SetAttr::default() };
    operations::setattr(&user.vfs, ino, &cut).await.unwrap();
    assert_eq!(user.read(opened, 0, 20).await.unwrap(), b"STILL");

    // The name is free for another file.
    user.save("a", b"new").await.unwrap();
    assert_eq!(user.read(opened, 0, 20).await.unwrap(), b"STILL");

    user.close(opened).await;
    assert_eq!(user.share.names(""), ["a"]);
    assert_eq!(user.cat("a").await.unwrap(), b"new");
}

#[tokio::test]
async fn an_unlinked_file_can_be_used_until_its_last_handle_is_closed() {
    let user = User::new();
    user.save("a", b"1").await.unwrap();
    let (one, other) = (user.open("a", libc::O_RDONLY).await.unwrap(), user.open("a", libc::O_RDONLY).await.unwrap());
    user.rm("a").await.unwrap();
    user.close(one).await;
    assert_eq!(user.read(other, 0, 1).await.unwrap(), b"1");
    user.close(other).await;
    assert_eq!(user.share.names(""), Vec::<String>::new());
}

#[tokio::test]
async fn a_read_only_file_can_be_removed_while_it_is_open() {
    let user = User::new();
    let (_, opened) = operations::create(&user.vfs, ROOT, OsStr::new("a"), by(0o444), libc::O_RDWR).await.unwrap();
    user.rm("a").await.unwrap();
    user.write(opened, 0, b"1").await.unwrap();
    user.close(opened).await;
    assert_eq!(user.share.names(""), Vec::<String>::new());
}

#[tokio::test]
async fn a_hidden_file_that_cannot_be_removed_does_not_block_its_close() {
    let user = User::new();
    user.save("a", b"1").await.unwrap();
    let opened = user.open("a", libc::O_RDONLY).await.unwrap();
    user.rm("a").await.unwrap();
    user.share.refuse("REMOVE", 1, NtStatus::ACCESS_DENIED);
    // The share answers at once, so a step that is not done by now will never be done.
    assert!(user.close(opened).now_or_never().is_some());
    assert_eq!(user.share.open_files(), 0);
}

#[tokio::test]
async fn a_file_is_deleted_directly_where_the_server_refuses_a_hidden_name() {
    let user = User::new();
    user.save("a", b"1").await.unwrap();
    let opened = user.open("a", libc::O_RDONLY).await.unwrap();
    user.share.refuse("RENAME", 1, NtStatus::ACCESS_DENIED);
    user.rm("a").await.unwrap();
    assert_eq!(user.read(opened, 0, 1).await.unwrap(), b"1");
    assert_eq!(errno(user.look("a").await), libc::ENOENT);
    user.close(opened).await;
    assert_eq!(user.share.names(""), Vec::<String>::new());
}

#[tokio::test]
async fn a_file_that_is_just_being_closed_needs_no_hidden_name() {
    let user = User::new();
    user.save("a", b"1").await.unwrap();
    let opened = user.open("a", libc::O_RDONLY).await.unwrap();
    let gate = user.share.hold("CLOSE");
    let closing = tokio::spawn(operations::release(&user.vfs, opened.handle));
    gate.reached().await;
    let vfs = Arc::clone(&user.vfs);
    let removing = tokio::spawn(async move { operations::unlink(&vfs, ROOT, OsStr::new("a")).await });
    tokio::task::yield_now().await;
    gate.open();
    removing.await.unwrap().unwrap();
    closing.await.unwrap();
    assert_eq!(user.share.count("RENAME"), 0);
    assert_eq!(user.share.names(""), Vec::<String>::new());
}

#[tokio::test]
async fn an_open_file_that_is_removed_or_replaced_has_no_links() {
    let user = User::new();
    user.save("a", b"1").await.unwrap();
    user.save("b", b"2").await.unwrap();
    let (one, other) = (user.ino("a").await, user.ino("b").await);
    let opened = [user.open("a", libc::O_RDONLY).await.unwrap(), user.open("b", libc::O_RDONLY).await.unwrap()];
    assert_eq!(operations::getattr(&user.vfs, one).await.unwrap().links, 1);
    user.rm("a").await.unwrap();
    assert_eq!(operations::getattr(&user.vfs, one).await.unwrap().links, 0);
    user.save("c", b"3").await.unwrap();
    user.mv("c", "b").await.unwrap();
    assert_eq!(operations::getattr(&user.vfs, other).await.unwrap().links, 0);
    assert_eq!(user.look("b").await.unwrap().links, 1);
    for opened in opened {
        user.close(opened).await;
    }
}
