//! Removing files that other clients may have open.
//!
//! A server deletes a removed file when its last open is closed. Until then its name is in use, and nothing can be
//! opened by it. POSIX programs expect the name to be free at once. So a file that another client has open is renamed
//! first, to a name that this client chose and nothing else uses.
//!
//! With the rename a removal takes six times as long on smbd (0.7 ms instead of 0.11 ms on a loopback), and every
//! client that watches the folder sees the new name. So a first compound tests whether the file is in use at all: it
//! opens the file without sharing anything ([`Create::request_if_unused`]) and deletes it. For a file that is not open
//! this costs no extra frame and no time. smbd and Windows refuse the open at once if the file is in use; an open that
//! a client keeps only under a handle lease is closed first. Between this CREATE and its CLOSE, which the server
//! carries out in one go, another client that opens the file gets a sharing violation instead of the file or "no such
//! file".
//!
//! The test is left out where this client itself has the file open: the file is renamed. It is also left out where this
//! client's lease shows that no other client has the file open, or no other name is given: the file is deleted under
//! its own name.
//!
//! The open that renames deletes on close, instead of setting a disposition after the rename. So a read-only file is
//! refused before it is renamed, and a file whose rename is refused is deleted all the same.

use super::existing;
use crate::share::replay::{self, Outcome};
use crate::share::smb::{Failure, SmbShare};
use crate::share::task::Task;
use crate::share::types::*;
use crate::share::verify::Doubt;
use crate::share::{Files, Refusal, Result};
use crate::wire::NtStatus;
use crate::wire::connect::Tree;
use crate::wire::frame::{RELATED_FILE, Reply, Request};
use crate::wire::messages::create::{self, Create, access, disposition, options};
use crate::wire::messages::info;
use crate::wire::messages::lease::Wanted;
use std::sync::Arc;
use tokio::time::Instant;

/// A file or directory to be removed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Removal<'a> {
    pub(super) path: &'a RemotePath,
    /// The key of this client's lease on it.
    pub(super) lease: Option<LeaseKey>,
    /// Its identity, if it is known.
    pub(super) known: Option<FileIdentity>,
    /// The name that it has until it is gone, if other clients have it open.
    pub(super) aside: Option<&'a RemotePath>,
}

/// The server's answers to the removal of a file.
struct Removed {
    replies: Vec<Reply>,
    /// Whether the file's name is free.
    is_free: bool,
}

/// The maximum number of names that are tried for a removed file. Each is one request.
const WAYS_OUT: usize = 8;

const TO_DELETE: u32 = access::DELETE | access::READ_ATTRIBUTES;

impl SmbShare {
    /// Removes a file, by an open under its lease key if there is one. Returns whether its name is free.
    ///
    /// # Errors
    /// The server's refusal of the last request that it refused; those of [`SmbShare::carry_out`].
    pub(super) async fn remove_file(&self, removal: Removal<'_>) -> Result<bool> {
        let Removal { path, lease, known, aside } = removal;
        let task = Task { operation: "DELETE", path };
        // The removal would break an oplock of this client, so the CLOSE of its open comes first, in a frame of its
        // own.
        if lease.is_some() && !self.tree().terms.leasing {
            self.send_closes();
        }
        let attempt = async |tree: Arc<Tree>, deadline| self.try_to_remove(&tree, removal, deadline).await;
        let doubt = Doubt::Removal { kind: FileKind::File, known };
        let change = replay::Change { doubt, path, target: aside };
        match self.carry_out(task, change, attempt).await? {
            Outcome::Answered { answer: removed, is_repeated, .. } => {
                if let Some(is_free) = is_removed_before(is_repeated, &removed.replies) {
                    return Ok(is_free);
                }
                task.all(&removed.replies)?;
                Ok(removed.is_free)
            }
            Outcome::Verified(done) => {
                // The server's process may have ended between two of the renames, or before the file was closed.
                for name in aside.iter().flat_map(|aside| ways_out(path, aside)) {
                    self.remove_left(&name).await;
                }
                Ok(done.is_free)
            }
        }
    }

