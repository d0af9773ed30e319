//! [`PageCache`]: answers reads from cached data and from READs in flight, and starts the READs that are missing.

use super::chunks::FileKey;
use super::flights::{Flights, Lead, Outcome};
use super::memory::Memory;
use super::pace::{Pace, Sent};
use crate::telemetry::Counters;
use bytes::{Bytes, BytesMut};
use futures_util::future::join_all;
use parking_lot::Mutex;
use std::future::Future;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;
use tokio::sync::{Notify, watch};

/// The unit to which a random read is widened, in bytes: the page size of most kernels.
const PAGE: u64 = 4096;
/// Size in bytes up to which a file is read from the requested byte to its end: that costs no more than reading a part.
const SMALL_FILE: u64 = 64 * 1024;
/// With a budget of fewer chunks than this, read-ahead would evict the data being read.
const LEAST_CHUNKS: u64 = 4;

/// The source of data that is not cached.
pub trait Source: Sync {
    /// Why a read failed. All readers that wait for the READ get a copy.
    type Error: Clone + Send + Sync;

    /// Reads up to `length` bytes at `offset`. Fewer bytes mean that the file ended there.
    ///
    /// # Errors
    /// If the source cannot read the range.
    fn read(&self, offset: u64, length: u32) -> impl Future<Output = Result<Bytes, Self::Error>> + Send;
}

/// The part of a file to read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Request {
    /// The file.
    pub file: FileKey,
    /// Start of the range, in bytes.
    pub offset: u64,
    /// Length of the range, in bytes.
    pub length: u64,
    /// The size of the file as far as known, in bytes: nothing is read beyond it.
    pub size: u64,
    /// Whether to read up to the end of the chunk, not only the pages that hold the range.
    pub whole: bool,
}

impl Request {
    /// End of the range, within the file.
    fn end(&self) -> u64 {
        self.offset.saturating_add(self.length).min(self.size)
    }
}

/// The page cache of a mount. `E` is the error of a failed read.
#[derive(Debug)]
pub struct PageCache<E> {
    state: Mutex<State<E>>,
    /// Notified when memory was released.
    room: Notify,
    /// How many bytes to have in flight, for reading and for writing, as last measured.
    read_window: AtomicU64,
    write_window: AtomicU64,
    chunk: u64,
    /// The budget has room for [`LEAST_CHUNKS`]. Otherwise only the requested pages are read, since anything more would
    /// be evicted before it is used.
    roomy: bool,
    counters: Arc<Counters>,
}

#[derive(Debug)]
struct State<E> {
    memory: Memory,
    flights: Flights<E>,
    reads: Pace,
    writes: Pace,
}

/// How to get the next bytes.
enum Step<E> {
    Cached(Bytes),
    /// They are in flight: the offset where that READ begins, and its outcome.
    Wait(u64, watch::Receiver<Outcome<E>>),
    Lead(Lead<E>, Sent),
    /// There is no memory until another READ or write has ended.
    NoRoom,
}

/// The result of a read ahead.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ahead {
    /// Nothing is left to do: the chunk was read, is cached, is in flight, is of no use, or could not be read.
    Done,
    /// There was no memory for it.
    NoRoom,
}

impl<E: Clone + Send + Sync> PageCache<E> {
    /// A cache on a grid of `chunk` bytes with a budget of `budget` bytes for clean, dirty and in-flight data together.
    pub fn new(chunk: u32, budget: u64, counters: Arc<Counters>) -> PageCache<E> {
        let memory = Memory::new(chunk, budget);
        let chunk = memory.chunks.chunk();
        let (reads, writes) = (Pace::default(), Pace::default());
        PageCache {
            read_window: reads.window().into(),
            write_window: writes.window().into(),
            chunk,
            roomy: budget / chunk >= LEAST_CHUNKS,
            room: Notify::new(),
            counters,
            state: Mutex::new(State { memory, flights: Flights::default(), reads, writes }),
        }
    }

    /// The size of a chunk, in bytes.
    pub fn chunk(&self) -> u64 {
        self.chunk
    }

