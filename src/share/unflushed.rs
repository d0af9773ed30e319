//! Checksums of data that the server has acknowledged and not flushed: a plain value without I/O.
//!
//! A server that loses its power loses unflushed data, and does not say so when it is back.
//! [`fsync`](super::Files::flush) finds out with these checksums: it reads the ranges back and compares.
//!
//! The unit is the page of 4 KiB, in which servers cache and write files. For each page the last written range is
//! kept, together with earlier writes that it continues without a gap. If that range is there, the page reached the
//! disk with everything that was written to it before.
//!
//! Invariant: [`Unflushed::flushed`] drops only data that was recorded before the FLUSH was sent, or whose WRITE
//! preceded the FLUSH in the same compound.

use crc32fast::{Hasher, hash};
use std::collections::BTreeMap;
use std::ops::Range;

/// Size of a page, in bytes.
pub(super) const PAGE: u64 = 4096;
/// Pages per group. A group is one entry of the map.
const PAGES: usize = 16;
/// The maximum number of groups of one file: 2 GiB of sequential writes, 5 MiB of memory. A file that reaches it is
/// flushed.
const MOST: usize = 32 * 1024;
/// Ranges with a gap of up to this many bytes between them are read back in one READ.
const GAP: u64 = 64 * 1024;

/// What was last written to one page. With an empty range nothing is known of the page.
#[derive(Clone, Copy, Default, Debug)]
struct Piece {
    /// Offsets within the page, in bytes.
    start: u16,
    end: u16,
    checksum: u32,
}

impl Piece {
    /// The piece of a page after one more write. A write that continues where the last one ended forms one piece with
    /// it: a server that was restarted in between may have the second part and not the first.
    fn followed_by(self, next: Piece) -> Piece {
        if self.start == self.end || self.end != next.start {
            return next;
        }
        let sum = |piece: Piece| Hasher::new_with_initial_len(piece.checksum, u64::from(piece.end - piece.start));
        let mut both = sum(self);
        both.combine(&sum(next));
        Piece { start: self.start, end: next.end, checksum: both.finalize() }
    }
}

#[derive(Default, Debug)]
struct Group {
    /// The generation of its youngest page.
    generation: u64,
    pieces: [Piece; PAGES],
}

/// The acknowledged and unflushed data of one file.
#[derive(Default, Debug)]
pub(super) struct Unflushed {
    groups: BTreeMap<u64, Group>,
    /// Incremented by each FLUSH that is sent.
    generation: u64,
    /// The generation of the youngest range that the server copied (copy_file_range(2)). Such ranges have no checksum.
    copied: Option<u64>,
}

/// The checksums of one WRITE, computed outside of any lock.
#[derive(Debug)]
pub(super) struct Checksums(Vec<(u64, Piece)>);

impl Checksums {
    /// The checksums of `data` at `offset` of the file.
    pub(super) fn of(offset: u64, data: &[u8]) -> Checksums {
        let mut pieces = Vec::with_capacity(data.len() / PAGE as usize + 2);
        let mut rest = data;
        let mut at = offset;
        while !rest.is_empty() {
            let start = at % PAGE;
            let (piece, left) = rest.split_at(rest.len().min((PAGE - start) as usize));
            let (from, until) = (start as u16, start as u16 + piece.len() as u16);
            pieces.push((at / PAGE, Piece { start: from, end: until, checksum: hash(piece) }));
            at += piece.len() as u64;
            rest = left;
        }
        Checksums(pieces)
    }
}

impl Unflushed {
    /// The server has acknowledged a WRITE. With a mark, the WRITE preceded the FLUSH of that mark in one compound.
    pub(super) fn wrote(&mut self, sums: Checksums, mark: Option<u64>) {
        for (page, piece) in sums.0 {
            let group = self.groups.entry(page / PAGES as u64).or_default();
            group.generation = group.generation.max(mark.unwrap_or(self.generation));
            let last = &mut group.pieces[(page % PAGES as u64) as usize];
            *last = last.followed_by(piece);
        }
    }

    /// The server has copied data into the file.
    pub(super) fn copied(&mut self) {
        self.copied = Some(self.generation);
    }

    /// The server has set the size: what was written beyond it is gone. Nothing is known any more of a page whose last
    /// range is cut.
    pub(super) fn cut(&mut self, size: u64) {
        let mut beyond = self.groups.split_off(&(size / PAGE / PAGES as u64));
        if let Some((index, mut group)) = beyond.pop_first() {
            for (number, piece) in group.pieces.iter_mut().enumerate() {
                let page = index * PAGES as u64 + number as u64;
                if page * PAGE + u64::from(piece.end) > size {
                    *piece = Piece::default();
                }
            }
            self.groups.insert(index, group);
        }
    }

