//! How the server is asked for owner, group and mode, and how they are stored there. Only where the mount shows the
//! server's: elsewhere no request is different from one for attributes.

use super::Names;
use crate::share::{Metadata, Ownership, RemotePath, Share, ShareError};
use crate::vfs::file::driver::FileOf;
use std::time::Instant;

/// What the server has answered about a path: metadata, and the owner if it was asked for, with the time of the question.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Found {
    pub metadata: Metadata,
    owner: Option<(Ownership, Instant)>,
}

impl<S: Share> Names<S> {
    /// Asks for the file at a path. `file` is the one that is expected there, if any.
    ///
    /// # Errors
    /// What the share answered.
    pub(crate) async fn ask(&self, path: &RemotePath, file: Option<&FileOf<S>>) -> Result<Found, ShareError> {
        if !self.terms.show.owner_is_fetched {
            let metadata = self.with_room(|| self.share.stat(path)).await?;
            return Ok(Found { metadata, owner: None });
        }
        let (lease, asked) = (file.and_then(|file| file.lock().shared_lease()), Instant::now());
        let (metadata, owner) = self.with_room(|| self.share.stat_with_owner(path, lease)).await?;
        Ok(Found { metadata, owner: Some((owner, asked)) })
    }

    /// Records the owner that the server has reported of an inode.
    pub(crate) fn learn_owner(&self, ino: u64, found: &Found) {
        if let (Some((owner, asked)), Some(file)) = (found.owner, self.file(ino)) {
            file.lock().owner_reported(owner, asked);
        }
    }

    /// Fetches the owner of an open file by its path, if what is known of it is not valid any more. A failure leaves the
    /// owner unknown: the attributes then stay valid for no time.
    pub(crate) async fn refresh_owner(&self, file: &FileOf<S>) {
        let is_valid = file.lock().owner().remaining(Instant::now(), self.terms.policy.timeout).is_some();
        if !self.terms.show.owner_is_fetched || is_valid {
            return;
        }
        let Ok(path) = self.path(file.ino) else { return };
        match self.ask(&path, Some(file)).await {
            Ok(found) if found.metadata.identity() == file.lock().metadata().identity() => {
                self.learn_owner(file.ino, &found);
            }
            Ok(_) => {}
            Err(error) => tracing::debug!(%error, "the owner of an open file is not known"),
        }
    }

    /// Stores owner, group or mode at the server. Returns what it has kept of them; nothing of a file without a name.
    ///
    /// # Errors
    /// What the share answered, other than that it keeps no such thing.
    pub(crate) async fn store_owner(&self, file: &FileOf<S>, set: Ownership) -> Result<Ownership, ShareError> {
        let Ok(path) = self.path(file.ino) else { return Ok(Ownership::NOTHING) };
        let (identity, lease) = {
            let state = file.lock();
            (state.metadata().identity(), state.shared_lease())
        };
        self.with_room(|| self.share.store_owner(&path, identity, lease, set)).await
    }
}
