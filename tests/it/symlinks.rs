//! Symbolic links: made, read, listed and removed as on a local file system. Neither server takes reparse points, so links
//! are files of Minshall and French there, which the tests also read and write on the server's disk.

use crate::round_trips::{frames, within};
use crate::support::command::run;
use crate::support::files::{fails_with, names};
use crate::support::frames::makes;
use crate::support::line::Line;
use crate::support::mount::Request;
use crate::support::new_samba;
use crate::support::pair::Pair;
use crate::support::scene::Scene;
use crate::support::server::{Kind, Server, both_servers};
use crate::support::wait_until;
use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, utimensat};
use rustix::io::Errno;
use std::fs::{self, OpenOptions};
use std::os::unix::fs::{FileTypeExt, MetadataExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

const LIMIT: Duration = Duration::from_secs(60);
/// The size of a link of Minshall and French.
const SIZE: u64 = 1067;

both_servers!(
    a_link_is_made_read_and_followed,
    writing_through_a_link_changes_its_target_and_not_the_link,
    dangling_and_absolute_links_and_loops_are_what_they_say,
    targets_keep_every_byte_and_have_a_longest_length,
    a_link_of_another_client_is_shown_and_what_only_looks_like_one_is_a_file,
    rsync_and_tar_carry_links_there_and_back,
    removing_a_tree_removes_links_and_never_their_targets,
    with_links_off_none_is_made_and_their_files_are_files,
    with_reparse_points_only_a_server_without_them_stores_no_link,
);

/// `XSym`, the length, the MD5 of `target`, and `target`.
fn link_to_target() -> Vec<u8> {
    let mut file = b"XSym\n0006\n42aefbae01d2dfd981f7da7d823d689e\ntarget\n".to_vec();
    file.resize(SIZE as usize, b' ');
    file
}

fn a_link_is_made_read_and_followed(kind: Kind) {
    let scene = Scene::on(kind);
    fs::create_dir(scene.here("folder")).unwrap();
    fs::write(scene.here("folder/file"), "data").unwrap();
    symlink("folder/file", scene.here("link")).unwrap();
    assert_eq!(fs::read_link(scene.here("link")).unwrap(), Path::new("folder/file"));
    assert_eq!(fs::read_to_string(scene.here("link")).unwrap(), "data");
    let itself = fs::symlink_metadata(scene.here("link")).unwrap();
    assert!(itself.file_type().is_symlink());
    assert_eq!((itself.len(), itself.mode() & 0o777), ("folder/file".len() as u64, 0o777));
    symlink("folder", scene.here("to-folder")).unwrap();
    assert_eq!(names(&scene.here("to-folder")), ["file"]);
    symlink("../folder/file", scene.here("folder/up")).unwrap();
    assert_eq!(fs::read_to_string(scene.here("to-folder/up")).unwrap(), "data");
    fails_with(symlink("other", scene.here("link")), Errno::EXIST);
    assert_eq!(fs::metadata(scene.there("link")).unwrap().len(), SIZE, "on the server's disk");
    scene.mount.unmount();
}

fn writing_through_a_link_changes_its_target_and_not_the_link(kind: Kind) {
    let scene = Scene::on(kind);
    fs::write(scene.here("file"), "old").unwrap();
    symlink("file", scene.here("link")).unwrap();
    let stored = fs::read(scene.there("link")).unwrap();
    fs::write(scene.here("link"), "new").unwrap();
    assert_eq!(fs::read_to_string(scene.there("file")).unwrap(), "new");
    assert_eq!(fs::read(scene.there("link")).unwrap(), stored);
    let opened = rustix::fs::open(
        scene.here("link"),
        rustix::fs::OFlags::RDWR | rustix::fs::OFlags::NOFOLLOW,
        rustix::fs::Mode::empty(),
    );
    fails_with(opened, Errno::LOOP);
}

fn dangling_and_absolute_links_and_loops_are_what_they_say(kind: Kind) {
    let scene = Scene::on(kind);
    symlink("nowhere", scene.here("dangling")).unwrap();
    fails_with(fs::read(scene.here("dangling")), Errno::NOENT);
    assert_eq!(fs::read_link(scene.here("dangling")).unwrap(), Path::new("nowhere"));
    fs::write(scene.here("dangling"), "made through it").unwrap();
    assert_eq!(fs::read_to_string(scene.there("nowhere")).unwrap(), "made through it");
    symlink("/etc/hostname", scene.here("absolute")).unwrap();
    assert_eq!(fs::read_link(scene.here("absolute")).unwrap(), Path::new("/etc/hostname"));
    symlink("there", scene.here("here")).unwrap();
    symlink("here", scene.here("there")).unwrap();
    fails_with(fs::read(scene.here("here")), Errno::LOOP);
    fs::remove_file(scene.here("here")).unwrap();
    assert_eq!(names(scene.mount.path()), ["absolute", "dangling", "nowhere", "there"]);
}

fn targets_keep_every_byte_and_have_a_longest_length(kind: Kind) {
    let scene = Scene::on(kind);
    let longest = "x".repeat(1024);
    for (name, target) in [("a", "what?: a \\ b*"), ("b", "déjà vu/日本"), ("c", " end "), ("d", &longest)] {
        symlink(target, scene.here(name)).unwrap();
        assert_eq!(fs::read_link(scene.here(name)).unwrap(), Path::new(target));
        assert_eq!(fs::symlink_metadata(scene.here(name)).unwrap().len(), target.len() as u64);
    }
    fails_with(symlink("x".repeat(1025), scene.here("too-long")), Errno::NAMETOOLONG);
    fails_with(symlink("", scene.here("empty")), Errno::NOENT);
    assert_eq!(names(&scene.folder), ["a", "b", "c", "d"], "nothing is left of a link that was refused");
}

fn a_link_of_another_client_is_shown_and_what_only_looks_like_one_is_a_file(kind: Kind) {
    let scene = Scene::on(kind);
    let whole = link_to_target();
    let mut wrong_sum = whole.clone();
    wrong_sum[10] = b'0';
    fs::write(scene.there("link"), &whole).unwrap();
    fs::write(scene.there("cut"), &whole[..1000]).unwrap();
    fs::write(scene.there("wrong"), &wrong_sum).unwrap();
    fs::write(scene.there("same-size"), vec![b'a'; SIZE as usize]).unwrap();
    let kinds: Vec<(String, bool)> = {
        let mut found: Vec<_> = fs::read_dir(scene.mount.path())
            .unwrap()
            .map(|entry| entry.unwrap())
            .map(|entry| (entry.file_name().into_string().unwrap(), entry.file_type().unwrap().is_symlink()))
            .collect();
        found.sort();
        found
    };
    let expected = [("cut", false), ("link", true), ("same-size", false), ("wrong", false)];
    assert_eq!(kinds, expected.map(|(name, is_link)| (name.to_owned(), is_link)));
    assert_eq!(fs::read_link(scene.here("link")).unwrap(), Path::new("target"));
    assert_eq!(fs::symlink_metadata(scene.here("link")).unwrap().len(), 6);
    assert_eq!(fs::read(scene.here("wrong")).unwrap(), wrong_sum);
    // A file of this size can be written like any other.
    fs::write(scene.here("same-size"), "shorter").unwrap();
    assert_eq!(fs::read_to_string(scene.there("same-size")).unwrap(), "shorter");
}

#[test]
fn a_link_that_is_cut_on_the_server_becomes_a_file() {
    let scene = Scene::on(Kind::Smbd);
    symlink("target", scene.here("link")).unwrap();
    assert_eq!(fs::read(scene.there("link")).unwrap(), link_to_target());
    OpenOptions::new().write(true).open(scene.there("link")).unwrap().set_len(500).unwrap();
    let is_file = || fs::symlink_metadata(scene.here("link")).is_ok_and(|found| found.is_file() && found.len() == 500);
    assert!(wait_until(LIMIT, is_file), "{:?}", fs::symlink_metadata(scene.here("link")));
    assert_eq!(fs::read(scene.here("link")).unwrap(), link_to_target()[..500]);
}

#[test]
fn links_are_seen_by_a_second_mount_and_after_mounting_again() {
    let pair = Pair::on(Kind::Smbd);
    symlink("first", pair.here("by-one")).unwrap();
    symlink("second", pair.other("by-other")).unwrap();
    for (path, target) in [(pair.other("by-one"), "first"), (pair.here("by-other"), "second")] {
        assert!(wait_until(LIMIT, || fs::read_link(&path).is_ok_and(|found| found == Path::new(target))), "{path:?}");
    }
    // Replaced by the other client, as `ln -sfn` does it.
    symlink("third", pair.other("new")).unwrap();
    fs::rename(pair.other("new"), pair.other("by-one")).unwrap();
    let is_new = || fs::read_link(pair.here("by-one")).is_ok_and(|found| found == Path::new("third"));
    assert!(wait_until(LIMIT, is_new));
    let url = pair.scene.url();
    pair.end();
    let again = Request::new(url).mount();
    assert_eq!(fs::read_link(again.join("by-one")).unwrap(), Path::new("third"));
    assert_eq!(fs::read_link(again.join("by-other")).unwrap(), Path::new("second"));
    again.unmount();
}

/// A tree with links of each sort, and a target outside of it.
fn tree_with_links(root: &Path) {
    fs::create_dir_all(root.join("package/bin")).unwrap();
    fs::write(root.join("package/bin/tool"), "#!/bin/sh\necho run\n").unwrap();
    fs::create_dir_all(root.join("node_modules/.bin")).unwrap();
    symlink("../package", root.join("node_modules/package")).unwrap();
    symlink("../package/bin/tool", root.join("node_modules/.bin/tool")).unwrap();
    symlink("nowhere", root.join("dangling")).unwrap();
    symlink("/absolute/target", root.join("absolute")).unwrap();
}

/// The paths below a folder, and the targets of links. Links are not followed.
fn shape(root: &Path) -> Vec<(PathBuf, Option<PathBuf>)> {
    let (mut found, mut folders) = (Vec::new(), vec![root.to_owned()]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
            let kind = entry.file_type().unwrap();
            if kind.is_dir() {
                folders.push(entry.path());
            }
            let target = kind.is_symlink().then(|| fs::read_link(entry.path()).unwrap());
            found.push((entry.path().strip_prefix(root).unwrap().to_owned(), target));
        }
    }
    found.sort();
    found
}

