//! Owners and modes that programs set, and that the server does not keep.

use super::*;
use crate::config::ownership::Fixed;
use crate::config::{Keeping, OwnerSource};
use crate::share::Device;
use crate::share::{Attributes, Ownership};

fn with(owner: OwnerOptions) -> User {
    User::with(MemoryShare::new(), VfsOptions { owner, ..options() })
}

fn owner(uid: u32, gid: u32) -> SetAttr {
    SetAttr { uid: Some(uid), gid: Some(gid), ..SetAttr::default() }
}

fn mode(mode: u32) -> SetAttr {
    SetAttr { mode: Some(mode), ..SetAttr::default() }
}

/// Owner, group and mode.
fn shown(attr: &Attr) -> (u32, u32, u16) {
    (attr.uid, attr.gid, attr.permissions)
}

impl User {
    async fn set(&self, path: &str, set: &SetAttr) -> Attr {
        let ino = self.ino(path).await;
        operations::setattr(&self.vfs, ino, set).await.unwrap()
    }

    async fn shown(&self, path: &str) -> (u32, u32, u16) {
        shown(&self.look(path).await.unwrap())
    }
}

#[tokio::test]
async fn chown_and_chmod_are_shown_and_cost_no_request() {
    let user = User::new();
    user.share.put("a", b"x");
    let ino = user.ino("a").await;
    user.share.forget_log();
    let set = SetAttr { mode: Some(0o4751), ..owner(7, 8) };
    let before = operations::getattr(&user.vfs, ino).await.unwrap().changed;
    let after = operations::setattr(&user.vfs, ino, &set).await.unwrap();
    assert_eq!(shown(&after), (7, 8, 0o4751));
    assert!(after.changed > before, "ctime moves");
    assert_eq!(shown(&operations::getattr(&user.vfs, ino).await.unwrap()), (7, 8, 0o4751));
    assert_eq!(user.share.total(), 0);
}

#[tokio::test]
async fn what_was_set_outlives_the_inode_a_rename_and_what_other_clients_write() {
    let user = User::new();
    user.share.put("a", b"x");
    let ino = user.set("a", &owner(7, 8)).await.ino;
    operations::forget(&user.vfs, ino, 1000);
    assert!(user.vfs.names.file(ino).is_none(), "the kernel has forgotten the inode");
    assert_eq!(user.shown("a").await, (7, 8, 0o644));
    user.mv("a", "b").await.unwrap();
    user.share.put("b", b"longer");
    assert_eq!(user.shown("b").await, (7, 8, 0o644));
}

#[tokio::test]
async fn a_file_that_replaces_another_has_none_of_its_values() {
    let user = User::new();
    user.share.put("a", b"x");
    user.set("a", &owner(7, 8)).await;
    user.rm("a").await.unwrap();
    user.share.put("a", b"y");
    assert_eq!(user.shown("a").await, (1000, 100, 0o644));
    user.share.put("new", b"z");
    user.set("a", &owner(7, 8)).await;
    user.mv("new", "a").await.unwrap();
    assert_eq!(user.shown("a").await, (1000, 100, 0o644));
}

#[tokio::test]
async fn a_new_file_has_the_mode_and_the_owner_of_its_program() {
    let user = User::new();
    let maker = Maker { uid: 7, gid: 8, mode: 0o600 };
    let (attr, opened) = operations::create(&user.vfs, ROOT, OsStr::new("key"), maker, libc::O_RDWR).await.unwrap();
    assert_eq!(shown(&attr), (7, 8, 0o600));
    user.close(opened).await;
    let attr = operations::mkdir(&user.vfs, ROOT, OsStr::new("d"), Maker { mode: 0o700, ..maker }).await.unwrap();
    assert_eq!(shown(&attr), (7, 8, 0o700));
    // The file exists already: only a new one belongs to the program that asks for it.
    let other = Maker { uid: 9, gid: 9, mode: 0o644 };
    let (attr, opened) = operations::create(&user.vfs, ROOT, OsStr::new("key"), other, libc::O_RDWR).await.unwrap();
    assert_eq!(shown(&attr), (7, 8, 0o600));
    user.close(opened).await;
}

#[tokio::test]
async fn a_directory_with_the_set_group_id_bit_hands_its_group_down() {
    let user = User::new();
    user.mkdir("team").await.unwrap();
    user.set("team", &SetAttr { gid: Some(50), mode: Some(0o2775), ..SetAttr::default() }).await;
    let team = user.ino("team").await;
    let attr = operations::mkdir(&user.vfs, team, OsStr::new("sub"), by(0o755)).await.unwrap();
    assert_eq!(shown(&attr), (1000, 50, 0o2755));
    let attr = operations::mknod(&user.vfs, attr.ino, OsStr::new("file"), by(0o640), Device::default()).await.unwrap();
    assert_eq!(shown(&attr), (1000, 50, 0o640));
}

