//! Symbolic links, fifos, sockets and devices.

use super::*;
use crate::share::error::{Cause, TooLong};
use crate::share::{Device, FileKind, NewSpecial, Special};
use crate::wire::NtStatus;

const DEVICE: Device = Device { major: 1, minor: 3 };

async fn symlink(user: &User, path: &str, target: &[u8]) -> Result<Attr> {
    let (parent, name) = user.split(path).await;
    operations::symlink(&user.vfs, parent, name, target, by(0o777)).await
}

async fn readlink(user: &User, path: &str) -> Vec<u8> {
    operations::readlink(&user.vfs, user.ino(path).await).await.unwrap().to_vec()
}

#[tokio::test]
async fn a_link_has_a_target_and_its_length() {
    let user = User::new();
    let attr = symlink(&user, "link", b"some/where").await.unwrap();
    assert_eq!((attr.kind, attr.size, attr.permissions), (FileKind::Symlink, 10, 0o777));
    assert_eq!(readlink(&user, "link").await, b"some/where");
    assert_eq!(errno(symlink(&user, "link", b"again").await), libc::EEXIST);
}

#[tokio::test]
async fn the_target_of_a_known_link_needs_no_request() {
    let user = User::new();
    user.share.make_as_other_client("link", NewSpecial::Symlink(b"target"));
    let ino = user.ino("link").await;
    let before = user.share.total();
    for _ in 0..3 {
        assert_eq!(operations::readlink(&user.vfs, ino).await.unwrap(), &b"target"[..]);
    }
    assert_eq!(user.share.total(), before);
}

#[tokio::test]
async fn a_target_that_another_client_has_replaced_is_not_shown() {
    let user = User::with_zero_timeout();
    user.share.make_as_other_client("link", NewSpecial::Symlink(b"old"));
    let old = user.ino("link").await;
    user.share.remove_as_other_client_at_once("link");
    user.share.make_as_other_client("link", NewSpecial::Symlink(b"new"));
    assert_eq!(errno(operations::readlink(&user.vfs, old).await), libc::ESTALE);
    assert_eq!(readlink(&user, "link").await, b"new");
}

#[tokio::test]
async fn a_file_that_becomes_a_link_is_another_inode() {
    let user = User::with_zero_timeout();
    user.share.put("name", b"data");
    let file = user.look("name").await.unwrap();
    user.share.remove_as_other_client_at_once("name");
    user.share.make_as_other_client("name", NewSpecial::Symlink(b"x"));
    let link = user.look("name").await.unwrap();
    assert_eq!((file.kind, link.kind), (FileKind::File, FileKind::Symlink));
    assert_ne!((file.ino, file.generation), (link.ino, link.generation));
    assert_eq!(errno(operations::open(&user.vfs, link.ino, libc::O_RDWR).await), libc::ELOOP);
}

#[tokio::test]
async fn targets_that_no_link_can_have_are_refused() {
    let user = User::new();
    assert_eq!(errno(symlink(&user, "a", b"").await), libc::EINVAL);
    assert_eq!(errno(symlink(&user, "a", b"x\0y").await), libc::EINVAL);
    user.share.fail("MAKE", 1, Cause::TooLong(TooLong::Path));
    assert_eq!(errno(symlink(&user, "a", b"x").await), libc::ENAMETOOLONG);
    assert_eq!(errno(user.look("a").await), libc::ENOENT);
}

#[tokio::test]
async fn a_share_without_links_says_that_they_are_not_permitted() {
    let user = User::new();
    user.share.fail("MAKE", 1, Cause::Unsupported(NtStatus::NOT_SUPPORTED));
    assert_eq!(errno(symlink(&user, "a", b"x").await), libc::EPERM);
    user.share.fail("MAKE", 1, Cause::Unsupported(NtStatus::NOT_SUPPORTED));
    let made = operations::mknod(&user.vfs, ROOT, OsStr::new("b"), by(libc::S_IFIFO), Device::default()).await;
    assert_eq!(errno(made), libc::EPERM);
    let user = User::with(MemoryShare::new(), VfsOptions { read_only: true, ..options() });
    assert_eq!(errno(symlink(&user, "a", b"x").await), libc::EROFS);
}

#[tokio::test]
async fn mknod_makes_fifos_sockets_and_devices() {
    let user = User::new();
    for (name, mode, kind) in [
        ("fifo", libc::S_IFIFO, FileKind::Fifo),
        ("socket", libc::S_IFSOCK, FileKind::Socket),
        ("null", libc::S_IFCHR, FileKind::CharDevice),
        ("disk", libc::S_IFBLK, FileKind::BlockDevice),
    ] {
        let made = operations::mknod(&user.vfs, ROOT, OsStr::new(name), by(mode | 0o644), DEVICE).await.unwrap();
        assert_eq!((made.kind, made.size), (kind, 0), "{name}");
        let is_device = matches!(kind, FileKind::CharDevice | FileKind::BlockDevice);
        assert_eq!(made.device, if is_device { DEVICE } else { Device::default() }, "{name}");
        let (parent, name) = user.split(name).await;
        operations::unlink(&user.vfs, parent, name).await.unwrap();
    }
}

#[tokio::test]
async fn listings_show_kinds_and_a_link_is_removed_and_renamed_itself() {
    let user = User::new();
    user.share.put("target", b"data");
    user.share.make_as_other_client("link", NewSpecial::Symlink(b"target"));
    user.share.make_as_other_client("fifo", NewSpecial::Fifo);
    let mut kinds = Vec::new();
    let directory = operations::opendir(&user.vfs, ROOT);
    let mut add = |entry: Listed<'_>| {
        kinds.push((entry.name.to_string_lossy().into_owned(), entry.kind));
        false
    };
    operations::readdir(&user.vfs, directory, 2, true, &mut add).await.unwrap();
    kinds.sort_by(|one, other| one.0.cmp(&other.0));
    let expected = [("fifo", FileKind::Fifo), ("link", FileKind::Symlink), ("target", FileKind::File)];
    assert_eq!(kinds, expected.map(|(name, kind)| (name.to_owned(), kind)));
    operations::rename(&user.vfs, ROOT, OsStr::new("link"), ROOT, OsStr::new("moved"), 0).await.unwrap();
    assert_eq!(readlink(&user, "moved").await, b"target");
    operations::unlink(&user.vfs, ROOT, OsStr::new("moved")).await.unwrap();
    assert_eq!(user.look("target").await.unwrap().size, 4);
}

#[tokio::test]
async fn times_of_a_link_are_its_own() {
    let user = User::new();
    let link = symlink(&user, "link", b"nowhere").await.unwrap();
    let time = crate::share::FileTime::from_unix(1_000_000_000, 0);
    let set = SetAttr { modified: Some(SetTime::At(time)), ..SetAttr::default() };
    let shown = operations::setattr(&user.vfs, link.ino, &set).await.unwrap();
    assert_eq!((shown.modified, shown.kind, shown.size), (time, FileKind::Symlink, 7));
    assert_eq!(user.vfs.names.file(link.ino).unwrap().lock().metadata().special, Some(Special::Symlink { length: 7 }));
    assert_eq!(readlink(&user, "link").await, b"nowhere");
}
