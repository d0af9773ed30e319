//! Removing files that others may have open.
//!
//! A server takes a deleted file away when its last open is closed. Until then its name is taken, and nothing can be
//! opened by it. POSIX programs expect the name to be free at once. So a file that another client has open is renamed
//! first, to a name that this client has chosen and nobody uses.
//!
//! A rename takes six times as long on smbd (0.7 ms instead of 0.11 ms on a loopback) and is seen by every client that
//! watches the folder. So it is tried first whether the file is in use at all: by an open that shares nothing
//! ([`Create::request_if_unused`]), which deletes the file in the same compound. That costs a file nobody has open no frame
//! and no time. smbd and Windows refuse it at once if the file is in use; an open that a client only keeps under a handle
//! lease is closed for it. Another client's open that comes between this CREATE and its CLOSE, which the server carries out
//! in one go, is refused with a sharing violation, instead of finding the file or no file.
//!
//! The renaming open deletes on close, rather than by a disposition set behind the rename: a read-only file is then refused
//! before it is renamed, and a file whose renaming is refused is deleted all the same.

use super::existing;
use crate::share::replay::{self, Outcome};
use crate::share::smb::{Failure, SmbShare};
use crate::share::task::Task;
use crate::share::types::*;
use crate::share::verify::Doubt;
use crate::share::{Files, Result};
use crate::wire::NtStatus;
use crate::wire::connect::Tree;
use crate::wire::frame::{RELATED_FILE, Reply, Request};
use crate::wire::messages::create::{self, Create, access, disposition, options};
use crate::wire::messages::info;
use crate::wire::messages::lease::Wanted;
use std::sync::Arc;
use tokio::time::Instant;

/// What is to be removed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Removal<'a> {
    pub(super) path: &'a RemotePath,
    /// The lease that this client has on it.
    pub(super) lease: Option<LeaseKey>,
    /// Which file is meant.
    pub(super) known: Option<FileIdentity>,
    /// The name that it has until it is gone, if others have it open.
    pub(super) aside: Option<&'a RemotePath>,
}

/// How the server removed a file.
struct Removed {
    replies: Vec<Reply>,
    /// Whether its name is free.
    is_free: bool,
}

/// The most names that a file gets on its way out: each is a request.
const WAYS_OUT: usize = 8;

const TO_DELETE: u32 = access::DELETE | access::READ_ATTRIBUTES;

impl SmbShare {
    /// Removes a file, by an open that belongs to its lease if there is one. Whether its name is free.
    ///
    /// # Errors
    /// What the server answered to the last request that it refused; [`Cause::Unverified`](crate::share::error::Cause).
    pub(super) async fn remove_file(&self, removal: Removal<'_>) -> Result<bool> {
        let Removal { path, lease, known, aside } = removal;
        let task = Task { operation: "DELETE", path };
        // The removal would break an oplock of this client, so the CLOSE of its open comes first, in a frame of its own.
        if lease.is_some() && !self.tree().terms.leasing {
            self.send_closes();
        }
        let attempt = async |tree: Arc<Tree>, deadline| self.try_to_remove(&tree, removal, deadline).await;
        let doubt = Doubt::Removal { kind: FileKind::File, known };
        let change = replay::Change { doubt, path, target: aside };
        match self.carry_out(task, change, attempt).await? {
            Outcome::Answered(_, removed) => {
                task.all(&removed.replies)?;
                Ok(removed.is_free)
            }
            Outcome::Verified(done) => {
                if let Some(aside) = aside.filter(|_| done.is_aside) {
                    self.remove_left(aside).await;
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
        // An open of this client whose CLOSE goes behind the removal would be in its way.
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
            tracing::debug!(path = %removal.path, ?renamed, "a file is removed that could not be renamed before");
        }
        Ok(Removed { replies, is_free })
    }

    /// Deletes a file under its own name.
    fn plain(&self, tree: &Tree, removal: Removal<'_>, sharing: Sharing) -> Vec<Request> {
        let Removal { path, lease, .. } = removal;
        let wanted = lease.map_or_else(|| self.wanted_for(path), |key| self.wanted_under(key, path, &tree.terms));
        let open = match sharing {
            Sharing::All => existing(path, TO_DELETE, options::NON_DIRECTORY, wanted),
            Sharing::None => unused(path, wanted),
        };
        vec![open, info::set_delete(RELATED_FILE), create::close(RELATED_FILE)]
    }

    /// Renames a file, and deletes it. The open is none of the file's lease: smbd up to 4.17 refuses a rename by such an open
    /// while another client has a lease, because it cannot wait in the middle of a compound until that is broken.
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
    /// What the server answered, unless that says that the file is open or being deleted.
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

    /// Removes a file if nobody has it open; whether it did.
    ///
    /// # Errors
    /// What the server answered, unless that says that the file is open or being deleted.
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

    /// Removes a file that stayed under the name that was chosen for its removal.
    pub(super) async fn remove_left(&self, aside: &RemotePath) {
        if let Err(error) = self.remove_if_unused(aside).await {
            tracing::debug!(%error, "a removed file stays on the server under a hidden name");
        }
    }
}

/// The names that a removed file gets, one after the other, of which it keeps the last that the server lets it have: in its
/// own folder, in those above, and `aside`. Not every folder takes it: this user may not write there, or it is on another disk.
fn ways_out(path: &RemotePath, aside: &RemotePath) -> Vec<RemotePath> {
    let (Some(name), Some(top)) = (aside.name(), aside.parent()) else { return vec![aside.clone()] };
    let above = std::iter::successors(path.parent(), RemotePath::parent);
    let mut ways: Vec<_> = above.take_while(|folder| folder.is_below(&top)).map(|folder| folder.join(name)).collect();
    ways.push(aside.clone());
    let surplus = ways.len().saturating_sub(WAYS_OUT);
    // Those in the middle are least worth.
    ways.drain(1..1 + surplus);
    ways
}

/// What other opens of a file may do meanwhile.
enum Sharing {
    All,
    None,
}

/// The CREATE of a file that is to be removed, refused if another open of it can be in the way.
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
    fn a_removed_file_goes_up_as_far_as_the_server_lets_it() {
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
