//! The clean data of all files: chunks, each with the segments of it that were read.
//!
//! Data of up to 64 KiB is cut at page boundaries and copied: pieces of up to 1 KiB into allocations of their own,
//! larger ones into pages of a pool, one segment per page. So a small segment does not keep the frame alive that it
//! arrived in, and its memory is known exactly.
//!
//! Invariant: [`ChunkMap::used`] is the sum of the charges of all segments and chunks.

use super::pool::{PAGE, PagePool};
use bytes::Bytes;
use lru::LruCache;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

/// Charge of a segment beyond its data, in bytes: its entry in the map and its reference count.
const SEGMENT_OVERHEAD: u64 = 128;
/// Charge of a chunk beyond its segments, in bytes: its entries in the maps, and room for a few segments.
const CHUNK_OVERHEAD: u64 = 640;
/// Data up to this size, in bytes, is cut at page boundaries and copied.
const SMALL: usize = 64 * 1024;
/// A copied piece up to this size, in bytes, gets an allocation of its own: a pool page would stay mostly empty.
const TINY: usize = 1024;

/// A file, by a number that is never used for another file.
pub type FileKey = u64;
type ChunkKey = (FileKey, u64);

/// The segments of one chunk, by the file offset where they begin. They do not overlap.
type Segments = BTreeMap<u64, Bytes>;

/// The cached bytes of all files.
#[derive(Debug)]
pub struct ChunkMap {
    /// Size of a grid cell, in bytes.
    chunk: u64,
    used: u64,
    chunks: LruCache<ChunkKey, Segments>,
    /// The same keys in order, to find the chunks of a file.
    keys: BTreeSet<ChunkKey>,
    pool: PagePool,
}

impl ChunkMap {
    /// An empty map on a grid of `chunk` bytes. `limit`, in bytes, is the address space reserved for pool pages.
    pub fn new(chunk: u32, limit: u64) -> ChunkMap {
        ChunkMap {
            chunk: u64::from(chunk.max(1)),
            used: 0,
            chunks: LruCache::unbounded(),
            keys: BTreeSet::new(),
            pool: PagePool::new(limit),
        }
    }

    /// Upper bound of the charge for caching this data, in bytes.
    pub fn most(offset: u64, data: &Bytes) -> u64 {
        CHUNK_OVERHEAD + pieces(offset, data.len()).map(|piece| charge_for(piece.len())).sum::<u64>()
    }

    /// The size of a chunk, in bytes.
    pub fn chunk(&self) -> u64 {
        self.chunk
    }

    /// The charge of everything cached at present, in bytes: data and overhead.
    pub fn used(&self) -> u64 {
        self.used
    }

    /// The cached bytes at `offset`, up to `end` or the end of their segment; `None` if the byte at `offset` is not
    /// cached. Marks the chunk as recently used.
    pub fn get(&mut self, file: FileKey, offset: u64, end: u64) -> Option<Bytes> {
        let segments = self.chunks.get(&(file, offset / self.chunk))?;
        let (start, data) = segments.range(..=offset).next_back()?;
        let from = offset - start;
        let until = (data.len() as u64).min(end.saturating_sub(*start));
        (from < until).then(|| data.slice(from as usize..until as usize))
    }

    /// The start of the next segment after `offset`, within the chunk of `offset`.
    pub fn next_segment(&self, file: FileKey, offset: u64) -> Option<u64> {
        let segments = self.chunks.peek(&(file, offset / self.chunk))?;
        segments.range(offset + 1..).next().map(|(start, _)| *start)
    }

    /// Caches bytes that lie within one chunk, small ones as a copy. Segments that overlap them are dropped.
    pub fn insert(&mut self, file: FileKey, offset: u64, data: Bytes) {
        if data.is_empty() {
            return;
        }
        let end = offset + data.len() as u64;
        debug_assert_eq!(offset / self.chunk, (end - 1) / self.chunk, "a segment lies in one chunk");
        self.invalidate(file, offset..end);
        let key = (file, offset / self.chunk);
        if self.keys.insert(key) {
            self.used += CHUNK_OVERHEAD;
        }
        let segments = self.chunks.get_or_insert_mut(key, Segments::new);
        for piece in pieces(offset, data.len()) {
            let (start, piece) = (offset + piece.start as u64, data.slice(piece));
            self.used += charge_for(piece.len());
            segments.insert(start, if data.len() <= SMALL { small(&self.pool, &piece) } else { piece });
        }
    }

    /// Drops the chunk that is first in eviction order. Returns whether there was one.
    pub fn evict(&mut self) -> bool {
        let Some((key, segments)) = self.chunks.pop_lru() else { return false };
        self.keys.remove(&key);
        self.used -= CHUNK_OVERHEAD + charge_of(&segments);
        true
    }

