//! What happens to a file, and what has to be done for it.

use super::handle::Access;
use crate::share::{Caching, Change, FileTime, Granted, LeaseKey, Metadata, ShareError};
use crate::vfs::file::attributes::FetchToken;
use bytes::Bytes;
use std::ops::Range;

/// Something that happened to a file. Handles, opens, jobs and breaks go by the numbers that they were given.
#[derive(Debug)]
pub(crate) enum Event<'a, O> {
    /// The server has opened the file for a handle. WRITEs are cut at multiples of `grid` bytes.
    Opened {
        handle: u64,
        access: Access,
        open: O,
        lease: LeaseKey,
        granted: Granted,
        grid: u32,
    },
    /// The share was asked what is granted under a lease.
    Granted {
        lease: LeaseKey,
        granted: Granted,
    },
    /// Another handle uses an open that is there.
    Joined {
        handle: u64,
        access: Access,
        open: u64,
    },
    /// A program wrote, and the data becomes dirty. `clock` is the time that the file has until the server says another.
    Wrote {
        handle: u64,
        offset: u64,
        data: &'a [u8],
        clock: FileTime,
    },
    /// The server has written data that a program waited for, up to `end`, at `clock` by its clock.
    WroteThrough {
        end: u64,
        clock: FileTime,
    },
    /// Times or attributes were set while data is dirty: they go to the server behind it.
    Deferred {
        change: Change,
        clock: FileTime,
    },
    /// The server has applied a change at `clock` by its clock, or may have.
    Changed {
        change: Change,
        clock: FileTime,
        done: bool,
    },
    /// This mount renamed the file at `clock` by the server's clock.
    NameChanged {
        clock: FileTime,
    },
    /// All that is dirty is wanted at the server: a close, an fsync, or an operation that must come after it.
    Drain,
    /// Data has been dirty for long enough.
    Lingered,
    /// The server has answered a WRITE, and the FLUSH that went with it.
    Sent {
        job: u64,
        result: Result<(), ShareError>,
    },
    /// The server has answered the deferred change.
    Set {
        result: Result<(), ShareError>,
    },
    /// Something that a program was told is done turned out not to be.
    Failed(ShareError),
    /// The server breaks the lease, or it was lost with its session. `number` is for [`Action::Acknowledge`].
    Broken {
        number: u64,
        left: Caching,
        serial: u64,
    },
    /// The session was lost, and with it all opens at the server. The share makes those again that handles use.
    SessionLost,
    /// The kernel has dropped the pages of the file.
    PagesForgotten {
        number: u64,
    },
    /// The server has reported metadata that was asked for with this token.
    Fetched {
        metadata: Metadata,
        token: FetchToken,
    },
    /// A write of the kernel is under way, or has ended: `range` is no longer cached then.
    WriteBegan {
        number: u64,
        range: Range<u64>,
    },
    WriteEnded {
        number: u64,
    },
    /// The kernel has released a handle.
    HandleReleased {
        handle: u64,
    },
    /// The handle's data is at the server: it goes. With `keep` its open may be kept.
    HandleClosed {
        handle: u64,
        keep: bool,
    },
    /// A kept open has to go: the file is removed or renamed, or it was unused for too long.
    KeptOpenUnwanted,
    /// The server has answered a CLOSE.
    Closed {
        open: u64,
    },
}

impl<O> Event<'_, O> {
    /// Whether something has ended that others may wait for.
    pub(crate) fn ends_something(&self) -> bool {
        use Event::*;
        matches!(self, Sent { .. } | Set { .. } | PagesForgotten { .. } | WriteEnded { .. } | Closed { .. })
    }
}

/// What has to be done for a file, outside its lock.
#[derive(Debug, PartialEq)]
pub(crate) enum Action<O> {
    /// WRITE, with a change and a FLUSH behind it in the same compound; then [`Event::Sent`].
    Write { job: u64, open: O, offset: u64, data: Bytes, change: Change, flush: bool },
    /// SET_INFO; then [`Event::Set`].
    Set { open: O, change: Change },
    /// CLOSE; then [`Event::Closed`]. From when it is begun another open may hold the lease no longer: [`Event::Granted`].
    Close { id: u64, open: O },
    /// An [`Event::Lingered`] some time from now.
    Linger,
    /// Gives memory of dirty data back, in bytes.
    Release(u64),
    /// Drops what is cached of a range here.
    Drop(Range<u64>),
    /// Has the kernel drop the file's pages; then [`Event::PagesForgotten`].
    ForgetPages { number: u64 },
    /// Acknowledges a break: all that it asked for is done.
    Acknowledge { number: u64 },
}
