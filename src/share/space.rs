//! Size and free space: which query a server answers.

use super::Result;
use super::operations::existing;
use super::refusal::is_unknown_request;
use super::smb::SmbShare;
use super::task::Task;
use super::types::{RemotePath, Space};
use crate::wire::NtStatus;
use crate::wire::frame::{RELATED_FILE, Request};
use crate::wire::messages::FileId;
use crate::wire::messages::create::{self, access};
use crate::wire::messages::info;
use crate::wire::messages::lease::Wanted;

/// Whether a server answers this to a query that it does not know.
fn is_unknown_query(status: NtStatus) -> bool {
    status == NtStatus::INVALID_INFO_CLASS || is_unknown_request(status)
}

impl SmbShare {
    /// Size and free space of the file system behind a path. Servers that do not know FileFsFullSizeInformation are
    /// asked for FileFsSizeInformation, which has no quota.
    ///
    /// # Errors
    /// Those of [`Names::space`](super::Names::space).
    pub(super) async fn space_of(&self, path: &RemotePath) -> Result<Space> {
        let task = Task { operation: "QUERY_INFO", path };
        let ask = async |query: fn(FileId) -> Request| {
            let requests = |_: &_| {
                let open = existing(path, access::READ_ATTRIBUTES, 0, Wanted::Nothing);
                vec![open, query(RELATED_FILE), create::close(RELATED_FILE)]
            };
            let (_, replies) = self.run(task, requests).await?;
            task.reply(&replies, 0)?;
            Ok(replies)
        };
        let mut replies = ask(info::query_space).await?;
        let is_full = !replies.get(1).is_some_and(|reply| is_unknown_query(reply.status()));
        if !is_full {
            replies = ask(info::query_less_space).await?;
        }
        let reply = task.reply(&replies, 1)?;
        let parsed = if is_full { info::parse_space(reply) } else { info::parse_less_space(reply) };
        let (total, available, free, unit) = task.parsed(parsed)?;
        let bytes = |units: u64| units.saturating_mul(u64::from(unit));
        Ok(Space { total: bytes(total), free: bytes(free), available: bytes(available), unit })
    }
}
