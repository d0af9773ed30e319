//! What is known of names, counted into the memory of the cache.
//!
//! How many there are is the kernel's to say: a node is there as long as the kernel counts on it. So they cannot give
//! way, but cached data can.

use super::Vfs;
use crate::share::Share;
use std::sync::Arc;
use std::time::Duration;

/// How often they are counted: names come at some 20,000 a second.
const INTERVAL: Duration = Duration::from_millis(250);
/// What a name takes, in bytes, by measurement: the node, its place, and its entry in what is known of its directory.
const NAME: u64 = 1000;

impl<S: Share> Vfs<S> {
    /// Counts the names, for ever.
    pub async fn weigh_names(self: Arc<Self>) {
        loop {
            tokio::time::sleep(INTERVAL).await;
            let names = self.with_inodes(|inodes| inodes.len());
            self.cache.share_with(names as u64 * NAME);
        }
    }
}
