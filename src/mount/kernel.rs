//! Mounts and unmounts, and knows whether the mount is still ours.
//!
//! As root by mount(2) on a descriptor of /dev/fuse, as anybody else through [`fusermount`]. Either
//! way the kernel shows the type `fuse.cifs`, which systemd takes for a network file system.
//!
//! The actors: a [`MountRequest`] says what to mount; [`mount`] turns it into a [`Mounted`], which
//! gives the descriptor away to whoever serves it and stays behind to end the mount.
//!
//! The invariant: only our own mount is ever unmounted. Mount ids and device numbers are used again
//! as soon as they are free, so these alone prove nothing. A second descriptor of the connection
//! does: while the kernel calls it connected, the file system exists and its numbers are its own.
//! A mount is unmounted by its path, which may lead to another mount by then; so `unmount` and
//! `force`, the only functions that do so, look at the kernel's table right before.

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

/// What the kernel shows after `fuse.`.
pub const SUBTYPE: &str = "cifs";

/// The type of our mounts in the kernel's table.
pub const FS_TYPE: &str = "fuse.cifs";

/// How long a lazy unmount may take: it waits for nobody.
const DETACH_LIMIT: Duration = Duration::from_secs(10);

/// How long a mount may take to say that it is dead.
const PROBE_LIMIT: Duration = Duration::from_secs(2);

/// What to mount, and where.
#[derive(Clone, Debug)]
pub struct MountRequest {
    /// Where.
    pub mountpoint: MountPoint,
    /// What everybody sees in /proc/mounts: the URL without its secrets. A NUL in it, or more than
    /// 4095 bytes, make the mount fail.
    pub source: String,
    /// Without write access.
    pub read_only: bool,
    /// Without running programs from it.
    pub no_exec: bool,
    /// For all users, and not only for the one who mounts.
    pub allow_other: bool,
    /// The most bytes in one READ of the kernel; `None` leaves it to the FUSE handshake.
    pub max_read: Option<u32>,
}

impl MountRequest {
    /// A mount that can be written to, by the user who mounts alone.
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

    /// The options that the FUSE file system itself takes, each after a comma. The kernel checks
    /// permissions, since the mode bits we show would otherwise be decoration.
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

/// Mounts. The mount answers once somebody serves the descriptor.
///
/// # Errors
///
/// With stage [`Stage::Mount`] or [`Stage::System`], and the remedy where there is one. Nothing is mounted then.
pub fn mount(request: &MountRequest) -> Result<Mounted, MountError> {
    let unreadable = |error| MountError::new(Stage::System, format!("/proc/self/mountinfo cannot be read: {error}"));
    let before = MountTable::read().map_err(unreadable)?;
    let descriptor = mount_device(request)?;
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
            format!("{} was mounted, and unmounted or covered by somebody else at once", mountpoint.display()),
        )),
    }
}

/// Mounts, and returns the descriptor of the FUSE device. When it and its copies are closed, the
/// mount is dead but still there.
pub(super) fn mount_device(request: &MountRequest) -> Result<OwnedFd, MountError> {
    if geteuid().is_root() { mount_directly(request) } else { fusermount::mount(request) }
}

/// By mount(2). The source is an argument of its own, so nothing in it can be taken for an option.
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

/// A mount of ours. When it goes out of scope, the mount is detached.
#[derive(Debug)]
pub struct Mounted {
    descriptor: Option<OwnedFd>,
    /// A copy that is only asked whether the connection lives. It also keeps the connection from
    /// ending when the server's copy is closed, so the one who serves must not forget to unmount.
    watch: OwnedFd,
    /// `None` where the control file system is out of reach.
    abort: Option<Abort>,
    /// As it was when it was mounted; somebody may have moved it since.
    entry: MountEntry,
}

/// Where our mount is now.
enum Presence {
    /// Nowhere.
    Gone,
    /// Where a path lookup finds it.
    OnTop(MountEntry),
    /// Out of reach, below another mount.
    Covered(PathBuf),
}

impl Mounted {
    /// The descriptor of the FUSE device for the one who serves it; `None` the second time.
    pub fn take_descriptor(&mut self) -> Option<OwnedFd> {
        self.descriptor.take()
    }

    /// Where it was mounted: absolute, without symbolic links.
    pub fn mountpoint(&self) -> &Path {
        &self.entry.mountpoint
    }

    /// As the kernel showed it when it was mounted.
    pub(super) fn entry(&self) -> &MountEntry {
        &self.entry
    }

