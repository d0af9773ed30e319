//! Data and attributes are never older than the cache mode promises.

use super::*;

#[tokio::test]
async fn an_open_shows_everything_that_another_client_wrote_before_it() {
    let user = User::new();
    user.share.put("a", b"old");
    assert_eq!(user.cat("a").await.unwrap(), b"old");
    user.share.put("a", b"new");
    assert_eq!(user.cat("a").await.unwrap(), b"new");
}

#[tokio::test]
async fn an_unchanged_file_is_not_read_again() {
    let user = User::new();
    user.share.put("a", b"same");
    user.cat("a").await.unwrap();
    user.share.forget_log();
    assert_eq!(user.cat("a").await.unwrap(), b"same");
    assert_eq!(user.share.count("READ"), 0);
}

#[tokio::test]
async fn an_open_file_shows_the_writes_of_another_client_after_the_timeout() {
    let user = User::with_zero_timeout();
    user.share.put("a", b"old");
    let opened = user.open("a", libc::O_RDONLY).await.unwrap();
    assert_eq!(user.read(opened, 0, 10).await.unwrap(), b"old");
    user.share.put("a", b"new and longer");
    assert_eq!(user.cached(opened, 0, 3), None);
    assert_eq!(user.read(opened, 0, 20).await.unwrap(), b"new and longer");
}

#[tokio::test]
async fn within_the_timeout_the_server_is_not_asked() {
    let user = User::new();
    user.share.put("a", b"old");
    let opened = user.open("a", libc::O_RDONLY).await.unwrap();
    user.read(opened, 0, 10).await.unwrap();
    user.share.forget_log();
    user.read(opened, 0, 10).await.unwrap();
    assert_eq!(user.share.total(), 0);
}

#[tokio::test]
async fn a_read_that_crosses_a_write_leaves_no_stale_data_in_the_cache() {
    let user = User::new();
    user.share.put("a", b"old");
    let opened = user.open("a", libc::O_RDWR).await.unwrap();
    let gate = user.share.hold_answer("READ");
    let reading = user.read(opened, 0, 3);
    let writing = async {
        gate.reached().await;
        // The server has done the READ, and its answer is on its way.
        user.write(opened, 0, b"new").await.unwrap();
        // A READ that begins now does not wait for the old answer.
        assert_eq!(user.read(opened, 0, 3).await.unwrap(), b"new");
        gate.open();
    };
    let (read, ()) = tokio::join!(reading, writing);
    assert_eq!(read.unwrap(), b"old", "both were under way at the same time");
    assert_eq!(user.read(opened, 0, 3).await.unwrap(), b"new");
}

#[tokio::test]
async fn a_read_waits_for_the_write_that_the_kernel_sent_before_it() {
    use futures_util::FutureExt;
    let user = User::new();
    user.share.put("a", b"old data");
    let opened = user.open("a", libc::O_RDWR).await.unwrap();
    assert_eq!(user.read(opened, 0, 8).await.unwrap(), b"old data");
    let gate = user.share.hold_answer("WRITE");
    let crossing = async {
        gate.reached().await;
        assert_eq!(user.cached(opened, 0, 3), None);
        let mut reading = Box::pin(user.read(opened, 0, 3));
        assert!(reading.as_mut().now_or_never().is_none(), "the server may still have the old data");
        assert_eq!(user.read(opened, 4, 4).await.unwrap(), b"data", "a read of another range does not wait");
        gate.open();
        reading.await.unwrap()
    };
    let (written, read) = tokio::join!(user.write(opened, 0, b"new"), crossing);
    assert_eq!((written.unwrap(), read), (3, b"new".to_vec()));
}

#[tokio::test]
async fn attributes_that_cross_a_write_do_not_undo_it() {
    let user = User::with_zero_timeout();
    let (attr, opened) = user.create("a", libc::O_WRONLY).await.unwrap();
    let gate = user.share.hold_answer("QUERY_INFO");
    let asking = operations::getattr(&user.vfs, attr.ino);
    let writing = async {
        gate.reached().await;
        user.write(opened, 0, b"12345").await.unwrap();
        gate.open();
    };
    let (shown, ()) = tokio::join!(asking, writing);
    assert_eq!(shown.unwrap().size, 5);
}

