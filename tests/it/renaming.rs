//! `mv`: renaming files and folders.

use crate::support::files::{fails_with, names, noise};
use crate::support::scene::Scene;
use crate::support::server::{Kind, both_servers};
use crate::support::wait_until;
use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;
use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};

both_servers!(
    a_file_gets_another_name,
    a_file_moves_to_another_folder,
    a_file_replaces_another,
    a_file_that_is_open_is_replaced,
    an_open_file_can_be_written_after_its_rename,
    saving_by_renaming_a_new_file_over_the_old_works_many_times,
    rename_with_noreplace_replaces_nothing,
    renaming_a_file_to_its_own_name_keeps_it,
    a_rename_can_change_only_the_case_of_a_name,
    a_folder_moves_with_everything_in_it,
    a_folder_replaces_an_empty_folder,
    a_rename_that_must_fail_changes_nothing,
);

fn a_file_gets_another_name(kind: Kind) {
    let scene = Scene::on(kind);
    fs::write(scene.here("old"), "content").unwrap();
    fs::rename(scene.here("old"), scene.here("new")).unwrap();
    fails_with(fs::metadata(scene.here("old")), Errno::NOENT);
    assert_eq!(fs::read(scene.here("new")).unwrap(), b"content");
    assert_eq!(names(&scene.folder), ["new"]);
}

fn a_file_moves_to_another_folder(kind: Kind) {
    let scene = Scene::on(kind);
    fs::create_dir_all(scene.here("a/b")).unwrap();
    fs::write(scene.here("file"), "content").unwrap();
    fs::rename(scene.here("file"), scene.here("a/b/moved")).unwrap();
    assert_eq!(fs::read(scene.there("a/b/moved")).unwrap(), b"content");
    assert_eq!(names(&scene.folder), ["a"]);
}

fn a_file_replaces_another(kind: Kind) {
    let scene = Scene::on(kind);
    fs::write(scene.here("old"), "old content").unwrap();
    fs::write(scene.here("new"), "new").unwrap();
    fs::rename(scene.here("new"), scene.here("old")).unwrap();
    assert_eq!(fs::read(scene.here("old")).unwrap(), b"new");
    assert_eq!(fs::read(scene.there("old")).unwrap(), b"new");
    // The kernel releases the old file only after close(2) has returned. Until then a server that cannot replace open files
    // keeps it under a hidden name.
    let clean = || names(&scene.folder) == ["old"];
    assert!(wait_until(std::time::Duration::from_secs(10), clean), "{:?}", names(&scene.folder));
}

fn a_file_that_is_open_is_replaced(kind: Kind) {
    let scene = Scene::on(kind);
    fs::write(scene.here("old"), "old").unwrap();
    fs::write(scene.here("new"), "new").unwrap();
    let mut reader = File::open(scene.here("old")).unwrap();
    fs::rename(scene.here("new"), scene.here("old")).unwrap();
    let mut text = String::new();
    reader.read_to_string(&mut text).unwrap();
    assert_eq!(text, "old", "the open handle must still read the old file");
    assert_eq!(fs::read(scene.here("old")).unwrap(), b"new");
    drop(reader);
    let clean = || names(&scene.folder) == ["old"];
    assert!(wait_until(std::time::Duration::from_secs(10), clean), "{:?}", names(&scene.folder));
}

fn an_open_file_can_be_written_after_its_rename(kind: Kind) {
    let scene = Scene::on(kind);
    let mut file = File::create(scene.here("part")).unwrap();
    file.write_all(b"first, ").unwrap();
    fs::rename(scene.here("part"), scene.here("whole")).unwrap();
    file.write_all(b"second").unwrap();
    file.sync_all().unwrap();
    drop(file);
    assert_eq!(fs::read(scene.there("whole")).unwrap(), b"first, second");
    assert_eq!(names(&scene.folder), ["whole"]);
}

/// Editors and databases save files this way.
fn saving_by_renaming_a_new_file_over_the_old_works_many_times(kind: Kind) {
    let scene = Scene::on(kind);
    for round in 0..30_u64 {
        let data = noise(round, 5_000);
        let mut file = OpenOptions::new().write(true).create_new(true).open(scene.here("saved.tmp")).unwrap();
        file.write_all(&data).unwrap();
        file.sync_all().unwrap();
        drop(file);
        fs::rename(scene.here("saved.tmp"), scene.here("saved")).unwrap();
        assert!(fs::read(scene.here("saved")).unwrap() == data, "round {round}");
    }
    assert_eq!(names(&scene.folder), ["saved"]);
}

