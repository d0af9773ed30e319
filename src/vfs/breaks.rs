//! Obeying the server when it takes a lease back.
//!
//! Somebody else waits at the server until this is done, so each break is worked on as soon as it
//! comes, beside all others. The order is what makes it safe: from the moment the break was received
//! no write is taken any more ([`Share::caching`]), then what was taken is brought to the server, then
//! what was read is dropped here and by the kernel, and only then is the server told.
//!
//! Invariant: what is acknowledged has been done.

use super::Vfs;
use super::files::SharedFile;
use crate::share::{Broken, Event, Share};
use std::sync::Arc;

impl<S: Share> Vfs<S> {
    /// Obeys breaks until the share is left. For one task of a mount.
    pub async fn obey_breaks(self: Arc<Self>) {
        let Some(mut events) = self.share.events() else { return };
        while let Some(event) = events.next().await {
            let Event::Broken(broken) = event else { continue };
            let vfs = Arc::clone(&self);
            // As many at a time as files are open here.
            tokio::spawn(async move { vfs.obey(broken).await });
        }
    }

    async fn obey(&self, broken: Broken) {
        let file = self.files.under(broken.key);
        if file.is_none() {
            self.directory_broken(broken.key);
        }
        if let Some(file) = &file {
            if !broken.left.writes() {
                file.back.drain().await;
                if let Err(error) = self.settle_pending(file).await {
                    tracing::warn!(%error, "times or attributes that were set are lost");
                }
            }
            if !broken.left.reads() {
                self.expire(file);
                if !self.forgetting.data(file.ino).await {
                    tracing::warn!(ino = file.ino, "the kernel keeps pages of a file that somebody else is changing");
                }
            }
        }
        // Somebody else is at the file: an open that nobody uses here would only be in his way.
        let idle = file.and_then(|file| self.deferred.lock().take(file.key, |_| true));
        self.close_all_idle(idle.into_iter().collect()).await;
        if let Err(error) = self.share.acknowledge(broken).await {
            tracing::debug!(%error, "a break could not be acknowledged");
        }
    }

    /// Somebody else may be changing the file.
    fn expire(&self, file: &SharedFile<S>) {
        self.with_inodes(|inodes| {
            if let Some(node) = inodes.get_mut(file.ino) {
                node.attributes.changed();
                node.data.expire();
            }
        });
        self.cache.drop_file(file.key);
    }
}
