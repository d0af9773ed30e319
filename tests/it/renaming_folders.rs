//! `mv` of a folder in which something is open.

use crate::support::command::run;
use crate::support::files::{fails_with, names, noise};
use crate::support::pair::Pair;
use crate::support::scene::Scene;
use crate::support::server::{Kind, Server, Settings, both_servers};
use crate::support::smbd::Smbd;
use crate::support::wait_until;
use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;
use rustix::mm::{MapFlags, MsyncFlags, ProtFlags, mmap, msync, munmap};
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

both_servers!(
    a_folder_with_open_files_below_is_renamed,
    written_data_that_is_not_sent_yet_is_kept_by_the_rename_of_a_folder,
    hundreds_of_files_stay_open_while_a_folder_above_is_renamed,
    a_file_removed_while_open_goes_on_after_the_rename_of_its_folder,
    a_listing_goes_on_while_its_folder_is_renamed,
    a_mapped_file_goes_on_after_the_rename_of_its_folder,
    a_folder_replaces_an_empty_folder_that_is_being_listed,
    a_rename_of_a_folder_that_fails_leaves_its_open_files_as_they_were,
    two_names_cannot_be_exchanged,
    the_case_of_a_folders_name_can_be_changed,
);

const SOON: Duration = Duration::from_secs(10);

fn open(path: &Path) -> File {
    OpenOptions::new().read(true).write(true).open(path).unwrap()
}

fn read(file: &File, length: usize) -> Vec<u8> {
    let mut data = vec![0; length];
    file.read_exact_at(&mut data, 0).unwrap();
    data
}

fn a_folder_with_open_files_below_is_renamed(kind: Kind) {
    let scene = Scene::on(kind);
    fs::create_dir_all(scene.here("a/b/c")).unwrap();
    fs::write(scene.here("a/b/c/file"), "one").unwrap();
    fs::write(scene.here("a/log"), "").unwrap();
    let (deep, reader) = (open(&scene.here("a/b/c/file")), File::open(scene.here("a/b/c/file")).unwrap());
    let mut log = OpenOptions::new().append(true).open(scene.here("a/log")).unwrap();
    let ino = deep.metadata().unwrap().ino();
    log.write_all(b"first\n").unwrap();
    for (from, to) in [("a", "z"), ("z/b", "z/y"), ("z/y", "outside"), ("outside", "z/b"), ("z", "a")] {
        fs::rename(scene.here(from), scene.here(to)).unwrap();
        assert_eq!(read(&reader, 3), b"one", "after {from} became {to}");
        deep.write_all_at(b"one", 0).unwrap();
        log.write_all(b"more\n").unwrap();
    }
    deep.write_all_at(b" and two", 3).unwrap();
    deep.sync_all().unwrap();
    assert_eq!(read(&reader, 11), b"one and two");
    assert_eq!(fs::metadata(scene.here("a/b/c/file")).unwrap().ino(), ino);
    drop((deep, reader, log));
    assert_eq!(fs::read(scene.there("a/b/c/file")).unwrap(), b"one and two");
    assert_eq!(fs::read(scene.there("a/log")).unwrap(), b"first\nmore\nmore\nmore\nmore\nmore\n");
    assert_eq!(names(&scene.folder), ["a"]);
}

fn written_data_that_is_not_sent_yet_is_kept_by_the_rename_of_a_folder(kind: Kind) {
    let scene = Scene::on(kind);
    fs::create_dir(scene.here("a")).unwrap();
    let data = noise(1, 3_000_000);
    let mut file = File::create(scene.here("a/file")).unwrap();
    let (first, second) = data.split_at(1_700_000);
    file.write_all(first).unwrap();
    fs::rename(scene.here("a"), scene.here("z")).unwrap();
    file.write_all(second).unwrap();
    drop(file);
    assert!(fs::read(scene.there("z/file")).unwrap() == data);
    assert!(fs::read(scene.here("z/file")).unwrap() == data);
}

