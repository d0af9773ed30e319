//! The memory of the cache under one limit: what is kept, what is dirty, and what is in flight.
//!
//! Clean data gives way to the rest. READs that somebody waits for, READs ahead and writes each find
//! room or not; who finds none waits until something lands, or does without.
//!
//! Invariant: clean, dirty and in-flight bytes together never exceed the limit.

use super::chunks::{ChunkMap, FileKey};
use bytes::Bytes;

/// What a dirty byte is charged: while it waits to be sent, for the room that its extent has to grow; and in flight, for
/// the copy of it in the frame that is signed or encrypted.
const DIRTY_CHARGE: u64 = 2;

/// The memory of a cache.
#[derive(Debug)]
pub struct Memory {
    limit: u64,
    /// The charge of bytes that were written by programs, and that the server has not confirmed yet.
    dirty: u64,
    /// Bytes that READs under way will bring.
    flying: u64,
    /// Bytes that are in use elsewhere, no more than half of the limit.
    elsewhere: u64,
    /// What is kept.
    pub chunks: ChunkMap,
}

impl Memory {
    /// Empty, with chunks of `chunk` bytes and room for `limit` bytes.
    pub fn new(chunk: u32, limit: u64) -> Memory {
        Memory { limit, dirty: 0, flying: 0, elsewhere: 0, chunks: ChunkMap::new(chunk, limit) }
    }

    /// All that is in use, in bytes.
    pub fn used(&self) -> u64 {
        self.chunks.used() + self.dirty + self.flying
    }

    /// Dirty bytes, without what they are charged beyond their number.
    pub fn dirty(&self) -> u64 {
        self.dirty / DIRTY_CHARGE
    }

    /// So many bytes are in use elsewhere in the process: clean data gives way to them, down to half of the limit.
    pub fn share_with(&mut self, bytes: u64) {
        self.elsewhere = bytes.min(self.limit / 2);
        while self.used() > self.room() && self.chunks.evict() {}
    }

    /// What there is room for here.
    fn room(&self) -> u64 {
        self.limit - self.elsewhere
    }

    /// A READ begins that somebody waits for: whether there is room. One READ alone always has it, so
    /// that a small limit makes things slow rather than impossible.
    #[must_use]
    pub fn take_off(&mut self, bytes: u64) -> bool {
        let bytes = self.bounded(bytes);
        self.make_room(bytes) && {
            self.flying += bytes;
            true
        }
    }

    /// A READ begins that nobody waits for yet: whether there is room, with half of the limit left to
    /// others.
    #[must_use]
    pub fn take_off_ahead(&mut self, bytes: u64) -> bool {
        self.flying + self.dirty + bytes <= self.limit / 2 && self.take_off(bytes)
    }

    /// A READ of so many bytes has ended.
    pub fn land(&mut self, bytes: u64) {
        self.flying = self.flying.saturating_sub(self.bounded(bytes));
    }

    /// What one READ counts for: no more than half of the limit, so that each finds room in the end.
    fn bounded(&self, bytes: u64) -> u64 {
        bytes.min(self.limit / 2)
    }

    /// Whether there can ever be room for a write of so many bytes.
    pub fn could_hold_dirty(&self, bytes: u64) -> bool {
        bytes.saturating_mul(DIRTY_CHARGE) <= self.dirty_limit().min(self.room())
    }

    /// Writes leave a quarter of the limit to reads.
    fn dirty_limit(&self) -> u64 {
        self.limit - self.limit / 4
    }

    /// A program writes: whether there is room for it.
    #[must_use]
    pub fn reserve_dirty(&mut self, bytes: u64) -> bool {
        let bytes = bytes.saturating_mul(DIRTY_CHARGE);
        self.dirty + bytes <= self.dirty_limit() && self.make_room(bytes) && {
            self.dirty += bytes;
            true
        }
    }

    /// So many bytes are no longer dirty.
    pub fn release_dirty(&mut self, bytes: u64) {
        self.dirty = self.dirty.saturating_sub(bytes.saturating_mul(DIRTY_CHARGE));
    }

