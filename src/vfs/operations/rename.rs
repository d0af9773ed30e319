//! Renaming, by the rules of rename(2) on a server that has other rules.
//!
//! A server replaces files and never directories, and refuses to replace a file that is open or read-only. So the plain
//! rename is tried first, which is the usual case and atomic. Only when the server refuses is the target examined.

use super::{moving, pending, removing};
use crate::share::{Attributes, FileIdentity, FileKind, RemotePath, Share, ShareError};
use crate::vfs::errno::{Result, VfsError};
use crate::vfs::file::driver::FileOf;
use crate::vfs::names::namespace::Echo;
use crate::vfs::{Vfs, name_encoding, refusals};
use std::ffi::OsStr;

/// `RENAME_NOREPLACE` of renameat2(2).
const NOREPLACE: u32 = libc::RENAME_NOREPLACE;

/// Attempts of a rename over a file that programs here keep opening.
const ATTEMPTS: usize = 3;

/// One end of a rename: its directory, name and path, and the inode and kind that the name is known to mean.
struct End {
    parent: u64,
    name: Vec<u16>,
    path: RemotePath,
    ino: Option<u64>,
    kind: Option<FileKind>,
}

/// Renames a file or directory. A file replaces a file, a directory an empty directory.
///
/// # Errors
/// `EINVAL` for flags other than `RENAME_NOREPLACE`, and for a directory into itself; `EEXIST` with `RENAME_NOREPLACE`;
/// `EISDIR`, `ENOTDIR`, `ENOTEMPTY`, `ENOENT`, `EROFS`; `EBUSY` if another client keeps a deleted target open; `ESTALE`
/// if no name leads to `parent` or `new_parent` any more; those of [`name_encoding::encode`]; otherwise what the share
/// answered.
pub async fn rename<S: Share>(
    vfs: &Vfs<S>,
    parent: u64,
    name: &OsStr,
    new_parent: u64,
    new_name: &OsStr,
    flags: u32,
) -> Result<()> {
    if flags & !NOREPLACE != 0 {
        return Err(VfsError::rule(libc::EINVAL, "RENAME_NOREPLACE is the only flag that is supported"));
    }
    vfs.terms.check_writable()?;
    let (from, to) = (end(vfs, parent, name)?, end(vfs, new_parent, new_name)?);
    vfs.terms.check_changeable(&from.path)?;
    vfs.terms.check_changeable(&to.path)?;
    let replace = flags & NOREPLACE == 0;
    if from.path == to.path {
        return if replace { Ok(()) } else { Err(exists()) };
    }
    if from.ino.is_some_and(|ino| vfs.names.is_within_any_spelling(new_parent, ino)) {
        return Err(VfsError::rule(libc::EINVAL, "a directory cannot be moved into itself"));
    }
    prepare(vfs, &from, &to).await;
    vfs.names.changing((from.parent, &from.name), Echo::Removed);
    vfs.names.changing((to.parent, &to.name), Echo::Added);
    if is_case_variant(&from, &to) {
        // To a server that ignores case both names mean the same file, and nothing is replaced.
        match move_directory(vfs, &from, &to).await {
            Err(error) if refusals::is_collision(&error) && replace => {}
            result => return renamed(vfs, &from, &to, result),
        }
    }
    let kind = match from.kind {
        Some(kind) => kind,
        None => match vfs.names.with_room(|| vfs.share.stat(&from.path)).await {
            Ok(found) => found.kind(),
            refused => return renamed(vfs, &from, &to, refused.map(|_| ())),
        },
    };
    let result = match kind {
        FileKind::Directory => rename_directory(vfs, &from, &to, replace).await,
        _ => rename_file(vfs, &from, &to, replace).await,
    };
    renamed(vfs, &from, &to, result)
}

/// Drains dirty data, and closes the opens and watches, that would obstruct the rename at the server.
async fn prepare<S: Share>(vfs: &Vfs<S>, from: &End, to: &End) {
    // Dirty data is drained while the old name still finds the file, in case the session is lost.
    if let Some(ino) = from.ino {
        vfs.names.drain(ino).await;
        // The watches below a directory end; then its kept opens below it, or those of a file itself, are closed.
        if from.kind == Some(FileKind::Directory) {
            vfs.names.end_watches(ino).await;
        }
        vfs.names.close_kept_below(ino).await;
    }
    if let Some(ino) = to.ino {
        if to.kind == Some(FileKind::Directory) {
            vfs.names.end_watches(ino).await;
        }
        vfs.names.close_kept(ino).await;
    }
}

