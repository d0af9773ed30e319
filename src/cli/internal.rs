//! Subcommands that the program itself calls. Users do not need them.
//!
//! | command | what it does |
//! |---|---|
//! | `guard PID` | ends the mount of process PID if that is killed; mounts again with `--restart` |
//! | `keyring …` | asks the desktop's keyring; see `keyring` |

use super::logging::{self, LogLevel, LogSettings, LogTarget};
use super::{journal, keyring};
use crate::mount;
use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

/// Runs the subcommand in the arguments, the program's name first; `None` if they contain none, or one without what it
/// needs.
pub(super) fn run(arguments: &[OsString]) -> Option<ExitCode> {
    let words: Option<Vec<&str>> = arguments.get(1..)?.iter().map(|word| word.to_str()).collect();
    match words?.as_slice() {
        [mount::GUARD, process, ..] => {
            let process = process.parse().ok()?;
            start_log(LogTarget::Syslog);
            let guarded = mount::guard(process);
            Some(guarded.map_or_else(
                |error| {
                    tracing::error!(%error, "the guardian has failed");
                    journal::fail(error.exit_code(), error)
                },
                |()| ExitCode::SUCCESS,
            ))
        }
        [keyring::COMMAND, words @ ..] => Some(keyring::child::run(words)),
        _ => None,
    }
}

/// Starts a log. A failure is ignored: ending the mount is more important.
pub(super) fn start_log(target: LogTarget) {
    if let Ok(level) = LogLevel::parse("warn", Path::new("/")) {
        let _ = logging::start(&LogSettings { level, target });
    }
}
