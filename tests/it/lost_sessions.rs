//! Dirty and unflushed data when a session is lost: it never overwrites newer data of another client, a lost connection
//! alone is no error, and fsync reports data that the server has lost.

use crate::support::files::{fails_with, noise};
use crate::support::mount::{Mount, Request};
use crate::support::server::{Settings, url};
use crate::support::smbd::Smbd;
use crate::support::wait_until;
use rustix::io::Errno;
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

const MIB: usize = 1 << 20;
const LIMIT: Duration = Duration::from_secs(30);
/// A pause that is longer than the errors of clocks and timestamps.
const CLEARLY_LATER: Duration = Duration::from_millis(400);

/// A server with a mount, and a file on the mount that is open.
struct Scene {
    server: Smbd,
    mount: Mount,
    file: File,
}

impl Scene {
    /// A new scene whose file has this content, flushed to the server's disk.
    fn with(content: &[u8]) -> Scene {
        let server = Smbd::start(Settings::default());
        let mount = Request::new(url("127.0.0.1", server.port(), "")).args(["--request-timeout=25"]).mount();
        let path = mount.join("file");
        let mut file = OpenOptions::new().read(true).write(true).create_new(true).open(path).unwrap();
        file.write_all(content).unwrap();
        file.sync_all().unwrap();
        Scene { server, mount, file }
    }

    fn there(&self) -> PathBuf {
        self.server.folder().join("file")
    }
}

/// A program writes data that the server does not get before its session ends. Before or after that write, `theirs`
/// writes newer data on the server's disk. The newer data must stay, and the program must get an error.
fn the_newer_version_of_the_other_client_is_kept(before: bool, theirs: impl Fn(&Path)) {
    let scene = Scene::with(&[b'o'; 9000]);
    std::thread::sleep(CLEARLY_LATER);
    let paused = scene.server.pause();
    if before {
        theirs(&scene.there());
    }
    scene.file.write_all_at(b"mine", 100).unwrap();
    if !before {
        theirs(&scene.there());
    }
    let newer = fs::read(scene.there()).unwrap();
    std::thread::sleep(CLEARLY_LATER);
    scene.server.kill();
    drop(paused);
    scene.server.restart();
    fails_with(scene.file.sync_all(), Errno::IO);
    fails_with(scene.file.write_all_at(b"mine again", 50), Errno::IO);
    let (here, there) = (scene.mount.join("file"), scene.there());
    assert!(fs::read(&there).unwrap() == newer, "the newer version was overwritten");
    drop(scene.file);
    assert!(fs::read(&there).unwrap() == newer, "close overwrote the newer version");
    assert!(fs::read(&here).unwrap() == newer, "the newer version must be read on this mount");
    fs::write(&here, "written anew").unwrap();
    assert_eq!(fs::read(&there).unwrap(), b"written anew");
}

fn in_place(path: &Path) {
    OpenOptions::new().write(true).open(path).unwrap().write_all_at(b"theirs", 98).unwrap();
}

fn elsewhere_in_the_file(path: &Path) {
    OpenOptions::new().write(true).open(path).unwrap().write_all_at(b"theirs", 8000).unwrap();
}

fn appended(path: &Path) {
    OpenOptions::new().append(true).open(path).unwrap().write_all(b"theirs").unwrap();
}

fn cut(path: &Path) {
    OpenOptions::new().write(true).open(path).unwrap().set_len(5000).unwrap();
}

#[test]
fn data_that_another_client_overwrote_during_an_outage_is_kept() {
    the_newer_version_of_the_other_client_is_kept(false, in_place);
}

#[test]
fn data_that_another_client_wrote_elsewhere_in_the_file_is_kept() {
    the_newer_version_of_the_other_client_is_kept(false, elsewhere_in_the_file);
}

#[test]
fn data_that_another_client_appended_during_an_outage_is_kept() {
    the_newer_version_of_the_other_client_is_kept(false, appended);
}

#[test]
fn a_file_that_another_client_truncated_during_an_outage_stays_truncated() {
    the_newer_version_of_the_other_client_is_kept(false, cut);
}

#[test]
fn data_that_another_client_wrote_before_the_outage_is_kept() {
    the_newer_version_of_the_other_client_is_kept(true, in_place);
    the_newer_version_of_the_other_client_is_kept(true, appended);
}

