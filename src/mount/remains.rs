//! Ends a mount that its process can no longer end: **abort, wait, detach**, in this order.
//!
//! A process that is killed while the kernel invalidates pages for it does not end: its thread waits in the kernel for
//! a READ that is no longer answered, and holds the FUSE device and the superblock. An unmount in this state waits for
//! the superblock, and so does each `sync` on the machine. Only an abort of the connection fails the READ and frees all
//! of them. So nothing is detached here before the connection has ended.
//!
//! The invariant: every step is bounded in time, and checks again that the mount is still the same. Without knowing
//! that the process has died ([`end_dead_mounts`]), a mount that answers is not touched: its process lives.

use super::control::Abort;
use super::deadline::within;
use super::error::{MountError, Stage};
use super::kernel;
use super::mountinfo::{MountEntry, MountTable};
use super::point::{self, Probe};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

/// How long the process may take to end after its connection was aborted.
const END_LIMIT: Duration = Duration::from_secs(5);
/// Time limit for finding out that a mount is dead.
const PROBE_LIMIT: Duration = Duration::from_secs(2);
/// Time limit for one detach, which does not wait for any program.
const DETACH_LIMIT: Duration = Duration::from_secs(10);
/// Attempts to detach, and the pause between two of them: another mount may cover this one for a while.
const TRIES: u32 = 20;
const PAUSE: Duration = Duration::from_millis(500);
/// How long a mount may take to appear that was being made when its process was killed.
const UNSERVED_LIMIT: Duration = Duration::from_secs(1);
/// Interval between checks for the end of the process, and for such a mount.
const TICK: Duration = Duration::from_millis(10);

/// A mount that a process has left, or will leave.
#[derive(Debug)]
pub(super) struct Remains {
    entry: MountEntry,
    abort: Option<Abort>,
}

impl Remains {
    /// This mount, if it still exists. Its control file is opened now, while its device number is known to be its own.
    pub(super) fn of(entry: &MountEntry) -> Option<Remains> {
        let abort = Abort::open(entry.device).inspect_err(|error| tracing::debug!(%error, "no control file")).ok();
        let table = MountTable::read().ok()?;
        Some(Remains { entry: table.find(entry)?.clone(), abort })
    }

    /// Its mountpoint when it was found.
    pub(super) fn mountpoint(&self) -> &Path {
        &self.entry.mountpoint
    }

    /// Whether it is still in the kernel's table.
    pub(super) fn is_mounted(&self) -> bool {
        MountTable::read().is_ok_and(|table| table.find(&self.entry).is_some())
    }

    /// Ends the mount. `is_over` returns whether the mount's process has ended.
    ///
    /// # Errors
    ///
    /// The mount or its connection still exists; the remedy says what to do by hand.
    pub(super) fn clear(&self, is_over: impl FnMut() -> bool) -> Result<(), MountError> {
        let aborted = self.abort();
        if !wait(END_LIMIT, is_over) && !aborted {
            // A detach would wait for the superblock without end, and hide the mount that has to be aborted.
            let what = format!("the process of {} is stuck in the kernel", self.entry.mountpoint.display());
            return Err(MountError::new(Stage::Mount, what).remedy(format!(
                "as root: mount -t fusectl none /sys/fs/fuse/connections; echo 1 > /sys/fs/fuse/connections/{}/abort",
                self.entry.device.minor
            )));
        }
        let mut result = self.detach();
        for _ in 1..TRIES {
            if result.is_ok() {
                break;
            }
            thread::sleep(PAUSE);
            result = self.detach();
        }
        result
    }

    /// Aborts the connection. Returns whether that succeeded.
    fn abort(&self) -> bool {
        let done = match &self.abort {
            Some(abort) => abort.now(),
            None => kernel::force(&self.entry),
        };
        done.inspect_err(|error| tracing::debug!(%error, "the connection was not aborted")).is_ok()
    }

