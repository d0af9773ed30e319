//! Making files and directories.

use super::opening::{self, New, Opened};
use super::{attributes, close, pending, special};
use crate::share::{CreateAction, Device, Disposition, FileKind, LeaseKey, NewSpecial, Share};
use crate::vfs::errno::{Result, VfsError};
use crate::vfs::file::driver::{FileOf, Opening};
use crate::vfs::file::handle::Access;
use crate::vfs::names::namespace::Echo;
use crate::vfs::presentation::Attr;
use crate::vfs::{Vfs, name_encoding, ownership};
use std::ffi::OsStr;

/// The program that makes a file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Maker {
    /// Its user id.
    pub uid: u32,
    /// Its group id.
    pub gid: u32,
    /// The mode that it asks for, from which the kernel has taken its umask(2).
    pub mode: u32,
}

/// Creates a file, or opens the existing one unless `O_EXCL` is given. The inode has one more lookup. A mode without any
/// write bit gives a new file the read-only attribute, where chmod(2) would.
///
/// # Errors
/// `EEXIST` with `O_EXCL`; `EBUSY` if another client keeps a deleted file of this name open; `EROFS`; `EINVAL` for an
/// access mode that does not exist; `ESTALE` if no name leads to `parent` any more, or this mount changed the meaning
/// of the name meanwhile; those of [`name_encoding::encode`]; otherwise what the share answered.
pub async fn create<S: Share>(
    vfs: &Vfs<S>,
    parent: u64,
    name: &OsStr,
    maker: Maker,
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
    vfs.terms.check_changeable(&path)?;
    let occupant = vfs.names.occupant(parent, &name).map(|(file, _)| file);
    if let Some(file) = &occupant {
        vfs.files.drain(file).await;
        vfs.handles.finish_closes_of(file).await;
    }
    let guard = occupant.as_ref().map(Opening::<S>::begin);
    let lease = guard.as_ref().map_or_else(LeaseKey::random, |guard| guard.lease);
    let is_readonly = ownership::readonly(&vfs.terms.options, maker.mode) == Some(true);
    let how = opening::how(vfs, access, disposition, is_readonly, lease);
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
    if is_new {
        own(vfs, parent, &file, maker, FileKind::File).await;
    } else if access.truncate {
        attributes::written_by(vfs, opened.handle, maker.uid);
    }
    match vfs.names.attr(file.ino) {
        Ok(attr) => Ok((attr, opened)),
        Err(error) => {
            // The kernel does not learn of the handle, so no RELEASE of it will come.
            close::close(vfs, opened.handle).await;
            Err(error)
        }
    }
}

/// Makes an empty regular file, a fifo, a socket or a device. The inode has one more lookup.
///
/// # Errors
/// Those of [`create`] with `O_EXCL`, and of `special::make`.
pub async fn mknod<S: Share>(vfs: &Vfs<S>, parent: u64, name: &OsStr, maker: Maker, device: Device) -> Result<Attr> {
    let new = match maker.mode & libc::S_IFMT {
        libc::S_IFIFO => Some(NewSpecial::Fifo),
        libc::S_IFSOCK => Some(NewSpecial::Socket),
        libc::S_IFCHR => Some(NewSpecial::CharDevice(device)),
        libc::S_IFBLK => Some(NewSpecial::BlockDevice(device)),
        // A type of 0 also means a regular file: mknod(2).
        _ => None,
    };
    if let Some(new) = new {
        return special::make(vfs, parent, name, new, maker).await;
    }
    let flags = libc::O_CREAT | libc::O_EXCL | libc::O_RDONLY;
    let (attr, opened) = create(vfs, parent, name, maker, flags).await?;
    close::close(vfs, opened.handle).await;
    Ok(attr)
}

/// Makes a directory. The inode has one more lookup.
///
/// # Errors
/// `EEXIST`; `EBUSY` if another client keeps a deleted file or directory of this name open; `EROFS`; `ESTALE` if no
/// name leads to `parent` any more, or this mount changed the meaning of the name meanwhile; those of
/// [`name_encoding::encode`]; otherwise what the share answered.
pub async fn mkdir<S: Share>(vfs: &Vfs<S>, parent: u64, name: &OsStr, maker: Maker) -> Result<Attr> {
    vfs.terms.check_writable()?;
    let name = name_encoding::encode(name)?;
    let (path, asked) = vfs.names.before_asking(parent, &name)?;
    vfs.terms.check_changeable(&path)?;
    vfs.names.changing((parent, &name), Echo::Added);
    let make = || vfs.names.with_room(|| vfs.share.create_directory(&path));
    let made = pending::once_free(make, || pending::is_going(vfs, &path)).await;
    let ino = vfs.names.directory_made((parent, &name), made, asked)?;
    if let Some(file) = vfs.names.file(ino) {
        own(vfs, parent, &file, maker, FileKind::Directory).await;
    }
    vfs.names.attr(ino)
}

/// Gives a new file the owner, group and mode that a program expects of it.
pub(super) async fn own<S: Share>(vfs: &Vfs<S>, parent: u64, file: &FileOf<S>, maker: Maker, kind: FileKind) {
    let Some(parent) = vfs.names.shown(parent) else { return };
    let wanted = ownership::of_new(&vfs.terms.options, maker, kind, ownership::Parent::of(&parent));
    attributes::own_new(vfs, file, wanted).await;
}
