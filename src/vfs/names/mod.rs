//! [`Names`] drives the [`Namespace`]: it holds its lock, asks the server for names that are not cached, records the
//! answers, and keeps the watches on directories.
//!
//! Actors: operations, which look names up and change them; one task of the mount, which follows all watches; tasks
//! that list directories ahead; and the kernel, which is made to forget names and attributes that have changed.
//!
//! | file | what is decided there |
//! |---|---|
//! | [`namespace`] | which names exist, which file each means, and how long that is valid: a plain value |
//! | `entries` | which answers come from the cache; when an absent name becomes `ESTALE` |
//! | `answers` | the state to record before a request about a name, and how its answer is recorded |
//! | `changes` | how creates, removals and renames by this mount are recorded |
//! | `kept` | which kept opens are closed, and which dirty data is drained, before an operation |
//! | `listing` | how a directory is listed, and which entries are shown |
//! | `watches` | when a directory is watched, when its watch ends, and what a report causes |
//! | `brake` | how long to wait before the next CHANGE_NOTIFY |
//! | `owners` | how the server is asked for owners and modes, and how they are stored there |
//! | `guests` | which watches and kept opens are closed when the server has no room for another open |
//! | [`listing_ahead`] | which directories are listed before a program lists them |
//! | [`hidden`] | the names of files that were removed while they are open |
//!
//! `answers` and `changes` are the ways for operations into the files of the same names in [`namespace`], which decide
//! what is recorded. A watch is a CHANGE_NOTIFY or a lease on the directory. Absent names are cached here only: the
//! kernel gets `ENOENT` for them, never a negative dentry.
//!
//! Invariant: the [`Effects`] of a change are carried out after the namespace's lock is released and before
//! [`Names::with`] returns. Two exceptions: the notifications to the kernel are sent by a task of their own
//! ([`Names::with_kernel`] waits until they are queued), and the effects of [`Nodes::collect`] wait for the next call
//! of [`Names::with`].

mod answers;
mod brake;
mod changes;
mod entries;
mod guests;
pub(crate) mod hidden;
mod kept;
mod listing;
pub(crate) mod listing_ahead;
pub(crate) mod namespace;
mod owners;
mod watches;

use super::errno::{Result, VfsError};
use super::file::driver::{FileOf, Files, Nodes, Open};
use super::kernel_view::KernelView;
use super::lane::Forgotten;
use super::terms::Terms;
use crate::cache::PageCache;
use crate::share::{FileIdentity, RemotePath, Share, ShareError, Space};
use listing_ahead::underway::Ahead;
use listing_ahead::walk::Walk;
use namespace::{Effects, Namespace};
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;
use watches::Watches;

pub(crate) use changes::Entry;
pub(crate) use listing::{Gathered, Listing};
pub(crate) use owners::Found;

/// The namespace of a mount, with its lock.
pub(crate) type Shared<S> = Arc<Mutex<Namespace<Open<S>>>>;

impl<O: Clone + Send> Nodes for Mutex<Namespace<O>>
where
    O: Sync,
{
    fn collect(&self, ino: u64) {
        self.lock().collect(ino);
    }
}

/// See the module.
pub(crate) struct Names<S: Share> {
    share: Arc<S>,
    terms: Terms,
    files: Arc<Files<S>>,
    cache: Arc<PageCache<ShareError>>,
    kernel_view: Arc<KernelView>,
    namespace: Shared<S>,
    watches: Watches<S>,
    ahead: Arc<Ahead>,
    walk: Mutex<Walk>,
    hidden: hidden::Owner,
    /// Whether a name that no honest server lists was logged already.
    hostile_name_logged: AtomicBool,
    /// When watches and kept opens were last closed to make room at the server.
    room_made_at: Mutex<Option<Instant>>,
}

impl<S: Share> Names<S> {
    /// A mount of which only the root is known.
    pub(crate) fn new(
        share: Arc<S>,
        terms: Terms,
        files: Arc<Files<S>>,
        cache: Arc<PageCache<ShareError>>,
        kernel_view: Arc<KernelView>,
        namespace: Shared<S>,
    ) -> Arc<Names<S>> {
        Arc::new(Names {
            share,
            terms,
            files,
            cache,
            kernel_view,
            namespace,
            watches: Watches::new(),
            ahead: Arc::default(),
            walk: Mutex::default(),
            hidden: hidden::Owner::random(),
            hostile_name_logged: AtomicBool::new(false),
            room_made_at: Mutex::default(),
        })
    }

    /// Works on the namespace under its lock, and carries out the effects. Notifications to the kernel are sent by a
    /// task of their own. To be called within the runtime.
    pub(crate) fn with<R>(&self, work: impl FnOnce(&mut Namespace<Open<S>>, Instant) -> R) -> R {
        let (result, forgotten) = self.change(work);
        if !forgotten.is_empty() {
            let kernel = Arc::clone(&self.kernel_view);
            tokio::spawn(async move {
                for what in forgotten {
                    kernel.forget(what).await;
                }
            });
        }
        result
    }

