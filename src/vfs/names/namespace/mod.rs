//! [`Namespace`]: which names are in which directories, which file each name means, and how long that is valid. A plain
//! value without I/O: `now` is an argument, watches and leases on directories arrive as events, and what has to be done
//! after a change is returned as [`Effects`].
//!
//! | file | what is decided there |
//! |---|---|
//! | `mod` | which node a name leads to, a node's path, and when a node is evicted |
//! | [`node`] | what a node is, and which inode number a file gets |
//! | [`directory`] | how old an entry is, which spellings may mean one file, and which reports are of own changes |
//! | [`watch`] | up to when a watch, or a lease on the directory, covers entries |
//! | `answers` | whether an answer of the server is recorded, or is older than what is known |
//! | `belief` | which names are answered without asking the server; how long the kernel caches a present one |
//! | `changes` | what a change by this mount makes of names |
//! | `lent` | how long the kernel keeps attributes, and whether it must be notified of a change |
//! | `reports` | what a report of a watch makes of names, and whether another client caused it |
//! | `remembered` | owners and modes that programs have set, of files without a node |
//! | `spellings` | whether a name is another spelling of one that is known |
//! | `space` | how long size and free space are cached, and for which directory |
//! | `bounds` | how many entries, directories and watches are kept, and which are dropped first |
//!
//! A file has one node, whatever its names: another name joins the node when the server reports the same id and time of
//! creation, and several links. A name has one entry. The entry has a node while the kernel has lookups of its file or
//! the file is open; without a node it is known from the server's answers only. A node is found by its inode number and
//! knows its names. Its path is built when a request is sent, so a renamed directory moves everything below it.
//!
//! One [`Version`] counts all changes. Before a request to the server an [`Asked`] is recorded, and an answer is
//! applied only to entries that have no newer version.
//!
//! Servers ignore case, and know short names and other spellings. So a listing or a watch proves only names absent that
//! are plain ASCII without `~` and differ in more than case from all other entries. The server's own answer that
//! another name is absent is valid for the attribute timeout, if no other entry differs from it in case only. A change
//! of one spelling makes the others unknown. The kernel never caches an absent name.
//!
//! Invariants: the root is always there. A node is kept exactly as long as the kernel has lookups of it, its file is
//! open or has work left, or an entry below it has a node. Two nodes never have the same number, nor the same
//! name. Entries without a node, directories and watches have bounds.

mod answers;
mod belief;
mod bounds;
mod changes;
pub(crate) mod directory;
mod lent;
pub(crate) mod node;
mod remembered;
mod reports;
mod space;
mod spellings;
#[cfg(test)]
mod tests;
pub(crate) mod watch;

use crate::share::{FileKind, LeaseKey, Metadata, RemotePath, Space};
use crate::vfs::file::File;
use crate::vfs::lane::Forgotten;
use crate::vfs::policy::Policy;
use crate::vfs::presentation::Presentation;
use bounds::Bounds;
use directory::{Directory, Entry};
use node::{NameId, Node, Numbering};
use remembered::Remembered;
use space::Spaces;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

pub(crate) use answers::{Admission, Asked};
pub(crate) use belief::{Known, ListedEntry};
pub(crate) use bounds::MAX_FREE;
#[cfg(test)]
pub(crate) use bounds::MAX_WATCHES;
pub(crate) use directory::Echo;
pub use node::ROOT;
pub(crate) use watch::{Report, WatchEvent};

/// Counts changes: of two versions of an entry the higher is the newer.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub(crate) struct Version(u64);

/// What has to be done after a change, without the namespace's lock.
#[derive(Debug)]
pub(crate) struct Effects<O> {
    /// Watches to end at the server, by their numbers.
    pub ended_watches: Vec<u64>,
    /// The keys of files whose cached data is to be dropped.
    pub dropped: Vec<u64>,
    /// Files whose kept opens are to be closed: they have lost their names, or another client has changed them.
    pub unwanted_opens: Vec<Arc<File<O>>>,
    /// What the kernel is to forget.
    pub forgotten: Vec<Forgotten>,
}

