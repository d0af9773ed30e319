//! The bodies of the messages that work on files, written and read by hand from MS-SMB2 and MS-FSCC.
//!
//! Requests know the file they work on as 16 bytes; [`RELATED_FILE`](super::frame::RELATED_FILE) stands
//! for the file of the message before in a compound. Responses are checked field by field: `check` before they are
//! handed on, the parsers when they are used.

mod check;
pub mod contexts;
pub mod create;
pub mod info;
pub mod io;
pub mod ioctl;
pub mod lease;
pub mod notify;

pub(super) use check::check;

/// An open's FileId (MS-SMB2 2.2.14.1).
pub type FileId = [u8; 16];
