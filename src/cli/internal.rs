//! Subcommands for the program itself and its systemd units. Users do not need them.
//!
//! | command | caller | what it does |
//! |---|---|---|
//! | `guard PID` | the program | ends the mount of process PID if that is killed; mounts again with `--restart` |
//! | `cleanup DIR [URL]` | `ExecStopPost=` of the service | ends the mount on DIR that a killed process has left |

use super::journal;
use super::logging::{self, LogLevel, LogSettings, LogTarget};
use crate::config::ShareUrl;
use crate::mount::{self, MountError};
use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::process::ExitCode;

/// Runs the subcommand in the arguments, the program's name first; `None` if they contain none, or one without what it
/// needs.
pub(super) fn run(arguments: &[OsString]) -> Option<ExitCode> {
    let words = arguments.get(1..)?;
    let result = match words.first()?.to_str()? {
        mount::GUARD => {
            start_log(LogTarget::Syslog);
            let process = words.get(1).and_then(|word| word.to_str()?.parse().ok())?;
            mount::guard(process).inspect_err(|error| tracing::error!(%error, "the guardian has failed"))
        }
        "cleanup" => {
            start_log(LogTarget::Stderr);
            let mountpoint = Path::new(words.get(1)?);
            mount::end_dead_mounts(mountpoint, words.get(2).and_then(|word| source(word)).as_deref())
        }
        _ => return None,
    };
    Some(report(result))
}

/// Starts a log. A failure is ignored: ending the mount is more important.
fn start_log(target: LogTarget) {
    if let Ok(level) = LogLevel::parse("warn", Path::new("/")) {
        let _ = logging::start(&LogSettings { level, target });
    }
}

/// The source that a mount of this URL shows in the kernel's table; `None` if this is not a valid URL, and then any
/// source counts.
fn source(url: &OsStr) -> Option<String> {
    ShareUrl::parse(url.to_str()?, &super::args::mount_option_names().iter().map(String::as_str).collect::<Vec<_>>())
        .ok()
        .map(|url| url.to_string())
}

fn report(result: Result<(), MountError>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => journal::fail(error.exit_code(), error),
    }
}
