//! Closing files, and opens that are kept afterwards.

use super::*;
use crate::share::error::Cause;

#[tokio::test]
async fn a_close_is_one_round_trip_and_reports_the_final_times() {
    let user = User::new();
    let (attr, opened) = user.create("a", libc::O_WRONLY).await.unwrap();
    user.write(opened, 0, b"1").await.unwrap();
    user.share.forget_log();
    user.close(opened).await;
    assert_eq!(user.share.log(), [("CLOSE", "\\a".to_owned())]);
    let known = operations::known_attributes(&user.vfs, attr.ino).unwrap();
    assert_eq!((known.size, known.modified), (1, user.share.look("a").unwrap().modified));
}

#[tokio::test]
async fn attributes_are_fetched_after_a_close_without_attributes() {
    let user = User::behaving(Behaviour { close_answers: false, ..Behaviour::default() });
    let (attr, opened) = user.create("a", libc::O_WRONLY).await.unwrap();
    user.write(opened, 0, b"1").await.unwrap();
    user.close(opened).await;
    let shown = operations::getattr(&user.vfs, attr.ino).await.unwrap();
    assert_eq!((shown.size, shown.modified), (1, user.share.look("a").unwrap().modified));
}

#[tokio::test]
async fn a_close_that_fails_leaves_no_handle_open() {
    let user = User::new();
    let (_, opened) = user.create("a", libc::O_WRONLY).await.unwrap();
    user.share.fail("CLOSE", 1, Cause::TimedOut);
    user.close(opened).await;
    assert_eq!(errno(user.write(opened, 0, b"1").await), libc::EBADF);
    operations::forget(&user.vfs, user.ino("a").await, 2);
    assert_eq!(user.vfs.names.len(), 1);
}

#[tokio::test]
async fn a_handle_is_closed_once() {
    let user = User::new();
    let (_, opened) = user.create("a", libc::O_WRONLY).await.unwrap();
    user.close(opened).await;
    user.close(opened).await;
    assert_eq!(user.share.count("CLOSE"), 1);
}

#[tokio::test]
async fn at_the_end_of_the_mount_all_files_are_closed_and_hidden_ones_are_removed() {
    let user = User::new();
    for name in ["a", "b", "c"] {
        let (_, opened) = user.create(name, libc::O_WRONLY).await.unwrap();
        user.write(opened, 0, b"1").await.unwrap();
    }
    user.rm("b").await.unwrap();
    let directory = operations::opendir(&user.vfs, ROOT);
    operations::drain(&user.vfs).await;
    assert_eq!(user.share.open_files(), 0);
    assert_eq!(user.share.names(""), ["a", "c"]);
    assert_eq!(errno(operations::readdir(&user.vfs, directory, 0, false, &mut |_| false).await), libc::EBADF);
}

#[tokio::test]
async fn the_end_of_the_mount_waits_for_closes_under_way() {
    let user = User::new();
    let (_, opened) = user.create("a", libc::O_WRONLY).await.unwrap();
    let gate = user.share.hold("CLOSE");
    let closing = tokio::spawn(operations::release(&user.vfs, opened.handle));
    gate.reached().await;
    let vfs = Arc::clone(&user.vfs);
    let drained = tokio::spawn(async move { operations::drain(&vfs).await });
    tokio::task::yield_now().await;
    assert!(!drained.is_finished());
    gate.open();
    drained.await.unwrap();
    closing.await.unwrap();
    assert_eq!(user.share.open_files(), 0);
}

/// A user with a file that was read and is kept open at the server.
async fn user_with_kept_file() -> (User, u64) {
    let user = User::behaving(Behaviour { leases: true, ..Behaviour::default() });
    user.share.put("a", b"1");
    // Names in a directory that the server does not watch are valid for the timeout.
    user.list("").await;
    operations::forget(&user.vfs, user.share.look("a").unwrap().file_id, 1);
    let ino = user.ino("a").await;
    let opened = operations::open(&user.vfs, ino, libc::O_RDONLY).await.unwrap();
    assert_eq!(user.read(opened, 0, 1).await.unwrap(), b"1");
    user.close(opened).await;
    assert_eq!(user.share.open_files(), 1, "the next open needs no request");
    (user, ino)
}

/// Lets tasks in the background run.
async fn let_watches_report() {
    for _ in 0..10 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_kept_open_is_used_again_after_the_kernel_has_forgotten_the_inode() {
    let (user, ino) = user_with_kept_file().await;
    operations::forget(&user.vfs, ino, 1);
    let_watches_report().await;
    assert_eq!(user.share.open_files(), 1);
    assert_eq!(user.ino("a").await, ino);
    let opened = operations::open(&user.vfs, ino, libc::O_RDONLY).await.unwrap();
    assert_eq!(user.share.open_files(), 1, "the kept open serves the handle");
    user.close(opened).await;
    operations::forget(&user.vfs, ino, 1);
    operations::drain(&user.vfs).await;
    assert_eq!((user.share.open_files(), user.vfs.names.len()), (0, 1), "the inode is evicted with its open");
}

#[tokio::test]
async fn a_kept_open_is_closed_when_its_name_means_another_file() {
    let (user, ino) = user_with_kept_file().await;
    user.share.remove_as_other_client_at_once("a");
    user.share.put("a", b"another file");
    let another = user.ino("a").await;
    assert_ne!(another, ino);
    let_watches_report().await;
    assert_eq!(user.share.open_files(), 0);
}
