//! Tells a sequential reader from a random one.
//!
//! The kernel sends the reads of one sequential reader in several requests at a time, and they may
//! arrive out of order; so a read counts as sequential when it lies near to where the reader has come
//! to, not only exactly there.

use std::ops::Range;

/// Reads this close to the expected position belong to the same stream, in requests of the same
/// size, and in bytes. A few of the kernel's requests are on their way at a time, each 128 KiB long
/// unless its read-ahead was raised; small requests this far apart are those of a random reader.
const REORDERED_REQUESTS: u64 = 4;
const REORDERED_BYTES: u64 = 1 << 20;
/// So many sequential reads make a stream. One alone says little: many programs look at the head of
/// a file and go.
const STREAM: u32 = 2;

/// What lies so far behind a stream will not be asked for again by requests that were overtaken, in
/// bytes: twice what the kernel reads ahead.
const LEFT_BEHIND: u64 = 8 << 20;

/// What one reader of a file has read so far.
#[derive(Debug, Default)]
pub struct Stream {
    /// Where the reader has come to.
    position: u64,
    /// Sequential reads in a row.
    run: u32,
    /// The last chunk that was fetched ahead.
    ahead: Option<u64>,
    /// The first chunk of the stream that was not let go yet.
    kept: u64,
}

/// What to read for a request.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Advice {
    /// Whole chunks, not only what was asked for.
    pub whole: bool,
    /// The index of a chunk that will be wanted soon.
    pub ahead: Option<u64>,
    /// The indices of chunks that the stream has left behind. The kernel has their data; a copy here
    /// would push out what is wanted more.
    pub behind: Range<u64>,
}

impl Stream {
    /// The reader asks for `length` bytes at `offset`, of a file cut into chunks of `chunk` bytes.
    pub fn observe(&mut self, offset: u64, length: u64, chunk: u64) -> Advice {
        let end = offset.saturating_add(length);
        let near = length.saturating_mul(REORDERED_REQUESTS).min(REORDERED_BYTES);
        if offset.abs_diff(self.position) <= near {
            self.run = self.run.saturating_add(1);
            self.position = self.position.max(end);
        } else {
            *self = Stream { position: end, run: 0, ahead: None, kept: offset / chunk };
        }
        if self.run < STREAM {
            return Advice { whole: false, ahead: None, behind: 0..0 };
        }
        let next = self.position.saturating_sub(1) / chunk + 1;
        let ahead = (self.ahead < Some(next)).then_some(next);
        self.ahead = self.ahead.max(ahead);
        let behind = self.kept..self.kept.max(self.position.saturating_sub(LEFT_BEHIND) / chunk);
        self.kept = behind.end;
        Advice { whole: true, ahead, behind }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHUNK: u64 = 1 << 20;
    const STEP: u64 = 128 << 10;

    #[test]
    fn the_second_sequential_read_makes_a_stream() {
        let mut stream = Stream::default();
        assert_eq!(stream.observe(0, STEP, CHUNK), Advice { whole: false, ahead: None, behind: 0..0 });
        assert_eq!(stream.observe(STEP, STEP, CHUNK), Advice { whole: true, ahead: Some(1), behind: 0..0 });
    }

    #[test]
    fn each_chunk_is_fetched_ahead_once() {
        let mut stream = Stream::default();
        let ahead: Vec<u64> = (0..24).filter_map(|index| stream.observe(index * STEP, STEP, CHUNK).ahead).collect();
        assert_eq!(ahead, [1, 2, 3]);
    }

    #[test]
    fn a_stream_lets_go_of_each_chunk_once_and_well_behind_itself() {
        let mut stream = Stream::default();
        let mut gone = 0;
        for index in 0..256 {
            let behind = stream.observe(index * STEP, STEP, CHUNK).behind;
            assert_eq!(behind.start, gone, "nothing is left out, nothing comes twice");
            gone = behind.end;
            assert!(gone * CHUNK + LEFT_BEHIND <= (index + 1) * STEP || gone == 0);
        }
        assert_eq!(gone, 24, "of 32 chunks the last 8 are kept");
    }

    #[test]
    fn reads_that_arrive_out_of_order_are_still_sequential() {
        let mut stream = Stream::default();
        for index in [1, 0, 2, 4, 3] {
            stream.observe(index * STEP, STEP, CHUNK);
        }
        assert!(stream.observe(5 * STEP, STEP, CHUNK).whole);
    }

    #[test]
    fn random_reads_ask_for_nothing_more() {
        let mut stream = Stream::default();
        for offset in [50 << 20, 3 << 20, (3 << 20) + 100_000, (3 << 20) + 50_000, 90 << 20] {
            assert_eq!(stream.observe(offset, 4096, CHUNK), Advice { whole: false, ahead: None, behind: 0..0 });
        }
    }

    #[test]
    fn a_seek_ends_the_stream_and_a_new_one_can_begin() {
        let mut stream = Stream::default();
        stream.observe(0, STEP, CHUNK);
        stream.observe(STEP, STEP, CHUNK);
        assert!(!stream.observe(100 << 20, STEP, CHUNK).whole);
        stream.observe((100 << 20) + STEP, STEP, CHUNK);
        assert!(stream.observe((100 << 20) + 2 * STEP, STEP, CHUNK).whole);
    }
}
