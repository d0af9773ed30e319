//! The table of inodes: which file each of the kernel's inode numbers means.
//!
//! A node is a directory entry as it was seen: parent and name. Its path is found by walking up, so
//! that renaming a directory moves all that is in it. The server's file id tells when the entry has
//! become another file: that is another node, and the old one has no place any more. A node without
//! a place lives on through its open handles.
//!
//! Invariants: the root is always there. A node is kept exactly as long as the kernel counts lookups
//! of it, a handle is open, or another node's place is in it; so the table is bounded by what the
//! kernel remembers. Two nodes never have the same number, nor the same place.
//!
//! The table does no I/O and holds no data; keys of nodes whose cached data has become wrong or
//! useless collect in it until [`Inodes::take_stale`] is called. Somebody who asks the server about a
//! name takes a [`Glimpse`] before and brings it along afterwards, so that an answer from before a
//! rename is not taken for one from after.

use super::catalogue::Vouched;
use super::file::File;
use super::file::attributes::FetchToken;
use super::presentation::{Attr, Presentation};
use crate::share::{Attributes, FileKind, FileTime, Metadata, RemotePath};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The number of the root.
pub const ROOT: u64 = 1;
/// Own numbers begin here; the server's ids are used below.
const FIRST_OWN: u64 = 1 << 63;

/// Where a node is.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Place {
    pub parent: u64,
    pub name: Vec<u16>,
}

/// One file or directory that the kernel knows. `O` is an open at the server.
#[derive(Debug)]
pub(crate) struct Node<O> {
    /// What is known of the file itself.
    pub file: Arc<File<O>>,
    pub kind: FileKind,
    /// `None` once deleted or replaced.
    place: Option<Place>,
    /// Counts the times that any node got a place: tells two stays in the same place apart.
    placed: u64,
    lookups: u64,
    /// Nodes whose place is in this one.
    children: u64,
    /// Unlinked while open: its file has a hidden name, and is removed with the last handle.
    pub hidden: bool,
    /// This mount has removed or replaced it: no name leads to it, and the server has none to ask about.
    removed: bool,
}

impl<O: Clone> Node<O> {
    /// See [`File::key`].
    pub(crate) fn key(&self) -> u64 {
        self.file.key
    }

    /// Whether programs are shown that no name leads to it.
    fn is_unlinked(&self) -> bool {
        self.hidden || self.removed
    }

    /// Whether it was removed by this mount and is not open: the server can tell nothing of it any more.
    pub(crate) fn is_gone(&self) -> bool {
        self.removed && !self.file.lock().has_handles()
    }

    /// Whether the kernel still counts on it, or it is open here or at the server, or something of it is to be done.
    fn is_needed(&self) -> bool {
        self.lookups > 0 || self.children > 0 || !self.file.lock().is_idle()
    }
}

/// Who was in a place, and how much of its attributes was known, before the server was asked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Glimpse {
    occupant: Option<(u64, u64)>,
    token: Option<FetchToken>,
}

/// What became of an answer from the server about a name.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Admission {
    /// The name is this node.
    Node(u64),
    /// This mount changed the name's meaning while the server was asked: ask again.
    Overtaken,
}

/// Whether the server's file ids mean anything.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum FileIds {
    Trusted,
    /// The same file had different ids one after the other.
    Unstable,
}

/// The table.
#[derive(Debug)]
pub(crate) struct Inodes<O> {
    nodes: HashMap<u64, Node<O>>,
    places: HashMap<Place, u64>,
    next_own: u64,
    next_key: u64,
    next_placed: u64,
    file_ids: FileIds,
    stale: Vec<u64>,
    departed: Vec<Departed>,
    displaced: Vec<Arc<File<O>>>,
}

/// A node that the table has no more.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Departed {
    /// The node's key.
    pub key: u64,
    /// The key of its directory, and its name there, if it had a place until now.
    pub place: Option<(u64, Vec<u16>)>,
    /// Its attributes, and when they were fetched, if they are known.
    pub known: Option<(Metadata, Instant)>,
}

impl<O: Clone> Inodes<O> {
    /// A table with nothing but the root, whose attributes are not known yet.
    pub(crate) fn new() -> Inodes<O> {
        let metadata = Metadata { attributes: Attributes(Attributes::DIRECTORY), ..Metadata::default() };
        let root = Node {
            file: Arc::new(File::unknown(ROOT, 1, metadata)),
            kind: FileKind::Directory,
            place: None,
            placed: 0,
            lookups: 1,
            children: 0,
            hidden: false,
            removed: false,
        };
        Inodes {
            nodes: HashMap::from([(ROOT, root)]),
            places: HashMap::new(),
            next_own: FIRST_OWN,
            next_key: 2,
            next_placed: 1,
            file_ids: FileIds::Trusted,
            stale: Vec::new(),
            departed: Vec::new(),
            displaced: Vec::new(),
        }
    }

