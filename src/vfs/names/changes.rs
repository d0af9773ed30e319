//! How changes of names by this mount are recorded: the announcement before the request is sent, and the result when
//! the server has answered.

use super::Names;
use super::namespace::node::{NameId, Node};
use super::namespace::{Admission, Asked, Echo};
use crate::share::{FileTime, Metadata, RemotePath, Share};
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

    /// Records that a file got one more name, or may have: the error in `linked`. The inode has one more lookup.
    ///
    /// # Errors
    /// The error in `linked`; `ESTALE` if this mount changed the meaning of the name meanwhile.
    pub(crate) fn linked(
        &self,
        ino: u64,
        (parent, name): Entry<'_>,
        linked: Result<Metadata>,
        asked: Asked,
    ) -> Result<()> {
        let clock = self.share.clock();
        let file = self.with(|namespace, now| {
            let Ok(metadata) = linked else {
                namespace.failed(parent, name, Echo::Added, clock, now);
                return linked.map(|_| None);
            };
            match namespace.linked(ino, (parent, name), metadata, (asked, clock), now) {
                Admission::Node(ino) => Ok(namespace.file(ino).cloned()),
                Admission::Overtaken => Err(VfsError::stale()),
            }
        })?;
        self.name_changed(file, clock);
        Ok(())
    }

    /// Records that a file got or lost a name, or got another one, which moves its time of change. Samba reports no time
    /// of change of its own.
    fn name_changed(&self, file: Option<FileOf<S>>, clock: FileTime) {
        if let Some(file) = file {
            self.files.event(&file, Event::NameChanged { clock });
        }
    }

    /// Records that a file or directory was removed; without `is_certain`, that it may have been.
    pub(crate) fn removed(&self, (parent, name): Entry<'_>, is_certain: bool) {
        let clock = self.share.clock();
        let left = self.with(|namespace, now| {
            let file = namespace.at(parent, name).and_then(|ino| namespace.file(ino).cloned());
            match is_certain {
                true => namespace.removed(parent, name, clock, now),
                false => namespace.failed(parent, name, Echo::Removed, clock, now),
            }
            file.filter(|file| is_certain && namespace.name_of(file.ino).is_some())
        });
        self.name_changed(left, clock);
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
        let (moved, left) = self.with(|namespace, now| {
            if is_certain {
                let replaced = namespace.at(to.0, to.1).and_then(|ino| namespace.file(ino).cloned());
                let moved = namespace.renamed(from, to, clock, now).and_then(|ino| namespace.file(ino).cloned());
                let left = replaced.filter(|file| namespace.name_of(file.ino).is_some());
                return (moved, left);
            }
            for ((parent, name), echo) in [(from, Echo::Removed), (to, Echo::Added)] {
                namespace.failed(parent, name, echo, clock, now);
            }
            (None, None)
        });
        self.name_changed(moved, clock);
        self.name_changed(left, clock);
    }

    /// Records that a name of an open file, hidden or not, is the hidden name `to` now. Returns whether the file's last
    /// handle was closed meanwhile, or the name has no node any more: the caller then removes the hidden name.
    pub(crate) fn hidden(&self, from: Entry<'_>, to: Entry<'_>) -> bool {
        let clock = self.share.clock();
        self.with(|namespace, now| {
            let Some(file) = namespace.at(from.0, from.1).and_then(|ino| namespace.file(ino).cloned()) else {
                return true;
            };
            namespace.hidden(from, to, clock, now);
            let is_closed = !file.lock().has_handles();
            if is_closed {
                namespace.remove_name(to.0, to.1, now);
            }
            is_closed
        })
    }

    /// Whether no program can open a file again: it is hidden, or no name leads to it.
    pub(crate) fn is_out_of_reach(&self, ino: u64) -> bool {
        self.with(|namespace, _| namespace.name_of(ino).is_none() || namespace.node(ino).is_none_or(Node::is_hidden))
    }

    /// Records that a handle of an inode is closed. If it was the last one, returns the paths of the file's hidden
    /// names, which the caller removes.
    pub(crate) fn closed(&self, ino: u64) -> Vec<RemotePath> {
        self.with(|namespace, now| {
            let hidden = namespace.closed(ino);
            let path = |id: &NameId| Some(namespace.path(id.directory, &self.terms.root)?.join(&id.name));
            let paths = hidden.iter().filter_map(path).collect();
            hidden.iter().for_each(|id| namespace.remove_name(id.directory, &id.name, now));
            paths
        })
    }

    /// The hidden names of this mount in a directory, whose files programs have open.
    pub(crate) fn hidden_in(&self, directory: u64) -> Vec<Vec<u16>> {
        self.with(|namespace, _| namespace.hidden_in(directory))
    }
}
