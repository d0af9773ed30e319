//! What is known of directories: which names are in them and what these mean. A plain value without I/O.
//!
//! A directory is *complete* when every name that is not known is known to be absent. What is known is believed
//! for the attribute timeout, counted from when it was true; a watch ([`Followed`]) can say that it is still true.
//! Each name has a state of its own:
//!
//! - present, with metadata; or absent;
//! - unknown: something happened, and only the server can tell.
//!
//! Names that this mount changes, and names that the server says have changed, get a new number. An answer that was
//! asked for before ([`Catalogue::ticket`]) does not overwrite them, and neither does a listing.
//!
//! Own changes are told by the watch like those of others, and cannot be told apart. So a name that this mount has changed
//! is not followed until the server is asked again, and is believed for the timeout only; its notifications
//! then change nothing.
//!
//! Servers ignore case, and know short names and other spellings. So a name is taken for absent only if it is plain
//! ASCII without `~`, and differs in more than case from all that are there. If the server said so, any other is as well,
//! but for the timeout only: a watch tells of one spelling.
//!
//! Invariant: the numbers of entries, of directories and of watches have bounds; what was used longest ago goes first.

use super::known::{Directory, Entry, LAST, State, Watch, folded};
pub(crate) use super::known::{Followed, Ticket};
use crate::share::{ChangeKind, DirChange, FileKind, LeaseKey, Metadata};
use lru::LruCache;
use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

/// Names of all directories together: some tens of megabytes.
pub(crate) const MAX_ENTRIES: usize = 131_072;
/// Directories.
const MAX_DIRECTORIES: usize = 8_192;
/// Directories that are open at the server to be watched.
pub(crate) const MAX_WATCHES: usize = 1_000;
/// So many names of a directory are asked for one by one before it is listed.
const MISSES: u8 = 4;
/// One that is known to be so short is listed at once when it is not believed any more: that costs no more.
const SHORT: usize = 256;

/// An answer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Look {
    /// There is such a name.
    Present {
        /// What it means.
        metadata: Metadata,
        /// When that was fetched.
        fetched: Instant,
    },
    /// There is none.
    Absent,
    /// The server has to be asked.
    Unknown,
}

/// What of an entry is still true.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Vouched {
    /// Of what was fetched then or later...
    pub since: Instant,
    /// ... it is known that it was still true then.
    pub until: Instant,
}

/// The directories, by the keys of their nodes.
#[derive(Debug)]
pub(crate) struct Catalogue<W> {
    directories: LruCache<u64, Directory<W>>,
    entries: usize,
    watches: usize,
    /// The directories that are watched by leases.
    leased: HashMap<LeaseKey, u64>,
    changes: Ticket,
    ended: Vec<W>,
}

impl<W: Followed> Catalogue<W> {
    pub(crate) fn new() -> Catalogue<W> {
        Catalogue {
            directories: LruCache::unbounded(),
            entries: 0,
            watches: 0,
            leased: HashMap::new(),
            changes: Ticket::default(),
            ended: Vec::new(),
        }
    }

    /// Watches that are not needed any more: to be ended.
    pub(crate) fn take_ended(&mut self) -> Vec<W> {
        std::mem::take(&mut self.ended)
    }

    /// To be taken before the server is asked.
    pub(crate) fn ticket(&self) -> Ticket {
        self.changes
    }

    /// What a name means, as far as that is known and believed.
    pub(crate) fn look(&mut self, key: u64, name: &[u16], now: Instant, timeout: Duration) -> Look {
        let Some(directory) = self.directories.get(&key) else { return Look::Unknown };
        let believed = |at: Instant| now.saturating_duration_since(at) < timeout;
        match directory.entries.get(name) {
            Some(entry) if !believed(directory.known_at(entry, now)) => Look::Unknown,
            Some(Entry { state: State::Present(metadata), at, .. }) => {
                Look::Present { metadata: *metadata, fetched: *at }
            }
            // A watch does not tell of it if it comes under another spelling.
            Some(Entry { state: State::Absent, at, .. })
                if directory.tells_apart(name) || (believed(*at) && directory.is_alone(name)) =>
            {
                Look::Absent
            }
            Some(Entry { state: State::Absent | State::Unknown, .. }) => Look::Unknown,
            None if directory.tells_apart(name) && directory.complete_at(now).is_some_and(believed) => Look::Absent,
            None => Look::Unknown,
        }
    }

