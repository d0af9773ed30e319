//! What a POSIX file system means on a share.
//!
//! A request of the kernel (inode numbers, names, handles) is one call of an [operation](operations), which becomes one call
//! of [`Share`] where that is possible. The room knows no message of FUSE and none of SMB. [`Vfs`] holds the parts and has no
//! logic. From the top down:
//!
//! | part | what it is |
//! |---|---|
//! | [`operations`] | free functions, one file per group; what several of them share is below |
//! | [`background`] | tasks of a mount: breaks, watches, idle opens, counting names |
//! | `handles`, `pages`, `readers`, `closings` | open files and directories of programs |
//! | `names` | what names mean, and what is known of directories: the driver around the plain `names::namespace` |
//! | `file` | what is known of a file, and what waits to be done for it |
//! | `kernel_view`, `lane` | what the kernel keeps, and how it is made to forget it |
//! | `terms`, `policy` | options, and what may be believed and kept under a lease |
//! | [`name_encoding`], `presentation` | names and attributes of POSIX, made of the server's |
//! | [`errno`], `refusals` | what a failure means to a program, and to an operation |
//!
//! What a user can rely on:
//!
//! - When close(2) or fsync(2) has returned, the server has what was written, and with fsync(2) or
//!   `O_SYNC` it has put it on its disk. Before that, write(2) returns at once under a write lease or an
//!   exclusive oplock, while no other client has the file open, and when the server has the data otherwise.
//!   A write that failed later is reported by the next write of each handle that was open then, and by
//!   each close until fsync(2) has reported it.
//! - What is read was on the server when the file was opened, or later; while it stays open, changes
//!   by others show after the attribute timeout. Attributes and names are at most that old.
//! - O_APPEND writes at the end of the file as the server says, asked within the attribute timeout. Two
//!   machines that append to one file at the same time can overwrite each other, as on NFS: SMB has
//!   no appending write.
//! - Owner, group and mode come from options. chmod(2) keeps the owner's write bit, as the read-only
//!   attribute of a file; other bits that cannot be kept are ignored, and the call succeeds, because
//!   git and many others give up otherwise. chown(2) to the owner and group that the file has
//!   anyway succeeds; any other is `EPERM`: to report an owner that the file does not get would be a lie
//!   to backup programs.
//! - A file that is unlinked while it is open here lives on under a hidden name `.cifs-fuse-…` until it is closed; when its
//!   directory is removed it moves to the one above. One that is replaced lives on without a name, until its session is lost.
//!   The name of a file that other clients have open is free at once.
//! - Deleting or replacing a read-only file needs write permission on the directory only, as POSIX has it.
//!
//! Locks, in the order in which they are acquired. None is held across a wait, a send or a call into another room:
//!
//! | lock | guards | acquired |
//! |---|---|---|
//! | `Names::walk` | the walk that goes on | alone |
//! | `Names::namespace` | names, nodes, what is known of directories | then; `Files` has it too, to evict a closed file |
//! | `Files::kept`, `Files::leased` | which files have kept opens, or a lease | under the namespace, or alone |
//! | `File` | one file: attributes, version, dirty data, opens, handles, breaks | under any of these; never two files |
//! | `Names`: `ahead`, `watches`, `gave_way` | listings ahead, watches at the server, when guests gave way last | alone |
//! | `Files::broken` | breaks that are not acknowledged yet | alone |
//! | `Handles` | handles by their numbers, closes under way | alone |
//! | `OpenFile::readers` | sequential readers of one handle | alone |
//! | the page cache's own | cached data, memory | alone; memory is reserved before a file is locked |
//!
//! Only `names` and, to evict, `Files` acquire the namespace's. A read of cached data acquires four locks: the handles', the file's, the readers',
//! the cache's.
//!
//! Invariants: each wait ends, since each operation of the share does. Whatever the server answers, no operation panics.

pub mod background;
mod closings;
pub mod errno;
mod file;
mod handles;
mod kernel_view;
mod lane;
#[cfg(test)]
mod model_runs;
pub mod name_encoding;
mod names;
pub mod operations;
mod pages;
mod policy;
mod presentation;
mod readers;
mod refusals;
mod terms;

#[cfg(test)]
pub(crate) mod tests;

use crate::cache::PageCache;
use crate::share::{RemotePath, Share, ShareError};
use crate::telemetry::Counters;
use file::driver::{Files, Nodes};
use handles::Handles;
use kernel_view::KernelView;
use names::Names;
use names::namespace::Namespace;
use parking_lot::Mutex;
use std::sync::Arc;
use terms::Terms;

pub use errno::{ErrorSource, Result, VfsError};
pub use kernel_view::Lanes;
pub use lane::{Forgotten, Lane, Task};
pub use names::namespace::ROOT;
pub use presentation::Attr;
pub use terms::VfsOptions;

/// The file system: its parts, for the [`operations`].
pub struct Vfs<S: Share> {
    share: Arc<S>,
    terms: Terms,
    names: Arc<Names<S>>,
    files: Arc<Files<S>>,
    handles: Handles<S>,
    cache: Arc<PageCache<ShareError>>,
    kernel_view: Arc<KernelView>,
}

impl<S: Share> Vfs<S> {
    /// A file system that shows what is below `root` on the share. Nothing is asked of the server.
    pub fn new(share: Arc<S>, options: VfsOptions, root: RemotePath) -> Vfs<S> {
        let limits = share.limits();
        let cache = Arc::new(PageCache::new(limits.read, options.cache_size, Arc::clone(share.counters())));
        let terms = Terms::new(options, root, limits.read);
        let namespace = Arc::new(Mutex::new(Namespace::new(terms.policy, terms.show)));
        let kernel_view = Arc::new(KernelView::new());
        let files = Files::new(
            Arc::clone(&share),
            Arc::clone(&cache),
            Arc::clone(&kernel_view),
            terms.policy,
            Arc::clone(&namespace) as Arc<dyn Nodes>,
        );
        let names = Names::new(
            Arc::clone(&share),
            terms.clone(),
            Arc::clone(&files),
            Arc::clone(&cache),
            Arc::clone(&kernel_view),
            namespace,
        );
        let handles = Handles::new(Arc::clone(&share));
        Vfs { share, terms, names, files, handles, cache, kernel_view }
    }

    /// What the kernel is to forget, once, for the threads that notify it.
    pub fn forgotten(&self) -> Option<Lanes> {
        self.kernel_view.listen()
    }

    /// What is counted of this mount.
    pub fn counters(&self) -> &Arc<Counters> {
        self.share.counters()
    }

    /// The options that this was made with.
    pub fn options(&self) -> &VfsOptions {
        &self.terms.options
    }
}
