//! One request of the kernel: its span, its errors and its counters.
//!
//! A [`Call`] is made when the request is decoded and ends with the reply. All work for the request runs in its span
//! ([`crate::telemetry::span`]).

use crate::telemetry::counters::Requests;
use crate::telemetry::{Counters, Operation, Span};
use crate::vfs::{ErrorSource, Uncrossed, VfsError};
use fuser::{Errno, Request};
use parking_lot::Mutex;
use std::sync::Arc;
use std::time::Instant;
use tracing::Level;

/// A request of the kernel.
pub(super) struct Call {
    pub(super) span: Span,
    began: Instant,
    counters: Arc<Counters>,
    /// Keeps notifications from crossing the reply until it is sent. The call may last longer, if its program was killed.
    uncrossed: Mutex<Option<Uncrossed>>,
}

impl Call {
    /// A request that is about this inode, or about a name in this directory.
    pub(super) fn new(counters: &Arc<Counters>, operation: Operation, request: &Request, ino: u64) -> Call {
        let span = Span { operation, ino, handle: 0, unique: request.unique().0, thread: request.pid() };
        counters.requests_in_flight.enter();
        Call { span, began: Instant::now(), counters: Arc::clone(counters), uncrossed: Mutex::default() }
    }

    /// The same for a request on an open file or directory.
    pub(super) fn on(mut self, handle: u64) -> Call {
        self.span.handle = handle;
        self
    }

    /// The same for a request whose reply no notification may cross.
    pub(super) fn uncrossed(mut self, uncrossed: Uncrossed) -> Call {
        *self.uncrossed.get_mut() = Some(uncrossed);
        self
    }

    fn requests(&self) -> &Requests {
        self.counters.requests(self.span.operation)
    }

    /// The reply transfers so many bytes of file data.
    pub(super) fn transfers(&self, bytes: u64) {
        if bytes > 0 {
            self.requests().bytes.add(bytes);
        }
    }

    /// Logs the error with its cause. Returns the errno for the kernel.
    pub(super) fn report(&self, error: &VfsError) -> Errno {
        let _entered = self.span.enter();
        let errno = error.errno;
        // An error of the share names the operation and the path already, so only its origin is added.
        let by = match error.source {
            ErrorSource::Share(_) => "share",
            ErrorSource::Rule(_) => "rule",
        };
        match error.level {
            Level::DEBUG | Level::TRACE => tracing::debug!(errno, by, %error),
            Level::INFO => tracing::info!(errno, by, %error),
            _ => tracing::warn!(errno, by, %error),
        }
        Errno::from_i32(errno)
    }

    /// The reply was sent.
    pub(super) fn replied(&self) {
        self.end(None);
    }

    /// The reply was sent: an error with this errno.
    pub(super) fn refused(&self, errno: Errno) {
        self.requests().failed.count();
        self.end(Some(errno.code()));
    }

    fn end(&self, errno: Option<i32>) {
        drop(self.uncrossed.lock().take());
        let took = self.began.elapsed();
        self.requests().latency.record(took);
        let _entered = self.span.enter();
        tracing::trace!(errno, ?took, "replied");
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        self.counters.requests_in_flight.leave();
    }
}
