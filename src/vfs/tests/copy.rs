//! copy_file_range(2): the server copies between two files.

use super::*;
use crate::share::error::Cause;
use crate::wire::NtStatus;
use futures_util::FutureExt;

const RW: i32 = libc::O_RDWR;

impl User {
    /// One call of copy_file_range(2).
    async fn copy(&self, from: (Opened, u64), to: (Opened, u64), length: u64) -> Result<u32> {
        let copying = operations::begin_copy(&self.vfs, from.0.handle, from.1, to.0.handle, to.1, length)?;
        operations::finish_copy(&self.vfs, copying).await
    }

    async fn open_two(&self) -> (Opened, Opened) {
        (self.open("a", libc::O_RDONLY).await.unwrap(), self.open("b", RW).await.unwrap())
    }
}

#[tokio::test]
async fn the_server_copies_and_no_data_is_transferred() {
    let user = User::new();
    user.share.put("a", b"0123456789");
    user.share.put("b", b"abcdefghij");
    let (a, b) = user.open_two().await;
    user.share.forget_log();
    assert_eq!(user.copy((a, 2), (b, 5), 3).await.unwrap(), 3);
    assert_eq!(user.share.data("b").unwrap(), b"abcde234ij");
    assert_eq!(user.share.log(), [("COPY", "\\b".to_owned())]);
}

#[tokio::test]
async fn a_long_copy_is_made_of_slices() {
    let user = User::new();
    let data: Vec<u8> = (0..200_000u32).map(|at| (at / 7) as u8).collect();
    user.share.put("a", &data);
    user.share.put("b", b"");
    let (a, b) = user.open_two().await;
    let mut at = 0;
    loop {
        match user.copy((a, at), (b, at), u64::MAX >> 2).await.unwrap() {
            0 => break,
            copied => at += u64::from(copied),
        }
    }
    assert!(user.share.data("b").unwrap() == data);
    assert_eq!(user.share.count("COPY"), 4);
}

#[tokio::test]
async fn cached_data_of_the_target_is_read_again_and_its_size_is_shown_at_once() {
    let user = User::new();
    user.share.put("a", b"new data");
    user.share.put("b", b"old");
    let (a, b) = user.open_two().await;
    assert_eq!(user.read(b, 0, 10).await.unwrap(), b"old");
    user.copy((a, 0), (b, 0), 8).await.unwrap();
    assert_eq!(user.vfs.names.attr(user.ino("b").await).unwrap().size, 8);
    assert_eq!(user.cached(b, 0, 8), None);
    assert_eq!(user.read(b, 0, 10).await.unwrap(), b"new data");
}

#[tokio::test]
async fn a_copy_ends_at_the_end_of_the_source() {
    let user = User::new();
    user.share.put("a", b"12345");
    user.share.put("b", b"");
    let (a, b) = user.open_two().await;
    assert_eq!(user.copy((a, 3), (b, 0), 100).await.unwrap(), 2);
    user.share.forget_log();
    assert_eq!(user.copy((a, 5), (b, 2), 100).await.unwrap(), 0);
    assert_eq!(user.copy((a, 0), (b, 2), 0).await.unwrap(), 0);
    assert_eq!(user.share.total(), 0, "the size of the source is known");
    assert_eq!(user.share.data("b").unwrap(), b"45");
}

#[tokio::test]
async fn a_source_that_another_client_cut_meanwhile_is_noticed() {
    let user = User::new();
    user.share.put("a", b"12345");
    user.share.put("b", b"");
    let (a, b) = user.open_two().await;
    user.share.put("a", b"1");
    assert_eq!(user.copy((a, 3), (b, 0), 2).await.unwrap(), 0);
    assert_eq!(operations::getattr(&user.vfs, user.ino("a").await).await.unwrap().size, 1);
    assert_eq!(user.share.data("b").unwrap(), b"");
}

#[tokio::test]
async fn a_copy_needs_a_source_open_for_reading_and_a_target_open_for_writing() {
    let user = User::new();
    user.share.put("a", b"data");
    user.share.put("b", b"");
    let (a, b) = user.open_two().await;
    let writer = user.open("a", libc::O_WRONLY).await.unwrap();
    let appender = user.open("b", libc::O_RDWR | libc::O_APPEND).await.unwrap();
    let closed = Opened { handle: 999, ..a };
    for (from, to) in [(writer, b), (b, a), (a, appender), (closed, b), (a, closed)] {
        assert_eq!(errno(user.copy((from, 0), (to, 0), 4).await), libc::EBADF);
    }
    assert_eq!(user.share.count("COPY"), 0);
}

#[tokio::test]
async fn within_one_file_the_ranges_must_not_overlap() {
    let user = User::new();
    user.share.put("b", b"0123456789");
    let (one, other) = (user.open("b", RW).await.unwrap(), user.open("b", RW).await.unwrap());
    for (from, to) in [(0, 0), (0, 3), (3, 0)] {
        assert_eq!(errno(user.copy((one, from), (other, to), 4).await), libc::EINVAL);
    }
    assert_eq!(user.copy((one, 0), (one, 4), 4).await.unwrap(), 4);
    assert_eq!(user.share.data("b").unwrap(), b"0123012389");
}

