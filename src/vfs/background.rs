//! What goes on beside the operations, each in one task of a mount.

use super::Vfs;
use crate::share::{Event, Share};
use std::sync::Arc;
use std::time::Duration;

/// How often is looked for what is idle.
const IDLE_INTERVAL: Duration = Duration::from_secs(4);
/// How often names are counted: they come at some 20,000 a second.
const COUNT_INTERVAL: Duration = Duration::from_millis(250);
/// The memory of a name in bytes, by measurement: the node, its place, and its entry in what is known of its directory.
const NAME: u64 = 1000;

/// Hands breaks of leases to the files and directories that they concern, until the share is left. Another client waits at
/// the server until a break is acknowledged, so each is worked on as soon as it comes, beside all others. What has to be
/// done before, and in which order, is known by the file.
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
        // A file's break is acknowledged by its driver.
        let Some(broken) = vfs.files.broken(broken) else { continue };
        let vfs = Arc::clone(&vfs);
        tokio::spawn(async move {
            vfs.names.directory_broken(broken.key).await;
            if let Err(error) = vfs.share.acknowledge(broken).await {
                tracing::debug!(%error, "a break could not be acknowledged");
            }
        });
    }
}

/// Follows the watches on directories until the mount ends.
pub async fn follow_watches<S: Share>(vfs: Arc<Vfs<S>>) {
    vfs.names.follow_watches().await;
}

/// Closes what is open at the server for the cache only and was not used for long enough, until the mount ends: kept opens,
/// and directories that are watched.
pub async fn close_idle<S: Share>(vfs: Arc<Vfs<S>>) {
    loop {
        tokio::time::sleep(IDLE_INTERVAL).await;
        vfs.names.end_idle_watches();
        let expired = vfs.files.expire_kept();
        vfs.files.close_kept(&expired).await;
    }
}

/// Counts what is known of names into the memory of the cache, until the mount ends. The kernel decides how many names
/// there are: a node is there as long as the kernel counts lookups of it. So names cannot give way, but cached data can.
pub async fn count_names<S: Share>(vfs: Arc<Vfs<S>>) {
    loop {
        tokio::time::sleep(COUNT_INTERVAL).await;
        let names = vfs.names.len();
        vfs.cache.share_with(names as u64 * NAME);
    }
}
