//! Open files: each operation as the compound that carries it out.
//!
//! A write is split by the server's credits, carries a change and a FLUSH along where it can, and has its refusal
//! translated if the file would be too long.

use super::existing;
use crate::share::changing::Changing;
use crate::share::error::Cause;
use crate::share::file::{Open, SmbFile};
use crate::share::pieces::gather;
use crate::share::record::OwnChange;
use crate::share::smb::{CLOSES_WAIT, SmbShare, WRITTEN_CLOSE_WAIT};
use crate::share::task::{Task, metadata};
use crate::share::types::*;
use crate::share::{Files, Names, Result};
use crate::telemetry::Counters;
use crate::wire::NtStatus;
use crate::wire::frame::{RELATED_FILE, Request};
use crate::wire::messages::create::{self, access, options};
use crate::wire::messages::ioctl::CopyRange;
use crate::wire::messages::{FileId, info, io};
use bytes::Bytes;
use std::sync::Arc;
use tokio::time::Instant;

impl Files for SmbShare {
    type File = SmbFile;

    fn counters(&self) -> &Arc<Counters> {
        &self.counters
    }

    fn limits(&self) -> IoLimits {
        self.limits
    }

    async fn open(&self, path: &RemotePath, how: OpenHow) -> Result<(SmbFile, Metadata, CreateAction)> {
        let (file, found, action, _) = self.open_with(path, how, 0).await?;
        Ok((file, found, action))
    }

    async fn open_and_read(
        &self,
        path: &RemotePath,
        how: OpenHow,
        length: u32,
    ) -> Result<(SmbFile, Metadata, CreateAction, Bytes)> {
        self.open_with(path, how, length).await
    }

    async fn metadata(&self, file: &SmbFile) -> Result<Metadata> {
        let task = Task { operation: "QUERY_INFO", path: &file.path };
        let (asked, tree) = (std::time::Instant::now(), file.open().tree);
        let queries = |open: &Open| vec![info::query_file(open.file), info::query_standard(open.file)];
        let replies = self.run_on(file, task.operation, queries).await?;
        if replies.first().is_some_and(|reply| reply.status() == NtStatus::ACCESS_DENIED) {
            return self.metadata_by_path(file).await;
        }
        let found = task.parsed(info::parse_file(task.reply(&replies, 0)?))?;
        file.record.reported(&tree, &found, asked);
        Ok(Metadata { links: task.links(&replies, 1), ..metadata(found, file.identity.disk_id, 0) })
    }

    async fn read(&self, file: &SmbFile, offset: u64, length: u32) -> Result<Bytes> {
        let piece = self.piece(file, self.limits.read.max(1));
        gather(length, piece, |there, wanted| self.read_piece(file, offset + u64::from(there), wanted)).await
    }

    async fn write(&self, file: &SmbFile, offset: u64, data: Bytes) -> Result<()> {
        self.write_pieces(file, offset, data, false).await
    }

    async fn write_and(&self, file: &SmbFile, offset: u64, data: Bytes, after: After) -> Result<()> {
        let length = data.len() as u32;
        let is_alone = !after.flush && after.change == Change::default();
        if is_alone || length > self.piece(file, self.limits.write.max(1)) {
            self.write_pieces(file, offset, data, after.held).await?;
            return self.follow_up(file, after).await;
        }
        let task = Task { operation: "WRITE", path: &file.path };
        let mark = after.flush.then(|| file.record.lock().unflushed.begin_flush());
        file.writes();
        let requests = |open: &Open| {
            let mut requests = vec![io::write(open.file, offset, data.clone())];
            requests.extend(set_requests(&after.change, open.file));
            requests.extend(after.flush.then(|| io::flush(open.file)));
            requests
        };
        let change = Changing { change: OwnChange::Write { offset, data: data.clone() }, held: after.held, mark };
        let replies = self.change_on(file, task.operation, change, requests).await?;
        let reply = match task.reply(&replies, 0) {
            Ok(reply) => reply,
            Err(error) => return Err(self.refused_size(error, offset.saturating_add(length.into())).await),
        };
        let written = task.parsed(io::parse_write(reply, length))?;
        if written < length {
            self.write_pieces(file, offset + u64::from(written), data.slice(written as usize..), after.held).await?;
            return self.follow_up(file, after).await;
        }
        task.all(&replies)?;
        match mark {
            Some(mark) => self.verify_flushed(file, task, mark).await,
            None => Ok(()),
        }
    }

