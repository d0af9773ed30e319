//! The remote share as typed operations.
//!
//! The rooms above see [`Share`]: paths and handles in, metadata and bytes out, or a [`ShareError`] with the server's
//! NTSTATUS. This room knows no inode and no errno. Each operation is one round trip wherever the protocol allows.
//!
//! Actors: [`SmbShare`] has all operations of one mount. Its link owns the session and reconnects in the background.
//! The lease table receives breaks and answers what may be cached. An [`SmbFile`] is one open and outlives its
//! connection. A record per file, shared by all opens of it, survives the session.
//!
//! No open survives its session: durable, resilient and persistent handles are not requested. An open is made again by
//! its path, and continues only if the path still means its file.
//!
//! Not used either: byte-range locks at the server (LOCK), extended attributes, alternate data streams and DFS referrals.
//!
//! Invariant: after a lost session a change is reported as done only if the server's answer or the state of the share
//! shows it, it is sent again only if that does no harm, and held-back data is not written over another client's data.
//!
//! What is decided where:
//!
//! The contract
//!
//! - `traits.rs`: the five traits of a share, and the errors of each operation.
//! - `types.rs`: paths, times, attributes, leases, changes and limits: the plain values of the traits.
//! - `ownership.rs`: owner, group and mode of a file.
//! - `refusal.rs`: which [`Refusal`] an NTSTATUS means for an operation; the errno for it is in `vfs/errno.rs`. Refused
//!   credentials are another type, `wire::Refusal`: see `sign_in_pauses.rs`.
//! - `error.rs`: the error type, its causes and their sentences for the log.
//! - `space.rs`: which query for size and free space a server answers.
//! - `limits.rs`: which refusals mean a read-only share or a file that would be too long (the sizes of READ and WRITE,
//!   [`IoLimits`], are chosen by the caller of [`SmbShare::connect`]).
//!
//! Sending
//!
//! - `smb.rs`: how a compound is sent, and sent again on the next session; the access that an open requests; how long a
//!   CLOSE waits for others; the largest READ or WRITE that the credits allow.
//! - `operations.rs`: the compound of each operation, in the files below it.
//! - `task.rs`: operation and path of an error; which status of a reply fails an operation.
//! - `gathering.rs`: which requests share a frame, and when it is sent.
//! - `pieces.rs`: how a read is split into READs (a write into WRITEs: `operations/files.rs`).
//! - `auxiliary.rs`: when there is a second session, for requests that another client has to send.
//!
//! The session
//!
//! - `session.rs`: the state of the session, what may be done after a loss, and how long operations wait.
//! - `backoff.rs`: the pause before the next attempt to connect.
//! - `sign_in_pauses.rs`: when refused credentials may be sent again.
//! - `link.rs`: how the session is restored, whether the new one names the old one, and its lineage.
//! - `attempts.rs`: how often one operation is sent again, and when that is unsafe.
//!
//! Open files
//!
//! - `opening.rs`: the compound of an open.
//! - `creating.rs`: how a new file is opened if the answer to its creation was lost.
//! - `file.rs`: the state of one open, and whether it may still be written after a conflict.
//! - `by_key.rs`: opens under a lease key that request no caching.
//! - `reopen.rs`: whether a file that is opened again may continue, and be written.
//! - `identity.rs`: whether a file that is found by name is the one that was open (credentials: `config::Identity`).
//! - `moving.rs`: how a directory is renamed although files below it are open here.
//! - `uses.rs`: which requests use an open, so that it can be closed between two of them.
//! - `readonly.rs`: how a read-only file is opened again for writing.
//! - `places.rs`: the paths under which an open file may be after renames.
//! - `records.rs`: the table of records: which record a file has, and how long it is kept after the last close.
//! - `record.rs`: one record: whether another client changed the file while the session was lost.
//! - `changing.rs`: whether a change of an open file is sent again.
//! - `unflushed.rs`: which data is not flushed, and its checksums.
//! - `read_back.rs`: whether the server still has the data that it acknowledged.
//! - `copying.rs`: whether blocks are shared or chunks copied on the server.
//! - `slices.rs`: how much of a copy one request carries.
//! - `extents.rs`: which part of a copy can be done by sharing blocks.
//!
//! Changes without an answer
//!
//! - `replay.rs`: when a change is verified, sent again or given up.
//! - `verify.rs`: whether such a change was made, from what the names mean now.
//!
//! Leases and events
//!
//! - `leases.rs`: the lease table: what may be cached under a key, whatever the order of grants and breaks.
//! - `breaks.rs`: how breaks reach the lease table; what an open requests in each dialect.
//! - `events.rs`: the order of breaks, and of losses and returns of the session.
//! - `closing_alone.rs`: whether another client can have a file open while its CLOSE is in flight.
//! - `directory_leases.rs`: which parent key an open names, to keep the lease on its directory.
//!
//! Owners
//!
//! - `owners.rs`: how owner, group and mode are read and stored in security descriptors, and when that is given up.
//!
//! Directories
//!
//! - `listing.rs`: how a directory is listed.
//! - `watch.rs`: whether a lease or CHANGE_NOTIFY watches a directory, and what a second look means.
//! - `directory.rs`: when the open of a listing and its watch is closed.
//!
//! Previous versions
//!
//! - `previous.rs`: which previous versions the server has, how they are shown, and that they are never changed.
//!
//! Links and special files
//!
//! - `kinds.rs`: what a file can be.
//! - `special`: how symbolic links, fifos, sockets and devices are recognised and made.
//! - `reserved.rs`: the characters that are sent for those that SMB reserves.
//!
//! The server
//!
//! - `examination.rs`: what a folder and its file system allow, for a diagnosis.
//! - `listing_shares.rs`: which shares the server has, on a session of its own.
//!
//! Tests only
//!
//! - `memory.rs`: a share in memory, for the rooms above.
//! - `model.rs`: the plain values of this room, for models of the rooms above.

