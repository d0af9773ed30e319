//! The operations of the file system: one file per group, each of functions over a [`Vfs`](super::Vfs).
//!
//! What several operations share is below them: in the parts of the `Vfs`, or in `opening`, `revalidate`, `hiding`,
//! `removing`, `pending` and `changing`. These never call an operation.

mod attributes;
mod changing;
mod close;
mod copy;
mod create;
mod hiding;
mod list;
mod lookup;
mod open;
mod opening;
mod pending;
mod read;
mod remove;
mod removing;
mod rename;
mod revalidate;
mod statfs;
mod sync;
mod unanswered;
mod write;

pub use attributes::{SetAttr, SetTime, getattr, known_attributes, setattr};
pub use close::{drain, release};
pub use copy::{Copying, begin_copy, finish_copy};
pub use create::{create, mkdir, mknod};
pub use list::{Listed, opendir, readdir, releasedir};
pub use lookup::{forget, known_entry, lookup};
pub use open::{open, open_now};
pub use opening::Opened;
pub use read::{Reading, begin_read, cached, finish_read};
pub use remove::{rmdir, unlink};
pub use rename::rename;
pub use statfs::statfs;
pub use sync::{flush, flushed, fsync};
pub use unanswered::{attributes_unanswered, entry_unanswered, open_unanswered};
pub use write::{Writing, begin_write, finish_write, write_now};