#[tokio::test]
async fn a_copy_beyond_the_largest_offset_is_efbig() {
    let user = User::new();
    user.share.put("a", b"data");
    user.share.put("b", b"");
    let (a, b) = user.open_two().await;
    assert_eq!(errno(user.copy((a, 0), (b, i64::MAX as u64 - 3), 4).await), libc::EFBIG);
    assert_eq!(errno(user.copy((a, 0), (b, u64::MAX), u64::MAX).await), libc::EFBIG);
    assert_eq!(user.copy((a, u64::MAX), (b, 0), 4).await.unwrap(), 0);
}

#[tokio::test]
async fn a_server_that_cannot_copy_is_distinguished_from_one_that_fails() {
    let user = User::behaving(Behaviour { copies: None, ..Behaviour::default() });
    user.share.put("a", b"data");
    user.share.put("b", b"");
    let (a, b) = user.open_two().await;
    assert_eq!(errno(user.copy((a, 0), (b, 0), 4).await), libc::EOPNOTSUPP);

    let user = User::new();
    user.share.put("a", b"data");
    user.share.put("b", b"");
    let (a, b) = user.open_two().await;
    user.share.refuse("COPY", 1, NtStatus::DISK_FULL);
    assert_eq!(errno(user.copy((a, 0), (b, 0), 4).await), libc::ENOSPC);
    user.share.fail("COPY", 1, Cause::TimedOut);
    assert_eq!(errno(user.copy((a, 0), (b, 0), 4).await), libc::ETIMEDOUT);
}

#[tokio::test]
async fn after_a_failed_copy_no_stale_data_is_read() {
    let user = User::new();
    user.share.put("a", b"new");
    user.share.put("b", b"old");
    let (a, b) = user.open_two().await;
    user.read(b, 0, 3).await.unwrap();
    // The server did copy, but its answer was lost.
    user.share.fail("COPY", 1, Cause::TimedOut);
    user.copy((a, 0), (b, 0), 3).await.unwrap_err();
    user.share.put("b", b"new");
    assert_eq!(user.read(b, 0, 3).await.unwrap(), b"new");
}

#[tokio::test]
async fn a_copy_waits_for_writes_to_its_source_that_the_kernel_sent_before() {
    let user = User::new();
    user.share.put("a", b"old");
    user.share.put("b", b"");
    let (a, b) = user.open_two().await;
    let writer = user.open("a", libc::O_WRONLY).await.unwrap();
    let gate = user.share.hold("WRITE");
    let mut writing = Box::pin(user.write(writer, 0, b"new"));
    assert!(writing.as_mut().now_or_never().is_none());
    let mut copying = Box::pin(user.copy((a, 0), (b, 0), 3));
    assert!(copying.as_mut().now_or_never().is_none());
    assert_eq!(user.share.count("COPY"), 0);
    gate.open();
    writing.await.unwrap();
    assert_eq!(copying.await.unwrap(), 3);
    assert_eq!(user.share.data("b").unwrap(), b"new");
}

#[tokio::test]
async fn a_read_of_the_target_waits_for_the_copy_that_the_kernel_sent_before_it() {
    let user = User::new();
    user.share.put("a", b"new");
    user.share.put("b", b"old");
    let (a, b) = user.open_two().await;
    user.read(b, 0, 3).await.unwrap();
    let gate = user.share.hold("COPY");
    let mut copying = Box::pin(user.copy((a, 0), (b, 0), 3));
    assert!(copying.as_mut().now_or_never().is_none());
    assert_eq!(user.cached(b, 0, 3), None);
    let mut reading = Box::pin(user.read(b, 0, 3));
    assert!(reading.as_mut().now_or_never().is_none());
    gate.open();
    copying.await.unwrap();
    assert_eq!(reading.await.unwrap(), b"new");
}

#[tokio::test]
async fn on_a_read_only_mount_no_file_can_be_a_target() {
    let user = User::with(MemoryShare::new(), VfsOptions { read_only: true, ..options() });
    user.share.put("a", b"data");
    assert_eq!(errno(user.open("a", RW).await), libc::EROFS);
    let a = user.open("a", libc::O_RDONLY).await.unwrap();
    assert_eq!(errno(user.copy((a, 0), (a, 4), 4).await), libc::EBADF);
}

#[tokio::test]
async fn the_target_shows_its_new_size_and_time_at_once() {
    let user = User::new();
    user.share.put("b", b"old");
    user.share.put("a", b"new data");
    let (a, b) = user.open_two().await;
    let before = operations::getattr(&user.vfs, user.ino("b").await).await.unwrap();
    user.copy((a, 0), (b, 0), 8).await.unwrap();
    let shown = user.vfs.names.attr(before.ino).unwrap();
    assert!(shown.size == 8 && shown.modified > before.modified && shown.changed > before.changed, "{shown:?}");
}
