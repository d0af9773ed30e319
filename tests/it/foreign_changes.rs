//! Changes by other clients that come in great number, all at once, or that look contradictory on this mount:
//! afterwards the names must be right.
//!
//! `here` makes the changes, `other` observes them.

use crate::support::command::run;
use crate::support::files::names;
use crate::support::pair::Pair;
use crate::support::server::{Kind, Server};
use crate::support::wait_until;
use rustix::process::Signal;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(60);
const SOON: Duration = Duration::from_secs(20);

fn pair() -> Pair {
    Pair::of(Server::shared(Kind::Smbd), LIMIT * 2)
}

const IS_GONE: &str = "No such file or directory";
const IS_NO_FOLDER: &str = "Not a directory";

/// The files below a folder, as `find` prints them. `find` may report errors that end with `message`, and no others.
fn find(folder: &Path, message: &str) -> Vec<String> {
    let found = run(Command::new("find").args([".", "-type", "f", "-links", "1"]).current_dir(folder), LIMIT);
    let is_it = |line: &str| line.ends_with(message);
    assert!(found.code == Some(0) || (found.code == Some(1) && found.stderr.lines().all(is_it)), "{found}");
    let mut files: Vec<_> = found.stdout.lines().map(str::to_owned).collect();
    files.sort();
    files
}

#[test]
fn a_walk_during_many_renames_finds_every_file_that_stays() {
    const FOLDERS: usize = 20;
    const FILES: usize = 20;
    let pair = pair();
    let mut staying = Vec::new();
    for folder in 0..FOLDERS {
        fs::create_dir(pair.there(format!("{folder}"))).unwrap();
        for file in 0..FILES {
            staying.push(format!("./{folder}/stays {file}"));
            fs::write(pair.there(format!("{folder}/stays {file}")), "text").unwrap();
            fs::write(pair.there(format!("{folder}/moves {file}")), "text").unwrap();
        }
    }
    staying.sort();
    let done = AtomicBool::new(false);
    let storm = || {
        let mut renames = 0;
        while !done.load(Ordering::SeqCst) {
            // Each file is moved to another folder and back.
            let (file, from) = (renames / 2 % FILES, renames / 2 / FILES % FOLDERS);
            let [from, to] = [format!("{from}/moves {file}"), format!("{}/moved {file}", (from + 7) % FOLDERS)];
            let (from, to) = if renames % 2 == 0 { (from, to) } else { (to, from) };
            fs::rename(pair.here(from), pair.here(to)).unwrap();
            renames += 1;
        }
        renames
    };
    let renames = thread::scope(|scope| {
        let storm = scope.spawn(storm);
        let walks = scope.spawn(|| {
            for walk in 0..15 {
                let mut found = find(pair.other.path(), IS_GONE);
                found.retain(|file| file.contains("stays"));
                assert!(found == staying, "walk {walk}: found {} of {} files that stay", found.len(), staying.len());
            }
        });
        let walked = walks.join();
        done.store(true, Ordering::SeqCst);
        walked.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        storm.join().unwrap()
    });
    assert!(renames > 0, "no rename was made");
    let there = find(&pair.scene.folder, IS_GONE);
    assert!(wait_until(SOON, || find(pair.other.path(), IS_GONE) == there), "after {renames} renames");
    pair.end();
}

/// The changes are made on the server's disk, so no lease break announces them. A walk that begins within the attribute
/// timeout may still enter a name that is no folder any more.
#[test]
fn folders_that_were_replaced_by_files_on_the_server_are_files() {
    const NAMES: usize = 50;
    let pair = pair();
    for round in 0..6 {
        for number in 0..NAMES {
            let path = pair.there(format!("{number}"));
            if round % 2 == 0 {
                let _ = fs::remove_file(&path);
                fs::create_dir(&path).unwrap();
                fs::write(path.join("inside"), "text").unwrap();
            } else {
                fs::remove_dir_all(&path).unwrap();
                fs::write(&path, "text").unwrap();
            }
        }
        let there = find(&pair.scene.folder, IS_NO_FOLDER);
        for (client, root) in [("the first", pair.scene.mount.path()), ("the second", pair.other.path())] {
            let mut seen = Vec::new();
            let is_right = wait_until(SOON, || {
                seen = find(root, IS_NO_FOLDER);
                seen == there
            });
            assert!(is_right, "round {round}, {client} client finds {} files of {}", seen.len(), there.len());
        }
    }
    pair.end();
}

