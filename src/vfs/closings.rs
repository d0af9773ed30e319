//! Closes under way.
//!
//! The kernel does not wait for a close. The next operation may overtake it, and then finds a directory that is not
//! empty yet, or a file that is still open. An operation that fails for such a reason waits until the closes that
//! were under way have ended, and is attempted once more.

use crate::waiting::until;
use parking_lot::Mutex;
use std::collections::BTreeSet;
use tokio::sync::Notify;

/// The closes under way of a mount.
#[derive(Debug, Default)]
pub(crate) struct Closings {
    state: Mutex<State>,
    ended: Notify,
}

#[derive(Debug, Default)]
struct State {
    next: u64,
    active: BTreeSet<u64>,
}

/// A close under way, until dropped.
#[derive(Debug)]
pub(crate) struct Closing<'a> {
    closings: &'a Closings,
    number: u64,
}

impl Closings {
    /// Registers a close that begins. Its number is the argument of [`Closings::guard`].
    pub(crate) fn begin(&self) -> u64 {
        let mut state = self.state.lock();
        state.next += 1;
        let number = state.next;
        state.active.insert(number);
        number
    }

    /// The close with this number, which ends when the guard is dropped.
    pub(crate) fn guard(&self, number: u64) -> Closing<'_> {
        Closing { closings: self, number }
    }

    /// Waits for the closes that are under way now; each has a deadline. Returns whether there were any.
    pub(crate) async fn finish(&self) -> bool {
        let (latest, any) = {
            let state = self.state.lock();
            (state.next, !state.active.is_empty())
        };
        until(&self.ended, || self.state.lock().active.first().is_none_or(|first| *first > latest)).await;
        any
    }
}

impl Drop for Closing<'_> {
    fn drop(&mut self) {
        self.closings.state.lock().active.remove(&self.number);
        self.closings.ended.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;

    #[test]
    fn an_operation_waits_only_for_closes_that_began_before_it() {
        let closings = Closings::default();
        assert_eq!(closings.finish().now_or_never(), Some(false));

        let (first, second) = (closings.begin(), closings.begin());
        let mut waiting = Box::pin(closings.finish());
        assert_eq!(waiting.as_mut().now_or_never(), None);
        let third = closings.begin();
        drop(closings.guard(second));
        assert_eq!(waiting.as_mut().now_or_never(), None);
        drop(closings.guard(first));
        assert_eq!(waiting.now_or_never(), Some(true));
        drop(closings.guard(third));
    }
}
