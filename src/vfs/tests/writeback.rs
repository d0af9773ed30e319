//! Writes under a lease: held dirty at once, never lost, sent before another client sees the file.

use super::*;
use crate::share::error::Cause;
use crate::vfs::file::driver::LINGERS;
use crate::wire::NtStatus;
use std::time::Duration;

/// A user on a server that grants leases, with a task that handles breaks.
fn user() -> User {
    let user = User::behaving(Behaviour { leases: true, ..Behaviour::default() });
    tokio::spawn(handle_breaks(user.vfs.clone()));
    user
}

/// A write that is held dirty if the lease allows it; `None` if it must wait for the server.
fn take(user: &User, opened: Opened, offset: u64, data: &[u8]) -> Option<Result<u32>> {
    operations::write_now(&user.vfs, opened.handle, user.position(opened, offset), data)
}

/// A write that must be held dirty.
#[track_caller]
fn taken(user: &User, opened: Opened, offset: u64, data: &[u8]) {
    assert_eq!(take(user, opened, offset, data).expect("the lease allows it").unwrap() as usize, data.len());
}

#[tokio::test]
async fn under_a_lease_a_write_returns_at_once_and_close_sends_it_to_the_server() {
    let user = user();
    let (attr, opened) = user.create("a", libc::O_WRONLY).await.unwrap();
    taken(&user, opened, 0, b"hello ");
    taken(&user, opened, 6, b"world");
    assert_eq!(user.share.count("WRITE"), 0);
    assert_eq!(operations::known_attributes(&user.vfs, attr.ino).unwrap().size, 11);
    assert!(operations::flushed(&user.vfs, opened.handle).is_none());
    operations::flush(&user.vfs, opened.handle).await.unwrap();
    assert_eq!((user.share.data("a").unwrap().as_slice(), user.share.count("WRITE")), (b"hello world".as_slice(), 1));
    assert!(operations::flushed(&user.vfs, opened.handle).unwrap().is_ok(), "no dirty data is left");
    user.close(opened).await;
}

#[tokio::test]
async fn without_a_lease_no_write_is_held_dirty() {
    let user = User::new();
    let (_, opened) = user.create("a", libc::O_WRONLY).await.unwrap();
    assert!(take(&user, opened, 0, b"x").is_none());
}

#[tokio::test]
async fn writes_to_a_file_that_another_client_has_open_go_through() {
    let user = user();
    user.share.put("a", b"old");
    user.share.open_as_other_client("a").await;
    let opened = user.open("a", libc::O_RDWR).await.unwrap();
    assert!(take(&user, opened, 0, b"new").is_none());
    user.write(opened, 0, b"new").await.unwrap();
    assert_eq!(user.share.data("a").unwrap(), b"new");
}

#[tokio::test]
async fn writes_with_o_sync_o_dsync_or_o_direct_go_through() {
    let user = user();
    for (name, flag) in [("sync", libc::O_SYNC), ("dsync", libc::O_DSYNC), ("direct", libc::O_DIRECT)] {
        let (_, opened) = user.create(name, libc::O_WRONLY | flag).await.unwrap();
        assert!(take(&user, opened, 0, b"x").is_none(), "{name}");
        user.share.forget_log();
        user.write(opened, 0, b"x").await.unwrap();
        assert_eq!(user.share.count("FLUSH"), usize::from(flag != libc::O_DIRECT), "{name}");
    }
}

#[tokio::test]
async fn dirty_data_is_read_through_every_handle() {
    let user = user();
    user.share.put("a", b"0123456789");
    let (writer, reader) = (user.open("a", libc::O_RDWR).await.unwrap(), user.open("a", libc::O_RDONLY).await.unwrap());
    user.read(reader, 0, 10).await.unwrap();
    taken(&user, writer, 3, b"xyz");
    assert_eq!(user.cached(reader, 3, 3).unwrap(), "xyz");
    assert_eq!(user.cached(reader, 2, 3), None, "a part of it is not dirty");
    assert_eq!(user.read(reader, 0, 100).await.unwrap(), b"012xyz6789");
}

#[tokio::test]
async fn a_hole_before_dirty_data_reads_as_zeros() {
    let user = user();
    let (_, opened) = user.create("a", libc::O_RDWR).await.unwrap();
    taken(&user, opened, 200_000, b"end");
    assert_eq!(user.read(opened, 100_000, 4096).await.unwrap(), [0; 4096]);
    assert_eq!(user.read(opened, 199_999, 10).await.unwrap(), b"\0end");
}

