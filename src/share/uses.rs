//! Which requests use an open, so that it can be closed at the server between two of them: a plain value with a wake-up.
//!
//! A request uses its open from before it is built until it is answered. While an open is paused, no use begins; once
//! the uses under way have ended, its FileId can be closed without a request on the wire that still names it.
//!
//! Invariant: a use never begins while the open is paused. A task that waits for one open uses no other meanwhile, so
//! opens can be paused in any order.

use crate::waiting::until;
use parking_lot::Mutex;
use tokio::sync::Notify;

/// The uses of one open.
#[derive(Debug, Default)]
pub(super) struct Uses {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    active: usize,
    /// How many tasks have paused the open.
    pauses: usize,
}

/// A request that uses the open, until dropped.
#[derive(Debug)]
pub(super) struct Use<'a>(&'a Uses);

/// A pause of the open, until dropped.
#[derive(Debug)]
pub(super) struct Pause<'a>(&'a Uses);

impl Uses {
    /// Begins a use, when the open is not paused. A pause ends with the change of a name that caused it.
    pub(super) async fn begin(&self) -> Use<'_> {
        loop {
            if let Some(begun) = self.try_begin() {
                return begun;
            }
            self.until_continued().await;
        }
    }

    /// Begins a use, unless the open is paused.
    pub(super) fn try_begin(&self) -> Option<Use<'_>> {
        let mut state = self.state.lock();
        (state.pauses == 0).then(|| {
            state.active += 1;
            Use(self)
        })
    }

    /// Waits until the open is not paused.
    pub(super) async fn until_continued(&self) {
        until(&self.changed, || self.state.lock().pauses == 0).await;
    }

    /// Pauses the open: no use begins.
    pub(super) fn pause(&self) -> Pause<'_> {
        self.state.lock().pauses += 1;
        Pause(self)
    }

    /// Waits until the uses under way have ended. Each request has a deadline.
    pub(super) async fn until_unused(&self) {
        until(&self.changed, || self.state.lock().active == 0).await;
    }
}

/// Begins a use of both opens. While one of them is paused, neither is used.
pub(super) async fn begin_both<'a>(first: &'a Uses, second: &'a Uses) -> (Use<'a>, Use<'a>) {
    loop {
        let begun = first.begin().await;
        if let Some(other) = second.try_begin() {
            return (begun, other);
        }
        drop(begun);
        second.until_continued().await;
    }
}

impl Drop for Use<'_> {
    fn drop(&mut self) {
        self.0.state.lock().active -= 1;
        self.0.changed.notify_waiters();
    }
}

impl Drop for Pause<'_> {
    fn drop(&mut self) {
        self.0.state.lock().pauses -= 1;
        self.0.changed.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;

    #[test]
    fn a_paused_open_is_unused_once_the_requests_under_way_are_answered() {
        let uses = Uses::default();
        let first = uses.begin().now_or_never().expect("nothing pauses it");
        let (pause, other) = (uses.pause(), uses.pause());
        assert!(uses.try_begin().is_none());
        let mut unused = Box::pin(uses.until_unused());
        assert!(unused.as_mut().now_or_never().is_none());
        drop(first);
        assert!(unused.now_or_never().is_some());
        drop(pause);
        let mut next = Box::pin(uses.begin());
        assert!(next.as_mut().now_or_never().is_none(), "another task pauses it too");
        drop(other);
        assert!(next.now_or_never().is_some());
    }

    #[test]
    fn a_request_that_waits_for_one_open_does_not_use_the_other() {
        let (first, second) = (Uses::default(), Uses::default());
        let pause = second.pause();
        let mut both = Box::pin(begin_both(&first, &second));
        assert!(both.as_mut().now_or_never().is_none());
        let _other = first.pause();
        assert!(first.until_unused().now_or_never().is_some());
        drop(pause);
        assert!(both.as_mut().now_or_never().is_none(), "the first one is paused now");
    }
}
