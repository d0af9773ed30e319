//! What a watch says of its directory: by CHANGE_NOTIFY (MS-SMB2 3.3.5.19), or by a lease on the directory (3.3.5.9.11). A
//! plain value.
//!
//! A watch is *armed* while a CHANGE_NOTIFY is at the server, or the lease is held: a change is reported as soon as it happens.
//! Between a report and the next CHANGE_NOTIFY it is not, and proves nothing. It is *complete* when it reports everything that
//! has happened since the directory was listed: a CHANGE_NOTIFY begins some time after it was sent.

use super::Version;
use crate::share::{DirChange, LeaseKey};
use std::time::{Duration, Instant};

/// A watch is believed for so long after something was fetched. Servers do not see all that is done below them (on a
/// cluster file system, say), and report late of a file that another client keeps open and writes.
const NOTIFY_BELIEVED: Duration = Duration::from_secs(60);
/// The same for a lease: of what is done on the server's own disk it says nothing.
const LEASE_BELIEVED: Duration = Duration::from_secs(5);

/// What happens to a watch.
#[derive(Clone, Debug)]
pub(crate) enum WatchEvent {
    /// A CHANGE_NOTIFY is at the server.
    Armed,
    /// It has begun for certain by now.
    Begun,
    /// No name had come or gone between the listing of the directory and the beginning of its watch.
    Confirmed,
    /// The server has reported all changes until now, and no CHANGE_NOTIFY is at the server.
    Reported(Vec<DirChange>),
    /// The server has lost count of the changes, and no CHANGE_NOTIFY is at the server.
    Overflowed,
    /// It has ended by itself.
    Ended,
}

/// What a report was of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Report {
    /// It was none, or is of a watch that does not count any more.
    Nothing,
    /// Data or attributes of files that this mount has changed, and of no names.
    OwnData,
    /// Names that this mount has made come or go.
    OwnNames,
    /// Changes by other clients; whether a name has gone.
    ByOthers { gone: bool },
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Watch {
    pub number: u64,
    pub lease: Option<LeaseKey>,
    /// Whether a change is reported as soon as it happens.
    pub is_armed: bool,
    /// It has begun for certain by then: it reports everything that has happened to what was fetched since.
    since: Option<Instant>,
    /// It reports every name that has come or gone since the directory became complete.
    pub is_complete: bool,
    /// Of when its listing was asked for, and of when that was answered, or count was lost.
    pub asked: Version,
    pub granted: Version,
    /// When the CHANGE_NOTIFY was asked for that is at the server, or is to be.
    renewed: Instant,
    /// Up to here everything was reported.
    reported: Instant,
    /// It lost count then.
    lost: Option<Version>,
    /// When something was answered by it last.
    pub used: Instant,
}

impl Watch {
    /// A lease is granted before the listing; a CHANGE_NOTIFY begins some time after it.
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

    fn longest(&self) -> Duration {
        if self.lease.is_some() { LEASE_BELIEVED } else { NOTIFY_BELIEVED }
    }

    /// Up to when everything was reported that has happened to what was fetched then.
    pub(super) fn reported_until(&self, now: Instant, fetched: Instant) -> Option<Instant> {
        let until = if self.is_armed { now } else { self.reported };
        self.is_complete.then(|| until.min(fetched + self.longest()))
    }

    /// Whether it reports everything that happens to what is fetched at `at`.
    pub(super) fn covers(&self, at: Instant) -> bool {
        self.is_complete && self.has_begun(at)
    }

    pub(super) fn has_begun(&self, at: Instant) -> bool {
        self.since.is_some_and(|since| since <= at)
    }

    /// The directory was listed. Whether everything that has happened since then is reported.
    pub(super) fn listed(&mut self, begun: Version, at: Instant) -> bool {
        let covers = self.has_begun(at) && self.lost.is_none_or(|lost| lost <= begun);
        // What a lease was granted for has changed if it is gone.
        if covers && (self.lease.is_none() || self.is_armed) {
            (self.is_complete, self.lost) = (true, None);
        }
        covers && self.is_complete
    }

    /// It has begun for certain.
    pub(super) fn begun(&mut self, now: Instant) {
        self.since.get_or_insert(now);
    }

    /// Whether a second look at the directory is worth it: nothing has changed so far.
    pub(super) fn wants_a_look(&self) -> bool {
        !self.is_complete && self.lost.is_none()
    }

    pub(super) fn confirmed(&mut self) {
        self.is_complete = self.lost.is_none();
    }

    /// A CHANGE_NOTIFY is at the server: there was nothing left to report when it was asked for.
    pub(super) fn armed(&mut self) {
        (self.reported, self.is_armed) = (self.renewed, true);
    }

    /// Changes were reported: the next CHANGE_NOTIFY is asked for now. What has happened since the server sent the report is
    /// not known.
    pub(super) fn report(&mut self, now: Instant) {
        // Whatever it reports, it has begun.
        self.since.get_or_insert(now);
        (self.renewed, self.is_armed) = (now, self.is_armed && self.lease.is_some());
    }

    /// Whether there are changes that were not reported, and no listing has been made since.
    pub(super) fn has_lost_count(&self) -> bool {
        self.lost.is_some()
    }

    /// It has lost count.
    pub(super) fn overflowed(&mut self, version: Version, now: Instant) {
        (self.lost, self.is_armed, self.renewed) = (Some(version), false, now);
        self.granted = version;
    }

    /// It counts for nothing from now on. Until when it had reported everything, and for how long that is believed, if it
    /// counted for something.
    pub(super) fn give_up(&mut self) -> Option<(Instant, Duration)> {
        std::mem::take(&mut self.is_complete).then(|| (self.reported, self.longest()))
    }
}
