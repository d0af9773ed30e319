//! Watches on directories: how long they last, and what is known when they end.

use super::directories::{BRIEF, ONCE, watching};
use super::*;
use crate::share::{FileKind, Names as _};

#[tokio::test(start_paused = true)]
async fn a_watch_that_loses_reports_covers_no_name_until_the_next_listing() {
    let user = User::with_directory(BRIEF, &["a", "b"]).await;
    (0..101).for_each(|_| user.share.put("d/b", b"22"));
    user.share.remove_as_other_client_at_once("d/a");
    user.outlast_timeout().await;
    assert!(!user.is_there("d/a").await);
    assert_eq!(user.stat("d/b").await.unwrap().size, 2);
    assert_eq!((user.listed("d"), user.share.count("WATCH"), user.share.watches()), (ONCE, 0, 2));
    user.outlast_timeout().await;
    assert!(user.is_there("d/b").await && !user.is_there("d/a").await);
    assert_eq!(user.share.total(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_watched_directory_that_another_client_removes_is_gone() {
    let user = User::with_directory(LONG, &[]).await;
    user.share.remove(&RemotePath::parse("d"), FileKind::Directory, None, None, None).await.unwrap();
    assert_eq!(user.share.names(""), ["d"], "the watch has it open");
    user.let_watches_report().await;
    assert_eq!((user.share.watches(), user.share.names("").len()), (1, 0));
    assert!(!user.is_there("d").await);
    user.mkdir("d").await.unwrap();
    assert!(user.is_there("d").await && !user.is_there("d/a").await);
}

#[tokio::test(start_paused = true)]
async fn a_watched_directory_that_another_client_renames_is_found_by_its_new_name_only() {
    let user = User::with_directory(LONG, &["a"]).await;
    user.share.rename_as_other_client("d", "e").await;
    user.let_watches_report().await;
    assert!(!user.is_there("d").await && user.is_there("e").await);
    assert_eq!(user.list("").await, ["e"]);
    assert_eq!(user.list("e").await, ["a"]);
    user.let_watches_report().await;
    user.share.put("e/b", b"");
    user.let_watches_report().await;
    assert!(user.is_there("e/b").await);
    assert_eq!(user.list("e").await, ["a", "b"]);
}

#[tokio::test(start_paused = true)]
async fn a_directory_can_be_renamed_after_another_client_renamed_one_below_it() {
    let user = User::with_directory(LONG, &["a"]).await;
    user.share.put_directory("d/e");
    user.let_watches_report().await;
    user.list("d/e").await;
    user.let_watches_report().await;
    user.share.rename_as_other_client("d/e", "d/f").await;
    user.let_watches_report().await;
    assert!(!user.is_there("d/e").await);
    operations::rename(&user.vfs, ROOT, OsStr::new("d"), ROOT, OsStr::new("new"), 0).await.unwrap();
    assert!(user.is_there("new/f").await);
}

#[tokio::test(start_paused = true)]
async fn watches_end_before_their_directory_or_one_above_it_is_renamed_or_removed() {
    let user = User::with_directory(LONG, &["a"]).await;
    user.share.put_directory("d/e");
    user.share.put("d/e/b", b"1");
    user.let_watches_report().await;
    user.list("d/e").await;
    assert_eq!(user.share.watches(), 3);
    operations::rename(&user.vfs, ROOT, OsStr::new("d"), ROOT, OsStr::new("new"), 0).await.unwrap();
    assert_eq!(user.share.watches(), 1, "only the watch on the root is left");
    assert!(user.is_there("new").await);
    assert!(user.is_there("new/a").await && user.is_there("new/e/b").await && !user.is_there("new/b").await);
    let (new, e) = (user.stat("new").await.unwrap().ino, user.stat("new/e").await.unwrap().ino);
    operations::unlink(&user.vfs, e, OsStr::new("b")).await.unwrap();
    user.list("new/e").await;
    user.let_watches_report().await;
    operations::rmdir(&user.vfs, new, OsStr::new("e")).await.unwrap();
    assert_eq!(user.share.names("new"), ["a"]);
    assert!(!user.is_there("new/e").await);
}

#[tokio::test(start_paused = true)]
async fn metadata_listed_before_a_write_here_does_not_come_back_when_the_watch_ends() {
    let silent = Behaviour { close_answers: false, ..watching() };
    let user = User::following(silent, LONG).having(&["a", "b"]).await;
    let a = user.stat("d/a").await.unwrap().ino;
    let gate = user.share.hold_answer("CHANGE_NOTIFY");
    user.share.put("d/b", b"22");
    gate.reached().await;
    let opened = operations::open(&user.vfs, a, libc::O_WRONLY).await.unwrap();
    user.write(opened, 0, b"22").await.unwrap();
    user.close(opened).await;
    gate.open();
    for _ in 0..9 {
        tokio::task::yield_now().await;
    }
    operations::rename(&user.vfs, ROOT, OsStr::new("d"), ROOT, OsStr::new("new"), 0).await.unwrap();
    assert_eq!(user.stat("new/a").await.unwrap().size, 2);
}

#[tokio::test(start_paused = true)]
async fn no_more_directories_are_watched_than_the_bound() {
    let user = User::following(watching(), BRIEF);
    let most = super::names::namespace::MAX_WATCHES;
    (0..most + 10).for_each(|number| user.share.put_directory(&format!("{number}")));
    user.list("").await;
    for number in 0..most + 10 {
        user.list(&format!("{number}")).await;
        if number % 100 == 0 {
            user.let_watches_report().await;
        }
    }
    assert!(user.share.watches() <= most);
    user.let_watches_report().await;
    assert!(user.share.watches() > most / 2, "{}", user.share.watches());
    user.share.put("1/a", b"");
    user.share.put(&format!("{}/a", most + 9), b"");
    user.outlast_timeout().await;
    assert!(user.is_there("1/a").await && user.is_there(&format!("{}/a", most + 9)).await);
}
