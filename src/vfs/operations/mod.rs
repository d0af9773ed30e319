//! The operations of the file system, one for each request of the kernel: functions over a [`Vfs`](super::Vfs).
//!
//! An operation checks the request, drains or closes what is in its way, sends one request to the share where that is
//! possible, and records the answer in the namespace and the file.
//!
//! | file | what is decided there |
//! |---|---|
//! | `lookup` | which inode a name means; whether another client has renamed a file |
//! | `attributes` | which changes of attributes are sent, and by which handle or path; which are ignored or refused |
//! | `open` | whether a live open at the server serves an open(2) |
//! | `create` | how files and directories are made |
//! | `read` | whether a read is answered from dirty data, from the page cache or by the server; the read-ahead |
//! | `write` | whether a write becomes dirty, waits for room, or goes through to the server |
//! | `copy` | which part of a copy_file_range(2) the server copies |
//! | `sync` | when close(2) and fsync(2) return, and how a FLUSH is sent |
//! | `close` | what happens when the kernel releases a handle: whether its open is kept |
//! | `remove` | how unlink(2) and rmdir(2) treat open files and kept opens |
//! | `rename` | in which cases a rename replaces its target, and how |
//! | `list` | which entries a readdir gets, and with which attributes |
//! | `special` | how links and special files are made, and when the target of a link is fetched |
//! | `xattr` | which extended attributes there are, and their values |
//! | `statfs` | whether the cached free space is used |
//! | `unanswered` | what is undone when the kernel did not get the answer, because the program was killed |
//!
//! Several operations share these files, which never call an operation:
//!
//! | file | what is decided there |
//! |---|---|
//! | `opening` | how a file is opened at the server, and what an open means for the caches |
//! | `revalidate` | whether attributes are fetched, and through which handle or path |
//! | `moving` | how a directory is renamed although something below it is open here |
//! | `hiding` | under which hidden name an open file continues when it is removed |
//! | `removing` | how a path is removed at the server: read-only files, files that are open elsewhere |
//! | `pending` | how long an operation waits for a name that is still being deleted |
//! | `changing` | which cached data a write at the server makes invalid |
//!
//! There is no operation that stores extended attributes, or for byte-range locks, fallocate(2) or SEEK_HOLE: `fuse`
//! refuses them, or the kernel answers alone (locks are local to this machine, and a file has no holes).
//!
//! Invariant: each operation ends, because each request to the share does; and its effect on the server is recorded
//! also when it fails.

mod attributes;
mod changing;
mod close;
mod copy;
mod create;
mod hiding;
mod link;
mod list;
mod lookup;
mod moving;
mod open;
mod opening;
mod pending;
mod read;
mod remove;
mod removing;
mod rename;
mod revalidate;
mod special;
mod statfs;
mod sync;
mod unanswered;
mod write;
mod xattr;

pub use attributes::{SetAttr, SetTime, estimated_attributes, getattr, known_attributes, name_of, setattr, written_by};
pub use close::{drain, release};
pub use copy::{Copying, begin_copy, finish_copy};
pub use create::{Maker, create, mkdir, mknod};
pub use link::link;
pub use list::{Listed, opendir, readdir, releasedir};
pub use lookup::{forget, is_other_spelling, known_entry, lookup};
pub use open::{open, open_now};
pub use opening::Opened;
pub use read::{Reading, begin_read, cached, finish_read};
pub use remove::{rmdir, unlink};
pub use rename::rename;
pub use special::{readlink, symlink};
pub use statfs::statfs;
pub use sync::{flush, flushed, fsync, write_back};
pub use unanswered::{attributes_unanswered, entry_unanswered, open_unanswered};
pub use write::{Position, Writing, begin_write, finish_write, write_now};
pub use xattr::{Xattr, getxattr, known_xattr};
