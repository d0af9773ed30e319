//! What is known of one file's attributes, and how old that is. A plain value.
//!
//! [`KnownAttributes`] is the server's metadata, when it was fetched, and what this mount has changed since. A fetch
//! that crossed a change by this mount may report the state before the change. [`KnownAttributes::store`] recognises
//! it by the [`FetchToken`] from before the fetch, and keeps what is known.

use super::estimates::EstimatedTimes;
use crate::share::{Change, FileTime, Metadata};
use std::time::{Duration, Instant};

/// Read before metadata is fetched. Shows whether this mount changed the file, or put it in doubt, during the fetch.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct FetchToken(u64);

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
    /// Times of changes by this mount that the server has not reported yet.
    times: EstimatedTimes,
    /// When the server reported all of the metadata. `None` once this mount has changed something whose result only
    /// the server knows, or another client may have changed the file.
    fetched: Option<Instant>,
    /// Number of changes and doubts since the file is known: the token.
    changes: u64,
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
            times: EstimatedTimes::default(),
            fetched: None,
            changes: 0,
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
        FetchToken(self.changes)
    }

    /// Accepts what the server reported, unless the file was changed or put in doubt since the token. Returns whether
    /// it did.
    pub(crate) fn store(&mut self, metadata: Metadata, token: FetchToken, now: Instant) -> bool {
        let takes = token.0 == self.changes;
        if takes {
            self.take(metadata, now);
        }
        takes
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
        let is_same = Metadata { accessed: listed.accessed, ..self.metadata } == *listed;
        if is_same && self.fetched.is_some_and(|known| known < fetched) {
            self.metadata.accessed = listed.accessed;
        }
    }

    fn take(&mut self, metadata: Metadata, fetched: Instant) {
        self.resized |= self.metadata.size != metadata.size;
        if self.reported_write != metadata.modified {
            self.times.write_time_known();
        }
        self.reported_write = metadata.modified;
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

    /// This mount renamed the file at `clock` by the server's clock.
    pub(crate) fn name_changed(&mut self, clock: FileTime, now: Instant) {
        self.times.changed(&self.shown(now), clock);
        self.changed(now);
    }

    /// This mount changed the file in a way whose effect on its times only the server knows.
    pub(crate) fn changed(&mut self, now: Instant) {
        self.changed_at = Some(now);
        self.doubt(now);
    }

    /// This mount changed the file, and the server's answer already describes the changed file.
    pub(crate) fn changed_as_reported(&mut self, now: Instant) {
        self.changed_at = Some(now);
    }

    /// Another client may have changed the file.
    pub(crate) fn doubt(&mut self, now: Instant) {
        self.changes += 1;
        self.fetched = None;
        self.unknown_since = Some(now);
    }

    /// This mount changed an entry of the directory, at `clock` by the server's clock. That time is shown until the
    /// server is asked; the metadata does not stay valid for longer because of it.
    pub(crate) fn entries_changed(&mut self, clock: FileTime, now: Instant) {
        self.changes += 1;
        self.changed_at = Some(now);
        self.estimated = true;
        let latest = self.metadata.modified.max(clock);
        (self.metadata.modified, self.metadata.changed) = (latest, latest);
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
        assert!(!known.store(metadata(1), token, start));
        assert_eq!(known.metadata().size, 500);
        assert_eq!(known.remaining(start, TIMEOUT, None), None, "its times are unknown");
        assert!(known.store(metadata(400), known.token(), start), "a later answer is accepted");
        assert_eq!(known.metadata().size, 400);
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
        assert!(known.store(reported(100, 100), known.token(), now));
        assert_eq!(times(&known, now), (100, 200), "the server reports the time of the last write");
        known.name_changed(FileTime(300), now);
        assert_eq!(known.remaining(now, TIMEOUT, None), None, "the server is asked");
        assert!(known.store(reported(100, 100), known.token(), now));
        assert_eq!(times(&known, now), (100, 300));
        known.applied(&Change { modified: Some(FileTime(5)), ..Change::default() }, FileTime(400), now);
        assert!(known.store(reported(5, 5), known.token(), now));
        assert_eq!(times(&known, now), (5, 400));
        assert!(known.store(reported(500, 500), known.token(), now), "another client wrote");
        assert_eq!(times(&known, now), (500, 500));
        assert_eq!(known.metadata().changed, FileTime(500));
    }

    #[test]
    fn a_write_time_is_shown_at_once_and_until_the_server_reports_its_own() {
        let now = Instant::now();
        let mut known = KnownAttributes::fetched(reported(100, 100), now);
        known.wrote(50, FileTime(200), now);
        assert!(known.store(reported(100, 100), known.token(), now), "the server still reports the earlier time");
        assert_eq!(times(&known, now), (200, 200));
        assert!(known.store(reported(190, 190), known.token(), now));
        assert_eq!(times(&known, now), (190, 190), "the server's time, though it is earlier");
        known.applied(&Change { size: Some(3), ..Change::default() }, FileTime(300), now);
        assert_eq!(times(&known, now), (300, 300));
        known.applied(&Change { modified: Some(FileTime(7)), ..Change::default() }, FileTime(400), now);
        assert_eq!(times(&known, now), (7, 400), "a program has set the time");
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
