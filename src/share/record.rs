//! What this client knows of a file at the server, and whether another client changed the file while the session was
//! lost: a plain value without I/O.
//!
//! A lease guarantees the state of a file until the session is lost. Data that a program wrote before, and that the
//! server does not have, may be written afterwards only if no other client has changed the file. The evidence is the
//! file's size and change time when it is opened again, and the data of the WRITEs that were in flight. A file is
//! unchanged by others if
//!
//! - size and change time are as the server reported them last; or
//! - the size can result from this client's own changes, and they explain the change time as below; or
//! - the size can result from them, each WRITE in flight was read back and found either arrived or not made (the data
//!   from before), at least one has arrived, and the change time is from before the new session.
//!
//! Own changes explain a change time if there are any, and the time is not earlier than the last reported one (unless
//! this client sets times), and it is one of these, by the server's clock:
//!
//! - not later than the answer to the last change;
//! - two seconds after a WRITE: Samba notes the time of a WRITE with this delay;
//! - not later than the loss, if a WRITE in flight has arrived, or a change of times, attributes or the name had no
//!   answer;
//! - the moment of the loss, or within the attempt that made the new session: then the server closed the file, and
//!   Samba sets the time of the last write.
//!
//! Where the server does not report its clock, this list does not apply: size and data decide. Anything else is a
//! conflict. So is data in the range of a WRITE in flight that is neither the WRITE's nor from before, and a file that
//! another client has open for writing by that time ([`super::reopen`]).
//!
//! Invariant: a conflict counts for every open that is older than it ([`FileRecord::conflicts`]).

use super::types::FileTime;
use super::unflushed::{Checksums, PAGE, Unflushed};
use bytes::Bytes;
use std::collections::BTreeMap;
use std::ops::{Range, RangeInclusive};
use std::time::Instant;

/// The inexactness of clocks and file system timestamps, in units of 100 ns: 100 ms.
pub(super) const INEXACT: u64 = 1_000_000;
/// smbd notes the time of the last write this long after the first WRITE that it has not noted
/// (WRITE_TIME_UPDATE_USEC_DELAY in source3/include/smb.h), in units of 100 ns: 2 s.
const DELAYED: u64 = 20_000_000;
/// The maximum number of size changes without an answer that are remembered.
const SIZES: usize = 16;

/// What the server reports about a file's version.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Known {
    /// Size, in bytes.
    pub(super) size: u64,
    /// The change time, or the time of the last write where the server keeps no change time.
    pub(super) changed: FileTime,
}

/// A change by this client.
#[derive(Clone, Debug)]
pub(super) enum OwnChange {
    /// A WRITE.
    Write { offset: u64, data: Bytes },
    /// A copy by the server, which ends at this offset.
    Copy { end: u64 },
    /// A new size, in bytes.
    Resize(u64),
    /// Times, attributes or the name.
    Attributes,
}

/// The data of an acknowledged WRITE.
#[derive(Debug)]
pub(super) struct Sent {
    pub(super) sums: Checksums,
    /// The mark of the FLUSH that follows in the same compound.
    pub(super) mark: Option<u64>,
}

/// When the server may have closed the opens of a lost session, by its own clock.
#[derive(Clone, Debug, Default)]
pub(super) struct Loss {
    /// When the connection was lost, where the server reports its clock.
    pub(super) lost: Option<FileTime>,
    /// From the beginning of the attempt that made the new session, which ended the old one, until it was made.
    pub(super) renewed: Option<RangeInclusive<FileTime>>,
}

impl Loss {
    /// Whether a change time is from before the new session, as far as is known.
    fn is_before_renewal(&self, changed: FileTime) -> bool {
        let end = self.renewed.as_ref().map(|renewed| *renewed.end()).or(self.lost);
        end.is_none_or(|end| changed.0 <= end.0.saturating_add(INEXACT))
    }
}

/// The verdict about a file that is opened again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Judgement {
    /// No other client has changed it.
    Unchanged,
    /// Another client has changed it.
    Conflict,
    /// The data of the WRITEs in flight decides: see [`FileRecord::under_way`] and [`FileRecord::weigh`].
    ReadBack,
}

