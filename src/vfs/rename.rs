//! Renaming, with the rules of rename(2) on a server that has other ones.
//!
//! A server replaces files and never directories; it refuses to replace a file that is open or
//! read-only. So the plain rename is tried first, which is the usual case and atomic; only when it is
//! refused is the target looked at.

use super::errno::{Result, VfsError};
use super::remove::may_be_closing;
use super::{Vfs, names, pending};
use crate::share::{Attributes, FileIdentity, FileKind, RemotePath, Share, ShareError};
use crate::wire::NtStatus;
use std::ffi::OsStr;
use std::time::Instant;

/// `RENAME_NOREPLACE` of renameat2(2).
const NOREPLACE: u32 = libc::RENAME_NOREPLACE;

/// One end of a rename.
struct End {
    parent: u64,
    name: Vec<u16>,
    path: RemotePath,
    ino: Option<u64>,
    kind: Option<FileKind>,
}

impl<S: Share> Vfs<S> {
    /// Renames a file or directory. A file replaces a file, a directory an empty directory.
    ///
    /// # Errors
    /// `EINVAL` for flags other than `RENAME_NOREPLACE` and for a directory into itself; `EEXIST`,
    /// `EISDIR`, `ENOTDIR`, `ENOTEMPTY`, `ENOENT`, `EROFS`; what the share answered.
    pub async fn rename(&self, parent: u64, name: &OsStr, new_parent: u64, new_name: &OsStr, flags: u32) -> Result<()> {
        if flags & !NOREPLACE != 0 {
            return Err(VfsError::rule(libc::EINVAL, "names cannot be exchanged"));
        }
        self.check_writable()?;
        let (from, to) = (self.end(parent, name)?, self.end(new_parent, new_name)?);
        let replace = flags & NOREPLACE == 0;
        if from.path == to.path {
            return if replace { Ok(()) } else { Err(exists()) };
        }
        if from.ino.is_some_and(|ino| self.with_inodes(|inodes| inodes.is_within(new_parent, ino))) {
            return Err(VfsError::rule(libc::EINVAL, "a directory cannot be moved into itself"));
        }
        // What was written goes by the old name as long as it is good for finding the file again.
        if let Some(ino) = from.ino {
            self.drain_file(ino).await;
            // Of a directory everything below it, of a file itself.
            if from.kind == Some(FileKind::Directory) {
                self.end_watches(ino).await;
            }
            self.close_deferred_below(ino).await;
        }
        if let Some(ino) = to.ino {
            if to.kind == Some(FileKind::Directory) {
                self.end_watches(ino).await;
            }
            self.close_deferred(ino).await;
        }
        if is_case_variant(&from, &to) {
            // To a server that ignores case both names are the same file, and nothing is replaced.
            match self.rename_on_share(&from, &to, false).await {
                Err(error) if is_taken(&error) && replace => {}
                result => return self.renamed(&from, &to, result),
            }
        }
        let kind = match from.kind {
            Some(kind) => kind,
            None => self.share.stat(&from.path).await?.kind(),
        };
        let result = match kind {
            FileKind::Directory => self.rename_directory(&from, &to, replace).await,
            FileKind::File => self.rename_file(&from, &to, replace).await,
        };
        self.renamed(&from, &to, result)
    }

    async fn rename_file(&self, from: &End, to: &End, replace: bool) -> Result<()> {
        let refusal = match self.rename_on_share(from, to, replace).await {
            Err(error) if refuses_target(&error) => error,
            result => return Ok(result?),
        };
        let target = match self.share.stat(&to.path).await {
            Ok(target) => target,
            Err(error) if pending::is_pending(&error) => return self.rename_once_free(from, to, replace).await,
            Err(_) => return Err(refusal.into()),
        };
        if !replace {
            return Err(refusal.into());
        }
        if target.kind() == FileKind::Directory {
            return Err(VfsError::rule(libc::EISDIR, "a file cannot replace a directory"));
        }
        if target.attributes.has(Attributes::READONLY)
            && let Some(restore) = self.make_writable(&to.path, &refusal).await
        {
            let result = self.replace_open(from, to, refusal, true).await;
            if result.is_err() {
                self.restore(&to.path, &restore).await;
            }
            return result;
        }
        self.replace_open(from, to, refusal, false).await
    }

    /// Replaces a file that may be open here: it goes on under a hidden name.
    async fn replace_open(&self, from: &End, to: &End, refusal: ShareError, again: bool) -> Result<()> {
        if let Some(ino) = to.ino
            && self.is_open(ino).await
            && self.hide(ino, to.parent, &to.path).await?
        {
            let result = self.share.rename(&from.path, &to.path, false, self.known(from)).await;
            if result.is_err() {
                self.unhide(ino, to).await;
            }
            return Ok(result?);
        }
        if again {
            return Ok(self.share.rename(&from.path, &to.path, true, self.known(from)).await?);
        }
        Err(refusal.into())
    }

