//! The span of a kernel request: the request that the running code works for.
//!
//! `fuse` enters the span of a request while it works for the request, and at each poll of work that waits. The log
//! adds [`current`] to every line, so a line from any room names the request that it belongs to. Tasks of the mount
//! itself, and tasks that an operation spawns, have no span.
//!
//! A [`Span`] is a copied value in a thread-local cell, not a span of `tracing`: to make, enter and close one of those
//! took 5 µs of each random read that waits.

use super::operation::Operation;
use std::cell::Cell;
use std::fmt;
use std::future::poll_fn;
use std::marker::PhantomData;
use std::pin::pin;

thread_local! {
    static CURRENT: Cell<Option<Span>> = const { Cell::new(None) };
}

/// A request of the kernel.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Span {
    /// The operation.
    pub operation: Operation,
    /// The inode that the request is about, or the directory of the name that it is about.
    pub ino: u64,
    /// The handle; 0 if the request is for no open file or directory.
    pub handle: u64,
    /// The kernel's number of the request.
    pub unique: u64,
    /// The thread that waits for the reply; 0 if the kernel names none. The log shows it as `pid`.
    pub thread: u32,
}

/// The span that the running thread is in, if it is in one.
pub fn current() -> Option<Span> {
    CURRENT.get()
}

/// Keeps the thread in a span until it is dropped; then the thread is in the span that it was in before.
#[must_use]
pub struct Entered {
    before: Option<Span>,
    /// The span is left on the thread on which it was entered.
    not_send: PhantomData<*const ()>,
}

impl Span {
    /// Enters the span on this thread.
    pub fn enter(self) -> Entered {
        Entered { before: CURRENT.replace(Some(self)), not_send: PhantomData }
    }

    /// Runs a future in the span, whichever threads poll it.
    pub async fn run<F: Future>(self, future: F) -> F::Output {
        let mut future = pin!(future);
        poll_fn(|context| {
            let _entered = self.enter();
            future.as_mut().poll(context)
        })
        .await
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        CURRENT.set(self.before);
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Span { operation, ino, handle, unique, thread } = self;
        write!(f, "request{{operation={operation} ino={ino} fh={handle} unique={unique} pid={thread}}}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const READ: Span = Span { operation: Operation::Read, ino: 5, handle: 3, unique: 77, thread: 12 };

    #[test]
    fn a_span_names_what_the_request_is_about() {
        assert_eq!(READ.to_string(), "request{operation=read ino=5 fh=3 unique=77 pid=12}");
    }

    #[test]
    fn spans_nest_and_end() {
        assert_eq!(current(), None);
        let outer = READ.enter();
        let inner = Span { operation: Operation::Write, ..READ };
        drop(inner.enter());
        assert_eq!(current(), Some(READ));
        drop(outer);
        assert_eq!(current(), None);
    }

    #[tokio::test]
    async fn a_future_is_in_its_span_whenever_it_is_polled_and_what_runs_between_is_not() {
        let (go, wait) = tokio::sync::oneshot::channel::<()>();
        let mut work = pin!(READ.run(async {
            assert_eq!(current(), Some(READ));
            wait.await.unwrap();
            current()
        }));
        assert!(futures_util::poll!(work.as_mut()).is_pending());
        assert_eq!(current(), None);
        go.send(()).unwrap();
        assert_eq!(work.await, Some(READ));
        assert_eq!(current(), None);
    }
}
