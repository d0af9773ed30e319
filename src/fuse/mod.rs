//! The only room that names fuser: between the kernel's FUSE requests and [`vfs`](crate::vfs).
//!
//! - [`adapter`]: decodes each request, calls the file system, sends the reply. What needs no
//!   waiting is answered on fuser's thread at once; the rest begins there and goes on in the runtime, with the reply.
//! - `begin`: how that is done. `answer`: how it is answered; `abandoned`: that its program was killed meanwhile; `claims`: what
//!   an operation whose program is gone keeps for itself.
//! - `call`: one request, with its span, its errors and its counters.
//! - `convert`: types and flags of fuser in ours, and back.
//! - `init`: what is agreed on with the kernel at the beginning.
//! - `late`: replies whose requests are gone.
//! - [`session`]: one mounted file system, from the descriptor of `/dev/fuse` to its end.
//!
//! Invariants: a fuser thread never waits for the share and never panics (fuser would silently lose
//! the thread). Each request gets exactly one reply. An error is logged once, here, with its cause.

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

#[cfg(test)]
mod tests;

pub use adapter::Adapter;
pub use late::is_late_reply;
pub use session::{Session, serve};
