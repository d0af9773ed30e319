//! Reading files.

use super::*;
use crate::share::IoLimits;
use crate::share::error::Cause;
use crate::wire::NtStatus;

/// Data of 300,000 bytes in which neighbouring bytes differ.
fn pattern() -> Vec<u8> {
    (0..300_000u32).map(|at| (at % 251) as u8 ^ (at >> 12) as u8).collect()
}

#[tokio::test]
async fn any_range_reads_as_it_is_on_the_server() {
    let user = User::new();
    let data = pattern();
    user.share.put("a", &data);
    let opened = user.open("a", libc::O_RDONLY).await.unwrap();
    for (offset, length) in [(0, 10), (65_530, 20), (0, 300_000), (299_990, 100), (300_000, 10), (1 << 40, 10), (7, 0)]
    {
        let expected = data.iter().skip(offset).take(length).copied().collect::<Vec<_>>();
        assert_eq!(user.read(opened, offset as u64, length as u32).await.unwrap(), expected, "{length} at {offset}");
    }
}

#[tokio::test]
async fn a_range_that_was_read_once_is_answered_from_the_cache() {
    let user = User::new();
    user.share.put("a", &pattern());
    let opened = user.open("a", libc::O_RDONLY).await.unwrap();
    assert_eq!(user.cached(opened, 100_000, 4096), None);
    let read = user.read(opened, 100_000, 4096).await.unwrap();
    user.share.forget_log();
    assert_eq!(user.cached(opened, 100_000, 4096).unwrap(), read);
    assert_eq!(user.read(opened, 100_000, 4096).await.unwrap(), read);
    assert_eq!(user.share.total(), 0);
}

#[tokio::test]
async fn a_sequential_reader_causes_one_read_a_chunk() {
    let user = User::new();
    let data = pattern();
    user.share.put("a", &data);
    let opened = user.open("a", libc::O_RDONLY).await.unwrap();
    let mut got = Vec::new();
    while got.len() < data.len() {
        got.extend(user.read(opened, got.len() as u64, 16 * 1024).await.unwrap());
    }
    assert_eq!(got, data);
    // Five chunks of 64 KiB; the first is read in two parts.
    assert_eq!(user.share.count("READ"), 6);
}

#[tokio::test]
async fn a_direct_read_may_be_longer_than_one_read_of_the_server() {
    let user = User::new();
    let data = pattern();
    user.share.put("a", &data);
    let opened = user.open("a", libc::O_RDONLY | libc::O_DIRECT).await.unwrap();
    assert_eq!(user.read(opened, 1000, 400_000).await.unwrap(), &data[1000..]);
}

#[tokio::test]
async fn reads_beyond_4_gib_are_right() {
    let user = User::new();
    let (_, opened) = user.create("a", libc::O_RDWR).await.unwrap();
    let far = 5 << 30;
    user.write(opened, far, b"far").await.unwrap();
    assert_eq!(user.read(opened, far - 2, 10).await.unwrap(), b"\0\0far");
    assert_eq!(user.look("a").await.unwrap().size, far + 3);
}

#[tokio::test]
async fn a_failed_read_does_not_fail_the_next_one() {
    let user = User::new();
    user.share.put("a", b"12345");
    let opened = user.open("a", libc::O_RDONLY).await.unwrap();
    user.share.refuse("READ", 1, NtStatus::INSUFFICIENT_RESOURCES);
    assert_eq!(errno(user.read(opened, 0, 5).await), libc::ENOMEM);
    assert_eq!(user.read(opened, 0, 5).await.unwrap(), b"12345");
}

#[tokio::test]
async fn a_read_of_a_file_that_another_client_has_cut_ends_at_its_new_size() {
    let user = User::new();
    user.share.put("a", &[1; 100]);
    let opened = user.open("a", libc::O_RDONLY).await.unwrap();
    user.share.put("a", b"12345");
    assert_eq!(user.read(opened, 0, 100).await.unwrap(), b"12345");
    let ino = user.vfs.handles.file(opened.handle).unwrap().file.ino;
    assert_eq!(operations::getattr(&user.vfs, ino).await.unwrap().size, 5);
    assert_eq!(user.read(opened, 0, 100).await.unwrap(), b"12345");
}

