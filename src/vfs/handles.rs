//! Open files and directories by the handle numbers that the kernel has for them.

use super::closings::{Closing, Closings};
use super::errno::{Result, VfsError};
use super::files::{Remote, SharedFile};
use super::inodes::Inodes;
use super::readdir::Pages;
use super::readers::Readers;
use crate::cache::{Seen, Sink, Source};
use crate::config::CacheMode;
use crate::share::{After, Share, ShareError};
use bytes::Bytes;
use parking_lot::Mutex;
use std::collections::{HashMap, HashSet};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// An open file.
pub(crate) struct OpenFile<S: Share> {
    pub handle: u64,
    pub ino: u64,
    /// The key of its cached data.
    pub key: u64,
    pub share: Arc<S>,
    pub inodes: Arc<Mutex<Inodes>>,
    /// The open at the server.
    pub remote: Arc<Remote<S>>,
    pub access: Access,
    /// What all opens of the file share.
    pub shared: Arc<SharedFile<S>>,
    /// Which failures of writes its program was told.
    pub seen: Seen,
    pub readers: Mutex<Readers>,
}

/// What an open file may be used for, and how.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Access {
    pub read: bool,
    pub write: bool,
    /// Each write goes to the end of the file.
    pub append: bool,
    /// Neither this cache nor the kernel's is used.
    pub direct: bool,
    /// Each write is on the server's disk when it returns.
    pub sync: bool,
    pub truncate: bool,
}

impl Access {
    /// From the flags of open(2), on a mount that caches like this.
    ///
    /// # Errors
    /// `EINVAL` for an access mode that does not exist.
    pub(crate) fn from_flags(flags: i32, cache: CacheMode) -> Result<Access> {
        let (read, write) = match flags & libc::O_ACCMODE {
            libc::O_RDONLY => (true, false),
            libc::O_WRONLY => (false, true),
            libc::O_RDWR => (true, true),
            _ => return Err(VfsError::rule(libc::EINVAL, "the access mode does not exist")),
        };
        Ok(Access {
            read,
            write,
            append: flags & libc::O_APPEND != 0,
            direct: flags & libc::O_DIRECT != 0 || cache == CacheMode::None,
            sync: flags & libc::O_DSYNC != 0,
            truncate: flags & libc::O_TRUNC != 0,
        })
    }

    /// Whether the kernel need not keep pages: nothing is read through this open. That saves it a copy and
    /// much work for each page; what others have mapped it throws away itself.
    pub(crate) fn bypasses_kernel(self) -> bool {
        self.direct || !self.read
    }

    /// Whether writes may not be brought to the server later.
    pub(crate) fn goes_through(self) -> bool {
        self.direct || self.sync
    }

    /// What a write may touch. Where an appending one ends up is known only when it is done.
    pub(crate) fn write_range(self, offset: u64, length: u64) -> Range<u64> {
        if self.append { 0..u64::MAX } else { offset..offset.saturating_add(length) }
    }

    /// Whether the open may change the file.
    pub(crate) fn modifies(self) -> bool {
        self.write || self.truncate
    }
}

impl<S: Share> Source for OpenFile<S> {
    type Error = ShareError;

    async fn read(&self, offset: u64, length: u32) -> std::result::Result<Bytes, ShareError> {
        self.share.read(&self.remote.file, offset, length).await
    }
}

impl<S: Share> Sink for OpenFile<S> {
    type Error = ShareError;

    async fn write(&self, offset: u64, data: Bytes, last: bool) -> std::result::Result<(), ShareError> {
        self.remote.changes();
        let (change, flush) = if last { self.shared.take_after() } else { Default::default() };
        let after = After { held: true, change, flush: flush.is_some() };
        self.share.write_and(&self.remote.file, offset, data, after).await?;
        flush.into_iter().for_each(|number| self.shared.flushes.lock().done(number));
        Ok(())
    }