/// What is known of a file.
#[derive(Debug)]
pub(super) struct FileRecord {
    size: u64,
    /// The change time that the server reported, if this client has changed nothing since.
    changed: Option<FileTime>,
    /// The change time that the server reported last.
    last_reported: FileTime,
    /// This client may have set times since then.
    has_set_times: bool,
    /// The server's clock at its answer to this client's last change.
    answered: Option<FileTime>,
    /// The server's clock at the first WRITE whose time the server may note with a delay.
    delayed: Option<FileTime>,
    /// This client has changed the file in this session.
    has_changed: bool,
    /// When this client's last change was answered or given up.
    last_change: Option<Instant>,
    under_way: BTreeMap<u64, OwnChange>,
    next: u64,
    /// The end of the longest write or copy that was given up without an answer.
    given_up: u64,
    /// Sizes that were set and not answered.
    given_up_sizes: Vec<u64>,
    /// Times, attributes or the name were changed, and the change was not answered.
    given_up_attributes: bool,
    conflicts: u64,
    pub(super) unflushed: Unflushed,
    /// The unflushed data was acknowledged in a session that was lost.
    is_doubtful: bool,
    /// The file was found shorter than acknowledged changes had made it.
    is_short: bool,
}

impl FileRecord {
    /// A file as the server reports it.
    pub(super) fn new(known: Known) -> FileRecord {
        FileRecord {
            size: known.size,
            changed: Some(known.changed),
            last_reported: known.changed,
            has_set_times: false,
            answered: None,
            delayed: None,
            has_changed: false,
            last_change: None,
            under_way: BTreeMap::new(),
            next: 0,
            given_up: 0,
            given_up_sizes: Vec::new(),
            given_up_attributes: false,
            conflicts: 0,
            unflushed: Unflushed::default(),
            is_doubtful: false,
            is_short: false,
        }
    }

    /// The server reports the file in the same session. It was asked at `asked`, so the report may not include what
    /// this client has changed since.
    pub(super) fn reported(&mut self, known: Known, asked: Instant) {
        if self.under_way.is_empty() && self.last_change.is_none_or(|change| change < asked) {
            (self.size, self.changed, self.answered) = (known.size, Some(known.changed), None);
            (self.last_reported, self.has_set_times) = (known.changed, false);
            self.given_up_attributes = false;
        }
    }

    /// The file is opened again after this client had closed all its opens. If another client has written it
    /// meanwhile, a later flush does not verify this client's earlier data.
    pub(super) fn resumed(&mut self, found: Known) {
        let latest = self.changed.max(self.answered).map_or(self.last_reported, |known| known.max(self.last_reported));
        if found.changed.0 > latest.0.saturating_add(INEXACT) {
            self.unflushed = Unflushed::default();
            (self.is_doubtful, self.is_short) = (false, false);
        }
    }

    /// A change is about to be sent. It ends by [`FileRecord::answered`] or [`FileRecord::give_up`].
    pub(super) fn begin(&mut self, change: OwnChange) -> u64 {
        self.has_set_times |= matches!(change, OwnChange::Attributes);
        self.next += 1;
        self.under_way.insert(self.next, change);
        self.next
    }

    /// The server has carried out a change; `clock` is its clock.
    pub(super) fn answered(&mut self, number: u64, data: Option<Sent>, clock: Option<FileTime>, now: Instant) {
        let Some(change) = self.under_way.remove(&number) else { return };
        match change {
            OwnChange::Write { offset, data } => {
                self.size = self.size.max(offset.saturating_add(data.len() as u64));
                let is_noted = |first: FileTime| clock.is_some_and(|clock| clock.0 > first.0.saturating_add(DELAYED));
                if self.delayed.is_none_or(is_noted) {
                    self.delayed = clock;
                }
            }
            OwnChange::Copy { end } => {
                self.size = self.size.max(end);
                self.unflushed.copied();
            }
            OwnChange::Resize(size) => {
                self.size = size;
                self.unflushed.cut(size);
            }
            OwnChange::Attributes => {}
        }
        if let Some(Sent { sums, mark }) = data {
            self.unflushed.wrote(sums, mark);
        }
        self.changed = None;
        self.answered = self.answered.max(clock);
        (self.has_changed, self.last_change) = (true, Some(now));
    }

