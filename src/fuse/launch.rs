//! Begins to answer a request on the thread that took it from the kernel.
//!
//! A future that is spawned has to wake a worker before its first message is on its way, and one more
//! wake-up is a tenth of a round trip on a fast line. So it is polled once where it is, which sends what it
//! has to send and never waits. If it is not ready then, it is kept until the first thing that it waits for
//! has happened, and goes on as a task of the runtime, on the worker that has just received the answer.
//!
//! Invariant: a future is polled by one thread at a time, and is never forgotten: a wake-up during the first
//! poll counts.

use parking_lot::Mutex;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use tokio::runtime::Handle;

type Work = Pin<Box<dyn Future<Output = ()> + Send>>;

/// A future between its first poll and its life as a task.
struct Launch {
    runtime: Handle,
    state: Mutex<State>,
}

enum State {
    /// It is being polled for the first time.
    Polling,
    /// It was woken while it was.
    Woken,
    /// It waits for something.
    Waiting(Work),
    /// It is a task, or has ended.
    Gone,
}

/// Polls `work` once, and leaves the rest to `runtime`. To be called within the runtime.
pub(super) fn launch(runtime: &Handle, work: impl Future<Output = ()> + Send + 'static) {
    let mut work: Work = Box::pin(work);
    let launch = Arc::new(Launch { runtime: runtime.clone(), state: Mutex::new(State::Polling) });
    let waker = Waker::from(Arc::clone(&launch));
    if let Poll::Ready(()) = work.as_mut().poll(&mut Context::from_waker(&waker)) {
        *launch.state.lock() = State::Gone;
        return;
    }
    let mut state = launch.state.lock();
    if matches!(*state, State::Woken) {
        *state = State::Gone;
        drop(state);
        runtime.spawn(work);
    } else {
        *state = State::Waiting(work);
    }
}

impl Wake for Launch {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let mut state = self.state.lock();
        let next = if matches!(*state, State::Polling | State::Woken) { State::Woken } else { State::Gone };
        if let State::Waiting(work) = std::mem::replace(&mut *state, next) {
            drop(state);
            self.runtime.spawn(work);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::thread;
    use tokio::sync::oneshot;

    #[tokio::test]
    async fn what_is_ready_at_once_is_done_before_the_call_returns() {
        let (done, answer) = oneshot::channel();
        launch(&Handle::current(), async move { done.send(7).unwrap() });
        assert_eq!(answer.await, Ok(7));
    }

    #[tokio::test]
    async fn what_waits_goes_on_when_it_is_woken() {
        let (go, gone) = oneshot::channel::<()>();
        let (done, mut answer) = oneshot::channel();
        launch(&Handle::current(), async move {
            gone.await.unwrap();
            tokio::task::yield_now().await;
            done.send(7).unwrap();
        });
        tokio::task::yield_now().await;
        assert!(answer.try_recv().is_err());
        go.send(()).unwrap();
        assert_eq!(answer.await, Ok(7));
    }

    #[tokio::test]
    async fn a_wake_up_during_the_first_poll_is_not_lost() {
        let (done, answer) = oneshot::channel();
        launch(&Handle::current(), async move {
            tokio::task::yield_now().await;
            done.send(7).unwrap();
        });
        assert_eq!(answer.await, Ok(7));
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn none_is_lost_whoever_wakes_it_whenever() {
        let finished = Arc::new(AtomicU32::new(0));
        for _ in 0..2000 {
            let (go, gone) = oneshot::channel::<()>();
            let counter = finished.clone();
            let waker = thread::spawn(move || go.send(()).unwrap());
            launch(&Handle::current(), async move {
                gone.await.unwrap();
                counter.fetch_add(1, Ordering::Relaxed);
            });
            waker.join().unwrap();
        }
        while finished.load(Ordering::Relaxed) < 2000 {
            tokio::task::yield_now().await;
        }
    }
}
