//! The directories of the sockets: one for each user.
//!
//! It is `cifs-fuse` in `/run` for root and in `$XDG_RUNTIME_DIR` (or `/run/user/UID`) for another user. A user without
//! such a directory, as in a container, has `/tmp/cifs-fuse-UID`.
//!
//! The invariant: a directory is opened once, without following a symbolic link, and used only if it belongs to its user
//! and nobody else can enter it. Everything after that goes through the descriptor, so exchanging the directory for
//! another one has no effect. Only the user whose directory it is removes anything from it: root does not.

use super::place;
use crate::mount::mountinfo::MountTable;
use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::sys::socket::sockopt::SendTimeout;
use nix::sys::socket::{self, AddressFamily, SockFlag, SockType, UnixAddr, setsockopt};
use nix::sys::stat::{Mode, fstat};
use nix::sys::time::{TimeVal, TimeValLike};
use nix::unistd::{UnlinkatFlags, geteuid, unlinkat};
use std::fs::{self, DirBuilder, DirEntry};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

const NAME: &str = "cifs-fuse";
/// The most sockets of one directory that are used: each costs a connection.
const MOST_SOCKETS: usize = 256;
/// The most files of one directory that are looked at.
const MOST_FILES: usize = 4096;
/// The time that a socket whose queue is full has to accept a connection before it counts as alive.
const LOOK_LIMIT: Duration = Duration::from_millis(10);

/// A private directory of sockets, open.
#[derive(Debug)]
pub(super) struct Directory {
    descriptor: OwnedFd,
    path: PathBuf,
    owner: u32,
}

impl Directory {
    /// The directory of this user, which is made if it is missing.
    ///
    /// # Errors
    /// It cannot be made, or the one that exists belongs to another user or can be entered by others.
    pub(super) fn make() -> io::Result<Directory> {
        let path = of_this_user();
        match DirBuilder::new().mode(0o700).create(&path) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
            _ => Directory::open(&path, geteuid().as_raw()),
        }
    }

    /// Opens a directory that only `owner` can enter. A symbolic link is refused.
    ///
    /// # Errors
    /// It is missing, or not such a directory.
    pub(super) fn open(path: &Path, owner: u32) -> io::Result<Directory> {
        let refused = |what: &str| Err(io::Error::other(format!("{} {what}", path.display())));
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let descriptor = match open(path, flags, Mode::empty()) {
            Err(Errno::ENOTDIR | Errno::ELOOP) => return refused("is not a directory"),
            result => result?,
        };
        let found = fstat(&descriptor)?;
        match found {
            _ if found.st_uid != owner => refused("belongs to another user"),
            _ if found.st_mode & 0o077 != 0 => refused("can be entered by other users; its mode must be 0700"),
            _ => Ok(Directory { descriptor, path: path.to_owned(), owner }),
        }
    }

    /// The user whose directory it is.
    pub(super) fn owner(&self) -> u32 {
        self.owner
    }

    /// The path of a file in it, for people.
    pub(super) fn shown(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// The path of a file in it that leads to this directory, whatever is at its own path by now. It is short enough for
    /// the address of a socket.
    pub(super) fn through(&self, name: &str) -> PathBuf {
        Path::new("/proc/self/fd").join(self.descriptor.as_raw_fd().to_string()).join(name)
    }

    /// The names of the sockets, `PID.sock`, in their order; at most 256.
    pub(super) fn sockets(&self) -> Vec<String> {
        let entries = fs::read_dir(self.through("")).into_iter().flatten().flatten().take(MOST_FILES);
        let is_socket = |entry: &DirEntry| entry.file_type().is_ok_and(|kind| kind.is_socket());
        let is_named = |name: &String| name.strip_suffix(".sock").is_some_and(|number| number.parse::<u32>().is_ok());
        let names = entries.filter(is_socket).filter_map(|entry| entry.file_name().into_string().ok());
        let mut names: Vec<_> = names.filter(is_named).take(MOST_SOCKETS).collect();
        names.sort();
        names
    }

    /// Removes the sockets whose processes were killed. A bounded number is looked at; the others are left to the next
    /// mount.
    pub(super) fn remove_dead(&self) {
        for name in self.sockets().iter().filter(|name| is_dead(&self.through(name))) {
            self.remove(name);
        }
    }

    /// Removes a socket, in a directory of this user only.
    pub(super) fn remove(&self, name: &str) {
        if self.owner != geteuid().as_raw() {
            return;
        }
        let socket = self.shown(name);
        match unlinkat(&self.descriptor, name, UnlinkatFlags::NoRemoveDir) {
            Ok(()) => tracing::debug!(socket = %socket.display(), "the socket of a killed process is removed"),
            Err(error) => tracing::debug!(%error, socket = %socket.display(), "a dead socket cannot be removed"),
        }
    }
}

/// The directories to look for the mounts of a user in, as far as they exist.
pub(super) fn of(user: u32, table: &MountTable) -> Vec<Directory> {
    let is_own = user == geteuid().as_raw();
    let mut paths = match user {
        0 => vec![Path::new("/run").join(NAME)],
        _ => {
            vec![Path::new("/run/user").join(user.to_string()).join(NAME), PathBuf::from(format!("/tmp/{NAME}-{user}"))]
        }
    };
    if is_own && !paths.contains(&of_this_user()) {
        paths.insert(0, of_this_user());
    }
    // Another user's own file system would decide when this process goes on.
    let is_safe = |path: &PathBuf| is_own || !is_served_by(user, path, table);
    paths.iter().filter(|path| is_safe(path)).filter_map(|path| Directory::open(path, user).ok()).collect()
}

