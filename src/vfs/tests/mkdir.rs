//! Making directories, and free space.

use super::*;
use crate::share::FileKind;

#[tokio::test]
async fn a_directory_is_made_in_one_round_trip_and_can_be_used() {
    let user = User::new();
    let attr = user.mkdir("d").await.unwrap();
    assert_eq!((attr.kind, attr.permissions, attr.links), (FileKind::Directory, 0o755, 1));
    assert_eq!(user.share.total(), 1);
    user.save("d/a", b"1").await.unwrap();
    assert_eq!(user.share.data("d/a").unwrap(), b"1");
}

#[tokio::test]
async fn mkdir_with_a_name_in_use_is_eexist() {
    let user = User::new();
    user.share.put("a", b"");
    assert_eq!(errno(user.mkdir("a").await), libc::EEXIST);
}

#[tokio::test]
async fn no_directory_is_made_on_a_read_only_mount() {
    let user = User::with(MemoryShare::new(), VfsOptions { read_only: true, ..options() });
    assert_eq!(errno(user.mkdir("d").await), libc::EROFS);
}

#[tokio::test]
async fn statfs_shows_the_free_space_of_the_server() {
    let user = User::new();
    let space = operations::statfs(&user.vfs, crate::vfs::ROOT).await.unwrap();
    assert_eq!((space.total, space.available, space.unit), (1 << 40, 1 << 38, 4096));
}

#[tokio::test]
async fn a_new_directory_shows_a_new_time_at_once_when_an_entry_is_made_in_it() {
    let user = User::new();
    user.ls("").await.unwrap();
    let made = user.mkdir("d").await.unwrap();
    user.save("d/a", b"1").await.unwrap();
    let file = operations::getattr(&user.vfs, made.ino).await.unwrap();
    assert!(file.modified > made.modified, "{file:?}");
    user.mkdir("d/b").await.unwrap();
    assert!(operations::getattr(&user.vfs, made.ino).await.unwrap().modified > file.modified);
}