    /// Keeps clean bytes that lie within one chunk, if there is room.
    pub fn keep(&mut self, file: FileKey, offset: u64, data: Bytes) {
        if self.make_room(ChunkMap::most(offset, &data)) {
            self.chunks.insert(file, offset, data);
        }
    }

    /// Lets go of clean data until so many bytes are free; whether they are.
    fn make_room(&mut self, bytes: u64) -> bool {
        // Nothing is given up for what will not fit anyway.
        if self.dirty + self.flying + bytes > self.room() {
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
    fn clean_data_gives_way_to_what_is_needed_now() {
        let mut memory = Memory::new(100_000, 400_000);
        memory.keep(1, 0, data(100_000));
        memory.keep(1, 100_000, data(100_000));
        assert!(memory.take_off(150_000) && memory.reserve_dirty(50_000));
        assert!(memory.chunks.get(1, 0, 1).is_none() && memory.chunks.get(1, 100_000, 100_001).is_some());
    }

    #[test]
    fn writes_leave_a_quarter_to_reads_and_reads_ahead_leave_half_to_both() {
        let mut memory = Memory::new(1000, 4000);
        assert!(memory.reserve_dirty(1500) && !memory.reserve_dirty(1));
        assert!(memory.could_hold_dirty(1500) && !memory.could_hold_dirty(1501));
        assert!(!memory.take_off_ahead(1));
        assert!(memory.take_off(1000) && !memory.take_off(1));
        memory.land(1000);
        memory.release_dirty(1500);
        assert!(memory.take_off_ahead(2000) && !memory.take_off_ahead(1));
        assert_eq!(memory.used(), 2000);
    }

    #[test]
    fn clean_data_gives_way_to_what_is_in_use_elsewhere_but_for_half() {
        let mut memory = Memory::new(100_000, 400_000);
        (0..3).for_each(|chunk| memory.keep(1, chunk * 100_000, data(100_000)));
        memory.share_with(150_000);
        assert!(memory.used() <= 250_000 && memory.used() > 200_000);
        memory.share_with(u64::MAX);
        assert!(memory.used() <= 200_000 && memory.used() > 100_000);
        assert!(memory.take_off(300_000), "a READ alone has its turn");
        memory.land(300_000);
        assert!(!memory.could_hold_dirty(100_001));
        memory.share_with(0);
        assert!(memory.could_hold_dirty(100_001) && memory.reserve_dirty(100_001));
    }

    #[test]
    fn a_read_larger_than_the_limit_has_its_turn() {
        let mut memory = Memory::new(1000, 100);
        assert!(memory.take_off(1000));
        memory.land(1000);
        assert_eq!(memory.used(), 0);
    }

    #[derive(Clone, Debug)]
    enum Operation {
        Read(u64, bool),
        Land,
        Write(u64),
        Clean,
        Keep(u64, usize),
    }

    fn operation() -> impl Strategy<Value = Operation> {
        prop_oneof![
            (1u64..3000, any::<bool>()).prop_map(|(bytes, ahead)| Operation::Read(bytes, ahead)),
            Just(Operation::Land),
            (1u64..1500).prop_map(Operation::Write),
            Just(Operation::Clean),
            (0u64..20, 1usize..=1000).prop_map(|(chunk, length)| Operation::Keep(chunk * 1000, length)),
        ]
    }

    proptest! {
        /// Whatever happens, the limit holds, and what has ended is not counted.
        #[test]
        fn the_limit_holds(operations in proptest::collection::vec(operation(), 1..200)) {
            const LIMIT: u64 = 8000;
            let mut memory = Memory::new(1000, LIMIT);
            let (mut reads, mut writes) = (Vec::new(), Vec::new());
            for operation in operations {
                match operation {
                    Operation::Read(bytes, ahead) => {
                        let room = if ahead { memory.take_off_ahead(bytes) } else { memory.take_off(bytes) };
                        reads.extend(room.then_some(bytes));
                    }
                    Operation::Land => reads.pop().into_iter().for_each(|bytes| memory.land(bytes)),
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
