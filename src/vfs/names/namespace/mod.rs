//! [`Namespace`]: which names are in which directories, which file each of them means, and how well that is known. A plain
//! value without I/O: `now` is an argument, watches and leases on directories come in as events, and what follows from a
//! change goes out as [`Effects`].
//!
//! | part | what it is |
//! |---|---|
//! | [`node`] | a file that the kernel or a handle counts on, with its names |
//! | [`directory`] | the entries of a directory, and how old they are |
//! | [`watch`] | what a watch, or a lease on the directory, says of them |
//! | `answers` | what the server answers about a name, weighed against what happened meanwhile |
//! | `belief` | what is answered without asking the server |
//! | `changes` | what this mount changes |
//! | `reports` | what watches report |
//! | `bounds` | how much is kept, and what goes first |
//!
//! An entry is there once: with a node while the kernel counts on its file, without one if it is only known from a listing.
//! A node is found by its number, and knows its names; its path is built when a request is sent, so a renamed directory moves
//! all that is below it.
//!
//! One [`Version`] counts all changes. Whoever asks the server takes an [`Asked`] before, and an answer is applied only as far
//! as the version of the entry is not newer.
//!
//! Servers ignore case, and know short names and other spellings. So a name counts as absent only if it is plain ASCII without
//! `~` and differs in more than case from all that are there, and a change of one spelling makes the others unknown.
//!
//! Invariants: the root is always there. A node is kept exactly as long as the kernel counts lookups of it, something of its
//! file is open or waits to be done, or an entry of it has a node. Two nodes never have the same number, nor the same name.
//! Entries without a node, directories and watches have bounds.

mod answers;
mod belief;
mod bounds;
mod changes;
pub(crate) mod directory;
pub(crate) mod node;
mod reports;
#[cfg(test)]
mod tests;
pub(crate) mod watch;

use crate::share::{LeaseKey, Metadata, RemotePath, Space};
use crate::vfs::file::File;
use crate::vfs::lane::Forgotten;
use crate::vfs::policy::Policy;
use crate::vfs::presentation::Presentation;
use bounds::Bounds;
use directory::{Directory, Entry};
use node::{NameId, Node, Numbering};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

pub(crate) use answers::{Admission, Asked};
pub(crate) use belief::{Known, ListedEntry};
pub(crate) use bounds::MAX_FREE;
#[cfg(test)]
pub(crate) use bounds::MAX_WATCHES;
pub(crate) use directory::Echo;
pub use node::ROOT;
pub(crate) use watch::{Report, WatchEvent};

/// For so long it is believed how much space there is, which others change as well.
const SPACE_KNOWN: Duration = Duration::from_secs(5);

/// Counts changes: of two versions of one entry the higher is the newer.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub(crate) struct Version(u64);

/// What has to be done after a change, outside the lock.
#[derive(Debug)]
pub(crate) struct Effects<O> {
    /// Watches to be ended at the server, by their numbers.
    pub ended_watches: Vec<u64>,
    /// The keys of files whose cached data is useless.
    pub dropped: Vec<u64>,
    /// Files that have lost their names, or may have: an open that is kept of them is to be closed.
    pub nameless: Vec<Arc<File<O>>>,
    /// What the kernel is to forget.
    pub forgotten: Vec<Forgotten>,
}

impl<O> Default for Effects<O> {
    fn default() -> Effects<O> {
        Effects { ended_watches: Vec::new(), dropped: Vec::new(), nameless: Vec::new(), forgotten: Vec::new() }
    }
}

/// See the module. `O` is an open at the server.
#[derive(Debug)]
pub(crate) struct Namespace<O> {
    nodes: HashMap<u64, Node<O>>,
    /// What is known of directories, by the numbers of their nodes.
    directories: HashMap<u64, Directory>,
    /// The directories with a watch, by the watch's number, and by its lease.
    watched: HashMap<u64, u64>,
    leased: HashMap<LeaseKey, u64>,
    bounds: Bounds,
    numbering: Numbering,
    version: Version,
    policy: Policy,
    show: Presentation,
    /// How much space there is at the server, until this mount changes it.
    space: Option<(Space, Instant)>,
    /// The directory in which a file was removed last, if none was opened since.
    removing_in: Option<u64>,
    effects: Effects<O>,
}

