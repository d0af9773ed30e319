//! Removing and replacing files that another client has read, holds open or watches, and creating them anew.

use crate::support::files::{fails_with, names};
use crate::support::mount::{Mount, Request};
use crate::support::scene::Scene;
use crate::support::server::{Kind, both_servers};
use crate::support::wait_until;
use cifs_fuse::config::Dialect;
use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, utimensat};
use rustix::io::Errno;
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::time::Duration;

both_servers!(
    a_file_that_another_client_removed_can_be_saved_again,
    an_open_file_that_is_removed_or_replaced_has_no_links,
    an_open_folder_that_is_removed_has_no_links,
    truncating_an_empty_file_moves_its_time,
    a_write_after_a_truncation_to_the_same_size_moves_the_time,
);

const SOON: Duration = Duration::from_secs(20);

/// Two clients of one folder.
struct Clients {
    scene: Scene,
    other: Mount,
}

impl Clients {
    fn with(options: &[String]) -> Clients {
        let adjust = |request: Request| request.args(options.iter().cloned());
        let scene = Scene::with(Kind::Smbd, adjust);
        let other = adjust(Request::new(scene.url())).mount();
        Clients { scene, other }
    }

    /// Makes a file that the other client has read. Returns the handle that the other client keeps open, if any.
    fn read_by_the_other(&self, name: &str, held: Held) -> Option<File> {
        fs::write(self.scene.here(name), "content").unwrap();
        let there = self.other.join(name);
        assert!(wait_until(SOON, || fs::read(&there).is_ok_and(|content| content == b"content")), "{name}");
        // The CLOSE of this file is sent together with the next request.
        fs::write(self.scene.here("beside"), name).unwrap();
        match held {
            Held::Nothing => None,
            Held::Reading => Some(File::open(&there).unwrap()),
            Held::Writing => Some(OpenOptions::new().read(true).write(true).open(&there).unwrap()),
        }
    }

    fn end(self) {
        self.other.unmount();
        self.scene.mount.unmount();
    }
}

/// The handle that the other client keeps open after it has read the file.
#[derive(Clone, Copy, Debug)]
enum Held {
    Nothing,
    Reading,
    Writing,
}

/// One client makes changes of every kind to a file that another client has read. Each must succeed and have the right
/// result on the server.
fn changes_of_files_that_others_have_read(options: &[String]) {
    let clients = Clients::with(options);
    let (here, there) = (|name: &str| clients.scene.here(name), |name: &str| clients.scene.there(name));
    let mut number = 0;
    for held in [Held::Nothing, Held::Reading, Held::Writing] {
        for _ in 0..3 {
            number += 1;
            let name = |what: &str| format!("{what}-{number}");
            let how = format!("{options:?}, the other client holds {held:?}");

            let file = clients.read_by_the_other(&name("removed"), held);
            fs::remove_file(here(&name("removed"))).unwrap_or_else(|error| panic!("rm, {how}: {error}"));
            drop(file);

            let file = clients.read_by_the_other(&name("replaced"), held);
            fs::write(here("new"), "new").unwrap();
            fs::rename(here("new"), here(&name("replaced"))).unwrap_or_else(|error| panic!("mv over, {how}: {error}"));
            assert_eq!(fs::read(there(&name("replaced"))).unwrap(), b"new", "{how}");
            drop(file);

            let file = clients.read_by_the_other(&name("renamed"), held);
            let moved = fs::rename(here(&name("renamed")), here(&name("moved")));
            moved.unwrap_or_else(|error| panic!("mv, {how}: {error}"));
            assert_eq!(fs::read(there(&name("moved"))).unwrap(), b"content", "{how}");
            drop(file);

            let file = clients.read_by_the_other(&name("cut"), held);
            let cut = OpenOptions::new().write(true).open(here(&name("cut"))).and_then(|file| file.set_len(3));
            cut.unwrap_or_else(|error| panic!("truncate, {how}: {error}"));
            assert_eq!(fs::read(there(&name("cut"))).unwrap(), b"con", "{how}");
            drop(file);

            let file = clients.read_by_the_other(&name("overwritten"), held);
            fs::write(here(&name("overwritten")), "over").unwrap_or_else(|error| panic!("overwrite, {how}: {error}"));
            assert_eq!(fs::read(there(&name("overwritten"))).unwrap(), b"over", "{how}");
            drop(file);
        }
    }
    clients.end();
}

#[test]
fn files_that_another_client_has_read_are_removed_and_replaced_signed() {
    changes_of_files_that_others_have_read(&["--signing=required".into()]);
}

#[test]
fn files_that_another_client_has_read_are_removed_and_replaced_unsigned() {
    changes_of_files_that_others_have_read(&["--signing=off".into()]);
}

#[test]
fn files_that_another_client_has_read_are_removed_and_replaced_encrypted() {
    changes_of_files_that_others_have_read(&["--encryption=required".into()]);
}

