//! The folder, the ports and the end of this test run.
//!
//! Servers that tests share live in statics, which are never dropped; so the end of the process is
//! hooked: what was handed to [`at_exit`] runs, then the folder goes. Programs that must not outlive
//! a test run that is killed are started by [`spawn`].

use super::mountinfo;
use rustix::process::{Signal, set_parent_process_death_signal};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::atomic::{AtomicU16, AtomicU32, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError, mpsc};
use std::{fs, io, thread};

/// The folder of this test run. Everybody may enter it, since some tests run as another user.
pub(crate) fn root() -> &'static Path {
    static ROOT: OnceLock<PathBuf> = OnceLock::new();
    ROOT.get_or_init(|| {
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

/// A TCP port of the loopback that nobody listens on. Not from the range of which the kernel gives
/// ports to clients, so that no connection takes it before our server does.
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

/// Has `cleanup` run when the test run ends.
pub(crate) fn at_exit(cleanup: impl FnOnce() + Send + 'static) {
    CLEANUPS.lock().unwrap_or_else(PoisonError::into_inner).push(Box::new(cleanup));
}

extern "C" fn end_of_run() {
    let cleanups = std::mem::take(&mut *CLEANUPS.lock().unwrap_or_else(PoisonError::into_inner));
    for cleanup in cleanups {
        // A panic must not cross into the C library's exit.
        let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(cleanup));
    }
    // Never descend into a mount that something left behind: it would delete what is on the share.
    match mountinfo::below(root()) {
        left if left.is_empty() => drop(fs::remove_dir_all(root())),
        left => eprintln!("left mounted at the end of the test run: {left:?}"),
    }
}

/// Starts a program in a process group of its own that gets SIGTERM when this process dies, however
/// that happens.
///
/// The kernel sends that signal when the starting *thread* ends (prctl(2), PR_SET_PDEATHSIG), and
/// tests run on threads that end soon: so one thread that lives on starts them all.
pub(crate) fn spawn(mut command: Command) -> io::Result<Child> {
    type Job = (Command, mpsc::Sender<io::Result<Child>>);
    static SPAWNER: OnceLock<mpsc::Sender<Job>> = OnceLock::new();
    let spawner = SPAWNER.get_or_init(|| {
        let (sender, jobs) = mpsc::channel::<Job>();
        thread::spawn(move || {
            for (mut command, reply) in jobs {
                let _ = reply.send(command.spawn());
            }
        });
        sender
    });
    command.process_group(0);
    // SAFETY: the closure makes one prctl system call, which is async-signal-safe; it touches no memory of ours.
    unsafe { command.pre_exec(|| Ok(set_parent_process_death_signal(Some(Signal::TERM))?)) };
    let (reply, result) = mpsc::channel();
    spawner.send((command, reply)).expect("the spawner lives as long as the process");
    result.recv().expect("the spawner answers every job")
}
