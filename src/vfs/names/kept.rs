//! Opens that are kept without a handle, and dirty data, by the names of their files: an operation that they would be in
//! the way of closes or drains them before.

use super::Names;
use crate::share::Share;
use crate::vfs::file::driver::FileOf;

impl<S: Share> Names<S> {
    /// If an open of a file is kept, it is closed.
    pub(crate) async fn close_kept(&self, ino: u64) {
        if let Some(file) = self.file(ino).filter(|file| file.lock().has_kept_open()) {
            self.files.close_kept(&[file]).await;
        }
    }

    /// Before the server is asked about a file: an open that is kept of it is closed, and with it those of the same directory
    /// about which as little is known. While a file is open, Samba goes on reporting the time of the last write from when it
    /// was opened, unless it was itself that wrote: what is done on the server's own disk would not show.
    pub(crate) async fn close_doubtful(&self, ino: u64) {
        let kept = self.with(|namespace, now| {
            if !namespace.is_kept(ino) || namespace.believed(ino, now).is_some() {
                return None;
            }
            let parent = namespace.parent(ino);
            let mut kept = self.files.take_kept(|file| {
                let other = file.ino;
                other != ino
                    && namespace.parent(other) == parent
                    && namespace.attr(other, now).is_none_or(|attr| attr.ttl.is_zero())
            });
            kept.extend(namespace.file(ino).cloned());
            Some(kept)
        });
        if let Some(kept) = kept {
            self.files.close_kept(&kept).await;
        }
    }

    /// The files below a directory, or the file itself, whose opens are kept: to be closed.
    pub(crate) fn kept_below(&self, directory: u64) -> Vec<FileOf<S>> {
        self.with(|namespace, _| self.files.take_kept(|file| namespace.is_within(file.ino, directory)))
    }

    /// Closes the opens that are kept below a directory: servers do not rename it before.
    pub(crate) async fn close_kept_below(&self, directory: u64) {
        let kept = self.kept_below(directory);
        self.files.close_kept(&kept).await;
    }

    /// Waits until the server has what was written to a file.
    pub(crate) async fn drain(&self, ino: u64) {
        if let Some(file) = self.file(ino) {
            self.files.drain(&file).await;
        }
    }
}
