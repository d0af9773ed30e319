//! The page cache: file data that was read or that is waiting to be written, within one memory budget.
//!
//! The files, and what is decided in each:
//!
//! - `pages`: [`PageCache`] answers a read from cached data, joins a READ in flight, or starts one through
//!   [`Source::read`]. It is the only part that waits for data or memory.
//! - `chunks`: [`ChunkMap`](chunks::ChunkMap), the clean data. Files are cut on a grid of the read buffer size; a chunk
//!   holds the segments of it that were read. Decides what is evicted: chunks that a stream has read to their end
//!   first, then the least recently used.
//! - `pool`: memory for segments of more than 1 KiB and at most a page (4 KiB), in pages of one region.
//! - `memory`: [`Memory`](memory::Memory), the budget over clean, dirty and in-flight bytes. Decides whether a READ or
//!   a write gets memory now. The limit of one file's dirty bytes is in `vfs/file/state.rs` (`has_room`).
//! - `flights`: [`Flights`](flights::Flights), the READs in flight. Two readers of the same bytes cause one READ.
//! - `readahead`: [`ReadAhead`], one per open file. Separates sequential readers, for which whole chunks are read
//!   ahead, from random readers, for which only the requested pages are read.
//! - `pace`: [`Pace`](pace::Pace), the measured number of bytes worth having in flight.
//! - `dirty`: [`Dirty`](dirty::Dirty), the bytes written to one file, on a grid of the write buffer size. Decides which
//!   are sent next.
//! - [`allocator`]: keeps the C library's allocator from holding much more memory than the cache uses.
//!
//! The cache knows only "read this range" and "write this range". The caller decides which data is still valid and
//! which writes may wait, and sends the jobs of [`Dirty`](dirty::Dirty) (`vfs/file/driver.rs`). It drops data that is
//! out of date: [`PageCache::invalidate`] after a write, [`PageCache::drop_file`] when another client changed the file
//! or the file's node is evicted. Nothing is cached on the local disk. The kernel's own pages are not in the budget.
//!
//! Invariants: the charges of cached, dirty and in-flight bytes never exceed the budget. Data that was read before its
//! range was invalidated is not cached. Nothing is cached from a READ that failed, nor beyond the end of a short one. A
//! reader that is dropped leaves no other reader waiting.

pub mod allocator;
pub mod chunks;
pub mod dirty;
pub mod flights;
pub mod memory;
pub mod pace;
pub mod pages;
mod pool;
pub mod readahead;

pub use pages::{Ahead, PageCache, Request, Source};
pub use readahead::{Advice, ReadAhead, Terms};
