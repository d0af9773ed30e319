//! What is known of one file's attributes, and how old that is. A plain value.
//!
//! [`KnownAttributes`] is the server's metadata, when it was fetched, and what this mount has changed since. A fetch
//! that crossed a change by this mount may report the state before the change. [`KnownAttributes::store`] recognises
//! it by the [`FetchToken`] from before the fetch, and keeps what is known. A fetch that crossed a doubt may report the
//! state before another client's change. It is newer than what was known, so it is shown, but it does not end the doubt.

use super::estimates::EstimatedTimes;
use crate::share::{Change, FileTime, Metadata};
use std::time::{Duration, Instant};

/// Read before metadata is fetched. Shows whether this mount changed the file, or put it in doubt, during the fetch.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct FetchToken {
    changes: u64,
    doubts: u64,
}

/// What [`KnownAttributes::store`] did with metadata.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Stored {
    /// The metadata is known and valid.
    Valid,
    /// The metadata is known, but was put in doubt during the fetch, so the next use fetches it again.
    Doubtful,
    /// The metadata may be older than what is known, which stays.
    Rejected,
}

/// A guarantee from a watch of the directory: attributes fetched at `since` or later were still current at `until`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct StillTrue {
    /// Attributes fetched at this time or later are covered.
    pub since: Instant,
    /// They were still current at this time.
    pub until: Instant,
}

/// What is known of a file's attributes.
#[derive(Clone, Debug)]
pub(crate) struct KnownAttributes {
    metadata: Metadata,
    /// The write time that the server reported last, or that this mount set.
    reported_write: FileTime,
    /// The write time that was reported, or set, before that one.
    earlier_write: FileTime,
    /// Times of changes by this mount that the server has not reported yet.
    times: EstimatedTimes,
    /// When the server reported all of the metadata. `None` once this mount has changed something whose result only
    /// the server knows, or another client may have changed the file.
    fetched: Option<Instant>,
    /// Number of changes by this mount since the file is known.
    changes: u64,
    /// Number of times that the metadata was put in doubt since the file is known.
    doubts: u64,
    /// The times are estimated after a change of an entry, whose time only the server knows.
    estimated: bool,
    /// When this mount last changed the file.
    changed_at: Option<Instant>,
    /// When the metadata was last put in doubt.
    unknown_since: Option<Instant>,
    /// The size has changed, and the kernel may still have the old one.
    resized: bool,
}

impl KnownAttributes {
    /// Metadata that the server has just reported.
    pub(crate) fn fetched(metadata: Metadata, now: Instant) -> KnownAttributes {
        KnownAttributes { fetched: Some(now), ..KnownAttributes::unknown(metadata) }
    }

    /// A guess, which must be fetched before it is shown.
    pub(crate) fn unknown(metadata: Metadata) -> KnownAttributes {
        KnownAttributes {
            metadata,
            reported_write: metadata.modified,
            earlier_write: FileTime(0),
            times: EstimatedTimes::default(),
            fetched: None,
            changes: 0,
            doubts: 0,
            estimated: false,
            changed_at: None,
            unknown_since: None,
            resized: false,
        }
    }

    pub(crate) fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    /// What stat(2) shows: the metadata, with times of changes by this mount that the server has not reported yet.
    pub(crate) fn shown(&self, now: Instant) -> Metadata {
        self.times.over(self.metadata, now)
    }

    /// When the server reported all of it; `None` if any of it has been changed, estimated or put in doubt since.
    pub(crate) fn known_since(&self) -> Option<Instant> {
        self.fetched.filter(|_| !self.estimated)
    }

    /// For how much longer all of it is valid; `None` if it is not. `still_true` extends the validity.
    pub(crate) fn remaining(&self, now: Instant, timeout: Duration, still_true: Option<StillTrue>) -> Option<Duration> {
        let fetched = self.fetched?;
        let still_true = still_true.filter(|still_true| still_true.since <= fetched && !self.estimated);
        let age = now.saturating_duration_since(still_true.map_or(fetched, |still_true| still_true.until.max(fetched)));
        timeout.checked_sub(age).filter(|rest| !rest.is_zero())
    }

    /// To be read before metadata is fetched, for [`KnownAttributes::store`].
    pub(crate) fn token(&self) -> FetchToken {
        FetchToken { changes: self.changes, doubts: self.doubts }
    }

