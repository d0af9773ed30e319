//! `mkdir`, `rmdir`, `rm -r`.

use crate::support::files::{fails_with, names};
use crate::support::scene::Scene;
use crate::support::server::{Kind, both_servers};
use rustix::io::Errno;
use std::fs;

both_servers!(
    folders_are_made_and_removed,
    a_deep_folder_is_made_and_removed_with_all_in_it,
    a_folder_that_exists_is_not_made_again,
    a_folder_that_is_not_empty_stays,
    only_folders_are_removed_as_folders,
    a_folder_made_by_somebody_else_counts,
);

fn folders_are_made_and_removed(kind: Kind) {
    let scene = Scene::on(kind);
    fs::create_dir(scene.here("folder")).unwrap();
    assert!(scene.there("folder").is_dir());
    assert!(fs::metadata(scene.here("folder")).unwrap().is_dir());
    fs::remove_dir(scene.here("folder")).unwrap();
    fails_with(fs::metadata(scene.here("folder")), Errno::NOENT);
    assert!(names(&scene.folder).is_empty());
}

fn a_deep_folder_is_made_and_removed_with_all_in_it(kind: Kind) {
    let scene = Scene::on(kind);
    let deep: String = (0..30).map(|level| format!("level {level}/")).collect();
    fs::create_dir_all(scene.here(&deep)).unwrap();
    fs::write(scene.here(&deep).join("file"), "x").unwrap();
    assert_eq!(fs::read(scene.there(&deep).join("file")).unwrap(), b"x");
    fs::remove_dir_all(scene.here("level 0")).unwrap();
    assert!(names(&scene.folder).is_empty());
}

fn a_folder_that_exists_is_not_made_again(kind: Kind) {
    let scene = Scene::on(kind);
    fs::create_dir(scene.here("folder")).unwrap();
    fs::write(scene.here("file"), "x").unwrap();
    fails_with(fs::create_dir(scene.here("folder")), Errno::EXIST);
    fails_with(fs::create_dir(scene.here("file")), Errno::EXIST);
    fails_with(fs::create_dir(scene.here("missing/below")), Errno::NOENT);
    fails_with(fs::create_dir(scene.here("file/below")), Errno::NOTDIR);
}

fn a_folder_that_is_not_empty_stays(kind: Kind) {
    let scene = Scene::on(kind);
    fs::create_dir(scene.here("folder")).unwrap();
    fs::write(scene.here("folder/file"), "x").unwrap();
    fails_with(fs::remove_dir(scene.here("folder")), Errno::NOTEMPTY);
    assert_eq!(fs::read(scene.there("folder/file")).unwrap(), b"x");
    fs::remove_file(scene.here("folder/file")).unwrap();
    fs::remove_dir(scene.here("folder")).unwrap();
}

fn only_folders_are_removed_as_folders(kind: Kind) {
    let scene = Scene::on(kind);
    fs::write(scene.here("file"), "x").unwrap();
    fails_with(fs::remove_dir(scene.here("file")), Errno::NOTDIR);
    fails_with(fs::remove_dir(scene.here("missing")), Errno::NOENT);
    assert_eq!(names(&scene.folder), ["file"]);
}

fn a_folder_made_by_somebody_else_counts(kind: Kind) {
    let scene = Scene::on(kind);
    fs::create_dir(scene.there("theirs")).unwrap();
    fails_with(fs::create_dir(scene.here("theirs")), Errno::EXIST);
    fs::write(scene.there("theirs/file"), "x").unwrap();
    fails_with(fs::remove_dir(scene.here("theirs")), Errno::NOTEMPTY);
}
