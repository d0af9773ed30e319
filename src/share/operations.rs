//! The operations of [`Share`], each as the compound that carries it.

use super::changing::Changing;
use super::error::Cause;
use super::file::{Open, SmbFile};
use super::listing::SmbListing;
use super::pieces::gather;
use super::record::OwnChange;
use super::replay::{self, Outcome};
use super::smb::{CLOSES_WAIT, Failure, SmbShare, WRITTEN_CLOSE_WAIT, send};
use super::task::{Task, metadata};
use super::types::*;
use super::verify::Doubt;
use super::watch::SmbWatch;
use super::{Broken, Events, Result, Share};
use crate::wire::NtStatus;
use crate::wire::connect::Tree;
use crate::wire::error::WireError;
use crate::wire::frame::{RELATED_FILE, Reply, Request};
use crate::wire::messages::create::{self, Create, Created, access, disposition, options};
use crate::wire::messages::ioctl::CopyRange;
use crate::wire::messages::lease::Wanted;
use crate::wire::messages::{FileId, info, io};
use bytes::Bytes;
use std::sync::Arc;
use tokio::time::Instant;

impl Share for SmbShare {
    type File = SmbFile;
    type Listing = SmbListing;
    type Watch = SmbWatch;

    fn limits(&self) -> IoLimits {
        self.limits
    }