/// Whether a path is in a FUSE file system of this user.
fn is_served_by(user: u32, path: &Path, table: &MountTable) -> bool {
    let mount = path.ancestors().find_map(|path| table.topmost(path));
    mount.is_some_and(|mount| mount.fs_type.starts_with("fuse") && place::owner(mount) == Some(user))
}

/// The users whose mounts this user may ask: for root all that may have a directory.
pub(super) fn users() -> Vec<u32> {
    let mut users = vec![geteuid().as_raw()];
    if geteuid().is_root() {
        users.extend(owners("/run/user", ""));
        users.extend(owners("/tmp", "cifs-fuse-"));
        users.sort_unstable();
        users.dedup();
    }
    users
}

/// The users who own a directory here that is named after them, behind `prefix`.
fn owners(directory: &str, prefix: &str) -> Vec<u32> {
    let owner = |entry: DirEntry| {
        let user = entry.file_name().to_str()?.strip_prefix(prefix)?.parse().ok()?;
        (entry.metadata().ok()?.uid() == user).then_some(user)
    };
    fs::read_dir(directory).into_iter().flatten().flatten().filter_map(owner).collect()
}

/// Whether no process listens on the socket at this path; the kernel says the same of a file that is no socket.
pub(in crate::mount) fn is_dead(path: &Path) -> bool {
    connect(path, LOOK_LIMIT).is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused)
}

/// Connects to a socket, within `limit`: the queue of a stopped process can be full.
fn connect(path: &Path, limit: Duration) -> io::Result<UnixStream> {
    let socket = socket::socket(AddressFamily::Unix, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
    let micros = i64::try_from(limit.as_micros()).unwrap_or(i64::MAX);
    setsockopt(&socket, SendTimeout, &TimeVal::microseconds(micros))?;
    socket::connect(socket.as_raw_fd(), &UnixAddr::new(path)?)?;
    Ok(socket.into())
}

fn of_this_user() -> PathBuf {
    let user = geteuid();
    if user.is_root() {
        return Path::new("/run").join(NAME);
    }
    let own =
        |path: &PathBuf| path.is_absolute() && fs::metadata(path).is_ok_and(|metadata| metadata.uid() == user.as_raw());
    let runtime = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
    match runtime.filter(own).or_else(|| Some(PathBuf::from(format!("/run/user/{user}"))).filter(own)) {
        Some(runtime) => runtime.join(NAME),
        None => PathBuf::from(format!("/tmp/{NAME}-{user}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt, symlink};
    use std::os::unix::net::UnixListener;

    /// A private directory, open, in a temporary folder.
    fn private() -> (tempfile::TempDir, PathBuf, Directory) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("d");
        DirBuilder::new().mode(0o700).create(&path).unwrap();
        let directory = Directory::open(&path, geteuid().as_raw()).unwrap();
        (folder, path, directory)
    }

    #[test]
    fn only_the_sockets_of_dead_processes_are_removed() {
        let (_folder, path, directory) = private();
        let path = |name: &str| path.join(name);
        let _live = UnixListener::bind(path("1.sock")).unwrap();
        drop(UnixListener::bind(path("2.sock")).unwrap());
        drop(UnixListener::bind(path("other")).unwrap());
        fs::write(path("3.sock"), "no socket").unwrap();
        assert!(is_dead(&path("2.sock")) && !is_dead(&path("1.sock")) && !is_dead(&path("missing")));
        assert_eq!(directory.sockets(), ["1.sock", "2.sock"]);
        directory.remove_dead();
        assert!(path("1.sock").exists() && !path("2.sock").exists());
        assert!(path("3.sock").exists() && path("other").exists());
    }

    /// A user exchanges the directory after it was checked.
    #[test]
    fn a_directory_that_is_exchanged_for_a_link_leads_nowhere_else() {
        let (folder, path, directory) = private();
        let elsewhere = folder.path().join("elsewhere");
        fs::create_dir(&elsewhere).unwrap();
        drop(UnixListener::bind(elsewhere.join("1.sock")).unwrap());
        fs::rename(&path, folder.path().join("old")).unwrap();
        symlink(&elsewhere, &path).unwrap();
        assert_eq!(directory.sockets(), [""; 0]);
        directory.remove("1.sock");
        directory.remove_dead();
        assert!(elsewhere.join("1.sock").exists());
    }

    /// Only root can give a directory to another user; anyone else skips this.
    #[test]
    fn root_removes_nothing_that_is_another_users() {
        let (_folder, path, _) = private();
        drop(UnixListener::bind(path.join("1.sock")).unwrap());
        if std::os::unix::fs::chown(&path, Some(65_534), None).is_ok() {
            let directory = Directory::open(&path, 65_534).unwrap();
            directory.remove_dead();
            assert_eq!(directory.sockets(), ["1.sock"]);
        }
    }

    #[test]
    fn a_bounded_number_of_sockets_is_used() {
        let (_folder, path, directory) = private();
        for number in 0..MOST_SOCKETS + 9 {
            drop(UnixListener::bind(path.join(format!("{number}.sock"))).unwrap());
        }
        assert_eq!(directory.sockets().len(), MOST_SOCKETS);
    }

    #[test]
    fn only_a_private_directory_of_the_user_is_used() {
        let folder = tempfile::tempdir().unwrap();
        let (path, link) = (folder.path().join("d"), folder.path().join("l"));
        let own = geteuid().as_raw();
        assert!(Directory::open(&path, own).is_err(), "it is missing");
        DirBuilder::new().mode(0o700).create(&path).unwrap();
        assert!(Directory::open(&path, own).is_ok() && Directory::open(&path, own + 1).is_err());
        symlink(&path, &link).unwrap();
        assert!(Directory::open(&link, own).unwrap_err().to_string().contains("is not a directory"));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o710)).unwrap();
        assert!(Directory::open(&path, own).unwrap_err().to_string().contains("mode must be 0700"));
    }
}