    /// The charge of everything in use, in bytes: data and overhead.
    pub fn used(&self) -> u64 {
        self.state.lock().memory.used()
    }

    /// The number of bytes to have in flight for one reader.
    pub fn read_window(&self) -> u64 {
        self.read_window.load(Ordering::Relaxed)
    }

    /// The number of bytes to have in flight for one writer.
    pub fn write_window(&self) -> u64 {
        self.write_window.load(Ordering::Relaxed)
    }

    /// Records that a WRITE is sent. Pass the result to [`PageCache::write_answered`].
    pub fn write_sent(&self) -> Sent {
        self.state.lock().writes.sent(Instant::now())
    }

    /// Records that the WRITE was answered, at `now`, and carried `bytes` bytes.
    pub fn write_answered(&self, departure: Sent, bytes: u64, now: Instant) {
        let mut state = self.state.lock();
        state.writes.answered(departure, bytes, now);
        self.write_window.store(state.writes.window(), Ordering::Relaxed);
    }

    /// Sets the number of bytes in use elsewhere in the process, which count against the budget.
    pub fn share_with(&self, bytes: u64) {
        self.state.lock().memory.share_with(bytes);
    }

    /// Whether a write of `bytes` bytes gets its memory once nothing else is dirty or in flight.
    pub fn could_hold_dirty(&self, bytes: u64) -> bool {
        self.state.lock().memory.could_hold_dirty(bytes)
    }

    /// Reserves memory for bytes that are about to become dirty. Returns whether there was enough.
    #[must_use]
    pub fn reserve_dirty(&self, bytes: u64) -> bool {
        let mut state = self.state.lock();
        let has_room = state.memory.reserve_dirty(bytes);
        self.counters.dirty_bytes.set(state.memory.dirty());
        has_room
    }

    /// Releases the memory of `bytes` bytes that are no longer dirty.
    pub fn release_dirty(&self, bytes: u64) {
        if bytes > 0 {
            let mut state = self.state.lock();
            state.memory.release_dirty(bytes);
            self.counters.dirty_bytes.set(state.memory.dirty());
            drop(state);
            self.room.notify_waiters();
        }
    }

    /// Notified when memory was released.
    pub fn room(&self) -> &Notify {
        &self.room
    }

    /// The range, if all of it is cached.
    pub fn get(&self, request: &Request) -> Option<Bytes> {
        let end = request.end();
        let mut parts = Parts::default();
        let mut state = self.state.lock();
        let mut at = request.offset;
        while at < end {
            let part = state.memory.chunks.get(request.file, at, end)?;
            at += part.len() as u64;
            parts.push(part);
        }
        drop(state);
        Some(parts.gather())
    }

    /// Reads the range, or the part of it before the end of the file.
    ///
    /// # Errors
    /// The source's error for the first part, in file order, that could not be read.
    pub async fn read<S: Source<Error = E>>(&self, request: Request, source: &S) -> Result<Bytes, E> {
        let end = request.end();
        let mut pieces = Vec::with_capacity(2);
        let mut at = request.offset;
        while at < end {
            let boundary = (at / self.chunk + 1).saturating_mul(self.chunk).min(end);
            pieces.push(self.read_piece(request, at..boundary, source));
            at = boundary;
        }
        let mut parts = Parts::default();
        for piece in join_all(pieces).await {
            if !piece?.append_to(&mut parts) {
                break;
            }
        }
        Ok(parts.gather())
    }

    /// Reads a chunk before a program requests it. An error is dropped: a reader that waits for this READ starts its
    /// own.
    pub async fn fetch_ahead<S: Source<Error = E>>(&self, file: FileKey, index: u64, size: u64, source: &S) -> Ahead {
        let offset = index.saturating_mul(self.chunk);
        if offset >= size || !self.roomy {
            return Ahead::Done;
        }
        let request = Request { file, offset, length: 1, size, whole: true };
        match self.step(&request, offset, offset + 1, Memory::reserve_read_ahead) {
            Step::Lead(lead, departure) => {
                let mut flying = LeadGuard { cache: self, lead: Some(lead), departure };
                if let Ok(data) = flying.fetch(source).await {
                    flying.complete(Ok(data));
                }
                Ahead::Done
            }
            Step::NoRoom => Ahead::NoRoom,
            Step::Cached(_) | Step::Wait(..) => Ahead::Done,
        }
    }