    /// The keys of nodes whose cached data has to be dropped.
    pub(crate) fn take_stale(&mut self) -> Vec<u64> {
        std::mem::take(&mut self.stale)
    }

    /// Nodes that have gone.
    pub(crate) fn take_departed(&mut self) -> Vec<Departed> {
        std::mem::take(&mut self.departed)
    }

    /// Files that have lost their names: a kept open of such a file serves no program.
    pub(crate) fn take_displaced(&mut self) -> Vec<Arc<File<O>>> {
        std::mem::take(&mut self.displaced)
    }

    pub(crate) fn get(&self, ino: u64) -> Option<&Node<O>> {
        self.nodes.get(&ino)
    }

    /// What is known of a node's file itself.
    pub(crate) fn file(&self, ino: u64) -> Option<&Arc<File<O>>> {
        Some(&self.nodes.get(&ino)?.file)
    }

    pub(crate) fn get_mut(&mut self, ino: u64) -> Option<&mut Node<O>> {
        self.nodes.get_mut(&ino)
    }

    /// The number of nodes, the root among them.
    pub(crate) fn len(&self) -> usize {
        self.nodes.len()
    }

    /// The node that is in a place.
    pub(crate) fn at(&self, parent: u64, name: &[u16]) -> Option<u64> {
        self.places.get(&Place { parent, name: name.to_vec() }).copied()
    }

    /// Where a node is on the share, below `root`; `None` if it has no place any more.
    pub(crate) fn path(&self, ino: u64, root: &RemotePath) -> Option<RemotePath> {
        let mut names = Vec::new();
        let mut at = ino;
        while at != ROOT {
            let place = self.nodes.get(&at)?.place.as_ref()?;
            names.push(place.name.as_slice());
            at = place.parent;
        }
        Some(names.iter().rev().fold(root.clone(), |path, name| path.join(name)))
    }

    /// Whether `ino` is `ancestor` or below it.
    pub(crate) fn is_within(&self, ino: u64, ancestor: u64) -> bool {
        let mut at = ino;
        while at != ancestor {
            match self.nodes.get(&at).and_then(|node| node.place.as_ref()) {
                Some(place) => at = place.parent,
                None => return false,
            }
        }
        true
    }

    /// The node that is known under another name than this one, which the server says is the same file: by id and time of
    /// creation, where it has both. An id alone is not enough, since servers use it again for another file.
    pub(crate) fn elsewhere(&self, parent: u64, name: &[u16], found: &Metadata) -> Option<u64> {
        let (ino, identity) = (found.file_id, found.identity());
        let node = self.nodes.get(&ino)?;
        let is_known = identity.file_id != 0 && identity.created != FileTime(0) && self.file_ids == FileIds::Trusted;
        let is_same = is_known && node.kind == found.kind() && node.file.lock().metadata().identity() == identity;
        // Another spelling of the name, where the server ignores case, is no rename.
        let is_respelt = node.place.as_ref().is_some_and(|place| {
            place.parent == parent && super::known::folded(&place.name) == super::known::folded(name)
        });
        let is_free = !is_respelt && self.at(parent, name).is_none() && !node.hidden && !self.is_within(parent, ino);
        (is_same && is_free && node.place.is_some()).then_some(ino)
    }

    /// To be taken before the server is asked about a name.
    pub(crate) fn glimpse(&self, parent: u64, name: &[u16]) -> Glimpse {
        let occupant = self.at(parent, name).and_then(|ino| Some((ino, self.nodes.get(&ino)?)));
        Glimpse {
            occupant: occupant.map(|(ino, node)| (ino, node.placed)),
            token: occupant.map(|(_, node)| node.file.lock().token()),
        }
    }

    /// The server says that a name is this file. The node gets one more lookup, which the kernel
    /// gives back by [`Inodes::forget`].
    pub(crate) fn admit(
        &mut self,
        parent: u64,
        name: &[u16],
        metadata: Metadata,
        before: Glimpse,
        now: Instant,
    ) -> Admission {
        let after = self.glimpse(parent, name);
        if let Some((ino, _)) = after.occupant {
            if self.is_still(ino, &metadata) {
                let Some(node) = self.nodes.get_mut(&ino) else { return Admission::Overtaken };
                node.lookups += 1;
                // Of a node that came here meanwhile, what is known is newer than the answer.
                if let Some(token) = before.token.filter(|_| after.occupant == before.occupant) {
                    self.store(ino, metadata, token, now);
                }
                return Admission::Node(ino);
            }
            if after.occupant != before.occupant {
                return Admission::Overtaken;
            }
            self.displace(ino);
        } else if before.occupant.is_some() {
            return Admission::Overtaken;
        }
        Admission::Node(self.insert(parent, name, metadata, now))
    }

