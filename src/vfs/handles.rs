//! Open files and directories by the handle numbers that the kernel has for them.

use super::closings::{Closing, Closings};
use super::errno::{Result, VfsError};
use super::file::driver::{FileOf, Open};
use super::file::handle::{Access, Occasion};
use super::readdir::Pages;
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
    pub access: Access,
    pub readers: Mutex<Readers>,
}

impl<S: Share> OpenFile<S> {
    /// The failure of an earlier write to report now.
    ///
    /// # Errors
    /// That failure.
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
