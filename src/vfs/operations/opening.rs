//! What open(2) and creat(2) share: the open at the server, its handle, and what both mean for the caches.

use crate::share::{
    Caching, CreateAction, Disposition, Granted, LeaseKey, Metadata, OpenHow, RemotePath, Share, ShareError,
};
use crate::vfs::Vfs;
use crate::vfs::file::Event;
use crate::vfs::file::driver::{FileOf, Open};
use crate::vfs::file::handle::Access;
use bytes::Bytes;
use std::sync::Arc;
use std::time::Instant;

/// A file that the kernel has open.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Opened {
    /// The number of the handle.
    pub handle: u64,
    /// Whether the kernel keeps no pages of what is read and written through this handle.
    pub direct: bool,
    /// Whether the kernel's cached pages are valid: the data has not changed since the kernel last opened the file.
    pub keep_cache: bool,
}

/// What is known of an open that the server has just answered.
pub(super) struct New {
    pub(super) access: Access,
    pub(super) lease: LeaseKey,
    pub(super) granted: Granted,
    pub(super) metadata: Metadata,
    /// Whether the open has truncated the file.
    pub(super) is_changed: bool,
}

/// The request that opens a file with this access.
pub(super) fn how<S: Share>(
    vfs: &Vfs<S>,
    access: Access,
    disposition: Disposition,
    readonly: bool,
    lease: LeaseKey,
) -> OpenHow {
    let lease = vfs.terms.policy.asked_lease(lease, Caching::ALL);
    OpenHow { read: access.read, write: access.modifies(), disposition, readonly, lease }
}

/// Opens a file, and reads its first `wanted` bytes in the same round trip.
///
/// # Errors
/// What the share answered.
pub(super) async fn open_on_share<S: Share>(
    vfs: &Vfs<S>,
    path: &RemotePath,
    how: OpenHow,
    wanted: u32,
) -> std::result::Result<(S::File, Metadata, CreateAction, Bytes), ShareError> {
    let open = || async {
        if wanted > 0 {
            return vfs.share.open_and_read(path, how, wanted).await;
        }
        let (file, metadata, action) = vfs.share.open(path, how).await?;
        Ok((file, metadata, action, Bytes::new()))
    };
    vfs.names.with_room(open).await
}

/// What the server has granted under the lease of an open that it has just answered. If other clients may have the file
/// open, the cached data of the file is dropped.
pub(super) fn granted<S: Share>(vfs: &Vfs<S>, file: &FileOf<S>, lease: LeaseKey) -> Granted {
    vfs.files.lease(lease, file);
    let granted = vfs.share.granted(lease);
    vfs.files.learn_from(granted.caching);
    if !vfs.files.is_alone(granted.caching) {
        vfs.cache.drop_file(file.key);
    }
    granted
}

/// Makes a handle for an open that the server has answered. `is_changed_elsewhere` says that the kernel may have
/// attributes from before another client's change, with another size.
pub(super) async fn opened<S: Share>(
    vfs: &Vfs<S>,
    file: &FileOf<S>,
    open: S::File,
    new: New,
    is_changed_elsewhere: bool,
) -> Opened {
    let New { access, lease, granted, metadata, is_changed } = new;
    let (handle, open) = (vfs.handles.number(), Arc::new(open));
    let alone = vfs.files.is_alone(granted.caching);
    let grid = vfs.share.limits().write;
    let keep_cache = vfs.files.with(file, |state, now| {
        if is_changed {
            state.replaced(vfs.share.clock(), now);
        }
        let keep_cache = state.kernel_opens(handle, access, &metadata, alone);
        let event = Event::Opened { handle, access, open: Arc::clone(&open), lease, granted, grid };
        (keep_cache, state.on(event, now))
    });
    vfs.files.leased(lease);
    if file.lock().is_older_than(granted) {
        // A break arrived in between: only what it left is granted.
        vfs.files.event(file, Event::Granted { lease, granted: vfs.share.granted(lease) });
    }
    register(vfs, handle, file, open, access);
    if is_changed_elsewhere {
        // With its cached size the kernel would not read beyond the old end. Its pages it drops itself when it gets this
        // open, unless it may keep them.
        vfs.files.kernel_forgets_attributes(file).await;
    }
    if !alone {
        vfs.files.forget_in_time(file);
    }
    Opened { handle, direct: bypasses_kernel(vfs, file, access), keep_cache }
}

/// Records that a handle is open.
pub(super) fn register<S: Share>(vfs: &Vfs<S>, handle: u64, file: &FileOf<S>, open: Open<S>, access: Access) {
    vfs.names.file_opened();
    vfs.handles.add(handle, file, open, access);
}

/// Closes an open that serves no handle.
pub(super) async fn close_unused<S: Share>(vfs: &Vfs<S>, file: S::File) {
    if let Err(error) = vfs.share.close(&file).await {
        tracing::debug!(%error, "an unused open could not be closed; the server closes it with the session");
    }
}

/// Whether the kernel keeps no pages of what is read and written through an open. It keeps none of a file that another
/// client is changing: it would show zeros between the end of the data that it has read and a later size, and miss what
/// lies beyond an earlier size.
pub(super) fn bypasses_kernel<S: Share>(vfs: &Vfs<S>, file: &FileOf<S>, access: Access) -> bool {
    let is_contested = || vfs.kernel_view.maps_direct() && file.lock().is_contested(Instant::now());
    access.bypasses_kernel() || vfs.terms.policy.keeps_no_pages() || is_contested()
}
