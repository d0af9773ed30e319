//! Changes that are verified instead of repeated when their session is lost: how the server is asked, and what follows.
//!
//! Whether the change was made is judged by [`super::verify`]. A verification whose own session is lost is repeated
//! within the bounds of [`Attempts`](super::attempts::Attempts): a number of losses in all, the deadline of the
//! operation, and only on a session that began after the server had ended the session of the change.

use super::Result;
use super::error::Cause;
use super::listing::{SmbListing, Whole};
use super::operations::existing;
use super::session::Repair;
use super::smb::{Failure, Repeat, SmbShare, send};
use super::task::{Task, metadata};
use super::types::RemotePath;
use super::verify::{Done, Doubt, Seen, Verdict, Window};
use crate::wire::NtStatus;
use crate::wire::connect::Tree;
use crate::wire::frame::{RELATED_FILE, Reply};
use crate::wire::messages::create::{self, access};
use crate::wire::messages::lease::Wanted;
use std::sync::Arc;
use std::time::Instant;

/// A change that must not be repeated without verification.
#[derive(Clone, Copy, Debug)]
pub(super) struct Change<'a> {
    pub(super) doubt: Doubt,
    /// The file or directory that is created, removed or renamed.
    pub(super) path: &'a RemotePath,
    /// The new name of a rename; or the name to which a removed file is renamed until it is gone.
    pub(super) target: Option<&'a RemotePath>,
}

/// The result of a change.
#[derive(Debug)]
pub(super) enum Outcome<T> {
    /// The server answered.
    Answered {
        /// The tree in which it was sent.
        tree: Arc<Tree>,
        /// The answer.
        answer: T,
        /// The change was sent before, in a session that was lost without an answer.
        is_repeated: bool,
    },
    /// The answer was lost, and the server has made the change.
    Verified(Done),
}

/// The session on which a change was sent and not answered, and when it was sent.
struct Lost {
    tree: Arc<Tree>,
    sent: Instant,
}

impl SmbShare {
    /// Makes a change on any live session. If the answer of an `attempt` is lost, the share is asked whether the
    /// server has made the change.
    ///
    /// # Errors
    /// What the last attempt failed with; the status that the change would be refused with now; [`Cause::Unverified`]
    /// if nothing shows whether it was made; [`Cause::Uncertain`] if the lost session may still be at work;
    /// [`Cause::LostAgain`].
    pub(super) async fn carry_out<T, F>(
        &self,
        task: Task<'_>,
        change: Change<'_>,
        attempt: impl Fn(Arc<Tree>, tokio::time::Instant) -> F,
    ) -> Result<Outcome<T>>
    where
        F: Future<Output = std::result::Result<T, Failure>>,
    {
        self.carry_out_on(|deadline| self.tree_by(task, deadline), task, change, attempt).await
    }

    /// As [`SmbShare::carry_out`], on the sessions that `session` returns: a tree that is live as far as is known.
    ///
    /// # Errors
    /// Those of [`SmbShare::carry_out`], and of `session`.
    pub(super) async fn carry_out_on<T, F, S>(
        &self,
        session: impl Fn(tokio::time::Instant) -> S,
        task: Task<'_>,
        change: Change<'_>,
        attempt: impl Fn(Arc<Tree>, tokio::time::Instant) -> F,
    ) -> Result<Outcome<T>>
    where
        F: Future<Output = std::result::Result<T, Failure>>,
        S: Future<Output = Result<Arc<Tree>>>,
    {
        let mut attempts = self.attempts();
        let mut lost: Option<Lost> = None;
        loop {
            let tree = session(attempts.deadline).await?;
            let must_verify = attempts.must_verify(tree.lineage).map_err(|cause| task.fail(cause))?;
            if let Some(lost) = lost.as_ref().filter(|_| must_verify) {
                match self.verdict(task, change, lost, &tree, attempts.deadline).await? {
                    Ok(Verdict::Done(done)) => {
                        tracing::debug!(path = %change.path, operation = task.operation, "the change was made, although \
                            its answer was lost");
                        return Ok(Outcome::Verified(done));
                    }
                    Ok(Verdict::Again) => attempts.verified(),
                    Ok(Verdict::Refused(status)) => return Err(task.status(status)),
                    Ok(Verdict::Unclear) => return Err(task.fail(Cause::Unverified)),
                    Err(failure) => {
                        attempts.lost(&failure.why(task, &tree)?).map_err(|cause| task.fail(cause))?;
                        continue;
                    }
                }
            }
            attempts.change(tree.lineage).map_err(|cause| task.fail(cause))?;
            let sent = Instant::now();
            match attempt(Arc::clone(&tree), attempts.deadline).await {
                Ok(answer) => return Ok(Outcome::Answered { tree, answer, is_repeated: lost.is_some() }),
                Err(failure) => failure.allows(Repeat::Verify, task, &tree, &mut attempts)?,
            }
            lost = Some(Lost { tree, sent });
        }
    }

    /// The verdict about a change whose answer was lost, from one round trip.
    async fn verdict(
        &self,
        task: Task<'_>,
        change: Change<'_>,
        lost: &Lost,
        tree: &Arc<Tree>,
        deadline: tokio::time::Instant,
    ) -> Result<std::result::Result<Verdict, Failure>> {
        let _verifying = self.link.repairing(Repair::Verify);
        let mut requests = match change.doubt {
            Doubt::Directory => Whole::requests(tree, change.path, Wanted::Nothing),
            _ => vec![look_at(change.path)],
        };
        requests.push(create::close(RELATED_FILE));
        let target_at = requests.len();
        if let Some(target) = change.target {
            requests.extend([look_at(target).unrelated(), create::close(RELATED_FILE)]);
        }
        let replies = match send(tree, requests, deadline).await {
            Ok(replies) => replies,
            Err(failure) => return Ok(Err(failure)),
        };
        let seen = seen(task, change.doubt, &replies)?;
        let target = match change.target {
            Some(_) => self::seen(task, change.doubt, replies.get(target_at..).unwrap_or_default())?,
            None => Seen::Absent,
        };
        let ended = lost.tree.channels.ended_at().unwrap_or_else(Instant::now);
        let window = Window::of(lost.tree.terms.clock, (lost.sent, ended), tree.terms.clock, Instant::now());
        Ok(Ok(change.doubt.decide(seen, target, window)))
    }
}

fn look_at(path: &RemotePath) -> crate::wire::frame::Request {
    existing(path, access::READ_ATTRIBUTES, 0, Wanted::Nothing)
}

/// What a look at a name found, from its replies.
fn seen(task: Task<'_>, doubt: Doubt, replies: &[Reply]) -> Result<Seen> {
    match replies.first().map(Reply::status) {
        Some(NtStatus::OBJECT_NAME_NOT_FOUND | NtStatus::OBJECT_PATH_NOT_FOUND) => return Ok(Seen::Absent),
        Some(NtStatus::DELETE_PENDING) => return Ok(Seen::Pending),
        // Only a directory is opened as a directory.
        Some(NtStatus::NOT_A_DIRECTORY) if doubt == Doubt::Directory => {
            return Ok(Seen::There(Default::default(), false));
        }
        _ => {}
    }
    let created = task.created(replies)?;
    let found = metadata(created.info, created.disk_id, 0);
    let is_empty = match doubt {
        Doubt::Directory => SmbListing::of(task, replies).is_ok_and(|listing| listing.is_within(0)),
        _ => found.size == 0,
    };
    Ok(Seen::There(found, is_empty))
}
