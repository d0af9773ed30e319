//! Mounts and unmounts, and checks whether a mount is still this program's.
//!
//! Root mounts by mount(2) on a descriptor of /dev/fuse, any other user through [`fusermount`]. In both cases the
//! kernel shows the type `fuse.cifs`, which systemd treats as a network file system.
//!
//! The actors: a [`MountRequest`] says what to mount; [`mount`] turns it into a [`Mounted`], which hands out the
//! descriptor for serving and is kept to end the mount.
//!
//! The invariant: only this program's own mount is ever unmounted. Mount ids and device numbers are reused as soon as
//! they are free, so they alone prove nothing. A second descriptor of the connection does: while the kernel reports it
//! as connected, the file system exists and its numbers are its own. A mount is unmounted by its path, which may lead
//! to another mount by then; so `unmount` and `force`, the only functions that unmount, check the kernel's table right
//! before.

use super::control::Abort;
use super::deadline::within;
use super::error::{MountError, Stage};
use super::fusermount;
use super::mountinfo::{MountEntry, MountTable};
use super::point::{self, MountPoint, Probe};
use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags, umount2};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::unistd::{geteuid, getgid, getuid};
use std::fs::OpenOptions;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The subtype, which the kernel shows after `fuse.`.
pub const SUBTYPE: &str = "cifs";

/// The type of this program's mounts in the kernel's table.
pub const FS_TYPE: &str = "fuse.cifs";

/// Time limit of a lazy unmount, which does not wait for any program.
const DETACH_LIMIT: Duration = Duration::from_secs(10);

/// Time limit for finding out that a mount is dead.
const PROBE_LIMIT: Duration = Duration::from_secs(2);

/// What to mount, and where.
#[derive(Clone, Debug)]
pub struct MountRequest {
    /// The directory to mount on.
    pub mountpoint: MountPoint,
    /// The source in /proc/mounts, visible to every user: the URL without its secrets. The mount fails if it contains a
    /// NUL or has more than 4095 bytes.
    pub source: String,
    /// Whether the mount is read-only.
    pub read_only: bool,
    /// Whether no programs can be run from it.
    pub no_exec: bool,
    /// Whether all users may use it, and not only the one who mounts.
    pub allow_other: bool,
    /// The largest READ of the kernel, in bytes; `None` leaves it to the FUSE handshake.
    pub max_read: Option<u32>,
}

impl MountRequest {
    /// A writable mount for the user who mounts only.
    pub fn new(mountpoint: MountPoint, source: impl Into<String>) -> MountRequest {
        MountRequest {
            mountpoint,
            source: source.into(),
            read_only: false,
            no_exec: false,
            allow_other: false,
            max_read: None,
        }
    }

    /// The options of the FUSE file system itself, each after a comma. `default_permissions` makes the kernel check
    /// permissions; otherwise the mode bits would have no effect.
    pub(super) fn kernel_options(&self) -> String {
        let mut options = String::from(",default_permissions");
        if self.allow_other {
            options.push_str(",allow_other");
        }
        if let Some(bytes) = self.max_read {
            options.push_str(&format!(",max_read={bytes}"));
        }
        options
    }

    fn flags(&self) -> MsFlags {
        let mut flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
        flags.set(MsFlags::MS_RDONLY, self.read_only);
        flags.set(MsFlags::MS_NOEXEC, self.no_exec);
        flags
    }
}

/// Mounts. The mount answers once the descriptor is served.
///
/// # Errors
///
/// [`Stage::Mount`] or [`Stage::System`], with a remedy if there is one. Nothing is left then, unless the table
/// cannot be read, or another mount covers the new one.
pub fn mount(request: &MountRequest) -> Result<Mounted, MountError> {
    let before = MountTable::read().map_err(unreadable)?;
    let descriptor = mount_device(request)?;
    own(request, &before, descriptor).inspect_err(|_| detach_unowned(request.mountpoint.path(), &before))
}

