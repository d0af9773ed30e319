//! What a POSIX file system means on a share.
//!
//! An [operation](operations) answers one kernel request (inode numbers, names, handles) with one call of [`Share`]
//! where that is possible. The room knows no FUSE message, no SMB message and no NTSTATUS. [`Vfs`] holds the parts
//! and has no logic. From the top down, with the file in which a question is decided:
//!
//! | part | what is decided there |
//! |---|---|
//! | [`operations`] | what each kernel request does: free functions, one file per group |
//! | [`background`] | tasks beside requests: lease breaks (`file/breaking`), watches, idle opens, memory of names |
//! | `handles` | which handle number is which open file or directory |
//! | `pages` | what a directory handle has read so far |
//! | `readers` | which chunks are read ahead for a file handle |
//! | `closings` | which closes are under way, and how an operation waits for them |
//! | `names` | what a name means, and what is known of directories: the driver around the plain `names::namespace` |
//! | `file` | what is known of a file, and which requests it still needs |
//! | `kernel_view` | how the kernel is made to forget names, attributes and pages |
//! | `lane` | the order of the notifications to the kernel, and how many may wait |
//! | `answering` | which notifications wait, because the kernel would ignore a reply that they cross |
//! | `terms` | the options of the mount, and what is derived from them |
//! | `policy` | what a lease and the attribute timeout allow |
//! | [`name_encoding`] | how a POSIX name is sent to the server, and shown from it |
//! | `ownership` | which owner, group and mode a new file gets; what chmod(2) and chown(2) change |
//! | `presentation` | how the server's metadata becomes POSIX attributes |
//! | [`errno`] | which errno a program gets for a failure, and at which level it is logged |
//! | `refusals` | what an operation does about a [`Refusal`](crate::share::Refusal), the share's word for an NTSTATUS |
//! | `model_runs` (tests) | random runs of a model, and how a failing run is shortened |
//!
//! In mode `loose`, writes stay dirty and opens are shared and kept without a lease: a read, also after a new open, may
//! miss another client's changes until the attribute timeout. What a user can rely on in the modes `strict` and `none`:
//!
//! - When close(2) or fsync(2) has returned, the server has the written data; after fsync(2), or a write with
//!   `O_SYNC`, the data is on the server's disk.
//! - write(2) returns as soon as the cache has room for the data, under a write lease or an exclusive oplock, which
//!   the server grants only while no other client has the file open. Without one, write(2) returns when the server
//!   has the data.
//! - A write that fails after write(2) has returned is reported by the next write of each handle that was open at the
//!   failure, and by each close of that handle until an fsync(2) of it has reported the failure.
//! - A read returns data that was on the server when the file was opened, or later. While the file stays open,
//!   changes by other clients appear after the attribute timeout. Attributes and names are at most that old.
//! - O_APPEND writes at the end of the file, as a lease guarantees it or the server is asked for each write. Two clients
//!   that append to one file at the same time can overwrite each other, as on NFS: SMB has no appending write.
//! - Owner, group and mode come from options, or from the server's security descriptors. Without descriptors chmod(2)
//!   stores only whether a file has any write bit, as the read-only attribute. What the server does not keep of owner,
//!   group and mode is remembered by this mount for as long as it lives and has room: programs see what they have set,
//!   and tar, cp and git do not give up. Other mounts do not see it.
//! - A file that is unlinked while it is open on this mount continues under a hidden name `.cifs-fuse-…` until it is
//!   closed (`operations/hiding`). When its directory is removed, the hidden file moves to the parent directory. A file
//!   that is replaced while open continues without a name until the session is lost. When a file that other clients
//!   have open is removed, its name is free at once.
//! - Deleting or replacing a read-only file needs write permission on the directory only, as POSIX requires.
//!
//! Locks, in the order in which they are acquired. Only `OpenDirectory::pages` is held across an await or a send. Only
//! `OpenDirectory::pages` and `OpenFile::readers` are held across a call into another room:
//!
//! | lock | guards | acquired |
//! |---|---|---|
//! | `OpenDirectory::pages` | what a directory handle has listed | before any other; held while the server is asked |
//! | `Names::walk` | the directory walk that listing ahead follows | alone |
//! | `Names::namespace` | names, nodes, what is known of directories | first; also by `Files`, to evict a closed file |
//! | `Files::kept`, `Files::leased` | which files have kept opens, or a lease | under the namespace, or alone |
//! | `File` | one file: attributes, version, dirty data, opens, handles, breaks | under any of these; never two files |
//! | `Names`: `ahead`, `watches`, `room_made_at` | listings ahead, watches, when kept opens last made room | alone |
//! | `Files::broken` | breaks that are not acknowledged yet | alone |
//! | `Handles` | handles by their numbers, closes under way | alone |
//! | `Lane::state` | notifications to the kernel that wait or are under way | alone |
//! | `OpenFile::readers` | sequential readers of one handle | alone; the page cache's lock is acquired under it |
//! | the page cache's own | cached data, memory | alone, or under `OpenFile::readers` |
//!
//! Only `names`, and `Files` to evict a file, acquire the namespace's lock. Memory is reserved before a file is locked.
//! A read of cached data acquires the locks of the handles, the file, the readers and the cache.
//!
//! Invariants: each wait ends, because each operation of the share ends. No operation panics, whatever the server
//! answers.

mod answering;
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
mod ownership;
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
pub use lane::{Forgotten, Lane, Task, Uncrossed};
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
    /// Makes a file system that shows what is below `root` on the share. Sends nothing to the server.
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

    /// The lanes of notifications to the kernel, for the threads that send them. `None` from the second call on.
    pub fn forgotten(&self) -> Option<Lanes> {
        self.kernel_view.listen()
    }

    /// The kernel lets programs map a file of which it keeps no pages.
    pub fn kernel_allows_direct_mappings(&self) {
        self.kernel_view.allows_direct_mappings();
    }

    /// The kernel has asked for the attributes of an inode. To be held until the reply is sent.
    pub fn answers(&self, ino: u64) -> Uncrossed {
        self.kernel_view.answers(ino)
    }

    /// What is counted of this mount.
    pub fn counters(&self) -> &Arc<Counters> {
        self.share.counters()
    }

    /// How many directories are watched.
    pub fn watches(&self) -> usize {
        self.names.watch_count()
    }

    /// Memory of the page cache in use, in bytes, dirty data included.
    pub fn cached_bytes(&self) -> u64 {
        self.cache.used()
    }

    /// Whether the mount is read-only.
    pub fn is_read_only(&self) -> bool {
        self.terms.is_read_only()
    }

    /// Whether listings have all that stat(2) shows.
    pub fn lists_attributes(&self) -> bool {
        !self.terms.show.owner_is_fetched
    }

    /// Records that the kernel lets programs change the mount from now on, or not.
    pub fn set_read_only(&self, read_only: bool) {
        self.terms.set_read_only(read_only);
    }

    /// The options that this file system was made with.
    pub fn options(&self) -> &VfsOptions {
        &self.terms.options
    }
}
