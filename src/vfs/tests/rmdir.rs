use super::*;

#[tokio::test]
async fn an_empty_directory_goes() {
    let user = User::new();
    user.mkdir("d").await.unwrap();
    user.share.forget_log();
    user.vfs.rmdir(ROOT, OsStr::new("d")).await.unwrap();
    assert_eq!(user.share.total(), 1);
    assert_eq!(errno(user.look("d").await), libc::ENOENT);
}

#[tokio::test]
async fn what_is_no_empty_directory_stays() {
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
    // The kernel does not wait for the close, and the server is slow with it.
    let gate = user.share.hold("CLOSE");
    let closing = tokio::spawn(user.vfs.release(opened.handle));
    gate.reached().await;
    let vfs = Arc::clone(&user.vfs);
    let d = user.ino("d").await;
    let removing = tokio::spawn(async move {
        vfs.unlink(d, OsStr::new("a")).await?;
        vfs.rmdir(ROOT, OsStr::new("d")).await
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
    assert_eq!(errno(user.rmdir("d").await), libc::ENOTEMPTY, "it is still open");
    let gate = user.share.hold("CLOSE");
    let closing = tokio::spawn(user.vfs.release(opened.handle));
    gate.reached().await;
    let vfs = Arc::clone(&user.vfs);
    let removing = tokio::spawn(async move { vfs.rmdir(ROOT, OsStr::new("d")).await });
    tokio::task::yield_now().await;
    gate.open();
    removing.await.unwrap().unwrap();
    closing.await.unwrap();
}

#[tokio::test]
async fn a_directory_that_was_removed_shows_no_links_and_costs_nothing() {
    let user = User::believing_nothing();
    user.mkdir("d").await.unwrap();
    let ino = user.ino("d").await;
    let _handle = user.vfs.opendir(ino);
    user.rmdir("d").await.unwrap();
    user.share.forget_log();
    assert_eq!(user.vfs.getattr(ino).await.unwrap().links, 0);
    assert_eq!(user.share.total(), 0, "the server has nothing to say of it");
}
