//! What a client owes its programs about a file.

use super::promises::{Mark, Tick};
use std::collections::BTreeMap;
use std::ops::Range;

/// Bytes of a client, each with the value that the server is to have, and when it was written.
#[derive(Clone, Debug, Default)]
pub(super) struct Bytes {
    pub(super) bytes: BTreeMap<u64, (u8, Tick)>,
}

impl Bytes {
    pub(super) fn set(&mut self, offset: u64, data: &[u8], at: Tick) {
        self.bytes.extend(data.iter().enumerate().map(|(index, byte)| (offset + index as u64, (*byte, at))));
    }

    /// Those are there now.
    pub(super) fn arrived(&mut self, offset: u64, data: &[u8]) {
        if self.bytes.len() < data.len() {
            let at = |place: u64| place.checked_sub(offset).and_then(|index| data.get(index as usize));
            self.bytes.retain(|place, (value, _)| at(*place) != Some(value));
            return;
        }
        for (index, byte) in data.iter().enumerate() {
            let place = offset + index as u64;
            if self.bytes.get(&place).is_some_and(|(value, _)| value == byte) {
                self.bytes.remove(&place);
            }
        }
    }

    pub(super) fn remove(&mut self, range: Range<u64>) {
        self.bytes.retain(|place, _| !range.contains(place));
    }

    /// Those in the range that were written before are no longer wanted.
    pub(super) fn supersede(&mut self, range: Range<u64>, began: Tick) {
        self.bytes.retain(|place, (_, at)| !range.contains(place) || *at > began);
    }

    pub(super) fn cut(&mut self, size: u64) {
        self.bytes.split_off(&size);
    }

    /// The first byte that was written no later than that.
    pub(super) fn since(&self, until: Tick) -> Option<u64> {
        self.bytes.iter().find(|(_, (_, at))| *at <= until).map(|(place, _)| *place)
    }

    pub(super) fn oldest(&self, offset: u64, data: &[u8]) -> Option<Tick> {
        let own = self.bytes.range(offset..offset + data.len() as u64);
        own.filter(|(place, (value, _))| data[(**place - offset) as usize] == *value).map(|(_, (_, at))| *at).min()
    }
}

/// What a client owes its programs about a file.
#[derive(Clone, Debug, Default)]
pub(super) struct Owed {
    /// The server does not have it.
    pub(super) pending: Bytes,
    /// The server's disk does not have it.
    pub(super) unsynced: Bytes,
    /// The handles, and which write that failed each has to be told of.
    pub(super) untold: BTreeMap<u64, Option<Tick>>,
    /// When its last session ended at the server.
    pub(super) ended: Mark,
    /// When it knew.
    pub(super) known: Tick,
    pub(super) is_unknown: bool,
    /// When its last session ended at the server.
    pub(super) lost: Tick,
    /// It has looked at the file then, in the session after that.
    pub(super) judged: Mark,
    /// It was sure of the file's data then.
    pub(super) sure: Mark,
}
