//! The state of the directory to mount on, and what is wrong with it.
//!
//! The actors: the table of mounts, which is asked first because it never hangs, and [`probe`],
//! which touches a file system under a deadline. The invariant: [`check`] always returns, and what
//! it returns is an empty directory that nothing is mounted on.
//!
//! A mount whose server has died ("Transport endpoint is not connected") is cleaned away if it is
//! one of ours, so that a crash does not need a person to clean up after it. An automount point
//! (autofs) counts as free: it is there to be mounted on, and looking into it would trigger it.

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

/// How long a file system may take to say what is in a directory.
const LIMIT: Duration = Duration::from_secs(5);

/// How many dead mounts on top of one another are cleaned away.
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
    /// It answers, be it with a refusal.
    Alive,
    /// Its server is gone.
    Dead,
    /// Nothing came in time.
    Silent,
}

/// Asks the file system at `path` for its statistics, which no cache answers.
pub fn probe(path: &Path, limit: Duration) -> Probe {
    let path = path.to_owned();
    match within(limit, move || statvfs(&path)) {
        Ok(Err(Errno::ENOTCONN | Errno::ECONNABORTED)) => Probe::Dead,
        Ok(_) => Probe::Alive,
        Err(TimedOut) => Probe::Silent,
    }
}

/// Says whether `path` can be mounted on. Takes a few seconds at most.
///
/// # Errors
///
/// With stage [`Stage::MountPoint`]: missing, not a directory, not readable, not empty, already a
/// mountpoint, dead and not ours, or silent; each with its own text.
pub fn check(path: &Path) -> Result<MountPoint, MountError> {
    check_within(path, LIMIT)
}

fn check_within(path: &Path, limit: Duration) -> Result<MountPoint, MountError> {
    let named = std::path::absolute(path).map_err(|error| refused(path, error))?;
    // As it was named first, since resolving the name of a hung mount may hang too.
    clear(&named, limit)?;
    let resolved = bounded(path, limit, move || named.canonicalize())?;
    if clear(&resolved, limit)? == Ground::Bare {
        let listed = resolved.clone();
        let first = bounded(path, limit, move || std::fs::read_dir(&listed)?.next().transpose())?;
        if first.is_some() {
            return Err(MountError::new(Stage::MountPoint, format!("{} is not empty", path.display()))
                .remedy("mount on an empty directory: what is in this one would be hidden"));
        }
    }
    Ok(MountPoint(resolved))
}

/// What is under the mount to be.
#[derive(PartialEq, Eq)]
enum Ground {
    /// A plain directory.
    Bare,
    /// An automount point.
    Automount,
}

/// Looks at what is mounted at `path`, and cleans dead mounts of ours away.
fn clear(path: &Path, limit: Duration) -> Result<Ground, MountError> {
    for _ in 0..DEAD_MOUNTS {
        let table = MountTable::read()
            .map_err(|error| MountError::new(Stage::System, format!("/proc/self/mountinfo cannot be read: {error}")))?;
        let Some(entry) = table.topmost(path) else { return Ok(Ground::Bare) };
        if entry.fs_type == "autofs" {
            return Ok(Ground::Automount);
        }
        clean_away(entry, limit)?;
    }
    Err(MountError::new(Stage::MountPoint, format!("{} keeps being mounted on", path.display())))
}

/// Unmounts a dead mount of ours; anything else that is mounted is an error.
fn clean_away(entry: &MountEntry, limit: Duration) -> Result<(), MountError> {
    let place = entry.mountpoint.display();
    let error = |what: String| Err(MountError::new(Stage::MountPoint, what));
    // Only FUSE has dead mounts, and asking another file system could only take time.
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

/// Whether a mount is of this program, and of this user or one that root may clean up after.
pub(super) fn is_ours(entry: &MountEntry) -> bool {
    let owner = format!("user_id={}", getuid());
    entry.fs_type == FS_TYPE && (getuid().is_root() || entry.super_options.split(',').any(|option| option == owner))
}

/// Runs one look at the directory under the deadline.
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
        io::ErrorKind::NotFound => {
            with(format!("{place} does not exist")).remedy(format!("create it: mkdir -p {place}"))
        }
        io::ErrorKind::NotADirectory => with(format!("{place} is not a directory")),
        io::ErrorKind::PermissionDenied => {
            with(format!("{place} may not be read by this user")).remedy("mount on a directory that belongs to you")
        }
        io::ErrorKind::NotConnected => with(format!("{place} lies in a stale mount: its server is gone"))
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
    fn what_is_no_free_directory_is_refused_each_with_its_own_text() {
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
    fn a_dead_mount_of_ours_is_cleaned_away() {
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
    fn a_mount_that_does_not_answer_is_refused_in_time_and_left_alone() {
        let folder = scratch_directory();
        let _watchdog = Watchdog::over(folder.path());
        let point = check(folder.path()).unwrap();
        // Nobody serves the descriptor, so every request waits.
        let mounted = kernel::mount(&MountRequest::new(point, "cifs://nas/hung")).unwrap();
        let refusal = text(check_within(folder.path(), Duration::from_millis(200)));
        assert!(refusal.contains("does not answer (type fuse.cifs)\nend its server"), "{refusal}");
        assert!(mounted.is_mounted());
        mounted.abort().unwrap();
    }
}
