//! The frames that everyday jobs need. On a real network their number decides how long a job takes, and unlike seconds
//! it does not depend on the machine. Each job has a budget. A compound is one frame.

use crate::support::command::run;
use crate::support::files::{noise, tree};
use crate::support::line::Line;
use crate::support::scratch;
use crate::support::server::{Kind, Server};
use crate::support::wait_until;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

const LIMIT: Duration = Duration::from_secs(60);
/// Seconds after a change of a directory during which its times may still be those before the change, so that they
/// prove nothing.
const GRANULARITY: i64 = 3;
/// Longer than cached attributes are valid without a lease or watch (1 s).
const TIMEOUT: Duration = Duration::from_millis(1300);

fn line() -> Line {
    Line::to(Server::shared(Kind::Smbd), &[])
}

/// Counts the frames of a job, including those that follow from it until the connection is quiet.
pub(crate) fn frames(line: &Line, job: impl FnOnce()) -> Frames {
    let now = || (line.proxy.frames(), line.proxy.watching_frames());
    quiet(line);
    let before = now();
    job();
    quiet(line);
    let watching = now().1 - before.1;
    Frames { asked: now().0 - before.0 - watching, watching }
}

/// The number of frames that a job needs.
pub(crate) struct Frames {
    /// Frames whose answer a program or the end of the job waits for.
    pub(crate) asked: u64,
    /// CHANGE_NOTIFY frames. The mount's own changes are reported as well, and after each report the mount sends the
    /// next CHANGE_NOTIFY, because the watch guarantees nothing until then. No program waits for these frames.
    watching: u64,
}

/// Waits until no frame has been sent for 200 ms.
fn quiet(line: &Line) {
    let mut last = (line.proxy.frames(), Instant::now());
    wait_until(LIMIT, || {
        if line.proxy.frames() != last.0 {
            last = (line.proxy.frames(), Instant::now());
        }
        last.1.elapsed() > Duration::from_millis(200)
    });
}

/// Waits until the times of a folder, and of the folders in it, are old enough to show whether they have changed.
fn wait_until_times_are_reliable(folder: &Path) {
    let newest = |path: &Path| fs::metadata(path).unwrap().ctime();
    let mut newest_of_all = newest(folder);
    for path in tree(folder).into_iter().filter(|(_, sum)| sum.is_none()).map(|(path, _)| folder.join(path)) {
        newest_of_all = newest_of_all.max(newest(&path));
    }
    let now = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() as i64;
    assert!(wait_until(LIMIT, || now() > newest_of_all + GRANULARITY));
}

fn wait_for_the_timeout() {
    let start = Instant::now();
    wait_until(LIMIT, || start.elapsed() > TIMEOUT);
}

/// Makes folders with ten files each.
fn make_tree(root: &Path, folders: usize) {
    for folder in 0..folders {
        let path = root.join(format!("folder-{folder}"));
        fs::create_dir(&path).unwrap();
        for file in 0..10 {
            fs::write(path.join(format!("file-{file}")), noise((folder * 10 + file) as u64, 1000)).unwrap();
        }
    }
}

#[track_caller]
pub(crate) fn within(budget: u64, frames: Frames, job: &str) {
    let Frames { asked, watching } = frames;
    eprintln!("{job}: {asked} frames of {budget}, and {watching} of watches");
    assert!(asked <= budget, "{job}: {asked} frames, {budget} are allowed");
    // A file that is created and written causes up to three reports.
    let reports = budget * 3 / 2;
    assert!(watching <= reports, "{job}: {watching} frames of watches, {reports} are allowed");
}

#[test]
fn a_long_listing_needs_few_frames_and_none_when_repeated() {
    let line = line();
    for number in 0..10_000 {
        File::create(line.there(format!("a file of some length {number}"))).unwrap();
    }
    wait_until_times_are_reliable(&line.folder);
    let list = || {
        let listed = run(Command::new("ls").arg("-l").arg(line.mount.path()), LIMIT).success();
        assert_eq!(listed.stdout.lines().count(), 10_001);
    };
    within(30, frames(&line, list), "ls -l of 10,000 entries");
    wait_for_the_timeout();
    within(0, frames(&line, list), "again");
    line.mount.unmount();
}

