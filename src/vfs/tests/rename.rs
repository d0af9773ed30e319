//! Renaming files and directories.

use super::*;
use crate::share::Attributes;
use crate::wire::NtStatus;

#[tokio::test]
async fn a_rename_is_one_round_trip_and_the_file_keeps_its_inode() {
    let user = User::new();
    user.save("a", b"1").await.unwrap();
    let ino = user.ino("a").await;
    user.share.forget_log();
    operations::rename(&user.vfs, ROOT, OsStr::new("a"), ROOT, OsStr::new("b"), 0).await.unwrap();
    assert_eq!(user.share.total(), 1);
    assert_eq!(errno(user.look("a").await), libc::ENOENT);
    assert_eq!(user.ino("b").await, ino);
    assert_eq!(user.cat("b").await.unwrap(), b"1");
}

#[tokio::test]
async fn files_in_a_renamed_directory_are_found_below_its_new_name() {
    let user = User::new();
    user.mkdir("d").await.unwrap();
    user.save("d/a", b"1").await.unwrap();
    user.mkdir("e").await.unwrap();
    let ino = user.ino("d/a").await;
    user.mv("d", "e/d").await.unwrap();
    assert_eq!(operations::getattr(&user.vfs, ino).await.unwrap().size, 1);
    assert_eq!(user.cat("e/d/a").await.unwrap(), b"1");
    assert_eq!(user.ino("e/d/a").await, ino);
}

#[tokio::test]
async fn a_file_replaces_a_file_in_one_round_trip() {
    let user = User::new();
    user.save("a", b"new").await.unwrap();
    user.save("b", b"old").await.unwrap();
    let old = user.ino("b").await;
    user.share.forget_log();
    user.mv("a", "b").await.unwrap();
    assert_eq!(user.share.total(), 1);
    assert_eq!(user.cat("b").await.unwrap(), b"new");
    assert_eq!(user.share.names(""), ["b"]);
    assert_eq!(errno(operations::open(&user.vfs, old, libc::O_RDONLY).await), libc::ESTALE);
}

#[tokio::test]
async fn a_replaced_file_can_be_used_until_it_is_closed() {
    let user = User::new();
    user.save("a", b"new").await.unwrap();
    user.save("b", b"old").await.unwrap();
    let opened = user.open("b", libc::O_RDWR).await.unwrap();
    user.mv("a", "b").await.unwrap();
    assert_eq!(user.read(opened, 0, 5).await.unwrap(), b"old");
    user.write(opened, 0, b"OLD").await.unwrap();
    assert_eq!(user.cat("b").await.unwrap(), b"new");
    assert_eq!(user.ls("").await.unwrap(), ["b"]);
    user.close(opened).await;
    assert_eq!(user.share.names(""), ["b"]);
    assert_eq!(user.cat("b").await.unwrap(), b"new");
}

#[tokio::test]
async fn an_open_file_that_cannot_be_replaced_keeps_its_name() {
    let user = User::new();
    user.save("a", b"new").await.unwrap();
    user.save("b", b"old").await.unwrap();
    let opened = user.open("b", libc::O_RDONLY).await.unwrap();
    user.share.refuse("REPLACE", 1, NtStatus::DISK_FULL);
    assert_eq!(errno(user.mv("a", "b").await), libc::ENOSPC);
    assert_eq!(user.share.names(""), ["a", "b"]);
    user.close(opened).await;
    assert_eq!(user.cat("b").await.unwrap(), b"old");
    assert_eq!(user.cat("a").await.unwrap(), b"new");
}

#[tokio::test]
async fn a_read_only_file_is_replaced() {
    let user = User::new();
    user.save("a", b"new").await.unwrap();
    user.share.put("b", b"old");
    user.share.mark("b", Attributes::READONLY);
    user.mv("a", "b").await.unwrap();
    assert_eq!(user.cat("b").await.unwrap(), b"new");
}

#[tokio::test]
async fn an_open_file_can_be_renamed_and_used() {
    let user = User::new();
    let (_, opened) = user.create("a", libc::O_RDWR).await.unwrap();
    user.mv("a", "b").await.unwrap();
    user.write(opened, 0, b"1").await.unwrap();
    assert_eq!(user.share.data("b").unwrap(), b"1");
}

#[tokio::test]
async fn rename_noreplace_replaces_no_file_and_no_directory() {
    let user = User::new();
    user.save("a", b"1").await.unwrap();
    user.save("b", b"2").await.unwrap();
    assert_eq!(errno(user.rename("a", "b", libc::RENAME_NOREPLACE).await), libc::EEXIST);
    assert_eq!(user.share.data("b").unwrap(), b"2");
    user.rename("a", "c", libc::RENAME_NOREPLACE).await.unwrap();
    user.mkdir("d").await.unwrap();
    user.mkdir("e").await.unwrap();
    assert_eq!(errno(user.rename("d", "e", libc::RENAME_NOREPLACE).await), libc::EEXIST);
    assert_eq!(errno(user.rename("c", "c", libc::RENAME_NOREPLACE).await), libc::EEXIST);
}

#[tokio::test]
async fn names_cannot_be_exchanged() {
    let user = User::new();
    assert_eq!(errno(user.rename("a", "b", libc::RENAME_EXCHANGE).await), libc::EINVAL);
}

#[tokio::test]
async fn a_rename_of_a_file_onto_itself_changes_nothing() {
    let user = User::new();
    user.save("a", b"1").await.unwrap();
    user.mv("a", "a").await.unwrap();
    assert_eq!(user.share.data("a").unwrap(), b"1");
}