    /// Whether what was fetched of an entry's attributes is still true.
    pub(crate) fn vouched(&self, key: u64, name: &[u16], now: Instant) -> Option<Vouched> {
        let directory = self.directories.peek(&key)?;
        let entry = directory.entries.get(name).filter(|entry| matches!(entry.state, State::Present(_)))?;
        Some(Vouched { since: entry.since, until: directory.known_at(entry, now) })
    }

    /// The same for the directory itself, as far as its entries change it.
    pub(crate) fn vouched_directory(&self, key: u64, now: Instant) -> Option<Vouched> {
        let directory = self.directories.peek(&key)?;
        Some(Vouched { since: directory.complete?, until: directory.complete_at(now)? })
    }

    /// All that is in a directory, if everything of it is known and believed: names, metadata, and when it was fetched; in
    /// the server's order, and last what has come since.
    pub(crate) fn everything(
        &mut self,
        key: u64,
        now: Instant,
        timeout: Duration,
    ) -> Option<Vec<(Vec<u16>, Metadata, Instant)>> {
        let directory = self.directories.get(&key)?;
        let believed = |at: Instant| now.saturating_duration_since(at) < timeout;
        directory.complete_at(now).filter(|at| believed(*at))?;
        let mut all = Vec::with_capacity(directory.entries.len());
        for (name, entry) in &directory.entries {
            match entry.state {
                _ if !believed(directory.known_at(entry, now)) => return None,
                State::Present(metadata) => all.push((entry.order, (name.clone(), metadata, entry.at))),
                State::Absent => {}
                State::Unknown => return None,
            }
        }
        all.sort_by_key(|(order, _)| *order);
        Some(all.into_iter().map(|(_, entry)| entry).collect())
    }

    /// Names of directories in a directory, in the server's order: those after this name, or all.
    pub(crate) fn subdirectories(&self, key: u64, after: Option<&[u16]>) -> impl Iterator<Item = &[u16]> {
        let directory = self.directories.peek(&key);
        let after = after.and_then(|name| Some(directory?.entries.get(name)?.order));
        let all = directory.map_or(&[][..], |directory| &directory.subdirectories);
        let start = after.map_or(0, |after| all.partition_point(|(order, _)| *order <= after));
        all[start..].iter().map(|(_, name)| name.as_slice())
    }

    /// Whether all names of a directory are known and believed.
    pub(crate) fn is_listed(&self, key: u64, now: Instant, timeout: Duration) -> bool {
        let complete = self.directories.peek(&key).and_then(|directory| directory.complete_at(now));
        complete.is_some_and(|at| now.saturating_duration_since(at) < timeout)
    }

    /// A name of a directory has to be asked for. Says whether the directory should be listed instead.
    pub(crate) fn missed(&mut self, (key, ino): (u64, u64), name: &[u16]) -> bool {
        let directory = self.directory(key, ino);
        // A listing that tells of another spelling does not tell of this one.
        if directory.spared || (directory.complete.is_some() && !directory.has(name) && !directory.tells_apart(name)) {
            return false;
        }
        directory.misses = directory.misses.saturating_add(1);
        directory.misses > MISSES || (directory.complete.is_some() && directory.entries.len() <= SHORT)
    }

    /// Until a program lists it, it is not to be listed for the sake of single names: it is too long, or cannot be listed.
    pub(crate) fn spare(&mut self, key: u64) {
        if let Some(directory) = self.directories.get_mut(&key) {
            directory.spared = true;
        }
    }

