//! Mounts again after the process that served the mount has died: starts the program with its original arguments.
//!
//! The new process has a guardian of its own, so this one ends when the new mount works. A failed attempt is repeated
//! with growing pauses, unless its exit code says that repeating does not help. If the processes of a mount die soon
//! after their start several times in a row, the mount is given up; an environment variable passes the count from
//! guardian to guardian.
//!
//! The invariant: nothing is mounted over a mount that others have made on the directory meanwhile. SIGTERM, which does
//! not end a guardian otherwise, ends the attempts, and so does the removal of the directory.

use crate::config::MountCommand;
use crate::mount::deadline::within;
use crate::mount::mountinfo::MountTable;
use crate::mount::{MountError, Stage};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use std::ffi::OsString;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// The variable with the number of processes in a row that have died soon after their start.
const QUICK_DEATHS: &str = "CIFS_FUSE_QUICK_DEATHS";
/// The variables that a guardian which may mount again gets in addition, and passes on to the program: those that the
/// credentials, the keyring and the log are found with. `AUTH_PASSWORD` is not among them.
pub(super) const VARIABLES: &[&str] = &[
    "AUTH_USERNAME",
    "AUTH_DOMAIN",
    "CREDENTIALS_DIRECTORY",
    "DBUS_SESSION_BUS_ADDRESS",
    "XDG_RUNTIME_DIR",
    "RUST_LOG",
    QUICK_DEATHS,
];

/// A process whose mount worked at least this long does not count as a quick death: a cause that kills it at the first
/// requests has shown itself by then.
const PROVEN: Duration = Duration::from_secs(30);
/// Quick deaths in a row that are answered by mounting again; at the next one the mount is given up.
const MOST_QUICK_DEATHS: u32 = 5;
/// The first pause that is not zero; it doubles with each further attempt.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// The longest pause: an unreachable server is tried once a minute.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// Time limit for checking the directory.
const LOOK_LIMIT: Duration = Duration::from_secs(5);

/// The exit codes after which there is no further attempt: wrong usage, a signal before the mount, and a refused
/// sign-in, since repeating that can lock the account.
const FINAL: [i32; 3] = [1, 8, 33];

/// What to do when the process dies.
#[derive(Debug, Default)]
pub(super) struct Plan {
    restart: MountCommand,
    /// When the mount began to work; until then nothing is done.
    working_since: Option<Instant>,
}

impl Plan {
    /// Adds the next word of the command line.
    pub(super) fn add(&mut self, word: OsString) {
        self.restart.words.push(word);
    }

    /// Records that the command line is complete and the mount works, since `now`. `directory` is the working
    /// directory.
    pub(super) fn is_complete(&mut self, directory: PathBuf, now: Instant) {
        self.restart.directory = directory;
        self.working_since = Some(now);
    }

    /// Mounts again, if that was requested. The process died at `now`.
    ///
    /// # Errors
    ///
    /// The mount is given up: too many quick deaths, no command line, an exit code in [`FINAL`], or SIGTERM cannot be
    /// awaited.
    pub(super) fn carry_out(&self, mountpoint: &Path, now: Instant) -> Result<(), MountError> {
        let Some(since) = self.working_since else { return Ok(()) };
        let before = std::env::var(QUICK_DEATHS).ok().and_then(|count| count.parse().ok()).unwrap_or(0);
        let quick = quick_deaths(before, now.duration_since(since));
        let place = mountpoint.display();
        if quick > MOST_QUICK_DEATHS {
            let what = format!("{place} is not mounted again: {quick} processes in a row died soon after their start");
            return Err(MountError::new(Stage::Mount, what).remedy("mount it by hand, with --log-level debug"));
        }
        let stop = termination().map_err(|error| MountError::system("SIGTERM cannot be awaited", error))?;
        let mut said = String::new();
        for number in quick.. {
            if comes(&stop, pause(number)) {
                tracing::warn!("SIGTERM: {place} is not mounted again");
                break;
            }
            if let Some(what) = obstacle(mountpoint) {
                tracing::warn!("{place} is not mounted again: {what}");
                break;
            }
            match self.mount(quick) {
                Ok(()) => {
                    tracing::warn!("{place} is mounted again");
                    break;
                }
                Err((true, why)) => {
                    return Err(MountError::new(Stage::Mount, format!("{place} is not mounted again: {why}")));
                }
                // A repeated reason is not logged again: a long outage is one line.
                Err((false, why)) if why != said => {
                    tracing::warn!("{place} cannot be mounted again yet: {why}");
                    said = why;
                }
                Err((false, _)) => {}
            }
        }
        Ok(())
    }