fn rename_with_noreplace_replaces_nothing(kind: Kind) {
    let scene = Scene::on(kind);
    fs::write(scene.here("a"), "a").unwrap();
    fs::write(scene.there("b"), "b").unwrap();
    let rename = |to| renameat_with(CWD, scene.here("a"), CWD, scene.here(to), RenameFlags::NOREPLACE);
    fails_with(rename("b"), Errno::EXIST);
    assert_eq!(fs::read(scene.there("b")).unwrap(), b"b");
    rename("c").unwrap();
    assert_eq!(names(&scene.folder), ["b", "c"]);
    let exchanged = renameat_with(CWD, scene.here("b"), CWD, scene.here("c"), RenameFlags::EXCHANGE);
    assert!(matches!(exchanged, Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP)), "{exchanged:?}");
}

fn renaming_a_file_to_its_own_name_keeps_it(kind: Kind) {
    let scene = Scene::on(kind);
    fs::write(scene.here("file"), "kept").unwrap();
    fs::rename(scene.here("file"), scene.here("file")).unwrap();
    assert_eq!(fs::read(scene.there("file")).unwrap(), b"kept");
}

/// On a server that ignores case both names mean the same file; the rename must neither fail nor lose the
/// file.
fn a_rename_can_change_only_the_case_of_a_name(kind: Kind) {
    let scene = Scene::on(kind);
    fs::write(scene.here("readme"), "kept").unwrap();
    fs::rename(scene.here("readme"), scene.here("README")).unwrap();
    assert_eq!(names(&scene.folder), ["README"]);
    assert_eq!(fs::read(scene.here("README")).unwrap(), b"kept");
}

fn a_folder_moves_with_everything_in_it(kind: Kind) {
    let scene = Scene::on(kind);
    fs::create_dir_all(scene.here("from/deep")).unwrap();
    fs::create_dir(scene.here("to")).unwrap();
    fs::write(scene.here("from/deep/file"), "content").unwrap();
    assert_eq!(fs::read(scene.here("from/deep/file")).unwrap(), b"content");
    fs::rename(scene.here("from"), scene.here("to/here")).unwrap();
    assert_eq!(fs::read(scene.here("to/here/deep/file")).unwrap(), b"content");
    fails_with(fs::metadata(scene.here("from/deep/file")), Errno::NOENT);
    assert_eq!(names(&scene.folder), ["to"]);
    fs::write(scene.here("to/here/deep/more"), "x").unwrap();
    assert_eq!(names(&scene.there("to/here/deep")), ["file", "more"]);
}

fn a_folder_replaces_an_empty_folder(kind: Kind) {
    let scene = Scene::on(kind);
    fs::create_dir_all(scene.here("full/inside")).unwrap();
    fs::create_dir(scene.here("empty")).unwrap();
    fs::rename(scene.here("full"), scene.here("empty")).unwrap();
    assert_eq!(names(&scene.folder), ["empty"]);
    assert_eq!(names(&scene.there("empty")), ["inside"]);
}

fn a_rename_that_must_fail_changes_nothing(kind: Kind) {
    let scene = Scene::on(kind);
    fs::create_dir_all(scene.here("folder/inside")).unwrap();
    fs::create_dir_all(scene.here("full/inside")).unwrap();
    fs::write(scene.here("file"), "x").unwrap();
    let rename = |from, to| fs::rename(scene.here(from), scene.here(to));
    fails_with(rename("missing", "anything"), Errno::NOENT);
    fails_with(rename("file", "missing/file"), Errno::NOENT);
    fails_with(rename("file", "folder"), Errno::ISDIR);
    fails_with(rename("folder", "file"), Errno::NOTDIR);
    fails_with(rename("folder", "full"), Errno::NOTEMPTY);
    fails_with(rename("folder", "folder/inside/itself"), Errno::INVAL);
    assert_eq!(names(&scene.folder), ["file", "folder", "full"]);
}
