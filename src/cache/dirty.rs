//! What programs wrote to one file and the server does not have yet.
//!
//! Written bytes are put together to extents on the grid of the write buffer size. An extent that
//! reaches the end of its chunk is complete and can be sent; the others are when somebody asks for all
//! ([`Dirty::send_all`]). What was taken to be sent is in flight until [`Dirty::done`], and stays readable.
//!
//! Invariants: extents do not overlap each other. Nothing is sent that overlaps what is in flight, so
//! that the server has the last written bytes in the end. Each byte counts once while it is an extent
//! and once while it is in flight.

use bytes::{Bytes, BytesMut};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

/// The dirty bytes of one file. `K` is what they were written through.
#[derive(Debug)]
pub struct Dirty<K> {
    /// The grid, in bytes.
    chunk: u64,
    /// By the offset in the file. None crosses a chunk's boundary.
    extents: BTreeMap<u64, Extent<K>>,
    flights: Vec<Flight>,
    /// Chunks with an extent that reaches their end.
    complete: BTreeSet<u64>,
    extent_bytes: u64,
    flight_bytes: u64,
    next_job: u64,
    /// Raised by [`Dirty::send_all`].
    generation: u64,
    /// Extents of generations before this are sent, complete or not.
    due: u64,
    /// The number of extents by the generation of their oldest byte.
    generations: BTreeMap<u64, usize>,
}

#[derive(Debug)]
struct Extent<K> {
    data: BytesMut,
    by: K,
    generation: u64,
}

#[derive(Debug)]
struct Flight {
    number: u64,
    offset: u64,
    data: Bytes,
    generation: u64,
}

/// Bytes to send now.
#[derive(Debug)]
pub struct Job<K> {
    /// For [`Dirty::done`].
    pub number: u64,
    /// Where they belong in the file.
    pub offset: u64,
    /// The bytes: no more than a chunk.
    pub data: Bytes,
    /// What they were written through last.
    pub by: K,
    /// Nothing else is dirty.
    pub last: bool,
}

impl<K: Clone> Dirty<K> {
    /// Nothing dirty, on a grid of `chunk` bytes.
    pub fn new(chunk: u32) -> Dirty<K> {
        Dirty {
            chunk: u64::from(chunk.max(1)),
            extents: BTreeMap::new(),
            flights: Vec::new(),
            complete: BTreeSet::new(),
            extent_bytes: 0,
            flight_bytes: 0,
            next_job: 0,
            generation: 0,
            due: 0,
            generations: BTreeMap::new(),
        }
    }

    /// All dirty bytes, those in flight among them.
    pub fn bytes(&self) -> u64 {
        self.extent_bytes + self.flight_bytes
    }

    /// Whether the server has everything.
    pub fn is_clean(&self) -> bool {
        self.extents.is_empty() && self.flights.is_empty()
    }

    /// Whether a byte of `range` is dirty.
    pub fn touches(&self, range: &Range<u64>) -> bool {
        let before_end = self.extents.range(..range.end).next_back();
        before_end.is_some_and(|(start, extent)| start + extent.data.len() as u64 > range.start)
            || self.flights.iter().any(|flight| flight.overlaps(range))
    }

    /// The bytes of `range`, if all of them are dirty, and in one piece.
    pub fn covered(&self, range: &Range<u64>) -> Option<Bytes> {
        let slice = |start: u64, range: &Range<u64>| (range.start - start) as usize..(range.end - start) as usize;
        if let Some((start, extent)) = self.extents.range(..range.end).next_back()
            && start + extent.data.len() as u64 > range.start
        {
            let whole = *start <= range.start && range.end <= start + extent.data.len() as u64;
            return whole.then(|| Bytes::copy_from_slice(&extent.data[slice(*start, range)]));
        }
        let flight = self.flights.iter().find(|flight| {
            let flown = flight.range();
            flown.start <= range.start && range.end <= flown.end
        })?;
        Some(flight.data.slice(slice(flight.offset, range)))
    }

    /// A program wrote. Answers by how many bytes there is more that is dirty.
    pub fn write(&mut self, offset: u64, data: &[u8], by: &K) -> u64 {
        let before = self.extent_bytes;
        let mut at = 0;
        while at < data.len() {
            let start = offset + at as u64;
            let room = (self.chunk - start % self.chunk) as usize;
            let piece = &data[at..data.len().min(at + room)];
            self.write_piece(start, piece, by);
            at += piece.len();
        }
        self.extent_bytes - before
    }

    /// All that is dirty now is to be sent, complete or not. The mark is for [`Dirty::is_sent`].
    pub fn send_all(&mut self) -> u64 {
        let mark = self.generation;
        self.generation += 1;
        self.due = self.generation;
        mark
    }

    /// Whether the server has answered for all that was dirty at the mark.
    pub fn is_sent(&self, mark: u64) -> bool {
        self.generations.range(..=mark).next().is_none() && self.flights.iter().all(|flight| flight.generation > mark)
    }

    /// The next bytes to send, if any may be while no more than `window` bytes are in flight. One job is
    /// always possible.
    pub fn take(&mut self, window: u64) -> Option<Job<K>> {
        let start = self.next_start()?;
        let run = self.run_from(start);
        let length = run.end - run.start;
        if self.flight_bytes > 0 && self.flight_bytes + length > window {
            return None;
        }
        let number = self.next_job;
        self.next_job += 1;
        let (data, by, generation) = self.gather(run.clone())?;
        self.flight_bytes += length;
        self.flights.push(Flight { number, offset: run.start, data: data.clone(), generation });
        let last = self.extents.is_empty() && self.flights.len() == 1;
        Some(Job { number, offset: run.start, data, by, last })
    }