#[tokio::test]
async fn new_files_have_what_was_set_for_the_mount() {
    let fixed = Fixed { uid: true, gid: true, file_mode: true, dir_mode: true };
    let user = with(OwnerOptions { fixed, ..OwnerOptions::default() });
    let maker = Maker { uid: 0, gid: 0, mode: 0o600 };
    let attr = operations::mknod(&user.vfs, ROOT, OsStr::new("a"), maker, Device::default()).await.unwrap();
    assert_eq!(shown(&attr), (1000, 100, 0o644));
    assert_eq!(shown(&user.set("a", &mode(0o600)).await), (1000, 100, 0o600), "chmod(2) is another matter");
}

#[tokio::test]
async fn a_mode_that_is_only_remembered_is_not_sent() {
    let user = with(OwnerOptions { chmod: Keeping::Remember, ..OwnerOptions::default() });
    user.share.put("a", b"x");
    let ino = user.ino("a").await;
    user.share.forget_log();
    assert_eq!(operations::setattr(&user.vfs, ino, &mode(0o400)).await.unwrap().permissions, 0o400);
    assert_eq!(user.share.total(), 0);
    assert!(!user.share.look("a").unwrap().attributes.has(Attributes::READONLY));
}

#[tokio::test]
async fn ignored_changes_succeed_without_effect() {
    let user = with(OwnerOptions { chmod: Keeping::Ignore, chown: Keeping::Ignore, ..OwnerOptions::default() });
    user.share.put("a", b"x");
    let set = SetAttr { mode: Some(0o400), ..owner(7, 8) };
    assert_eq!(shown(&user.set("a", &set).await), (1000, 100, 0o644));
    assert!(!user.share.look("a").unwrap().attributes.has(Attributes::READONLY));
}

#[tokio::test]
async fn denied_changes_fail_unless_they_change_nothing() {
    let user = with(OwnerOptions { chmod: Keeping::Deny, chown: Keeping::Deny, ..OwnerOptions::default() });
    user.share.put("a", b"x");
    let ino = user.ino("a").await;
    for set in [mode(0o600), owner(7, 100), owner(1000, 8)] {
        assert_eq!(errno(operations::setattr(&user.vfs, ino, &set).await), libc::EPERM);
    }
    let same = SetAttr { mode: Some(0o644), ..owner(1000, 100) };
    assert_eq!(shown(&operations::setattr(&user.vfs, ino, &same).await.unwrap()), (1000, 100, 0o644));
}

#[tokio::test]
async fn a_write_bit_that_another_client_sets_or_clears_is_shown() {
    let user = User::with_zero_timeout();
    user.share.put("a", b"x");
    assert_eq!(user.set("a", &mode(0o440)).await.permissions, 0o440);
    user.share.mark("a", Attributes::ARCHIVE);
    assert_eq!(user.shown("a").await.2, 0o640);
    user.set("a", &mode(0o660)).await;
    user.share.mark("a", Attributes::READONLY);
    assert_eq!(user.shown("a").await.2, 0o440);
}

#[tokio::test]
async fn owner_and_mode_of_a_dirty_file_are_shown_at_once() {
    let user = User::on(MemoryShare::with(Behaviour { leases: true, ..Behaviour::default() }));
    let (attr, opened) = user.create("a", libc::O_WRONLY).await.unwrap();
    user.write(opened, 0, b"dirty").await.unwrap();
    user.share.forget_log();
    let set = SetAttr { mode: Some(0o4711), ..owner(7, 8) };
    assert_eq!(shown(&operations::setattr(&user.vfs, attr.ino, &set).await.unwrap()), (7, 8, 0o4711));
    assert_eq!(user.share.total(), 0, "the data stays dirty");
    user.close(opened).await;
    assert_eq!(user.shown("a").await, (7, 8, 0o4711));
}

/// A change that clears set-id bits.
fn killing(set: SetAttr) -> SetAttr {
    SetAttr { kills_set_id: true, ..set }
}

#[tokio::test]
async fn changes_of_the_owner_and_sizes_set_by_users_clear_set_id_bits() {
    let user = User::new();
    user.share.put("a", b"x");
    let size = |size| SetAttr { size: Some(size), ..SetAttr::default() };
    for (kept, left) in [(0o6755, 0o755), (0o2745, 0o2745), (0o1777, 0o1777)] {
        for set in [killing(owner(7, 8)), killing(size(0)), killing(size(5))] {
            user.set("a", &mode(kept)).await;
            assert_eq!(user.set("a", &size(3)).await.permissions, kept as u16, "a size that root sets");
            assert_eq!(user.set("a", &set).await.permissions, left, "{kept:o}: {set:?}");
            assert_eq!(user.shown("a").await.2, left);
        }
    }
    user.mkdir("d").await.unwrap();
    user.set("d", &mode(0o2775)).await;
    assert_eq!(shown(&user.set("d", &killing(owner(7, 8))).await), (7, 8, 0o2775), "a directory");
}

