//! Open files and directories, by the handle numbers that the kernel has for them.
//!
//! A file handle leaves the table when its close begins, and the close stays registered until it has ended
//! ([`Closings`]).

use super::closings::{Closing, Closings};
use super::errno::{Result, VfsError};
use super::file::driver::{FileOf, Open};
use super::file::handle::{Access, Occasion};
use super::pages::Pages;
use super::readers::Readers;
use crate::cache::Source;
use crate::share::{Share, ShareError};
use bytes::Bytes;
use parking_lot::Mutex;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// An open file.
pub(crate) struct OpenFile<S: Share> {
    pub handle: u64,
    pub file: FileOf<S>,
    pub share: Arc<S>,
    /// The open at the server.
    pub open: Open<S>,
    /// How the handle was opened.
    pub access: Access,
    /// The handle's sequential readers.
    pub readers: Mutex<Readers>,
}

impl<S: Share> OpenFile<S> {
    /// The failure of an earlier write that is due on this occasion, as an error.
    ///
    /// # Errors
    /// The failure of the earlier write.
    pub(crate) fn report(&self, occasion: Occasion) -> Result<()> {
        match self.file.lock().report(self.handle, occasion) {
            Some(error) => Err(error.into()),
            None => Ok(()),
        }
    }
}

impl<S: Share> Source for OpenFile<S> {
    type Error = ShareError;

    async fn read(&self, offset: u64, length: u32) -> std::result::Result<Bytes, ShareError> {
        self.share.read(&self.open, offset, length).await
    }
}

/// An open directory.
pub(crate) struct OpenDirectory<S: Share> {
    pub ino: u64,
    /// What was listed so far. Its lock is held while the server is asked for more: a listing continues at its
    /// current position, so only one request can use it at a time. The kernel reads one handle from one thread
    /// anyway.
    pub pages: tokio::sync::Mutex<Pages<S>>,
}

/// All open handles of a mount.
pub(crate) struct Handles<S: Share> {
    share: Arc<S>,
    next: AtomicU64,
    files: Mutex<HashMap<u64, Arc<OpenFile<S>>>>,
    directories: Mutex<HashMap<u64, Arc<OpenDirectory<S>>>>,
    closings: Closings,
}

/// A file that was removed from the table in order to be closed.
pub(crate) struct Leaving<S: Share> {
    pub file: Arc<OpenFile<S>>,
    /// The number for [`Handles::closing`].
    pub closing: u64,
}

impl<S: Share> Handles<S> {
    pub(crate) fn new(share: Arc<S>) -> Handles<S> {
        Handles {
            share,
            next: AtomicU64::new(1),
            files: Mutex::default(),
            directories: Mutex::default(),
            closings: Closings::default(),
        }
    }

    /// A number for a handle that is about to be opened. Numbers are never reused.
    pub(crate) fn number(&self) -> u64 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }

    /// Adds a handle: it is open from now on.
    pub(crate) fn add(&self, handle: u64, file: &FileOf<S>, open: Open<S>, access: Access) {
        let (file, share) = (Arc::clone(file), Arc::clone(&self.share));
        let open = OpenFile { handle, file, share, open, access, readers: Mutex::default() };
        self.files.lock().insert(handle, Arc::new(open));
    }

    /// The open file with this handle number.
    ///
    /// # Errors
    /// `EBADF` if nothing is open under this number.
    pub(crate) fn file(&self, handle: u64) -> Result<Arc<OpenFile<S>>> {
        self.files.lock().get(&handle).cloned().ok_or_else(bad_handle)
    }

    /// Removes a file from the table: its close begins. `None` if the handle is not open.
    pub(crate) fn remove(&self, handle: u64) -> Option<Leaving<S>> {
        let file = self.files.lock().remove(&handle)?;
        Some(Leaving { file, closing: self.closings.begin() })
    }

    /// The close with this number, which ends when the guard is dropped.
    pub(crate) fn closing(&self, number: u64) -> Closing<'_> {
        self.closings.guard(number)
    }

    /// Sends the closes that are under way, and waits until they have ended. Returns whether there were any.
    pub(crate) async fn finish_closes(&self) -> bool {
        self.share.send_closes();
        self.closings.finish().await
    }

    /// Whether a handle of a file is open and stays open. If none is, but a handle or an open of the file is being
    /// closed, waits first for the handles of the mount that are being closed.
    pub(crate) async fn stays_open(&self, file: &FileOf<S>) -> bool {
        let (is_live, has_handles) = {
            let state = file.lock();
            (state.has_live_handle(), state.has_handles() || state.is_closing())
        };
        if is_live || !has_handles {
            return is_live;
        }
        self.finish_closes().await;
        file.lock().has_handles()
    }

    /// Waits for the closes of a file's handles that are under way. A CLOSE of a kept open is sent, not awaited:
    /// nothing was changed through it.
    ///
    /// An operation calls this before it asks the server about the file. While a file is open, Samba reports the
    /// write time from its first open, except after writes by Samba itself. An answer that overtook a close would not
    /// show that the file was changed in between.
    pub(crate) async fn finish_closes_of(&self, file: &FileOf<S>) {
        self.stays_open(file).await;
    }

    /// The handle numbers of all open files.
    pub(crate) fn files(&self) -> Vec<u64> {
        self.files.lock().keys().copied().collect()
    }

    /// Adds a directory handle, and returns its number.
    pub(crate) fn add_directory(&self, directory: OpenDirectory<S>) -> u64 {
        let number = self.number();
        self.directories.lock().insert(number, Arc::new(directory));
        number
    }

    /// The open directory with this handle number.
    ///
    /// # Errors
    /// `EBADF` if nothing is open under this number.
    pub(crate) fn directory(&self, handle: u64) -> Result<Arc<OpenDirectory<S>>> {
        self.directories.lock().get(&handle).cloned().ok_or_else(bad_handle)
    }

    /// The inode numbers of all open directories.
    pub(crate) fn open_directories(&self) -> HashSet<u64> {
        self.directories.lock().values().map(|directory| directory.ino).collect()
    }

    /// The open files that are meant.
    pub(crate) fn files_where(&self, is_meant: impl Fn(&OpenFile<S>) -> bool) -> Vec<Arc<OpenFile<S>>> {
        // The lock is not held while the question is answered, which may need other locks.
        let all: Vec<_> = self.files.lock().values().cloned().collect();
        all.into_iter().filter(|open| is_meant(open)).collect()
    }

    /// The open directories that are meant.
    pub(crate) fn directories_where(&self, is_meant: impl Fn(u64) -> bool) -> Vec<Arc<OpenDirectory<S>>> {
        let all: Vec<_> = self.directories.lock().values().cloned().collect();
        all.into_iter().filter(|directory| is_meant(directory.ino)).collect()
    }

    /// Removes a directory handle.
    pub(crate) fn remove_directory(&self, handle: u64) {
        self.directories.lock().remove(&handle);
    }

    /// Removes all directory handles.
    pub(crate) fn remove_directories(&self) {
        self.directories.lock().clear();
    }
}

fn bad_handle() -> VfsError {
    VfsError::rule(libc::EBADF, "the handle is not open")
}
