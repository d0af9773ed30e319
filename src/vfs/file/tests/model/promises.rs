//! The promises to programs, compared with what the server has.
//!
//! All changes of a file are listed in the order in which they happened: those on the server's disk, and those that a
//! client accepted from a program and holds dirty, which only that client sees. A read must return, for each byte,
//! one of the values that the byte had since the reader was last sure of it. For each client the bytes of its
//! programs are listed that the server does not have, and those that the server's disk does not have.

use super::owed::{Bytes, Owed};
use super::server::{Applied, OTHER_CLIENT, Origin};
use std::collections::BTreeMap;
use std::ops::Range;

/// A position in a file's list of changes.
pub(super) type Mark = usize;
/// The order in which calls of programs begin and end.
pub(super) type Tick = u64;

/// The outcome of fsync(2).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Synced {
    Yes,
    /// The server has lost data that it had answered for.
    Lost,
    Failed,
}

/// The effect of a change on the data.
#[derive(Clone, Debug)]
enum Effect {
    Write {
        offset: u64,
        data: Vec<u8>,
        before: u64,
    },
    Resize {
        size: u64,
        before: u64,
    },
    /// The server has lost the data that it had not flushed.
    Restart(Vec<u8>),
}

/// The unit in which the share's record of a file keeps checksums, in bytes.
const PAGE: u64 = 4096;

/// A change of a file.
#[derive(Clone, Debug)]
struct Change {
    /// The client that made it.
    by: usize,
    /// Only its client sees it.
    is_held: bool,
    /// The program call that made it.
    call: Option<u64>,
    /// Since when the programs of its client must not see older data.
    done: Option<Tick>,
    /// It was made on the server's disk, without breaking leases.
    on_disk: bool,
    /// The call that makes it has not ended: programs may see it or not.
    is_under_way: bool,
    effect: Effect,
}

impl Change {
    /// Whether a program chose this byte: a hole below a write begins where the file ended before, as far as its
    /// client knew.
    fn decides(&self, place: u64) -> bool {
        !matches!(self.effect, Effect::Write { offset, .. } if place < offset)
    }

    /// Whether a program wrote a byte of the range, or cut it off.
    fn touches(&self, range: &Range<u64>) -> bool {
        match &self.effect {
            Effect::Write { offset, data, .. } => *offset < range.end && range.start < offset + data.len() as u64,
            Effect::Resize { size, .. } => *size < range.end,
            Effect::Restart(_) => false,
        }
    }

    /// The change without its data.
    fn describe(&self) -> String {
        let what = match &self.effect {
            Effect::Write { offset, data, .. } => format!("write {offset}..{}", offset + data.len() as u64),
            Effect::Resize { size, .. } => format!("size {size}"),
            Effect::Restart(_) => "restart".to_owned(),
        };
        format!("{what} by {} held {} done {:?}", self.by, self.is_held, self.done)
    }

    /// The byte at this place after the change. `None` if it is unchanged; `Some(None)` beyond the end of the file.
    fn at(&self, place: u64) -> Option<Option<u8>> {
        match &self.effect {
            Effect::Write { offset, data, before } => match place {
                _ if place < *offset => (place >= *before).then_some(Some(0)),
                _ => data.get((place - offset) as usize).map(|byte| Some(*byte)),
            },
            Effect::Resize { size, before } => match place {
                _ if place >= *size => Some(None),
                _ => (place >= *before).then_some(Some(0)),
            },
            Effect::Restart(data) => Some(data.get(place as usize).copied()),
        }
    }
}

/// The history of a file.
#[derive(Debug)]
struct File {
    /// The data at the start of the run.
    base: Vec<u8>,
    changes: Vec<Change>,
    /// The position at which each open was made at the server.
    opened: BTreeMap<u64, Mark>,
    /// What each client owes its programs.
    owed: Vec<Owed>,
}

