//! Files that have the read-only attribute and are open for writing: created with it, or given it later.
//!
//! Only the open that creates such a file may write it. Once that open is lost with its session, the server refuses
//! another one. So the attribute is taken off until the file is open again, and the request that opens it puts the
//! attribute on again.
//!
//! Invariant: from before the attribute is taken off until the server answers that it is on again, the file's record
//! holds the attributes. If a session is lost in between, the next open puts them on.

use super::file::{Open, SmbFile};
use super::identity::Identity;
use super::record::OwnChange;
use super::records::known;
use super::reopen::{Answer, Sent, answer};
use super::smb::{SmbShare, send};
use super::types::{Attributes, RemotePath};
use crate::wire::NtStatus;
use crate::wire::connect::Tree;
use crate::wire::messages::create::{Create, Created, FileInfo, access, disposition, options};
use crate::wire::messages::info;
use std::sync::Arc;
use tokio::time::Instant;

impl SmbShare {
    /// Opens a read-only file for writing again, and judges it before its attributes change. `None` if the attribute
    /// is not the reason of the server's refusal, or may not be changed.
    pub(super) async fn open_read_only_file(
        &self,
        file: &SmbFile,
        (path, is_written): (&RemotePath, bool),
        tree: &Arc<Tree>,
        deadline: Instant,
    ) -> Sent<Option<(FileInfo, Open)>> {
        let look = Create {
            path: path.as_utf16(),
            access: access::READ_ATTRIBUTES | access::WRITE_ATTRIBUTES,
            attributes: 0,
            disposition: disposition::OPEN,
            options: options::NON_DIRECTORY,
        };
        let Answer::Created(looked) = answer(&send(tree, vec![look.request()], deadline).await?)? else {
            return Ok(None);
        };
        let itself = Open::new(Arc::clone(tree), looked.file);
        let opened = match is_read_only(file, tree, &looked) {
            true => {
                self.judge((&file.record, file.key()), tree, (known(&looked.info), is_written), path, deadline).await;
                self.open_without_attribute(file, path, &itself, Attributes(looked.info.attributes), deadline).await
            }
            false => Ok(None),
        };
        itself.post_close();
        Ok(opened?.map(|open| (looked.info, open)))
    }

    async fn open_without_attribute(
        &self,
        file: &SmbFile,
        path: &RemotePath,
        itself: &Open,
        attributes: Attributes,
        deadline: Instant,
    ) -> Sent<Option<Open>> {
        let tree = &itself.tree;
        let under_way = file.record.begin(OwnChange::Attributes);
        file.record.set_readonly(Some(attributes));
        if !set(itself, attributes.with_readonly(false), deadline).await? {
            file.record.set_readonly(None);
            return Ok(None);
        }
        let answer = self.open_once_more(file, path, tree, deadline).await?;
        if file.record.readonly().is_some() && set(itself, attributes, deadline).await? {
            file.record.set_readonly(None);
        }
        under_way.answered(tree, None);
        let Answer::Created(created) = answer else { return Ok(None) };
        let open = Open::new(Arc::clone(tree), created.file);
        if file.identity.is_same(Identity::of(&created), file.record.birth(tree)) {
            return Ok(Some(open));
        }
        open.post_close();
        Ok(None)
    }
}

fn is_read_only(file: &SmbFile, tree: &Tree, found: &Created) -> bool {
    file.identity.is_same(Identity::of(found), file.record.birth(tree))
        && Attributes(found.info.attributes).has(Attributes::READONLY)
}

/// Sets these attributes. Returns whether the server did.
async fn set(open: &Open, attributes: Attributes, deadline: Instant) -> Sent<bool> {
    let set = info::set_basic(open.file, 0, 0, 0, attributes.0);
    let replies = send(&open.tree, vec![set], deadline).await?;
    Ok(replies.first().is_some_and(|reply| reply.status() == NtStatus::SUCCESS))
}
