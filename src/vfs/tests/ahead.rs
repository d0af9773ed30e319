//! Directories that are listed before a program asks for them.

use super::directories::{ONCE, watching};
use super::*;

#[tokio::test(start_paused = true)]
async fn a_directory_whose_names_are_looked_up_one_by_one_is_listed_once() {
    let user = User::following(watching(), LONG);
    (0..300).for_each(|number| user.share.put(&format!("{number}"), b"1"));
    for number in 0..10 {
        assert!(user.is_there(&format!("{number}")).await);
    }
    // Absent names are known once the watch is confirmed.
    user.let_watches_report().await;
    for number in 0..300 {
        assert!(user.is_there(&format!("{number}")).await && !user.is_there(&format!("no {number}")).await);
    }
    assert_eq!((user.share.count("STAT"), user.listed(""), user.share.count("WATCH")), (0, 0, 0));
}

#[tokio::test(start_paused = true)]
async fn many_lookups_at_the_same_time_list_the_directory_once() {
    let user = User::following(watching(), LONG);
    (0..50).for_each(|number| user.share.put(&format!("{number}"), b"1"));
    let gate = user.share.hold_answer("QUERY_DIRECTORY");
    let asking = futures_util::future::join_all((0..50).map(async |number| user.is_there(&format!("{number}")).await));
    let listing = async {
        gate.reached().await;
        gate.open();
    };
    let (found, ()) = tokio::join!(asking, listing);
    assert!(found.into_iter().all(|is_there| is_there));
    assert_eq!((user.listed(""), user.share.count("WATCH")), (ONCE, 1));
    user.let_watches_report().await;
    assert!(user.is_there("7").await && !user.is_there("none").await);
    assert_eq!(user.share.total(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_directory_with_too_many_entries_is_not_listed_for_each_lookup() {
    let user = User::following(Behaviour { batch: 20_000, ..watching() }, LONG);
    (0..10_001).for_each(|number| user.share.put_name("", &format!("{number}").encode_utf16().collect::<Vec<_>>()));
    for number in 0..100 {
        assert!(user.is_there(&format!("{number}")).await);
    }
    assert_eq!((user.share.count("STAT"), user.share.count("QUERY_DIRECTORY")), (100, 2));
    assert_eq!(user.share.watches(), 1, "names that were looked up one by one are known until they change");
}

#[tokio::test(start_paused = true)]
async fn with_a_timeout_of_zero_no_directory_is_watched_or_listed_ahead() {
    let user = User::following(watching(), Duration::ZERO);
    for directory in ["a", "b", "c", "d"] {
        user.share.put_directory(directory);
        user.share.put(&format!("{directory}/f"), b"");
    }
    for _ in 0..3 {
        for directory in ["a", "b", "c", "d"] {
            assert!(user.is_there(&format!("{directory}/f")).await);
        }
    }
    assert_eq!(user.share.count("QUERY_DIRECTORY"), 0);
    for (number, directory) in ["", "a", "b", "c", "d"].iter().enumerate() {
        user.list(directory).await;
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(user.share.count("QUERY_DIRECTORY"), ONCE * (number + 1));
    }
    assert_eq!(user.share.count("WATCH"), 0);
}

/// Makes a tree of 31 directories. Returns their paths in the order in which `find` visits them.
fn tree(user: &User) -> Vec<String> {
    let mut paths = vec![String::new()];
    for a in 0..5 {
        user.share.put_directory(&format!("{a}"));
        paths.push(format!("{a}"));
        for b in 0..5 {
            user.share.put_directory(&format!("{a}/{b}"));
            user.share.put(&format!("{a}/{b}/file"), b"");
            paths.push(format!("{a}/{b}"));
        }
    }
    paths
}

#[tokio::test(start_paused = true)]
async fn a_walk_is_listed_ahead_and_each_directory_once() {
    let user = User::following(watching(), LONG);
    let paths = tree(&user);
    let mut ahead = 0;
    for path in &paths {
        ahead += usize::from(user.listed(path) > 0);
        user.list(path).await;
        tokio::task::yield_now().await;
        assert_eq!(user.listed(path), ONCE, "{path}");
    }
    assert!(ahead > 25, "{ahead}");
    paths.iter().for_each(|path| assert_eq!(user.listed(path), ONCE, "{path}"));
    assert_eq!(user.share.count("STAT"), 0);
}

#[tokio::test(start_paused = true)]
async fn a_listing_waits_for_a_listing_ahead_of_the_same_directory() {
    let user = User::following(watching(), LONG);
    let paths = tree(&user);
    for path in &paths[..3] {
        user.list(path).await;
    }
    let gate = user.share.hold_answer("QUERY_DIRECTORY");
    let answer = async {
        gate.reached().await;
        gate.open();
    };
    tokio::join!(user.list(&paths[3]), answer);
    assert_eq!(user.listed(&paths[3]), ONCE);
}

#[tokio::test(start_paused = true)]
async fn a_directory_that_a_program_is_listing_is_not_listed_ahead_as_well() {
    let user = User::following(watching(), LONG);
    let paths = tree(&user);
    for path in ["", "0"] {
        user.list(path).await;
    }
    let gate = user.share.hold_answer("QUERY_DIRECTORY");
    let other = async {
        gate.reached().await;
        user.list("0/0").await;
        tokio::time::sleep(Duration::from_secs(1)).await;
        gate.open();
    };
    tokio::join!(user.list("0/1"), other);
    paths.iter().for_each(|path| assert!(user.listed(path) <= ONCE, "{path}"));
}

#[tokio::test(start_paused = true)]
async fn another_directory_ends_a_walk() {
    let user = User::following(watching(), LONG);
    tree(&user);
    for path in ["", "4", "0", "0/0", "0/1", "4/0"] {
        user.list(path).await;
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    assert!(user.listed("0/2") + user.listed("1") > ONCE, "the walk has listed directories ahead");
    assert_eq!((user.listed("4/1"), user.listed("4/2")), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_listing_ahead_does_not_block_a_rename() {
    let user = User::following(watching(), LONG);
    for directory in ["a", "a/b", "x", "x/y"] {
        user.share.put_directory(directory);
    }
    for directory in ["", "a", "x"] {
        user.list(directory).await;
    }
    user.let_watches_report().await;
    let gate = user.share.hold_answer("WATCH");
    user.list("a").await;
    gate.reached().await;
    let vfs = Arc::clone(&user.vfs);
    let renaming =
        tokio::spawn(async move { operations::rename(&vfs, ROOT, OsStr::new("a"), ROOT, OsStr::new("z"), 0).await });
    tokio::task::yield_now().await;
    gate.open();
    renaming.await.unwrap().unwrap();
    assert!(user.is_there("z/b").await && !user.is_there("a").await);
}
