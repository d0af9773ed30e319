//! Closing files.

use super::hiding;
use crate::share::Share;
use crate::vfs::Vfs;
use crate::vfs::file::Event;
use crate::vfs::file::handle::Occasion;
use crate::vfs::handles::Leaving;
use futures_util::FutureExt;
use futures_util::future::join_all;
use std::sync::Arc;

/// The kernel releases a handle (FUSE_RELEASE). The handle leaves the table at once. Unless there is dirty data, an
/// open that can be kept is kept when this returns, so that the next open(2) finds it, and any other open's CLOSE is
/// handed to the share, so that a request that removes the file next carries it in its frame. The future drains dirty
/// data, and ends when the CLOSE is answered. Errors are logged, because no call can report them any more. To be called
/// within the runtime.
pub fn release<S: Share>(vfs: &Arc<Vfs<S>>, handle: u64) -> impl Future<Output = ()> + Send + use<S> {
    let closer = Arc::clone(vfs);
    let closing = vfs.handles.remove(handle).map(|leaving| {
        let mut closing = Box::pin(async move { finish_close(&closer, leaving).await });
        let done = closing.as_mut().now_or_never().is_some();
        (closing, done)
    });
    async move {
        if let Some((closing, false)) = closing {
            closing.await;
        }
    }
}

/// Closes every open handle, all at the same time, and every kept open. For the end of the mount.
pub async fn drain<S: Share>(vfs: &Vfs<S>) {
    vfs.handles.remove_directories();
    join_all(vfs.handles.files().into_iter().map(|handle| close(vfs, handle))).await;
    let kept = vfs.files.remove_kept(|_| true);
    vfs.files.close_kept(&kept).await;
    // The closes that the kernel's releases began before.
    vfs.handles.finish_closes().await;
}

/// Closes a handle.
pub(super) async fn close<S: Share>(vfs: &Vfs<S>, handle: u64) {
    if let Some(leaving) = vfs.handles.remove(handle) {
        // The CLOSE is sent at once: it does not wait for others to share its frame.
        tokio::join!(finish_close(vfs, leaving), async { vfs.share.send_closes() });
    }
}

/// Drains a file, closes a handle of it that has left the table, and removes the file if it was hidden.
async fn finish_close<S: Share>(vfs: &Vfs<S>, leaving: Leaving<S>) {
    let Leaving { file: open, closing } = leaving;
    let _closing = vfs.handles.closing(closing);
    let (file, handle) = (&open.file, open.handle);
    vfs.files.event(file, Event::HandleReleased { handle });
    open.readers.lock().give_up();
    if file.lock().is_dirty() {
        vfs.files.drain(file).await;
    }
    if let Err(error) = open.report(Occasion::Close) {
        tracing::error!(%error, "written data is lost; close(2) has returned the error if the write failed before");
    }
    // Such an open would only keep a removed file on the server's disk, and its folder from being renamed.
    let is_out_of_reach = vfs.names.is_out_of_reach(file.ino);
    let is_kept = vfs.files.with(file, |state, now| {
        let keep = !is_out_of_reach && state.may_keep(handle, vfs.terms.policy);
        let actions = state.on(Event::HandleClosed { handle, keep }, now);
        (state.has_kept_open(), actions)
    });
    if is_kept {
        vfs.files.kept(file);
    }
    file.until(|state| !state.is_closing()).await;
    for path in vfs.names.closed(file.ino) {
        hiding::remove_hidden(vfs, &path).await;
    }
}
