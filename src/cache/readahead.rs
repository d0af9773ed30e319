//! What to read before it is asked for: the sequential readers of one open file.
//!
//! The kernel sends the reads of one sequential reader in several requests at a time, and they may
//! arrive out of order; a program may read a file at several places in turn. So a handle has a few
//! streams, and a read belongs to the one whose position it is near to, not only exactly at.
//!
//! A stream reads ahead of its position by a window that begins small, doubles with each chunk that
//! the reader goes through, up to a limit that the caller measures ([`super::pace`]), and is halved
//! when memory is short. A stream that is read no more is told to stop.
//!
//! Invariants: each chunk of a stream is asked for ahead at most once, none beyond the file's end and
//! none further ahead than the window; the number of streams is bounded.

use std::ops::Range;

/// Reads this close to the expected position belong to the same stream, in requests of the same
/// size, and in bytes. A few of the kernel's requests are on their way at a time, each 128 KiB long
/// unless its read-ahead was raised; small requests this far apart are those of a random reader.
const REORDERED_REQUESTS: u64 = 4;
const REORDERED_BYTES: u64 = 4 << 20;
/// So many sequential reads make a stream, the first at the head of the file counted. One alone says
/// little: many programs look at the head of a file and go.
const STREAM: u32 = 2;
/// The window that a stream begins with, in chunks.
const FIRST_WINDOW: u64 = 2;
/// Places at which a program may read one file in turn.
const STREAMS: usize = 4;
/// A stream that had none of so many reads is over.
const PATIENCE: u64 = 16;

/// What lies so far behind a stream will not be asked for again by requests that were overtaken, in
/// bytes: twice what the kernel reads ahead.
const LEFT_BEHIND: u64 = 8 << 20;

/// The sequential readers of one open file.
#[derive(Debug, Default)]
pub struct ReadAhead {
    streams: Vec<Stream>,
    /// Reads so far.
    clock: u64,
}

/// One sequential reader.
#[derive(Debug)]
struct Stream {
    /// The read that began it, which names it.
    id: u64,
    /// Where the reader has come to.
    position: u64,
    /// Sequential reads in a row.
    run: u32,
    /// How far ahead of the position is read, in bytes.
    window: u64,
    /// The first chunk that was not asked for ahead.
    next: u64,
    /// The first chunk that the reader has not gone through.
    passed: u64,
    /// The first chunk of the stream that was not let go yet.
    kept: u64,
    /// When it had its last read.
    used: u64,
}

/// The file and what may be in flight for it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Terms {
    /// The size of a chunk, in bytes.
    pub chunk: u64,
    /// The size of the file, in bytes.
    pub size: u64,
    /// The largest window, in bytes.
    pub limit: u64,
}

/// What to read for a request. Chunks are given by their indices.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Advice {
    /// The stream that this read belongs to.
    pub stream: u64,
    /// Whole chunks, not only what was asked for.
    pub whole: bool,
    /// To be read ahead.
    pub ahead: Range<u64>,
    /// Read to their end: they go first when room is needed.
    pub passed: Range<u64>,
    /// Left far behind. The kernel has their data; a copy here would push out what is wanted more.
    pub behind: Range<u64>,
    /// Streams whose reads ahead nobody waits for any more.
    pub over: Vec<u64>,
}

impl ReadAhead {
    /// A program asks for `length` bytes at `offset`.
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

    /// There was no room for a chunk that a stream wanted ahead: it asks for less, and again for this.
    pub fn pressed(&mut self, stream: u64, chunk: u64, chunk_size: u64) {
        if let Some(stream) = self.streams.iter_mut().find(|candidate| candidate.id == stream) {
            stream.window = (stream.window / 2).max(chunk_size);
            stream.next = stream.next.min(chunk);
        }
    }

    /// Ends the streams that are read no more.
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

    /// The stream has come to its position: what follows from that.
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
        // The reader waits for the chunk he is in, so that is not ahead.
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

    /// What is read ahead for each of these offsets.
    fn ahead(readers: &mut ReadAhead, offsets: impl IntoIterator<Item = u64>) -> Vec<u64> {
        offsets.into_iter().flat_map(|offset| readers.observe(offset, STEP, TERMS).ahead).collect()
    }

    #[test]
    fn the_second_read_that_goes_on_makes_a_stream() {
        let mut readers = ReadAhead::default();
        assert!(!readers.observe(5 * STEP, STEP, TERMS).whole);
        assert!(!readers.observe(6 * STEP, STEP, TERMS).whole);
        let advice = readers.observe(7 * STEP, STEP, TERMS);
        assert!(advice.whole && !advice.ahead.is_empty());
    }

    #[test]
    fn whoever_begins_at_the_head_is_a_stream_with_the_next_read() {
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
    fn each_chunk_is_asked_for_once_and_none_beyond_the_end() {
        let mut readers = ReadAhead::default();
        let terms = Terms { size: 20 * CHUNK + 1, ..TERMS };
        let asked: Vec<u64> = (0..160).flat_map(|index| readers.observe(index * STEP, STEP, terms).ahead).collect();
        assert_eq!(asked, (1..=20).collect::<Vec<_>>());
    }

    #[test]
    fn a_stream_lets_go_of_each_chunk_once_and_well_behind_itself() {
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
        assert_eq!(asked, (1..=asked.len() as u64).collect::<Vec<_>>(), "and nothing is asked for twice");
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
    fn random_reads_ask_for_nothing_more() {
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
    fn after_a_seek_the_stream_that_was_left_is_over() {
        let mut readers = ReadAhead::default();
        readers.observe(0, STEP, TERMS);
        let first = readers.observe(STEP, STEP, TERMS).stream;
        let over: Vec<u64> =
            (0..2 * PATIENCE).flat_map(|index| readers.observe(100 * CHUNK + index * STEP, STEP, TERMS).over).collect();
        assert_eq!(over, [first]);
        assert!(!readers.observe(2 * STEP, STEP, TERMS).whole, "it has to prove itself again");
    }

    #[test]
    fn short_memory_halves_the_window_and_the_chunk_is_asked_for_again() {
        let mut readers = ReadAhead::default();
        ahead(&mut readers, (0..32).map(|index| index * STEP));
        let advice = readers.observe(32 * STEP, STEP, TERMS);
        let before = readers.streams[0].window;
        readers.pressed(advice.stream, 5, CHUNK);
        assert_eq!(readers.streams[0].window, before / 2);
        assert_eq!(readers.observe(33 * STEP, STEP, TERMS).ahead, 5..13);
    }
}
