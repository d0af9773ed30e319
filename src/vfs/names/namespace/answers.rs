//! How answers of the server about names are recorded.
//!
//! Invariant: an answer never replaces what is newer than its question: a change by this mount, a report of a watch, or
//! an answer to a later question.

use super::directory::{Entry, Meaning, folded};
use super::node::Node;
use super::{Namespace, ROOT, Version};
use crate::share::{FileKind, FileTime, Metadata, is_unlisted_name};
use crate::vfs::file::attributes::FetchToken;
use std::time::Instant;

/// The state of the namespace before a request to the server.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Asked {
    /// The namespace's version.
    pub version: Version,
    /// When the server was asked.
    pub at: Instant,
    /// The node of the name that is asked about, and the token of its attributes.
    node: Option<(u64, FetchToken)>,
}

/// How an answer of the server about a name was recorded.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Admission {
    /// The name means this node, which has one more lookup.
    Node(u64),
    /// The node of the name, or of its directory, has changed here since the server was asked: ask again.
    Overtaken,
}

impl<O: Clone> Namespace<O> {
    /// To be called before a request that is not about one name.
    pub(crate) fn asking(&self, now: Instant) -> Asked {
        Asked { version: self.version, at: now, node: None }
    }

    /// To be called before a request about a name.
    pub(crate) fn asking_about(&self, parent: u64, name: &[u16], now: Instant) -> Asked {
        let node = self.at(parent, name).and_then(|ino| Some((ino, self.file(ino)?.lock().token())));
        Asked { node, ..self.asking(now) }
    }

