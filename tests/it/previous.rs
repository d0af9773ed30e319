//! Previous versions on smbd with `shadow_copy2`: listed in `.snapshots`, read like any folder, and never changed. The
//! versions are folders beside the share.

use crate::support::command::run;
use crate::support::files::{fails_with, names, tree};
use crate::support::mount::{Mount, Request};
use crate::support::scene::Scene;
use crate::support::server::{Kind, Server, Settings, both_servers};
use rustix::io::Errno;
use std::collections::BTreeMap;
use std::fs::{self, OpenOptions, Permissions};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(60);
const OLD: &str = "@GMT-2023.05.06-07.08.09";
const NEW: &str = "@GMT-2024.12.31-23.59.58";
const LINES: &[&str] = &[
    "vfs objects = shadow_copy2",
    "shadow:format = @GMT-%Y.%m.%d-%H.%M.%S",
    "shadow:sort = desc",
    "shadow:localtime = no",
];

both_servers!(a_server_without_previous_versions_has_no_folder_of_them);

/// A share with two previous versions.
struct Share {
    mount: Mount,
    /// The share's folder on the server's disk.
    folder: PathBuf,
    /// The folder of the previous versions there.
    versions: PathBuf,
    server: Server,
}

impl Share {
    fn new() -> Share {
        let server = Server::start(Kind::Smbd, Settings { share_lines: LINES, ..Settings::default() });
        let folder = server.smbd().folder().to_owned();
        let versions = folder.with_file_name("versions");
        server.smbd().configure(&format!("shadow:snapdir = {}", versions.display()));
        server.smbd().configure(&format!("shadow:mountpoint = {}", folder.display()));
        for (root, text) in [(versions.join(OLD), "old"), (versions.join(NEW), "newer"), (folder.clone(), "live text")]
        {
            fs::create_dir_all(root.join("docs/deep")).unwrap();
            fs::write(root.join("docs/file"), text).unwrap();
            fs::write(root.join("docs/deep/other"), format!("{text}, deep")).unwrap();
        }
        fs::write(versions.join(OLD).join("docs/deleted"), "gone since").unwrap();
        let mount = Request::new(server.url("")).mount();
        Share { mount, folder, versions, server }
    }

    fn here(&self, name: impl AsRef<Path>) -> PathBuf {
        self.mount.join(name)
    }

    fn stored(&self, version: &str, name: &str) -> PathBuf {
        self.versions.join(version).join(name)
    }

    /// All that is on the server's disk.
    fn everything(&self) -> [BTreeMap<PathBuf, Option<String>>; 2] {
        [tree(&self.folder), tree(&self.versions)]
    }
}

#[test]
fn previous_versions_of_any_folder_are_listed_and_read() {
    let share = Share::new();
    for folder in ["", "docs/", "docs/deep/"] {
        assert_eq!(names(&share.here(format!("{folder}.snapshots"))), [OLD, NEW], "of {folder:?}");
    }
    let read = |path: &str| fs::read_to_string(share.here(path)).unwrap();
    assert_eq!(read(&format!("docs/.snapshots/{OLD}/file")), "old");
    assert_eq!(read(&format!("docs/.snapshots/{NEW}/file")), "newer");
    assert_eq!(read(&format!(".snapshots/{OLD}/docs/deep/other")), "old, deep");
    assert_eq!(read(&format!("docs/.snapshots/{OLD}/deleted")), "gone since");
    assert_eq!(read("docs/file"), "live text");
    assert_eq!(names(&share.here(format!("docs/.snapshots/{NEW}"))), ["deep", "file"]);
    fails_with(fs::read(share.here(format!("docs/.snapshots/{NEW}/deleted"))), Errno::NOENT);
}

#[test]
fn a_previous_version_is_found_by_the_path_that_windows_uses() {
    let share = Share::new();
    assert_eq!(fs::read_to_string(share.here(format!("docs/{OLD}/file"))).unwrap(), "old");
    assert_eq!(fs::read_to_string(share.here(format!("{NEW}/docs/file"))).unwrap(), "newer");
    fails_with(fs::metadata(share.here("docs/@GMT-2020.01.01-00.00.00")), Errno::NOENT);
    fails_with(fs::metadata(share.here("docs/.snapshots/@GMT-2020.01.01-00.00.00")), Errno::NOENT);
    fails_with(fs::metadata(share.here("docs/.snapshots/other")), Errno::NOENT);
}

