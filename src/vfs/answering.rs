//! The kernel's requests for attributes that are being answered, which notifications must not cross. A plain value.
//!
//! The kernel ignores the attributes in a reply if it was notified about the inode after it had sent the request
//! (fs/fuse/inode.c, `attr_version`). A read(2) that asked for the size then ends at the size from before, even if that
//! is the size from before the open(2). So a notification waits until the reply has arrived, but not for ever.

use std::collections::HashMap;
use std::time::{Duration, Instant};

/// The most time between a reply and its arrival in the kernel: the requesting thread has to run.
const ON_ITS_WAY: Duration = Duration::from_millis(2);
/// The most that a notification waits. Another client may wait for it, or an open.
const LONGEST: Duration = Duration::from_millis(50);
/// The most inodes of arrived replies that are remembered.
const MOST_ARRIVED: usize = 64;

/// The inodes whose attributes the kernel has asked for.
#[derive(Debug, Default)]
pub(super) struct Answering {
    inodes: HashMap<u64, Requests>,
}

/// The requests about one inode.
#[derive(Debug, Default)]
struct Requests {
    unanswered: u32,
    answered: Option<Instant>,
}

impl Requests {
    /// Until when replies may be on their way; `None` if all have arrived. `limit` is for those not sent yet.
    fn arrive(&self, limit: Instant, now: Instant) -> Option<Instant> {
        if self.unanswered > 0 {
            return Some(limit);
        }
        self.answered.map(|answered| answered + ON_ITS_WAY).filter(|arrived| *arrived > now)
    }
}

impl Answering {
    /// A request for the attributes of an inode has arrived. The caller ends it with [`Answering::end`].
    pub(super) fn begin(&mut self, ino: u64) {
        self.inodes.entry(ino).or_default().unanswered += 1;
    }

    /// A request was answered.
    pub(super) fn end(&mut self, ino: u64, now: Instant) {
        if let Some(requests) = self.inodes.get_mut(&ino) {
            requests.unanswered = requests.unanswered.saturating_sub(1);
            requests.answered = Some(now);
        }
        if self.inodes.len() > MOST_ARRIVED {
            self.inodes.retain(|_, requests| requests.arrive(now, now).is_some());
        }
    }

    /// Until when a notification about an inode that was added at `added` has to wait, if no request ends or begins
    /// before; `None` if it may begin.
    pub(super) fn holds(&self, ino: u64, added: Instant, now: Instant) -> Option<Instant> {
        let limit = added + LONGEST;
        let until = self.inodes.get(&ino)?.arrive(limit, now)?.min(limit);
        (until > now).then_some(until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_notification_waits_for_the_arrival_of_all_replies() {
        let (mut answering, start) = (Answering::default(), Instant::now());
        let at = |ms| start + Duration::from_millis(ms);
        assert_eq!(answering.holds(7, start, start), None);
        answering.begin(7);
        answering.begin(7);
        assert_eq!(answering.holds(7, at(1), at(1)), Some(at(1) + LONGEST));
        answering.end(7, at(2));
        assert_eq!(answering.holds(7, at(1), at(20)), Some(at(1) + LONGEST), "one request is left");
        assert_eq!(answering.holds(8, at(1), at(20)), None, "another inode");
        answering.end(7, at(30));
        assert_eq!(answering.holds(7, at(1), at(30)), Some(at(30) + ON_ITS_WAY));
        assert_eq!(answering.holds(7, at(1), at(30) + ON_ITS_WAY), None);
    }

    #[test]
    fn a_notification_does_not_wait_for_ever() {
        let (mut answering, start) = (Answering::default(), Instant::now());
        answering.begin(7);
        assert_eq!(answering.holds(7, start, start + LONGEST), None);
        answering.end(7, start + LONGEST - ON_ITS_WAY / 2);
        assert_eq!(answering.holds(7, start, start + LONGEST - ON_ITS_WAY / 4), Some(start + LONGEST));
    }

    #[test]
    fn arrived_replies_are_forgotten_and_requests_are_not() {
        let (mut answering, start) = (Answering::default(), Instant::now());
        answering.begin(0);
        for ino in 1..10 * MOST_ARRIVED as u64 {
            answering.begin(ino);
            answering.end(ino, start + 2 * ON_ITS_WAY * ino as u32);
        }
        assert!(answering.inodes.len() <= MOST_ARRIVED + 1);
        assert!(answering.holds(0, start, start).is_some());
    }
}