    /// Records that the server has found a file under a name.
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
                    node.file.lock().links_reported(metadata.links);
                }
                // A node that got this name meanwhile has newer attributes than the answer.
                if let Some((_, token)) = asked.node.filter(|(node, _)| *node == ino && !is_moved) {
                    self.store(ino, metadata, token, now);
                }
                ino
            }
            _ if is_moved => return Admission::Overtaken,
            _ => {
                self.displace_name(parent, name);
                match self.linked_to(&metadata) {
                    Some(ino) => {
                        self.store_listed(ino, metadata, asked.at);
                        self.join(ino, parent, name, now);
                        self.links_changed(ino, metadata.links);
                        ino
                    }
                    None => self.insert(parent, name, metadata, now),
                }
            }
        };
        self.learn(parent, name, Some(metadata), asked);
        Admission::Node(ino)
    }

    /// Whether a listing or the watch has shown a name, and nothing has shown since that it is gone.
    pub(crate) fn seems_there(&self, parent: u64, name: &[u16]) -> bool {
        self.entry(parent, name).is_some_and(|entry| entry.meaning != Meaning::Absent && !entry.is_unlisted)
    }

    /// Records that the server has found nothing under a name.
    pub(crate) fn absent(&mut self, parent: u64, name: &[u16], asked: Asked) {
        let is_overtaken = self.is_moved(parent, name, asked) || !self.is_since(parent, asked);
        if !is_overtaken {
            self.displace_name(parent, name);
        }
        self.learn(parent, name, None, asked);
    }

    /// Whether the node of a directory existed when the server was asked.
    fn is_since(&self, directory: u64, asked: Asked) -> bool {
        self.nodes.get(&directory).is_some_and(|node| node.since <= asked.version)
    }

    /// Whether the node of a name has changed here since the server was asked.
    pub(super) fn is_moved(&self, parent: u64, name: &[u16], asked: Asked) -> bool {
        self.directories.get(&parent).is_some_and(|directory| directory.moved(name) > asked.version)
    }

    /// Records what the server has answered about a name, unless something newer is known.
    pub(crate) fn learn(&mut self, parent: u64, name: &[u16], found: Option<Metadata>, asked: Asked) {
        let Some(directory) = self.directories.get(&parent).filter(|_| self.is_since(parent, asked)) else { return };
        let is_before_listing = directory.complete.is_some_and(|complete| complete > asked.at);
        let is_overtaken = match directory.entries.get(name) {
            // All that is known of the name is that a listing does not show it.
            Some(entry) if entry.meaning == Meaning::Unknown && entry.version == Version::default() => {
                is_before_listing
            }
            Some(entry) => entry.version > asked.version || (entry.at > asked.at && entry.meaning != Meaning::Unknown),
            None => directory.dropped > asked.version || is_before_listing,
        };
        let is_overtaken = is_overtaken || directory.is_respelt_since(name, asked.version);
        // The server may have found another spelling of a name that is there.
        let is_unambiguous = directory.is_unambiguous(name);
        let is_respelt = found.is_some() && !directory.has(name) && !is_unambiguous;
        let has_node = directory.entries.get(name).is_some_and(|entry| entry.node.is_some());
        if is_overtaken || (is_respelt && !has_node) {
            return;
        }
        let watched = directory.watch.as_ref().is_some_and(|watch| watch.covers(asked.at));
        let is_past = directory.watch.as_ref().is_some_and(|watch| asked.version < watch.granted);
        self.change_entry(parent, name, asked.at, |entry| {
            entry.is_found(found, asked.at);
            (entry.watched, entry.is_past) = (watched, is_past);
            entry.is_unlisted &= found.is_none() || !is_unambiguous || is_unlisted_name(name);
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

    /// Records the entries of a directory that was listed to its end, unless a later listing was recorded or entries
    /// were dropped since the listing was asked for.
    pub(crate) fn listed(&mut self, ino: u64, entries: impl IntoIterator<Item = (Vec<u16>, Metadata)>, asked: Asked) {
        if !self.is_since(ino, asked) {
            return;
        }
        let directory = self.directories.entry(ino).or_default();
        let is_overtaken = directory.complete.is_some_and(|complete| complete > asked.at);
        // The dropped entries may include changes by this mount after the server was asked.
        if is_overtaken || directory.dropped > asked.version {
            return;
        }
        self.bounds.free -= directory.entries.len() - directory.nodes;
        directory.listed(entries, (asked.version, asked.at));
        self.bounds.free += directory.entries.len() - directory.nodes;
        self.keep_bounds(ino);
    }

    /// Records an entry of a listing that is shown to the kernel, and its lookup. Servers report the size of open files
    /// late in listings, so the attributes of an existing node are replaced only if the file is not open and they are
    /// older than the listing. An `overtaken` listing was fetched before this mount changed the directory, or while the
    /// file had a kept open: the entry may be gone, so the attributes of a new node are not valid without asking the
    /// server.
    pub(crate) fn admit_listed(
        &mut self,
        parent: u64,
        name: &[u16],
        metadata: Metadata,
        fetched: Instant,
        overtaken: bool,
    ) -> Admission {
        let Some(ino) = self.at(parent, name) else {
            if let Some(ino) = self.same_file(&metadata)
                && self.has_more_names(ino, &metadata)
            {
                self.join(ino, parent, name, fetched);
                return Admission::Node(ino);
            }
            if self.with_id_of(parent, &metadata).is_some() {
                // Another name of the file, or another file with its id: only a lookup shows which.
                return Admission::Overtaken;
            }
            let ino = self.insert(parent, name, metadata, fetched);
            if overtaken {
                self.touch(ino, fetched);
            } else {
                self.learn_first(parent, name, metadata, fetched);
            }
            return Admission::Node(ino);
        };
        if !self.is_still(ino, &metadata) {
            // Only a lookup shows whether the node or the listing is out of date.
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

    /// Records what a listing in progress shows of a name, if nothing else is known or was reported of the name.
    fn learn_first(&mut self, parent: u64, name: &[u16], metadata: Metadata, fetched: Instant) {
        let entry = self.directories.get_mut(&parent).and_then(|directory| directory.entry_mut(name));
        let is_first = |entry: &&mut Entry| entry.meaning == Meaning::Unknown && entry.version == Version::default();
        if let Some(entry) = entry.map(|(_, entry)| entry).filter(is_first) {
            entry.is_found(Some(metadata), fetched);
            entry.is_unlisted = false;
        }
    }

    /// Records metadata of a node that was fetched by path or handle, unless this mount changed the file since `token`.
    pub(crate) fn store(&mut self, ino: u64, metadata: Metadata, token: FetchToken, now: Instant) {
        if let Some(file) = self.file(ino)
            && file.lock().store(metadata, token, now)
        {
            let key = file.key;
            self.effects.dropped.push(key);
        }
    }

    /// Records what a listing showed of a node, unless the file is open or something newer is known.
    pub(crate) fn store_listed(&mut self, ino: u64, metadata: Metadata, fetched: Instant) {
        if let Some(file) = self.file(ino)
            && file.lock().store_listed(metadata, fetched)
        {
            let key = file.key;
            self.effects.dropped.push(key);
        }
    }

    /// Whether metadata can be of the file that a node means. Records if the server's file ids turn out not to identify
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

    /// The node that the server reports to be the same file: by kind, file id and creation time, where the server has
    /// both. An id alone does not identify a file, since servers use it again.
    pub(super) fn same_file(&self, found: &Metadata) -> Option<u64> {
        let node = self.nodes.get(&found.file_id)?;
        let is_same = node.kind == found.kind() && self.is_identity(node, found);
        is_same.then_some(found.file_id)
    }

    fn is_identity(&self, node: &Node<O>, found: &Metadata) -> bool {
        let identity = found.identity();
        let is_known = identity.file_id != 0 && identity.created != FileTime(0) && self.numbering.trusts_ids();
        is_known && node.file.lock().metadata().identity() == identity
    }

    /// A node under another name that has the file id of what the server has found under a name, and another time of
    /// creation. It may be of the same file: Samba reports the earliest of a file's times as the time of its creation, if
    /// it has not stored one, and that changes when a local program reads a file or lists a directory.
    pub(crate) fn doubtful_twin(&self, parent: u64, name: &[u16], found: &Metadata) -> Option<u64> {
        let ino = self.with_id_of(parent, found).filter(|ino| Some(*ino) != self.at(parent, name))?;
        let node = self.nodes.get(&ino)?;
        let is_named = node.name().is_some() || ino == ROOT;
        (is_named && found.created != FileTime(0) && !self.is_identity(node, found)).then_some(ino)
    }

    /// A node of this kind that has the file id of what the server has found in `parent`: for a directory one that
    /// contains it, if there is such a one.
    fn with_id_of(&self, parent: u64, found: &Metadata) -> Option<u64> {
        if found.file_id == 0 || !self.numbering.trusts_ids() {
            return None;
        }
        let has_id = |ino: &u64| {
            let node = self.nodes.get(ino);
            node.is_some_and(|node| node.kind == found.kind() && node.file.lock().metadata().file_id == found.file_id)
        };
        let above = match found.kind() {
            FileKind::Directory => self.with_all_above(parent).find(has_id),
            _ => None,
        };
        above.or_else(|| Some(found.file_id).filter(has_id))
    }

    /// The node of a file that the server has found under another name: the file has several links. An answer that does
    /// not tell the number of links shows nothing, since a server can give one id to two files.
    fn linked_to(&self, found: &Metadata) -> Option<u64> {
        let is_linked = found.links > 1 && found.kind() != FileKind::Directory;
        self.same_file(found).filter(|ino| is_linked && self.nodes[ino].name().is_some())
    }

    /// Whether a name in a listing is one more name of a node's file: the server has reported more links than are known
    /// here, and the listing shows the file as it is known.
    fn has_more_names(&self, ino: u64, listed: &Metadata) -> bool {
        let Some(node) = self.nodes.get(&ino).filter(|node| node.kind != FileKind::Directory) else { return false };
        let known = *node.file.lock().metadata();
        let is_as_known = (known.size, known.modified) == (listed.size, listed.modified);
        is_as_known && node.name().is_some() && known.links as usize > node.names.len() + node.hidden.len()
    }

    /// The node that this mount knows under another name, and which the server reports to be the same file with no more
    /// than one link.
    pub(crate) fn elsewhere(&self, parent: u64, name: &[u16], found: &Metadata) -> Option<u64> {
        let ino = self.same_file(found).filter(|_| found.links <= 1 || found.kind() == FileKind::Directory)?;
        let node = &self.nodes[&ino];
        // On a server that ignores case, another spelling of the name is no rename.
        let is_respelt = node.names.iter().any(|id| id.directory == parent && folded(&id.name) == folded(name));
        let is_free =
            !is_respelt && self.at(parent, name).is_none() && node.hidden.is_empty() && !self.is_within(parent, ino);
        (is_free && !node.names.is_empty()).then_some(ino)
    }

    /// Whether something found in `parent` is that directory itself, or one that contains it: the server shows a folder
    /// below itself. Its file ids show that, if it has any.
    pub(crate) fn is_ancestor(&self, parent: u64, found: &Metadata) -> bool {
        if found.kind() != FileKind::Directory {
            return false;
        }
        let is_found = |ino: u64| self.nodes.get(&ino).is_some_and(|node| self.is_identity(node, found));
        self.with_all_above(parent).any(is_found)
    }
}
