//! Files that are open when a session is lost. They are opened again by the name that they have then, whatever this
//! client has done to the name or the attributes since the open.

use crate::support::files::{fails_with, names, noise};
use crate::support::line::Line;
use crate::support::mount::{Mount, Request};
use crate::support::server::{Kind, Server, Settings, both_servers, url};
use crate::support::smbd::Smbd;
use crate::support::wait_until;
use rustix::io::Errno;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::Write;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

both_servers!(
    renamed_open_files_survive_lost_connections,
    removed_open_files_survive_lost_connections,
    replaced_open_files_work_until_their_session_is_lost,
    open_files_below_a_renamed_folder_survive_lost_connections,
);

const SOON: Duration = Duration::from_secs(20);
const READ_ONLY: u32 = 0o444;

/// A server with a mount.
struct Scene {
    server: Smbd,
    mount: Mount,
}

impl Scene {
    fn new() -> Scene {
        let server = Smbd::start(Settings::default());
        let mount = mount(&server);
        Scene { server, mount }
    }

    fn here(&self, name: &str) -> PathBuf {
        self.mount.join(name)
    }

    fn there(&self, name: &str) -> PathBuf {
        self.server.folder().join(name)
    }
}

fn mount(server: &Smbd) -> Mount {
    Request::new(url("127.0.0.1", server.port(), "")).args(["--request-timeout=25"]).mount()
}

fn create(path: &Path, mode: u32) -> File {
    OpenOptions::new().read(true).write(true).create_new(true).mode(mode).open(path).unwrap()
}

fn is_read_only(path: &Path) -> bool {
    fs::metadata(path).unwrap().mode() & 0o222 == 0
}

/// Writes the first half of a file, loses the session, and writes the second half. All data must be on the server and
/// be readable.
fn goes_on(file: &File, there: &Path, lose: impl Fn()) {
    let data = noise(7, 200_000);
    let (first, second) = data.split_at(100_000);
    file.write_all_at(first, 0).unwrap();
    file.sync_all().unwrap();
    lose();
    file.write_all_at(second, 100_000).unwrap();
    file.sync_all().unwrap();
    assert!(fs::read(there).unwrap() == data);
    let mut read = vec![0; data.len()];
    file.read_exact_at(&mut read, 0).unwrap();
    assert!(read == data);
}

#[test]
fn a_file_created_read_only_can_be_written_after_a_lost_session() {
    let scene = Scene::new();
    let file = create(&scene.here("object"), READ_ONLY);
    for round in 0..3 {
        goes_on(&file, &scene.there("object"), || scene.server.kill_clients());
        assert!(is_read_only(&scene.here("object")), "round {round}");
    }
    drop(file);
    assert!(is_read_only(&scene.here("object")));
    let anew = mount(&scene.server);
    assert!(is_read_only(&anew.join("object")), "another client must see it read-only too");
    fails_with(OpenOptions::new().write(true).open(anew.join("object")), Errno::ACCESS);
}

