//! One SMB2 session (MS-SMB2), on one connection or several.
//!
//! A caller submits a [`frame::Chain`] of requests and receives its replies, or one [`WireError`]. The room knows
//! messages, credits, keys and deadlines; it knows no inode and no errno. Its actors are callers
//! ([`share`](crate::share)), three tasks per connection (receive, transmit, timer), and the plain value
//! [`channel::Channel`] between them: bytes, requests and the time go in, frames and answers come out.
//!
//! The invariant: no credit is lost. Every allocated message id is sent, and every reply releases the credits of its
//! request, whether a caller still waits for it or not.
//!
//! Not done here, although SMB has it: Kerberos, re-authentication of an expired session (a new session replaces it),
//! compression, RDMA, DFS referrals, SMB1 negotiation, LOCK. Reconnection is decided in [`share`](crate::share), and so
//! is the absence of durable handles.
//!
//! Near names: a [`Channel`](channel::Channel) is the value, a [`Connection`](connection::Connection) is a channel with
//! its socket and tasks, [`Channels`](channels::Channels) are all connections of a session. [`Refusal`] is the refusal
//! of a sign-in; `share::Refusal` is that of an operation on a file.
//!
//! Where a matter is decided, from a host name to a share:
//!
//! | file | what is decided there |
//! |---|---|
//! | [`connect`] | the steps to a share and their order, and the session's further connections; the server's clock |
//! | [`transport`] | addresses, the TCP connection, receiving frames, the queue of bytes to send |
//! | [`greeting`] | what is learned from an address without signing in |
//! | [`netbios`] | the NetBIOS session on port 139 |
//! | [`negotiate`] | dialect, ciphers, signing algorithm, maximum sizes; their validation below SMB 3.1.1 |
//! | [`signin`] | SESSION_SETUP and session binding; whether a session signs or encrypts; guest sessions |
//! | `signin/refusal` | which status of a failed sign-in refuses the password, which the account; the user's remedy |
//! | [`ntlm`] | the tokens of a sign-in: NTLM in SPNEGO, and anonymous NTLM; the copy of the password for `sspi` |
//! | [`error`] | why a request has no answer, why there is no connection, whether the password's proof was sent |
//! | [`status`] | NTSTATUS values and their names |
//! | [`structures`] | which structures of the `smb` crates are used, and why the others are not |
//!
//! From a request to its reply:
//!
//! | file | what is decided there |
//! |---|---|
//! | [`channels`] | which connection carries a request; which timeouts end the session; their common end |
//! | [`connection`] | the futures around one connection: cancellation, work on the kernel's thread, queued breaks |
//! | `connection/shared` | the channel's lock, and how its consequences (frames, answers, the end) are carried out |
//! | `connection/tasks` | the tasks that receive, transmit and keep time |
//! | `connection/pieces` | a compound sent as single requests, when the server grants too few credits |
//! | [`channel`] | when a chain is sent, which caller a reply belongs to, what is due; deadlines and cancellation |
//! | [`credits`] | the credit window, message ids, and the order of small requests and bulk |
//! | [`table`] | the requests in flight, and when the replies to a chain are complete |
//! | [`keep_alive`] | when a quiet connection is probed and when it is given up |
//! | [`protection`] | which messages are signed or encrypted; which replies are accepted, which unverified |
//! | [`crypto`] | `encryption`: AES-CCM and AES-GCM; `signing`: HMAC, CMAC and GMAC; `kdf`: the keys of a session |
//! | [`frame`] | requests to frames and frames to replies: compounds, padding, what is copied and what is sliced |
//! | [`framing`] | the boundaries of frames in the byte stream |
//! | [`header`] | the 64-byte packet header |
//! | [`codec`] | checked little-endian fields, lists and lengths |
//! | [`messages`] | the bodies of the requests on files and the structure of their responses |
//! | [`srvsvc`] | the list of a server's shares: the RPC call on a named pipe, and how far its answer is believed |

// A length that wraps while it is written makes the server read another structure than the client wrote.
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
pub mod greeting;
pub mod header;
pub mod keep_alive;
pub mod messages;
pub mod negotiate;
pub mod netbios;
pub mod ntlm;
pub mod protection;
pub mod signin;
pub mod srvsvc;
pub mod status;
pub mod structures;
pub mod table;
pub mod transport;

#[cfg(test)]
pub(crate) mod scripted;

pub use connect::{ConnectConfig, Terms, Tree};
pub use error::{ConnectError, Proof, Stage, WireError};
pub use signin::Refusal;
pub use status::NtStatus;
