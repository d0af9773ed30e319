//! The lease table and the file record, public within the crate for the model tests of [`crate::vfs::file`], which
//! play the server and have no connections. Only leases, no oplocks.

use super::leases::{Broken, Grant, Holder, LeaseBreak, LeaseTable, Owed};
use super::record::{FileRecord, Judgement, Known, Loss, OwnChange, Sent};
use super::types::{Caching, FileTime, Granted, Lease, LeaseKey};
use super::unflushed::Checksums;
use bytes::Bytes;
use std::ops::Range;
use std::time::Instant;

/// An acknowledgement to be sent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Acknowledgement {
    pub session: u64,
    pub key: LeaseKey,
    pub kept: Caching,
}

/// A lease as the answer to a CREATE grants it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Given {
    pub key: LeaseKey,
    pub state: Caching,
    pub is_breaking: bool,
    pub epoch: Option<u16>,
}

/// The break of a lease.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Breaking {
    pub key: LeaseKey,
    pub left: Caching,
    pub epoch: Option<u16>,
    pub wants_answer: bool,
}

/// The leases of a client.
#[derive(Debug, Default)]
pub(crate) struct Leases(LeaseTable);

fn given_up(owed: impl IntoIterator<Item = Owed>) -> Vec<Acknowledgement> {
    let acknowledge = |owed: Owed| match owed.holder {
        Holder::Lease(key) => Some(Acknowledgement { session: owed.session, key, kept: Caching::NONE }),
        Holder::Oplock(_) => None,
    };
    owed.into_iter().filter_map(acknowledge).collect()
}

impl Leases {
    pub(crate) fn begin(&mut self, lease: Lease) -> u64 {
        self.0.begin(lease)
    }

    pub(crate) fn abandon(&mut self, open: u64) -> Vec<Acknowledgement> {
        given_up(self.0.abandon(open))
    }

    pub(crate) fn opened(&mut self, open: u64, session: u64, given: Option<Given>) -> Vec<Acknowledgement> {
        let grant = given.map_or(Grant::Nothing, |Given { key, state, is_breaking, epoch }| Grant::Lease {
            key,
            state,
            break_in_progress: is_breaking,
            epoch,
        });
        given_up(self.0.opened(open, session, grant))
    }

    pub(crate) fn closed(&mut self, open: u64) {
        self.0.closed(open);
    }

    pub(crate) fn broken(&mut self, session: u64, breaking: Breaking) -> Vec<Acknowledgement> {
        let Breaking { key, left, epoch, wants_answer } = breaking;
        given_up(self.0.lease_broken(session, LeaseBreak { key, left, epoch, acknowledge: wants_answer }))
    }

    pub(crate) fn lost(&mut self, session: u64) {
        self.0.lost(session);
    }

    pub(crate) fn next_broken(&mut self) -> Option<Broken> {
        self.0.next_broken()
    }

    /// Whether a break waits to be read.
    pub(crate) fn has_news(&self) -> bool {
        self.0.waiting() > 0
    }

    /// The acknowledgements to be sent after a break was carried out.
    pub(crate) fn carried_out(&mut self, broken: &Broken) -> Vec<Acknowledgement> {
        self.0.carried_out(broken);
        let kept = broken.kept();
        given_up(broken.owed.iter().copied()).into_iter().map(|owed| Acknowledgement { kept, ..owed }).collect()
    }

    pub(crate) fn refused(&mut self, key: LeaseKey) {
        self.0.refused(key);
    }

    pub(crate) fn granted(&self, key: LeaseKey) -> Granted {
        self.0.granted(key)
    }
}

/// A file's record.
#[derive(Debug)]
pub(crate) struct Record(FileRecord);

/// A file's size and change time at the server.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Found {
    pub size: u64,
    pub changed: FileTime,
}

/// A change by this client, with the mark of the FLUSH behind it.
#[derive(Clone, Debug)]
pub(crate) enum Own {
    Write { offset: u64, data: Bytes, mark: Option<u64> },
    Resize(u64),
    Attributes,
}

/// When a session ended and when its successor was made, by the server's clock.
#[derive(Clone, Debug)]
pub(crate) struct Between {
    pub lost: FileTime,
    pub renewed: (FileTime, FileTime),
}

impl From<Found> for Known {
    fn from(found: Found) -> Known {
        Known { size: found.size, changed: found.changed }
    }
}

impl From<&Between> for Loss {
    fn from(between: &Between) -> Loss {
        Loss { lost: Some(between.lost), renewed: Some(between.renewed.0..=between.renewed.1) }
    }
}

impl Record {
    pub(crate) fn new(found: Found) -> Record {
        Record(FileRecord::new(found.into()))
    }

    pub(crate) fn reported(&mut self, found: Found, asked: Instant) {
        self.0.reported(found.into(), asked);
    }

    pub(crate) fn begin(&mut self, own: &Own) -> u64 {
        self.0.begin(match own.clone() {
            Own::Write { offset, data, .. } => OwnChange::Write { offset, data },
            Own::Resize(size) => OwnChange::Resize(size),
            Own::Attributes => OwnChange::Attributes,
        })
    }

    pub(crate) fn answered(&mut self, number: u64, own: &Own, clock: FileTime, now: Instant) {
        let sent = match own {
            Own::Write { offset, data, mark } => Some(Sent { sums: Checksums::of(*offset, data), mark: *mark }),
            _ => None,
        };
        self.0.answered(number, sent, Some(clock), now);
    }

    pub(crate) fn give_up(&mut self, number: u64, now: Instant) {
        self.0.give_up(number, now);
    }

    pub(crate) fn conflicts(&self) -> u64 {
        self.0.conflicts()
    }

    pub(crate) fn under_way(&self) -> Vec<(u64, Range<u64>)> {
        self.0.under_way()
    }

    /// Whether no other client changed the file; `None` if the data of the WRITEs in flight has to be read first.
    pub(crate) fn judge(&self, found: Found, between: &Between) -> Option<bool> {
        match self.0.judge(found.into(), &between.into()) {
            Judgement::Unchanged => Some(true),
            Judgement::Conflict => Some(false),
            Judgement::ReadBack => None,
        }
    }

    pub(crate) fn weigh(&self, found: Found, read: &[(u64, Bytes)], between: &Between) -> bool {
        self.0.weigh(found.into(), read, &between.into()) == Judgement::Unchanged
    }

    pub(crate) fn adopt(&mut self, found: Found, is_unchanged: bool) {
        self.0.adopt(found.into(), if is_unchanged { Judgement::Unchanged } else { Judgement::Conflict });
    }

    pub(crate) fn is_in_doubt(&self, is_lost: bool) -> bool {
        self.0.is_doubtful() || (is_lost && !self.0.unflushed.is_empty())
    }

    pub(crate) fn is_short(&self) -> bool {
        self.0.is_short()
    }

    pub(crate) fn begin_flush(&mut self) -> u64 {
        self.0.unflushed.begin_flush()
    }

    /// The server has answered the FLUSH of this mark. Returns what has to be read back before the flush counts; `None`
    /// if it counts at once.
    pub(crate) fn flushed(&mut self, mark: u64) -> Option<Vec<Range<u64>>> {
        if !self.0.is_doubtful() {
            self.0.unflushed.flushed(mark);
            return None;
        }
        Some(self.0.unflushed.ranges(u64::MAX))
    }

    pub(crate) fn agrees(&self, range: Range<u64>, data: &[u8]) -> bool {
        self.0.unflushed.agrees(range, data) != Some(false)
    }

    pub(crate) fn resolve(&mut self, mark: u64) {
        self.0.resolve(mark);
    }
}
