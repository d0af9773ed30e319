//! Removing files and directories.

use super::{hiding, removing};
use crate::share::{FileKind, Share};
use crate::vfs::errno::{Result, VfsError};
use crate::vfs::file::driver::FileOf;
use crate::vfs::names::namespace::Echo;
use crate::vfs::{Vfs, name_encoding};
use std::ffi::OsStr;
use std::sync::Arc;

/// Removes a file. A file that is open here continues under a hidden name until it is closed.
///
/// # Errors
/// `ENOENT`; `EISDIR` for a directory; `EROFS`; `ESTALE` if no name leads to `parent` any more; those of
/// [`name_encoding::encode`]; otherwise what the share answered.
pub async fn unlink<S: Share>(vfs: &Vfs<S>, parent: u64, name: &OsStr) -> Result<()> {
    vfs.terms.check_writable()?;
    let name = name_encoding::encode(name)?;
    let path = vfs.names.path(parent)?.join(&name);
    vfs.terms.check_changeable(&path)?;
    let occupant = vfs.names.occupant(parent, &name);
    if let Some((_, FileKind::Directory)) = occupant {
        return Err(VfsError::rule(libc::EISDIR, "a directory is removed by rmdir"));
    }
    let file = occupant.map(|(file, _)| file);
    // A link to a directory is a directory to a Windows server. The link itself is removed.
    let stored = file.as_ref().map_or(FileKind::File, |file| file.lock().metadata().stored_kind());
    let unused = file.as_ref().map_or(Vec::new(), |file| unused_before_unlink(vfs, file, parent));
    let (lease, known) = file.as_ref().map_or((None, None), |file| {
        let state = file.lock();
        (state.lease(), Some(state.metadata().identity()))
    });
    vfs.names.changing((parent, &name), Echo::Removed);
    let remove = removing::remove_entry(vfs, &path, stored, lease, known);
    let result = match file.filter(is_in_use::<S>) {
        Some(file) => {
            vfs.files.close_kept(&unused).await;
            let is_hidden = match vfs.handles.stays_open(&file).await {
                true => hiding::hide(vfs, (parent, &name), parent).await,
                false => Ok(false),
            };
            match is_hidden {
                Ok(true) => return Ok(()),
                Ok(false) => remove.await,
                Err(error) => Err(error),
            }
        }
        None => {
            // The CLOSEs are sent in the same frame: a deleted file disappears when its last open is closed.
            vfs.files.begin_to_close(&unused);
            tokio::join!(vfs.files.until_closed(&unused), remove).1
        }
    };
    vfs.names.removed((parent, &name), result.is_ok());
    result
}

/// The files whose kept opens are to be closed because a file is about to be removed. A program that removes several
/// files of a directory, without opening any in between, is likely to continue: then the kept opens of the whole
/// directory are closed, in few frames.
fn unused_before_unlink<S: Share>(vfs: &Vfs<S>, file: &FileOf<S>, parent: u64) -> Vec<FileOf<S>> {
    if vfs.names.goes_on_removing(parent) {
        vfs.names.kept_below(parent)
    } else if file.lock().has_kept_open() {
        vec![Arc::clone(file)]
    } else {
        Vec::new()
    }
}

/// Removes an empty directory. If another client has it open, waits for a bounded time until its name is free.
///
/// # Errors
/// `ENOENT`; `ENOTDIR` for a file; `ENOTEMPTY`; `EROFS`; `ESTALE` if no name leads to `parent` any more; those of
/// [`name_encoding::encode`]; otherwise what the share answered.
pub async fn rmdir<S: Share>(vfs: &Vfs<S>, parent: u64, name: &OsStr) -> Result<()> {
    vfs.terms.check_writable()?;
    let name = name_encoding::encode(name)?;
    let path = vfs.names.path(parent)?.join(&name);
    vfs.terms.check_changeable(&path)?;
    let occupant = vfs.names.occupant(parent, &name).map(|(file, _)| file);
    let known = occupant.as_ref().map(|file| file.lock().metadata().identity());
    if let Some(file) = &occupant {
        vfs.names.end_watches(file.ino).await;
    }
    vfs.names.changing((parent, &name), Echo::Removed);
    let remove = || removing::remove_entry(vfs, &path, FileKind::Directory, None, known);
    let mut result = remove().await;
    if let (Err(error), Some(file)) = (&result, &occupant)
        && error.errno == libc::ENOTEMPTY
        && hiding::move_out(vfs, file.ino, parent, &path).await
    {
        result = remove().await;
    }
    vfs.names.removed((parent, &name), result.is_ok());
    result
}

/// Whether a file has a handle that is not being closed, or dirty data that has to be written before its last close.
fn is_in_use<S: Share>(file: &FileOf<S>) -> bool {
    let state = file.lock();
    state.has_live_handle() || state.is_dirty()
}
