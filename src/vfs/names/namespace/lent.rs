//! What the kernel may keep of the attributes of one node. A plain value.
//!
//! A notification is sent only if the kernel may keep something: the kernel ignores a reply that a notification has
//! crossed, with the size in it (`vfs/answering.rs`).

use std::time::{Duration, Instant};

/// The most time between a reply and its arrival in the kernel.
const ON_ITS_WAY: Duration = Duration::from_secs(1);

/// The attributes that the kernel was last given to keep, unless it was made to forget them since.
#[derive(Clone, Debug, Default)]
pub(super) struct Lent {
    /// When they were given, and for how long.
    given: Option<(Instant, Duration)>,
}

impl Lent {
    /// The kernel gets attributes that it may keep for `ttl`.
    pub(super) fn gives(&mut self, ttl: Duration, now: Instant) {
        if !ttl.is_zero() {
            self.given = Some((now, ttl));
        }
    }

    /// What the kernel keeps is not valid any more. Returns whether it must be notified.
    #[must_use]
    pub(super) fn ends(&mut self, now: Instant) -> bool {
        self.given.take().is_some_and(|(at, ttl)| now.saturating_duration_since(at) < ttl + ON_ITS_WAY)
    }

    /// The kernel drops the attributes itself with the next reply, unless that is an error. Returns whether it must be
    /// notified too, because attributes may be on their way.
    #[must_use]
    pub(super) fn ends_with_reply(&mut self, now: Instant) -> bool {
        self.given.take_if(|(at, _)| now.saturating_duration_since(*at) < ON_ITS_WAY).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TTL: Duration = Duration::from_secs(10);

    #[test]
    fn the_kernel_is_notified_once_of_what_it_may_keep() {
        let (mut lent, start) = (Lent::default(), Instant::now());
        assert!(!lent.ends(start), "it has nothing");
        lent.gives(Duration::ZERO, start);
        assert!(!lent.ends(start), "it may keep nothing");
        lent.gives(TTL, start);
        assert!(lent.ends(start + TTL), "the reply may have taken a while");
        assert!(!lent.ends(start + TTL));
        lent.gives(TTL, start);
        assert!(!lent.ends(start + TTL + ON_ITS_WAY));
    }

    #[test]
    fn a_reply_that_has_arrived_needs_no_notification_where_the_kernel_drops_it_itself() {
        let (mut lent, start) = (Lent::default(), Instant::now());
        lent.gives(TTL, start);
        assert!(lent.ends_with_reply(start));
        assert!(!lent.ends_with_reply(start));
        lent.gives(TTL, start);
        assert!(!lent.ends_with_reply(start + ON_ITS_WAY));
        assert!(lent.ends(start + ON_ITS_WAY), "after an error it still has them");
    }
}
