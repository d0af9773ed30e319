//! Opening, creating and closing files.

use super::attributes::{Attr, DataVersion};
use super::errno::{Result, VfsError};
use super::handles::{Access, Leaving, OpenFile};
use super::inodes::Admission;
use super::{Vfs, files, names, pending};
use crate::cache::{Occasion, WriteBack};
use crate::share::{
    Caching, CreateAction, Disposition, FileKind, Lease, LeaseKey, Metadata, OpenHow, RemotePath, Share,
};
use futures_util::future::join_all;
use std::ffi::OsStr;
use std::sync::Arc;
use std::time::Instant;

/// A file that the kernel has open now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Opened {
    /// The handle.
    pub handle: u64,
    /// The kernel keeps no pages of what goes through this handle.
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
        // The server's answer is to be of after what was written.
        self.drain_file(ino).await;
        let (path, kind, token, key) = self
            .with_inodes(|inodes| {
                let node = inodes.get(ino)?;
                Some((inodes.path(ino, &self.root)?, node.kind, node.attributes.token(), node.key))
            })
            .ok_or_else(VfsError::stale)?;
        if kind == FileKind::Directory {
            return Err(VfsError::rule(libc::EISDIR, "a directory cannot be opened as a file"));
        }
        let disposition = if access.truncate { Disposition::Overwrite } else { Disposition::Open };
        self.settle_closes(ino).await;
        let lease = self.files.get(key).map_or_else(files::new_lease, |file| file.lease);
        let (file, metadata, action) = self.open_on_share(&path, access, disposition, false, lease).await?;

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
        self.register(handle, (ino, key), file, access, lease);
        Ok(Opened { handle, direct: access.bypasses_kernel(), keep_cache })
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
        let occupant =
            self.with_inodes(|inodes| inodes.at(parent, &name).and_then(|ino| Some((ino, inodes.get(ino)?.key))));
        let mut lease = None;
        if let Some((ino, key)) = occupant {
            self.drain_file(ino).await;
            self.settle_closes(ino).await;
            lease = self.files.get(key).map(|file| file.lease);
        }
        let lease = lease.unwrap_or_else(files::new_lease);
        let readonly = mode & libc::S_IWUSR == 0;
        let (file, metadata, action) = self.open_on_share(&path, access, disposition, readonly, lease).await?;

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
        self.register(handle, (ino, key), file, access, lease);
        Ok((self.attr(ino)?, Opened { handle, direct: access.bypasses_kernel(), keep_cache }))
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
        open.readers.lock().give_up();
        open.shared.back.drain().await;
        if let Some(error) = open.shared.back.failure(&open.seen, Occasion::Close) {
            tracing::error!(%error, "data that was written is lost: close(2) and fsync(2) have said so, if anybody asked");
        }
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
        lease: LeaseKey,
    ) -> Result<(S::File, Metadata, CreateAction)> {
        let lease = Some(Lease { key: lease, caching: Caching::READ | Caching::WRITE });
        let how = OpenHow { read: access.read, write: access.modifies(), disposition, readonly, lease };
        match disposition {
            Disposition::Open | Disposition::Overwrite => Ok(self.share.open(path, how).await?),
            Disposition::Create | Disposition::OpenIf | Disposition::OverwriteIf => {
                pending::once_free(|| self.share.open(path, how)).await
            }
        }
    }

    fn register(&self, handle: u64, (ino, key): (u64, u64), file: S::File, access: Access, lease: LeaseKey) {
        let back = || WriteBack::new(key, self.share.limits().write, Arc::clone(&self.cache));
        let shared = self.files.join((ino, key), lease, back);
        self.handles.add(OpenFile {
            handle,
            ino,
            key,
            share: Arc::clone(&self.share),
            inodes: Arc::clone(&self.inodes),
            file,
            access,
            lease,
            seen: shared.back.seen(),
            shared,
            readers: Default::default(),
        });
    }

    async fn close_unused(&self, file: S::File) {
        if let Err(error) = self.share.close(&file).await {
            tracing::debug!(%error, "an open that was of no use was not closed properly");
        }
    }
}