async fn rename_file<S: Share>(vfs: &Vfs<S>, from: &End, to: &End, replace: bool) -> Result<()> {
    let refusal = match rename_on_share(vfs, from, to, replace).await {
        Err(error) if refusals::refuses_target(&error) => error,
        result => return Ok(result?),
    };
    let target = match vfs.names.with_room(|| vfs.share.stat(&to.path)).await {
        Ok(target) => target,
        Err(error) if refusals::is_pending(&error) => return rename_once_free(vfs, from, to, replace).await,
        Err(_) => return Err(refusal.into()),
    };
    if !replace {
        return Err(refusal.into());
    }
    if target.kind() == FileKind::Directory {
        return Err(VfsError::rule(libc::EISDIR, "a file cannot replace a directory"));
    }
    if target.stored_kind() == FileKind::Directory {
        // A link to a directory, which the server replaces as little as a directory.
        return replace_directory(vfs, from, to).await;
    }
    if target.attributes.has(Attributes::READONLY)
        && let Some(restore) = removing::make_writable(vfs, &to.path, &refusal).await
    {
        let result = replace_open(vfs, from, to, refusal, true).await;
        if result.is_err() {
            removing::set_again(vfs, &to.path, &restore).await;
        }
        return result;
    }
    replace_open(vfs, from, to, refusal, false).await
}

/// Replaces a file that may be open here, or that programs here keep opening. Its handles continue on a file without a
/// name. `refusal` is why the plain rename failed; `again` says that the reason may be gone, so that the plain
/// rename is worth another attempt.
async fn replace_open<S: Share>(
    vfs: &Vfs<S>,
    from: &End,
    to: &End,
    mut refusal: ShareError,
    again: bool,
) -> Result<()> {
    for _ in 0..ATTEMPTS {
        let target = vfs.names.occupant(to.parent, &to.name).map(|(file, _)| file);
        let is_open = match &target {
            Some(file) => vfs.handles.stays_open(file).await,
            None => false,
        };
        let result = match target.filter(|_| is_open) {
            Some(file) => replace_on_share(vfs, from, to, &file).await,
            // It was open when the server refused, and is closed now.
            None if again || refusals::may_be_closing(&refusal) => rename_on_share(vfs, from, to, true).await,
            None => return Err(refusal.into()),
        };
        match result {
            Err(error) if refusals::may_be_closing(&error) => refusal = error,
            result => return Ok(result?),
        }
    }
    match vfs.names.occupant(to.parent, &to.name) {
        Some((file, _)) => Ok(replace_on_share(vfs, from, to, &file).await?),
        None => Err(refusal.into()),
    }
}

/// Replaces a file that is open here.
async fn replace_on_share<S: Share>(
    vfs: &Vfs<S>,
    from: &End,
    to: &End,
    target: &FileOf<S>,
) -> std::result::Result<(), ShareError> {
    // An open that was lost with its session is made again by this request, as long as the file has a name.
    let open = target.lock().live_open();
    if let Some(open) = open
        && let Err(error) = vfs.share.metadata(&open).await
    {
        tracing::debug!(%error, "a file that is about to be replaced is not open any more; the rename continues");
    }
    let aside = vfs.names.aside();
    vfs.names.with_room(|| vfs.share.replace(&from.path, &to.path, known(vfs, from), &aside)).await
}

async fn rename_directory<S: Share>(vfs: &Vfs<S>, from: &End, to: &End, replace: bool) -> Result<()> {
    let refusal = match move_directory(vfs, from, to).await {
        Err(error) if refusals::refuses_target(&error) => error,
        result => return Ok(result?),
    };
    let target = match vfs.names.with_room(|| vfs.share.stat(&to.path)).await {
        Ok(target) => target,
        Err(error) if refusals::is_pending(&error) => return rename_once_free(vfs, from, to, false).await,
        Err(_) => return Err(busy_below(vfs, to, refusal).await),
    };
    if !replace {
        return Err(refusal.into());
    }
    if target.kind() != FileKind::Directory {
        return Err(VfsError::rule(libc::ENOTDIR, "a directory cannot replace a file"));
    }
    replace_directory(vfs, from, to).await
}