impl<O: Clone> Namespace<O> {
    /// Nothing but the root, whose attributes are not known yet.
    pub(crate) fn new(policy: Policy, show: Presentation) -> Namespace<O> {
        let mut numbering = Numbering::default();
        let root = Node::root(&mut numbering);
        Namespace {
            nodes: HashMap::from([(ROOT, root)]),
            directories: HashMap::new(),
            watched: HashMap::new(),
            leased: HashMap::new(),
            bounds: Bounds::default(),
            numbering,
            version: Version::default(),
            policy,
            show,
            space: None,
            removing_in: None,
            effects: Effects::default(),
        }
    }

    /// What is to be done after what happened so far.
    #[must_use = "it is to be done"]
    pub(crate) fn take_effects(&mut self) -> Effects<O> {
        std::mem::take(&mut self.effects)
    }

    fn next_version(&mut self) -> Version {
        self.version.0 += 1;
        self.version
    }

    /// The number of nodes, the root among them.
    pub(crate) fn len(&self) -> usize {
        self.nodes.len()
    }

    pub(crate) fn node(&self, ino: u64) -> Option<&Node<O>> {
        self.nodes.get(&ino)
    }

    /// What is known of a node's file itself.
    pub(crate) fn file(&self, ino: u64) -> Option<&Arc<File<O>>> {
        Some(&self.nodes.get(&ino)?.file)
    }

    /// The node that a name means.
    pub(crate) fn at(&self, parent: u64, name: &[u16]) -> Option<u64> {
        self.entry(parent, name)?.node
    }

    fn entry(&self, parent: u64, name: &[u16]) -> Option<&Entry> {
        self.directories.get(&parent)?.entries.get(name)
    }

    /// A name of a node; `None` for the root, and once no name leads to it.
    pub(crate) fn name_of(&self, ino: u64) -> Option<&NameId> {
        self.nodes.get(&ino)?.names.first()
    }

    /// The directory that a node is in.
    pub(crate) fn parent(&self, ino: u64) -> Option<u64> {
        Some(self.name_of(ino)?.directory)
    }

    /// Where a node is on the share, below `root`; `None` if no name leads to it.
    pub(crate) fn path(&self, ino: u64, root: &RemotePath) -> Option<RemotePath> {
        let mut names = Vec::new();
        let mut at = ino;
        while at != ROOT {
            let id = self.name_of(at)?;
            names.push(&id.name[..]);
            at = id.directory;
        }
        Some(names.iter().rev().fold(root.clone(), |path, name| path.join(name)))
    }

    /// Whether `ino` is `ancestor` or below it.
    pub(crate) fn is_within(&self, ino: u64, ancestor: u64) -> bool {
        let mut at = ino;
        while at != ancestor {
            match self.name_of(at) {
                Some(id) => at = id.directory,
                None => return false,
            }
        }
        true
    }

    /// The number that an entry of a listing has or would get; 0 if that is not known.
    pub(crate) fn number_of(&self, parent: u64, name: &[u16], file_id: u64) -> u64 {
        match self.at(parent, name) {
            Some(ino) => ino,
            None if self.is_usable(file_id) => file_id,
            None => 0,
        }
    }

    fn is_usable(&self, file_id: u64) -> bool {
        self.numbering.may_use(file_id) && !self.nodes.contains_key(&file_id)
    }

    /// A node for a file that the kernel does not know yet, with one lookup.
    fn insert(&mut self, parent: u64, name: &[u16], metadata: Metadata, now: Instant) -> u64 {
        let is_usable = self.is_usable(metadata.file_id);
        let ino = if is_usable { metadata.file_id } else { self.numbering.next_own() };
        let key = self.numbering.next_key();
        let since = self.next_version();
        let node = Node::found(File::fetched(ino, key, metadata, now), metadata.kind());
        self.nodes.insert(ino, Node { since, ..node });
        self.enter(ino, parent, name, now);
        ino
    }

