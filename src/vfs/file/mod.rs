//! What is known of a file, and which requests it still needs: the room that owns a file.
//!
//! | part | what is decided there |
//! |---|---|
//! | [`state`] | what an event does to one file: [`FileState`], a plain value, with events in and actions out |
//! | [`event`] | which events and actions there are |
//! | `active` | dirty data, opens, handles and breaks, while the file is open here or at the server |
//! | [`attributes`] | which metadata of the server is accepted, and for how long it is valid |
//! | `ownership` | which owner, group and mode are shown instead of those of the options |
//! | [`version`] | whether data cached here, and the kernel's pages, are of the server's version |
//! | `estimates` | which times are shown for changes by this mount that the server has not reported yet |
//! | [`handle`] | what a handle of the kernel may do, and which failures it reports |
//! | `server_open` | which handles one open at the server can serve |
//! | `flushes` | which fsync(2) calls a FLUSH serves |
//! | `in_flight` | which WRITEs of the kernel a READ of the kernel waits for |
//! | `breaking` | what must be done before a lease break is acknowledged |
//! | [`kernel_pages`] | whether the kernel may have pages of the file |
//! | [`kept_opens`] | which kept opens are closed first |
//! | [`driver`] | which requests an action sends, and how an operation waits for a file |
//! | `driver::coherence` | how long data is valid while another client may have the file open |
//!
//! Invariant: "dirty", "open" and "leased" are known here and nowhere else. A file has one lock. It is acquired after
//! the namespace's lock, never together with another file's, and not held across a call into another room.

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
mod ownership;
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

/// A file with its lock. `O` is an open at the server, on which the driver sends requests.
#[derive(Debug)]
pub(crate) struct File<O> {
    /// Inode number.
    pub ino: u64,
    /// A number that is never reused: the generation of the inode, and the key of the file's cached data.
    pub key: u64,
    state: Mutex<FileState<O>>,
    /// Notified when something ends that an operation may wait for.
    progress: Notify,
}

impl<O: Clone> File<O> {
    /// A file whose metadata the server has just reported.
    pub(crate) fn fetched(ino: u64, key: u64, metadata: Metadata, now: Instant) -> File<O> {
        File { ino, key, state: Mutex::new(FileState::fetched(metadata, now)), progress: Notify::new() }
    }

    /// A file of which only the identity and kind are known: its metadata is fetched before it is shown.
    pub(crate) fn unknown(ino: u64, key: u64, metadata: Metadata) -> File<O> {
        File { ino, key, state: Mutex::new(FileState::unknown(metadata)), progress: Notify::new() }
    }

    /// Locks the file. The lock must not be held across an await, a send or a call into another room.
    pub(crate) fn lock(&self) -> MutexGuard<'_, FileState<O>> {
        self.state.lock()
    }

    /// Wakes the operations that wait for something to end.
    pub(crate) fn progressed(&self) {
        self.progress.notify_waiters();
    }

    /// Notified at each [`File::progressed`].
    pub(crate) fn progress(&self) -> &Notify {
        &self.progress
    }

    /// Waits until a condition on the file's state holds. It is checked at each progress.
    pub(crate) async fn until(&self, is_so: impl Fn(&FileState<O>) -> bool) {
        until(&self.progress, || is_so(&self.lock())).await;
    }
}
