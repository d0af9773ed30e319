//! How changes by this mount are recorded: names that it makes, removes and renames, and attributes that it changes.
//!
//! Invariant: a change is announced before its request is sent ([`Namespace::changing`]), because the watch may report
//! it before the server answers. A report that no announced change explains is of another client.

use super::Namespace;
use super::answers::{Admission, Asked};
use super::directory::{Echo, Echoes, LAST, Meaning};
use crate::share::{ChangeKind, DirChange, FileTime, Metadata};
use crate::vfs::lane::Forgotten;
use crate::vfs::name_encoding;
use std::time::Instant;

/// What a change by this mount makes of a name.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Change {
    /// The name means this new file.
    Made(Metadata),
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
        if !matches!(change, Change::Made(_))
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
                Change::Made(metadata) => Meaning::Present(metadata),
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
    fn entries_changed(&mut self, directory: u64, clock: FileTime, now: Instant) {
        if let Some(file) = self.file(directory) {
            file.lock().entries_changed(clock, now);
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
        let is_moved = self.directories.get(&parent).is_some_and(|directory| directory.moved(name) > asked.version);
        self.changed(parent, name, Change::Made(metadata), clock, now);
        match self.at(parent, name) {
            // The name got another node here meanwhile.
            _ if is_moved => return Admission::Overtaken,
            Some(ino) => self.displace(ino),
            None => {}
        }
        Admission::Node(self.insert(parent, name, metadata, now))
    }

    /// Records that this mount has made a directory: it is empty.
    pub(crate) fn made_directory(&mut self, ino: u64, now: Instant) {
        self.directories.entry(ino).or_default().complete = Some(now);
        self.keep_bounds(ino);
    }

    /// Records that this mount has removed the file or directory with a name.
    pub(crate) fn removed(&mut self, parent: u64, name: &[u16], clock: FileTime, now: Instant) {
        if let Some(ino) = self.at(parent, name) {
            self.remove(ino);
        }
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
        if let Some(replaced) = self.at(to.0, to.1).filter(|replaced| Some(*replaced) != moved) {
            self.remove(replaced);
        }
        self.changed(from.0, from.1, Change::Went, clock, now);
        self.changed(to.0, to.1, Change::Came, clock, now);
        if let Some(ino) = moved {
            self.relocate(ino, to.0, to.1, now);
        }
        moved
    }

    /// Records that an open file that was removed has the hidden name `to`.
    pub(crate) fn hidden(&mut self, ino: u64, to: (u64, &[u16]), clock: FileTime, now: Instant) {
        let old = self.name_of(ino).cloned();
        self.relocate(ino, to.0, to.1, now);
        // Listings do not show it.
        self.change_entry(to.0, to.1, now, |entry| entry.is_unlisted = true);
        let was_shown = self.nodes.get(&ino).is_some_and(|node| !node.hidden);
        if let Some(old) = old.filter(|_| was_shown) {
            self.changed(old.directory, &old.name, Change::Went, clock, now);
        }
        if let Some(node) = self.nodes.get_mut(&ino) {
            node.hidden = true;
        }
    }

    /// The hidden files of a directory: their inode numbers and names.
    pub(crate) fn hidden_in(&self, ino: u64) -> Vec<(u64, Vec<u16>)> {
        let Some(directory) = self.directories.get(&ino) else { return Vec::new() };
        let nodes = directory.entries.iter().filter_map(|(name, entry)| Some((entry.node?, name.to_vec())));
        nodes.filter(|(node, _)| self.nodes.get(node).is_some_and(|node| node.hidden)).collect()
    }

    /// Gives a node another name, as its only one. A node that had that name has none any more.
    pub(crate) fn relocate(&mut self, ino: u64, parent: u64, name: &[u16], now: Instant) {
        if let Some(occupant) = self.at(parent, name).filter(|occupant| *occupant != ino) {
            self.displace(occupant);
        }
        let left = self.leave(ino);
        self.enter(ino, parent, name, now);
        // An earlier listing does not show the name, unless under another spelling.
        let is_unambiguous = self.directories.get(&parent).is_some_and(|directory| directory.is_unambiguous(name));
        self.change_entry(parent, name, now, |entry| entry.is_unlisted &= !is_unambiguous);
        self.touch(ino, now);
        left.into_iter().for_each(|directory| self.collect(directory));
    }

    /// Records that a handle of a node is closed. Returns whether it was the last one of a hidden file, which has to be
    /// removed then.
    pub(crate) fn closed(&mut self, ino: u64) -> bool {
        let Some(node) = self.nodes.get(&ino) else { return false };
        let removes = node.hidden && !node.file.lock().has_handles();
        if !removes {
            self.collect(ino);
        }
        removes
    }

    /// Takes all names from a node, because its file was removed or replaced. The node stays while it is needed.
    pub(crate) fn displace(&mut self, ino: u64) {
        let left = self.leave(ino);
        self.effects.unwanted_opens.extend(self.file(ino).cloned());
        self.collect(ino);
        left.into_iter().for_each(|directory| self.collect(directory));
    }

    /// Records that this mount has removed or replaced the file of a node.
    pub(crate) fn remove(&mut self, ino: u64) {
        if let Some(node) = self.nodes.get_mut(&ino) {
            node.removed = true;
        }
        self.displace(ino);
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

    /// Records that the server contradicts the name of a node: the next lookup of the name asks the server.
    pub(crate) fn doubt_name(&mut self, ino: u64, now: Instant) {
        let Some(id) = self.name_of(ino).cloned() else { return };
        let version = self.next_version();
        self.change_entry(id.directory, &id.name, now, |entry| entry.is_doubted(now, version));
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
