//! Whether the kernel may have pages of one file. A plain value.

/// Pages come by opens that can read, as by mapping, and stay when those are closed.
#[derive(Clone, Debug, Default)]
pub(crate) struct KernelPages {
    /// Counts opens that can read.
    opens: u64,
    /// The opens whose pages have been forgotten.
    forgotten: u64,
}

/// The opens whose pages are being forgotten.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Mark(u64);

impl KernelPages {
    /// The kernel opens the file, and can read by that, or not.
    pub(crate) fn opens(&mut self, reads: bool) {
        self.opens += u64::from(reads);
    }

    /// For [`KernelPages::forgot`]: to be taken before the kernel is told. `None` if it has no pages.
    pub(crate) fn mark(&self) -> Option<Mark> {
        (self.opens > self.forgotten).then_some(Mark(self.opens))
    }

    /// The kernel has dropped its pages. While the file is open, it may already have read others.
    pub(crate) fn forgot(&mut self, mark: Mark, is_open: bool) {
        if !is_open {
            self.forgotten = self.forgotten.max(mark.0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_come_by_opens_that_can_read_and_stay_until_they_are_forgotten() {
        let mut pages = KernelPages::default();
        pages.opens(false);
        assert_eq!(pages.mark(), None);
        pages.opens(true);
        let mark = pages.mark().unwrap();
        pages.forgot(mark, true);
        assert!(pages.mark().is_some(), "a handle is open: it may have read since");
        pages.forgot(mark, false);
        assert_eq!(pages.mark(), None);
    }

    #[test]
    fn an_open_while_pages_are_dropped_brings_new_ones() {
        let mut pages = KernelPages::default();
        pages.opens(true);
        let mark = pages.mark().unwrap();
        pages.opens(true);
        pages.forgot(mark, false);
        let later = pages.mark().expect("the second open may have read");
        pages.forgot(later, false);
        pages.forgot(mark, false);
        assert_eq!(pages.mark(), None, "an answer that comes late takes nothing back");
    }
}
