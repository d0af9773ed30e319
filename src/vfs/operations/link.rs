//! Hard links.

use super::removing;
use crate::share::{FileIdentity, FileKind, Metadata, Refusal, RemotePath, Share, ShareError};
use crate::vfs::errno::{Result, VfsError};
use crate::vfs::names::namespace::Echo;
use crate::vfs::presentation::Attr;
use crate::vfs::{Vfs, name_encoding};
use std::ffi::OsStr;

/// Gives a file one more name, `name` in the directory `parent`. The inode has one more lookup.
///
/// # Errors
/// `EPERM` for a directory, and if the server has no hard links; `EEXIST` if the name exists; `EMLINK`; `EROFS`;
/// `ESTALE` if no name leads to the file or to `parent` any more; those of [`name_encoding::encode`]; otherwise what
/// the share answered.
pub async fn link<S: Share>(vfs: &Vfs<S>, ino: u64, parent: u64, name: &OsStr) -> Result<Attr> {
    vfs.terms.check_writable()?;
    let name = name_encoding::encode(name)?;
    let (file, kind) = vfs.names.file_and_kind(ino).ok_or_else(VfsError::stale)?;
    if kind == FileKind::Directory {
        return Err(VfsError::rule(libc::EPERM, "a directory has one name"));
    }
    let from = vfs.names.path(ino)?;
    let (to, asked) = vfs.names.before_asking(parent, &name)?;
    vfs.terms.check_changeable(&from)?;
    vfs.terms.check_changeable(&to)?;
    let known = file.lock().metadata().identity();
    vfs.names.changing((parent, &name), Echo::Added);
    let linked = match vfs.names.with_room(|| vfs.share.link(&from, &to, Some(known))).await {
        Ok(metadata) => checked(vfs, &to, metadata, known).await,
        Err(error) if has_no_links(&error) => Err(VfsError { errno: libc::EPERM, ..error.into() }),
        Err(error) => Err(vfs.names.stale_if_absent(ino, error)),
    };
    vfs.names.linked(ino, (parent, &name), linked, asked)?;
    vfs.names.attr(ino)
}

/// Checks that a link is one: some servers answer success and copy the file. The copy is removed.
///
/// # Errors
/// `ESTALE` if the name of the file meant another one; `EPERM` if the server has made a copy.
async fn checked<S: Share>(vfs: &Vfs<S>, to: &RemotePath, linked: Metadata, known: FileIdentity) -> Result<Metadata> {
    let is_other = known.file_id != 0 && linked.file_id != known.file_id;
    if linked.links > 1 && !is_other {
        return Ok(linked);
    }
    let made = vfs.names.with_room(|| vfs.share.stat(to)).await?;
    let is_link = made.identity() == linked.identity();
    if is_link && !is_other {
        return Ok(made);
    }
    if is_link || made.links <= 1 {
        removing::remove_now(vfs, to, FileKind::File, None, Some(made.identity())).await?;
    }
    if is_other {
        return Err(VfsError::stale());
    }
    Err(VfsError::rule(libc::EPERM, "the server copies a file instead of linking it; the copy was removed"))
}

/// Whether the server has no hard links.
fn has_no_links(error: &ShareError) -> bool {
    matches!(error.refusal(), Some(Refusal::Unsupported | Refusal::InvalidArgument))
}
