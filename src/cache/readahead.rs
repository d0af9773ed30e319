//! Read-ahead: which chunks to read before a program requests them, for the sequential readers of one open file.
//!
//! The kernel splits the reads of one sequential reader into several requests in flight, which may arrive out of order;
//! and a program may read a file at several places in turn. So a handle has a few streams, and a read belongs to the
//! stream whose position is nearest, within a limit.
//!
//! A stream reads ahead of its position by a window. The window starts small, doubles with each chunk that the reader
//! passes, up to a limit that the caller measures ([`super::pace`]), and is halved when memory is short. A stream that
//! is no longer read ends.
//!
//! Invariants: each chunk of a stream is requested ahead at most once (again only if there was no memory for it), none
//! beyond the end of the file, and none further ahead than the window. The number of streams is bounded.

use std::ops::Range;

/// A read within this distance of a stream's position belongs to the stream: the smaller of this many requests of the
/// same size, and this many bytes. The kernel has a few requests in flight at a time, each of 128 KiB unless its
/// read-ahead was raised. Small requests further apart than this come from a random reader.
const REORDERED_REQUESTS: u64 = 4;
const REORDERED_BYTES: u64 = 4 << 20;
/// Sequential reads after which a stream is read ahead; a first read at offset 0 counts. A single read says little:
/// many programs read the head of a file and nothing more.
const STREAM: u32 = 2;
/// Window of a new stream, in chunks.
const FIRST_WINDOW: u64 = 2;
/// Most streams of one handle: places at which a program may read the file in turn.
const STREAMS: usize = 4;
/// A stream ends after this many reads of the handle of which none was its own.
const PATIENCE: u64 = 16;

/// Distance behind a stream's position, in bytes, beyond which no overtaken request is expected: twice the kernel's
/// read-ahead, which `mount/serving.rs` raises to 4 MiB.
const LEFT_BEHIND: u64 = 8 << 20;

/// The sequential readers of one open file.
#[derive(Debug, Default)]
pub struct ReadAhead {
    streams: Vec<Stream>,
    /// Number of reads so far.
    clock: u64,
}

/// One sequential reader.
#[derive(Debug)]
struct Stream {
    /// The stream's name: the number of the read that began it.
    id: u64,
    /// The file offset up to which the reader has read.
    position: u64,
    /// Number of sequential reads in a row.
    run: u32,
    /// How far to read ahead of the position, in bytes.
    window: u64,
    /// The first chunk that was not requested ahead yet.
    next: u64,
    /// The first chunk that the reader has not passed.
    passed: u64,
    /// The first chunk of the stream that may still be cached; those before it were dropped.
    kept: u64,
    /// The number of its last read.
    used: u64,
}

/// The file's grid and size, and the limit of the window.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Terms {
    /// The size of a chunk, in bytes.
    pub chunk: u64,
    /// The size of the file, in bytes.
    pub size: u64,
    /// The largest window, in bytes.
    pub limit: u64,
}

/// What to do for a read. Chunks are given by index.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Advice {
    /// The stream that this read belongs to.
    pub stream: u64,
    /// Read whole chunks, not only the requested pages.
    pub whole: bool,
    /// Chunks to read ahead.
    pub ahead: Range<u64>,
    /// Chunks that were read to their end: first to be evicted.
    pub passed: Range<u64>,
    /// Chunks far behind the position, to be dropped. The kernel has their data; a copy here would evict data that is
    /// needed more.
    pub behind: Range<u64>,
    /// Streams that have ended: no reader waits for their reads ahead any more.
    pub over: Vec<u64>,
}

impl ReadAhead {
    /// Records that a program reads `length` bytes at `offset`, and returns what to do for it.
    pub fn observe(&mut self, offset: u64, length: u64, terms: Terms) -> Advice {
        self.clock += 1;
        let over = self.end_streams();
        let near = length.saturating_mul(REORDERED_REQUESTS).min(REORDERED_BYTES);
        let nearest = self.streams.iter_mut().filter(|stream| offset.abs_diff(stream.position) <= near);
        let Some(stream) = nearest.min_by_key(|stream| offset.abs_diff(stream.position)) else {
            let begun = Stream::begin(self.clock, offset, length, terms.chunk);
            return self.replace_oldest(begun, over);
        };
        stream.used = self.clock;
        stream.run = stream.run.saturating_add(1);
        stream.position = stream.position.max(offset.saturating_add(length));
        Advice { over, ..stream.advance(terms) }
    }

