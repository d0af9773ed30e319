//! Ends FUSE connections through the kernel's control file system (fusectl).
//!
//! An [`Abort`] is the open control file of one connection. The kernel names these files by the minor number of the
//! file system's device, and reuses the numbers. But when a connection ends, the kernel detaches it from the files that
//! are open (`fuse_ctl_remove_conn`), so that writing to such a file does nothing. The invariant follows: an [`Abort`]
//! that was opened while the connection existed ends that connection or none.
//!
//! Root opens the file through a mount of fusectl of its own, which is not attached to any path. That also works if the
//! system has not mounted fusectl, and does not keep the system's mount of it from being unmounted. An ordinary user
//! owns the control files of its own mounts, and reaches them only if the system has mounted fusectl.

use super::mountinfo::DeviceId;
use nix::errno::Errno;
use nix::fcntl::{OFlag, openat};
use nix::sys::stat::Mode;
use nix::unistd::geteuid;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::ptr;

/// Where systems mount fusectl.
const CONTROL: &str = "/sys/fs/fuse/connections";

/// The means to end one connection.
#[derive(Debug)]
pub(super) struct Abort(File);

impl Abort {
    /// Opens the control file of the connection that has this device number now.
    ///
    /// # Errors
    ///
    /// fusectl is not accessible, the connection belongs to another user, or there is none.
    pub(super) fn open(device: DeviceId) -> io::Result<Abort> {
        let name = format!("{}/abort", device.minor);
        if geteuid().is_root()
            && let Ok(instance) = own_instance()
            && let Ok(file) = openat(&instance, name.as_str(), OFlag::O_WRONLY | OFlag::O_CLOEXEC, Mode::empty())
        {
            return Ok(Abort(file.into()));
        }
        OpenOptions::new().write(true).open(format!("{CONTROL}/{name}")).map(Abort)
    }

    /// Ends the connection: each call that waits for the file system fails, and the mount is dead. Does nothing if the
    /// connection has ended already.
    ///
    /// # Errors
    ///
    /// None are known: the kernel accepts every write.
    pub(super) fn now(&self) -> io::Result<()> {
        (&self.0).write_all(b"1")
    }
}

/// A mount of fusectl that is not attached to any path. It ends when the last descriptor in it is closed.
fn own_instance() -> io::Result<OwnedFd> {
    const FSOPEN_CLOEXEC: libc::c_uint = 1;
    const FSCONFIG_CMD_CREATE: libc::c_uint = 6;
    const FSMOUNT_CLOEXEC: libc::c_uint = 1;
    // SAFETY: the name is a C string that outlives the call; the result is a descriptor, or -1.
    let context = owned(unsafe { libc::syscall(libc::SYS_fsopen, c"fusectl".as_ptr(), FSOPEN_CLOEXEC) })?;
    let nothing = ptr::null::<libc::c_char>();
    // SAFETY: this command has neither a key nor a value, and touches no memory of this process.
    let created =
        unsafe { libc::syscall(libc::SYS_fsconfig, context.as_raw_fd(), FSCONFIG_CMD_CREATE, nothing, nothing, 0) };
    Errno::result(created)?;
    // SAFETY: all arguments are numbers; the result is a descriptor, or -1.
    owned(unsafe { libc::syscall(libc::SYS_fsmount, context.as_raw_fd(), FSMOUNT_CLOEXEC, 0) })
}

/// The descriptor that a system call has returned.
fn owned(returned: libc::c_long) -> io::Result<OwnedFd> {
    let number = Errno::result(returned)?;
    let number = RawFd::try_from(number).map_err(io::Error::other)?;
    // SAFETY: the kernel has just created this descriptor for this call, and it has no other owner.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mount::kernel::{self, MountRequest};
    use crate::mount::point;
    use crate::mount::testing::{Watchdog, needs_root, scratch_directory, serve};
    use std::fs;

    /// The kernel reuses freed numbers, so the second mount may look just like the first one.
    #[test]
    fn the_control_file_of_a_connection_that_has_ended_does_nothing_to_another() {
        needs_root();
        let folder = scratch_directory();
        let _watchdog = Watchdog::over(folder.path());
        let mount = || kernel::mount(&MountRequest::new(point::check(folder.path()).unwrap(), "cifs://nas/a")).unwrap();
        let first = mount();
        let abort = Abort::open(first.entry().device).unwrap();
        drop(first);
        let mut second = mount();
        let session = serve(&mut second);
        abort.now().unwrap();
        assert!(fs::metadata(folder.path()).unwrap().is_dir(), "the second mount still answers");
        Abort::open(second.entry().device).unwrap().now().unwrap();
        assert!(fs::metadata(folder.path()).is_err());
        drop(second);
        // The session ends as that of an aborted connection does.
        let _ = session.join();
    }
}
