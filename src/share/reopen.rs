//! Opening a file again after its connection was lost, or after a folder above it was renamed ([`super::moving`]), and
//! whether it may be written then.
//!
//! A lost connection closes every open at the server. The file is opened again by the path that it has by that time,
//! and the open continues only if the path still means the same file. Files with the read-only attribute are handled
//! in [`super::readonly`]; files that the server now opens for reading only are handled here. Whether another client
//! has changed the file meanwhile is decided by [`FileRecord`], once for all opens of the file; the evidence for it is
//! gathered here.
//!
//! Invariant: nothing is written through an open before the file was judged in the session of that open.
//!
//! [`FileRecord`]: super::record::FileRecord

use super::Result;
use super::attempts::Attempts;
use super::error::Cause;
use super::file::{Open, SmbFile};
use super::identity::Identity;
use super::record::{Judgement, Known};
use super::records::{Record, known};
use super::session::Repair;
use super::smb::{Failure, SmbShare, send, why_ended};
use super::task::Task;
use super::types::{Disposition, LeaseKey, OpenHow, RemotePath};
use super::unflushed::PAGE;
use crate::wire::NtStatus;
use crate::wire::codec::Malformed;
use crate::wire::connect::Tree;
use crate::wire::error::WireError;
use crate::wire::frame::{RELATED_FILE, Reply};
use crate::wire::messages::create::{self, Create, Created, FileInfo, access, disposition, options};
use crate::wire::messages::info;
use std::sync::Arc;
use tokio::time::Instant;

impl SmbShare {
    /// The file's open on a live session. Opens the file again if its connection was lost, or it was put aside. To be
    /// called within a use of the open ([`super::uses`]): a rename of a folder above it waits for the end of the use.
    ///
    /// # Errors
    /// [`Cause::Stale`] if the file's name means another file or nothing, or the file was closed meanwhile; the
    /// server's refusal of the open; [`Cause::LostAgain`]; those of [`SmbShare::tree_by`].
    pub(super) async fn live(&self, file: &SmbFile, task: Task<'_>, deadline: Instant) -> Result<Open> {
        let open = file.open();
        if open.is_live() {
            return Ok(open);
        }
        let _turn = file.record.turn.acquire().await.map_err(|_| task.fail(Cause::Stale))?;
        let mut attempts = Attempts::until(deadline);
        loop {
            let open = file.open();
            if open.is_live() {
                return Ok(open);
            }
            let tree = self.tree_by(task, deadline).await?;
            let reopened = self.reopen(file, task, Arc::clone(&tree), deadline).await;
            let Ok(Some(open)) = reopened else {
                file.hold(None);
                reopened?;
                attempts.lost(&why_ended(&tree)).map_err(|cause| task.fail(cause))?;
                continue;
            };
            file.replace(open.clone());
            if file.is_closed() {
                // Its program has closed it meanwhile, and nothing else would close it at the server.
                file.hold(None);
                open.post_close();
                return Err(task.fail(Cause::Stale));
            }
        }
    }

    /// Opens a file again, by each path that it may have. `None` if that session was lost too.
    async fn reopen(&self, file: &SmbFile, task: Task<'_>, tree: Arc<Tree>, deadline: Instant) -> Result<Option<Open>> {
        let _reclaiming = self.link.repairing(Repair::Reclaim);
        let mut refusal = None;
        for path in file.place.paths() {
            let opened = self.reopen_at(file, &path, &tree, deadline).await;
            match unless_lost(task, opened)? {
                None => return Ok(None),
                // The session was lost while the file was judged: the next session judges it.
                Some(Reopened::Open(open)) if open.tree.channels.ended().is_some() => return Ok(None),
                Some(Reopened::Open(open)) => {
                    self.records.found(&file.place, &path);
                    match file.open().is_aside() {
                        true => tracing::debug!(%path, "opened again after a folder above it was renamed"),
                        false => tracing::info!(%path, "opened again after the connection was lost"),
                    }
                    return Ok(Some(open));
                }
                Some(Reopened::Refused(status)) => refusal = refusal.or(Some(status)),
                Some(Reopened::Another) => {}
            }
        }
        Err(refusal.map_or_else(|| task.fail(Cause::Stale), |status| task.status(status)))
    }

