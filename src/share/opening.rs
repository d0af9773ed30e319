//! Opening a file: the compound of the open, and the record that the file gets.
//!
//! One compound opens the file and, where requested, truncates it and reads its first bytes. Gathered CLOSE requests
//! go with it where the open may create a file.

use super::Result;
use super::file::{Open, SmbFile};
use super::identity::Identity;
use super::record::OwnChange;
use super::records::{Record, known};
use super::smb::{Scope, SmbShare, open_request};
use super::task::{Task, metadata};
use super::types::{Change, CreateAction, Disposition, Metadata, OpenHow, RemotePath, Target};
use super::{Files, Names};
use crate::wire::NtStatus;
use crate::wire::connect::Tree;
use crate::wire::frame::{RELATED_FILE, Reply};
use crate::wire::messages::create;
use crate::wire::messages::lease::Wanted;
use crate::wire::messages::{info, io};
use bytes::Bytes;
use std::sync::Arc;
use tokio::time::Instant;

/// CreateAction (MS-SMB2 2.2.14).
const OPENED: u32 = 1;
const CREATED: u32 = 2;

impl SmbShare {
    /// Opens a file, and reads up to `wanted` of its first bytes.
    ///
    /// # Errors
    /// Those of [`Files::open`].
    pub(super) async fn open_with(
        &self,
        path: &RemotePath,
        how: OpenHow,
        wanted: u32,
    ) -> Result<(SmbFile, Metadata, CreateAction, Bytes)> {
        let task = Task { operation: "CREATE", path };
        if how.write || how.disposition != Disposition::Open {
            self.may_change(task.operation, [path])?;
        }
        self.reach(task).await?;
        let truncates = matches!(how.disposition, Disposition::Overwrite | Disposition::OverwriteIf);
        let announced = how.lease.map(|lease| self.leases.announce(lease));
        let requests_with = |tree: &Tree, how: OpenHow, scope: Scope| {
            let parent = self.directory_leases.on_parent_of(path);
            let lease = announced.as_ref().map_or(Wanted::Nothing, |announced| announced.wanted(&tree.terms, parent));
            let mut requests = vec![open_request(path, how, scope, lease)];
            // A disposition that overwrites would also reset the file's attributes (MS-FSA 2.1.5.1.2.1).
            requests.extend(truncates.then(|| info::set_size(RELATED_FILE, 0)));
            requests.extend((wanted > 0).then(|| io::read(RELATED_FILE, 0, wanted)));
            requests
        };
        let asked = std::time::Instant::now();
        let requests_as = |tree: &Tree, how: OpenHow| requests_with(tree, how, Scope::Usual);
        let requests = |tree: &Tree| requests_as(tree, how);
        // An open that may create a file can carry the CLOSE requests along: the CREATE of a new file breaks no lease,
        // so they do not wait for an acknowledgement.
        let (mut tree, mut replies) = match how.disposition {
            Disposition::Create => self.create_new(task, how, requests_as).await?,
            Disposition::OpenIf | Disposition::OverwriteIf => self.run_with_closes(task, requests).await?,
            Disposition::Open | Disposition::Overwrite => self.run(task, requests).await?,
        };
        if how.disposition != Disposition::Create
            && let Some(scope) = Scope::after(how, &tree, replies.first().map(Reply::status))
        {
            (tree, replies) = self.run(task, |tree| requests_with(tree, how, scope)).await?;
        }
        let changes = how.write || how.disposition != Disposition::Open;
        let refused = |error| if changes { self.refused_change(error) } else { error };
        let created = task.created(&replies).map_err(refused)?;
        let open = Open::new(Arc::clone(&tree), created.file);
        let file = self.opened(path, how, &created, open, asked).await;
        if truncates {
            file.writes();
            if replies.get(1).is_some_and(|reply| reply.status() == NtStatus::SUCCESS) {
                file.record.begin(OwnChange::Resize(0)).answered(&tree, None);
            }
        }
        file.hold(announced.and_then(|announced| announced.opened(&tree, &created)));
        let read = if wanted > 0 { replies.pop() } else { None };
        task.all(&replies)?;
        let data = read.filter(|reply| reply.status() == NtStatus::SUCCESS);
        let data = data.and_then(|reply| io::parse_read(&reply, wanted).ok()).unwrap_or_default();
        let mut found = metadata(created.info, created.disk_id, 0);
        let action = match (created.action, truncates) {
            // Also if the file had to be opened once more after a lost answer.
            _ if how.disposition == Disposition::Create => CreateAction::Created,
            (CREATED, _) => CreateAction::Created,
            (_, true) => CreateAction::Overwritten,
            _ => CreateAction::Opened,
        };
        if truncates && created.action == OPENED && created.info.size == 0 {
            // Servers do not change the time of the last write if the size stays the same.
            let now = self.clock();
            let touch = Change { modified: Some(now), ..Change::default() };
            // Set by path: a time that is set through a handle is not changed by later writes through it.
            match self.set(Target::Path(path), &touch).await {
                Ok(()) => (found.modified, found.changed) = (now, now),
                Err(error) => tracing::debug!(%error, "the time of an empty file that was truncated stays as it was"),
            }
        }
        if truncates {
            (found.size, found.allocation) = (0, 0);
        }
        Ok((file, found, action, data))
    }

    /// A file that was just opened, with its record. From here on dropping the file closes the open.
    async fn opened(
        &self,
        path: &RemotePath,
        how: OpenHow,
        created: &create::Created,
        open: Open,
        asked: std::time::Instant,
    ) -> SmbFile {
        let identity = Identity::of(created);
        let (tree, found) = (Arc::clone(&open.tree), known(&created.info));
        let place = self.records.opened(identity, path, found, || Record::new(identity, Arc::clone(&tree), found));
        let record = Arc::clone(&place.about);
        let mut file = SmbFile::new(path.clone(), how, identity, place, open);
        if record.is_older_than(&tree)
            && let Ok(_turn) = record.turn.acquire().await
        {
            let (key, deadline) = (file.key(), Instant::now() + self.request_timeout);
            self.judge((&record, key), &tree, (found, false), path, deadline).await;
            // What this open will write is from after the conflict.
            file.conflicts = record.lock().conflicts();
        }
        record.reported(&tree, &created.info, asked);
        file
    }
}
