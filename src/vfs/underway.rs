//! Writes that are under way.
//!
//! The kernel may ask for data that it is writing at the same moment: it has dropped its pages because
//! the file's times had changed, while the write that holds the new data is still on its way. A
//! server that takes requests side by side may then answer with the old data, and the kernel would
//! keep it after the write has ended. So a read waits for the writes of its range that the kernel has
//! sent before it.
//!
//! Invariant: a write is listed from before its first message is sent until after what was cached of
//! its range has been dropped.

use crate::waiting::until;
use parking_lot::Mutex;
use std::ops::Range;
use std::sync::Arc;
use tokio::sync::Notify;

/// The writes of a mount that are under way. The kernel bounds their number.
#[derive(Debug, Default)]
pub(crate) struct Writes {
    state: Mutex<State>,
    ended: Notify,
}

#[derive(Debug, Default)]
struct State {
    next: u64,
    active: Vec<Write>,
}

#[derive(Debug)]
struct Write {
    number: u64,
    key: u64,
    range: Range<u64>,
}

impl Write {
    fn touches(&self, key: u64, range: &Range<u64>) -> bool {
        self.key == key && self.range.start < range.end && range.start < self.range.end
    }
}

/// A write under way, until dropped.
#[derive(Debug)]
pub(crate) struct Underway {
    writes: Arc<Writes>,
    number: u64,
}

impl Writes {
    /// A write of a file's range begins. To be called in the order of the kernel's requests.
    pub(crate) fn begin(self: &Arc<Self>, key: u64, range: Range<u64>) -> Underway {
        let mut state = self.state.lock();
        state.next += 1;
        let number = state.next;
        state.active.push(Write { number, key, range });
        Underway { writes: Arc::clone(self), number }
    }

    /// Whether a write of this range is under way.
    pub(crate) fn touch(&self, key: u64, range: &Range<u64>) -> bool {
        self.state.lock().active.iter().any(|write| write.touches(key, range))
    }

    /// Waits for the writes of this range that are under way now, each of which has a deadline.
    pub(crate) async fn settle(&self, key: u64, range: Range<u64>) {
        let latest = self.state.lock().next;
        self.settle_until(latest, key, range).await;
    }

    /// Waits for the writes of this range that began before this one. Two writes never wait for each other.
    pub(crate) async fn settle_before(&self, write: &Underway, key: u64, range: Range<u64>) {
        self.settle_until(write.number - 1, key, range).await;
    }

    async fn settle_until(&self, latest: u64, key: u64, range: Range<u64>) {
        let wait = |write: &Write| write.number <= latest && write.touches(key, &range);
        until(&self.ended, || !self.state.lock().active.iter().any(wait)).await;
    }
}

impl Drop for Underway {
    fn drop(&mut self) {
        self.writes.state.lock().active.retain(|write| write.number != self.number);
        self.writes.ended.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;

    #[test]
    fn a_read_waits_for_the_writes_of_its_range_that_began_before_it() {
        let writes = Arc::new(Writes::default());
        let before = writes.begin(1, 100..200);
        let _beside = writes.begin(1, 200..300);
        let _other_file = writes.begin(2, 100..200);
        assert!(writes.touch(1, &(199..200)) && !writes.touch(1, &(0..100)));
        assert_eq!(writes.settle(1, 0..100).now_or_never(), Some(()));

        let mut waiting = Box::pin(writes.settle(1, 150..160));
        assert_eq!(waiting.as_mut().now_or_never(), None);
        let _after = writes.begin(1, 150..160);
        drop(before);
        assert_eq!(waiting.now_or_never(), Some(()));
    }

    #[test]
    fn a_write_waits_for_those_before_it_and_not_for_itself() {
        let writes = Arc::new(Writes::default());
        let first = writes.begin(1, 0..100);
        let second = writes.begin(1, 0..100);
        assert_eq!(writes.settle_before(&first, 1, 0..100).now_or_never(), Some(()));
        let mut waiting = Box::pin(writes.settle_before(&second, 1, 50..60));
        assert_eq!(waiting.as_mut().now_or_never(), None);
        drop(first);
        assert_eq!(waiting.now_or_never(), Some(()));
    }
}
