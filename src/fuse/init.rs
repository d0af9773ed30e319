//! The features that are negotiated with the kernel when the mount begins (FUSE_INIT).
//!
//! Left off on purpose: FUSE_WRITEBACK_CACHE, because dirty data is in this process, where a lease break can drain it
//! and a failure reaches each handle; FUSE_POSIX_LOCKS and FUSE_FLOCK_LOCKS, so that the kernel keeps the locks itself.

use fuser::{InitFlags, KernelConfig};

/// The largest write request, in bytes. It is the kernel's limit unless root has raised it (`fs.fuse.max_pages_limit`);
/// measurements show no gain from larger requests.
const MAX_WRITE: u32 = 1 << 20;
/// The largest number of background requests (read-ahead, and asynchronous direct I/O) at a time.
const MAX_BACKGROUND: u16 = 64;

/// The requested flags, added one by one because a set is refused as a whole. fuser adds FUSE_ASYNC_READ,
/// FUSE_BIG_WRITES and FUSE_MAX_PAGES. All others stay off: fuser 0.18 does not implement some of them completely.
const WANTED: [InitFlags; 8] = [
    // The kernel drops its pages when the size or modification time of a file has changed.
    InitFlags::FUSE_AUTO_INVAL_DATA,
    // Listings carry attributes, as long as the program uses them.
    InitFlags::FUSE_DO_READDIRPLUS,
    InitFlags::FUSE_READDIRPLUS_AUTO,
    // Lookups and listings in one directory run in parallel.
    InitFlags::FUSE_PARALLEL_DIROPS,
    // O_TRUNC is part of the OPEN request, which saves a round trip.
    InitFlags::FUSE_ATOMIC_O_TRUNC,
    // Requests of one direct I/O call run in parallel.
    InitFlags::FUSE_ASYNC_DIO,
    // Files opened with direct I/O can still be mapped.
    InitFlags::FUSE_DIRECT_IO_ALLOW_MMAP,
    // This program clears set-id bits (`SetAttr::kills_set_id`, `operations::written_by`). Otherwise the kernel asks for
    // the extended attribute security.capability before each write of a file that is open for reading and writing.
    InitFlags::FUSE_HANDLE_KILLPRIV_V2,
];

/// Negotiates. Without `lists_attributes`, listings carry no attributes: what a listing has is not all that stat(2) shows.
/// Returns the requested features that the kernel does not offer.
pub(super) fn negotiate(config: &mut KernelConfig, lists_attributes: bool) -> InitFlags {
    let mut missing = InitFlags::empty();
    let plus = [InitFlags::FUSE_DO_READDIRPLUS, InitFlags::FUSE_READDIRPLUS_AUTO];
    for flag in WANTED.into_iter().filter(|flag| lists_attributes || !plus.contains(flag)) {
        if config.add_capabilities(flag).is_err() {
            tracing::debug!(?flag, "the kernel does not offer this feature");
            missing |= flag;
        }
    }
    if let Err(nearest) = config.set_max_write(MAX_WRITE) {
        tracing::debug!(nearest, "the size limit of write requests was not accepted");
    }
    if let Err(nearest) = config.set_max_background(MAX_BACKGROUND) {
        tracing::debug!(nearest, "the limit of background requests was not accepted");
    }
    missing
}