#[test]
fn files_that_another_client_has_read_are_removed_and_replaced_in_each_dialect() {
    for dialect in Dialect::ALL {
        let only = [format!("--min-dialect={dialect}"), format!("--max-dialect={dialect}")];
        changes_of_files_that_others_have_read(&only);
    }
}

/// A client removes and replaces files that it has read itself.
#[test]
fn files_that_this_client_has_read_are_removed_and_replaced() {
    for dialect in Dialect::ALL {
        let only = [format!("--min-dialect={dialect}"), format!("--max-dialect={dialect}")];
        let scene = Scene::with(Kind::Smbd, |request| request.args(only));
        for number in 0..5 {
            let name = format!("{number}");
            fs::write(scene.here(&name), "old").unwrap();
            assert_eq!(fs::read(scene.here(&name)).unwrap(), b"old");
            fs::write(scene.here("new"), "new").unwrap();
            assert_eq!(fs::read(scene.here("new")).unwrap(), b"new");
            fs::rename(scene.here("new"), scene.here(&name)).unwrap();
            assert_eq!(fs::read(scene.here(&name)).unwrap(), b"new");
            fs::remove_file(scene.here(&name)).unwrap();
            assert!(!scene.there(&name).exists(), "{dialect}");
        }
        scene.mount.unmount();
    }
}

/// A folder that another client has listed and watches is removed and created anew at once, several times.
#[test]
fn a_folder_that_another_client_watches_can_be_removed_and_created_again() {
    let clients = Clients::with(&[]);
    let (here, there) = (clients.scene.here("d"), clients.scene.there("d"));
    for round in 0..6 {
        fs::create_dir(&here).unwrap();
        fs::write(here.join("file"), "content").unwrap();
        let listed = || fs::read_dir(clients.other.join("d")).is_ok_and(|entries| entries.count() == 1);
        assert!(wait_until(SOON, listed));
        // This change is reported, and until the next CHANGE_NOTIFY the watch is not armed: the removal must work then
        // too.
        fs::write(here.join("one more"), "content").unwrap();
        fs::remove_dir_all(&here).unwrap();
        assert!(!there.exists(), "round {round}: the folder was not removed");
        assert_eq!(
            names(clients.scene.mount.path()),
            Vec::<String>::new(),
            "round {round}: the folder is listed again"
        );
        fs::create_dir(&here).unwrap_or_else(|error| panic!("round {round}: mkdir: {error}"));
        fs::remove_dir(&here).unwrap();
        fs::write(&here, "a file").unwrap_or_else(|error| panic!("round {round}: a file in its place: {error}"));
        fs::remove_file(&here).unwrap();
        fs::create_dir(clients.scene.here("new")).unwrap();
        fs::rename(clients.scene.here("new"), &here).unwrap_or_else(|error| panic!("round {round}: mv: {error}"));
        fs::remove_dir(&here).unwrap();
    }
    clients.end();
}

fn a_file_that_another_client_removed_can_be_saved_again(kind: Kind) {
    let scene = Scene::on(kind);
    let other = scene.second_mount();
    for round in 0..5 {
        let name = format!("{round}");
        fs::write(other.join(&name), "old").unwrap();
        assert!(wait_until(SOON, || fs::metadata(scene.here(&name)).is_ok()));
        fs::remove_file(other.join(&name)).unwrap();
        fs::write(scene.here(&name), "new").unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(fs::read(scene.there(&name)).unwrap(), b"new");
    }
    // Without O_CREAT the error is ENOENT and no other.
    fs::write(scene.here("gone"), "old").unwrap();
    fs::remove_file(scene.there("gone")).unwrap();
    fails_with(OpenOptions::new().write(true).truncate(true).open(scene.here("gone")), Errno::NOENT);
    fails_with(fs::metadata(scene.here("gone")), Errno::NOENT);
    other.unmount();
    scene.mount.unmount();
}

fn an_open_file_that_is_removed_or_replaced_has_no_links(kind: Kind) {
    let scene = Scene::on(kind);
    fs::write(scene.here("removed"), "content").unwrap();
    let file = File::open(scene.here("removed")).unwrap();
    assert_eq!(file.metadata().unwrap().nlink(), 1);
    fs::remove_file(scene.here("removed")).unwrap();
    assert_eq!(file.metadata().unwrap().nlink(), 0);

    fs::write(scene.here("replaced"), "old").unwrap();
    fs::write(scene.here("new"), "new").unwrap();
    let file = File::open(scene.here("replaced")).unwrap();
    fs::rename(scene.here("new"), scene.here("replaced")).unwrap();
    assert_eq!(file.metadata().unwrap().nlink(), 0);
    assert_eq!(fs::metadata(scene.here("replaced")).unwrap().nlink(), 1);
    let mut content = [0; 3];
    file.read_exact_at(&mut content, 0).unwrap();
    assert_eq!(&content, b"old");
}

