//! The data and failures that a client owes its programs: bytes that the server must get, and errors that handles
//! must report.

use super::promises::{Mark, Tick};
use std::collections::BTreeMap;
use std::ops::Range;

/// Bytes of a client: the value that the server must have for each, and when it was written.
#[derive(Clone, Debug, Default)]
pub(super) struct Bytes {
    pub(super) bytes: BTreeMap<u64, (u8, Tick)>,
}

impl Bytes {
    /// Adds data that a program wrote.
    pub(super) fn set(&mut self, offset: u64, data: &[u8], at: Tick) {
        self.bytes.extend(data.iter().enumerate().map(|(index, byte)| (offset + index as u64, (*byte, at))));
    }

    /// Removes bytes that now have the value that was written.
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

    /// Removes the bytes of a range.
    pub(super) fn remove(&mut self, range: Range<u64>) {
        self.bytes.retain(|place, _| !range.contains(place));
    }

    /// Removes the bytes of the range that were written at `began` or before: a later write replaces them.
    pub(super) fn supersede(&mut self, range: Range<u64>, began: Tick) {
        self.bytes.retain(|place, (_, at)| !range.contains(place) || *at > began);
    }

    /// Removes the bytes beyond a new size.
    pub(super) fn cut(&mut self, size: u64) {
        self.bytes.split_off(&size);
    }

    /// The position of the first byte that was written at `until` or before.
    pub(super) fn since(&self, until: Tick) -> Option<u64> {
        self.bytes.iter().find(|(_, (_, at))| *at <= until).map(|(place, _)| *place)
    }

    /// When the oldest byte of this data was written, among the bytes with the same value.
    pub(super) fn oldest(&self, offset: u64, data: &[u8]) -> Option<Tick> {
        let own = self.bytes.range(offset..offset + data.len() as u64);
        own.filter(|(place, (value, _))| data[(**place - offset) as usize] == *value).map(|(_, (_, at))| *at).min()
    }
}

/// What a client owes its programs about a file.
#[derive(Clone, Debug, Default)]
pub(super) struct Owed {
    /// Bytes that the server does not have.
    pub(super) pending: Bytes,
    /// Bytes that the server's disk does not have.
    pub(super) unsynced: Bytes,
    /// The handles, and when the failed write that each must still report was written.
    pub(super) unreported: BTreeMap<u64, Option<Tick>>,
    /// The position in the file's changes at which the client's last session ended at the server.
    pub(super) ended: Mark,
    /// When the client noticed that end; `Tick::MAX` until then.
    pub(super) known: Tick,
    /// The client has not noticed that end.
    pub(super) is_unknown: bool,
    /// When the client's last session ended at the server.
    pub(super) lost: Tick,
    /// The position in the file's changes at which the client judged the file in a later session.
    pub(super) judged: Mark,
    /// The position in the file's changes at which the client was last sure of the file's data.
    pub(super) sure: Mark,
}
