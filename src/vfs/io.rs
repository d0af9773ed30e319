//! Reading and writing open files.
//!
//! Reads go through the page cache. Without a lease the file's version is compared with the server's
//! if that was not done for longer than the attribute timeout. Writes are taken and brought to the
//! server later where the server vouches that nobody else has the file open; otherwise they go through
//! to it, and what the cache has of the range is dropped when they end, whatever became of them.
//!
//! Everything that looks at a file comes after what was written to it: reads of written data are
//! answered from it, or wait until the server has it ([`Vfs::drain_file`]).

use super::Vfs;
use super::errno::{Result, VfsError};
use super::handles::OpenFile;
use super::underway::Underway;
use crate::cache::{Ahead, Occasion, Request, Taken, Terms};
use crate::share::{After, Caching, FileTime, OpenHow, Share};
use crate::wire::NtStatus;
use bytes::{Bytes, BytesMut};
use futures_util::future::join_all;
use std::ops::Range;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

/// Files end here: offsets are signed to programs.
pub(super) const MAX_SIZE: u64 = i64::MAX as u64;

/// Attempts of a read whose READs keep ending before the size that the server reports: each one more needs another client
/// that cuts the file at that very moment.
const ATTEMPTS: usize = 4;

impl<S: Share> Vfs<S> {
    /// Takes note of a read: to be called in the order of the kernel's requests, by which a sequential
    /// reader is known, and within the runtime, since his next chunk is fetched in the background.
    ///
    /// # Errors
    /// `EBADF` if the handle is not open for reading.
    pub fn begin_read(&self, handle: u64, offset: u64, length: u32) -> Result<Reading<S>> {
        let open = self.handles.file(handle)?;
        if !open.access.read {
            return Err(VfsError::rule(libc::EBADF, "the file is not open for reading"));
        }
        let whole = !open.access.direct && self.follow(&open, offset, length)?;
        Ok(Reading { open, offset, length, whole })
    }

    /// The data, if all of it is cached and may be used.
    pub fn cached(&self, reading: &Reading<S>) -> Option<Bytes> {
        let (open, range) = (&reading.open, reading.range());
        if open.access.direct || self.writes.touch(open.key, &range) {
            return None;
        }
        if open.shared.back.touches(&range) {
            let size = self.size(open.ino).ok()?;
            return open.shared.back.covered(&(range.start..range.end.min(size)));
        }
        let size = self.valid_size(open)?;
        self.cache.get(&reading.request(size))
    }

    /// Reads up to the length that was asked for. Fewer bytes mean that the file ends there.
    ///
    /// # Errors
    /// What the share answered.
    pub async fn finish_read(&self, reading: Reading<S>) -> Result<Bytes> {
        let open = &reading.open;
        self.writes.settle(open.key, reading.range()).await;
        if open.access.direct {
            open.shared.back.drain().await;
            return self.read_direct(open, reading.offset, reading.length).await;
        }
        if open.shared.back.touches(&reading.range()) {
            open.shared.back.drain().await;
        }
        for _ in 0..ATTEMPTS {
            let size = self.end_of(open).await?;
            let data = self.cache.read(reading.request(size), &**open).await?;
            if data.len() as u64 >= reading.within(size) {
                return Ok(data);
            }
            self.reread_from(open, reading.offset + data.len() as u64).await?;
        }
        Err(VfsError::rule(libc::EIO, "the server's READ ends before the size that it reports"))
    }

    /// A READ ended before the file's size. Either it was answered before a WRITE beyond it: the READ may be that of another
    /// handle, which this one joined. Or another client has cut the file. What was read, or is being read, from `end` on is
    /// dropped. Unless a WRITE explains it the server is asked for the size.
    async fn reread_from(&self, open: &OpenFile<S>, end: u64) -> Result<()> {
        let was_dirty = open.shared.back.is_dirty();
        open.shared.back.drain().await;
        self.cache.invalidate(open.key, end..u64::MAX);
        if was_dirty {
            return Ok(());
        }
        self.with_inodes(|inodes| inodes.touch(open.ino));
        self.refresh(open.ino).await
    }

