//! The shares of a server, with the errors of a mount. Nothing is mounted, and the process stays in the foreground.

use super::MountError;
use super::run::{connect_config, explain};
use crate::config::MountSpec;
use crate::share::{self, ListedShare};

/// The shares of the server that `spec` names, listed for its account with its options of the connection. The share,
/// the folder and the mountpoint of `spec` are not used.
///
/// # Errors
/// The stage that failed, and the remedy.
pub fn shares(spec: &MountSpec) -> Result<Vec<ListedShare>, MountError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| MountError::system("the runtime could not be started", error))?;
    runtime
        .block_on(share::shares(connect_config(spec), spec.options.request_timeout))
        .map_err(|error| explain(spec, error))
}
