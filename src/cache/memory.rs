//! The memory of the cache under one limit: clean, dirty and in-flight bytes.
//!
//! Clean data is evicted to make room for the others. READs that a reader waits for, READs ahead, and writes each
//! reserve memory before they begin. A caller that gets none waits until memory is released, or does without: a READ
//! ahead is not sent, a write that can never get memory is written through, clean data is not cached.
//!
//! Invariant: the charges of clean, dirty and in-flight bytes together never exceed the limit.

use super::chunks::{ChunkMap, FileKey};
use bytes::Bytes;

/// Charge per dirty byte, in bytes. While it waits to be sent, the second byte covers the room its extent has to grow;
/// in flight, the copy in the frame that is signed or encrypted.
const DIRTY_CHARGE: u64 = 2;

/// The memory of a cache.
#[derive(Debug)]
pub struct Memory {
    limit: u64,
    /// Charge of the bytes that programs wrote and the server has not acknowledged yet.
    dirty: u64,
    /// Bytes reserved for READs in flight.
    in_flight: u64,
    /// Bytes in use elsewhere in the process that count against the limit; at most half of it.
    elsewhere: u64,
    /// The clean data.
    pub chunks: ChunkMap,
}

impl Memory {
    /// An empty budget of `limit` bytes, with chunks of `chunk` bytes.
    pub fn new(chunk: u32, limit: u64) -> Memory {
        Memory { limit, dirty: 0, in_flight: 0, elsewhere: 0, chunks: ChunkMap::new(chunk, limit) }
    }

    /// The charge of everything in use, in bytes.
    pub fn used(&self) -> u64 {
        self.chunks.used() + self.dirty + self.in_flight
    }

    /// Dirty bytes, without what they are charged beyond their number.
    pub fn dirty(&self) -> u64 {
        self.dirty / DIRTY_CHARGE
    }

    /// Sets the number of bytes in use elsewhere in the process. Clean data is evicted for them, down to half of the
    /// limit.
    pub fn share_with(&mut self, bytes: u64) {
        self.elsewhere = bytes.min(self.limit / 2);
        while self.used() > self.room() && self.chunks.evict() {}
    }

    /// The bytes available to the cache: the limit without what is in use elsewhere.
    fn room(&self) -> u64 {
        self.limit - self.elsewhere
    }

    /// Reserves memory for a READ that a reader waits for. Returns whether there was enough. With nothing dirty or in
    /// flight a READ always gets its memory, so that a small limit makes reading slow but not impossible.
    #[must_use]
    pub fn reserve_read(&mut self, bytes: u64) -> bool {
        let bytes = self.bounded(bytes);
        self.make_room(bytes) && {
            self.in_flight += bytes;
            true
        }
    }

    /// Reserves memory for a READ ahead. Returns whether there was enough: dirty and in-flight charges, this READ's
    /// included, may not exceed half of the limit.
    #[must_use]
    pub fn reserve_read_ahead(&mut self, bytes: u64) -> bool {
        self.in_flight + self.dirty + bytes <= self.limit / 2 && self.reserve_read(bytes)
    }

    /// Releases the memory of a READ of `bytes` bytes that has ended.
    pub fn release_read(&mut self, bytes: u64) {
        self.in_flight = self.in_flight.saturating_sub(self.bounded(bytes));
    }

    /// The charge of one READ, in bytes: at most half of the limit, so that every READ fits in the end.
    fn bounded(&self, bytes: u64) -> u64 {
        bytes.min(self.limit / 2)
    }

    /// Whether a write of `bytes` bytes gets its memory once nothing else is dirty or in flight.
    pub fn could_hold_dirty(&self, bytes: u64) -> bool {
        bytes.saturating_mul(DIRTY_CHARGE) <= self.dirty_limit().min(self.room())
    }

    /// The limit for the charge of dirty bytes, which is twice their number. A quarter of the memory is left to reads.
    fn dirty_limit(&self) -> u64 {
        self.limit - self.limit / 4
    }

    /// Reserves memory for bytes that become dirty. Returns whether there was enough.
    #[must_use]
    pub fn reserve_dirty(&mut self, bytes: u64) -> bool {
        let bytes = bytes.saturating_mul(DIRTY_CHARGE);
        self.dirty + bytes <= self.dirty_limit() && self.make_room(bytes) && {
            self.dirty += bytes;
            true
        }
    }

    /// Releases the memory of `bytes` bytes that are no longer dirty.
    pub fn release_dirty(&mut self, bytes: u64) {
        self.dirty = self.dirty.saturating_sub(bytes.saturating_mul(DIRTY_CHARGE));
    }

    /// Caches clean bytes that lie within one chunk, if there is memory.
    pub fn keep(&mut self, file: FileKey, offset: u64, data: Bytes) {
        if self.make_room(ChunkMap::most(offset, &data)) {
            self.chunks.insert(file, offset, data);
        }
    }