    async fn copy(&self, from: &SmbFile, from_offset: u64, to: &SmbFile, to_offset: u64, length: u32) -> Result<u32> {
        to.writes();
        self.copy_slice(from, to, CopyRange { from: from_offset, to: to_offset, length }).await
    }

    async fn flush(&self, file: &SmbFile) -> Result<()> {
        let task = Task { operation: "FLUSH", path: &file.path };
        let open = {
            let _use = file.uses.begin().await;
            self.live(file, task, self.attempts().deadline).await?
        };
        if let Some(status) = open.refuses_writes {
            let is_safe = file.record.lock().unflushed.is_empty();
            return if is_safe { Ok(()) } else { Err(task.status(status)) };
        }
        let mark = file.record.lock().unflushed.begin_flush();
        let replies = self.run_on(file, task.operation, |open| vec![io::flush(open.file)]).await?;
        task.all(&replies)?;
        self.verify_flushed(file, task, mark).await
    }

    fn is_in_doubt(&self, file: &SmbFile) -> bool {
        let is_lost = file.open().tree.channels.ended().is_some();
        let record = file.record.lock();
        record.is_doubtful() || (is_lost && !record.unflushed.is_empty())
    }

    async fn confirm(&self, file: &SmbFile) -> Result<()> {
        let task = Task { operation: "CREATE", path: &file.path };
        {
            let _use = file.uses.begin().await;
            self.live(file, task, Instant::now() + self.request_timeout).await?;
        }
        let is_short = file.record.lock().is_short();
        if is_short { Err(task.fail(Cause::Lost)) } else { Ok(()) }
    }

    async fn close(&self, file: &SmbFile) -> Result<Option<Metadata>> {
        let _closing = file.key().and_then(|key| self.leases.begin_to_close(key));
        // Marked closed first: an open that is being made again meanwhile is closed by that task or by this one.
        if !file.take() {
            return Ok(None);
        }
        let open = file.open();
        // The end of a connection closes its opens. No data of this client waits for the CLOSE.
        if !open.is_live() {
            return Ok(None);
        }
        let task = Task { operation: "CLOSE", path: &file.path };
        let patience = if file.is_written() { WRITTEN_CLOSE_WAIT } else { CLOSES_WAIT };
        let closing = create::close(open.file);
        let (asked, tree) = (std::time::Instant::now(), Arc::clone(&open.tree));
        self.records.closed(&file.record);
        // Without an answer the connection has ended, which closes the file too, or the CLOSE is still at the server.
        let Ok(reply) = self.closes.gather_within(patience, open.tree, closing).await else { return Ok(None) };
        let found = task.parsed(create::parse_close(task.reply(&[reply], 0)?))?;
        if let Some(found) = &found {
            file.record.reported(&tree, found, asked);
        }
        Ok(found.map(|found| metadata(found, file.identity.disk_id, 0)))
    }

    fn send_closes(&self) {
        self.closes.send();
    }

    async fn rename_around(
        &self,
        from: &RemotePath,
        to: &RemotePath,
        known: Option<FileIdentity>,
        open: &[Arc<SmbFile>],
    ) -> Result<()> {
        self.move_around(from, to, known, open).await
    }

    async fn set(&self, target: Target<'_, SmbFile>, change: &Change) -> Result<()> {
        let path = match target {
            Target::File(file) => &file.path,
            Target::Path(path) => path,
        };
        self.may_change("SET_INFO", [path])?;
        match (self.set_now(target, change).await, change.size) {
            (Err(error), Some(size)) => Err(self.refused_size(self.refused_change(error), size).await),
            (Err(error), None) => Err(self.refused_change(error)),
            (result, _) => result,
        }
    }
}

