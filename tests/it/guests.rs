//! What this client keeps open at the server without a program that uses it: watches, and files kept open for the next
//! open. These opens must not delay or block another client, a program on this mount, or an operation on the server's
//! disk. (The guest account has nothing to do with it: see `dialects.rs`.)
//!
//! `here` creates and removes files; `other` has listed, watched and read them.

use crate::support::command::{Run, run};
use crate::support::files::names;
use crate::support::mount::Request;
use crate::support::new_samba::both_sambas;
use crate::support::pair::Pair;
use crate::support::server::{Kind, Server, Settings};
use crate::support::wait_until;
use rustix::fs::{Mode, OFlags, open};
use std::fs::{self, File};
use std::io::Read;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

both_sambas!(
    a_tree_that_another_client_has_just_read_can_be_removed_at_once,
    a_tree_that_another_client_watches_can_be_removed_at_once,
    a_walk_over_more_folders_than_the_server_has_handles_finds_every_file,
    a_walk_with_few_handles_and_few_credits_finds_every_file,
    after_half_a_minute_without_use_the_server_has_nothing_open,
);

const LIMIT: Duration = Duration::from_secs(60);
const SOON: Duration = Duration::from_secs(20);
const ROUNDS: usize = 20;
/// The longest a command may run. A break takes one round trip; if it is not acknowledged, the server waits for 35 s.
/// The limit is between the two and leaves time for smbd and a busy machine: smbd 4.17 retries a delayed open after one
/// second.
const A_BREAK_AND_MORE: Duration = Duration::from_secs(5);

/// The folders that a round removes or renames, each in a different way.
const KINDS: [&str; 5] = ["removed", "moved", "empty", "replaced", "read"];

fn shell(script: &str, folder: &Path) -> Run {
    run(Command::new("sh").args(["-c", script]).current_dir(folder), LIMIT)
}

fn make_trees(pair: &Pair, round: usize) {
    let root = pair.here(format!("{round}"));
    for tree in ["removed/a/deep", "removed/b", "moved/a", "empty", "replaced", "read"] {
        fs::create_dir_all(root.join(tree)).unwrap();
    }
    for file in ["removed/a/deep/file", "removed/b/file", "moved/a/file", "read/file"] {
        fs::write(root.join(file), "content").unwrap();
    }
}

/// Lists, stats and reads everything below a folder, and repeats that until nothing is missing.
fn look_at(pair: &Pair, round: usize) {
    let root = pair.other(format!("{round}"));
    let all = || {
        let listed = shell("ls -lR . && cat removed/a/deep/file removed/b/file moved/a/file read/file", &root);
        listed.code == Some(0)
    };
    assert!(wait_until(SOON, || root.is_dir() && names(&root).len() == KINDS.len() && all()), "round {round}");
}

/// Removes and renames everything that `make_trees` has made. Each command must succeed within [`A_BREAK_AND_MORE`].
/// Returns the longest running time.
fn remove_trees(pair: &Pair, round: usize) -> Duration {
    let mut slowest = Duration::ZERO;
    let root = pair.here(format!("{round}"));
    let there = pair.there(format!("{round}"));
    for (script, gone) in [
        ("mv read/file read/other && mv read elsewhere", "read"),
        ("mv moved away && mv away/a/file away/a/renamed", "moved"),
        ("mkdir new && mv -T new replaced && rmdir replaced", "replaced"),
        ("rmdir empty", "empty"),
        ("rm -rf removed", "removed"),
        ("rm -rf ../$(basename $PWD)", ""),
    ] {
        let done = shell(script, &root).success();
        assert!(!there.join(gone).exists(), "round {round}: {script}: it is still there");
        assert!(done.took < A_BREAK_AND_MORE, "round {round}: {done}");
        slowest = slowest.max(done.took);
    }
    slowest
}

fn a_tree_that_another_client_has_just_read_can_be_removed_at_once(kind: Kind) {
    let pair = Pair::of(Server::shared(kind), LIMIT * 2);
    let round = |round| {
        make_trees(&pair, round);
        look_at(&pair, round);
        remove_trees(&pair, round)
    };
    eprintln!("the slowest of {ROUNDS} rounds' commands ran for {:?}", (0..ROUNDS).map(round).max());
    assert_eq!(names(&pair.scene.folder), Vec::<String>::new());
    pair.end();
}

