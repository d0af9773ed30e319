//! Hard links: several names of one file, made here and on the server.

use crate::support::command::run;
use crate::support::scene::Scene;
use crate::support::scratch;
use crate::support::server::Kind;
use crate::support::wait_until;
use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;
use std::fs::{self, File, OpenOptions};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(60);

/// The inode number and the number of links.
fn identity(path: impl AsRef<Path>) -> (u64, u64) {
    let metadata = fs::symlink_metadata(path).unwrap();
    (metadata.ino(), metadata.nlink())
}

#[test]
fn a_link_is_the_same_file_here_and_on_the_server() {
    let scene = Scene::on(Kind::Smbd);
    fs::create_dir(scene.here("d")).unwrap();
    fs::write(scene.here("a"), "one").unwrap();
    assert_eq!(identity(scene.here("a")).1, 1);
    fs::hard_link(scene.here("a"), scene.here("d/b")).unwrap();
    let (ino, links) = identity(scene.here("a"));
    assert_eq!((identity(scene.here("d/b")), links), ((ino, 2), 2));
    assert_eq!(identity(scene.there("a")), identity(scene.there("d/b")));

    fs::write(scene.here("d/b"), "two").unwrap();
    assert_eq!(fs::read_to_string(scene.here("a")).unwrap(), "two");
    fs::remove_file(scene.here("a")).unwrap();
    assert_eq!(identity(scene.here("d/b")), (ino, 1));
    assert_eq!(fs::read_to_string(scene.here("d/b")).unwrap(), "two");
    assert_eq!(fs::read_to_string(scene.there("d/b")).unwrap(), "two");
    let exists = fs::write(scene.here("c"), "").and_then(|()| fs::hard_link(scene.here("c"), scene.here("d/b")));
    assert_eq!(exists.unwrap_err().raw_os_error(), Some(libc::EEXIST));
    let directory = fs::hard_link(scene.here("d"), scene.here("e"));
    assert_eq!(directory.unwrap_err().raw_os_error(), Some(libc::EPERM));
}

/// POSIX: link(2), unlink(2) and rename(2) mark the time of change of the file whose names change.
#[test]
fn a_link_more_or_less_changes_the_time_of_change() {
    let scene = Scene::on(Kind::Smbd);
    let changed = |name: &str| {
        let metadata = fs::metadata(scene.here(name)).unwrap();
        (metadata.ctime(), metadata.ctime_nsec())
    };
    fs::write(scene.here("a"), "one").unwrap();
    fs::write(scene.here("other"), "two").unwrap();
    let mut last = changed("a");
    let mut moves = |what: &str, change: &dyn Fn()| {
        thread::sleep(Duration::from_millis(50));
        let folder = changed("");
        change();
        assert!(changed("a") > last, "{what}: the file");
        assert!(changed("") > folder, "{what}: the folder");
        last = changed("a");
    };
    moves("link", &|| fs::hard_link(scene.here("a"), scene.here("b")).unwrap());
    moves("unlink", &|| fs::remove_file(scene.here("b")).unwrap());
    moves("another link", &|| fs::hard_link(scene.here("a"), scene.here("b")).unwrap());
    moves("rename over a link", &|| fs::rename(scene.here("other"), scene.here("b")).unwrap());
}