/// The history of all files, and the first promise that was broken.
#[derive(Debug)]
pub(super) struct Promises {
    files: Vec<File>,
    /// The first failure.
    pub(super) broken: Option<String>,
    ticks: Tick,
    /// Counts of the things that happened.
    pub(super) counts: BTreeMap<&'static str, u64>,
}

impl Promises {
    /// Promises about files with this data.
    pub(super) fn new(data: Vec<Vec<u8>>, clients: usize) -> Promises {
        let file =
            |base| File { base, changes: Vec::new(), opened: BTreeMap::new(), owed: vec![Owed::default(); clients] };
        Promises { files: data.into_iter().map(file).collect(), broken: None, ticks: 0, counts: BTreeMap::new() }
    }

    /// Records a failure, if it is the first.
    pub(super) fn fail(&mut self, why: String) {
        self.broken.get_or_insert(why);
    }

    /// Counts something that happened.
    pub(super) fn count(&mut self, what: &'static str) {
        *self.counts.entry(what).or_default() += 1;
    }

    /// A new tick, after all ticks before.
    pub(super) fn tick(&mut self) -> Tick {
        self.ticks += 1;
        self.ticks
    }

    fn now(&self, file: usize) -> Mark {
        self.files[file].changes.len()
    }

    /// The server has changed something on a disk.
    pub(super) fn applied(&mut self, applied: Applied, disk: &[u8]) {
        match applied {
            Applied::Write { file, client, offset, data, before, origin } => {
                self.check_overwrite((file, client), offset..offset + data.len() as u64, origin);
                let of = &mut self.files[file];
                for (index, owed) in of.owed.iter_mut().enumerate() {
                    if index == client {
                        owed.pending.arrived(offset, &data);
                        // The share's record keeps one range per page: a range after a loss replaces one before it.
                        let pages = offset / PAGE * PAGE..(offset + data.len() as u64).next_multiple_of(PAGE);
                        owed.unsynced.supersede(pages, owed.lost);
                        if let Some(began) = origin.born.filter(|_| !origin.held) {
                            // A program wrote over data that was held dirty.
                            let range = offset..offset + data.len() as u64;
                            owed.pending.supersede(range.clone(), began);
                            owed.unsynced.supersede(range, began);
                        }
                    } else {
                        owed.unsynced.remove(offset..offset + data.len() as u64);
                    }
                }
                let effect = Effect::Write { offset, data, before };
                self.push(file, client, false, origin.call, effect);
            }
            Applied::Resize { file, client, size, before } => {
                for (index, owed) in self.files[file].owed.iter_mut().enumerate() {
                    owed.unsynced.cut(size / PAGE * PAGE);
                    if index == client {
                        owed.pending.cut(size);
                    }
                }
                self.push(file, client, false, None, Effect::Resize { size, before });
            }
            Applied::Flushed { file } => {
                self.files[file].owed.iter_mut().for_each(|owed| owed.unsynced.arrived(0, disk));
            }
            Applied::Opened { file, open } => {
                let now = self.now(file);
                self.files[file].opened.insert(open, now);
            }
        }
    }

    fn push(&mut self, file: usize, by: usize, is_held: bool, call: Option<u64>, effect: Effect) {
        let done = if is_held { Some(self.tick()) } else { None };
        self.files[file].changes.push(Change { by, is_held, call, done, on_disk: false, is_under_way: false, effect });
    }

    /// The last change was not made over the network.
    pub(super) fn was_on_disk(&mut self, file: usize) {
        if let Some(change) = self.files[file].changes.last_mut() {
            change.on_disk = true;
        }
    }

    /// The server has restarted with this data.
    pub(super) fn restarted(&mut self, file: usize, data: Vec<u8>) {
        self.push(file, OTHER_CLIENT, false, None, Effect::Restart(data));
        // A client does not know what is lost before it opens the file again.
        self.was_on_disk(file);
    }

    /// The server has ended a client's session, or its leases.
    pub(super) fn ended(&mut self, client: usize) {
        let tick = self.tick();
        for file in &mut self.files {
            file.owed[client].lost = tick;
            let owed = &mut file.owed[client];
            (owed.ended, owed.known, owed.is_unknown) = (file.changes.len(), Tick::MAX, true);
        }
    }