impl SmbShare {
    /// Writes all of the data, in as many WRITEs as it takes.
    async fn write_pieces(&self, file: &SmbFile, offset: u64, mut data: Bytes, held: bool) -> Result<()> {
        let task = Task { operation: "WRITE", path: &file.path };
        file.writes();
        let mut offset = offset;
        while !data.is_empty() {
            let piece = data.slice(..data.len().min(self.piece(file, self.limits.write.max(1)) as usize));
            let length = piece.len() as u32;
            let change = Changing { change: OwnChange::Write { offset, data: piece.clone() }, held, mark: None };
            let write = |open: &Open| vec![io::write(open.file, offset, piece.clone())];
            let replies = self.change_on(file, task.operation, change, write).await?;
            let reply = match task.reply(&replies, 0) {
                Ok(reply) => reply,
                Err(error) => return Err(self.refused_size(error, offset.saturating_add(length.into())).await),
            };
            let written = task.parsed(io::parse_write(reply, length))?;
            offset += u64::from(written);
            let _ = data.split_to(written as usize);
        }
        self.flush_if_full(file).await
    }

    async fn set_now(&self, target: Target<'_, SmbFile>, change: &Change) -> Result<()> {
        let own = change.size.map_or(OwnChange::Attributes, OwnChange::Resize);
        match target {
            Target::File(file) => {
                let task = Task { operation: "SET_INFO", path: &file.path };
                if change.size.is_some() {
                    file.writes();
                }
                let requests = |open: &Open| set_requests(change, open.file);
                task.all(&self.change_on(file, task.operation, Changing::now(own), requests).await?)
            }
            Target::Path(path) => {
                let task = Task { operation: "SET_INFO", path };
                let mut wanted = access::READ_ATTRIBUTES;
                if change.size.is_some() {
                    wanted |= access::WRITE_DATA;
                }
                if (Change { size: None, ..*change }) != Change::default() {
                    wanted |= access::WRITE_ATTRIBUTES;
                }
                let kind = if change.size.is_some() { options::NON_DIRECTORY } else { 0 };
                let open = existing(path, wanted, kind, self.wanted_for(path));
                let under_way = self.records.at(path).map(|record| record.begin(own));
                self.within(task, open, set_requests(change, RELATED_FILE)).await?;
                if let Some(under_way) = under_way {
                    under_way.answered(&self.tree(), None);
                }
                Ok(())
            }
        }
    }

    /// The metadata of a file whose open does not allow to query it.
    async fn metadata_by_path(&self, file: &SmbFile) -> Result<Metadata> {
        let path = file.place.paths().into_iter().next().unwrap_or_else(|| file.path.clone());
        let found = self.stat(&path).await?;
        if found.identity().file_id != file.identity.disk_id {
            return Err(Task { operation: "CREATE", path: &path }.fail(Cause::Stale));
        }
        Ok(found)
    }

    /// Applies what follows a write, in requests of its own.
    async fn follow_up(&self, file: &SmbFile, after: After) -> Result<()> {
        if after.change != Change::default() {
            self.set(Target::File(file), &after.change).await?;
        }
        if after.flush { self.flush(file).await } else { Ok(()) }
    }

    async fn read_piece(&self, file: &SmbFile, offset: u64, length: u32) -> Result<Bytes> {
        let task = Task { operation: "READ", path: &file.path };
        let replies = self.run_on(file, task.operation, |open| vec![io::read(open.file, offset, length)]).await?;
        match task.reply(&replies, 0) {
            Err(error) if error.nt_status() == Some(NtStatus::END_OF_FILE) => Ok(Bytes::new()),
            reply => task.parsed(io::parse_read(reply?, length)),
        }
    }

    /// Opens, works and closes in one compound. The first failure counts.
    async fn within(&self, task: Task<'_>, open: Request, work: Vec<Request>) -> Result<()> {
        let requests = |_: &_| {
            let mut requests = vec![open.clone()];
            requests.extend(work.iter().cloned());
            requests.push(create::close(RELATED_FILE));
            requests
        };
        let (_, replies) = self.run(task, requests).await?;
        task.all(&replies)
    }
}

fn set_requests(change: &Change, file: FileId) -> Vec<Request> {
    let mut requests = Vec::with_capacity(2);
    requests.extend(change.size.map(|size| info::set_size(file, size)));
    let time = |time: Option<FileTime>| time.map_or(0, |time| time.0);
    let (created, accessed, modified) = (time(change.created), time(change.accessed), time(change.modified));
    let attributes = change.attributes.map_or(0, |attributes| attributes.0);
    // Times come last, so that the change of the size does not move them.
    if created | accessed | modified | u64::from(attributes) != 0 {
        requests.push(info::set_basic(file, created, accessed, modified, attributes));
    }
    requests
}
