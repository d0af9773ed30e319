//! What the server lets this client cache, and what breaks took away: a plain value without I/O.
//!
//! A lease belongs to a key and holds for all opens under it (MS-SMB2 3.2.1.5). An oplock belongs to one open; under
//! its key only what all of the key's opens may cache may be cached. Opens are announced before they are sent
//! ([`LeaseTable::begin`]), because a break and the answer of the open that it concerns travel separately, and the
//! break can be seen first. Where answers carry epochs, a grant that is older than a break restores nothing that the
//! break took away. Without epochs every break that is seen while an open is pending limits what that open can be
//! granted (MS-SMB2 3.2.5.7.5, 3.2.5.19).
//!
//! Invariant: the table never allows more than the server counts as granted. What was taken away stays away at
//! least until the reader of the events has received the break. The table is bounded by the number of opens; the
//! waiting breaks are bounded by the keys that were opened since the last read.

use super::types::{Caching, Granted, Lease, LeaseKey};
use crate::wire::messages::FileId;
use std::collections::{BTreeMap, HashMap, VecDeque};

/// A break for the reader of the events: all breaks of one key that were not read before, as one.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "the server waits for the acknowledgement"]
pub struct Broken {
    /// The key of the lease. It may have no open any more; then only the acknowledgement is missing.
    pub key: LeaseKey,
    /// What may still be cached. The reader may lower it before it acknowledges.
    pub left: Caching,
    /// See [`Granted::serial`].
    pub serial: u64,
    /// What the server left.
    offered: Caching,
    /// The acknowledgements that the server waits for: one for a lease, one for each oplock.
    pub(super) owed: Vec<Owed>,
}

impl Broken {
    /// What to acknowledge: the caching that is kept, but no more than the server left.
    pub(super) fn kept(&self) -> Caching {
        self.left.and(self.offered)
    }
}

/// An acknowledgement that the server waits for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Owed {
    /// The session in which the break came.
    pub(super) session: u64,
    pub(super) holder: Holder,
}

/// The owner of a broken grant: the key of a lease, or the open of an oplock.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Holder {
    Lease(LeaseKey),
    Oplock(FileId),
}

/// What an open was granted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Grant {
    Nothing,
    Lease {
        key: LeaseKey,
        state: Caching,
        break_in_progress: bool,
        /// Only where leases have epochs.
        epoch: Option<u16>,
    },
    Oplock {
        file: FileId,
        caching: Caching,
    },
}

/// The break of a lease.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct LeaseBreak {
    pub(super) key: LeaseKey,
    pub(super) left: Caching,
    /// Only where leases have epochs.
    pub(super) epoch: Option<u16>,
    pub(super) acknowledge: bool,
}

/// All leases and oplocks of one client.
#[derive(Debug, Default)]
pub(super) struct LeaseTable {
    keys: HashMap<LeaseKey, Held>,
    /// Opens that were sent and not answered yet, by number.
    pending: BTreeMap<u64, Pending>,
    /// The keys of live opens, by number of the open.
    opens: HashMap<u64, LeaseKey>,
    /// Breaks of oplocks whose open is not known: one of the pending opens may be concerned.
    early: Vec<Early>,
    /// What was taken away and not read yet.
    broken: HashMap<LeaseKey, Broken>,
    /// The order in which `broken` is read.
    order: VecDeque<LeaseKey>,
    /// The number of the last open.
    last: u64,
    /// See [`Granted::serial`].
    serial: u64,
}

/// A key with live opens.
#[derive(Debug)]
struct Held {
    session: u64,
    /// The state of the lease. Opens with oplocks have their own.
    state: Caching,
    epoch: Option<u16>,
    /// Everything that the key's opens have requested. A grant beyond it is ignored.
    asked: Caching,
    opens: HashMap<u64, Option<Oplock>>,
}

#[derive(Clone, Copy, Debug)]
struct Oplock {
    file: FileId,
    caching: Caching,
}

