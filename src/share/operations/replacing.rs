//! Renaming a file over one that this client has open.
//!
//! smbd replaces an open file atomically, unless the open belongs to the same server process; and it serves all
//! connections of a client with one process. So the rename is sent over an auxiliary session, which is another client
//! to the server ([`crate::share::auxiliary`]).
//!
//! Windows replaces no open file, whichever client has it open. There the target is renamed aside, deleted by its new
//! name, and replaced, in one frame. The deletion opens the file by the new name, so it cannot happen if the rename
//! was refused. The source is opened in a frame before, so that it is known to exist and to allow the rename.

use super::existing;
use crate::share::error::Cause;
use crate::share::file::Open;
use crate::share::replay::{self, Outcome};
use crate::share::smb::{Failure, SmbShare, send};
use crate::share::task::Task;
use crate::share::types::*;
use crate::share::verify::Doubt;
use crate::share::{Files, Result};
use crate::wire::NtStatus;
use crate::wire::connect::Tree;
use crate::wire::frame::{RELATED_FILE, Reply, Request};
use crate::wire::messages::create::{self, Created, access, options};
use crate::wire::messages::info;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::time::Instant;

/// A file that is renamed over another one.
#[derive(Clone, Copy, Debug)]
pub(super) struct Replacing<'a> {
    pub(super) from: &'a RemotePath,
    pub(super) to: &'a RemotePath,
    /// The identity of `from`, if it is known.
    pub(super) known: Option<FileIdentity>,
    /// The name that the replaced file has until it is gone, where the server cannot replace it.
    pub(super) aside: &'a RemotePath,
}

/// The result over the auxiliary session.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Over {
    Done,
    NotDone,
    /// The server answered ACCESS_DENIED. If the replacement then succeeds in steps, the server replaces no open file,
    /// and the auxiliary session is of no use.
    Denied,
}

const TO_RENAME: u32 = access::DELETE | access::READ_ATTRIBUTES;

impl<'a> Replacing<'a> {
    fn task(&self) -> Task<'a> {
        Task { operation: "REPLACE", path: self.from }
    }

    fn change(&self) -> replay::Change<'a> {
        replay::Change { doubt: Doubt::Rename { known: self.known }, path: self.from, target: Some(self.to) }
    }
}

impl SmbShare {
    /// See [`Names::replace`](crate::share::Names::replace).
    ///
    /// # Errors
    /// The server's refusal of the source or of the rename; those of [`SmbShare::carry_out`].
    pub(super) async fn replace_file(&self, replacing: Replacing<'_>) -> Result<()> {
        // Files whose CLOSE is waiting are closed at the server first.
        self.send_closes();
        let renaming = self.records.renaming(replacing.from, replacing.to);
        let over = self.replace_over_auxiliary(replacing).await?;
        if over != Over::Done {
            self.replace_in_steps(replacing).await?;
        }
        if over == Over::Denied {
            self.auxiliary.is_refused();
        }
        renaming.done(&self.tree());
        Ok(())
    }

