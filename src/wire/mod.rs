//! One SMB2 session, on one connection or several.
//!
//! A [`frame::Chain`] of requests goes in, its replies come out, or one [`WireError`] says why not.
//! What lies between are small parts, each a plain value or a short task:
//!
//! | part | what it does |
//! |---|---|
//! | [`connect`] | the way to a share: [`transport`] or [`netbios`], [`negotiate`], [`signin`] with [`ntlm`], tree connect |
//! | [`channels`] | the connections of a session, and which of them carries a request |
//! | [`connection`] | a channel, a socket, and the tasks around it |
//! | [`channel`] | one connection of a session as a plain value: what is sent when, what an answer belongs to, what is due |
//! | [`credits`] | the credit window and message ids, and who goes first |
//! | [`table`] | the requests in flight |
//! | [`keep_alive`] | how a server that has gone is noticed |
//! | [`protection`] | what is signed or encrypted, and what must be true of the replies |
//! | [`framing`], [`frame`], [`header`], [`codec`] | messages to bytes and back, every field checked |
//! | [`crypto`] | keys, signatures, encryption |
//! | [`messages`] | the bodies of the messages that work on files |
//!
//! The invariant: a credit is never lost. Every id that was taken was sent, every reply that comes
//! gives back what its request held, whether a caller still waits for it or not.

// A length that wraps on its way out makes the server read something else than was meant.
#![cfg_attr(not(test), warn(clippy::cast_possible_truncation))]

pub mod channel;
pub mod channels;
pub mod codec;
pub mod connect;
pub mod connection;
pub mod credits;
pub mod crypto;
pub mod error;
pub mod frame;
pub mod framing;
pub mod header;
pub mod keep_alive;
pub mod messages;
pub mod negotiate;
pub mod netbios;
pub mod ntlm;
pub mod protection;
pub mod signin;
pub mod status;
pub mod table;
pub mod transport;

#[cfg(test)]
pub(crate) mod scripted;

pub use connect::{ConnectConfig, Terms, Tree};
pub use error::{ConnectError, Proof, Stage, WireError};
pub use signin::Refusal;
pub use status::NtStatus;
