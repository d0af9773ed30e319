//! A second process that ends the mount if the process that serves it is killed or crashes, at any moment.
//!
//! The actors, in the process that serves: a [`Guardian`], which reports over a pipe what is mounted; and the sentinel,
//! a thread that has started the guardian and waits for its end, so that no zombie is left. In the guardian: [`watch`],
//! which waits for the end of the process and then ends the mount ([`super::remains`]). Between them: [`message`]. If
//! requested, the guardian then mounts again ([`restart`]).
//!
//! The guardian is this program started again (`/proc/self/exe`), with the few variables that it needs and none of the
//! process's descriptors. So its memory contains no secret, and it keeps neither the FUSE device nor a pipe of the
//! caller open. It has a session of its own and ignores signals, so that it survives what ends the process: Ctrl-C, a
//! closed terminal, a kill of the process group.
//!
//! How it learns of the process's death: the kernel sends it a signal when the sentinel's thread ends
//! (PR_SET_PDEATHSIG). The end of the pipe or a pidfd alone would not be enough: while one thread is stuck in the
//! kernel, the descriptor table that all threads share is not closed, and the process has not ended.
//!
//! The invariant: unless the process has reported that its mount is gone, the guardian ends that mount. It never mounts
//! again what was unmounted or is being unmounted.

mod message;
mod restart;
pub(super) mod watch;

use super::kernel::Mounted;
use crate::config::MountCommand;
use message::Message;
use std::io::{self, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// The first argument of a guardian; the second is the id of the process that it watches.
pub const COMMAND: &str = "guard";

/// The guardian's name in `ps`.
const NAME: &str = "cifs-guardian";

/// How long the guardian may take to end after its dismissal.
const END_LIMIT: Duration = Duration::from_secs(2);
/// Interval between checks of whether it has ended.
const TICK: Duration = Duration::from_millis(1);

/// This process's side of its guardian. If it is dropped without [`Guardian::end`], the pipe is closed and the guardian
/// ends the mount.
#[derive(Debug)]
pub(super) struct Guardian {
    pipe: ChildStdin,
    sentinel: JoinHandle<()>,
    /// Whether it was dismissed.
    dismissed: Arc<AtomicBool>,
}

impl Guardian {
    /// Starts the guardian. `restarts` says that it may have to mount again. Nothing is mounted yet.
    ///
    /// # Errors
    ///
    /// The system cannot create the process or the thread.
    pub(super) fn start(restarts: bool) -> io::Result<Guardian> {
        let dismissed = Arc::new(AtomicBool::new(false));
        let was_dismissed = Arc::clone(&dismissed);
        let (sender, started) = mpsc::sync_channel(1);
        let sentinel = thread::Builder::new().name("sentinel".into()).spawn(move || {
            let child = spawn(restarts).and_then(|mut child| {
                let pipe = child.stdin.take().ok_or(io::ErrorKind::BrokenPipe)?;
                Ok((child, pipe))
            });
            let (child, pipe) = child.map_or_else(|error| (None, Err(error)), |(child, pipe)| (Some(child), Ok(pipe)));
            // The receiver waits for it.
            let _ = sender.send(pipe);
            let Some(mut child) = child else { return };
            let status = child.wait();
            if !was_dismissed.load(Ordering::Acquire) {
                report(&status);
            }
        })?;
        let pipe = started.recv().map_err(|_| io::Error::other("its thread has ended"))??;
        Ok(Guardian { pipe, sentinel, dismissed })
    }

    /// Reports that a mount on `mountpoint` is about to be made.
    pub(super) fn mounting(&mut self, mountpoint: &Path) {
        self.send(&Message::Mounting(mountpoint.to_owned()));
    }

    /// Reports that the mount was made.
    pub(super) fn mounted(&mut self, mounted: &Mounted) {
        let entry = mounted.entry();
        self.send(&Message::Mounted { id: entry.id, device: entry.device });
    }

    /// Reports that the mount works: from now on it is to be made again if this process dies.
    pub(super) fn working(&mut self, restart: &MountCommand) {
        restart.words.iter().for_each(|word| self.send(&Message::Word(word.clone())));
        self.send(&Message::Working(restart.directory.clone()));
    }

    /// Reports that the mount is being ended: from now on it is not to be made again.
    pub(super) fn ending(&mut self) {
        self.send(&Message::Ending);
    }

    /// Reports that nothing is mounted any more, and waits until the guardian has ended, at most [`END_LIMIT`].
    pub(super) fn end(mut self) {
        self.dismissed.store(true, Ordering::Release);
        self.send(&Message::Ended);
        let deadline = Instant::now() + END_LIMIT;
        while !self.sentinel.is_finished() && Instant::now() < deadline {
            thread::sleep(TICK);
        }
    }

    fn send(&mut self, message: &Message) {
        if let Err(error) = self.pipe.write_all(&message.encode()) {
            tracing::debug!(%error, "the guardian cannot be reached");
        }
    }
}

/// Starts the guardian from the calling thread, whose end the kernel reports to it.
fn spawn(restarts: bool) -> io::Result<Child> {
    let more = if restarts { restart::VARIABLES } else { &[] };
    Command::new("/proc/self/exe")
        .arg0(NAME)
        .arg(COMMAND)
        .arg(std::process::id().to_string())
        .env_clear()
        // For finding fusermount3.
        .envs(["PATH", "FUSERMOUNT_PATH"].iter().chain(more).filter_map(|name| Some((name, std::env::var_os(name)?))))
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
}

fn report(status: &io::Result<ExitStatus>) {
    let how = match status {
        Ok(status) => status.to_string(),
        Err(error) => error.to_string(),
    };
    tracing::warn!("the guardian has ended ({how}): if this process is killed, a dead mount is left behind");
}
