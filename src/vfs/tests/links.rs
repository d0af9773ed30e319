//! Files with several names.

use super::*;
use crate::wire::NtStatus;

impl User {
    async fn link(&self, from: &str, to: &str) -> Result<Attr> {
        let ino = self.look(from).await?.ino;
        let (parent, name) = self.split(to).await;
        operations::link(&self.vfs, ino, parent, name).await
    }

    async fn links(&self, path: &str) -> u32 {
        let ino = self.ino(path).await;
        operations::getattr(&self.vfs, ino).await.unwrap().links
    }
}

#[tokio::test]
async fn a_link_is_one_more_name_of_the_inode() {
    let user = User::new();
    user.save("a", b"1").await.unwrap();
    user.share.put_directory("d");
    let a = user.ino("a").await;
    user.ino("d").await;
    user.share.forget_log();
    let linked = user.link("a", "d/b").await.unwrap();
    assert_eq!((linked.ino, linked.links), (a, 2));
    let log = user.share.log();
    assert_eq!(
        log.iter().filter(|(operation, _)| *operation != "STAT").collect::<Vec<_>>(),
        [&("LINK", "\\a".to_owned())]
    );
    assert_eq!((user.ino("d/b").await, user.links("a").await), (a, 2));
    let opened = user.open("d/b", libc::O_RDWR).await.unwrap();
    user.write(opened, 0, b"2").await.unwrap();
    user.close(opened).await;
    assert_eq!(user.share.data("a").unwrap(), b"2");
}

#[tokio::test]
async fn a_file_lives_until_its_last_name_is_removed() {
    let user = User::new();
    user.save("a", b"1").await.unwrap();
    let a = user.link("a", "b").await.unwrap().ino;
    user.rm("a").await.unwrap();
    assert_eq!(errno(user.look("a").await), libc::ENOENT);
    assert_eq!((user.ino("b").await, user.links("b").await), (a, 1));
    user.rm("b").await.unwrap();
    assert_eq!(operations::getattr(&user.vfs, a).await.unwrap().links, 0);
    assert!(user.share.names("").is_empty());
}

#[tokio::test]
async fn an_open_file_keeps_its_other_names_when_one_is_removed() {
    for removed in ["a", "b"] {
        let user = User::new();
        user.save("a", b"1").await.unwrap();
        user.link("a", "b").await.unwrap();
        let left = if removed == "a" { "b" } else { "a" };
        let opened = user.open("a", libc::O_RDWR).await.unwrap();
        user.rm(removed).await.unwrap();
        assert_eq!(user.links(left).await, 1, "{removed} was removed");
        user.write(opened, 0, b"2").await.unwrap();
        user.close(opened).await;
        assert_eq!(user.share.data(left).unwrap(), b"2");
        assert_eq!(user.share.names(""), [left], "the hidden name is gone");
        assert_eq!(user.links(left).await, 1);
    }
}

#[tokio::test]
async fn a_rename_moves_one_name_and_replaces_one_name() {
    let user = User::new();
    user.save("a", b"1").await.unwrap();
    let a = user.link("a", "b").await.unwrap().ino;
    user.mv("b", "c").await.unwrap();
    assert_eq!((user.ino("a").await, user.ino("c").await), (a, a));
    assert_eq!(errno(user.look("b").await), libc::ENOENT);
    user.save("other", b"2").await.unwrap();
    user.mv("other", "a").await.unwrap();
    assert_ne!(user.ino("a").await, a);
    assert_eq!((user.ino("c").await, user.links("c").await), (a, 1));
    assert_eq!(user.share.data("c").unwrap(), b"1");
}

#[tokio::test]
async fn a_name_that_another_client_removed_does_not_hide_the_others() {
    let user = User::with_zero_timeout();
    user.save("a", b"1").await.unwrap();
    let a = user.link("a", "b").await.unwrap().ino;
    user.share.remove_as_other_client("a").await;
    assert_eq!(errno(user.look("a").await), libc::ENOENT);
    assert_eq!((user.ino("b").await, user.links("b").await), (a, 1));
    let opened = user.open("b", libc::O_RDONLY).await.unwrap();
    assert_eq!(user.read(opened, 0, 9).await.unwrap(), b"1");
}

