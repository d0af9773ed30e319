//! `stat`, `chmod`, `df`: attributes of files and of the file system.

use crate::support::files::fails_with;
use crate::support::scene::Scene;
use crate::support::server::{Kind, both_servers};
use crate::support::wait_until;
use rustix::io::Errno;
use std::fs::{self, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::time::Duration;

both_servers!(
    size_type_and_times_are_those_on_the_server,
    stat_of_a_missing_name_fails,
    a_change_on_the_server_is_seen_soon,
    a_change_on_the_server_is_seen_at_once_without_attribute_caching,
    a_name_created_on_the_server_after_a_failed_lookup_appears_soon,
    removing_the_write_bit_makes_a_file_read_only,
    a_read_only_file_keeps_its_content_and_can_be_made_writable_again,
    df_shows_the_servers_disk,
    the_inode_number_stays_after_a_write_and_a_rename,
    the_times_of_a_folder_are_the_servers_right_after_each_change_in_it,
);

fn size_type_and_times_are_those_on_the_server(kind: Kind) {
    let scene = Scene::on(kind);
    fs::write(scene.there("file"), vec![7; 12_345]).unwrap();
    fs::create_dir(scene.there("folder")).unwrap();
    let (here, there) = (fs::metadata(scene.here("file")).unwrap(), fs::metadata(scene.there("file")).unwrap());
    assert!(here.is_file());
    assert_eq!(here.len(), 12_345);
    assert_eq!(here.nlink(), 1);
    assert!(here.blocks() * 512 >= 12_345, "du would show too little");
    assert_eq!((here.mtime(), here.mtime_nsec() / 100), (there.mtime(), there.mtime_nsec() / 100));
    let folder = fs::metadata(scene.here("folder")).unwrap();
    assert!(folder.is_dir());
    assert!(fs::metadata(scene.mount.path()).unwrap().is_dir());
}

/// rsync compares the times of folders after it has written into them, and sets them only if they differ.
fn the_times_of_a_folder_are_the_servers_right_after_each_change_in_it(kind: Kind) {
    let scene = Scene::on(kind);
    fs::create_dir_all(scene.here("folder/other")).unwrap();
    let path = |name: &str| scene.here("folder").join(name);
    let changes: [(&str, &dyn Fn() -> io::Result<()>); 6] = [
        ("create", &|| fs::write(path("new"), "text")),
        ("mkdir", &|| fs::create_dir(path("made"))),
        ("mv", &|| fs::rename(path("new"), path("file"))),
        ("mv into it", &|| fs::write(path("other/new"), "").and_then(|()| fs::rename(path("other/new"), path("new")))),
        ("rm", &|| fs::remove_file(path("file")).and_then(|()| fs::remove_file(path("new")))),
        ("rmdir", &|| fs::remove_dir(path("made"))),
    ];
    let time = |path: &Path| {
        let metadata = fs::metadata(path).unwrap();
        (metadata.mtime(), metadata.mtime_nsec() / 100)
    };
    for round in 0..20 {
        for (what, change) in &changes {
            change().unwrap_or_else(|error| panic!("{what}, round {round}: {error}"));
            let shown = match round % 2 {
                0 => time(&scene.here("folder")),
                _ => fs::read_dir(scene.mount.path())
                    .map(|entries| assert_eq!(entries.count(), 1))
                    .map(|()| time(&scene.here("folder")))
                    .unwrap(),
            };
            assert_eq!(shown, time(&scene.there("folder")), "after {what}, round {round}");
        }
    }
}

fn stat_of_a_missing_name_fails(kind: Kind) {
    let scene = Scene::on(kind);
    fs::write(scene.there("file"), "x").unwrap();
    fails_with(fs::metadata(scene.here("missing")), Errno::NOENT);
    fails_with(fs::metadata(scene.here("missing/below")), Errno::NOENT);
    fails_with(fs::metadata(scene.here("file/below")), Errno::NOTDIR);
    fails_with(fs::read_link(scene.here("file")), Errno::INVAL);
}

fn a_change_on_the_server_is_seen_soon(kind: Kind) {
    let scene = Scene::on(kind);
    fs::write(scene.there("file"), "short").unwrap();
    assert_eq!(fs::metadata(scene.here("file")).unwrap().len(), 5);
    fs::write(scene.there("file"), "much longer").unwrap();
    assert!(wait_until(Duration::from_secs(10), || fs::metadata(scene.here("file")).unwrap().len() == 11));
    fs::remove_file(scene.there("file")).unwrap();
    assert!(wait_until(Duration::from_secs(10), || fs::metadata(scene.here("file")).is_err()));
}

fn a_change_on_the_server_is_seen_at_once_without_attribute_caching(kind: Kind) {
    let scene = Scene::with(kind, |request| request.arg("--attr-timeout=0"));
    for length in 1..20 {
        fs::write(scene.there("file"), vec![0; length]).unwrap();
        assert_eq!(fs::metadata(scene.here("file")).unwrap().len(), length as u64);
    }
}

fn a_name_created_on_the_server_after_a_failed_lookup_appears_soon(kind: Kind) {
    let scene = Scene::on(kind);
    fails_with(fs::metadata(scene.here("late")), Errno::NOENT);
    fs::write(scene.there("late"), "x").unwrap();
    assert!(wait_until(Duration::from_secs(10), || fs::metadata(scene.here("late")).is_ok()));
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().mode() & 0o777
}

fn removing_the_write_bit_makes_a_file_read_only(kind: Kind) {
    let scene = Scene::on(kind);
    fs::write(scene.here("file"), "x").unwrap();
    fs::set_permissions(scene.here("file"), Permissions::from_mode(0o444)).unwrap();
    assert_eq!(mode(&scene.here("file")), 0o444);
    // The second mount has cached nothing, so this is what the server has.
    let other = scene.second_mount();
    assert_eq!(mode(&other.join("file")), 0o555);
    fs::set_permissions(scene.here("file"), Permissions::from_mode(0o755)).unwrap();
    assert_eq!(mode(&scene.here("file")), 0o755);
    assert!(wait_until(Duration::from_secs(10), || mode(&other.join("file")) == 0o755));
}

fn a_read_only_file_keeps_its_content_and_can_be_made_writable_again(kind: Kind) {
    let scene = Scene::on(kind);
    fs::write(scene.here("file"), "before").unwrap();
    fs::set_permissions(scene.here("file"), Permissions::from_mode(0o400)).unwrap();
    assert_eq!(fs::read(scene.here("file")).unwrap(), b"before");
    fs::set_permissions(scene.here("file"), Permissions::from_mode(0o600)).unwrap();
    fs::OpenOptions::new().append(true).open(scene.here("file")).unwrap().write_all(b" and after").unwrap();
    assert_eq!(fs::read(scene.there("file")).unwrap(), b"before and after");
}

fn df_shows_the_servers_disk(kind: Kind) {
    let scene = Scene::on(kind);
    let here = rustix::fs::statvfs(scene.mount.path()).unwrap();
    let there = rustix::fs::statvfs(&scene.folder).unwrap();
    let total = |space: &rustix::fs::StatVfs| space.f_blocks * space.f_frsize;
    // Blocks reserved for root are not available to users.
    let free = |space: &rustix::fs::StatVfs| space.f_bavail * space.f_frsize;
    assert!(total(&here).abs_diff(total(&there)) <= total(&there) / 10, "{} against {}", total(&here), total(&there));
    assert!(free(&here).abs_diff(free(&there)) <= total(&there) / 10, "{} against {}", free(&here), free(&there));
    assert!(here.f_bavail <= here.f_bfree && here.f_bfree <= here.f_blocks);
    assert!(here.f_namemax >= 255 && here.f_bsize > 0);
}

fn the_inode_number_stays_after_a_write_and_a_rename(kind: Kind) {
    let scene = Scene::with(kind, |request| request.arg("--attr-timeout=0"));
    fs::write(scene.here("file"), "x").unwrap();
    let before = fs::metadata(scene.here("file")).unwrap().ino();
    fs::write(scene.here("file"), "longer").unwrap();
    assert_eq!(fs::metadata(scene.here("file")).unwrap().ino(), before);
    fs::rename(scene.here("file"), scene.here("renamed")).unwrap();
    assert_eq!(fs::metadata(scene.here("renamed")).unwrap().ino(), before);
}
