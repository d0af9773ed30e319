//! What signals mean to a mount.
//!
//! A signal that would end the process by default must not: written data would be lost, and the mount would be left behind
//! dead. So all of them are blocked, and taken from a descriptor one by one ([`Signals`]); what each means is a plain
//! function ([`meaning`]). Programs that are started from here have none blocked: the standard library sees to it.
//!
//! The invariant: of the signals that end a process, only SIGKILL and those of a crash (SIGSEGV and its like) end this one
//! without an unmount.
//!
//! SIGHUP has two meanings. Sent by a program, such as logrotate or `systemctl reload`, it says: read the configuration anew. Sent
//! because the controlling terminal was closed, it ends a mount in the foreground in order. The kernel sends the
//! second one itself, and a shell passes it on to its jobs, when the terminal is gone already. A process that was started
//! with SIGHUP ignored (nohup) outlives its terminal.

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

/// The signals that keep what they do by default: no one can block the first two; the next ones stop the process and
/// continue it, or do nothing; the rest tell of a crash, after which nothing can go on in order.
const LEFT_ALONE: [libc::c_int; 16] = [
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

/// Blocks all signals but those in [`LEFT_ALONE`], in this thread and those that it starts.
///
/// The Rust runtime's handler of SIGSEGV and SIGBUS lets the first one pass that is not a fault of the process; one that was sent
/// by hand would do nothing. They get their default action back.
///
/// # Errors
///
/// The kernel knows none.
pub(super) fn block() -> io::Result<SigSet> {
    let mut set = MaybeUninit::uninit();
    // SAFETY: sigfillset initializes the set that it is given; sigdelset changes one that is initialized. The default
    // action runs no code of the process.
    let set = unsafe {
        libc::sigfillset(set.as_mut_ptr());
        for signal in LEFT_ALONE {
            libc::sigdelset(set.as_mut_ptr(), signal);
        }
        libc::signal(libc::SIGSEGV, libc::SIG_DFL);
        libc::signal(libc::SIGBUS, libc::SIG_DFL);
        SigSet::from_sigset_t_unchecked(set.assume_init())
    };
    set.thread_block()?;
    Ok(set)
}

/// What a signal asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Meaning {
    /// Unmount in order; with the signal's name.
    End(&'static str),
    /// Read credentials and log level anew.
    Reload,
    /// Nothing.
    Ignored,
}

/// What a signal means. `is_hangup` says that the terminal was closed which this process is to end with.
fn meaning(signal: libc::c_int, is_hangup: bool) -> Meaning {
    match signal {
        libc::SIGINT => Meaning::End("SIGINT"),
        libc::SIGTERM => Meaning::End("SIGTERM"),
        libc::SIGQUIT => Meaning::End("SIGQUIT"),
        // The limit of processor time: SIGKILL is next.
        libc::SIGXCPU => Meaning::End("SIGXCPU"),
        libc::SIGHUP if is_hangup => Meaning::End("SIGHUP, the terminal was closed"),
        libc::SIGHUP => Meaning::Reload,
        _ => Meaning::Ignored,
    }
}

/// The signals of this process, as they come.
#[derive(Debug)]
pub(super) struct Signals {
    descriptor: AsyncFd<SignalFd>,
    /// There is a controlling terminal, and the process is to end with it.
    ends_with_terminal: bool,
}

impl Signals {
    /// Takes the signals from now on. To be called before the process has a second thread: that one would be ended by them.
    /// The runtime's context is needed for [`Signals::next`] only.
    ///
    /// # Errors
    ///
    /// The system has no descriptor for it.
    pub(super) fn listen(blocked: &SigSet) -> Result<Signals, MountError> {
        let listen = || {
            let descriptor = SignalFd::with_flags(blocked, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?;
            // SAFETY: the descriptor is that of the `SignalFd`, which owns it, never shows another one, and is moved
            // into the result: it stays open and the same as long as it is registered.
            Ok(unsafe { AsyncFd::register(descriptor) }?)
        };
        let descriptor =
            listen().map_err(|error: io::Error| MountError::system("signals cannot be received", error))?;
        Ok(Signals { descriptor, ends_with_terminal: has_terminal() && !is_hangup_ignored() })
    }

    /// The process has left its terminal on purpose.
    pub(super) fn forget_terminal(&mut self) {
        self.ends_with_terminal = false;
    }

    /// Waits for a signal that means something.
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

    /// Waits for a signal that ends the process; the others are dropped.
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
    // SAFETY: with a null pointer for the new action, sigaction only writes the current one to `action`, which is all zeros
    // before: a valid value either way.
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
    fn what_a_user_sends_ends_the_mount_in_order_or_does_nothing() {
        for (signal, is_hangup, expected) in [
            (libc::SIGINT, false, Some("SIGINT")),
            (libc::SIGTERM, false, Some("SIGTERM")),
            (libc::SIGQUIT, false, Some("SIGQUIT")),
            (libc::SIGXCPU, false, Some("SIGXCPU")),
            (libc::SIGHUP, true, Some("SIGHUP, the terminal was closed")),
            (libc::SIGUSR1, true, None),
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
    }

    /// The kernel's own list of what ends a process by default (signal(7)), and all real-time signals.
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
        assert!(LEFT_ALONE.iter().all(|signal| !is_blocked(*signal)));
    }
}
