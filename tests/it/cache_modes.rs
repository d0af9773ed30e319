//! The consistency that each cache mode guarantees.

use crate::support::files::{mapped, noise};
use crate::support::line::Line;
use crate::support::scene::Scene;
use crate::support::server::{Kind, Server, Settings};
use crate::support::wait_until;
use rustix::mm::MapFlags;
use std::fs::{self, File, OpenOptions};
use std::io::Read;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The longest wait for a change that a mount must show.
const LIMIT: Duration = Duration::from_secs(20);

/// A server that grants no leases and no oplocks.
fn without_leases() -> Arc<Server> {
    Arc::new(Server::start(Kind::Smbd, Settings { no_leases: true, no_oplocks: true, ..Settings::default() }))
}

fn read_at_start(file: &File, length: usize) -> Vec<u8> {
    let mut data = vec![0; length];
    file.read_exact_at(&mut data, 0).unwrap();
    data
}

/// Overwrites data and restores the modification time, so that size and time do not show the change.
fn overwrite_unnoticed(path: &Path, data: &[u8]) {
    let before = fs::metadata(path).unwrap();
    let file = OpenOptions::new().write(true).open(path).unwrap();
    file.write_all_at(data, 0).unwrap();
    file.set_modified(before.modified().unwrap()).unwrap();
}

/// A mount whose attribute timeout is an hour.
fn with_long_timeout() -> Scene {
    Scene::with(Kind::Smbd, |request| request.arg("--attr-timeout=3600"))
}

#[test]
fn strict_mode_shows_an_open_what_another_mount_wrote_before_it() {
    let scene = with_long_timeout();
    let other = scene.second_mount();
    fs::write(scene.here("file"), noise(0, 5000)).unwrap();
    let kept = File::open(scene.here("file")).unwrap();
    for round in 1..30 {
        read_at_start(&kept, 5000);
        let writer = OpenOptions::new().write(true).open(other.join("file")).unwrap();
        writer.write_all_at(&noise(round, 5000), 0).unwrap();
        drop(writer);
        assert!(fs::read(scene.here("file")).unwrap() == noise(round, 5000), "round {round}");
    }
    other.unmount();
}

/// The server breaks a read lease without waiting for an acknowledgement, so the change is not seen at once.
#[test]
fn strict_mode_shows_an_open_handle_what_another_mount_writes() {
    let scene = with_long_timeout();
    let other = scene.second_mount();
    fs::write(scene.here("file"), noise(0, 5000)).unwrap();
    let writer = OpenOptions::new().write(true).open(other.join("file")).unwrap();
    for round in 1..30 {
        // Each open has a new lease: a handle whose lease was broken gets none again.
        let reader = File::open(scene.here("file")).unwrap();
        read_at_start(&reader, 5000);
        writer.write_all_at(&noise(round, 5000), 0).unwrap();
        assert!(wait_until(LIMIT, || read_at_start(&reader, 5000) == noise(round, 5000)), "round {round}");
    }
    drop(writer);
    other.unmount();
}

#[test]
fn strict_mode_revalidates_at_each_open_without_leases() {
    let scene = Scene::of(without_leases(), |request| request);
    for round in 0..10 {
        fs::write(scene.there("file"), noise(round, 5000)).unwrap();
        assert!(fs::read(scene.here("file")).unwrap() == noise(round, 5000), "round {round}");
    }
}

#[test]
fn strict_mode_writes_through_without_leases() {
    let scene = Scene::of(without_leases(), |request| request);
    let file = File::create(scene.here("file")).unwrap();
    for round in 0..10 {
        file.write_all_at(&noise(round, 5000), 0).unwrap();
        assert!(fs::read(scene.there("file")).unwrap() == noise(round, 5000), "round {round}");
    }
}