    async fn try_to_remove(
        &self,
        tree: &Arc<Tree>,
        removal: Removal<'_>,
        deadline: Instant,
    ) -> std::result::Result<Removed, Failure> {
        let is_alone = removal.lease.is_some_and(|key| self.leases.is_alone(key));
        let Some(aside) = removal.aside.filter(|_| !is_alone) else {
            let replies = self.send_with_closes(tree, self.plain(tree, removal, Sharing::All), &[], deadline).await?;
            return Ok(Removed { replies, is_free: true });
        };
        // An open of this client, which would be closed only after this compound, would make the server refuse it.
        if self.records.at(removal.path).is_none() {
            let requests = self.plain(tree, removal, Sharing::None);
            let replies = self.send_with_closes(tree, requests, &[], deadline).await?;
            if replies.first().is_none_or(|reply| reply.status() != NtStatus::SHARING_VIOLATION) {
                return Ok(Removed { replies, is_free: true });
            }
        }
        let mut replies = self.send_with_closes(tree, self.renaming(removal.path, aside), &[], deadline).await?;
        let is_open = replies.first().is_some_and(|reply| reply.status() == NtStatus::SUCCESS);
        if !is_open || replies.len() < 3 {
            return Ok(Removed { replies, is_free: true });
        }
        let last = replies.len() - 1;
        let renamed: Vec<NtStatus> = replies.drain(1..last).map(|reply| reply.status()).collect();
        let is_free = renamed.contains(&NtStatus::SUCCESS);
        if !is_free {
            tracing::debug!(path = %removal.path, ?renamed, "a file was removed that could not be renamed first: its \
                name is in use until other clients close it");
        }
        Ok(Removed { replies, is_free })
    }

    /// The requests that delete a file under its own name.
    fn plain(&self, tree: &Tree, removal: Removal<'_>, sharing: Sharing) -> Vec<Request> {
        let Removal { path, lease, .. } = removal;
        let wanted = lease.map_or_else(|| self.wanted_for(path), |key| self.wanted_under(key, path, &tree.terms));
        let open = match sharing {
            Sharing::All => existing(path, TO_DELETE, options::NON_DIRECTORY, wanted),
            Sharing::None => unused(path, wanted),
        };
        vec![open, info::set_delete(RELATED_FILE), create::close(RELATED_FILE)]
    }

    /// The requests that rename a file and delete it. The open is not made under the file's lease key: smbd up to
    /// 4.17 refuses a rename by such an open while another client has a lease, because it cannot wait for the break
    /// in the middle of a compound.
    fn renaming(&self, path: &RemotePath, aside: &RemotePath) -> Vec<Request> {
        let kind = options::NON_DIRECTORY | options::DELETE_ON_CLOSE;
        let open = existing(path, TO_DELETE, kind, self.wanted_for(path));
        let names = ways_out(path, aside);
        let renames = names.iter().map(|name| info::set_name(RELATED_FILE, name.as_utf16(), false));
        [open].into_iter().chain(renames).chain([create::close(RELATED_FILE)]).collect()
    }

    /// See [`Names::is_unused`](crate::share::Names::is_unused).
    ///
    /// # Errors
    /// The server's refusal, unless it means that the file is open or being deleted; those of [`SmbShare::run`].
    pub(super) async fn is_file_unused(&self, path: &RemotePath) -> Result<bool> {
        let task = Task { operation: "CREATE", path };
        let wanted = self.wanted_for(path);
        let requests = |_: &_| vec![unused(path, wanted), create::close(RELATED_FILE)];
        let (_, replies) = self.run(task, requests).await?;
        match replies.first().map(Reply::status) {
            Some(NtStatus::SHARING_VIOLATION | NtStatus::DELETE_PENDING) => Ok(false),
            _ => task.all(&replies).map(|()| true),
        }
    }

