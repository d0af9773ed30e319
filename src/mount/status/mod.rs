//! What a running mount tells about itself, through a socket of its own.
//!
//! | module | what it does |
//! |---|---|
//! | `directory` | where sockets are, so that no other user can put one there |
//! | `report` | collects a [`Status`](crate::telemetry::status::Status) from the parts of a mount |
//! | `server` | answers requests on the socket |
//! | [`client`] | asks the mounts of this user, or of all users for root |
//!
//! The protocol: the client sends one line, `Request` as JSON, and the mount answers one line and closes. The line of
//! an answer is at most `LONGEST_ANSWER` bytes.
//!
//! Invariants: only the user who mounted, and root, get an answer. An answer waits neither for the share's server nor
//! for the kernel. A client that does not read or write costs one descriptor for a few seconds.

pub mod client;
mod directory;
pub(super) mod report;
pub(super) mod server;

use serde::{Deserialize, Serialize};

/// The longest answer, in bytes.
const LONGEST_ANSWER: u64 = 1 << 20;
/// The longest request, in bytes.
const LONGEST_REQUEST: u64 = 4096;

/// What a client asks a mount.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(tag = "request", rename_all = "lowercase")]
enum Request {
    /// The mount's status.
    Status,
}