    /// The server has answered a job, in whatever way. The bytes that are no longer dirty.
    pub fn done(&mut self, number: u64) -> u64 {
        let Some(index) = self.flights.iter().position(|flight| flight.number == number) else { return 0 };
        let flight = self.flights.swap_remove(index);
        let bytes = flight.data.len() as u64;
        self.flight_bytes -= bytes;
        bytes
    }

    fn write_piece(&mut self, start: u64, data: &[u8], by: &K) {
        let (end, chunk) = (start + data.len() as u64, start / self.chunk);
        let chunk_end = (chunk + 1) * self.chunk;
        let before = self.extents.range_mut(..=start).next_back();
        let touching =
            before.filter(|(at, extent)| *at / self.chunk == chunk && *at + extent.data.len() as u64 >= start);
        let own = match touching {
            Some((at, extent)) => {
                let old = extent.data.len();
                extent.put((start - at) as usize, data, (chunk_end - at) as usize);
                extent.by = by.clone();
                self.extent_bytes += (extent.data.len() - old) as u64;
                *at
            }
            None => {
                let extent = Extent { data: BytesMut::from(data), by: by.clone(), generation: self.generation };
                self.count(self.generation);
                self.extents.insert(start, extent);
                self.extent_bytes += data.len() as u64;
                start
            }
        };
        self.cut(own, end);
        if end == chunk_end {
            self.complete.insert(chunk);
        }
    }

    /// Takes from the extents after the one at `own` what lies before `end`.
    fn cut(&mut self, own: u64, end: u64) {
        while let Some((start, length)) =
            self.extents.range(own + 1..end).next().map(|(start, extent)| (*start, extent.data.len() as u64))
        {
            let Some(mut extent) = self.extents.remove(&start) else { return };
            self.uncount(extent.generation);
            self.extent_bytes -= length.min(end - start);
            if start + length > end {
                // A copy, since a part would keep the whole.
                extent.data = BytesMut::from(&extent.data[(end - start) as usize..]);
                self.count(extent.generation);
                self.extents.insert(end, extent);
            }
        }
    }

    /// Where the next extent begins that may be sent.
    fn next_start(&self) -> Option<u64> {
        let free = |start: u64| {
            let run = self.run_from(start);
            !self.flights.iter().any(|flight| flight.overlaps(&run))
        };
        let complete = self.complete.iter().filter_map(|chunk| {
            let (last, _) = self.extents.range(..(chunk + 1) * self.chunk).next_back()?;
            Some(self.run_start(*last))
        });
        let any_due = self.generations.range(..self.due).next().is_some();
        let due = self.extents.iter().filter(|(_, extent)| any_due && extent.generation < self.due);
        complete.chain(due.map(|(start, _)| *start)).find(|start| free(*start))
    }

    /// The first of the adjacent extents in the chunk that end with the one at `start`.
    fn run_start(&self, start: u64) -> u64 {
        let mut first = start;
        for (at, extent) in self.extents.range(start / self.chunk * self.chunk..start).rev() {
            if at + extent.data.len() as u64 != first {
                break;
            }
            first = *at;
        }
        first
    }

    /// The adjacent extents in one chunk that begin with the one at `start`.
    fn run_from(&self, start: u64) -> Range<u64> {
        let mut end = start;
        for (at, extent) in self.extents.range(start..(start / self.chunk + 1) * self.chunk) {
            if *at != end {
                break;
            }
            end += extent.data.len() as u64;
        }
        start..end
    }

    /// Takes the extents of a run out: their bytes, what wrote the last of them, and the oldest generation.
    fn gather(&mut self, run: Range<u64>) -> Option<(Bytes, K, u64)> {
        let first = self.extents.remove(&run.start)?;
        self.uncount(first.generation);
        let (mut data, mut by, mut generation) = (first.data, first.by, first.generation);
        while (data.len() as u64) < run.end - run.start {
            let next = self.extents.remove(&(run.start + data.len() as u64))?;
            self.uncount(next.generation);
            data.extend_from_slice(&next.data);
            (by, generation) = (next.by, generation.min(next.generation));
        }
        self.extent_bytes -= data.len() as u64;
        if run.end.is_multiple_of(self.chunk) {
            self.complete.remove(&(run.start / self.chunk));
        }
        // What is in flight is charged for its copy in the frame, and leaves no room to grow into.
        let is_tight = data.capacity() - data.len() <= data.len() / 8;
        let data = if is_tight { data.freeze() } else { Bytes::copy_from_slice(&data) };
        Some((data, by, generation))
    }

    fn count(&mut self, generation: u64) {
        *self.generations.entry(generation).or_default() += 1;
    }

    fn uncount(&mut self, generation: u64) {
        if let Some(count) = self.generations.get_mut(&generation) {
            *count -= 1;
            if *count == 0 {
                self.generations.remove(&generation);
            }
        }
    }
}

impl<K> Extent<K> {
    /// Overwrites from `at` on, and grows as far as need be. `room` is what it can become at most.
    fn put(&mut self, at: usize, data: &[u8], room: usize) {
        let (inside, beyond) = data.split_at(data.len().min(self.data.len() - at));
        self.data[at..at + inside.len()].copy_from_slice(inside);
        let needed = at + data.len();
        if self.data.capacity() < needed {
            // Twice as much, for the next appends: as much as a dirty byte is charged. Never beyond the chunk's end.
            self.data.reserve((2 * needed).min(room) - self.data.len());
        }
        self.data.extend_from_slice(beyond);
    }
}

impl Flight {
    fn range(&self) -> Range<u64> {
        self.offset..self.offset + self.data.len() as u64
    }

    fn overlaps(&self, range: &Range<u64>) -> bool {
        self.range().start < range.end && range.start < self.range().end
    }
}

#[cfg(test)]
mod tests;
