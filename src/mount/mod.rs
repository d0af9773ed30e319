//! Puts the parts together: checks the mountpoint, connects, mounts, goes to the background, unmounts.
//!
//! The files, in the order in which a mount uses them, and what is decided in each:
//!
//! | module | what it does |
//! |---|---|
//! | [`core_dump`] | keeps passwords and keys out of core dumps |
//! | `before` | what is checked before the user is asked for a password |
//! | [`daemon`] | forks while the process has one thread; the parent waits for the child's result |
//! | [`run`] | runs the following steps in their order, and connects to the server between them |
//! | `signals` | receives the signals that would end the process, and decides what each means |
//! | [`point`] | decides whether the directory can be mounted on, and unmounts a dead mount of this program there |
//! | `guardian` | a second process, which ends the mount if this one is killed, and mounts again if requested |
//! | [`kernel`] | mounts, with mount(2) or through [`fusermount`], and owns the mount until it is gone |
//! | `serving` | makes and serves the mount, handles signals, unmounts, closes all files; the time limits of the end |
//! | `summary` | the line for the user that says what was mounted |
//! | [`notify`] | reports the state of the mount to systemd |
//! | `renewal` | decides what SIGHUP reads again |
//! | [`socket`] | answers on a socket what the mount is doing, changes what can be changed, and asks other mounts |
//! | `clients` | bounds the clients of such a socket, so that none keeps the others out |
//! | `metrics` | offers the metrics of a mount over HTTP |
//! | [`remount`] | makes a running mount read-only or writable |
//! | `remains` | ends a mount whose process is dead or stuck |
//! | `control` | ends a FUSE connection through the kernel's control file system |
//! | `remedy` | what the user can do about a failed connection |
//! | [`discovery`] | lists the servers that announce themselves in the local network |
//! | [`doctor`] | takes the steps of a mount one by one and says what was found, without a mount |
//! | `listing` | lists the shares of a server, without a mount |
//! | [`mountinfo`] | the kernel's table of mounts, and which of them a path leads to |
//! | [`deadline`] | bounds every step that may meet a file system that does not answer |
//! | [`error`] | the one error type of this room: stage, message, remedy, exit code |
//!
//! Near names: [`point`] checks the directory before the mount, [`mountinfo`] reads the kernel's table; `guardian` is
//! the second process, `remains` has the steps by which it ends a mount; `control` aborts a FUSE connection,
//! [`kernel`] unmounts.
//!
//! The invariant: no stale mount is left behind, and no mount of another program is unmounted. A [`kernel::Mounted`] is
//! detached when it is dropped, and before each unmount the kernel's table is checked: the mount on top of the
//! directory must be this program's. One gap is left: if another mount covers a new one at once, [`kernel::mount`]
//! fails and the dead mount stays.

mod before;
mod clients;
mod control;
pub mod core_dump;
pub mod daemon;
pub mod deadline;
pub mod discovery;
pub mod doctor;
pub mod error;
pub mod fusermount;
mod guardian;
pub mod kernel;
mod listing;
mod metrics;
pub mod mountinfo;
pub mod notify;
pub mod point;
mod remains;
mod remedy;
pub mod remount;
mod renewal;
mod run;
mod serving;
mod signals;
pub mod socket;
mod summary;

#[cfg(test)]
mod testing;

pub use crate::share::{ListedShare, ShareKind};
pub use crate::wire::connect::PIPES;
pub use before::{check_mountpoint, check_server};
pub use daemon::Failure;
pub use error::{MountError, Stage};
pub use guardian::{COMMAND as GUARD, watch::guard};
pub use listing::{shares, sign_in};
pub use remains::end_dead_mounts;
pub use renewal::{CurrentLevel, Renewal, RunningLog};
pub use run::{Print, run};

/// Which process serves the mount.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum RunMode {
    /// The calling process, until the mount ends.
    Foreground,
    /// A child process. The calling process returns when the mount works.
    #[default]
    Background,
}
