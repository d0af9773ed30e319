//! Whether files on the server can share blocks, and which part of a copy can be shared: a plain value.

use crate::wire::messages::ioctl::CopyRange;

/// The smallest block size, in bytes. Servers do not always report the real size; no file system that shares blocks
/// has smaller ones.
const SMALLEST_BLOCK: u32 = 4096;
/// The most that one request shares, in bytes, so that it ends in time however scattered the file's blocks are.
/// Windows accepts less than 4 GiB (MS-FSCC 2.3.8).
const LONGEST: u32 = 256 << 20;

/// What is known of a volume.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Extents {
    /// Nothing yet.
    Unknown,
    /// Files do not share blocks.
    NotShared,
    /// Files may share blocks.
    Shared {
        /// The size of a block, in bytes.
        block: u32,
        /// Sharing has worked.
        proven: bool,
    },
}

impl Extents {
    /// From what the server reports about its volume: whether it shares blocks, and its allocation unit in bytes.
    pub(super) fn of(shares_blocks: bool, block: u32) -> Extents {
        if shares_blocks {
            Extents::Shared { block: block.max(SMALLEST_BLOCK), proven: false }
        } else {
            Extents::NotShared
        }
    }

    /// The beginning of `range` that consists of whole blocks; `None` if there is none.
    pub(super) fn whole(self, range: CopyRange) -> Option<CopyRange> {
        let Extents::Shared { block, .. } = self else { return None };
        let length = range.length.min(LONGEST);
        let length = length - length % block;
        let aligned = |offset: u64| offset.is_multiple_of(u64::from(block));
        (length > 0 && aligned(range.from) && aligned(range.to)).then_some(CopyRange { length, ..range })
    }

    /// Blocks were shared, or the server refused. If sharing has never worked, it is not tried again.
    pub(super) fn answered(&mut self, shared: bool) {
        if let Extents::Shared { proven, .. } = self {
            *proven |= shared;
            if !*proven {
                *self = Extents::NotShared;
            }
        }
    }

    /// No answer came in time: from now on data is copied in chunks, as many per request as the deadline allows.
    pub(super) fn timed_out(&mut self) {
        *self = Extents::NotShared;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(from: u64, to: u64, length: u32) -> CopyRange {
        CopyRange { from, to, length }
    }

    #[test]
    fn only_whole_blocks_are_shared() {
        let extents = Extents::of(true, 65_536);
        assert_eq!(extents.whole(range(65_536, 0, 200_000)), Some(range(65_536, 0, 196_608)));
        assert_eq!(extents.whole(range(0, 0, u32::MAX)), Some(range(0, 0, LONGEST)));
        assert_eq!(extents.whole(range(1, 0, 200_000)), None);
        assert_eq!(extents.whole(range(0, 4096, 200_000)), None);
        assert_eq!(extents.whole(range(0, 0, 65_535)), None);
        assert_eq!(Extents::of(true, 0).whole(range(4096, 4096, 5000)), Some(range(4096, 4096, 4096)));
        assert_eq!(Extents::of(false, 4096).whole(range(0, 0, 200_000)), None);
        assert_eq!(Extents::Unknown.whole(range(0, 0, 200_000)), None);
    }

    #[test]
    fn sharing_that_never_worked_is_not_tried_again() {
        let mut never = Extents::of(true, 4096);
        never.answered(false);
        assert_eq!(never, Extents::NotShared);
        let mut sometimes = Extents::of(true, 4096);
        sometimes.answered(true);
        sometimes.answered(false);
        assert!(sometimes.whole(range(0, 0, 4096)).is_some());
        sometimes.timed_out();
        assert_eq!(sometimes, Extents::NotShared);
    }
}
