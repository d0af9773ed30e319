//! What is checked before the user is asked for a password: nobody types one for a mountpoint that is in use, or for an
//! address without an SMB server. The mount checks both again.
//!
//! The invariant: a check that succeeds leaves no thread behind, because the process forks after it. A check that fails
//! may leave a stuck one; the process ends then.

use super::remedy::{Goal, explain};
use super::run::connect_config;
use super::{MountError, point};
use crate::config::MountSpec;
use crate::wire::greeting;
use std::time::Duration;

/// How long the runtime may take to end. Only a name resolution can keep it, and that has ended after a success.
const END_LIMIT: Duration = Duration::from_secs(1);

/// Checks that the mountpoint can be mounted on; see [`point::check`].
///
/// # Errors
/// Those of [`point::check`].
pub fn check_mountpoint(spec: &MountSpec) -> Result<(), MountError> {
    point::check(&spec.mountpoint).map(drop)
}

/// Checks that the server answers and offers what the options require, within the time limit for connecting. The
/// identity is not used: nobody signs in.
///
/// # Errors
/// The stage that failed, and the remedy.
pub fn check_server(spec: &MountSpec) -> Result<(), MountError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| MountError::system("the runtime could not be started", error))?;
    let answered = runtime.block_on(greeting::check(&connect_config(spec)));
    runtime.shutdown_timeout(END_LIMIT);
    answered.map_err(|error| explain(spec, Goal::Mount, &error))
}
