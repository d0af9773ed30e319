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
use super::file::Event;
use super::file::driver::{FileOf, Opening, WriteUnderWay};
use super::file::handle::Occasion;
use super::handles::OpenFile;
use crate::cache::{Ahead, Request, Terms};
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
    /// reader is known, and within the runtime, since its next chunk is fetched in the background.
    ///
    /// # Errors
    /// `EBADF` if the handle is not open for reading.
    pub fn begin_read(&self, handle: u64, offset: u64, length: u32) -> Result<Reading<S>> {
        let open = self.handles.file(handle)?;
        if !open.access.read {
            return Err(VfsError::rule(libc::EBADF, "the file is not open for reading"));
        }
        let range = offset..offset.saturating_add(u64::from(length));
        let (now, direct) = (Instant::now(), open.access.direct);
        let (size, known) = {
            let state = open.file.lock();
            let known = if direct || state.writes_touch(&range) {
                Known::Nothing
            } else if state.touches_dirty(&range) {
                state.dirty_range(&range).map_or(Known::Nothing, Known::Data)
            } else {
                state.valid_size(self.policy, now).map_or(Known::Nothing, Known::Size)
            };
            (state.size(), known)
        };
        let whole = !direct && self.follow(&open, offset, length, size);
        Ok(Reading { open, offset, length, whole, known })
    }

    /// The data, if all of it was here when the read began, and may be used.
    pub fn cached(&self, reading: &Reading<S>) -> Option<Bytes> {
        match &reading.known {
            Known::Nothing => None,
            Known::Data(data) => Some(data.clone()),
            Known::Size(size) => self.cache.get(&reading.request(*size)),
        }
    }

    /// Reads up to the length that was asked for. Fewer bytes mean that the file ends there.
    ///
    /// # Errors
    /// What the share answered.
    pub async fn finish_read(&self, reading: Reading<S>) -> Result<Bytes> {
        let (open, range) = (&reading.open, reading.range());
        // What was known when the read began needs no other look.
        let mut known = if let Known::Size(size) = reading.known { Some(size) } else { None };
        if known.is_none() {
            self.files.until_written(&open.file, &range).await;
            if open.access.direct || open.file.lock().touches_dirty(&range) {
                self.files.drain_data(&open.file).await;
            }
        }
        if open.access.direct {
            return self.read_direct(open, reading.offset, reading.length).await;
        }
        for _ in 0..ATTEMPTS {
            let size = match known.take() {
                Some(size) => size,
                None => self.end_of(open).await?,
            };
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
        let was_dirty = open.file.lock().has_dirty_data();
        self.files.drain_data(&open.file).await;
        self.cache.invalidate(open.file.key, end..u64::MAX);
        if was_dirty {
            return Ok(());
        }
        open.file.lock().touch(Instant::now());
        self.refresh(open.file.ino).await
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
        if let Err(error) = open.report(Occasion::Write) {
            return Some(Err(error));
        }
        let range = open.access.write_range(offset, data.len() as u64);
        // What has to wait keeps its turn.
        if data.is_empty() || open.access.writes_through() || open.file.lock().writes_touch(&range) {
            return None;
        }
        let offset = if open.access.append { self.leased_end(&open)? } else { offset };
        if let Err(error) = end_of_write(offset, data.len()) {
            return Some(Err(error));
        }
        (self.take(&open, offset, data) == Taken::Yes).then_some(Ok(data.len() as u32))
    }

    /// Makes a write dirty, if the lease allows it at this moment and there is room. To be called within the runtime.
    fn take(&self, open: &OpenFile<S>, offset: u64, data: &[u8]) -> Taken {
        let (length, window) = (data.len() as u64, self.cache.write_window());
        if !self.cache.could_hold_dirty(length) {
            return Taken::MayNot;
        }
        // Memory is reserved before the file's lock is taken.
        let is_reserved = self.cache.reserve_dirty(length);
        let clock = FileTime::from(SystemTime::now());
        let taken = self.files.with(&open.file, |state, now| {
            if !self.policy.may_write_back(state.caching()) {
                return (Taken::MayNot, Vec::new());
            }
            if !is_reserved || !state.has_room(length, window) {
                return (Taken::NoRoom, state.on(Event::Drain, now));
            }
            (Taken::Yes, state.on(Event::Wrote { handle: open.handle, offset, data, clock }, now))
        });
        if taken != Taken::Yes && is_reserved {
            self.cache.release_dirty(length);
        }
        taken
    }

    /// The same, waiting for room.
    async fn take_when_room(&self, open: &OpenFile<S>, offset: u64, data: &[u8]) -> Taken {
        loop {
            let (progress, room) = (open.file.progress().notified(), self.cache.room().notified());
            tokio::pin!(progress, room);
            // From here on no change is missed.
            progress.as_mut().enable();
            room.as_mut().enable();
            match self.take(open, offset, data) {
                Taken::NoRoom => {}
                taken => return taken,
            }
            tokio::select! {
                () = progress => {}
                () = room => {}
            }
        }
    }

    /// Takes note of a write: to be called in the order of the kernel's requests, since later reads of
    /// its range wait for it.
    ///
    /// # Errors
    /// `EBADF` if the handle is not open for writing.
    pub fn begin_write(&self, handle: u64, offset: u64, length: u64) -> Result<Writing<S>> {
        let open = self.writable(handle)?;
        let underway = self.files.begin_write(&open.file, open.access.write_range(offset, length));
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
        end_of_write(offset, data.len())?;
        if !open.access.writes_through() && self.take_when_room(open, offset, &data).await == Taken::Yes {
            return Ok(data.len() as u32);
        }
        // What was taken before comes before.
        self.files.drain_data(&open.file).await;
        self.write_through(open, offset, &data).await?;
        Ok(data.len() as u32)
    }

    /// Writes all of `data` to the server, and with `O_SYNC` to its disk.
    async fn write_through(&self, open: &Arc<OpenFile<S>>, offset: u64, data: &Bytes) -> Result<()> {
        let end = offset + data.len() as u64;
        let _changed = Changed { vfs: self, open, start: offset, end };
        open.file.lock().mark_changed(open.handle);
        let limit = u64::from(self.share.limits().write.max(1));
        let file = &*open.open;
        // What fits one WRITE is flushed in the same round trip.
        let flush_along = open.access.sync && offset / limit == (end - 1) / limit;
        // Pages that the kernel sends because of a break were written while the lease was held.
        let held = open.file.lock().is_unmapping();
        let mut pieces = Vec::new();
        let mut at = offset;
        while at < end {
            let boundary = ((at / limit + 1) * limit).min(end);
            let piece = data.slice((at - offset) as usize..(boundary - offset) as usize);
            pieces.push(async move {
                let after = After { flush: flush_along, held, ..After::default() };
                self.share.write_and(file, at, piece, after).await
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
        self.files.event(&open.file, Event::WroteThrough { end });
        Ok(())
    }

    /// close(2) of a descriptor, if there is nothing to wait for.
    ///
    /// # Errors
    /// As [`Vfs::flush`].
    pub fn flushed(&self, handle: u64) -> Option<Result<()>> {
        match self.handles.file(handle) {
            Ok(open) if open.file.lock().is_dirty() || self.share.is_in_doubt(&open.open) => None,
            Ok(open) => Some(open.report(Occasion::Close)),
            Err(error) => Some(Err(error)),
        }
    }

    /// close(2) of a descriptor: when this returns, the server has what was written.
    ///
    /// # Errors
    /// `EBADF` if the handle is not open; what the share answered to a write of this file.
    pub async fn flush(&self, handle: u64) -> Result<()> {
        let open = self.handles.file(handle)?;
        self.files.drain(&open.file).await;
        if self.share.is_in_doubt(&open.open)
            && let Err(error) = self.share.confirm(&open.open).await
        {
            self.files.event(&open.file, Event::Failed(error));
        }
        open.report(Occasion::Close)
    }

    /// Has the server put the file's data on its disk.
    ///
    /// # Errors
    /// `EBADF` if the handle is not open; what the share answered, to an earlier write of this file as well.
    pub async fn fsync(&self, handle: u64) -> Result<()> {
        let open = self.handles.file(handle)?;
        let mark = open.file.lock().want_flush();
        self.files.drain(&open.file).await;
        let flushed = open.file.lock().is_flushed_since(mark);
        open.report(Occasion::Sync)?;
        if flushed {
            return Ok(());
        }
        // FLUSH needs a handle that may write (MS-SMB2 3.3.5.11).
        let writer = if open.access.write {
            Some(Arc::clone(&open.open))
        } else {
            open.file.lock().writer().map(|(_, writer)| writer)
        };
        match writer {
            Some(writer) => match self.share.flush(&writer).await {
                // Another fsync may have found out meanwhile that data is lost.
                Ok(()) => open.report(Occasion::Sync),
                Err(error) => {
                    // Every handle is told, and this one now.
                    self.files.event(&open.file, Event::Failed(error.clone()));
                    open.report(Occasion::Sync)?;
                    Err(error.into())
                }
            },
            None if self.options.read_only => Ok(()),
            None => self.fsync_by_path(&open.file).await,
        }
    }

    /// For a file that is only open for reading: it may have been written through a handle that is
    /// closed by now.
    async fn fsync_by_path(&self, of: &FileOf<S>) -> Result<()> {
        let (path, opening) = (self.path(of.ino)?, Opening::<S>::begin(of));
        let lease = opening.lease;
        let how = OpenHow {
            read: false,
            write: true,
            disposition: crate::share::Disposition::Open,
            readonly: false,
            // Of the file's own lease, which it therefore does not break.
            lease: self.asked_lease(lease, Caching::NONE),
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
        // The open counted among those that hold the file's lease.
        let granted = self.share.granted(lease);
        self.files.event(of, Event::Granted { lease, granted });
        flushed?;
        closed?;
        Ok(())
    }

    async fn read_direct(&self, open: &OpenFile<S>, offset: u64, length: u32) -> Result<Bytes> {
        let limit = self.share.limits().read.max(1);
        if length <= limit {
            return Ok(self.share.read(&open.open, offset, length).await?);
        }
        let mut all = BytesMut::with_capacity(length as usize);
        while all.len() < length as usize {
            let wanted = limit.min(length - all.len() as u32);
            let part = self.share.read(&open.open, offset + all.len() as u64, wanted).await?;
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

    /// Waits until the server has what was written to a file.
    pub(super) async fn drain_file(&self, ino: u64) {
        if let Some(file) = self.with_inodes(|inodes| inodes.file(ino).cloned()) {
            self.files.drain(&file).await;
        }
    }

    /// Where an appending write goes, if no other client can write.
    fn leased_end(&self, open: &OpenFile<S>) -> Option<u64> {
        let state = open.file.lock();
        self.policy.may_write_back(state.caching()).then(|| state.size())
    }

    /// Where a file ends that is written at its end: the kernel's idea of that may be old.
    async fn end_of(&self, open: &OpenFile<S>) -> Result<u64> {
        let valid = open.file.lock().valid_size(self.policy, Instant::now());
        if valid.is_none() {
            self.refresh(open.file.ino).await?;
        }
        Ok(valid.unwrap_or_else(|| open.file.lock().size()))
    }

    /// Takes a read into account: whether it belongs to a stream. If so, what the stream will want is
    /// fetched, and what it has left is let go.
    fn follow(&self, open: &Arc<OpenFile<S>>, offset: u64, length: u32, size: u64) -> bool {
        let chunk = self.cache.chunk();
        let terms = Terms { chunk, size, limit: self.cache.read_window() };
        let mut readers = open.readers.lock();
        let advice = readers.observe(offset, u64::from(length), terms);
        self.cache.let_go(open.file.key, advice.passed, advice.behind);
        for index in advice.ahead {
            let (cache, open) = (Arc::clone(&self.cache), Arc::clone(open));
            let task = tokio::spawn(async move {
                if cache.fetch_ahead(open.file.key, index, size, &*open).await == Ahead::NoRoom {
                    open.readers.lock().pressed(advice.stream, index, chunk);
                }
            });
            readers.expect(advice.stream, task.abort_handle());
        }
        advice.whole
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
    known: Known,
}

/// What was known of a read's data when it began.
enum Known {
    /// Nothing that may be used.
    Nothing,
    /// All of it is dirty.
    Data(Bytes),
    /// The file's size, and that what is cached may be used.
    Size(u64),
}

/// What became of a write.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Taken {
    /// It is dirty now.
    Yes,
    /// There is no room before something was sent.
    NoRoom,
    /// It may not be dirty: it has to go through.
    MayNot,
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
        let (file, length) = (self.open.file.key, u64::from(self.length));
        Request { file, offset: self.offset, length, size, whole: self.whole }
    }
}

/// A write that was begun. Reads of its range wait until it is gone.
pub struct Writing<S: Share> {
    open: Arc<OpenFile<S>>,
    offset: u64,
    _underway: WriteUnderWay<S>,
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
        self.open.file.lock().written(Instant::now());
        self.vfs.cache.invalidate(self.open.file.key, self.start..self.end);
    }
}
