//! What signals mean to a mount.
//!
//! A signal that ends the process by default must not do so: written data would be lost, and a dead mount would be
//! left. So these signals are blocked, and read from a descriptor one by one ([`Signals`]); a plain function decides
//! what each means ([`meaning`]). The standard library unblocks them for programs that are started from here.
//!
//! The invariant: of the signals that end a process, only SIGKILL and those of a crash (SIGSEGV and similar ones) end
//! this one without an unmount.
//!
//! SIGHUP has two meanings. Sent by a program, such as logrotate or `systemctl reload`, it means: read the
//! configuration again. Sent because the controlling terminal was closed, it ends a mount in the foreground cleanly.
//! That SIGHUP is sent by the kernel, and a shell passes it on to its jobs after the terminal is gone. A process that
//! was started with SIGHUP ignored (nohup) continues without its terminal.

use super::error::MountError;
use nix::errno::Errno;
use nix::sys::signal::SigSet;
use nix::sys::signalfd::{SfdFlags, SignalFd};
use std::fs::OpenOptions;
use std::io;
use std::mem::MaybeUninit;
use std::os::unix::fs::OpenOptionsExt;
use std::ptr;
use tokio::io::unix::AsyncFd;

/// The signals that keep their default action. The first two cannot be blocked; the following ones stop or continue the
/// process, or do nothing; the rest are those of a crash, after which no clean end is possible.
const NOT_BLOCKED: [libc::c_int; 16] = [
    libc::SIGKILL,
    libc::SIGSTOP,
    libc::SIGTSTP,
    libc::SIGTTIN,
    libc::SIGTTOU,
    libc::SIGCONT,
    libc::SIGCHLD,
    libc::SIGURG,
    libc::SIGWINCH,
    libc::SIGSEGV,
    libc::SIGBUS,
    libc::SIGILL,
    libc::SIGFPE,
    libc::SIGABRT,
    libc::SIGTRAP,
    libc::SIGSYS,
];

/// Blocks all signals except those in [`NOT_BLOCKED`], in this thread and those that it starts.
///
/// SIGSEGV and SIGBUS get their default action back. The Rust runtime's handler would ignore the first one that was
/// sent by another process and is not a fault of this one.
///
/// # Errors
///
/// None in practice: the arguments of the system call are always valid.
pub(super) fn block() -> io::Result<SigSet> {
    let mut set = MaybeUninit::uninit();
    // SAFETY: sigfillset initializes the set that it gets; sigdelset changes an initialized one. The default action
    // runs no code of the process.
    let set = unsafe {
        libc::sigfillset(set.as_mut_ptr());
        for signal in NOT_BLOCKED {
            libc::sigdelset(set.as_mut_ptr(), signal);
        }
        libc::signal(libc::SIGSEGV, libc::SIG_DFL);
        libc::signal(libc::SIGBUS, libc::SIG_DFL);
        SigSet::from_sigset_t_unchecked(set.assume_init())
    };
    set.thread_block()?;
    Ok(set)
}

/// What a signal requests.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Meaning {
    /// Unmount cleanly; with the signal's name.
    End(&'static str),
    /// Read credentials and log level again, and open the log file again.
    Reload,
    /// Switch the log to level `debug`, or back to the configured level.
    ToggleDebug,
    /// Nothing.
    Ignored,
}

/// What a signal means. With `is_hangup`, the controlling terminal was closed, and this process is to end with it.
fn meaning(signal: libc::c_int, is_hangup: bool) -> Meaning {
    match signal {
        libc::SIGINT => Meaning::End("SIGINT"),
        libc::SIGTERM => Meaning::End("SIGTERM"),
        libc::SIGQUIT => Meaning::End("SIGQUIT"),
        // The limit of processor time; SIGKILL follows.
        libc::SIGXCPU => Meaning::End("SIGXCPU"),
        libc::SIGHUP if is_hangup => Meaning::End("SIGHUP, the terminal was closed"),
        libc::SIGHUP => Meaning::Reload,
        libc::SIGUSR1 => Meaning::ToggleDebug,
        _ => Meaning::Ignored,
    }
}

/// The signals that arrive at this process.
#[derive(Debug)]
pub(super) struct Signals {
    descriptor: AsyncFd<SignalFd>,
    /// Whether there is a controlling terminal with which the process is to end.
    ends_with_terminal: bool,
}

