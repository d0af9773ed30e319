//! The entries of a directory, and how old they are. Plain values.

use super::Version;
use super::watch::Watch;
use crate::share::{FileKind, Metadata};
use std::collections::{BTreeMap, HashMap};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The order of names that were not listed.
pub(super) const LAST: u32 = u32::MAX;
/// The server reports a change of this mount to its own watch so soon afterwards.
const ECHO_WITHIN: Duration = Duration::from_secs(3);

/// What a name means.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Meaning {
    Present(Metadata),
    Absent,
    /// Something happened, and only the server knows.
    Unknown,
}

/// One name of a directory.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    pub meaning: Meaning,
    /// The file that it means, while the kernel or a handle counts on that.
    pub node: Option<u64>,
    /// The meaning has been so since then, or longer.
    pub since: Instant,
    /// When the server was asked.
    pub at: Instant,
    /// It was still so then.
    pub until: Instant,
    /// The watch reports everything that has happened since.
    pub watched: bool,
    /// Of the last change by anybody.
    pub version: Version,
    /// Of the last change of the node by this mount.
    pub moved: Version,
    /// What of this mount's changes the watch is going to report.
    pub echoes: Echoes,
    /// Its place in the server's order.
    pub order: u32,
    /// The server may have it, but does not list it under this name as far as is known: it is another spelling, is hidden, or
    /// has gone since.
    pub is_unlisted: bool,
    /// It was asked for before the watch was granted, or before that lost count: the watch does not say whether it is still so.
    pub is_past: bool,
}

impl Entry {
    pub(super) fn unknown(now: Instant, version: Version) -> Entry {
        Entry {
            meaning: Meaning::Unknown,
            node: None,
            since: now,
            at: now,
            until: now,
            watched: false,
            version,
            moved: Version::default(),
            echoes: Echoes::default(),
            order: LAST,
            is_unlisted: true,
            is_past: false,
        }
    }

    /// Since when it has been what it is found to be now, if it was that before. A change would show in its ChangeTime at the
    /// latest: the other times of a file that is open may be reported late.
    pub(super) fn has_been(&self, found: &Metadata) -> Option<Instant> {
        let Meaning::Present(before) = self.meaning else { return None };
        (Metadata { accessed: found.accessed, ..before } == *found).then_some(self.since)
    }

    /// The server was asked at `at`, and has found this.
    pub(super) fn is_found(&mut self, found: Option<Metadata>, at: Instant) {
        self.since = found.as_ref().and_then(|found| self.has_been(found)).unwrap_or(at);
        self.meaning = found.map_or(Meaning::Absent, Meaning::Present);
        self.is_unlisted |= found.is_none();
        self.is_past = false;
        (self.at, self.until) = (at, at);
    }

    /// Something happened at `now`, and only the server knows what the name means since.
    pub(super) fn is_doubted(&mut self, now: Instant, version: Version) {
        (self.meaning, self.version, self.watched) = (Meaning::Unknown, version, false);
        self.is_past = false;
        (self.since, self.at, self.until) = (now, now, now);
    }

    /// The node of a present name goes. `known` is what was known of its file last, and since when; without that the name is
    /// in doubt.
    pub(super) fn file_goes(&mut self, known: Option<(Metadata, Instant)>, version: Version) {
        match (self.meaning, known) {
            (Meaning::Present(_), Some((metadata, at))) if at > self.at => {
                self.since = self.has_been(&metadata).unwrap_or(at);
                self.meaning = Meaning::Present(metadata);
                (self.at, self.until) = (at, at.max(self.until));
            }
            (Meaning::Present(_), None) => (self.meaning, self.version) = (Meaning::Unknown, version),
            _ => {}
        }
    }
}

/// How the server reports that a name was changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Echo {
    Added,
    Removed,
}

/// Own changes of a name that the directory's watch has not reported yet.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Echoes {
    /// When this mount changed the name or its file last.
    pub changed: Option<Instant>,
    /// How often this mount has made it come and go.
    added: u8,
    removed: u8,
    /// The version of the namespace when the change began whose answer is awaited.
    pub begun: Option<Version>,
}

impl Echoes {
    /// Whether own changes may still be reported at `now`.
    pub(super) fn are_expected(changed: Option<Instant>, now: Instant) -> bool {
        changed.is_some_and(|changed| now.saturating_duration_since(changed) < ECHO_WITHIN)
    }

    fn count(&mut self, echo: Echo) -> &mut u8 {
        match echo {
            Echo::Added => &mut self.added,
            Echo::Removed => &mut self.removed,
        }
    }

