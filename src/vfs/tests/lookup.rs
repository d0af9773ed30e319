//! Looking names up, and the inode numbers and attributes that they get.

use super::*;
use crate::share::memory::Ids;
use crate::share::{FileKind, FileTime};
use crate::wire::NtStatus;

#[tokio::test]
async fn a_file_is_found_with_its_attributes_in_one_round_trip() {
    let user = User::new();
    user.share.put("a", b"12345");
    let attr = operations::lookup(&user.vfs, ROOT, OsStr::new("a")).await.unwrap();
    assert_eq!((attr.kind, attr.size, attr.permissions, attr.uid, attr.gid), (FileKind::File, 5, 0o644, 1000, 100));
    assert_eq!(attr.modified, user.share.look("a").unwrap().modified);
    assert_eq!(user.share.log(), [("STAT", "\\a".to_owned())]);
}

#[tokio::test]
async fn a_name_that_does_not_exist_is_enoent() {
    let user = User::new();
    user.share.put("a", b"");
    assert_eq!(errno(user.look("b").await), libc::ENOENT);
    // A name that the server refuses as invalid has no entry either.
    user.share.refuse("STAT", 1, NtStatus::OBJECT_NAME_INVALID);
    assert_eq!(errno(user.look("a").await), libc::ENOENT);
}

#[tokio::test]
async fn the_mount_can_show_a_folder_of_the_share() {
    let share = MemoryShare::new();
    share.put_directory("films");
    share.put("films/a", b"1");
    let vfs = Arc::new(Vfs::new(Arc::clone(&share), options(), RemotePath::parse("films")));
    let user = User { share, vfs };
    assert_eq!(user.cat("a").await.unwrap(), b"1");
    user.save("b", b"2").await.unwrap();
    assert_eq!(user.share.data("films/b").unwrap(), b"2");
}

#[tokio::test]
async fn the_inode_number_is_the_servers_file_id_and_does_not_change() {
    let user = User::new();
    user.share.put("a", b"");
    let id = user.share.look("a").unwrap().file_id;
    assert_eq!(user.ino("a").await, id);
    assert_eq!(user.ino("a").await, id);
}

#[tokio::test]
async fn without_file_ids_from_the_server_files_get_inode_numbers_of_the_mount() {
    let user = User::behaving(Behaviour { ids: Ids::None, ..Behaviour::default() });
    user.share.put("a", b"1");
    user.share.put("b", b"2");
    let (a, b) = (user.ino("a").await, user.ino("b").await);
    assert!(a != b && a > 1 << 62 && b > 1 << 62);
    assert_eq!(user.ino("a").await, a);
    assert_eq!(user.cat("b").await.unwrap(), b"2");
}

#[tokio::test]
async fn a_server_whose_file_ids_always_change_can_be_used() {
    let user = User::behaving(Behaviour { ids: Ids::Unstable, ..Behaviour::default() });
    user.share.put("a", b"1");
    let ino = user.ino("a").await;
    assert_eq!(user.ino("a").await, ino);
    assert_eq!(user.cat("a").await.unwrap(), b"1");
    user.save("a", b"22").await.unwrap();
    assert_eq!(user.cat("a").await.unwrap(), b"22");
}

#[tokio::test]
async fn a_file_that_another_client_replaced_is_another_inode() {
    let user = User::new();
    user.share.put("a", b"old");
    let old = user.ino("a").await;
    user.share.remove_as_other_client_at_once("a");
    user.share.put("a", b"new");
    let new = user.look("a").await.unwrap();
    assert_ne!(new.ino, old);
    assert_eq!(errno(operations::open(&user.vfs, old, libc::O_RDONLY).await), libc::ESTALE);
    assert_eq!(user.cat("a").await.unwrap(), b"new");
}

#[tokio::test]
async fn a_file_with_two_names_is_two_inodes() {
    let user = User::behaving(Behaviour { ignores_case: true, ..Behaviour::default() });
    user.share.put("Readme", b"1");
    let (one, other) = (user.ino("Readme").await, user.ino("README").await);
    assert_ne!(one, other);
    assert_eq!(user.cat("README").await.unwrap(), b"1");
}

#[tokio::test]
async fn forgotten_inodes_leave_the_table() {
    let user = User::new();
    user.share.put_directory("d");
    user.share.put("d/a", b"");
    let (d, a) = (user.ino("d").await, user.ino("d/a").await);
    let known = || user.vfs.names.len();
    assert_eq!(known(), 3);
    // The kernel may forget a directory before the files in it.
    operations::forget(&user.vfs, d, 2);
    assert_eq!(known(), 3);
    operations::forget(&user.vfs, a, 1);
    assert_eq!(known(), 1);
}

#[tokio::test]
async fn reserved_characters_can_be_used() {
    let user = User::new();
    user.save("12:30 <what?>.", b"x").await.unwrap();
    assert_eq!(user.share.names(""), ["12\u{F022}30 \u{F023}what\u{F025}\u{F024}\u{F029}"]);
    assert_eq!(user.ls("").await.unwrap(), ["12:30 <what?>."]);
    assert_eq!(user.cat("12:30 <what?>.").await.unwrap(), b"x");
}