    /// Caches a whole file, if it is no longer than a chunk and there is memory. The caller has just read it and knows
    /// of no write since.
    pub fn fill(&self, file: FileKey, data: Bytes) {
        if data.len() as u64 <= self.chunk {
            self.state.lock().memory.keep(file, 0, data);
        }
    }

    /// Drops the cached bytes of a range, and excludes READs of it in flight from the cache.
    pub fn invalidate(&self, file: FileKey, range: Range<u64>) {
        let mut state = self.state.lock();
        state.flights.invalidate(file, &range);
        state.memory.chunks.invalidate(file, range);
    }

    /// Records that a stream has read the chunks with the indices in `passed` to their end, so that they are evicted
    /// first, and drops the chunks in `behind`.
    pub fn pass_and_drop(&self, file: FileKey, passed: Range<u64>, behind: Range<u64>) {
        if !passed.is_empty() || !behind.is_empty() {
            let bytes = behind.start.saturating_mul(self.chunk)..behind.end.saturating_mul(self.chunk);
            let mut state = self.state.lock();
            state.memory.chunks.pass(file, passed);
            state.memory.chunks.invalidate(file, bytes);
        }
    }

    /// Drops everything cached of a file.
    pub fn drop_file(&self, file: FileKey) {
        self.invalidate(file, 0..u64::MAX);
    }

    /// Reads a part of the request that lies in one chunk.
    async fn read_piece<S: Source<Error = E>>(
        &self,
        request: Request,
        range: Range<u64>,
        source: &S,
    ) -> Result<Piece, E> {
        let mut piece = Piece { parts: Vec::with_capacity(1), wanted: range.end - range.start };
        let mut at = range.start;
        while at < range.end {
            let room = self.room.notified();
            tokio::pin!(room);
            // From here on no notification is missed.
            room.as_mut().enable();
            let part = match self.step(&request, at, range.end, Memory::reserve_read) {
                Step::Cached(data) => data,
                Step::NoRoom => {
                    room.await;
                    continue;
                }
                Step::Wait(start, mut outcome) => {
                    // An error means that the reader that led this READ was dropped before its end: try again.
                    let ended = outcome.wait_for(Option::is_some).await.ok().and_then(|outcome| outcome.clone());
                    match ended {
                        Some(data) => within(&data?, start, at..range.end),
                        None => continue,
                    }
                }
                Step::Lead(lead, departure) => {
                    let start = lead.range.start;
                    let mut flying = LeadGuard { cache: self, lead: Some(lead), departure };
                    let data = flying.fetch(source).await;
                    flying.complete(data.clone());
                    within(&data?, start, at..range.end)
                }
            };
            if part.is_empty() {
                break;
            }
            at += part.len() as u64;
            piece.parts.push(part);
        }
        Ok(piece)
    }

    /// How to get the byte at `at`, for a reader that wants all bytes up to `end`, in the same chunk. `reserve_read`
    /// reserves the memory.
    fn step(&self, request: &Request, at: u64, end: u64, reserve_read: fn(&mut Memory, u64) -> bool) -> Step<E> {
        let file = request.file;
        let mut state = self.state.lock();
        if let Some(data) = state.memory.chunks.get(file, at, end) {
            return Step::Cached(data);
        }
        if let Some((start, outcome)) = state.flights.over(file, at) {
            return Step::Wait(start, outcome);
        }
        let chunk_start = at / self.chunk * self.chunk;
        let chunk_end = chunk_start.saturating_add(self.chunk);
        let whole = self.roomy && (request.whole || request.size <= SMALL_FILE);
        let (start, wanted) = if whole { (at, chunk_end) } else { (at / PAGE * PAGE, end.next_multiple_of(PAGE)) };
        let stop = [Some(wanted), Some(chunk_end), Some(request.size)]
            .into_iter()
            .chain([state.memory.chunks.next_segment(file, at), state.flights.next_after(file, at)])
            .flatten()
            .min()
            .unwrap_or(end);
        let range = start.max(chunk_start)..stop;
        if !reserve_read(&mut state.memory, range.end - range.start) {
            return Step::NoRoom;
        }
        let departure = state.reads.sent(Instant::now());
        Step::Lead(state.flights.begin(file, range), departure)
    }