#[test]
fn a_file_that_another_client_put_in_its_place_is_kept() {
    let scene = Scene::with(&[b'o'; 9000]);
    let paused = scene.server.pause();
    scene.file.write_all_at(b"mine", 100).unwrap();
    let other = scene.server.folder().join("other");
    fs::write(&other, "theirs").unwrap();
    fs::rename(other, scene.there()).unwrap();
    scene.server.kill();
    drop(paused);
    scene.server.restart();
    assert!(scene.file.sync_all().is_err());
    let there = scene.there();
    drop(scene.file);
    assert_eq!(fs::read(there).unwrap(), b"theirs");
}

/// Writes a file in pieces, runs `kill` once in sixteen pieces, and syncs the file. No call may fail.
fn written_while_the_server_is_killed(mut file: File, data: &[u8], kill: impl Fn()) {
    for (index, piece) in data.chunks(512 * 1024).enumerate() {
        file.write_all(piece).unwrap_or_else(|error| panic!("piece {index}: {error}"));
        if index % 16 == 7 {
            kill();
        }
    }
    file.sync_all().unwrap();
}

#[test]
fn killed_processes_of_the_server_are_no_error_for_a_copy() {
    let scene = Scene::with(b"");
    let data = noise(1, 48 * MIB);
    let path = scene.mount.join("copy");
    written_while_the_server_is_killed(File::create(&path).unwrap(), &data, || scene.server.kill_clients());
    assert!(fs::read(scene.server.folder().join("copy")).unwrap() == data);
    // Overwritten in place, as databases and disk images are.
    let other = noise(2, 48 * MIB);
    let file = OpenOptions::new().write(true).open(&path).unwrap();
    written_while_the_server_is_killed(file, &other, || scene.server.kill_clients());
    assert!(fs::read(scene.server.folder().join("copy")).unwrap() == other);
}

#[test]
fn lost_connections_are_no_error_for_a_copy() {
    use crate::support::line::Line;
    use crate::support::server::{Kind, Server};
    for kind in [Kind::Smbd, Kind::Embedded] {
        let line = Line::to(Server::shared(kind), &["--request-timeout=25"]);
        let path = line.mount.join("copy");
        for seed in 1..3 {
            let data = noise(seed, 24 * MIB);
            let file = OpenOptions::new().write(true).create(true).truncate(false).open(&path).unwrap();
            written_while_the_server_is_killed(file, &data, || line.proxy.cut());
            assert!(fs::read(line.folder.join("copy")).unwrap() == data, "{kind:?}, round {seed}");
        }
    }
}

/// Either the request or its answer is lost.
#[test]
fn a_lost_write_or_flush_is_no_error_for_close_and_fsync() {
    use crate::support::frames::{flushes, writes};
    use crate::support::line::Line;
    use crate::support::proxy::Proxy;
    use crate::support::server::{Kind, Server};
    for kind in [Kind::Smbd, Kind::Embedded] {
        let line = Line::to(Server::shared(kind), &["--request-timeout=25"]);
        for (name, lose) in [("request", Proxy::lose_request as fn(&Proxy, _)), ("answer", Proxy::lose_answer)] {
            for (frame, is_it) in [("WRITE", writes as fn(&[u8]) -> bool), ("FLUSH", flushes)] {
                let mut file = File::create(line.here(name)).unwrap();
                lose(&line.proxy, is_it);
                file.write_all(frame.as_bytes()).unwrap();
                if frame == "FLUSH" {
                    file.sync_all().unwrap();
                } else {
                    nix::unistd::close(file).unwrap();
                }
                assert!(line.proxy.has_lost(), "{kind:?}: no {name} of a {frame} was lost");
                assert_eq!(fs::read(line.there(name)).unwrap(), frame.as_bytes(), "{kind:?}, {name}");
            }
        }
        line.mount.unmount();
    }
}

#[test]
fn small_writes_between_lost_connections_are_no_error() {
    let scene = Scene::with(&[0; 100_000]);
    let mut expected = vec![0; 100_000];
    for round in 0..30_u64 {
        let data = noise(round, 700);
        let at = (round * 7919 % 99_000) as usize;
        scene.file.write_all_at(&data, at as u64).unwrap();
        expected[at..at + data.len()].copy_from_slice(&data);
        if round % 10 == 4 {
            scene.server.kill_clients();
        }
    }
    scene.file.sync_all().unwrap();
    assert!(fs::read(scene.there()).unwrap() == expected);
}