fn rsync_and_tar_carry_links_there_and_back(kind: Kind) {
    let scene = Scene::on(kind);
    let local = tempfile::tempdir().unwrap();
    tree_with_links(&local.path().join("tree"));
    let wanted = shape(&local.path().join("tree"));
    let rsync = |from: &Path, to: &Path| {
        let from = format!("{}/", from.display());
        run(Command::new("rsync").args(["-rlt", &from]).arg(to), LIMIT).success();
    };
    rsync(&local.path().join("tree"), &scene.here("tree"));
    assert_eq!(shape(&scene.here("tree")), wanted);
    let again = run(
        Command::new("rsync")
            .args(["-rltin"])
            .arg(format!("{}/", local.path().join("tree").display()))
            .arg(scene.here("tree")),
        LIMIT,
    );
    assert_eq!(again.success().stdout, "", "a second rsync finds nothing to do");
    rsync(&scene.here("tree"), &local.path().join("back"));
    assert_eq!(shape(&local.path().join("back")), wanted);
    let archive = local.path().join("archive.tar");
    run(Command::new("tar").arg("-cf").arg(&archive).arg("-C").arg(scene.mount.path()).arg("tree"), LIMIT).success();
    fs::create_dir(scene.here("unpacked")).unwrap();
    run(Command::new("tar").arg("-xf").arg(&archive).arg("-C").arg(scene.here("unpacked")), LIMIT).success();
    assert_eq!(shape(&scene.here("unpacked/tree")), wanted);
    let found = run(Command::new("find").arg(scene.here("tree")).args(["-type", "l"]), LIMIT).success();
    assert_eq!(found.stdout.lines().count(), 4);
    let run_tool = run(Command::new("sh").arg(scene.here("tree/node_modules/.bin/tool")), LIMIT).success();
    assert_eq!(run_tool.stdout, "run\n");
    scene.mount.unmount();
}

