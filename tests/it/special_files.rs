//! Fifos, sockets and devices: made, used and listed. smbd takes no reparse points, so they are system files there, as
//! Linux's own client makes them with its option `sfu`.

use crate::round_trips::frames;
use crate::support::command::{run, spawn_quiet, wait};
use crate::support::files::{fails_with, names};
use crate::support::line::Line;
use crate::support::pair::Pair;
use crate::support::scene::Scene;
use crate::support::server::{Kind, Server};
use crate::support::wait_until;
use rustix::fs::{CWD, FileType, Mode, makedev, mknodat};
use rustix::io::Errno;
use std::fs::{self, Permissions};
use std::io::{Read, Write};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(60);

fn mknod(path: &Path, kind: FileType, device: u64) -> rustix::io::Result<()> {
    mknodat(CWD, path, kind, Mode::from_raw_mode(0o644), device)
}

#[test]
fn data_flows_through_a_fifo() {
    let scene = Scene::on(Kind::Smbd);
    let fifo = scene.here("fifo");
    run(Command::new("mkfifo").arg(&fifo), LIMIT).success();
    let found = fs::symlink_metadata(&fifo).unwrap();
    assert!(found.file_type().is_fifo() && found.len() == 0);
    let mut writer = Command::new("sh");
    writer.arg("-c").arg("echo through > \"$0\"").arg(&fifo);
    let mut writer = spawn_quiet(writer).unwrap();
    assert_eq!(run(Command::new("cat").arg(&fifo), LIMIT).success().stdout, "through\n");
    assert!(wait(&mut writer, LIMIT).is_some());
    assert!(fs::read(scene.there("fifo")).unwrap().starts_with(b"LnxFIFO\0"), "no data is in the file");
    fs::remove_file(&fifo).unwrap();
    assert!(names(&scene.folder).is_empty());
    scene.mount.unmount();
}

#[test]
fn programs_meet_at_a_socket() {
    let scene = Scene::on(Kind::Smbd);
    let socket = scene.here("s");
    let listener = UnixListener::bind(&socket).unwrap();
    assert!(fs::symlink_metadata(&socket).unwrap().file_type().is_socket());
    let client = thread::spawn(move || {
        let mut stream = UnixStream::connect(&socket).unwrap();
        stream.write_all(b"hello").unwrap();
    });
    let mut received = String::new();
    listener.accept().unwrap().0.read_to_string(&mut received).unwrap();
    client.join().unwrap();
    assert_eq!(received, "hello");
    fails_with(UnixListener::bind(scene.here("s")).map(drop), Errno::ADDRINUSE);
    drop(listener);
    scene.mount.unmount();
}

#[test]
fn root_makes_devices_which_cannot_be_opened() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let scene = Scene::on(Kind::Smbd);
    mknod(&scene.here("null"), FileType::CharacterDevice, makedev(1, 3)).unwrap();
    mknod(&scene.here("disk"), FileType::BlockDevice, makedev(259, 70_000)).unwrap();
    let null = fs::symlink_metadata(scene.here("null")).unwrap();
    let disk = fs::symlink_metadata(scene.here("disk")).unwrap();
    assert!(null.file_type().is_char_device() && disk.file_type().is_block_device());
    assert_eq!((null.rdev(), disk.rdev()), (makedev(1, 3), makedev(259, 70_000)));
    fails_with(fs::read(scene.here("null")), Errno::ACCESS);
    let stored = [&b"IntxCHR\0"[..], &1u64.to_le_bytes(), &3u64.to_le_bytes()].concat();
    assert_eq!(fs::read(scene.there("null")).unwrap(), stored);
    fails_with(mknod(&scene.here("null"), FileType::Fifo, 0), Errno::EXIST);
    scene.mount.unmount();
}

#[test]
fn another_mount_sees_the_same_kinds() {
    let pair = Pair::on(Kind::Smbd);
    mknod(&pair.here("fifo"), FileType::Fifo, 0).unwrap();
    mknod(&pair.here("socket"), FileType::Socket, 0).unwrap();
    mknod(&pair.here("plain"), FileType::RegularFile, 0).unwrap();
    assert!(wait_until(LIMIT, || names(&pair.other("")) == ["fifo", "plain", "socket"]));
    let kinds = |path: &Path| {
        let entries = fs::read_dir(path).unwrap().map(|entry| entry.unwrap());
        let mut kinds: Vec<_> = entries
            .map(|entry| (entry.file_name(), entry.file_type().unwrap()))
            .map(|(name, kind)| (name, kind.is_fifo(), kind.is_socket(), kind.is_file()))
            .collect();
        kinds.sort();
        kinds
    };
    assert_eq!(kinds(&pair.other("")), kinds(&pair.here("")));
    let found: Vec<_> =
        kinds(&pair.other("")).into_iter().map(|(_, fifo, socket, file)| (fifo, socket, file)).collect();
    assert_eq!(found, [(true, false, false), (false, false, true), (false, true, false)]);
    fs::rename(pair.other("fifo"), pair.other("moved")).unwrap();
    fs::set_permissions(pair.other("moved"), Permissions::from_mode(0o600)).unwrap();
    assert!(fs::symlink_metadata(pair.other("moved")).unwrap().file_type().is_fifo());
    pair.end();
}

#[test]
fn a_special_file_needs_one_frame() {
    let line = Line::to(Server::shared(Kind::Smbd), &["--symlinks=mfsymlinks"]);
    let make = |from: usize| {
        for number in from..from + 10 {
            mknod(&line.here(format!("fifo-{number}")), FileType::Fifo, 0).unwrap();
        }
    };
    make(0);
    let asked = frames(&line, || make(10)).asked;
    // The folder is looked at once more after its watch has begun.
    assert!(asked <= 10 + 1, "{asked} frames for 10 fifos");
    line.mount.unmount();
}
