//! Breaks of leases, handed to the files and directories that they concern.
//!
//! Another client waits at the server until a break is acknowledged, so each is worked on as soon as it comes, beside all
//! others. What has to be done before, and in which order, is known by the file ([`super::file`]).

use super::Vfs;
use crate::share::{Event, Share};
use std::sync::Arc;

impl<S: Share> Vfs<S> {
    /// Obeys breaks until the share is left. For one task of a mount.
    pub async fn obey_breaks(self: Arc<Self>) {
        let Some(mut events) = self.share.events() else { return };
        while let Some(event) = events.next().await {
            let broken = match event {
                Event::Broken(broken) => broken,
                Event::SessionLost => {
                    self.files.session_lost();
                    continue;
                }
                Event::SessionRestored => continue,
            };
            // A file's break is acknowledged by its driver.
            let Some(broken) = self.files.broken(broken) else { continue };
            let vfs = Arc::clone(&self);
            tokio::spawn(async move {
                vfs.directory_broken(broken.key).await;
                if let Err(error) = vfs.share.acknowledge(broken).await {
                    tracing::debug!(%error, "a break could not be acknowledged");
                }
            });
        }
    }
}
