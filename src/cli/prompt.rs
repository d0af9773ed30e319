//! Questions on the terminal, without which some mounts have no user or no password.
//!
//! Before the first question, the mountpoint is checked and the server must have answered: no password is typed for a
//! mount that cannot work. All of this happens in one thread, before the process forks. One question is asked once: a
//! password that the server refuses is not asked for again, since servers lock accounts.
//!
//! The invariant: however a question ends, the terminal shows typed characters again. Therefore the signals that end
//! the process are blocked during a question and read from a descriptor, and Ctrl-Z stops the process after it.

use super::{Ask, CliError, Purpose, journal};
use crate::config::credentials::{Echo, Unanswered};
use crate::config::{Identity, MountSpec};
use crate::mount::{self, MountError, Stage};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, SigmaskHow, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::termios::{LocalFlags, SetArg, Termios, tcgetattr, tcsetattr};
use secrecy::SecretString;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use zeroize::Zeroizing;

/// The longest line that a terminal passes on, in bytes (termios(3), canonical mode).
const LONGEST_LINE: usize = 4096;

/// The signals that end the process while it waits for an answer.
const ENDING: [Signal; 4] = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGQUIT, Signal::SIGHUP];

/// The identity that the user types, for a mount or a listing that is otherwise complete. `warnings` are printed first:
/// a line of a credentials file that was not understood may be why there is a question. The identity in `spec` is not
/// used.
///
/// # Errors
/// What makes the mount impossible, or a signal or the end of input instead of an answer.
pub(super) fn identity(
    unanswered: Unanswered,
    spec: &MountSpec,
    purpose: Purpose,
    warnings: &[String],
    ask: Ask,
) -> Result<Identity, CliError> {
    journal::warn(warnings);
    if purpose == Purpose::Mount {
        mount::check_mountpoint(spec)?;
    }
    match mount::check_server(spec) {
        // The diagnosis fails before it signs in, and says more.
        Err(_) if purpose == Purpose::Doctor => return Ok(Identity::Anonymous),
        checked => checked?,
    }
    unanswered.ask(&spec.url.host, ask).map_err(|error| match error.kind() {
        io::ErrorKind::Interrupted => MountError::new(Stage::Interrupted, error.to_string()).into(),
        _ => CliError::System(format!("the terminal: {error}")),
    })
}

/// Asks on the controlling terminal. Waits for the answer without a limit, as long as the user needs.
///
/// # Errors
/// [`io::ErrorKind::Interrupted`] after a signal or the end of input, or the error of the terminal.
pub(super) fn ask(question: &str, echo: Echo) -> io::Result<SecretString> {
    let terminal = OpenOptions::new().read(true).write(true).open("/dev/tty")?;
    let signals = Signals::hold()?;
    let hidden = match echo {
        Echo::On => None,
        Echo::Off => Some(Hidden::on(&terminal)?),
    };
    (&terminal).write_all(question.as_bytes())?;
    let answer = wait(&terminal, &signals).and_then(|()| line(&terminal));
    drop(hidden);
    if answer.is_err() {
        // The message begins on a line of its own.
        let _ = (&terminal).write_all(b"\n");
    }
    answer
}

/// Waits until the terminal has a line.
fn wait(terminal: &File, signals: &Signals) -> io::Result<()> {
    loop {
        let mut sources = [
            PollFd::new(signals.descriptor.as_fd(), PollFlags::POLLIN),
            PollFd::new(terminal.as_fd(), PollFlags::POLLIN),
        ];
        match poll(&mut sources, PollTimeout::NONE) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno.into()),
        }
        if let Some(signal) = signals.descriptor.read_signal()? {
            let name = i32::try_from(signal.ssi_signo).ok().and_then(|number| Signal::try_from(number).ok());
            return Err(interrupted(&format!("{} came at a question", name.map_or("a signal", Signal::as_str))));
        }
        if sources[1].any() == Some(true) {
            return Ok(());
        }
    }
}

fn interrupted(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::Interrupted, format!("{why}, and nothing was done"))
}

/// Reads the line that the terminal has.
fn line(mut terminal: &File) -> io::Result<SecretString> {
    let mut bytes = Zeroizing::new([0; LONGEST_LINE]);
    let length = terminal.read(&mut bytes[..])?;
    if length == 0 {
        return Err(interrupted("there was no answer"));
    }
    let text = std::str::from_utf8(&bytes[..length])
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "the answer is not UTF-8 text"))?;
    Ok(SecretString::from(text.trim_end_matches(['\n', '\r'])))
}

/// The signals that end the process, held back until this is dropped.
struct Signals {
    descriptor: SignalFd,
    before: SigSet,
}

impl Signals {
    fn hold() -> io::Result<Signals> {
        let mut set = SigSet::from_iter(ENDING);
        let descriptor = SignalFd::with_flags(&set, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?;
        set.add(Signal::SIGTSTP);
        Ok(Signals { descriptor, before: set.thread_swap_mask(SigmaskHow::SIG_BLOCK)? })
    }
}

impl Drop for Signals {
    fn drop(&mut self) {
        // The arguments are those of the thread before.
        let _ = self.before.thread_set_mask();
    }
}

/// A terminal that does not show what is typed, until this is dropped.
struct Hidden<'a> {
    terminal: &'a File,
    before: Termios,
}

impl Hidden<'_> {
    fn on(terminal: &File) -> io::Result<Hidden<'_>> {
        let before = tcgetattr(terminal)?;
        let mut silent = before.clone();
        silent.local_flags.remove(LocalFlags::ECHO);
        silent.local_flags.insert(LocalFlags::ECHONL);
        tcsetattr(terminal, SetArg::TCSADRAIN, &silent)?;
        Ok(Hidden { terminal, before })
    }
}

impl Drop for Hidden<'_> {
    fn drop(&mut self) {
        // A terminal that is gone needs no restoring.
        let _ = tcsetattr(self.terminal, SetArg::TCSADRAIN, &self.before);
    }
}