#[tokio::test]
async fn a_file_that_is_read_and_written_through_two_handles_is_one_file() {
    let user = User::new();
    user.share.put("a", b"0123456789");
    let reader = user.open("a", libc::O_RDONLY).await.unwrap();
    let writer = user.open("a", libc::O_WRONLY).await.unwrap();
    user.read(reader, 0, 10).await.unwrap();
    user.write(writer, 5, b"X").await.unwrap();
    assert_eq!(user.read(reader, 0, 10).await.unwrap(), b"01234X6789");
    user.write(writer, 10, b"Y").await.unwrap();
    assert_eq!(user.read(reader, 0, 20).await.unwrap(), b"01234X6789Y");
}

#[tokio::test]
async fn cached_data_of_a_deleted_file_is_not_shown_for_the_next_file_of_its_name() {
    let user = User::new();
    user.save("a", b"old").await.unwrap();
    user.cat("a").await.unwrap();
    user.rm("a").await.unwrap();
    user.save("a", b"new").await.unwrap();
    assert_eq!(user.cat("a").await.unwrap(), b"new");
}

#[tokio::test]
async fn data_of_a_file_that_the_kernel_forgot_is_not_kept_in_the_cache() {
    let user = User::new();
    user.share.put("a", b"1");
    user.cat("a").await.unwrap();
    assert!(user.vfs.cache.used() > 0);
    let ino = user.ino("a").await;
    operations::forget(&user.vfs, ino, 2);
    assert_eq!(user.vfs.cache.used(), 0);
}

#[tokio::test]
async fn an_open_makes_the_kernel_forget_the_size_from_before_a_close_that_reported_another() {
    let user = User::new();
    user.share.put("a", b"old");
    let ino = user.ino("a").await;
    let opened = operations::open(&user.vfs, ino, libc::O_RDONLY).await.unwrap();
    user.share.put("a", b"longer");
    user.close(opened).await;
    let kernel = Kernel::of(&user);
    let opened = operations::open(&user.vfs, ino, libc::O_RDONLY).await;
    assert_eq!(kernel.take(), [Forgotten::Attributes(ino)]);
    let opened = opened.unwrap();
    assert!(!opened.keep_cache, "the kernel drops its pages");
    assert_eq!(user.read(opened, 0, 10).await.unwrap(), b"longer");
}

#[tokio::test]
async fn a_file_that_another_client_is_changing_is_opened_without_the_page_cache() {
    let user = User::new();
    user.share.put("a", b"1");
    user.share.put("still", b"1");
    let is_direct = async |ino| {
        let opened = operations::open(&user.vfs, ino, libc::O_RDONLY).await.unwrap();
        user.close(opened).await;
        opened.direct
    };
    let ino = user.ino("a").await;
    user.share.put("a", b"22");
    assert!(!is_direct(ino).await, "programs could not map it");
    user.vfs.kernel_allows_direct_mappings();
    user.share.put("a", b"333");
    assert!(is_direct(ino).await);
    assert!(is_direct(ino).await, "the next change is expected");
    assert!(!is_direct(user.ino("still").await).await);
}

/// Another program may be waiting for the file's size, and a notification would make the kernel ignore the answer.
#[tokio::test]
async fn an_open_notifies_the_kernel_only_of_a_change_also_while_another_client_has_the_file_open() {
    let user = User::behaving(Behaviour { leases: true, ..Behaviour::default() });
    user.share.put("a", b"1");
    user.share.put("b", b"1");
    // This open shows that the server grants leases.
    user.cat("b").await.unwrap();
    let ino = user.ino("a").await;
    let other_client = user.share.open_as_other_client("a").await;
    let kernel = Kernel::of(&user);
    let forgotten = async || {
        let opened = operations::open(&user.vfs, ino, libc::O_RDONLY).await.unwrap();
        assert!(!opened.keep_cache, "the kernel drops its pages");
        user.close(opened).await;
        kernel.take()
    };
    assert_eq!(forgotten().await, []);
    assert_eq!(forgotten().await, []);
    user.share.put("a", b"2");
    assert_eq!(forgotten().await, [Forgotten::Attributes(ino)], "times have changed");
    user.share.close_other_client(other_client);
}
