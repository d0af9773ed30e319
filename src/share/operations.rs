//! The operations of [`Share`](super::Share) on a server: one compound per operation wherever the protocol allows.
//!
//! - `files.rs`: open files: metadata, read, write, flush, close, set.
//! - `names.rs`: stat, creating directories, removing them, renaming, listing, free space.
//! - `removal.rs`: how a file is removed that other clients may have open.
//! - `replacing.rs`: how a file is renamed over one that this client has open.
//! - `watches.rs`, `leases.rs`: the watches, the events and the acknowledgement of breaks.
//! - `wanted.rs`: what opens request that must not break this client's own leases.
//!
//! Invariant: each change goes through [`changing`](super::changing) (open files) or [`replay`](super::replay)
//! (names), unless it has the same effect twice as once.

mod files;
mod leases;
mod names;
mod removal;
mod replacing;
mod wanted;
mod watches;

use super::types::RemotePath;
use crate::wire::frame::Request;
use crate::wire::messages::create::{Create, disposition, options};
use crate::wire::messages::lease::Wanted;

/// The CREATE of something that exists. A symbolic link itself is opened, not its target. `kind` holds further
/// CreateOptions: directory, non-directory, delete on close.
pub(super) fn existing(path: &RemotePath, access: u32, kind: u32, wanted: Wanted) -> Request {
    let create = Create {
        path: path.as_utf16(),
        access,
        attributes: 0,
        disposition: disposition::OPEN,
        options: options::REPARSE_POINT | kind,
    };
    create.request_caching(wanted)
}
