//! Writing files through to the server, without leases.

use super::*;
use crate::share::error::Cause;
use crate::wire::NtStatus;

#[tokio::test]
async fn written_data_is_on_the_server_and_is_read_back() {
    let user = User::new();
    user.share.put("a", b"0123456789");
    let opened = user.open("a", libc::O_RDWR).await.unwrap();
    user.read(opened, 0, 10).await.unwrap();
    assert_eq!(user.write(opened, 3, b"xyz").await.unwrap(), 3);
    assert_eq!(user.share.data("a").unwrap(), b"012xyz6789");
    assert_eq!(user.read(opened, 0, 10).await.unwrap(), b"012xyz6789");
}

#[tokio::test]
async fn a_write_is_cut_at_the_write_buffer_size() {
    let user = User::new();
    let data: Vec<u8> = (0..200_000u32).map(|at| at as u8).collect();
    let (_, opened) = user.create("a", libc::O_WRONLY).await.unwrap();
    user.write(opened, 1000, &data).await.unwrap();
    assert_eq!(&user.share.data("a").unwrap()[1000..], data);
    assert_eq!(user.share.count("WRITE"), 4, "1000..65536, 65536..131072, 131072..196608, 196608..201000");
}

#[tokio::test]
async fn the_size_after_a_write_is_shown_at_once() {
    let user = User::new();
    let (attr, opened) = user.create("a", libc::O_WRONLY).await.unwrap();
    user.write(opened, 100, b"end").await.unwrap();
    assert_eq!(user.vfs.names.attr(attr.ino).unwrap().size, 103);
    assert_eq!(operations::getattr(&user.vfs, attr.ino).await.unwrap().size, 103);
    assert_eq!(
        operations::getattr(&user.vfs, attr.ino).await.unwrap().modified,
        user.share.look("a").unwrap().modified
    );
}

#[tokio::test]
async fn appending_writes_at_the_servers_end_of_file_not_at_the_kernels() {
    let user = User::with_zero_timeout();
    user.share.put("log", b"one\n");
    let opened = user.open("log", libc::O_WRONLY | libc::O_APPEND).await.unwrap();
    user.share.put("log", b"one\nby another client\n");
    user.write(opened, 4, b"two\n").await.unwrap();
    assert_eq!(user.share.data("log").unwrap(), b"one\nby another client\ntwo\n");
}

#[tokio::test]
async fn without_a_lease_each_append_asks_where_the_file_ends() {
    let user = User::new();
    user.share.put("log", b"");
    let opened = user.open("log", libc::O_WRONLY | libc::O_APPEND).await.unwrap();
    let mut expected = Vec::new();
    for round in 0..3 {
        user.write(opened, 0, b"mine\n").await.unwrap();
        expected.extend(b"mine\n");
        expected.extend(format!("theirs {round}\n").into_bytes());
        user.share.put("log", &expected);
    }
    user.write(opened, 0, b"last\n").await.unwrap();
    expected.extend(b"last\n");
    assert_eq!(user.share.data("log").unwrap(), expected);
}

#[tokio::test]
async fn a_full_disk_is_reported_and_the_first_error_counts() {
    let user = User::new();
    let (attr, opened) = user.create("a", libc::O_WRONLY).await.unwrap();
    user.share.refuse("WRITE", 2, NtStatus::DISK_FULL);
    user.share.fail("WRITE", 3, Cause::TimedOut);
    assert_eq!(errno(user.write(opened, 0, &[7; 200_000]).await), libc::ENOSPC);
    // Only the server knows how much it has written.
    assert_eq!(operations::getattr(&user.vfs, attr.ino).await.unwrap().size, user.share.look("a").unwrap().size);
    user.share.refuse("WRITE", 1, NtStatus::QUOTA_EXCEEDED);
    assert_eq!(errno(user.write(opened, 0, b"x").await), libc::EDQUOT);
}

#[tokio::test]
async fn after_a_failed_write_no_stale_data_is_read() {
    let user = User::new();
    user.share.put("a", b"old");
    let opened = user.open("a", libc::O_RDWR).await.unwrap();
    user.read(opened, 0, 3).await.unwrap();
    // The server did write, but its answer was lost.
    user.share.fail("WRITE", 1, Cause::TimedOut);
    user.write(opened, 0, b"new").await.unwrap_err();
    user.share.put("a", b"new");
    assert_eq!(user.read(opened, 0, 3).await.unwrap(), b"new");
}

#[tokio::test]
async fn a_write_beyond_the_largest_offset_is_efbig() {
    let user = User::new();
    let (_, opened) = user.create("a", libc::O_WRONLY).await.unwrap();
    assert_eq!(errno(user.write(opened, i64::MAX as u64 - 1, b"xx").await), libc::EFBIG);
    assert_eq!(errno(user.write(opened, u64::MAX, b"xx").await), libc::EFBIG);
}

#[tokio::test]
async fn fsync_makes_the_server_flush() {
    let user = User::new();
    let (_, opened) = user.create("a", libc::O_WRONLY).await.unwrap();
    operations::fsync(&user.vfs, opened.handle).await.unwrap();
    assert_eq!(user.share.count("FLUSH"), 1);
    user.share.refuse("FLUSH", 1, NtStatus::DISK_FULL);
    assert_eq!(errno(operations::fsync(&user.vfs, opened.handle).await), libc::ENOSPC);
}

#[tokio::test]
async fn fsync_of_a_handle_for_reading_flushes_writes_through_other_handles() {
    let user = User::new();
    user.save("a", b"1").await.unwrap();
    let reader = user.open("a", libc::O_RDONLY).await.unwrap();
    operations::fsync(&user.vfs, reader.handle).await.unwrap();
    assert_eq!(user.share.count("FLUSH"), 1);
    assert_eq!(user.share.open_files(), 1);
    let writer = user.open("a", libc::O_WRONLY).await.unwrap();
    user.share.forget_log();
    operations::fsync(&user.vfs, reader.handle).await.unwrap();
    assert_eq!(user.share.log(), [("FLUSH", "\\a".to_owned())]);
    user.close(writer).await;
}

#[tokio::test]
async fn close_2_costs_no_round_trip() {
    let user = User::new();
    let (_, opened) = user.create("a", libc::O_WRONLY).await.unwrap();
    user.share.forget_log();
    operations::flush(&user.vfs, opened.handle).await.unwrap();
    assert_eq!(user.share.total(), 0);
    assert_eq!(errno(operations::flush(&user.vfs, 99).await), libc::EBADF);
}
