//! The operation and the path that errors name, and the checks of replies that fail with them.

use super::error::{Cause, ShareError};
use super::types::{Metadata, RemotePath};
use super::{Result, types::Attributes, types::FileTime};
use crate::wire::NtStatus;
use crate::wire::codec::Malformed;
use crate::wire::connect::Tree;
use crate::wire::error::WireError;
use crate::wire::frame::{Chain, Reply, Request};
use crate::wire::messages::create::{Created, FileInfo};
use crate::wire::messages::info;

/// An operation, and the path that it works on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Task<'a> {
    pub(super) operation: &'static str,
    pub(super) path: &'a RemotePath,
}

impl Task<'_> {
    pub(super) fn fail(self, cause: Cause) -> ShareError {
        ShareError { operation: self.operation, path: self.path.clone(), cause }
    }

    pub(super) fn status(self, status: NtStatus) -> ShareError {
        self.fail(Cause::Status(status))
    }

    pub(super) fn wire(self, error: WireError) -> ShareError {
        self.fail(match error {
            WireError::Closed(reason) => Cause::Disconnected(reason.to_string()),
            WireError::TimedOut => Cause::TimedOut,
            WireError::Malformed(malformed) => Cause::Malformed(malformed.to_string()),
            WireError::TooLong(what) => Cause::TooLong(what),
            error @ WireError::Credits { .. } => Cause::Malformed(error.to_string()),
        })
    }

    /// The result of a parser; its failure becomes [`Cause::Malformed`].
    ///
    /// # Errors
    /// [`Cause::Malformed`].
    pub(super) fn parsed<T>(self, parsed: std::result::Result<T, Malformed>) -> Result<T> {
        parsed.map_err(|malformed| self.fail(Cause::Malformed(malformed.to_string())))
    }

    /// The reply to the request at `index`, if it succeeded.
    ///
    /// # Errors
    /// The status of the reply; [`Cause::Malformed`] if there is none.
    pub(super) fn reply(self, replies: &[Reply], index: usize) -> Result<&Reply> {
        let reply = replies.get(index).ok_or_else(|| self.fail(Cause::Malformed("a reply is missing".into())))?;
        match reply.status() {
            NtStatus::SUCCESS => Ok(reply),
            status => Err(self.status(status)),
        }
    }

    /// Checks that all replies succeeded.
    ///
    /// # Errors
    /// The status of the first reply that did not.
    pub(super) fn all(self, replies: &[Reply]) -> Result<()> {
        (0..replies.len()).try_for_each(|index| self.reply(replies, index).map(|_| ()))
    }

    /// The number of links in the answer to a query for FileStandardInformation; 0 if the server does not tell.
    pub(super) fn links(self, replies: &[Reply], index: usize) -> u32 {
        let reply = replies.get(index).filter(|reply| reply.status() == NtStatus::SUCCESS);
        reply.and_then(|reply| info::parse_links(reply).ok()).unwrap_or(0)
    }

    /// The answer to the CREATE at the head of a compound. A file of a previous version has no id and no lease: the id
    /// would be that of the live file.
    ///
    /// # Errors
    /// The status of the reply; [`Cause::Malformed`].
    pub(super) fn created(self, replies: &[Reply]) -> Result<Created> {
        let created = self.parsed(Created::parse(self.reply(replies, 0)?))?;
        Ok(self.without_live_file(created))
    }

    fn without_live_file(self, created: Created) -> Created {
        let (oplock, lease) = if self.path.is_previous() { (0, None) } else { (created.oplock, created.lease) };
        Created { disk_id: self.file_id(created.disk_id), oplock, lease, ..created }
    }

    /// The id of a file at or below the path, for an id that the server has reported: 0 in a previous version.
    pub(super) fn file_id(self, reported: u64) -> u64 {
        if self.path.is_previous() { 0 } else { reported }
    }
}

/// A related compound in this tree.
pub(super) fn compound(tree: &Tree, requests: Vec<Request>) -> Chain {
    Chain { requests, related_from: 1, tree_id: tree.id, seal: tree.seal, force_signature: false }
}

/// The metadata in the server's answer, as a plain value of this room. The number of links is in no such answer.
pub(super) fn metadata(info: FileInfo, file_id: u64, reparse_tag: u32) -> Metadata {
    Metadata {
        file_id,
        links: 0,
        attributes: Attributes(info.attributes),
        // Sizes past 2^63 exist in no file system; they would be negative in POSIX.
        size: info.size.min(i64::MAX as u64),
        allocation: info.allocation.min(i64::MAX as u64),
        created: FileTime(info.created),
        accessed: FileTime(info.accessed),
        modified: FileTime(info.modified),
        changed: FileTime(info.changed),
        reparse_tag,
        special: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::messages::lease::Granted;

    #[test]
    fn a_file_of_a_previous_version_has_neither_the_id_nor_the_lease_of_the_live_file() {
        let lease = Some(Granted { key: 7, state: 7, break_in_progress: false, epoch: None });
        let reported = Created {
            file: [1; 16],
            action: 1,
            info: FileInfo::default(),
            disk_id: 42,
            oplock: 0xff,
            lease,
            maximal_access: None,
        };
        let told = |path: &str| {
            let path = RemotePath::parse(path);
            let task = Task { operation: "CREATE", path: &path };
            let created = task.without_live_file(reported);
            assert_eq!(task.file_id(42), created.disk_id);
            (created.disk_id, created.oplock, created.lease)
        };
        assert_eq!(told("folder/file"), (42, 0xff, lease));
        assert_eq!(told("folder/.snapshots/@GMT-2024.01.01-00.00.00/file"), (0, 0, None));
        assert_eq!(told("@GMT-2024.01.01-00.00.00"), (0, 0, None));
    }
}