impl Signals {
    /// Receives the signals in `blocked` from now on. Must be called in the context of the runtime. [`block`] must have
    /// run before the process has a second thread: a signal would end the process through that thread.
    ///
    /// # Errors
    ///
    /// The system cannot create the descriptor.
    pub(super) fn listen(blocked: &SigSet) -> Result<Signals, MountError> {
        let listen = || {
            let descriptor = SignalFd::with_flags(blocked, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?;
            // SAFETY: the descriptor is that of the `SignalFd`, which owns it, never changes it, and is moved into the
            // result: it stays open and the same while it is registered.
            Ok(unsafe { AsyncFd::register(descriptor) }?)
        };
        let descriptor =
            listen().map_err(|error: io::Error| MountError::system("signals cannot be received", error))?;
        Ok(Signals { descriptor, ends_with_terminal: has_terminal() && !is_hangup_ignored() })
    }

    /// Records that the process has left its terminal on purpose.
    pub(super) fn forget_terminal(&mut self) {
        self.ends_with_terminal = false;
    }

    /// Waits for a signal that is not ignored.
    pub(super) async fn next(&mut self) -> Meaning {
        loop {
            let meaning = match self.receive().await {
                Ok(signal) => {
                    let is_hangup = self.ends_with_terminal && (signal.ssi_code == libc::SI_KERNEL || !has_terminal());
                    meaning(signal.ssi_signo.try_into().unwrap_or_default(), is_hangup)
                }
                Err(error) => {
                    tracing::error!(%error, "signals cannot be received any more");
                    std::future::pending().await
                }
            };
            if meaning != Meaning::Ignored {
                return meaning;
            }
        }
    }

    /// Waits for a signal that ends the process; others are dropped.
    pub(super) async fn end(&mut self) -> &'static str {
        loop {
            if let Meaning::End(name) = self.next().await {
                return name;
            }
        }
    }

    async fn receive(&self) -> io::Result<libc::signalfd_siginfo> {
        loop {
            let mut ready = self.descriptor.readable().await?;
            match self.descriptor.get_ref().read_signal() {
                Ok(Some(signal)) => return Ok(signal),
                Ok(None) | Err(Errno::EINTR) => ready.clear_ready(),
                Err(errno) => return Err(errno.into()),
            }
        }
    }
}

/// Whether the process has a controlling terminal (tty(4)) that has not been closed.
fn has_terminal() -> bool {
    let flags = libc::O_NOCTTY | libc::O_NONBLOCK;
    OpenOptions::new().read(true).custom_flags(flags).open("/dev/tty").is_ok()
}

fn is_hangup_ignored() -> bool {
    let mut action = MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: with a null pointer for the new action, sigaction only writes the current one to `action`, which is all
    // zeros before: a valid value either way.
    let action = unsafe {
        libc::sigaction(libc::SIGHUP, ptr::null(), action.as_mut_ptr());
        action.assume_init()
    };
    action.sa_sigaction == libc::SIG_IGN
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signal_from_a_user_ends_the_mount_cleanly_or_does_nothing() {
        for (signal, is_hangup, expected) in [
            (libc::SIGINT, false, Some("SIGINT")),
            (libc::SIGTERM, false, Some("SIGTERM")),
            (libc::SIGQUIT, false, Some("SIGQUIT")),
            (libc::SIGXCPU, false, Some("SIGXCPU")),
            (libc::SIGHUP, true, Some("SIGHUP, the terminal was closed")),
            (libc::SIGUSR2, false, None),
            (libc::SIGALRM, false, None),
            (libc::SIGPIPE, false, None),
            (libc::SIGIO, false, None),
            (libc::SIGRTMIN(), false, None),
        ] {
            let expected = expected.map_or(Meaning::Ignored, Meaning::End);
            assert_eq!(meaning(signal, is_hangup), expected, "signal {signal}");
        }
        assert_eq!(meaning(libc::SIGHUP, false), Meaning::Reload);
        assert_eq!(meaning(libc::SIGUSR1, false), Meaning::ToggleDebug);
        assert_eq!(meaning(libc::SIGUSR1, true), Meaning::ToggleDebug);
    }

    /// The list of signal(7) of what ends a process by default, and all real-time signals.
    #[test]
    fn every_signal_that_ends_a_process_is_blocked_except_those_of_a_crash() {
        let blocked = std::thread::spawn(|| block().unwrap()).join().unwrap();
        let blocked: &libc::sigset_t = blocked.as_ref();
        // SAFETY: the set is initialized, and sigismember only reads it.
        let is_blocked = |signal| unsafe { libc::sigismember(blocked, signal) == 1 };
        let ending = [
            libc::SIGHUP,
            libc::SIGINT,
            libc::SIGQUIT,
            libc::SIGUSR1,
            libc::SIGUSR2,
            libc::SIGPIPE,
            libc::SIGALRM,
            libc::SIGTERM,
            libc::SIGXCPU,
            libc::SIGXFSZ,
            libc::SIGVTALRM,
            libc::SIGPROF,
            libc::SIGIO,
            libc::SIGPWR,
        ];
        for signal in ending.into_iter().chain(libc::SIGRTMIN()..=libc::SIGRTMAX()) {
            assert!(is_blocked(signal), "signal {signal} ends the process");
        }
        assert!(NOT_BLOCKED.iter().all(|signal| !is_blocked(*signal)));
    }
}
