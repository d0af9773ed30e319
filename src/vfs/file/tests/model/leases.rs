//! Leases at the server: when they are granted, broken and acknowledged.

use super::server::{Lease, Manner, Reply, Server};
use crate::share::model::{Breaking, Given};
use crate::share::{Caching, LeaseKey};

/// The leases of the server.
impl Server {
    /// Breaks the leases that are in the way of an open under this key. Returns whether the open has to wait.
    pub(super) fn contend(&mut self, file: usize, client: usize, key: Option<LeaseKey>, left: Caching) -> bool {
        let mut waits = false;
        for ((holder, of), lease) in self.leases.iter_mut().filter(|(_, lease)| lease.file == file) {
            let is_own = *holder == client && Some(*of) == key;
            let conflicts = lease.state.writes() || (left == Caching::NONE && lease.state != Caching::NONE);
            if is_own || !conflicts {
                continue;
            }
            let waited_for = lease.state != Caching::READ;
            if lease.breaking.is_none() {
                start_break(lease, *of, lease.state.and(left), &mut self.breaks, self.manner);
            }
            waits |= waited_for;
        }
        waits
    }

    /// Breaks the leases under which other clients have cached data that is now stale. The write does not wait for
    /// them.
    pub(super) fn break_readers(&mut self, file: usize, client: usize, key: Option<LeaseKey>) {
        for ((holder, of), lease) in self.leases.iter_mut().filter(|(_, lease)| lease.file == file) {
            let is_own = *holder == client && Some(*of) == key;
            if is_own || lease.state == Caching::NONE {
                continue;
            }
            match lease.breaking {
                Some(left) => lease.is_stale |= left != Caching::NONE,
                None => start_break(lease, *of, Caching::NONE, &mut self.breaks, self.manner),
            }
        }
    }

    /// What the server grants to an open under this key that asks for `asked`.
    pub(super) fn grant(
        &mut self,
        client: usize,
        session: u64,
        file: usize,
        key: LeaseKey,
        asked: Caching,
    ) -> Option<Given> {
        let others =
            self.opens.values().any(|open| open.file == file && (open.client, open.key) != (client, Some(key)));
        let writers =
            self.opens.values().any(|o| o.file == file && o.write && (o.client, o.key) != (client, Some(key)));
        let may = match (others, writers) {
            (false, _) => Caching::ALL,
            (true, false) => Caching::READ | Caching::HANDLE,
            (true, true) if self.manner.is_odd => Caching::NONE,
            (true, true) => Caching::READ | Caching::HANDLE,
        };
        let fresh = Lease { client, session, file, state: Caching::NONE, epoch: 0, breaking: None, is_stale: false };
        let lease = self.leases.entry((client, key)).or_insert(fresh);
        let wanted = may.and(asked);
        if lease.breaking.is_none() && wanted.covers(lease.state) && wanted != lease.state {
            lease.state = wanted;
            lease.epoch = lease.epoch.wrapping_add(1);
        }
        let epoch = self.manner.epochs.then_some(lease.epoch);
        Some(Given { key, state: lease.state, is_breaking: lease.breaking.is_some(), epoch })
    }

    /// A client acknowledges a break, and keeps `kept`.
    pub(super) fn acknowledged(&mut self, client: usize, key: LeaseKey, kept: Caching) -> Reply {
        let Some(lease) = self.leases.get_mut(&(client, key)) else { return Reply::Invalid };
        match lease.breaking.take() {
            Some(left) if left.covers(kept) => {
                lease.state = kept;
                if std::mem::take(&mut lease.is_stale) && kept != Caching::NONE {
                    start_break(lease, key, Caching::NONE, &mut self.breaks, self.manner);
                }
                Reply::Done
            }
            other => {
                lease.breaking = other;
                Reply::Invalid
            }
        }
    }

    /// The server breaks a lease for a reason of its own.
    pub(super) fn break_one(&mut self, choice: usize, left: Caching) {
        let at = choice % self.leases.len().max(1);
        if let Some(((_, key), lease)) = self.leases.iter_mut().nth(at)
            && lease.breaking.is_none()
            && lease.state.and(left) != lease.state
        {
            start_break(lease, *key, lease.state.and(left), &mut self.breaks, self.manner);
        }
    }

    /// The server no longer waits for the acknowledgements of a session.
    pub(super) fn stop_waiting(&mut self, session: u64) {
        for lease in self.leases.values_mut().filter(|lease| lease.session == session) {
            if let Some(left) = lease.breaking.take() {
                lease.state = lease.state.and(left).and(Caching::NONE);
            }
        }
    }

    /// Whether a break waits for its acknowledgement.
    pub(super) fn is_waiting(&self) -> bool {
        self.leases.values().any(|lease| lease.breaking.is_some())
    }

    /// What is granted to a client under a key, and whether a break of it is under way: until the acknowledgement,
    /// the rights from before the break count.
    pub(super) fn granted(&self, client: usize, session: u64, key: LeaseKey) -> Option<(Caching, bool)> {
        let lease = self.leases.get(&(client, key)).filter(|lease| lease.session == session)?;
        Some((lease.state, lease.breaking.is_some()))
    }

    /// The number of a client's opens.
    pub(super) fn opens_of(&self, client: usize) -> usize {
        self.opens.values().filter(|open| open.client == client).count()
    }

    /// The number of a client's opens of a file.
    pub(super) fn opens_on(&self, client: usize, file: usize) -> usize {
        self.opens.values().filter(|open| open.client == client && open.file == file).count()
    }
}

fn start_break(
    lease: &mut Lease,
    key: LeaseKey,
    left: Caching,
    breaks: &mut Vec<(usize, u64, Breaking)>,
    manner: Manner,
) {
    lease.epoch = lease.epoch.wrapping_add(1);
    // A break of READ alone needs no acknowledgement (MS-SMB2 3.3.4.7).
    let wants_answer = lease.state != Caching::READ;
    let epoch = manner.epochs.then_some(lease.epoch);
    breaks.push((lease.client, lease.session, Breaking { key, left, epoch, wants_answer }));
    if wants_answer {
        lease.breaking = Some(left);
    } else {
        lease.state = left;
    }
}
