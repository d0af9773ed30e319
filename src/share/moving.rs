//! Renaming a directory although files below it are open here.
//!
//! Servers refuse to rename a directory while something below it is open: Windows whichever client has it open, Samba if
//! this client has it open. So the opens are closed for the moment of the rename, and made again by their new paths; if
//! the server refuses the rename all the same, by their old ones. Requests on them wait meanwhile. An open continues
//! only if its path then means the same file ([`super::identity`]); otherwise all later requests through it fail with
//! `Cause::Stale`.
//!
//! Invariant: an open is closed only while no request uses it ([`super::uses`]), and held-back data was written before,
//! so nothing that is written afterwards is older than what another client may have written in between.

use super::Names;
use super::Result;
use super::file::{Open, SmbFile};
use super::smb::SmbShare;
use super::task::Task;
use super::types::{FileIdentity, RemotePath};
use crate::wire::messages::create;
use futures_util::StreamExt;
use futures_util::future::join_all;
use futures_util::stream;
use std::sync::Arc;
use tokio::time::Instant;

/// How many opens are made again at the same time: enough that hundreds of them are not a round trip each, and few
/// enough to leave credits to other requests.
const AT_ONCE: usize = 16;

impl SmbShare {
    /// See [`Files::rename_around`](super::Files::rename_around).
    pub(super) async fn move_around(
        &self,
        from: &RemotePath,
        to: &RemotePath,
        known: Option<FileIdentity>,
        open: &[Arc<SmbFile>],
    ) -> Result<()> {
        let pauses: Vec<_> = open.iter().map(|file| file.uses.pause()).collect();
        join_all(open.iter().map(|file| file.uses.until_unused())).await;
        self.put_aside(open).await;
        let renamed = self.rename(from, to, false, known).await;
        drop(pauses);
        let all: Vec<_> = open.iter().map(|file| self.take_up(file)).collect();
        stream::iter(all).buffer_unordered(AT_ONCE).collect::<()>().await;
        renamed
    }

    /// Closes opens that are made again later, in few frames.
    async fn put_aside(&self, open: &[Arc<SmbFile>]) {
        let answers: Vec<_> = open
            .iter()
            .filter_map(|file| {
                let Open { tree, file: id, .. } = file.put_aside()?;
                Some(self.closes.gather(tree, create::close(id)))
            })
            .collect();
        self.closes.send();
        // Without an answer the connection has ended, which closes the file too, or the rename is refused again.
        join_all(answers).await;
    }

    /// Makes an open again that was put aside.
    async fn take_up(&self, file: &SmbFile) {
        if file.is_closed() {
            return;
        }
        let task = Task { operation: "CREATE", path: &file.path };
        let _use = file.uses.begin().await;
        if let Err(error) = self.live(file, task, Instant::now() + self.request_timeout).await
            && !file.is_closed()
        {
            tracing::error!(%error, "an open file could not be opened again after a folder above it was renamed: \
                requests through its handles fail");
        }
    }
}