    /// Removes a file if no client has it open. Returns whether it did.
    ///
    /// # Errors
    /// The server's refusal, unless it means that the file is open or being deleted; those of [`SmbShare::run`].
    pub(super) async fn remove_if_unused(&self, path: &RemotePath) -> Result<bool> {
        let task = Task { operation: "DELETE", path };
        let wanted = self.wanted_for(path);
        let requests = |_: &_| vec![unused(path, wanted), info::set_delete(RELATED_FILE), create::close(RELATED_FILE)];
        let (_, replies) = self.run(task, requests).await?;
        match replies.first().map(Reply::status) {
            Some(NtStatus::SHARING_VIOLATION | NtStatus::DELETE_PENDING) => Ok(false),
            _ => task.all(&replies).map(|()| true).map_err(|error| self.refused_change(error)),
        }
    }

    /// Removes a file that is still there under the name that was chosen for its removal.
    pub(super) async fn remove_left(&self, aside: &RemotePath) {
        if let Err(error) = self.remove_if_unused(aside).await
            && !matches!(error.refusal(), Some(Refusal::Absent | Refusal::FolderAbsent))
        {
            tracing::debug!(%error, "a removed file may be left on the server under a hidden name");
        }
    }
}

/// Whether a removal that was sent repeatedly was carried out by an earlier request, and if so, whether the name is
/// free. A server process that was killed can leave a file that is being deleted; it goes when the server finds that
/// out.
pub(super) fn is_removed_before(is_repeated: bool, replies: &[Reply]) -> Option<bool> {
    let status = replies.first().map(Reply::status).filter(|_| is_repeated)?;
    match status {
        NtStatus::DELETE_PENDING => Some(false),
        NtStatus::OBJECT_NAME_NOT_FOUND => Some(true),
        _ => None,
    }
}

/// The names that a removed file gets, one after the other: in its own folder, in the folders above, and `aside`. It
/// keeps the last one that the server accepts. Not every folder accepts it: this user may not write there, or the
/// folder is on another disk.
fn ways_out(path: &RemotePath, aside: &RemotePath) -> Vec<RemotePath> {
    let (Some(name), Some(top)) = (aside.name(), aside.parent()) else { return vec![aside.clone()] };
    let above = std::iter::successors(path.parent(), RemotePath::parent);
    let mut ways: Vec<_> = above.take_while(|folder| folder.is_below(&top)).map(|folder| folder.join(name)).collect();
    ways.push(aside.clone());
    let surplus = ways.len().saturating_sub(WAYS_OUT);
    // Those in the middle are the least useful.
    ways.drain(1..1 + surplus);
    ways
}

/// Which other opens of the file the server allows while it is open for the removal.
enum Sharing {
    All,
    None,
}

/// The CREATE of a file to be removed, which the server refuses if another open of the file could prevent the removal.
fn unused(path: &RemotePath, wanted: Wanted) -> Request {
    let create = Create {
        path: path.as_utf16(),
        access: TO_DELETE,
        attributes: 0,
        disposition: disposition::OPEN,
        options: options::REPARSE_POINT | options::NON_DIRECTORY,
    };
    create.request_if_unused(wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_removed_file_moves_up_as_far_as_the_server_allows() {
        let ways = |path: &str, aside: &str| {
            let ways = ways_out(&RemotePath::parse(path), &RemotePath::parse(aside));
            ways.into_iter().map(|way| way.to_string().replace('\\', "/")).collect::<Vec<_>>()
        };
        assert_eq!(ways("file", ".h"), ["/.h"]);
        assert_eq!(ways("a/b/file", ".h"), ["/a/b/.h", "/a/.h", "/.h"]);
        assert_eq!(ways("a/b/file", "a/.h"), ["/a/b/.h", "/a/.h"]);
        assert_eq!(ways("a/file", "other/.h"), ["/other/.h"]);
        let deep = ways("1/2/3/4/5/6/7/8/9/file", ".h");
        assert_eq!((deep.len(), deep[0].as_str(), deep[7].as_str()), (WAYS_OUT, "/1/2/3/4/5/6/7/8/9/.h", "/.h"));
    }
}