fn unreadable(error: io::Error) -> MountError {
    MountError::new(Stage::System, format!("/proc/self/mountinfo cannot be read: {error}"))
}

/// Takes possession of the mount that was just made with this descriptor.
fn own(request: &MountRequest, before: &MountTable, descriptor: OwnedFd) -> Result<Mounted, MountError> {
    let watch = descriptor.try_clone().map_err(|error| {
        MountError::new(Stage::System, format!("the descriptor of the FUSE device cannot be copied: {error}"))
    })?;
    let after = MountTable::read().map_err(unreadable)?;
    let mountpoint = request.mountpoint.path();
    match after.topmost(mountpoint) {
        Some(entry) if entry.fs_type == FS_TYPE && !before.has(entry) => {
            let abort = Abort::open(entry.device).inspect_err(|error| tracing::debug!(%error, "no control file")).ok();
            Ok(Mounted { descriptor: Some(descriptor), watch, abort, entry: entry.clone() })
        }
        _ => Err(MountError::new(
            Stage::Mount,
            format!("{} was mounted, but another program unmounted or covered it at once", mountpoint.display()),
        )),
    }
}

/// Detaches the mount that was just made, which nothing serves, if it can be told from those that were there `before`.
fn detach_unowned(mountpoint: &Path, before: &MountTable) {
    let Ok(after) = MountTable::read() else { return };
    if let Some(entry) = after.topmost(mountpoint).filter(|entry| entry.fs_type == FS_TYPE && !before.has(entry))
        && let Err(error) = unmount(entry, true, DETACH_LIMIT)
    {
        tracing::error!(%error, "a dead mount is left");
    }
}

/// Mounts, and returns the descriptor of the FUSE device. When it and its copies are closed, the mount is dead but
/// still in the table.
pub(super) fn mount_device(request: &MountRequest) -> Result<OwnedFd, MountError> {
    if geteuid().is_root() { mount_directly(request) } else { fusermount::mount(request) }
}

/// Mounts with mount(2). The source is a separate argument, so no part of it can become an option.
fn mount_directly(request: &MountRequest) -> Result<OwnedFd, MountError> {
    let device = OpenOptions::new().read(true).write(true).open("/dev/fuse").map_err(|error| {
        MountError::new(Stage::Mount, format!("/dev/fuse cannot be opened: {error}"))
            .remedy("load the kernel's FUSE module: modprobe fuse; in a container, pass the device /dev/fuse in")
    })?;
    let options = format!(
        "fd={},rootmode=40000,user_id={},group_id={}{}",
        device.as_raw_fd(),
        getuid(),
        getgid(),
        request.kernel_options()
    );
    let mountpoint = request.mountpoint.path();
    nix::mount::mount(
        Some(request.source.as_str()),
        mountpoint,
        Some(FS_TYPE),
        request.flags(),
        Some(options.as_str()),
    )
    .map_err(|errno| {
        let error = MountError::new(Stage::Mount, format!("mount(2) on {} failed: {errno}", mountpoint.display()));
        match errno {
            Errno::EPERM => error.remedy("it needs the capability CAP_SYS_ADMIN, which a container must be given"),
            Errno::ENODEV => error.remedy("load the kernel's FUSE module: modprobe fuse"),
            _ => error,
        }
    })?;
    Ok(device.into())
}

/// A mount of this program. It is detached when dropped.
#[derive(Debug)]
pub struct Mounted {
    descriptor: Option<OwnedFd>,
    /// A copy of the descriptor, used only to check whether the connection exists. It also keeps the connection open
    /// after the serving side has closed its copy, so the mount must be unmounted explicitly.
    watch: OwnedFd,
    /// `None` if the control file system is not accessible.
    abort: Option<Abort>,
    /// The mount's entry when it was made. It may have been moved since.
    entry: MountEntry,
}

/// Where the mount is now.
enum Presence {
    /// It is not mounted.
    Gone,
    /// A path lookup finds it.
    OnTop(MountEntry),
    /// Another mount covers it.
    Covered(PathBuf),
}

