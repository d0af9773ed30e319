//! How the events of watches and the breaks of directory leases are recorded.
//!
//! A report is of this mount's own change if it was expected ([`Namespace::changing`]). Otherwise another client made
//! the change: the name becomes unknown here, and the kernel is to forget it.

use super::Namespace;
use super::answers::Asked;
use super::directory::Echo;
use super::node::NameId;
use super::watch::{Report, Watch, WatchEvent};
use crate::share::{ChangeKind, DirChange, FileKind, LeaseKey};
use crate::vfs::lane::Forgotten;
use crate::vfs::name_encoding;
use crate::vfs::names::hidden;
use std::time::Instant;

impl<O: Clone> Namespace<O> {
    /// Whether a directory has a watch.
    pub(crate) fn is_watched(&self, ino: u64) -> bool {
        self.directories.get(&ino).is_some_and(|directory| directory.watch.is_some())
    }

    /// The directory of a watch that has not ended.
    pub(crate) fn directory_of(&self, watch: u64) -> Option<u64> {
        self.watched.get(&watch).copied()
    }

    /// Records the watch of a directory that was granted with its listing: by a lease, or by a CHANGE_NOTIFY, which is
    /// at the server already if `is_armed`. An older watch of the directory ends.
    pub(crate) fn watch(&mut self, ino: u64, (number, lease, is_armed): (u64, Option<LeaseKey>, bool), asked: Asked) {
        if !self.nodes.contains_key(&ino) {
            self.effects.ended_watches.push(number);
            return;
        }
        self.give_up_watch(ino);
        let version = self.next_version();
        let directory = self.directories.entry(ino).or_default();
        directory.is_past();
        directory.watch = Some(Watch::listed_with(number, lease, is_armed, asked.at, (asked.version, version)));
        directory.is_unwatchable = false;
        self.watched.insert(number, ino);
        self.leased.extend(lease.map(|lease| (lease, ino)));
        self.bounds.watch_begins(ino);
        self.keep_bounds(ino);
    }

    /// Records that the server does not watch a directory, which was listed.
    pub(crate) fn is_unwatchable(&mut self, ino: u64) {
        if self.nodes.contains_key(&ino) {
            self.directories.entry(ino).or_default().is_unwatchable = true;
        }
    }

    /// Whether a second look at the directory of a watch could make the watch complete; `None` while the directory is
    /// being listed.
    pub(crate) fn needs_second_look(&self, number: u64) -> Option<bool> {
        let directory = self.directory_of(number).and_then(|ino| self.directories.get(&ino));
        let Some(directory) = directory else { return Some(false) };
        directory.complete.map(|_| directory.watch.as_ref().is_some_and(Watch::needs_second_look))
    }

    /// Records an event of a watch. Returns what a report shows; an overflow or an end counts as changes by others.
    pub(crate) fn on_watch(&mut self, number: u64, event: WatchEvent, now: Instant) -> Report {
        let Some(ino) = self.directory_of(number) else { return Report::Nothing };
        let version = self.next_version();
        let Some(directory) = self.directories.get_mut(&ino) else { return Report::Nothing };
        let Some(watch) = directory.watch.as_mut() else { return Report::Nothing };
        match event {
            WatchEvent::Armed => watch.armed(),
            WatchEvent::Begun => watch.begun(now),
            WatchEvent::Confirmed => watch.confirmed(),
            WatchEvent::Reported(changes) => {
                watch.report(now);
                return self.reported(ino, changes, now);
            }
            WatchEvent::Overflowed => {
                watch.overflowed(version, now);
                directory.unwatched();
                directory.is_past();
                self.doubt(ino, now);
                self.attributes_end(ino, now);
                self.all_in_doubt(ino, now);
                return Report::ByOthers { gone: true };
            }
            WatchEvent::Ended => {
                watch.overflowed(version, now);
                directory.unwatched();
                self.end_watch(ino);
                return Report::ByOthers { gone: true };
            }
        }
        Report::Nothing
    }

    /// The lease of a directory is broken: another client has changed the directory, or is about to change, rename or
    /// remove it. Returns whether a directory has this lease.
    pub(crate) fn lease_broken(&mut self, lease: LeaseKey, now: Instant) -> bool {
        let Some(ino) = self.leased.get(&lease).copied() else { return false };
        if let Some(number) = self.directories.get(&ino).and_then(|directory| Some(directory.watch.as_ref()?.number)) {
            self.on_watch(number, WatchEvent::Ended, now);
        }
        self.doubt(ino, now);
        self.attributes_end(ino, now);
        self.all_in_doubt(ino, now);
        true
    }

    /// Makes the kernel forget every name of a directory that it may still use without asking.
    fn all_in_doubt(&mut self, ino: u64, now: Instant) {
        let Some(directory) = self.directories.get(&ino) else { return };
        let is_in_kernel = |node: Option<u64>| node.is_some_and(|node| self.is_in_kernel(node, now));
        let names = directory.entries.iter().filter(|(_, entry)| is_in_kernel(entry.node));
        let names: Vec<_> = names.filter_map(|(name, _)| name_encoding::decode(name)).collect();
        self.effects.forgotten.extend(names.into_iter().map(|name| Forgotten::Entry { parent: ino, name }));
    }

