//! Aborts a FUSE mount that hangs.
//!
//! A process that waits for a FUSE answer cannot be killed. When the deadline of a [`Watchdog`] passes, it
//! aborts the connection of the mount: every waiting call fails, the test goes on, and dropping the watchdog
//! fails the test.

use rustix::mount::{MountFlags, mount};
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Once, mpsc};
use std::thread;
use std::time::Duration;

/// Watches one FUSE connection until it is dropped.
pub(crate) struct Watchdog {
    what: String,
    fired: Arc<AtomicBool>,
    /// Dropping this sender ends the watching thread.
    alive: Option<mpsc::Sender<()>>,
}

impl Watchdog {
    /// Starts a thread that aborts the connection with this number (the minor number of the mount's device)
    /// after `deadline`.
    pub(crate) fn new(what: &str, minor: u32, deadline: Duration) -> Watchdog {
        let fired = Arc::new(AtomicBool::new(false));
        let (alive, ended) = mpsc::channel::<()>();
        let (name, flag) = (what.to_owned(), Arc::clone(&fired));
        thread::spawn(move || {
            if ended.recv_timeout(deadline) == Err(mpsc::RecvTimeoutError::Timeout) {
                flag.store(true, Ordering::SeqCst);
                eprintln!("WATCHDOG: {name} is not done after {deadline:?}: aborting its FUSE connection {minor}");
                abort(minor);
            }
        });
        Watchdog { what: what.to_owned(), fired, alive: Some(alive) }
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        self.alive = None;
        if self.fired.load(Ordering::SeqCst) && !thread::panicking() {
            panic!("{} was still in use at its deadline: its connection was aborted", self.what);
        }
    }
}

/// Aborts a FUSE connection: every waiting request fails with ECONNABORTED, later ones with ENOTCONN.
pub(crate) fn abort(minor: u32) {
    control_folder();
    let control = Path::new("/sys/fs/fuse/connections").join(minor.to_string()).join("abort");
    if let Err(error) = fs::write(&control, "1") {
        eprintln!("WATCHDOG: cannot write {}: {error}", control.display());
    }
}

/// Mounts fusectl if it is not mounted (systemd mounts it, a bare container does not).
pub(crate) fn control_folder() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let folder = Path::new("/sys/fs/fuse/connections");
        if super::mountinfo::at(folder).is_none()
            && let Err(error) = mount("fusectl", folder, "fusectl", MountFlags::empty(), None)
        {
            eprintln!("WATCHDOG: fusectl is not mounted, and mounting it failed: {error}");
        }
    });
}
