//! The thread that starts every program, with a table of file descriptors of its own.
//!
//! A program that is started from this process gets a copy of the table of the thread that starts it,
//! and closes on exec what it is not to have. Were the tests' open files in that table, the program
//! would not begin before each of their mounts has answered a FLUSH, whatever those mounts are being
//! put through; and while it waits, it would keep open the sockets that a proxy has cut. So the table
//! here holds nothing but what was opened on this thread.

use rustix::process::{Signal, set_parent_process_death_signal};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command};
use std::sync::{OnceLock, mpsc};
use std::{io, thread};

type Job = Box<dyn FnOnce() + Send>;

/// Has `work` done on that thread. A file that it opens must be closed there too, or on a thread that
/// it starts: elsewhere its descriptor means another file or none. Only what is quick may be done here.
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
    thread.send(Box::new(move || drop(reply.send(work())))).expect("the thread lives as long as the process");
    result.recv().expect("what is done apart does not panic")
}

fn own_table() {
    // SAFETY: neither call touches memory. The table that is emptied was copied by the call before, so
    // no descriptor that any other thread knows is closed, and this thread has opened none.
    let made = unsafe { (libc::unshare(libc::CLONE_FILES), libc::close_range(3, libc::c_uint::MAX, 0)) };
    assert_eq!(made, (0, 0), "{}", io::Error::last_os_error());
}

/// Starts a program in a process group of its own that gets SIGTERM when this process dies, however
/// that happens. To be called [`apart`]: the kernel sends that signal when the starting *thread* ends
/// (prctl(2), PR_SET_PDEATHSIG), and tests run on threads that end soon.
pub(crate) fn spawn(command: &mut Command) -> io::Result<Child> {
    command.process_group(0);
    // SAFETY: the closure makes one prctl system call, which is async-signal-safe; it touches no memory of ours.
    unsafe { command.pre_exec(|| Ok(set_parent_process_death_signal(Some(Signal::TERM))?)) };
    command.spawn()
}
