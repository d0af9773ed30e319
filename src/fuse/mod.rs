//! The only room that names fuser: between the kernel's FUSE requests and [`vfs`](crate::vfs).
//!
//! The files, and what is decided in each:
//!
//! - [`adapter`]: decodes each request, calls the file system, sends the reply. A request that needs no waiting is
//!   answered on fuser's thread at once; any other starts there and continues in the runtime, which also sends the
//!   reply. At the end of the session it closes all files at the server.
//! - `begin`: how an operation starts on fuser's thread and continues in the runtime.
//! - `answer`: how a request is answered, with its result or with EINTR, and how an unanswered result is undone.
//! - `abandoned`: whether the program of a waiting request was killed.
//! - `claims`: which requests must wait for an operation that continues after its program was killed.
//! - `call`: one request of the kernel, with its span, its counters and the log line of its error.
//! - `convert`: types and flags of fuser to types of this program, and back.
//! - `init`: which FUSE features are negotiated at the start.
//! - `system_call`: which name the rename that waits for a lookup is about to give.
//! - `notify`: the threads that make the kernel drop cached names, attributes and pages.
//! - `late`: which log lines of fuser are only replies to requests that are gone.
//! - [`session`]: one mounted file system, from the descriptor of `/dev/fuse` to its end.
//!
//! Not supported: extended attributes that programs set, `fallocate`, ioctls. Not used:
//! the kernel's write-back cache, negative dentries, FUSE_INTERRUPT (see `abandoned`), and locks at the server: `flock`
//! and `fcntl` locks stay in the kernel.
//!
//! Invariants: fuser's thread does not wait for the share before the session ends, and never panics (fuser would lose
//! the thread silently). Each request that expects a reply gets exactly one. An error of the file system is logged
//! once, here, with its cause.

mod abandoned;
pub mod adapter;
mod answer;
mod begin;
mod call;
mod claims;
mod convert;
mod init;
mod late;
mod notify;
pub mod session;
mod system_call;

#[cfg(test)]
mod tests;

pub use adapter::Adapter;
pub use late::is_late_reply;
pub use session::{Session, serve};
