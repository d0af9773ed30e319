//! close(2) of a descriptor returns when the server has what was written; fsync(2) when it is on the server's disk.

use crate::share::{Caching, Disposition, OpenHow, Share};
use crate::vfs::errno::Result;
use crate::vfs::file::Event;
use crate::vfs::file::driver::{FileOf, Opening};
use crate::vfs::file::handle::Occasion;
use crate::vfs::{Vfs, refusals};
use futures_util::future::join_all;
use std::sync::Arc;

/// close(2) of a descriptor, if there is nothing to wait for; `None` otherwise.
///
/// # Errors
/// As [`flush`].
pub fn flushed<S: Share>(vfs: &Vfs<S>, handle: u64) -> Option<Result<()>> {
    match vfs.handles.file(handle) {
        Ok(open) if open.file.lock().is_dirty() || vfs.share.is_in_doubt(&open.open) => None,
        Ok(open) => Some(open.report(Occasion::Close)),
        Err(error) => Some(Err(error)),
    }
}

/// close(2) of a descriptor (FUSE_FLUSH). When this returns, the server has what was written. If a session was lost
/// since, only the length of the file is checked ([`Files::confirm`](crate::share::Files::confirm)).
///
/// # Errors
/// `EBADF` if the handle is not open; what the share answered to an earlier write of this file.
pub async fn flush<S: Share>(vfs: &Vfs<S>, handle: u64) -> Result<()> {
    let open = vfs.handles.file(handle)?;
    vfs.files.drain(&open.file).await;
    if vfs.share.is_in_doubt(&open.open)
        && let Err(error) = vfs.share.confirm(&open.open).await
    {
        vfs.files.event(&open.file, Event::Failed(error));
    }
    open.report(Occasion::Close)
}

/// Makes the server write the data of the file to its disk. On a read-only mount it sends nothing.
///
/// # Errors
/// `EBADF` if the handle is not open; `ESTALE` if no handle may write and no name leads to the file any more; what the
/// share answered, also to an earlier write of this file.
pub async fn fsync<S: Share>(vfs: &Vfs<S>, handle: u64) -> Result<()> {
    let open = vfs.handles.file(handle)?;
    let mark = open.file.lock().want_flush();
    vfs.files.drain(&open.file).await;
    let flushed = open.file.lock().is_flushed_since(mark);
    open.report(Occasion::Sync)?;
    if flushed {
        return Ok(());
    }
    // FLUSH requires a handle that may write (MS-SMB2 3.3.5.11).
    let writer = if open.access.write {
        Some(Arc::clone(&open.open))
    } else {
        open.file.lock().writer().map(|(_, writer)| writer)
    };
    match writer {
        Some(writer) => match vfs.share.flush(&writer).await {
            // Another fsync may have found meanwhile that data is lost.
            Ok(()) => open.report(Occasion::Sync),
            Err(error) => {
                // Every handle reports the failure, and this one does so now.
                vfs.files.event(&open.file, Event::Failed(error.clone()));
                open.report(Occasion::Sync)?;
                Err(error.into())
            }
        },
        None if !vfs.terms.was_writable() => Ok(()),
        None => fsync_by_path(vfs, &open.file).await,
    }
}

/// Flushes a file that has no handle open for writing: it may have been written through a handle that is closed by now.
async fn fsync_by_path<S: Share>(vfs: &Vfs<S>, of: &FileOf<S>) -> Result<()> {
    let (path, opening) = (vfs.names.path(of.ino)?, Opening::<S>::begin(of));
    let lease = opening.lease;
    let how = OpenHow {
        read: false,
        write: true,
        disposition: Disposition::Open,
        readonly: false,
        // The file's own lease: under another one, or none, this open would break it.
        lease: vfs.terms.policy.asked_lease(lease, Caching::NONE),
    };
    let file = match vfs.names.with_room(|| vfs.share.open(&path, how)).await {
        Ok((file, ..)) => file,
        // A file that this user may not write has not been written by this mount.
        Err(error) if refusals::forbids_writing(&error) => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    let flushed = vfs.share.flush(&file).await;
    let closed = vfs.share.close(&file).await;
    // The open held a part of the file's lease.
    let granted = vfs.share.granted(lease);
    vfs.files.event(of, Event::Granted { lease, granted });
    flushed?;
    closed?;
    Ok(())
}

/// Sends all dirty data of open files, and waits for the closes under way. For a mount that becomes read-only. A failure
/// is kept for the handles, as always.
pub async fn write_back<S: Share>(vfs: &Vfs<S>) {
    let open = vfs.handles.files().into_iter().filter_map(|handle| vfs.handles.file(handle).ok());
    join_all(open.map(async |open| vfs.files.drain(&open.file).await)).await;
    vfs.handles.finish_closes().await;
}
