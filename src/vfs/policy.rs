//! The coherence decisions of a mount: what a lease and the attribute timeout allow. A plain value. Only this file
//! decides what is allowed under a lease; `file/breaking` decides what must be done before a lease is given up.

use crate::config::CacheMode;
use crate::share::{Caching, Lease, LeaseKey};
use std::time::{Duration, Instant};

/// What a mount may do with a file under a lease. In loose mode everything but `believes_data` is allowed without one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Decision {
    /// A write may stay dirty: no other client has the file open. Otherwise writes go through to the server.
    pub holds_writes: bool,
    /// An open at the server may serve another open(2): no other client can open the file without a break. A READ
    /// lease alone does not allow it: the server breaks it without waiting for the acknowledgement.
    pub shares_open: bool,
    /// The open may be kept when its last handle is released: no other client can touch the file without a break.
    /// Without WRITE a server need not break the lease before a delete, and Samba does not.
    pub keeps_open: bool,
    /// Cached data is current, whatever its age. Otherwise it is revalidated after the attribute timeout.
    pub believes_data: bool,
}

/// The cache mode and the attribute timeout of a mount.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Policy {
    /// The cache mode.
    pub mode: CacheMode,
    /// How long attributes, names and cached data of open files are valid without a lease.
    pub timeout: Duration,
}

impl Policy {
    /// The caching that counts as granted, but for `believes_data`: in loose mode all, whatever the server granted.
    fn effective(self, granted: Caching) -> Caching {
        match self.mode {
            CacheMode::Loose => Caching::ALL,
            CacheMode::Strict | CacheMode::None => granted,
        }
    }

    /// What a file with this granted caching allows.
    pub(crate) fn decide(self, granted: Caching) -> Decision {
        let effective = self.effective(granted);
        Decision {
            holds_writes: effective.writes(),
            shares_open: effective.covers(Caching::READ | Caching::WRITE),
            keeps_open: effective.covers(Caching::ALL),
            // With a timeout of zero no data may be out of date. Then a read lease does not suffice: another client's
            // write breaks it, but does not wait for the acknowledgement.
            believes_data: if self.keeps_no_pages() { granted.writes() } else { granted.reads() },
        }
    }

    /// Whether data that was compared with the server's version at `validated` is still valid at `now` without a
    /// lease.
    pub(crate) fn is_recent(self, validated: Option<Instant>, now: Instant) -> bool {
        validated.is_some_and(|validated| now.saturating_duration_since(validated) < self.timeout)
    }

    /// Whether the file's version shows a change of its data. For a file that other clients have open, servers report
    /// the write time late: Samba when the file is closed, or two seconds after the write. `grants_leases` says that
    /// the server has granted a lease at least once; if it never has, versions are the only evidence.
    pub(crate) fn trusts_version(self, granted: Caching, grants_leases: bool) -> bool {
        self.effective(granted).writes() || !grants_leases
    }

    /// Whether the kernel keeps no pages at all: it could not be notified of a change before it uses them.
    pub(crate) fn keeps_no_pages(self) -> bool {
        self.timeout.is_zero()
    }

    /// The lease that an open asks for; `None` where nothing is cached.
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
    fn a_strict_mount_caches_as_the_lease_allows() {
        let strict = policy(CacheMode::Strict, 1);
        assert!(
            strict.decide(Caching::ALL).holds_writes && !strict.decide(Caching::READ | Caching::HANDLE).holds_writes
        );
        assert!(strict.decide(Caching::READ | Caching::WRITE).shares_open && !strict.decide(Caching::READ).shares_open);
        assert!(strict.decide(Caching::ALL).keeps_open && !strict.decide(Caching::READ | Caching::WRITE).keeps_open);
        assert!(strict.decide(Caching::READ).believes_data && !strict.decide(Caching::NONE).believes_data);
        assert!(strict.trusts_version(Caching::WRITE, true) && !strict.trusts_version(Caching::READ, true));
        assert!(strict.trusts_version(Caching::NONE, false), "versions are the only evidence");
    }

    #[test]
    fn a_loose_mount_writes_back_and_keeps_opens_without_a_lease_but_revalidates_data() {
        let loose = policy(CacheMode::Loose, 1);
        assert!(loose.decide(Caching::NONE).holds_writes && loose.decide(Caching::NONE).keeps_open);
        assert!(!loose.decide(Caching::NONE).believes_data);
    }

    #[test]
    fn with_a_timeout_of_zero_only_a_write_lease_covers_cached_data() {
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
