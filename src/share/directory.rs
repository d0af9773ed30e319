//! A directory that is open at the server. Its listing and its watch share the open; the last of them closes it.

use super::file::Open;
use std::sync::Arc;

/// An open directory. It is closed when this is dropped.
#[derive(Debug)]
pub(super) struct Directory(Option<Open>);

impl Directory {
    pub(super) fn new(open: Open) -> Arc<Directory> {
        Arc::new(Directory(Some(open)))
    }

    /// Removes the open. The caller closes it.
    pub(super) fn take(&mut self) -> Option<Open> {
        self.0.take()
    }

    /// The open; `None` once it was removed.
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
