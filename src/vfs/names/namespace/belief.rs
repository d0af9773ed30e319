//! What is answered without asking the server, and for how long the kernel may cache it.
//!
//! In mode `strict` a name is answered from the cache only while an armed watch, or a lease, covers its directory.
//! Where a directory cannot be watched, a present name is valid for the attribute timeout, and an absent one is always
//! asked for. In mode `loose` both are valid for the timeout. Mode `none` has the rules of `strict`; with its default
//! timeout of 0 every name is asked for.

use super::answers::Admission;
use super::directory::{Directory, Entry, Meaning};
use super::node::Node;
use super::{Namespace, ROOT};
use crate::config::CacheMode;
use crate::share::{FileKind, Metadata, is_unlisted_name};
use crate::vfs::file::FileState;
use crate::vfs::file::attributes::StillTrue;
use crate::vfs::lane::Forgotten;
use crate::vfs::presentation::Attr;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The number of names of a directory that are asked for one by one before the directory is listed instead.
pub(super) const MISSES: u8 = 4;
/// The length, in entries, up to which a directory that was listed before is listed at once when one of its names is
/// not valid any more: that costs no more than asking for the name.
const SHORT: usize = 256;

/// An entry of a listing: its name, its metadata, and when that was fetched.
pub(crate) type ListedEntry = (Arc<[u16]>, Metadata, Instant);

/// What is known of a name.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Known {
    /// It means a file, whose node has one more lookup.
    File(Attr),
    /// Nothing has this name.
    Absent,
}

/// What covers the names of a directory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Cover {
    /// A watch or lease that reports a change as soon as it happens.
    Watched,
    /// A watch without a CHANGE_NOTIFY at the server at this moment, or one that has lost count of changes.
    Between,
    /// Nothing yet, though the server could watch the directory.
    Unwatched,
    /// The attribute timeout: the directory cannot be watched, or the mode is `loose`.
    Timeout,
}

impl<O: Clone> Namespace<O> {
    /// What covers the names of a directory now.
    fn cover(&self, directory: &Directory) -> Cover {
        match &directory.watch {
            _ if self.policy.mode == CacheMode::Loose => Cover::Timeout,
            Some(watch) if watch.is_armed && !watch.has_lost_count() => Cover::Watched,
            Some(_) => Cover::Between,
            None if directory.is_unwatchable || !self.bounds.can_watch() => Cover::Timeout,
            None => Cover::Unwatched,
        }
    }

    /// Whether something that was true at `until` is valid at `now`.
    fn is_recent(&self, until: Instant, now: Instant) -> bool {
        now.saturating_duration_since(until) < self.policy.timeout
    }

    /// Whether an entry may be used without asking the server.
    fn believes(&self, directory: &Directory, entry: &Entry, now: Instant) -> bool {
        match self.cover(directory) {
            Cover::Watched if !directory.is_covered(entry) => false,
            Cover::Watched | Cover::Timeout => self.is_recent(directory.known_until(entry, now), now),
            Cover::Between | Cover::Unwatched => false,
        }
    }

    /// Whether a name is known to be absent. A watch reports nothing if the name appears under another spelling, nor if
    /// it appeared before the watch had begun: so more is required here than for a present name.
    fn is_absent(&self, directory: &Directory, name: &[u16], now: Instant) -> bool {
        // No listing and no watch shows previous versions.
        if is_unlisted_name(name) {
            return false;
        }
        let is_covered = match self.cover(directory) {
            Cover::Watched => match directory.entries.get(name) {
                Some(entry) => directory.is_proven(entry),
                None => directory.is_complete_proven(),
            },
            Cover::Timeout => self.policy.mode == CacheMode::Loose,
            Cover::Between | Cover::Unwatched => false,
        };
        let is_recent = |until| is_covered && self.is_recent(until, now);
        match directory.entries.get(name) {
            Some(entry) if entry.node.is_some() || entry.meaning != Meaning::Absent => false,
            Some(entry) if directory.is_unambiguous(name) => is_recent(directory.known_until(entry, now)),
            Some(entry) => directory.is_alone(name) && is_recent(entry.at),
            None => directory.is_unambiguous(name) && directory.complete_until(now).is_some_and(is_recent),
        }
    }

