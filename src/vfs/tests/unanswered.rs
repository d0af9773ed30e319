//! Answers that did not reach the kernel.

use super::*;

#[tokio::test]
async fn a_lookup_whose_answer_did_not_reach_the_kernel_is_not_counted() {
    let user = User::new();
    user.share.put("a", b"1");
    let known = user.vfs.names.len();
    let attr = user.look("a").await.unwrap();
    operations::entry_unanswered(&user.vfs, attr.ino);
    assert_eq!(user.vfs.names.len(), known);
}

#[tokio::test]
async fn an_open_whose_answer_was_lost_is_closed_and_its_pages_are_not_kept() {
    let user = User::new();
    user.share.put("a", b"1");
    let opened = user.open("a", libc::O_RDONLY).await.unwrap();
    operations::open_unanswered(&user.vfs, opened).await;
    assert_eq!(user.share.open_files(), 0);
    let opened = user.open("a", libc::O_RDONLY).await.unwrap();
    assert!(!opened.keep_cache, "the kernel has not dropped the pages of another version");
    user.close(opened).await;
    assert!(user.open("a", libc::O_RDONLY).await.unwrap().keep_cache);
}

#[tokio::test]
async fn after_attributes_that_did_not_reach_the_kernel_its_size_counts_as_old() {
    let user = User::new();
    user.share.put("a", b"1");
    let ino = user.ino("a").await;
    let file = user.vfs.names.file(ino).unwrap();
    assert!(!file.lock().is_resized());
    operations::attributes_unanswered(&user.vfs, ino);
    assert!(file.lock().is_resized());
}
