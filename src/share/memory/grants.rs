//! The leases that the server in memory has granted, and its breaks, as Samba 4.17 handles them.
//!
//! WRITE is granted while all opens of a file have the same key. An open with another key, or without one, takes
//! WRITE away and waits for the acknowledgement. A write, or a change of the size, takes everything away from other
//! keys and does not wait. Removing and renaming open the file without a key and have the same effect as such an
//! open.

use super::super::leases::{Grant, LeaseBreak};
use super::super::types::{Caching, Lease, LeaseKey};
use std::collections::{HashMap, VecDeque};

#[derive(Debug, Default)]
pub(super) struct Grants {
    /// By file and key.
    leases: HashMap<(u64, LeaseKey), Granted>,
    /// Breaks to be sent.
    pub(super) outgoing: VecDeque<LeaseBreak>,
}

#[derive(Debug)]
struct Granted {
    state: Caching,
    epoch: u16,
    /// What a break in progress leaves, until it is acknowledged.
    breaking: Option<Caching>,
    /// What is left once all breaks are acknowledged.
    allowed: Caching,
}

impl Granted {
    /// The next break that is due; `None` if none is.
    fn next_break(&mut self, key: LeaseKey) -> Option<LeaseBreak> {
        let left = self.state.and(self.allowed);
        if self.breaking.is_some() || left == self.state {
            return None;
        }
        self.epoch = self.epoch.wrapping_add(1);
        let acknowledge = self.state != Caching::READ;
        match acknowledge {
            true => self.breaking = Some(left),
            false => self.state = left,
        }
        Some(LeaseBreak { key, left, epoch: Some(self.epoch), acknowledge })
    }
}

impl Grants {
    /// A file was opened; `alone` if all opens of the file have the key.
    pub(super) fn grant(&mut self, file: u64, lease: Lease, alone: bool) -> Grant {
        let Lease { key, caching } = lease;
        let fresh = Granted { state: Caching::NONE, epoch: 0, breaking: None, allowed: Caching::ALL };
        let granted = self.leases.entry((file, key)).or_insert(fresh);
        let possible = if alone { caching } else { caching.and(Caching::READ | Caching::HANDLE) };
        if granted.breaking.is_none() {
            granted.allowed = Caching::ALL;
            if !granted.state.covers(possible) {
                granted.state = granted.state | possible;
                granted.epoch = granted.epoch.wrapping_add(1);
            }
        }
        let break_in_progress = granted.breaking.is_some();
        Grant::Lease { key, state: granted.state, break_in_progress, epoch: Some(granted.epoch) }
    }

    /// Leaves every key of a file but `except` at most `left`.
    pub(super) fn contend(&mut self, file: u64, except: Option<LeaseKey>, left: Caching) {
        let others = self.leases.iter_mut().filter(|((of, key), _)| *of == file && Some(*key) != except);
        for ((_, key), granted) in others {
            granted.allowed = granted.allowed.and(left);
            self.outgoing.extend(granted.next_break(*key));
        }
    }

    /// Whether a key other than `except` may hold back written data of a file.
    pub(super) fn is_written_back(&self, file: u64, except: Option<LeaseKey>) -> bool {
        let mut leases = self.leases.iter();
        leases.any(|((of, key), granted)| *of == file && Some(*key) != except && granted.state.writes())
    }

    pub(super) fn acknowledge(&mut self, key: LeaseKey, kept: Caching) {
        for ((_, _), granted) in self.leases.iter_mut().filter(|((_, of), _)| *of == key) {
            let Some(left) = granted.breaking.take() else { continue };
            granted.state = left.and(kept);
            self.outgoing.extend(granted.next_break(key));
        }
    }

    /// The number of breaks that are not acknowledged yet.
    pub(super) fn unacknowledged(&self) -> usize {
        self.leases.values().filter(|granted| granted.breaking.is_some()).count()
    }

    /// The last open of a key was closed.
    pub(super) fn closed(&mut self, file: u64, key: LeaseKey) {
        self.leases.remove(&(file, key));
    }

    pub(super) fn forget_all(&mut self) {
        self.leases.clear();
    }
}