    /// The metadata of a name that is known to be present, and when it was fetched.
    fn present(&self, parent: u64, name: &[u16], now: Instant) -> Option<(Metadata, Instant)> {
        let directory = self.directories.get(&parent)?;
        let entry = directory.entries.get(name).filter(|entry| self.believes(directory, entry, now))?;
        match entry.meaning {
            Meaning::Present(metadata) => Some((metadata, entry.at)),
            Meaning::Absent | Meaning::Unknown => None,
        }
    }

    /// What a name means, if that is known without asking the server.
    pub(crate) fn known(&mut self, parent: u64, name: &[u16], now: Instant) -> Option<Known> {
        self.uses(parent, now);
        let directory = self.directories.get(&parent)?;
        if self.is_absent(directory, name, now) {
            return Some(Known::Absent);
        }
        let (metadata, fetched) = self.present(parent, name, now)?;
        let is_unknown = self.at(parent, name).is_none() && self.same_file(&metadata).is_none();
        if is_unknown && directory.may_have_links(&metadata) {
            return None;
        }
        let is_kept = self.at(parent, name).is_some_and(|ino| self.is_kept(ino));
        let Admission::Node(ino) = self.admit_listed(parent, name, metadata, fetched, is_kept) else { return None };
        match self.believed(ino, now) {
            Some(attr) => {
                self.shown_to_kernel(&attr, now);
                Some(Known::File(attr))
            }
            None => {
                self.forget(ino, 1);
                None
            }
        }
    }

    /// Whether the name of a node may be used without asking the server: it still means this file.
    pub(crate) fn believes_name(&mut self, ino: u64, now: Instant) -> bool {
        let Some(id) = self.name_of(ino).cloned() else { return false };
        self.uses(id.directory, now);
        self.present(id.directory, &id.name, now).is_some_and(|(metadata, _)| self.is_still(ino, &metadata))
    }

    /// How long the kernel may cache the name of a node. The kernel is notified of changes while the directory is
    /// watched. Zero while the directory could be watched and is not, and for a name in doubt: then the kernel asks
    /// this mount at each use of the name.
    fn name_ttl(&self, ino: u64) -> Duration {
        let Some(id) = self.name_of(ino) else { return self.policy.timeout };
        let Some(directory) = self.directories.get(&id.directory) else { return Duration::ZERO };
        // A change between the question and now has been reported already, and will not be reported again: so the entry
        // has to mean the node's file.
        let file_id = self.file(ino).map(|file| file.lock().metadata().file_id);
        let is_watched = matches!(self.cover(directory), Cover::Watched | Cover::Between);
        let is_known = self.entry(id.directory, &id.name).is_some_and(|entry| match entry.meaning {
            Meaning::Present(_) if is_watched && !directory.is_covered(entry) => false,
            Meaning::Present(known) => Some(known.file_id) == file_id || !self.numbering.trusts_ids(),
            Meaning::Absent | Meaning::Unknown => false,
        });
        let is_reported = self.cover(directory) != Cover::Unwatched;
        // A rename that only changes the case has to look the name up.
        let is_other_spelling = self.is_other_spelling(id.directory, &id.name);
        if is_known && is_reported && !is_other_spelling { self.policy.timeout } else { Duration::ZERO }
    }

    /// The attributes that stat(2) shows, and how long the kernel may cache them: not at all while times are estimated,
    /// so that stat(2) asks for them, or another client is changing the file.
    pub(crate) fn attr(&self, ino: u64, now: Instant) -> Option<Attr> {
        self.attr_valid_for(ino, self.valid_for(ino, now)?, now)
    }

    /// As [`Namespace::attr`], of attributes that are valid for so long, but for estimated times.
    fn attr_valid_for(&self, ino: u64, valid: Duration, now: Instant) -> Option<Attr> {
        let node = self.nodes.get(&ino)?;
        let (metadata, owner, is_kept) = {
            let state = node.file.lock();
            let is_kept = !state.has_estimated_times() && !state.is_contested(now);
            (state.shown(now), state.owner().shown(), is_kept)
        };
        let ttl = if is_kept { valid } else { Duration::ZERO };
        let attr = Attr {
            name_ttl: self.name_ttl(ino).min(valid),
            ..self.show.attr(ino, node.key(), (&metadata, owner), ttl)
        };
        let links = match node.kind {
            FileKind::Directory if !node.is_hidden() && node.removed.is_none() => attr.links,
            FileKind::Directory => 0,
            _ => node.links(metadata.links),
        };
        Some(Attr { links, ..attr })
    }