#[tokio::test]
async fn the_cache_stays_within_its_budget() {
    let budget = 100_000;
    let share = MemoryShare::new();
    let data = pattern();
    share.put("a", &data);
    let user = User::with(share, VfsOptions { cache_size: budget, ..options() });
    for _ in 0..3 {
        let opened = user.open("a", libc::O_RDONLY).await.unwrap();
        assert_eq!(user.read(opened, 0, 300_000).await.unwrap(), data);
        assert!(user.vfs.cache.used() <= budget);
        user.close(opened).await;
    }
}

#[tokio::test]
async fn reads_are_right_without_a_cache_too() {
    let share =
        MemoryShare::with(Behaviour { limits: IoLimits { read: 10_000, write: 10_000 }, ..Behaviour::default() });
    let data = pattern();
    share.put("a", &data);
    let user = User::with(share, VfsOptions { cache_size: 0, ..options() });
    let opened = user.open("a", libc::O_RDONLY).await.unwrap();
    assert_eq!(user.read(opened, 5, 100_000).await.unwrap(), &data[5..100_005]);
    assert_eq!(user.vfs.cache.used(), 0);
}

#[tokio::test]
async fn a_read_reports_a_failure_of_the_share_and_the_handle_can_be_used_again() {
    let user = User::new();
    user.share.put("a", b"1");
    let opened = user.open("a", libc::O_RDONLY).await.unwrap();
    user.share.fail("READ", 1, Cause::Stale);
    assert_eq!(errno(user.read(opened, 0, 1).await), libc::ESTALE);
    user.share.fail("READ", 1, Cause::Malformed("too short".into()));
    assert_eq!(errno(user.read(opened, 0, 1).await), libc::EIO);
    assert_eq!(user.read(opened, 0, 1).await.unwrap(), b"1");
}

#[tokio::test]
async fn a_read_of_a_handle_that_is_not_open_is_ebadf() {
    let user = User::new();
    assert_eq!(errno(operations::begin_read(&user.vfs, 99, 0, 1).map(|_| ())), libc::EBADF);
}

#[tokio::test]
async fn a_read_does_not_join_one_that_was_answered_before_a_write_beyond_it() {
    let user = User::behaving(Behaviour { leases: true, ..Behaviour::default() });
    let (_, opened) = user.create("a", libc::O_RDWR).await.unwrap();
    user.write(opened, 200_000, b"data").await.unwrap();
    let gate = user.share.hold_answer("READ");
    // The server does not have the write yet: for the server the file is empty.
    let early = tokio::spawn({
        let (vfs, reading) =
            (Arc::clone(&user.vfs), operations::begin_read(&user.vfs, opened.handle, 100_000, 10).unwrap());
        async move { operations::finish_read(&vfs, reading).await }
    });
    gate.reached().await;
    operations::flush(&user.vfs, opened.handle).await.unwrap();
    let late = tokio::spawn({
        let (vfs, reading) =
            (Arc::clone(&user.vfs), operations::begin_read(&user.vfs, opened.handle, 100_000, 10).unwrap());
        async move { operations::finish_read(&vfs, reading).await }
    });
    while !late.is_finished() {
        tokio::task::yield_now().await;
        gate.open();
    }
    assert_eq!(late.await.unwrap().unwrap(), [0; 10][..], "a hole is not the end of the file");
    assert_eq!(early.await.unwrap().unwrap(), [0; 10][..]);
}

#[tokio::test]
async fn a_read_that_ends_before_the_size_that_the_server_reports_is_an_error() {
    let user = User::behaving(Behaviour { reads_end_at: 50, ..Behaviour::default() });
    user.share.put("a", &[1; 100]);
    let opened = user.open("a", libc::O_RDONLY).await.unwrap();
    assert_eq!(errno(user.read(opened, 0, 100).await), libc::EIO);
}
