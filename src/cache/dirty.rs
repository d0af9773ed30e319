//! The dirty bytes of one file: written by programs, not yet on the server.
//!
//! Written bytes are merged into extents on the grid of the write buffer size. An extent that reaches the end of its
//! chunk is complete and can be sent; an incomplete one is sent only after [`Dirty::send_all`]. Bytes returned by
//! [`Dirty::take`] are in flight until [`Dirty::done`], and can be read until then.
//!
//! Invariants: extents do not overlap each other. No bytes are sent while older bytes of the same range are in flight,
//! so the server ends with the bytes written last. Each byte counts once while in an extent and once while in flight.

use bytes::{Bytes, BytesMut};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

/// The dirty bytes of one file. `K` identifies what they were written through.
#[derive(Debug)]
pub struct Dirty<K> {
    /// Size of a grid cell, in bytes.
    chunk: u64,
    /// The extents by file offset. None crosses a chunk boundary.
    extents: BTreeMap<u64, Extent<K>>,
    flights: Vec<Flight>,
    /// Chunks with an extent that reaches the end of the chunk.
    complete: BTreeSet<u64>,
    extent_bytes: u64,
    flight_bytes: u64,
    next_job: u64,
    /// Generation of new extents; incremented by [`Dirty::send_all`].
    generation: u64,
    /// Extents of generations below this are sent, complete or not.
    due: u64,
    /// The number of extents by the generation of their oldest byte.
    generations: BTreeMap<u64, usize>,
}

#[derive(Debug)]
struct Extent<K> {
    data: BytesMut,
    /// What the last of the bytes were written through.
    by: K,
    /// The generation of the oldest byte.
    generation: u64,
}

#[derive(Debug)]
struct Flight {
    number: u64,
    offset: u64,
    data: Bytes,
    generation: u64,
}

/// Bytes to send in one WRITE.
#[derive(Debug)]
pub struct Job<K> {
    /// The number to pass to [`Dirty::done`].
    pub number: u64,
    /// Offset in the file, in bytes.
    pub offset: u64,
    /// The bytes, at most one chunk.
    pub data: Bytes,
    /// What the last of the bytes were written through.
    pub by: K,
    /// Whether these are the only dirty bytes of the file.
    pub last: bool,
}

impl<K: Clone> Dirty<K> {
    /// An empty map on a grid of `chunk` bytes.
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

    /// The number of dirty bytes, including those in flight.
    pub fn bytes(&self) -> u64 {
        self.extent_bytes + self.flight_bytes
    }

    /// Whether the server has everything: nothing is dirty or in flight.
    pub fn is_clean(&self) -> bool {
        self.extents.is_empty() && self.flights.is_empty()
    }

    /// Whether a byte of `range` is dirty or in flight.
    pub fn touches(&self, range: &Range<u64>) -> bool {
        let before_end = self.extents.range(..range.end).next_back();
        before_end.is_some_and(|(start, extent)| start + extent.data.len() as u64 > range.start)
            || self.flights.iter().any(|flight| flight.overlaps(range))
    }

    /// The bytes of `range`, if all of them are dirty in one extent or in one flight.
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

    /// Adds bytes that a program wrote. Returns by how many bytes the extents grew.
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

    /// Marks everything dirty at present as due, complete or not. The returned mark is for [`Dirty::is_sent`].
    pub fn send_all(&mut self) -> u64 {
        let mark = self.generation;
        self.generation += 1;
        self.due = self.generation;
        mark
    }

    /// Whether the server has answered for everything that was dirty at the mark.
    pub fn is_sent(&self, mark: u64) -> bool {
        self.generations.range(..=mark).next().is_none() && self.flights.iter().all(|flight| flight.generation > mark)
    }

    /// The next bytes to send, if there are any and no more than `window` bytes would be in flight. With nothing in
    /// flight, one job is returned whatever its size.
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

    /// Removes a job from flight when the server has answered it, with success or not. Returns the number of bytes that
    /// are no longer dirty; 0 if the job is unknown.
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

    /// Removes the bytes before `end` from the extents that begin after `own`.
    fn cut(&mut self, own: u64, end: u64) {
        while let Some((start, length)) =
            self.extents.range(own + 1..end).next().map(|(start, extent)| (*start, extent.data.len() as u64))
        {
            let Some(mut extent) = self.extents.remove(&start) else { return };
            self.uncount(extent.generation);
            self.extent_bytes -= length.min(end - start);
            if start + length > end {
                // A copy, since a slice would keep the whole allocation.
                extent.data = BytesMut::from(&extent.data[(end - start) as usize..]);
                self.count(extent.generation);
                self.extents.insert(end, extent);
            }
        }
    }

    /// The start of the next run of extents that may be sent.
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

    /// The start of the run of adjacent extents, all in one chunk, whose last extent begins at `start`.
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

    /// The range of the run of adjacent extents, all in one chunk, whose first extent begins at `start`.
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

    /// Removes the extents of a run. Returns their bytes, what the last extent was written through, and the oldest
    /// generation.
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
        // The second charged byte of a byte in flight is for its copy in the frame, so the buffer must have no unused
        // capacity.
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
    /// Overwrites from `at` on and grows as needed. `room` is the maximum length, in bytes.
    fn put(&mut self, at: usize, data: &[u8], room: usize) {
        let (inside, beyond) = data.split_at(data.len().min(self.data.len() - at));
        self.data[at..at + inside.len()].copy_from_slice(inside);
        let needed = at + data.len();
        if self.data.capacity() < needed {
            // Doubles the buffer for the next appends, as the charge of a dirty byte allows, but never beyond the
            // chunk's end.
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
