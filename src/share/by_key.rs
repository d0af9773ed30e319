//! Opens under the key of a file's lease that request no caching.
//!
//! Without the key the server would break the lease of another open of the file. What this client has to send before
//! it acknowledges that break may be waiting for this very open.

use super::breaks::Holding;
use super::reopen::{Answer, Sent, answer};
use super::smb::{Scope, SmbShare, open_request, send};
use super::types::{Caching, Lease, LeaseKey, OpenHow, RemotePath};
use crate::wire::NtStatus;
use crate::wire::connect::Tree;
use crate::wire::frame::{Reply, Request};
use crate::wire::messages::lease::Wanted;
use std::sync::Arc;
use tokio::time::Instant;

/// The result of an open under a key.
pub(super) struct ByKey {
    pub(super) answer: Answer,
    /// Its share in the lease, while it is open.
    pub(super) holding: Option<Holding>,
    /// The replies to the requests after the CREATE.
    pub(super) behind: Vec<Reply>,
}

impl SmbShare {
    /// Opens a file, with these requests after the CREATE in the same compound. If the key belongs to another name,
    /// opens it without the key.
    pub(super) async fn open_by_key(
        &self,
        tree: &Arc<Tree>,
        path: &RemotePath,
        (how, key): (OpenHow, Option<LeaseKey>),
        behind: &[Request],
        deadline: Instant,
    ) -> Sent<ByKey> {
        let mut scope = Scope::Usual;
        let mut opened = self.open_under(tree, path, (how, key, scope), behind, deadline).await?;
        if let Answer::Refused(status) = opened.answer
            && let Some(less) = Scope::after(how, tree, Some(status))
        {
            scope = less;
            opened = self.open_under(tree, path, (how, key, scope), behind, deadline).await?;
        }
        match opened.answer {
            // The lease belongs to another name (MS-SMB2 3.3.5.9.8).
            Answer::Refused(NtStatus::INVALID_PARAMETER) if key.is_some() => {
                self.open_under(tree, path, (how, None, scope), behind, deadline).await
            }
            _ => Ok(opened),
        }
    }

    async fn open_under(
        &self,
        tree: &Arc<Tree>,
        path: &RemotePath,
        (how, key, scope): (OpenHow, Option<LeaseKey>, Scope),
        behind: &[Request],
        deadline: Instant,
    ) -> Sent<ByKey> {
        let announced = key.map(|key| self.leases.announce(Lease { key, caching: Caching::NONE }));
        let wanted = announced.as_ref().map_or(Wanted::Nothing, |announced| announced.wanted(&tree.terms, None));
        let mut requests = vec![open_request(path, how, scope, wanted)];
        requests.extend_from_slice(behind);
        let mut replies = send(tree, requests, deadline).await?;
        let answer = answer(&replies)?;
        let holding = match &answer {
            Answer::Created(created) => announced.and_then(|announced| announced.opened(tree, created)),
            Answer::Refused(_) => None,
        };
        Ok(ByKey { answer, holding, behind: replies.split_off(1) })
    }
}
