//! Limits: the memory of the process, and the space on the server's disk.

use crate::support::command::run;
use crate::support::files::{fails_with, noise};
use crate::support::scene::Scene;
use crate::support::server::{Kind, both_servers};
use rustix::fs::Advice;
use rustix::io::Errno;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::num::NonZeroU64;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

both_servers!(a_full_disk_is_enospc_and_earlier_files_are_kept, a_full_disk_is_enospc_for_small_files_too);

const MIB: usize = 1 << 20;

/// The peak resident memory of a process (VmHWM), in bytes.
pub(crate) fn peak_memory(pid: i32) -> usize {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<usize>().unwrap() * 1024
}

/// The watchdog's deadline of mounts in tests that take long.
const LONG: Duration = Duration::from_secs(300);

/// The most memory in bytes: the cache's budget of 32 MiB, and 64 MiB for the rest of the program.
const BOUND: usize = 32 * MIB + 64 * MIB;

#[test]
fn reading_a_file_larger_than_the_cache_stays_within_the_memory_limit() {
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
fn writing_a_file_larger_than_the_cache_stays_within_the_memory_limit() {
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

/// Asserts that the process of a mount with a cache of `cache` MiB has never used more than that plus 64 MiB.
#[track_caller]
fn stays_within(scene: &Scene, cache: usize) {
    let peak = peak_memory(scene.mount.process());
    assert!(peak <= (cache + 64) * MIB, "{} MiB with a cache of {cache} MiB", peak / MIB);
}

/// Reads `count` pages of a file at random offsets. The kernel drops each page at once, so every read is a
/// request to the program.
fn read_at_random(file: &File, size: u64, count: u64, seed: u64) {
    const PAGE: u64 = 4096;
    rustix::fs::fadvise(file, 0, None, Advice::Random).unwrap();
    let mut place = seed;
    let mut page = [1; PAGE as usize];
    for _ in 0..count {
        place = place.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let offset = (place >> 20) % (size / PAGE) * PAGE;
        file.read_exact_at(&mut page, offset).unwrap();
        assert!(page == [0; PAGE as usize]);
        rustix::fs::fadvise(file, offset, NonZeroU64::new(PAGE), Advice::DontNeed).unwrap();
    }
}

/// Many small pieces fill the cache, are evicted by large ones, and are read again.
#[test]
fn reading_at_random_offsets_stays_within_the_memory_limit() {
    const SIZE: u64 = 1024 * MIB as u64;
    let scene = Scene::with(Kind::Smbd, |request| request.arg("--cache-size=128M").for_at_most(LONG));
    File::create(scene.there("image")).unwrap().set_len(SIZE).unwrap();
    File::create(scene.there("other")).unwrap().set_len(SIZE / 2).unwrap();
    let image = File::open(scene.here("image")).unwrap();
    for round in 0..2 {
        std::thread::scope(|scope| {
            for reader in 0..2 {
                let image = &image;
                scope.spawn(move || read_at_random(image, SIZE, 25_000, 1 + reader + 10 * round));
            }
        });
        let mut other = File::open(scene.here("other")).unwrap();
        let mut buffer = vec![1; 4 * MIB];
        while other.read(&mut buffer).unwrap() > 0 {}
        rustix::fs::fadvise(&other, 0, None, Advice::DontNeed).unwrap();
    }
    stays_within(&scene, 128);
}

/// The cache may reserve room for a file that grows, but many growing files together must stay within the
/// budget.
#[test]
fn many_files_that_grow_at_once_stay_within_the_memory_limit() {
    let scene = Scene::with(Kind::Smbd, |request| request.arg("--cache-size=64M").for_at_most(LONG));
    let piece = noise(1, 20_000);
    let mut files: Vec<File> = (0..400).map(|number| File::create(scene.here(number.to_string())).unwrap()).collect();
    for _ in 0..5 {
        for file in &mut files {
            file.write_all(&piece).unwrap();
        }
    }
    drop(files);
    for number in 0..400 {
        assert!(fs::read(scene.there(number.to_string())).unwrap() == piece.repeat(5), "{number}");
    }
    stays_within(&scene, 64);
}

/// For each small file the cache keeps more than its bytes; that must stay within the limit too.
#[test]
fn reading_many_small_files_stays_within_the_memory_limit() {
    let scene = Scene::with(Kind::Smbd, |request| request.arg("--cache-size=32M").for_at_most(LONG));
    for number in 0..10_000 {
        fs::write(scene.there(number.to_string()), vec![7; 4096 * (number % 4) + 100]).unwrap();
    }
    for number in 0..10_000 {
        let read = fs::read(scene.here(number.to_string())).unwrap();
        assert!(read.len() == 4096 * (number % 4) + 100 && read.iter().all(|byte| *byte == 7), "{number}");
    }
    stays_within(&scene, 32);
}

/// A tmpfs of 8 MiB mounted on a folder of the server.
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
        eprintln!("skipped: only root can mount a small disk");
    }
    root
}

fn a_full_disk_is_enospc_and_earlier_files_are_kept(kind: Kind) {
    if !may_mount() {
        return;
    }
    let scene = Scene::on(kind);
    let _disk = SmallDisk::on(&scene.there("disk"));
    let kept = noise(1, MIB);
    fs::write(scene.here("disk/kept"), &kept).unwrap();
    let mut file = File::create(scene.here("disk/too large")).unwrap();
    let mut written = 0;
    // The error must come from a write, or at the latest from fsync, because most programs ignore an error of
    // close.
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
    // With free space, writing works again.
    fs::remove_file(scene.here("disk/too large")).unwrap();
    fs::write(scene.here("disk/after"), &kept).unwrap();
    assert!(fs::read(scene.there("disk/after")).unwrap() == kept);
}

fn a_full_disk_is_enospc_for_small_files_too(kind: Kind) {
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
    fails_with(Err::<(), _>(failed.expect("8 MiB have no space for 2,000 files of 10 kB")), Errno::NOSPC);
    for (number, name) in confirmed {
        assert!(fs::read(scene.there(&name)).unwrap() == noise(number, 10_000), "{name} was synced");
    }
}
