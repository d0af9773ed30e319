//! copy_file_range(2): a copy that the server makes.
//!
//! To its source a copy is a read, to its target a write. It waits for the writes of both ranges that the
//! kernel sent before it; reads of its target that come later wait for it. One call copies one slice, as
//! much as the server does well in time, and says how much that was: a program goes on from there, and
//! can be interrupted in between.
//!
//! Where the server cannot copy, the answer is `EOPNOTSUPP`, with nothing changed: the kernel then
//! reads and writes the data itself.

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

/// A copy that was begun. Reads of its target wait until it is gone.
pub struct Copying<S: Share> {
    from: Arc<OpenFile<S>>,
    source: Range<u64>,
    to: Arc<OpenFile<S>>,
    target: Range<u64>,
    underway: WriteUnderWay<S>,
}

/// Notes a copy. To be called in the order of the kernel's requests.
///
/// # Errors
/// `EBADF` if the source is not open for reading, or the target not for writing, or for appending;
/// `EINVAL` if both are the same file and the ranges overlap; `EFBIG`.
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
        return Err(VfsError::rule(libc::EBADF, "the target is not open for writing at any place"));
    }
    // More than the answer can say is not copied.
    let length = length.min(u64::from(u32::MAX));
    let source = from_offset..from_offset.saturating_add(length);
    let target = to_offset..to_offset.saturating_add(length);
    if target.end > MAX_SIZE {
        return Err(VfsError::rule(libc::EFBIG, "the file would be longer than files can be"));
    }
    if from.file.key == to.file.key && source.start < target.end && target.start < source.end {
        return Err(VfsError::rule(libc::EINVAL, "source and target overlap"));
    }
    let underway = vfs.files.begin_write(&to.file, target.clone());
    Ok(Copying { from, source, to, target, underway })
}

/// Copies from the start of the range. How many bytes: fewer than were asked for if the server does not
/// copy them all at once, 0 where the source ends.
///
/// # Errors
/// `EOPNOTSUPP` if the server cannot copy; otherwise what the share answered, after which any part of
/// the target may have been written.
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
        // Another client has cut the source: its size is not what it was thought to be.
        from.file.lock().touch(Instant::now());
    } else {
        let (end, clock) = (target + u64::from(copied), vfs.share.clock());
        vfs.files.event(&to.file, Event::WroteThrough { end, clock });
    }
    Ok(copied)
}

/// When this returns, the server has all data that the kernel wrote to both ranges before the copy.
async fn drain_both<S: Share>(vfs: &Vfs<S>, copying: &Copying<S>) {
    let Copying { from, source, to, target, underway } = copying;
    vfs.files.until_written_before(underway, &from.file, source).await;
    vfs.files.until_written_before(underway, &to.file, target).await;
    vfs.files.drain_data(&from.file).await;
    vfs.files.drain_data(&to.file).await;
}
