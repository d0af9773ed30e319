//! `touch`, `cp -p`: times are kept to 100 ns, the resolution of SMB. Changes move the right times.

use crate::support::scene::Scene;
use crate::support::server::{Kind, both_servers};
use crate::support::wait_until;
use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, UTIME_NOW, UTIME_OMIT, copy_file_range, futimens, utimensat};
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::thread;
use std::time::Duration;

both_servers!(
    times_of_a_file_are_kept_to_100_ns,
    times_of_a_folder_are_kept_to_100_ns,
    times_before_1970_and_far_in_the_future_are_kept,
    one_time_can_be_set_without_the_other,
    now_is_now,
    times_set_on_an_open_file_survive_its_close,
    writing_changes_the_time,
    a_truncating_open_changes_the_times_at_once,
    changing_a_folder_changes_its_time,
);

const NEW_YEAR: Timespec = Timespec { tv_sec: 1_704_067_200, tv_nsec: 123_456_700 };
const LEAP_DAY: Timespec = Timespec { tv_sec: 1_709_164_800, tv_nsec: 987_654_300 };
const OMIT: Timespec = Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT as _ };
const NOW: Timespec = Timespec { tv_sec: 0, tv_nsec: UTIME_NOW as _ };

fn set(path: &Path, accessed: Timespec, modified: Timespec) {
    let times = Timestamps { last_access: accessed, last_modification: modified };
    utimensat(CWD, path, &times, AtFlags::empty()).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
}

fn modified(path: &Path) -> Timespec {
    let metadata = fs::metadata(path).unwrap();
    Timespec { tv_sec: metadata.mtime(), tv_nsec: metadata.mtime_nsec() }
}

fn accessed(path: &Path) -> Timespec {
    let metadata = fs::metadata(path).unwrap();
    Timespec { tv_sec: metadata.atime(), tv_nsec: metadata.atime_nsec() }
}

fn are_kept(scene: &Scene, name: &str) {
    set(&scene.here(name), NEW_YEAR, LEAP_DAY);
    assert_eq!((accessed(&scene.here(name)), modified(&scene.here(name))), (NEW_YEAR, LEAP_DAY));
    let other = scene.second_mount();
    assert_eq!(modified(&other.join(name)), LEAP_DAY, "on the server");
    assert_eq!(modified(&scene.there(name)), LEAP_DAY, "on the server's disk");
}

fn times_of_a_file_are_kept_to_100_ns(kind: Kind) {
    let scene = Scene::on(kind);
    fs::write(scene.here("file"), "x").unwrap();
    are_kept(&scene, "file");
}

fn times_of_a_folder_are_kept_to_100_ns(kind: Kind) {
    let scene = Scene::on(kind);
    fs::create_dir(scene.here("folder")).unwrap();
    are_kept(&scene, "folder");
}

fn times_before_1970_and_far_in_the_future_are_kept(kind: Kind) {
    let scene = Scene::on(kind);
    fs::write(scene.here("file"), "x").unwrap();
    // Years 2099 and 2262; and 1969 and 1950, which smb-server refuses (STATUS_NOT_SUPPORTED).
    let ahead = [4_086_892_800, 9_214_646_400];
    let ago: &[i64] = if kind == Kind::Smbd { &[-1, -631_152_000] } else { &[] };
    for seconds in ahead.into_iter().chain(ago.iter().copied()) {
        let time = Timespec { tv_sec: seconds, tv_nsec: 500_000_000 };
        set(&scene.here("file"), time, time);
        assert_eq!(modified(&scene.here("file")), time, "{seconds} s from 1970");
    }
}

fn one_time_can_be_set_without_the_other(kind: Kind) {
    let scene = Scene::on(kind);
    fs::write(scene.here("file"), "x").unwrap();
    set(&scene.here("file"), NEW_YEAR, NEW_YEAR);
    set(&scene.here("file"), OMIT, LEAP_DAY);
    assert_eq!((accessed(&scene.here("file")), modified(&scene.here("file"))), (NEW_YEAR, LEAP_DAY));
    set(&scene.here("file"), LEAP_DAY, OMIT);
    assert_eq!((accessed(&scene.here("file")), modified(&scene.here("file"))), (LEAP_DAY, LEAP_DAY));
}

fn now_is_now(kind: Kind) {
    let scene = Scene::on(kind);
    fs::write(scene.here("file"), "x").unwrap();
    set(&scene.here("file"), NEW_YEAR, NEW_YEAR);
    let before = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs() as i64;
    set(&scene.here("file"), NOW, NOW);
    assert!(modified(&scene.here("file")).tv_sec >= before - 1);
}