impl<O> Default for Effects<O> {
    fn default() -> Effects<O> {
        Effects { ended_watches: Vec::new(), dropped: Vec::new(), unwanted_opens: Vec::new(), forgotten: Vec::new() }
    }
}

/// See the module. `O` is an open at the server.
#[derive(Debug)]
pub(crate) struct Namespace<O> {
    /// By their inode numbers.
    nodes: HashMap<u64, Node<O>>,
    /// What is known of directories, by the inode numbers of their nodes.
    directories: HashMap<u64, Directory>,
    /// The inode numbers of the directories with a watch, by the number of the watch.
    watched: HashMap<u64, u64>,
    /// The same by the lease of the watch, if it has one.
    leased: HashMap<LeaseKey, u64>,
    bounds: Bounds,
    numbering: Numbering,
    remembered: Remembered,
    version: Version,
    policy: Policy,
    show: Presentation,
    spaces: Spaces,
    /// The directory of the last removal of a file, if no file was opened since.
    removing_in: Option<u64>,
    effects: Effects<O>,
}

impl<O: Clone> Namespace<O> {
    /// Only the root, whose attributes are not known yet.
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
            remembered: Remembered::default(),
            version: Version::default(),
            policy,
            show,
            spaces: Spaces::default(),
            removing_in: None,
            effects: Effects::default(),
        }
    }

    /// Returns what has to be done after all changes so far.
    #[must_use = "the effects have to be carried out"]
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

    /// The node with this inode number.
    pub(crate) fn node(&self, ino: u64) -> Option<&Node<O>> {
        self.nodes.get(&ino)
    }

    /// The file of a node.
    pub(crate) fn file(&self, ino: u64) -> Option<&Arc<File<O>>> {
        Some(&self.nodes.get(&ino)?.file)
    }

    /// The inode number of the node that a name means.
    pub(crate) fn at(&self, parent: u64, name: &[u16]) -> Option<u64> {
        self.entry(parent, name)?.node
    }

    fn entry(&self, parent: u64, name: &[u16]) -> Option<&Entry> {
        self.directories.get(&parent)?.entries.get(name)
    }

    /// The name of a node by which the server is asked; `None` for the root, and for a node to which no name leads any
    /// more.
    pub(crate) fn name_of(&self, ino: u64) -> Option<&NameId> {
        self.nodes.get(&ino)?.name()
    }

    /// The directory that contains a node.
    pub(crate) fn parent(&self, ino: u64) -> Option<u64> {
        Some(self.name_of(ino)?.directory)
    }

    /// The path of a node on the share, below `root`; `None` if no name leads to the node.
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

    /// Whether `ino` is `ancestor` or below it, by any of its names, hidden ones included.
    pub(crate) fn is_within(&self, ino: u64, ancestor: u64) -> bool {
        let leads_up = |id: &NameId| self.with_all_above(id.directory).any(|above| above == ancestor);
        ino == ancestor || self.nodes.get(&ino).is_some_and(|node| node.all_names().any(leads_up))
    }

    /// A node, and all directories that contain it, upwards.
    pub(super) fn with_all_above(&self, ino: u64) -> impl Iterator<Item = u64> {
        std::iter::successors(Some(ino), |ino| self.parent(*ino))
    }

    /// The inode number that an entry of a listing has or would get; 0 if it is not known.
    pub(crate) fn number_of(&self, parent: u64, name: &[u16], file_id: u64) -> u64 {
        match self.at(parent, name) {
            Some(ino) => ino,
            None if self.is_usable(file_id) => file_id,
            None => 0,
        }
    }

    /// Whether a new node may have the server's file id as its inode number.
    fn is_usable(&self, file_id: u64) -> bool {
        self.numbering.may_use(file_id) && !self.nodes.contains_key(&file_id)
    }

    /// Makes a node, with one lookup, for a file that the kernel does not know yet. Returns its inode number.
    fn insert(&mut self, parent: u64, name: &[u16], metadata: Metadata, now: Instant) -> u64 {
        let is_usable = self.is_usable(metadata.file_id);
        let ino = if is_usable { metadata.file_id } else { self.numbering.next_own() };
        let key = self.numbering.next_key();
        let since = self.next_version();
        let node = Node::found(File::fetched(ino, key, metadata, now), metadata.kind());
        node.file.lock().remember(self.remembered.take(metadata.identity()));
        self.nodes.insert(ino, Node { since, ..node });
        self.enter(ino, parent, name, now);
        ino
    }

    /// Gives a node one more name.
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

    /// Takes all names from a node. Returns the directories that contained it.
    fn leave(&mut self, ino: u64) -> Vec<u64> {
        let names = self.nodes.get_mut(&ino).map(|node| {
            let hidden = std::mem::take(&mut node.hidden);
            std::mem::take(&mut node.names).into_iter().chain(hidden).collect::<Vec<_>>()
        });
        let names = names.unwrap_or_default();
        names.iter().for_each(|id| self.clear(id));
        names.into_iter().map(|id| id.directory).collect()
    }

    /// Takes one name from the node that it means. Returns that node.
    fn leave_name(&mut self, parent: u64, name: &[u16]) -> Option<u64> {
        let ino = self.at(parent, name)?;
        let node = self.nodes.get_mut(&ino)?;
        let is_other = |id: &NameId| id.directory != parent || id.name[..] != *name;
        node.names.retain(is_other);
        node.hidden.retain(is_other);
        self.clear(&NameId { directory: parent, name: name.into() });
        Some(ino)
    }

    /// Records that a name means no node.
    fn clear(&mut self, id: &NameId) {
        let version = self.next_version();
        let Some(directory) = self.directories.get_mut(&id.directory) else { return };
        if let Some((_, entry)) = directory.entry_mut(&id.name)
            && entry.node.take().is_some()
        {
            entry.moved = version;
            directory.nodes -= 1;
            self.bounds.free += 1;
        }
    }

    /// The kernel returns `lookups` lookups of a node.
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

    /// Evicts a node that is not needed, and then the directories that are not needed without it.
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

    /// Records the attributes of a node that is being evicted in the entries of its names.
    fn keep_what_is_known(&mut self, ino: u64) {
        let Some(node) = self.nodes.get(&ino) else { return };
        let known = {
            let state = node.file.lock();
            if !node.names.is_empty() && self.numbering.trusts_ids() {
                self.remembered.put(state.metadata().identity(), state.owner().remembered());
            }
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

    /// The directory whose size and free space are those of an inode: itself, or the one that contains it.
    pub(crate) fn space_of(&self, ino: u64) -> u64 {
        match self.nodes.get(&ino) {
            Some(node) if node.kind == FileKind::Directory && (ino == ROOT || !node.names.is_empty()) => ino,
            _ => self.parent(ino).unwrap_or(ROOT),
        }
    }

    /// Size and free space at the server for a directory, if they are cached and not too old.
    pub(crate) fn space(&self, directory: u64, now: Instant) -> Option<Space> {
        self.spaces.of(directory, now).filter(|_| !self.policy.timeout.is_zero())
    }

    /// Records the size and free space that the server reported for a directory; it was asked at `asked`.
    pub(crate) fn space_reported(&mut self, directory: u64, space: Space, asked: Instant) {
        self.spaces.reported(directory, space, asked);
    }

    /// Drops the cached free space, because this mount changes it.
    pub(crate) fn space_changes(&mut self, now: Instant) {
        self.spaces.changes(now);
    }

    /// Records that a file of a directory is about to be removed. Returns whether the last removal was in the same
    /// directory, with no file opened since: then more are likely to follow.
    pub(crate) fn removes_in(&mut self, directory: u64) -> bool {
        self.removing_in.replace(directory) == Some(directory)
    }

    /// Records that a file is opened.
    pub(crate) fn opens(&mut self) {
        self.removing_in = None;
    }
}
