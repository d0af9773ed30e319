//! What changes a file's data at the server, for operations that do.

use crate::cache::PageCache;
use crate::share::{Share, ShareError};
use crate::vfs::handles::OpenFile;
use std::time::Instant;

/// Files end here: offsets are signed to programs.
pub(super) const MAX_SIZE: u64 = i64::MAX as u64;

/// A write under way. However it ends, what was cached of its range is out of date then.
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
