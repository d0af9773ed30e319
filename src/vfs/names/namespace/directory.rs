//! [`Directory`]: the entries of a directory, and how old they are. Plain values.
//!
//! An [`Entry`] carries what its name means, from when until when that is known to be true, and whether the watch
//! covers it. [`Echoes`] are the reports of this mount's own changes that the watch still owes. Names that differ only
//! in case share a hash ([`folded`]), because many servers ignore case.

use super::Version;
use super::watch::Watch;
use crate::share::{FileKind, Metadata};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The order of names that were not listed: after all listed ones.
pub(super) const LAST: u32 = u32::MAX;
/// The time within which the watch is expected to report a change by this mount. A later report counts as another
/// client's.
const ECHO_WITHIN: Duration = Duration::from_secs(3);

/// What a name means.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Meaning {
    Present(Metadata),
    Absent,
    /// Something has changed, and only the server knows.
    Unknown,
}

/// A name of a directory.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    pub meaning: Meaning,
    /// The node of the file that the name means, while the kernel has lookups of it or it is open.
    pub node: Option<u64>,
    /// The name has meant this since then, or longer.
    pub since: Instant,
    /// When the server was asked for the meaning; for a change by this mount or a report, when it was recorded.
    pub at: Instant,
    /// Last time the meaning was known to be true without the watch.
    pub until: Instant,
    /// The watch reports every change after `at`.
    pub watched: bool,
    /// The version of the last change, by any client.
    pub version: Version,
    /// The version of the last change of `node`.
    pub moved: Version,
    /// Own changes that the watch has not reported yet.
    pub echoes: Echoes,
    /// The place in the server's order.
    pub order: u32,
    /// A complete listing does not show the name, as far as is known: it is another spelling, is hidden, or has
    /// disappeared since.
    pub is_unlisted: bool,
    /// The answer is older than the watch, or than the watch's last loss of count: the watch does not show whether it
    /// is still true.
    pub is_past: bool,
}

impl Entry {
    /// An entry of which nothing is known, as of `now`.
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

    /// Since when the name has meant `found`, if it meant that before. A change shows in the ChangeTime at the latest:
    /// the other times of an open file may be reported late.
    pub(super) fn has_been(&self, found: &Metadata) -> Option<Instant> {
        let Meaning::Present(before) = self.meaning else { return None };
        (Metadata { accessed: found.accessed, ..before } == *found).then_some(self.since)
    }

    /// `found` with the number of links that is known, if it does not tell one: listings don't. A number of one proves
    /// nothing later: another client may have added a link.
    fn with_links(&self, found: Metadata) -> Metadata {
        match self.meaning {
            Meaning::Present(before)
                if found.links == 0 && before.links > 1 && before.identity() == found.identity() =>
            {
                Metadata { links: before.links, ..found }
            }
            _ => found,
        }
    }

    /// Records what the server has found; it was asked at `at`.
    pub(super) fn is_found(&mut self, found: Option<Metadata>, at: Instant) {
        let found = found.map(|found| self.with_links(found));
        self.since = found.as_ref().and_then(|found| self.has_been(found)).unwrap_or(at);
        self.meaning = found.map_or(Meaning::Absent, Meaning::Present);
        self.is_unlisted |= found.is_none();
        self.is_past = false;
        (self.at, self.until) = (at, at);
    }

    /// Records that something has changed at `now`, and only the server knows what the name means.
    pub(super) fn is_doubted(&mut self, now: Instant, version: Version) {
        (self.meaning, self.version, self.watched) = (Meaning::Unknown, version, false);
        self.is_past = false;
        (self.since, self.at, self.until) = (now, now, now);
    }

    /// Records that the node of a present name is evicted. `known` is the last metadata of its file, and since when
    /// they are known; without them only the server knows what the name means.
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

/// How a watch reports that a name has changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Echo {
    Added,
    Removed,
}

/// Own changes of a name that the watch of the directory has not reported yet.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Echoes {
    /// When this mount last changed the name.
    pub changed: Option<Instant>,
    /// How often this mount has made the name appear (`added`) and disappear (`removed`) without a report so far.
    added: u8,
    removed: u8,
    /// The namespace's version at the beginning of a change that the server has not answered yet.
    pub begun: Option<Version>,
}

impl Echoes {
    /// Whether the watch may still report a change that this mount made at `changed`.
    pub(super) fn are_expected(changed: Option<Instant>, now: Instant) -> bool {
        changed.is_some_and(|changed| now.saturating_duration_since(changed) < ECHO_WITHIN)
    }

    fn count(&mut self, echo: Echo) -> &mut u8 {
        match echo {
            Echo::Added => &mut self.added,
            Echo::Removed => &mut self.removed,
        }
    }

    /// Announces that this mount makes the name appear or disappear at `now`.
    pub(super) fn expect(&mut self, echo: Echo, now: Instant) {
        if !Echoes::are_expected(self.changed, now) {
            (self.added, self.removed) = (0, 0);
        }
        self.changed = Some(now);
        let count = self.count(echo);
        *count = count.saturating_add(1);
    }

