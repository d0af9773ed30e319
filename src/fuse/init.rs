//! What is agreed on with the kernel when the mount begins.

use fuser::{InitFlags, KernelConfig};

/// The largest write request, in bytes. The kernel's limit unless root has raised it
/// (`fs.fuse.max_pages_limit`), and by measurement a larger one gains nothing.
const MAX_WRITE: u32 = 1 << 20;
/// Requests in the background (read-ahead, and direct I/O that is not waited for) at a time.
const MAX_BACKGROUND: u16 = 64;

/// What is asked for, one by one, since a set is refused as a whole. Everything else stays off: of
/// some of the rest fuser 0.18 does not keep the promise.
const WANTED: [InitFlags; 7] = [
    // The kernel drops its pages when size or time of a file have changed.
    InitFlags::FUSE_AUTO_INVAL_DATA,
    // Listings bring attributes along, as long as somebody looks at them.
    InitFlags::FUSE_DO_READDIRPLUS,
    InitFlags::FUSE_READDIRPLUS_AUTO,
    // Lookups and listings in one directory at the same time.
    InitFlags::FUSE_PARALLEL_DIROPS,
    // O_TRUNC comes with the open, which saves a round trip.
    InitFlags::FUSE_ATOMIC_O_TRUNC,
    InitFlags::FUSE_ASYNC_DIO,
    // Files of which the kernel keeps no pages can be mapped all the same.
    InitFlags::FUSE_DIRECT_IO_ALLOW_MMAP,
];

pub(super) fn negotiate(config: &mut KernelConfig) {
    for flag in WANTED {
        if config.add_capabilities(flag).is_err() {
            tracing::debug!(?flag, "the kernel does not offer this");
        }
    }
    if let Err(nearest) = config.set_max_write(MAX_WRITE) {
        tracing::debug!(nearest, "the largest write request cannot be set");
    }
    if let Err(nearest) = config.set_max_background(MAX_BACKGROUND) {
        tracing::debug!(nearest, "the number of background requests cannot be set");
    }
}
