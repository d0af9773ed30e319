//! The bodies of the requests on files, and the parsers of their responses (MS-SMB2 2.2.13 to 2.2.40, MS-FSCC).
//!
//! A request names its file by a [`FileId`]; [`RELATED_FILE`](super::frame::RELATED_FILE) means the file of the message
//! before it in a compound. Functions that make requests cannot fail: a part that is too long fails in
//! [`Chain::fits`](super::frame::Chain::fits). Responses are checked field by field: by `check` before a caller
//! receives them, and by the parsers when they are used. A wrong field is [`Malformed`](super::codec::Malformed).
//!
//! | file | what is decided there |
//! |---|---|
//! | `check` | which parts of a response are checked before a caller receives it |
//! | [`create`] | CREATE and CLOSE: access, disposition, options, sharing |
//! | [`contexts`] | the create contexts: which are requested and which are understood |
//! | [`lease`] | leases, oplocks, their breaks and acknowledgements |
//! | [`io`] | READ, WRITE, FLUSH; when the data of a READ is copied |
//! | [`info`] | QUERY_DIRECTORY, QUERY_INFO, SET_INFO: listings, attributes, space, rename, deletion |
//! | [`ioctl`] | server-side copy: resume keys, chunks, shared extents |
//! | [`reparse`] | reparse points: links and special files, as data and as requests |
//! | [`notify`] | CHANGE_NOTIFY: which changes a watch reports |
//! | [`snapshots`] | previous versions: which paths lead to one, and the list of them |
//! | [`security`] | security descriptors: owner, group and mode in them, and what a change leaves as it is |
//!
//! LOCK has no request here.
//!
//! Invariant: what is parsed of a response is never larger than the response.

mod check;
pub mod contexts;
pub mod create;
pub mod info;
pub mod io;
pub mod ioctl;
pub mod lease;
pub mod notify;
pub mod reparse;
pub mod security;
pub mod snapshots;

pub(super) use check::check;

/// The FileId of an open (MS-SMB2 2.2.14.1): 16 bytes.
pub type FileId = [u8; 16];
