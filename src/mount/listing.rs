//! What a server says without a mount: its shares, and whether it accepts an account. The errors are those of a mount.
//! The process stays in the foreground.

use super::MountError;
use super::remedy::{Goal, explain};
use super::run::connect_config;
use crate::config::MountSpec;
use crate::share::{self, ListedShare};
use crate::wire::ConnectError;

/// The shares of the server that `spec` names, listed for its account with its options of the connection. The share,
/// the folder and the mountpoint of `spec` are not used.
///
/// # Errors
/// The stage that failed, and the remedy.
pub fn shares(spec: &MountSpec) -> Result<Vec<ListedShare>, MountError> {
    asked(spec, share::shares(connect_config(spec), spec.options.request_timeout))
}

/// Signs in to the server that `spec` names, once, and leaves.
///
/// # Errors
/// The stage that failed, and the remedy.
pub fn sign_in(spec: &MountSpec) -> Result<(), MountError> {
    asked(spec, share::sign_in(connect_config(spec)))
}

fn asked<T>(spec: &MountSpec, question: impl Future<Output = Result<T, ConnectError>>) -> Result<T, MountError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| MountError::system("the runtime could not be started", error))?;
    runtime.block_on(question).map_err(|error| explain(spec, Goal::List, &error))
}