    /// Ends a flight, with data or without: releases its memory, and caches the data if it is still current.
    fn end_flight(&self, lead: &Lead<E>, data: Option<(Bytes, Sent)>) {
        let mut state = self.state.lock();
        state.memory.release_read(lead.range.end - lead.range.start);
        let valid = state.flights.end(lead);
        if let Some((data, departure)) = data {
            state.reads.answered(departure, data.len() as u64, Instant::now());
            self.read_window.store(state.reads.window(), Ordering::Relaxed);
            if valid {
                state.memory.keep(lead.file, lead.range.start, data);
            }
        }
        drop(state);
        self.room.notify_waiters();
    }
}

/// The leader's hold on a flight. If it is dropped before the READ has ended, the flight is removed from the list.
struct LeadGuard<'a, E: Clone + Send + Sync> {
    cache: &'a PageCache<E>,
    lead: Option<Lead<E>>,
    departure: Sent,
}

impl<E: Clone + Send + Sync> LeadGuard<'_, E> {
    async fn fetch<S: Source<Error = E>>(&self, source: &S) -> Result<Bytes, E> {
        let Some(range) = self.lead.as_ref().map(|lead| lead.range.clone()) else { return Ok(Bytes::new()) };
        let length = range.end - range.start;
        // A chunk is no longer than the largest READ.
        let mut data = source.read(range.start, u32::try_from(length).unwrap_or(u32::MAX)).await?;
        data.truncate(usize::try_from(length).unwrap_or(usize::MAX));
        Ok(data)
    }

    fn complete(&mut self, outcome: Result<Bytes, E>) {
        let Some(lead) = self.lead.take() else { return };
        self.cache.end_flight(&lead, outcome.as_ref().ok().map(|data| (data.clone(), self.departure)));
        lead.complete(outcome);
    }
}

impl<E: Clone + Send + Sync> Drop for LeadGuard<'_, E> {
    fn drop(&mut self) {
        if let Some(lead) = &self.lead {
            self.cache.end_flight(lead, None);
        }
    }
}

/// The bytes of `data`, which begins at `start`, that lie in `range`.
fn within(data: &Bytes, start: u64, range: Range<u64>) -> Bytes {
    let length = data.len() as u64;
    let from = range.start.saturating_sub(start).min(length);
    let until = range.end.saturating_sub(start).min(length);
    data.slice(from as usize..until as usize)
}

/// The bytes read of one chunk.
struct Piece {
    parts: Vec<Bytes>,
    wanted: u64,
}

impl Piece {
    /// Appends the parts. Returns whether the piece was complete.
    fn append_to(self, parts: &mut Parts) -> bool {
        let got: u64 = self.parts.iter().map(|part| part.len() as u64).sum();
        self.parts.into_iter().for_each(|part| parts.push(part));
        got == self.wanted
    }
}

/// Adjacent bytes in several parts.
#[derive(Default)]
struct Parts(Vec<Bytes>);

impl Parts {
    fn push(&mut self, part: Bytes) {
        self.0.push(part);
    }

    /// All parts as one; copied only if there are several.
    fn gather(mut self) -> Bytes {
        match self.0.len() {
            0 => Bytes::new(),
            1 => self.0.remove(0),
            _ => {
                let mut all = BytesMut::with_capacity(self.0.iter().map(Bytes::len).sum());
                self.0.iter().for_each(|part| all.extend_from_slice(part));
                all.freeze()
            }
        }
    }
}

#[cfg(test)]
mod tests;
