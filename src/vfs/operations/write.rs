//! Writing open files.
//!
//! A write becomes dirty data, which is sent to the server later, if the lease shows that no other client has the file
//! open (in loose mode always), and the file was opened without `O_SYNC`, `O_DSYNC` and `O_DIRECT`. Otherwise it goes
//! through to the server, and the cached data of its range is dropped when it ends, whatever the outcome.

use super::changing::{Changing, MAX_SIZE};
use super::revalidate;
use crate::share::{After, Share};
use crate::vfs::Vfs;
use crate::vfs::errno::{Result, VfsError};
use crate::vfs::file::Event;
use crate::vfs::file::driver::WriteUnderWay;
use crate::vfs::file::handle::Occasion;
use crate::vfs::handles::OpenFile;
use bytes::Bytes;
use futures_util::future::join_all;
use std::ops::Range;
use std::sync::Arc;

/// Where the data of a WRITE goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Position {
    /// To this offset, in bytes.
    At(u64),
    /// To the end of the file, wherever that is when the data is written.
    End,
}

impl Position {
    /// The range that a write of `length` bytes may touch. The position of an appending write is known only after it.
    fn range(self, length: u64) -> Range<u64> {
        match self {
            Position::At(offset) => offset..offset.saturating_add(length),
            Position::End => 0..u64::MAX,
        }
    }
}

/// A write that has begun. Reads of its range wait until it is dropped.
pub struct Writing<S: Share> {
    open: Arc<OpenFile<S>>,
    to: Position,
    _underway: WriteUnderWay<S>,
}

/// The result of an attempt to make a write dirty.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Attempt {
    /// It is dirty now.
    Dirty,
    /// There is no room until dirty data has been sent.
    NoRoom,
    /// It may not be dirty, or is larger than the cache: it has to go through to the server.
    MayNot,
}

/// Makes a write dirty without waiting, if the lease allows it and there is room; `None` if the write has to wait or to
/// go through, for which [`begin_write`] is called. To be called in the order of the kernel's requests, and within the
/// runtime.
///
/// # Errors
/// `EBADF` if the handle is not open for writing; `EFBIG`; what the share answered to an earlier write of this file.
pub fn write_now<S: Share>(vfs: &Vfs<S>, handle: u64, to: Position, data: &[u8]) -> Option<Result<u32>> {
    let open = match writable(vfs, handle) {
        Ok(open) => open,
        Err(error) => return Some(Err(error)),
    };
    if let Err(error) = open.report(Occasion::Write) {
        return Some(Err(error));
    }
    let range = to.range(data.len() as u64);
    // A write that has to wait keeps its place in the order of requests.
    if data.is_empty() || open.access.writes_through() || open.file.lock().writes_touch(&range) {
        return None;
    }
    let offset = match to {
        Position::At(offset) => offset,
        Position::End => leased_end(vfs, &open)?,
    };
    if let Err(error) = end_of_write(offset, data.len()) {
        return Some(Err(error));
    }
    (make_dirty(vfs, &open, offset, data) == Attempt::Dirty).then_some(Ok(data.len() as u32))
}

/// Makes a write dirty, if the lease allows it at this moment and there is room. To be called within the runtime.
fn make_dirty<S: Share>(vfs: &Vfs<S>, open: &OpenFile<S>, offset: u64, data: &[u8]) -> Attempt {
    let (length, window) = (data.len() as u64, vfs.cache.write_window());
    if !vfs.cache.could_hold_dirty(length) {
        return Attempt::MayNot;
    }
    // Memory is reserved before the file is locked.
    let is_reserved = vfs.cache.reserve_dirty(length);
    let clock = vfs.share.clock();
    let attempt = vfs.files.with(&open.file, |state, now| {
        if !vfs.terms.policy.decide(state.caching()).holds_writes {
            return (Attempt::MayNot, Vec::new());
        }
        if !is_reserved || !state.has_room(length, window) {
            return (Attempt::NoRoom, state.on(Event::Drain, now));
        }
        (Attempt::Dirty, state.on(Event::Wrote { handle: open.handle, offset, data, clock }, now))
    });
    if attempt != Attempt::Dirty && is_reserved {
        vfs.cache.release_dirty(length);
    }
    attempt
}