fn removing_a_tree_removes_links_and_never_their_targets(kind: Kind) {
    let scene = Scene::on(kind);
    fs::create_dir_all(scene.here("kept/below")).unwrap();
    fs::write(scene.here("kept/below/file"), "kept").unwrap();
    fs::create_dir(scene.here("gone")).unwrap();
    symlink("../kept", scene.here("gone/folder")).unwrap();
    symlink("../kept/below/file", scene.here("gone/file")).unwrap();
    run(Command::new("rm").arg("-r").arg(scene.here("gone")), LIMIT).success();
    assert_eq!(names(&scene.folder), ["kept"]);
    assert_eq!(fs::read_to_string(scene.there("kept/below/file")).unwrap(), "kept");
    symlink("kept", scene.here("link")).unwrap();
    fs::rename(scene.here("link"), scene.here("moved")).unwrap();
    assert_eq!(fs::read_link(scene.here("moved")).unwrap(), Path::new("kept"));
    fs::remove_file(scene.here("moved")).unwrap();
    assert_eq!(names(&scene.here("kept")), ["below"]);
}

#[test]
fn a_link_has_times_of_its_own() {
    let scene = Scene::on(Kind::Smbd);
    fs::write(scene.here("file"), "x").unwrap();
    symlink("file", scene.here("link")).unwrap();
    let before = fs::metadata(scene.here("file")).unwrap().mtime();
    let time = Timespec { tv_sec: 1_000_000_000, tv_nsec: 0 };
    let times = Timestamps { last_access: time, last_modification: time };
    utimensat(CWD, scene.here("link"), &times, AtFlags::SYMLINK_NOFOLLOW).unwrap();
    assert_eq!(fs::symlink_metadata(scene.here("link")).unwrap().mtime(), 1_000_000_000);
    assert_eq!(fs::metadata(scene.here("file")).unwrap().mtime(), before);
    assert_eq!(fs::read_link(scene.here("link")).unwrap(), Path::new("file"));
}

