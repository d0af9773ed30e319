//! What the server answers about names, weighed against what happened since it was asked.

use super::directory::{Entry, Meaning, folded};
use super::{Namespace, Version};
use crate::share::{FileTime, Metadata};
use crate::vfs::file::attributes::FetchToken;
use std::time::Instant;

/// Taken before the server is asked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Asked {
    pub version: Version,
    pub at: Instant,
    /// The node of the name that is asked about, and how much of its attributes was known.
    node: Option<(u64, FetchToken)>,
}

/// What became of an answer from the server about a name.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Admission {
    /// The name is this node, which has one more lookup.
    Node(u64),
    /// This mount changed what the name means while the server was asked: ask again.
    Overtaken,
}

impl<O: Clone> Namespace<O> {
    /// To be taken before the server is asked about anything but one name.
    pub(crate) fn asking(&self, now: Instant) -> Asked {
        Asked { version: self.version, at: now, node: None }
    }

    /// To be taken before the server is asked about a name.
    pub(crate) fn asking_about(&self, parent: u64, name: &[u16], now: Instant) -> Asked {
        let node = self.at(parent, name).and_then(|ino| Some((ino, self.file(ino)?.lock().token())));
        Asked { node, ..self.asking(now) }
    }

    /// The server has answered that a name is this file.
    pub(crate) fn found(
        &mut self,
        parent: u64,
        name: &[u16],
        metadata: Metadata,
        asked: Asked,
        now: Instant,
    ) -> Admission {
        let is_moved = self.is_moved(parent, name, asked);
        if !self.is_since(parent, asked) {
            return Admission::Overtaken;
        }
        let ino = match self.at(parent, name) {
            Some(ino) if self.is_still(ino, &metadata) => {
                if let Some(node) = self.nodes.get_mut(&ino) {
                    node.lookups += 1;
                }
                // Of a node that came here meanwhile, what is known is newer than the answer.
                if let Some((_, token)) = asked.node.filter(|(node, _)| *node == ino && !is_moved) {
                    self.store(ino, metadata, token, now);
                }
                ino
            }
            _ if is_moved => return Admission::Overtaken,
            occupant => {
                occupant.into_iter().for_each(|ino| self.displace(ino));
                self.insert(parent, name, metadata, now)
            }
        };
        self.learn(parent, name, Some(metadata), asked);
        Admission::Node(ino)
    }

    /// The server has answered that nothing has this name.
    pub(crate) fn absent(&mut self, parent: u64, name: &[u16], asked: Asked) {
        let is_overtaken = self.is_moved(parent, name, asked) || !self.is_since(parent, asked);
        if let Some(ino) = self.at(parent, name).filter(|_| !is_overtaken) {
            self.displace(ino);
        }
        self.learn(parent, name, None, asked);
    }

    /// Whether a directory's node was there when the server was asked.
    fn is_since(&self, directory: u64, asked: Asked) -> bool {
        self.nodes.get(&directory).is_some_and(|node| node.since <= asked.version)
    }

    /// Whether this mount changed which file a name means since the server was asked.
    fn is_moved(&self, parent: u64, name: &[u16], asked: Asked) -> bool {
        self.directories.get(&parent).is_some_and(|directory| directory.moved(name) > asked.version)
    }

    /// Takes what the server has answered about a name, unless something newer is known.
    pub(crate) fn learn(&mut self, parent: u64, name: &[u16], found: Option<Metadata>, asked: Asked) {
        let Some(directory) = self.directories.get(&parent).filter(|_| self.is_since(parent, asked)) else { return };
        let is_before_listing = directory.complete.is_some_and(|complete| complete > asked.at);
        let is_overtaken = match directory.entries.get(name) {
            // Nothing is known of it beside the listing that does not show it.
            Some(entry) if entry.meaning == Meaning::Unknown && entry.version == Version::default() => {
                is_before_listing
            }
            Some(entry) => entry.version > asked.version || (entry.at > asked.at && entry.meaning != Meaning::Unknown),
            None => directory.dropped > asked.version || is_before_listing,
        };
        let is_overtaken = is_overtaken || directory.is_respelt_since(name, asked.version);
        // What the server found may be another spelling of a name that is there.
        let tells_apart = directory.tells_apart(name);
        let is_respelt = found.is_some() && !directory.has(name) && !tells_apart;
        let has_node = directory.entries.get(name).is_some_and(|entry| entry.node.is_some());
        if is_overtaken || (is_respelt && !has_node) {
            return;
        }
        let watched = directory.watch.as_ref().is_some_and(|watch| watch.covers(asked.at));
        let is_past = directory.watch.as_ref().is_some_and(|watch| asked.version < watch.granted);
        self.change_entry(parent, name, asked.at, |entry| {
            entry.is_found(found, asked.at);
            (entry.watched, entry.is_past) = (watched, is_past);
            entry.is_unlisted &= found.is_none() || !tells_apart;
        });
    }

