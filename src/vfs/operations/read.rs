//! Reading open files.
//!
//! Reads go through the page cache. Without a lease the cached version of the file is compared with the server's, if
//! that was not done within the attribute timeout. A read includes what was written to the file before: it is answered
//! from dirty data, or waits until the server has that data.

use super::revalidate;
use crate::cache::{Ahead, Request, Terms};
use crate::share::Share;
use crate::vfs::Vfs;
use crate::vfs::errno::{Result, VfsError};
use crate::vfs::handles::OpenFile;
use bytes::{Bytes, BytesMut};
use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

/// Attempts of a read whose READs end before the size that the server reports. Each further attempt requires another
/// client to shorten the file at that very moment.
const ATTEMPTS: usize = 4;

/// A read that has begun.
pub struct Reading<S: Share> {
    open: Arc<OpenFile<S>>,
    offset: u64,
    length: u32,
    /// Whether whole chunks are read, not only the pages that hold the range.
    whole: bool,
    known: Known,
}

/// What was known of the data of a read when it began.
enum Known {
    /// Nothing that may be used.
    Nothing,
    /// The data: all of it is dirty.
    Data(Bytes),
    /// The size of the file in bytes; cached data may be used.
    Size(u64),
}

impl<S: Share> Reading<S> {
    fn range(&self) -> Range<u64> {
        self.offset..self.offset.saturating_add(u64::from(self.length))
    }

    /// How many bytes of the range lie within a file of this size.
    fn within(&self, size: u64) -> u64 {
        u64::from(self.length).min(size.saturating_sub(self.offset))
    }

    fn request(&self, size: u64) -> Request {
        let (file, length) = (self.open.file.key, u64::from(self.length));
        Request { file, offset: self.offset, length, size, whole: self.whole }
    }
}

/// Begins a read, and continues the read-ahead. To be called in the order of the kernel's requests, which shows
/// sequential readers; and within the runtime, since the next chunks are fetched in the background.
///
/// # Errors
/// `EBADF` if the handle is not open for reading.
pub fn begin_read<S: Share>(vfs: &Vfs<S>, handle: u64, offset: u64, length: u32) -> Result<Reading<S>> {
    let open = vfs.handles.file(handle)?;
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
            state.valid_size(vfs.terms.policy, now).map_or(Known::Nothing, Known::Size)
        };
        (state.size(), known)
    };
    let whole = !direct && follow(vfs, &open, offset, length, size);
    Ok(Reading { open, offset, length, whole, known })
}

/// The data of a read, if all of it was here when the read began, and may be used.
pub fn cached<S: Share>(vfs: &Vfs<S>, reading: &Reading<S>) -> Option<Bytes> {
    match &reading.known {
        Known::Nothing => None,
        Known::Data(data) => Some(data.clone()),
        Known::Size(size) => vfs.cache.get(&reading.request(*size)),
    }
}

/// Reads up to the requested length. Fewer bytes mean that the file ends there.
///
/// # Errors
/// `EIO` if the server's READs keep ending before the size that it reports; `ESTALE` as [`getattr`](super::getattr);
/// otherwise what the share answered.
pub async fn finish_read<S: Share>(vfs: &Vfs<S>, reading: Reading<S>) -> Result<Bytes> {
    let (open, range) = (&reading.open, reading.range());
    // A size that was valid when the read began is not fetched again.
    let mut known = if let Known::Size(size) = reading.known { Some(size) } else { None };
    if known.is_none() {
        vfs.files.until_written(&open.file, &range).await;
        if open.access.direct || open.file.lock().touches_dirty(&range) {
            vfs.files.drain_data(&open.file).await;
        }
    }
    if open.access.direct {
        return read_direct(vfs, open, reading.offset, reading.length).await;
    }
    for _ in 0..ATTEMPTS {
        let size = match known.take() {
            Some(size) => size,
            None => revalidate::end_of(vfs, open).await?,
        };
        let data = vfs.cache.read(reading.request(size), &**open).await?;
        if data.len() as u64 >= reading.within(size) {
            return Ok(data);
        }
        reread_from(vfs, open, reading.offset + data.len() as u64).await?;
    }
    Err(VfsError::rule(libc::EIO, "the server's READ ends before the size that it reports"))
}

/// A READ ended before the size of the file. Either the server answered it before a WRITE that extended the file (this
/// read may have joined an earlier READ of another handle), or another client has shortened the file. Data from `end`
/// on that is cached, or being read, is dropped. If there was no dirty data to explain it, the server is asked for the
/// size.
async fn reread_from<S: Share>(vfs: &Vfs<S>, open: &OpenFile<S>, end: u64) -> Result<()> {
    let was_dirty = open.file.lock().has_dirty_data();
    vfs.files.drain_data(&open.file).await;
    vfs.cache.invalidate(open.file.key, end..u64::MAX);
    if was_dirty {
        return Ok(());
    }
    open.file.lock().touch(Instant::now());
    revalidate::refresh(vfs, open.file.ino).await
}

/// Reads from the server without the cache.
async fn read_direct<S: Share>(vfs: &Vfs<S>, open: &OpenFile<S>, offset: u64, length: u32) -> Result<Bytes> {
    let limit = vfs.share.limits().read.max(1);
    if length <= limit {
        return Ok(vfs.share.read(&open.open, offset, length).await?);
    }
    let mut all = BytesMut::with_capacity(length as usize);
    while all.len() < length as usize {
        let wanted = limit.min(length - all.len() as u32);
        let part = vfs.share.read(&open.open, offset + all.len() as u64, wanted).await?;
        all.extend_from_slice(&part);
        if (part.len() as u32) < wanted {
            break;
        }
    }
    Ok(all.freeze())
}

/// Hands a read to the read-ahead. Returns whether whole chunks are to be read for it, as for a sequential stream. The
/// next chunks of a stream are fetched, and the chunks that it has passed are released.
fn follow<S: Share>(vfs: &Vfs<S>, open: &Arc<OpenFile<S>>, offset: u64, length: u32, size: u64) -> bool {
    let chunk = vfs.cache.chunk();
    let terms = Terms { chunk, size, limit: vfs.cache.read_window() };
    let mut readers = open.readers.lock();
    let advice = readers.observe(offset, u64::from(length), terms);
    vfs.cache.pass_and_drop(open.file.key, advice.passed, advice.behind);
    for index in advice.ahead {
        let (cache, open) = (Arc::clone(&vfs.cache), Arc::clone(open));
        let task = tokio::spawn(async move {
            if cache.fetch_ahead(open.file.key, index, size, &*open).await == Ahead::NoRoom {
                open.readers.lock().pressed(advice.stream, index, chunk);
            }
        });
        readers.expect(advice.stream, task.abort_handle());
    }
    advice.whole
}
