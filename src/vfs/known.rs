//! One directory of the [catalogue](super::catalogue): its entries, and what its watch says of them. Plain values.

use crate::share::{LeaseKey, Metadata};
use std::collections::{BTreeMap, HashMap};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::{Duration, Instant};

/// The place of names that were not listed.
pub(super) const LAST: u32 = u32::MAX;
/// A watch is believed for so long after something was fetched. Servers do not see all that is done below them (on a
/// cluster file system, say), and tell late of a file that somebody keeps open and writes.
const FOLLOWED: Duration = Duration::from_secs(60);
/// The same for a lease: of what is done on the server's own disk it says nothing.
const LEASED: Duration = Duration::from_secs(5);

/// Somebody who knows whether a directory has changed.
pub(crate) trait Followed {
    /// Whether everything that has changed was told.
    fn is_armed(&self) -> bool;
    /// Told apart from others.
    fn id(&self) -> u64;
    /// The lease that it goes by, if it does by one: own changes are not told then.
    fn lease(&self) -> Option<LeaseKey>;
}

/// Counts changes: taken before the server is asked.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub(crate) struct Ticket(pub(super) u64);

/// What a name means.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum State {
    Present(Metadata),
    Absent,
    Unknown,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    pub(super) state: State,
    /// It has been so since then, or longer.
    pub(super) since: Instant,
    /// When the server was asked.
    pub(super) at: Instant,
    /// It was still so then.
    pub(super) until: Instant,
    /// The watch tells of everything that has happened since.
    pub(super) followed: bool,
    /// Of the last change.
    pub(super) changed: Ticket,
    /// When this mount changed it.
    pub(super) own: Option<Instant>,
    /// Its place in the server's order.
    pub(super) order: u32,
}

#[derive(Debug)]
pub(super) struct Directory<W> {
    pub(super) ino: u64,
    pub(super) entries: BTreeMap<Vec<u16>, Entry>,
    /// The names of directories, in the server's order.
    pub(super) subdirectories: Vec<(u32, Vec<u16>)>,
    /// Hashes of the names without their case, and how many names have each.
    pub(super) folded: HashMap<u64, usize>,
    /// All names are here, and this is when that was so.
    pub(super) complete: Option<Instant>,
    pub(super) watch: Option<Watch<W>>,
    /// Names that were asked for one by one.
    pub(super) misses: u8,
    /// It is not to be listed for their sake.
    pub(super) spared: bool,
}

#[derive(Debug)]
pub(super) struct Watch<W> {
    pub(super) by: W,
    /// It has begun for certain by then: it tells of everything that has happened to what was fetched since.
    pub(super) since: Option<Instant>,
    /// It tells of every name that has come or gone since the directory became complete.
    pub(super) vouched: bool,
    /// Up to here everything was told.
    pub(super) told: Instant,
    /// It lost count then.
    pub(super) lost: Option<Ticket>,
}

impl Entry {
    /// Since when it has been what it is found to be now, if it was that before. A change would show in its ChangeTime at the
    /// latest: the other times of a file that is open may be told late.
    pub(super) fn has_been(&self, found: Metadata) -> Option<Instant> {
        let State::Present(before) = self.state else { return None };
        (Metadata { accessed: found.accessed, ..before } == found).then_some(self.since)
    }
}

impl<W: Followed> Watch<W> {
    /// A lease is there before the listing; another watch begins some time after it.
    pub(super) fn begun_with(by: W, at: Instant) -> Watch<W> {
        let since = by.lease().map(|_| at);
        Watch { by, since, vouched: false, told: at, lost: None }
    }

    /// For how long it is believed of what was fetched.
    fn most(&self) -> Duration {
        if self.by.lease().is_some() { LEASED } else { FOLLOWED }
    }

    pub(super) fn has_begun(&self, at: Instant) -> bool {
        self.since.is_some_and(|since| since <= at)
    }

    /// The directory was listed. Says whether everything that has happened since then is told.
    pub(super) fn listed(&mut self, (begun, at): (Ticket, Instant)) -> bool {
        let is_followed = self.has_begun(at) && self.lost.is_none_or(|lost| lost <= begun);
        // What a lease vouched for has changed if it is gone.
        if is_followed && (self.by.lease().is_none() || self.by.is_armed()) {
            (self.vouched, self.lost) = (true, None);
        }
        is_followed && self.vouched
    }
}

impl<W: Followed> Directory<W> {
    /// Up to when everything was told that happened to what was fetched then.
    pub(super) fn followed(&self, now: Instant, fetched: Instant) -> Option<Instant> {
        let watch = self.watch.as_ref().filter(|watch| watch.vouched)?;
        let told = if watch.by.is_armed() { now } else { watch.told };
        Some(told.min(fetched + watch.most()))
    }

    pub(super) fn known_at(&self, entry: &Entry, now: Instant) -> Instant {
        let followed = if entry.followed { self.followed(now, entry.at) } else { None };
        followed.map_or(entry.until, |until| until.max(entry.until))
    }

    pub(super) fn complete_at(&self, now: Instant) -> Option<Instant> {
        let complete = self.complete?;
        Some(self.followed(now, complete).map_or(complete, |until| until.max(complete)))
    }

    /// Whether there is such an entry, or may be.
    pub(super) fn has(&self, name: &[u16]) -> bool {
        self.entries.get(name).is_some_and(|entry| entry.state != State::Absent)
    }

    /// Whether no other entry is the same name but for its case.
    pub(super) fn is_alone(&self, name: &[u16]) -> bool {
        let itself = usize::from(self.entries.contains_key(name));
        self.folded.get(&folded(name)).is_none_or(|names| *names == itself)
    }

    /// Whether no other entry can be meant by a name.
    pub(super) fn tells_apart(&self, name: &[u16]) -> bool {
        let plain = name.iter().all(|unit| (0x20..0x7F).contains(unit) && *unit != u16::from(b'~'));
        plain && self.is_alone(name)
    }

    /// Nobody follows any more what was followed until now.
    pub(super) fn rest(&mut self) {
        let Some(watch) = self.watch.as_mut() else { return };
        let (told, most) = (watch.told, watch.most());
        let was_vouched = std::mem::take(&mut watch.vouched);
        if !was_vouched {
            return;
        }
        self.complete = self.complete.map(|at| at.max(told.min(at + most)));
        for entry in self.entries.values_mut().filter(|entry| entry.followed) {
            (entry.until, entry.followed) = (entry.until.max(told.min(entry.at + most)), false);
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
