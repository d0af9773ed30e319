//! Which kept opens are closed, and which dirty data is drained, before an operation that they would obstruct: chosen
//! by the names of their files.

use super::Names;
use crate::share::Share;
use crate::vfs::file::driver::FileOf;

impl<S: Share> Names<S> {
    /// Closes the kept open of a file, if it has one.
    pub(crate) async fn close_kept(&self, ino: u64) {
        if let Some(file) = self.file(ino).filter(|file| file.lock().has_kept_open()) {
            self.files.close_kept(&[file]).await;
        }
    }

    /// Closes the kept open of a file whose attributes are not valid, and with it those kept opens in the same
    /// directory whose attributes are not valid either. To be called before the server is asked about the file: while a
    /// file is open, Samba keeps reporting the last write time from when it was opened, unless Samba itself wrote the
    /// file. A change on the server's own disk would not show.
    pub(crate) async fn close_doubtful(&self, ino: u64) {
        let kept = self.with(|namespace, now| {
            if !namespace.is_kept(ino) || namespace.believed(ino, now).is_some() {
                return None;
            }
            let parent = namespace.parent(ino);
            let mut kept = self.files.remove_kept(|file| {
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

    /// Returns the files with kept opens below a directory (for a file: that file, if it has one), and removes them
    /// from the list of kept opens. The caller closes the opens.
    pub(crate) fn kept_below(&self, directory: u64) -> Vec<FileOf<S>> {
        self.with(|namespace, _| self.files.remove_kept(|file| namespace.is_within(file.ino, directory)))
    }

    /// Closes the kept opens below a directory: servers refuse to rename a directory while files below it are open.
    pub(crate) async fn close_kept_below(&self, directory: u64) {
        let kept = self.kept_below(directory);
        self.files.close_kept(&kept).await;
    }

    /// Waits until the server has all dirty data of a file.
    pub(crate) async fn drain(&self, ino: u64) {
        if let Some(file) = self.file(ino) {
            self.files.drain(&file).await;
        }
    }
}