    /// Records that there was no memory for a chunk that `stream` wanted ahead: halves the window, and requests the
    /// chunk again later. `chunk_size` is in bytes.
    pub fn pressed(&mut self, stream: u64, chunk: u64, chunk_size: u64) {
        if let Some(stream) = self.streams.iter_mut().find(|candidate| candidate.id == stream) {
            stream.window = (stream.window / 2).max(chunk_size);
            stream.next = stream.next.min(chunk);
        }
    }

    /// Ends the streams that are no longer read.
    fn end_streams(&mut self) -> Vec<u64> {
        let clock = self.clock;
        let over = self.streams.extract_if(.., |stream| clock - stream.used > PATIENCE);
        over.map(|stream| stream.id).collect()
    }

    fn replace_oldest(&mut self, begun: Stream, mut over: Vec<u64>) -> Advice {
        if self.streams.len() == STREAMS
            && let Some(oldest) = (0..STREAMS).min_by_key(|index| self.streams[*index].used)
        {
            over.push(self.streams.swap_remove(oldest).id);
        }
        let stream = begun.id;
        self.streams.push(begun);
        Advice { stream, over, ..Advice::default() }
    }
}

impl Stream {
    fn begin(id: u64, offset: u64, length: u64, chunk: u64) -> Stream {
        let (position, index) = (offset.saturating_add(length), offset / chunk);
        let run = u32::from(offset == 0);
        Stream { id, position, run, window: FIRST_WINDOW * chunk, next: 0, passed: index, kept: index, used: id }
    }