    /// A client learns of a break. Returns when.
    pub(super) fn broken(&mut self, client: usize, file: usize) -> Tick {
        let tick = self.tick();
        let owed = &mut self.files[file].owed[client];
        if std::mem::take(&mut owed.is_unknown) {
            owed.known = tick;
        }
        tick
    }

    /// A client has judged a file by what it found with this open.
    pub(super) fn judged(&mut self, client: usize, file: usize, open: u64, is_certain: bool) {
        let of = &mut self.files[file];
        let owed = &mut of.owed[client];
        if let Some(at) = of.opened.get(&open) {
            owed.judged = if is_certain { *at } else { owed.ended };
        }
    }

    /// Checks that data from before a lost session does not overwrite later changes by other clients.
    fn check_overwrite(&mut self, (file, client): (usize, usize), range: Range<u64>, origin: Origin) {
        let Some(born) = origin.born.filter(|_| origin.held) else { return };
        let of = &self.files[file];
        let Owed { ended, known, .. } = of.owed[client];
        // Changes after the file was reopened do not count: the open has no lease.
        let judged = if of.owed[client].judged >= ended { of.owed[client].judged } else { of.changes.len() };
        // Data that the server lost may be overwritten.
        let restarted = of.changes.iter().rposition(|change| matches!(change.effect, Effect::Restart(_)));
        let ended = restarted.map_or(ended, |at| ended.max(at + 1));
        let judged = judged.max(ended);
        let is_foreign = |change: &Change| change.by != client && !change.is_held && change.touches(&range);
        if born < known
            && let Some(at) = of.changes[ended..judged].iter().position(is_foreign)
        {
            let what = of.changes[ended + at].describe();
            let wrong = format!(
                "client {client} writes over another client's change {}, ended {ended}, judged {judged}: {what}",
                ended + at
            );
            self.fail(wrong);
        }
    }
}

/// The calls of clients and their programs.
impl Promises {
    /// A program's write was accepted, and is held dirty.
    pub(super) fn held(&mut self, client: usize, file: usize, (offset, data): (u64, &[u8]), size: u64) {
        let effect = Effect::Write { offset, data: data.to_vec(), before: size };
        self.push(file, client, true, None, effect);
        let now = self.tick();
        let owed = &mut self.files[file].owed[client];
        owed.pending.set(offset, data, now);
        owed.unsynced.set(offset, data, now);
    }

    /// A program's write begins: the kernel's pages may have its data already.
    pub(super) fn begins(&mut self, client: usize, file: usize, call: u64, (offset, data): (u64, &[u8])) {
        self.push(file, client, false, Some(call), Effect::Write { offset, data: data.to_vec(), before: u64::MAX });
        if let Some(change) = self.files[file].changes.last_mut() {
            (change.is_held, change.is_under_way) = (true, true);
        }
    }

    /// A write recorded by [`Promises::begins`] has ended.
    pub(super) fn ends(&mut self, file: usize, call: u64) {
        let is_it = |change: &&mut Change| change.is_under_way && change.call == Some(call);
        if let Some(change) = self.files[file].changes.iter_mut().find(is_it) {
            (change.is_under_way, change.call) = (false, None);
        }
    }

    /// A program's call was answered with success.
    pub(super) fn done(&mut self, client: usize, file: usize, call: u64, (offset, data): (u64, &[u8]), disk: &[u8]) {
        let now = self.tick();
        let of = &mut self.files[file];
        for change in of.changes.iter_mut().filter(|change| change.call == Some(call) && !change.is_under_way) {
            change.done = Some(now);
        }
        for (index, byte) in data.iter().enumerate() {
            let place = offset + index as u64;
            if disk.get(place as usize) == Some(byte) {
                of.owed[client].unsynced.bytes.insert(place, (*byte, now));
            }
        }
    }

