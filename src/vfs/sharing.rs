//! Opens at the server that serve several opens of programs, one after the other or at the same time.
//!
//! While the server vouches that nobody else can open a file without asking first (a lease with WRITE) and its attributes
//! are believed, a live open of it is as good as a new one, and costs nothing. (READ alone would not do: a server takes it
//! back without waiting until that is obeyed. And no lease says anything of what is done on the server's own disk: therefore
//! the attributes.) While it also vouches that nobody else can touch the file without asking first (READ, HANDLE
//! and WRITE together: a server need not ask before a delete when WRITE is gone, and Samba does not), the last
//! close is put off, for a bounded time ([`super::deferred`]), if nothing was changed through the open.
//!
//! Invariant: whatever this mount does that such an open would be in the way of closes it before, and
//! when the server takes anything of its lease back it is closed at once.

use super::Vfs;
use super::attributes::DataVersion;
use super::errno::{Result, VfsError};
use super::files::{Idle, Remote, SharedFile};
use super::handles::{Access, OpenFile};
use super::inodes::Inodes;
use super::open::Opened;
use crate::config::CacheMode;
use crate::share::{Caching, Change, FileKind, LeaseKey, Share, ShareError, Target};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// How often idle opens are looked at.
const LOOK_AFTER: Duration = Duration::from_secs(5);

impl<S: Share> Vfs<S> {
    /// As [`Vfs::open`], if it can be answered without the server.
    pub fn open_now(&self, ino: u64, flags: i32) -> Option<Result<Opened>> {
        let access = Access::from_flags(flags, self.options.cache).ok()?;
        let (key, kind) = self.with_inodes(|inodes| inodes.get(ino).map(|node| (node.key, node.kind)))?;
        if access.truncate || kind == FileKind::Directory || (access.modifies() && self.options.read_only) {
            return None;
        }
        let shared = self.files.get(key)?;
        if shared.is_dirty() || self.is_resized(ino) { None } else { self.open_shared(&shared, access).map(Ok) }
    }

    /// Whether the kernel may believe that a file has another size.
    pub(super) fn is_resized(&self, ino: u64) -> bool {
        self.with_inodes(|inodes| inodes.get(ino).is_some_and(|node| node.attributes.is_resized()))
    }

    /// Opens a file through an open at the server that is there, if it is good for that.
    pub(super) fn open_shared(&self, shared: &Arc<SharedFile<S>>, access: Access) -> Option<Opened> {
        if access.truncate || !self.vouched_to(shared.lease).covers(Caching::READ | Caching::WRITE) {
            return None;
        }
        let (ino, key) = (shared.ino, shared.key);
        if !self.is_known(ino) {
            return None;
        }
        let handles = self.with_inodes(|inodes| inodes.get(ino).map(|node| node.handles.clone()))?;
        let live = self.handles.find(&handles, |open| open.remote.allows(access) && open.remote.join());
        let remote = match live {
            Some(open) => Arc::clone(&open.remote),
            None => {
                let idle = self.deferred.lock().take(key, |idle: &Idle<S>| idle.remote.allows(access))?;
                idle.remote.take_up();
                idle.remote
            }
        };
        let handle = self.handles.number();
        let keep_cache = self.with_inodes(|inodes| {
            inodes.opened(ino, handle);
            let node = inodes.get_mut(ino)?;
            let version = DataVersion::from(node.attributes.metadata());
            node.kernel_pages.opens(access.read);
            Some(node.data.kernel_opens(handle, version, true))
        });
        self.register(handle, (ino, key), remote, access);
        Some(Opened { handle, direct: self.bypasses_kernel(access), keep_cache: keep_cache.unwrap_or(false) })
    }

    /// The last user of an open has gone: it is kept if it may be. Otherwise it is given back, to be closed.
    pub(super) fn keep(&self, idle: Idle<S>, is_hidden: bool) -> Option<Idle<S>> {
        if is_hidden || !self.may_keep(&idle.remote) {
            return Some(idle);
        }
        let key = idle.shared.key;
        self.deferred.lock().keep(key, idle, Instant::now())
    }

    /// Whether an open may be kept when its last user goes.
    pub(super) fn may_keep(&self, remote: &Remote<S>) -> bool {
        let everything = Caching::READ | Caching::HANDLE | Caching::WRITE;
        remote.is_unchanged() && self.vouched_to(remote.lease).covers(everything)
    }

