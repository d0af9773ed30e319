//! The coherence decisions of a mount: what a lease and the attribute timeout allow. A plain value; no other place
//! reads a lease to decide something.

use crate::config::CacheMode;
use crate::share::{Caching, Lease, LeaseKey};
use std::time::{Duration, Instant};

/// What is done with a file under a lease.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Decision {
    /// A write may stay dirty: no other client has the file open. Otherwise it goes through.
    pub holds_writes: bool,
    /// An open at the server serves another open(2): no other client can open the file without a break. READ alone does not
    /// do: a server breaks it without waiting for the acknowledgement.
    pub shares_open: bool,
    /// The open may be kept when its last handle is released: no other client can touch the file at all without a break. A
    /// server need not break a lease before a delete when WRITE is gone, and Samba does not.
    pub keeps_open: bool,
    /// Data that was read is current, whatever its age. Otherwise it is revalidated after the attribute timeout.
    pub believes_data: bool,
}

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

    /// What a file that was granted this may do.
    pub(crate) fn decide(self, granted: Caching) -> Decision {
        let effective = self.effective(granted);
        Decision {
            holds_writes: effective.writes(),
            shares_open: effective.covers(Caching::READ | Caching::WRITE),
            keeps_open: effective.covers(Caching::ALL),
            // A read lease is broken when another client writes, which does not wait for the acknowledgement: that is too late
            // where nothing may be out of date.
            believes_data: if self.keeps_no_pages() { granted.writes() } else { granted.reads() },
        }
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

    /// The lease that an open asks for: none where nothing is cached.
    pub(crate) fn asked_lease(self, key: LeaseKey, caching: Caching) -> Option<Lease> {
        (self.mode != CacheMode::None).then_some(Lease { key, caching })
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
        assert!(
            strict.decide(Caching::ALL).holds_writes && !strict.decide(Caching::READ | Caching::HANDLE).holds_writes
        );
        assert!(strict.decide(Caching::READ | Caching::WRITE).shares_open && !strict.decide(Caching::READ).shares_open);
        assert!(strict.decide(Caching::ALL).keeps_open && !strict.decide(Caching::READ | Caching::WRITE).keeps_open);
        assert!(strict.decide(Caching::READ).believes_data && !strict.decide(Caching::NONE).believes_data);
        assert!(strict.trusts_version(Caching::WRITE, true) && !strict.trusts_version(Caching::READ, true));
        assert!(strict.trusts_version(Caching::NONE, false), "nothing but versions is left");
    }

    #[test]
    fn a_loose_mount_needs_no_lease_to_write_and_keep_but_one_to_believe_data() {
        let loose = policy(CacheMode::Loose, 1);
        assert!(loose.decide(Caching::NONE).holds_writes && loose.decide(Caching::NONE).keeps_open);
        assert!(!loose.decide(Caching::NONE).believes_data);
    }

    #[test]
    fn without_a_timeout_nothing_is_believed_that_can_change_unseen() {
        let none = policy(CacheMode::Strict, 0);
        assert!(
            none.keeps_no_pages()
                && !none.decide(Caching::READ).believes_data
                && none.decide(Caching::WRITE).believes_data
        );
        assert!(!none.is_recent(Some(Instant::now()), Instant::now()));
    }

    #[test]
    fn validated_data_is_recent_for_the_timeout() {
        let (strict, now) = (policy(CacheMode::Strict, 1), Instant::now());
        assert!(strict.is_recent(Some(now), now + Duration::from_millis(999)));
        assert!(!strict.is_recent(Some(now), now + Duration::from_secs(1)) && !strict.is_recent(None, now));
    }
}
