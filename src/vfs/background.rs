//! Work beside the operations. Four tasks of the mount: one hands out lease breaks, one follows the watches on
//! directories, one closes idle opens, one counts the memory of names.
//!
//! Invariant: a lease break never waits for another one.

use super::Vfs;
use crate::share::{Event, Share};
use std::sync::Arc;
use std::time::Duration;

/// Interval between two searches for idle kept opens and idle watches.
const IDLE_INTERVAL: Duration = Duration::from_secs(4);
/// Interval between two counts of the known names. Up to about 20,000 names are added per second.
const COUNT_INTERVAL: Duration = Duration::from_millis(250);
/// Memory of one known name in bytes, measured: its node, its place in the tree, and its entry in the known
/// directory.
const NAME: u64 = 1000;

/// Hands each lease break to the file or directory that it concerns, and a lost session to the files, until the share
/// is closed. Another client may wait at the server until a break is acknowledged, so each break is handled at once, in
/// parallel with the others. `file/breaking` decides what must be done before the acknowledgement, and in which order.
pub async fn handle_breaks<S: Share>(vfs: Arc<Vfs<S>>) {
    let Some(mut events) = vfs.share.events() else { return };
    while let Some(event) = events.next().await {
        let broken = match event {
            Event::Broken(broken) => broken,
            Event::SessionLost => {
                vfs.files.session_lost();
                continue;
            }
            Event::SessionRestored => continue,
        };
        // The driver of the file acknowledges a break of the file's lease.
        let Some(broken) = vfs.files.broken(broken) else { continue };
        let vfs = Arc::clone(&vfs);
        tokio::spawn(async move {
            vfs.names.directory_broken(broken.key).await;
            if let Err(error) = vfs.share.acknowledge(broken).await {
                tracing::debug!(%error, "a lease break was not acknowledged; other clients may wait");
            }
        });
    }
}

/// Follows the watches on directories until the mount ends.
pub async fn follow_watches<S: Share>(vfs: Arc<Vfs<S>>) {
    vfs.names.follow_watches().await;
}

/// Closes the opens at the server that serve only the cache and have been idle for too long, until the mount ends:
/// kept opens, and the opens of watched directories.
pub async fn close_idle<S: Share>(vfs: Arc<Vfs<S>>) {
    loop {
        tokio::time::sleep(IDLE_INTERVAL).await;
        vfs.names.end_idle_watches();
        let expired = vfs.files.expire_kept();
        vfs.files.close_kept(&expired).await;
    }
}

/// Counts the memory of known names against the budget of the page cache, until the mount ends. The kernel decides
/// how many names there are: a node exists as long as the kernel counts lookups of it. So names cannot be evicted to
/// make room, but cached data can.
pub async fn count_names<S: Share>(vfs: Arc<Vfs<S>>) {
    loop {
        tokio::time::sleep(COUNT_INTERVAL).await;
        let names = vfs.names.len();
        vfs.cache.share_with(names as u64 * NAME);
    }
}
