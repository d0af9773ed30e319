//! Making directories, and removing files and directories.

use super::errno::{Result, VfsError};
use super::file::driver::FileOf;
use super::inodes::Admission;
use super::presentation::Attr;
use super::{Vfs, names, pending};
use crate::share::{Attributes, Change, FileIdentity, FileKind, LeaseKey, RemotePath, Share, ShareError, Target};
use crate::wire::NtStatus;
use std::ffi::OsStr;
use std::sync::atomic::Ordering;
use std::time::Instant;

/// So many hidden names are tried before a file is deleted the plain way.
const HIDING_ATTEMPTS: usize = 4;
/// A directory with more entries than this is not asked whether all of them are being deleted.
const MOST_PENDING: usize = 32;

impl<S: Share> Vfs<S> {
    /// Makes a directory. The inode gets one more lookup. Its mode is that of all directories.
    ///
    /// # Errors
    /// `EEXIST`, `EROFS`; what the share answered.
    pub async fn mkdir(&self, parent: u64, name: &OsStr) -> Result<Attr> {
        self.check_writable()?;
        let name = names::encode(name)?;
        let (directory, before) =
            self.with_inodes(|inodes| (inodes.path(parent, &self.root), inodes.glimpse(parent, &name)));
        let path = directory.ok_or_else(VfsError::stale)?.join(&name);
        let now = Instant::now();
        let made = pending::once_free(|| self.share.create_directory(&path), || self.is_pending(&path)).await;
        let admission = self.with_inodes(|inodes| {
            self.entry_changed(inodes, parent, &name, made.as_ref().ok().map(|made| Some(*made)));
            let metadata = made?;
            inodes.vanished(parent, &name, before);
            let before = inodes.glimpse(parent, &name);
            let admission = inodes.admit(parent, &name, metadata, before, now);
            if let Admission::Node(ino) = admission
                && let Some(node) = inodes.get(ino)
            {
                self.with_catalogue(|catalogue| catalogue.made(node.key(), ino, now));
            }
            Ok::<_, VfsError>(admission)
        })?;
        match admission {
            Admission::Node(ino) => self.attr(ino),
            Admission::Overtaken => Err(VfsError::stale()),
        }
    }

    /// Removes a file. One that is open here goes on under a hidden name until it is closed.
    ///
    /// # Errors
    /// `ENOENT`, `EISDIR`, `EROFS`; what the share answered.
    pub async fn unlink(&self, parent: u64, name: &OsStr) -> Result<()> {
        self.check_writable()?;
        let name = names::encode(name)?;
        let path = self.path(parent)?.join(&name);
        let occupant = self.with_inodes(|inodes| {
            let ino = inodes.at(parent, &name)?;
            Some((ino, inodes.get(ino)?.kind))
        });
        if let Some((_, FileKind::Directory)) = occupant {
            return Err(VfsError::rule(libc::EISDIR, "a directory is removed by rmdir"));
        }
        let unused = occupant.map_or(Vec::new(), |(ino, _)| self.unused_before_unlink(ino, parent));
        let file = occupant.and_then(|(ino, _)| self.with_inodes(|inodes| inodes.file(ino).cloned()));
        let lease = file.and_then(|file| file.lock().lease());
        let known = occupant.and_then(|(ino, _)| self.identity(ino));
        let removed = match occupant.filter(|(ino, _)| self.is_in_use(*ino)) {
            Some((ino, _)) => {
                self.files.close_kept(&unused).await;
                if self.is_open(ino).await && self.hide(ino, parent, &path).await? {
                    return Ok(());
                }
                self.remove_entry(&path, FileKind::File, lease, known).await
            }
            None => {
                // The closes go along, in the same frame: a file that is deleted goes when its last open is closed.
                self.files.begin_to_close(&unused);
                let closed = self.files.until_closed(&unused);
                tokio::join!(closed, self.remove_entry(&path, FileKind::File, lease, known)).1
            }
        };
        self.removed(parent, &name, removed)
    }