    /// Starts the program, and waits until its mount works. An error contains whether it is final, and the reason.
    fn mount(&self, quick: u32) -> Result<(), (bool, String)> {
        let Some((name, arguments)) = self.restart.words.split_first() else {
            return Err((true, "there is no command line".to_owned()));
        };
        // `output` waits until this pipe is closed: the process that goes to the background does so when the mount
        // works.
        let output = Command::new("/proc/self/exe")
            .arg0(name)
            .args(arguments)
            .current_dir(usable(&self.restart.directory))
            .env(QUICK_DEATHS, quick.to_string())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .output()
            .map_err(|error| (false, format!("the program cannot be started: {error}")))?;
        if output.status.success() {
            return Ok(());
        }
        let is_final = output.status.code().is_some_and(|code| FINAL.contains(&code));
        Err((is_final, reason(&String::from_utf8_lossy(&output.stderr)).unwrap_or(output.status.to_string())))
    }
}

/// The working directory, if it answers and this user may enter it, else `/`. A user who may not enter it cannot have
/// used it for a relative path on the command line.
fn usable(directory: &Path) -> &Path {
    let entered = directory.join(".");
    match within(LOOK_LIMIT, move || std::fs::symlink_metadata(entered)) {
        Ok(Ok(_)) => directory,
        _ => Path::new("/"),
    }
}

/// Why the directory must not be mounted on now, as a clause: others have mounted on it or removed it. `None` if it is
/// free, or if that cannot be found out.
fn obstacle(mountpoint: &Path) -> Option<String> {
    let table = MountTable::read().ok()?;
    let Some(entry) = table.topmost(mountpoint) else {
        let directory = mountpoint.to_owned();
        // If its file system does not answer, the directory counts as existing.
        let found = within(LOOK_LIMIT, move || std::fs::symlink_metadata(directory)).ok()?;
        return found.is_err_and(|error| error.kind() == io::ErrorKind::NotFound).then(|| "it was removed".to_owned());
    };
    Some(match entry.fs_type.as_str() {
        "autofs" => "it is an automount point, which mounts at its next use".to_owned(),
        _ => format!("{} is mounted there", entry.shown_source()),
    })
}

/// The last message in the output of the program.
fn reason(said: &str) -> Option<String> {
    let (_, message) = said.rsplit_once("cifs-fuse: ")?;
    Some(message.trim_end().to_owned())
}

/// The count of quick deaths in a row, after a process whose mount worked for `worked`.
fn quick_deaths(before: u32, worked: Duration) -> u32 {
    if worked < PROVEN { before.saturating_add(1) } else { 0 }
}

/// The pause before an attempt. `number` counts the quick deaths and the failed attempts before it; up to 1 there is no
/// pause.
fn pause(number: u32) -> Duration {
    match number.checked_sub(2) {
        None => Duration::ZERO,
        Some(doublings) => FIRST_PAUSE.saturating_mul(1 << doublings.min(16)).min(LONGEST_PAUSE),
    }
}

/// A descriptor that reports SIGTERM, which the guardian has blocked.
fn termination() -> io::Result<SignalFd> {
    let mut signals = SigSet::empty();
    signals.add(Signal::SIGTERM);
    Ok(SignalFd::with_flags(&signals, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?)
}

/// Whether the signal arrives within `limit`, or has arrived before.
fn comes(signal: &SignalFd, limit: Duration) -> bool {
    let timeout = PollTimeout::try_from(limit).unwrap_or(PollTimeout::MAX);
    poll(&mut [PollFd::new(signal.as_fd(), PollFlags::POLLIN)], timeout).is_ok_and(|ready| ready > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_minute() {
        let seconds: Vec<u64> = (0..10).map(|number| pause(number).as_secs()).collect();
        assert_eq!(seconds, [0, 0, 1, 2, 4, 8, 16, 32, 60, 60]);
        assert_eq!(pause(u32::MAX), LONGEST_PAUSE);
    }

    #[test]
    fn only_quick_deaths_in_a_row_are_counted() {
        assert_eq!(quick_deaths(0, Duration::from_secs(2)), 1);
        assert_eq!(quick_deaths(4, Duration::ZERO), 5);
        assert_eq!(quick_deaths(4, PROVEN), 0);
    }

    #[test]
    fn the_reason_of_a_failed_attempt_is_its_last_message() {
        let said = "cifs-fuse: warning: x\n WARN cifs_fuse::wire: y\ncifs-fuse: connect: refused\ncheck it\n";
        assert_eq!(reason(said).as_deref(), Some("connect: refused\ncheck it"));
        assert_eq!(reason(""), None);
    }

    #[test]
    fn a_plan_that_is_not_complete_does_nothing() {
        let mut plan = Plan::default();
        plan.add("cifs-fuse".into());
        assert_eq!(plan.carry_out(Path::new("/nowhere"), Instant::now()), Ok(()));
    }
}
