//! `ls`: the content of a directory listing.

use crate::support::command::run;
use crate::support::files::{fails_with, names};
use crate::support::scene::Scene;
use crate::support::server::{Kind, both_servers};
use rustix::io::Errno;
use std::collections::HashSet;
use std::fs::{self, File};
use std::os::unix::fs::DirEntryExt;
use std::os::unix::fs::MetadataExt;
use std::process::Command;
use std::time::Duration;

both_servers!(
    an_empty_folder_is_empty,
    everything_on_the_server_is_listed,
    a_listing_distinguishes_files_from_folders,
    a_listing_and_a_stat_give_the_same_inode,
    changes_made_on_this_mount_are_listed_at_once,
    every_one_of_5000_entries_is_listed_once,
    files_can_be_deleted_while_the_folder_is_read,
    one_directory_handle_can_be_listed_several_times,
    only_folders_can_be_listed,
    the_share_itself_can_be_mounted,
    ls_and_find_work,
);

fn an_empty_folder_is_empty(kind: Kind) {
    let scene = Scene::on(kind);
    assert!(names(scene.mount.path()).is_empty());
}

fn everything_on_the_server_is_listed(kind: Kind) {
    let scene = Scene::on(kind);
    let made = [".hidden", "UPPER", "a file", "été", "lower.txt"];
    for name in made {
        fs::write(scene.there(name), name).unwrap();
    }
    let mut expected = made.to_vec();
    expected.sort_unstable();
    assert_eq!(names(scene.mount.path()), expected);
}

fn a_listing_distinguishes_files_from_folders(kind: Kind) {
    let scene = Scene::on(kind);
    fs::write(scene.there("file"), "x").unwrap();
    fs::create_dir(scene.there("folder")).unwrap();
    for entry in fs::read_dir(scene.mount.path()).unwrap() {
        let entry = entry.unwrap();
        let folder = entry.file_name() == "folder";
        assert_eq!(entry.file_type().unwrap().is_dir(), folder);
        assert_eq!(entry.file_type().unwrap().is_file(), !folder);
        assert_eq!(entry.metadata().unwrap().is_dir(), folder);
    }
}

fn a_listing_and_a_stat_give_the_same_inode(kind: Kind) {
    let scene = Scene::on(kind);
    for name in ["a", "b", "c"] {
        fs::write(scene.there(name), name).unwrap();
    }
    let mut seen = HashSet::new();
    for entry in fs::read_dir(scene.mount.path()).unwrap() {
        let entry = entry.unwrap();
        assert_eq!(entry.ino(), fs::metadata(entry.path()).unwrap().ino());
        assert!(seen.insert(entry.ino()), "two files with one inode");
    }
}

fn changes_made_on_this_mount_are_listed_at_once(kind: Kind) {
    let scene = Scene::on(kind);
    assert!(names(scene.mount.path()).is_empty());
    File::create(scene.here("new")).unwrap();
    assert_eq!(names(scene.mount.path()), ["new"]);
    fs::rename(scene.here("new"), scene.here("newer")).unwrap();
    assert_eq!(names(scene.mount.path()), ["newer"]);
    fs::remove_file(scene.here("newer")).unwrap();
    assert!(names(scene.mount.path()).is_empty());
}

fn every_one_of_5000_entries_is_listed_once(kind: Kind) {
    list_many(kind, 5_000);
}

/// At this size a listing is unusable if each page costs more than the one before.
#[test]
fn every_one_of_100000_entries_is_listed_once() {
    list_many(Kind::Smbd, 100_000);
}

fn list_many(kind: Kind, count: usize) {
    let scene = Scene::with(kind, |request| request.for_at_most(Duration::from_secs(180)));
    let expected: Vec<String> = (0..count).map(|number| format!("entry number {number:06}")).collect();
    for name in &expected {
        File::create(scene.there(name)).unwrap();
    }
    // The names are in a vector, not in a set, so that a duplicate is noticed.
    assert!(names(scene.mount.path()) == expected, "entries are missing or duplicated");
    // Removed on the server's disk, not through the mount.
    fs::remove_dir_all(&scene.folder).unwrap();
}

fn files_can_be_deleted_while_the_folder_is_read(kind: Kind) {
    let scene = Scene::on(kind);
    for number in 0..1_000 {
        File::create(scene.there(number.to_string())).unwrap();
    }
    let mut deleted = 0;
    for entry in fs::read_dir(scene.mount.path()).unwrap() {
        fs::remove_file(entry.unwrap().path()).unwrap();
        deleted += 1;
    }
    assert_eq!(deleted, 1_000, "the listing skipped entries, so rm -r would fail");
    assert!(names(&scene.folder).is_empty());
}

fn one_directory_handle_can_be_listed_several_times(kind: Kind) {
    let scene = Scene::on(kind);
    File::create(scene.there("first")).unwrap();
    let mut folder = rustix::fs::Dir::read_from(File::open(scene.mount.path()).unwrap()).unwrap();
    let list = |folder: &mut rustix::fs::Dir| {
        folder.rewind();
        let mut names: Vec<String> =
            folder.map(|entry| entry.unwrap().file_name().to_str().unwrap().to_owned()).collect();
        names.retain(|name| name != "." && name != "..");
        names.sort();
        names
    };
    assert_eq!(list(&mut folder), ["first"]);
    File::create(scene.here("second")).unwrap();
    assert_eq!(list(&mut folder), ["first", "second"]);
    assert_eq!(list(&mut folder), ["first", "second"]);
}

fn only_folders_can_be_listed(kind: Kind) {
    let scene = Scene::on(kind);
    fs::write(scene.there("file"), "x").unwrap();
    fails_with(fs::read_dir(scene.here("file")), Errno::NOTDIR);
    fails_with(fs::read_dir(scene.here("missing")), Errno::NOENT);
}

fn the_share_itself_can_be_mounted(kind: Kind) {
    let scene = Scene::on(kind);
    let mount = crate::support::mount::Request::new(scene.server.url("")).mount();
    let own = scene.folder.file_name().unwrap().to_str().unwrap().to_owned();
    assert!(names(mount.path()).contains(&own));
    mount.unmount();
}

fn ls_and_find_work(kind: Kind) {
    let scene = Scene::on(kind);
    fs::create_dir_all(scene.there("a/b")).unwrap();
    fs::write(scene.there("a/b/c"), "12345").unwrap();
    let limit = Duration::from_secs(30);
    run(Command::new("ls").arg("-la").arg(scene.here("a/b")), limit).success().says(" 5 ").says(" c");
    let found = run(Command::new("find").arg(scene.mount.path()).args(["-type", "f", "-size", "5c"]), limit).success();
    assert_eq!(found.stdout.trim(), scene.here("a/b/c").to_str().unwrap());
}