#[test]
fn a_walk_needs_one_frame_per_folder_and_none_when_repeated() {
    const FOLDERS: usize = 200;
    let line = line();
    make_tree(&line.folder, FOLDERS);
    wait_until_times_are_reliable(&line.folder);
    let find = || {
        let found =
            run(Command::new("find").arg(line.mount.path()).args(["-type", "f", "-size", "+0"]), LIMIT).success();
        assert_eq!(found.stdout.lines().count(), FOLDERS * 10);
    };
    // The last queries of the listings share frames when they come together.
    within(FOLDERS as u64 * 110 / 100 + 4, frames(&line, find), "find");
    wait_for_the_timeout();
    within(0, frames(&line, find), "again");
    line.mount.unmount();
}

#[test]
fn lookups_of_many_names_in_a_folder_are_answered_by_one_listing() {
    let line = line();
    for number in 0..200 {
        File::create(line.there(format!("file-{number}"))).unwrap();
    }
    let stat = || (0..200).for_each(|number| assert!(fs::metadata(line.here(format!("file-{number}"))).is_ok()));
    within(12, frames(&line, stat), "stat of 200 files");
    let absent = || {
        for number in 0..200 {
            assert!(fs::metadata(line.here(format!("none-{number}"))).is_err());
        }
    };
    wait_for_the_timeout();
    within(12, frames(&line, absent), "200 missing names");
    line.mount.unmount();
}

#[test]
fn a_new_small_file_needs_two_frames() {
    const FILES: u64 = 200;
    let line = line();
    fs::create_dir(line.here("folder")).unwrap();
    let create = || {
        for number in 0..FILES {
            let mut file = File::create_new(line.here(format!("folder/file-{number}"))).unwrap();
            file.write_all(&noise(number, 4096)).unwrap();
        }
    };
    within(FILES * 22 / 10, frames(&line, create), "200 new files");
    for number in 0..FILES {
        assert!(fs::read(line.there(format!("folder/file-{number}"))).unwrap() == noise(number, 4096));
    }
    line.mount.unmount();
}

#[test]
fn a_link_needs_one_frame() {
    const LINKS: u64 = 100;
    let line = line();
    fs::create_dir(line.here("folder")).unwrap();
    fs::write(line.here("folder/file"), "one").unwrap();
    // The kernel looks both names up first. The server is not asked once the folders are watched.
    for number in 0..3 {
        let name = line.here(format!("folder/one-{number}"));
        for _ in 0..3 {
            wait_for_the_timeout();
            fs::metadata(line.here("folder/file")).unwrap();
            assert!(fs::symlink_metadata(&name).is_err());
        }
        within(1, frames(&line, || fs::hard_link(line.here("folder/file"), &name).unwrap()), "a link");
    }
    // Right after a change of the file and the folder, the server is asked.
    let link = || {
        for number in 0..LINKS {
            fs::hard_link(line.here("folder/file"), line.here(format!("folder/{number}"))).unwrap();
        }
    };
    within(LINKS * (1 + 2), frames(&line, link), "100 links");
    assert_eq!(fs::metadata(line.there("folder/file")).unwrap().nlink(), LINKS + 3 + 1);
    line.mount.unmount();
}

#[test]
fn many_names_of_one_file_are_listed_in_few_frames() {
    const NAMES: u64 = 300;
    let line = line();
    fs::create_dir(line.there("folder")).unwrap();
    fs::write(line.there("folder/file"), "one").unwrap();
    for number in 1..NAMES {
        fs::hard_link(line.there("folder/file"), line.there(format!("folder/{number}"))).unwrap();
    }
    let list = || {
        for entry in fs::read_dir(line.here("folder")).unwrap() {
            assert_eq!(entry.unwrap().metadata().unwrap().nlink(), NAMES);
        }
    };
    within(15, frames(&line, list), "300 names of one file");
    line.mount.unmount();
}