    /// Accepts what the server reported, unless this mount has changed the file since the token, or an answer to a
    /// later request is known.
    pub(crate) fn store(&mut self, metadata: Metadata, token: FetchToken, now: Instant) -> Stored {
        let is_doubtful = token.doubts != self.doubts;
        if token.changes != self.changes || (is_doubtful && self.fetched.is_some()) {
            return Stored::Rejected;
        }
        self.take(metadata, now);
        if is_doubtful {
            self.fetched = None;
            return Stored::Doubtful;
        }
        Stored::Valid
    }

    /// Accepts what a listing that began at `fetched` reported, if nothing newer is known and this mount has changed
    /// nothing since. Returns whether it did.
    pub(crate) fn store_older(&mut self, metadata: Metadata, fetched: Instant) -> bool {
        // A change of an entry leaves `fetched` of the directory set.
        let known = self.fetched.or(self.unknown_since).map(|known| self.changed_at.map_or(known, |at| at.max(known)));
        let takes = known.is_some_and(|known| known < fetched);
        if takes {
            self.take(metadata, fetched);
        }
        takes
    }

    /// Accepts the access time from a listing that began at `fetched`, if nothing newer is known and the metadata is
    /// otherwise the same.
    pub(crate) fn accessed(&mut self, listed: &Metadata, fetched: Instant) {
        let is_same = Metadata { accessed: listed.accessed, links: listed.links, ..self.metadata } == *listed;
        if is_same && self.fetched.is_some_and(|known| known < fetched) {
            self.metadata.accessed = listed.accessed;
        }
    }

    /// The server has reported the number of links; 0 if its answer does not tell.
    pub(crate) fn links_reported(&mut self, links: u32) {
        if links > 0 {
            self.metadata.links = links;
        }
    }

    fn take(&mut self, metadata: Metadata, fetched: Instant) {
        let links = if metadata.links > 0 { metadata.links } else { self.metadata.links };
        let metadata = Metadata { links, ..metadata };
        self.resized |= self.metadata.size != metadata.size;
        if self.reported_write != metadata.modified {
            self.times.write_time_known();
        }
        (self.earlier_write, self.reported_write) = (self.reported_write, metadata.modified);
        self.metadata = metadata;
        self.fetched = Some(fetched);
        self.estimated = false;
    }

    /// The kernel gets the size with this answer.
    pub(crate) fn shown_to_kernel(&mut self) {
        self.resized = false;
    }

    /// The answer with the size did not reach the kernel.
    pub(crate) fn not_shown_to_kernel(&mut self) {
        self.resized = true;
    }

    /// Whether the kernel may have another size of the file.
    pub(crate) fn is_resized(&self) -> bool {
        self.resized
    }

    /// This mount wrote at `clock` by the server's clock. The written range ends at `end`.
    pub(crate) fn wrote(&mut self, end: u64, clock: FileTime, now: Instant) {
        self.metadata.size = self.metadata.size.max(end);
        self.metadata.allocation = self.metadata.allocation.max(self.metadata.size);
        self.times.wrote(clock, now);
        self.changed(now);
    }

    /// A program wrote up to `end`, and the data is dirty. The time is this client's estimate until the server has
    /// the data.
    pub(crate) fn wrote_dirty(&mut self, end: u64, clock: FileTime, now: Instant) {
        self.wrote(end, clock, now);
        (self.metadata.modified, self.metadata.changed) = (clock, clock);
    }

    /// The server has answered for all dirty data. From now on only the server knows the file's times, and may report
    /// them late.
    pub(crate) fn sent(&mut self, now: Instant) {
        self.times.sent(now);
        self.changed(now);
    }

    /// This mount made this change at `clock` by the server's clock. Its other effects are known only to the server.
    pub(crate) fn applied(&mut self, change: &Change, clock: FileTime, now: Instant) {
        let before = self.shown(now);
        match (change.modified, change.size) {
            (Some(modified), _) => {
                self.reported_write = modified;
                self.times.write_time_known();
            }
            (None, Some(_)) => self.times.wrote(clock, now),
            (None, None) => {}
        }
        self.times.changed(&before, clock);
        let metadata = &mut self.metadata;
        if let Some(size) = change.size {
            metadata.size = size;
            metadata.allocation = metadata.allocation.min(size.next_multiple_of(512));
        }
        metadata.created = change.created.unwrap_or(metadata.created);
        metadata.accessed = change.accessed.unwrap_or(metadata.accessed);
        metadata.modified = change.modified.unwrap_or(metadata.modified);
        metadata.attributes = change.attributes.unwrap_or(metadata.attributes);
        self.changed(now);
    }

