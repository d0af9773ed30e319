//! The thread that starts every program. It has a file descriptor table of its own.
//!
//! A program started from this process receives a copy of the starting thread's descriptor table, and closes the
//! descriptors marked close-on-exec at its exec. If the tests' open files were in that table, the program could not
//! begin before the mount of each of these files had answered a FLUSH, even a mount whose server is stalled on purpose.
//! Until then it would also keep sockets open that a proxy has cut. Therefore the table of this thread holds only what
//! was opened on this thread.

use rustix::process::{Signal, set_parent_process_death_signal};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command};
use std::sync::{OnceLock, mpsc};
use std::{io, thread};

type Job = Box<dyn FnOnce() + Send>;

/// Runs `work` on that thread and returns its result. A file that `work` opens must be closed on this thread or on a
/// thread that it starts: in any other thread the same descriptor means another file or none. `work` must be quick,
/// because all tests share the thread.
pub(crate) fn apart<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    static THREAD: OnceLock<mpsc::Sender<Job>> = OnceLock::new();
    let thread = THREAD.get_or_init(|| {
        let (sender, jobs) = mpsc::channel::<Job>();
        thread::spawn(move || {
            own_table();
            jobs.into_iter().for_each(|job| job());
        });
        sender
    });
    let (reply, result) = mpsc::channel();
    thread.send(Box::new(move || drop(reply.send(work())))).expect("this thread runs until the process ends");
    result.recv().expect("work on this thread does not panic")
}

fn own_table() {
    // SAFETY: neither call touches memory. `close_range` closes descriptors of the table that `unshare` has just
    // copied, so no other thread's descriptor is closed, and this thread has opened none.
    let made = unsafe { (libc::unshare(libc::CLONE_FILES), libc::close_range(3, libc::c_uint::MAX, 0)) };
    assert_eq!(made, (0, 0), "{}", io::Error::last_os_error());
}

/// Starts a program in a process group of its own. The program gets SIGTERM when this process dies, by whatever cause.
/// Call it within [`apart`]: the kernel sends that signal when the starting *thread* ends (prctl(2), PR_SET_PDEATHSIG),
/// and the threads of tests end soon.
pub(crate) fn spawn(command: &mut Command) -> io::Result<Child> {
    command.process_group(0);
    // SAFETY: the closure makes one prctl system call, which is async-signal-safe; it touches no memory of ours.
    unsafe { command.pre_exec(|| Ok(set_parent_process_death_signal(Some(Signal::TERM))?)) };
    command.spawn()
}
