//! Servers that accept no data after an outage: the disk is full, or the share or disk is read-only. Programs get the
//! cause as an error once for each handle. Reading still works, and so does writing when the server accepts data again.

use crate::support::command::{run, spawn_quiet, wait};
use crate::support::files::{fails_with, noise};
use crate::support::mount::{Mount, Request};
use crate::support::proxy::Proxy;
use crate::support::scratch;
use crate::support::server::{Settings, url};
use crate::support::smbd::{Paused, Smbd};
use crate::support::wait_until;
use rustix::io::Errno;
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::Duration;

const MIB: usize = 1 << 20;
/// How long mount(8) and umount(8) may take.
const SOON: Duration = Duration::from_secs(20);

/// A server with an 8 MiB disk below its share, and a mount of the share through a proxy.
struct Scene {
    server: Smbd,
    mount: Mount,
    proxy: Proxy,
    disk: Disk,
}

/// A tmpfs of 8 MiB mounted on a folder of the share.
struct Disk(PathBuf);

impl Disk {
    fn on(folder: PathBuf) -> Disk {
        fs::create_dir(&folder).unwrap();
        mount(&["-t", "tmpfs", "-o", "size=8M", "tmpfs"], &folder);
        Disk(folder)
    }

    /// Fills the disk to the last block. Returns the path of the file that does.
    fn fill(&self) -> PathBuf {
        let path = self.0.join("filling");
        let mut file = File::create(&path).unwrap();
        while file.write_all(&[0; 4096]).is_ok() {}
        path
    }

    fn remount(&self, how: &str) {
        mount(&["-o", &format!("remount,{how}")], &self.0);
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        run(Command::new("umount").arg("-l").arg(&self.0), SOON);
    }
}

fn mount(arguments: &[&str], folder: &Path) {
    run(Command::new("mount").args(arguments).arg(folder), SOON).success();
}

/// `None`, with a message, for users who cannot mount a disk.
fn scene() -> Option<Scene> {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: only root can mount a small disk");
        return None;
    }
    let server = Smbd::start(Settings::default());
    let disk = Disk::on(server.folder().join("disk"));
    let proxy = Proxy::to_port(server.port());
    let mount = Request::new(url("127.0.0.1", proxy.port(), "")).args(["--request-timeout=25"]).mount();
    Some(Scene { server, mount, proxy, disk })
}

/// A file with some synced data, open for reading and writing.
struct Written {
    file: File,
    content: Vec<u8>,
}

impl Scene {
    fn here(&self, name: &str) -> PathBuf {
        self.mount.join("disk").join(name)
    }

    fn there(&self, name: &str) -> PathBuf {
        self.disk.0.join(name)
    }

    fn written(&self, name: &str) -> Written {
        let mut file = OpenOptions::new().read(true).write(true).create_new(true).open(self.here(name)).unwrap();
        let content = noise(1, 9000);
        file.write_all(&content).unwrap();
        file.sync_all().unwrap();
        Written { file, content }
    }

    /// Kills the paused server, runs `meanwhile`, and restarts the server.
    fn loses(&self, paused: Paused, meanwhile: impl FnOnce()) {
        self.server.kill();
        drop(paused);
        meanwhile();
        self.server.restart();
    }

    /// Waits until the client sends no frame for one second. Panics if it sends frames all the time.
    fn is_at_rest(&self) {
        let until = std::time::Instant::now() + SOON;
        loop {
            let frames = self.proxy.frames();
            std::thread::sleep(Duration::from_secs(1));
            if self.proxy.frames() == frames {
                return;
            }
            assert!(std::time::Instant::now() < until, "the client does not stop sending");
        }
    }
}

impl Written {
    fn is_readable(&self) {
        let mut read = vec![0; self.content.len()];
        self.file.read_exact_at(&mut read, 0).unwrap();
        assert!(read == self.content);
    }
}

#[test]
fn a_disk_that_is_full_after_an_outage_is_reported_by_fsync_once_per_handle() {
    let Some(scene) = scene() else { return };
    let (one, other) = (scene.written("one"), scene.written("other"));
    let second = OpenOptions::new().read(true).write(true).open(scene.here("one")).unwrap();
    let paused = scene.server.pause();
    one.file.write_all_at(&noise(2, 200_000), 100_000).unwrap();
    second.write_all_at(&noise(3, 200_000), 400_000).unwrap();
    let filling = std::cell::OnceCell::new();
    scene.loses(paused, || filling.set(scene.disk.fill()).unwrap());
    fails_with(one.file.sync_all(), Errno::NOSPC);
    fails_with(second.sync_all(), Errno::NOSPC);
    one.file.sync_all().unwrap();
    second.sync_all().unwrap();
    one.is_readable();
    other.is_readable();
    other.file.sync_all().unwrap();
    scene.is_at_rest();
    // With free space, writing works again through the same handles and for new files.
    fs::remove_file(filling.get().unwrap()).unwrap();
    one.file.write_all_at(&noise(4, 200_000), 0).unwrap();
    one.file.sync_all().unwrap();
    drop((one, second));
    assert!(fs::read(scene.there("one")).unwrap()[..200_000] == noise(4, 200_000));
    fs::write(scene.here("new"), noise(5, MIB)).unwrap();
    assert!(fs::read(scene.there("new")).unwrap() == noise(5, MIB));
}

