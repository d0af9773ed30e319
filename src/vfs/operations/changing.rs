//! What a write at the server makes invalid, for the operations that write.

use crate::cache::PageCache;
use crate::share::{Share, ShareError};
use crate::vfs::handles::OpenFile;
use std::time::Instant;

/// The largest size of a file in bytes: programs see offsets as signed 64-bit numbers.
pub(super) const MAX_SIZE: u64 = i64::MAX as u64;

/// A write at the server that is in flight. Dropping it, whatever the outcome, makes the cached data of its range and
/// the known version of the file invalid.
pub(super) struct Changing<'a, S: Share> {
    pub(super) cache: &'a PageCache<ShareError>,
    pub(super) open: &'a OpenFile<S>,
    pub(super) start: u64,
    pub(super) end: u64,
}

impl<S: Share> Drop for Changing<'_, S> {
    fn drop(&mut self) {
        self.open.file.lock().written(Instant::now());
        self.cache.invalidate(self.open.file.key, self.start..self.end);
    }
}
