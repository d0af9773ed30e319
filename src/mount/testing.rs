//! Shared parts of this room's tests: real mounts that cannot hang the test run, and separate processes for what a
//! threaded test binary cannot do.

use super::control::Abort;
use super::kernel::Mounted;
use super::mountinfo::MountTable;
use fuser::{BackgroundSession, Errno, FileAttr, FileType, Filesystem, INodeNo, ReplyAttr, Request};
use nix::unistd::{Gid, Uid, User, chown, geteuid};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, UNIX_EPOCH};
use tempfile::TempDir;

/// Time limit for the mounts of a test.
const PATIENCE: Duration = Duration::from_secs(60);

/// A new directory, as an absolute path without symbolic links.
pub(crate) fn scratch_directory() -> TempDir {
    tempfile::Builder::new()
        .prefix("cifs-fuse-mount-")
        .tempdir_in(std::env::temp_dir().canonicalize().unwrap())
        .unwrap()
}

/// Fails the test, with the reason, unless it runs as root and there is a FUSE device.
pub(crate) fn needs_root() {
    assert!(geteuid().is_root(), "this test mounts with mount(2): it must run as root");
    assert!(Path::new("/dev/fuse").exists(), "this test mounts: it needs /dev/fuse (modprobe fuse)");
}

/// Aborts every FUSE mount under a directory, with a message, if the test does not end in time.
pub(crate) struct Watchdog {
    done: Option<mpsc::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Watchdog {
    pub(crate) fn over(folder: &Path) -> Watchdog {
        let folder = folder.to_owned();
        let (done, ended) = mpsc::channel();
        let thread = thread::spawn(move || {
            while ended.recv_timeout(PATIENCE) == Err(RecvTimeoutError::Timeout) {
                abort_all(&folder);
            }
        });
        Watchdog { done: Some(done), thread: Some(thread) }
    }
}

fn abort_all(folder: &Path) {
    let table = MountTable::read().unwrap();
    for entry in table.entries().filter(|entry| entry.mountpoint.starts_with(folder)) {
        eprintln!("the watchdog aborts {} after {PATIENCE:?}", entry.mountpoint.display());
        if let Err(error) = Abort::open(entry.device).and_then(|abort| abort.now()) {
            eprintln!("the watchdog failed: {error}");
        }
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        drop(self.done.take());
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

/// A file system with an empty root.
struct Empty;

impl Filesystem for Empty {
    fn getattr(&self, request: &Request, ino: INodeNo, _fh: Option<fuser::FileHandle>, reply: ReplyAttr) {
        if ino != INodeNo::ROOT {
            return reply.error(Errno::ENOENT);
        }
        let attributes = FileAttr {
            ino,
            size: 0,
            blocks: 0,
            atime: UNIX_EPOCH,
            mtime: UNIX_EPOCH,
            ctime: UNIX_EPOCH,
            crtime: UNIX_EPOCH,
            kind: FileType::Directory,
            perm: 0o755,
            nlink: 2,
            uid: request.uid(),
            gid: request.gid(),
            rdev: 0,
            blksize: 4096,
            flags: 0,
        };
        reply.attr(&Duration::ZERO, &attributes);
    }
}

/// Serves a mount with an empty file system, until it is unmounted.
pub(crate) fn serve(mounted: &mut Mounted) -> BackgroundSession {
    let descriptor = mounted.take_descriptor().unwrap();
    fuser::Session::from_fd(Empty, descriptor, fuser::SessionACL::All, fuser::Config::default())
        .unwrap()
        .spawn()
        .unwrap()
}

/// Runs `body` in a process of its own, and returns its output and the folder that `body` got. `name` is the full name
/// of the calling test: the new process is the same test binary, which runs that test again and calls this function a
/// second time.
pub(crate) fn in_own_process(name: &str, body: impl FnOnce(PathBuf)) -> (Output, TempDir) {
    const FOLDER: &str = "CIFS_FUSE_TEST_FOLDER";
    if let Some(folder) = std::env::var_os(FOLDER) {
        body(folder.into());
        unreachable!("{name} should have ended its process");
    }
    let folder = scratch_directory();
    (this_test(name).env(FOLDER, folder.path()).output().unwrap(), folder)
}

fn this_test(name: &str) -> Command {
    let mut command = Command::new("/proc/self/exe");
    command.args([name, "--exact", "--nocapture"]);
    command
}

/// Runs the test `name` as the user nobody, in a process of its own, unless the tests run as an ordinary user already.
/// Returns whether the caller is to continue.
pub(crate) fn as_ordinary_user(name: &str) -> bool {
    if !geteuid().is_root() {
        return true;
    }
    needs_root();
    let mode = std::fs::metadata("/dev/fuse").unwrap().permissions().mode();
    assert_eq!(
        mode & 0o666,
        0o666,
        "this test mounts as nobody: every user must be able to open /dev/fuse (chmod 666)"
    );
    let nobody = User::from_name("nobody").unwrap().expect("this test needs the user nobody");
    let home = scratch_directory();
    let (uid, gid): (Uid, Gid) = (nobody.uid, nobody.gid);
    chown(home.path(), Some(uid), Some(gid)).unwrap();
    let _watchdog = Watchdog::over(home.path());
    let output = this_test(name)
        .env("TMPDIR", home.path())
        .uid(uid.as_raw())
        .gid(gid.as_raw())
        .current_dir("/")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    // With a wrong name no test would run, and the process would succeed.
    assert!(output.status.success() && said.contains("1 passed"), "as nobody: {said}");
    false
}