    /// What nobody uses and has to be closed because a file is about to be removed. Who removes several files of a
    /// directory, one after the other and without opening any meanwhile, is likely to go on: then all of it are closed, in
    /// few frames.
    fn unused_before_unlink(&self, ino: u64, parent: u64) -> Vec<FileOf<S>> {
        if self.unlinked_in.swap(parent, Ordering::Relaxed) == parent {
            self.take_kept_below(parent)
        } else {
            let file = self.with_inodes(|inodes| inodes.file(ino).cloned());
            file.into_iter().filter(|file| file.lock().has_kept_open()).collect()
        }
    }

    /// Removes an empty directory. Where another client has it open, this waits for a bounded time until its name is free.
    ///
    /// # Errors
    /// `ENOENT`, `ENOTDIR`, `ENOTEMPTY`, `EROFS`; what the share answered.
    pub async fn rmdir(&self, parent: u64, name: &OsStr) -> Result<()> {
        self.check_writable()?;
        let name = names::encode(name)?;
        let path = self.path(parent)?.join(&name);
        let ino = self.with_inodes(|inodes| inodes.at(parent, &name));
        let known = ino.and_then(|ino| self.identity(ino));
        if let Some(ino) = ino {
            self.end_watches(ino).await;
        }
        let removed = self.remove_entry(&path, FileKind::Directory, None, known).await;
        self.removed(parent, &name, removed)
    }

    /// Which file the inode is at the server, as far as that is known.
    pub(super) fn identity(&self, ino: u64) -> Option<FileIdentity> {
        self.with_inodes(|inodes| Some(inodes.file(ino)?.lock().metadata().identity()))
    }

    /// Whether a handle of the inode is open and not being closed, or something is still to be written before it can be.
    fn is_in_use(&self, ino: u64) -> bool {
        let file = self.with_inodes(|inodes| inodes.file(ino).cloned());
        file.is_some_and(|file| {
            let state = file.lock();
            state.has_live_handle() || state.is_dirty()
        })
    }

    /// Whether a handle of the inode is open and stays so: closes that are under way are waited for.
    pub(super) async fn is_open(&self, ino: u64) -> bool {
        let Some(file) = self.with_inodes(|inodes| inodes.file(ino).cloned()) else { return false };
        let (is_live, has_handles) = {
            let state = file.lock();
            (state.has_live_handle(), state.has_handles() || state.is_closing())
        };
        if is_live || !has_handles {
            return is_live;
        }
        self.settle_all_closes().await;
        file.lock().has_handles()
    }