    fn cleaned(&self) {
        let mut inodes = self.inodes.lock();
        // A write that was taken meanwhile says so under this lock, afterwards.
        if let Some(node) = inodes.get_mut(self.ino)
            && !self.shared.is_dirty()
        {
            node.attributes.released();
        }
    }
}

/// An open directory.
pub(crate) struct OpenDirectory<S: Share> {
    pub ino: u64,
    /// What was listed so far. Held while the server is asked for more: a listing goes on from where
    /// it is, so it has one user at a time, and the kernel reads one handle from one thread anyway.
    pub pages: tokio::sync::Mutex<Pages<S>>,
}

/// All open handles of a mount.
pub(crate) struct Handles<S: Share> {
    next: AtomicU64,
    files: Mutex<HashMap<u64, Arc<OpenFile<S>>>>,
    directories: Mutex<HashMap<u64, Arc<OpenDirectory<S>>>>,
    closings: Closings,
}

/// A file that has been taken off the table to be closed.
pub(crate) struct Leaving<S: Share> {
    pub file: Arc<OpenFile<S>>,
    pub closing: u64,
}

impl<S: Share> Handles<S> {
    pub(crate) fn new() -> Handles<S> {
        Handles {
            next: AtomicU64::new(1),
            files: Mutex::default(),
            directories: Mutex::default(),
            closings: Closings::default(),
        }
    }

    /// A number for a handle that is about to be.
    pub(crate) fn number(&self) -> u64 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }

    pub(crate) fn add(&self, file: OpenFile<S>) {
        self.files.lock().insert(file.handle, Arc::new(file));
    }

    /// # Errors
    /// `EBADF` if nothing is open under this number.
    pub(crate) fn file(&self, handle: u64) -> Result<Arc<OpenFile<S>>> {
        self.files.lock().get(&handle).cloned().ok_or_else(bad_handle)
    }

    /// The first of these handles that is open and not being closed, and is wanted.
    pub(crate) fn find(&self, handles: &[u64], wanted: impl Fn(&OpenFile<S>) -> bool) -> Option<Arc<OpenFile<S>>> {
        let files = self.files.lock();
        handles.iter().filter_map(|handle| files.get(handle)).find(|file| wanted(file)).cloned()
    }

    /// Takes a file off the table: from now on it is being closed.
    pub(crate) fn take(&self, handle: u64) -> Option<Leaving<S>> {
        let file = self.files.lock().remove(&handle)?;
        Some(Leaving { file, closing: self.closings.begin() })
    }

    /// Ends the close when dropped.
    pub(crate) fn closing(&self, number: u64) -> Closing<'_> {
        self.closings.guard(number)
    }

    /// See [`Closings::settle`].
    pub(crate) async fn settle(&self) -> bool {
        self.closings.settle().await
    }

    /// The numbers of all open files.
    pub(crate) fn files(&self) -> Vec<u64> {
        self.files.lock().keys().copied().collect()
    }

    pub(crate) fn add_directory(&self, directory: OpenDirectory<S>) -> u64 {
        let number = self.number();
        self.directories.lock().insert(number, Arc::new(directory));
        number
    }

    /// # Errors
    /// `EBADF` if nothing is open under this number.
    pub(crate) fn directory(&self, handle: u64) -> Result<Arc<OpenDirectory<S>>> {
        self.directories.lock().get(&handle).cloned().ok_or_else(bad_handle)
    }

    /// The inode numbers of all open directories.
    pub(crate) fn open_directories(&self) -> HashSet<u64> {
        self.directories.lock().values().map(|directory| directory.ino).collect()
    }

    pub(crate) fn remove_directory(&self, handle: u64) {
        self.directories.lock().remove(&handle);
    }

    pub(crate) fn remove_directories(&self) {
        self.directories.lock().clear();
    }
}

fn bad_handle() -> VfsError {
    VfsError::rule(libc::EBADF, "the handle is not open")
}
