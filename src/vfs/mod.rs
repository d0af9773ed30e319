//! What a POSIX file system means on a share.
//!
//! [`Vfs`] takes what the kernel asks (inode numbers, names, handles) and turns each operation into
//! one call of [`Share`] where that is possible. It knows no message of FUSE and
//! none of SMB. The actors:
//!
//! - `inodes`: which file an inode number means.
//! - `file`: what is known of a file, and what waits to be done for it; `policy`: what may be believed.
//! - [`names`]: names of POSIX in UTF-16, and back.
//! - [`errno`]: what a failure means to a program.
//! - `handles`: open files and directories.
//! - `catalogue`, `directories`: what is known of directories, and who watches them; `walk`, `ahead`: which are listed ahead.
//! - `kernel_view`: what the kernel keeps, and how it is told to forget; `lane`: in which order.
//! - One file per group of operations: `lookup`, `setattr`, `open`, `sharing`, `io`, `copy`, `remove`, `rename`, `readdir`.
//!
//! What a user can rely on:
//!
//! - When close(2) or fsync(2) has returned, the server has what was written, and with fsync(2) or
//!   `O_SYNC` it has put it on its disk. Before that, write(2) returns at once where the server vouches
//!   that nobody else has the file open (a write lease or an exclusive oplock), and when the server has
//!   the data otherwise. A write that failed later is reported by the next write of each handle
//!   that was open then, and by each close until fsync(2) has reported it.
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
//! - A file that is unlinked or replaced while it is open here lives on under a hidden name
//!   `.cifs-fuse-…` in its directory until it is closed. Its directory cannot be removed before.
//! - Deleting or replacing a read-only file needs write permission on the directory only, as POSIX has it.
//!
//! Locks, in the order in which they are taken. None is held across a wait, a send or a call into another room:
//!
//! | lock | guards | taken |
//! |---|---|---|
//! | `inodes` | names, places, lookup counts | first |
//! | `walk`, `catalogue`, `ahead` | what is known of directories | under `inodes`, or alone |
//! | `Files::kept`, `Files::leased` | which files have kept opens, or a lease | under `inodes`, or alone |
//! | `File` | one file: attributes, version, dirty data, opens, handles, breaks | under any of these; never two files |
//! | `Handles` | handles by their numbers | alone |
//! | `OpenFile::readers` | sequential readers of one handle | alone |
//! | the page cache's own | cached data, memory | alone; memory is reserved before a file's lock is taken |
//!
//! A read of cached data takes four: the handle's, the file's, the readers', the cache's.
//!
//! Invariants: each wait ends, since each operation of the share does. Whatever the server answers, no operation panics.

mod ahead;
mod breaks;
mod catalogue;
mod closings;
mod copy;
mod directories;
pub mod errno;
mod file;
mod handles;
mod inodes;
mod io;
mod kernel_view;
mod known;
mod lane;
mod lookup;
pub mod names;
mod open;
mod pending;
mod policy;
mod presentation;
mod readdir;
mod readers;
mod remove;
mod rename;
mod setattr;
mod sharing;
mod unanswered;
mod walk;
mod weight;

#[cfg(test)]
pub(crate) mod tests;

use crate::cache::PageCache;
use crate::config::CacheMode;
use crate::share::{RemotePath, Share, ShareError, Space};
use ahead::Ahead;
use catalogue::Catalogue;
use directories::{Directories, NewWatches};
use file::driver::{Files, Open};
use handles::Handles;
use inodes::{Departed, Inodes};
use kernel_view::KernelView;
use parking_lot::Mutex;
use policy::Policy;
use presentation::Presentation;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use walk::Walk;

pub use copy::Copying;
pub use errno::{ErrorSource, Result, VfsError};
pub use inodes::ROOT;
pub use io::{Reading, Writing};
pub use kernel_view::{Forgotten, Lanes};
pub use lane::{Lane, Task};
pub use open::Opened;
pub use presentation::Attr;
pub use readdir::Listed;
pub use setattr::{SetAttr, SetTime};

/// For so long it is believed how much space there is, which others change as well.
const SPACE_KNOWN: Duration = Duration::from_secs(5);

/// What a mount is like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VfsOptions {
    /// Owner of all files.
    pub uid: u32,
    /// Group of all files.
    pub gid: u32,
    /// Permission bits of files.
    pub file_mode: u32,
    /// Permission bits of directories.
    pub dir_mode: u32,
    /// Nothing may be changed.
    pub read_only: bool,
    /// What is cached.
    pub cache: CacheMode,
    /// How long attributes, names and cached data of open files are believed.
    pub attr_timeout: Duration,
    /// The most that the page cache keeps, in bytes.
    pub cache_size: u64,
}

