//! Opening, creating and closing files.

use super::errno::{Result, VfsError};
use super::file::Event;
use super::file::driver::{FileOf, Open, Opening};
use super::file::handle::{Access, Occasion};
use super::handles::{Leaving, OpenFile};
use super::inodes::Admission;
use super::presentation::Attr;
use super::{Vfs, names, pending};
use crate::share::{
    Caching, CreateAction, Disposition, FileKind, Granted, Lease, LeaseKey, Metadata, OpenHow, RemotePath, Share,
    ShareError,
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

/// How a file was just opened at the server.
struct New {
    access: Access,
    lease: LeaseKey,
    granted: Granted,
    metadata: Metadata,
    /// The open has truncated it.
    is_changed: bool,
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
        let (path, kind, file) = self
            .with_inodes(|inodes| {
                let node = inodes.get(ino)?;
                Some((inodes.path(ino, &self.root)?, node.kind, Arc::clone(&node.file)))
            })
            .ok_or_else(VfsError::stale)?;
        if kind == FileKind::Directory {
            return Err(VfsError::rule(libc::EISDIR, "a directory cannot be opened as a file"));
        }
        let (token, size, pages) = {
            let state = file.lock();
            (state.token(), state.size(), state.kernel_pages())
        };
        if let Some(opened) = self.open_shared(&file, access) {
            if file.lock().is_resized() {
                self.files.kernel_forgets(&file, pages).await;
            }
            return Ok(opened);
        }
        let disposition = if access.truncate { Disposition::Overwrite } else { Disposition::Open };
        self.close_doubtful(ino).await;
        self.settle_closes(ino).await;
        let opening = Opening::<S>::begin(&file);
        let lease = opening.lease;
        let how = self.how(access, disposition, false, lease);
        // A file that is small comes along.
        let reads_all = access.read && !access.truncate && !access.direct && (1..SMALL_FILE).contains(&size);
        let wanted = if reads_all { self.share.limits().read.min(size as u32) } else { 0 };
        let opened = self.open_on_share(&path, how, wanted).await;
        let (open, metadata, action, data) = opened.map_err(|error| match error.nt_status() {
            // Something else has its name now: a directory, or a file that this lease is not of.
            Some(NtStatus::FILE_IS_A_DIRECTORY | NtStatus::INVALID_PARAMETER) => {
                self.doubt_name(ino);
                VfsError::stale()
            }
            _ => self.stale_if_absent(ino, error),
        })?;

        let differs = self.with_inodes(|inodes| {
            let is_still = inodes.is_still(ino, &metadata);
            let differs = file.lock().size() != metadata.size;
            if is_still {
                inodes.store(ino, metadata, token, Instant::now());
            }
            is_still.then_some(differs)
        });
        let Some(differs) = differs else {
            self.doubt_name(ino);
            self.close_unused(open).await;
            return Err(VfsError::stale());
        };
        let granted = self.granted(&file, lease);
        let is_unchanged = file.lock().token() == token;
        if is_unchanged && data.len() as u64 == metadata.size && !data.is_empty() {
            self.cache.fill(file.key, data);
        }
        // What it truncates itself the kernel knows.
        let is_resized = !access.truncate && (differs || file.lock().is_resized());
        let is_changed = action != CreateAction::Opened;
        Ok(self.opened(&file, open, New { access, lease, granted, metadata, is_changed }, is_resized).await)
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
        let occupant = self.with_inodes(|inodes| inodes.file(inodes.at(parent, &name)?).cloned());
        if let Some(file) = &occupant {
            self.files.drain(file).await;
            self.settle_closes(file.ino).await;
        }
        let opening = occupant.as_ref().map(Opening::<S>::begin);
        let lease = opening.as_ref().map_or_else(LeaseKey::random, |opening| opening.lease);
        let how = self.how(access, disposition, mode & libc::S_IWUSR == 0, lease);
        let asked = self.asking();
        let opened = pending::once_free(|| self.open_on_share(&path, how, 0), || self.is_pending(&path)).await;
        let (open, metadata, action, _) = match opened {
            Ok(opened) => opened,
            Err(error) => {
                self.with_inodes(|inodes| self.entry_changed(inodes, parent, &name, None));
                return Err(error);
            }
        };
        if action != CreateAction::Created {
            self.saw(parent, &name, Some(metadata), asked);
        }

        let now = Instant::now();
        let file = self.with_inodes(|inodes| {
            let mut before = before;
            if action == CreateAction::Created {
                // What had this name has gone, even if the new file has got its file id.
                inodes.vanished(parent, &name, before);
                before = inodes.glimpse(parent, &name);
                self.entry_changed(inodes, parent, &name, Some(Some(metadata)));
            }
            let Admission::Node(ino) = inodes.admit(parent, &name, metadata, before, now) else { return None };
            inodes.file(ino).cloned()
        });
        let Some(file) = file else {
            self.close_unused(open).await;
            return Err(VfsError::stale());
        };
        let granted = self.granted(&file, lease);
        let is_changed = action == CreateAction::Overwritten;
        let opened = self.opened(&file, open, New { access, lease, granted, metadata, is_changed }, false).await;
        Ok((self.attr(file.ino)?, opened))
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
    /// on its way when this returns: an operation that removes the file next takes it along. To be called within the runtime.
    /// Errors can be told to nobody any more, so they are logged.
    pub fn release(self: &Arc<Self>, handle: u64) -> impl Future<Output = ()> + Send + use<S> {
        let vfs = Arc::clone(self);
        let closing = self.handles.take(handle).map(|leaving| {
            let mut closing = Box::pin(async move { vfs.finish_close(leaving).await });
            let done = closing.as_mut().now_or_never().is_some();
            (closing, done)
        });
        async move {
            if let Some((closing, false)) = closing {
                closing.await;
            }
        }
    }

    /// Closes every open handle, all at the same time. For the end of the mount.
    pub async fn drain(&self) {
        self.handles.remove_directories();
        join_all(self.handles.files().into_iter().map(|handle| self.close(handle))).await;
        let kept = self.files.take_kept(|_| true);
        self.files.close_kept(&kept).await;
        // Those that were being closed already.
        self.settle_all_closes().await;
    }

    async fn close(&self, handle: u64) {
        if let Some(leaving) = self.handles.take(handle) {
            // No other close is going to be sent together with it.
            tokio::join!(self.finish_close(leaving), async { self.share.send_closes() });
        }
    }

    async fn finish_close(&self, leaving: Leaving<S>) {
        let Leaving { file: open, closing } = leaving;
        let _closing = self.handles.closing(closing);
        let (file, handle) = (&open.file, open.handle);
        self.files.event(file, Event::HandleReleased { handle });
        open.readers.lock().give_up();
        if file.lock().is_dirty() {
            self.files.drain(file).await;
        }
        if let Err(error) = open.report(Occasion::Close) {
            tracing::error!(%error, "data that was written is lost: close(2) and fsync(2) have said so, if anybody asked");
        }
        let is_hidden = self.with_inodes(|inodes| inodes.get(file.ino).is_none_or(|node| node.hidden));
        let is_kept = self.files.with(file, |state, now| {
            let keep = !is_hidden && state.may_keep(handle, self.policy);
            let actions = state.on(Event::HandleClosed { handle, keep }, now);
            (state.has_kept_open(), actions)
        });
        if is_kept {
            self.files.kept(file);
        }
        file.until(|state| !state.is_closing()).await;
        if let Some(path) = self.with_inodes(|inodes| inodes.closed(file.ino, &self.root)) {
            self.remove_hidden(&path).await;
        }
    }

    fn how(&self, access: Access, disposition: Disposition, readonly: bool, lease: LeaseKey) -> OpenHow {
        let lease = self.asked_lease(lease, Caching::ALL);
        OpenHow { read: access.read, write: access.modifies(), disposition, readonly, lease }
    }

    /// What an open asks to be vouched for: nothing where nothing is cached.
    pub(super) fn asked_lease(&self, key: LeaseKey, caching: Caching) -> Option<Lease> {
        self.policy.asks_for_leases().then_some(Lease { key, caching })
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
        match open().await {
            Err(error) if has_too_many(&error) => {
                let kept = self.files.give_way();
                tracing::info!(%error, kept = kept.len(), "kept opens are closed");
                self.files.close_kept(&kept).await;
                open().await
            }
            result => result,
        }
    }

    /// What the server grants under a lease that a file was just opened with. What is cached of a file that other clients
    /// have open may be out of date.
    fn granted(&self, file: &FileOf<S>, lease: LeaseKey) -> Granted {
        self.files.lease(lease, file);
        let granted = self.share.granted(lease);
        self.learn_from(granted.caching);
        if !self.is_alone(granted.caching) {
            self.cache.drop_file(file.key);
        }
        granted
    }

    /// The server has opened a file: a handle of it is open from now on. The kernel believed another size if `is_resized`.
    async fn opened(&self, file: &FileOf<S>, open: S::File, new: New, is_resized: bool) -> Opened {
        let New { access, lease, granted, metadata, is_changed } = new;
        let (handle, open) = (self.handles.number(), Arc::new(open));
        let alone = self.is_alone(granted.caching);
        let grid = self.share.limits().write;
        let (keep_cache, pages) = self.files.with(file, |state, now| {
            let pages = state.kernel_pages();
            if is_changed {
                state.replaced(now);
            }
            let keep_cache = state.kernel_opens(handle, access, &metadata, alone);
            let event = Event::Opened { handle, access, open: Arc::clone(&open), lease, granted, grid };
            ((keep_cache, pages), state.on(event, now))
        });
        self.files.leased(lease);
        if file.lock().is_older_than(granted) {
            // A break came in between: what is left now is not what was read before it.
            self.files.event(file, Event::Granted { lease, granted: self.share.granted(lease) });
        }
        self.register(handle, file, open, access);
        if is_resized || !alone {
            // The kernel would go on believing the size that it was told before, and read no further.
            self.files.kernel_forgets(file, pages).await;
        }
        if !alone {
            self.forget_in_time(file);
        }
        Opened { handle, direct: self.bypasses_kernel(access), keep_cache }
    }

    /// A handle is open from now on.
    pub(super) fn register(&self, handle: u64, file: &FileOf<S>, open: Open<S>, access: Access) {
        self.unlinked_in.store(0, Ordering::Relaxed);
        let (file, share) = (Arc::clone(file), Arc::clone(&self.share));
        self.handles.add(OpenFile { handle, file, share, open, access, readers: Default::default() });
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