fn an_open_folder_that_is_removed_has_no_links(kind: Kind) {
    let scene = Scene::on(kind);
    fs::create_dir(scene.here("removed")).unwrap();
    let folder = File::open(scene.here("removed")).unwrap();
    assert_eq!(folder.metadata().unwrap().nlink(), 1);
    fs::remove_dir(scene.here("removed")).unwrap();
    assert_eq!(folder.metadata().unwrap().nlink(), 0);

    fs::create_dir(scene.here("replaced")).unwrap();
    fs::create_dir(scene.here("new")).unwrap();
    let folder = File::open(scene.here("replaced")).unwrap();
    fs::rename(scene.here("new"), scene.here("replaced")).unwrap();
    assert_eq!(folder.metadata().unwrap().nlink(), 0);
    assert_eq!(fs::metadata(scene.here("replaced")).unwrap().nlink(), 1);
}

/// A time in 2001.
const LONG_AGO: Timespec = Timespec { tv_sec: 1_000_000_000, tv_nsec: 0 };

fn make_old(path: &Path) {
    let times = Timestamps { last_access: LONG_AGO, last_modification: LONG_AGO };
    utimensat(CWD, path, &times, AtFlags::empty()).unwrap();
}

fn truncating_an_empty_file_moves_its_time(kind: Kind) {
    let scene = Scene::on(kind);
    let truncate = |name: &str| match name {
        "O_TRUNC" => drop(File::create(scene.here(name)).unwrap()),
        _ => OpenOptions::new().write(true).open(scene.here(name)).unwrap().set_len(0).unwrap(),
    };
    for name in ["O_TRUNC", "ftruncate"] {
        fs::write(scene.here(name), "").unwrap();
        make_old(&scene.here(name));
        assert_eq!(fs::metadata(scene.there(name)).unwrap().mtime(), LONG_AGO.tv_sec);
        truncate(name);
        for path in [scene.here(name), scene.there(name)] {
            assert!(fs::metadata(&path).unwrap().mtime() > LONG_AGO.tv_sec + 1000, "{name}: {}", path.display());
        }
    }
}

fn a_write_after_a_truncation_to_the_same_size_moves_the_time(kind: Kind) {
    let scene = Scene::on(kind);
    for name in ["O_TRUNC", "ftruncate"] {
        fs::write(scene.here(name), "").unwrap();
        make_old(&scene.here(name));
        let mut file = match name {
            "O_TRUNC" => File::create(scene.here(name)).unwrap(),
            _ => OpenOptions::new().write(true).open(scene.here(name)).unwrap(),
        };
        file.set_len(0).unwrap();
        let truncated = fs::metadata(scene.there(name)).unwrap();
        assert!(truncated.mtime() > LONG_AGO.tv_sec + 1000, "{name}");
        std::thread::sleep(Duration::from_millis(1100));
        file.write_all(b"content").unwrap();
        drop(file);
        let later = || {
            let written = fs::metadata(scene.there(name)).unwrap();
            (written.mtime(), written.mtime_nsec()) >= (truncated.mtime() + 1, truncated.mtime_nsec())
        };
        assert!(wait_until(SOON, later), "{name}: the write did not move the time");
    }
}

/// The time of the last write is about the time of close(2), not the time of a CLOSE request that was held to be sent
/// with others.
#[test]
fn the_modification_time_is_that_of_close_and_not_of_the_delayed_request() {
    let scene = Scene::on(Kind::Smbd);
    // On a busy machine one CLOSE may be late, but not each of twenty.
    let is_in_time = (0..20).any(|number| {
        let name = format!("{number}");
        fs::write(scene.here(&name), "content").unwrap();
        std::thread::sleep(Duration::from_millis(50));
        fs::write(scene.there("marker"), "").unwrap();
        let marker = fs::metadata(scene.there("marker")).unwrap().modified().unwrap();
        std::thread::sleep(Duration::from_millis(200));
        fs::metadata(scene.there(&name)).unwrap().modified().unwrap() <= marker
    });
    assert!(is_in_time, "each file has a time of 50 ms and more after its close");
}

/// A size beyond the limit of the server's file system is EFBIG, not ENOSPC or EINVAL.
#[test]
fn a_size_beyond_the_limit_of_the_file_system_is_efbig() {
    let scene = Scene::on(Kind::Smbd);
    fs::write(scene.here("file"), "content").unwrap();
    let file = OpenOptions::new().write(true).open(scene.here("file")).unwrap();
    let there = OpenOptions::new().write(true).open(scene.there("file")).unwrap();
    for length in [1 << 46, 1 << 60, i64::MAX as u64] {
        // Some file systems have no limit.
        if there.set_len(length).is_err() {
            fails_with(file.set_len(length), Errno::FBIG);
            let written = file.write_all_at(b"end", length - 3).and_then(|()| file.sync_all());
            fails_with(written, Errno::FBIG);
        }
    }
    there.set_len(7).unwrap();
    drop(file);
    assert_eq!(fs::metadata(scene.here("file")).unwrap().len(), 7);
}