    /// A program's change of the size was answered with success.
    pub(super) fn resized(&mut self, client: usize, file: usize, to: u64) {
        let now = self.tick();
        let is_own = |change: &&mut Change| {
            change.by == client && matches!(change.effect, Effect::Resize { size, .. } if size == to)
        };
        if let Some(change) = self.files[file].changes.iter_mut().rev().find(is_own) {
            change.done = Some(now);
        }
    }

    /// When the oldest byte of data about to be sent was written.
    pub(super) fn born(&self, client: usize, file: usize, offset: u64, data: &[u8]) -> Option<Tick> {
        self.files[file].owed[client].pending.oldest(offset, data)
    }

    /// Dirty data could not be sent. Each handle must report it, or each of the handles `reporting`.
    pub(super) fn failed(
        &mut self,
        client: usize,
        file: usize,
        (offset, data): (u64, &[u8]),
        reporting: Option<&[u64]>,
    ) {
        self.may_be_lost(client, file, &(offset..offset + data.len() as u64));
        let owed = &mut self.files[file].owed[client];
        let written = owed.pending.oldest(offset, data).or(owed.unsynced.oldest(offset, data)).unwrap_or(Tick::MAX);
        owed.pending.arrived(offset, data);
        owed.unsynced.arrived(offset, data);
        let has_to = |handle: &u64| reporting.is_none_or(|reporting| reporting.contains(handle));
        owed.unreported
            .iter_mut()
            .filter(|(handle, _)| has_to(handle))
            .for_each(|(_, unreported)| *unreported = unreported.or(Some(written)));
    }

    /// A program has cut off a range that another program may have been writing at the same time.
    pub(super) fn cut(&mut self, client: usize, file: usize, range: Range<u64>) {
        self.may_be_lost(client, file, &range);
        let owed = &mut self.files[file].owed[client];
        owed.pending.remove(range.clone());
        // The share's record keeps nothing of a page that is cut.
        owed.unsynced.remove(range.start / PAGE * PAGE..range.end);
    }

    /// Programs may see the data from before their writes of this range.
    fn may_be_lost(&mut self, client: usize, file: usize, range: &Range<u64>) {
        let is_own = |change: &&mut Change| change.by == client && change.touches(range);
        self.files[file].changes.iter_mut().filter(is_own).for_each(|change| change.done = None);
    }

    /// A handle is open. Returns the position from which on its reads return data.
    pub(super) fn handle_opened(&mut self, client: usize, file: usize, handle: u64, open: Option<u64>) -> Mark {
        let tick = self.tick();
        let of = &mut self.files[file];
        if std::mem::take(&mut of.owed[client].is_unknown) {
            of.owed[client].known = tick;
        }
        of.owed[client].unreported.insert(handle, None);
        open.and_then(|open| of.opened.get(&open).copied()).unwrap_or(of.owed[client].sure)
    }

    /// A handle is closed.
    pub(super) fn handle_closed(&mut self, client: usize, file: usize, handle: u64) {
        self.files[file].owed[client].unreported.remove(&handle);
    }

    /// close(2) has answered 0: the server has the data written before it began.
    pub(super) fn closed(&mut self, client: usize, file: usize, handle: u64, began: Tick) {
        let owed = &self.files[file].owed[client];
        if owed.unreported.get(&handle).is_some_and(|unreported| unreported.is_some_and(|written| written < began)) {
            self.fail(format!("close of handle {handle} returns 0 after a failed write"));
        } else if let Some(place) = owed.pending.since(began) {
            self.fail(format!("close of handle {handle} returns 0, but the server does not have byte {place}"));
        }
    }

