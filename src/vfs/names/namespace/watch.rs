//! [`Watch`]: what a watch covers, by CHANGE_NOTIFY (MS-SMB2 3.3.5.19) or by a lease on the directory (3.3.5.9.11). A
//! plain value.
//!
//! A watch is *armed* while a CHANGE_NOTIFY is at the server, or the lease is held: a change is reported as soon as it
//! happens. Between a report and the next CHANGE_NOTIFY it is not armed, and proves nothing. A watch is *complete* when
//! it reports everything that has happened since the directory was listed. A watch by CHANGE_NOTIFY is not complete
//! from the start, because it begins some time after it was sent. A watch has *lost count* when the server could not
//! report every change.

use super::Version;
use crate::share::{DirChange, LeaseKey};
use std::time::{Duration, Instant};

/// How long after the fetch a watch covers what was fetched. Servers do not see every change below them (on a cluster
/// file system, for example), and report late when another client writes a file that it keeps open.
const NOTIFY_BELIEVED: Duration = Duration::from_secs(60);
/// As [`NOTIFY_BELIEVED`], for a lease, which does not cover changes on the server's own disk.
const LEASE_BELIEVED: Duration = Duration::from_secs(5);

/// What happens to a watch.
#[derive(Clone, Debug)]
pub(crate) enum WatchEvent {
    /// A CHANGE_NOTIFY is at the server.
    Armed,
    /// The watch has certainly begun.
    Begun,
    /// No name has appeared or disappeared between the listing of the directory and the beginning of its watch.
    Confirmed,
    /// The server has reported all changes up to now, and no CHANGE_NOTIFY is at the server.
    Reported(Vec<DirChange>),
    /// The server has lost count of changes, and no CHANGE_NOTIFY is at the server.
    Overflowed,
    /// The watch has ended at the server, or its lease is broken.
    Ended,
}

/// What a report shows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Report {
    /// There was no report, or the watch has ended already.
    Nothing,
    /// Data or attributes of files that this mount has changed, and no names.
    OwnData,
    /// Names that this mount has made appear or disappear, or hidden names of any mount.
    OwnNames,
    /// Changes by other clients. `gone` is whether a name has disappeared, or may have.
    ByOthers { gone: bool },
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Watch {
    pub number: u64,
    pub lease: Option<LeaseKey>,
    /// Whether a change is reported as soon as it happens.
    pub is_armed: bool,
    /// The watch had certainly begun at this time: it reports every change of what is fetched later.
    since: Option<Instant>,
    /// The watch reports every name that has appeared or disappeared since the listing of the directory.
    pub is_complete: bool,
    /// The version when the listing was asked for.
    pub asked: Version,
    /// The version when the listing was answered, or when count was lost.
    pub granted: Version,
    /// When the CHANGE_NOTIFY was asked for that is at the server, or that is sent next.
    renewed: Instant,
    /// Everything up to this time was reported.
    reported: Instant,
    /// The version at which count was lost.
    lost: Option<Version>,
    /// When an answer last used the watch.
    pub used: Instant,
}

impl Watch {
    /// The watch that was granted with a listing that was asked for at `at`. A lease is granted before the listing; a
    /// CHANGE_NOTIFY begins some time after it. `asked` holds the versions when the listing was asked for and when it
    /// was answered.
    pub(super) fn listed_with(
        number: u64,
        lease: Option<LeaseKey>,
        is_armed: bool,
        at: Instant,
        asked: (Version, Version),
    ) -> Watch {
        let (since, (asked, granted)) = (lease.map(|_| at), asked);
        Watch {
            number,
            lease,
            is_armed,
            since,
            is_complete: false,
            asked,
            granted,
            renewed: at,
            reported: at,
            lost: None,
            used: at,
        }
    }

    /// How long after the fetch the watch covers what was fetched.
    fn longest(&self) -> Duration {
        if self.lease.is_some() { LEASE_BELIEVED } else { NOTIFY_BELIEVED }
    }

    /// Up to when the watch has reported every change of what was fetched at `fetched`; `None` if it is not complete.
    pub(super) fn reported_until(&self, now: Instant, fetched: Instant) -> Option<Instant> {
        let until = if self.is_armed { now } else { self.reported };
        self.is_complete.then(|| until.min(fetched + self.longest()))
    }

    /// Whether the watch reports every change of what is fetched at `at`.
    pub(super) fn covers(&self, at: Instant) -> bool {
        self.is_complete && self.has_begun(at)
    }

    /// Whether the watch had certainly begun at `at`.
    pub(super) fn has_begun(&self, at: Instant) -> bool {
        self.since.is_some_and(|since| since <= at)
    }

    /// Records a complete listing. Returns whether the watch reports every change since the listing.
    pub(super) fn listed(&mut self, begun: Version, at: Instant) -> bool {
        let covers = self.has_begun(at) && self.lost.is_none_or(|lost| lost <= begun);
        // A lease that is gone was broken by a change.
        if covers && (self.lease.is_none() || self.is_armed) {
            (self.is_complete, self.lost) = (true, None);
        }
        covers && self.is_complete
    }

    /// The watch has certainly begun.
    pub(super) fn begun(&mut self, now: Instant) {
        self.since.get_or_insert(now);
    }

    /// Whether a second look at the directory could make the watch complete.
    pub(super) fn needs_second_look(&self) -> bool {
        !self.is_complete && self.lost.is_none()
    }

    /// A second look has shown no change: the watch is complete, unless it has lost count.
    pub(super) fn confirmed(&mut self) {
        self.is_complete = self.lost.is_none();
    }

    /// A CHANGE_NOTIFY is at the server. When it was asked for, nothing was left to report.
    pub(super) fn armed(&mut self) {
        (self.reported, self.is_armed) = (self.renewed, true);
    }

    /// Changes were reported, and the next CHANGE_NOTIFY is asked for now. Changes after the server's report are not
    /// known.
    pub(super) fn report(&mut self, now: Instant) {
        // A watch that reports has begun.
        self.since.get_or_insert(now);
        (self.renewed, self.is_armed) = (now, self.is_armed && self.lease.is_some());
    }

    /// Whether changes were lost, and the directory has not been listed since.
    pub(super) fn has_lost_count(&self) -> bool {
        self.lost.is_some()
    }

    /// The server has lost count of changes.
    pub(super) fn overflowed(&mut self, version: Version, now: Instant) {
        (self.lost, self.is_armed, self.renewed) = (Some(version), false, now);
        self.granted = version;
    }

    /// The watch covers nothing from now on. If it was complete: up to when it had reported everything, and how long
    /// after the fetch it covered what was fetched.
    pub(super) fn give_up(&mut self) -> Option<(Instant, Duration)> {
        std::mem::take(&mut self.is_complete).then(|| (self.reported, self.longest()))
    }
}