#[tokio::test]
async fn names_of_one_file_in_a_listing_have_one_inode_and_its_number_of_links() {
    let user = User::new();
    user.share.put("a", b"1");
    user.share.put("alone", b"1");
    user.share.link_as_other_client("a", "b");
    user.ls("").await.unwrap();
    assert_eq!(user.ino("a").await, user.ino("b").await);
    assert_eq!((user.links("a").await, user.links("b").await, user.links("alone").await), (2, 2, 1));
}

/// Another client has put another file in the place of one of the names.
#[tokio::test]
async fn a_change_by_one_name_never_reaches_a_file_that_took_another_name() {
    for option in [LONG, Duration::ZERO] {
        let user =
            User::with(crate::share::memory::MemoryShare::new(), VfsOptions { attr_timeout: option, ..options() });
        user.save("p", b"shared").await.unwrap();
        let q = user.link("p", "q").await.unwrap().ino;
        user.share.remove_as_other_client_at_once("p");
        user.share.put("p", b"precious");
        let untouched = user.share.look("p").unwrap();
        let times = SetAttr { modified: Some(SetTime::At(crate::share::FileTime(7))), ..SetAttr::default() };
        operations::setattr(&user.vfs, q, &times).await.unwrap();
        operations::setattr(&user.vfs, q, &SetAttr { size: Some(3), ..SetAttr::default() }).await.unwrap();
        assert_eq!(user.share.data("q").unwrap(), b"sha");
        let opened = operations::open(&user.vfs, q, libc::O_WRONLY | libc::O_TRUNC).await.unwrap();
        assert_eq!(operations::getattr(&user.vfs, q).await.unwrap().size, 0);
        user.write(opened, 0, b"new").await.unwrap();
        user.close(opened).await;
        assert_eq!(user.share.data("q").unwrap(), b"new");
        assert_eq!((user.share.data("p").unwrap(), user.share.look("p").unwrap()), (b"precious".to_vec(), untouched));
    }
}

#[tokio::test]
async fn names_that_another_client_removed_are_passed_over() {
    let user = User::new();
    user.save("0", b"1").await.unwrap();
    for number in 1..10 {
        user.link("0", &number.to_string()).await.unwrap();
    }
    let ino = user.ino("9").await;
    (0..9).for_each(|number| user.share.remove_as_other_client_at_once(&number.to_string()));
    let opened = operations::open(&user.vfs, ino, libc::O_RDONLY).await.unwrap();
    assert_eq!(user.read(opened, 0, 9).await.unwrap(), b"1");
}

#[tokio::test]
async fn a_link_fails_with_the_right_error() {
    let user = User::new();
    user.save("a", b"1").await.unwrap();
    user.save("b", b"2").await.unwrap();
    user.share.put_directory("d");
    assert_eq!(errno(user.link("a", "b").await), libc::EEXIST);
    assert_eq!(errno(user.link("d", "e").await), libc::EPERM);
    for (status, expected) in [
        (NtStatus::TOO_MANY_LINKS, libc::EMLINK),
        (NtStatus::NOT_SUPPORTED, libc::EPERM),
        (NtStatus::ACCESS_DENIED, libc::EACCES),
        (NtStatus::DISK_FULL, libc::ENOSPC),
    ] {
        user.share.refuse("LINK", 1, status);
        assert_eq!(errno(user.link("a", "c").await), expected, "{status}");
        assert_eq!(errno(user.look("c").await), libc::ENOENT);
    }
}

#[tokio::test]
async fn a_copy_instead_of_a_link_is_removed() {
    let user = User::behaving(Behaviour { copies_links: true, ..Behaviour::default() });
    user.save("a", b"1").await.unwrap();
    assert_eq!(errno(user.link("a", "b").await), libc::EPERM);
    assert_eq!((user.share.names(""), user.share.data("a").unwrap()), (vec!["a".to_owned()], b"1".to_vec()));
    assert_eq!(user.links("a").await, 1);
}
