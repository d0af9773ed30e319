//! Which inode a name means.
//!
//! The kernel keeps no negative dentries: it asks for an absent name each time, and [`known_entry`] answers if the name
//! is known to be absent.

use crate::share::{Metadata, Share};
use crate::vfs::errno::{Result, VfsError};
use crate::vfs::presentation::Attr;
use crate::vfs::{Vfs, name_encoding, refusals};
use std::ffi::OsStr;

/// Attempts before a lookup gives up when local changes keep overtaking it.
const ATTEMPTS: usize = 4;

/// What `name` in the directory `parent` means, if that is known without asking the server. The inode has one more
/// lookup. To be called within the runtime.
///
/// # Errors
/// `ENOENT` if the name is known to be absent.
pub fn known_entry<S: Share>(vfs: &Vfs<S>, parent: u64, name: &OsStr) -> Option<Result<Attr>> {
    vfs.names.known_entry(parent, name)
}

/// What the name `shown` in the directory `parent` means, asked from the server: for the name alone, or by listing the
/// directory when several of its names are looked up. The inode has one more lookup.
///
/// # Errors
/// `ENOENT` if nothing has the name, or the server allows no such name; `ESTALE` if no name leads to `parent` any more,
/// or local changes kept overtaking the lookup; those of [`name_encoding::encode`]; otherwise what the share answered.
pub async fn lookup<S: Share>(vfs: &Vfs<S>, parent: u64, shown: &OsStr) -> Result<Attr> {
    let name = name_encoding::encode(shown)?;
    if vfs.names.list_for_names(parent, &name).await
        && let Some(known) = vfs.names.known_entry(parent, shown)
    {
        return known;
    }
    if let Some((file, _)) = vfs.names.occupant(parent, &name) {
        vfs.names.close_doubtful(file.ino).await;
    }
    for _ in 0..ATTEMPTS {
        let (path, asked) = vfs.names.before_asking(parent, &name)?;
        let metadata = match vfs.names.with_room(|| vfs.share.stat(&path)).await {
            Ok(metadata) => metadata,
            Err(error) if refusals::is_absent(&error) => {
                vfs.names.not_found(parent, &name, asked);
                return Err(VfsError { errno: libc::ENOENT, level: tracing::Level::DEBUG, ..error.into() });
            }
            Err(error) => return Err(error.into()),
        };
        if follow_rename(vfs, parent, &name, &metadata).await {
            continue;
        }
        if let Some(ino) = vfs.names.found(parent, &name, metadata, asked) {
            return vfs.names.attr(ino);
        }
    }
    Err(VfsError::stale())
}

/// The server reports a file under a name, and this mount knows the file under another name. If that name no longer
/// means the file, another client has renamed it: the inode moves to its new name, with everything that is open and
/// cached of it. Returns whether it has moved. If both names mean the file, it has two links, or the server gives one
/// id to two files. The metadata does not show which, so the names are two inodes.
async fn follow_rename<S: Share>(vfs: &Vfs<S>, parent: u64, name: &[u16], found: &Metadata) -> bool {
    let Some(old) = vfs.names.elsewhere(parent, name, found) else { return false };
    let asked = vfs.names.asking();
    let there = match vfs.names.with_room(|| vfs.share.stat(&old.path)).await {
        Ok(there) if there.identity() != found.identity() => Some(there),
        Err(error) if refusals::is_absent(&error) => None,
        _ => return false,
    };
    vfs.names.follow(&old, (parent, name), there, asked)
}

/// The kernel returns `lookups` lookups of an inode (FUSE_FORGET).
pub fn forget<S: Share>(vfs: &Vfs<S>, ino: u64, lookups: u64) {
    vfs.names.forget(ino, lookups);
}
