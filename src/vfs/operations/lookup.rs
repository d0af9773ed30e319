//! Which inode a name means.
//!
//! The kernel keeps no negative dentries: it asks for an absent name each time, and [`known_entry`] answers if the name
//! is known to be absent.

use super::revalidate;
use crate::share::{Metadata, RemotePath, Share, ShareError};
use crate::vfs::errno::{Result, VfsError};
use crate::vfs::names::Found;
use crate::vfs::presentation::Attr;
use crate::vfs::{Vfs, name_encoding, refusals};
use std::ffi::OsStr;

/// Attempts before a lookup gives up when local changes keep overtaking it.
const ATTEMPTS: usize = 4;

/// How often a name that should be there is asked for again. While a file is replaced, its name means a file all the time;
/// but Samba looks at the name, opens it, and answers STATUS_OBJECT_NAME_NOT_FOUND if it has found two files.
const DOUBTS: usize = 2;

/// What `name` in the directory `parent` means, if that is known without asking the server. The inode has one more
/// lookup. To be called within the runtime.
///
/// # Errors
/// `ENOENT` if the name is known to be absent.
pub fn known_entry<S: Share>(vfs: &Vfs<S>, parent: u64, name: &OsStr) -> Option<Result<Attr>> {
    vfs.names.known_entry(parent, name)
}

/// Whether a name is another spelling of one that is there, as far as is known without asking the server. A rename to it
/// may only change the case, and needs the answer that the name is absent: if a rename's new name means a directory,
/// mv(1) moves into that directory, and the kernel does not send the rename at all if both names mean one inode. The
/// rename itself is decided by the server. To be called within the runtime.
pub fn is_other_spelling<S: Share>(vfs: &Vfs<S>, parent: u64, name: &OsStr) -> bool {
    name_encoding::encode(name).is_ok_and(|name| vfs.names.is_other_spelling(parent, &name))
}

/// What the name `shown` in the directory `parent` means, asked from the server: for the name alone, or by listing the
/// directory when several of its names are looked up. The inode has one more lookup.
///
/// # Errors
/// `ENOENT` if nothing has the name, or the server allows no such name; `ELOOP` if the name means a directory that
/// contains it; `ESTALE` if no name leads to `parent` any more, or local changes kept overtaking the lookup; those of
/// [`name_encoding::encode`]; otherwise what the share answered.
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
        let found = match ask(vfs, parent, &name, &path).await {
            Ok(found) => found,
            Err(error) if refusals::is_absent(&error) => {
                // The name may be there in the directory under its new path.
                match refusals::is_folder_absent(&error) {
                    true => vfs.names.doubt_name(parent),
                    false => vfs.names.not_found(parent, &name, asked),
                }
                return Err(VfsError { errno: libc::ENOENT, level: tracing::Level::DEBUG, ..error.into() });
            }
            Err(error) if refusals::is_denied(&error) && hides_absence(vfs, &path).await => {
                return Err(VfsError { errno: libc::ENOENT, level: tracing::Level::DEBUG, ..error.into() });
            }
            Err(error) => return Err(error.into()),
        };
        if let Some(twin) = vfs.names.doubtful_twin(parent, &name, &found.metadata)
            && let Err(error) = revalidate::refresh(vfs, twin).await
        {
            tracing::debug!(%error, "the server has found a file by an id that another file had");
        }
        if vfs.names.is_ancestor(parent, &found.metadata) {
            return Err(VfsError::rule(libc::ELOOP, "the server shows a folder below itself"));
        }
        if follow_rename(vfs, parent, &name, &found.metadata).await {
            continue;
        }
        if let Some(ino) = vfs.names.found(parent, &name, found.metadata, asked) {
            vfs.names.learn_owner(ino, &found);
            return vfs.names.attr(ino);
        }
    }
    Err(VfsError::stale())
}

/// Asks the server what a name means, up to [`DOUBTS`] times more if it denies a name that should be there.
async fn ask<S: Share>(
    vfs: &Vfs<S>,
    parent: u64,
    name: &[u16],
    path: &RemotePath,
) -> std::result::Result<Found, ShareError> {
    let mut doubts = 0;
    loop {
        let seemed_there = vfs.names.seems_there(parent, name);
        let occupant = vfs.names.occupant(parent, name).map(|(file, _)| file);
        let answer = vfs.names.ask(path, occupant.as_ref()).await;
        let is_denied =
            answer.as_ref().is_err_and(|error| refusals::is_absent(error) && !refusals::is_folder_absent(error));
        let is_doubtful = is_denied && seemed_there && vfs.names.seems_there(parent, name);
        if !is_doubtful || doubts == DOUBTS {
            return answer;
        }
        doubts += 1;
    }
}

/// Whether a server may answer that access is denied because nothing has this name. Samba has to list a directory to
/// know that a name is absent in every spelling, so in one that may be entered and not listed (a drop box) it denies the
/// access to an absent name. A present one can be looked at there: that needs no right to the file itself.
async fn hides_absence<S: Share>(vfs: &Vfs<S>, path: &RemotePath) -> bool {
    let Some(directory) = path.parent() else { return false };
    let rights = vfs.names.with_room(|| vfs.share.rights(&directory)).await;
    matches!(rights, Ok(Some(rights)) if rights.traverse && !rights.list)
}

/// The server reports a file under a name, and this mount knows the file under another name. If that name no longer
/// means the file, another client has renamed it: the inode moves to its new name, with everything that is open and
/// cached of it. Returns whether it has moved. A file with several links is not followed: [`Namespace::found`] gives its
/// inode one more name. If both names mean a file with one link, the server gives one id to two files, or follows a
/// symbolic link of its own: then the names are two inodes.
///
/// [`Namespace::found`]: crate::vfs::names::namespace::Namespace::found
async fn follow_rename<S: Share>(vfs: &Vfs<S>, parent: u64, name: &[u16], found: &Metadata) -> bool {
    let Some(old) = vfs.names.elsewhere(parent, name, found) else { return false };
    let asked = vfs.names.asking();
    let there = match vfs.names.with_room(|| vfs.share.stat(&old.path)).await {
        Ok(there) if there.identity() != found.identity() => Some(there),
        Err(error) if refusals::is_folder_absent(&error) => {
            vfs.names.doubt_directory_of(&old);
            return false;
        }
        Err(error) if refusals::is_absent(&error) => None,
        _ => return false,
    };
    vfs.names.follow(&old, (parent, name), there, asked)
}

/// The kernel returns `lookups` lookups of an inode (FUSE_FORGET).
pub fn forget<S: Share>(vfs: &Vfs<S>, ino: u64, lookups: u64) {
    vfs.names.forget(ino, lookups);
}
