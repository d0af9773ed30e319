//! copy_file_range(2): a copy that the server makes.
//!
//! A copy is a read of its source and a write of its target. It waits for the writes of both ranges that the kernel
//! sent before it; later reads of its target wait for the copy. One call copies one slice, as much as the server copies
//! well in time, and returns its length: the program continues from there, and can be interrupted in between.
//!
//! If the server cannot copy, the answer is `EOPNOTSUPP`, with nothing changed: the kernel then reads and writes the
//! data itself.

use super::changing::{Changing, MAX_SIZE};
use super::revalidate;
use crate::share::Share;
use crate::vfs::Vfs;
use crate::vfs::errno::{Result, VfsError};
use crate::vfs::file::Event;
use crate::vfs::file::driver::WriteUnderWay;
use crate::vfs::handles::OpenFile;
use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

/// A copy that has begun. Reads of its target wait until it is dropped.
pub struct Copying<S: Share> {
    from: Arc<OpenFile<S>>,
    source: Range<u64>,
    to: Arc<OpenFile<S>>,
    target: Range<u64>,
    underway: WriteUnderWay<S>,
}

/// Begins a copy. Offsets and length are in bytes; a length above 2^32 - 1 is reduced to that. To be called in the
/// order of the kernel's requests.
///
/// # Errors
/// `EBADF` if a handle is not open, the source is not open for reading, or the target is not open for writing or is
/// open for appending; `EINVAL` if both are the same file and the ranges overlap; `EFBIG`.
pub fn begin_copy<S: Share>(
    vfs: &Vfs<S>,
    from: u64,
    from_offset: u64,
    to: u64,
    to_offset: u64,
    length: u64,
) -> Result<Copying<S>> {
    let (from, to) = (vfs.handles.file(from)?, vfs.handles.file(to)?);
    if !from.access.read {
        return Err(VfsError::rule(libc::EBADF, "the source is not open for reading"));
    }
    if !to.access.write || to.access.append {
        return Err(VfsError::rule(libc::EBADF, "the target is not open for writing, or is open for appending"));
    }
    // The answer is a 32-bit number of bytes.
    let length = length.min(u64::from(u32::MAX));
    let source = from_offset..from_offset.saturating_add(length);
    let target = to_offset..to_offset.saturating_add(length);
    if target.end > MAX_SIZE {
        return Err(VfsError::rule(libc::EFBIG, "the file would exceed the largest size of 2^63 - 1 bytes"));
    }
    if from.file.key == to.file.key && source.start < target.end && target.start < source.end {
        return Err(VfsError::rule(libc::EINVAL, "the ranges of source and target overlap"));
    }
    let underway = vfs.files.begin_write(&to.file, target.clone());
    Ok(Copying { from, source, to, target, underway })
}

/// Copies from the start of the range. Returns the number of bytes: fewer than requested if the source ends before, or
/// the server does not copy all of them at once; 0 if the source ends at its offset or before it.
///
/// # Errors
/// `EOPNOTSUPP` if the server cannot copy; `ESTALE` as [`getattr`](super::getattr); otherwise what the share answered,
/// after which any part of the target may have been written.
pub async fn finish_copy<S: Share>(vfs: &Vfs<S>, copying: Copying<S>) -> Result<u32> {
    let Copying { from, to, .. } = &copying;
    drain_both(vfs, &copying).await;
    vfs.names.space_changes();
    let size = revalidate::current(vfs, from.file.ino).await?.size;
    let (start, target) = (copying.source.start, copying.target.start);
    let length = (copying.source.end - start).min(size.saturating_sub(start)) as u32;
    if length == 0 {
        return Ok(0);
    }
    let _changing = Changing { cache: &vfs.cache, open: to, start: target, end: target + u64::from(length) };
    to.file.lock().mark_changed(to.handle);
    let copied = vfs.share.copy(&from.open, start, &to.open, target, length).await?;
    if copied == 0 {
        // Another client has shortened the source: the cached size is wrong.
        from.file.lock().touch(Instant::now());
    } else {
        let (end, clock) = (target + u64::from(copied), vfs.share.clock());
        vfs.files.event(&to.file, Event::WroteThrough { end, clock });
    }
    Ok(copied)
}

/// Waits until the server has all data that the kernel wrote to both ranges before the copy.
async fn drain_both<S: Share>(vfs: &Vfs<S>, copying: &Copying<S>) {
    let Copying { from, source, to, target, underway } = copying;
    vfs.files.until_written_before(underway, &from.file, source).await;
    vfs.files.until_written_before(underway, &to.file, target).await;
    vfs.files.drain_data(&from.file).await;
    vfs.files.drain_data(&to.file).await;
}
