//! The guardian's own process: waits for the end of the process that it watches, and ends its mount.

use super::NAME;
use super::message::{Inbox, Message};
use super::restart::Plan;
use crate::mount::kernel::FS_TYPE;
use crate::mount::mountinfo::{DeviceId, MountEntry, MountTable};
use crate::mount::remains::{self, Remains};
use crate::mount::{MountError, signals};
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::prctl::{set_name, set_pdeathsig};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::unistd::{Pid, getppid, read, setsid};
use std::ffi::CString;
use std::io;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::time::Instant;

/// The signal that the kernel sends when the sentinel's thread ends.
const DEATH: Signal = Signal::SIGUSR1;

/// What must be ended if the process dies now.
#[derive(Debug)]
enum Target {
    Nothing,
    /// A mount that may exist, or may still be made.
    Mounting(PathBuf),
    Mounted(Remains),
}

/// Watches the process with the id `process`, which has started this one, and ends its mount when it dies. Then mounts
/// again, if that was requested.
///
/// # Errors
///
/// The guardian cannot watch, could not end the mount, or has given up mounting again.
pub fn guard(process: i32) -> Result<(), MountError> {
    let process = Pid::from_raw(process);
    let deaths = prepare().map_err(|error| MountError::system("the guardian cannot watch", error))?;
    let mut ward = Target::Nothing;
    let mut plan = Plan::default();
    let mut inbox = Inbox::default();
    let mut died = getppid() != process;
    // The end of the pipe means that the whole process has died, or that it leaves its mount to the guardian.
    while let Some(piece) = said() {
        for message in inbox.take(&piece) {
            match message {
                Message::Mounting(path) => ward = Target::Mounting(path),
                Message::Mounted { id, device } => ward = find(id, device).map_or(Target::Nothing, Target::Mounted),
                Message::Word(word) => plan.add(word),
                Message::Working(directory) => plan.is_complete(directory, Instant::now()),
                Message::Ending => plan = Plan::default(),
                Message::Ended => return Ok(()),
            }
        }
        // Messages sent before the death are still processed.
        if died && piece.is_empty() {
            break;
        }
        died = died || piece.is_empty() && dies(process, &deaths);
    }
    tracing::warn!("process {process} died, or left its mount to the guardian: ending what is mounted");
    match ward {
        Target::Nothing => Ok(()),
        Target::Mounting(path) => remains::clear_unserved(&path),
        Target::Mounted(remains) => {
            // A mount that was unmounted meanwhile is not made again.
            let was_mounted = remains.is_mounted();
            remains.clear(|| getppid() != process)?;
            if was_mounted { plan.carry_out(remains.mountpoint(), Instant::now()) } else { Ok(()) }
        }
    }
}

/// The mount with these numbers.
fn find(id: u32, device: DeviceId) -> Option<Remains> {
    let table = MountTable::read().ok()?;
    let is_it = |entry: &&MountEntry| entry.id == id && entry.device == device && entry.fs_type == FS_TYPE;
    Remains::of(table.entries().find(is_it)?)
}

/// Makes this process independent of the one that it watches, and makes the kernel report the death of that one with
/// [`DEATH`].
fn prepare() -> io::Result<SignalFd> {
    close_inherited();
    signals::block()?;
    set_pdeathsig(DEATH)?;
    // Failures of these two are ignored: the name in `ps`, and a directory that is kept busy.
    let _ = CString::new(NAME).map(|name| set_name(&name));
    let _ = std::env::set_current_dir("/");
    setsid()?;
    let flags = fcntl(io::stdin(), FcntlArg::F_GETFL)?;
    fcntl(io::stdin(), FcntlArg::F_SETFL(OFlag::from_bits_retain(flags) | OFlag::O_NONBLOCK))?;
    let mut deaths = SigSet::empty();
    deaths.add(DEATH);
    Ok(SignalFd::with_flags(&deaths, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?)
}

/// Closes the descriptors that the program that started the mount left open for its children, such as a pipe that it
/// reads to its end.
fn close_inherited() {
    const FIRST: libc::c_uint = 3;
    // SAFETY: this is the beginning of the process, with one thread: nothing in it owns a descriptor beyond the
    // standard three. The calls touch no memory.
    unsafe {
        if libc::syscall(libc::SYS_close_range, FIRST, libc::c_uint::MAX, 0) != 0 {
            // Linux before 5.9.
            let end = libc::sysconf(libc::_SC_OPEN_MAX).clamp(0, 65_536);
            for number in 3..end {
                libc::close(number as libc::c_int);
            }
        }
    }
}

/// The next piece from the pipe, empty if there is none yet; `None` at the end of the pipe, or after an error.
fn said() -> Option<Vec<u8>> {
    let mut piece = vec![0; 4096];
    loop {
        match read(io::stdin(), &mut piece) {
            Ok(0) => return None,
            Ok(count) => {
                piece.truncate(count);
                return Some(piece);
            }
            Err(Errno::EAGAIN) => return Some(Vec::new()),
            Err(Errno::EINTR) => {}
            Err(_) => return None,
        }
    }
}

/// Waits for a message or a signal. Returns whether it was the signal of the process's death.
fn dies(process: Pid, deaths: &SignalFd) -> bool {
    let stdin = io::stdin();
    let mut polled = [PollFd::new(stdin.as_fd(), PollFlags::POLLIN), PollFd::new(deaths.as_fd(), PollFlags::POLLIN)];
    // After an interruption the pipe and the signals are checked as well.
    let _ = poll(&mut polled, PollTimeout::NONE);
    // Other processes may send the same signal; for the real one the kernel names the dead process as the sender.
    std::iter::from_fn(|| deaths.read_signal().ok().flatten()).any(|signal| signal.ssi_pid == process.as_raw() as u32)
}