    /// The server says that nothing has this name.
    pub(crate) fn vanished(&mut self, parent: u64, name: &[u16], before: Glimpse) {
        if let Some((ino, _)) = before.occupant
            && self.glimpse(parent, name).occupant == before.occupant
        {
            self.displace(ino);
        }
    }

    /// Takes metadata of a node that the server was asked for by path or handle.
    pub(crate) fn store(&mut self, ino: u64, metadata: Metadata, token: FetchToken, now: Instant) {
        if let Some(file) = self.file(ino)
            && file.lock().store(metadata, token, now)
        {
            let key = file.key;
            self.stale.push(key);
        }
    }

    /// As [`Inodes::admit`], for an entry of a listing. Servers are late with the size of open files
    /// there, so of a node that is known already nothing but the name is taken, unless it is not open
    /// and its attributes are older than the listing. An
    /// `overtaken` listing was fetched before this mount changed the directory, or while it kept the file open: the entry
    /// may be gone, so a new node is one that nobody believes without asking.
    pub(crate) fn admit_listed(
        &mut self,
        parent: u64,
        name: &[u16],
        metadata: Metadata,
        fetched: Instant,
        overtaken: bool,
    ) -> Admission {
        let Some(ino) = self.at(parent, name) else {
            let ino = self.insert(parent, name, metadata, fetched);
            if overtaken {
                self.touch(ino, fetched);
            }
            return Admission::Node(ino);
        };
        if !self.is_still(ino, &metadata) {
            // Whether the node or the listing is out of date, only a lookup can tell.
            return Admission::Overtaken;
        }
        if let Some(node) = self.nodes.get_mut(&ino) {
            node.lookups += 1;
        }
        if !overtaken {
            self.store_listed(ino, metadata, fetched);
        }
        Admission::Node(ino)
    }

    /// Takes what a listing said of a node, unless it is open, or newer things are known. What is cached of another version
    /// goes.
    pub(crate) fn store_listed(&mut self, ino: u64, metadata: Metadata, fetched: Instant) {
        if let Some(file) = self.file(ino)
            && file.lock().store_listed(metadata, fetched)
        {
            let key = file.key;
            self.stale.push(key);
        }
    }

    /// Whether metadata can be that of the file that a node means. Finds out by the way whether the
    /// server's file ids are worth anything.
    pub(crate) fn is_still(&mut self, ino: u64, metadata: &Metadata) -> bool {
        let Some(node) = self.nodes.get(&ino) else { return false };
        let known = *node.file.lock().metadata();
        if node.kind != metadata.kind() {
            return false;
        }
        if self.file_ids == FileIds::Unstable
            || known.file_id == metadata.file_id
            || known.file_id == 0
            || metadata.file_id == 0
        {
            return true;
        }
        let same_but_for_id = known.created.0 != 0
            && (known.created, known.modified, known.changed, known.size)
                == (metadata.created, metadata.modified, metadata.changed, metadata.size);
        if same_but_for_id {
            tracing::warn!("the server's file ids change from one answer to the next; own inode numbers are used");
            self.file_ids = FileIds::Unstable;
        }
        same_but_for_id
    }

    /// The kernel gives back this many of its lookups.
    pub(crate) fn forget(&mut self, ino: u64, lookups: u64) {
        if let Some(node) = self.nodes.get_mut(&ino).filter(|_| ino != ROOT) {
            node.lookups = node.lookups.saturating_sub(lookups);
        }
        self.collect(ino);
    }

    /// A handle of the node is closed. If it was the last one of a hidden file, the path of that
    /// file, which has to be removed now.
    pub(crate) fn closed(&mut self, ino: u64, root: &RemotePath) -> Option<RemotePath> {
        let node = self.nodes.get_mut(&ino)?;
        let remove = node.hidden && !node.file.lock().has_handles();
        let path = if remove { self.path(ino, root) } else { None };
        if remove {
            self.displace(ino);
        } else {
            self.collect(ino);
        }
        path
    }

    /// The node's name is no longer its own: deleted, or replaced. It stays for its handles.
    pub(crate) fn displace(&mut self, ino: u64) {
        let parent = self.leave_place(ino);
        self.displaced.extend(self.file(ino).cloned());
        self.collect(ino);
        if let Some(parent) = parent {
            self.collect(parent);
        }
    }

    /// This mount has removed or replaced the node.
    pub(crate) fn remove(&mut self, ino: u64) {
        if let Some(node) = self.nodes.get_mut(&ino) {
            node.removed = true;
        }
        self.displace(ino);
    }

