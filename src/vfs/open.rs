//! Opening, creating and closing files.

use super::attributes::{Attr, DataVersion};
use super::errno::{Result, VfsError};
use super::files::{Idle, Remote, SharedFile};
use super::handles::{Access, Leaving, OpenFile};
use super::inodes::Admission;
use super::{Vfs, names, pending};
use crate::cache::{Occasion, WriteBack};
use crate::config::CacheMode;
use crate::share::{
    Caching, CreateAction, Disposition, FileKind, Lease, LeaseKey, Metadata, OpenHow, RemotePath, Share, ShareError,
};
use crate::wire::NtStatus;
use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::join_all;
use std::ffi::OsStr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

/// A file below this size, in bytes, is read together with its open: such a READ is not counted as bulk, which
/// travels on another connection.
const SMALL_FILE: u64 = 64 * 1024;

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

/// What a close has still to do.
enum Rest<S: Share> {
    Everything(Leaving<S>),
    /// Another open is to be closed at the server.
    Idle(Idle<S>),
}

impl<S: Share> Vfs<S> {
    /// Opens a file with the flags of open(2).
    ///
    /// # Errors
    /// `ESTALE` if the inode's name is another file's now; `EROFS`, `EISDIR`; what the share answered.
    pub async fn open(&self, ino: u64, flags: i32) -> Result<Opened> {
        let access = Access::from_flags(flags, self.options.cache)?;
        if access.modifies() {
            self.check_writable()?;
        }
        // The server's answer is to be of after what was written.
        self.drain_file(ino).await;
        let (path, kind, token, key, size) = self
            .with_inodes(|inodes| {
                let node = inodes.get(ino)?;
                let size = node.attributes.metadata().size;
                Some((inodes.path(ino, &self.root)?, node.kind, node.attributes.token(), node.key, size))
            })
            .ok_or_else(VfsError::stale)?;
        if kind == FileKind::Directory {
            return Err(VfsError::rule(libc::EISDIR, "a directory cannot be opened as a file"));
        }
        if let Some(shared) = self.files.get(key)
            && let Some(opened) = self.open_shared(&shared, access)
        {
            if self.is_resized(ino) {
                self.kernel_forgets(ino).await;
            }
            return Ok(opened);
        }
        let disposition = if access.truncate { Disposition::Overwrite } else { Disposition::Open };
        self.close_doubtful(ino).await;
        self.settle_closes(ino).await;
        let lease = self.lease_of(key);
        let how = self.how(access, disposition, false, lease);
        // A file that is small comes along.
        let reads_all = access.read && !access.truncate && !access.direct && (1..SMALL_FILE).contains(&size);
        let wanted = if reads_all { self.share.limits().read.min(size as u32) } else { 0 };
        let opened = self.open_on_share(&path, how, wanted).await;
        let (file, metadata, action, data) = opened.map_err(|error| match error.nt_status() {
            // Something else has its name now: a directory, or a file that this lease is not of.
            Some(NtStatus::FILE_IS_A_DIRECTORY | NtStatus::INVALID_PARAMETER) => {
                self.doubt_name(ino);
                VfsError::stale()
            }
            _ => self.stale_if_absent(ino, error),
        })?;

        let handle = self.handles.number();
        let alone = self.is_alone(lease);
        let registered = self.with_inodes(|inodes| {
            if !inodes.is_still(ino, &metadata) {
                return None;
            }
            let version = DataVersion::from(&metadata);
            let differs = inodes.get(ino)?.attributes.metadata().size != metadata.size;
            inodes.store(ino, metadata, token, Instant::now());
            let node = inodes.get_mut(ino)?;
            // What it truncates itself the kernel knows.
            let is_resized = !access.truncate && (differs || node.attributes.is_resized());
            if action != CreateAction::Opened {
                node.data.changed();
                node.attributes.changed_as_told();
            }
            let keep_cache = node.data.kernel_opens(handle, version, alone);
            node.kernel_pages.opens(access.read);
            let key = node.key;
            if !alone {
                self.cache.drop_file(key);
            }
            if node.attributes.token() == token && data.len() as u64 == metadata.size && !data.is_empty() {
                self.cache.fill(key, data);
            }
            inodes.opened(ino, handle);
            Some((key, keep_cache, is_resized))
        });
        let Some((key, keep_cache, is_resized)) = registered else {
            self.doubt_name(ino);
            self.close_unused(file).await;
            return Err(VfsError::stale());
        };
        let shared = self.register(handle, (ino, key), Arc::new(Remote::new(file, access, lease)), access);
        if is_resized || !alone {
            // The kernel would go on believing the size that it was told before, and read no further.
            self.kernel_forgets(ino).await;
        }
        if !alone {
            self.forget_in_time(&shared);
        }
        Ok(Opened { handle, direct: self.bypasses_kernel(access), keep_cache })
    }