    /// Detaches the dead mount where it is now. Succeeds if it does not exist any more.
    fn detach(&self) -> Result<(), MountError> {
        let failed = |why: &str| {
            let place = self.entry.mountpoint.display();
            let error = MountError::new(Stage::Mount, format!("the dead mount on {place} is still there: {why}"));
            Err(error.remedy(format!("unmount it: fusermount3 -uz {place}")))
        };
        let Ok(table) = MountTable::read() else { return failed("/proc/self/mountinfo cannot be read") };
        let Some(entry) = table.find(&self.entry) else { return Ok(()) };
        if !table.is_on_top(entry) {
            return failed("another mount covers it");
        }
        match point::probe(&entry.mountpoint, PROBE_LIMIT) {
            Probe::Dead => kernel::unmount(entry, true, DETACH_LIMIT),
            // Another mount has its numbers by now.
            Probe::Alive => Ok(()),
            Probe::Silent => failed("its connection has not ended"),
        }
    }
}

/// Ends the mounts on `mountpoint` from the topmost down, as long as they are this program's and this user's (for root:
/// any user's), show `source` if one is given, and do not answer. Must be called only if their process was killed: a
/// living one that waits for its server looks the same.
///
/// # Errors
///
/// [`Stage::System`] if the kernel's table cannot be read; [`Stage::Mount`] if a mount or its connection still exists,
/// with what to do by hand as the remedy.
pub fn end_dead_mounts(mountpoint: &Path, source: Option<&str>) -> Result<(), MountError> {
    let mountpoint = resolved(mountpoint);
    // Dead mounts can be mounted on top of one another.
    for _ in 0..point::DEAD_MOUNTS {
        let table = MountTable::read()
            .map_err(|error| MountError::new(Stage::System, format!("/proc/self/mountinfo cannot be read: {error}")))?;
        let Some(entry) = table.topmost(&mountpoint).filter(|entry| point::is_ours(entry)) else { break };
        let is_other = source.is_some_and(|source| entry.source != source);
        if is_other || point::probe(&mountpoint, PROBE_LIMIT) == Probe::Alive {
            break;
        }
        if let Some(remains) = Remains::of(entry) {
            remains.clear(|| point::probe(&mountpoint, PROBE_LIMIT) != Probe::Silent)?;
        }
    }
    Ok(())
}

/// Ends the mount that a process was about to make on `mountpoint` when it was killed, if there is one. No process
/// served it, so it is dead. fusermount3 may still be running, so this waits for the mount for [`UNSERVED_LIMIT`].
pub(super) fn clear_unserved(mountpoint: &Path) -> Result<(), MountError> {
    let deadline = Instant::now() + UNSERVED_LIMIT;
    while Instant::now() < deadline {
        let table = MountTable::read().ok();
        let entry = table.as_ref().and_then(|table| table.topmost(mountpoint)).filter(|entry| point::is_ours(entry));
        if let Some(entry) = entry
            && point::probe(mountpoint, PROBE_LIMIT) == Probe::Dead
        {
            kernel::unmount(entry, true, DETACH_LIMIT)?;
        }
        thread::sleep(TICK);
    }
    Ok(())
}

/// The path as the kernel's table has it. The mount itself is not accessed: it may be stuck.
fn resolved(mountpoint: &Path) -> PathBuf {
    let Ok(named) = std::path::absolute(mountpoint) else { return mountpoint.to_owned() };
    let (Some(parent), Some(name)) = (named.parent().map(Path::to_owned), named.file_name()) else { return named };
    match within(PROBE_LIMIT, move || parent.canonicalize()) {
        Ok(Ok(parent)) => parent.join(name),
        _ => named,
    }
}

fn wait(limit: Duration, mut is_over: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + limit;
    loop {
        if is_over() {
            return true;
        }
        if Instant::now() >= deadline {
            return false;
        }
        thread::sleep(TICK);
    }
}
