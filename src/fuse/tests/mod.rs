//! A share in memory, mounted through the real kernel: what programs see.
//!
//! Mounting needs root. Without root these tests print a line and do nothing; the tests that start the program cover
//! the same behaviour for ordinary users.

mod files;
mod killed;
mod names;

use crate::share::memory::{Behaviour, MemoryShare};
use crate::vfs::tests::options;
use crate::vfs::{Vfs, VfsOptions};
use std::ffi::CString;
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;
use tempfile::TempDir;
use tokio::runtime::Runtime;

/// Time after which a mount counts as stuck and its connection is aborted: a process that waits for a stuck mount
/// cannot be killed.
const STUCK: Duration = Duration::from_secs(60);
/// How long the session may take to end after an unmount.
const END: Duration = Duration::from_secs(20);

/// A mounted share.
struct Mounted {
    share: Arc<MemoryShare>,
    directory: TempDir,
    session: super::Session,
    runtime: Runtime,
    /// Ends the watchdog when dropped.
    _watchdog: mpsc::Sender<()>,
}

impl Mounted {
    fn new() -> Option<Mounted> {
        Mounted::with(MemoryShare::with(Behaviour { close_answers: false, ..Behaviour::default() }), options())
    }

    /// A mount that caches no attributes or names.
    fn caching_no_attributes() -> Option<Mounted> {
        Mounted::with(MemoryShare::new(), VfsOptions { attr_timeout: Duration::ZERO, ..options() })
    }

    fn with(share: Arc<MemoryShare>, options: VfsOptions) -> Option<Mounted> {
        // SAFETY: geteuid has no preconditions and cannot fail.
        if unsafe { libc::geteuid() } != 0 {
            eprintln!("not root: nothing is mounted and nothing is tested");
            return None;
        }
        let directory = TempDir::new().unwrap();
        // SAFETY: as above.
        let (uid, gid) = unsafe { (libc::geteuid(), libc::getegid()) };
        let fd = mount(directory.path()).unwrap();
        let watchdog = watch(directory.path());
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let vfs = Vfs::new(Arc::clone(&share), VfsOptions { uid, gid, ..options }, Default::default());
        let session = super::serve(Arc::new(vfs), fd, directory.path(), runtime.handle().clone()).unwrap();
        Some(Mounted { share, directory, session, runtime, _watchdog: watchdog })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Unmounts, and waits for the end of the session.
    fn unmount(&mut self) -> io::Result<()> {
        unmount(self.directory.path());
        self.runtime.block_on(self.session.join(END))
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        unmount(self.directory.path());
    }
}

fn mount(directory: &Path) -> io::Result<OwnedFd> {
    let fd = OwnedFd::from(File::options().read(true).write(true).open("/dev/fuse")?);
    let data = format!("fd={},rootmode=40000,user_id=0,group_id=0,default_permissions", fd.as_raw_fd());
    let (target, data) = (c_path(directory), CString::new(data)?);
    let flags = libc::MS_NOSUID | libc::MS_NODEV;
    // SAFETY: all pointers are to zero-terminated strings that live until the call returns.
    let result =
        unsafe { libc::mount(c"memory".as_ptr(), target.as_ptr(), c"fuse".as_ptr(), flags, data.as_ptr().cast()) };
    if result == 0 { Ok(fd) } else { Err(io::Error::last_os_error()) }
}

/// Does nothing if the directory is not mounted any more.
fn unmount(directory: &Path) {
    // SAFETY: the pointer is to a zero-terminated string that lives until the call returns.
    unsafe { libc::umount2(c_path(directory).as_ptr(), libc::MNT_DETACH) };
}

fn c_path(path: &Path) -> CString {
    CString::new(path.as_os_str().as_bytes()).unwrap()
}

/// Aborts the mount's connection unless the sender is dropped in time.
fn watch(directory: &Path) -> mpsc::Sender<()> {
    let abort = format!("/sys/fs/fuse/connections/{}/abort", connection(directory).unwrap());
    let (sender, receiver) = mpsc::channel::<()>();
    std::thread::spawn(move || {
        if receiver.recv_timeout(STUCK) == Err(RecvTimeoutError::Timeout) {
            eprintln!("the mount is stuck: its connection is aborted");
            let _ = fs::write(abort, "1");
        }
    });
    sender
}

/// The number of the mount's connection, which is the minor number of its device. It is read from mountinfo, since the
/// mount itself does not answer yet.
fn connection(directory: &Path) -> Option<String> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").ok()?;
    let fields = |line: &str| line.split(' ').map(str::to_owned).collect::<Vec<_>>();
    let own = mounts.lines().map(fields).find(|fields| fields.get(4).map(String::as_str) == directory.to_str())?;
    Some(own.get(2)?.split_once(':')?.1.to_owned())
}