    /// Changes the entry of a name, which is made if there is none.
    pub(super) fn change_entry(&mut self, parent: u64, name: &[u16], now: Instant, change: impl FnOnce(&mut Entry)) {
        let directory = self.directories.entry(parent).or_default();
        let is_new = !directory.entries.contains_key(name);
        if is_new {
            directory.insert(name, Entry::unknown(now, Version::default()));
            self.bounds.free += 1;
        }
        if let Some((_, entry)) = directory.entry_mut(name) {
            change(entry);
        }
        if is_new {
            self.keep_bounds(parent);
        }
    }

    /// A directory was listed to its end: what is in it.
    pub(crate) fn listed(&mut self, ino: u64, entries: impl IntoIterator<Item = (Vec<u16>, Metadata)>, asked: Asked) {
        if !self.is_since(ino, asked) {
            return;
        }
        let directory = self.directories.entry(ino).or_default();
        let is_overtaken = directory.complete.is_some_and(|complete| complete > asked.at);
        // What this mount has changed since the server was asked may be among what was dropped.
        if is_overtaken || directory.dropped > asked.version {
            return;
        }
        self.bounds.free -= directory.entries.len() - directory.nodes;
        directory.listed(entries, (asked.version, asked.at));
        self.bounds.free += directory.entries.len() - directory.nodes;
        self.keep_bounds(ino);
    }

    /// The entry of a listing is shown to the kernel. Servers are late with the size of open files there, so of a node that is
    /// known already nothing but the name is taken, unless it is not open and its attributes are older than the listing. An
    /// `overtaken` listing was fetched before this mount changed the directory, or while it kept the file open: the entry may
    /// be gone, so a new node is one that is not believed without asking.
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
            } else {
                self.learn_first(parent, name, metadata, fetched);
            }
            return Admission::Node(ino);
        };
        if !self.is_still(ino, &metadata) {
            // Whether the node or the listing is out of date, only a lookup shows.
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

    /// Takes what a listing in progress says of a name of which nothing is known, and nothing was reported.
    fn learn_first(&mut self, parent: u64, name: &[u16], metadata: Metadata, fetched: Instant) {
        let entry = self.directories.get_mut(&parent).and_then(|directory| directory.entry_mut(name));
        let is_first = |entry: &&mut Entry| entry.meaning == Meaning::Unknown && entry.version == Version::default();
        if let Some(entry) = entry.map(|(_, entry)| entry).filter(is_first) {
            entry.is_found(Some(metadata), fetched);
            entry.is_unlisted = false;
        }
    }

    /// Takes metadata of a node that the server was asked for by path or handle.
    pub(crate) fn store(&mut self, ino: u64, metadata: Metadata, token: FetchToken, now: Instant) {
        if let Some(file) = self.file(ino)
            && file.lock().store(metadata, token, now)
        {
            let key = file.key;
            self.effects.dropped.push(key);
        }
    }

    /// Takes what a listing said of a node, unless it is open, or newer things are known.
    pub(crate) fn store_listed(&mut self, ino: u64, metadata: Metadata, fetched: Instant) {
        if let Some(file) = self.file(ino)
            && file.lock().store_listed(metadata, fetched)
        {
            let key = file.key;
            self.effects.dropped.push(key);
        }
    }

    /// Whether metadata can be that of the file that a node means. Finds out by the way whether the server's file ids identify
    /// files.
    pub(crate) fn is_still(&mut self, ino: u64, metadata: &Metadata) -> bool {
        let Some(node) = self.nodes.get(&ino) else { return false };
        let known = *node.file.lock().metadata();
        if node.kind != metadata.kind() {
            return false;
        }
        if !self.numbering.trusts_ids()
            || known.file_id == metadata.file_id
            || known.file_id == 0
            || metadata.file_id == 0
        {
            return true;
        }
        let is_same_but_for_id = known.created.0 != 0
            && (known.created, known.modified, known.changed, known.size)
                == (metadata.created, metadata.modified, metadata.changed, metadata.size);
        if is_same_but_for_id {
            self.numbering.ids_differ();
        }
        is_same_but_for_id
    }

    /// The node that is known under another name than this one, which the server reports to be the same file: by id and time of
    /// creation, where it has both. An id alone is not enough, since servers use it again for another file.
    pub(crate) fn elsewhere(&self, parent: u64, name: &[u16], found: &Metadata) -> Option<u64> {
        let (ino, identity) = (found.file_id, found.identity());
        let node = self.nodes.get(&ino)?;
        let is_known = identity.file_id != 0 && identity.created != FileTime(0) && self.numbering.trusts_ids();
        let is_same = is_known && node.kind == found.kind() && node.file.lock().metadata().identity() == identity;
        // Another spelling of the name, where the server ignores case, is no rename.
        let is_respelt = node.names.iter().any(|id| id.directory == parent && folded(&id.name) == folded(name));
        let is_free = !is_respelt && self.at(parent, name).is_none() && !node.hidden && !self.is_within(parent, ino);
        (is_same && is_free && !node.names.is_empty()).then_some(ino)
    }
}
