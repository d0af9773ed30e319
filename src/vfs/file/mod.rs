//! What is known of files, and what waits to be done for them: who owns a file.
//!
//! | part | what it is |
//! |---|---|
//! | [`state`] | [`FileState`]: one file as a plain value, events in, actions out |
//! | `active` | the part of it that is there while the file is open here or at the server |
//! | [`attributes`], [`version`] | what the server has reported of the file and of its data, and how old that is |
//! | `estimates` | times of changes by this mount that the server has not reported yet |
//! | [`handle`], `server_open` | handles of the kernel, and opens at the server |
//! | `flushes`, `in_flight`, `breaking` | FLUSH requests, writes of the kernel and lease breaks under way |
//! | [`kernel_pages`] | whether the kernel may have pages of the file |
//! | [`kept_opens`] | the order in which opens without a handle are closed |
//! | [`driver`] | does what the actions say |
//!
//! Invariant: "dirty", "open" and "leased" are known here and nowhere else. A file has one lock; it is taken after the one
//! on the names, never together with another file's, and never across a call into another room.

mod active;
pub(crate) mod attributes;
mod breaking;
pub(crate) mod driver;
mod estimates;
pub(crate) mod event;
mod flushes;
pub(crate) mod handle;
mod in_flight;
pub(crate) mod kept_opens;
pub(crate) mod kernel_pages;
mod server_open;
pub(crate) mod state;
pub(crate) mod version;

#[cfg(test)]
#[path = "tests/model/mod.rs"]
mod model;

use crate::share::Metadata;
use crate::waiting::until;
use parking_lot::{Mutex, MutexGuard};
use std::time::Instant;
use tokio::sync::Notify;

pub(crate) use event::Event;
pub(crate) use state::FileState;

/// A file with its lock. `O` is the driver's way to send requests on an open at the server.
#[derive(Debug)]
pub(crate) struct File<O> {
    /// Its inode number.
    pub ino: u64,
    /// Never used twice: the generation of the inode, and the key of its cached data.
    pub key: u64,
    state: Mutex<FileState<O>>,
    /// Something has ended that others may wait for.
    progress: Notify,
}

impl<O: Clone> File<O> {
    /// A file that the server has just reported.
    pub(crate) fn fetched(ino: u64, key: u64, metadata: Metadata, now: Instant) -> File<O> {
        File { ino, key, state: Mutex::new(FileState::fetched(metadata, now)), progress: Notify::new() }
    }

    /// A file of which nothing is known but what it is.
    pub(crate) fn unknown(ino: u64, key: u64, metadata: Metadata) -> File<O> {
        File { ino, key, state: Mutex::new(FileState::unknown(metadata)), progress: Notify::new() }
    }

    /// Takes the file's lock. Not to be held across a wait, a send or a call into another room.
    pub(crate) fn lock(&self) -> MutexGuard<'_, FileState<O>> {
        self.state.lock()
    }

    /// Has those look again who wait for something to end.
    pub(crate) fn progressed(&self) {
        self.progress.notify_waiters();
    }

    /// Told of each progress.
    pub(crate) fn progress(&self) -> &Notify {
        &self.progress
    }

    /// Waits until something is so.
    pub(crate) async fn until(&self, is_so: impl Fn(&FileState<O>) -> bool) {
        until(&self.progress, || is_so(&self.lock())).await;
    }
}