    /// The advice for the stream's new position.
    fn advance(&mut self, Terms { chunk, size, limit }: Terms) -> Advice {
        let stream = self.id;
        if self.run < STREAM {
            return Advice { stream, ..Advice::default() };
        }
        let passed = self.passed..self.passed.max(self.position / chunk);
        self.passed = passed.end;
        for _ in passed.clone() {
            self.window = self.window.saturating_mul(2).min(limit);
        }
        // The reader already waits for the chunk that holds the last byte before its position: that chunk is not ahead.
        let first = (self.position.saturating_sub(1) / chunk + 1).max(self.next);
        let window = self.window.min(limit).max(chunk);
        let end = self.position.saturating_add(window).min(size).div_ceil(chunk);
        let ahead = first..first.max(end);
        self.next = self.next.max(ahead.end);
        let behind = self.kept..self.kept.max(self.position.saturating_sub(LEFT_BEHIND) / chunk);
        self.kept = behind.end;
        Advice { stream, whole: true, ahead, passed, behind, over: Vec::new() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHUNK: u64 = 1 << 20;
    const STEP: u64 = 128 << 10;
    const TERMS: Terms = Terms { chunk: CHUNK, size: 1 << 30, limit: 16 * CHUNK };

    /// The chunks read ahead for reads at these offsets.
    fn ahead(readers: &mut ReadAhead, offsets: impl IntoIterator<Item = u64>) -> Vec<u64> {
        offsets.into_iter().flat_map(|offset| readers.observe(offset, STEP, TERMS).ahead).collect()
    }

    #[test]
    fn the_second_sequential_read_makes_a_stream() {
        let mut readers = ReadAhead::default();
        assert!(!readers.observe(5 * STEP, STEP, TERMS).whole);
        assert!(!readers.observe(6 * STEP, STEP, TERMS).whole);
        let advice = readers.observe(7 * STEP, STEP, TERMS);
        assert!(advice.whole && !advice.ahead.is_empty());
    }

    #[test]
    fn a_reader_that_begins_at_the_head_is_a_stream_with_its_next_read() {
        let mut readers = ReadAhead::default();
        assert!(!readers.observe(0, STEP, TERMS).whole);
        assert_eq!(readers.observe(STEP, STEP, TERMS).ahead, 1..3);
    }

    #[test]
    fn the_window_doubles_up_to_its_limit() {
        let mut readers = ReadAhead::default();
        let mut depths = Vec::new();
        for index in 0..64 {
            let end = readers.observe(index * STEP, STEP, TERMS).ahead.end;
            if index % 8 == 7 {
                depths.push(end - (index + 1) * STEP / CHUNK);
            }
        }
        assert_eq!(depths, [4, 8, 16, 16, 16, 16, 16, 16]);
    }

    #[test]
    fn each_chunk_is_requested_once_and_none_beyond_the_end() {
        let mut readers = ReadAhead::default();
        let terms = Terms { size: 20 * CHUNK + 1, ..TERMS };
        let asked: Vec<u64> = (0..160).flat_map(|index| readers.observe(index * STEP, STEP, terms).ahead).collect();
        assert_eq!(asked, (1..=20).collect::<Vec<_>>());
    }

    #[test]
    fn a_stream_drops_each_chunk_once_and_far_behind_its_position() {
        let mut readers = ReadAhead::default();
        let (mut gone, mut passed) = (0, 0);
        for index in 0..256 {
            let advice = readers.observe(index * STEP, STEP, TERMS);
            if !advice.whole {
                continue;
            }
            assert_eq!((advice.behind.start, advice.passed.start), (gone, passed), "nothing twice, nothing left out");
            (gone, passed) = (advice.behind.end, advice.passed.end);
            assert!(passed * CHUNK <= (index + 1) * STEP);
            assert!(gone * CHUNK + LEFT_BEHIND <= (index + 1) * STEP || gone == 0);
        }
        assert_eq!((gone, passed), (24, 32), "of 32 chunks the last 8 are kept");
    }

    #[test]
    fn reads_that_arrive_out_of_order_are_still_sequential() {
        let mut readers = ReadAhead::default();
        let order = [1, 0, 2, 4, 3, 5, 6, 8, 7, 9, 10].map(|index| index * STEP);
        let asked = ahead(&mut readers, order);
        assert_eq!(asked, (1..=asked.len() as u64).collect::<Vec<_>>(), "no chunk is requested twice");
    }

    #[test]
    fn two_readers_in_turn_are_two_streams() {
        let mut readers = ReadAhead::default();
        let far = 500 * CHUNK;
        let asked = ahead(&mut readers, (0..16).flat_map(|index| [index * STEP, far + index * STEP]));
        let (near, far): (Vec<u64>, Vec<u64>) = asked.into_iter().partition(|chunk| *chunk < 500);
        assert_eq!(near, (1..=far.len() as u64).collect::<Vec<_>>());
        assert_eq!(far, (501..=500 + near.len() as u64).collect::<Vec<_>>());
        assert!(near.len() >= 8);
    }

    #[test]
    fn random_reads_cause_no_read_ahead() {
        let mut readers = ReadAhead::default();
        for offset in [50 << 20, 3 << 20, (3 << 20) + 100_000, (3 << 20) + 50_000, 90 << 20] {
            let advice = readers.observe(offset, 4096, TERMS);
            assert!(!advice.whole && advice.ahead.is_empty() && advice.behind.is_empty());
        }
        for index in 0..1000u64 {
            let offset = index.wrapping_mul(0x9e37_79b9_7f4a_7c15) % (1 << 30) / 4096 * 4096;
            assert!(readers.observe(offset, 4096, TERMS).ahead.is_empty());
            assert!(readers.streams.len() <= STREAMS);
        }
    }

    #[test]
    fn after_a_seek_the_old_stream_ends() {
        let mut readers = ReadAhead::default();
        readers.observe(0, STEP, TERMS);
        let first = readers.observe(STEP, STEP, TERMS).stream;
        let over: Vec<u64> =
            (0..2 * PATIENCE).flat_map(|index| readers.observe(100 * CHUNK + index * STEP, STEP, TERMS).over).collect();
        assert_eq!(over, [first]);
        assert!(!readers.observe(2 * STEP, STEP, TERMS).whole, "the ended stream begins again");
    }

    #[test]
    fn short_memory_halves_the_window_and_the_chunk_is_requested_again() {
        let mut readers = ReadAhead::default();
        ahead(&mut readers, (0..32).map(|index| index * STEP));
        let advice = readers.observe(32 * STEP, STEP, TERMS);
        let before = readers.streams[0].window;
        readers.pressed(advice.stream, 5, CHUNK);
        assert_eq!(readers.streams[0].window, before / 2);
        assert_eq!(readers.observe(33 * STEP, STEP, TERMS).ahead, 5..13);
    }
}