    /// This mount makes a name come or go at `now`.
    pub(super) fn expect(&mut self, echo: Echo, now: Instant) {
        if !Echoes::are_expected(self.changed, now) {
            (self.added, self.removed) = (0, 0);
        }
        self.changed = Some(now);
        let count = self.count(echo);
        *count = count.saturating_add(1);
    }

    /// It has not done that, or that has been reported. Whether the report was still awaited.
    pub(super) fn withdraw(&mut self, echo: Echo) -> bool {
        let count = self.count(echo);
        let was_awaited = *count > 0;
        *count = count.saturating_sub(1);
        was_awaited
    }

    /// What is reported from now on is by others.
    pub(super) fn expect_nothing(&mut self) {
        (self.added, self.removed) = (0, 0);
    }

    /// The watch reports that the name has come or gone. Whether this mount did that.
    pub(super) fn explain(&mut self, echo: Echo, now: Instant) -> bool {
        self.withdraw(echo) && Echoes::are_expected(self.changed, now)
    }
}

/// What is known of a directory.
#[derive(Debug, Default)]
pub(super) struct Directory {
    pub entries: BTreeMap<Arc<[u16]>, Entry>,
    /// The names of directories, in the server's order.
    pub subdirectories: Vec<(u32, Arc<[u16]>)>,
    /// Hashes of the names without their case, and how many names have each.
    folded: HashMap<u64, usize>,
    /// The entries that have a node.
    pub nodes: usize,
    /// All names are here, and this is when that was so.
    pub complete: Option<Instant>,
    /// See [`Entry::is_past`].
    pub is_complete_past: bool,
    pub watch: Option<Watch>,
    /// A watch cannot be had: the server does not watch, has no room for it, or does not let the directory be listed.
    pub is_unwatchable: bool,
    /// Names that were asked for one by one.
    pub misses: u8,
    /// It is not to be listed for their sake: it is too long, or cannot be listed.
    pub is_too_long: bool,
    /// Entries have been dropped until this version.
    pub dropped: Version,
}

impl Directory {
    pub(super) fn insert(&mut self, name: &[u16], entry: Entry) {
        if self.entries.insert(Arc::from(name), entry).is_none() {
            *self.folded.entry(folded(name)).or_default() += 1;
        }
    }

    pub(super) fn entry_mut(&mut self, name: &[u16]) -> Option<(Arc<[u16]>, &mut Entry)> {
        let (id, _) = self.entries.get_key_value(name)?;
        let id = Arc::clone(id);
        let entry = self.entries.get_mut(name)?;
        Some((id, entry))
    }

    /// The version of the last change of a name's node by this mount, as far as it is known here.
    pub(super) fn moved(&self, name: &[u16]) -> Version {
        self.entries.get(name).map_or(self.dropped, |entry| entry.moved)
    }

    /// Drops the entries without a node, and all that rests on them. How many there were.
    pub(super) fn drop_known(&mut self, version: Version) -> usize {
        let before = self.entries.len();
        self.entries.retain(|_, entry| entry.node.is_some());
        (self.complete, self.dropped) = (None, version);
        self.subdirectories = Vec::new();
        self.count_folded();
        before - self.entries.len()
    }

    pub(super) fn count_folded(&mut self) {
        self.folded.clear();
        for name in self.entries.keys() {
            *self.folded.entry(folded(name)).or_default() += 1;
        }
    }

    /// Up to when an entry is known to have been so.
    pub(super) fn known_until(&self, entry: &Entry, now: Instant) -> Instant {
        let watched = if entry.watched { self.watched_until(now, entry.at) } else { None };
        watched.map_or(entry.until, |until| until.max(entry.until))
    }

    /// Up to when the names are known to have been all.
    pub(super) fn complete_until(&self, now: Instant) -> Option<Instant> {
        let complete = self.complete?;
        Some(self.watched_until(now, complete).map_or(complete, |until| until.max(complete)))
    }

    fn watched_until(&self, now: Instant, fetched: Instant) -> Option<Instant> {
        self.watch.as_ref()?.reported_until(now, fetched)
    }

    /// Whether there is such an entry, or may be.
    pub(super) fn has(&self, name: &[u16]) -> bool {
        self.entries.get(name).is_some_and(|entry| entry.meaning != Meaning::Absent)
    }

    /// Whether no other entry is the same name but for its case.
    pub(super) fn is_alone(&self, name: &[u16]) -> bool {
        let itself = usize::from(self.entries.contains_key(name));
        self.folded.get(&folded(name)).is_none_or(|names| *names == itself)
    }

    /// Whether no other entry can be meant by a name.
    pub(super) fn tells_apart(&self, name: &[u16]) -> bool {
        let is_plain = name.iter().all(|unit| (0x20..0x7F).contains(unit) && *unit != u16::from(b'~'));
        is_plain && self.is_alone(name)
    }