#[test]
fn a_listing_of_the_live_folder_does_not_show_them() {
    let share = Share::new();
    assert_eq!(names(&share.here("docs")), ["deep", "file"]);
    assert_eq!(fs::read_to_string(share.here(format!("docs/.snapshots/{OLD}/file"))).unwrap(), "old");
    // Names that were looked up are not listed, and a listing does not hide them from the next lookup.
    for _ in 0..3 {
        assert_eq!(names(&share.here("docs")), ["deep", "file"]);
        assert_eq!(names(&share.here("docs/.snapshots")), [OLD, NEW]);
    }
    let found = run(Command::new("find").arg(share.mount.path()), LIMIT).success();
    assert!(!found.stdout.contains("GMT") && !found.stdout.contains(".snapshots"), "{}", found.stdout);
}

#[test]
fn programs_copy_compare_and_search_a_previous_version() {
    let share = Share::new();
    let (seen, stored) = (share.here(format!(".snapshots/{OLD}/docs")), share.stored(OLD, "docs"));
    run(Command::new("diff").arg("-r").args([&seen, &stored]), LIMIT).success();
    let found = run(Command::new("find").arg(&seen).args(["-type", "f"]), LIMIT).success();
    assert_eq!(found.stdout.lines().count(), 3, "{}", found.stdout);
    run(Command::new("cp").arg("-a").arg(&seen).arg(share.here("restored")), LIMIT).success();
    assert_eq!(tree(&share.folder.join("restored")), tree(&stored));
    fs::write(share.here("restored/file"), "can be changed").unwrap();
    assert_eq!(fs::read_to_string(seen.join("file")).unwrap(), "old");
}

#[test]
fn a_previous_version_cannot_be_changed() {
    let share = Share::new();
    let before = share.everything();
    let at = |name: &str| share.here(format!("docs/.snapshots/{OLD}/{name}"));
    fs::read(at("file")).unwrap();
    fails_with(fs::write(at("file"), "changed"), Errno::ROFS);
    fails_with(OpenOptions::new().append(true).open(at("file")), Errno::ROFS);
    fails_with(fs::write(at("new"), "new"), Errno::ROFS);
    fails_with(fs::create_dir(at("new")), Errno::ROFS);
    fails_with(symlink("file", at("new")), Errno::ROFS);
    fails_with(fs::hard_link(at("file"), at("new")), Errno::ROFS);
    fails_with(fs::hard_link(at("file"), share.here("docs/new")), Errno::ROFS);
    fails_with(fs::remove_file(at("file")), Errno::ROFS);
    fails_with(fs::remove_dir(at("deep")), Errno::ROFS);
    fails_with(fs::rename(at("file"), at("new")), Errno::ROFS);
    fails_with(fs::rename(at("file"), share.here("docs/new")), Errno::ROFS);
    fails_with(fs::rename(share.here("docs/file"), at("new")), Errno::ROFS);
    fails_with(fs::rename(share.here("docs/file"), at("file")), Errno::ROFS);
    for mode in [0o600, 0o444] {
        fails_with(fs::set_permissions(at("file"), Permissions::from_mode(mode)), Errno::ROFS);
    }
    fails_with(set_time(&at("file")), Errno::ROFS);
    fails_with(fs::remove_dir(share.here(format!("docs/.snapshots/{OLD}"))), Errno::ROFS);
    fails_with(fs::create_dir(share.here("docs/@GMT-2020.01.01-00.00.00")), Errno::ROFS);
    assert!(fs::write(share.here("docs/.snapshots/new"), "new").is_err());
    assert!(fs::remove_dir(share.here("docs/.snapshots")).is_err());
    assert!(fs::rename(share.here("docs/.snapshots"), share.here("docs/other")).is_err());
    assert_eq!(share.everything(), before);
}

/// Sets the time of the last write.
fn set_time(path: &Path) -> std::io::Result<()> {
    let file = fs::File::open(path)?;
    file.set_modified(std::time::SystemTime::UNIX_EPOCH)
}