fn with_links_off_none_is_made_and_their_files_are_files(kind: Kind) {
    let scene = Scene::with(kind, |request| request.arg("--symlinks=off"));
    fs::write(scene.there("link"), link_to_target()).unwrap();
    fails_with(symlink("target", scene.here("new")), Errno::PERM);
    assert_eq!(names(scene.mount.path()), ["link"]);
    let found = fs::symlink_metadata(scene.here("link")).unwrap();
    assert!(found.is_file() && found.len() == SIZE);
    assert_eq!(fs::read(scene.here("link")).unwrap(), link_to_target());
}

fn with_reparse_points_only_a_server_without_them_stores_no_link(kind: Kind) {
    let scene = Scene::with(kind, |request| request.arg("--symlinks=reparse"));
    fs::write(scene.there("link"), link_to_target()).unwrap();
    for _ in 0..2 {
        fails_with(symlink("target", scene.here("new")), Errno::PERM);
    }
    assert_eq!(names(&scene.folder), ["link"]);
    assert_eq!(fs::read_link(scene.here("link")).unwrap(), Path::new("target"));
}

#[test]
fn links_stay_within_their_frames() {
    let line = Line::to(Server::shared(Kind::Smbd), &["--symlinks=mfsymlinks"]);
    let make = |from: usize| {
        (from..from + 20).for_each(|number| symlink("target", line.here(format!("link-{number}"))).unwrap())
    };
    make(0);
    let asked = frames(&line, || make(20)).asked;
    // The folder is looked at once more after its watch has begun.
    assert!(asked <= 20 + 1, "{asked} frames for 20 links");
    let read = || {
        for number in 20..40 {
            let path = line.here(format!("link-{number}"));
            assert_eq!(fs::read_link(&path).unwrap(), Path::new("target"));
            assert_eq!(fs::symlink_metadata(&path).unwrap().len(), 6);
        }
    };
    within(4, frames(&line, read), "reading 20 links that were just made");
    // Made on the server: each is looked at once, then never again.
    fs::create_dir(line.there("folder")).unwrap();
    for number in 0..20 {
        fs::write(line.there(format!("folder/link-{number}")), link_to_target()).unwrap();
        fs::write(line.there(format!("folder/file-{number}")), "x").unwrap();
    }
    let list = || {
        let listed = run(Command::new("ls").arg("-l").arg(line.here("folder")), LIMIT).success();
        assert_eq!(listed.stdout.matches("-> target").count(), 20, "{}", listed.stdout);
    };
    within(20 + 5, frames(&line, list), "the first listing of 20 links");
    let pause = Instant::now();
    wait_until(LIMIT, || pause.elapsed() > Duration::from_millis(1500));
    within(2, frames(&line, list), "the second listing");
    line.mount.unmount();
}

