//! [`Names`]: what the names of the share mean, and what is known of its directories.
//!
//! | part | what it does |
//! |---|---|
//! | [`namespace`] | which names there are, and how well they are known: a plain value |
//! | `entries` | answers from what is known of a name |
//! | `answers` | what an operation knows before it asks the server, and what it learns |
//! | `changes` | what this mount makes of names |
//! | `kept` | closes opens that are kept without a handle, by name |
//! | `listing` | lists directories, and notes what was listed |
//! | `watches`, `brake` | watches on directories, and what they report |
//! | `guests` | makes room at a server that has none for another open |
//! | [`listing_ahead`] | lists directories before a program asks for them |
//! | [`hidden`] | names of files that were removed while they are open |
//!
//! Invariant: what follows from a change of the [`Namespace`] is done when its lock is released, before [`Names::with`]
//! returns.

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

pub(crate) use listing::{Gathered, Listing};

/// A mount's namespace with its lock.
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
    /// A listing held a name that no honest server gives, and the log says so.
    hostile_name_logged: AtomicBool,
    /// When guests gave way last.
    gave_way: Mutex<Option<Instant>>,
}

impl<S: Share> Names<S> {
    /// Nothing is known but the root.
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
            gave_way: Mutex::default(),
        })
    }

    /// Works on the namespace, and does what follows. To be called within the runtime.
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

    /// The same for work that may have the kernel forget much: waits for room there.
    pub(crate) async fn with_kernel<R>(&self, work: impl FnOnce(&mut Namespace<Open<S>>, Instant) -> R) -> R {
        let (result, forgotten) = self.change(work);
        for what in forgotten {
            self.kernel_view.forget(what).await;
        }
        result
    }

    fn change<R>(&self, work: impl FnOnce(&mut Namespace<Open<S>>, Instant) -> R) -> (R, Vec<Forgotten>) {
        let (result, effects) = {
            let mut namespace = self.namespace.lock();
            let result = work(&mut namespace, Instant::now());
            (result, namespace.take_effects())
        };
        let Effects { ended_watches, dropped, nameless, forgotten } = effects;
        dropped.into_iter().for_each(|key| self.cache.drop_file(key));
        ended_watches.into_iter().for_each(|number| self.watches.end(number));
        self.files.begin_to_close(&nameless);
        (result, forgotten)
    }

    /// The file of an inode.
    pub(crate) fn file(&self, ino: u64) -> Option<FileOf<S>> {
        self.with(|namespace, _| namespace.file(ino).cloned())
    }

    /// Where an inode is on the share.
    ///
    /// # Errors
    /// `ESTALE` if its name is no longer its own.
    pub(crate) fn path(&self, ino: u64) -> Result<RemotePath> {
        self.with(|namespace, _| namespace.path(ino, &self.terms.root)).ok_or_else(VfsError::stale)
    }

    /// Which file the inode is at the server, as far as that is known.
    pub(crate) fn identity(&self, ino: u64) -> Option<FileIdentity> {
        self.with(|namespace, _| Some(namespace.file(ino)?.lock().metadata().identity()))
    }

    /// Whether an inode is a directory, or below it.
    pub(crate) fn is_within(&self, ino: u64, directory: u64) -> bool {
        self.with(|namespace, _| namespace.is_within(ino, directory))
    }

    /// How many nodes there are.
    pub(crate) fn len(&self) -> usize {
        self.with(|namespace, _| namespace.len())
    }

    /// The kernel gives back lookups of an inode.
    pub(crate) fn forget(&self, ino: u64, lookups: u64) {
        self.with(|namespace, _| namespace.forget(ino, lookups));
    }

    /// A hidden name that was not given before.
    pub(crate) fn hidden_name(&self) -> Vec<u16> {
        self.hidden.next_name()
    }

    /// A hidden path for a file that is removed or replaced while other clients have it open. It is not below any directory
    /// that may be removed next, which would not be empty until they close it.
    pub(crate) fn aside(&self) -> RemotePath {
        self.terms.root.join(&self.hidden.next_name())
    }

    /// A file is about to be removed from a directory. Whether the file removed last was in the same one, with none opened
    /// since.
    pub(crate) fn goes_on_removing(&self, directory: u64) -> bool {
        self.with(|namespace, _| namespace.removes_in(directory))
    }

    /// A file was opened: no run of removals goes on.
    pub(crate) fn file_opened(&self) {
        self.with(|namespace, _| namespace.opens());
    }

    /// Free space, as far as it is known.
    pub(crate) fn known_space(&self) -> Option<Space> {
        self.with(|namespace, now| namespace.space(now))
    }

    /// The server was asked for free space at that time.
    pub(crate) fn learn_space(&self, space: Space, asked: Instant) {
        self.with(|namespace, _| namespace.space_reported(space, asked));
    }

    /// This mount changes how much space there is.
    pub(crate) fn space_changes(&self) {
        self.with(|namespace, _| namespace.space_changes());
    }

    /// Logs, once, that the server lists a name that is not shown.
    pub(crate) fn log_hostile(&self, name: &[u16]) {
        if !self.hostile_name_logged.swap(true, Ordering::Relaxed) {
            let name = String::from_utf16_lossy(name);
            tracing::warn!(?name, "the server lists a name that could lead out of its directory; it is left out");
        }
    }
}
