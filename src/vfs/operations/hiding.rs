//! Files that are removed while they are open here go on under a hidden name until their last close.

use super::removing;
use crate::share::{DirEntry, FileKind, RemotePath, Share};
use crate::vfs::errno::Result;
use crate::vfs::names::hidden;
use crate::vfs::{Vfs, refusals};

/// How many hidden names are tried before a file is deleted the plain way.
const ATTEMPTS: usize = 4;

/// Gives an open file a hidden name in a directory, under which its last close removes it. Says whether the server did it.
///
/// # Errors
/// `ENOENT` if it is not there any more.
pub(super) async fn hide<S: Share>(vfs: &Vfs<S>, ino: u64, parent: u64, path: &RemotePath) -> Result<bool> {
    let directory = vfs.names.path(parent)?;
    let known = vfs.names.identity(ino);
    for _ in 0..ATTEMPTS {
        let name = vfs.names.hidden_name();
        let hidden = directory.join(&name);
        match vfs.names.with_room(|| vfs.share.rename(path, &hidden, false, known)).await {
            Ok(()) => {
                if vfs.names.hidden(ino, (parent, &name)) {
                    remove_hidden(vfs, &hidden).await;
                }
                return Ok(true);
            }
            Err(error) if refusals::is_collision(&error) => continue,
            Err(error) if refusals::is_absent(&error) => return Err(error.into()),
            // Samba would promise to delete it when it is closed, and not do it.
            Err(error) if refusals::is_write_protected(&error) => return Err(error.into()),
            Err(error) => {
                tracing::debug!(%error, "an open file cannot be given a hidden name");
                return Ok(false);
            }
        }
    }
    Ok(false)
}

/// Removes a hidden file whose last handle is closed. This is part of that close, so it waits for
/// no other.
pub(super) async fn remove_hidden<S: Share>(vfs: &Vfs<S>, path: &RemotePath) {
    match removing::remove_now(vfs, path, FileKind::File, None, None).await {
        // With its directory it got another hidden name, or another client has removed it.
        Err(error) if refusals::is_absent(&error) => tracing::debug!(%error, "a hidden file has gone already"),
        Err(error) => {
            tracing::warn!(%error, "a file that was deleted while it was open stays on the server under a hidden name");
        }
        Ok(_) => {}
    }
}

/// Moves hidden files out of a directory that is to be removed, if there is nothing else in it: those of this mount to the
/// directory above, those of other clients away until they are closed. Says whether it did.
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
        let moved = match own.iter().find(|(_, name)| *name == entry.name) {
            Some((file, _)) => hide(vfs, *file, parent, &hidden).await.unwrap_or(false),
            // A file that nobody has open is shown, and removed by its name if it is to go.
            None if vfs.share.is_unused(&hidden).await.unwrap_or(true) => false,
            None => removing::remove_now(vfs, &hidden, FileKind::File, None, None).await.is_ok(),
        };
        if !moved {
            return false;
        }
    }
    true
}
