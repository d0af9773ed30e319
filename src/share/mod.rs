//! The remote share as typed operations.
//!
//! [`Share`] is what the rooms above see: paths and handles in, metadata and bytes out, an
//! [`ShareError`] with its NTSTATUS otherwise. It knows no inode and no errno. Each operation is one
//! round trip wherever the protocol allows.

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
mod extents;
mod file;
mod gathering;
mod identity;
mod leases;
mod limits;
mod link;
mod listing;
#[cfg(test)]
pub(crate) mod memory;
#[cfg(test)]
pub(crate) mod model;
mod opening;
mod operations;
mod pieces;
mod places;
mod read_back;
mod readonly;
mod record;
mod records;
mod refusal;
mod refusals;
mod reopen;
mod replay;
mod session;
mod slices;
mod smb;
mod task;
mod traits;
pub mod types;
mod unflushed;
mod verify;
mod watch;

pub use breaks::Events;
pub use error::ShareError;
pub use events::Event;
pub use file::SmbFile;
pub use leases::Broken;
pub use link::IdentitySource;
pub use listing::SmbListing;
pub use refusal::Refusal;
pub use session::SessionState;
pub use smb::SmbShare;
pub use traits::{Files, Leases, Names, Share, Watches};
pub use types::{
    After, Again, Attributes, Caching, Change, ChangeKind, CreateAction, DirChange, DirEntry, Disposition,
    FileIdentity, FileKind, FileTime, Granted, IoLimits, Lease, LeaseKey, Metadata, OpenHow, RemotePath, Space, Target,
};
pub use watch::SmbWatch;

/// The result of an operation on the share.
pub type Result<T> = std::result::Result<T, ShareError>;