#[tokio::test]
async fn impossible_names_are_refused_without_asking() {
    let user = User::new();
    assert_eq!(errno(user.look(&"x".repeat(256)).await), libc::ENAMETOOLONG);
    assert_eq!(user.share.total(), 0);
}

#[tokio::test]
async fn an_answer_from_before_a_rename_does_not_undo_it() {
    let user = User::new();
    user.share.put("old", b"1");
    let ino = user.ino("old").await;
    let gate = user.share.hold_answer("STAT");
    let vfs = Arc::clone(&user.vfs);
    let lookup = tokio::spawn(async move { operations::lookup(&vfs, ROOT, OsStr::new("new")).await });
    gate.reached().await;
    // The server has answered that there is no "new". Now there is one.
    operations::rename(&user.vfs, ROOT, OsStr::new("old"), ROOT, OsStr::new("new"), 0).await.unwrap();
    gate.open();
    assert_eq!(errno(lookup.await.unwrap()), libc::ENOENT);
    assert_eq!(operations::getattr(&user.vfs, ino).await.unwrap().size, 1);
    assert_eq!(user.ino("new").await, ino);
}

#[tokio::test]
async fn attributes_are_not_fetched_again_within_the_timeout() {
    let user = User::new();
    user.share.put("a", b"1");
    let ino = user.ino("a").await;
    user.share.forget_log();
    assert!(operations::known_attributes(&user.vfs, ino).unwrap().ttl > Duration::ZERO);
    operations::getattr(&user.vfs, ino).await.unwrap();
    assert_eq!(user.share.total(), 0);
}

#[tokio::test]
async fn attributes_are_fetched_again_after_the_timeout() {
    let user = User::with_zero_timeout();
    user.share.put("a", b"1");
    let ino = user.ino("a").await;
    user.share.put("a", b"333");
    assert_eq!(operations::known_attributes(&user.vfs, ino), None);
    assert_eq!(operations::getattr(&user.vfs, ino).await.unwrap().size, 3);
}

#[tokio::test]
async fn the_root_has_attributes() {
    let user = User::new();
    let attr = operations::getattr(&user.vfs, ROOT).await.unwrap();
    assert_eq!((attr.ino, attr.kind, attr.permissions, attr.links), (ROOT, FileKind::Directory, 0o755, 1));
    assert!(attr.created > FileTime(0));
}

/// Samba denies a name for a moment while its file is being replaced.
#[tokio::test]
async fn a_name_that_should_be_there_is_asked_for_again_when_the_server_denies_it() {
    let user = User::with_zero_timeout();
    user.share.put("a", b"1");
    let ino = user.ino("a").await;
    user.share.refuse("STAT", 1, NtStatus::OBJECT_NAME_NOT_FOUND);
    assert_eq!(user.ino("a").await, ino);
    user.share.refuse("STAT", 1, NtStatus::OBJECT_NAME_NOT_FOUND);
    user.share.refuse("STAT", 2, NtStatus::OBJECT_NAME_NOT_FOUND);
    assert_eq!(user.ino("a").await, ino);
    user.share.remove_as_other_client_at_once("a");
    user.share.forget_log();
    assert_eq!(errno(user.look("a").await), libc::ENOENT);
    assert_eq!(user.share.count("STAT"), 3, "a name that is gone is asked for three times");
    assert_eq!(errno(user.look("a").await), libc::ENOENT);
    assert_eq!(user.share.count("STAT"), 4, "and then once");
}

#[tokio::test]
async fn an_inode_that_was_deleted_on_the_server_is_gone() {
    let user = User::with_zero_timeout();
    user.share.put("a", b"1");
    let ino = user.ino("a").await;
    user.share.remove_as_other_client_at_once("a");
    assert_eq!(
        errno(operations::getattr(&user.vfs, ino).await),
        libc::ESTALE,
        "so that the kernel looks its name up again"
    );
    assert_eq!(errno(user.look("a").await), libc::ENOENT);
    assert_eq!(errno(operations::getattr(&user.vfs, ino).await), libc::ESTALE);
}

#[tokio::test]
async fn a_file_that_another_client_renamed_keeps_its_inode_and_its_handles() {
    let user = User::new();
    user.share.put("old", b"data");
    let opened = user.open("old", libc::O_RDWR).await.unwrap();
    let ino = user.look("old").await.unwrap().ino;
    user.share.rename_as_other_client("old", "new").await;
    assert_eq!(user.look("new").await.unwrap().ino, ino);
    assert_eq!(errno(user.look("old").await), libc::ENOENT);
    let set = SetAttr { mode: Some(0o444), ..SetAttr::default() };
    operations::setattr(&user.vfs, ino, &set).await.unwrap();
    user.write(opened, 0, b"DATA").await.unwrap();
    user.close(opened).await;
    assert_eq!(user.share.data("new").unwrap(), b"DATA");
}

#[tokio::test]
async fn two_names_of_one_file_are_one_inode() {
    let user = User::new();
    user.share.put("one", b"1");
    let one = user.look("one").await.unwrap();
    assert_eq!(one.links, 1);
    user.share.link_as_other_client("one", "two");
    let two = user.look("two").await.unwrap();
    assert_eq!((two.ino, two.links), (one.ino, 2));
    assert_eq!(user.look("one").await.unwrap().ino, one.ino);
}
