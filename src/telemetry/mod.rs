//! What a mount measures of itself: a leaf that every room may use.
//!
//! - [`counters`]: all counters and histograms of a mount, with their names. The only file that names them.
//! - [`latency`]: how long something took, as a histogram with percentiles.
//! - [`metrics`]: the same for programs that collect metrics, as OpenMetrics text.
//! - [`operation`]: the kernel's requests by name.
//! - [`recent`]: the last warnings and errors of this process.
//! - [`span`]: the request that the running code works for. `cli/logging.rs` adds it to each line of the log.
//! - [`status`]: what a mount reports of itself, as a document with a version.
//!
//! One [`Counters`] belongs to a mount and is shared by its rooms: `fuse` counts requests of the kernel, `cache` dirty
//! bytes, `share` sessions and retries, `wire` frames and round trips. At the end of a mount `mount/serving.rs` logs
//! [`Counters::samples`] at the level `debug`. `fuse/call.rs` makes the span of a request, and `fuse/adapter.rs` runs
//! the work in it.
//!
//! Invariant: counting never fails, waits for no I/O, and keeps a bounded amount of memory (some 200 KiB a mount).

pub mod counters;
pub mod latency;
pub mod metrics;
pub mod operation;
pub mod recent;
pub mod span;
pub mod status;

pub use counters::{Counters, Sample};
pub use operation::Operation;
pub use span::Span;