#[tokio::test]
async fn appending_under_a_lease_does_not_ask_for_the_size() {
    let user = user();
    user.share.put("log", b"one\n");
    let opened = user.open("log", libc::O_WRONLY | libc::O_APPEND).await.unwrap();
    user.share.forget_log();
    taken(&user, opened, 0, b"two\n");
    taken(&user, opened, 0, b"three\n");
    assert_eq!(user.share.total(), 0);
    operations::flush(&user.vfs, opened.handle).await.unwrap();
    assert_eq!(user.share.data("log").unwrap(), b"one\ntwo\nthree\n");
}

#[tokio::test]
async fn dirty_data_is_sent_before_any_other_operation_on_the_file() {
    let user = user();
    let (attr, opened) = user.create("a", libc::O_RDWR).await.unwrap();
    let data = || user.share.data("a").unwrap();

    taken(&user, opened, 0, b"longer");
    operations::setattr(&user.vfs, attr.ino, &SetAttr { size: Some(3), ..SetAttr::default() }).await.unwrap();
    assert_eq!(data(), b"lon");

    taken(&user, opened, 3, b"ely");
    let again = user.open("a", libc::O_RDONLY).await.unwrap();
    assert_eq!(data(), b"lonely");
    assert_eq!(operations::getattr(&user.vfs, attr.ino).await.unwrap().size, 6);

    taken(&user, opened, 6, b"!");
    operations::fsync(&user.vfs, again.handle).await.unwrap();
    assert_eq!(data(), b"lonely!");

    taken(&user, opened, 7, b"!");
    user.mv("a", "b").await.unwrap();
    assert_eq!(user.share.data("b").unwrap(), b"lonely!!");

    // For the server, a rename by path comes from another client, and breaks the lease.
    assert!(take(&user, opened, 0, b"L").is_none());
    user.write(opened, 0, b"L").await.unwrap();
    user.close(opened).await;
    assert_eq!(user.share.data("b").unwrap(), b"Lonely!!");
    user.close(again).await;
}

#[tokio::test]
async fn a_truncating_open_is_not_undone_by_data_that_was_dirty_before() {
    let user = user();
    let (_, opened) = user.create("a", libc::O_WRONLY).await.unwrap();
    taken(&user, opened, 0, b"old and long");
    let again = user.open("a", libc::O_WRONLY | libc::O_TRUNC).await.unwrap();
    taken(&user, again, 0, b"new");
    user.close(opened).await;
    user.close(again).await;
    assert_eq!(user.share.data("a").unwrap(), b"new");
}

#[tokio::test]
async fn a_failed_write_is_reported_to_each_handle_that_was_open() {
    for (refusal, expected) in [
        (NtStatus::DISK_FULL, libc::ENOSPC),
        (NtStatus::QUOTA_EXCEEDED, libc::EDQUOT),
        (NtStatus::MEDIA_WRITE_PROTECTED, libc::EROFS),
    ] {
        a_failure_is_reported(refusal, expected).await;
    }
}

async fn a_failure_is_reported(refusal: NtStatus, expected: i32) {
    let user = user();
    let (_, one) = user.create("a", libc::O_WRONLY).await.unwrap();
    let two = user.open("a", libc::O_WRONLY).await.unwrap();
    user.share.fail("WRITE", 1, Cause::Status(refusal));
    taken(&user, one, 0, b"too much");
    assert_eq!(errno(operations::flush(&user.vfs, one.handle).await), expected);
    assert_eq!(errno(operations::flush(&user.vfs, one.handle).await), expected, "at each close");
    assert_eq!(errno(take(&user, two, 0, b"x").unwrap()), expected, "the next write of the other handle");
    taken(&user, two, 0, b"fits");
    assert_eq!(
        errno(operations::fsync(&user.vfs, two.handle).await),
        expected,
        "because the failed write may have been a part of a larger one"
    );
    operations::fsync(&user.vfs, two.handle).await.unwrap();
    operations::flush(&user.vfs, two.handle).await.unwrap();
    assert_eq!(user.share.data("a").unwrap(), b"fits");
    let size = operations::getattr(&user.vfs, user.ino("a").await).await.unwrap().size;
    assert_eq!(size, 4, "the failed write has changed no size");
}

