//! `cifs-fuse cleanup DIR [URL]`: ends the mount that a killed process has left on a directory. `ExecStopPost=` of the
//! service calls it as well.

use super::internal::start_log;
use super::logging::LogTarget;
use super::{CliError, args, journal};
use crate::mount;
use clap::{Command, CommandFactory, Parser};
use std::ffi::{OsStr, OsString};
use std::path::PathBuf;
use std::process::ExitCode;

/// The first argument.
pub(super) const COMMAND: &str = "cleanup";

/// Ends the mount that a killed process has left on a directory
///
/// A mount that answers is not touched. One that waits for its server does not answer, and what it has not written yet
/// would be lost: end its process instead.
#[derive(Parser, Debug)]
#[command(name = "cifs-fuse cleanup", bin_name = "cifs-fuse cleanup")]
struct CleanupArgs {
    /// The directory
    #[arg(value_name = "DIR")]
    directory: PathBuf,

    /// Only a mount of this URL; any, if it is no valid one
    #[arg(value_name = "URL")]
    url: Option<OsString>,
}

/// The definition of the arguments.
pub(super) fn definition() -> Command {
    CleanupArgs::command().name(COMMAND)
}

/// Runs the subcommand; `arguments` are those of the process, the program's name first.
pub(super) fn run(arguments: &[OsString]) -> ExitCode {
    let args = match CleanupArgs::try_parse_from(&arguments[1..]) {
        Ok(args) => args,
        Err(error) => return CliError::from(error).report(),
    };
    start_log(LogTarget::Stderr);
    match mount::end_dead_mounts(&args.directory, args.url.and_then(|url| source(&url)).as_deref()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => journal::fail(error.exit_code(), error),
    }
}

/// The source that a mount of this URL shows in the kernel's table; `None` if this is not a valid URL.
fn source(url: &OsStr) -> Option<String> {
    args::parse_url(url.to_str()?).ok().map(|url| url.to_string())
}