    /// The answer to a change is no longer waited for, or the change was refused: it may have been carried out in part.
    pub(super) fn give_up(&mut self, number: u64, now: Instant) {
        match self.under_way.remove(&number) {
            Some(OwnChange::Write { offset, data }) => {
                self.given_up = self.given_up.max(offset.saturating_add(data.len() as u64));
            }
            Some(OwnChange::Copy { end }) => self.given_up = self.given_up.max(end),
            Some(OwnChange::Resize(size)) if self.given_up_sizes.len() < SIZES => self.given_up_sizes.push(size),
            Some(OwnChange::Attributes) => self.given_up_attributes = true,
            Some(OwnChange::Resize(_)) | None => {}
        }
        self.last_change = Some(now);
    }

    /// The number of conflicts so far. Data that was held back through an open that is older than the last conflict
    /// must not be written.
    pub(super) fn conflicts(&self) -> u64 {
        self.conflicts
    }

    /// The WRITEs in flight, by number, with their ranges in the file.
    pub(super) fn under_way(&self) -> Vec<(u64, Range<u64>)> {
        let range = |change: &OwnChange| match change {
            OwnChange::Write { offset, data } => Some(*offset..offset.saturating_add(data.len() as u64)),
            _ => None,
        };
        self.under_way.iter().filter_map(|(number, change)| Some((*number, range(change)?))).collect()
    }

    /// The verdict about the file, which was opened again in a new session.
    pub(super) fn judge(&self, found: Known, loss: &Loss) -> Judgement {
        if self.changed == Some(found.changed) && self.size == found.size {
            Judgement::Unchanged
        } else if !self.can_have(found.size) {
            Judgement::Conflict
        } else if self.under_way.values().any(|change| matches!(change, OwnChange::Write { .. })) {
            Judgement::ReadBack
        } else if self.is_own_time(found.changed, false, loss) {
            Judgement::Unchanged
        } else {
            Judgement::Conflict
        }
    }

    /// The verdict with the data of the WRITEs in flight. `read` has, for each of them, the content of the pages that
    /// it writes to, up to the end of the file at most. A range that could not be read is left out.
    pub(super) fn weigh(&self, found: Known, read: &[(u64, Bytes)], loss: &Loss) -> Judgement {
        let mut evidence = Evidence::default();
        for (number, there) in read {
            if let Some(OwnChange::Write { offset, data }) = self.under_way.get(number) {
                self.compare(*number, (*offset, data), there, &mut evidence);
            }
        }
        let writes = self.under_way();
        evidence.unknown |= writes.iter().any(|(number, _)| !read.iter().any(|(other, _)| other == number));
        match evidence {
            Evidence { foreign: true, .. } => Judgement::Conflict,
            Evidence { arrived: true, unknown: false, .. } if loss.is_before_renewal(found.changed) => {
                Judgement::Unchanged
            }
            _ if self.is_own_time(found.changed, evidence.arrived, loss) => Judgement::Unchanged,
            _ => Judgement::Conflict,
        }
    }

    fn compare(&self, number: u64, (offset, sent): (u64, &[u8]), there: &[u8], evidence: &mut Evidence) {
        let origin = offset / PAGE * PAGE;
        let (mut at, end) = (offset, offset + sent.len() as u64);
        while at < end {
            let stop = ((at / PAGE + 1) * PAGE).min(end);
            let mine = &sent[(at - offset) as usize..(stop - offset) as usize];
            let from = ((at - origin) as usize).min(there.len());
            let found = &there[from..((stop - origin) as usize).min(there.len())];
            let page = &there[((at / PAGE * PAGE - origin) as usize).min(there.len())..];
            if found.is_empty() {
                // The file ends before this page.
            } else if found == &mine[..found.len()] {
                evidence.arrived = true;
            } else if at >= self.size && found.iter().all(|byte| *byte == 0) {
                // A hole below a WRITE that has arrived.
            } else {
                match self.unflushed.page_agrees(at / PAGE, page) {
                    Some(true) => {}
                    // Neither the data that was sent nor the data from before.
                    Some(false) if !self.is_shared(number, at / PAGE) => evidence.foreign = true,
                    _ => evidence.unknown = true,
                }
            }
            at = stop;
        }
    }