#[test]
fn a_live_file_and_its_previous_version_are_two_files() {
    let share = Share::new();
    let (live, previous) = (share.here("docs/file"), share.here(format!("docs/.snapshots/{OLD}/file")));
    let mut old = fs::File::open(&previous).unwrap();
    let mut new = OpenOptions::new().read(true).write(true).open(&live).unwrap();
    assert_ne!(old.metadata().unwrap().ino(), new.metadata().unwrap().ino());
    new.write_all(b"written while both are open").unwrap();
    let mut text = String::new();
    old.read_to_string(&mut text).unwrap();
    assert_eq!(text, "old");
    assert_eq!(fs::read_to_string(&previous).unwrap(), "old");
    new.rewind().unwrap();
    text.clear();
    new.read_to_string(&mut text).unwrap();
    assert_eq!(text, "written while both are open");
    drop((old, new));
    assert_eq!(fs::read_to_string(share.folder.join("docs/file")).unwrap(), "written while both are open");
    assert_eq!(fs::read_to_string(share.stored(OLD, "docs/file")).unwrap(), "old");
    // A removal, and a new file with the name, concern the live file only.
    fs::remove_file(&live).unwrap();
    assert_eq!(fs::read_to_string(&previous).unwrap(), "old");
    fs::copy(&previous, &live).unwrap();
    assert_eq!(fs::read_to_string(share.folder.join("docs/file")).unwrap(), "old");
}

fn a_server_without_previous_versions_has_no_folder_of_them(kind: Kind) {
    let scene = Scene::on(kind);
    fs::write(scene.here("file"), "live").unwrap();
    fails_with(fs::read_dir(scene.here(".snapshots")), Errno::NOENT);
    fails_with(fs::metadata(scene.here(OLD)), Errno::NOENT);
    fails_with(fs::read(scene.here(format!("{OLD}/file"))), Errno::NOENT);
    // The name is free for a folder of the user's own.
    fs::create_dir(scene.here(".snapshots")).unwrap();
    fs::write(scene.here(".snapshots/mine"), "mine").unwrap();
    assert_eq!(names(&scene.here(".snapshots")), ["mine"]);
    assert_eq!(names(scene.mount.path()), [".snapshots", "file"]);
    fs::remove_file(scene.here(".snapshots/mine")).unwrap();
    fs::remove_dir(scene.here(".snapshots")).unwrap();
    fails_with(fs::metadata(scene.here(".snapshots")), Errno::NOENT);
}

#[test]
fn previous_versions_are_read_after_a_lost_session() {
    let share = Share::new();
    let path = share.here(format!("docs/.snapshots/{OLD}/file"));
    let mut open = fs::File::open(&path).unwrap();
    share.server.smbd().kill_clients();
    let mut text = String::new();
    open.read_to_string(&mut text).unwrap();
    assert_eq!(text, "old");
    assert_eq!(fs::read_to_string(share.here(format!("docs/{NEW}/file"))).unwrap(), "newer");
    assert_eq!(fs::read_to_string(share.here("docs/file")).unwrap(), "live text");
}

#[test]
fn a_previous_version_can_be_mounted_by_its_path() {
    let share = Share::new();
    let mount = Request::new(share.server.url(&format!("{OLD}/docs"))).mount();
    assert_eq!(names(mount.path()), ["deep", "deleted", "file"]);
    assert_eq!(fs::read_to_string(mount.join("deep/other")).unwrap(), "old, deep");
    fails_with(fs::write(mount.join("new"), "new"), Errno::ROFS);
    fails_with(fs::write(mount.join("file"), "new"), Errno::ROFS);
    fails_with(fs::remove_file(mount.join("file")), Errno::ROFS);
    mount.unmount();
    let absent = share.server.url("@GMT-2020.01.01-00.00.00/docs");
    let run = Request::new(absent).fails_with_any(&[1, 2, 3, 4, 5, 32]);
    assert!(!run.stderr.contains("panicked"), "{run}");
}

#[test]
fn more_previous_versions_than_one_answer_holds_are_listed() {
    let share = Share::new();
    for number in 0..1500 {
        let version = format!("@GMT-2020.01.01-{:02}.{:02}.00", number / 60, number % 60);
        // Hours beyond the 24th are no time, and not shown.
        fs::create_dir_all(share.stored(&version, "docs")).unwrap();
    }
    let listed = names(&share.here("docs/.snapshots"));
    assert_eq!(listed.len(), 2 + 24 * 60);
    assert_eq!(names(&share.here(format!("docs/.snapshots/{}", listed[1000]))), [""; 0]);
    let disk = |name: &str| rustix::fs::statvfs(share.here(name)).unwrap().f_blocks;
    assert_eq!((disk("docs/.snapshots"), disk(&format!("docs/.snapshots/{OLD}"))), (disk("docs"), disk("docs")));
}