/// The file system.
pub struct Vfs<S: Share> {
    share: Arc<S>,
    options: VfsOptions,
    /// What of the share the mount shows.
    root: RemotePath,
    show: Presentation,
    policy: Policy,
    inodes: Arc<Mutex<Inodes<Open<S>>>>,
    handles: Handles<S>,
    files: Arc<Files<S>>,
    /// Always locked after the inodes.
    catalogue: Mutex<Directories<S>>,
    new_watches: NewWatches<S>,
    next_watch: AtomicU64,
    ahead: Arc<Ahead>,
    /// Always locked after the inodes.
    walk: Mutex<Walk>,
    cache: Arc<PageCache<ShareError>>,
    kernel_view: Arc<KernelView>,
    /// The directory in which a file was removed last, if none was opened since; 0 otherwise.
    unlinked_in: AtomicU64,
    /// How much space there was, and when: until this mount changes it.
    space: Mutex<Option<(Space, Instant)>>,
    /// The next hidden name. It begins anywhere, so that two mounts do not meet.
    next_hidden: AtomicU64,
    /// A listing held a name that no honest server gives, and the log says so.
    hostile_name_logged: AtomicBool,
    /// The server has granted a lease.
    grants_leases: AtomicBool,
}

impl<S: Share> Vfs<S> {
    /// A file system that shows what is below `root` on the share. Nothing is asked of the server.
    pub fn new(share: Arc<S>, options: VfsOptions, root: RemotePath) -> Vfs<S> {
        let limits = share.limits();
        let show = Presentation {
            uid: options.uid,
            gid: options.gid,
            file_mode: (options.file_mode & 0o7777) as u16,
            dir_mode: (options.dir_mode & 0o7777) as u16,
            // What programs take for their buffers: no less than a page, no more than a request of the kernel.
            block_size: limits.read.clamp(4096, 1 << 20),
        };
        let policy = Policy { mode: options.cache, timeout: options.attr_timeout };
        let cache = Arc::new(PageCache::new(limits.read, options.cache_size));
        let (inodes, kernel_view) = (Arc::new(Mutex::new(Inodes::new())), Arc::new(KernelView::new()));
        Vfs {
            files: Files::new(Arc::clone(&share), Arc::clone(&cache), Arc::clone(&kernel_view), Arc::clone(&inodes)),
            cache,
            share,
            policy,
            options,
            root,
            show,
            inodes,
            handles: Handles::new(),
            catalogue: Mutex::new(Catalogue::new()),
            new_watches: NewWatches::new(),
            next_watch: AtomicU64::new(1),
            ahead: Arc::default(),
            walk: Mutex::default(),
            kernel_view,
            unlinked_in: AtomicU64::new(0),
            space: Mutex::default(),
            next_hidden: AtomicU64::new(RandomState::new().hash_one(std::process::id())),
            hostile_name_logged: AtomicBool::new(false),
            grants_leases: AtomicBool::new(false),
        }
    }

    /// Size and free space of the file system behind the share.
    ///
    /// # Errors
    /// What the share answered.
    pub async fn statfs(&self) -> Result<Space> {
        let (known, asked) = (*self.space.lock(), Instant::now());
        if let Some((space, at)) = known
            && at.elapsed() < SPACE_KNOWN
            && !self.options.attr_timeout.is_zero()
        {
            return Ok(space);
        }
        let space = self.share.space().await?;
        *self.space.lock() = Some((space, asked));
        Ok(space)
    }

    /// This mount changes how much space there is.
    fn space_changes(&self) {
        *self.space.lock() = None;
    }

    /// What the kernel is to forget, once, for the threads that tell it.
    pub fn forgotten(&self) -> Option<Lanes> {
        self.kernel_view.listen()
    }

    /// The options that this was made with.
    pub fn options(&self) -> &VfsOptions {
        &self.options
    }

    /// Works on the table of inodes, and drops what is cached of files that this showed to have changed.
    fn with_inodes<R>(&self, work: impl FnOnce(&mut Inodes<Open<S>>) -> R) -> R {
        let (result, stale, displaced) = {
            let mut inodes = self.inodes.lock();
            let result = work(&mut inodes);
            let departed = inodes.take_departed();
            if !departed.is_empty() {
                self.depart(departed);
            }
            (result, inodes.take_stale(), inodes.take_displaced())
        };
        for key in stale {
            self.cache.drop_file(key);
        }
        self.files.begin_to_close(&displaced);
        result
    }

    /// Nodes have gone: what is known of them stays with their directories.
    fn depart(&self, departed: Vec<Departed>) {
        self.with_catalogue(|catalogue| {
            for Departed { key, place, known } in departed {
                catalogue.forget(key);
                if let Some((directory, name)) = place {
                    catalogue.returned(directory, &name, known);
                }
            }
        });
    }

    /// Where an inode is on the share.
    ///
    /// # Errors
    /// `ESTALE` if its name is no longer its own.
    fn path(&self, ino: u64) -> Result<RemotePath> {
        self.with_inodes(|inodes| inodes.path(ino, &self.root)).ok_or_else(VfsError::stale)
    }

    /// # Errors
    /// `EROFS` on a read-only mount.
    fn check_writable(&self) -> Result<()> {
        if self.options.read_only {
            return Err(VfsError::rule(libc::EROFS, "the mount is read-only"));
        }
        Ok(())
    }

    fn hidden_name(&self) -> Vec<u16> {
        names::hidden::name(self.next_hidden.fetch_add(1, Ordering::Relaxed))
    }
}
