//! What SIGHUP reads anew: who signs in, and how much is logged.
//!
//! The sources are those of the start. A source that cannot be read, or no longer says enough, changes nothing: the mount
//! goes on as it was, and the log says why.

use super::deadline::within;
use crate::config::Identity;
use crate::config::credentials::{self, Sources};
use std::time::Duration;

/// How long reading may take. A file may lie on a file system that does not answer.
const LIMIT: Duration = Duration::from_secs(10);

/// Reads the log's settings anew, and begins a log file anew where it was moved away; an error is a sentence.
pub type RenewLog = Box<dyn Fn() -> Result<(), String> + Send>;

/// Where configuration comes from while the mount is served.
pub struct Renewal {
    /// Who signs in.
    pub sources: Sources,
    /// The log.
    pub log: RenewLog,
}

impl Renewal {
    /// What SIGHUP asks for: renews the log, and returns who signs in from now on; `None` if that cannot be read.
    pub(super) fn renew(&self) -> Option<Identity> {
        if let Err(error) = (self.log)() {
            tracing::error!(%error, "SIGHUP: the log goes on as it was");
        }
        let found = identity(&self.sources);
        match &found {
            Ok(_) => tracing::info!("SIGHUP: credentials and log level were read anew"),
            Err(error) => tracing::error!(%error, "SIGHUP: the credentials stay as they were"),
        }
        found.ok()
    }
}

/// Who signs in, as the sources say now. It blocks.
///
/// # Errors
///
/// Why they say nothing.
pub(super) fn identity(sources: &Sources) -> Result<Identity, String> {
    let sources = sources.clone();
    match within(LIMIT, move || credentials::identity(sources)) {
        Ok(Ok((identity, warnings))) => {
            warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
            Ok(identity)
        }
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err(format!("reading them takes longer than {LIMIT:?}")),
    }
}