    /// Records reported changes of a directory's entries.
    fn reported(&mut self, ino: u64, changes: Vec<DirChange>, now: Instant) -> Report {
        // Hidden files are not shown, but the removal of one changes the attributes of the directory.
        let (unseen, changes): (Vec<_>, Vec<_>) =
            changes.into_iter().partition(|change| hidden::is_hidden(&change.name));
        let mut names_changed = unseen.iter().any(|change| change.kind == ChangeKind::Removed);
        let mut report = if unseen.is_empty() { Report::OwnData } else { Report::OwnNames };
        for change in changes {
            if self.is_own(ino, &change, now) {
                if change.kind != ChangeKind::Modified && report == Report::OwnData {
                    report = Report::OwnNames;
                }
                let comes = change.kind == ChangeKind::Added;
                self.change_entry(ino, &change.name, now, |entry| {
                    entry.watched = false;
                    entry.is_unlisted &= !comes;
                });
                continue;
            }
            let had_gone = matches!(report, Report::ByOthers { gone: true });
            report = Report::ByOthers { gone: had_gone || change.kind == ChangeKind::Removed };
            names_changed |= change.kind != ChangeKind::Modified;
            self.changed_by_others(ino, change, now);
        }
        if names_changed {
            self.doubt(ino, now);
            self.attributes_end(ino, now);
        }
        report
    }

    /// Whether this mount made a reported change.
    fn is_own(&mut self, ino: u64, change: &DirChange, now: Instant) -> bool {
        let echo = match change.kind {
            ChangeKind::Modified => return self.is_changing(ino, &change.name, now),
            ChangeKind::Added => Echo::Added,
            ChangeKind::Removed => Echo::Removed,
        };
        let entry = self.directories.get_mut(&ino).and_then(|directory| directory.entry_mut(&change.name));
        entry.is_some_and(|(_, entry)| entry.echoes.explain(echo, now))
    }

    /// Records that another client has changed an entry.
    pub(super) fn changed_by_others(&mut self, ino: u64, change: DirChange, now: Instant) {
        let version = self.next_version();
        let covers = self.directories.get(&ino).and_then(|directory| directory.watch.as_ref()).is_some();
        self.change_entry(ino, &change.name, now, |entry| {
            let order = entry.order;
            entry.is_doubted(now, version);
            (entry.watched, entry.order, entry.is_unlisted) = (covers, order, change.kind == ChangeKind::Removed);
        });
        self.doubt_other_spellings(ino, &change.name, now);
        let node = self.at(ino, &change.name);
        if let Some(node) = node {
            self.doubt(node, now);
            // A kept open would keep a deleted file alive, and hide its new times.
            self.effects.unwanted_opens.extend(self.file(node).cloned());
            if change.kind == ChangeKind::Removed {
                self.lose_one_of_several(node, &NameId { directory: ino, name: change.name[..].into() });
            }
        }
        match (change.kind, node) {
            (ChangeKind::Modified, Some(ino)) => {
                if let Some(node) = self.nodes.get(&ino).filter(|node| node.kind == FileKind::File) {
                    node.file.lock().changes_elsewhere(now);
                }
                self.attributes_end(ino, now);
            }
            (ChangeKind::Modified, None) => {}
            (ChangeKind::Added | ChangeKind::Removed, _) => {
                if let Some(name) = name_encoding::decode(&change.name) {
                    self.effects.forgotten.push(Forgotten::Entry { parent: ino, name });
                }
                // This mount must not keep anything below the renamed or removed directory open at the server.
                if let Some(node) = node {
                    self.end_watches_within(node);
                }
            }
        }
    }

    /// Ends the watches of a directory and of all directories below it, and those of directories to which no name leads
    /// any more.
    pub(crate) fn end_watches_within(&mut self, ino: u64) {
        let meant = |directory: u64| self.is_within(directory, ino) || !self.is_within(directory, super::ROOT);
        let ended: Vec<u64> = self.watched.values().copied().filter(|directory| meant(*directory)).collect();
        ended.into_iter().for_each(|directory| self.give_up_watch(directory));
    }

    /// Ends the watch of a directory. What it covered stays known up to its last report.
    pub(super) fn give_up_watch(&mut self, ino: u64) {
        if let Some(directory) = self.directories.get_mut(&ino) {
            directory.unwatched();
        }
        self.end_watch(ino);
    }

    /// Ends the watch of a directory, if it has one. What it covered is not valid any more.
    pub(super) fn end_watch(&mut self, ino: u64) {
        let Some(directory) = self.directories.get_mut(&ino) else { return };
        let Some(watch) = directory.watch.take() else { return };
        directory.is_past();
        self.watched.remove(&watch.number);
        if let Some(lease) = watch.lease {
            self.leased.remove(&lease);
        }
        self.bounds.watch_ends(ino);
        self.effects.ended_watches.push(watch.number);
    }
}