fn hundreds_of_files_stay_open_while_a_folder_above_is_renamed(kind: Kind) {
    let scene = Scene::on(kind);
    let name = |number: usize| format!("{}/file-{number}", number % 7);
    for folder in 0..7 {
        fs::create_dir_all(scene.here(format!("a/{folder}"))).unwrap();
    }
    let files: Vec<_> = (0..300)
        .map(|number| {
            let file = File::create_new(scene.here("a").join(name(number))).unwrap();
            file.write_all_at(format!("{number} before, ").as_bytes(), 0).unwrap();
            file
        })
        .collect();
    fs::rename(scene.here("a"), scene.here("z")).unwrap();
    for (number, file) in files.iter().enumerate() {
        let offset = format!("{number} before, ").len() as u64;
        file.write_all_at(b"after", offset).unwrap();
    }
    drop(files);
    for number in 0..300 {
        let content = fs::read_to_string(scene.there("z").join(name(number))).unwrap();
        assert_eq!(content, format!("{number} before, after"));
    }
}

fn a_file_removed_while_open_goes_on_after_the_rename_of_its_folder(kind: Kind) {
    let scene = Scene::on(kind);
    fs::create_dir_all(scene.here("a/b")).unwrap();
    fs::write(scene.here("a/b/file"), "removed").unwrap();
    let file = open(&scene.here("a/b/file"));
    fs::remove_file(scene.here("a/b/file")).unwrap();
    fs::rename(scene.here("a"), scene.here("z")).unwrap();
    assert_eq!(read(&file, 7), b"removed");
    file.write_all_at(b" and written", 7).unwrap();
    file.sync_all().unwrap();
    assert_eq!(read(&file, 19), b"removed and written");
    assert_eq!(file.metadata().unwrap().nlink(), 0);
    drop(file);
    assert!(wait_until(SOON, || names(&scene.there("z/b")).is_empty()), "{:?}", names(&scene.there("z/b")));
    fs::remove_dir(scene.here("z/b")).unwrap();
}

fn a_listing_goes_on_while_its_folder_is_renamed(kind: Kind) {
    let scene = Scene::on(kind);
    fs::create_dir_all(scene.there("a/long")).unwrap();
    for number in 0..5_000 {
        File::create(scene.there(format!("a/long/a file with a name that needs some room {number:05}"))).unwrap();
    }
    let mut listing = fs::read_dir(scene.here("a/long")).unwrap();
    let mut seen: Vec<_> = listing.by_ref().take(10).map(|entry| entry.unwrap().file_name()).collect();
    fs::rename(scene.here("a"), scene.here("z")).unwrap();
    seen.extend(listing.map(|entry| entry.unwrap().file_name()));
    seen.sort();
    seen.dedup();
    assert_eq!(seen.len(), 5_000);
    assert_eq!(names(&scene.here("z/long")).len(), 5_000);
}

fn a_mapped_file_goes_on_after_the_rename_of_its_folder(kind: Kind) {
    let scene = Scene::on(kind);
    fs::create_dir(scene.here("a")).unwrap();
    fs::write(scene.here("a/file"), vec![b'a'; 8192]).unwrap();
    let file = open(&scene.here("a/file"));
    let protection = ProtFlags::READ | ProtFlags::WRITE;
    // SAFETY: the mapping is new, at an address of the kernel's choice, and as long as the file, which nothing
    // truncates before the mapping is unmapped. The slice does not outlive the mapping.
    unsafe {
        let map = mmap(std::ptr::null_mut(), 8192, protection, MapFlags::SHARED, &file, 0).unwrap();
        let bytes = std::slice::from_raw_parts_mut(map.cast::<u8>(), 8192);
        bytes[0] = b'b';
        fs::rename(scene.here("a"), scene.here("z")).unwrap();
        assert_eq!((bytes[0], bytes[5000]), (b'b', b'a'));
        bytes[5000] = b'c';
        msync(map, 8192, MsyncFlags::SYNC).unwrap();
        munmap(map, 8192).unwrap();
    }
    drop(file);
    let content = fs::read(scene.there("z/file")).unwrap();
    assert_eq!((content[0], content[1], content[5000], content.len()), (b'b', b'a', b'c', 8192));
}

