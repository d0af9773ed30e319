//! The private socket of a mount: what a running mount tells about itself, and what can be changed of it.
//!
//! | module | what it does |
//! |---|---|
//! | `directory` | where sockets are, so that no other user can put one there; which of them are dead |
//! | `exchange` | one request and its answer, within a time limit, from a process of the right user |
//! | `place` | which mount of this program a path is in, from the kernel's table |
//! | `report` | collects a [`Status`](crate::telemetry::status::Status) from the parts of a mount |
//! | `server` | answers requests on the socket |
//! | [`client`] | asks the mounts of this user, or of all users for root; finds the mount that a path is in |
//!
//! The protocol: the client sends one line, `Request` as JSON, and the mount answers one line and closes. An answer is
//! what was requested, or `{"error": "…"}`, and then nothing has changed. Its line is at most `LONGEST_ANSWER` bytes.
//!
//! Invariants: only the user who mounted, and root, get an answer. An answer waits neither for the share's server nor
//! for the kernel; `Request::Drain` alone does, up to a limit. A client that does not read or write costs one descriptor
//! for a few seconds.

pub mod client;
pub(super) mod directory;
mod exchange;
mod place;
pub(super) mod report;
pub(super) mod server;

use serde::{Deserialize, Serialize};
use std::time::Duration;

/// The longest answer, in bytes.
const LONGEST_ANSWER: u64 = 1 << 20;
/// The longest request, in bytes.
const LONGEST_REQUEST: u64 = 4096;
/// The time that a mount has to send its dirty data to the server before it becomes read-only.
const DRAIN_LIMIT: Duration = Duration::from_secs(30);

/// What a client asks of a mount.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(tag = "request", rename_all = "lowercase")]
enum Request {
    /// The mount's [`Status`](crate::telemetry::status::Status).
    Status,
    /// Its [`CurrentLevel`](super::CurrentLevel), after a change to `set`.
    Log {
        /// A level or a filter as a user writes it, or `configured`.
        set: Option<String>,
    },
    /// Its [`MountCommand`](crate::config::MountCommand).
    Command,
    /// Sends all dirty data to the server. The answer is [`Done`].
    Drain,
    /// The kernel lets programs change the mount from now on, or not. The answer is [`Done`].
    Access {
        /// Whether the mount is read-only from now on.
        read_only: bool,
    },
}

/// The answer to a request that has no other answer.
#[derive(Debug, Serialize, Deserialize)]
struct Done {
    /// Always `true`.
    done: bool,
}

/// An answer, or why there is none.
#[derive(Debug, Serialize, Deserialize)]
#[serde(untagged)]
enum Answer<T> {
    /// What prevented it, for the user.
    Failed { error: String },
    /// What was requested.
    Is(T),
}
