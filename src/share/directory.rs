//! A directory that is open at the server, for listings and watches.

use super::file::Open;
use std::sync::Arc;

/// An open directory; closed when dropped.
#[derive(Debug)]
pub(super) struct Directory(Option<Open>);

impl Directory {
    pub(super) fn new(open: Open) -> Arc<Directory> {
        Arc::new(Directory(Some(open)))
    }

    /// Takes the open out of it: it is not closed then.
    pub(super) fn take(&mut self) -> Option<Open> {
        self.0.take()
    }

    /// It is open until it is dropped.
    pub(super) fn open(&self) -> Option<&Open> {
        self.0.as_ref()
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        if let Some(open) = self.0.take() {
            open.post_close();
        }
    }
}