    /// Whether another WRITE in flight writes to the same page.
    fn is_shared(&self, number: u64, page: u64) -> bool {
        let touches = |range: &Range<u64>| range.start < (page + 1) * PAGE && page * PAGE < range.end;
        self.under_way().iter().any(|(other, range)| *other != number && touches(range))
    }

    /// Applies the verdict: from now on the file is as it was found.
    pub(super) fn adopt(&mut self, found: Known, judgement: Judgement) {
        // A size that was set without an answer may have cut off what was written before.
        let resized = self.under_way.values().filter_map(|change| match change {
            OwnChange::Resize(size) => Some(*size),
            _ => None,
        });
        let shortest = resized.chain(self.given_up_sizes.iter().copied()).min();
        if let Some(size) = shortest {
            self.unflushed.cut(size);
        }
        self.is_doubtful |= !self.unflushed.is_empty();
        self.is_short |= found.size < self.size && shortest.is_none();
        if judgement == Judgement::Conflict {
            self.conflicts += 1;
        }
        (self.size, self.changed, self.answered, self.has_changed) = (found.size, Some(found.changed), None, false);
        (self.last_reported, self.has_set_times) = (found.changed, false);
        self.given_up = 0;
        self.given_up_sizes.clear();
        self.given_up_attributes = false;
    }

    /// The unflushed data was acknowledged in a session that was lost.
    pub(super) fn is_doubtful(&self) -> bool {
        self.is_doubtful
    }

    /// Bytes that the server had acknowledged are missing.
    pub(super) fn is_short(&self) -> bool {
        self.is_doubtful && self.is_short
    }

    /// The doubtful data was verified after the FLUSH of this mark: it is flushed, or the caller reports its loss.
    pub(super) fn resolve(&mut self, mark: u64) {
        self.unflushed.flushed(mark);
        (self.is_doubtful, self.is_short) = (false, false);
    }

    /// Whether own changes can have given the file this size. A server that was killed may have carried out a part of
    /// a WRITE.
    fn can_have(&self, size: u64) -> bool {
        let (mut shortest, mut longest) = (self.size, self.size.max(self.given_up));
        for change in self.under_way.values() {
            match change {
                OwnChange::Write { offset, data } => longest = longest.max(offset.saturating_add(data.len() as u64)),
                OwnChange::Copy { end } => longest = longest.max(*end),
                OwnChange::Resize(size) => (shortest, longest) = (shortest.min(*size), longest.max(*size)),
                OwnChange::Attributes => {}
            }
        }
        (shortest..=longest).contains(&size) || self.given_up_sizes.contains(&size)
    }

    /// Whether own changes, or the end of the session in which they were made, explain this change time. `arrived`: a
    /// WRITE in flight is known to have arrived.
    fn is_own_time(&self, changed: FileTime, arrived: bool, loss: &Loss) -> bool {
        if self.changed == Some(changed) {
            return true;
        }
        // Some servers report the time of the last write as the change time. Another client can set that time back,
        // which an own WRITE does not do.
        let touches = |change: &OwnChange| matches!(change, OwnChange::Attributes);
        let is_touched = arrived || self.given_up_attributes || self.under_way.values().any(touches);
        if !(self.has_changed || is_touched) || (changed < self.last_reported && !self.has_set_times) {
            return false;
        }
        // Without the server's clock only sizes and data are evidence.
        let Some(lost) = loss.lost else { return true };
        let around = |from: FileTime, until: FileTime| {
            (from.0.saturating_sub(INEXACT / 2)..=until.0.saturating_add(INEXACT)).contains(&changed.0)
        };
        let until = |last: FileTime| changed.0 <= last.0.saturating_add(INEXACT);
        let noted = self.delayed.map(|first| FileTime(first.0.saturating_add(DELAYED)));
        self.answered.is_some_and(until)
            || noted.is_some_and(|noted| around(noted, noted))
            || (is_touched && until(lost))
            || around(lost, lost)
            || loss.renewed.as_ref().is_some_and(|renewed| around(*renewed.start(), *renewed.end()))
    }
}

/// What the data of the WRITEs in flight shows.
#[derive(Default)]
struct Evidence {
    /// One of them has arrived.
    arrived: bool,
    /// There is data that is neither one of them nor from before.
    foreign: bool,
    /// There is data whose origin is not known: it may be from before.
    unknown: bool,
}

#[cfg(test)]
mod tests;
