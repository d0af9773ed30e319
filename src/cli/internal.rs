//! Subcommands that the program itself and its systemd units use. Users need none of them.
//!
//! | command | who calls it | what it does |
//! |---|---|---|
//! | `guard PID` | the program | watches the process PID, and ends its mount when that one is killed |
//! | `cleanup DIR [URL]` | `ExecStopPost=` of the service | ends the mount on DIR that a killed process has left behind |

use super::logging::{self, LogLevel, LogSettings, LogTarget};
use crate::config::ShareUrl;
use crate::mount::{self, MountError};
use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::process::ExitCode;

/// Runs the subcommand, if the arguments, the program's name first, are one.
pub(super) fn run(arguments: &[OsString]) -> Option<ExitCode> {
    let words = arguments.get(1..)?;
    let result = match words.first()?.to_str()? {
        mount::GUARD => {
            start_log(LogTarget::Syslog);
            let process = words.get(1).and_then(|word| word.to_str()?.parse().ok())?;
            mount::guard(process).inspect_err(|error| tracing::error!(%error, "the guardian"))
        }
        "cleanup" => {
            start_log(LogTarget::Stderr);
            let mountpoint = Path::new(words.get(1)?);
            mount::clear_away(mountpoint, words.get(2).and_then(|word| source(word)).as_deref())
        }
        _ => return None,
    };
    Some(report(result))
}

/// A log that cannot be had stops neither: there is a mount to be ended.
fn start_log(target: LogTarget) {
    if let Ok(level) = LogLevel::parse("warn", Path::new("/")) {
        let _ = logging::start(&LogSettings { level, target });
    }
}

/// What a mount of this URL shows in the kernel's table.
fn source(url: &OsStr) -> Option<String> {
    ShareUrl::parse(url.to_str()?, &super::args::mount_option_names().iter().map(String::as_str).collect::<Vec<_>>())
        .ok()
        .map(|url| url.to_string())
}

fn report(result: Result<(), MountError>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("cifs-fuse: {error}");
            ExitCode::from(error.exit_code())
        }
    }
}
