//! Opening, creating and closing files.

use super::attributes::{Attr, DataVersion};
use super::errno::{Result, VfsError};
use super::handles::{Access, Leaving, OpenFile};
use super::inodes::Admission;
use super::{Vfs, names, pending};
use crate::cache::Stream;
use crate::share::{CreateAction, Disposition, FileKind, Metadata, OpenHow, RemotePath, Share};
use futures_util::future::join_all;
use parking_lot::Mutex;
use std::ffi::OsStr;
use std::sync::Arc;
use std::time::Instant;

/// A file that the kernel has open now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Opened {
    /// The handle.
    pub handle: u64,
    /// Opened with `O_DIRECT`: no cache is used.
    pub direct: bool,
    /// The data is as it was when the kernel last opened the file: its own cached pages are good.
    pub keep_cache: bool,
}

impl<S: Share> Vfs<S> {
    /// Opens a file with the flags of open(2).
    ///
    /// # Errors
    /// `ESTALE` if the inode's name is another file's now; `EROFS`, `EISDIR`; what the share answered.
    pub async fn open(&self, ino: u64, flags: i32) -> Result<Opened> {
        let access = Access::from_flags(flags)?;
        if access.modifies() {
            self.check_writable()?;
        }
        let (path, kind, token) = self
            .with_inodes(|inodes| {
                let node = inodes.get(ino)?;
                Some((inodes.path(ino, &self.root)?, node.kind, node.attributes.token()))
            })
            .ok_or_else(VfsError::stale)?;
        if kind == FileKind::Directory {
            return Err(VfsError::rule(libc::EISDIR, "a directory cannot be opened as a file"));
        }
        let disposition = if access.truncate { Disposition::Overwrite } else { Disposition::Open };
        self.settle_closes(ino).await;
        let (file, metadata, action) = self.open_on_share(&path, access, disposition, false).await?;

        let handle = self.handles.number();
        let registered = self.with_inodes(|inodes| {
            if !inodes.is_still(ino, &metadata) {
                return None;
            }
            inodes.store(ino, metadata, token, Instant::now());
            let node = inodes.get_mut(ino)?;
            if action != CreateAction::Opened {
                node.data.changed();
            }
            let keep_cache = node.data.kernel_opens(DataVersion::from(&metadata));
            let key = node.key;
            inodes.opened(ino, handle);
            Some((key, keep_cache))
        });
        let Some((key, keep_cache)) = registered else {
            self.close_unused(file).await;
            return Err(VfsError::stale());
        };
        self.register(handle, ino, key, file, access);
        Ok(Opened { handle, direct: access.direct, keep_cache })
    }

    /// Creates a file, or opens the one that is there unless `O_EXCL` is given. The inode gets one
    /// more lookup. A mode without the owner's write bit gives a new file the read-only attribute.
    ///
    /// # Errors
    /// `EEXIST` with `O_EXCL`; `EROFS`; what the share answered.
    pub async fn create(&self, parent: u64, name: &OsStr, mode: u32, flags: i32) -> Result<(Attr, Opened)> {
        self.check_writable()?;
        let name = names::encode(name)?;
        let access = Access::from_flags(flags)?;
        let disposition = match (flags & libc::O_EXCL != 0, access.truncate) {
            (true, _) => Disposition::Create,
            (false, true) => Disposition::OverwriteIf,
            (false, false) => Disposition::OpenIf,
        };
        let (directory, before) =
            self.with_inodes(|inodes| (inodes.path(parent, &self.root), inodes.glimpse(parent, &name)));
        let path = directory.ok_or_else(VfsError::stale)?.join(&name);
        if let Some(ino) = self.with_inodes(|inodes| inodes.at(parent, &name)) {
            self.settle_closes(ino).await;
        }
        let readonly = mode & libc::S_IWUSR == 0;
        let (file, metadata, action) = self.open_on_share(&path, access, disposition, readonly).await?;

        let handle = self.handles.number();
        let now = Instant::now();
        let registered = self.with_inodes(|inodes| {
            let mut before = before;
            if action == CreateAction::Created {
                // Whoever had this name has gone, even if the new file has got its file id.
                inodes.vanished(parent, &name, before);
                before = inodes.glimpse(parent, &name);
                inodes.touch(parent);
            }
            let Admission::Node(ino) = inodes.admit(parent, &name, metadata, before, now) else { return None };
            let node = inodes.get_mut(ino)?;
            if action == CreateAction::Overwritten {
                node.data.changed();
            }
            let keep_cache = node.data.kernel_opens(DataVersion::from(&metadata));
            let key = node.key;
            inodes.opened(ino, handle);
            Some((ino, key, keep_cache))
        });
        let Some((ino, key, keep_cache)) = registered else {
            self.close_unused(file).await;
            return Err(VfsError::stale());
        };
        self.register(handle, ino, key, file, access);
        Ok((self.attr(ino)?, Opened { handle, direct: access.direct, keep_cache }))
    }