    /// Creates a file, or opens the one that is there unless `O_EXCL` is given. The inode gets one
    /// more lookup. A mode without the owner's write bit gives a new file the read-only attribute.
    ///
    /// # Errors
    /// `EEXIST` with `O_EXCL`; `EROFS`; what the share answered.
    pub async fn create(&self, parent: u64, name: &OsStr, mode: u32, flags: i32) -> Result<(Attr, Opened)> {
        self.check_writable()?;
        let name = names::encode(name)?;
        let access = Access::from_flags(flags, self.options.cache)?;
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
        let lease = lease.unwrap_or_else(LeaseKey::random);
        let how = self.how(access, disposition, mode & libc::S_IWUSR == 0, lease);
        let asked = self.asking();
        let opened = pending::once_free(|| self.open_on_share(&path, how, 0), || self.is_pending(&path)).await;
        let (file, metadata, action, _) = match opened {
            Ok(opened) => opened,
            Err(error) => {
                self.with_inodes(|inodes| self.entry_changed(inodes, parent, &name, None));
                return Err(error);
            }
        };
        if action != CreateAction::Created {
            self.saw(parent, &name, Some(metadata), asked);
        }

        let handle = self.handles.number();
        let (now, alone) = (Instant::now(), self.is_alone(lease));
        let registered = self.with_inodes(|inodes| {
            let mut before = before;
            if action == CreateAction::Created {
                // Whoever had this name has gone, even if the new file has got its file id.
                inodes.vanished(parent, &name, before);
                before = inodes.glimpse(parent, &name);
                self.entry_changed(inodes, parent, &name, Some(Some(metadata)));
            }
            let Admission::Node(ino) = inodes.admit(parent, &name, metadata, before, now) else { return None };
            let node = inodes.get_mut(ino)?;
            if action == CreateAction::Overwritten {
                node.data.changed();
                node.attributes.changed_as_told();
            }
            let keep_cache = node.data.kernel_opens(handle, DataVersion::from(&metadata), alone);
            node.kernel_pages.opens(access.read);
            let key = node.key;
            if !alone {
                self.cache.drop_file(key);
            }
            inodes.opened(ino, handle);
            Some((ino, key, keep_cache))
        });
        let Some((ino, key, keep_cache)) = registered else {
            self.close_unused(file).await;
            return Err(VfsError::stale());
        };
        let shared = self.register(handle, (ino, key), Arc::new(Remote::new(file, access, lease)), access);
        if !alone {
            self.forget_in_time(&shared);
        }
        Ok((self.attr(ino)?, Opened { handle, direct: self.bypasses_kernel(access), keep_cache }))
    }

