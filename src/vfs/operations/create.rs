//! Making files and directories.

use super::opening::{self, New, Opened};
use super::{close, pending};
use crate::share::{CreateAction, Disposition, LeaseKey, Share};
use crate::vfs::errno::{Result, VfsError};
use crate::vfs::file::driver::Opening;
use crate::vfs::file::handle::Access;
use crate::vfs::names::namespace::Echo;
use crate::vfs::presentation::Attr;
use crate::vfs::{Vfs, name_encoding};
use std::ffi::OsStr;

/// Creates a file, or opens the existing one unless `O_EXCL` is given. The inode has one more lookup. A mode without
/// the owner's write bit gives a new file the read-only attribute.
///
/// # Errors
/// `EEXIST` with `O_EXCL`; `EBUSY` if another client keeps a deleted file of this name open; `EROFS`; `EINVAL` for an
/// access mode that does not exist; `ESTALE` if no name leads to `parent` any more, or this mount changed the meaning
/// of the name meanwhile; those of [`name_encoding::encode`]; otherwise what the share answered.
pub async fn create<S: Share>(
    vfs: &Vfs<S>,
    parent: u64,
    name: &OsStr,
    mode: u32,
    flags: i32,
) -> Result<(Attr, Opened)> {
    vfs.terms.check_writable()?;
    let name = name_encoding::encode(name)?;
    let access = Access::from_flags(flags, vfs.terms.options.cache)?;
    let disposition = match (flags & libc::O_EXCL != 0, access.truncate) {
        (true, _) => Disposition::Create,
        (false, true) => Disposition::OverwriteIf,
        (false, false) => Disposition::OpenIf,
    };
    let (path, asked) = vfs.names.before_asking(parent, &name)?;
    let occupant = vfs.names.occupant(parent, &name).map(|(file, _)| file);
    if let Some(file) = &occupant {
        vfs.files.drain(file).await;
        vfs.handles.finish_closes_of(file).await;
    }
    let guard = occupant.as_ref().map(Opening::<S>::begin);
    let lease = guard.as_ref().map_or_else(LeaseKey::random, |guard| guard.lease);
    let how = opening::how(vfs, access, disposition, mode & libc::S_IWUSR == 0, lease);
    vfs.names.changing((parent, &name), Echo::Added);
    let open = || opening::open_on_share(vfs, &path, how, 0);
    let opened = pending::once_free(open, || pending::is_going(vfs, &path)).await;
    let (open, metadata, action, _) = match opened {
        Ok(opened) => opened,
        Err(error) => {
            vfs.names.not_made((parent, &name));
            return Err(error);
        }
    };
    let is_new = action == CreateAction::Created;
    let Some(file) = vfs.names.created((parent, &name), metadata, asked, is_new) else {
        opening::close_unused(vfs, open).await;
        return Err(VfsError::stale());
    };
    let granted = opening::granted(vfs, &file, lease);
    let is_changed = action == CreateAction::Overwritten;
    let opened = opening::opened(vfs, &file, open, New { access, lease, granted, metadata, is_changed }, false).await;
    match vfs.names.attr(file.ino) {
        Ok(attr) => Ok((attr, opened)),
        Err(error) => {
            // The kernel does not learn of the handle, so no RELEASE of it will come.
            close::close(vfs, opened.handle).await;
            Err(error)
        }
    }
}

/// Creates an empty regular file. The inode has one more lookup.
///
/// # Errors
/// `EPERM` for anything but a regular file; those of [`create`] with `O_EXCL`.
pub async fn mknod<S: Share>(vfs: &Vfs<S>, parent: u64, name: &OsStr, mode: u32) -> Result<Attr> {
    // A type of 0 also means a regular file: mknod(2).
    if !matches!(mode & libc::S_IFMT, 0 | libc::S_IFREG) {
        return Err(VfsError::rule(libc::EPERM, "a share holds regular files and directories only"));
    }
    let flags = libc::O_CREAT | libc::O_EXCL | libc::O_RDONLY;
    let (attr, opened) = create(vfs, parent, name, mode, flags).await?;
    close::close(vfs, opened.handle).await;
    Ok(attr)
}

/// Makes a directory. The inode has one more lookup. Its mode is that of all directories.
///
/// # Errors
/// `EEXIST`; `EBUSY` if another client keeps a deleted file or directory of this name open; `EROFS`; `ESTALE` if no
/// name leads to `parent` any more, or this mount changed the meaning of the name meanwhile; those of
/// [`name_encoding::encode`]; otherwise what the share answered.
pub async fn mkdir<S: Share>(vfs: &Vfs<S>, parent: u64, name: &OsStr) -> Result<Attr> {
    vfs.terms.check_writable()?;
    let name = name_encoding::encode(name)?;
    let (path, asked) = vfs.names.before_asking(parent, &name)?;
    vfs.names.changing((parent, &name), Echo::Added);
    let make = || vfs.names.with_room(|| vfs.share.create_directory(&path));
    let made = pending::once_free(make, || pending::is_going(vfs, &path)).await;
    vfs.names.attr(vfs.names.directory_made((parent, &name), made, asked)?)
}
