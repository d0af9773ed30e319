//! Removing directories.

use super::*;

#[tokio::test]
async fn an_empty_directory_is_removed() {
    let user = User::new();
    user.mkdir("d").await.unwrap();
    user.share.forget_log();
    operations::rmdir(&user.vfs, ROOT, OsStr::new("d")).await.unwrap();
    assert_eq!(user.share.total(), 1);
    assert_eq!(errno(user.look("d").await), libc::ENOENT);
}

#[tokio::test]
async fn rmdir_removes_no_file_and_no_full_directory() {
    let user = User::new();
    user.mkdir("d").await.unwrap();
    user.save("d/a", b"").await.unwrap();
    assert_eq!(errno(user.rmdir("d").await), libc::ENOTEMPTY);
    assert_eq!(errno(user.rmdir("d/a").await), libc::ENOTDIR);
    assert_eq!(errno(user.rmdir("e").await), libc::ENOENT);
}

#[tokio::test]
async fn a_tree_can_be_removed_right_after_its_files_were_closed() {
    let user = User::new();
    user.mkdir("d").await.unwrap();
    user.save("d/a", b"").await.unwrap();
    let opened = user.open("d/a", libc::O_RDONLY).await.unwrap();
    // The kernel does not wait for the close, and the server is slow to answer it.
    let gate = user.share.hold("CLOSE");
    let closing = tokio::spawn(operations::release(&user.vfs, opened.handle));
    gate.reached().await;
    let vfs = Arc::clone(&user.vfs);
    let d = user.ino("d").await;
    let removing = tokio::spawn(async move {
        operations::unlink(&vfs, d, OsStr::new("a")).await?;
        operations::rmdir(&vfs, ROOT, OsStr::new("d")).await
    });
    tokio::task::yield_now().await;
    gate.open();
    removing.await.unwrap().unwrap();
    closing.await.unwrap();
    assert_eq!(user.share.names(""), Vec::<String>::new());
}

#[tokio::test]
async fn a_directory_whose_last_file_is_unlinked_before_its_close_arrives_can_be_removed() {
    let user = User::new();
    user.mkdir("d").await.unwrap();
    user.save("d/a", b"").await.unwrap();
    let opened = user.open("d/a", libc::O_RDONLY).await.unwrap();
    user.rm("d/a").await.unwrap();
    let gate = user.share.hold("CLOSE");
    let closing = tokio::spawn(operations::release(&user.vfs, opened.handle));
    gate.reached().await;
    let vfs = Arc::clone(&user.vfs);
    let removing = tokio::spawn(async move { operations::rmdir(&vfs, ROOT, OsStr::new("d")).await });
    tokio::task::yield_now().await;
    gate.open();
    removing.await.unwrap().unwrap();
    closing.await.unwrap();
}

#[tokio::test]
async fn a_removed_directory_shows_no_links_and_the_server_is_not_asked() {
    let user = User::with_zero_timeout();
    user.mkdir("d").await.unwrap();
    let ino = user.ino("d").await;
    let _handle = operations::opendir(&user.vfs, ino);
    user.rmdir("d").await.unwrap();
    user.share.forget_log();
    assert_eq!(operations::getattr(&user.vfs, ino).await.unwrap().links, 0);
    assert_eq!(user.share.total(), 0, "the server is not asked");
}

#[tokio::test]
async fn a_directory_whose_removed_files_are_still_open_can_be_removed_with_all_above_it() {
    let user = User::new();
    for directory in ["d", "d/e"] {
        user.mkdir(directory).await.unwrap();
    }
    user.save("d/e/read", b"old").await.unwrap();
    let (_, written) = user.create("d/e/written", libc::O_RDWR).await.unwrap();
    let read = user.open("d/e/read", libc::O_RDONLY).await.unwrap();
    for name in ["d/e/read", "d/e/written"] {
        user.rm(name).await.unwrap();
    }
    user.rmdir("d/e").await.unwrap();
    user.rmdir("d").await.unwrap();
    user.mkdir("d").await.unwrap();
    assert_eq!(user.read(read, 0, 5).await.unwrap(), b"old");
    user.write(written, 0, b"new").await.unwrap();
    assert_eq!(user.ls("").await.unwrap(), ["d"]);
    user.close(read).await;
    user.close(written).await;
    assert_eq!(user.share.names(""), ["d"], "no hidden file is left at the server");
}

#[tokio::test]
async fn a_directory_with_other_files_is_not_removed_and_keeps_its_hidden_files() {
    let user = User::new();
    user.mkdir("d").await.unwrap();
    for name in ["d/a", "d/b"] {
        user.save(name, b"1").await.unwrap();
    }
    let opened = user.open("d/a", libc::O_RDONLY).await.unwrap();
    user.rm("d/a").await.unwrap();
    assert_eq!(errno(user.rmdir("d").await), libc::ENOTEMPTY);
    assert_eq!((user.share.names("").len(), user.share.names("d").len()), (1, 2));
    user.close(opened).await;
    assert_eq!(user.share.names("d"), ["b"]);
}
