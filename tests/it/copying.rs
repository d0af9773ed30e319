//! Copies within the share. Where the server supports it, the server copies.
//!
//! Samba supports it, `smb-server` does not: there the kernel reads and writes. The result must be the same.

use crate::support::command::run;
use crate::support::files::{checksum, noise};
use crate::support::frames::command::{IOCTL, READ, WRITE};
use crate::support::line::Line;
use crate::support::scene::Scene;
use crate::support::server::{Kind, Server, Settings, both_servers};
use rustix::fs::copy_file_range;
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

both_servers!(
    a_copy_has_the_same_bytes,
    a_range_is_copied_into_the_middle_of_a_file,
    a_range_is_copied_within_one_file,
    data_that_was_just_written_is_copied,
    copied_data_is_read_back_before_the_file_is_closed,
    a_copy_continues_after_a_lost_connection,
);

const MIB: usize = 1 << 20;
const LIMIT: Duration = Duration::from_secs(60);

fn cp(from: &Path, to: &Path) {
    run(Command::new("cp").arg("--reflink=auto").args([from, to]), LIMIT).success();
}

fn read_write(path: &Path) -> File {
    OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path).unwrap()
}

/// Copies a whole range, in as many calls as that needs.
fn copy_range(from: (&File, u64), to: (&File, u64), length: usize) {
    let (mut from_offset, mut to_offset, mut left) = (from.1, to.1, length);
    while left > 0 {
        let copied = copy_file_range(from.0, Some(&mut from_offset), to.0, Some(&mut to_offset), left).unwrap();
        assert!(copied > 0, "the source ends {left} bytes too early");
        left -= copied;
    }
}

fn a_copy_has_the_same_bytes(kind: Kind) {
    let scene = Scene::on(kind);
    // The longest needs more than one copy request.
    let lengths = [0, 1, 4096, MIB + 1, 40 * MIB + 12_345];
    for length in lengths {
        fs::write(scene.there(format!("a-{length}")), noise(length as u64, length)).unwrap();
    }
    for length in lengths {
        let (a, b) = (format!("a-{length}"), format!("b-{length}"));
        cp(&scene.here(&a), &scene.here(&b));
        assert_eq!(checksum(&scene.there(&b)), checksum(&scene.there(&a)), "{length} bytes");
        assert_eq!(checksum(&scene.here(&b)), checksum(&scene.there(&a)), "{length} bytes");
    }
}

#[test]
fn no_data_goes_over_the_wire_when_samba_copies() {
    let server = Server::shared(Kind::Smbd);
    let line = Line::to(server, &[]);
    fs::write(line.there("a"), noise(1, 40 * MIB)).unwrap();
    let before = line.proxy.frames();
    cp(&line.here("a"), &line.here("b"));
    let frames = line.proxy.frames() - before;
    assert_eq!((line.proxy.requests(READ), line.proxy.requests(WRITE)), (0, 0));
    assert!(frames < 40, "{frames} frames");
    assert_eq!(checksum(&line.there("b")), checksum(&line.there("a")));
}

#[test]
fn a_server_that_cannot_copy_gets_one_copy_request_only() {
    let server = Server::shared(Kind::Embedded);
    let line = Line::to(server, &[]);
    fs::write(line.there("a"), noise(2, 3 * MIB)).unwrap();
    for name in ["b", "c"] {
        cp(&line.here("a"), &line.here(name));
        assert_eq!(checksum(&line.there(name)), checksum(&line.there("a")));
    }
    assert_eq!(line.proxy.requests(IOCTL), 1);
    assert!(line.proxy.requests(READ) > 0 && line.proxy.requests(WRITE) > 0);
}

fn a_range_is_copied_into_the_middle_of_a_file(kind: Kind) {
    let scene = Scene::on(kind);
    let (data, mut expected) = (noise(3, 5 * MIB), noise(4, 4 * MIB));
    fs::write(scene.there("a"), &data).unwrap();
    fs::write(scene.there("b"), &expected).unwrap();
    let (from, to) = (File::open(scene.here("a")).unwrap(), read_write(&scene.here("b")));
    // Into the middle, and past the end.
    for (from_offset, to_offset, length) in [(1001, 77_777, 2 * MIB + 5), (0, 3 * MIB + 3, 3 * MIB), (MIB, 9 * MIB, 1)]
    {
        copy_range((&from, from_offset as u64), (&to, to_offset as u64), length);
        expected.resize(expected.len().max(to_offset + length), 0);
        expected[to_offset..to_offset + length].copy_from_slice(&data[from_offset..from_offset + length]);
        assert_eq!(to.metadata().unwrap().len(), expected.len() as u64);
        assert!(fs::read(scene.here("b")).unwrap() == expected, "copied to {to_offset}");
    }
    drop(to);
    assert!(fs::read(scene.there("b")).unwrap() == expected);
}

