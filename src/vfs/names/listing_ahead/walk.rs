//! Walks: programs that list one directory after the other, as `find`, `du` and `grep -r` do. A plain value without I/O.
//!
//! A directory that is listed continues a walk if its parent is above, or is, the one that was listed before. The longer
//! a walk goes on, the more of the directories that come next are listed ahead of it; when another directory is listed,
//! the walk is over, and so is that.

use std::collections::HashSet;

/// The most directories that are listed ahead and that the walk has not reached yet.
const MOST: usize = 32;
/// So many steps make a walk.
const STEPS: u32 = 2;

/// The walk that goes on in a mount.
#[derive(Debug, Default)]
pub(crate) struct Walk {
    /// The directory that was listed last.
    last: Option<u64>,
    steps: u32,
    /// Listed ahead, and not reached yet.
    ahead: HashSet<u64>,
}

impl Walk {
    /// The directory that was listed last.
    pub(crate) fn last(&self) -> Option<u64> {
        self.last
    }

    /// A program begins to list a directory, which continues the walk or not.
    pub(crate) fn step(&mut self, directory: u64, continues: bool) {
        let was_ahead = self.ahead.remove(&directory);
        if !continues {
            *self = Walk::default();
        } else if self.last != Some(directory) {
            self.steps += 1;
            if !was_ahead {
                // It goes another way than was thought.
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

    /// A directory is being listed ahead.
    pub(crate) fn lists(&mut self, directory: u64) {
        self.ahead.insert(directory);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_longer_walk_is_further_ahead_of() {
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
    fn another_directory_ends_it() {
        let mut walk = Walk::default();
        (1..5).for_each(|directory| walk.step(directory, directory > 1));
        walk.lists(5);
        walk.step(9, false);
        assert_eq!((walk.room(), walk.last()), (0, Some(9)));
        walk.step(10, true);
        assert_eq!(walk.room(), 0);
    }

    #[test]
    fn listing_the_same_one_again_is_no_step() {
        let mut walk = Walk::default();
        walk.step(1, false);
        (0..9).for_each(|_| walk.step(1, true));
        assert_eq!(walk.room(), 0);
    }

    #[test]
    fn what_the_walk_leaves_out_does_not_hold_it_up_for_ever() {
        let mut walk = Walk::default();
        (1..9).for_each(|directory| walk.step(directory, directory > 1));
        (100..100 + MOST as u64).for_each(|directory| walk.lists(directory));
        assert_eq!(walk.room(), 0);
        walk.step(9, true);
        assert_eq!(walk.room(), MOST);
    }
}
