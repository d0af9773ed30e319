//! The operations of [`Share`](super::Share) on a server, by trait.

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

/// The CREATE of what exists: a symbolic link itself, rather than what it points to.
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