    async fn rename_directory(&self, from: &End, to: &End, replace: bool) -> Result<()> {
        let refusal = match self.rename_on_share(from, to, false).await {
            Err(error) if refuses_target(&error) => error,
            result => return Ok(result?),
        };
        let target = match self.share.stat(&to.path).await {
            Ok(target) => target,
            Err(error) if pending::is_pending(&error) => return self.rename_once_free(from, to, false).await,
            Err(_) => return Err(refusal.into()),
        };
        if !replace {
            return Err(refusal.into());
        }
        if target.kind() == FileKind::File {
            return Err(VfsError::rule(libc::ENOTDIR, "a directory cannot replace a file"));
        }
        self.remove_entry(&to.path, FileKind::Directory, None, self.known(to)).await?;
        let result = self.share.rename(&from.path, &to.path, false, self.known(from)).await;
        if result.is_err()
            && let Err(error) = self.share.create_directory(&to.path).await
        {
            tracing::warn!(%error, "an empty directory that was to be replaced is lost");
        }
        Ok(result?)
    }

    /// What has the new name is being deleted: waits for that, for a bounded time.
    async fn rename_once_free(&self, from: &End, to: &End, replace: bool) -> Result<()> {
        pending::until_gone(|| self.is_pending(&to.path)).await;
        Ok(self.rename_on_share(from, to, replace).await?)
    }

    /// Puts a file that was hidden to be replaced back where it was.
    async fn unhide(&self, ino: u64, to: &End) {
        let hidden = self.with_inodes(|inodes| {
            let node = inodes.get_mut(ino)?;
            node.hidden = false;
            inodes.path(ino, &self.root)
        });
        let Some(hidden) = hidden else { return };
        match self.share.rename(&hidden, &to.path, false, self.identity(ino)).await {
            Ok(()) => self.with_inodes(|inodes| inodes.relocate(ino, to.parent, &to.name, Instant::now())),
            Err(error) => {
                tracing::warn!(%error, "a file that was to be replaced stays on the server under a hidden name");
            }
        }
    }

    /// Renames on the share; once more if a close that was under way may have been the reason why not.
    async fn rename_on_share(&self, from: &End, to: &End, replace: bool) -> std::result::Result<(), ShareError> {
        let known = self.known(from);
        match self.share.rename(&from.path, &to.path, replace, known).await {
            Err(error) if may_be_closing(&error) && self.settle_all_closes().await => {
                self.share.rename(&from.path, &to.path, replace, known).await
            }
            result => result,
        }
    }

    /// Which file is at this end, as far as that is known.
    fn known(&self, end: &End) -> Option<FileIdentity> {
        end.ino.and_then(|ino| self.identity(ino))
    }

    fn end(&self, parent: u64, name: &OsStr) -> Result<End> {
        let name = names::encode(name)?;
        self.with_inodes(|inodes| {
            let path = inodes.path(parent, &self.root)?.join(&name);
            let ino = inodes.at(parent, &name);
            let kind = ino.and_then(|ino| inodes.get(ino)).map(|node| node.kind);
            Some(End { parent, name, path, ino, kind })
        })
        .ok_or_else(VfsError::stale)
    }

    /// Follows on the share's answer.
    fn renamed<E: Into<VfsError>>(&self, from: &End, to: &End, result: std::result::Result<(), E>) -> Result<()> {
        self.with_inodes(|inodes| {
            self.entry_changed(inodes, from.parent, &from.name, result.is_ok().then_some(None));
            self.entry_changed(inodes, to.parent, &to.name, None);
            result.map_err(Into::into)?;
            let moved = inodes.at(from.parent, &from.name);
            if let Some(replaced) = inodes.at(to.parent, &to.name).filter(|replaced| Some(*replaced) != moved) {
                inodes.remove(replaced);
            }
            if let Some(ino) = moved {
                inodes.relocate(ino, to.parent, &to.name, Instant::now());
            }
            Ok(())
        })
    }
}

/// Whether two names in one directory differ in case alone, as far as that can be said here: servers
/// have their own tables.
fn is_case_variant(from: &End, to: &End) -> bool {
    let folded = |name: &[u16]| String::from_utf16_lossy(name).to_lowercase();
    from.parent == to.parent && folded(&from.name) == folded(&to.name)
}

fn is_taken(error: &ShareError) -> bool {
    error.nt_status() == Some(NtStatus::OBJECT_NAME_COLLISION)
}

/// Whether the target can be the reason why a rename was refused.
fn refuses_target(error: &ShareError) -> bool {
    matches!(
        error.nt_status(),
        Some(
            NtStatus::OBJECT_NAME_COLLISION
                | NtStatus::ACCESS_DENIED
                | NtStatus::SHARING_VIOLATION
                | NtStatus::CANNOT_DELETE
                | NtStatus::FILE_IS_A_DIRECTORY
                | NtStatus::DIRECTORY_NOT_EMPTY
                | NtStatus::NOT_A_DIRECTORY
        )
    )
}

fn exists() -> VfsError {
    VfsError::rule(libc::EEXIST, "the new name is taken")
}