#[test]
fn unpacking_and_removing_a_tree_stays_in_its_budget() {
    const FOLDERS: usize = 20;
    const ENTRIES: u64 = 1 + FOLDERS as u64 * 11;
    let line = line();
    let source = scratch::folder("packed");
    fs::create_dir(source.join("tree")).unwrap();
    make_tree(&source.join("tree"), FOLDERS);
    let archive = scratch::folder("archive").join("tree.tar");
    run(Command::new("tar").arg("-C").arg(&source).arg("-cf").args([&archive]).arg("tree"), LIMIT).success();
    let unpack =
        || drop(run(Command::new("tar").arg("-C").arg(line.mount.path()).arg("-xf").arg(&archive), LIMIT).success());
    // In a folder whose watch was armed only a moment ago, lookups of missing names go to the server.
    within(ENTRIES * 28 / 10, frames(&line, unpack), "tar -x of 221 entries");
    assert_eq!(tree(&line.there("tree")), tree(&source.join("tree")));
    for name in tree(&line.there("tree")).into_keys() {
        let time = |root: &Path| fs::metadata(root.join(&name)).unwrap().mtime();
        assert_eq!(time(&line.here("tree")), time(&source.join("tree")), "{}", name.display());
    }
    let remove = || drop(run(Command::new("rm").arg("-r").arg(line.here("tree")), LIMIT).success());
    within(ENTRIES * 14 / 10, frames(&line, remove), "rm -r of it");
    assert!(!line.there("tree").exists());
    line.mount.unmount();
}

#[test]
fn reading_small_files_needs_one_frame_each_and_none_when_repeated() {
    const FOLDERS: usize = 20;
    const FILES: u64 = FOLDERS as u64 * 10;
    let line = line();
    make_tree(&line.folder, FOLDERS);
    wait_until_times_are_reliable(&line.folder);
    let grep = || {
        let found = run(Command::new("grep").args(["-r", "-c", "no such words"]).arg(line.mount.path()), LIMIT);
        assert_eq!((found.code, found.stdout.lines().count()), (Some(1), FILES as usize));
    };
    within(FILES * 13 / 10, frames(&line, grep), "grep -r of 200 files");
    wait_for_the_timeout();
    within(0, frames(&line, grep), "again");
    line.mount.unmount();
}

#[test]
fn opening_reading_and_closing_stays_in_its_budget() {
    let line = line();
    for number in 0..200 {
        fs::write(line.there(format!("file-{number}")), noise(number, 4096)).unwrap();
    }
    let read = |number: u64| assert!(fs::read(line.here(format!("file-{number}"))).unwrap() == noise(number, 4096));
    within(220, frames(&line, || (0..200).for_each(read)), "200 files");
    wait_for_the_timeout();
    let again = || {
        for _ in 0..1000 {
            let mut byte = [0];
            File::open(line.here("file-7")).unwrap().read_exact(&mut byte).unwrap();
        }
    };
    within(3, frames(&line, again), "one file 1,000 times");
    line.mount.unmount();
}

#[test]
fn git_status_needs_few_frames() {
    let line = line();
    let source = scratch::folder("repository");
    make_tree(&source, 30);
    let git = |folder: &Path, arguments: &[&str]| {
        let mut git = Command::new("git");
        git.env("HOME", &source).env("GIT_CONFIG_NOSYSTEM", "1").arg("-C").arg(folder).args(arguments);
        run(&mut git, LIMIT).success()
    };
    git(&source, &["init", "-q"]);
    git(&source, &["add", "."]);
    git(&source, &["-c", "user.name=a", "-c", "user.email=a@b", "commit", "-q", "-m", "all"]);
    let clone = line.here("clone");
    git(&source, &["clone", "-q", "--no-hardlinks", source.to_str().unwrap(), clone.to_str().unwrap()]);
    let status = || assert_eq!(git(&clone, &["status", "--porcelain"]).stdout, "");
    // Files that were just made are looked up once more.
    for _ in 0..2 {
        wait_for_the_timeout();
        status();
    }
    wait_for_the_timeout();
    within(30, frames(&line, status), "git status of 300 files");
    line.mount.unmount();
}