#[test]
fn mode_none_sends_every_read_and_write_to_the_server() {
    let scene = Scene::with(Kind::Smbd, |request| request.arg("--cache=none"));
    fs::write(scene.there("file"), noise(0, 5000)).unwrap();
    let file = OpenOptions::new().read(true).write(true).open(scene.here("file")).unwrap();
    for round in 1..10 {
        read_at_start(&file, 5000);
        overwrite_unnoticed(&scene.there("file"), &noise(round, 5000));
        assert!(read_at_start(&file, 5000) == noise(round, 5000), "round {round}");
        file.write_all_at(&noise(round + 100, 5000), 0).unwrap();
        assert!(fs::read(scene.there("file")).unwrap() == noise(round + 100, 5000), "round {round}");
    }
    fs::write(scene.there("other"), b"12345").unwrap();
    assert_eq!(fs::metadata(scene.here("other")).unwrap().size(), 5);
    fs::write(scene.there("other"), b"1234567").unwrap();
    assert_eq!(fs::metadata(scene.here("other")).unwrap().size(), 7, "attributes must not be cached either");
    fs::remove_file(scene.there("other")).unwrap();
    assert!(fs::metadata(scene.here("other")).is_err());
}

#[test]
fn mode_none_lets_programs_map_files() {
    let scene = Scene::with(Kind::Smbd, |request| request.arg("--cache=none"));
    fs::write(scene.there("file"), noise(1, 10_000)).unwrap();
    let file = File::open(scene.here("file")).unwrap();
    for kind in [MapFlags::PRIVATE, MapFlags::SHARED] {
        assert!(mapped(&file, 10_000, kind) == noise(1, 10_000), "{kind:?}");
    }
}

#[test]
fn loose_mode_asks_for_nothing_twice_within_the_timeout() {
    let line = Line::to(without_leases(), &["--cache=loose"]);
    for number in 0..20 {
        fs::write(line.there(format!("file-{number}")), noise(number, 5000)).unwrap();
    }
    let read_all = || {
        for number in 0..20 {
            let mut data = Vec::new();
            File::open(line.here(format!("file-{number}"))).unwrap().read_to_end(&mut data).unwrap();
            assert!(data == noise(number, 5000));
        }
        assert_eq!(fs::read_dir(line.mount.path()).unwrap().count(), 20);
    };
    read_all();
    let start = Instant::now();
    wait_until(LIMIT, || start.elapsed() > Duration::from_secs(2));
    let before = line.proxy.frames();
    read_all();
    let frames = line.proxy.frames() - before;
    // Answers to a revalidation, and CHANGE_NOTIFY requests for listed folders, may come late.
    assert!(frames < 5, "{frames} frames");
    line.mount.unmount();
}

#[test]
fn loose_mode_holds_written_data_until_close() {
    let line = Line::to(without_leases(), &["--cache=loose"]);
    let file = File::create(line.here("file")).unwrap();
    let before = line.proxy.frames();
    for number in 0..2000 {
        file.write_all_at(&[number as u8; 10], number * 10).unwrap();
    }
    drop(file);
    let frames = line.proxy.frames() - before;
    assert!(frames < 100, "2,000 writes took {frames} frames");
    let expected: Vec<u8> = (0..2000).flat_map(|number| [number as u8; 10]).collect();
    assert!(fs::read(line.there("file")).unwrap() == expected, "after close(2) the server must have the data");
    line.mount.unmount();
}

#[test]
fn loose_mode_shows_changes_of_other_clients_after_the_timeout() {
    let scene = Scene::of(without_leases(), |request| request.args(["--cache=loose", "--attr-timeout=0.5"]));
    fs::write(scene.there("file"), b"old").unwrap();
    fs::write(scene.there("gone"), b"").unwrap();
    assert_eq!(fs::read(scene.here("file")).unwrap(), b"old");
    assert!(fs::metadata(scene.here("gone")).is_ok());
    fs::write(scene.there("file"), b"new and longer").unwrap();
    fs::remove_file(scene.there("gone")).unwrap();
    assert!(wait_until(LIMIT, || fs::read(scene.here("file")).unwrap() == b"new and longer"));
    assert!(wait_until(LIMIT, || fs::metadata(scene.here("gone")).is_err()));
}
