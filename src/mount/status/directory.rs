//! The directory of the sockets: one for each user.
//!
//! It is `cifs-fuse` in `/run` for root and in `$XDG_RUNTIME_DIR` (or `/run/user/UID`) for another user. A user without
//! such a directory, as in a container, has `/tmp/cifs-fuse-UID`. The invariant: a directory is used only if it belongs
//! to the user and nobody else can enter it, so every socket in it was made by a process of that user.

use nix::unistd::geteuid;
use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

const NAME: &str = "cifs-fuse";

/// The directory of this user, which is made if it is missing.
///
/// # Errors
/// It cannot be made, or the one that exists belongs to another user or can be entered by others.
pub(super) fn make() -> io::Result<PathBuf> {
    let path = of_this_user();
    match DirBuilder::new().mode(0o700).create(&path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => check(&path, geteuid().as_raw()).map(|()| path),
    }
}

/// The directories to look for mounts in: that of this user, and for root those of all users.
pub(super) fn all() -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut add = |path: PathBuf, user| {
        if check(&path, user).is_ok() && !found.contains(&path) {
            found.push(path);
        }
    };
    add(of_this_user(), geteuid().as_raw());
    if geteuid().is_root() {
        for name in names("/run/user") {
            if let Ok(user) = name.parse() {
                add(Path::new("/run/user").join(&name).join(NAME), user);
            }
        }
        for name in names("/tmp") {
            if let Some(user) = name.strip_prefix("cifs-fuse-").and_then(|user| user.parse().ok()) {
                add(Path::new("/tmp").join(&name), user);
            }
        }
    }
    found
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

/// Checks that only `user` can enter the directory. A symbolic link is refused.
fn check(path: &Path, user: u32) -> io::Result<()> {
    let metadata = fs::symlink_metadata(path)?;
    let refused = |what: &str| Err(io::Error::other(format!("{} {what}", path.display())));
    match metadata {
        _ if !metadata.is_dir() => refused("is not a directory"),
        _ if metadata.uid() != user => refused("belongs to another user"),
        _ if metadata.mode() & 0o077 != 0 => refused("can be entered by other users; its mode must be 0700"),
        _ => Ok(()),
    }
}

fn names(directory: &str) -> Vec<String> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().into_string().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt, symlink};

    #[test]
    fn only_a_private_directory_of_the_user_is_used() {
        let folder = tempfile::tempdir().unwrap();
        let (path, link) = (folder.path().join("d"), folder.path().join("l"));
        let own = geteuid().as_raw();
        assert!(check(&path, own).is_err(), "it is missing");
        DirBuilder::new().mode(0o700).create(&path).unwrap();
        assert!(check(&path, own).is_ok() && check(&path, own + 1).is_err());
        symlink(&path, &link).unwrap();
        assert!(check(&link, own).is_err());
        fs::set_permissions(&path, fs::Permissions::from_mode(0o710)).unwrap();
        assert!(check(&path, own).unwrap_err().to_string().contains("mode must be 0700"));
    }
}
