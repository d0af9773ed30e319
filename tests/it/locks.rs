//! Locks: they exclude the other programs of the same mount, but no other mount and no other client.

use crate::support::line::Line;
use crate::support::scene::Scene;
use crate::support::server::{Kind, Server};
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

fn open(path: &Path) -> File {
    File::options().read(true).write(true).create(true).truncate(false).open(path).unwrap()
}

/// Locks the first ten bytes for this open file description (fcntl(2), F_OFD_SETLK). `false` if another one
/// holds a conflicting lock.
fn lock_bytes(file: &File) -> bool {
    let range =
        libc::flock { l_type: libc::F_WRLCK as i16, l_whence: libc::SEEK_SET as i16, l_start: 0, l_len: 10, l_pid: 0 };
    match fcntl(file, FcntlArg::F_OFD_SETLK(&range)) {
        Ok(_) => true,
        Err(Errno::EAGAIN | Errno::EACCES) => false,
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn a_lock_excludes_programs_of_its_mount_only() {
    let scene = Scene::on(Kind::Smbd);
    let second = scene.second_mount();
    let (one, other, elsewhere) = (open(&scene.here("file")), open(&scene.here("file")), open(&second.join("file")));
    one.lock().unwrap();
    assert!(lock_bytes(&one));
    assert!(other.try_lock().is_err() && !lock_bytes(&other));
    elsewhere.try_lock().unwrap();
    assert!(lock_bytes(&elsewhere));
    elsewhere.write_all_at(b"written", 0).unwrap();
    elsewhere.sync_all().unwrap();
    assert_eq!(std::fs::read(scene.there("file")).unwrap(), b"written");
    drop(one);
    other.try_lock().unwrap();
    assert!(lock_bytes(&other));
    drop((other, elsewhere));
    second.unmount();
}

#[test]
fn a_lock_outlives_its_connection() {
    let line = Line::to(Server::shared(Kind::Smbd), &["--request-timeout=25"]);
    let (one, other) = (open(&line.here("file")), open(&line.here("file")));
    one.lock().unwrap();
    assert!(lock_bytes(&one));
    line.proxy.cut();
    one.write_all_at(b"written again", 0).unwrap();
    one.sync_all().unwrap();
    assert!(other.try_lock().is_err() && !lock_bytes(&other));
}