#[derive(Clone, Copy, Debug)]
struct Pending {
    lease: Lease,
    /// What breaks have left since the open was sent.
    limit: Option<Caching>,
    /// The newest epoch of those breaks.
    epoch: Option<u16>,
}

#[derive(Clone, Copy, Debug)]
struct Early {
    session: u64,
    file: FileId,
    left: Caching,
    /// The number of the last open that was announced before.
    newest: u64,
}

impl Held {
    fn caching(&self) -> Caching {
        let each = self.opens.values().map(|oplock| oplock.map_or(self.state, |oplock| oplock.caching));
        each.reduce(Caching::and).unwrap_or(Caching::NONE)
    }
}

/// Whether one epoch comes after another. Epochs are 16 bits and wrap around.
fn is_newer(epoch: u16, than: u16) -> bool {
    epoch != than && epoch.wrapping_sub(than) < 0x8000
}

fn newest(one: Option<u16>, other: Option<u16>) -> Option<u16> {
    match (one, other) {
        (Some(one), Some(other)) => Some(if is_newer(other, one) { other } else { one }),
        (one, other) => one.or(other),
    }
}

impl LeaseTable {
    /// How many keys have a lease or an oplock that allows to cache something.
    pub(super) fn count(&self) -> usize {
        self.keys.values().filter(|held| held.caching() != Caching::NONE).count()
    }

    /// What may be cached under this key.
    pub(super) fn caching(&self, key: LeaseKey) -> Caching {
        let held = self.keys.get(&key).map_or(Caching::NONE, Held::caching);
        self.broken.get(&key).map_or(held, |broken| held.and(broken.left))
    }

    /// The same, with a serial number.
    pub(super) fn granted(&self, key: LeaseKey) -> Granted {
        Granted { caching: self.caching(key), serial: self.serial }
    }

    /// An open with this lease is about to be sent. Returns its number.
    pub(super) fn begin(&mut self, lease: Lease) -> u64 {
        self.last += 1;
        self.pending.insert(self.last, Pending { lease, limit: None, epoch: None });
        self.last
    }

    /// An open has failed, or its answer is no longer waited for. Returns what is to be acknowledged as given up.
    pub(super) fn abandon(&mut self, open: u64) -> Vec<Owed> {
        let Some(pending) = self.pending.remove(&open) else { return Vec::new() };
        let mut owed = self.forget(pending.lease.key);
        owed.extend(self.resolve_early());
        owed
    }

    /// The answer to an open has come. Returns what is to be acknowledged as given up.
    pub(super) fn opened(&mut self, open: u64, session: u64, grant: Grant) -> Vec<Owed> {
        let Some(pending) = self.pending.remove(&open) else { return Vec::new() };
        self.serial += 1;
        let Lease { key, caching } = pending.lease;
        if self.keys.get(&key).is_some_and(|held| held.session != session) {
            self.lose(key);
        }
        let fresh = Held { session, state: Caching::ALL, epoch: None, asked: Caching::NONE, opens: HashMap::new() };
        let held = self.keys.entry(key).or_insert(fresh);
        held.asked = held.asked | caching;
        let before = (!held.opens.is_empty()).then(|| held.caching());
        let mut early = None;
        match grant {
            Grant::Oplock { file, caching: granted } if caching.covers(granted) => {
                let at = self.early.iter().position(|early| (early.session, early.file) == (session, file));
                early = at.map(|at| self.early.swap_remove(at)).map(|early| (early, granted.writes()));
                let granted = early.map_or(granted, |(early, _)| granted.and(early.left));
                held.opens.insert(open, Some(Oplock { file, caching: granted }));
            }
            Grant::Lease { key: of, state, break_in_progress, epoch } if of == key && held.asked.covers(state) => {
                held.state = merge(held, &pending, state, break_in_progress, epoch);
                held.epoch = newest(newest(held.epoch, pending.epoch), epoch);
                held.opens.insert(open, None);
            }
            // A grant that was not requested is ignored.
            Grant::Nothing | Grant::Lease { .. } | Grant::Oplock { .. } => {
                held.state = Caching::NONE;
                held.opens.insert(open, None);
            }
        }
        let after = held.caching();
        self.opens.insert(open, key);
        if let Some((early, exclusive)) = early {
            let owed = exclusive.then_some(Owed { session, holder: Holder::Oplock(early.file) });
            self.report_break(key, after, owed);
        } else if before.is_some_and(|before| !after.covers(before)) {
            self.report_break(key, after, None);
        }
        self.resolve_early()
    }