/// Whatever name a program used to open the file, and whichever is removed: the other one stays, and the data is in it.
#[test]
fn an_open_file_whose_name_is_removed_lives_under_its_other_name() {
    let scene = Scene::on(Kind::Smbd);
    for (opened, removed, left) in [("a", "a", "b"), ("a", "b", "a"), ("b", "a", "b"), ("b", "b", "a")] {
        let folder = format!("{opened} {removed}");
        let here = |name: &str| scene.here(&folder).join(name);
        fs::create_dir(scene.here(&folder)).unwrap();
        fs::write(here("a"), "one").unwrap();
        fs::hard_link(here("a"), here("b")).unwrap();
        let mut file = OpenOptions::new().read(true).write(true).open(here(opened)).unwrap();
        file.write_all(b"two").unwrap();
        fs::remove_file(here(removed)).unwrap();
        assert_eq!(file.metadata().unwrap().nlink(), 1, "{folder}");
        file.write_all(b" three").unwrap();
        file.rewind().unwrap();
        let mut text = String::new();
        file.read_to_string(&mut text).unwrap();
        assert_eq!(text, "two three", "{folder}");
        let mut other = File::open(here(left)).unwrap();
        text.clear();
        other.read_to_string(&mut text).unwrap();
        assert_eq!(text, "two three", "{folder}");
        drop((file, other));
        let there = scene.there(&folder);
        let is_alone = || fs::read_dir(&there).unwrap().all(|entry| entry.unwrap().file_name() == left);
        assert!(wait_until(Duration::from_secs(20), is_alone), "{folder}: a hidden name is left");
        assert_eq!(fs::read_to_string(there.join(left)).unwrap(), "two three", "{folder}");
    }
}

/// Whichever name was first, is opened, or is removed meanwhile.
#[test]
fn a_folder_is_renamed_around_an_open_file_that_has_another_name_outside() {
    let scene = Scene::on(Kind::Smbd);
    let roles = ["outside", "folder/inside"];
    let cases =
        roles.map(|first| roles.map(|opened| [None, Some(roles[0]), Some(roles[1])].map(|gone| (first, opened, gone))));
    for (number, (first, opened, gone)) in cases.into_iter().flatten().flatten().enumerate() {
        let case = format!("{number}: {first} was first, {opened} is open, {gone:?} is removed");
        let (here, there) = (scene.here(number.to_string()), scene.there(number.to_string()));
        fs::create_dir_all(here.join("folder")).unwrap();
        fs::write(here.join(first), "one").unwrap();
        fs::hard_link(here.join(first), here.join(roles[usize::from(first == roles[0])])).unwrap();
        let mut file = OpenOptions::new().append(true).read(true).open(here.join(opened)).unwrap();
        file.write_all(b" two").unwrap();
        gone.into_iter().for_each(|gone| fs::remove_file(here.join(gone)).unwrap());
        fs::create_dir(here.join("empty")).unwrap();
        for to in ["renamed", "empty"] {
            let from = if to == "renamed" { "folder" } else { "renamed" };
            fs::rename(here.join(from), here.join(to)).unwrap_or_else(|error| panic!("{case}, to {to}: {error}"));
            file.write_all(b" three").unwrap_or_else(|error| panic!("{case}, to {to}: {error}"));
        }
        let mut text = String::new();
        file.rewind().unwrap();
        file.read_to_string(&mut text).unwrap();
        assert_eq!(text, "one two three three", "{case}");
        drop(file);
        for (name, path) in [(roles[0], "outside"), (roles[1], "empty/inside")] {
            let found = fs::read_to_string(there.join(path)).ok();
            assert_eq!(found.as_deref(), (gone != Some(name)).then_some("one two three three"), "{case}: {path}");
        }
        let is_clean = || walk(&there) == 3 - usize::from(gone.is_some());
        assert!(wait_until(Duration::from_secs(20), is_clean), "{case}: a hidden name is left");
    }
    scene.mount.unmount();
}

/// The number of files and folders below a folder.
fn walk(folder: &Path) -> usize {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
    entries.map(|entry| 1 + if entry.file_type().unwrap().is_dir() { walk(&entry.path()) } else { 0 }).sum()
}

/// RENAME_NOREPLACE replaces no name, be it one of the same file; a plain rename(2) leaves both.
#[test]
fn a_rename_between_two_names_of_a_file_changes_nothing() {
    let scene = Scene::on(Kind::Smbd);
    fs::write(scene.here("a"), "one").unwrap();
    fs::hard_link(scene.here("a"), scene.here("b")).unwrap();
    let error = renameat_with(CWD, scene.here("a"), CWD, scene.here("b"), RenameFlags::NOREPLACE).unwrap_err();
    assert_eq!(error, Errno::EXIST);
    fs::rename(scene.here("a"), scene.here("b")).unwrap();
    for folder in [scene.mount.path(), &scene.folder] {
        assert_eq!(identity(folder.join("a")), identity(folder.join("b")));
        assert_eq!(identity(folder.join("a")).1, 2);
    }
}

