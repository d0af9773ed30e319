//! The coherence decisions of a mount: what a lease and the attribute timeout allow. A plain value; no other place
//! reads a lease to decide something.

use crate::config::CacheMode;
use crate::share::Caching;
use std::time::{Duration, Instant};

/// How a mount caches.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Policy {
    pub mode: CacheMode,
    /// How long attributes, names and cached data of open files are believed without a lease.
    pub timeout: Duration,
}

impl Policy {
    /// What is treated as granted: in loose mode everything, whatever the server granted.
    fn effective(self, granted: Caching) -> Caching {
        match self.mode {
            CacheMode::Loose => Caching::ALL,
            CacheMode::Strict | CacheMode::None => granted,
        }
    }

    /// Whether a write may stay dirty: no other client has the file open.
    pub(crate) fn may_write_back(self, granted: Caching) -> bool {
        self.effective(granted).writes()
    }

    /// Whether an open at the server serves another open(2): no other client can open the file without a break. READ alone
    /// does not do: a server breaks it without waiting for the acknowledgement.
    pub(crate) fn may_share_open(self, granted: Caching) -> bool {
        self.effective(granted).covers(Caching::READ | Caching::WRITE)
    }

    /// Whether an open may be kept when its last handle is released: no other client can touch the file without a break. A
    /// server need not break a lease before a delete when WRITE is gone, and Samba does not.
    pub(crate) fn may_keep_open(self, granted: Caching) -> bool {
        self.effective(granted).covers(Caching::ALL)
    }

    /// Whether data that was read is current, whatever its age. A read lease is broken when another client writes, which does
    /// not wait for the acknowledgement: that is too late where nothing may be out of date.
    pub(crate) fn believes_data(self, granted: Caching) -> bool {
        if self.keeps_no_pages() { granted.writes() } else { granted.reads() }
    }

    /// Whether data that was compared with the server's version at `validated` may still be used without a lease.
    pub(crate) fn is_recent(self, validated: Option<Instant>, now: Instant) -> bool {
        validated.is_some_and(|validated| now.saturating_duration_since(validated) < self.timeout)
    }

    /// Whether the file's version tells if its data has changed. Of a file that other clients have open, servers report the
    /// time of a write late: Samba when it is closed, or two seconds afterwards. A server that has never granted a lease
    /// (`grants_leases`) leaves nothing but versions.
    pub(crate) fn trusts_version(self, granted: Caching, grants_leases: bool) -> bool {
        self.effective(granted).writes() || !grants_leases
    }

    /// Whether the kernel keeps no pages at all, since it cannot be told of a change before it uses them.
    pub(crate) fn keeps_no_pages(self) -> bool {
        self.timeout.is_zero()
    }

    /// Whether an open asks for a lease.
    pub(crate) fn asks_for_leases(self) -> bool {
        self.mode != CacheMode::None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(mode: CacheMode, timeout: u64) -> Policy {
        Policy { mode, timeout: Duration::from_secs(timeout) }
    }

    #[test]
    fn a_strict_mount_does_what_the_lease_allows() {
        let strict = policy(CacheMode::Strict, 1);
        assert!(strict.may_write_back(Caching::ALL) && !strict.may_write_back(Caching::READ | Caching::HANDLE));
        assert!(strict.may_share_open(Caching::READ | Caching::WRITE) && !strict.may_share_open(Caching::READ));
        assert!(strict.may_keep_open(Caching::ALL) && !strict.may_keep_open(Caching::READ | Caching::WRITE));
        assert!(strict.believes_data(Caching::READ) && !strict.believes_data(Caching::NONE));
        assert!(strict.trusts_version(Caching::WRITE, true) && !strict.trusts_version(Caching::READ, true));
        assert!(strict.trusts_version(Caching::NONE, false), "nothing but versions is left");
    }

    #[test]
    fn a_loose_mount_needs_no_lease_to_write_and_keep_but_one_to_believe_data() {
        let loose = policy(CacheMode::Loose, 1);
        assert!(loose.may_write_back(Caching::NONE) && loose.may_keep_open(Caching::NONE));
        assert!(!loose.believes_data(Caching::NONE));
    }

    #[test]
    fn without_a_timeout_nothing_is_believed_that_can_change_unseen() {
        let none = policy(CacheMode::Strict, 0);
        assert!(none.keeps_no_pages() && !none.believes_data(Caching::READ) && none.believes_data(Caching::WRITE));
        assert!(!none.is_recent(Some(Instant::now()), Instant::now()));
    }

    #[test]
    fn validated_data_is_recent_for_the_timeout() {
        let (strict, now) = (policy(CacheMode::Strict, 1), Instant::now());
        assert!(strict.is_recent(Some(now), now + Duration::from_millis(999)));
        assert!(!strict.is_recent(Some(now), now + Duration::from_secs(1)) && !strict.is_recent(None, now));
    }
}