    /// What may be cached under a lease: in loose mode everything, whatever the server says.
    pub(super) fn vouched_to(&self, lease: LeaseKey) -> Caching {
        match self.options.cache {
            CacheMode::Loose => Caching::ALL,
            CacheMode::Strict | CacheMode::None => self.share.caching(lease),
        }
    }

    /// Whether the kernel keeps no pages of what goes through an open.
    pub(super) fn bypasses_kernel(&self, access: Access) -> bool {
        access.bypasses_kernel() || self.keeps_no_pages()
    }

    /// Whether a file that is open under this lease is open nowhere else, as far as can be known: then its version tells
    /// whether it has changed. Of a file that others have open, servers tell the time of a write late: Samba when it is
    /// closed, or two seconds afterwards. A server that never vouches for a file leaves nothing but versions.
    pub(super) fn is_alone(&self, lease: LeaseKey) -> bool {
        self.vouched_to(lease).writes() || !self.vouches.load(Ordering::Relaxed)
    }

    /// A file was opened under this lease: that tells whether the server ever vouches for one.
    pub(super) fn learn_from(&self, lease: LeaseKey) {
        if self.vouched_to(lease) != Caching::NONE {
            self.vouches.store(true, Ordering::Relaxed);
        }
    }

    /// Whether the server vouches for the data of a file that is open under this lease. A read lease is taken back when
    /// somebody writes, but he does not wait until that is obeyed: that is too late if nothing may be out of date.
    pub(super) fn is_vouched_for(&self, lease: LeaseKey) -> bool {
        let caching = self.share.caching(lease);
        if self.keeps_no_pages() { caching.writes() } else { caching.reads() }
    }

    /// What is read from now on of a file that somebody else may be writing is believed for the timeout at the most, whatever
    /// its version is then.
    pub(super) fn forget_in_time(&self, shared: &Arc<SharedFile<S>>) {
        if self.keeps_no_pages() || self.is_vouched_for(shared.lease) || shared.fades.swap(true, Ordering::AcqRel) {
            return;
        }
        let (file, inodes, timeout) = (Arc::downgrade(shared), Arc::clone(&self.inodes), self.options.attr_timeout);
        let forget = self.kernel_view.later(shared.ino);
        tokio::spawn(async move {
            tokio::time::sleep(timeout).await;
            let Some(file) = file.upgrade() else { return };
            file.fades.store(false, Ordering::Release);
            if let Some(node) = inodes.lock().get_mut(file.ino) {
                node.data.expire();
            }
            forget.await;
        });
    }

    /// Nothing may be out of date: then the kernel keeps no pages at all, since it cannot be told of a change before it uses
    /// what it has.
    pub(super) fn keeps_no_pages(&self) -> bool {
        self.options.attr_timeout.is_zero()
    }

    /// Closes at the server what nobody uses.
    pub(super) async fn close_idle(&self, idle: Idle<S>) {
        let ino = idle.shared.ino;
        let token = self.with_inodes(|inodes| inodes.token(ino));
        match self.share.close(&idle.remote.file).await {
            Ok(Some(metadata)) => {
                if let Some(token) = token {
                    self.with_inodes(|inodes| inodes.store(ino, metadata, token, Instant::now()));
                }
            }
            Ok(None) => {}
            Err(error) => tracing::warn!(%error, "a file was not closed properly"),
        }
    }

    /// Closes in the background what is kept of files that have lost their names, or that the kernel has forgotten: it
    /// would be found by no program, and be in the way of whatever happens to the file.
    pub(super) fn close_displaced(&self, keys: Vec<u64>) {
        let idle: Vec<_> = {
            let mut deferred = self.deferred.lock();
            keys.into_iter().filter_map(|key| deferred.take(key, |_| true)).collect()
        };
        if idle.is_empty() {
            return;
        }
        let share = Arc::clone(&self.share);
        tokio::spawn(async move {
            let closes = idle.iter().map(|idle| share.close(&idle.remote.file));
            for error in futures_util::future::join_all(closes).await.into_iter().filter_map(std::result::Result::err) {
                tracing::warn!(%error, "a file was not closed properly");
            }
        });
    }

    /// The lease under which a file is open here, or kept, or being closed.
    pub(super) fn known_lease(&self, ino: u64) -> Option<LeaseKey> {
        let key = self.with_inodes(|inodes| inodes.get(ino).map(|node| node.key))?;
        self.files.get(key).map(|file| file.lease)
    }