/// The server accepts data and loses it before it is flushed to disk, as in a power failure. fsync must report that.
fn fsync_reports_data_that_the_server_lost(lose: impl Fn(&Path)) {
    let scene = Scene::with(&noise(1, 3 * MIB));
    let data = noise(2, 3 * MIB);
    scene.file.write_all_at(&data, 3 * MIB as u64).unwrap();
    let arrived = || fs::read(scene.there()).is_ok_and(|there| there.get(3 * MIB..) == Some(&data[..]));
    assert!(wait_until(LIMIT, arrived), "dirty data must reach the server without a request");
    // Wait for the answer: a WRITE without one would be sent again, and nothing would be lost.
    std::thread::sleep(CLEARLY_LATER);
    scene.server.kill();
    lose(&scene.there());
    scene.server.restart();
    fails_with(scene.file.sync_all(), Errno::IO);
    works_as_ever(&scene);
}

fn works_as_ever(scene: &Scene) {
    fs::write(scene.mount.join("other"), "other").unwrap();
    assert_eq!(fs::read(scene.server.folder().join("other")).unwrap(), b"other");
}

#[test]
fn fsync_fails_if_the_server_lost_the_end_of_the_file() {
    fsync_reports_data_that_the_server_lost(|path| {
        OpenOptions::new().write(true).open(path).unwrap().set_len(3 * MIB as u64).unwrap();
    });
}

#[test]
fn fsync_fails_if_the_server_has_zeros_in_place_of_the_data() {
    fsync_reports_data_that_the_server_lost(|path| {
        let file = OpenOptions::new().write(true).open(path).unwrap();
        file.write_all_at(&[0; 4096], 5 * MIB as u64).unwrap();
    });
}

/// close(2) checks the size. Losses in files that are already closed are not reported; reads return what the server
/// has.
#[test]
fn data_that_the_server_lost_is_reported_by_close_of_an_open_file() {
    let scene = Scene::with(b"");
    let data = noise(2, 3 * MIB);
    fs::write(scene.mount.join("closed"), &data).unwrap();
    fs::create_dir(scene.mount.join("folder")).unwrap();
    scene.file.write_all_at(&data, 0).unwrap();
    let arrived = || fs::read(scene.there()).is_ok_and(|there| there == data);
    assert!(wait_until(LIMIT, arrived), "dirty data must reach the server without a request");
    std::thread::sleep(CLEARLY_LATER);
    scene.server.kill();
    for file in ["file", "closed"] {
        let path = scene.server.folder().join(file);
        OpenOptions::new().write(true).open(path).unwrap().set_len(MIB as u64).unwrap();
    }
    fs::remove_dir(scene.server.folder().join("folder")).unwrap();
    scene.server.restart();
    let Scene { server: _server, mount, file } = scene;
    assert_eq!(nix::unistd::close(file), Err(nix::Error::EIO));
    let is_cut = || fs::read(mount.join("closed")).is_ok_and(|here| here == data[..MIB]);
    assert!(wait_until(LIMIT, is_cut), "the mount does not show the content on the server");
    assert!(
        wait_until(LIMIT, || !mount.join("folder").exists()),
        "the mount shows a folder that the server does not have"
    );
}

#[test]
fn a_conflict_with_a_newer_version_is_reported_by_close() {
    let scene = Scene::with(&[b'o'; 9000]);
    std::thread::sleep(CLEARLY_LATER);
    let paused = scene.server.pause();
    scene.file.write_all_at(b"mine", 100).unwrap();
    in_place(&scene.there());
    let newer = fs::read(scene.there()).unwrap();
    std::thread::sleep(CLEARLY_LATER);
    scene.server.kill();
    drop(paused);
    scene.server.restart();
    let there = scene.there();
    let Scene { server: _server, mount: _mount, file } = scene;
    assert_eq!(nix::unistd::close(file), Err(nix::Error::EIO));
    assert!(fs::read(there).unwrap() == newer);
}

#[test]
fn data_that_the_server_lost_after_close_is_reported_by_fsync_of_a_new_open() {
    let Scene { server, mount, file } = Scene::with(b"");
    let (there, data) = (server.folder().join("file"), noise(2, 3 * MIB));
    file.write_all_at(&data, 0).unwrap();
    nix::unistd::close(file).unwrap();
    assert!(fs::read(&there).unwrap() == data);
    std::thread::sleep(CLEARLY_LATER);
    server.kill();
    let lossy = OpenOptions::new().write(true).open(&there).unwrap();
    let modified = lossy.metadata().unwrap().modified().unwrap();
    lossy.write_all_at(&[0; 4096], MIB as u64).unwrap();
    lossy.set_modified(modified).unwrap();
    server.restart();
    let again = OpenOptions::new().read(true).write(true).open(mount.join("file")).unwrap();
    fails_with(again.sync_all(), Errno::IO);
    again.write_all_at(&data, 0).unwrap();
    again.sync_all().unwrap();
    assert!(fs::read(&there).unwrap() == data);
}