/// A writer and a reader of one file by two names see the same bytes at once.
#[test]
fn two_names_of_an_open_file_share_its_data() {
    let scene = Scene::on(Kind::Smbd);
    fs::write(scene.here("a"), "").unwrap();
    fs::hard_link(scene.here("a"), scene.here("b")).unwrap();
    let writer = OpenOptions::new().write(true).open(scene.here("a")).unwrap();
    let reader = File::open(scene.here("b")).unwrap();
    for round in 0..50_u64 {
        writer.write_all_at(&round.to_le_bytes(), round * 8).unwrap();
        let mut read = [0; 8];
        reader.read_exact_at(&mut read, round * 8).unwrap();
        assert_eq!(u64::from_le_bytes(read), round);
        assert_eq!(fs::metadata(scene.here("b")).unwrap().len(), round * 8 + 8);
    }
}

#[test]
fn two_mounts_use_the_names_of_one_file() {
    let scene = Scene::on(Kind::Smbd);
    let other = scene.second_mount();
    fs::write(scene.here("a"), "one").unwrap();
    fs::hard_link(scene.here("a"), scene.here("b")).unwrap();
    assert_eq!(identity(other.join("a")), identity(other.join("b")));
    fs::write(other.join("b"), "two").unwrap();
    assert_eq!(fs::read_to_string(scene.here("a")).unwrap(), "two");
    fs::rename(other.join("a"), other.join("c")).unwrap();
    assert!(wait_until(Duration::from_secs(20), || !scene.here("a").exists()));
    assert_eq!(identity(scene.here("c")), identity(scene.here("b")));
    fs::remove_file(scene.here("b")).unwrap();
    assert!(wait_until(Duration::from_secs(20), || fs::metadata(other.join("c")).unwrap().nlink() == 1));
    assert_eq!(fs::read_to_string(other.join("c")).unwrap(), "two");
    other.unmount();
}

/// A tree with links that the server's own users made.
fn linked_tree(root: &Path) {
    fs::create_dir_all(root.join("d")).unwrap();
    for name in ["a", "d/alone"] {
        fs::write(root.join(name), vec![7; 100_000]).unwrap();
    }
    for link in ["b", "d/c"] {
        fs::hard_link(root.join("a"), root.join(link)).unwrap();
    }
}

#[test]
fn programs_see_links_that_were_made_on_the_server() {
    let scene = Scene::on(Kind::Smbd);
    linked_tree(&scene.there("tree"));
    let tree = scene.here("tree");
    let local = scratch::folder("links");
    let text = |command: &mut Command| run(command, LIMIT).success().stdout;
    text(Command::new("cp").arg("-a").arg(&tree).arg(&local));
    text(Command::new("rsync").args(["-aH"]).arg(&tree).arg(local.join("rsync")));
    for copy in ["tree", "rsync/tree"] {
        let copied = |name: &str| identity(local.join(copy).join(name));
        assert_eq!((copied("a"), copied("b")), (copied("d/c"), copied("d/c")), "{copy}");
        assert_eq!((copied("a").1, copied("d/alone").1), (3, 1), "{copy}");
    }
    let ino = identity(tree.join("a")).0;
    let found = text(Command::new("find").arg(&tree).args(["-inum", &ino.to_string()]));
    assert_eq!(found.lines().count(), 3, "{found}");
    let size = text(Command::new("du").args(["-s", "--block-size=1"]).arg(&tree));
    let there = text(Command::new("du").args(["-s", "--block-size=1"]).arg(scene.there("tree")));
    let bytes = |text: &str| text.split_whitespace().next().unwrap().parse::<u64>().unwrap();
    assert!(bytes(&size) < bytes(&there) + 100_000, "the file is counted once: {size} {there}");
}