    /// Replaces the file over the auxiliary session.
    ///
    /// # Errors
    /// Those of [`SmbShare::carry_out_on`] once the rename was sent: its answer was lost, and nothing shows whether
    /// it was made. A refusal, or a session that is not available, is no error.
    async fn replace_over_auxiliary(&self, replacing: Replacing<'_>) -> Result<Over> {
        if !self.auxiliary.may_help() {
            return Ok(Over::NotDone);
        }
        let task = replacing.task();
        let _use = self.auxiliary.begin_use();
        let is_sent = AtomicBool::new(false);
        let open = existing(replacing.from, TO_RENAME, options::NON_DIRECTORY, self.wanted_for(replacing.from));
        let rename = info::set_name(RELATED_FILE, replacing.to.as_utf16(), true);
        let attempt = async |tree: Arc<Tree>, deadline| {
            is_sent.store(true, Ordering::Release);
            send(&tree, vec![open.clone(), rename.clone(), create::close(RELATED_FILE)], deadline).await
        };
        let session = async |deadline| {
            let tree = self.auxiliary.tree(&self.link, deadline).await;
            // A session that has not ended may still make the change that was sent on it.
            tree.map_err(|cause| task.fail(if is_sent.load(Ordering::Acquire) { Cause::Uncertain } else { cause }))
        };
        let outcome = self.carry_out_on(session, task, replacing.change(), attempt).await;
        match outcome {
            Ok(Outcome::Verified(_)) => Ok(Over::Done),
            Ok(Outcome::Answered { answer: replies, .. }) => {
                match replies.iter().map(Reply::status).find(|status| status.is_error()) {
                    None => task.all(&replies).map(|()| Over::Done),
                    Some(status) => {
                        tracing::debug!(%status, "the auxiliary session cannot replace the open file either: it is \
                            replaced in steps");
                        Ok(if status == NtStatus::ACCESS_DENIED { Over::Denied } else { Over::NotDone })
                    }
                }
            }
            // Nothing was sent: no auxiliary session is available now.
            Err(error) if !is_sent.load(Ordering::Acquire) => {
                tracing::debug!(%error, "no auxiliary session: the open file is replaced in steps");
                Ok(Over::NotDone)
            }
            Err(error) => Err(error),
        }
    }

    /// Renames the replaced file aside, deletes it, and renames the other one, all in one frame.
    async fn replace_in_steps(&self, replacing: Replacing<'_>) -> Result<()> {
        let task = replacing.task();
        let attempt = async |tree: Arc<Tree>, deadline| self.try_in_steps(tree, replacing, deadline).await;
        match self.carry_out(task, replacing.change(), attempt).await? {
            Outcome::Answered { answer: replies, .. } => task.all(&replies).map_err(|error| self.refused_change(error)),
            Outcome::Verified(_) => {
                self.remove_left(replacing.aside).await;
                Ok(())
            }
        }
    }

    /// The replies to the requests that make the change. It was made if all of them succeeded.
    async fn try_in_steps(
        &self,
        tree: Arc<Tree>,
        Replacing { from, to, aside, .. }: Replacing<'_>,
        deadline: Instant,
    ) -> std::result::Result<Vec<Reply>, Failure> {
        let open = existing(from, TO_RENAME, options::NON_DIRECTORY, self.wanted_for(from));
        let mut opened = send(&tree, vec![open], deadline).await?;
        let Some(Ok(source)) = opened.first().filter(|reply| !reply.status().is_error()).map(Created::parse) else {
            return Ok(opened);
        };
        let source = Open::new(Arc::clone(&tree), source.file);
        let (requests, rename_at) = self.steps(&source, to, aside);
        let replies = send(&tree, requests, deadline).await;
        let mut replies = match replies {
            Ok(replies) => replies,
            Err(failure) => {
                source.post_close();
                return Err(failure);
            }
        };
        // The other steps may be refused if the target no longer exists. Only the rename to the target's name counts.
        opened.extend(replies.drain(..).skip(rename_at).take(1));
        Ok(opened)
    }

    /// The steps, and the index of the step that gives the file its new name.
    fn steps(&self, source: &Open, to: &RemotePath, aside: &RemotePath) -> (Vec<Request>, usize) {
        let doomed = options::NON_DIRECTORY | options::DELETE_ON_CLOSE;
        let rename = info::set_name(source.file, to.as_utf16(), true);
        let steps = vec![
            existing(to, TO_RENAME, options::NON_DIRECTORY, self.wanted_for(to)),
            info::set_name(RELATED_FILE, aside.as_utf16(), false),
            create::close(RELATED_FILE),
            existing(aside, TO_RENAME, doomed, self.wanted_for(aside)).unrelated(),
            create::close(RELATED_FILE),
            rename.unrelated(),
            create::close(source.file).unrelated(),
        ];
        (steps, 5)
    }
}