    /// Gives an open file a hidden name in its directory, under which its last close removes it. Says
    /// whether the server did it.
    ///
    /// # Errors
    /// `ENOENT` if it is not there any more.
    pub(super) async fn hide(&self, ino: u64, parent: u64, path: &RemotePath) -> Result<bool> {
        let directory = self.path(parent)?;
        let known = self.identity(ino);
        for _ in 0..HIDING_ATTEMPTS {
            let name = self.hidden_name();
            match self.share.rename(path, &directory.join(&name), false, known).await {
                Ok(()) => {
                    let closed_meanwhile = self.with_inodes(|inodes| {
                        let old = inodes.place(ino).cloned();
                        inodes.relocate(ino, parent, &name, Instant::now());
                        if let Some(old) = old {
                            self.entry_changed(inodes, old.parent, &old.name, Some(None));
                        }
                        let node = inodes.get_mut(ino)?;
                        node.hidden = true;
                        let is_closed = !node.file.lock().has_handles();
                        is_closed.then(|| inodes.displace(ino))
                    });
                    if closed_meanwhile.is_some() {
                        self.remove_hidden(&directory.join(&name)).await;
                    }
                    return Ok(true);
                }
                Err(error) if error.nt_status() == Some(NtStatus::OBJECT_NAME_COLLISION) => continue,
                Err(error) if super::lookup::is_absent(&error) => return Err(error.into()),
                // Samba would promise to delete it when it is closed, and not do it.
                Err(error) if error.nt_status() == Some(NtStatus::MEDIA_WRITE_PROTECTED) => return Err(error.into()),
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
    pub(super) async fn remove_hidden(&self, path: &RemotePath) {
        if let Err(error) = self.remove_now(path, FileKind::File, None, None).await {
            tracing::warn!(%error, "a file that was deleted while it was open stays on the server under a hidden name");
        }
    }

    /// Removes what is at a path, which may be open under a lease of this client. Where a close that is under way may be why
    /// that was refused, it is waited for.
    pub(super) async fn remove_entry(
        &self,
        path: &RemotePath,
        kind: FileKind,
        lease: Option<LeaseKey>,
        known: Option<FileIdentity>,
    ) -> Result<()> {
        let remove = || self.remove_now(path, kind, lease, known);
        let removed = match remove().await {
            Err(error) if may_be_closing(&error) && self.settle_all_closes().await => remove().await,
            result => result,
        };
        let is_gone = match removed {
            Err(error) if pending::is_not_empty(&error) && self.holds_only_pending(path).await => {
                pending::once_free(remove, || self.holds_only_pending(path)).await?
            }
            result => result?,
        };
        if !is_gone {
            pending::until_gone(|| self.is_pending(path)).await;
        }
        Ok(())
    }

    /// Removes what is at a path. Where the read-only attribute forbids it, that is taken off first. Says whether the name
    /// is free.
    async fn remove_now(
        &self,
        path: &RemotePath,
        kind: FileKind,
        lease: Option<LeaseKey>,
        known: Option<FileIdentity>,
    ) -> std::result::Result<bool, ShareError> {
        let refusal = match self.share.remove(path, kind, lease, known).await {
            Err(refusal) => refusal,
            removed => return removed,
        };
        let Some(restore) = self.make_writable(path, &refusal).await else { return Err(refusal) };
        let result = self.share.remove(path, kind, lease, known).await;
        if result.is_err() {
            self.restore(path, &restore).await;
        }
        result
    }

    /// Whether all that is in a directory is being deleted, and waits for other clients to close it.
    async fn holds_only_pending(&self, path: &RemotePath) -> bool {
        let Ok(mut listing) = self.share.list(path).await else { return false };
        let Ok(entries) = self.share.next_entries(&mut listing).await else { return false };
        if entries.len() > MOST_PENDING {
            return false;
        }
        for entry in entries {
            let found = self.share.stat(&path.join(&entry.name)).await;
            if !found.is_err_and(|error| super::lookup::is_absent(&error)) {
                return false;
            }
        }
        true
    }

    /// Whether the server is still deleting what is at a path.
    pub(super) async fn is_pending(&self, path: &RemotePath) -> bool {
        self.share.stat(path).await.is_err_and(|error| pending::is_pending(&error))
    }

    /// Takes the read-only attribute off what is at a path, if that can be why something was refused.
    /// How to put it on again.
    pub(super) async fn make_writable(&self, path: &RemotePath, refusal: &ShareError) -> Option<Change> {
        if !matches!(refusal.nt_status(), Some(NtStatus::CANNOT_DELETE | NtStatus::ACCESS_DENIED)) {
            return None;
        }
        let attributes = self.share.stat(path).await.ok()?.attributes;
        if !attributes.has(Attributes::READONLY) {
            return None;
        }
        let change = |attributes| Change { attributes: Some(attributes), ..Change::default() };
        self.share.set(Target::Path(path), &change(attributes.with_readonly(false))).await.ok()?;
        Some(change(attributes))
    }

    pub(super) async fn restore(&self, path: &RemotePath, change: &Change) {
        if let Err(error) = self.share.set(Target::Path(path), change).await {
            tracing::warn!(%error, "the read-only attribute could not be put on again");
        }
    }

    /// Follows on the share's answer: what had this name is gone, if it says so.
    fn removed(&self, parent: u64, name: &[u16], result: Result<()>) -> Result<()> {
        self.with_inodes(|inodes| {
            if result.is_ok()
                && let Some(ino) = inodes.at(parent, name)
            {
                inodes.remove(ino);
            }
            self.entry_changed(inodes, parent, name, result.is_ok().then_some(None));
        });
        result
    }
}

/// Whether an operation can have failed because a close has not arrived yet.
pub(super) fn may_be_closing(error: &ShareError) -> bool {
    matches!(
        error.nt_status(),
        Some(NtStatus::DIRECTORY_NOT_EMPTY | NtStatus::SHARING_VIOLATION | NtStatus::ACCESS_DENIED)
    )
}
