//! Opens at the server that serve several opens of programs, one after the other or at the same time.
//!
//! While no other client can open a file without a break of this client's lease ([`super::policy::Policy::may_share_open`])
//! and its attributes are believed, a live open of it is as good as a new one, and costs nothing. (No lease says anything of
//! what is done on the server's own disk: therefore the attributes.) While no other client can touch the file at all
//! without a break, the open is kept for a bounded time when its last handle goes, if nothing was changed through it.
//!
//! Invariant: an operation of this mount that a kept open would be in the way of closes it before, and a break of
//! its lease closes it at once.

use super::Vfs;
use super::errno::Result;
use super::file::driver::{FileOf, Open};
use super::file::handle::Access;
use super::file::{Event, FileState};
use super::inodes::Inodes;
use super::open::Opened;
use crate::share::{Caching, FileKind, Share};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// How often kept opens are looked at.
const LOOK_AFTER: Duration = Duration::from_secs(5);

impl<S: Share> Vfs<S> {
    /// As [`Vfs::open`], if it can be answered without the server.
    pub fn open_now(&self, ino: u64, flags: i32) -> Option<Result<Opened>> {
        let access = Access::from_flags(flags, self.options.cache).ok()?;
        let (file, kind) =
            self.with_inodes(|inodes| inodes.get(ino).map(|node| (Arc::clone(&node.file), node.kind)))?;
        if access.truncate || kind == FileKind::Directory || (access.modifies() && self.options.read_only) {
            return None;
        }
        let is_ready = {
            let state = file.lock();
            !state.is_dirty() && !state.is_resized() && state.shareable(access, self.policy).is_some()
        };
        if is_ready { self.open_shared(&file, access).map(Ok) } else { None }
    }

    /// Opens a file through an open at the server that is there, if it is good for that.
    pub(super) fn open_shared(&self, file: &FileOf<S>, access: Access) -> Option<Opened> {
        if !self.is_known(file.ino) {
            return None;
        }
        let handle = self.handles.number();
        let (open, keep_cache) = self.files.with(file, |state: &mut FileState<Open<S>>, now| {
            let Some((id, open)) = state.shareable(access, self.policy) else { return (None, Vec::new()) };
            let found = *state.metadata();
            let keep_cache = state.kernel_opens(handle, access, &found, true);
            (Some((open, keep_cache)), state.on(Event::Joined { handle, access, open: id }, now))
        })?;
        self.register(handle, file, open, access);
        Some(Opened { handle, direct: self.bypasses_kernel(access), keep_cache })
    }

    /// Whether the kernel keeps no pages of what goes through an open.
    pub(super) fn bypasses_kernel(&self, access: Access) -> bool {
        access.bypasses_kernel() || self.policy.keeps_no_pages()
    }

    /// Whether a file that was granted this is open nowhere else, as far as can be known, so that its version tells if it
    /// has changed.
    pub(super) fn is_alone(&self, granted: Caching) -> bool {
        self.policy.trusts_version(granted, self.grants_leases.load(Ordering::Relaxed))
    }

    /// A file was opened with a lease: that shows whether the server ever grants one.
    pub(super) fn learn_from(&self, granted: Caching) {
        if granted != Caching::NONE {
            self.grants_leases.store(true, Ordering::Relaxed);
        }
    }

    /// What is read from now on of a file that another client may be writing is believed for the timeout at the most,
    /// whatever its version is then.
    pub(super) fn forget_in_time(&self, file: &FileOf<S>) {
        let fades = {
            let mut state = file.lock();
            !self.policy.keeps_no_pages() && !self.policy.believes_data(state.caching()) && state.begin_fading()
        };
        if !fades {
            return;
        }
        let (fading, timeout) = (Arc::downgrade(file), self.policy.timeout);
        let forget = self.kernel_view.later(file.ino);
        tokio::spawn(async move {
            tokio::time::sleep(timeout).await;
            let Some(file) = fading.upgrade() else { return };
            file.lock().faded();
            forget.await;
        });
    }

    /// Waits for the closes that are under way. Says whether there were any.
    pub(super) async fn settle_all_closes(&self) -> bool {
        self.share.send_closes();
        self.handles.settle().await
    }

    /// Whether an open is kept of a file.
    pub(super) fn is_kept(&self, inodes: &Inodes<Open<S>>, ino: u64) -> bool {
        inodes.file(ino).is_some_and(|file| file.lock().has_kept_open())
    }

    /// If an open of a file is kept, it is closed.
    pub(super) async fn close_deferred(&self, ino: u64) {
        let file = self.with_inodes(|inodes| inodes.file(ino).cloned());
        if let Some(file) = file.filter(|file| file.lock().has_kept_open()) {
            self.files.close_kept(&[file]).await;
        }
    }

    /// Before the server is asked about a file: an open that is kept of it is closed, and with it those of the same directory
    /// about which as little is known. While a file is open, Samba goes on reporting the time of the last write from when it
    /// was opened, unless it was itself that wrote: what is done on the server's own disk would not show.
    pub(super) async fn close_doubtful(&self, ino: u64) {
        let now = Instant::now();
        let kept = self.with_inodes(|inodes| {
            if !self.is_kept(inodes, ino) || self.believed(inodes, ino, now).is_some() {
                return None;
            }
            let parent = inodes.parent(ino);
            let mut kept = self.files.take_kept(|file| {
                let other = file.ino;
                other != ino
                    && inodes.parent(other) == parent
                    && self.shown(inodes, other, now).is_none_or(|attr| attr.ttl.is_zero())
            });
            kept.extend(inodes.file(ino).cloned());
            Some(kept)
        });
        if let Some(kept) = kept {
            self.files.close_kept(&kept).await;
        }
    }

    /// The files below a directory, or the file itself, whose opens are kept: to be closed.
    pub(super) fn take_kept_below(&self, directory: u64) -> Vec<FileOf<S>> {
        self.with_inodes(|inodes| self.files.take_kept(|file| inodes.is_within(file.ino, directory)))
    }

    /// Closes them: servers do not rename a directory before.
    pub(super) async fn close_deferred_below(&self, directory: u64) {
        let kept = self.take_kept_below(directory);
        self.files.close_kept(&kept).await;
    }

    /// Closes what was kept for long enough, until the mount ends. For one task of a mount.
    pub async fn tend(self: Arc<Self>) {
        loop {
            tokio::time::sleep(LOOK_AFTER).await;
            let expired = self.files.expire_kept();
            self.files.close_kept(&expired).await;
        }
    }
}