fn a_range_is_copied_within_one_file(kind: Kind) {
    let scene = Scene::on(kind);
    let data = noise(5, 2 * MIB);
    fs::write(scene.there("a"), &data).unwrap();
    let file = read_write(&scene.here("a"));
    copy_range((&file, 0), (&file, 2 * MIB as u64), 2 * MIB);
    file.sync_data().unwrap();
    assert!(fs::read(scene.there("a")).unwrap() == [&data[..], &data[..]].concat());
}

fn data_that_was_just_written_is_copied(kind: Kind) {
    let scene = Scene::on(kind);
    let (writer, target) = (read_write(&scene.here("a")), read_write(&scene.here("b")));
    let reader = File::open(scene.here("a")).unwrap();
    for round in 0..10 {
        let data = noise(round, 300_000);
        writer.write_all_at(&data, 1000 * round).unwrap();
        copy_range((&reader, 1000 * round), (&target, 0), data.len());
        target.sync_data().unwrap();
        assert!(fs::read(scene.there("b")).unwrap() == data, "round {round}");
    }
}

fn copied_data_is_read_back_before_the_file_is_closed(kind: Kind) {
    let scene = Scene::on(kind);
    let (old, data) = (noise(6, 3 * MIB), noise(7, 2 * MIB));
    fs::write(scene.there("a"), &data).unwrap();
    fs::write(scene.there("b"), &old).unwrap();
    let (from, mut to) = (File::open(scene.here("a")).unwrap(), read_write(&scene.here("b")));
    assert!(fs::read(scene.here("b")).unwrap() == old, "this fills the cache");
    copy_range((&from, 0), (&to, 0), data.len());
    let mut read = vec![0; 3 * MIB];
    to.read_exact_at(&mut read, 0).unwrap();
    assert!(read[..2 * MIB] == data && read[2 * MIB..] == old[2 * MIB..]);
    to.write_all(b"over it").unwrap();
    to.sync_data().unwrap();
    assert!(fs::read(scene.there("b")).unwrap().starts_with(b"over it"));
}

fn a_copy_continues_after_a_lost_connection(kind: Kind) {
    let server = Server::shared(kind);
    let line = Line::to(server, &[]);
    let data = noise(8, 6 * MIB);
    fs::write(line.there("a"), &data).unwrap();
    let (from, to) = (File::open(line.here("a")).unwrap(), read_write(&line.here("b")));
    for start in [0, 3 * MIB] {
        copy_range((&from, start as u64), (&to, start as u64), 3 * MIB);
        line.proxy.cut();
    }
    assert!(fs::read(line.here("b")).unwrap() == data);
    assert!(line.proxy.connections() > 1);
}

/// A btrfs file system mounted on a folder of the server; its files can share blocks.
struct SharingDisk(PathBuf);

impl SharingDisk {
    /// Returns `None` if it cannot be made.
    fn on(folder: &Path) -> Option<SharingDisk> {
        let image = folder.with_extension("image");
        File::create(&image).unwrap().set_len(256 * MIB as u64).unwrap();
        fs::create_dir(folder).unwrap();
        let done = |command: &mut Command| run(command, LIMIT).code == Some(0);
        let made = rustix::process::geteuid().is_root()
            && Path::new("/sbin/mkfs.btrfs").exists()
            && done(Command::new("/sbin/mkfs.btrfs").arg("-q").arg(&image))
            && done(Command::new("mount").args(["-o", "loop"]).args([&image, folder]));
        if !made {
            eprintln!("skipped: no btrfs file system can be made");
        }
        made.then(|| SharingDisk(folder.to_owned()))
    }
}

impl Drop for SharingDisk {
    fn drop(&mut self) {
        run(Command::new("umount").arg("-l").arg(&self.0), LIMIT);
    }
}

#[test]
fn where_files_can_share_blocks_a_copy_needs_three_requests_and_no_space() {
    let server = Arc::new(Server::start(Kind::Smbd, Settings { shares_blocks: true, ..Settings::default() }));
    let line = Line::to(server, &[]);
    let Some(_disk) = SharingDisk::on(&line.there("disk")) else { return };
    // The file system has no space for two unshared copies.
    let data = noise(9, 130 * MIB + 5);
    fs::write(line.there("disk/a"), &data).unwrap();
    cp(&line.here("disk/a"), &line.here("disk/b"));
    assert!(fs::read(line.there("disk/b")).unwrap() == data);
    // One to share the blocks, one for the resume key, one to copy the bytes after the last whole block.
    assert_eq!(line.proxy.requests(IOCTL), 3);
    File::open(line.there("disk/b")).unwrap().sync_all().expect("the copy needs no space");
}

#[test]
fn where_sharing_blocks_fails_the_data_is_copied() {
    let server = Arc::new(Server::start(Kind::Smbd, Settings { shares_blocks: true, ..Settings::default() }));
    let scene = Scene::of(server, |request| request);
    fs::write(scene.there("a"), noise(10, 5 * MIB + 5)).unwrap();
    for name in ["b", "c"] {
        cp(&scene.here("a"), &scene.here(name));
        assert_eq!(checksum(&scene.there(name)), checksum(&scene.there("a")));
    }
}
