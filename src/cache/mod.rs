//! The page cache: data of files that was read or is to be written, within one memory budget.
//!
//! The actors:
//!
//! - [`ChunkMap`](chunks::ChunkMap): what is kept. Files are cut on a grid of the read buffer size;
//!   a chunk holds the segments of it that were read, small ones in pages of a pool (`pool`). The chunk that was not used for longest goes
//!   first, but for those that a stream has gone through: they go before.
//! - [`allocator`]: keeps the C library from holding much more than that.
//! - [`Memory`](memory::Memory): the budget over what is kept, what is dirty and what is in flight.
//! - [`Flights`](flights::Flights): what is being read, so that two readers of the same bytes cause one READ.
//! - [`ReadAhead`], one per open file: tells sequential readers, for whom whole chunks are read before
//!   they are asked for, from random ones, for whom only the pages asked for are.
//! - [`Pace`](pace::Pace): how much in flight is of use, as measured.
//! - [`PageCache`]: the short piece around them that waits for [`Source::read`].
//! - [`Dirty`](dirty::Dirty): what was written to one file, on a grid of the write buffer size.
//!
//! It knows only "read this range" and "write this range". Which data may still be used, and which
//! writes may wait, is for the caller to know, who drops what is not to be used any more:
//! [`PageCache::invalidate`] after a write, [`PageCache::drop_file`] when a file was changed by somebody else.
//!
//! Invariants: the bytes kept, dirty and in flight never exceed the budget. Nothing is kept that was
//! read before the range was invalidated. Nothing is kept of a READ that failed, nor beyond the end
//! of a short one. A reader that goes away leaves nobody waiting.

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