/// Removes the empty directory, or link to a directory, at the target, and renames.
async fn replace_directory<S: Share>(vfs: &Vfs<S>, from: &End, to: &End) -> Result<()> {
    vfs.names.changing((to.parent, &to.name), Echo::Removed);
    let removed = removing::remove_entry(vfs, &to.path, FileKind::Directory, None, known(vfs, to)).await;
    if let Err(error) = removed {
        // A removal of the name that the server reports from now on is another client's.
        vfs.names.removed((to.parent, &to.name), false);
        return Err(error);
    }
    // Another client that watches the removed directory may still be closing it.
    let rename = || move_directory(vfs, from, to);
    let result = pending::once_free(rename, || pending::is_going(vfs, &to.path)).await;
    if result.is_err()
        && let Err(error) = vfs.names.with_room(|| vfs.share.create_directory(&to.path)).await
    {
        tracing::warn!(%error, "a rename failed, and the empty directory at its target was removed and is lost");
    }
    result
}

/// Renames a directory. What is open here at or below it is closed for that moment, if the server refuses otherwise.
async fn move_directory<S: Share>(vfs: &Vfs<S>, from: &End, to: &End) -> std::result::Result<(), ShareError> {
    match (rename_on_share(vfs, from, to, false).await, from.ino) {
        (Err(error), Some(ino)) if refusals::may_be_open_below(&error) => {
            moving::rename_around(vfs, (&from.path, ino), &to.path, known(vfs, from), error).await
        }
        (result, _) => result,
    }
}

/// The error for a directory that the server refuses to rename although its new name is free. A refusal that lack of
/// rights does not explain means that something below the directory is open.
async fn busy_below<S: Share>(vfs: &Vfs<S>, to: &End, refusal: ShareError) -> VfsError {
    let is_below = refusals::may_be_open_below(&refusal);
    let target = to.path.parent().filter(|_| is_below);
    match target {
        Some(folder) if may_move_into(vfs, &folder).await => {
            tracing::debug!(%refusal, "the server refused the rename");
            VfsError::rule(libc::EBUSY, "something in the directory is open, here without a name or at another client")
        }
        _ => refusal.into(),
    }
}

/// Whether the user may make directories in this one, as far as the server says.
async fn may_move_into<S: Share>(vfs: &Vfs<S>, folder: &RemotePath) -> bool {
    let rights = vfs.names.with_room(|| vfs.share.rights(folder)).await;
    rights.is_ok_and(|rights| rights.is_none_or(|rights| rights.create_folders))
}

/// Waits for a bounded time until the target, which is being deleted, is gone, and renames then.
async fn rename_once_free<S: Share>(vfs: &Vfs<S>, from: &End, to: &End, replace: bool) -> Result<()> {
    pending::until_gone(|| pending::is_pending(vfs, &to.path)).await;
    Ok(rename_on_share(vfs, from, to, replace).await?)
}

/// Renames on the share. If a close in progress may be why the server refused, waits for it and tries once more.
async fn rename_on_share<S: Share>(
    vfs: &Vfs<S>,
    from: &End,
    to: &End,
    replace: bool,
) -> std::result::Result<(), ShareError> {
    let known = known(vfs, from);
    match vfs.names.with_room(|| vfs.share.rename(&from.path, &to.path, replace, known)).await {
        Err(error) if refusals::may_be_closing(&error) && vfs.handles.finish_closes().await => {
            vfs.names.with_room(|| vfs.share.rename(&from.path, &to.path, replace, known)).await
        }
        result => result,
    }
}

/// The identity of the file at this end, as last reported.
fn known<S: Share>(vfs: &Vfs<S>, end: &End) -> Option<FileIdentity> {
    end.ino.and_then(|ino| vfs.names.identity(ino))
}

fn end<S: Share>(vfs: &Vfs<S>, parent: u64, name: &OsStr) -> Result<End> {
    let name = name_encoding::encode(name)?;
    let path = vfs.names.path(parent)?.join(&name);
    let (ino, kind) = vfs.names.occupant(parent, &name).map(|(file, kind)| (file.ino, kind)).unzip();
    Ok(End { parent, name, path, ino, kind })
}

/// Records the share's answer.
fn renamed<S: Share, E: Into<VfsError>>(
    vfs: &Vfs<S>,
    from: &End,
    to: &End,
    result: std::result::Result<(), E>,
) -> Result<()> {
    vfs.names.renamed((from.parent, &from.name), (to.parent, &to.name), result.is_ok());
    result.map_err(Into::into)
}

/// Whether two names in one directory differ only in case. Servers have their own tables of case; this is Unicode's.
fn is_case_variant(from: &End, to: &End) -> bool {
    let folded = |name: &[u16]| String::from_utf16_lossy(name).to_lowercase();
    from.parent == to.parent && folded(&from.name) == folded(&to.name)
}

fn exists() -> VfsError {
    VfsError::rule(libc::EEXIST, "the new name exists already")
}