    /// The other entries that are the same name but for its case.
    pub(super) fn other_spellings(&self, name: &[u16]) -> Vec<Arc<[u16]>> {
        if self.is_alone(name) {
            return Vec::new();
        }
        let hash = folded(name);
        self.entries.keys().filter(|other| &other[..] != name && folded(other) == hash).cloned().collect()
    }

    /// Whether another spelling of a name has changed since: the server may have meant the same file by both.
    pub(super) fn is_respelt_since(&self, name: &[u16], version: Version) -> bool {
        let others = self.other_spellings(name);
        others.iter().any(|other| self.entries.get(other).is_some_and(|entry| entry.version > version))
    }

    /// Replaces what is known by a listing that began at `at`; entries with a version above `begun` are newer, and stay. How
    /// many entries without a node there are more than before, or fewer.
    pub(super) fn listed(
        &mut self,
        entries: impl IntoIterator<Item = (Vec<u16>, Metadata)>,
        (begun, at): (Version, Instant),
    ) {
        let watched = self.watch.as_mut().is_some_and(|watch| watch.listed(begun, at));
        let is_past = self.watch.as_ref().is_some_and(|watch| begun < watch.asked);
        let mut before = std::mem::take(&mut self.entries);
        let mut subdirectories = Vec::new();
        for (order, (name, metadata)) in (0..LAST).zip(entries) {
            let (name, mut entry) = match before.remove_entry(&name[..]) {
                Some((name, entry)) => (name, entry),
                None => (Arc::from(name), Entry::unknown(at, Version::default())),
            };
            if metadata.kind() == FileKind::Directory {
                subdirectories.push((order, Arc::clone(&name)));
            }
            if entry.version <= begun {
                entry.is_found(Some(metadata), at);
                (entry.watched, entry.order) = (watched, order);
                (entry.is_unlisted, entry.is_past) = (false, is_past);
            }
            self.entries.insert(name, entry);
        }
        for (name, mut entry) in before {
            if entry.version <= begun {
                if entry.node.is_none() {
                    continue;
                }
                // The kernel counts on it: what became of it, a lookup finds out.
                entry.is_doubted(at, entry.version);
                entry.is_unlisted = true;
            }
            self.entries.insert(name, entry);
        }
        self.subdirectories = subdirectories;
        self.count_folded();
        (self.complete, self.is_complete_past) = (Some(at), is_past);
        (self.misses, self.is_too_long) = (0, false);
    }

    /// Whether the watch reports what happens to what is known of an entry; before it has begun for certain, as far as can be
    /// said.
    pub(super) fn is_covered(&self, entry: &Entry) -> bool {
        entry.watched || !entry.is_past
    }

    /// The same for which names there are.
    pub(super) fn is_complete_covered(&self) -> bool {
        self.watch.as_ref().is_some_and(|watch| watch.is_complete) || !self.is_complete_past
    }

    /// Whether the watch has begun for certain before what is known of an entry was so.
    pub(super) fn is_proven(&self, entry: &Entry) -> bool {
        let has_begun = self.watch.as_ref().is_some_and(|watch| watch.has_begun(entry.at));
        entry.watched || (has_begun && !entry.is_past)
    }

    /// The same for which names there are.
    pub(super) fn is_complete_proven(&self) -> bool {
        self.watch.as_ref().is_some_and(|watch| watch.is_complete)
    }

    /// The watch begins, or has lost count: it reports nothing of what happened before.
    pub(super) fn is_past(&mut self) {
        self.is_complete_past = true;
        self.entries.values_mut().for_each(|entry| (entry.is_past, entry.watched) = (true, false));
    }

    /// The watch reports nothing from now on: what it said is as old as its last report.
    pub(super) fn unwatched(&mut self) {
        let Some(watch) = self.watch.as_mut() else { return };
        let Some((last, longest)) = watch.give_up() else { return };
        self.complete = self.complete.map(|at| at.max(last.min(at + longest)));
        for entry in self.entries.values_mut().filter(|entry| entry.watched) {
            (entry.until, entry.watched) = (entry.until.max(last.min(entry.at + longest)), false);
        }
    }
}

/// A name without its case, whatever table the server has for that.
pub(super) fn folded(name: &[u16]) -> u64 {
    let mut hasher = DefaultHasher::new();
    for character in char::decode_utf16(name.iter().copied()) {
        match character {
            Ok(character) => character.to_uppercase().flat_map(char::to_lowercase).for_each(|c| c.hash(&mut hasher)),
            Err(unpaired) => unpaired.unpaired_surrogate().hash(&mut hasher),
        }
    }
    hasher.finish()
}
