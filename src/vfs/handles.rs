//! Open files and directories by the handle numbers that the kernel has for them.

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
    share: Arc<S>,
    next: AtomicU64,
    files: Mutex<HashMap<u64, Arc<OpenFile<S>>>>,
    directories: Mutex<HashMap<u64, Arc<OpenDirectory<S>>>>,
    closings: Closings,
}

/// A file that was removed from the table to be closed.
pub(crate) struct Leaving<S: Share> {
    pub file: Arc<OpenFile<S>>,
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

    /// A number for a handle that is about to be.
    pub(crate) fn number(&self) -> u64 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }

    /// A handle is open from now on.
    pub(crate) fn add(&self, handle: u64, file: &FileOf<S>, open: Open<S>, access: Access) {
        let (file, share) = (Arc::clone(file), Arc::clone(&self.share));
        let open = OpenFile { handle, file, share, open, access, readers: Mutex::default() };
        self.files.lock().insert(handle, Arc::new(open));
    }

    /// # Errors
    /// `EBADF` if nothing is open under this number.
    pub(crate) fn file(&self, handle: u64) -> Result<Arc<OpenFile<S>>> {
        self.files.lock().get(&handle).cloned().ok_or_else(bad_handle)
    }

    /// Removes a file from the table: from now on it is being closed.
    pub(crate) fn remove(&self, handle: u64) -> Option<Leaving<S>> {
        let file = self.files.lock().remove(&handle)?;
        Some(Leaving { file, closing: self.closings.begin() })
    }

    /// Ends the close when dropped.
    pub(crate) fn closing(&self, number: u64) -> Closing<'_> {
        self.closings.guard(number)
    }

    /// Sends the closes that are under way, and waits for them. Says whether there were any.
    pub(crate) async fn finish_closes(&self) -> bool {
        self.share.send_closes();
        self.closings.finish().await
    }

    /// Whether a handle of a file is open and stays so: closes that are under way are waited for.
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

    /// Waits for closes of a file that are under way.
    ///
    /// An operation that asks the server about the file does. While a file is open, Samba goes on reporting the time of the
    /// last write from when it was opened first, unless it was itself that wrote: an answer that overtook the close before
    /// it would not show that the file was changed in between.
    pub(crate) async fn finish_closes_of(&self, file: &FileOf<S>) {
        self.stays_open(file).await;
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
