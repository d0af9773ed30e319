//! What is finite: the process's memory, the server's disk.

use crate::support::command::run;
use crate::support::files::{fails_with, noise};
use crate::support::scene::Scene;
use crate::support::server::{Kind, both_servers};
use rustix::io::Errno;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

both_servers!(a_full_disk_is_said_and_what_was_written_before_stays, a_full_disk_is_said_for_small_files_too);

const MIB: usize = 1 << 20;

/// The most memory that a process has ever used, in bytes.
fn peak_memory(pid: i32) -> usize {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<usize>().unwrap() * 1024
}

/// The cache's budget, and what the program needs besides.
const BOUND: usize = 32 * MIB + 64 * MIB;

#[test]
fn reading_a_file_larger_than_the_cache_takes_no_more_memory_than_the_cache() {
    let scene = Scene::with(Kind::Smbd, |request| request.arg("--cache-size=32M"));
    File::create(scene.there("image")).unwrap().set_len(1024 * MIB as u64).unwrap();
    let mut file = File::open(scene.here("image")).unwrap();
    let mut buffer = vec![1; 4 * MIB];
    for _ in 0..256 {
        file.read_exact(&mut buffer).unwrap();
        assert!(buffer.iter().all(|byte| *byte == 0));
    }
    assert_eq!(file.read(&mut buffer).unwrap(), 0);
    let peak = peak_memory(scene.mount.process());
    assert!(peak <= BOUND, "{} MiB", peak / MIB);
}

#[test]
fn writing_a_file_larger_than_the_cache_takes_no_more_memory_than_the_cache() {
    let scene = Scene::with(Kind::Smbd, |request| request.arg("--cache-size=32M"));
    let piece = noise(1, 4 * MIB);
    let mut file = File::create(scene.here("image")).unwrap();
    for _ in 0..96 {
        file.write_all(&piece).unwrap();
    }
    drop(file);
    assert_eq!(fs::metadata(scene.there("image")).unwrap().len(), 384 * MIB as u64);
    let peak = peak_memory(scene.mount.process());
    assert!(peak <= BOUND, "{} MiB", peak / MIB);
    fs::remove_file(scene.there("image")).unwrap();
}

/// A small disk on a folder of the server.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn on(folder: &Path) -> SmallDisk {
        fs::create_dir(folder).unwrap();
        let options = format!("size={}", 8 * MIB);
        run(Command::new("mount").args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(folder), Duration::from_secs(20))
            .success();
        SmallDisk(folder.to_owned())
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        run(Command::new("umount").arg("-l").arg(&self.0), Duration::from_secs(20));
    }
}

fn may_mount() -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        eprintln!("only root can make a small disk: nothing to test");
    }
    root
}

fn a_full_disk_is_said_and_what_was_written_before_stays(kind: Kind) {
    if !may_mount() {
        return;
    }
    let scene = Scene::on(kind);
    let _disk = SmallDisk::on(&scene.there("disk"));
    let kept = noise(1, MIB);
    fs::write(scene.here("disk/kept"), &kept).unwrap();
    let mut file = File::create(scene.here("disk/too large")).unwrap();
    let mut written = 0;
    // By a write, or at the latest by fsync; close has no other way to say it to most programs.
    let failed = loop {
        match file.write(&noise(written as u64, 100_000)) {
            Ok(count) => written += count,
            Err(error) => break Err(error),
        }
        if written > 12 * MIB {
            break file.sync_all();
        }
    };
    fails_with(failed, Errno::NOSPC);
    drop(file);
    assert!(fs::read(scene.here("disk/kept")).unwrap() == kept);
    // With room again, everything works again.
    fs::remove_file(scene.here("disk/too large")).unwrap();
    fs::write(scene.here("disk/after"), &kept).unwrap();
    assert!(fs::read(scene.there("disk/after")).unwrap() == kept);
}

fn a_full_disk_is_said_for_small_files_too(kind: Kind) {
    if !may_mount() {
        return;
    }
    let scene = Scene::on(kind);
    let _disk = SmallDisk::on(&scene.there("disk"));
    let mut confirmed = Vec::new();
    let failed = (0..2_000_u64).find_map(|number| {
        let name = format!("disk/{number}");
        let write = || {
            let mut file = File::create(scene.here(&name))?;
            file.write_all(&noise(number, 10_000))?;
            file.sync_all()
        };
        match write() {
            Ok(()) => {
                confirmed.push((number, name));
                None
            }
            Err(error) => Some(error),
        }
    });
    fails_with(Err::<(), _>(failed.expect("8 MiB hold no 2,000 files of 10 kB")), Errno::NOSPC);
    for (number, name) in confirmed {
        assert!(fs::read(scene.there(&name)).unwrap() == noise(number, 10_000), "{name} was confirmed");
    }
}