    /// An open is being closed, or was lost before. With the last open of a key everything granted under it ends.
    pub(super) fn closed(&mut self, open: u64) {
        let Some(key) = self.opens.remove(&open) else { return };
        let Some(held) = self.keys.get_mut(&key) else { return };
        if let Some(Some(oplock)) = held.opens.remove(&open)
            && let Some(broken) = self.broken.get_mut(&key)
        {
            // The CLOSE is the acknowledgement.
            broken.owed.retain(|owed| owed.holder != Holder::Oplock(oplock.file));
        }
        if held.opens.is_empty() {
            self.keys.remove(&key);
            self.forget(key);
        }
    }

    /// A lease is broken. Returns what is to be acknowledged as given up, if this client does not have the lease.
    pub(super) fn lease_broken(&mut self, session: u64, broken: LeaseBreak) -> Option<Owed> {
        let LeaseBreak { key, left, epoch, acknowledge } = broken;
        let owed = acknowledge.then_some(Owed { session, holder: Holder::Lease(key) });
        if !self.limit(key, left, epoch) {
            return owed;
        }
        let remaining = self.keys.get(&key).map_or(left, |held| held.caching().and(left));
        self.report_break(key, remaining, owed);
        None
    }

    /// The oplock of an open is broken: at most reading is left (MS-SMB2 2.2.23.1). Returns what is to be
    /// acknowledged as given up, if this client does not have the oplock.
    pub(super) fn oplock_broken(&mut self, session: u64, file: FileId, left: Caching) -> Option<Owed> {
        let left = left.and(Caching::READ);
        let owed = Owed { session, holder: Holder::Oplock(file) };
        for (key, held) in self.keys.iter_mut().filter(|(_, held)| held.session == session) {
            let Some(oplock) = held.opens.values_mut().flatten().find(|oplock| oplock.file == file) else { continue };
            // Losing level II needs no acknowledgement (MS-SMB2 3.2.5.19.1).
            let exclusive = oplock.caching.writes();
            oplock.caching = oplock.caching.and(left);
            let (key, remaining) = (*key, held.caching());
            self.report_break(key, remaining, exclusive.then_some(owed));
            return None;
        }
        // Each pending open can have one oplock.
        if self.early.len() >= self.pending.len() {
            return Some(owed);
        }
        self.early.push(Early { session, file, left, newest: self.last });
        None
    }

    /// A session was lost, and with it all that was granted in it.
    pub(super) fn lost(&mut self, session: u64) {
        self.early.retain(|early| early.session != session);
        let lost: Vec<LeaseKey> =
            self.keys.iter().filter(|(_, held)| held.session == session).map(|(key, _)| *key).collect();
        lost.into_iter().for_each(|key| self.lose(key));
        for broken in self.broken.values_mut() {
            broken.owed.retain(|owed| owed.session != session);
        }
    }

    /// The number of keys whose break waits to be read.
    pub(super) fn waiting(&self) -> usize {
        self.order.len()
    }

    /// The next break to be read. If it has to be acknowledged, what it leaves is a limit from now on, whatever was
    /// granted since.
    pub(super) fn next_broken(&mut self) -> Option<Broken> {
        let mut broken = self.broken.remove(&self.order.pop_front()?)?;
        self.serial += 1;
        broken.serial = self.serial;
        if !broken.owed.is_empty() {
            self.limit(broken.key, broken.left, None);
        }
        Some(broken)
    }