    /// Waits for closes of the inode that are under way. While a file is open, Samba goes on telling the
    /// time of the last write from when it was opened first, unless it was itself that wrote: an open
    /// that overtook the close before it would not learn that the file was changed in between.
    async fn settle_closes(&self, ino: u64) {
        self.is_open(ino).await;
    }

    /// Creates an empty regular file. The inode gets one more lookup.
    ///
    /// # Errors
    /// `EPERM` for anything but a regular file, `EEXIST`, `EROFS`; what the share answered.
    pub async fn mknod(&self, parent: u64, name: &OsStr, mode: u32) -> Result<Attr> {
        // A type of 0 means a regular file too: mknod(2).
        if !matches!(mode & libc::S_IFMT, 0 | libc::S_IFREG) {
            return Err(VfsError::rule(libc::EPERM, "a share holds regular files and directories only"));
        }
        let flags = libc::O_CREAT | libc::O_EXCL | libc::O_RDONLY;
        let (attr, opened) = self.create(parent, name, mode, flags).await?;
        self.close(opened.handle).await;
        Ok(attr)
    }

    /// The kernel closes a handle. It is off the table at once; the future closes it on the share.
    /// Errors can be told to nobody any more, so they are logged.
    pub fn release(self: &Arc<Self>, handle: u64) -> impl Future<Output = ()> + Send + use<S> {
        let leaving = self.handles.take(handle);
        let vfs = Arc::clone(self);
        async move {
            if let Some(leaving) = leaving {
                vfs.finish_close(leaving).await;
            }
        }
    }

    /// Closes every open handle, all at the same time. For the end of the mount.
    pub async fn drain(&self) {
        self.handles.remove_directories();
        join_all(self.handles.files().into_iter().map(|handle| self.close(handle))).await;
        // Those that were being closed already.
        self.handles.settle().await;
    }

    async fn close(&self, handle: u64) {
        if let Some(leaving) = self.handles.take(handle) {
            self.finish_close(leaving).await;
        }
    }

    async fn finish_close(&self, leaving: Leaving<S>) {
        let Leaving { file: open, closing } = leaving;
        let _closing = self.handles.closing(closing);
        let token = self.with_inodes(|inodes| inodes.get(open.ino).map(|node| node.attributes.token()));
        match self.share.close(&open.file).await {
            Ok(Some(metadata)) => {
                if let Some(token) = token {
                    self.with_inodes(|inodes| inodes.store(open.ino, metadata, token, Instant::now()));
                }
            }
            Ok(None) => {}
            Err(error) => tracing::warn!(%error, "a file was not closed properly"),
        }
        let hidden = self.with_inodes(|inodes| inodes.closed(open.ino, open.handle, &self.root));
        if let Some(path) = hidden {
            self.remove_hidden(&path).await;
        }
    }

    async fn open_on_share(
        &self,
        path: &RemotePath,
        access: Access,
        disposition: Disposition,
        readonly: bool,
    ) -> Result<(S::File, Metadata, CreateAction)> {
        let how = OpenHow { read: access.read, write: access.modifies(), disposition, readonly, lease: None };
        match disposition {
            Disposition::Open | Disposition::Overwrite => Ok(self.share.open(path, how).await?),
            Disposition::Create | Disposition::OpenIf | Disposition::OverwriteIf => {
                pending::once_free(|| self.share.open(path, how)).await
            }
        }
    }

    fn register(&self, handle: u64, ino: u64, key: u64, file: S::File, access: Access) {
        let share = Arc::clone(&self.share);
        self.handles.add(OpenFile { handle, ino, key, share, file, access, stream: Mutex::new(Stream::default()) });
    }

    async fn close_unused(&self, file: S::File) {
        if let Err(error) = self.share.close(&file).await {
            tracing::debug!(%error, "an open that was of no use was not closed properly");
        }
    }
}
