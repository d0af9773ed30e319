//! How changes by this mount are recorded: names that it makes, removes and renames, and attributes that it changes.
//!
//! Invariant: a change is announced before its request is sent ([`Namespace::changing`]), because the watch may report
//! it before the server answers. A report that no announced change explains is of another client.

use super::Namespace;
use super::answers::{Admission, Asked};
use super::directory::{Echo, Echoes, Entry, LAST, Meaning};
use super::node::NameId;
use crate::share::{ChangeKind, DirChange, FileKind, FileTime, Metadata};
use crate::vfs::lane::Forgotten;
use crate::vfs::name_encoding;
use std::sync::Arc;
use std::time::Instant;

/// The most names of one file whose entries are told its number of links.
const MOST_TOLD: usize = 64;

/// What a change by this mount makes of a name.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Change {
    /// The name means this new file.
    Made(Metadata),
    /// The name is one more of this file.
    Linked(Metadata),
    /// The name means a file that had another name.
    Came,
    /// The name is absent.
    Went,
    /// Only the server knows what the name means.
    Unknown,
}

impl<O: Clone> Namespace<O> {
    /// Announces that this mount is about to make a name appear or disappear.
    pub(crate) fn changing(&mut self, parent: u64, name: &[u16], echo: Echo, now: Instant) {
        if self.nodes.contains_key(&parent) {
            let begun = Some(self.version);
            self.change_entry(parent, name, now, |entry| {
                entry.echoes.expect(echo, now);
                entry.echoes.begun = entry.echoes.begun.or(begun);
            });
        }
    }

    /// Withdraws an announcement, because the name has not changed. If the watch has already reported such a change,
    /// another client made it: it is recorded now.
    pub(crate) fn unchanged(&mut self, parent: u64, name: &[u16], echo: Echo, now: Instant) {
        let directory = self.directories.get_mut(&parent);
        let Some((_, entry)) = directory.and_then(|directory| directory.entry_mut(name)) else { return };
        let was_awaited = entry.echoes.withdraw(echo);
        entry.echoes.begun = None;
        if !was_awaited {
            let kind = match echo {
                Echo::Added => ChangeKind::Added,
                Echo::Removed => ChangeKind::Removed,
            };
            self.changed_by_others(parent, DirChange { name: name.to_vec(), kind }, now);
        }
    }

    /// Records that a change of a name failed, or may have: only the server knows what the name means.
    pub(crate) fn failed(&mut self, parent: u64, name: &[u16], echo: Echo, clock: FileTime, now: Instant) {
        self.unchanged(parent, name, echo, now);
        self.changed(parent, name, Change::Unknown, clock, now);
    }

    /// Records that this mount has changed what a name means, at `clock` by the server's clock.
    pub(crate) fn changed(&mut self, parent: u64, name: &[u16], change: Change, clock: FileTime, now: Instant) {
        self.space_changes(now);
        if !self.nodes.contains_key(&parent) {
            return;
        }
        let version = self.next_version();
        let directory = self.directories.entry(parent).or_default();
        if !matches!(change, Change::Made(_) | Change::Linked(_))
            && !directory.entries.contains_key(name)
            && !directory.is_unambiguous(name)
        {
            // Another spelling: only the server knows which name has changed.
            directory.complete = None;
        }
        self.change_entry(parent, name, now, |entry| {
            // Another client may have changed the name again before the answer arrived.
            let is_crossed = entry.echoes.begun.take().is_some_and(|begun| entry.version > begun);
            entry.is_doubted(now, version);
            entry.is_unlisted = change == Change::Went;
            entry.meaning = match change {
                _ if is_crossed => Meaning::Unknown,
                Change::Made(metadata) | Change::Linked(metadata) => Meaning::Present(metadata),
                Change::Went => Meaning::Absent,
                Change::Came | Change::Unknown => Meaning::Unknown,
            };
            (entry.echoes.changed, entry.order) = (Some(now), LAST);
        });
        self.doubt_other_spellings(parent, name, now);
        // The change time of a new file is that of the change of its directory.
        let made = if let Change::Made(metadata) = change { metadata.changed } else { FileTime(0) };
        self.entries_changed(parent, if made == FileTime(0) { clock } else { made }, now);
    }

