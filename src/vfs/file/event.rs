//! The events of a file, and the actions that follow from them.
//!
//! Invariant: each action that names an event is followed by that event, whether its request succeeds or fails.

use super::handle::Access;
use crate::share::{Caching, Change, FileTime, Granted, LeaseKey, Metadata, Ownership, ShareError};
use crate::vfs::file::attributes::FetchToken;
use bytes::Bytes;
use std::ops::Range;

/// An event of a file. Handles, opens, jobs, writes and breaks are identified by their numbers.
#[derive(Debug)]
pub(crate) enum Event<'a, O> {
    /// The server has opened the file for a handle. WRITEs are cut at multiples of `grid` bytes.
    Opened { handle: u64, access: Access, open: O, lease: LeaseKey, granted: Granted, grid: u32 },
    /// The share has reported the caching granted under a lease.
    Granted { lease: LeaseKey, granted: Granted },
    /// Another handle uses an open that exists already.
    Joined { handle: u64, access: Access, open: u64 },
    /// A program wrote, and the data becomes dirty. `clock` is the file's time until the server reports another.
    Wrote { handle: u64, offset: u64, data: &'a [u8], clock: FileTime },
    /// The server has written data for which a program waited, up to `end`, at `clock` by its clock.
    WroteThrough { end: u64, clock: FileTime },
    /// Times or attributes were set while data is dirty: the change is sent after the data.
    Deferred { change: Change, clock: FileTime },
    /// The server has applied a change at `clock` by its clock. Without `done` the request failed, and may have been
    /// applied.
    Changed { change: Change, clock: FileTime, done: bool },
    /// A program has set owner, group or mode at `clock` by the server's clock: `stored` at the server, `remembered` here.
    Owned { stored: Ownership, remembered: Ownership, clock: FileTime },
    /// This mount renamed the file at `clock` by the server's clock.
    NameChanged { clock: FileTime },
    /// All dirty data must be sent: for a close, an fsync, or an operation that must follow the data.
    Drain,
    /// Data has been dirty for as long as it may stay dirty (`driver::LINGERS`): it is sent.
    Lingered,
    /// A WRITE has ended, with the SET_INFO and the FLUSH sent along: the server has answered, or the share gave up.
    Sent { job: u64, result: Result<(), ShareError> },
    /// The server has answered the SET_INFO with the deferred change.
    Set { result: Result<(), ShareError> },
    /// A failure of something that was already acknowledged to a program.
    Failed(ShareError),
    /// The server breaks the lease, or the lease was lost with its session. `number` is for [`Action::Acknowledge`].
    Broken { number: u64, left: Caching, serial: u64 },
    /// The session was lost, and with it all opens at the server. The share reopens those that handles use.
    SessionLost,
    /// The opens at the server are about to be closed and made again, because a directory above is renamed. Their lease
    /// counts for nothing from now on, so written data goes through.
    PutAside,
    /// The opens of handles were made again, without a lease.
    TakenUp,
    /// The kernel has dropped the pages of the file, as [`Action::ForgetPages`] asked, or has not done so in time.
    PagesForgotten { number: u64 },
    /// The server has reported metadata that was requested with this token.
    Fetched { metadata: Metadata, token: FetchToken },
    /// A kernel WRITE of a range has begun that did not become dirty at once, or a copy to the range.
    WriteBegan { number: u64, range: Range<u64> },
    /// That WRITE or copy has ended. Cached data of its range was dropped before.
    WriteEnded { number: u64 },
    /// The kernel has released a handle.
    HandleReleased { handle: u64 },
    /// A handle ends: the server has answered for its data. With `keep`, its open may be kept.
    HandleClosed { handle: u64, keep: bool },
    /// A kept open must be closed: it would obstruct an operation, its name may mean another file, it was idle for too
    /// long, or there are too many.
    KeptOpenUnwanted,
    /// A CLOSE has ended: the server has answered, or the share gave up.
    Closed { open: u64 },
}

impl<O> Event<'_, O> {
    /// Whether something has ended for which an operation may wait.
    pub(crate) fn ends_something(&self) -> bool {
        use Event::*;
        matches!(self, Sent { .. } | Set { .. } | PagesForgotten { .. } | WriteEnded { .. } | Closed { .. })
    }
}

/// An action for a file, to be done outside its lock.
#[derive(Debug, PartialEq)]
pub(crate) enum Action<O> {
    /// Sends a WRITE, with a change and a FLUSH in the same compound; then [`Event::Sent`].
    Write { job: u64, open: O, offset: u64, data: Bytes, change: Change, flush: bool },
    /// Sends a SET_INFO; then [`Event::Set`].
    Set { open: O, change: Change },
    /// Sends a CLOSE; then [`Event::Closed`]. Once it has begun, the other opens may hold less of the lease:
    /// [`Event::Granted`].
    Close { id: u64, open: O },
    /// Schedules an [`Event::Lingered`].
    Linger,
    /// Releases memory reserved for dirty data, in bytes.
    Release(u64),
    /// Drops the cached data of a range here.
    Drop(Range<u64>),
    /// Has the kernel drop the file's pages and attributes; then [`Event::PagesForgotten`].
    ForgetPages { number: u64 },
    /// Acknowledges a break: everything that it requires is done.
    Acknowledge { number: u64 },
}
