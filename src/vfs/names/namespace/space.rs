//! Size and free space at the server, by the directory that was asked about: another disk may be mounted below the
//! share. A plain value.

use crate::share::Space;
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// How long size and free space are cached. Other clients change them too.
const KNOWN: Duration = Duration::from_secs(5);
/// The most directories whose answer is cached. Programs ask about few of them in five seconds.
const MOST: usize = 16;

/// The answers that are cached.
#[derive(Debug, Default)]
pub(super) struct Spaces {
    /// By the inode numbers of directories, the latest answer last, with the time of the request.
    known: VecDeque<(u64, Space, Instant)>,
    /// When this mount changed the free space last.
    changed: Option<Instant>,
}

impl Spaces {
    /// The answer for a directory, if it is cached and not too old.
    pub(super) fn of(&self, directory: u64, now: Instant) -> Option<Space> {
        let (_, space, at) = self.known.iter().find(|(other, ..)| *other == directory)?;
        (now.saturating_duration_since(*at) < KNOWN).then_some(*space)
    }

    /// Records an answer, unless this mount has changed the free space since the request, which was sent at `asked`.
    pub(super) fn reported(&mut self, directory: u64, space: Space, asked: Instant) {
        if self.changed.is_some_and(|changed| changed >= asked) {
            return;
        }
        self.known.retain(|(other, ..)| *other != directory);
        if self.known.len() >= MOST {
            self.known.pop_front();
        }
        self.known.push_back((directory, space, asked));
    }

    /// Drops all answers, because this mount changes the free space.
    pub(super) fn changes(&mut self, now: Instant) {
        self.known.clear();
        self.changed = Some(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn space(free: u64) -> Space {
        Space { total: 100, free, available: free, unit: 1 }
    }

    #[test]
    fn each_directory_has_its_own_answer_for_five_seconds() {
        let (mut spaces, now) = (Spaces::default(), Instant::now());
        spaces.reported(1, space(10), now);
        spaces.reported(2, space(20), now);
        spaces.reported(1, space(11), now);
        let free = |spaces: &Spaces, directory, at| spaces.of(directory, at).map(|space| space.free);
        assert_eq!((free(&spaces, 1, now), free(&spaces, 2, now), free(&spaces, 3, now)), (Some(11), Some(20), None));
        assert_eq!(free(&spaces, 1, now + KNOWN), None);
    }

    #[test]
    fn a_change_by_this_mount_drops_the_answers_and_those_on_their_way() {
        let (mut spaces, now) = (Spaces::default(), Instant::now());
        spaces.reported(1, space(10), now);
        spaces.changes(now + Duration::from_millis(1));
        spaces.reported(1, space(10), now);
        assert_eq!(spaces.of(1, now), None);
        spaces.reported(1, space(9), now + Duration::from_millis(2));
        assert_eq!(spaces.of(1, now).map(|space| space.free), Some(9));
    }

    #[test]
    fn the_number_of_cached_answers_is_bounded() {
        let (mut spaces, now) = (Spaces::default(), Instant::now());
        (0..100).for_each(|directory| spaces.reported(directory, space(1), now));
        assert_eq!((spaces.known.len(), spaces.of(0, now), spaces.of(99, now).is_some()), (MOST, None, true));
    }
}
