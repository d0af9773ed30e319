//! Creating a file that must not exist before, even if the session is lost before the answer comes.

use super::Files;
use super::Result;
use super::file::Open;
use super::replay::{self, Outcome};
use super::smb::SmbShare;
use super::task::{Task, metadata};
use super::types::{Attributes, Change, Disposition, Metadata, OpenHow, Target};
use super::verify::Doubt;
use crate::wire::NtStatus;
use crate::wire::connect::Tree;
use crate::wire::frame::{Reply, Request};
use std::sync::Arc;

impl SmbShare {
    /// Creates and opens a file. `requests` builds the compound for an [`OpenHow`]. If the answer is lost and the
    /// server has created the file, the file is opened with a second compound.
    ///
    /// # Errors
    /// Those of [`SmbShare::carry_out`]; OBJECT_NAME_COLLISION if the file under the name is, or may be, another one;
    /// those of opening the file.
    pub(super) async fn create_new(
        &self,
        task: Task<'_>,
        how: OpenHow,
        requests: impl Fn(&Tree, OpenHow) -> Vec<Request>,
    ) -> Result<(Arc<Tree>, Vec<Reply>)> {
        let attempt =
            async |tree: Arc<Tree>, deadline| self.send_with_closes(&tree, requests(&tree, how), &[], deadline).await;
        let change = replay::Change { doubt: Doubt::File, path: task.path, target: None };
        match self.carry_out(task, change, attempt).await? {
            Outcome::Answered { tree, answer, .. } => Ok((tree, answer)),
            Outcome::Verified(done) => self.open_made(task, how, done.found, requests).await,
        }
    }

    /// Opens a file that this client has just created.
    async fn open_made(
        &self,
        task: Task<'_>,
        how: OpenHow,
        made: Metadata,
        requests: impl Fn(&Tree, OpenHow) -> Vec<Request>,
    ) -> Result<(Arc<Tree>, Vec<Reply>)> {
        // Only the open that creates a read-only file may write it.
        if how.readonly {
            self.set(Target::Path(task.path), &attributes(Attributes::NORMAL)).await?;
        }
        let opens = OpenHow { disposition: Disposition::Open, readonly: false, ..how };
        let (tree, replies) = self.run(task, |tree| requests(tree, opens)).await?;
        let created = task.created(&replies)?;
        let found = metadata(created.info, created.disk_id, 0);
        let finished = match (found.identity() == made.identity(), how.readonly) {
            (false, _) => Err(task.status(NtStatus::OBJECT_NAME_COLLISION)),
            (true, true) => self.set(Target::Path(task.path), &attributes(Attributes::READONLY)).await,
            (true, false) => Ok(()),
        };
        if let Err(error) = finished {
            Open::new(tree, created.file).post_close();
            return Err(error);
        }
        Ok((tree, replies))
    }
}

fn attributes(bits: u32) -> Change {
    Change { attributes: Some(Attributes(bits)), ..Change::default() }
}