    /// The server said what a name means, or that there is nothing (`None`), when it was asked at `at`.
    pub(crate) fn saw(&mut self, key: u64, name: &[u16], found: Option<Metadata>, asked: (Ticket, Instant)) {
        let Some(directory) = self.directories.get_mut(&key) else { return };
        let known = directory.entries.get(name);
        let (at, changed) = (asked.1, asked.0);
        let overtaken = match known {
            Some(entry) => entry.changed > changed || entry.at > at,
            None => directory.complete.is_some_and(|complete| complete > at),
        };
        // What the server found may be another spelling of a name that is there.
        if overtaken || (found.is_some() && !directory.has(name) && !directory.tells_apart(name)) {
            return;
        }
        let own = known.and_then(|entry| entry.own);
        let state = found.map_or(State::Absent, State::Present);
        let followed = directory.watch.as_ref().is_some_and(|watch| watch.vouched && watch.has_begun(at));
        let order = known.map_or(LAST, |entry| entry.order);
        let since = known.and_then(|entry| entry.has_been(found?)).unwrap_or(at);
        self.put(key, name, Entry { state, since, at, until: at, followed, changed, own, order });
    }

    /// This mount has changed a name, or may have: what it means now, if that is known.
    pub(crate) fn changed(&mut self, key: u64, name: &[u16], now: Instant, found: Option<Option<Metadata>>) {
        self.changes.0 += 1;
        let changed = self.changes;
        let Some(directory) = self.directories.get_mut(&key) else { return };
        let is_new = matches!(found, Some(Some(_)));
        if !is_new && !directory.entries.contains_key(name) && !directory.tells_apart(name) {
            // Another spelling: which name it was that changed only the server knows.
            directory.complete = None;
        }
        let state = match found {
            Some(Some(metadata)) => State::Present(metadata),
            Some(None) => State::Absent,
            None => State::Unknown,
        };
        let (own, order) = (Some(now), LAST);
        self.put(key, name, Entry { state, since: now, at: now, until: now, followed: false, changed, own, order });
    }

    /// What a name means is in doubt: the next answer is the server's.
    pub(crate) fn doubt(&mut self, key: u64, name: &[u16], now: Instant) {
        let own = self.directories.peek(&key).and_then(|directory| directory.entries.get(name)?.own);
        self.changed(key, name, now, None);
        let entry = self.directories.peek_mut(&key).and_then(|directory| directory.entries.get_mut(name));
        if let Some(entry) = entry {
            entry.own = own;
        }
    }

    /// This mount has made a directory: nothing is in it.
    pub(crate) fn made(&mut self, key: u64, ino: u64, now: Instant) {
        self.directory(key, ino).complete = Some(now);
    }

    /// A directory was listed to its end: what is in it, and when the listing began. A new `watch` was begun with the
    /// listing.
    pub(crate) fn listed(
        &mut self,
        (key, ino): (u64, u64),
        entries: impl IntoIterator<Item = (Vec<u16>, Metadata)>,
        (begun, at): (Ticket, Instant),
        watch: Option<W>,
    ) {
        let directory = self.directory(key, ino);
        // Whoever watches now may not have seen what happened in between.
        if directory.complete.is_some_and(|complete| complete > at) {
            self.ended.extend(watch);
            return;
        }
        let before = std::mem::take(&mut directory.entries);
        self.entries -= before.len();
        if let Some(by) = watch {
            self.end_watch(key);
            self.begin_watch(key, Watch::begun_with(by, at));
        }
        let followed = self.directory(key, ino).watch.as_mut().is_some_and(|watch| watch.listed((begun, at)));
        let (mut fresh, before): (BTreeMap<_, _>, BTreeMap<_, _>) =
            before.into_iter().partition(|(_, entry)| entry.changed > begun);
        let mut subdirectories = Vec::new();
        for (order, (name, metadata)) in (0..LAST).zip(entries) {
            if metadata.kind() == FileKind::Directory {
                subdirectories.push((order, name.clone()));
            }
            let known = before.get(&name);
            let (own, since) = (known.and_then(|entry| entry.own), known.and_then(|entry| entry.has_been(metadata)));
            let (state, since, changed) = (State::Present(metadata), since.unwrap_or(at), Ticket::default());
            fresh.entry(name).or_insert(Entry { state, since, at, until: at, followed, changed, own, order });
        }
        self.entries += fresh.len();
        let directory = self.directory(key, ino);
        directory.subdirectories = subdirectories;
        directory.folded = HashMap::new();
        fresh.keys().for_each(|name| *directory.folded.entry(folded(name)).or_default() += 1);
        directory.entries = fresh;
        (directory.complete, directory.misses, directory.spared) = (Some(at), 0, false);
        self.keep_bounds(key);
    }