#[test]
fn data_that_another_client_wrote_after_close_is_not_reported_as_a_loss() {
    let Scene { server, mount, file } = Scene::with(b"");
    let there = server.folder().join("file");
    file.write_all_at(&noise(2, 3 * MIB), 0).unwrap();
    drop(file);
    assert!(wait_until(LIMIT, || fs::metadata(&there).is_ok_and(|there| there.len() == 3 * MIB as u64)));
    std::thread::sleep(CLEARLY_LATER);
    server.kill();
    fs::write(&there, "theirs").unwrap();
    server.restart();
    let again = OpenOptions::new().read(true).write(true).open(mount.join("file")).unwrap();
    again.sync_all().unwrap();
    again.write_all_at(b"mine", 6).unwrap();
    again.sync_all().unwrap();
    assert_eq!(fs::read(&there).unwrap(), b"theirsmine");
}

#[test]
fn data_that_was_flushed_is_not_verified_again() {
    let scene = Scene::with(&noise(1, 3 * MIB));
    scene.server.kill();
    // A change of flushed data by another client is no loss.
    OpenOptions::new().write(true).open(scene.there()).unwrap().write_all_at(b"theirs", 10).unwrap();
    scene.server.restart();
    scene.file.sync_all().unwrap();
    works_as_ever(&scene);
}

#[test]
fn a_small_write_over_unflushed_data_is_no_conflict() {
    for (at, length) in [(0, 100), (500, 100), (4000, 200), (999_000, 2000)] {
        let scene = Scene::with(b"");
        let mut expected = noise(1, MIB);
        scene.file.write_all_at(&expected, 0).unwrap();
        let arrived = || fs::metadata(scene.there()).is_ok_and(|there| there.len() == MIB as u64);
        assert!(wait_until(LIMIT, arrived), "dirty data must reach the server without a request");
        std::thread::sleep(CLEARLY_LATER);
        let paused = scene.server.pause();
        scene.file.write_all_at(&vec![7; length], at as u64).unwrap();
        expected[at..at + length].fill(7);
        // The WRITE is sent after a second and gets no answer.
        std::thread::sleep(3 * CLEARLY_LATER);
        scene.server.kill();
        drop(paused);
        scene.server.restart();
        scene.file.sync_all().unwrap_or_else(|error| panic!("{length} at {at}: {error}"));
        assert!(fs::read(scene.there()).unwrap() == expected, "{length} at {at}");
    }
}

#[test]
fn dirty_data_of_another_client_is_not_overwritten() {
    use crate::support::line::Line;
    use crate::support::scene::url_of;
    use crate::support::server::{Kind, Server};
    let server = Server::shared(Kind::Smbd);
    let line = Line::to(std::sync::Arc::clone(&server), &["--request-timeout=25"]);
    let other = Request::new(url_of(&server, &line.folder)).mount();
    let mut file = File::create(line.here("file")).unwrap();
    file.write_all(&[b'o'; 20_000]).unwrap();
    file.sync_all().unwrap();
    std::thread::sleep(CLEARLY_LATER);
    file.write_all_at(b"mine", 0).unwrap();
    line.proxy.refuse();
    line.proxy.cut();
    // The file stays open: under its lease the other client may keep the data dirty until this client opens the file
    // again.
    let theirs = OpenOptions::new().write(true).open(other.join("file")).unwrap();
    theirs.write_all_at(b"theirs", 0).unwrap();
    line.proxy.forward();
    fails_with(file.sync_all(), Errno::IO);
    drop((file, theirs));
    assert_eq!(fs::read(line.there("file")).unwrap()[..8], *b"theirsoo");
    other.unmount();
}

#[test]
fn a_killed_server_that_lost_no_data_is_no_error() {
    let scene = Scene::with(&noise(1, 3 * MIB));
    scene.file.write_all_at(&noise(2, 3 * MIB), 3 * MIB as u64).unwrap();
    let arrived = || fs::metadata(scene.there()).is_ok_and(|there| there.len() == 6 * MIB as u64);
    assert!(wait_until(LIMIT, arrived), "dirty data must reach the server without a request");
    scene.server.kill();
    scene.server.restart();
    scene.file.sync_all().unwrap();
}