#[tokio::test]
async fn another_client_that_opens_the_file_reads_everything_that_was_written() {
    let user = user();
    let (_, opened) = user.create("a", libc::O_RDWR).await.unwrap();
    taken(&user, opened, 0, b"written");
    let other_client = user.share.open_as_other_client("a").await;
    assert_eq!(user.share.data("a").unwrap(), b"written", "before the other client's open was answered");
    assert_eq!(user.share.unacknowledged(), 0);
    assert!(take(&user, opened, 0, b"WRITTEN").is_none(), "without a lease writes go through");
    user.write(opened, 0, b"WRITTEN").await.unwrap();
    assert_eq!(user.share.data("a").unwrap(), b"WRITTEN");
    user.share.close_other_client(other_client);
}

#[tokio::test]
async fn a_break_waits_for_data_that_is_on_its_way() {
    let user = user();
    let (_, opened) = user.create("a", libc::O_RDWR).await.unwrap();
    let gate = user.share.hold("WRITE");
    taken(&user, opened, 0, b"on its way");
    let flushing = operations::flush(&user.vfs, opened.handle);
    let others = async {
        gate.reached().await;
        let (share, open_gate) = (user.share.clone(), async {
            tokio::task::yield_now().await;
            assert_eq!(user.share.unacknowledged(), 1, "the data is not on the server yet");
            gate.open();
        });
        let _ = tokio::join!(share.open_as_other_client("a"), open_gate);
        assert_eq!(user.share.data("a").unwrap(), b"on its way");
    };
    let (flushed, ()) = tokio::join!(flushing, others);
    flushed.unwrap();
}

#[tokio::test]
async fn data_that_another_client_writes_after_a_break_is_read_at_once() {
    let user = user();
    user.share.put("a", b"old");
    let opened = user.open("a", libc::O_RDWR).await.unwrap();
    assert_eq!(user.read(opened, 0, 10).await.unwrap(), b"old");
    user.share.write_as_other_client("a", b"new and longer").await;
    // The server does not wait until cached data is dropped: the drop is under way.
    while user.share.unacknowledged() > 0
        || operations::known_attributes(&user.vfs, user.vfs.handles.file(opened.handle).unwrap().file.ino).is_some()
    {
        tokio::task::yield_now().await;
    }
    assert_eq!(user.cached(opened, 0, 3), None);
    assert_eq!(user.read(opened, 0, 20).await.unwrap(), b"new and longer");
}

#[tokio::test]
async fn under_a_lease_cached_data_is_used_without_revalidation() {
    let share = MemoryShare::with(Behaviour { leases: true, ..Behaviour::default() });
    let user = User::with(share, VfsOptions { attr_timeout: Duration::ZERO, ..options() });
    user.share.put("a", b"data");
    let opened = user.open("a", libc::O_RDONLY).await.unwrap();
    user.read(opened, 0, 10).await.unwrap();
    user.share.forget_log();
    assert_eq!(user.cached(opened, 0, 10).unwrap(), "data");
    assert_eq!(user.share.total(), 0);
}

#[tokio::test]
async fn after_a_lost_connection_dirty_data_is_sent_and_later_writes_go_through() {
    let user = user();
    let (_, opened) = user.create("a", libc::O_RDWR).await.unwrap();
    taken(&user, opened, 0, b"before");
    user.share.lose_leases();
    while user.vfs.handles.file(opened.handle).unwrap().file.lock().caching().writes() {
        tokio::task::yield_now().await;
    }
    assert!(take(&user, opened, 6, b" after").is_none());
    user.write(opened, 6, b" after").await.unwrap();
    assert_eq!(user.share.data("a").unwrap(), b"before after");
}

#[tokio::test(start_paused = true)]
async fn dirty_data_is_sent_even_if_no_program_waits_for_it() {
    let user = user();
    let (_, opened) = user.create("log", libc::O_WRONLY).await.unwrap();
    taken(&user, opened, 0, b"line\n");
    tokio::time::sleep(2 * LINGERS).await;
    assert_eq!(user.share.data("log").unwrap(), b"line\n");
}

#[tokio::test]
async fn a_thousand_breaks_lose_no_data() {
    let user = user();
    let (_, opened) = user.create("a", libc::O_RDWR).await.unwrap();
    for round in 0..1000u32 {
        let data = round.to_le_bytes();
        if take(&user, opened, 0, &data).is_none() {
            user.write(opened, 0, &data).await.unwrap();
        }
        let other_client = user.share.open_as_other_client("a").await;
        assert_eq!(user.share.data("a").unwrap(), data, "round {round}");
        user.share.close_other_client(other_client);
    }
    assert_eq!(user.share.unacknowledged(), 0);
}