    /// Waits for closes of the inode that are under way. While a file is open, Samba goes on telling the
    /// time of the last write from when it was opened first, unless it was itself that wrote: an open
    /// that overtook the close before it would not learn that the file was changed in between.
    pub(super) async fn settle_closes(&self, ino: u64) {
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

    /// The kernel closes a handle. It is off the table at once, and an open that can be kept is kept at once, so that the
    /// next open(2) finds it; otherwise the future closes it on the share. Unless data is still to be written, its CLOSE is
    /// on its way when this returns: whoever removes the file next takes it along. To be called within the runtime.
    /// Errors can be told to nobody any more, so they are logged.
    pub fn release(self: &Arc<Self>, handle: u64) -> impl Future<Output = ()> + Send + use<S> {
        let rest = self.handles.take(handle).and_then(|leaving| self.keep_now(leaving));
        let vfs = Arc::clone(self);
        let closing = rest.map(|rest| {
            let mut closing = Box::pin(async move {
                match rest {
                    Rest::Everything(leaving) => vfs.finish_close(leaving).await,
                    Rest::Idle(idle) => vfs.close_idle(idle).await,
                }
            });
            let done = closing.as_mut().now_or_never().is_some();
            (closing, done)
        });
        async move {
            if let Some((closing, false)) = closing {
                closing.await;
            }
        }
    }

    /// Closes a handle without the server if that is possible: what remains to be done.
    fn keep_now(&self, leaving: Leaving<S>) -> Option<Rest<S>> {
        let open = &leaving.file;
        let is_hidden = self.with_inodes(|inodes| inodes.get(open.ino).is_none_or(|node| node.hidden));
        let has_failed = open.shared.back.failure(&open.seen, Occasion::Close).is_some();
        if is_hidden || has_failed || open.shared.is_dirty() || !self.may_keep(&open.remote) {
            return Some(Rest::Everything(leaving));
        }
        let _closing = self.handles.closing(leaving.closing);
        open.readers.lock().give_up();
        let idle = Idle { remote: Arc::clone(&open.remote), shared: Arc::clone(&open.shared) };
        let rest = if open.remote.leave() { self.keep(idle, false) } else { None };
        self.with_inodes(|inodes| inodes.closed(open.ino, open.handle, &self.root));
        rest.map(Rest::Idle)
    }

    /// Closes every open handle, all at the same time. For the end of the mount.
    pub async fn drain(&self) {
        self.handles.remove_directories();
        join_all(self.handles.files().into_iter().map(|handle| self.close(handle))).await;
        let kept = self.deferred.lock().take_all(|_| true);
        self.close_all_idle(kept).await;
        // Those that were being closed already.
        self.settle_all_closes().await;
    }

    async fn close(&self, handle: u64) {
        if let Some(leaving) = self.handles.take(handle) {
            // Nobody else is going to wait for it together with others.
            tokio::join!(self.finish_close(leaving), async { self.share.send_closes() });
        }
    }

    async fn finish_close(&self, leaving: Leaving<S>) {
        let Leaving { file: open, closing } = leaving;
        let _closing = self.handles.closing(closing);
        open.readers.lock().give_up();
        open.shared.back.drain().await;
        let set = self.settle_pending_through(&open).await;
        let failure = open.shared.back.failure(&open.seen, Occasion::Close).or(set.err());
        if let Some(error) = failure {
            tracing::error!(%error, "data that was written is lost: close(2) and fsync(2) have said so, if anybody asked");
        }
        if open.remote.leave() {
            let is_hidden = self.with_inodes(|inodes| inodes.get(open.ino).is_none_or(|node| node.hidden));
            let idle = Idle { remote: Arc::clone(&open.remote), shared: Arc::clone(&open.shared) };
            if let Some(idle) = self.keep(idle, is_hidden) {
                self.close_idle(idle).await;
            }
        }
        let hidden = self.with_inodes(|inodes| inodes.closed(open.ino, open.handle, &self.root));
        if let Some(path) = hidden {
            self.remove_hidden(&path).await;
        }
    }

    fn how(&self, access: Access, disposition: Disposition, readonly: bool, lease: LeaseKey) -> OpenHow {
        let lease = self.asked_lease(lease, Caching::ALL);
        OpenHow { read: access.read, write: access.modifies(), disposition, readonly, lease }
    }

    /// What an open asks to be vouched for: nothing where nothing is cached.
    pub(super) fn asked_lease(&self, key: LeaseKey, caching: Caching) -> Option<Lease> {
        (self.options.cache != CacheMode::None).then_some(Lease { key, caching })
    }

    /// Opens a file, and reads as many of its first bytes. If the server has too many files open for this client,
    /// those are closed that nobody uses, and it is tried again.
    async fn open_on_share(
        &self,
        path: &RemotePath,
        how: OpenHow,
        wanted: u32,
    ) -> std::result::Result<(S::File, Metadata, CreateAction, Bytes), ShareError> {
        let open = || async {
            if wanted > 0 {
                return self.share.open_and_read(path, how, wanted).await;
            }
            let (file, metadata, action) = self.share.open(path, how).await?;
            Ok((file, metadata, action, Bytes::new()))
        };
        let opened = match open().await {
            Err(error) if has_too_many(&error) => {
                let kept = self.deferred.lock().give_way();
                tracing::info!(%error, kept = kept.len(), "files that nobody uses are closed");
                self.close_all_idle(kept).await;
                open().await
            }
            result => result,
        };
        if let Some(lease) = how.lease.filter(|_| opened.is_ok()) {
            self.learn_from(lease.key);
        }
        opened
    }

    /// A handle is open from now on.
    pub(super) fn register(
        &self,
        handle: u64,
        (ino, key): (u64, u64),
        remote: Arc<Remote<S>>,
        access: Access,
    ) -> Arc<SharedFile<S>> {
        self.unlinked_in.store(0, Ordering::Relaxed);
        let back = || WriteBack::new(key, self.share.limits().write, Arc::clone(&self.cache));
        let shared = self.files.join((ino, key), remote.lease, back);
        self.handles.add(OpenFile {
            handle,
            ino,
            key,
            share: Arc::clone(&self.share),
            inodes: Arc::clone(&self.inodes),
            remote,
            access,
            seen: shared.back.seen(),
            shared: Arc::clone(&shared),
            readers: Default::default(),
        });
        shared
    }

    async fn close_unused(&self, file: S::File) {
        if let Err(error) = self.share.close(&file).await {
            tracing::debug!(%error, "an open that was of no use was not closed properly");
        }
    }
}

/// Whether the server, or this user's share of it, is full of open files.
fn has_too_many(error: &ShareError) -> bool {
    matches!(error.nt_status(), Some(NtStatus::TOO_MANY_OPENED_FILES | NtStatus::INSUFFICIENT_RESOURCES))
}