impl Mounted {
    /// The descriptor of the FUSE device, for serving the mount; `None` at the second call.
    pub fn take_descriptor(&mut self) -> Option<OwnedFd> {
        self.descriptor.take()
    }

    /// The directory it was mounted on: absolute, without symbolic links.
    pub fn mountpoint(&self) -> &Path {
        &self.entry.mountpoint
    }

    /// Its entry in the kernel's table when it was made.
    pub(super) fn entry(&self) -> &MountEntry {
        &self.entry
    }

    /// Whether the connection can be ended even if all threads of this process are stuck: through the control file
    /// system, or as root.
    pub fn can_be_aborted(&self) -> bool {
        self.abort.is_some() || geteuid().is_root()
    }

    /// Whether it is still mounted; `false` if the table cannot be read.
    pub fn is_mounted(&self) -> bool {
        matches!(self.presence(), Ok(Presence::OnTop(_) | Presence::Covered(_)))
    }

    /// Unmounts, within `limit`, after the kernel has written its dirty pages. The kernel waits for the thread that
    /// serves the mount, so this must not be called by that thread. Succeeds if it is not mounted any more.
    ///
    /// # Errors
    ///
    /// The mount is busy, covered by another mount, or the unmount is refused or not done within `limit`. It is still
    /// mounted then; after a timeout the unmount continues.
    pub fn unmount(&self, limit: Duration) -> Result<(), MountError> {
        match self.presence().map_err(|error| self.failed(error))? {
            Presence::Gone => Ok(()),
            Presence::OnTop(entry) => unmount(&entry, false, limit),
            Presence::Covered(path) => {
                let covered = format!("{} cannot be unmounted: another mount covers it", path.display());
                Err(MountError::new(Stage::Mount, covered).remedy("unmount that one first"))
            }
        }
    }

    /// Removes the mount from the tree at once. Files that are open can be used until they are closed. Succeeds if it
    /// is not mounted any more.
    ///
    /// # Errors
    ///
    /// The mount is covered by another one, or the unmount is refused or not done within 10 s.
    pub fn detach(&self) -> Result<(), MountError> {
        match self.presence().map_err(|error| self.failed(error))? {
            Presence::OnTop(entry) => unmount(&entry, true, DETACH_LIMIT),
            Presence::Gone => Ok(()),
            Presence::Covered(path) => {
                Err(MountError::new(Stage::Mount, format!("another mount covers {}", path.display())))
            }
        }
    }

    /// Ends the connection between the kernel and this process at once: every call that waits for the mount fails.
    /// Dirty pages in the kernel are lost.
    ///
    /// # Errors
    ///
    /// The control file system is not accessible, and the forced unmount in its place fails: the user is not root, the
    /// mount's path leads to another mount, or the kernel does not answer within 10 s.
    pub fn abort(&self) -> io::Result<()> {
        match &self.abort {
            _ if !self.is_connected() => Ok(()),
            Some(abort) => abort.now(),
            None => force(MountTable::read()?.find(&self.entry).unwrap_or(&self.entry)),
        }
    }

    /// Sets the kernel's read-ahead for a sequential reader, in KiB.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::NotConnected`] if the connection has ended, since its device number may belong to another mount
    /// by then. Otherwise the error of writing to /sys: only root may, and a container's /sys may be read-only.
    pub fn set_read_ahead(&self, kib: u32) -> io::Result<()> {
        if !self.is_connected() {
            return Err(io::ErrorKind::NotConnected.into());
        }
        std::fs::write(format!("/sys/class/bdi/{}/read_ahead_kb", self.entry.device), kib.to_string())
    }