    /// Records that this mount has changed an entry of a directory, at `clock` by the server's clock.
    ///
    /// With the answer of the change the kernel forgets the attributes of the directory. A reply from before, which another
    /// thread is sending meanwhile, would bring them back; after a notification the kernel ignores it.
    fn entries_changed(&mut self, directory: u64, clock: FileTime, now: Instant) {
        let Some(node) = self.nodes.get_mut(&directory) else { return };
        node.file.lock().entries_changed(clock, now);
        if node.lent.ends_with_reply(now) {
            self.effects.forgotten.push(Forgotten::Attributes(directory));
        }
    }

    /// Makes the other spellings of a name unknown, here and in the kernel: on a server that ignores case they have
    /// changed too.
    pub(super) fn doubt_other_spellings(&mut self, parent: u64, name: &[u16], now: Instant) {
        let others = self.directories.get(&parent).map(|directory| directory.other_spellings(name)).unwrap_or_default();
        for other in others {
            let version = self.next_version();
            self.change_entry(parent, &other, now, |entry| {
                entry.is_doubted(now, version);
                // The server reports its own spelling: that report may be the one expected for the other spelling.
                entry.echoes.expect_nothing();
            });
            if let Some(name) = name_encoding::decode(&other) {
                self.effects.forgotten.push(Forgotten::Entry { parent, name });
            }
        }
    }

    /// Records that this mount has made a file, whose node has one more lookup. A file that had the name is gone, even
    /// if the new one has its file id.
    pub(crate) fn made(
        &mut self,
        parent: u64,
        name: &[u16],
        metadata: Metadata,
        (asked, clock): (Asked, FileTime),
        now: Instant,
    ) -> Admission {
        let is_moved = self.is_moved(parent, name, asked);
        self.changed(parent, name, Change::Made(metadata), clock, now);
        // The name got another node here meanwhile.
        if is_moved {
            return Admission::Overtaken;
        }
        self.displace_name(parent, name);
        // A new file has one link, whether the answer tells or not.
        let links = metadata.links.max(u32::from(metadata.kind() != FileKind::Directory));
        Admission::Node(self.insert(parent, name, Metadata { links, ..metadata }, now))
    }

    /// Records that this mount has made a directory: it is empty.
    pub(crate) fn made_directory(&mut self, ino: u64, now: Instant) {
        self.directories.entry(ino).or_default().complete = Some(now);
        self.keep_bounds(ino);
    }

    /// Records that this mount has given a file one more name, and what the server has reported of the file since. The
    /// node has one more lookup. A file that had the name is not there any more.
    pub(crate) fn linked(
        &mut self,
        ino: u64,
        (parent, name): (u64, &[u16]),
        metadata: Metadata,
        (asked, clock): (Asked, FileTime),
        now: Instant,
    ) -> Admission {
        let is_moved = self.is_moved(parent, name, asked);
        self.changed(parent, name, Change::Linked(metadata), clock, now);
        // Without a name the node is of a file that is gone; the link may be of a file that took its place.
        if is_moved || self.name_of(ino).is_none() {
            return Admission::Overtaken;
        }
        self.displace_name(parent, name);
        self.join(ino, parent, name, now);
        self.links_changed(ino, metadata.links);
        self.touch(ino, now);
        Admission::Node(ino)
    }

    /// Gives a node one more name, which leads to it with one more lookup.
    pub(super) fn join(&mut self, ino: u64, parent: u64, name: &[u16], now: Instant) {
        self.enter(ino, parent, name, now);
        if let Some(node) = self.nodes.get_mut(&ino) {
            node.lookups += 1;
        }
    }

    /// Records that this mount has removed the file or directory with a name.
    pub(crate) fn removed(&mut self, parent: u64, name: &[u16], clock: FileTime, now: Instant) {
        self.remove_name(parent, name, now);
        self.changed(parent, name, Change::Went, clock, now);
    }