    /// Takes a write without waiting, if it may be brought to the server later: `None` if not, or not
    /// yet. To be called in the order of the kernel's requests, and within the runtime.
    ///
    /// # Errors
    /// `EBADF` if the handle is not open for writing, `EFBIG`; what the share answered to an earlier
    /// write of this file.
    pub fn take_write(&self, handle: u64, offset: u64, data: &[u8]) -> Option<Result<u32>> {
        let open = match self.writable(handle) {
            Ok(open) => open,
            Err(error) => return Some(Err(error)),
        };
        if let Err(error) = told(&open, Occasion::Write) {
            return Some(Err(error));
        }
        let range = open.access.write_range(offset, data.len() as u64);
        // What has to wait keeps its turn.
        if data.is_empty() || open.access.goes_through() || self.writes.touch(open.key, &range) {
            return None;
        }
        let offset = if open.access.append { self.leased_end(&open)? } else { offset };
        let end = match end_of_write(offset, data.len()) {
            Ok(end) => end,
            Err(error) => return Some(Err(error)),
        };
        match open.shared.back.take(&open, offset, data, || self.may_hold(&open)) {
            Taken::Yes => self.hold(&open, end),
            Taken::NoRoom | Taken::MayNot => return None,
        }
        Some(Ok(data.len() as u32))
    }

    /// Takes note of a write: to be called in the order of the kernel's requests, since later reads of
    /// its range wait for it.
    ///
    /// # Errors
    /// `EBADF` if the handle is not open for writing.
    pub fn begin_write(&self, handle: u64, offset: u64, length: u64) -> Result<Writing<S>> {
        let open = self.writable(handle)?;
        let underway = self.writes.begin(open.key, open.access.write_range(offset, length));
        Ok(Writing { open, offset, _underway: underway })
    }

    /// Writes all of `data`; at the end of the file if it was opened to append. When this returns,
    /// the server has it, unless it may be brought there later, for which there is room now.
    ///
    /// # Errors
    /// `EFBIG`; the first error that the share answered, after which any part of the data may have
    /// been written.
    pub async fn finish_write(&self, writing: Writing<S>, data: Bytes) -> Result<u32> {
        let (open, offset) = (&writing.open, writing.offset);
        if data.is_empty() {
            return Ok(0);
        }
        let offset = if open.access.append { self.end_of(open).await? } else { offset };
        let end = end_of_write(offset, data.len())?;
        if !open.access.goes_through() {
            let may = || self.may_hold(open);
            if open.shared.back.take_when_room(open, offset, &data, may).await == Taken::Yes {
                self.hold(open, end);
                return Ok(data.len() as u32);
            }
        }
        // What was taken before comes before.
        open.shared.back.drain().await;
        self.write_through(open, offset, &data).await?;
        Ok(data.len() as u32)
    }

    /// Writes all of `data` to the server, and with `O_SYNC` to its disk.
    async fn write_through(&self, open: &Arc<OpenFile<S>>, offset: u64, data: &Bytes) -> Result<()> {
        let end = offset + data.len() as u64;
        let _changed = Changed { vfs: self, open, start: offset, end };
        open.remote.changes();
        let limit = u64::from(self.share.limits().write.max(1));
        let file = &open.remote.file;
        // What fits one WRITE is flushed in the same round trip.
        let flush_along = open.access.sync && offset / limit == (end - 1) / limit;
        let mut pieces = Vec::new();
        let mut at = offset;
        while at < end {
            let boundary = ((at / limit + 1) * limit).min(end);
            let piece = data.slice((at - offset) as usize..(boundary - offset) as usize);
            pieces.push(async move {
                if flush_along {
                    return self.share.write_and(file, at, piece, After { flush: true, ..After::default() }).await;
                }
                self.share.write(file, at, piece).await
            });
            at = boundary;
        }
        // In the order of the file, so that the first error is that of the first piece that failed.
        for written in join_all(pieces).await {
            written?;
        }
        if open.access.sync && !flush_along {
            self.share.flush(file).await?;
        }
        self.with_inodes(|inodes| {
            if let Some(node) = inodes.get_mut(open.ino) {
                node.attributes.wrote(end);
            }
        });
        Ok(())
    }

    /// close(2) of a descriptor, if there is nothing to wait for.
    ///
    /// # Errors
    /// As [`Vfs::flush`].
    pub fn flushed(&self, handle: u64) -> Option<Result<()>> {
        match self.handles.file(handle) {
            Ok(open) if open.shared.is_dirty() || self.share.is_in_doubt(&open.remote.file) => None,
            Ok(open) => Some(told(&open, Occasion::Close)),
            Err(error) => Some(Err(error)),
        }
    }

    /// close(2) of a descriptor: when this returns, the server has what was written.
    ///
    /// # Errors
    /// `EBADF` if the handle is not open; what the share answered to a write of this file.
    pub async fn flush(&self, handle: u64) -> Result<()> {
        let open = self.handles.file(handle)?;
        open.shared.back.drain().await;
        self.settle_pending(&open.shared).await?;
        if self.share.is_in_doubt(&open.remote.file)
            && let Err(error) = self.share.confirm(&open.remote.file).await
        {
            open.shared.back.fail(error);
        }
        told(&open, Occasion::Close)
    }