/// As [`make_dirty`], but waits for room.
async fn make_dirty_when_room<S: Share>(vfs: &Vfs<S>, open: &OpenFile<S>, offset: u64, data: &[u8]) -> Attempt {
    loop {
        let (progress, room) = (open.file.progress().notified(), vfs.cache.room().notified());
        tokio::pin!(progress, room);
        // From here on no notification is missed.
        progress.as_mut().enable();
        room.as_mut().enable();
        match make_dirty(vfs, open, offset, data) {
            Attempt::NoRoom => {}
            attempt => return attempt,
        }
        tokio::select! {
            () = progress => {}
            () = room => {}
        }
    }
}

/// Begins a write. To be called in the order of the kernel's requests, since later reads of its range wait for it.
///
/// # Errors
/// `EBADF` if the handle is not open for writing.
pub fn begin_write<S: Share>(vfs: &Vfs<S>, handle: u64, to: Position, length: u64) -> Result<Writing<S>> {
    let open = writable(vfs, handle)?;
    let underway = vfs.files.begin_write(&open.file, to.range(length));
    Ok(Writing { open, to, _underway: underway })
}

/// Writes all of `data`, at the end of the file if the write appends. When this returns, the data is dirty or the
/// server has it. Returns the number of bytes.
///
/// # Errors
/// `EFBIG`; for an appending write those of `revalidate::end_for_append`; the first error of the share, after which any
/// part of the data may have been written.
pub async fn finish_write<S: Share>(vfs: &Vfs<S>, writing: Writing<S>, data: Bytes) -> Result<u32> {
    let open = &writing.open;
    if data.is_empty() {
        return Ok(0);
    }
    let offset = match writing.to {
        Position::At(offset) => offset,
        Position::End => revalidate::end_for_append(vfs, open).await?,
    };
    end_of_write(offset, data.len())?;
    if !open.access.writes_through() && make_dirty_when_room(vfs, open, offset, &data).await == Attempt::Dirty {
        return Ok(data.len() as u32);
    }
    // Dirty data is sent first.
    vfs.files.drain_data(&open.file).await;
    write_through(vfs, open, offset, &data).await?;
    Ok(data.len() as u32)
}

/// Writes all of `data` to the server, and with `O_SYNC` to its disk.
async fn write_through<S: Share>(vfs: &Vfs<S>, open: &Arc<OpenFile<S>>, offset: u64, data: &Bytes) -> Result<()> {
    let end = offset + data.len() as u64;
    let _changing = Changing { cache: &vfs.cache, open, start: offset, end };
    open.file.lock().mark_changed(open.handle);
    let limit = u64::from(vfs.share.limits().write.max(1));
    let file = &*open.open;
    // Data that fits one WRITE is flushed in the same round trip.
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
            vfs.share.write_and(file, at, piece, after).await
        });
        at = boundary;
    }
    // In the order of the file, so that the error is that of the first piece that failed.
    for written in join_all(pieces).await {
        written?;
    }
    if open.access.sync && !flush_along {
        vfs.share.flush(file).await?;
    }
    vfs.files.event(&open.file, Event::WroteThrough { end, clock: vfs.share.clock() });
    Ok(())
}

/// An open file that may be written.
fn writable<S: Share>(vfs: &Vfs<S>, handle: u64) -> Result<Arc<OpenFile<S>>> {
    let open = vfs.handles.file(handle)?;
    if !open.access.write {
        return Err(VfsError::rule(libc::EBADF, "the file is not open for writing"));
    }
    vfs.names.space_changes();
    Ok(open)
}

/// The offset of an appending write: the known end of the file, if the write may be dirty; otherwise `None`.
fn leased_end<S: Share>(vfs: &Vfs<S>, open: &OpenFile<S>) -> Option<u64> {
    let state = open.file.lock();
    vfs.terms.policy.decide(state.caching()).holds_writes.then(|| state.size())
}

/// The end of a write, which [`MAX_SIZE`] limits.
fn end_of_write(offset: u64, length: usize) -> Result<u64> {
    let end = offset.checked_add(length as u64).filter(|end| *end <= MAX_SIZE);
    end.ok_or_else(|| VfsError::rule(libc::EFBIG, "the file would exceed the largest size of 2^63 - 1 bytes"))
}