    /// Withdraws an own change, because it was not made or was reported. Returns whether a report was still expected.
    pub(super) fn withdraw(&mut self, echo: Echo) -> bool {
        let count = self.count(echo);
        let was_awaited = *count > 0;
        *count = count.saturating_sub(1);
        was_awaited
    }

    /// From now on every report is of another client.
    pub(super) fn expect_nothing(&mut self) {
        (self.added, self.removed) = (0, 0);
    }

    /// Returns whether this mount made the change that the watch reports. That change is not expected any more.
    pub(super) fn explain(&mut self, echo: Echo, now: Instant) -> bool {
        self.withdraw(echo) && Echoes::are_expected(self.changed, now)
    }
}

/// What is known of a directory.
#[derive(Debug, Default)]
pub(super) struct Directory {
    pub entries: BTreeMap<Arc<[u16]>, Entry>,
    /// The names of the subdirectories, in the server's order.
    pub subdirectories: Vec<(u32, Arc<[u16]>)>,
    /// The number of names for each hash of a name without its case.
    folded: HashMap<u64, usize>,
    /// The number of entries that have a node.
    pub nodes: usize,
    /// When the entries were last known to be all names of the directory, without the watch.
    pub complete: Option<Instant>,
    /// As [`Entry::is_past`], for `complete`: the watch does not show whether names have appeared since.
    pub is_complete_past: bool,
    pub watch: Option<Watch>,
    /// The directory cannot be watched: the server does not watch it or does not let it be listed, or its watch was
    /// ended because the server or the bound of watches has no room for it.
    pub is_unwatchable: bool,
    /// The number of names that were asked for one by one since the last listing.
    pub misses: u8,
    /// The directory is not to be listed for names asked for one by one: it is too long, or cannot be listed.
    pub is_too_long: bool,
    /// Entries were last dropped at this version.
    pub dropped: Version,
    /// The file ids that the last listing showed under several names.
    shared_ids: HashSet<u64>,
}

impl Directory {
    /// Adds or replaces the entry of a name.
    pub(super) fn insert(&mut self, name: &[u16], entry: Entry) {
        if self.entries.insert(Arc::from(name), entry).is_none() {
            *self.folded.entry(folded(name)).or_default() += 1;
        }
    }

    /// The entry of a name, and the name as it is kept.
    pub(super) fn entry_mut(&mut self, name: &[u16]) -> Option<(Arc<[u16]>, &mut Entry)> {
        let (id, _) = self.entries.get_key_value(name)?;
        let id = Arc::clone(id);
        let entry = self.entries.get_mut(name)?;
        Some((id, entry))
    }

    /// The version of the last change of the node of a name; if there is no entry, the version at which entries were
    /// last dropped.
    pub(super) fn moved(&self, name: &[u16]) -> Version {
        self.entries.get(name).map_or(self.dropped, |entry| entry.moved)
    }

    /// Drops the entries without a node. From then on the entries are not all names of the directory. Returns how many
    /// entries were dropped.
    pub(super) fn drop_known(&mut self, version: Version) -> usize {
        let before = self.entries.len();
        self.entries.retain(|_, entry| entry.node.is_some());
        (self.complete, self.dropped) = (None, version);
        self.subdirectories = Vec::new();
        self.count_folded();
        before - self.entries.len()
    }

    /// Counts the hashes of all names anew.
    pub(super) fn count_folded(&mut self) {
        self.folded.clear();
        for name in self.entries.keys() {
            *self.folded.entry(folded(name)).or_default() += 1;
        }
    }

    /// Up to when an entry is known to be true.
    pub(super) fn known_until(&self, entry: &Entry, now: Instant) -> Instant {
        let watched = if entry.watched { self.watched_until(now, entry.at) } else { None };
        watched.map_or(entry.until, |until| until.max(entry.until))
    }

    /// Up to when the entries are known to be all names of the directory.
    pub(super) fn complete_until(&self, now: Instant) -> Option<Instant> {
        let complete = self.complete?;
        Some(self.watched_until(now, complete).map_or(complete, |until| until.max(complete)))
    }

    /// Up to when the watch has reported every change of what was fetched at `fetched`.
    fn watched_until(&self, now: Instant, fetched: Instant) -> Option<Instant> {
        self.watch.as_ref()?.reported_until(now, fetched)
    }

    /// Whether metadata from a listing may be of a file with several links, whose number a listing does not tell.
    pub(super) fn may_have_links(&self, listed: &Metadata) -> bool {
        listed.links == 0 && self.shared_ids.contains(&listed.file_id)
    }

    /// Whether the name is present, or may be.
    pub(super) fn has(&self, name: &[u16]) -> bool {
        self.entries.get(name).is_some_and(|entry| entry.meaning != Meaning::Absent)
    }

    /// Whether no other entry has the name with another case.
    pub(super) fn is_alone(&self, name: &[u16]) -> bool {
        let itself = usize::from(self.entries.contains_key(name));
        self.folded.get(&folded(name)).is_none_or(|names| *names == itself)
    }

    /// Whether a name can mean no other entry, whatever spellings the server knows.
    pub(super) fn is_unambiguous(&self, name: &[u16]) -> bool {
        let is_plain = name.iter().all(|unit| (0x20..0x7F).contains(unit) && *unit != u16::from(b'~'));
        is_plain && self.is_alone(name)
    }

