//! Starts work on the calling thread and continues it in the runtime.
//!
//! A spawned task would have to wait until another thread wakes up. So a future is polled once by the caller: its first
//! request is on the wire at once. When the future is woken, the thread that wakes it spawns it as a task.
//!
//! Invariant: a future has one owner at a time: the call that polls it first, the state here until it is woken, or the
//! runtime.

use futures_util::future::BoxFuture;
use futures_util::task::{ArcWake, Context, Poll, waker};
use parking_lot::Mutex;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use tokio::runtime::Handle;

/// A future that has started.
struct Begun {
    state: Mutex<State>,
    runtime: Handle,
}

enum State {
    /// It is being polled for the first time.
    Polled,
    /// It was woken during the first poll.
    Woken,
    /// It waits to be woken.
    Waits(BoxFuture<'static, ()>),
    /// It has ended, or was spawned as a task.
    Gone,
}

/// Polls a future once and leaves the rest to the runtime. A future that panics is dropped. Returns whether it has to
/// wait.
pub(super) fn begin(runtime: &Handle, future: impl Future<Output = ()> + Send + 'static) -> bool {
    let _context = runtime.enter();
    let mut future: BoxFuture<'static, ()> = Box::pin(future);
    let begun = Arc::new(Begun { state: Mutex::new(State::Polled), runtime: runtime.clone() });
    let waker = waker(Arc::clone(&begun));
    // A future that panicked is not polled again.
    let polled = catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(&mut Context::from_waker(&waker))));
    let mut state = begun.state.lock();
    let was_woken = matches!(*state, State::Woken);
    let waits = matches!(polled, Ok(Poll::Pending));
    *state = match polled {
        Ok(Poll::Pending) if !was_woken => State::Waits(future),
        Ok(Poll::Pending) => {
            runtime.spawn(future);
            State::Gone
        }
        Ok(Poll::Ready(())) | Err(_) => State::Gone,
    };
    waits
}

impl ArcWake for Begun {
    fn wake_by_ref(this: &Arc<Self>) {
        let mut state = this.state.lock();
        *state = match std::mem::replace(&mut *state, State::Gone) {
            State::Polled | State::Woken => State::Woken,
            State::Waits(future) => {
                this.runtime.spawn(future);
                State::Gone
            }
            State::Gone => State::Gone,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread::{self, ThreadId};
    use std::time::Duration;
    use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
    use tokio::sync::oneshot;

    /// Sends the id of its thread, waits for `go`, and sends it again.
    async fn work(go: oneshot::Receiver<()>, at: UnboundedSender<ThreadId>) {
        let _ = at.send(thread::current().id());
        let _ = go.await;
        let _ = at.send(thread::current().id());
    }

    async fn next(at: &mut UnboundedReceiver<ThreadId>) -> Option<ThreadId> {
        tokio::time::timeout(Duration::from_secs(10), at.recv()).await.expect("the future continues")
    }

    /// Runs a test on a runtime of two threads, from a third thread.
    fn with_runtime<F: Future<Output = ()>>(test: impl FnOnce(Handle) -> F) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        runtime.block_on(test(runtime.handle().clone()));
    }

    #[test]
    fn a_future_starts_on_the_caller_and_continues_in_the_runtime_when_woken() {
        with_runtime(async |runtime| {
            let ((go, wait), (sender, mut at)) = (oneshot::channel(), unbounded_channel());
            begin(&runtime, work(wait, sender));
            assert_eq!(at.try_recv(), Ok(thread::current().id()));
            assert!(at.try_recv().is_err());
            go.send(()).unwrap();
            assert_ne!(next(&mut at).await, Some(thread::current().id()));
            assert_eq!(next(&mut at).await, None, "the future has been dropped");
        });
    }

    #[test]
    fn a_future_that_need_not_wait_ends_on_the_caller() {
        with_runtime(async |runtime| {
            let ((go, wait), (sender, mut at)) = (oneshot::channel(), unbounded_channel());
            go.send(()).unwrap();
            begin(&runtime, work(wait, sender));
            let here = Ok(thread::current().id());
            assert_eq!((at.try_recv(), at.try_recv()), (here, here));
        });
    }

    #[test]
    fn a_future_woken_during_its_first_poll_continues() {
        with_runtime(async |runtime| {
            let (sender, mut at) = unbounded_channel();
            begin(&runtime, async move {
                tokio::task::yield_now().await;
                let _ = sender.send(thread::current().id());
            });
            assert_ne!(next(&mut at).await, Some(thread::current().id()));
        });
    }

    #[test]
    fn timers_work() {
        with_runtime(async |runtime| {
            let (sender, mut at) = unbounded_channel();
            begin(&runtime, async move {
                tokio::time::sleep(Duration::from_millis(5)).await;
                let _ = sender.send(thread::current().id());
            });
            assert!(next(&mut at).await.is_some());
        });
    }

    #[test]
    fn a_future_that_panics_is_dropped_and_the_caller_continues() {
        with_runtime(async |runtime| {
            let (sender, mut at) = unbounded_channel::<ThreadId>();
            begin(&runtime, async move {
                let _dropped_with_it = sender;
                panic!("on purpose");
            });
            assert_eq!(next(&mut at).await, None);
        });
    }
}
