//! Creating and deleting files.

use crate::support::files::{fails_with, names, noise};
use crate::support::scene::Scene;
use crate::support::server::{Kind, both_servers};
use rustix::fs::{CWD, FileType, Mode, mknodat};
use rustix::io::Errno;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};

both_servers!(
    exactly_one_of_many_creates_a_file,
    o_creat_keeps_the_content_of_an_existing_file,
    a_file_created_read_only_can_be_written_through_the_creating_handle,
    creating_a_file_in_a_missing_folder_fails,
    a_deleted_file_is_gone_everywhere,
    a_read_only_file_can_be_deleted,
    an_open_file_that_is_deleted_stays_readable_and_writable,
    the_name_of_a_deleted_open_file_is_free,
    deleting_a_folder_or_a_missing_name_as_a_file_fails,
    a_special_file_that_a_server_cannot_store_leaves_nothing,
    names_that_are_too_long_are_refused,
);

fn exactly_one_of_many_creates_a_file(kind: Kind) {
    let scene = Scene::on(kind);
    let create = || OpenOptions::new().write(true).create_new(true).open(scene.here("lock"));
    let made = std::thread::scope(|scope| {
        let tries: Vec<_> = (0..8).map(|_| scope.spawn(create)).collect();
        tries.into_iter().map(|attempt| attempt.join().unwrap()).filter(|made| made.is_ok()).count()
    });
    assert_eq!(made, 1);
    fails_with(create(), Errno::EXIST);
    // A file that this mount has not seen yet counts as well.
    fs::write(scene.there("theirs"), "x").unwrap();
    fails_with(File::create_new(scene.here("theirs")), Errno::EXIST);
    assert_eq!(fs::read(scene.there("theirs")).unwrap(), b"x");
}

fn o_creat_keeps_the_content_of_an_existing_file(kind: Kind) {
    let scene = Scene::on(kind);
    fs::write(scene.there("file"), "kept").unwrap();
    let file = OpenOptions::new().write(true).create(true).truncate(false).open(scene.here("file")).unwrap();
    assert_eq!(file.metadata().unwrap().len(), 4);
    drop(file);
    assert_eq!(fs::read(scene.there("file")).unwrap(), b"kept");
}

/// `cp`, `tar` and `git` do this with files that are to be read-only.
fn a_file_created_read_only_can_be_written_through_the_creating_handle(kind: Kind) {
    let scene = Scene::on(kind);
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o444).open(scene.here("object")).unwrap();
    file.write_all(b"content").unwrap();
    drop(file);
    assert_eq!(fs::read(scene.there("object")).unwrap(), b"content");
    assert_eq!(fs::metadata(scene.here("object")).unwrap().permissions().mode() & 0o777, 0o444);
}

fn creating_a_file_in_a_missing_folder_fails(kind: Kind) {
    let scene = Scene::on(kind);
    fs::write(scene.there("file"), "x").unwrap();
    fails_with(File::create(scene.here("missing/file")), Errno::NOENT);
    fails_with(File::create(scene.here("file/below")), Errno::NOTDIR);
}

fn a_deleted_file_is_gone_everywhere(kind: Kind) {
    let scene = Scene::on(kind);
    fs::write(scene.here("file"), "x").unwrap();
    fs::remove_file(scene.here("file")).unwrap();
    fails_with(fs::metadata(scene.here("file")), Errno::NOENT);
    assert!(names(scene.mount.path()).is_empty() && names(&scene.folder).is_empty());
    fs::write(scene.here("file"), "anew").unwrap();
    assert_eq!(fs::read(scene.there("file")).unwrap(), b"anew");
}

/// POSIX requires write permission on the folder, not on the file.
fn a_read_only_file_can_be_deleted(kind: Kind) {
    let scene = Scene::on(kind);
    fs::write(scene.here("file"), "x").unwrap();
    fs::set_permissions(scene.here("file"), Permissions::from_mode(0o444)).unwrap();
    fs::remove_file(scene.here("file")).unwrap();
    assert!(names(&scene.folder).is_empty());
}

fn an_open_file_that_is_deleted_stays_readable_and_writable(kind: Kind) {
    let scene = Scene::on(kind);
    let data = noise(1, 200_000);
    fs::write(scene.there("file"), &data).unwrap();
    let mut file = OpenOptions::new().read(true).write(true).open(scene.here("file")).unwrap();
    fs::remove_file(scene.here("file")).unwrap();
    fails_with(fs::metadata(scene.here("file")), Errno::NOENT);
    assert!(!names(scene.mount.path()).contains(&"file".to_owned()));
    let mut read = Vec::new();
    file.read_to_end(&mut read).unwrap();
    assert!(read == data);
    file.seek(SeekFrom::Start(0)).unwrap();
    file.write_all(b"changed").unwrap();
    file.seek(SeekFrom::Start(0)).unwrap();
    let mut head = [0; 7];
    file.read_exact(&mut head).unwrap();
    assert_eq!(&head, b"changed");
    drop(file);
    let empty = || names(&scene.folder).is_empty();
    assert!(crate::support::wait_until(std::time::Duration::from_secs(10), empty), "{:?}", names(&scene.folder));
}

fn the_name_of_a_deleted_open_file_is_free(kind: Kind) {
    let scene = Scene::on(kind);
    fs::write(scene.here("file"), "old").unwrap();
    let mut old = File::open(scene.here("file")).unwrap();
    fs::remove_file(scene.here("file")).unwrap();
    fs::write(scene.here("file"), "new").unwrap();
    let mut text = String::new();
    old.read_to_string(&mut text).unwrap();
    assert_eq!(text, "old");
    assert_eq!(fs::read(scene.there("file")).unwrap(), b"new");
    drop(old);
    assert_eq!(fs::read(scene.here("file")).unwrap(), b"new");
}

fn deleting_a_folder_or_a_missing_name_as_a_file_fails(kind: Kind) {
    let scene = Scene::on(kind);
    fs::create_dir(scene.there("folder")).unwrap();
    fs::write(scene.there("file"), "x").unwrap();
    fails_with(fs::remove_file(scene.here("missing")), Errno::NOENT);
    fails_with(fs::remove_file(scene.here("folder")), Errno::ISDIR);
    fails_with(fs::remove_file(scene.here("file/below")), Errno::NOTDIR);
    assert_eq!(names(&scene.folder), ["file", "folder"]);
}

fn a_special_file_that_a_server_cannot_store_leaves_nothing(kind: Kind) {
    let scene = Scene::on(kind);
    for what in [FileType::Fifo, FileType::Socket] {
        match mknodat(CWD, scene.here("odd"), what, Mode::from_raw_mode(0o600), 0) {
            Ok(()) => {
                let found = fs::symlink_metadata(scene.here("odd")).unwrap();
                assert_eq!(FileType::from_raw_mode(found.permissions().mode()), what);
                fs::remove_file(scene.here("odd")).unwrap();
            }
            Err(error) => assert_eq!((error, kind), (Errno::PERM, Kind::Embedded)),
        }
        assert!(names(&scene.folder).is_empty());
    }
    mknodat(CWD, scene.here("plain"), FileType::RegularFile, Mode::from_raw_mode(0o644), 0).unwrap();
    assert_eq!(names(&scene.folder), ["plain"]);
}

fn names_that_are_too_long_are_refused(kind: Kind) {
    let scene = Scene::on(kind);
    fs::write(scene.here("n".repeat(255)), "x").unwrap();
    assert_eq!(names(scene.mount.path()), ["n".repeat(255)]);
    fails_with(File::create(scene.here("n".repeat(256))), Errno::NAMETOOLONG);
}