mod attempts;
mod auxiliary;
mod backoff;
mod breaks;
mod by_key;
mod changing;
mod closing_alone;
mod copying;
mod creating;
mod directory;
mod directory_leases;
pub mod error;
mod events;
mod examination;
mod extents;
mod file;
mod gathering;
mod identity;
mod kinds;
mod leases;
mod limits;
mod link;
mod listing;
mod listing_shares;
#[cfg(test)]
pub(crate) mod memory;
#[cfg(test)]
pub(crate) mod model;
mod moving;
mod opening;
mod operations;
mod owners;
mod ownership;
mod pieces;
mod places;
mod previous;
mod read_back;
mod readonly;
mod record;
mod records;
mod refusal;
mod reopen;
mod replay;
pub mod reserved;
mod session;
mod sign_in_pauses;
mod slices;
mod smb;
mod space;
mod special;
mod task;
mod traits;
pub mod types;
mod unflushed;
mod uses;
mod verify;
mod watch;

pub use crate::wire::messages::info::{Volume, feature};
pub use crate::wire::srvsvc::{ListedShare, ShareKind};
pub use breaks::Events;
pub use error::ShareError;
pub use events::Event;
pub use examination::Rights;
pub use file::SmbFile;
pub use leases::Broken;
pub use link::IdentitySource;
pub use listing::SmbListing;
pub use listing_shares::{shares, sign_in};
pub use ownership::Ownership;
pub use previous::is_unlisted_name;
pub use refusal::Refusal;
pub use session::SessionState;
pub use smb::SmbShare;
pub use traits::{Files, Leases, Names, Owners, Share, Watches};
pub use types::{
    After, Again, Attributes, Caching, Change, ChangeKind, CreateAction, Device, DirChange, DirEntry, Disposition,
    FileIdentity, FileKind, FileTime, Granted, IoLimits, Lease, LeaseKey, Metadata, NewSpecial, OpenHow, RemotePath,
    Space, Special, Target,
};
pub use watch::SmbWatch;

/// The result of an operation on the share.
pub type Result<T> = std::result::Result<T, ShareError>;