    /// For how much longer the attributes of a node are valid, but for estimated times; zero if they are not. `None` if
    /// there is no such node.
    fn valid_for(&self, ino: u64, now: Instant) -> Option<Duration> {
        let node = self.nodes.get(&ino)?;
        let still_true = self.still_true(ino, now);
        let is_gone = node.is_gone();
        let remaining = self.remaining(&node.file.lock(), now, still_true);
        Some(remaining.or(is_gone.then_some(self.policy.timeout)).unwrap_or(Duration::ZERO))
    }

    /// For how much longer the attributes of a file are valid; `None` if they are not.
    fn remaining(&self, state: &FileState<O>, now: Instant, still_true: Option<StillTrue>) -> Option<Duration> {
        let remaining = state.remaining(now, self.policy.timeout, still_true)?;
        match self.show.owner_is_fetched {
            true => Some(remaining.min(state.owner().remaining(now, self.policy.timeout)?)),
            false => Some(remaining),
        }
    }

    /// The attributes of a node, if they are valid without asking the server: within their timeout, while the file is
    /// dirty, or once it is removed and closed. Times of a directory may be estimated.
    pub(crate) fn believed(&mut self, ino: u64, now: Instant) -> Option<Attr> {
        self.record_listed(ino, now);
        let valid = self.valid_for(ino, now)?;
        let node = self.nodes.get(&ino)?;
        let is_valid = !valid.is_zero() || node.is_gone() || node.file.lock().is_dirty();
        if is_valid { self.attr_valid_for(ino, valid, now) } else { None }
    }

    /// As [`Namespace::believed`], with all times as the server has them.
    pub(crate) fn exact(&mut self, ino: u64, now: Instant) -> Option<Attr> {
        self.believed(ino, now).filter(|_| !self.nodes.get(&ino).is_some_and(Node::has_estimated_times))
    }

    /// Records in a node what a listing has reported of it. Not if the file is open at the server: servers report the
    /// attributes of open files late in listings.
    fn record_listed(&mut self, ino: u64, now: Instant) {
        let Some(id) = self.name_of(ino).cloned() else { return };
        let Some((metadata, fetched)) = self.present(id.directory, &id.name, now) else { return };
        if !self.is_still(ino, &metadata) {
            return;
        }
        match self.nodes.get(&ino) {
            // The last access time in a listing is right even for an open file.
            Some(node) if self.is_kept(ino) => node.file.lock().accessed(&metadata, fetched),
            _ => self.store_listed(ino, metadata, fetched),
        }
    }

    /// Whether an open of a file is kept.
    pub(crate) fn is_kept(&self, ino: u64) -> bool {
        self.file(ino).is_some_and(|file| file.lock().has_kept_open())
    }

    /// Records that the kernel gets these attributes of a node, or its name with them.
    pub(crate) fn shown_to_kernel(&mut self, attr: &Attr, now: Instant) {
        if let Some(node) = self.nodes.get_mut(&attr.ino) {
            node.shown = Some(now);
            node.lent.gives(attr.ttl, now);
            node.file.lock().shown_to_kernel();
        }
    }

    /// Makes the kernel forget the attributes of a node, if it may keep any.
    pub(super) fn attributes_end(&mut self, ino: u64, now: Instant) {
        if self.nodes.get_mut(&ino).is_some_and(|node| node.lent.ends(now)) {
            self.effects.forgotten.push(Forgotten::Attributes(ino));
        }
    }

    /// Whether the kernel may still use a name of a node without asking.
    pub(super) fn is_in_kernel(&self, ino: u64, now: Instant) -> bool {
        self.nodes.get(&ino).and_then(|node| node.shown).is_some_and(|shown| self.is_recent(shown, now))
    }

