//! `touch`, `cp -p`: times are kept, to the 100 ns that SMB has.

use crate::support::scene::Scene;
use crate::support::server::{Kind, both_servers};
use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, UTIME_NOW, UTIME_OMIT, futimens, utimensat};
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

both_servers!(
    times_of_a_file_are_kept_to_100_ns,
    times_of_a_folder_are_kept_to_100_ns,
    times_long_ago_and_far_ahead_are_kept,
    one_time_is_set_and_the_other_left,
    now_is_now,
    times_set_on_an_open_file_survive_its_closing,
    writing_changes_the_time,
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

fn times_long_ago_and_far_ahead_are_kept(kind: Kind) {
    let scene = Scene::on(kind);
    fs::write(scene.here("file"), "x").unwrap();
    // 2099, 2262; and 1969, 1950, which smb-server refuses (STATUS_NOT_SUPPORTED).
    let ahead = [4_086_892_800, 9_214_646_400];
    let ago: &[i64] = if kind == Kind::Smbd { &[-1, -631_152_000] } else { &[] };
    for seconds in ahead.into_iter().chain(ago.iter().copied()) {
        let time = Timespec { tv_sec: seconds, tv_nsec: 500_000_000 };
        set(&scene.here("file"), time, time);
        assert_eq!(modified(&scene.here("file")), time, "{seconds} s from 1970");
    }
}

fn one_time_is_set_and_the_other_left(kind: Kind) {
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

/// `cp -p` and `rsync` write, set the times on the same handle, and close.
fn times_set_on_an_open_file_survive_its_closing(kind: Kind) {
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

fn writing_changes_the_time(kind: Kind) {
    let scene = Scene::on(kind);
    fs::write(scene.here("file"), "x").unwrap();
    set(&scene.here("file"), NEW_YEAR, NEW_YEAR);
    fs::write(scene.here("file"), "changed").unwrap();
    assert!(modified(&scene.here("file")).tv_sec > LEAP_DAY.tv_sec, "make would not build it anew");
}

fn changing_a_folder_changes_its_time(kind: Kind) {
    let scene = Scene::with(kind, |request| request.arg("--attr-timeout=0"));
    fs::create_dir(scene.here("folder")).unwrap();
    set(&scene.here("folder"), NEW_YEAR, NEW_YEAR);
    fs::write(scene.here("folder/file"), "x").unwrap();
    assert!(modified(&scene.here("folder")).tv_sec > LEAP_DAY.tv_sec);
}
