//! Extended attributes. No file has any of its own: two names show what the server reports of each file, under the names
//! and in the form of Linux's client (fs/smb/client/xattr.c). They can be read only, and are not listed, so that a copy
//! with extended attributes leaves them out.
//!
//! They cannot be set: the creation time tells a file from another one that has its number later.

use super::revalidate;
use crate::share::{FileTime, Metadata, Share};
use crate::vfs::Vfs;
use crate::vfs::errno::{Result, VfsError};
use std::ffi::OsStr;
use tracing::Level;

/// An extended attribute that each file has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Xattr {
    /// The creation time: 8 bytes, little-endian, in units of 100 ns since 1601 (MS-DTYP 2.3.3).
    CreationTime,
    /// The file attributes: 4 bytes, little-endian (MS-FSCC 2.6).
    FileAttributes,
}

impl Xattr {
    /// The attribute of this name; `None` if there is none.
    pub fn named(name: &OsStr) -> Option<Xattr> {
        match name.as_encoded_bytes() {
            b"user.cifs.creationtime" | b"user.smb3.creationtime" => Some(Xattr::CreationTime),
            b"user.cifs.dosattrib" | b"user.smb3.dosattrib" => Some(Xattr::FileAttributes),
            _ => None,
        }
    }

    /// The value, from what the server reports of the file.
    ///
    /// # Errors
    /// `ENODATA` if the server keeps no creation time.
    fn value(self, metadata: &Metadata) -> Result<Vec<u8>> {
        match self {
            Xattr::CreationTime if metadata.created == FileTime(0) => Err(VfsError {
                level: Level::DEBUG,
                ..VfsError::rule(libc::ENODATA, "the server keeps no creation time")
            }),
            Xattr::CreationTime => Ok(metadata.created.0.to_le_bytes().to_vec()),
            Xattr::FileAttributes => Ok(metadata.attributes.0.to_le_bytes().to_vec()),
        }
    }
}

/// The value of an extended attribute, if the attributes of the inode are valid without asking the server.
///
/// # Errors
/// `ENODATA` if the server keeps no creation time.
pub fn known_xattr<S: Share>(vfs: &Vfs<S>, ino: u64, xattr: Xattr) -> Option<Result<Vec<u8>>> {
    let file = vfs.names.file(ino).filter(|_| vfs.names.is_known(ino))?;
    let metadata = *file.lock().metadata();
    Some(xattr.value(&metadata))
}

/// The value of an extended attribute. The attributes of the inode are fetched unless they are valid.
///
/// # Errors
/// `ENODATA` if the server keeps no creation time; `ESTALE` if no name leads to the inode any more, or its name means
/// another file; otherwise what the share answered.
pub async fn getxattr<S: Share>(vfs: &Vfs<S>, ino: u64, xattr: Xattr) -> Result<Vec<u8>> {
    if let Some(known) = known_xattr(vfs, ino, xattr) {
        return known;
    }
    revalidate::refresh(vfs, ino).await?;
    let file = vfs.names.file(ino).ok_or_else(VfsError::stale)?;
    let metadata = *file.lock().metadata();
    xattr.value(&metadata)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_creation_time_that_the_server_does_not_keep_is_not_made_up() {
        let metadata = Metadata { modified: FileTime(7), ..Metadata::default() };
        assert_eq!(Xattr::CreationTime.value(&metadata).unwrap_err().errno, libc::ENODATA);
        assert_eq!(Xattr::FileAttributes.value(&metadata), Ok(vec![0; 4]));
    }
}