    /// Has the server put the file's data on its disk.
    ///
    /// # Errors
    /// `EBADF` if the handle is not open; what the share answered, to an earlier write of this file as well.
    pub async fn fsync(&self, handle: u64) -> Result<()> {
        let open = self.handles.file(handle)?;
        let mark = open.shared.flushes.lock().want();
        open.shared.back.drain().await;
        self.settle_pending(&open.shared).await?;
        let flushed = open.shared.flushes.lock().is_done_since(mark);
        told(&open, Occasion::Sync)?;
        if flushed {
            return Ok(());
        }
        // FLUSH needs a handle that may write (MS-SMB2 3.3.5.11).
        let writer = if open.access.write { Some(Arc::clone(&open)) } else { self.writer(open.ino) };
        match writer {
            Some(writer) => match self.share.flush(&writer.remote.file).await {
                Ok(()) => Ok(()),
                Err(error) => {
                    // Every handle is told, and this one now.
                    open.shared.back.fail(error.clone());
                    told(&open, Occasion::Sync)?;
                    Err(error.into())
                }
            },
            None if self.options.read_only => Ok(()),
            None => self.fsync_by_path(open.ino).await,
        }
    }

    /// For a file that is only open for reading: it may have been written through a handle that is
    /// closed by now.
    async fn fsync_by_path(&self, ino: u64) -> Result<()> {
        let path = self.path(ino)?;
        let key = self.with_inodes(|inodes| inodes.get(ino).map(|node| node.key)).ok_or_else(VfsError::stale)?;
        let how = OpenHow {
            read: false,
            write: true,
            disposition: crate::share::Disposition::Open,
            readonly: false,
            // Of the file's own lease, which it therefore does not break.
            lease: self.asked_lease(self.lease_of(key), Caching::NONE),
        };
        let file = match self.share.open(&path, how).await {
            Ok((file, ..)) => file,
            // What may not be written has not been written.
            Err(error)
                if matches!(error.nt_status(), Some(NtStatus::ACCESS_DENIED | NtStatus::MEDIA_WRITE_PROTECTED)) =>
            {
                return Ok(());
            }
            Err(error) => return Err(error.into()),
        };
        let flushed = self.share.flush(&file).await;
        let closed = self.share.close(&file).await;
        flushed?;
        closed?;
        Ok(())
    }

    async fn read_direct(&self, open: &OpenFile<S>, offset: u64, length: u32) -> Result<Bytes> {
        let limit = self.share.limits().read.max(1);
        if length <= limit {
            return Ok(self.share.read(&open.remote.file, offset, length).await?);
        }
        let mut all = BytesMut::with_capacity(length as usize);
        while all.len() < length as usize {
            let wanted = limit.min(length - all.len() as u32);
            let part = self.share.read(&open.remote.file, offset + all.len() as u64, wanted).await?;
            all.extend_from_slice(&part);
            if (part.len() as u32) < wanted {
                break;
            }
        }
        Ok(all.freeze())
    }

    /// An open file that may be written.
    fn writable(&self, handle: u64) -> Result<Arc<OpenFile<S>>> {
        let open = self.handles.file(handle)?;
        if !open.access.write {
            return Err(VfsError::rule(libc::EBADF, "the file is not open for writing"));
        }
        self.space_changes();
        Ok(open)
    }

    /// Whether the server vouches at this moment that nobody else has the file open.
    fn may_hold(&self, open: &OpenFile<S>) -> bool {
        self.vouched_to(open.remote.lease).writes()
    }

    /// A write up to `end` was taken.
    fn hold(&self, open: &OpenFile<S>, end: u64) {
        let now = FileTime::from(SystemTime::now());
        self.with_inodes(|inodes| {
            if let Some(node) = inodes.get_mut(open.ino) {
                node.attributes.holds(end, now);
                node.data.changed();
            }
        });
        // If all of it has reached the server before this was said, nobody else will take it back.
        if !open.shared.back.is_dirty() {
            crate::cache::Sink::cleaned(open);
        }
    }

    /// Waits until the server has what was written to a file.
    pub(super) async fn drain_file(&self, ino: u64) {
        let key = self.with_inodes(|inodes| inodes.get(ino).map(|node| node.key));
        if let Some(file) = key.and_then(|key| self.files.get(key)) {
            file.back.drain().await;
            if let Err(error) = self.settle_pending(&file).await {
                tracing::warn!(%error, "times or attributes that were set are lost");
            }
        }
    }