fn a_folder_replaces_an_empty_folder_that_is_being_listed(kind: Kind) {
    let scene = Scene::on(kind);
    for folder in ["full/inside", "empty"] {
        fs::create_dir_all(scene.here(folder)).unwrap();
    }
    fs::write(scene.here("full/inside/file"), "x").unwrap();
    let file = open(&scene.here("full/inside/file"));
    let mut listing = fs::read_dir(scene.here("empty")).unwrap();
    fs::rename(scene.here("full"), scene.here("empty")).unwrap();
    assert!(listing.next().is_none(), "the replaced folder was empty");
    file.write_all_at(b"y", 0).unwrap();
    drop(file);
    assert_eq!(fs::read(scene.there("empty/inside/file")).unwrap(), b"y");
    assert_eq!(names(&scene.folder), ["empty"]);
}

fn a_rename_of_a_folder_that_fails_leaves_its_open_files_as_they_were(kind: Kind) {
    let scene = Scene::on(kind);
    fs::create_dir_all(scene.here("a/b")).unwrap();
    fs::create_dir_all(scene.here("full/inside")).unwrap();
    fs::write(scene.here("a/b/file"), "one").unwrap();
    fs::write(scene.here("other"), "x").unwrap();
    let file = open(&scene.here("a/b/file"));
    fails_with(fs::rename(scene.here("a"), scene.here("full")), Errno::NOTEMPTY);
    fails_with(fs::rename(scene.here("a"), scene.here("other")), Errno::NOTDIR);
    fails_with(fs::rename(scene.here("a"), scene.here("a/b/c")), Errno::INVAL);
    fails_with(fs::rename(scene.here("a"), scene.here("missing/c")), Errno::NOENT);
    let noreplace = renameat_with(CWD, scene.here("a"), CWD, scene.here("full"), RenameFlags::NOREPLACE);
    fails_with(noreplace, Errno::EXIST);
    file.write_all_at(b"two", 0).unwrap();
    assert_eq!(read(&file, 3), b"two");
    drop(file);
    assert_eq!(fs::read(scene.there("a/b/file")).unwrap(), b"two");
    assert_eq!(names(&scene.folder), ["a", "full", "other"]);
}

/// SMB has no request that exchanges two names.
fn two_names_cannot_be_exchanged(kind: Kind) {
    let scene = Scene::on(kind);
    fs::create_dir(scene.here("a")).unwrap();
    fs::write(scene.here("b"), "b").unwrap();
    let exchanged = renameat_with(CWD, scene.here("a"), CWD, scene.here("b"), RenameFlags::EXCHANGE);
    fails_with(exchanged, Errno::INVAL);
    assert!(scene.there("a").is_dir() && scene.there("b").is_file());
}

#[test]
fn a_program_that_writes_without_a_pause_loses_nothing_while_folders_above_are_renamed() {
    let scene = Scene::on(Kind::Smbd);
    fs::create_dir_all(scene.here("a/b")).unwrap();
    let mut file = File::create(scene.here("a/b/log")).unwrap();
    let ends = Arc::new(AtomicBool::new(false));
    let written = std::thread::spawn({
        let ends = Arc::clone(&ends);
        move || {
            let mut lines = 0;
            while !ends.load(Ordering::Relaxed) {
                writeln!(file, "line {lines}").unwrap();
                lines += 1;
            }
            lines
        }
    });
    for _ in 0..15 {
        for (from, to) in [("a", "z"), ("z/b", "z/y"), ("z/y", "z/b"), ("z", "a")] {
            fs::rename(scene.here(from), scene.here(to)).unwrap();
        }
    }
    ends.store(true, Ordering::Relaxed);
    let lines = written.join().unwrap();
    let expected: String = (0..lines).map(|line| format!("line {line}\n")).collect();
    assert!(lines > 0 && fs::read_to_string(scene.there("a/b/log")).unwrap() == expected);
}

/// Samba lets another client's files be open, unless it is told to be strict.
#[test]
fn a_folder_with_files_that_another_client_has_open_is_renamed_where_the_server_allows_it() {
    let pair = Pair::on(Kind::Smbd);
    fs::create_dir(pair.here("a")).unwrap();
    fs::write(pair.here("a/file"), "one").unwrap();
    let (theirs, own) = (open(&pair.other("a/file")), open(&pair.here("a/file")));
    fs::rename(pair.here("a"), pair.here("z")).unwrap();
    theirs.write_all_at(b"two", 0).unwrap();
    theirs.sync_all().unwrap();
    assert!(wait_until(SOON, || read(&own, 3) == b"two"));
    drop((theirs, own));
    assert_eq!(fs::read(pair.there("z/file")).unwrap(), b"two");
}

