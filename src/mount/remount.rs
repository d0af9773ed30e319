//! Makes a running mount read-only or writable, as `mount -o remount` requests.
//!
//! The kernel enforces it: mount(2) with `MS_REMOUNT` changes the file system itself, so it holds for every path that
//! leads to it. Only root may do that. The process that serves the mount is asked before to send its dirty data, and
//! told afterwards.
//!
//! Invariant: after a failure of [`set_read_only`] the mount is as it was, except that a mount which does not answer any
//! more may be read-only in the kernel and not know it.

use super::deadline::within;
use super::mountinfo::{MountEntry, MountTable};
use super::socket::client::Running;
use super::{MountError, Stage};
use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::mount::MsFlags;
use nix::sys::stat::Mode;
use nix::unistd::geteuid;
use std::fs;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::Duration;

/// Time limit of mount(2): the kernel sends its dirty pages.
const LIMIT: Duration = Duration::from_secs(30);

/// The options of a mount in the kernel's table that a remount would otherwise end, with their flags. The kernel keeps
/// those about access times by itself.
const KEPT: [(&str, MsFlags); 4] = [
    ("nosuid", MsFlags::MS_NOSUID),
    ("nodev", MsFlags::MS_NODEV),
    ("noexec", MsFlags::MS_NOEXEC),
    ("nosymfollow", MsFlags::from_bits_retain(libc::MS_NOSYMFOLLOW)),
];

/// Makes the mount read-only, or writable. Nothing happens if it is that already.
///
/// # Errors
///
/// This user may not; a program has a file open for writing; or dirty data does not reach the server in time.
pub fn set_read_only(mount: &Running, read_only: bool) -> Result<(), MountError> {
    if mount.status.read_only == read_only {
        return Ok(());
    }
    let mountpoint = mount.entry.mountpoint.display();
    if !geteuid().is_root() {
        let message = format!("only root can remount {mountpoint}: the kernel lets no other user do it");
        return Err(MountError::new(Stage::Mount, message).remedy("or unmount it, and mount it again"));
    }
    if read_only {
        mount.drain()?;
    }
    remount(mount.entry.clone(), read_only)?;
    mount.set_access(read_only)
}

/// Changes the file system in the kernel.
fn remount(entry: MountEntry, read_only: bool) -> Result<(), MountError> {
    let failed = |what: String| MountError::new(Stage::Mount, what);
    let place = entry.mountpoint.display().to_string();
    let mut flags = MsFlags::MS_REMOUNT;
    flags.set(MsFlags::MS_RDONLY, read_only);
    for (name, flag) in KEPT {
        flags.set(flag, entry.options.split(',').any(|option| option == name));
    }
    let remounting = move || {
        let place = held(&entry)?;
        let path = format!("/proc/self/fd/{}", place.as_raw_fd());
        let none = None::<&str>;
        nix::mount::mount(none, path.as_str(), none, flags, none).map_err(io::Error::from)
    };
    match within(LIMIT, remounting) {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) if error.raw_os_error() == Some(Errno::EBUSY as i32) => {
            Err(failed(format!("{place} cannot become read-only: a program has a file open for writing"))
                .remedy(format!("fuser -vm {place} shows which")))
        }
        Ok(Err(error)) if error.raw_os_error() == Some(Errno::EPERM as i32) => {
            Err(failed(format!("mount(2) on {place} failed: {error}"))
                .remedy("it needs the capability CAP_SYS_ADMIN, which a container must be given"))
        }
        Ok(Err(error)) => Err(failed(format!("mount(2) on {place} failed: {error}"))),
        Err(_) => Err(failed(format!("{place}: the kernel has not finished after {LIMIT:?}"))),
    }
}

/// The root of a mount, open: what is then done through the descriptor is about this mount, whatever its path leads to
/// by now.
fn held(entry: &MountEntry) -> io::Result<OwnedFd> {
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let descriptor = open(&entry.mountpoint, flags, Mode::empty())?;
    let info = fs::read_to_string(format!("/proc/self/fdinfo/{}", descriptor.as_raw_fd()))?;
    let id = info.lines().find_map(|line| line.strip_prefix("mnt_id:")?.trim().parse().ok());
    // The open descriptor keeps the mount, so its id cannot become that of another one.
    match id == Some(entry.id) && MountTable::read()?.find(entry).is_some() {
        true => Ok(descriptor),
        false => Err(io::Error::other("its path leads to another mount, or to none")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;
    use std::path::Path;

    #[test]
    fn only_the_mount_that_was_looked_up_is_held() {
        let table = MountTable::read().unwrap();
        let proc = table.topmost(Path::new("/proc")).unwrap();
        assert!(held(proc).is_ok());
        for other in [
            MountEntry { id: proc.id + 1, ..proc.clone() },
            MountEntry { mountpoint: "/".into(), ..proc.clone() },
            MountEntry { mountpoint: "/proc/sys".into(), fs_type: "fuse.cifs".to_owned(), ..proc.clone() },
        ] {
            assert!(held(&other).is_err(), "{other:?}");
        }
        let folder = tempfile::tempdir().unwrap();
        let link = folder.path().join("link");
        symlink("/proc", &link).unwrap();
        assert!(held(&MountEntry { mountpoint: link, ..proc.clone() }).is_err());
    }
}