#[test]
fn a_disk_that_is_full_after_an_outage_is_reported_by_close() {
    let Some(scene) = scene() else { return };
    scene.written("file");
    let appended = Appending::to(scene.here("file"));
    let paused = scene.server.pause();
    appended.write(&noise(2, 200_000));
    scene.loses(paused, || {
        scene.disk.fill();
    });
    appended.fails();
    scene.is_at_rest();
    assert!(fs::read(scene.here("file")).unwrap()[..9000] == noise(1, 9000));
}

/// A program that appends its input to a file. It fails if one of its writes or its close fails.
struct Appending {
    process: Child,
    input: File,
}

impl Appending {
    fn to(path: PathBuf) -> Appending {
        let pipe = scratch::folder("pipe").join("pipe");
        run(Command::new("mkfifo").arg(&pipe), SOON).success();
        let mut command = Command::new("sh");
        // The shell opens the file before `cat` opens the pipe.
        command.args(["-c", "exec cat \"$0\" >> \"$1\""]).args([&pipe, &path]);
        let process = spawn_quiet(command).unwrap();
        Appending { process, input: OpenOptions::new().write(true).open(pipe).unwrap() }
    }

    fn write(&self, data: &[u8]) {
        (&self.input).write_all(data).unwrap();
    }

    fn fails(mut self) {
        drop(self.input);
        let status = wait(&mut self.process, 2 * SOON).expect("the program ends");
        assert_eq!(status.code(), Some(1), "the program must get an error for its lost data");
    }
}

/// What open handles and later calls get from a server that becomes read-only and later writable again.
fn can_be_read_only(refuse: impl Fn(&Scene), allow: impl Fn(&Scene)) {
    let Some(scene) = scene() else { return };
    let (held, clean, flushed) = (scene.written("held"), scene.written("clean"), scene.written("flushed"));
    scene.written("appended");
    let unflushed = scene.written("unflushed").file;
    unflushed.write_all_at(b"unflushed", 0).unwrap();
    assert!(wait_until(SOON, || fs::read(scene.there("unflushed")).unwrap().starts_with(b"unflushed")));
    scene.is_at_rest();
    let appended = Appending::to(scene.here("appended"));
    let paused = scene.server.pause();
    held.file.write_all_at(&noise(2, 200_000), 100_000).unwrap();
    appended.write(&noise(2, 20_000));
    scene.loses(paused, || refuse(&scene));
    fails_with(held.file.sync_all(), Errno::ROFS);
    held.file.sync_all().unwrap();
    appended.fails();
    for _ in 0..2 {
        fails_with(unflushed.sync_all(), Errno::ROFS);
    }
    for written in [&held, &clean, &flushed] {
        written.is_readable();
    }
    flushed.file.sync_all().unwrap();
    fails_with(clean.file.write_all_at(b"x", 0).and_then(|()| clean.file.sync_all()), Errno::ROFS);
    fails_with(File::create(scene.here("new")), Errno::ROFS);
    fails_with(OpenOptions::new().write(true).open(scene.here("clean")), Errno::ROFS);
    fails_with(fs::create_dir(scene.here("folder")), Errno::ROFS);
    fails_with(fs::remove_file(scene.here("clean")), Errno::ROFS);
    fails_with(fs::rename(scene.here("clean"), scene.here("renamed")), Errno::ROFS);
    assert!(fs::read(scene.here("flushed")).unwrap() == flushed.content);
    scene.is_at_rest();
    scene.server.kill();
    allow(&scene);
    scene.server.restart();
    clean.file.write_all_at(b"written again", 0).unwrap();
    clean.file.sync_all().unwrap();
    unflushed.sync_all().unwrap();
    assert_eq!(fs::read(scene.there("clean")).unwrap()[..13], *b"written again");
    fs::write(scene.here("new"), "new").unwrap();
    assert_eq!(fs::read(scene.there("new")).unwrap(), b"new");
}

#[test]
fn a_disk_that_is_read_only_after_an_outage_can_be_read() {
    can_be_read_only(|scene| scene.disk.remount("ro"), |scene| scene.disk.remount("rw"));
}

#[test]
fn a_share_that_is_read_only_after_an_outage_can_be_read() {
    let set = |value: &'static str| move |scene: &Scene| scene.server.configure(&format!("read only = {value}"));
    can_be_read_only(set("yes"), set("no"));
}
