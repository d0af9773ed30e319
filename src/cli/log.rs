//! `cifs-fuse log DIR [LEVEL]`: shows or changes what a running mount logs.

use super::error::CliError;
use super::status::absolute;
use super::text::printable;
use crate::mount::socket::client::Running;
use crate::mount::{CurrentLevel, MountError, Stage};
use clap::{CommandFactory, FromArgMatches, Parser};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// The first argument.
pub(super) const COMMAND: &str = "log";

/// Shows or changes what a running mount logs
///
/// A change lasts until the next one, SIGHUP or the end of the mount.
#[derive(Parser, Debug)]
#[command(name = "cifs-fuse log", bin_name = "cifs-fuse log")]
struct LogArgs {
    /// The mountpoint, or a path below it
    #[arg(value_name = "DIR")]
    directory: PathBuf,

    /// off, error, warn, info, debug or trace; a filter such as cifs_fuse::wire=trace; or configured, the level of
    /// --log-level. Without it, the level is shown
    #[arg(value_name = "LEVEL")]
    level: Option<String>,
}

/// The definition of the subcommand.
pub(super) fn definition() -> clap::Command {
    LogArgs::command().name(COMMAND)
}

/// Runs the subcommand; `arguments` are those of the process, the program's name first.
pub(super) fn run(arguments: &[OsString]) -> ExitCode {
    let args = definition().try_get_matches_from(&arguments[1..]).and_then(|found| LogArgs::from_arg_matches(&found));
    match args.map_err(CliError::from).and_then(|args| shown(&args)) {
        Ok(text) => CliError::Answer(text).report(),
        Err(error) => error.report(),
    }
}

/// What is logged now, after a change if that was requested.
fn shown(args: &LogArgs) -> Result<String, CliError> {
    let mount = running(&args.directory)?;
    let level = match &args.level {
        None => mount.log_level(),
        Some(level) => mount.set_log_level(level),
    };
    let CurrentLevel { filter, configured } = level.map_err(|error| match error.stage {
        // The mount refuses the text, and names it.
        Stage::Running if args.level.is_some() => CliError::Usage(printable(&error.message)),
        _ => failed(error),
    })?;
    let (filter, configured) = (printable(&filter), printable(&configured));
    Ok(match filter == configured {
        true => format!("{filter}\n"),
        false => format!("{filter} (configured: {configured})\n"),
    })
}

/// The mount that a path is in.
pub(super) fn running(path: &Path) -> Result<Running, CliError> {
    let path = absolute(path).map_err(|error| CliError::System(format!("the working directory: {error}")))?;
    Running::at(&path).map_err(failed)
}

/// The error of a mount that was asked. Its text can be from a process of another user.
pub(super) fn failed(error: MountError) -> CliError {
    let message = printable(&error.message);
    let remedy = error.remedy.as_deref().map(printable);
    let error = MountError { message, remedy, ..error };
    match error.exit_code() {
        2 => CliError::System(error.to_string()),
        _ => CliError::Mount(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definition_is_sound() {
        definition().debug_assert();
    }
}
