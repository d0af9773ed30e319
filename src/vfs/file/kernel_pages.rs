//! Whether the kernel may have pages of one file. A plain value.
//!
//! The kernel gets pages through opens that can read, also by mapping, and keeps them after those are closed.

/// Counts the opens of the kernel that bring pages.
#[derive(Clone, Debug, Default)]
pub(crate) struct KernelPages {
    /// Number of opens that can read.
    opens: u64,
    /// Number of those whose pages the kernel has dropped.
    forgotten: u64,
}

/// The opens whose pages the kernel is about to drop.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Mark(u64);

impl KernelPages {
    /// The kernel opens the file, for reading or not.
    pub(crate) fn opens(&mut self, reads: bool) {
        self.opens += u64::from(reads);
    }

    /// The mark for [`KernelPages::forgot`], read before the kernel is notified. `None` if the kernel has no
    /// pages.
    pub(crate) fn mark(&self) -> Option<Mark> {
        (self.opens > self.forgotten).then_some(Mark(self.opens))
    }

    /// The kernel has dropped its pages. If the file is open, the kernel may already have read new ones.
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
    fn the_kernel_may_have_pages_after_an_open_that_can_read_until_it_dropped_them() {
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
    fn an_open_while_pages_are_dropped_may_bring_new_pages() {
        let mut pages = KernelPages::default();
        pages.opens(true);
        let mark = pages.mark().unwrap();
        pages.opens(true);
        pages.forgot(mark, false);
        let later = pages.mark().expect("the second open may have read");
        pages.forgot(later, false);
        pages.forgot(mark, false);
        assert_eq!(pages.mark(), None, "an earlier mark that ends late changes nothing");
    }
}