/// A watch is armed only after the folder has been unchanged for some time.
fn a_tree_that_another_client_watches_can_be_removed_at_once(kind: Kind) {
    let pair = Pair::of(Server::shared(kind), LIMIT * 2);
    (0..ROUNDS).for_each(|round| make_trees(&pair, round));
    for pause in [2, 1] {
        thread::sleep(Duration::from_secs(pause));
        (0..ROUNDS).for_each(|round| look_at(&pair, round));
    }
    thread::sleep(Duration::from_secs(3));
    let slowest = (0..ROUNDS).map(|round| remove_trees(&pair, round)).max();
    eprintln!("the slowest of {ROUNDS} rounds' commands ran for {slowest:?}");
    assert_eq!(names(&pair.scene.folder), Vec::<String>::new());
    pair.end();
}

fn a_walk_with(kind: Kind, settings: Settings) {
    const FOLDERS: usize = 400;
    let server = Arc::new(Server::start(kind, settings));
    for number in 0..FOLDERS {
        let folder = server.folder().join(format!("tree/{number}"));
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("file"), format!("needle {number}")).unwrap();
    }
    let mount = Request::new(server.url("")).mount();
    for walk in ["find tree -type f", "grep -rc needle tree", "find tree -type f -size +0 -links 1"] {
        let found = shell(walk, mount.path()).success();
        assert_eq!((found.stdout.lines().count(), found.stderr.as_str()), (FOLDERS, ""), "{walk}");
        for work in [
            "echo text >new && test \"$(cat new)\" = text && mv new newer && rm newer",
            "test \"$(cat tree/7/file)\" = 'needle 7' && stat tree/9 tree/399/file && ls tree/11",
            "mkdir folder && rmdir folder && df . && ls -l . && cp tree/13/file . && rm file",
        ] {
            let done = shell(work, mount.path()).success();
            assert_eq!(done.stderr, "", "after {walk}: {work}");
        }
    }
    mount.unmount();
}

fn a_walk_over_more_folders_than_the_server_has_handles_finds_every_file(kind: Kind) {
    a_walk_with(kind, Settings { max_open_files: Some(200), ..Settings::default() });
}

fn a_walk_with_few_handles_and_few_credits_finds_every_file(kind: Kind) {
    a_walk_with(kind, Settings { max_open_files: Some(110), max_credits: Some(32), ..Settings::default() });
}

/// An administrator can unmount a disk below the share. The test holds descriptors opened with O_PATH, because a kernel
/// with plenty of memory keeps the names of used files.
fn after_half_a_minute_without_use_the_server_has_nothing_open(kind: Kind) {
    const IDLE: Duration = Duration::from_secs(35);
    let server = Server::start(kind, Settings::default());
    let disk = server.folder().join("disk");
    fs::create_dir_all(disk.join("folder/deeper")).unwrap();
    let files = ["disk/read", "disk/folder/written", "disk/folder/deeper/read"];
    files.iter().for_each(|file| fs::write(server.folder().join(file), "content").unwrap());
    let mount = Request::new(server.url("")).mount();
    for _ in 0..2 {
        shell("ls -lR disk && cat disk/read disk/folder/deeper/read", mount.path()).success();
        fs::write(mount.join("disk/folder/written"), "anew").unwrap();
        thread::sleep(Duration::from_secs(1));
    }
    let names = ["disk", "disk/folder", "disk/folder/deeper"].into_iter().chain(files);
    let pins: Vec<_> = names.map(|name| open(mount.join(name), OFlags::PATH, Mode::empty()).unwrap()).collect();
    let last_use = Instant::now();
    let is_closed = wait_until(IDLE, || server.smbd().open_below(Path::new("disk")).is_empty());
    let left = server.smbd().open_below(Path::new("disk"));
    assert!(is_closed, "open {:?} after the last use: {left:?}", last_use.elapsed());
    // A file that was closed for the idle time can be used again.
    let mut text = String::new();
    File::open(mount.join("disk/read")).unwrap().read_to_string(&mut text).unwrap();
    assert_eq!(text, "content");
    drop(pins);
    mount.unmount();
}