    async fn stat(&self, path: &RemotePath) -> Result<Metadata> {
        let task = Task { operation: "CREATE", path };
        let requests =
            |_: &_| vec![existing(path, access::READ_ATTRIBUTES, 0, Wanted::Nothing), create::close(RELATED_FILE)];
        let (_, replies) = self.run(task, requests).await?;
        let created = task.created(&replies)?;
        Ok(metadata(created.info, created.disk_id, 0))
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

    fn granted(&self, key: LeaseKey) -> Granted {
        self.leases.granted(key)
    }

    fn events(&self) -> Option<Events> {
        self.leases.events()
    }

    async fn acknowledge(&self, broken: Broken) -> Result<()> {
        let task = Task { operation: "OPLOCK_BREAK", path: &RemotePath::root() };
        let mut result = Ok(());
        for (tree, chain) in self.leases.obeyed(&broken) {
            match tree.channels.send(&chain, self.request_timeout).await {
                Ok(replies) => {
                    // The open may have been closed in the meantime, and its oplock with it; or the server may have
                    // stopped to wait.
                    if let Err(refusal) = task.all(&replies) {
                        if refusal.nt_status() != Some(NtStatus::FILE_CLOSED) {
                            self.leases.refused(broken.key);
                        }
                        tracing::debug!(%refusal, key = ?broken.key, "the acknowledgement of a break came to nothing");
                    }
                }
                // Everything was given up with the connection.
                Err(WireError::Closed(_)) => {}
                Err(error) => result = Err(task.wire(error)),
            }
        }
        result
    }

    async fn metadata(&self, file: &SmbFile) -> Result<Metadata> {
        let task = Task { operation: "QUERY_INFO", path: &file.path };
        let (asked, tree) = (std::time::Instant::now(), file.open().tree);
        let replies = self.run_on(file, task.operation, |open| vec![info::query_file(open.file)]).await?;
        let found = task.parsed(info::parse_file(task.reply(&replies, 0)?))?;
        file.record.reported(&tree, &found, asked);
        Ok(metadata(found, file.identity.disk_id, 0))
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
        let open = self.live(file, task, self.attempts().deadline).await?;
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
        self.live(file, task, Instant::now() + self.request_timeout).await?;
        let is_short = file.record.lock().is_short();
        if is_short { Err(task.fail(Cause::Lost)) } else { Ok(()) }
    }

    async fn close(&self, file: &SmbFile) -> Result<Option<Metadata>> {
        let open = file.open();
        // The end of a connection closes its opens, and nothing was held back on our side.
        if !file.take() || open.tree.channels.ended().is_some() {
            return Ok(None);
        }
        let task = Task { operation: "CLOSE", path: &file.path };
        let patience = if file.is_written() { WRITTEN_CLOSE_WAIT } else { CLOSES_WAIT };
        // No answer came if the connection has ended, and that closes it too.
        let closing = create::close(open.file);
        let (asked, tree) = (std::time::Instant::now(), Arc::clone(&open.tree));
        self.records.closed(&file.record);
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

    async fn set(&self, target: Target<'_, SmbFile>, change: &Change) -> Result<()> {
        match (self.set_now(target, change).await, change.size) {
            (Err(error), Some(size)) => Err(self.refused_size(self.refused_change(error), size).await),
            (Err(error), None) => Err(self.refused_change(error)),
            (result, _) => result,
        }
    }

    async fn create_directory(&self, path: &RemotePath) -> Result<Metadata> {
        let task = Task { operation: "CREATE", path };
        let create = Create {
            path: path.as_utf16(),
            access: access::READ_ATTRIBUTES,
            attributes: 0,
            disposition: disposition::CREATE,
            options: options::DIRECTORY,
        };
        let wanted = self.wanted_for(path);
        let requests = [create.request_caching(wanted), create::close(RELATED_FILE)];
        let attempt = async |tree, deadline| self.send_with_closes(&tree, requests.to_vec(), &[], deadline).await;
        let change = replay::Change { doubt: Doubt::Directory, path, target: None };
        match self.carry_out(task, change, attempt).await? {
            Outcome::Verified(done) => Ok(done.found),
            Outcome::Answered(_, replies) => {
                let created = task.created(&replies).map_err(|error| self.refused_change(error))?;
                Ok(metadata(created.info, created.disk_id, 0))
            }
        }
    }

    async fn remove(
        &self,
        path: &RemotePath,
        kind: FileKind,
        lease: Option<LeaseKey>,
        known: Option<FileIdentity>,
    ) -> Result<bool> {
        match self.remove_as(path, kind, lease, known).await {
            // The lease is of another file, which had this name.
            Err(error) if lease.is_some() && error.nt_status() == Some(NtStatus::INVALID_PARAMETER) => {
                self.remove_as(path, kind, None, known).await
            }
            result => result.map_err(|error| self.refused_change(error)),
        }
    }

    async fn rename(
        &self,
        from: &RemotePath,
        to: &RemotePath,
        replace: bool,
        known: Option<FileIdentity>,
    ) -> Result<()> {
        let task = Task { operation: "RENAME", path: from };
        let open = existing(from, access::DELETE | access::READ_ATTRIBUTES, 0, self.wanted_for(from));
        let rename = info::set_name(RELATED_FILE, to.as_utf16(), replace);
        let renaming = self.records.renaming(from, to);
        // Servers refuse to replace a file that this client has open, and to rename a folder with open files below it.
        self.send_closes();
        let attempt = async |tree: Arc<Tree>, deadline| {
            let requests = vec![open.clone(), rename.clone(), create::close(RELATED_FILE)];
            let replies = send(&tree, requests, deadline).await?;
            let refusal = replies.iter().map(Reply::status).find(|status| *status != NtStatus::SUCCESS);
            // smbd up to 4.17 does not wait in the middle of a compound until others have given up their leases.
            let is_apart = refusal == Some(NtStatus::INTERNAL_ERROR);
            if is_apart { rename_apart(tree, &open, &rename, deadline).await } else { Ok(replies) }
        };
        let doubt = Doubt::Rename { known };
        let change = replay::Change { doubt, path: from, target: Some(to) };
        if let Outcome::Answered(_, replies) = self.carry_out(task, change, attempt).await? {
            task.all(&replies)?;
        }
        renaming.done(&self.tree());
        Ok(())
    }

    async fn list(&self, path: &RemotePath) -> Result<SmbListing> {
        SmbListing::begin(self, path).await
    }

    async fn next_entries(&self, listing: &mut SmbListing) -> Result<Vec<DirEntry>> {
        listing.next(self).await
    }

    fn listed(&self, listing: &SmbListing) -> Metadata {
        listing.itself()
    }

    async fn list_watched(&self, path: &RemotePath) -> Result<(SmbListing, Option<SmbWatch>)> {
        self.list_and_watch(path).await
    }

    async fn look_again(&self, watch: &SmbWatch) -> Result<Again> {
        watch.look_again(self).await
    }

    fn is_armed(&self, watch: &SmbWatch) -> bool {
        watch.is_armed(self)
    }

    fn lease(&self, watch: &SmbWatch) -> Option<LeaseKey> {
        watch.lease()
    }

    async fn changes(&self, watch: &SmbWatch) -> Result<Option<Vec<DirChange>>> {
        watch.changes(self).await
    }

    fn unwatch(&self, watch: &SmbWatch) {
        watch.end(self);
    }

    fn clock(&self) -> FileTime {
        let clock = self.tree().terms.clock.now();
        clock.map_or_else(|| FileTime::from(std::time::SystemTime::now()), FileTime)
    }

    async fn space(&self) -> Result<Space> {
        let task = Task { operation: "QUERY_INFO", path: &self.space_path };
        let requests = |_: &_| {
            let open = existing(&self.space_path, access::READ_ATTRIBUTES, 0, Wanted::Nothing);
            vec![open, info::query_space(RELATED_FILE), create::close(RELATED_FILE)]
        };
        let (_, replies) = self.run(task, requests).await?;
        task.reply(&replies, 0)?;
        let (total, available, free, unit) = task.parsed(info::parse_space(task.reply(&replies, 1)?))?;
        let bytes = |units: u64| units.saturating_mul(u64::from(unit));
        Ok(Space { total: bytes(total), free: bytes(free), available: bytes(available), unit })
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

    /// Removes what is at a path, by an open that belongs to this lease if there is one.
    async fn remove_as(
        &self,
        path: &RemotePath,
        kind: FileKind,
        lease: Option<LeaseKey>,
        known: Option<FileIdentity>,
    ) -> Result<bool> {
        let task = Task { operation: "DELETE", path };
        let terms = self.tree().terms.clone();
        // What this client has open goes with its CLOSE, behind the removal. But the removal would break an oplock of its
        // own, or its lease on the directory: then the CLOSE has to come first, in a frame of its own.
        let breaks_own = match kind {
            FileKind::File => lease.is_some() && !terms.leasing,
            FileKind::Directory => terms.directory_leasing,
        };
        if breaks_own {
            self.send_closes();
        }
        let option = match kind {
            FileKind::File => options::NON_DIRECTORY,
            FileKind::Directory => options::DIRECTORY,
        };
        let requests = |tree: &Tree| {
            let wanted = lease.map_or_else(|| self.wanted_for(path), |key| self.wanted_under(key, path, &tree.terms));
            let open = existing(path, access::DELETE | access::READ_ATTRIBUTES, option, wanted);
            vec![open, info::set_delete(RELATED_FILE), create::close(RELATED_FILE)]
        };
        // Another client may have the directory open, and keep its name taken. An open for attributes alone breaks no lease.
        let after = match kind {
            FileKind::File => Vec::new(),
            FileKind::Directory => {
                let look = existing(path, access::READ_ATTRIBUTES, 0, Wanted::Nothing);
                vec![look.unrelated(), create::close(RELATED_FILE)]
            }
        };
        let attempt =
            async |tree: Arc<Tree>, deadline| self.send_with_closes(&tree, requests(&tree), &after, deadline).await;
        let change = replay::Change { doubt: Doubt::Removal { kind, known }, path, target: None };
        let mut replies = match self.carry_out(task, change, attempt).await? {
            Outcome::Verified(done) => return Ok(done.is_free),
            Outcome::Answered(_, replies) => replies,
        };
        let looked = replies.split_off(replies.len().saturating_sub(after.len()));
        task.all(&replies)?;
        Ok(looked.first().is_none_or(|reply| reply.status() != NtStatus::DELETE_PENDING))
    }

    /// What comes after a write, on its own.
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

    /// Opens, does something, closes: in one compound, of which the first failure counts.
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

/// Renames in a frame of its own.
async fn rename_apart(
    tree: Arc<Tree>,
    open: &Request,
    rename: &Request,
    deadline: Instant,
) -> std::result::Result<Vec<Reply>, Failure> {
    let replies = send(&tree, vec![open.clone()], deadline).await?;
    let Some(Ok(created)) = replies.first().filter(|reply| reply.status() == NtStatus::SUCCESS).map(Created::parse)
    else {
        return Ok(replies);
    };
    let open = Open::new(Arc::clone(&tree), created.file);
    let mut rename = rename.clone();
    rename.works_on(open.file);
    let renamed = send(&tree, vec![rename], deadline).await;
    open.post_close();
    renamed
}

/// The CREATE of what exists: a symbolic link itself, rather than what it points to.
pub(super) fn existing(path: &RemotePath, access: u32, kind: u32, wanted: Wanted) -> Request {
    let create = Create {
        path: path.as_utf16(),
        access,
        attributes: 0,
        disposition: disposition::OPEN,
        options: options::REPARSE_POINT | kind,
    };
    create.request_caching(wanted)
}

fn set_requests(change: &Change, file: FileId) -> Vec<Request> {
    let mut requests = Vec::with_capacity(2);
    requests.extend(change.size.map(|size| info::set_size(file, size)));
    let time = |time: Option<FileTime>| time.map_or(0, |time| time.0);
    let (created, accessed, modified) = (time(change.created), time(change.accessed), time(change.modified));
    let attributes = change.attributes.map_or(0, |attributes| attributes.0);
    // Times come last, so that the change of the size does not touch them again.
    if created | accessed | modified | u64::from(attributes) != 0 {
        requests.push(info::set_basic(file, created, accessed, modified, attributes));
    }
    requests
}