    /// As [`Names::with`], but waits until the notifications to the kernel are queued. For work that may cause many of
    /// them.
    pub(crate) async fn with_kernel<R>(&self, work: impl FnOnce(&mut Namespace<Open<S>>, Instant) -> R) -> R {
        let (result, forgotten) = self.change(work);
        for what in forgotten {
            self.kernel_view.forget(what).await;
        }
        result
    }

    /// Works on the namespace under its lock, and carries out all effects but the notifications to the kernel, which
    /// are returned.
    fn change<R>(&self, work: impl FnOnce(&mut Namespace<Open<S>>, Instant) -> R) -> (R, Vec<Forgotten>) {
        let (result, effects) = {
            let mut namespace = self.namespace.lock();
            let result = work(&mut namespace, Instant::now());
            (result, namespace.take_effects())
        };
        let Effects { ended_watches, dropped, unwanted_opens, forgotten } = effects;
        dropped.into_iter().for_each(|key| self.cache.drop_file(key));
        ended_watches.into_iter().for_each(|number| self.watches.end(number));
        self.files.begin_to_close(&unwanted_opens);
        (result, forgotten)
    }

    /// The file of an inode.
    pub(crate) fn file(&self, ino: u64) -> Option<FileOf<S>> {
        self.with(|namespace, _| namespace.file(ino).cloned())
    }

    /// The path of an inode on the share.
    ///
    /// # Errors
    /// `ESTALE` if no name leads to the inode any more.
    pub(crate) fn path(&self, ino: u64) -> Result<RemotePath> {
        self.with(|namespace, _| namespace.path(ino, &self.terms.root)).ok_or_else(VfsError::stale)
    }

    /// The identity of the inode's file at the server, as last reported.
    pub(crate) fn identity(&self, ino: u64) -> Option<FileIdentity> {
        self.with(|namespace, _| Some(namespace.file(ino)?.lock().metadata().identity()))
    }

    /// Whether a name is another spelling of one that is known, and not known to be one itself.
    pub(crate) fn is_other_spelling(&self, parent: u64, name: &[u16]) -> bool {
        self.with(|namespace, _| namespace.is_other_spelling(parent, name))
    }

    /// Whether `ino` is the directory `directory` or below it, by any spelling of its name.
    pub(crate) fn is_within_any_spelling(&self, ino: u64, directory: u64) -> bool {
        self.with(|namespace, _| namespace.is_within_any_spelling(ino, directory))
    }

    /// Whether `ino` is the directory `directory` or below it.
    pub(crate) fn is_within(&self, ino: u64, directory: u64) -> bool {
        self.with(|namespace, _| namespace.is_within(ino, directory))
    }

    /// The number of nodes, the root among them.
    pub(crate) fn len(&self) -> usize {
        self.with(|namespace, _| namespace.len())
    }

    /// The kernel returns `lookups` lookups of an inode (FUSE_FORGET).
    pub(crate) fn forget(&self, ino: u64, lookups: u64) {
        self.with(|namespace, _| namespace.forget(ino, lookups));
    }

    /// A hidden name that this mount has not used before.
    pub(crate) fn hidden_name(&self) -> Vec<u16> {
        self.hidden.next_name()
    }

    /// A hidden path for a file that is removed or replaced while other clients have it open. The path is in the
    /// mount's root: a directory below it that holds the hidden file could not be removed until those clients close it.
    pub(crate) fn aside(&self) -> RemotePath {
        self.terms.root.join(&self.hidden.next_name())
    }

    /// Records that a file of a directory is about to be removed. Returns whether the last removal was in the same
    /// directory, with no file opened since.
    pub(crate) fn goes_on_removing(&self, directory: u64) -> bool {
        self.with(|namespace, _| namespace.removes_in(directory))
    }

    /// Records that a file was opened: a run of removals ends.
    pub(crate) fn file_opened(&self) {
        self.with(|namespace, _| namespace.opens());
    }

    /// The directory whose size and free space are those of an inode; and these, if they are cached and not too old.
    pub(crate) fn known_space(&self, ino: u64) -> (u64, Option<Space>) {
        self.with(|namespace, now| {
            let directory = namespace.space_of(ino);
            (directory, namespace.space(directory, now))
        })
    }

    /// Records the size and free space that the server reported for a directory; `asked` is the time of the request.
    pub(crate) fn learn_space(&self, directory: u64, space: Space, asked: Instant) {
        self.with(|namespace, _| namespace.space_reported(directory, space, asked));
    }

    /// Drops the cached free space, because this mount changes it.
    pub(crate) fn space_changes(&self) {
        self.with(|namespace, now| namespace.space_changes(now));
    }

    /// Logs, once for each mount, that the server lists a name that is not shown.
    pub(crate) fn log_hostile(&self, name: &[u16]) {
        if !self.hostile_name_logged.swap(true, Ordering::Relaxed) {
            let name = String::from_utf16_lossy(name);
            tracing::warn!(?name, "the server lists a name that could lead out of its directory; it is left out");
        }
    }
}