    /// Opens a file by a path, if that path is the file's.
    async fn reopen_at(
        &self,
        file: &SmbFile,
        path: &RemotePath,
        tree: &Arc<Tree>,
        deadline: Instant,
    ) -> Sent<Reopened> {
        let is_written = self.is_being_written(file, path, tree, deadline).await?;
        let (found, open) = match self.open_once_more(file, path, tree, deadline).await? {
            Answer::Created(created) => {
                let open = Open::new(Arc::clone(tree), created.file);
                if !file.identity.is_same(Identity::of(&created), file.record.birth(tree)) {
                    open.post_close();
                    return Ok(Reopened::Another);
                }
                (created.info, open)
            }
            Answer::Refused(status) if is_absent(status) => return Ok(Reopened::Another),
            Answer::Refused(status) if file.how.write && refuses_writing(status) => {
                let refused = if tree.terms.read_only { NtStatus::MEDIA_WRITE_PROTECTED } else { status };
                match self.reopen_refused(file, (path, is_written), tree, refused, deadline).await? {
                    Ok(opened) => opened,
                    Err(refused) => return Ok(refused),
                }
            }
            Answer::Refused(status) => return Ok(Reopened::Refused(status)),
        };
        self.judge((&file.record, file.key()), tree, (known(&found), is_written), path, deadline).await;
        Ok(Reopened::Open(open))
    }

    /// Opens a file that the server refuses to open for writing: with the read-only attribute taken off, or else for
    /// reading.
    async fn reopen_refused(
        &self,
        file: &SmbFile,
        at: (&RemotePath, bool),
        tree: &Arc<Tree>,
        refused: NtStatus,
        deadline: Instant,
    ) -> Sent<std::result::Result<(FileInfo, Open), Reopened>> {
        if !tree.terms.read_only
            && let Some(opened) = self.open_read_only_file(file, at, tree, deadline).await?
        {
            return Ok(Ok(opened));
        }
        let (path, _) = at;
        if !file.how.read {
            return Ok(Err(Reopened::Refused(refused)));
        }
        let how = OpenHow { write: false, disposition: Disposition::Open, ..file.how };
        let opened = self.open_by_key(tree, path, (how, file.key()), &[], deadline).await?;
        let created = match opened.answer {
            Answer::Created(created) => created,
            Answer::Refused(status) => return Ok(Err(Reopened::Refused(status))),
        };
        file.hold(opened.holding);
        let open = Open { refuses_writes: Some(refused), ..Open::new(Arc::clone(tree), created.file) };
        if !file.identity.is_same(Identity::of(&created), file.record.birth(tree)) {
            open.post_close();
            return Ok(Err(Reopened::Another));
        }
        tracing::warn!(%path, %refused, "the server allows only reading since the connection was lost: writes fail");
        Ok(Ok((created.info, open)))
    }

    /// Sends the CREATE of an open that is made again. If the read-only attribute was taken off for it, the same
    /// compound puts the attribute on again.
    pub(super) async fn open_once_more(
        &self,
        file: &SmbFile,
        path: &RemotePath,
        tree: &Arc<Tree>,
        deadline: Instant,
    ) -> Sent<Answer> {
        let how = OpenHow { disposition: Disposition::Open, ..file.how };
        let readonly = file.record.readonly().filter(|_| how.write);
        let put_on = readonly.map(|attributes| info::set_basic(RELATED_FILE, 0, 0, 0, attributes.0));
        let opened = self.open_by_key(tree, path, (how, file.key()), put_on.as_slice(), deadline).await?;
        if opened.behind.first().is_some_and(|reply| reply.status() == NtStatus::SUCCESS) {
            file.record.set_readonly(None);
        }
        file.hold(opened.holding);
        Ok(opened.answer)
    }

