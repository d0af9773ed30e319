//! Files that are removed while they are open here: they continue under a hidden name until their last close.

use super::removing;
use crate::share::{DirEntry, FileKind, RemotePath, Share};
use crate::vfs::errno::Result;
use crate::vfs::names::Entry;
use crate::vfs::names::hidden;
use crate::vfs::{Vfs, refusals};

/// The number of hidden names that are tried before a file is deleted without being hidden.
const ATTEMPTS: usize = 4;

/// Turns a name of an open file, `from`, into a hidden name in the directory `parent`; the file's last close removes it.
/// Returns whether the server has renamed the file.
///
/// # Errors
/// `ENOENT` if the file is gone; `EROFS` if the share is write-protected; `ESTALE` if no name leads to `parent` any
/// more.
pub(super) async fn hide<S: Share>(vfs: &Vfs<S>, from: Entry<'_>, parent: u64) -> Result<bool> {
    let (path, directory) = (vfs.names.path(from.0)?.join(from.1), vfs.names.path(parent)?);
    let known = vfs.names.occupant(from.0, from.1).map(|(file, _)| file.lock().metadata().identity());
    for _ in 0..ATTEMPTS {
        let name = vfs.names.hidden_name();
        let hidden = directory.join(&name);
        match vfs.names.with_room(|| vfs.share.rename(&path, &hidden, false, known)).await {
            Ok(()) => {
                if vfs.names.hidden(from, (parent, &name)) {
                    remove_hidden(vfs, &hidden).await;
                }
                return Ok(true);
            }
            Err(error) if refusals::is_collision(&error) => continue,
            Err(error) if refusals::is_absent(&error) => return Err(error.into()),
            // On a write-protected share, Samba would accept a delete on close and not carry it out.
            Err(error) if refusals::is_write_protected(&error) => return Err(error.into()),
            Err(error) => {
                tracing::debug!(%error, "an open file cannot be given a hidden name");
                return Ok(false);
            }
        }
    }
    Ok(false)
}

/// Removes a hidden file whose last handle is closed. This is part of that close, so it waits for no other close.
pub(super) async fn remove_hidden<S: Share>(vfs: &Vfs<S>, path: &RemotePath) {
    match removing::remove_now(vfs, path, FileKind::File, None, None).await {
        // The file was moved to another hidden name when its directory was removed, or another client has removed it.
        Err(error) if refusals::is_absent(&error) => tracing::debug!(%error, "a hidden file was removed already"),
        Err(error) => {
            tracing::warn!(%error, "a file that was deleted while it was open stays on the server under a hidden name");
        }
        Ok(_) => {}
    }
}

/// Moves hidden files out of a directory that is to be removed, if it holds nothing else: those of this mount to the
/// directory above, until they are closed. Those of other clients are deleted, and stay in the mount's root until they
/// are closed. Returns whether the directory has no more hidden files.
pub(super) async fn move_out<S: Share>(vfs: &Vfs<S>, ino: u64, parent: u64, path: &RemotePath) -> bool {
    let Ok(mut listing) = vfs.names.with_room(|| vfs.share.list(path)).await else { return false };
    let Ok(entries) = vfs.share.next_entries(&mut listing).await else { return false };
    let is_hidden = |entry: &DirEntry| entry.metadata.kind() == FileKind::File && hidden::is_hidden(&entry.name);
    if entries.is_empty() || !entries.iter().all(is_hidden) {
        return false;
    }
    drop(listing);
    let own = vfs.names.hidden_in(ino);
    for entry in entries {
        let hidden = path.join(&entry.name);
        let moved = match own.contains(&entry.name) {
            true => hide(vfs, (ino, &entry.name), parent).await.unwrap_or(false),
            // A file that no client has open is shown, and a program has to remove it by its name.
            false if vfs.share.is_unused(&hidden).await.unwrap_or(true) => false,
            false => removing::remove_now(vfs, &hidden, FileKind::File, None, None).await.is_ok(),
        };
        if !moved {
            return false;
        }
    }
    true
}
