//! Puts the parts together: checks the mountpoint, mounts, goes to the background, unmounts.
//!
//! The actors, in the order in which a mount meets them:
//!
//! | module | what it does |
//! |---|---|
//! | [`daemon`] | forks first, while the process has one thread; the parent waits for the child's verdict |
//! | [`core_dump`] | keeps passwords and keys out of core dumps |
//! | [`run`] | takes the next ones in their order, with the server's part between them |
//! | `signals` | takes the signals that would end the process, and says what each means |
//! | [`point`] | says whether the directory can be mounted on, and cleans a dead mount of ours away |
//! | `guardian` | a second process, which ends the mount if this one is killed, and mounts again if asked to |
//! | [`kernel`] | mounts, with mount(2) or through [`fusermount`], and owns the mount until it is gone |
//! | `serving` | serves the mount, heeds signals, and unmounts |
//! | [`notify`] | tells systemd how far we are |
//! | `renewal` | what SIGHUP reads anew |
//!
//! `remains` ends a mount whose process is dead or stuck, and `control` the connection of one; [`mountinfo`] is the
//! kernel's own word on what is mounted; [`deadline`] bounds every step that may
//! meet a file system that does not answer; [`error`] is the one error type of this room.
//!
//! The invariant: nothing stale stays. A [`kernel::Mounted`] that goes out of scope is unmounted,
//! and no mount but our own is ever touched: before each unmount the kernel is asked whether the
//! mount on top of the directory is still ours.

mod control;
pub mod core_dump;
pub mod daemon;
pub mod deadline;
pub mod error;
pub mod fusermount;
mod guardian;
pub mod kernel;
pub mod mountinfo;
pub mod notify;
pub mod point;
mod remains;
mod renewal;
mod run;
mod serving;
mod signals;

#[cfg(test)]
mod testing;

pub use daemon::Failure;
pub use error::{MountError, Stage};
pub use guardian::{COMMAND as GUARD, watch::guard};
pub use remains::clear_away;
pub use renewal::{RenewLog, Renewal};
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