    /// A program has set owner, group or mode at `clock` by the server's clock. The server was not asked.
    pub(crate) fn owner_changed(&mut self, clock: FileTime, now: Instant) {
        self.times.changed(&self.shown(now), clock);
    }

    /// This mount renamed the file at `clock` by the server's clock.
    pub(crate) fn name_changed(&mut self, clock: FileTime, now: Instant) {
        self.times.changed(&self.shown(now), clock);
        self.changed(now);
    }

    /// This mount changed the file in a way whose effect on its times only the server knows.
    pub(crate) fn changed(&mut self, now: Instant) {
        self.changes += 1;
        self.changed_at = Some(now);
        self.doubt(now);
    }

    /// This mount truncated the file at `clock` by the server's clock, with an open whose answer describes the changed
    /// file. Samba answers with the write time from before.
    pub(crate) fn replaced(&mut self, clock: FileTime, now: Instant) {
        self.changed_at = Some(now);
        if self.reported_write == self.earlier_write {
            self.times.wrote(clock, now);
        }
    }

    /// Another client may have changed the file.
    pub(crate) fn doubt(&mut self, now: Instant) {
        self.doubts += 1;
        self.fetched = None;
        self.unknown_since = Some(now);
    }

    /// This mount changed an entry of the directory, at `clock` by the server's clock. That time is an estimate, which
    /// answers to LOOKUP and READDIRPLUS may show; for stat(2) the server is asked: programs compare and copy the times of
    /// directories. The metadata does not stay valid for longer because of it.
    pub(crate) fn entries_changed(&mut self, clock: FileTime, now: Instant) {
        self.changes += 1;
        self.changed_at = Some(now);
        self.estimated = true;
        let latest = self.metadata.modified.max(clock);
        (self.metadata.modified, self.metadata.changed) = (latest, latest);
    }

    /// Whether times are estimated since a change of an entry of the directory.
    pub(crate) fn has_estimated_times(&self) -> bool {
        self.estimated
    }