#[test]
fn a_tree_with_links_comes_back_from_the_server_as_it_went() {
    let scene = Scene::on(Kind::Smbd);
    let local = scratch::folder("links");
    linked_tree(&local.join("tree"));
    let remote = scene.here("copy");
    run(Command::new("rsync").args(["-rltH"]).arg(local.join("tree/")).arg(&remote), LIMIT).success();
    assert_eq!(identity(scene.there("copy/a")), identity(scene.there("copy/d/c")));
    let again = run(Command::new("rsync").args(["-nirltH"]).arg(local.join("tree/")).arg(&remote), LIMIT).success();
    assert_eq!(again.stdout, "", "nothing is left to do");
}

/// Samba reports the earliest of a file's times as the time of its creation, if it has not stored one: the time of the
/// access, until a local program reads the file.
#[test]
fn names_of_one_file_are_found_though_its_time_of_creation_changes() {
    let scene = Scene::on(Kind::Smbd);
    let (there, here) = (|name: &str| scene.there(name), |name: &str| scene.here(name));
    fs::write(there("a"), "one").unwrap();
    thread::sleep(Duration::from_millis(50));
    OpenOptions::new().append(true).open(there("a")).unwrap().write_all(b" two").unwrap();
    fs::hard_link(there("a"), there("b")).unwrap();
    let (ino, links) = identity(here("a"));
    assert_eq!(links, 2);
    thread::sleep(Duration::from_millis(50));
    assert_eq!(fs::read_to_string(there("a")).unwrap(), "one two");
    assert_eq!(identity(here("b")), (ino, 2));
    fs::write(here("b"), "three").unwrap();
    assert_eq!(fs::read_to_string(here("a")).unwrap(), "three");
    fs::remove_file(here("a")).unwrap();
    assert_eq!(identity(here("b")), (ino, 1));
}

/// The server's administrator linked folders to those that contain them: `find` and `du` end.
#[test]
fn a_folder_below_itself_is_listed_and_cannot_be_entered() {
    let scene = Scene::on(Kind::Smbd);
    let (there, here) = (scene.there("tree"), scene.here("tree"));
    fs::create_dir_all(there.join("a/b")).unwrap();
    // The first listing at the server changes the times of access, and with them what Samba reports as the creation.
    thread::sleep(Duration::from_millis(50));
    fs::write(there.join("a/b/f"), "x").unwrap();
    for (target, link) in [(".", "self"), ("..", "a/up"), ("../..", "a/b/top")] {
        std::os::unix::fs::symlink(target, there.join(link)).unwrap();
    }
    let found = run(Command::new("find").arg(&here), LIMIT).stdout;
    assert_eq!(found.lines().count(), 4, "each folder once: {found}");
    for link in ["self", "a/up", "a/b/top"] {
        assert_eq!(fs::symlink_metadata(here.join(link)).unwrap_err().raw_os_error(), Some(libc::ELOOP));
    }
    assert_eq!(fs::read_to_string(here.join("a/b/f")).unwrap(), "x");
    let names: Vec<_> = fs::read_dir(here.join("a")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names.len(), 2, "the link is listed: {names:?}");
}

/// A folder that the server shows in two places is two folders here, each with its own number.
#[test]
fn a_folder_beside_itself_has_a_number_of_its_own() {
    let scene = Scene::on(Kind::Smbd);
    fs::create_dir_all(scene.there("one/d")).unwrap();
    fs::create_dir(scene.there("two")).unwrap();
    std::os::unix::fs::symlink("../one/d", scene.there("two/d")).unwrap();
    fs::write(scene.here("one/d/f"), "x").unwrap();
    assert_ne!(identity(scene.here("one/d")).0, identity(scene.here("two/d")).0);
    assert_eq!(fs::read_to_string(scene.here("two/d/f")).unwrap(), "x");
    assert_eq!(fs::read_to_string(scene.here("one/d/f")).unwrap(), "x");
}