#[test]
fn a_folder_with_files_that_another_client_has_open_is_busy_where_the_server_is_strict() {
    let settings = Settings { share_lines: &["strict rename = yes"], ..Settings::default() };
    let server = Arc::new(Server::Smbd(Smbd::start(settings)));
    let pair = Pair::of(server, Duration::from_secs(90));
    fs::create_dir(pair.here("a")).unwrap();
    fs::write(pair.here("a/file"), "one").unwrap();
    let (theirs, own) = (open(&pair.other("a/file")), open(&pair.here("a/file")));
    fails_with(fs::rename(pair.here("a"), pair.here("z")), Errno::BUSY);
    own.write_all_at(b"two", 0).unwrap();
    own.sync_all().unwrap();
    drop(theirs);
    let renamed = wait_until(SOON, || fs::rename(pair.here("a"), pair.here("z")).is_ok());
    assert!(renamed, "the other client has closed its file");
    own.write_all_at(b"six", 0).unwrap();
    drop(own);
    assert_eq!(fs::read(pair.there("z/file")).unwrap(), b"six");
}

/// What has no name cannot be opened again, so it stays open, and the folder stays where it is.
#[test]
fn a_folder_with_an_open_file_that_was_replaced_is_busy_until_that_is_closed() {
    let scene = Scene::on(Kind::Smbd);
    fs::create_dir(scene.here("a")).unwrap();
    fs::write(scene.here("a/file"), "old").unwrap();
    let (replaced, other) = (open(&scene.here("a/file")), File::create(scene.here("a/other")).unwrap());
    fs::write(scene.here("a/new"), "new").unwrap();
    fs::rename(scene.here("a/new"), scene.here("a/file")).unwrap();
    fails_with(fs::rename(scene.here("a"), scene.here("z")), Errno::BUSY);
    assert_eq!(read(&replaced, 3), b"old");
    other.write_all_at(b"goes on", 0).unwrap();
    drop(replaced);
    assert!(wait_until(SOON, || fs::rename(scene.here("a"), scene.here("z")).is_ok()));
    drop(other);
    assert_eq!(fs::read(scene.there("z/other")).unwrap(), b"goes on");
}

/// `mv Photos photos`: on a server that ignores case both names mean the folder.
fn the_case_of_a_folders_name_can_be_changed(kind: Kind) {
    let scene = Scene::on(kind);
    fs::create_dir(scene.here("Photos")).unwrap();
    fs::write(scene.here("Photos/file"), "x").unwrap();
    let file = open(&scene.here("Photos/file"));
    let mv = |from: &str, to: &str| {
        let mut mv = Command::new("mv");
        mv.arg(scene.here(from)).arg(scene.here(to));
        let done = run(&mut mv, Duration::from_secs(30));
        assert_eq!(done.code, Some(0), "{}", done.stderr);
    };
    for (from, to) in [("Photos", "photos"), ("photos", "PHOTOS"), ("PHOTOS", "Photos")] {
        mv(from, to);
        assert_eq!(names(&scene.folder), [to]);
        assert_eq!(fs::read(scene.here(to).join("file")).unwrap(), b"x");
    }
    // As programs do that look at the new name before.
    let _ = fs::metadata(scene.here("photos"));
    fs::rename(scene.here("Photos"), scene.here("photos")).unwrap();
    assert_eq!(names(&scene.folder), ["photos"]);
    file.write_all_at(b"y", 0).unwrap();
    drop(file);
    mv("photos/file", "photos/FILE");
    assert_eq!(fs::read(scene.there("photos/FILE")).unwrap(), b"y");
    assert_eq!(names(&scene.there("photos")), ["FILE"]);
}

/// On a server that ignores case a folder cannot be moved into itself by another spelling either.
#[test]
fn a_folder_is_not_moved_into_itself_by_another_spelling() {
    let scene = Scene::on(Kind::Smbd);
    fs::create_dir_all(scene.here("Photos/2024")).unwrap();
    for target in ["photos/Photos", "PHOTOS/2024/x"] {
        fails_with(fs::rename(scene.here("Photos"), scene.here(target)), Errno::INVAL);
    }
    assert_eq!(names(&scene.folder), ["Photos"]);
}