    /// When this mount last changed the file.
    pub(crate) fn changed_at(&self) -> Option<Instant> {
        self.changed_at
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::share::Attributes;

    const TIMEOUT: Duration = Duration::from_secs(1);

    fn metadata(size: u64) -> Metadata {
        Metadata { size, modified: FileTime(size + 100), ..Metadata::default() }
    }

    #[test]
    fn attributes_are_valid_until_the_timeout() {
        let start = Instant::now();
        let known = KnownAttributes::fetched(metadata(1), start);
        assert_eq!(known.remaining(start + TIMEOUT / 4, TIMEOUT, None), Some(TIMEOUT * 3 / 4));
        assert_eq!(known.remaining(start + TIMEOUT, TIMEOUT, None), None);
        assert_eq!(known.remaining(start, Duration::ZERO, None), None);
    }

    #[test]
    fn a_fetch_that_crossed_a_write_does_not_shrink_the_file() {
        let start = Instant::now();
        let mut known = KnownAttributes::fetched(metadata(1), start);
        let token = known.token();
        known.wrote(500, FileTime(0), start);
        assert_eq!(known.store(metadata(1), token, start), Stored::Rejected);
        assert_eq!(known.metadata().size, 500);
        assert_eq!(known.remaining(start, TIMEOUT, None), None, "its times are unknown");
        assert_eq!(known.store(metadata(400), known.token(), start), Stored::Valid, "a later answer is accepted");
        assert_eq!(known.metadata().size, 400);
    }

    #[test]
    fn a_fetch_that_crossed_a_doubt_is_shown_but_not_valid() {
        let start = Instant::now();
        let mut known = KnownAttributes::fetched(metadata(0), start);
        let first = known.token();
        known.doubt(start);
        assert_eq!(known.store(metadata(3000), first, start), Stored::Doubtful);
        assert_eq!(known.metadata().size, 3000, "newer than what was known");
        assert!(known.is_resized(), "the kernel may have the old size");
        assert_eq!(known.remaining(start, TIMEOUT, None), None, "the server is asked again");
        assert_eq!(known.store(metadata(4000), known.token(), start), Stored::Valid);
        assert_eq!(known.store(metadata(3000), first, start), Stored::Rejected, "a later request was answered first");
        assert_eq!(known.metadata().size, 4000);
    }

    #[test]
    fn changes_by_this_mount_are_seen_at_once() {
        let mut known = KnownAttributes::fetched(metadata(5000), Instant::now());
        let change = Change { size: Some(10), modified: Some(FileTime(7)), ..Change::default() };
        known.applied(&change, FileTime(9000), Instant::now());
        assert_eq!((known.metadata().size, known.metadata().modified), (10, FileTime(7)));
    }

    /// An answer of the server in which only the times matter.
    fn reported(modified: u64, changed: u64) -> Metadata {
        Metadata { modified: FileTime(modified), changed: FileTime(changed), ..metadata(1) }
    }

    fn times(known: &KnownAttributes, now: Instant) -> (u64, u64) {
        let shown = known.shown(now);
        (shown.modified.0, shown.changed.0)
    }

    #[test]
    fn a_change_or_a_rename_moves_the_change_time_also_where_the_server_keeps_none() {
        let now = Instant::now();
        let mut known = KnownAttributes::fetched(reported(100, 100), now);
        let readonly = Change { attributes: Some(Attributes(1)), ..Change::default() };
        known.applied(&readonly, FileTime(200), now);
        assert_eq!(times(&known, now), (100, 200));
        assert_eq!(known.store(reported(100, 100), known.token(), now), Stored::Valid);
        assert_eq!(times(&known, now), (100, 200), "the server reports the time of the last write");
        known.name_changed(FileTime(300), now);
        assert_eq!(known.remaining(now, TIMEOUT, None), None, "the server is asked");
        assert_eq!(known.store(reported(100, 100), known.token(), now), Stored::Valid);
        assert_eq!(times(&known, now), (100, 300));
        known.applied(&Change { modified: Some(FileTime(5)), ..Change::default() }, FileTime(400), now);
        assert_eq!(known.store(reported(5, 5), known.token(), now), Stored::Valid);
        assert_eq!(times(&known, now), (5, 400));
        assert_eq!(known.store(reported(500, 500), known.token(), now), Stored::Valid, "another client wrote");
        assert_eq!(times(&known, now), (500, 500));
        assert_eq!(known.metadata().changed, FileTime(500));
    }

    #[test]
    fn a_write_time_is_shown_at_once_and_until_the_server_reports_its_own() {
        let now = Instant::now();
        let mut known = KnownAttributes::fetched(reported(100, 100), now);
        known.wrote(50, FileTime(200), now);
        assert_eq!(
            known.store(reported(100, 100), known.token(), now),
            Stored::Valid,
            "the server still reports the earlier time"
        );
        assert_eq!(times(&known, now), (200, 200));
        assert_eq!(known.store(reported(190, 190), known.token(), now), Stored::Valid);
        assert_eq!(times(&known, now), (190, 190), "the server's time, though it is earlier");
        known.applied(&Change { size: Some(3), ..Change::default() }, FileTime(300), now);
        assert_eq!(times(&known, now), (300, 300));
        known.applied(&Change { modified: Some(FileTime(7)), ..Change::default() }, FileTime(400), now);
        assert_eq!(times(&known, now), (7, 400), "a program has set the time");
    }

    #[test]
    fn a_truncating_open_moves_the_write_time_whether_the_server_has_moved_it_yet_or_not() {
        let now = Instant::now();
        let mut known = KnownAttributes::fetched(reported(100, 100), now);
        assert_eq!(known.store(reported(100, 100), known.token(), now), Stored::Valid);
        known.replaced(FileTime(200), now);
        assert_eq!(times(&known, now), (200, 200));
        assert_eq!(known.store(reported(290, 290), known.token(), now), Stored::Valid);
        known.replaced(FileTime(300), now);
        assert_eq!(times(&known, now), (290, 290), "the server's own time");
    }

    #[test]
    fn a_listing_from_before_a_change_is_not_accepted() {
        let (start, later) = (Instant::now(), Instant::now() + TIMEOUT);
        let mut known = KnownAttributes::fetched(reported(100, 100), start);
        known.entries_changed(FileTime(200), later);
        assert!(!known.store_older(reported(100, 100), start + TIMEOUT / 2));
        assert_eq!(times(&known, later), (200, 200));
        assert!(known.store_older(reported(210, 210), later + TIMEOUT));
        assert_eq!(times(&known, later), (210, 210));
    }
}
