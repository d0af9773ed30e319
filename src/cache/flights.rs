//! The READs in flight of a cache.
//!
//! A flight is one READ. The reader that begins it leads it; other readers of bytes in its range wait for its outcome.
//! When a range is invalidated, the flights over it leave the list: no reader joins them any more, and their data is
//! not cached, since it may have been read before the change.
//!
//! Invariant: a flight is listed from [`Flights::begin`] until it ends, is abandoned or is invalidated.

use super::chunks::FileKey;
use bytes::Bytes;
use std::collections::HashMap;
use std::ops::Range;
use tokio::sync::watch;

/// The result of a flight; `None` while it is in flight.
pub type Outcome<E> = Option<Result<Bytes, E>>;

/// The flights of all files, by file.
#[derive(Debug)]
pub struct Flights<E> {
    files: HashMap<FileKey, Vec<Flight<E>>>,
    next: u64,
}

#[derive(Debug)]
struct Flight<E> {
    number: u64,
    range: Range<u64>,
    outcome: watch::Receiver<Outcome<E>>,
}

/// A flight as its leader holds it.
#[derive(Debug)]
pub struct Lead<E> {
    /// The file that is read.
    pub file: FileKey,
    /// The range that is read, in bytes.
    pub range: Range<u64>,
    number: u64,
    outcome: watch::Sender<Outcome<E>>,
}

impl<E> Lead<E> {
    /// Sends the outcome to all waiters. If the lead is dropped instead, they see the closed channel: the flight was
    /// abandoned.
    pub fn complete(self, outcome: Result<Bytes, E>) {
        self.outcome.send_replace(Some(outcome));
    }
}

impl<E> Default for Flights<E> {
    fn default() -> Self {
        Flights { files: HashMap::new(), next: 0 }
    }
}

impl<E> Flights<E> {
    /// The flight whose range contains `offset`: the offset where it begins, and the receiver of its outcome.
    pub fn over(&self, file: FileKey, offset: u64) -> Option<(u64, watch::Receiver<Outcome<E>>)> {
        let flight = self.files.get(&file)?.iter().find(|flight| flight.range.contains(&offset))?;
        Some((flight.range.start, flight.outcome.clone()))
    }

    /// The start of the first flight that begins after `offset`.
    pub fn next_after(&self, file: FileKey, offset: u64) -> Option<u64> {
        self.files.get(&file)?.iter().map(|flight| flight.range.start).filter(|start| *start > offset).min()
    }

    /// Lists a new flight and returns its lead.
    pub fn begin(&mut self, file: FileKey, range: Range<u64>) -> Lead<E> {
        let (sender, outcome) = watch::channel(None);
        self.next += 1;
        self.files.entry(file).or_default().push(Flight { number: self.next, range: range.clone(), outcome });
        Lead { file, range, number: self.next, outcome: sender }
    }

    /// Removes a flight from the list. Returns whether it was still listed: only then its data is current.
    pub fn end(&mut self, lead: &Lead<E>) -> bool {
        let Some(flights) = self.files.get_mut(&lead.file) else { return false };
        let before = flights.len();
        flights.retain(|flight| flight.number != lead.number);
        let was_there = flights.len() < before;
        if flights.is_empty() {
            self.files.remove(&lead.file);
        }
        was_there
    }

    /// Removes the flights that overlap `range`: their data is out of date.
    pub fn invalidate(&mut self, file: FileKey, range: &Range<u64>) {
        if let Some(flights) = self.files.get_mut(&file) {
            flights.retain(|flight| flight.range.end <= range.start || range.end <= flight.range.start);
            if flights.is_empty() {
                self.files.remove(&file);
            }
        }
    }

    /// Whether no READ is in flight.
    pub fn is_empty(&self) -> bool {
        self.files.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flight_is_found_by_each_of_its_bytes_until_it_ends() {
        let mut flights = Flights::<()>::default();
        let lead = flights.begin(1, 100..200);
        assert_eq!(flights.over(1, 150).unwrap().0, 100);
        assert!(flights.over(1, 200).is_none() && flights.over(2, 150).is_none());
        assert_eq!((flights.next_after(1, 50), flights.next_after(1, 100)), (Some(100), None));
        assert!(flights.end(&lead));
        assert!(flights.is_empty());
    }

    #[test]
    fn an_invalidated_flight_is_not_joined_and_its_data_is_not_cached() {
        let mut flights = Flights::<()>::default();
        let touched = flights.begin(1, 100..200);
        let beside = flights.begin(1, 200..300);
        flights.invalidate(1, &(199..200));
        assert!(flights.over(1, 150).is_none());
        assert!(!flights.end(&touched));
        assert!(flights.end(&beside));
    }

    #[test]
    fn waiters_are_woken_when_the_leader_of_their_flight_is_dropped() {
        let mut flights = Flights::<()>::default();
        let lead = flights.begin(1, 0..10);
        let (_, outcome) = flights.over(1, 0).unwrap();
        drop(lead);
        assert!(outcome.has_changed().is_err());
    }
}