#[test]
fn a_lost_answer_or_request_is_no_error_for_a_link() {
    let line = Line::to(Server::shared(Kind::Smbd), &["--symlinks=mfsymlinks"]);
    for name in ["answer", "request"] {
        match name {
            "answer" => line.proxy.lose_answer(makes),
            _ => line.proxy.lose_request(makes),
        }
        symlink("target", line.here(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert!(line.proxy.has_lost(), "nothing was lost");
        assert_eq!(fs::read(line.there(name)).unwrap(), link_to_target());
        assert_eq!(fs::read_link(line.here(name)).unwrap(), Path::new("target"));
    }
    line.mount.unmount();
}

/// Samba from 4.21 on keeps reparse points in an extended attribute.
#[test]
fn a_newer_samba_stores_links_and_special_files_as_reparse_points() {
    if !new_samba::is_there() {
        return;
    }
    let scene = Scene::on(Kind::NewSmbd);
    for (name, target) in [("first", "a/b"), ("second", "/etc/passwd"), ("third", ".."), ("fourth", "a:b/é")] {
        symlink(target, scene.here(name)).unwrap();
        assert_eq!(fs::read_link(scene.here(name)).unwrap(), Path::new(target));
    }
    run(Command::new("mkfifo").arg(scene.here("fifo")), LIMIT).success();
    for name in ["first", "second", "third", "fourth", "fifo"] {
        let mut value = vec![0; 1000];
        let stored = rustix::fs::getxattr(scene.there(name), "user.SmbReparse", &mut value);
        assert!(stored.is_ok_and(|length| length >= 8), "{name}: {stored:?}");
    }
    let other = scene.second_mount();
    assert_eq!(fs::read_link(other.join("fourth")).unwrap(), Path::new("a:b/é"));
    assert_eq!(fs::symlink_metadata(other.join("second")).unwrap().len(), 11);
    assert!(fs::symlink_metadata(other.join("fifo")).unwrap().file_type().is_fifo());
    fs::rename(other.join("first"), other.join("moved")).unwrap();
    for name in ["moved", "second", "third", "fourth", "fifo"] {
        fs::remove_file(other.join(name)).unwrap();
    }
    assert!(names(&scene.folder).is_empty());
    other.unmount();
}