    /// The node has been renamed. Whoever was in its new place has none any more.
    pub(crate) fn relocate(&mut self, ino: u64, parent: u64, name: &[u16], now: Instant) {
        if let Some(occupant) = self.at(parent, name).filter(|occupant| *occupant != ino) {
            self.displace(occupant);
        }
        let old_parent = self.leave_place(ino);
        self.enter_place(ino, Place { parent, name: name.to_vec() });
        self.touch(ino, now);
        if let Some(old_parent) = old_parent {
            self.collect(old_parent);
        }
    }

    /// This mount changed something about a node, as what a directory holds: its times are the
    /// server's to tell.
    pub(crate) fn touch(&mut self, ino: u64, now: Instant) {
        if let Some(file) = self.file(ino) {
            file.lock().touch(now);
        }
    }

    /// This mount changed what is in a directory, at `clock` by the server's clock.
    pub(crate) fn entries_changed(&mut self, directory: u64, clock: FileTime, now: Instant) {
        if let Some(file) = self.file(directory) {
            file.lock().entries_changed(clock, now);
        }
    }

    /// Another client may have changed a node: neither its attributes nor its data are what they were.
    pub(crate) fn doubt(&mut self, ino: u64, now: Instant) {
        if let Some(file) = self.file(ino) {
            file.lock().doubt(now);
        }
    }

    /// What stat(2) shows, and for how long the kernel may believe it.
    pub(crate) fn attr(
        &self,
        ino: u64,
        show: &Presentation,
        now: Instant,
        timeout: Duration,
        vouched: Option<Vouched>,
    ) -> Option<Attr> {
        let node = self.nodes.get(&ino)?;
        let is_gone = node.is_gone();
        let ttl = match node.file.lock().remaining(now, timeout, vouched) {
            None if is_gone => timeout,
            remaining => remaining.unwrap_or(Duration::ZERO),
        };
        let metadata = *node.file.lock().metadata();
        let attr = show.attr(ino, node.key(), &metadata, ttl);
        Some(if node.is_unlinked() { Attr { links: 0, ..attr } } else { attr })
    }

    /// See [`FileState::token`](super::file::FileState::token).
    pub(crate) fn token(&self, ino: u64) -> Option<FetchToken> {
        Some(self.file(ino)?.lock().token())
    }

    /// The directory that a node is in.
    pub(crate) fn parent(&self, ino: u64) -> Option<u64> {
        Some(self.place(ino)?.parent)
    }

    /// Where a node is, unless it is the root or has no place any more.
    pub(crate) fn place(&self, ino: u64) -> Option<&Place> {
        self.nodes.get(&ino)?.place.as_ref()
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
        self.file_ids == FileIds::Trusted
            && (ROOT + 1..FIRST_OWN).contains(&file_id)
            && !self.nodes.contains_key(&file_id)
    }

    fn insert(&mut self, parent: u64, name: &[u16], metadata: Metadata, now: Instant) -> u64 {
        let ino = if self.is_usable(metadata.file_id) {
            metadata.file_id
        } else {
            self.next_own += 1;
            self.next_own
        };
        let node = Node {
            file: Arc::new(File::fetched(ino, self.next_key, metadata, now)),
            kind: metadata.kind(),
            place: None,
            placed: 0,
            lookups: 1,
            children: 0,
            hidden: false,
            removed: false,
        };
        self.next_key += 1;
        self.nodes.insert(ino, node);
        self.enter_place(ino, Place { parent, name: name.to_vec() });
        ino
    }

    fn enter_place(&mut self, ino: u64, place: Place) {
        if let Some(parent) = self.nodes.get_mut(&place.parent) {
            parent.children += 1;
        }
        if let Some(node) = self.nodes.get_mut(&ino) {
            node.placed = self.next_placed;
            node.place = Some(place.clone());
            self.next_placed += 1;
            self.places.insert(place, ino);
        }
    }

    /// Removes a node that nobody needs, and then its parents.
    pub(crate) fn collect(&mut self, ino: u64) {
        let mut at = Some(ino);
        while let Some(ino) = at.take().filter(|ino| *ino != ROOT) {
            if self.nodes.get(&ino).is_some_and(|node| !node.is_needed()) {
                let place =
                    self.place(ino).and_then(|place| Some((self.nodes.get(&place.parent)?.key(), place.name.clone())));
                at = self.leave_place(ino);
                if let Some(node) = self.nodes.remove(&ino) {
                    let state = node.file.lock();
                    let known = state.known_since().map(|at| (*state.metadata(), at));
                    self.departed.push(Departed { key: node.key(), place, known });
                    self.stale.push(node.key());
                }
            }
        }
    }

    /// The parent it had.
    fn leave_place(&mut self, ino: u64) -> Option<u64> {
        let place = self.nodes.get_mut(&ino)?.place.take()?;
        self.places.remove(&place);
        if let Some(parent) = self.nodes.get_mut(&place.parent) {
            parent.children -= 1;
        }
        Some(place.parent)
    }
}

#[cfg(test)]
#[path = "tests/inodes.rs"]
mod tests;