/// smbd treats names that differ only in case as one name, unless both exist on its disk.
#[test]
fn two_names_that_differ_only_in_case_are_two_files() {
    let pair = pair();
    let both = ["Report", "report"];
    for round in 0..5 {
        for name in both {
            fs::write(pair.there(name), format!("{name} {round}")).unwrap();
        }
        for root in [pair.scene.mount.path(), pair.other.path()] {
            assert!(wait_until(SOON, || names(root) == both), "round {round}: {:?}", names(root));
            for name in both {
                let text = format!("{name} {round}");
                let read = || fs::read_to_string(root.join(name)).unwrap();
                assert!(wait_until(SOON, || read() == text), "round {round}, {name}: {:?}", read());
                assert_eq!(fs::metadata(root.join(name)).unwrap().len(), text.len() as u64);
            }
        }
        let (removed, left) = if round % 2 == 0 { (both[0], both[1]) } else { (both[1], both[0]) };
        fs::remove_file(pair.here(removed)).unwrap();
        assert_eq!(names(&pair.scene.folder), [left], "round {round}: the other file was removed");
        for root in [pair.scene.mount.path(), pair.other.path()] {
            assert!(wait_until(SOON, || names(root) == [left]), "round {round}: {:?}", names(root));
            assert_eq!(fs::read_to_string(root.join(left)).unwrap(), format!("{left} {round}"));
        }
        fs::remove_file(pair.there(left)).unwrap();
        assert!(wait_until(SOON, || names(pair.scene.mount.path()).is_empty()));
    }
    pair.end();
}

/// A client that was stopped receives 10,000 changes at once, or a report that there were too many.
#[test]
fn the_names_are_right_after_ten_thousand_changes_at_once() {
    const NAMES: usize = 10_000;
    let pair = pair();
    fs::create_dir(pair.here("folder")).unwrap();
    fs::write(pair.here("folder/before"), "old").unwrap();
    fs::write(pair.here("folder/gone"), "old").unwrap();
    let folder = pair.other("folder");
    let before = || names(&folder) == ["before", "gone"] && fs::read(folder.join("before")).unwrap() == b"old";
    assert!(wait_until(SOON, || folder.is_dir() && before()));
    // Long enough for the watch on the folder to be armed.
    thread::sleep(Duration::from_secs(2));
    assert!(before());

    pair.other.signal(Signal::STOP);
    let changed = || -> std::io::Result<()> {
        for number in 0..NAMES {
            fs::write(pair.there(format!("folder/{number}")), "new")?;
        }
        fs::write(pair.there("folder/beside"), "newer")?;
        fs::rename(pair.there("folder/beside"), pair.there("folder/before"))?;
        fs::remove_file(pair.there("folder/gone"))
    };
    let changed = changed();
    pair.other.signal(Signal::CONT);
    changed.unwrap();

    let there = names(&pair.there("folder"));
    assert_eq!(there.len(), NAMES + 1);
    for root in [pair.other.path(), pair.scene.mount.path()] {
        let mut seen = 0;
        let is_right = wait_until(SOON, || {
            let listed = names(&root.join("folder"));
            seen = listed.len();
            listed == there
        });
        assert!(is_right, "{seen} names of {}", there.len());
        assert_eq!(fs::read(root.join("folder/before")).unwrap(), b"newer");
        assert_eq!(fs::read(root.join(format!("folder/{}", NAMES - 1))).unwrap(), b"new");
        assert!(!root.join("folder/gone").exists());
    }
    fs::write(pair.here("folder/last"), "last").unwrap();
    assert!(
        wait_until(SOON, || fs::read(folder.join("last")).is_ok_and(|text| text == b"last")),
        "later changes are not seen"
    );
    pair.end();
}