    /// Records that this mount has renamed a file or directory. A file that had the new name is gone. Returns the node
    /// that has the new name.
    pub(crate) fn renamed(
        &mut self,
        from: (u64, &[u16]),
        to: (u64, &[u16]),
        clock: FileTime,
        now: Instant,
    ) -> Option<u64> {
        let moved = self.at(from.0, from.1);
        if self.at(to.0, to.1).is_some_and(|replaced| Some(replaced) != moved) {
            self.remove_name(to.0, to.1, now);
        }
        // Where the target was another name of the same file, a POSIX server has changed nothing.
        let may_be_linked = moved.and_then(|ino| self.file(ino)).is_some_and(|file| file.lock().metadata().links > 1);
        self.changed(from.0, from.1, if may_be_linked { Change::Unknown } else { Change::Went }, clock, now);
        self.changed(to.0, to.1, Change::Came, clock, now);
        if moved.is_some() {
            self.relocate(from, to, now);
        }
        moved
    }

    /// Records that a name was removed while its file was open, and is the hidden name `to` now.
    pub(crate) fn hidden(&mut self, from: (u64, &[u16]), to: (u64, &[u16]), clock: FileTime, now: Instant) {
        let Some(ino) = self.at(from.0, from.1) else { return };
        let was_shown = self.nodes.get(&ino).is_some_and(|node| node.names.iter().any(|id| is_name(id, from)));
        self.relocate(from, to, now);
        // Listings do not show it.
        self.change_entry(to.0, to.1, now, |entry| entry.is_unlisted = true);
        if was_shown {
            self.changed(from.0, from.1, Change::Went, clock, now);
        }
        if let Some(node) = self.nodes.get_mut(&ino)
            && let Some(at) = node.names.iter().position(|id| is_name(id, to))
        {
            let id = node.names.remove(at);
            node.hidden.push(id);
        }
    }

    /// The hidden names in a directory.
    pub(crate) fn hidden_in(&self, ino: u64) -> Vec<Vec<u16>> {
        let Some(directory) = self.directories.get(&ino) else { return Vec::new() };
        let is_hidden = |(name, entry): &(&Arc<[u16]>, &Entry)| {
            let node = entry.node.and_then(|node| self.nodes.get(&node));
            node.is_some_and(|node| node.hidden.iter().any(|id| is_name(id, (ino, &name[..]))))
        };
        directory.entries.iter().filter(is_hidden).map(|(name, _)| name.to_vec()).collect()
    }

    /// Replaces the name `from` of a node by the name `to`. A node that had that name loses it.
    pub(crate) fn relocate(&mut self, from: (u64, &[u16]), to: (u64, &[u16]), now: Instant) {
        let ((parent, name), at) = (to, self.at(from.0, from.1));
        let Some(ino) = at else { return };
        if self.at(parent, name).is_some_and(|occupant| occupant != ino) {
            self.displace_name(parent, name);
        }
        let is_first = self.nodes.get(&ino).is_some_and(|node| node.names.first().is_some_and(|id| is_name(id, from)));
        self.leave_name(from.0, from.1);
        self.leave_name(parent, name);
        self.enter(ino, parent, name, now);
        // The file's opens have moved with the name.
        if let Some(node) = self.nodes.get_mut(&ino).filter(|_| is_first) {
            node.names.rotate_right(1);
        }
        // An earlier listing does not show the name, unless under another spelling.
        let is_unambiguous = self.directories.get(&parent).is_some_and(|directory| directory.is_unambiguous(name));
        self.change_entry(parent, name, now, |entry| entry.is_unlisted &= !is_unambiguous);
        self.touch(ino, now);
        self.collect(from.0);
    }

    /// Records that a handle of a node is closed. If it was the last one, returns the hidden names of the file, which
    /// have to be removed then.
    pub(crate) fn closed(&mut self, ino: u64) -> Vec<NameId> {
        let Some(node) = self.nodes.get(&ino) else { return Vec::new() };
        let is_open = node.file.lock().has_handles();
        let hidden = if is_open { Vec::new() } else { node.hidden.clone() };
        if hidden.is_empty() {
            self.collect(ino);
        }
        hidden
    }

