//! The temporary folder and the TCP ports of this test run, and the cleanup at its end.
//!
//! Shared servers are in statics, which Rust never drops. Therefore an `atexit` handler runs the functions
//! passed to [`at_exit`] and then removes the folder.

use super::mountinfo;
use rustix::fs::Mode;
use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU16, AtomicU32, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};

/// The folder of this test run. Every user may enter it, because some tests run as another user.
pub(crate) fn root() -> &'static Path {
    static ROOT: OnceLock<PathBuf> = OnceLock::new();
    ROOT.get_or_init(|| {
        // Independent of the caller's umask: tests that run as another user need to read what is made here
        // and below.
        rustix::process::umask(Mode::WGRP | Mode::WOTH);
        let folder = tempfile::Builder::new().prefix("cifs-fuse-it-").tempdir().expect("a temporary folder").keep();
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o755)).expect("the permissions of our own folder");
        // SAFETY: `end_of_run` is an `extern "C" fn()` that lives as long as the program.
        assert_eq!(unsafe { libc::atexit(end_of_run) }, 0, "atexit has room for 32 functions at least");
        folder
    })
}

/// A new empty folder in [`root`].
pub(crate) fn folder(prefix: &str) -> PathBuf {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let path = root().join(format!("{prefix}-{}", NEXT.fetch_add(1, Ordering::Relaxed)));
    fs::create_dir(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    path
}

/// A TCP port of the loopback on which no process listens. It is below the kernel's range of ephemeral ports,
/// so that no outgoing connection uses it before our server binds it.
pub(crate) fn free_port() -> u16 {
    const FIRST: u16 = 20_000;
    const COUNT: u16 = 12_000;
    static TRIED: AtomicU16 = AtomicU16::new(0);
    let start = (std::process::id() % u32::from(COUNT)) as u16;
    for _ in 0..COUNT {
        let port = FIRST + (start + TRIED.fetch_add(1, Ordering::Relaxed) % COUNT) % COUNT;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
    panic!("no free port from {FIRST} on");
}

type Cleanup = Box<dyn FnOnce() + Send>;
static CLEANUPS: Mutex<Vec<Cleanup>> = Mutex::new(Vec::new());

/// Runs `cleanup` at the end of the test run.
pub(crate) fn at_exit(cleanup: impl FnOnce() + Send + 'static) {
    CLEANUPS.lock().unwrap_or_else(PoisonError::into_inner).push(Box::new(cleanup));
}

extern "C" fn end_of_run() {
    let cleanups = std::mem::take(&mut *CLEANUPS.lock().unwrap_or_else(PoisonError::into_inner));
    for cleanup in cleanups {
        // A panic must not unwind into the C library's exit.
        let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(cleanup));
    }
    // Never descend into a mount that is left: it would delete what is on the share.
    match mountinfo::below(root()) {
        left if left.is_empty() => drop(fs::remove_dir_all(root())),
        left => eprintln!("mounts are left at the end of the test run: {left:?}"),
    }
}
