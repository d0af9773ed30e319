//! The page cache: data of files that was read, kept within one memory budget.
//!
//! The actors:
//!
//! - [`ChunkMap`](chunks::ChunkMap): what is kept. Files are cut on a grid of the read buffer size;
//!   a chunk holds the segments of it that were read. The chunk that was not used for longest goes first.
//! - [`Flights`](flights::Flights): what is being read, so that two readers of the same bytes cause one READ.
//! - [`Stream`], one per open file: tells a sequential reader, for whom whole chunks
//!   and the next one are read, from a random one, for whom only the pages asked for are.
//! - [`PageCache`]: the short piece around them that waits for [`Source::read`].
//!
//! It knows only "read this range". Which data may still be used is for the caller to know, who
//! drops what is not: [`PageCache::invalidate`] after a write, [`PageCache::drop_file`] when a file
//! was changed by somebody else.
//!
//! Invariants: the bytes kept never exceed the budget. Nothing is kept that was read before the range
//! was invalidated. Nothing is kept of a READ that failed, nor beyond the end of a short one. A reader
//! that goes away leaves nobody waiting.

pub mod chunks;
pub mod flights;
pub mod pages;
pub mod readahead;

pub use pages::{PageCache, Request, Source};
pub use readahead::Stream;
