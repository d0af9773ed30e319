//! How changes of names by this mount are recorded: the announcement before the request is sent, and the result when
//! the server has answered.

use super::Names;
use super::namespace::{Admission, Asked, Echo};
use crate::share::{Metadata, RemotePath, Share};
use crate::vfs::errno::{Result, VfsError};
use crate::vfs::file::Event;
use crate::vfs::file::driver::FileOf;

/// A name in a directory: the directory's inode, and the name.
pub(crate) type Entry<'a> = (u64, &'a [u16]);

impl<S: Share> Names<S> {
    /// Announces that this mount is about to make a name appear or disappear.
    pub(crate) fn changing(&self, (parent, name): Entry<'_>, echo: Echo) {
        self.with(|namespace, now| namespace.changing(parent, name, echo, now));
    }

    /// Records that a file was opened by its name, or made if `is_new`. The inode has one more lookup. `None` if this
    /// mount changed the meaning of the name meanwhile.
    pub(crate) fn created(
        &self,
        (parent, name): Entry<'_>,
        metadata: Metadata,
        asked: Asked,
        is_new: bool,
    ) -> Option<FileOf<S>> {
        let clock = self.share.clock();
        self.with(|namespace, now| {
            let admission = match is_new {
                true => namespace.made(parent, name, metadata, (asked, clock), now),
                false => {
                    namespace.unchanged(parent, name, Echo::Added, now);
                    namespace.found(parent, name, metadata, asked, now)
                }
            };
            let Admission::Node(ino) = admission else { return None };
            namespace.file(ino).cloned()
        })
    }

    /// Records the answer to the creation of a directory. Returns its inode, which has one more lookup.
    ///
    /// # Errors
    /// The error in `made`; `ESTALE` if this mount changed the meaning of the name meanwhile.
    pub(crate) fn directory_made(
        &self,
        (parent, name): Entry<'_>,
        made: Result<Metadata>,
        asked: Asked,
    ) -> Result<u64> {
        let clock = self.share.clock();
        self.with(|namespace, now| {
            let Ok(metadata) = made else {
                namespace.failed(parent, name, Echo::Added, clock, now);
                return made.map(|_| 0);
            };
            let Admission::Node(ino) = namespace.made(parent, name, metadata, (asked, clock), now) else {
                return Err(VfsError::stale());
            };
            namespace.made_directory(ino, now);
            Ok(ino)
        })
    }

    /// Records that a file or directory was removed; without `is_certain`, that it may have been.
    pub(crate) fn removed(&self, (parent, name): Entry<'_>, is_certain: bool) {
        let clock = self.share.clock();
        self.with(|namespace, now| match is_certain {
            true => namespace.removed(parent, name, clock, now),
            false => namespace.failed(parent, name, Echo::Removed, clock, now),
        });
    }

    /// Records that a file was not made: the meaning of its name is unknown now.
    pub(crate) fn not_made(&self, (parent, name): Entry<'_>) {
        let clock = self.share.clock();
        self.with(|namespace, now| namespace.failed(parent, name, Echo::Added, clock, now));
    }

    /// Records that a file was renamed, and that a file which had the new name is gone; without `is_certain`, that this
    /// may have happened.
    pub(crate) fn renamed(&self, from: Entry<'_>, to: Entry<'_>, is_certain: bool) {
        let clock = self.share.clock();
        let moved = self.with(|namespace, now| {
            if is_certain {
                let moved = namespace.renamed(from, to, clock, now)?;
                return namespace.file(moved).cloned();
            }
            for ((parent, name), echo) in [(from, Echo::Removed), (to, Echo::Added)] {
                namespace.failed(parent, name, echo, clock, now);
            }
            None
        });
        if let Some(file) = moved {
            self.files.event(&file, Event::NameChanged { clock });
        }
    }

    /// Records that an open file has a hidden name, or another one than before. Returns whether its last handle was
    /// closed meanwhile, or no name leads to its node any more: the caller then removes the file.
    pub(crate) fn hidden(&self, ino: u64, hidden: Entry<'_>) -> bool {
        let clock = self.share.clock();
        self.with(|namespace, now| {
            if namespace.name_of(ino).is_none() {
                return true;
            }
            namespace.hidden(ino, hidden, clock, now);
            let is_closed = namespace.file(ino).is_some_and(|file| !file.lock().has_handles());
            if is_closed {
                namespace.displace(ino);
            }
            is_closed
        })
    }

    /// Whether a file is hidden, or has no node any more.
    pub(crate) fn is_hidden(&self, ino: u64) -> bool {
        self.with(|namespace, _| namespace.node(ino).is_none_or(|node| node.hidden))
    }

    /// Records that a handle of an inode is closed. If it was the last handle of a hidden file, the path of that file,
    /// which the caller removes.
    pub(crate) fn closed(&self, ino: u64) -> Option<RemotePath> {
        self.with(|namespace, _| {
            let path = namespace.path(ino, &self.terms.root);
            if !namespace.closed(ino) {
                return None;
            }
            namespace.displace(ino);
            path
        })
    }

    /// The hidden files of this mount in a directory, which programs have open: their inodes and names.
    pub(crate) fn hidden_in(&self, directory: u64) -> Vec<(u64, Vec<u16>)> {
        self.with(|namespace, _| namespace.hidden_in(directory))
    }
}