    /// Moves chunks that were read to their end to the front of the eviction order.
    pub fn pass(&mut self, file: FileKey, chunks: Range<u64>) {
        for index in chunks {
            self.chunks.demote(&(file, index));
        }
    }

    /// Drops every segment that overlaps `range`.
    pub fn invalidate(&mut self, file: FileKey, range: Range<u64>) {
        if range.is_empty() {
            return;
        }
        let chunks = (file, range.start / self.chunk)..=(file, (range.end - 1) / self.chunk);
        let touched: Vec<ChunkKey> = self.keys.range(chunks).copied().collect();
        for key in touched {
            let Some(segments) = self.chunks.peek_mut(&key) else { continue };
            let mut freed = 0;
            segments.retain(|start, data| {
                let overlaps = *start < range.end && start + data.len() as u64 > range.start;
                freed += if overlaps { charge_for(data.len()) } else { 0 };
                !overlaps
            });
            self.used -= freed;
            if segments.is_empty() {
                self.used -= CHUNK_OVERHEAD;
                self.chunks.pop(&key);
                self.keys.remove(&key);
            }
        }
    }
}

fn charge_of(segments: &Segments) -> u64 {
    segments.values().map(|data| charge_for(data.len())).sum()
}

/// The charge of a segment of `length` bytes, in bytes.
fn charge_for(length: usize) -> u64 {
    let taken = if (TINY + 1..PAGE).contains(&length) { PAGE } else { length };
    taken as u64 + SEGMENT_OVERHEAD
}

/// How `length` bytes at `offset` of a file are cut into segments: small data at page boundaries, large data not at
/// all.
fn pieces(offset: u64, length: usize) -> impl Iterator<Item = Range<usize>> {
    let page = PAGE as u64;
    let first = if length <= SMALL { (page - offset % page) as usize } else { length };
    let mut at = 0;
    std::iter::from_fn(move || {
        let start = at;
        at = length.min(if at == 0 { first } else { at + PAGE });
        (start < at).then_some(start..at)
    })
}