#[tokio::test]
async fn a_change_of_the_owner_that_is_denied_clears_no_bits() {
    let user = with(OwnerOptions { chown: Keeping::Deny, ..OwnerOptions::default() });
    user.share.put("a", b"x");
    let ino = user.set("a", &mode(0o4755)).await.ino;
    assert_eq!(errno(operations::setattr(&user.vfs, ino, &killing(owner(7, 8))).await), libc::EPERM);
    assert_eq!(user.shown("a").await.2, 0o4755);
}

#[tokio::test]
async fn a_file_that_is_truncated_where_it_was_to_be_made_loses_set_id_bits() {
    let user = User::new();
    let flags = libc::O_CREAT | libc::O_TRUNC | libc::O_WRONLY;
    for (uid, left) in [(0, 0o4755), (7, 0o755)] {
        user.share.put("a", b"x");
        user.set("a", &mode(0o4755)).await;
        let maker = Maker { uid, ..by(0o644) };
        let (attr, opened) = operations::create(&user.vfs, ROOT, OsStr::new("a"), maker, flags).await.unwrap();
        assert_eq!(attr.permissions, left, "{uid}");
        user.close(opened).await;
    }
    let (attr, opened) = operations::create(&user.vfs, ROOT, OsStr::new("new"), by(0o4755), flags).await.unwrap();
    assert_eq!(attr.permissions, 0o4755, "a new file has the mode that its program asks for");
    user.close(opened).await;
}

/// A user whose mount shows what the server has.
fn of_server(keeps_owners: bool) -> User {
    let share = MemoryShare::with(Behaviour { keeps_owners, ..Behaviour::default() });
    let owner = OwnerOptions { source: OwnerSource::Server, ..OwnerOptions::default() };
    User::with(share, VfsOptions { owner, ..options() })
}

#[tokio::test]
async fn the_servers_owner_and_mode_are_fetched_with_the_attributes() {
    let user = of_server(true);
    user.share.put("a", b"x");
    user.share.set_owner("a", Ownership { uid: Some(7), gid: None, mode: Some(0o640) });
    user.ls("").await.unwrap();
    user.share.forget_log();
    assert_eq!(user.shown("a").await, (7, 100, 0o640), "a listing does not have them");
    assert_eq!(user.share.total(), 1);
    let ino = user.share.look("a").unwrap().file_id;
    assert_eq!(shown(&operations::getattr(&user.vfs, ino).await.unwrap()), (7, 100, 0o640));
    assert_eq!(user.share.total(), 1, "they are cached as other attributes are");
}

#[tokio::test]
async fn what_the_server_keeps_is_stored_there() {
    let user = of_server(true);
    user.share.put("a", b"x");
    let ino = user.ino("a").await;
    user.share.forget_log();
    let set = SetAttr { mode: Some(0o4400), ..owner(7, 8) };
    assert_eq!(shown(&operations::setattr(&user.vfs, ino, &set).await.unwrap()), (7, 8, 0o4400));
    let kept = Ownership { uid: Some(7), gid: Some(8), mode: Some(0o4400) };
    assert_eq!((user.share.owner_of("a"), user.share.count("SET_OWNER")), (kept, 1));
    assert!(!user.share.look("a").unwrap().attributes.has(Attributes::READONLY), "the mode says it");
}

#[tokio::test]
async fn set_id_bits_that_a_change_of_the_owner_clears_are_cleared_at_the_server() {
    let user = of_server(true);
    user.share.put("a", b"x");
    user.set("a", &mode(0o4755)).await;
    assert_eq!(user.share.owner_of("a").mode, Some(0o4755));
    assert_eq!(shown(&user.set("a", &killing(owner(7, 8))).await), (7, 8, 0o755));
    assert_eq!(user.share.owner_of("a"), Ownership { uid: Some(7), gid: Some(8), mode: Some(0o755) });
}

#[tokio::test]
async fn what_the_server_does_not_keep_is_remembered() {
    let user = of_server(false);
    user.share.put("a", b"x");
    let set = SetAttr { mode: Some(0o440), ..owner(7, 8) };
    assert_eq!(shown(&user.set("a", &set).await), (7, 8, 0o440));
    assert_eq!(user.share.owner_of("a"), Ownership::NOTHING);
    assert!(user.share.look("a").unwrap().attributes.has(Attributes::READONLY));
}

#[tokio::test]
async fn a_new_file_has_its_mode_at_the_server_and_the_servers_owner_there() {
    let user = of_server(true);
    let maker = Maker { uid: 7, gid: 8, mode: 0o600 };
    let attr = operations::mknod(&user.vfs, ROOT, OsStr::new("key"), maker, Device::default()).await.unwrap();
    assert_eq!(shown(&attr), (7, 8, 0o600));
    assert_eq!(user.share.owner_of("key"), Ownership { mode: Some(0o600), ..Ownership::NOTHING });
    // The value that is shown already is not at the server yet.
    user.set("key", &owner(7, 8)).await;
    assert_eq!(user.share.owner_of("key").uid, Some(7));
}