    /// A break was carried out. What the reader gave up beyond the break is no longer used either.
    pub(super) fn carried_out(&mut self, broken: &Broken) {
        if broken.kept() != broken.offered {
            self.limit(broken.key, broken.kept(), None);
        }
    }

    /// The server refused an acknowledgement: it no longer waits, or waits for another one. What it still counts as
    /// granted is then unknown, so nothing is cached.
    pub(super) fn refused(&mut self, key: LeaseKey) {
        if self.limit(key, Caching::NONE, None) {
            self.report_break(key, Caching::NONE, None);
        }
    }

    /// Limits a key, and its pending opens, to `left`. Returns whether the key has any open.
    fn limit(&mut self, key: LeaseKey, left: Caching, epoch: Option<u16>) -> bool {
        let mut known = false;
        for pending in self.pending.values_mut().filter(|pending| pending.lease.key == key) {
            known = true;
            pending.limit = Some(pending.limit.unwrap_or(Caching::ALL).and(left));
            pending.epoch = newest(pending.epoch, epoch);
        }
        let Some(held) = self.keys.get_mut(&key) else { return known };
        held.state = held.state.and(left);
        held.epoch = newest(held.epoch, epoch);
        for oplock in held.opens.values_mut().flatten() {
            oplock.caching = oplock.caching.and(left);
        }
        true
    }

    fn lose(&mut self, key: LeaseKey) {
        let Some(held) = self.keys.remove(&key) else { return };
        for open in held.opens.keys() {
            self.opens.remove(open);
        }
        if held.caching() != Caching::NONE {
            self.report_break(key, Caching::NONE, None);
        }
    }

    /// Reports to the reader of the events that at most `left` is left under this key.
    fn report_break(&mut self, key: LeaseKey, left: Caching, owed: Option<Owed>) {
        let broken = self.broken.entry(key).or_insert_with(|| {
            self.order.push_back(key);
            Broken { key, left, serial: 0, offered: left, owed: Vec::new() }
        });
        broken.left = broken.left.and(left);
        broken.offered = broken.left;
        if let Some(owed) = owed.filter(|owed| !broken.owed.contains(owed)) {
            broken.owed.push(owed);
        }
    }

    /// What still has to be acknowledged for a key that has neither live nor pending opens. The break itself is still
    /// reported.
    fn forget(&mut self, key: LeaseKey) -> Vec<Owed> {
        let used = self.keys.contains_key(&key) || self.pending.values().any(|pending| pending.lease.key == key);
        match self.broken.get_mut(&key) {
            Some(broken) if !used => std::mem::take(&mut broken.owed),
            _ => Vec::new(),
        }
    }

    /// The early breaks that can no longer concern any pending open.
    fn resolve_early(&mut self) -> Vec<Owed> {
        let oldest = self.pending.keys().next().copied().unwrap_or(u64::MAX);
        let resolved = self.early.extract_if(.., |early| early.newest < oldest);
        resolved.map(|early| Owed { session: early.session, holder: Holder::Oplock(early.file) }).collect()
    }
}

/// The state of a lease after one more answer under its key.
fn merge(held: &Held, pending: &Pending, granted: Caching, breaking: bool, epoch: Option<u16>) -> Caching {
    let live = !held.opens.is_empty();
    let known = newest(held.epoch, pending.epoch);
    let later = match (epoch, known) {
        (Some(epoch), Some(known)) => is_newer(epoch, known),
        _ => pending.limit.is_none(),
    };
    if !later || breaking {
        let current = match (live, breaking) {
            (true, _) => held.state,
            (false, true) => Caching::NONE,
            (false, false) => Caching::ALL,
        };
        return granted.and(current).and(pending.limit.unwrap_or(Caching::ALL));
    }
    // The epoch advanced by more than one since the last known change: a break is in flight, and the data that it
    // concerns must not stay cached.
    let missed = live
        && held.state != Caching::NONE
        && held.epoch.zip(epoch).is_some_and(|(known, epoch)| epoch.wrapping_sub(known) > 1);
    if missed { Caching::NONE } else { granted }
}

#[cfg(test)]
mod tests;