/// `cp -p` and `rsync` write, set the times on the same handle, and close it.
fn times_set_on_an_open_file_survive_its_close(kind: Kind) {
    let scene = Scene::on(kind);
    for length in [10, 3_000_000] {
        let mut file = File::create(scene.here("copy")).unwrap();
        file.write_all(&vec![1; length]).unwrap();
        futimens(&file, &Timestamps { last_access: NEW_YEAR, last_modification: LEAP_DAY }).unwrap();
        drop(file);
        assert_eq!(modified(&scene.here("copy")), LEAP_DAY);
        assert_eq!(modified(&scene.there("copy")), LEAP_DAY, "{length} bytes, on the server's disk");
    }
}

fn a_truncating_open_changes_the_times_at_once(kind: Kind) {
    let scene = Scene::on(kind);
    let path = scene.here("file");
    fs::write(&path, "data").unwrap();
    fs::write(&path, "data").unwrap();
    let before = fs::metadata(&path).unwrap();
    thread::sleep(Duration::from_millis(1200));
    drop(File::options().write(true).truncate(true).open(&path).unwrap());
    let after = fs::metadata(&path).unwrap();
    assert!(after.modified().unwrap() > before.modified().unwrap() && after.ctime() > before.ctime(), "{after:?}");
}

fn writing_changes_the_time(kind: Kind) {
    let scene = Scene::on(kind);
    fs::write(scene.here("file"), "x").unwrap();
    set(&scene.here("file"), NEW_YEAR, NEW_YEAR);
    fs::write(scene.here("file"), "changed").unwrap();
    assert!(
        modified(&scene.here("file")).tv_sec > LEAP_DAY.tv_sec,
        "the time did not move, so make would not rebuild it"
    );
}

fn changing_a_folder_changes_its_time(kind: Kind) {
    let scene = Scene::with(kind, |request| request.arg("--attr-timeout=0"));
    fs::create_dir(scene.here("folder")).unwrap();
    set(&scene.here("folder"), NEW_YEAR, NEW_YEAR);
    fs::write(scene.here("folder/file"), "x").unwrap();
    assert!(modified(&scene.here("folder")).tv_sec > LEAP_DAY.tv_sec);
}

/// The longest wait for the server's time: the attribute timeout of 1 s, and 1.5 s for a busy machine.
const TIMEOUT: Duration = Duration::from_millis(2500);
/// The pause between two changes after which their times differ on every server.
const APART: Duration = Duration::from_millis(30);

fn changed(path: &Path) -> (i64, i64) {
    let metadata = fs::metadata(path).unwrap();
    (metadata.ctime(), metadata.ctime_nsec())
}

/// Asserts that the mount shows the server's modification time of a folder within [`TIMEOUT`].
#[track_caller]
fn is_soon_the_servers(scene: &Scene, name: &str) {
    // SMB times count units of 100 ns.
    let units = |time: Timespec| (time.tv_sec, time.tv_nsec / 100);
    let is_the_same = || units(modified(&scene.here(name))) == units(modified(&scene.there(name)));
    assert!(
        wait_until(TIMEOUT, is_the_same),
        "{name}: {:?}",
        (modified(&scene.here(name)), modified(&scene.there(name)))
    );
}

/// With the program's defaults the attributes of a folder are cached for a second or longer.
#[test]
fn a_folder_shows_its_new_time_at_once_after_a_change_on_this_mount() {
    let scene = Scene::on(Kind::Smbd);
    type Work = fn(&Path);
    let works: [(&str, Work); 6] = [
        ("a new file", |folder| fs::write(folder.join("file"), "x").unwrap()),
        ("a new folder", |folder| fs::create_dir(folder.join("folder")).unwrap()),
        ("a renamed file", |folder| fs::rename(folder.join("file"), folder.join("renamed")).unwrap()),
        ("a renamed folder", |folder| fs::rename(folder.join("folder"), folder.join("moved")).unwrap()),
        ("a removed file", |folder| fs::remove_file(folder.join("renamed")).unwrap()),
        ("a removed folder", |folder| fs::remove_dir(folder.join("moved")).unwrap()),
    ];
    let mut late = Vec::new();
    for round in 0..20 {
        let (name, pause) = (format!("{round}"), if round % 2 == 0 { APART } else { Duration::ZERO });
        fs::create_dir(scene.here(&name)).unwrap();
        for (what, work) in works {
            let before = modified(&scene.here(&name));
            thread::sleep(pause);
            work(&scene.here(&name));
            let (here, there) = (modified(&scene.here(&name)), modified(&scene.there(&name)));
            if pause > Duration::ZERO && here <= before || here < before {
                late.push(format!(
                    "{what}, round {round}: {here:?} is shown after {before:?}, the server has {there:?}"
                ));
            }
        }
        is_soon_the_servers(&scene, &name);
    }
    assert!(late.is_empty(), "{} of 120 are late:\n{}", late.len(), late.join("\n"));
}