    /// A watch has begun for certain. Says whether a second look at the directory is worth it: nothing has changed so far.
    pub(crate) fn begun(&mut self, key: u64, watch: u64, now: Instant) -> bool {
        let Some(watch) = self.watch(key, watch) else { return false };
        watch.since.get_or_insert(now);
        !watch.vouched && watch.lost.is_none() && watch.by.is_armed()
    }

    /// No name had come or gone between the listing of a directory and the beginning of its watch.
    pub(crate) fn confirm(&mut self, key: u64, watch: u64) {
        if let Some(watch) = self.watch(key, watch) {
            watch.vouched = watch.lost.is_none();
        }
    }

    /// A watch has told what changed until now. What of that somebody else did, or may have done long after this mount:
    /// `is_own` knows what this mount is doing to the entries themselves.
    pub(crate) fn told(
        &mut self,
        (key, watch): (u64, u64),
        changes: Vec<DirChange>,
        now: Instant,
        is_own: impl Fn(&[u16], Option<Instant>) -> bool,
    ) -> Vec<DirChange> {
        if self.watch(key, watch).map(|watch| watch.told = now).is_none() {
            return Vec::new();
        }
        let mut foreign = Vec::new();
        for change in changes {
            let Some(directory) = self.directories.peek_mut(&key) else { break };
            let known = directory.entries.get_mut(&change.name);
            if is_own(&change.name, known.as_ref().and_then(|entry| entry.own)) {
                if let Some(entry) = known {
                    entry.followed = false;
                }
                continue;
            }
            self.changes.0 += 1;
            let changed = self.changes;
            let (state, order) = (State::Unknown, known.map_or(LAST, |entry| entry.order));
            let entry = Entry { state, since: now, at: now, until: now, followed: true, changed, own: None, order };
            self.put(key, &change.name, entry);
            foreign.push(change);
        }
        foreign
    }

    /// A watch has lost count of what changed, or has ended: what it followed is as old as what it told last.
    pub(crate) fn lost(&mut self, key: u64, watch: u64) {
        self.changes.0 += 1;
        let now = self.changes;
        let Some(watch) = self.watch(key, watch) else { return };
        watch.lost = Some(now);
        if let Some(directory) = self.directories.peek_mut(&key) {
            directory.rest();
        }
    }

    /// A watch has ended by itself, unless it was ended before: says which.
    pub(crate) fn unwatched(&mut self, key: u64, watch: u64) -> bool {
        self.lost(key, watch);
        let ends = self.watch(key, watch).is_some();
        if ends {
            self.end_watch(key);
        }
        ends
    }

    /// A watch by this lease has ended: whose it was.
    pub(crate) fn end_leased(&mut self, lease: LeaseKey) -> Option<W>
    where
        W: Clone,
    {
        let key = *self.leased.get(&lease)?;
        let by = self.directories.peek(&key)?.watch.as_ref().map(|watch| watch.by.clone())?;
        self.unwatched(key, by.id());
        Some(by)
    }

    /// Whether the directory has a watch.
    pub(crate) fn is_watched(&self, key: u64) -> bool {
        self.directories.peek(&key).is_some_and(|directory| directory.watch.is_some())
    }

    /// Ends the watches of all directories that are meant, by their inode numbers.
    pub(crate) fn end_watches(&mut self, meant: impl Fn(u64) -> bool) {
        let watched =
            self.directories.iter().filter(|(_, directory)| directory.watch.is_some() && meant(directory.ino));
        let keys: Vec<u64> = watched.map(|(key, _)| *key).collect();
        for key in keys {
            if let Some(directory) = self.directories.peek_mut(&key) {
                directory.rest();
            }
            self.end_watch(key);
        }
    }