/// A copy of a piece that is no longer than a page, in an allocation of its own or in a pool page.
fn small(pool: &PagePool, piece: &Bytes) -> Bytes {
    if piece.len() <= TINY { Bytes::copy_from_slice(piece) } else { pool.copy(piece) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashMap;

    const CHUNK: u32 = 100;

    fn map() -> ChunkMap {
        ChunkMap::new(CHUNK, 1 << 20)
    }

    fn data(length: usize, fill: u8) -> Bytes {
        Bytes::from(vec![fill; length])
    }

    #[test]
    fn inserted_bytes_are_found_again() {
        let mut chunks = map();
        let kept = data(50, 7);
        chunks.insert(1, 120, kept.clone());
        let found = chunks.get(1, 130, 150).unwrap();
        assert_eq!(found.len(), 20);
        assert_eq!(found, kept[10..30]);
        assert_eq!(chunks.get(1, 119, 150), None);
        assert_eq!(chunks.get(1, 170, 200), None);
        assert_eq!(chunks.get(2, 130, 150), None);
        assert_eq!(chunks.next_segment(1, 100), Some(120));
    }

    #[test]
    fn large_data_is_not_copied_and_small_data_does_not_keep_its_frame_alive() {
        let mut chunks = ChunkMap::new(1 << 20, 1 << 20);
        let much = data(SMALL + 1, 7);
        chunks.insert(1, 0, much.clone());
        assert_eq!(chunks.get(1, 10, 20).unwrap().as_ptr(), much[10..].as_ptr());
        let frame = data(SMALL, 9);
        let whole = frame.as_ptr_range();
        for (offset, length) in [(0, 100), (4096, 4096), (10_000, 20_000)] {
            chunks.insert(2, offset, frame.slice(..length));
            let mut at = offset;
            while at < offset + length as u64 {
                let part = chunks.get(2, at, offset + length as u64).unwrap();
                assert!(!whole.contains(&part.as_ptr()) && part.len() <= PAGE && part.iter().all(|byte| *byte == 9));
                at += part.len() as u64;
            }
        }
    }

    #[test]
    fn small_pieces_are_cut_at_pages() {
        let ends = |offset, length| pieces(offset, length).map(|piece| piece.end).collect::<Vec<_>>();
        assert_eq!(ends(0, 100), [100]);
        assert_eq!(ends(4000, 5000), [96, 4192, 5000]);
        assert_eq!(ends(8192, 8192), [4096, 8192]);
        assert_eq!(ends(5, SMALL + 1), [SMALL + 1]);
        assert_eq!(pieces(4000, 5000).map(|piece| piece.start).collect::<Vec<_>>(), [0, 96, 4192]);
    }

    #[test]
    fn the_least_recently_used_chunk_is_evicted_first() {
        let mut chunks = map();
        for index in 0..3 {
            chunks.insert(1, index * 100, data(100, 0));
        }
        assert!(chunks.get(1, 0, 1).is_some());
        assert!(chunks.evict());
        assert!(chunks.get(1, 100, 101).is_none());
        assert!(chunks.get(1, 0, 1).is_some() && chunks.get(1, 200, 201).is_some());
    }

    #[test]
    fn a_chunk_that_a_stream_has_passed_is_evicted_before_older_ones() {
        let mut chunks = map();
        for index in 0..4 {
            chunks.insert(1, index * 100, data(100, 0));
        }
        chunks.pass(1, 2..3);
        assert!(chunks.evict());
        assert!(chunks.get(1, 200, 201).is_none() && chunks.get(1, 0, 1).is_some());
    }

    #[test]
    fn nothing_is_charged_when_all_chunks_are_evicted() {
        let mut chunks = map();
        chunks.insert(1, 0, data(100, 0));
        assert!(chunks.evict() && !chunks.evict());
        assert_eq!((chunks.get(1, 0, 1), chunks.used()), (None, 0));
    }

    #[test]
    fn a_write_drops_the_segments_it_overlaps_and_no_others() {
        let mut chunks = map();
        chunks.insert(1, 0, data(50, 0));
        chunks.insert(1, 50, data(50, 0));
        chunks.insert(1, 100, data(50, 0));
        chunks.insert(2, 0, data(50, 0));
        chunks.invalidate(1, 99..101);
        assert!(chunks.get(1, 0, 1).is_some() && chunks.get(2, 0, 1).is_some());
        assert!(chunks.get(1, 50, 51).is_none() && chunks.get(1, 100, 101).is_none());
        chunks.invalidate(1, 0..u64::MAX);
        assert!(chunks.get(1, 0, 1).is_none() && chunks.get(2, 0, 1).is_some());
    }

    #[derive(Clone, Debug)]
    enum Operation {
        Insert { file: u64, offset: u64, length: usize },
        Get { file: u64, offset: u64 },
        Invalidate { file: u64, start: u64, length: u64 },
        Evict,
    }

    fn operation() -> impl Strategy<Value = Operation> {
        prop_oneof![
            (0u64..3, 0u64..1000, 1usize..=100).prop_map(|(file, offset, length)| {
                let room = 100 - offset as usize % 100;
                Operation::Insert { file, offset, length: length.min(room) }
            }),
            (0u64..3, 0u64..1000).prop_map(|(file, offset)| Operation::Get { file, offset }),
            (0u64..3, 0u64..1000, 0u64..400).prop_map(|(file, start, length)| Operation::Invalidate {
                file,
                start,
                length
            }),
            Just(Operation::Evict),
        ]
    }

    proptest! {
        /// Each byte found is the byte inserted last, and the total charge is correct.
        #[test]
        fn only_inserted_bytes_are_found_and_all_charged(operations in proptest::collection::vec(operation(), 1..200)) {
            let mut chunks = map();
            let mut model: HashMap<(u64, u64), u8> = HashMap::new();
            for (number, operation) in operations.into_iter().enumerate() {
                match operation {
                    Operation::Insert { file, offset, length } => {
                        chunks.insert(file, offset, data(length, number as u8));
                        model.extend((offset..offset + length as u64).map(|at| ((file, at), number as u8)));
                    }
                    Operation::Get { file, offset } => {
                        for (index, byte) in chunks.get(file, offset, offset + 50).unwrap_or_default().iter().enumerate() {
                            prop_assert_eq!(model.get(&(file, offset + index as u64)), Some(byte));
                        }
                    }
                    Operation::Invalidate { file, start, length } => {
                        chunks.invalidate(file, start..start + length);
                        model.retain(|(of, at), _| *of != file || !(start..start + length).contains(at));
                    }
                    Operation::Evict => {
                        let (any, before) = (!chunks.keys.is_empty(), chunks.used());
                        prop_assert_eq!(chunks.evict(), any);
                        prop_assert!(!any || chunks.used() < before);
                    }
                }
                let charged: u64 =
                    chunks.chunks.iter().map(|(_, segments)| CHUNK_OVERHEAD + charge_of(segments)).sum();
                prop_assert_eq!(charged, chunks.used());
                prop_assert_eq!(chunks.chunks.len(), chunks.keys.len());
            }
        }
    }
}
