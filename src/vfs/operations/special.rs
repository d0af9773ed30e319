//! Symbolic links, and how they, fifos, sockets and devices are made.

use super::create::{self, Maker};
use super::{pending, revalidate};
use crate::share::{FileKind, NewSpecial, Refusal, Share, ShareError};
use crate::vfs::errno::{Result, VfsError};
use crate::vfs::names::namespace::Echo;
use crate::vfs::presentation::Attr;
use crate::vfs::{Vfs, name_encoding};
use bytes::Bytes;
use std::ffi::OsStr;

/// Makes a symbolic link. The inode has one more lookup.
///
/// # Errors
/// `EINVAL` for a target with NUL; those of `make`.
pub async fn symlink<S: Share>(vfs: &Vfs<S>, parent: u64, name: &OsStr, target: &[u8], maker: Maker) -> Result<Attr> {
    if target.is_empty() || target.contains(&0) {
        return Err(VfsError::rule(libc::EINVAL, "the target of a link is empty or contains NUL"));
    }
    make(vfs, parent, name, NewSpecial::Symlink(target), maker).await
}

/// Makes a link or special file. The inode has one more lookup.
///
/// # Errors
/// `EEXIST`; `EPERM` if the server cannot store it, or the mount makes no links; `ENAMETOOLONG` for a target that is too
/// long; `EBUSY` if another client keeps a deleted file of this name open; `EROFS`; `ESTALE` if no name leads to
/// `parent` any more, or this mount changed the meaning of the name meanwhile; those of [`name_encoding::encode`];
/// otherwise what the share answered.
pub(super) async fn make<S: Share>(
    vfs: &Vfs<S>,
    parent: u64,
    name: &OsStr,
    new: NewSpecial<'_>,
    maker: Maker,
) -> Result<Attr> {
    vfs.terms.check_writable()?;
    let name = name_encoding::encode(name)?;
    let (path, asked) = vfs.names.before_asking(parent, &name)?;
    vfs.terms.check_changeable(&path)?;
    vfs.names.changing((parent, &name), Echo::Added);
    let make = || vfs.names.with_room(|| vfs.share.create_special(&path, new));
    match pending::once_free(make, || pending::is_going(vfs, &path)).await {
        Ok(metadata) => {
            let file = vfs.names.created((parent, &name), metadata, asked, true).ok_or_else(VfsError::stale)?;
            create::own(vfs, parent, &file, maker, metadata.kind()).await;
            vfs.names.attr(file.ino)
        }
        Err(error) => {
            vfs.names.not_made((parent, &name));
            Err(if is_unsupported(&error) { VfsError { errno: libc::EPERM, ..error } } else { error })
        }
    }
}

/// The target of a symbolic link. Asks the server if the attributes of the link are not valid, or its target is unknown.
///
/// # Errors
/// `EINVAL` if it is no link; `ESTALE` if no name leads to the inode any more, or its name means another file; `EIO` if
/// the link has no target that a program could use; otherwise what the share answered.
pub async fn readlink<S: Share>(vfs: &Vfs<S>, ino: u64) -> Result<Bytes> {
    let attr = revalidate::current(vfs, ino).await?;
    if attr.kind != FileKind::Symlink {
        return Err(VfsError::rule(libc::EINVAL, "the file is no symbolic link"));
    }
    let (path, file) = (vfs.names.path(ino)?, vfs.names.file(ino).ok_or_else(VfsError::stale)?);
    let metadata = *file.lock().metadata();
    let target = vfs.names.with_room(|| vfs.share.read_link(&path, &metadata)).await;
    let target = target.map_err(|error| vfs.names.stale_if_absent(ino, error))?;
    target.ok_or_else(|| {
        vfs.names.doubt_name(ino);
        VfsError::stale()
    })
}

/// Whether the share cannot store such a file: to symlink(2) and mknod(2) this is EPERM.
fn is_unsupported(error: &VfsError) -> bool {
    use crate::vfs::errno::ErrorSource;
    matches!(&error.source, ErrorSource::Share(error) if ShareError::refusal(error) == Some(Refusal::Unsupported))
}