    /// Whether another client may be writing the file in the new session: an open that does not share writing is then
    /// refused. Such an open also makes other clients send the data that they hold back; Samba would otherwise report
    /// the time of that data only at their CLOSE. False without a query if the file was judged in this session, or
    /// this open does not write.
    async fn is_being_written(
        &self,
        file: &SmbFile,
        path: &RemotePath,
        tree: &Arc<Tree>,
        deadline: Instant,
    ) -> Sent<bool> {
        if !file.how.write || !file.record.is_older_than(tree) {
            return Ok(false);
        }
        let look = Create {
            path: path.as_utf16(),
            access: access::READ_DATA | access::READ_ATTRIBUTES,
            attributes: 0,
            disposition: disposition::OPEN,
            options: options::NON_DIRECTORY,
        };
        let replies = send(tree, vec![look.request_unless_written(), create::close(RELATED_FILE)], deadline).await?;
        Ok(replies.first().is_some_and(|reply| reply.status() == NtStatus::SHARING_VIOLATION))
    }

    /// Judges a file that was just opened in a session, if its record is from an earlier one. `is_written` says that
    /// another client may be writing it. The caller holds the record's turn.
    pub(super) async fn judge(
        &self,
        (record, key): (&Record, Option<LeaseKey>),
        tree: &Arc<Tree>,
        (found, is_written): (Known, bool),
        path: &RemotePath,
        deadline: Instant,
    ) {
        if !record.is_older_than(tree) {
            return;
        }
        let loss = record.loss(tree);
        let mut judgement = if is_written { Judgement::Conflict } else { record.lock().judge(found, &loss) };
        if judgement == Judgement::ReadBack {
            let mut read = Vec::new();
            let under_way = record.lock().under_way();
            if let Ok(Some(reader)) = self.reader(tree, path, (record, key), deadline).await {
                for (number, range) in under_way {
                    let range = range.start / PAGE * PAGE..range.end.next_multiple_of(PAGE).min(found.size);
                    if let Ok(Some(data)) = reader.read(range, self.limits.read, deadline).await {
                        read.push((number, data));
                    }
                }
            }
            if tree.channels.ended().is_some() {
                // Nothing was found out: the next session judges the file.
                return;
            }
            judgement = record.lock().weigh(found, &read, &loss);
        }
        if judgement == Judgement::Conflict {
            tracing::info!(%path, "another client changed the file while the connection was lost: data held back \
                from before is not written");
        }
        record.lock().adopt(found, judgement);
        record.move_to(tree);
    }
}

/// The result of a request; `Err` if its session was lost or the exchange failed.
pub(super) type Sent<T> = std::result::Result<T, Failure>;

/// The answer to a CREATE.
pub(super) enum Answer {
    Created(Created),
    Refused(NtStatus),
}

/// Parses the answer to the CREATE at the head of a compound.
pub(super) fn answer(replies: &[Reply]) -> Sent<Answer> {
    let malformed = |malformed| Failure::Wire(WireError::Malformed(malformed));
    let reply = replies.first().ok_or_else(|| malformed(Malformed("a reply is missing")))?;
    match reply.status() {
        NtStatus::SUCCESS => Ok(Answer::Created(Created::parse(reply).map_err(malformed)?)),
        status => Ok(Answer::Refused(status)),
    }
}

/// The result of opening a file by one of its paths.
enum Reopened {
    Open(Open),
    /// The path names nothing, or another file.
    Another,
    Refused(NtStatus),
}

/// Whether this status means that the file's path names no file any more.
fn is_absent(status: NtStatus) -> bool {
    matches!(
        status,
        NtStatus::OBJECT_NAME_NOT_FOUND
            | NtStatus::OBJECT_PATH_NOT_FOUND
            | NtStatus::DELETE_PENDING
            | NtStatus::FILE_IS_A_DIRECTORY
    )
}

/// Whether a server may answer this because a file, or the whole share, is read-only.
fn refuses_writing(status: NtStatus) -> bool {
    matches!(status, NtStatus::ACCESS_DENIED | NtStatus::MEDIA_WRITE_PROTECTED)
}

/// The result of a request; `None` if its session was lost too.
fn unless_lost<T>(task: Task<'_>, result: std::result::Result<T, Failure>) -> Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(Failure::SessionGone | Failure::Wire(WireError::Closed(_))) => Ok(None),
        Err(Failure::Wire(error)) => Err(task.wire(error)),
    }
}