#[test]
fn a_rename_between_two_folders_changes_the_time_of_both() {
    let scene = Scene::on(Kind::Smbd);
    for round in 0..10 {
        let folders = [format!("from {round}"), format!("to {round}")];
        folders.iter().for_each(|folder| fs::create_dir(scene.here(folder)).unwrap());
        fs::write(scene.here(&folders[0]).join("file"), "x").unwrap();
        let times = || folders.each_ref().map(|folder| modified(&scene.here(folder)));
        let before = times();
        thread::sleep(APART);
        fs::rename(scene.here(&folders[0]).join("file"), scene.here(&folders[1]).join("file")).unwrap();
        let after = times();
        assert!(after[0] > before[0] && after[1] > before[1], "round {round}: {before:?}, {after:?}");
        folders.iter().for_each(|folder| is_soon_the_servers(&scene, folder));
    }
}

#[test]
fn the_target_of_a_server_side_copy_shows_its_new_time_and_size_at_once() {
    let scene = Scene::on(Kind::Smbd);
    for (round, length) in [10, 100_000, 3_000_000].into_iter().enumerate() {
        for existing in [true, false] {
            let target = scene.here(format!("target {round} {existing}"));
            fs::write(scene.here("source"), vec![1; length]).unwrap();
            fs::write(&target, "old").unwrap();
            if existing {
                set(&target, NEW_YEAR, NEW_YEAR);
            }
            let (from, to) =
                (File::open(scene.here("source")).unwrap(), File::options().write(true).open(&target).unwrap());
            let before = modified(&target);
            thread::sleep(APART);
            let mut left = length;
            while left > 0 {
                left -= copy_file_range(&from, None, &to, None, left).unwrap();
            }
            assert_eq!(fs::metadata(&target).unwrap().len(), length as u64);
            assert!(modified(&target) > before, "{length} bytes, an old target: {existing}: {before:?}");
        }
    }
}

#[test]
fn chmod_rename_and_utimes_move_the_time_of_change() {
    let scene = Scene::on(Kind::Smbd);
    type Work = fn(&Path);
    let works: [(&str, Work); 4] = [
        ("chmod -w", |path| fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o444)).unwrap()),
        ("chmod +w", |path| fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap()),
        ("utimes", |path| set(path, NEW_YEAR, LEAP_DAY)),
        ("mv there and back", |path| {
            fs::rename(path, path.with_extension("moved")).unwrap();
            fs::rename(path.with_extension("moved"), path).unwrap();
        }),
    ];
    let mut late = Vec::new();
    for round in 0..5 {
        let path = scene.here(format!("{round}"));
        fs::write(&path, "x").unwrap();
        for (what, work) in works {
            let before = changed(&path);
            thread::sleep(APART);
            work(&path);
            if changed(&path) <= before {
                late.push(format!("{what}, round {round}: {before:?} before, {:?} after", changed(&path)));
            }
        }
    }
    assert!(late.is_empty(), "{} of 20 changes do not move the time:\n{}", late.len(), late.join("\n"));
}

/// The access time of a file that is open here. For other files a watch on their folder guarantees the attributes, and
/// no server reports changes of the access time.
#[test]
fn the_access_time_of_an_open_file_is_the_servers_within_the_timeout() {
    let scene = Scene::on(Kind::Smbd);
    fs::write(scene.here("file"), "x").unwrap();
    for (round, time) in [NEW_YEAR, LEAP_DAY].into_iter().cycle().enumerate().take(4) {
        let open = File::open(scene.here("file")).unwrap();
        assert_eq!(fs::read(scene.here("file")).unwrap(), b"x");
        set(&scene.there("file"), time, OMIT);
        let is_seen = wait_until(TIMEOUT, || accessed(&scene.here("file")) == time);
        assert!(is_seen, "round {round}: {:?}, the server has {time:?}", accessed(&scene.here("file")));
        drop(open);
    }
}