    /// The file's size, if the server vouches for it, or its version was compared with the server's not too long ago.
    fn valid_size(&self, open: &OpenFile<S>) -> Option<u64> {
        let now = Instant::now();
        let leased = self.is_vouched_for(open.remote.lease);
        self.with_inodes(|inodes| {
            let node = inodes.get(open.ino)?;
            let held = leased || node.attributes.is_held();
            let valid = held || node.data.is_valid(now, self.options.attr_timeout);
            valid.then(|| node.attributes.metadata().size)
        })
    }

    /// Where an appending write goes, if the server vouches for it.
    fn leased_end(&self, open: &OpenFile<S>) -> Option<u64> {
        if self.may_hold(open) { self.size(open.ino).ok() } else { None }
    }

    fn size(&self, ino: u64) -> Result<u64> {
        self.with_inodes(|inodes| inodes.get(ino).map(|node| node.attributes.metadata().size))
            .ok_or_else(VfsError::stale)
    }

    /// Where a file ends that is written at its end: the kernel's idea of that may be old.
    async fn end_of(&self, open: &OpenFile<S>) -> Result<u64> {
        match self.valid_size(open) {
            Some(size) => Ok(size),
            None => {
                self.refresh(open.ino).await?;
                self.size(open.ino)
            }
        }
    }

    /// Takes a read into account: whether it belongs to a stream. If so, what the stream will want is
    /// fetched, and what it has left is let go.
    fn follow(&self, open: &Arc<OpenFile<S>>, offset: u64, length: u32) -> Result<bool> {
        let (chunk, size) = (self.cache.chunk(), self.size(open.ino)?);
        let terms = Terms { chunk, size, limit: self.cache.read_window() };
        let mut readers = open.readers.lock();
        let advice = readers.observe(offset, u64::from(length), terms);
        self.cache.let_go(open.key, advice.passed, advice.behind);
        for index in advice.ahead {
            let (cache, open) = (Arc::clone(&self.cache), Arc::clone(open));
            let task = tokio::spawn(async move {
                if cache.fetch_ahead(open.key, index, size, &*open).await == Ahead::NoRoom {
                    open.readers.lock().pressed(advice.stream, index, chunk);
                }
            });
            readers.expect(advice.stream, task.abort_handle());
        }
        Ok(advice.whole)
    }
}

/// What the program is to be told of earlier writes.
fn told<S: Share>(open: &OpenFile<S>, occasion: Occasion) -> Result<()> {
    match open.shared.back.failure(&open.seen, occasion) {
        Some(error) => Err(error.into()),
        None => Ok(()),
    }
}

/// Where a write ends.
fn end_of_write(offset: u64, length: usize) -> Result<u64> {
    let end = offset.checked_add(length as u64).filter(|end| *end <= MAX_SIZE);
    end.ok_or_else(|| VfsError::rule(libc::EFBIG, "the file would be longer than files can be"))
}

/// A read that was begun.
pub struct Reading<S: Share> {
    open: Arc<OpenFile<S>>,
    offset: u64,
    length: u32,
    /// Whole chunks are read, not only the pages that hold the range.
    whole: bool,
}

impl<S: Share> Reading<S> {
    fn range(&self) -> Range<u64> {
        self.offset..self.offset.saturating_add(u64::from(self.length))
    }

    /// How much of it lies within a file of this size.
    fn within(&self, size: u64) -> u64 {
        u64::from(self.length).min(size.saturating_sub(self.offset))
    }

    fn request(&self, size: u64) -> Request {
        let (file, length) = (self.open.key, u64::from(self.length));
        Request { file, offset: self.offset, length, size, whole: self.whole }
    }
}

/// A write that was begun. Reads of its range wait until it is gone.
pub struct Writing<S: Share> {
    open: Arc<OpenFile<S>>,
    offset: u64,
    _underway: Underway,
}

/// A write under way. However it ends, what was cached of its range is out of date then.
pub(super) struct Changed<'a, S: Share> {
    pub(super) vfs: &'a Vfs<S>,
    pub(super) open: &'a OpenFile<S>,
    pub(super) start: u64,
    pub(super) end: u64,
}

impl<S: Share> Drop for Changed<'_, S> {
    fn drop(&mut self) {
        self.vfs.with_inodes(|inodes| {
            if let Some(node) = inodes.get_mut(self.open.ino) {
                node.attributes.changed();
                node.data.changed();
            }
        });
        self.vfs.cache.invalidate(self.open.key, self.start..self.end);
    }
}