    /// A directory is gone, or nobody knows it any more.
    pub(crate) fn forget(&mut self, key: u64) {
        self.end_watch(key);
        if let Some(directory) = self.directories.pop(&key) {
            self.entries -= directory.entries.len();
        }
    }

    /// The node of an entry goes: what was known of it last, if it is still true as of then.
    pub(crate) fn returned(&mut self, key: u64, name: &[u16], known: Option<(Metadata, Instant)>) {
        let entry = self.directories.peek_mut(&key).and_then(|directory| directory.entries.get_mut(name));
        let Some(entry) = entry.filter(|entry| matches!(entry.state, State::Present(_))) else { return };
        match known {
            Some((metadata, at)) if at > entry.at => {
                entry.since = entry.has_been(metadata).unwrap_or(at);
                (entry.state, entry.at, entry.until) = (State::Present(metadata), at, at.max(entry.until));
            }
            Some(_) => {}
            None => {
                self.changes.0 += 1;
                (entry.state, entry.changed) = (State::Unknown, self.changes);
            }
        }
    }

    fn directory(&mut self, key: u64, ino: u64) -> &mut Directory<W> {
        if !self.directories.contains(&key) && self.directories.len() >= MAX_DIRECTORIES {
            self.drop_oldest();
        }
        self.directories.get_or_insert_mut(key, || Directory {
            ino,
            entries: BTreeMap::new(),
            subdirectories: Vec::new(),
            folded: HashMap::new(),
            complete: None,
            watch: None,
            misses: 0,
            spared: false,
        })
    }

    fn watch(&mut self, key: u64, id: u64) -> Option<&mut Watch<W>> {
        self.directories.peek_mut(&key)?.watch.as_mut().filter(|watch| watch.by.id() == id)
    }

    fn put(&mut self, key: u64, name: &[u16], entry: Entry) {
        let Some(directory) = self.directories.peek_mut(&key) else { return };
        if directory.entries.insert(name.to_vec(), entry).is_none() {
            *directory.folded.entry(folded(name)).or_default() += 1;
            self.entries += 1;
            self.keep_bounds(key);
        }
    }

    fn begin_watch(&mut self, key: u64, watch: Watch<W>) {
        let Some(directory) = self.directories.peek_mut(&key) else { return };
        self.leased.extend(watch.by.lease().map(|lease| (lease, key)));
        directory.watch = Some(watch);
        self.watches += 1;
    }

    fn end_watch(&mut self, key: u64) {
        let watch = self.directories.peek_mut(&key).and_then(|directory| directory.watch.take());
        self.watches -= usize::from(watch.is_some());
        if let Some(lease) = watch.as_ref().and_then(|watch| watch.by.lease()) {
            self.leased.remove(&lease);
        }
        self.ended.extend(watch.map(|watch| watch.by));
    }

    fn drop_oldest(&mut self) {
        if let Some(key) = self.directories.peek_lru().map(|(key, _)| *key) {
            self.forget(key);
        }
    }

    /// A directory that alone breaks the bounds goes as well.
    fn keep_bounds(&mut self, latest: u64) {
        while self.entries > MAX_ENTRIES {
            self.drop_oldest();
        }
        if self.watches > MAX_WATCHES {
            let oldest = self.directories.iter().rev().find(|(key, one)| one.watch.is_some() && **key != latest);
            if let Some(key) = oldest.map(|(key, _)| *key) {
                if let Some(directory) = self.directories.peek_mut(&key) {
                    directory.rest();
                }
                self.end_watch(key);
            }
        }
    }
}

/// Whether a change that was told is one that this mount made, at `own`: it is told soon afterwards.
pub(crate) fn is_recent(own: Option<Instant>, now: Instant) -> bool {
    const SOON: Duration = Duration::from_secs(3);
    own.is_some_and(|own| now.saturating_duration_since(own) < SOON)
}

/// Whether a change concerns the name itself, and not only what it means.
pub(crate) fn concerns_name(change: &DirChange) -> bool {
    change.kind != ChangeKind::Modified
}

#[cfg(test)]
#[path = "tests/catalogue.rs"]
mod tests;