    /// Takes a name from its node, because it means something else or nothing. The node stays while it is needed.
    pub(crate) fn displace_name(&mut self, parent: u64, name: &[u16]) {
        let Some(ino) = self.leave_name(parent, name) else { return };
        if self.name_of(ino).is_none() {
            self.effects.unwanted_opens.extend(self.file(ino).cloned());
        }
        self.collect(ino);
        self.collect(parent);
    }

    /// Records that this mount has removed or replaced what a name meant.
    pub(crate) fn remove_name(&mut self, parent: u64, name: &[u16], now: Instant) {
        let Some(ino) = self.at(parent, name) else { return };
        if let Some(node) = self.nodes.get_mut(&ino) {
            let links = node.links(node.file.lock().metadata().links);
            let is_hidden = node.hidden.iter().any(|id| is_name(id, (parent, name)));
            match node.names.len() + node.hidden.len() {
                // The count leaves hidden names out.
                1 => node.removed = Some(links.saturating_sub(u32::from(!is_hidden))),
                _ => {
                    let left = node.file.lock().metadata().links.saturating_sub(1);
                    node.file.lock().touch(now);
                    self.links_changed(ino, left);
                }
            }
        }
        self.displace_name(parent, name);
    }

    /// Records the number of a file's links; 0 if it is not known. Listings do not tell it, so the entries of its names
    /// get it for the time when the node is gone; not all of very many.
    pub(super) fn links_changed(&mut self, ino: u64, links: u32) {
        let Some(node) = self.nodes.get(&ino) else { return };
        node.file.lock().links_reported(links);
        for id in node.names.iter().take(MOST_TOLD) {
            let directory = self.directories.get_mut(&id.directory);
            if let Some((_, entry)) = directory.and_then(|directory| directory.entry_mut(&id.name))
                && let Meaning::Present(metadata) = &mut entry.meaning
            {
                metadata.links = links;
            }
        }
    }

    /// Records that this mount has changed something about a file: only the server knows its times.
    pub(crate) fn touch(&mut self, ino: u64, now: Instant) {
        if let Some(file) = self.file(ino) {
            file.lock().touch(now);
        }
    }

    /// Records that another client may have changed a file: its attributes and its data are not valid any more.
    pub(crate) fn doubt(&mut self, ino: u64, now: Instant) {
        if let Some(file) = self.file(ino) {
            file.lock().doubt(now);
        }
    }

    /// Records that the server contradicts the name of a node: the next lookup of the name asks the server. A node with
    /// several names loses this one, so that the next request by path uses another.
    pub(crate) fn doubt_name(&mut self, ino: u64, now: Instant) {
        let Some(id) = self.name_of(ino).cloned() else { return };
        self.lose_one_of_several(ino, &id);
        let version = self.next_version();
        self.change_entry(id.directory, &id.name, now, |entry| entry.is_doubted(now, version));
    }

    /// Takes a name from a node that has others.
    pub(super) fn lose_one_of_several(&mut self, ino: u64, id: &NameId) {
        let is_one_of_several =
            self.nodes.get(&ino).is_some_and(|node| node.names.len() > 1 && node.names.contains(id));
        if is_one_of_several {
            self.displace_name(id.directory, &id.name);
        }
    }

    /// Whether a change by this mount of an entry, or of its file, may still be reported by the watch of the directory.
    pub(super) fn is_changing(&self, ino: u64, name: &[u16], now: Instant) -> bool {
        let Some(entry) = self.entry(ino, name) else { return false };
        let of_file = entry.node.and_then(|node| self.file(node)).map(|file| {
            let state = file.lock();
            (state.is_dirty(), state.changed_at())
        });
        let (is_dirty, changed) = of_file.unwrap_or_default();
        is_dirty || Echoes::are_expected(entry.echoes.changed, now) || Echoes::are_expected(changed, now)
    }
}

/// Whether a name is this one, in this directory.
fn is_name(id: &NameId, (directory, name): (u64, &[u16])) -> bool {
    id.directory == directory && id.name[..] == *name
}