#[test]
fn a_database_transaction_needs_at_most_15_frames() {
    const TRANSACTIONS: usize = 30;
    let line = line();
    let database = line.here("database");
    let sqlite = |statements: &str| run(Command::new("sqlite3").arg(&database).arg(statements), LIMIT).success();
    sqlite("CREATE TABLE t (id INTEGER PRIMARY KEY, text);");
    let insert = "BEGIN; INSERT INTO t (text) VALUES ('some'), ('rows'); COMMIT;".repeat(TRANSACTIONS);
    within(TRANSACTIONS as u64 * 15, frames(&line, || drop(sqlite(&insert))), "30 transactions");
    assert_eq!(sqlite("SELECT count(*) FROM t; PRAGMA integrity_check;").stdout.trim(), "60\nok");
    line.mount.unmount();
}

/// Each file that a program creates in a watched folder is reported to the mount itself. That must cause no other
/// frames.
#[test]
fn own_changes_in_a_watched_folder_stay_in_their_budget() {
    const FILES: u64 = 200;
    let line = line();
    for number in 0..50 {
        File::create(line.there(format!("before-{number}"))).unwrap();
    }
    wait_until_times_are_reliable(&line.folder);
    assert_eq!(fs::read_dir(line.mount.path()).unwrap().count(), 50);
    let work = || {
        for number in 0..FILES {
            fs::write(line.here(format!("new-{number}")), noise(number, 500)).unwrap();
        }
    };
    within(FILES * 24 / 10 + 10, frames(&line, work), "200 files in a watched folder");
    let remove = || (0..FILES).for_each(|number| fs::remove_file(line.here(format!("new-{number}"))).unwrap());
    within(FILES * 12 / 10 + 10, frames(&line, remove), "removing them");
    assert_eq!(fs::read_dir(line.mount.path()).unwrap().count(), 50);
    line.mount.unmount();
}

/// A program lists a folder, and in a loop creates, stats and removes files in it. Each own change makes the listing
/// stale; that must not cause one new listing per change.
#[test]
fn own_changes_between_lookups_in_a_listed_folder_stay_in_their_budget() {
    const FILES: u64 = 100;
    let line = line();
    for number in 0..50 {
        File::create(line.there(format!("before-{number}"))).unwrap();
    }
    wait_until_times_are_reliable(&line.folder);
    let list = || fs::read_dir(line.mount.path()).unwrap().count() as u64;
    assert_eq!(list(), 50);
    let create = || {
        for number in 0..FILES {
            fs::write(line.here(format!("new-{number}")), noise(number, 500)).unwrap();
            assert!(fs::metadata(line.here("before-7")).is_ok());
            assert!(fs::metadata(line.here(format!("absent-{number}"))).is_err());
        }
    };
    within(FILES * 24 / 10, frames(&line, create), "100 files in a listed folder, with two looks each");
    assert_eq!(list(), 50 + FILES);
    let remove = || {
        for number in 0..FILES {
            fs::remove_file(line.here(format!("new-{number}"))).unwrap();
            assert!(fs::metadata(line.here(format!("new-{number}"))).is_err());
        }
    };
    within(FILES * 12 / 10, frames(&line, remove), "removing them, with a look each");
    let again = || {
        for number in 0..FILES {
            fs::write(line.here("again"), noise(number, 500)).unwrap();
            fs::remove_file(line.here("again")).unwrap();
            assert_eq!(list(), 50);
        }
    };
    within(FILES * 34 / 10, frames(&line, again), "a file made and removed, and a listing, 100 times");
    line.mount.unmount();
}
