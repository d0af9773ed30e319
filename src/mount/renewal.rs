//! What changes while the mount is served: credentials, log level and log file.
//!
//! SIGHUP reads the sources of the start again. If a source cannot be read, or has too little, the mount continues
//! unchanged, and the log gives the reason. SIGUSR1 and a request on the mount's socket change the log level only.

use super::deadline::within;
use crate::config::credentials::{self, Sources};
use crate::config::{Identity, MountCommand};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::time::Duration;

/// Time limit for reading. A file may be on a file system that does not answer.
const LIMIT: Duration = Duration::from_secs(10);

/// What a mount logs: filters in the syntax of `tracing_subscriber::EnvFilter`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct CurrentLevel {
    /// The filter in effect.
    pub filter: String,
    /// The configured filter, as last read.
    pub configured: String,
}

/// The log of a running mount. An error is a message for the user; the level is then unchanged.
pub trait RunningLog: Send + Sync {
    /// Reads the configured level again, which ends the effect of the other methods, and opens the log file again, in
    /// case it was moved.
    ///
    /// # Errors
    ///
    /// The log file cannot be opened, or the level cannot be read or parsed.
    fn renew(&self) -> Result<(), String>;

    /// Switches to level `debug`, or from there back to the configured level, logs the new level, and returns its
    /// filter.
    ///
    /// # Errors
    ///
    /// The log does not accept the change.
    fn toggle_debug(&self) -> Result<String, String>;

    /// Sets a level or a filter, as a user writes it, or `configured`, and logs it. The debug switch is off then.
    ///
    /// # Errors
    ///
    /// The text is no level and no filter, or the log does not accept the change.
    fn set(&self, level: &str) -> Result<(), String>;

    /// What is logged at present.
    fn level(&self) -> CurrentLevel;
}

/// The sources of the configuration while the mount is served.
pub struct Renewal {
    /// The sources of the credentials.
    pub sources: Sources,
    /// The log.
    pub log: Arc<dyn RunningLog>,
    /// The command line of the mount, which a remount is compared with.
    pub command: MountCommand,
}

impl Renewal {
    /// Handles SIGHUP: renews the log, and returns the identity to sign in with from now on; `None` if it cannot be
    /// read. A failure of one of the two is logged and does not affect the other.
    pub(super) fn renew(&self) -> Option<Identity> {
        let log = self.log.renew();
        if let Err(error) = &log {
            tracing::error!(%error, "SIGHUP: the log level stays as it was");
        }
        let found = identity(&self.sources);
        match &found {
            Ok(_) if log.is_ok() => tracing::info!("SIGHUP: credentials and log level were read anew"),
            Ok(_) => tracing::info!("SIGHUP: the credentials were read anew"),
            Err(error) => tracing::error!(%error, "SIGHUP: the credentials stay as they were"),
        }
        found.ok()
    }

    /// Handles SIGUSR1: switches the log to level `debug`, or back to the configured level.
    pub(super) fn toggle_debug(&self) {
        if let Err(error) = self.log.toggle_debug() {
            tracing::error!(%error, "SIGUSR1: the log level stays as it was");
        }
    }
}

/// The identity in the sources at present. Blocks, at most [`LIMIT`].
///
/// # Errors
///
/// Why there is no identity: a source cannot be read, or not within [`LIMIT`], or the sources have too little.
pub(super) fn identity(sources: &Sources) -> Result<Identity, String> {
    let sources = sources.clone();
    match within(LIMIT, move || credentials::identity(sources)) {
        Ok(Ok((identity, warnings))) => {
            warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
            Ok(identity)
        }
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err(format!("reading them took longer than {LIMIT:?}")),
    }
}
