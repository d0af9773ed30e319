//! [`Walk`] recognises a program that lists one directory after the other, as `find`, `du` and `grep -r` do, and
//! decides how many directories are listed ahead of it. A plain value without I/O.
//!
//! A directory continues the walk if its parent is the directory that was listed last, or an ancestor of that
//! directory. The window of directories listed ahead begins with two and doubles with each step, up to [`MOST`]. A
//! directory elsewhere ends the walk: nothing more is listed ahead until a new walk has [`STEPS`] steps.

use std::collections::HashSet;

/// The most directories that are listed ahead and that the walk has not reached yet.
const MOST: usize = 32;
/// The steps after which directories are listed ahead.
const STEPS: u32 = 2;

/// The walk of a mount.
#[derive(Debug, Default)]
pub(crate) struct Walk {
    /// The directory that was listed last.
    last: Option<u64>,
    /// Directories listed one after the other, without the first one.
    steps: u32,
    /// The directories that are listed ahead and not reached yet.
    ahead: HashSet<u64>,
}

impl Walk {
    /// The directory that was listed last.
    pub(crate) fn last(&self) -> Option<u64> {
        self.last
    }

    /// Records that a program begins to list a directory, and whether that continues the walk.
    pub(crate) fn step(&mut self, directory: u64, continues: bool) {
        let was_ahead = self.ahead.remove(&directory);
        if !continues {
            *self = Walk::default();
        } else if self.last != Some(directory) {
            self.steps += 1;
            if !was_ahead {
                // The program goes another way than expected.
                self.ahead.clear();
            }
        }
        self.last = Some(directory);
    }

    /// How many more directories may be listed ahead.
    pub(crate) fn room(&self) -> usize {
        let window = match self.steps.checked_sub(STEPS) {
            Some(further) => 1usize.checked_shl(further + 1).unwrap_or(MOST).min(MOST),
            None => 0,
        };
        window.saturating_sub(self.ahead.len())
    }

    /// Records that a directory is being listed ahead.
    pub(crate) fn lists(&mut self, directory: u64) {
        self.ahead.insert(directory);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_longer_walk_has_more_directories_listed_ahead() {
        let mut walk = Walk::default();
        walk.step(1, false);
        assert_eq!(walk.room(), 0);
        walk.step(2, true);
        assert_eq!(walk.room(), 0);
        walk.step(3, true);
        assert_eq!(walk.room(), 2);
        walk.lists(4);
        walk.lists(5);
        assert_eq!(walk.room(), 0);
        walk.step(4, true);
        assert_eq!(walk.room(), 3, "one is left, of a window of four");
        for directory in 100..200 {
            walk.step(directory, true);
            assert!(walk.room() <= MOST);
        }
        assert_eq!(walk.room(), MOST);
    }

    #[test]
    fn listing_a_directory_elsewhere_ends_the_walk() {
        let mut walk = Walk::default();
        (1..5).for_each(|directory| walk.step(directory, directory > 1));
        walk.lists(5);
        walk.step(9, false);
        assert_eq!((walk.room(), walk.last()), (0, Some(9)));
        walk.step(10, true);
        assert_eq!(walk.room(), 0);
    }

    #[test]
    fn listing_the_same_directory_again_is_no_step() {
        let mut walk = Walk::default();
        walk.step(1, false);
        (0..9).for_each(|_| walk.step(1, true));
        assert_eq!(walk.room(), 0);
    }

    #[test]
    fn directories_that_the_walk_skips_do_not_stop_listing_ahead() {
        let mut walk = Walk::default();
        (1..9).for_each(|directory| walk.step(directory, directory > 1));
        (100..100 + MOST as u64).for_each(|directory| walk.lists(directory));
        assert_eq!(walk.room(), 0);
        walk.step(9, true);
        assert_eq!(walk.room(), MOST);
    }
}