    /// A node gets a name.
    fn enter(&mut self, ino: u64, parent: u64, name: &[u16], now: Instant) {
        let version = self.next_version();
        let directory = self.directories.entry(parent).or_default();
        if !directory.entries.contains_key(name) {
            directory.insert(name, Entry::unknown(now, Version::default()));
            self.bounds.free += 1;
        }
        let Some((id, entry)) = directory.entry_mut(name) else { return };
        entry.moved = version;
        if entry.node.replace(ino).is_none() {
            self.bounds.free -= 1;
            directory.nodes += 1;
        }
        if let Some(node) = self.nodes.get_mut(&ino) {
            node.names.push(NameId { directory: parent, name: id });
        }
    }

    /// No name leads to a node any more. The directories that it was in.
    fn leave(&mut self, ino: u64) -> Vec<u64> {
        let version = self.next_version();
        let names = self.nodes.get_mut(&ino).map(|node| std::mem::take(&mut node.names)).unwrap_or_default();
        for id in &names {
            let Some(directory) = self.directories.get_mut(&id.directory) else { continue };
            if let Some((_, entry)) = directory.entry_mut(&id.name)
                && entry.node.take().is_some()
            {
                entry.moved = version;
                directory.nodes -= 1;
                self.bounds.free += 1;
            }
        }
        names.into_iter().map(|id| id.directory).collect()
    }

    /// The kernel gives back this many of its lookups.
    pub(crate) fn forget(&mut self, ino: u64, lookups: u64) {
        if let Some(node) = self.nodes.get_mut(&ino).filter(|_| ino != ROOT) {
            node.lookups = node.lookups.saturating_sub(lookups);
        }
        self.collect(ino);
    }

    fn is_needed(&self, ino: u64) -> bool {
        let has_nodes = self.directories.get(&ino).is_some_and(|directory| directory.nodes > 0);
        has_nodes || self.nodes.get(&ino).is_some_and(Node::is_used)
    }

    /// Removes a node that is not needed, and then its directories.
    pub(crate) fn collect(&mut self, ino: u64) {
        let mut left = vec![ino];
        while let Some(ino) = left.pop() {
            if ino == ROOT || !self.nodes.contains_key(&ino) || self.is_needed(ino) {
                continue;
            }
            self.keep_what_is_known(ino);
            left.extend(self.leave(ino));
            self.forget_directory(ino);
            if let Some(node) = self.nodes.remove(&ino) {
                self.effects.dropped.push(node.key());
            }
        }
    }

    /// What is known of a node's file stays with its names.
    fn keep_what_is_known(&mut self, ino: u64) {
        let Some(node) = self.nodes.get(&ino) else { return };
        let known = {
            let state = node.file.lock();
            state.known_since().map(|at| (*state.metadata(), at))
        };
        self.version.0 += 1;
        for id in &node.names {
            let directory = self.directories.get_mut(&id.directory);
            if let Some((_, entry)) = directory.and_then(|directory| directory.entry_mut(&id.name)) {
                entry.file_goes(known, self.version);
            }
        }
    }

    /// Size and free space at the server, if that is known.
    pub(crate) fn space(&self, now: Instant) -> Option<Space> {
        let (space, at) = self.space?;
        let is_recent = now.saturating_duration_since(at) < SPACE_KNOWN && !self.policy.timeout.is_zero();
        is_recent.then_some(space)
    }

    /// The server reported it when it was asked.
    pub(crate) fn space_reported(&mut self, space: Space, asked: Instant) {
        self.space = Some((space, asked));
    }

    /// This mount changes how much there is.
    pub(crate) fn space_changes(&mut self) {
        self.space = None;
    }

    /// A file of a directory is about to be removed. Whether the last one that was removed was of the same directory, with no
    /// file opened since: more are likely to follow.
    pub(crate) fn removes_in(&mut self, directory: u64) -> bool {
        self.removing_in.replace(directory) == Some(directory)
    }

    /// A file is opened.
    pub(crate) fn opens(&mut self) {
        self.removing_in = None;
    }
}