    /// A FLUSH is about to be sent. The returned mark is for [`Unflushed::flushed`].
    pub(super) fn begin_flush(&mut self) -> u64 {
        self.generation += 1;
        self.generation - 1
    }

    /// The server has answered the FLUSH of this mark.
    pub(super) fn flushed(&mut self, mark: u64) {
        self.groups.retain(|_, group| group.generation > mark);
        self.copied = self.copied.filter(|generation| *generation > mark);
    }

    /// The number of groups of checksums. Ranges that the server copied (copy_file_range(2)) have none.
    pub(super) fn groups(&self) -> usize {
        self.groups.len()
    }

    /// Whether everything is flushed.
    pub(super) fn is_empty(&self) -> bool {
        self.groups.is_empty() && self.copied.is_none()
    }

    /// Whether the file has to be flushed, because no more checksums are kept.
    pub(super) fn is_full(&self) -> bool {
        self.groups.len() >= MOST
    }

    /// Whether a part of the unflushed data has no checksum.
    pub(super) fn has_copied(&self) -> bool {
        self.copied.is_some()
    }

    /// The ranges to read back, each of at most `longest` bytes unless a single piece is longer.
    pub(super) fn ranges(&self, longest: u64) -> Vec<Range<u64>> {
        let mut ranges: Vec<Range<u64>> = Vec::new();
        for (_, range) in self.pieces(0..u64::MAX) {
            match ranges.last_mut() {
                Some(last) if range.start <= last.end + GAP && range.end - last.start <= longest => {
                    last.end = range.end.max(last.end);
                }
                _ => ranges.push(range),
            }
        }
        ranges
    }

    /// Whether `data`, read from the beginning of `range`, holds all pieces that begin in `range`. `None` if no piece
    /// does.
    pub(super) fn agrees(&self, range: Range<u64>, data: &[u8]) -> Option<bool> {
        let mut any = false;
        let origin = range.start;
        for (piece, place) in self.pieces(range) {
            any = true;
            let bytes = data.get((place.start - origin) as usize..(place.end - origin) as usize);
            if bytes.is_none_or(|bytes| hash(bytes) != piece.checksum) {
                return Some(false);
            }
        }
        any.then_some(true)
    }

    /// Whether a page holds what was last written to it; `data` is the beginning of the page. `None` if nothing is
    /// known of the page, or `data` is too short.
    pub(super) fn page_agrees(&self, page: u64, data: &[u8]) -> Option<bool> {
        let origin = page * PAGE;
        let (piece, place) = self.pieces(origin..origin + PAGE).next()?;
        let bytes = data.get((place.start - origin) as usize..(place.end - origin) as usize)?;
        Some(hash(bytes) == piece.checksum)
    }