    /// Evicts clean data until `bytes` bytes are free. Returns whether they are.
    fn make_room(&mut self, bytes: u64) -> bool {
        // Nothing is evicted for a reservation that would not fit anyway.
        if self.dirty + self.in_flight + bytes > self.room() {
            return false;
        }
        while self.used() + bytes > self.room() {
            if !self.chunks.evict() {
                return false;
            }
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn data(length: usize) -> Bytes {
        Bytes::from(vec![0; length])
    }

    #[test]
    fn clean_data_is_evicted_for_reads_and_writes() {
        let mut memory = Memory::new(100_000, 400_000);
        memory.keep(1, 0, data(100_000));
        memory.keep(1, 100_000, data(100_000));
        assert!(memory.reserve_read(150_000) && memory.reserve_dirty(50_000));
        assert!(memory.chunks.get(1, 0, 1).is_none() && memory.chunks.get(1, 100_000, 100_001).is_some());
    }

    #[test]
    fn writes_leave_a_quarter_to_reads_and_reads_ahead_leave_half_to_both() {
        let mut memory = Memory::new(1000, 4000);
        assert!(memory.reserve_dirty(1500) && !memory.reserve_dirty(1));
        assert!(memory.could_hold_dirty(1500) && !memory.could_hold_dirty(1501));
        assert!(!memory.reserve_read_ahead(1));
        assert!(memory.reserve_read(1000) && !memory.reserve_read(1));
        memory.release_read(1000);
        memory.release_dirty(1500);
        assert!(memory.reserve_read_ahead(2000) && !memory.reserve_read_ahead(1));
        assert_eq!(memory.used(), 2000);
    }

    #[test]
    fn clean_data_is_evicted_for_memory_used_elsewhere_down_to_half() {
        let mut memory = Memory::new(100_000, 400_000);
        (0..3).for_each(|chunk| memory.keep(1, chunk * 100_000, data(100_000)));
        memory.share_with(150_000);
        assert!(memory.used() <= 250_000 && memory.used() > 200_000);
        memory.share_with(u64::MAX);
        assert!(memory.used() <= 200_000 && memory.used() > 100_000);
        assert!(memory.reserve_read(300_000), "a READ alone always gets its memory");
        memory.release_read(300_000);
        assert!(!memory.could_hold_dirty(100_001));
        memory.share_with(0);
        assert!(memory.could_hold_dirty(100_001) && memory.reserve_dirty(100_001));
    }

    #[test]
    fn a_read_larger_than_the_limit_gets_its_memory() {
        let mut memory = Memory::new(1000, 100);
        assert!(memory.reserve_read(1000));
        memory.release_read(1000);
        assert_eq!(memory.used(), 0);
    }

    #[derive(Clone, Debug)]
    enum Operation {
        Read(u64, bool),
        Release,
        Write(u64),
        Clean,
        Keep(u64, usize),
    }

    fn operation() -> impl Strategy<Value = Operation> {
        prop_oneof![
            (1u64..3000, any::<bool>()).prop_map(|(bytes, ahead)| Operation::Read(bytes, ahead)),
            Just(Operation::Release),
            (1u64..1500).prop_map(Operation::Write),
            Just(Operation::Clean),
            (0u64..20, 1usize..=1000).prop_map(|(chunk, length)| Operation::Keep(chunk * 1000, length)),
        ]
    }

    proptest! {
        /// After any operations the limit holds, and reservations that were released are not counted.
        #[test]
        fn the_limit_holds(operations in proptest::collection::vec(operation(), 1..200)) {
            const LIMIT: u64 = 8000;
            let mut memory = Memory::new(1000, LIMIT);
            let (mut reads, mut writes) = (Vec::new(), Vec::new());
            for operation in operations {
                match operation {
                    Operation::Read(bytes, ahead) => {
                        let room = if ahead { memory.reserve_read_ahead(bytes) } else { memory.reserve_read(bytes) };
                        reads.extend(room.then_some(bytes));
                    }
                    Operation::Release => reads.pop().into_iter().for_each(|bytes| memory.release_read(bytes)),
                    Operation::Write(bytes) => writes.extend(memory.reserve_dirty(bytes).then_some(bytes)),
                    Operation::Clean => writes.pop().into_iter().for_each(|bytes| memory.release_dirty(bytes)),
                    Operation::Keep(offset, length) => memory.keep(1, offset, data(length)),
                }
                prop_assert!(memory.used() <= LIMIT);
                let awaited: u64 = reads.iter().sum::<u64>() + DIRTY_CHARGE * writes.iter().sum::<u64>();
                prop_assert_eq!(memory.used(), memory.chunks.used() + awaited);
            }
        }
    }
}
