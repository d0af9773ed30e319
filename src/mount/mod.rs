//! Puts the parts together: checks the mountpoint, mounts, goes to the background, unmounts.
//!
//! The actors, in the order in which a mount meets them:
//!
//! | module | what it does |
//! |---|---|
//! | [`daemon`] | forks first, while the process has one thread; the parent waits for the child's verdict |
//! | [`core_dump`] | keeps passwords and keys out of core dumps |
//! | [`point`] | says whether the directory can be mounted on, and cleans a dead mount of ours away |
//! | [`kernel`] | mounts, with mount(2) or through [`fusermount`], and owns the mount until it is gone |
//! | [`notify`] | tells systemd how far we are |
//! | [`run`] | takes these in their order, with the server's part between them |
//!
//! [`mountinfo`] is the kernel's own word on what is mounted; [`deadline`] bounds every step that may
//! meet a file system that does not answer; [`error`] is the one error type of this room.
//!
//! The invariant: nothing stale stays. A [`kernel::Mounted`] that goes out of scope is unmounted,
//! and no mount but our own is ever touched: before each unmount the kernel is asked whether the
//! mount on top of the directory is still ours.

pub mod core_dump;
pub mod daemon;
pub mod deadline;
pub mod error;
pub mod fusermount;
pub mod kernel;
pub mod mountinfo;
pub mod notify;
pub mod point;
mod run;

#[cfg(test)]
mod testing;

pub use daemon::Failure;
pub use error::{MountError, Stage};
pub use run::run;

/// Where the process serves the mount.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum RunMode {
    /// In the process that was started, until the mount ends.
    Foreground,
    /// In a child that outlives the process that was started; that one ends when the mount works.
    #[default]
    Background,
}