    /// fsync(2) has answered: 0 means that data written before it began survives a loss of power.
    pub(super) fn synced(
        &mut self,
        client: usize,
        file: usize,
        (handle, began, synced): (u64, Tick, Synced),
        disk: &[u8],
    ) {
        let owed = &mut self.files[file].owed[client];
        if synced != Synced::Yes {
            owed.unreported.insert(handle, None);
        }
        if synced == Synced::Lost {
            let pending = &owed.pending.bytes;
            let is_there =
                |place: &u64, value: u8| disk.get(*place as usize) == Some(&value) || pending.contains_key(place);
            let before = owed.unsynced.bytes.len();
            owed.unsynced.bytes.retain(|place, (value, _)| is_there(place, *value));
            if owed.unsynced.bytes.len() < before {
                owed.unreported
                    .iter_mut()
                    .filter(|(other, _)| **other != handle)
                    .for_each(|(_, unreported)| *unreported = Some(0));
            }
        }
        if synced != Synced::Yes {
            return;
        }
        if owed.unreported.get(&handle).is_some_and(|unreported| unreported.is_some_and(|written| written < began)) {
            self.fail(format!("fsync of handle {handle} returns 0 after a failed write"));
        } else if let Some(place) = owed.unsynced.since(began) {
            self.fail(format!("fsync of handle {handle} returns 0, but byte {place} is not on the server's disk"));
        }
    }

    /// The last open of the file has ended, and with it the share's record of the data that was not flushed.
    pub(super) fn forgets_unsynced(&mut self, client: usize, file: usize) {
        self.files[file].owed[client].unsynced = Bytes::default();
    }

    /// The client is sure of the file's data at this moment.
    pub(super) fn is_sure(&mut self, client: usize, file: usize) {
        let now = self.now(file);
        self.files[file].owed[client].sure = now;
    }

    /// The position at which a client was last sure of a file's data.
    pub(super) fn sure(&self, client: usize, file: usize) -> Mark {
        self.files[file].owed[client].sure
    }

    /// The first byte that was written at `until` or before, and that the server does not have.
    pub(super) fn pending(&self, client: usize, file: usize, until: Tick) -> Option<u64> {
        self.files[file].owed[client].pending.since(until)
    }

    /// A program has read. `began` is when it asked, and `sure` the position from which on older data is wrong.
    pub(super) fn read(
        &mut self,
        client: usize,
        file: usize,
        (offset, length): (u64, u64),
        data: &[u8],
        since: (Tick, Mark),
    ) {
        let mut places = vec![offset, offset + length - 1];
        places.extend((offset..offset + length).step_by(61));
        for change in self.files[file].changes.iter().rev().take(24) {
            if let Effect::Write { offset: at, data, .. } = &change.effect {
                let end = at + data.len() as u64;
                places.extend([*at, end.saturating_sub(1), end, at.saturating_sub(1)]);
            }
        }
        let whole = offset..offset + length;
        let wrong = places.into_iter().filter(|place| whole.contains(place)).find(|place| {
            let found = data.get((place - offset) as usize).copied();
            !self.allows(client, file, *place, found, since)
        });
        if let Some(place) = wrong {
            let found = data.get((place - offset) as usize);
            let history: Vec<String> = self.files[file]
                .changes
                .iter()
                .enumerate()
                .filter_map(|(index, change)| {
                    let value = change.at(place)?;
                    Some(format!("{index}: {value:?} {}", change.describe()))
                })
                .collect();
            self.fail(format!(
                "client {client} reads {found:?} at {place} (began, sure: {since:?}); history {history:?}"
            ));
        }
    }

    fn allows(&self, client: usize, file: usize, place: u64, found: Option<u8>, (began, sure): (Tick, Mark)) -> bool {
        let of = &self.files[file];
        let is_own = |change: &&Change| change.is_under_way && change.by == client;
        if of.changes.iter().filter(is_own).any(|change| change.at(place) == Some(found)) {
            return true;
        }
        for (index, change) in of.changes.iter().enumerate().rev() {
            if change.is_held && change.by != client {
                continue;
            }
            let Some(value) = change.at(place) else { continue };
            if value == found {
                return true;
            }
            let is_known = index < sure && !change.on_disk && change.by != client;
            let is_own = change.by == client && change.done.is_some_and(|done| done <= began);
            if is_known || (is_own && change.decides(place)) {
                return false;
            }
        }
        of.base.get(place as usize).copied() == found
    }
}
