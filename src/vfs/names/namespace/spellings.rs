//! Names that differ only in case.
//!
//! On a server that ignores case they mean one file. Here each spelling that a program uses has a node of its own: the
//! kernel does nothing when a rename's new name means the inode of its old one (rename(2), vfs_rename), so with one
//! inode no program could change the case of a name. The server keeps the nodes coherent, as it does for two clients.

use super::directory::Meaning;
use super::{Namespace, ROOT};

impl<O: Clone> Namespace<O> {
    /// Whether a name is not known to be one of its directory's, and another spelling of it is. On a server that
    /// ignores case the name then means what that spelling means.
    pub(crate) fn is_other_spelling(&self, parent: u64, name: &[u16]) -> bool {
        let Some(directory) = self.directories.get(&parent) else { return false };
        // First what costs least: this is asked at each lookup.
        if directory.entries.get(name).is_some_and(|entry| !entry.is_unlisted) || directory.is_alone(name) {
            return false;
        }
        let is_there = |other: &[u16]| {
            let entry = directory.entries.get(other);
            entry.is_some_and(|entry| entry.node.is_some() || matches!(entry.meaning, Meaning::Present(_)))
        };
        directory.other_spellings(name).iter().any(|other| is_there(other))
    }

    /// Whether `ino` is the directory `ancestor` or below it, by any spelling of its name.
    pub(crate) fn is_within_any_spelling(&self, ino: u64, ancestor: u64) -> bool {
        let identity = |ino: u64| Some(self.file(ino)?.lock().metadata().identity());
        let known = identity(ancestor).filter(|known| known.file_id != 0 && self.numbering.trusts_ids());
        let is_it = |at: u64| at == ancestor || (at != ROOT && known.is_some() && identity(at) == known);
        self.with_all_above(ino).any(is_it)
    }
}