    /// Whether the connection can be ended although no thread of this process gets a word in: through the control
    /// file system, or by root.
    pub fn can_be_aborted(&self) -> bool {
        self.abort.is_some() || geteuid().is_root()
    }

    /// Whether it is still mounted. False when in doubt.
    pub fn is_mounted(&self) -> bool {
        matches!(self.presence(), Ok(Presence::OnTop(_) | Presence::Covered(_)))
    }

    /// Unmounts, after the kernel has written out what it still holds, within `limit`. This waits for
    /// the one who serves the mount, so it must not be called by a thread that serves. It is no
    /// error if nothing is mounted any more.
    ///
    /// # Errors
    ///
    /// Busy, covered by another mount, refused, or not done in time; it is still mounted then, but
    /// after a timeout the unmounting goes on.
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

    /// Takes the mount out of the tree at once, open files or not: these go on until they are
    /// closed. It is no error if nothing is mounted any more.
    ///
    /// # Errors
    ///
    /// Covered by another mount, or refused.
    pub fn detach(&self) -> Result<(), MountError> {
        match self.presence().map_err(|error| self.failed(error))? {
            Presence::OnTop(entry) => unmount(&entry, true, DETACH_LIMIT),
            Presence::Gone => Ok(()),
            Presence::Covered(path) => {
                Err(MountError::new(Stage::Mount, format!("another mount covers {}", path.display())))
            }
        }
    }

    /// Ends the connection between kernel and server at once: everyone who waits for the mount gets
    /// an error. What the kernel still held is lost.
    ///
    /// # Errors
    ///
    /// The control file system is out of reach, and we are not root or the mount is not where its path leads.
    pub fn abort(&self) -> io::Result<()> {
        match &self.abort {
            _ if !self.is_connected() => Ok(()),
            Some(abort) => abort.now(),
            None => force(MountTable::read()?.find(&self.entry).unwrap_or(&self.entry)),
        }
    }

    /// Sets how far the kernel reads ahead of a sequential reader, in KiB.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::NotConnected`] after the end of the connection, when the device number may be another mount's;
    /// refused to others than root; and a container's /sys may be read-only.
    pub fn set_read_ahead(&self, kib: u32) -> io::Result<()> {
        if !self.is_connected() {
            return Err(io::ErrorKind::NotConnected.into());
        }
        std::fs::write(format!("/sys/class/bdi/{}/read_ahead_kb", self.entry.device), kib.to_string())
    }

    fn presence(&self) -> io::Result<Presence> {
        let table = MountTable::read()?;
        let Some(entry) = table.find(&self.entry) else { return Ok(Presence::Gone) };
        // A connection ends when its mount is gone, and by an abort, after which the mount is still
        // there and dead. A live mount with our numbers has got them from us.
        if !self.is_connected() && point::probe(&entry.mountpoint, PROBE_LIMIT) != Probe::Dead {
            return Ok(Presence::Gone);
        }
        let on_top = table.is_on_top(entry);
        Ok(if on_top { Presence::OnTop(entry.clone()) } else { Presence::Covered(entry.mountpoint.clone()) })
    }

    /// Whether the file system behind our descriptor still exists.
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
            tracing::warn!(mountpoint = %self.mountpoint().display(), "detaching a mount that nobody unmounted");
            if let Err(error) = self.detach() {
                tracing::error!(%error, "it stays behind");
            }
        }
    }
}

/// The kernel reports an error condition on a FUSE device whose connection has ended.
fn is_connected(descriptor: BorrowedFd<'_>) -> bool {
    let mut polled = [PollFd::new(descriptor, PollFlags::POLLIN)];
    match poll(&mut polled, PollTimeout::ZERO) {
        Ok(_) => !polled[0].revents().is_some_and(|events| events.contains(PollFlags::POLLERR)),
        Err(_) => true,
    }
}

/// Unmounts this mount, and no other that may be at its path by now.
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
        Err(_) => Err(failed(format!("the kernel is still at it after {limit:?}"))),
    }
}

/// Ends the connection of this mount, and of no other, without the control file system: by a forced unmount, which
/// root may do. If no program uses the mount, it is gone afterwards as well.
pub(super) fn force(entry: &MountEntry) -> io::Result<()> {
    if !geteuid().is_root() {
        return Err(io::Error::new(
            io::ErrorKind::PermissionDenied,
            "fusectl is not mounted, and only root can do without",
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

fn is_where_its_path_leads(entry: &MountEntry) -> io::Result<()> {
    match MountTable::read()?.is_on_top(entry) {
        true => Ok(()),
        false => Err(io::Error::other("its path leads to another mount, or to none")),
    }
}

#[cfg(test)]
mod tests;
