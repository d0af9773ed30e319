//! [`Node`]: a file of which the kernel has lookups, or which is open; and the inode numbers that files get.
//!
//! The server's file id is the inode number if it is between 2 and 2^63 - 1, no other node has it, and the server has
//! not been seen to change ids. Otherwise the file gets a number of this mount's own, above 2^63.

use super::Version;
use super::lent::Lent;
use crate::share::{Attributes, FileKind, Metadata};
use crate::vfs::file::File;
use std::sync::Arc;
use std::time::Instant;

/// The inode number of the root.
pub const ROOT: u64 = 1;
/// Own inode numbers are above this, the server's file ids below it.
const FIRST_OWN: u64 = 1 << 63;

/// Identifies a name: its directory, and its spelling there.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(crate) struct NameId {
    /// The inode number of the directory.
    pub directory: u64,
    /// The spelling of the server's listing, or of the program that asked for the name.
    pub name: Arc<[u16]>,
}

/// See the module. `O` is an open at the server.
#[derive(Debug)]
pub(crate) struct Node<O> {
    /// The file, shared with its handles and with tasks.
    pub file: Arc<File<O>>,
    pub kind: FileKind,
    /// The names that lead to the node: several if the file has hard links that the kernel knows. Requests by path use
    /// the first: as long as it stays, the file's opens have that name at the server. None once the file is removed or
    /// replaced.
    pub(super) names: Vec<NameId>,
    /// Hidden names: those of names that were removed while the file was open. They are removed when the last handle is
    /// closed.
    pub(super) hidden: Vec<NameId>,
    /// Lookups that the kernel has not returned yet (FUSE_FORGET).
    pub(super) lookups: u64,
    /// The version at which the node was made. An answer that was asked for before is of an earlier file with the same
    /// number.
    pub(super) since: Version,
    /// When the kernel was last given attributes of the node, or its name with them.
    pub(super) shown: Option<Instant>,
    /// What the kernel may keep of the attributes.
    pub(super) lent: Lent,
    /// This mount has removed or replaced the last name of the node that it knew, so the server has no path to ask
    /// about. The number of links that the file had left then.
    pub(super) removed: Option<u32>,
}

impl<O: Clone> Node<O> {
    /// The root, of which only the kind is known.
    pub(super) fn root(numbering: &mut Numbering) -> Node<O> {
        let metadata = Metadata { attributes: Attributes(Attributes::DIRECTORY), ..Metadata::default() };
        Node::found(File::unknown(ROOT, numbering.next_key(), metadata), FileKind::Directory)
    }

    /// A node without a name for a file that the kernel is about to get, with one lookup.
    pub(super) fn found(file: File<O>, kind: FileKind) -> Node<O> {
        Node {
            file: Arc::new(file),
            kind,
            names: Vec::new(),
            hidden: Vec::new(),
            lookups: 1,
            since: Version::default(),
            shown: None,
            lent: Lent::default(),
            removed: None,
        }
    }

    /// See [`File::key`].
    pub(crate) fn key(&self) -> u64 {
        self.file.key
    }

    /// Whether the only names of the file that this mount knows are hidden.
    pub(crate) fn is_hidden(&self) -> bool {
        self.names.is_empty() && !self.hidden.is_empty()
    }

    /// Whether the file has several names, hidden ones included, as far as is known.
    pub(crate) fn has_several_names(&self) -> bool {
        self.names.len() + self.hidden.len() > 1 || self.file.lock().metadata().links > 1
    }

    /// A name by which the server knows the file: a hidden one only if there is no other.
    pub(super) fn name(&self) -> Option<&NameId> {
        self.names.first().or(self.hidden.first())
    }

    /// All names of the file that this mount knows, hidden ones last.
    pub(super) fn all_names(&self) -> impl Iterator<Item = &NameId> {
        self.names.iter().chain(&self.hidden)
    }

    /// The link count that stat(2) shows for a file of which the server has reported `reported` links, or 0 if it has
    /// reported none. Hidden names do not count.
    pub(super) fn links(&self, reported: u32) -> u32 {
        if let Some(left) = self.removed {
            return left;
        }
        match reported {
            0 => self.names.len() as u32,
            // A name here may be one that another client has removed, so the names are no lower bound.
            reported => reported.saturating_sub(self.hidden.len() as u32).max(u32::from(!self.names.is_empty())),
        }
    }

    /// Whether times that the server can tell are estimated, since a change of an entry of the directory.
    pub(super) fn has_estimated_times(&self) -> bool {
        !self.is_gone() && self.file.lock().has_estimated_times()
    }

    /// Whether this mount has removed the file and no handle of it is open: the server can report nothing of it any
    /// more.
    pub(crate) fn is_gone(&self) -> bool {
        self.removed.is_some() && !self.file.lock().has_handles()
    }

    /// Whether the kernel has lookups of the node, or its file is open here or at the server or has work left.
    pub(super) fn is_used(&self) -> bool {
        self.lookups > 0 || !self.file.lock().is_idle()
    }
}

/// The inode numbers and keys that files get, and whether the server's file ids identify files.
#[derive(Debug)]
pub(super) struct Numbering {
    next_own: u64,
    next_key: u64,
    /// The server has reported different ids for one file.
    are_ids_unstable: bool,
}

impl Default for Numbering {
    fn default() -> Numbering {
        Numbering { next_own: FIRST_OWN, next_key: 1, are_ids_unstable: false }
    }
}

impl Numbering {
    /// A new inode number of this mount's own.
    pub(super) fn next_own(&mut self) -> u64 {
        self.next_own += 1;
        self.next_own
    }

    /// A new key; see [`File::key`].
    pub(super) fn next_key(&mut self) -> u64 {
        self.next_key += 1;
        self.next_key
    }

    /// Whether a file may have the server's id as its inode number.
    pub(super) fn may_use(&self, file_id: u64) -> bool {
        !self.are_ids_unstable && (ROOT + 1..FIRST_OWN).contains(&file_id)
    }

    /// Whether the server's ids identify files.
    pub(super) fn trusts_ids(&self) -> bool {
        !self.are_ids_unstable
    }

    /// The server has reported two ids for one file: from now on no id identifies a file.
    pub(super) fn ids_differ(&mut self) {
        tracing::warn!("the server's file ids change from one answer to the next; own inode numbers are used");
        self.are_ids_unstable = true;
    }
}
