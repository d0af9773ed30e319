//! A file that the kernel or a handle counts on, and the numbers that files get.

use super::Version;
use crate::share::{Attributes, FileKind, Metadata};
use crate::vfs::file::File;
use std::sync::Arc;
use std::time::Instant;

/// The number of the root.
pub const ROOT: u64 = 1;
/// Own numbers begin here; the server's ids are used below.
const FIRST_OWN: u64 = 1 << 63;

/// Identifies a name: its directory, and how it is spelt there.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(crate) struct NameId {
    /// The number of the directory's node.
    pub directory: u64,
    /// As the server has it, or as it was asked for.
    pub name: Arc<[u16]>,
}

/// See the module. `O` is an open at the server.
#[derive(Debug)]
pub(crate) struct Node<O> {
    /// What is known of the file itself.
    pub file: Arc<File<O>>,
    pub kind: FileKind,
    /// Those that lead to it; none once it is removed or replaced.
    pub(super) names: Vec<NameId>,
    pub(super) lookups: u64,
    /// Answers that were asked for before are of another file with its number.
    pub(super) since: Version,
    /// When the kernel was given its attributes last, and a name with them.
    pub(super) shown: Option<Instant>,
    /// Removed while it was open: its file has a hidden name, and is removed with the last handle.
    pub hidden: bool,
    /// This mount has removed or replaced it: no name leads to it, and the server has none to ask about.
    pub(super) removed: bool,
}

impl<O: Clone> Node<O> {
    pub(super) fn root(numbering: &mut Numbering) -> Node<O> {
        let metadata = Metadata { attributes: Attributes(Attributes::DIRECTORY), ..Metadata::default() };
        Node::found(File::unknown(ROOT, numbering.next_key(), metadata), FileKind::Directory)
    }

    /// A file that the kernel is about to be told of.
    pub(super) fn found(file: File<O>, kind: FileKind) -> Node<O> {
        let (names, since) = (Vec::new(), Version::default());
        Node { file: Arc::new(file), kind, names, lookups: 1, since, shown: None, hidden: false, removed: false }
    }

    /// See [`File::key`].
    pub(crate) fn key(&self) -> u64 {
        self.file.key
    }

    /// Whether programs are shown that no name leads to it.
    pub(super) fn is_unlinked(&self) -> bool {
        self.hidden || self.removed
    }

    /// Whether it was removed by this mount and is not open: the server can report nothing of it any more.
    pub(crate) fn is_gone(&self) -> bool {
        self.removed && !self.file.lock().has_handles()
    }

    /// Whether the kernel counts on it, or it is open here or at the server, or something of it is to be done.
    pub(super) fn is_used(&self) -> bool {
        self.lookups > 0 || !self.file.lock().is_idle()
    }
}

/// The numbers that files get, and whether the server's ids of files mean anything.
#[derive(Debug)]
pub(super) struct Numbering {
    next_own: u64,
    next_key: u64,
    /// The same file has had different ids one after the other.
    are_ids_unstable: bool,
}

impl Default for Numbering {
    fn default() -> Numbering {
        Numbering { next_own: FIRST_OWN, next_key: 1, are_ids_unstable: false }
    }
}

impl Numbering {
    pub(super) fn next_own(&mut self) -> u64 {
        self.next_own += 1;
        self.next_own
    }

    pub(super) fn next_key(&mut self) -> u64 {
        self.next_key += 1;
        self.next_key
    }

    /// Whether a file can have the server's id as its number.
    pub(super) fn may_use(&self, file_id: u64) -> bool {
        !self.are_ids_unstable && (ROOT + 1..FIRST_OWN).contains(&file_id)
    }

    /// Whether ids identify files.
    pub(super) fn trusts_ids(&self) -> bool {
        !self.are_ids_unstable
    }

    /// One file had two ids.
    pub(super) fn ids_differ(&mut self) {
        tracing::warn!("the server's file ids change from one answer to the next; own inode numbers are used");
        self.are_ids_unstable = true;
    }
}