    fn presence(&self) -> io::Result<Presence> {
        let table = MountTable::read()?;
        let Some(entry) = table.find(&self.entry) else { return Ok(Presence::Gone) };
        // A connection ends when its mount is gone, or by an abort, which leaves the mount in the table, dead. So if
        // the connection has ended, a live mount with these numbers is another one that reuses them.
        if !self.is_connected() && point::probe(&entry.mountpoint, PROBE_LIMIT) != Probe::Dead {
            return Ok(Presence::Gone);
        }
        let on_top = table.is_on_top(entry);
        Ok(if on_top { Presence::OnTop(entry.clone()) } else { Presence::Covered(entry.mountpoint.clone()) })
    }

    /// Whether the file system of the descriptor still exists.
    fn is_connected(&self) -> bool {
        is_connected(self.watch.as_fd())
    }

    fn failed(&self, error: io::Error) -> MountError {
        let message = format!("{} cannot be unmounted: /proc/self/mountinfo: {error}", self.mountpoint().display());
        MountError::new(Stage::System, message)
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        if self.is_mounted() {
            tracing::warn!(mountpoint = %self.mountpoint().display(), "detaching a mount that was not unmounted");
            if let Err(error) = self.detach() {
                tracing::error!(%error, "the mount cannot be detached");
            }
        }
    }
}

/// Whether the connection exists. The kernel reports an error condition on a FUSE device whose connection has ended.
fn is_connected(descriptor: BorrowedFd<'_>) -> bool {
    let mut polled = [PollFd::new(descriptor, PollFlags::POLLIN)];
    match poll(&mut polled, PollTimeout::ZERO) {
        Ok(_) => !polled[0].revents().is_some_and(|events| events.contains(PollFlags::POLLERR)),
        Err(_) => true,
    }
}

/// Unmounts this mount, and not another one that may be at its path by now.
pub(super) fn unmount(entry: &MountEntry, lazy: bool, limit: Duration) -> Result<(), MountError> {
    let place = entry.mountpoint.display();
    let failed = |what: String| MountError::new(Stage::Mount, format!("{place} cannot be unmounted: {what}"));
    if !geteuid().is_root() {
        is_where_its_path_leads(entry).map_err(|error| failed(error.to_string()))?;
        return fusermount::unmount(&entry.mountpoint, lazy, limit);
    }
    let mut flags = MntFlags::UMOUNT_NOFOLLOW;
    flags.set(MntFlags::MNT_DETACH, lazy);
    let entry = entry.clone();
    let unmounting = move || {
        is_where_its_path_leads(&entry)?;
        umount2(&entry.mountpoint, flags).map_err(io::Error::from)
    };
    match within(limit, unmounting) {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) if error.raw_os_error() == Some(libc::EBUSY) => {
            Err(failed(Errno::EBUSY.to_string()).remedy("a program still uses it: fuser -vm shows which"))
        }
        Ok(Err(error)) => Err(failed(error.to_string())),
        Err(_) => Err(failed(format!("the kernel has not finished after {limit:?}"))),
    }
}

/// Ends the connection of this mount, and of no other, without the control file system: by a forced unmount, which only
/// root may do. If no program uses the mount, it is unmounted as well.
pub(super) fn force(entry: &MountEntry) -> io::Result<()> {
    if !geteuid().is_root() {
        return Err(io::Error::new(
            io::ErrorKind::PermissionDenied,
            "fusectl is not mounted, and without it only root can end a connection",
        ));
    }
    let entry = entry.clone();
    let forcing = move || {
        is_where_its_path_leads(&entry)?;
        match umount2(&entry.mountpoint, MntFlags::MNT_FORCE | MntFlags::UMOUNT_NOFOLLOW) {
            // The connection has ended; programs still use what is left of the mount.
            Err(Errno::EBUSY) => Ok(()),
            result => result.map_err(io::Error::from),
        }
    };
    within(DETACH_LIMIT, forcing).unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

/// Checks that a path lookup of the mountpoint finds this mount.
pub(super) fn is_where_its_path_leads(entry: &MountEntry) -> io::Result<()> {
    match MountTable::read()?.is_on_top(entry) {
        true => Ok(()),
        false => Err(io::Error::other("its path leads to another mount, or to none")),
    }
}

#[cfg(test)]
mod tests;