    /// From when until when the attributes of a node are known to be true. `None` for an open file, which programs may
    /// be changing; for a directory, unless all of its names are known; and for a node without a name, or whose name is
    /// in doubt.
    fn still_true(&self, ino: u64, now: Instant) -> Option<StillTrue> {
        let node = self.nodes.get(&ino)?;
        let inside = match node.kind {
            FileKind::Directory => {
                let directory = self.directories.get(&ino)?;
                Some(StillTrue { since: directory.complete?, until: directory.complete_until(now)? })
            }
            // A change through a name in another directory is not reported here.
            _ if node.file.lock().has_handles() || node.file.lock().metadata().links > 1 => return None,
            _ => None,
        };
        let outside = match node.name() {
            Some(id) => {
                let directory = self.directories.get(&id.directory)?;
                let entry = directory.entries.get(&id.name)?;
                let Meaning::Present(listed) = entry.meaning else { return None };
                // Servers report the attributes of open files late: of two reports that differ, neither is known to be
                // true still.
                let is_same = |known: &Metadata| {
                    (known.size, known.modified, known.changed) == (listed.size, listed.modified, listed.changed)
                };
                if !is_same(node.file.lock().metadata()) {
                    return None;
                }
                Some(StillTrue { since: entry.since, until: directory.known_until(entry, now) })
            }
            None if ino == ROOT => None,
            None => return None,
        };
        let both = |one: StillTrue, other: StillTrue| StillTrue {
            since: one.since.max(other.since),
            until: one.until.min(other.until),
        };
        [inside, outside].into_iter().flatten().reduce(both)
    }

    /// All entries of a directory, if all are known and valid: names, metadata, and when that was fetched. In the
    /// server's order; entries that have appeared since the listing come last.
    pub(crate) fn everything(&mut self, ino: u64, now: Instant) -> Option<Vec<ListedEntry>> {
        self.uses(ino, now);
        if !self.is_listed(ino, now) {
            return None;
        }
        let directory = self.directories.get(&ino)?;
        let mut all = Vec::with_capacity(directory.entries.len());
        for (name, entry) in &directory.entries {
            match entry.meaning {
                _ if entry.is_unlisted => {}
                _ if !self.believes(directory, entry, now) => return None,
                Meaning::Present(metadata) => all.push((entry.order, (Arc::clone(name), metadata, entry.at))),
                Meaning::Absent => {}
                Meaning::Unknown => return None,
            }
        }
        all.sort_by_key(|(order, _)| *order);
        Some(all.into_iter().map(|(_, entry)| entry).collect())
    }

    /// Whether all names of a directory are known and valid.
    pub(crate) fn is_listed(&self, ino: u64, now: Instant) -> bool {
        let Some(directory) = self.directories.get(&ino) else { return false };
        let until = match self.cover(directory) {
            Cover::Watched if !directory.is_complete_covered() => None,
            Cover::Watched | Cover::Timeout => directory.complete_until(now),
            Cover::Between | Cover::Unwatched => None,
        };
        until.is_some_and(|until| self.is_recent(until, now))
    }

    /// The names of the subdirectories of a directory, in the server's order: those after the name `after`, or all.
    pub(crate) fn subdirectories(&self, ino: u64, after: Option<&[u16]>) -> impl Iterator<Item = &[u16]> {
        let directory = self.directories.get(&ino);
        let after = after.and_then(|name| Some(directory?.entries.get(name)?.order));
        let all = directory.map_or(&[][..], |directory| &directory.subdirectories);
        let start = after.map_or(0, |after| all.partition_point(|(order, _)| *order <= after));
        all[start..].iter().map(|(_, name)| &name[..])
    }

    /// Counts a name that the server has to be asked for. Returns whether the directory should be listed instead.
    pub(crate) fn missed(&mut self, ino: u64, name: &[u16]) -> bool {
        if !self.nodes.contains_key(&ino) {
            return false;
        }
        let directory = self.directories.entry(ino).or_default();
        // A listing that shows another spelling does not answer this one.
        let is_respelt = directory.complete.is_some() && !directory.has(name) && !directory.is_unambiguous(name);
        // A listing has no owners. What it begins is the watch, which makes names valid.
        let has_no_use = self.show.owner_is_fetched && (directory.watch.is_some() || directory.is_unwatchable);
        if directory.is_too_long || is_respelt || has_no_use {
            return false;
        }
        directory.misses = directory.misses.saturating_add(1);
        directory.misses > MISSES || (directory.complete.is_some() && directory.entries.len() <= SHORT)
    }

    /// Records that a directory could not be listed, or is too long to be listed for lookups of single names. Until a
    /// program lists the directory, its names are asked for one by one; without a watch, a present name is valid for
    /// the attribute timeout.
    pub(crate) fn is_too_long(&mut self, ino: u64) {
        if let Some(directory) = self.directories.get_mut(&ino) {
            directory.is_too_long = true;
            directory.is_unwatchable = directory.watch.is_none();
        }
    }
}
