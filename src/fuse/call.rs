//! One request of the kernel: its span, its errors and its counters.
//!
//! A [`Call`] is made when the request is decoded and ends with the reply. The span carries operation, inode, handle, the
//! request's unique number and the thread that waits, so that each line which the rooms below log while they work for the
//! request names it. A request that is answered without waiting has a span only if it fails: opening one for each read of
//! cached data would cost more than the read.

use crate::telemetry::{Counters, Operation};
use crate::vfs::{ErrorSource, VfsError};
use fuser::{Errno, Request};
use std::sync::Arc;
use std::time::Instant;
use tracing::{Level, Span};

/// A request of the kernel.
pub(super) struct Call {
    operation: Operation,
    ino: u64,
    /// 0 where the request is for no open file.
    handle: u64,
    /// The kernel's number of the request.
    unique: u64,
    /// The thread that waits for the reply; 0 where the kernel names none.
    pub(super) thread: u32,
    began: Instant,
    counters: Arc<Counters>,
    span: Span,
}

impl Call {
    /// A request that is about this inode, or for a name in this directory.
    pub(super) fn new(counters: &Arc<Counters>, operation: Operation, request: &Request, ino: u64) -> Call {
        Call {
            operation,
            ino,
            handle: 0,
            unique: request.unique().0,
            thread: request.pid(),
            began: Instant::now(),
            counters: Arc::clone(counters),
            span: Span::none(),
        }
    }

    /// The same for a request on an open file or directory.
    pub(super) fn on(self, handle: u64) -> Call {
        Call { handle, ..self }
    }

    /// The request cannot be answered at once: counts that, and returns the span that its work runs in.
    pub(super) fn waits(&mut self) -> Span {
        self.counters.requests(self.operation).waited.count();
        self.span = self.open_span();
        self.span.in_scope(|| tracing::trace!("waits"));
        self.span.clone()
    }

    fn open_span(&self) -> Span {
        let Call { operation, ino, handle, unique, thread, .. } = self;
        // At the level of errors, so that it is there for every line that is logged.
        tracing::error_span!("request", %operation, ino, fh = handle, unique, pid = thread)
    }

    /// The errno for the kernel, after the error was logged with its cause.
    pub(super) fn report(&self, error: &VfsError) -> Errno {
        let span = if self.span.is_none() { self.open_span() } else { self.span.clone() };
        let _entered = span.enter();
        let errno = error.errno;
        // The cause of an error from the share says itself what failed on which path.
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

    /// The reply was sent, and was this errno.
    pub(super) fn refused(&self, errno: Errno) {
        self.counters.requests(self.operation).failed.count();
        self.end(Some(errno));
    }

    fn end(&self, errno: Option<Errno>) {
        let took = self.began.elapsed();
        self.counters.requests(self.operation).latency.record(took);
        let Call { operation, ino, handle, unique, thread, .. } = self;
        let errno = errno.map(Errno::code);
        tracing::trace!(%operation, ino, fh = handle, unique, pid = thread, errno, ?took, "replied");
    }
}