    /// The other entries that have the name with another case.
    pub(super) fn other_spellings(&self, name: &[u16]) -> Vec<Arc<[u16]>> {
        if self.is_alone(name) {
            return Vec::new();
        }
        let hash = folded(name);
        self.entries.keys().filter(|other| &other[..] != name && folded(other) == hash).cloned().collect()
    }

    /// Whether another spelling of a name has changed since `version`: the server may have meant one file by both.
    pub(super) fn is_respelt_since(&self, name: &[u16], version: Version) -> bool {
        let others = self.other_spellings(name);
        others.iter().any(|other| self.entries.get(other).is_some_and(|entry| entry.version > version))
    }

    /// Records a complete listing that began at `at` and at the version `begun`. Entries with a higher version are
    /// newer, and stay.
    pub(super) fn listed(
        &mut self,
        entries: impl IntoIterator<Item = (Vec<u16>, Metadata)>,
        (begun, at): (Version, Instant),
    ) {
        let watched = self.watch.as_mut().is_some_and(|watch| watch.listed(begun, at));
        let is_past = self.watch.as_ref().is_some_and(|watch| begun < watch.asked);
        let mut before = std::mem::take(&mut self.entries);
        let (mut subdirectories, mut ids) = (Vec::new(), SharedIds::default());
        for (order, (name, metadata)) in (0..LAST).zip(entries) {
            // A server lists a name twice when it is renamed while the directory is being listed.
            let known = before.remove_entry(&name[..]).or_else(|| self.entries.remove_entry(&name[..]));
            let (name, mut entry) = match known {
                Some((name, entry)) => (name, entry),
                None => (Arc::from(name), Entry::unknown(at, Version::default())),
            };
            ids.add(&metadata);
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
                // The node is still needed; only a lookup shows what has become of the file.
                entry.is_doubted(at, entry.version);
                entry.is_unlisted = true;
            }
            self.entries.insert(name, entry);
        }
        self.subdirectories = subdirectories;
        self.shared_ids = ids.shared;
        self.count_folded();
        (self.complete, self.is_complete_past) = (Some(at), is_past);
        (self.misses, self.is_too_long) = (0, false);
    }

    /// Whether the watch covers an entry. Until the watch has certainly begun, it is assumed to cover each answer that
    /// is not older than the watch.
    pub(super) fn is_covered(&self, entry: &Entry) -> bool {
        entry.watched || !entry.is_past
    }

    /// As [`Directory::is_covered`], for the entries being all names of the directory.
    pub(super) fn is_complete_covered(&self) -> bool {
        self.watch.as_ref().is_some_and(|watch| watch.is_complete) || !self.is_complete_past
    }

    /// Whether the watch certainly covers an entry: it had begun before the server was asked.
    pub(super) fn is_proven(&self, entry: &Entry) -> bool {
        let has_begun = self.watch.as_ref().is_some_and(|watch| watch.has_begun(entry.at));
        entry.watched || (has_begun && !entry.is_past)
    }

    /// Whether the watch certainly covers the entries being all names of the directory.
    pub(super) fn is_complete_proven(&self) -> bool {
        self.watch.as_ref().is_some_and(|watch| watch.is_complete)
    }

    /// A watch begins or ends, or has lost count: nothing that is known so far is covered by it.
    pub(super) fn is_past(&mut self) {
        self.is_complete_past = true;
        self.entries.values_mut().for_each(|entry| (entry.is_past, entry.watched) = (true, false));
    }

    /// The watch reports nothing from now on: what it covered is known up to its last report.
    pub(super) fn unwatched(&mut self) {
        let Some(watch) = self.watch.as_mut() else { return };
        let Some((last, longest)) = watch.give_up() else { return };
        self.complete = self.complete.map(|at| at.max(last.min(at + longest)));
        for entry in self.entries.values_mut().filter(|entry| entry.watched) {
            (entry.until, entry.watched) = (entry.until.max(last.min(entry.at + longest)), false);
        }
    }
}

/// The file ids of a listing, and those among them that several files have. Ids of directories do not count: they have
/// one name each.
#[derive(Debug, Default)]
pub(crate) struct SharedIds {
    seen: HashSet<u64>,
    shared: HashSet<u64>,
}

impl SharedIds {
    /// The file ids of these entries.
    pub(crate) fn of<'a>(listed: impl IntoIterator<Item = &'a Metadata>) -> SharedIds {
        let mut ids = SharedIds::default();
        listed.into_iter().for_each(|metadata| ids.add(metadata));
        ids
    }

    /// Adds an entry of the listing.
    fn add(&mut self, listed: &Metadata) {
        let id = listed.file_id;
        if id != 0 && listed.kind() != FileKind::Directory && !self.seen.insert(id) {
            self.shared.insert(id);
        }
    }

    /// Whether several files that were added have this id.
    pub(crate) fn has(&self, id: u64) -> bool {
        self.shared.contains(&id)
    }
}

/// A hash of a name without its case. Each server has its own table of case; this one is Unicode's.
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