    /// The pieces that begin in a range, in the order of the file, each with its range in the file.
    fn pieces(&self, range: Range<u64>) -> impl Iterator<Item = (Piece, Range<u64>)> {
        let first = range.start / PAGE / PAGES as u64;
        self.groups.range(first..).take_while(move |(index, _)| **index * PAGES as u64 * PAGE < range.end).flat_map(
            move |(index, group)| {
                let range = range.clone();
                group.pieces.iter().enumerate().filter_map(move |(number, piece)| {
                    let page = (index * PAGES as u64 + number as u64) * PAGE;
                    let place = page + u64::from(piece.start)..page + u64::from(piece.end);
                    (place.start < place.end && range.contains(&place.start)).then_some((*piece, place))
                })
            },
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn written(writes: &[(u64, &[u8])]) -> Unflushed {
        let mut unflushed = Unflushed::default();
        writes.iter().for_each(|(offset, data)| unflushed.wrote(Checksums::of(*offset, data), None));
        unflushed
    }

    #[test]
    fn only_the_written_data_agrees_with_its_checksums() {
        let data = vec![7; 10_000];
        let unflushed = written(&[(100, &data)]);
        assert_eq!(unflushed.ranges(1 << 20), vec![100..10_100]);
        assert_eq!(unflushed.agrees(100..10_100, &data), Some(true));
        assert_eq!(unflushed.agrees(100..10_100, &data[..9_999]), Some(false), "the file is shorter");
        let mut lost = data.clone();
        lost[9_000] = 0;
        assert_eq!(unflushed.agrees(100..10_100, &lost), Some(false));
        assert_eq!(unflushed.agrees(20_000..30_000, &data), None);
    }

    #[test]
    fn appended_data_forms_one_piece_with_the_data_before_it() {
        let unflushed = written(&[(10, b"before "), (17, b"the loss, "), (27, b"and after")]);
        assert_eq!(unflushed.ranges(1 << 20), vec![10..36]);
        assert_eq!(unflushed.agrees(10..36, b"before the loss, and after"), Some(true));
        assert_eq!(unflushed.agrees(10..36, b"\0\0\0\0\0\0\0the loss, and after"), Some(false));
    }

    #[test]
    fn a_page_agrees_with_what_was_written_to_it_last() {
        let unflushed = written(&[(0, &[1; 4096]), (4096 + 100, &[2; 50])]);
        assert_eq!(unflushed.page_agrees(0, &[1; 4096]), Some(true));
        assert_eq!(unflushed.page_agrees(0, &[3; 4096]), Some(false));
        assert_eq!(unflushed.page_agrees(0, &[1; 100]), None, "the data ends before");
        assert_eq!(unflushed.page_agrees(1, &[2; 150]), Some(true));
        assert_eq!(unflushed.page_agrees(2, &[0; 4096]), None);
    }

    #[test]
    fn a_flush_covers_what_was_written_before_it_was_sent() {
        let mut unflushed = written(&[(0, b"before"), (1 << 20, b"far")]);
        let mark = unflushed.begin_flush();
        unflushed.wrote(Checksums::of(1 << 30, b"after"), None);
        unflushed.wrote(Checksums::of(2 << 30, b"along"), Some(mark));
        unflushed.wrote(Checksums::of(0, b"again"), None);
        unflushed.flushed(mark);
        assert_eq!(unflushed.ranges(1 << 20), [0..5, (1 << 30)..(1 << 30) + 5]);
        let mark = unflushed.begin_flush();
        unflushed.flushed(mark);
        assert!(unflushed.is_empty());
    }

    #[test]
    fn what_the_server_copied_has_no_checksum_until_it_is_flushed() {
        let mut unflushed = Unflushed::default();
        unflushed.copied();
        assert!(unflushed.has_copied() && !unflushed.is_empty());
        let mark = unflushed.begin_flush();
        unflushed.flushed(mark);
        assert!(unflushed.is_empty());
    }

    #[test]
    fn data_that_was_cut_off_is_not_read_back() {
        let mut unflushed = written(&[(0, &[1; 300_000])]);
        unflushed.cut(5000);
        assert_eq!(unflushed.ranges(1 << 20), vec![0..4096], "nothing is known of the page that was cut");
        unflushed.cut(0);
        assert!(unflushed.ranges(1 << 20).is_empty());
    }

    #[test]
    fn ranges_are_no_longer_than_a_read() {
        let unflushed = written(&[(10, &[1; 300_000]), (5 << 20, &[1; 10])]);
        let ranges = unflushed.ranges(100_000);
        assert!(ranges.iter().all(|range| range.end - range.start <= 100_000));
        assert_eq!((ranges[0].start, ranges[ranges.len() - 1].clone()), (10, (5 << 20)..(5 << 20) + 10));
        assert_eq!(ranges.iter().map(|range| range.end - range.start).sum::<u64>(), 300_010);
    }

    #[test]
    fn the_number_of_groups_is_bounded() {
        let mut unflushed = Unflushed::default();
        for index in 0..MOST as u64 {
            assert!(!unflushed.is_full());
            unflushed.wrote(Checksums::of(index * PAGES as u64 * PAGE, b"x"), None);
        }
        assert!(unflushed.is_full());
    }

    proptest! {
        #[test]
        fn a_file_that_has_every_write_agrees(
            writes in prop::collection::vec((0..40_000u64, prop::collection::vec(any::<u8>(), 1..9_000)), 1..12),
        ) {
            let (mut unflushed, mut file) = (Unflushed::default(), vec![0; 50_000]);
            for (offset, data) in &writes {
                unflushed.wrote(Checksums::of(*offset, data), None);
                file[*offset as usize..*offset as usize + data.len()].copy_from_slice(data);
            }
            for range in unflushed.ranges(16_384) {
                let data = &file[range.start as usize..range.end as usize];
                prop_assert_eq!(unflushed.agrees(range, data), Some(true));
            }
            let (offset, data) = &writes[writes.len() - 1];
            file[*offset as usize] ^= data[0] ^ data[0].wrapping_add(1);
            let wrong = unflushed.ranges(16_384).into_iter().any(|range| {
                let data = &file[range.start as usize..range.end as usize];
                unflushed.agrees(range.clone(), data) == Some(false)
            });
            prop_assert!(wrong, "the last WRITE is missing and no range shows it");
        }
    }
}
