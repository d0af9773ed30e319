//! What SIGHUP reads again: credentials, log level and log file.
//!
//! The sources are those of the start. If a source cannot be read, or has too little, the mount continues unchanged,
//! and the log gives the reason.

use super::deadline::within;
use crate::config::Identity;
use crate::config::credentials::{self, Sources};
use std::time::Duration;

/// Time limit for reading. A file may be on a file system that does not answer.
const LIMIT: Duration = Duration::from_secs(10);

/// Reads the log level again, and opens the log file again, in case it was moved. An error is a message for the log.
pub type RenewLog = Box<dyn Fn() -> Result<(), String> + Send>;

/// The sources of the configuration while the mount is served.
pub struct Renewal {
    /// The sources of the credentials.
    pub sources: Sources,
    /// Renews the log.
    pub log: RenewLog,
}

impl Renewal {
    /// Handles SIGHUP: renews the log, and returns the identity to sign in with from now on; `None` if it cannot be
    /// read. A failure of one of the two is logged and does not affect the other.
    pub(super) fn renew(&self) -> Option<Identity> {
        let log = (self.log)();
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
