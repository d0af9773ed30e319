//! The state of the directory to mount on, and whether it can be mounted on.
//!
//! The actors: the table of mounts, which is checked first because it never hangs, and [`probe`], which accesses a file
//! system under a deadline. The invariant: [`check`] always returns; the directory that it returns is empty and not
//! mounted on, or an automount point.
//!
//! A mount whose server has died ("Transport endpoint is not connected") is unmounted if it is this program's, so that
//! no manual cleanup is needed after a crash. An automount point (autofs) counts as free: it exists to be mounted on,
//! and listing it would trigger it.

use super::deadline::{TimedOut, within};
use super::error::{MountError, Stage};
use super::kernel::{self, FS_TYPE};
use super::mountinfo::{MountEntry, MountTable};
use nix::errno::Errno;
use nix::sys::statvfs::statvfs;
use nix::unistd::getuid;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Time limit for each access to a file system.
const LIMIT: Duration = Duration::from_secs(5);

/// The most dead mounts, on top of one another, that are unmounted before giving up.
pub(super) const DEAD_MOUNTS: usize = 8;

/// A directory that can be mounted on: absolute, without symbolic links, free.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MountPoint(PathBuf);

impl MountPoint {
    /// The directory.
    pub fn path(&self) -> &Path {
        &self.0
    }

    #[cfg(test)]
    pub(super) fn unchecked(path: PathBuf) -> MountPoint {
        MountPoint(path)
    }
}

/// How a mounted file system answers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Probe {
    /// It answers, with success or an error.
    Alive,
    /// Its server is gone.
    Dead,
    /// It did not answer in time.
    Silent,
}

/// Requests the statistics of the file system at `path`, which no cache answers. For a FUSE mount that this user may
/// not access (another user's without `allow_other`, even for root) the kernel answers itself, so it is always `Alive`.
pub fn probe(path: &Path, limit: Duration) -> Probe {
    let path = path.to_owned();
    match within(limit, move || statvfs(&path)) {
        Ok(Err(Errno::ENOTCONN | Errno::ECONNABORTED)) => Probe::Dead,
        Ok(_) => Probe::Alive,
        Err(TimedOut) => Probe::Silent,
    }
}

/// Checks whether `path` can be mounted on. Each access to a file system takes at most 5 s.
///
/// # Errors
///
/// [`Stage::MountPoint`], with a message for each case: missing, not a directory, not readable, not empty, already a
/// mountpoint, a dead mount of another program, a dead mount that cannot be unmounted, too many of them, or no answer.
/// [`Stage::System`] if the table of mounts cannot be read.
pub fn check(path: &Path) -> Result<MountPoint, MountError> {
    check_within(path, LIMIT)
}

fn check_within(path: &Path, limit: Duration) -> Result<MountPoint, MountError> {
    let named = std::path::absolute(path).map_err(|error| refused(path, error))?;
    // The given path is checked first, since resolving the path of a hung mount may hang as well.
    clear(&named, limit)?;
    let resolved = bounded(path, limit, move || named.canonicalize())?;
    if clear(&resolved, limit)? == Base::Bare {
        let listed = resolved.clone();
        let first = bounded(path, limit, move || std::fs::read_dir(&listed)?.next().transpose())?;
        if first.is_some() {
            return Err(MountError::new(Stage::MountPoint, format!("{} is not empty", path.display()))
                .remedy("mount on an empty directory: what is in this one would be hidden"));
        }
    }
    Ok(MountPoint(resolved))
}

/// What the new mount would cover.
#[derive(PartialEq, Eq)]
enum Base {
    /// A plain directory.
    Bare,
    /// An automount point.
    Automount,
}

/// Checks what is mounted at `path`, and unmounts dead mounts of this program.
fn clear(path: &Path, limit: Duration) -> Result<Base, MountError> {
    for _ in 0..=DEAD_MOUNTS {
        let table = MountTable::read()
            .map_err(|error| MountError::new(Stage::System, format!("/proc/self/mountinfo cannot be read: {error}")))?;
        let Some(entry) = table.topmost(path) else { return Ok(Base::Bare) };
        if entry.fs_type == "autofs" {
            return Ok(Base::Automount);
        }
        unmount_dead(entry, limit)?;
    }
    Err(MountError::new(Stage::MountPoint, format!("too many mounts are on top of one another on {}", path.display())))
}

/// Unmounts a dead mount of this program; any other mount is an error.
fn unmount_dead(entry: &MountEntry, limit: Duration) -> Result<(), MountError> {
    let place = entry.mountpoint.display();
    let error = |what: String| Err(MountError::new(Stage::MountPoint, what));
    // Only FUSE mounts can be dead, and asking another file system would only take time.
    let is_fuse = entry.fs_type == "fuse" || entry.fs_type.starts_with("fuse.");
    match if is_fuse { probe(&entry.mountpoint, limit) } else { Probe::Alive } {
        Probe::Alive => {
            let what = entry.shown_source();
            error(format!("{place} is already a mountpoint, of {what} (type {})", entry.fs_type))
        }
        Probe::Silent => {
            error(format!("{place} is a mountpoint whose file system does not answer (type {})", entry.fs_type))
                .map_err(|error| {
                    error.remedy(match is_ours(entry) {
                        true => format!("end its server, or, if that was killed: cifs-fuse cleanup {place}"),
                        false => format!("end its server, then: fusermount3 -uz {place}"),
                    })
                })
        }
        Probe::Dead if is_ours(entry) => {
            tracing::warn!(mountpoint = %place, source = entry.shown_source(), "unmounting a dead mount: its server is gone");
            kernel::unmount(entry, true, limit).map_err(|error| stale(entry).remedy(unmount_by_hand(entry, &error)))
        }
        Probe::Dead => Err(stale(entry).remedy(format!("unmount it: fusermount3 -u {place}"))),
    }
}