#[test]
fn a_file_set_read_only_while_open_can_be_written_after_a_lost_session() {
    let scene = Scene::new();
    let other = mount(&scene.server);
    type Set<'a> = &'a dyn Fn(&File, &str);
    let set: [(&str, Set<'_>); 3] = [
        ("by its descriptor", &|file, _| file.set_permissions(Permissions::from_mode(READ_ONLY)).unwrap()),
        ("by its name", &|_, name| {
            fs::set_permissions(scene.here(name), Permissions::from_mode(READ_ONLY)).unwrap();
        }),
        ("by another client", &|file, name| {
            file.sync_all().unwrap();
            fs::set_permissions(other.join(name), Permissions::from_mode(READ_ONLY)).unwrap();
        }),
    ];
    for (name, set) in set {
        let file = create(&scene.here(name), 0o644);
        file.write_all_at(b"before", 0).unwrap();
        set(&file, name);
        goes_on(&file, &scene.there(name), || scene.server.kill_clients());
        drop(file);
        assert!(is_read_only(&other.join(name)), "{name}");
    }
}

#[test]
fn dirty_data_of_a_read_only_file_reaches_the_server_after_an_outage() {
    let scene = Scene::new();
    let mut file = create(&scene.here("object"), READ_ONLY);
    file.write_all(b"flushed").unwrap();
    file.sync_all().unwrap();
    let paused = scene.server.pause();
    file.write_all(b" and held").unwrap();
    scene.server.kill();
    drop(paused);
    scene.server.restart();
    file.sync_all().unwrap();
    drop(file);
    assert_eq!(fs::read(scene.there("object")).unwrap(), b"flushed and held");
    assert!(is_read_only(&scene.here("object")));
}

/// git creates its objects like this: read-only, under a temporary name, then renamed.
#[test]
fn read_only_files_that_are_renamed_are_complete_though_server_processes_are_killed() {
    let scene = Scene::new();
    let objects: Vec<Vec<u8>> = (0..24).map(|seed| noise(seed, 3000 + 7000 * seed as usize)).collect();
    for (number, object) in objects.iter().enumerate() {
        let new = scene.here(&format!("tmp_obj_{number}"));
        let mut file = create(&new, READ_ONLY);
        let (first, second) = object.split_at(object.len() / 2);
        file.write_all(first).unwrap();
        if number % 4 == 1 {
            scene.server.kill_clients();
        }
        file.write_all(second).unwrap();
        if number % 4 == 2 {
            file.sync_all().unwrap();
        }
        drop(file);
        fs::rename(new, scene.here(&format!("object {number}"))).unwrap();
    }
    for (number, object) in objects.iter().enumerate() {
        let name = format!("object {number}");
        assert!(fs::read(scene.there(&name)).unwrap() == *object, "{name}");
        assert!(is_read_only(&scene.here(&name)), "{name}");
    }
    assert_eq!(names(scene.server.folder()).len(), objects.len());
}

fn line(kind: Kind) -> Line {
    Line::to(Server::shared(kind), &["--request-timeout=25"])
}

fn renamed_open_files_survive_lost_connections(kind: Kind) {
    let line = line(kind);
    let file = create(&line.here("log"), 0o644);
    fs::rename(line.here("log"), line.here("log.1")).unwrap();
    goes_on(&file, &line.there("log.1"), || line.proxy.cut());
    // The old name means another file now, as with rotated logs.
    fs::write(line.here("log"), "next").unwrap();
    fs::rename(line.here("log.1"), line.here("log.2")).unwrap();
    goes_on(&file, &line.there("log.2"), || line.proxy.cut());
    assert_eq!(fs::read(line.there("log")).unwrap(), b"next");
    assert_eq!(names(&line.folder), ["log", "log.2"]);
}

fn removed_open_files_survive_lost_connections(kind: Kind) {
    let line = line(kind);
    let (removed, again) = (create(&line.here("removed"), 0o644), create(&line.here("removed again"), 0o644));
    for (file, name) in [(&removed, "removed"), (&again, "removed again")] {
        file.write_all_at(b"kept", 0).unwrap();
        fs::remove_file(line.here(name)).unwrap();
    }
    for file in [&removed, &again] {
        line.proxy.cut();
        let mut read = [0; 4];
        file.read_exact_at(&mut read, 0).unwrap();
        assert_eq!(&read, b"kept");
        file.write_all_at(b"more", 4).unwrap();
        file.sync_all().unwrap();
        assert_eq!(file.metadata().unwrap().len(), 8);
        assert_eq!(file.metadata().unwrap().nlink(), 0);
    }
    assert_eq!(names(&line.here("")), [] as [&str; 0]);
    line.proxy.cut();
    drop((removed, again));
    let left = || names(&line.folder);
    assert!(wait_until(SOON, || left().is_empty()), "left on the server: {:?}", left());
}

/// A replaced file has no name: nothing of it is left on the server when this client is gone, but it cannot be opened
/// again by a name either.
fn replaced_open_files_work_until_their_session_is_lost(kind: Kind) {
    let line = line(kind);
    let file = create(&line.here("file"), 0o644);
    file.write_all_at(b"kept", 0).unwrap();
    fs::write(line.here("new"), "new").unwrap();
    fs::rename(line.here("new"), line.here("file")).unwrap();
    let mut read = [0; 4];
    file.read_exact_at(&mut read, 0).unwrap();
    assert_eq!((&read, file.metadata().unwrap().nlink()), (b"kept", 0));
    file.write_all_at(b"more", 4).unwrap();
    file.sync_all().unwrap();
    line.proxy.cut();
    assert_eq!(file.write_at(b"lost", 0).and_then(|_| file.sync_all()).unwrap_err().raw_os_error(), Some(libc::ESTALE));
    assert_eq!(fs::read(line.there("file")).unwrap(), b"new");
    // The name can still be used like any other while the stale file is open.
    fs::write(line.here("newer"), "newer").unwrap();
    fs::rename(line.here("newer"), line.here("file")).unwrap();
    assert_eq!(fs::read(line.there("file")).unwrap(), b"newer");
}

/// A server refuses to rename a folder with open files in it. After their session is lost, it does not.
fn open_files_below_a_renamed_folder_survive_lost_connections(kind: Kind) {
    let line = line(kind);
    fs::create_dir_all(line.here("a/b")).unwrap();
    let file = create(&line.here("a/b/file"), 0o644);
    file.write_all_at(b"x", 0).unwrap();
    file.sync_all().unwrap();
    line.proxy.cut();
    fs::rename(line.here("a"), line.here("z")).unwrap();
    goes_on(&file, &line.there("z/b/file"), || line.proxy.cut());
}

#[test]
fn a_file_renamed_by_another_client_is_stale_and_the_file_with_its_old_name_unchanged() {
    let scene = Scene::new();
    let file = create(&scene.here("file"), 0o644);
    file.write_all_at(b"mine", 0).unwrap();
    file.sync_all().unwrap();
    scene.server.kill();
    fs::rename(scene.there("file"), scene.there("moved")).unwrap();
    fs::write(scene.there("file"), "another").unwrap();
    scene.server.restart();
    let mut byte = [0; 1];
    // Cached data of the file may be returned, but not the data of the file that has the name now.
    assert!(file.read_exact_at(&mut byte, 0).is_err() || byte == *b"m");
    let written = file.write_all_at(b"lost", 0).and_then(|()| file.sync_all());
    assert!(written.is_err());
    drop(file);
    assert_eq!(fs::read(scene.there("file")).unwrap(), b"another");
    assert_eq!(fs::read(scene.there("moved")).unwrap(), b"mine");
}

/// File systems reuse the inode number of a removed file for a new one.
#[test]
fn a_new_file_that_reuses_an_inode_number_is_not_taken_for_the_removed_one() {
    let scene = Scene::new();
    let file = create(&scene.here("file"), 0o644);
    file.write_all_at(&[b'm'; 4096], 0).unwrap();
    file.sync_all().unwrap();
    let number = fs::metadata(scene.there("file")).unwrap().ino();
    scene.server.kill();
    std::thread::sleep(Duration::from_millis(400));
    let made_again = (0..50).any(|_| {
        fs::remove_file(scene.there("file")).unwrap();
        fs::write(scene.there("file"), [b't'; 4096]).unwrap();
        fs::metadata(scene.there("file")).unwrap().ino() == number
    });
    scene.server.restart();
    if !made_again {
        eprintln!("this file system reuses no inode numbers: only different ids are compared");
    }
    let written = file.write_all_at(b"lost", 0).and_then(|()| file.sync_all());
    assert!(written.is_err());
    drop(file);
    assert!(fs::read(scene.there("file")).unwrap() == [b't'; 4096]);
}

/// Reads that verify data for fsync, and repeated opens, must not break the lease that covers dirty data: the server
/// would wait for the data, and the data for the open.
#[test]
fn opens_from_before_and_after_a_lost_session_do_not_block_each_other() {
    let line = Line::to(Arc::new(Server::start(Kind::Smbd, Settings::default())), &["--request-timeout=25"]);
    let (old, new) = ([b'o'; 1000], [b'n'; 500]);
    fs::write(line.here("closed"), old).unwrap();
    let before = create(&line.here("open"), 0o644);
    before.write_all_at(&old, 0).unwrap();
    before.sync_all().unwrap();
    line.proxy.cut();

    let mut again = OpenOptions::new().append(true).open(line.here("closed")).unwrap();
    again.write_all(&new).unwrap();
    again.sync_all().unwrap();
    assert_eq!(fs::read(line.there("closed")).unwrap(), [old.as_slice(), &new].concat());

    let after = File::open(line.here("open")).unwrap();
    before.write_all_at(&new, 1000).unwrap();
    let mut all = [0; 1500];
    after.read_exact_at(&mut all, 0).unwrap();
    assert_eq!(all.as_slice(), [old.as_slice(), &new].concat());
    before.sync_all().unwrap();
    drop((before, after));
    assert_eq!(fs::metadata(line.there("open")).unwrap().len(), 1500);
}

/// After the loss the server does not know that the file is in use, and this mount replaces it.
#[test]
fn a_file_replaced_right_after_a_lost_session_can_be_used_until_it_is_closed() {
    let line = Line::to(Arc::new(Server::start(Kind::Smbd, Settings::default())), &["--request-timeout=25"]);
    let file = create(&line.here("file"), 0o644);
    file.write_all_at(b"old, ", 0).unwrap();
    file.sync_all().unwrap();
    fs::write(line.here("new"), "new").unwrap();
    line.proxy.cut();
    fs::rename(line.here("new"), line.here("file")).unwrap();
    file.write_all_at(b"and older", 5).unwrap();
    file.sync_all().unwrap();
    let mut read = [0; 14];
    file.read_exact_at(&mut read, 0).unwrap();
    assert_eq!(&read, b"old, and older");
    assert_eq!(fs::read(line.there("file")).unwrap(), b"new");
    drop(file);
    assert!(wait_until(SOON, || names(&line.there("")) == ["file"]), "a hidden file is left");
}
