//! Data that was written when a session was lost: it never goes over what another client has written since, a lost connection
//! alone is no error, and what the server has lost is not called safe.

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
/// Longer than what clocks and timestamps may be wrong by.
const CLEARLY_LATER: Duration = Duration::from_millis(400);

/// A server with a mount, and a file on it that is open here.
struct Scene {
    server: Smbd,
    mount: Mount,
    file: File,
}

impl Scene {
    /// The file holds this, and the server has put it on its disk.
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

/// Here a program writes what the server does not get before its session ends, and on the server's disk another one writes
/// something newer. That is left alone, and the program is told.
fn their_newer_version_is_left_alone(before: bool, theirs: impl Fn(&Path)) {
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
    assert!(fs::read(&there).unwrap() == newer, "the newer version was written over");
    drop(scene.file);
    assert!(fs::read(&there).unwrap() == newer, "the newer version was written over by the close");
    assert!(fs::read(&here).unwrap() == newer, "and it is what is read here");
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
fn what_others_wrote_in_place_is_left_alone() {
    their_newer_version_is_left_alone(false, in_place);
}

#[test]
fn what_others_wrote_elsewhere_in_the_file_is_left_alone() {
    their_newer_version_is_left_alone(false, elsewhere_in_the_file);
}

#[test]
fn what_others_appended_is_left_alone() {
    their_newer_version_is_left_alone(false, appended);
}

#[test]
fn a_file_that_others_cut_is_left_alone() {
    their_newer_version_is_left_alone(false, cut);
}

#[test]
fn what_others_wrote_before_the_line_broke_is_left_alone() {
    their_newer_version_is_left_alone(true, in_place);
    their_newer_version_is_left_alone(true, appended);
}

#[test]
fn a_file_that_others_put_in_its_place_is_left_alone() {
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

/// Writes a file in pieces, with the server's processes killed again and again, and syncs it.
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
    // Written over in place, as databases and disk images are.
    let other = noise(2, 48 * MIB);
    let file = OpenOptions::new().write(true).open(&path).unwrap();
    written_while_the_server_is_killed(file, &other, || scene.server.kill_clients());
    assert!(fs::read(scene.server.folder().join("copy")).unwrap() == other);
}

#[test]
fn cut_lines_are_no_error_for_a_copy() {
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

/// The request does not arrive, or its answer does not.
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
fn small_writes_with_the_line_cut_between_are_no_error() {
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

/// The server takes data, and loses its power before that is on its disk.
fn what_the_server_lost_is_not_called_safe(lose: impl Fn(&Path)) {
    let scene = Scene::with(&noise(1, 3 * MIB));
    let data = noise(2, 3 * MIB);
    scene.file.write_all_at(&data, 3 * MIB as u64).unwrap();
    let arrived = || fs::read(scene.there()).is_ok_and(|there| there.get(3 * MIB..) == Some(&data[..]));
    assert!(wait_until(LIMIT, arrived), "what is written arrives by itself");
    // What has no answer yet would be sent again, and nothing be lost.
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
fn a_file_that_lost_its_end_is_not_called_safe() {
    what_the_server_lost_is_not_called_safe(|path| {
        OpenOptions::new().write(true).open(path).unwrap().set_len(3 * MIB as u64).unwrap();
    });
}

#[test]
fn a_file_of_the_right_size_with_zeros_in_it_is_not_called_safe() {
    what_the_server_lost_is_not_called_safe(|path| {
        let file = OpenOptions::new().write(true).open(path).unwrap();
        file.write_all_at(&[0; 4096], 5 * MIB as u64).unwrap();
    });
}

/// close(2) looks at the size. Nothing is said of a file that is closed already: its data is what the server has left.
#[test]
fn what_the_server_lost_is_said_by_close_while_the_file_is_open() {
    let scene = Scene::with(b"");
    let data = noise(2, 3 * MIB);
    fs::write(scene.mount.join("closed"), &data).unwrap();
    fs::create_dir(scene.mount.join("folder")).unwrap();
    scene.file.write_all_at(&data, 0).unwrap();
    let arrived = || fs::read(scene.there()).is_ok_and(|there| there == data);
    assert!(wait_until(LIMIT, arrived), "what is written arrives by itself");
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
    assert!(wait_until(LIMIT, is_cut), "what the server has is not what is read");
    assert!(wait_until(LIMIT, || !mount.join("folder").exists()), "a folder is shown that the server does not have");
}

#[test]
fn a_newer_version_is_said_by_close() {
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
fn what_the_server_lost_after_the_close_is_said_by_an_fsync_of_the_file_opened_again() {
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
fn what_another_client_wrote_after_the_close_is_no_loss() {
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
fn what_was_flushed_before_is_not_asked_for() {
    let scene = Scene::with(&noise(1, 3 * MIB));
    scene.server.kill();
    // Another client's change of what is flushed is no loss.
    OpenOptions::new().write(true).open(scene.there()).unwrap().write_all_at(b"theirs", 10).unwrap();
    scene.server.restart();
    scene.file.sync_all().unwrap();
    works_as_ever(&scene);
}

#[test]
fn a_small_write_over_data_that_is_not_flushed_is_no_conflict() {
    for (at, length) in [(0, 100), (500, 100), (4000, 200), (999_000, 2000)] {
        let scene = Scene::with(b"");
        let mut expected = noise(1, MIB);
        scene.file.write_all_at(&expected, 0).unwrap();
        let arrived = || fs::metadata(scene.there()).is_ok_and(|there| there.len() == MIB as u64);
        assert!(wait_until(LIMIT, arrived), "what is written arrives by itself");
        std::thread::sleep(CLEARLY_LATER);
        let paused = scene.server.pause();
        scene.file.write_all_at(&vec![7; length], at as u64).unwrap();
        expected[at..at + length].fill(7);
        // The WRITE leaves after a second, and has no answer.
        std::thread::sleep(3 * CLEARLY_LATER);
        scene.server.kill();
        drop(paused);
        scene.server.restart();
        scene.file.sync_all().unwrap_or_else(|error| panic!("{length} at {at}: {error}"));
        assert!(fs::read(scene.there()).unwrap() == expected, "{length} at {at}");
    }
}

#[test]
fn what_another_client_has_written_and_not_sent_is_left_alone() {
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
    // It stays open: the server lets the other client hold the data back, until this one opens the file again.
    let theirs = OpenOptions::new().write(true).open(other.join("file")).unwrap();
    theirs.write_all_at(b"theirs", 0).unwrap();
    line.proxy.forward();
    fails_with(file.sync_all(), Errno::IO);
    drop((file, theirs));
    assert_eq!(fs::read(line.there("file")).unwrap()[..8], *b"theirsoo");
    other.unmount();
}

#[test]
fn a_server_that_was_killed_and_has_everything_is_no_error() {
    let scene = Scene::with(&noise(1, 3 * MIB));
    scene.file.write_all_at(&noise(2, 3 * MIB), 3 * MIB as u64).unwrap();
    let arrived = || fs::metadata(scene.there()).is_ok_and(|there| there.len() == 6 * MIB as u64);
    assert!(wait_until(LIMIT, arrived), "what is written arrives by itself");
    scene.server.kill();
    scene.server.restart();
    scene.file.sync_all().unwrap();
}
