//! Kernel WRITEs under way on a file. A plain value.
//!
//! The kernel may ask for data that it is writing at the same moment: it has dropped its pages because the file's
//! times had changed, while the WRITE with the new data is still on its way. A server that works on requests in
//! parallel may then answer the READ with the old data, and the kernel would keep that after the WRITE has ended. So
//! a READ waits for the WRITEs of its range that the kernel sent before it. A copy to a range counts as a WRITE of it.
//! A WRITE that becomes dirty at once is not listed: it has ended before the next request begins.
//!
//! Invariant: a WRITE is listed from before its first message is sent until the cached data of its range has been
//! dropped.

use std::ops::Range;

/// The kernel WRITEs of a file that are under way. The kernel bounds their number.
#[derive(Debug, Default)]
pub(super) struct InFlight {
    writes: Vec<(u64, Range<u64>)>,
}

impl InFlight {
    /// A WRITE of a range begins. Numbers increase in the order of the kernel's requests, over all files.
    pub(super) fn begin(&mut self, number: u64, range: Range<u64>) {
        self.writes.push((number, range));
    }

    pub(super) fn end(&mut self, number: u64) {
        self.writes.retain(|(other, _)| *other != number);
    }

    /// The number of the last WRITE under way; 0 if there is none.
    pub(super) fn latest(&self) -> u64 {
        self.writes.iter().map(|(number, _)| *number).max().unwrap_or(0)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.writes.is_empty()
    }

    /// Whether a WRITE of this range is under way.
    pub(super) fn touches(&self, range: &Range<u64>) -> bool {
        self.touches_until(u64::MAX, range)
    }

    /// Whether a WRITE of this range is under way that began no later than the WRITE `latest`.
    pub(super) fn touches_until(&self, latest: u64, range: &Range<u64>) -> bool {
        let overlaps = |other: &Range<u64>| other.start < range.end && range.start < other.end;
        self.writes.iter().any(|(number, other)| *number <= latest && overlaps(other))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_read_waits_for_the_writes_of_its_range_that_began_before_it() {
        let mut writes = InFlight::default();
        writes.begin(1, 100..200);
        writes.begin(2, 200..300);
        assert!(writes.touches(&(199..200)) && !writes.touches(&(0..100)));
        writes.begin(3, 150..160);
        assert!(writes.touches_until(2, &(150..160)));
        writes.end(1);
        assert!(!writes.touches_until(2, &(150..160)), "a read does not wait for a write that began after it");
        assert!(writes.touches(&(150..160)));
    }
}