#[tokio::test]
async fn files_and_directories_do_not_replace_each_other() {
    let user = User::new();
    user.save("a", b"1").await.unwrap();
    user.mkdir("d").await.unwrap();
    assert_eq!(errno(user.mv("a", "d").await), libc::EISDIR);
    assert_eq!(errno(user.mv("d", "a").await), libc::ENOTDIR);
    assert_eq!(user.share.names(""), ["a", "d"]);
}

#[tokio::test]
async fn a_directory_replaces_an_empty_one_only() {
    let user = User::new();
    user.mkdir("d").await.unwrap();
    user.save("d/a", b"1").await.unwrap();
    user.mkdir("empty").await.unwrap();
    user.mkdir("full").await.unwrap();
    user.save("full/b", b"2").await.unwrap();
    assert_eq!(errno(user.mv("d", "full").await), libc::ENOTEMPTY);
    user.mv("d", "empty").await.unwrap();
    assert_eq!(user.cat("empty/a").await.unwrap(), b"1");
    assert_eq!(user.ls("").await.unwrap(), ["empty", "full"]);
}

#[tokio::test]
async fn a_directory_cannot_be_moved_into_itself() {
    let user = User::new();
    user.mkdir("d").await.unwrap();
    user.mkdir("d/e").await.unwrap();
    assert_eq!(errno(user.mv("d", "d/e/f").await), libc::EINVAL);
}

#[tokio::test]
async fn the_case_of_a_name_can_be_changed_on_a_server_that_ignores_it() {
    let user = User::behaving(Behaviour { ignores_case: true, ..Behaviour::default() });
    user.save("readme", b"1").await.unwrap();
    // The kernel has looked up both names before the rename.
    user.ino("readme").await;
    user.ino("README").await;
    user.mv("readme", "README").await.unwrap();
    assert_eq!(user.ls("").await.unwrap(), ["README"]);
    assert_eq!(user.cat("README").await.unwrap(), b"1");
    let opened = user.open("README", libc::O_RDONLY).await.unwrap();
    user.mv("README", "Readme").await.unwrap();
    assert_eq!(user.share.names(""), ["Readme"]);
    assert_eq!(user.read(opened, 0, 1).await.unwrap(), b"1");
}

#[tokio::test]
async fn names_that_differ_in_case_are_two_files_on_a_case_sensitive_server() {
    let user = User::new();
    user.save("a", b"1").await.unwrap();
    user.save("A", b"2").await.unwrap();
    user.mv("a", "A").await.unwrap();
    assert_eq!(user.share.names(""), ["A"]);
    assert_eq!(user.cat("A").await.unwrap(), b"1");
}

#[tokio::test]
async fn a_missing_file_cannot_be_renamed() {
    let user = User::new();
    assert_eq!(errno(user.mv("a", "b").await), libc::ENOENT);
}

#[tokio::test]
async fn a_directory_can_be_renamed_right_after_its_files_were_closed() {
    let user = User::new();
    user.mkdir("d").await.unwrap();
    let (_, opened) = user.create("d/a", libc::O_RDWR).await.unwrap();
    user.mv("d", "c").await.unwrap();
    let gate = user.share.hold("CLOSE");
    let closing = tokio::spawn(operations::release(&user.vfs, opened.handle));
    gate.reached().await;
    let vfs = Arc::clone(&user.vfs);
    let moving =
        tokio::spawn(async move { operations::rename(&vfs, ROOT, OsStr::new("c"), ROOT, OsStr::new("e"), 0).await });
    tokio::task::yield_now().await;
    gate.open();
    moving.await.unwrap().unwrap();
    closing.await.unwrap();
    assert_eq!(user.share.names("e"), ["a"]);
}

#[tokio::test]
async fn a_rename_moves_the_change_time_at_once() {
    let user = User::new();
    user.share.put("a", b"1");
    let before = user.look("a").await.unwrap();
    user.mv("a", "b").await.unwrap();
    let shown = user.vfs.names.attr(before.ino).unwrap();
    assert!(shown.changed > before.changed && shown.modified == before.modified, "{shown:?}");
    assert!(operations::getattr(&user.vfs, before.ino).await.unwrap().changed >= shown.changed);
}

#[tokio::test]
async fn a_directory_that_the_server_does_not_rename_is_renamed_while_its_open_files_are_put_aside() {
    let user = User::new();
    user.mkdir("d").await.unwrap();
    user.save("d/a", b"one").await.unwrap();
    let opened = user.open("d/a", libc::O_RDWR).await.unwrap();
    user.mv("d", "e").await.unwrap();
    assert_eq!((user.share.count("RENAME"), user.share.count("RENAME_AROUND")), (1, 1));
    user.write(opened, 0, b"two").await.unwrap();
    assert_eq!(user.share.data("e/a").unwrap(), b"two", "it is written through");
    assert_eq!(user.read(opened, 0, 9).await.unwrap(), b"two");
    user.close(opened).await;
}

#[tokio::test]
async fn a_directory_in_which_nothing_is_open_here_is_busy_if_the_server_does_not_rename_it() {
    let user = User::new();
    user.mkdir("d").await.unwrap();
    user.share.refuse("RENAME", 1, NtStatus::ACCESS_DENIED);
    assert_eq!(errno(user.mv("d", "e").await), libc::EBUSY);
    assert_eq!(user.share.count("RENAME_AROUND"), 0);
    user.mv("d", "e").await.unwrap();
}
