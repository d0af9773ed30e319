//! Reading and writing open files.
//!
//! Reads go through the page cache, after the file's version was compared with the server's if that
//! was not done for longer than the attribute timeout. Writes go through to the server; what the
//! cache has of the range is dropped when they end, whatever became of them.

use super::Vfs;
use super::errno::{Result, VfsError};
use super::handles::OpenFile;
use super::underway::Underway;
use crate::cache::Request;
use crate::share::{OpenHow, Share};
use crate::wire::NtStatus;
use bytes::{Bytes, BytesMut};
use futures_util::future::join_all;
use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

/// Files end here: offsets are signed to programs.
const MAX_SIZE: u64 = i64::MAX as u64;

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
        let whole = !open.access.direct && self.is_stream(&open, offset, length)?;
        Ok(Reading { open, offset, length, whole })
    }

    /// The data, if all of it is cached and may be used.
    pub fn cached(&self, reading: &Reading<S>) -> Option<Bytes> {
        if reading.open.access.direct || self.writes.touch(reading.open.key, &reading.range()) {
            return None;
        }
        let size = self.valid_size(&reading.open)?;
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
            return self.read_direct(open, reading.offset, reading.length).await;
        }
        let size = match self.valid_size(open) {
            Some(size) => size,
            None => {
                self.refresh(open.ino).await?;
                self.size(open.ino)?
            }
        };
        let data = self.cache.read(reading.request(size), &**open).await?;
        if (data.len() as u64) < u64::from(reading.length).min(size.saturating_sub(reading.offset)) {
            // Somebody else has cut the file: its size is not what it was thought to be.
            self.with_inodes(|inodes| inodes.touch(open.ino));
        }
        Ok(data)
    }

    /// Takes note of a write: to be called in the order of the kernel's requests, since later reads of
    /// its range wait for it.
    ///
    /// # Errors
    /// `EBADF` if the handle is not open for writing.
    pub fn begin_write(&self, handle: u64, offset: u64, length: u64) -> Result<Writing<S>> {
        let open = self.handles.file(handle)?;
        if !open.access.write {
            return Err(VfsError::rule(libc::EBADF, "the file is not open for writing"));
        }
        // Where an appending write will end up is known only when the server has told the file's size.
        let range = if open.access.append { 0..u64::MAX } else { offset..offset.saturating_add(length) };
        let underway = self.writes.begin(open.key, range);
        Ok(Writing { open, offset, _underway: underway })
    }

    /// Writes all of `data`; at the end of the file if it was opened to append. When this returns,
    /// the server has it.
    ///
    /// # Errors
    /// `EFBIG`; the first error that the share answered, after which any part of the data may have
    /// been written.
    pub async fn finish_write(&self, writing: Writing<S>, data: Bytes) -> Result<u32> {
        let (open, offset) = (&writing.open, writing.offset);
        if data.is_empty() {
            return Ok(0);
        }
        let length = data.len() as u64;
        let offset = if open.access.append { self.end_of(open).await? } else { offset };
        let end = offset.checked_add(length).filter(|end| *end <= MAX_SIZE);
        let end = end.ok_or_else(|| VfsError::rule(libc::EFBIG, "the file would be longer than files can be"))?;

        let _changed = Changed { vfs: self, open, start: offset, end };
        let limit = u64::from(self.share.limits().write.max(1));
        let mut pieces = Vec::new();
        let mut at = offset;
        while at < end {
            let boundary = ((at / limit + 1) * limit).min(end);
            let piece = data.slice((at - offset) as usize..(boundary - offset) as usize);
            pieces.push(self.share.write(&open.file, at, piece));
            at = boundary;
        }
        // In the order of the file, so that the first error is that of the first piece that failed.
        for written in join_all(pieces).await {
            written?;
        }
        self.with_inodes(|inodes| {
            if let Some(node) = inodes.get_mut(open.ino) {
                node.attributes.wrote(end);
            }
        });
        Ok(length as u32)
    }

    /// close(2) of a descriptor: there is nothing left to do, since writes go through.
    ///
    /// # Errors
    /// `EBADF` if the handle is not open.
    pub fn flush(&self, handle: u64) -> Result<()> {
        self.handles.file(handle).map(|_| ())
    }

    /// Has the server put the file's data on its disk.
    ///
    /// # Errors
    /// `EBADF` if the handle is not open; what the share answered.
    pub async fn fsync(&self, handle: u64) -> Result<()> {
        let open = self.handles.file(handle)?;
        // FLUSH needs a handle that may write (MS-SMB2 3.3.5.11).
        let writer = if open.access.write { Some(Arc::clone(&open)) } else { self.writer(open.ino) };
        match writer {
            Some(writer) => Ok(self.share.flush(&writer.file).await?),
            None if self.options.read_only => Ok(()),
            None => self.fsync_by_path(open.ino).await,
        }
    }

    /// For a file that is only open for reading: it may have been written through a handle that is
    /// closed by now.
    async fn fsync_by_path(&self, ino: u64) -> Result<()> {
        let path = self.path(ino)?;
        let how = OpenHow {
            read: false,
            write: true,
            disposition: crate::share::Disposition::Open,
            readonly: false,
            lease: None,
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
            return Ok(self.share.read(&open.file, offset, length).await?);
        }
        let mut all = BytesMut::with_capacity(length as usize);
        while all.len() < length as usize {
            let wanted = limit.min(length - all.len() as u32);
            let part = self.share.read(&open.file, offset + all.len() as u64, wanted).await?;
            all.extend_from_slice(&part);
            if (part.len() as u32) < wanted {
                break;
            }
        }
        Ok(all.freeze())
    }

    /// The file's size, if its version was compared with the server's not too long ago.
    fn valid_size(&self, open: &OpenFile<S>) -> Option<u64> {
        let now = Instant::now();
        self.with_inodes(|inodes| {
            let node = inodes.get(open.ino)?;
            let valid = node.data.is_valid(now, self.options.attr_timeout);
            valid.then(|| node.attributes.metadata().size)
        })
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

    /// Whether the read belongs to a stream. If so, the next chunk is fetched, and those far behind
    /// are let go.
    fn is_stream(&self, open: &Arc<OpenFile<S>>, offset: u64, length: u32) -> Result<bool> {
        let chunk = self.cache.chunk();
        let advice = open.stream.lock().observe(offset, u64::from(length), chunk);
        self.cache.let_go(open.key, advice.behind);
        let size = self.size(open.ino)?;
        if let Some(index) = advice.ahead
            && index.saturating_mul(chunk) < size
        {
            let (cache, open) = (Arc::clone(&self.cache), Arc::clone(open));
            tokio::spawn(async move { cache.fetch_ahead(open.key, index, size, &*open).await });
        }
        Ok(advice.whole)
    }
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
struct Changed<'a, S: Share> {
    vfs: &'a Vfs<S>,
    open: &'a OpenFile<S>,
    start: u64,
    end: u64,
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