fn stale(entry: &MountEntry) -> MountError {
    let place = entry.mountpoint.display();
    let what = format!("{place} holds a stale mount (type {}): its server is gone", entry.fs_type);
    MountError::new(Stage::MountPoint, what)
}

fn unmount_by_hand(entry: &MountEntry, error: &MountError) -> String {
    format!("unmount it: fusermount3 -u {} (tried: {})", entry.mountpoint.display(), error.message)
}

/// Whether a mount is of this program, and either of this user or the user is root.
pub(super) fn is_ours(entry: &MountEntry) -> bool {
    let owner = format!("user_id={}", getuid());
    entry.fs_type == FS_TYPE && (getuid().is_root() || entry.super_options.split(',').any(|option| option == owner))
}

/// Runs one access to the directory under the deadline.
fn bounded<T: Send + 'static>(
    path: &Path,
    limit: Duration,
    look: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Result<T, MountError> {
    match within(limit, look) {
        Ok(result) => result.map_err(|error| refused(path, error)),
        Err(TimedOut) => Err(MountError::new(
            Stage::MountPoint,
            format!("the file system of {} does not answer within {limit:?}", path.display()),
        )),
    }
}

fn refused(path: &Path, error: io::Error) -> MountError {
    let place = path.display();
    let with = |what: String| MountError::new(Stage::MountPoint, what);
    match error.kind() {
        io::ErrorKind::NotFound if let Ok(target) = std::fs::read_link(path) => {
            let target = path.parent().map_or(target.clone(), |parent| parent.join(&target));
            with(format!("{place} is a symbolic link to {}, which does not exist", target.display()))
                .remedy("connect or create what the link leads to, or mount on another directory")
        }
        io::ErrorKind::NotFound => {
            with(format!("{place} does not exist")).remedy(format!("create it: mkdir -p {place}"))
        }
        io::ErrorKind::NotADirectory => with(format!("{place} is not a directory")),
        io::ErrorKind::PermissionDenied => {
            with(format!("{place} cannot be read by this user")).remedy("mount on a directory that belongs to you")
        }
        io::ErrorKind::NotConnected => with(format!("{place} is in a stale mount: its server is gone"))
            .remedy("unmount that one: fusermount3 -u and its mountpoint"),
        _ => with(format!("{place} cannot be used: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mount::kernel::MountRequest;
    use crate::mount::testing::{Watchdog, scratch_directory};
    use std::fs;

    fn text(result: Result<MountPoint, MountError>) -> String {
        let error = result.unwrap_err();
        assert_eq!(error.stage, Stage::MountPoint);
        error.to_string()
    }

    #[test]
    fn a_free_directory_is_named_without_symbolic_links() {
        let folder = scratch_directory();
        fs::create_dir(folder.path().join("real")).unwrap();
        std::os::unix::fs::symlink("real", folder.path().join("link")).unwrap();
        let real = folder.path().canonicalize().unwrap().join("real");
        assert_eq!(check(&folder.path().join("link/")).unwrap().path(), real);
        assert_eq!(check(&folder.path().join("real/../real")).unwrap().path(), real);
    }

    #[test]
    fn a_path_that_is_no_free_directory_is_refused_with_a_text_for_each_case() {
        let folder = scratch_directory();
        let file = folder.path().join("file");
        assert!(text(check(&file)).contains("does not exist\ncreate it: mkdir -p"));
        fs::write(&file, "").unwrap();
        assert!(text(check(&file)).ends_with("is not a directory"));
        assert!(text(check(&file.join("x"))).contains("is not a directory"));
        assert!(text(check(folder.path())).contains("is not empty\n"));
        assert!(text(check(Path::new("/proc"))).contains("is already a mountpoint, of proc (type proc)"));
    }

    #[test]
    fn a_dead_mount_of_ours_is_unmounted() {
        let folder = scratch_directory();
        let _watchdog = Watchdog::over(folder.path());
        let point = check(folder.path()).unwrap();
        for _ in 0..2 {
            // On top of one another, as two crashes leave them.
            drop(kernel::mount_device(&MountRequest::new(point.clone(), "cifs://nas/dead")).unwrap());
        }
        assert_eq!(fs::metadata(folder.path()).unwrap_err().kind(), io::ErrorKind::NotConnected);
        assert_eq!(check(folder.path()).unwrap(), point);
        assert_eq!(MountTable::read().unwrap().topmost(point.path()), None);
    }

    #[test]
    fn a_mount_that_does_not_answer_is_refused_in_time_and_not_unmounted() {
        let folder = scratch_directory();
        let _watchdog = Watchdog::over(folder.path());
        let point = check(folder.path()).unwrap();
        // The descriptor is not served, so every request waits.
        let mounted = kernel::mount(&MountRequest::new(point, "cifs://nas/hung")).unwrap();
        let refusal = text(check_within(folder.path(), Duration::from_millis(200)));
        assert!(refusal.contains("does not answer (type fuse.cifs)\nend its server"), "{refusal}");
        assert!(mounted.is_mounted());
        mounted.abort().unwrap();
    }
}
