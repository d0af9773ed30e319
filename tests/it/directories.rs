//! `mkdir`, `rmdir`, `rm -r`.

use crate::support::files::{fails_with, names};
use crate::support::scene::Scene;
use crate::support::server::{Kind, both_servers};
use rustix::io::Errno;
use std::fs;

both_servers!(
    folders_are_created_and_removed,
    a_deep_folder_tree_is_created_and_removed,
    mkdir_of_an_existing_name_fails,
    rmdir_of_a_folder_that_is_not_empty_fails,
    rmdir_of_a_file_fails_and_keeps_the_file,
    a_folder_created_on_the_server_is_respected_by_mkdir_and_rmdir,
);

fn folders_are_created_and_removed(kind: Kind) {
    let scene = Scene::on(kind);
    fs::create_dir(scene.here("folder")).unwrap();
    assert!(scene.there("folder").is_dir());
    assert!(fs::metadata(scene.here("folder")).unwrap().is_dir());
    fs::remove_dir(scene.here("folder")).unwrap();
    fails_with(fs::metadata(scene.here("folder")), Errno::NOENT);
    assert!(names(&scene.folder).is_empty());
}

fn a_deep_folder_tree_is_created_and_removed(kind: Kind) {
    let scene = Scene::on(kind);
    let deep: String = (0..30).map(|level| format!("level {level}/")).collect();
    fs::create_dir_all(scene.here(&deep)).unwrap();
    fs::write(scene.here(&deep).join("file"), "x").unwrap();
    assert_eq!(fs::read(scene.there(&deep).join("file")).unwrap(), b"x");
    fs::remove_dir_all(scene.here("level 0")).unwrap();
    assert!(names(&scene.folder).is_empty());
}

fn mkdir_of_an_existing_name_fails(kind: Kind) {
    let scene = Scene::on(kind);
    fs::create_dir(scene.here("folder")).unwrap();
    fs::write(scene.here("file"), "x").unwrap();
    fails_with(fs::create_dir(scene.here("folder")), Errno::EXIST);
    fails_with(fs::create_dir(scene.here("file")), Errno::EXIST);
    fails_with(fs::create_dir(scene.here("missing/below")), Errno::NOENT);
    fails_with(fs::create_dir(scene.here("file/below")), Errno::NOTDIR);
}

fn rmdir_of_a_folder_that_is_not_empty_fails(kind: Kind) {
    let scene = Scene::on(kind);
    fs::create_dir(scene.here("folder")).unwrap();
    fs::write(scene.here("folder/file"), "x").unwrap();
    fails_with(fs::remove_dir(scene.here("folder")), Errno::NOTEMPTY);
    assert_eq!(fs::read(scene.there("folder/file")).unwrap(), b"x");
    fs::remove_file(scene.here("folder/file")).unwrap();
    fs::remove_dir(scene.here("folder")).unwrap();
}

fn rmdir_of_a_file_fails_and_keeps_the_file(kind: Kind) {
    let scene = Scene::on(kind);
    fs::write(scene.here("file"), "x").unwrap();
    fails_with(fs::remove_dir(scene.here("file")), Errno::NOTDIR);
    fails_with(fs::remove_dir(scene.here("missing")), Errno::NOENT);
    assert_eq!(names(&scene.folder), ["file"]);
}

fn a_folder_created_on_the_server_is_respected_by_mkdir_and_rmdir(kind: Kind) {
    let scene = Scene::on(kind);
    fs::create_dir(scene.there("theirs")).unwrap();
    fails_with(fs::create_dir(scene.here("theirs")), Errno::EXIST);
    fs::write(scene.there("theirs/file"), "x").unwrap();
    fails_with(fs::remove_dir(scene.here("theirs")), Errno::NOTEMPTY);
}