    /// Closes several of them, in few frames.
    pub(super) async fn close_all_idle(&self, idle: Vec<Idle<S>>) {
        let closes = futures_util::future::join_all(idle.into_iter().map(|idle| self.close_idle(idle)));
        tokio::join!(closes, async { self.share.send_closes() });
    }

    /// Waits for the closes that are under way. Says whether there were any.
    pub(super) async fn settle_all_closes(&self) -> bool {
        self.share.send_closes();
        self.handles.settle().await
    }

    /// Whether an open is kept of a file.
    pub(super) fn is_kept(&self, inodes: &Inodes, ino: u64) -> bool {
        inodes.get(ino).is_some_and(|node| self.deferred.lock().has(node.key))
    }

    /// The open that is kept of a file: to be closed.
    pub(super) fn take_deferred(&self, ino: u64) -> Option<Idle<S>> {
        let key = self.with_inodes(|inodes| inodes.get(ino).map(|node| node.key))?;
        self.deferred.lock().take(key, |_| true)
    }

    /// If an open of a file is kept, it is closed.
    pub(super) async fn close_deferred(&self, ino: u64) {
        self.close_all_idle(self.take_deferred(ino).into_iter().collect()).await;
    }

    /// Before the server is asked about a file: an open that is kept of it is closed, and with it those of the same directory about
    /// which as little is known. While a file is open, Samba goes on telling the time of the last write from when it was
    /// opened, unless it was itself that wrote: what is done on the server's own disk would not show.
    pub(super) async fn close_doubtful(&self, ino: u64) {
        let now = Instant::now();
        let idle = self.with_inodes(|inodes| {
            if !self.is_kept(inodes, ino) || self.believed(inodes, ino, now).is_some() {
                return None;
            }
            let parent = inodes.parent(ino);
            Some(self.deferred.lock().take_all(|idle| {
                let other = idle.shared.ino;
                inodes.parent(other) == parent && self.shown(inodes, other, now).is_none_or(|attr| attr.ttl.is_zero())
            }))
        });
        if let Some(idle) = idle {
            self.close_all_idle(idle).await;
        }
    }

    /// The opens that are kept of files below a directory, or of a file: to be closed.
    pub(super) fn take_deferred_below(&self, directory: u64) -> Vec<Idle<S>> {
        self.with_inodes(|inodes| self.deferred.lock().take_all(|idle| inodes.is_within(idle.shared.ino, directory)))
    }

    /// Closes them: servers do not rename a directory before.
    pub(super) async fn close_deferred_below(&self, directory: u64) {
        self.close_all_idle(self.take_deferred_below(directory)).await;
    }

    /// Closes what was kept for long enough, until the mount ends. For one task of a mount.
    pub async fn tend(self: Arc<Self>) {
        loop {
            tokio::time::sleep(LOOK_AFTER).await;
            let expired = self.deferred.lock().expire(Instant::now());
            self.close_all_idle(expired).await;
        }
    }

    /// The lease under which a file is or was opened, or a new one.
    pub(super) fn lease_of(&self, key: u64) -> LeaseKey {
        self.files.get(key).map_or_else(LeaseKey::random, |file| file.lease)
    }

    /// Brings to the server what was set after the last write went.
    pub(super) async fn settle_pending(&self, shared: &Arc<SharedFile<S>>) -> Result<()> {
        let change = std::mem::take(&mut *shared.pending.lock());
        if change == Change::default() {
            return Ok(());
        }
        let writer = self.writer(shared.ino).ok_or_else(VfsError::stale)?;
        self.set_pending(&writer, change).await.map_err(VfsError::from)
    }

    /// The same by a handle that is on its way to be closed.
    pub(super) async fn settle_pending_through(&self, open: &OpenFile<S>) -> std::result::Result<(), ShareError> {
        if !open.access.write {
            return Ok(());
        }
        let change = std::mem::take(&mut *open.shared.pending.lock());
        if change == Change::default() { Ok(()) } else { self.set_pending(open, change).await }
    }

    async fn set_pending(&self, writer: &OpenFile<S>, change: Change) -> std::result::Result<(), ShareError> {
        let shared = &writer.shared;
        writer.remote.changes();
        let result = self.share.set(Target::File(&writer.remote.file), &change).await;
        self.with_inodes(|inodes| {
            if let Some(node) = inodes.get_mut(shared.ino)
                && !shared.is_dirty()
            {
                node.attributes.released();
            }
        });
        result
    }
}
