//! Removing a file or directory by its path, for operations that remove or replace it.

use super::pending;
use crate::share::{Attributes, Change, FileIdentity, FileKind, LeaseKey, RemotePath, Share, ShareError, Target};
use crate::vfs::errno::Result;
use crate::vfs::{Vfs, refusals};

/// The number of entries above which a directory is not checked for entries that are all being deleted.
const MOST_PENDING: usize = 32;

/// Removes the file or directory at a path, which may be open under a lease of this client. If a close in progress may
/// be why the server refused, waits for it and tries once more. Waits for a bounded time until the name is free.
///
/// # Errors
/// `EBUSY` or `ENOTEMPTY` if a deleted entry of the directory is still open elsewhere after all attempts; otherwise
/// what the share answered.
pub(super) async fn remove_entry<S: Share>(
    vfs: &Vfs<S>,
    path: &RemotePath,
    kind: FileKind,
    lease: Option<LeaseKey>,
    known: Option<FileIdentity>,
) -> Result<()> {
    let remove = || remove_now(vfs, path, kind, lease, known);
    let removed = match remove().await {
        Err(error) if refusals::may_be_closing(&error) && vfs.handles.finish_closes().await => remove().await,
        result => result,
    };
    let is_gone = match removed {
        Err(error) if refusals::is_not_empty(&error) && holds_only_pending(vfs, path).await => {
            pending::once_free(remove, || holds_only_pending(vfs, path)).await?
        }
        result => result?,
    };
    if !is_gone {
        pending::until_gone(|| pending::is_pending(vfs, path)).await;
    }
    Ok(())
}

/// Removes the file or directory at a path. A file that other clients have open is renamed, so that its name is free at
/// once. If the read-only attribute forbids the removal, it is cleared first. Returns whether the name is free.
///
/// # Errors
/// What the share answered.
pub(super) async fn remove_now<S: Share>(
    vfs: &Vfs<S>,
    path: &RemotePath,
    kind: FileKind,
    lease: Option<LeaseKey>,
    known: Option<FileIdentity>,
) -> std::result::Result<bool, ShareError> {
    let aside = (kind == FileKind::File).then(|| vfs.names.aside());
    let remove = || vfs.share.remove(path, kind, lease, known, aside.as_ref());
    let refusal = match vfs.names.with_room(remove).await {
        Err(refusal) => refusal,
        removed => return removed,
    };
    let Some(restore) = make_writable(vfs, path, &refusal).await else { return Err(refusal) };
    let result = vfs.names.with_room(remove).await;
    if result.is_err() {
        set_again(vfs, path, &restore).await;
    }
    result
}

/// Whether every entry of a directory is being deleted, and disappears when other clients close it.
async fn holds_only_pending<S: Share>(vfs: &Vfs<S>, path: &RemotePath) -> bool {
    let Ok(mut listing) = vfs.names.with_room(|| vfs.share.list(path)).await else { return false };
    let Ok(entries) = vfs.share.next_entries(&mut listing).await else { return false };
    if entries.len() > MOST_PENDING {
        return false;
    }
    for entry in entries {
        let found = vfs.share.stat(&path.join(&entry.name)).await;
        if !found.is_err_and(|error| refusals::is_absent(&error)) {
            return false;
        }
    }
    true
}

/// Clears the read-only attribute of the file at a path, if it may be why the server refused. Returns the change that
/// sets it again; `None` if the file does not have the attribute, or it could not be cleared.
pub(super) async fn make_writable<S: Share>(vfs: &Vfs<S>, path: &RemotePath, refusal: &ShareError) -> Option<Change> {
    if !refusals::may_be_read_only(refusal) {
        return None;
    }
    let attributes = vfs.names.with_room(|| vfs.share.stat(path)).await.ok()?.attributes;
    if !attributes.has(Attributes::READONLY) {
        return None;
    }
    let change = |attributes| Change { attributes: Some(attributes), ..Change::default() };
    let writable = change(attributes.with_readonly(false));
    vfs.names.with_room(|| vfs.share.set(Target::Path(path), &writable)).await.ok()?;
    Some(change(attributes))
}

/// Sets the read-only attribute again.
pub(super) async fn set_again<S: Share>(vfs: &Vfs<S>, path: &RemotePath, change: &Change) {
    if let Err(error) = vfs.names.with_room(|| vfs.share.set(Target::Path(path), change)).await {
        tracing::warn!(%error, "the read-only attribute could not be set again: the file stays writable");
    }
}
