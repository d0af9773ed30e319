//! `cifs-fuse status`: shows what the mounts of this user are doing, for root those of all users.

mod screen;

use super::error::CliError;
use crate::mount::status::client::{self, Silent};
use crate::telemetry::status::Status;
use clap::Parser;
use serde::Serialize;
use std::ffi::OsString;
use std::io::{self, IsTerminal, Write};
use std::path::{Component, Path, PathBuf};
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

/// The first argument.
pub(super) const COMMAND: &str = "status";
/// The pause between two screens of `--watch`.
const INTERVAL: Duration = Duration::from_secs(1);
/// The control sequences that clear a terminal and move to its first line.
const CLEAR: &str = "\x1b[H\x1b[2J\x1b[3J";

/// Shows what the mounts of this user are doing; for root, those of all users
///
/// Each mount tells it on a private socket. It answers at once, also while its server is away.
#[derive(Parser, Debug)]
#[command(name = "cifs-fuse status", bin_name = "cifs-fuse status", max_term_width = 100)]
struct StatusArgs {
    /// Show only the mount that this directory or file is in
    #[arg(value_name = "DIR")]
    directory: Option<PathBuf>,

    /// Print JSON, with everything that a mount tells
    #[arg(long)]
    json: bool,

    /// Show it again every second, until Ctrl-C
    #[arg(long)]
    watch: bool,
}

/// All answers, as `--json` prints them.
#[derive(Serialize)]
struct Answers<'a> {
    /// The mounts that answered.
    mounts: &'a [Status],
    /// The mounts that did not.
    silent: &'a [Silent],
}

/// Runs the subcommand; `arguments` are those of the process, the program's name first.
pub(super) fn run(arguments: &[OsString]) -> ExitCode {
    show(&arguments[1..]).map_or_else(|error| error.report(), |()| ExitCode::SUCCESS)
}

/// Shows the status; `words` are the arguments, the name of the command first.
///
/// # Errors
/// The options are wrong, or no mount is at the directory.
fn show(words: &[OsString]) -> Result<(), CliError> {
    let args = StatusArgs::try_parse_from(words)?;
    loop {
        let (mounts, silent) = ask(args.directory.as_deref())?;
        let text = match args.json {
            true => json(&mounts, &silent)?,
            false => screen::of(&mounts, &silent, args.directory.is_some() || mounts.len() == 1),
        };
        let mut out = io::stdout().lock();
        let clear = if args.watch && !args.json && out.is_terminal() { CLEAR } else { "" };
        // An error means that the reader has closed the pipe.
        if write!(out, "{clear}{text}").and_then(|()| out.flush()).is_err() || !args.watch {
            return Ok(());
        }
        drop(out);
        thread::sleep(INTERVAL);
    }
}

/// The mounts, or the one that `path` is in.
fn ask(path: Option<&Path>) -> Result<(Vec<Status>, Vec<Silent>), CliError> {
    let (mut mounts, mut silent) = (Vec::new(), Vec::new());
    for answer in client::all() {
        match answer {
            Ok(status) => mounts.push(status),
            Err(error) => silent.push(error),
        }
    }
    let Some(path) = path else { return Ok((mounts, silent)) };
    let path = absolute(path).map_err(|error| CliError::System(format!("the working directory: {error}")))?;
    match innermost(mounts, &path) {
        Some(mount) => Ok((vec![mount], Vec::new())),
        None => Err(CliError::Mount(nothing_at(&path, &silent))),
    }
}

fn nothing_at(path: &Path, silent: &[Silent]) -> String {
    let mut message = format!(
        "status: no mount of this program on {} answers\n`cifs-fuse status` lists the mounts of this user; root sees \
         those of all users",
        path.display()
    );
    for Silent { socket, error } in silent {
        message += &format!("\n{socket} does not answer: {error}");
    }
    message
}

/// The mount that a path is in: of several the innermost.
fn innermost(mounts: Vec<Status>, path: &Path) -> Option<Status> {
    let around = mounts.into_iter().filter(|mount| path.starts_with(&mount.mountpoint));
    around.max_by_key(|mount| Path::new(&mount.mountpoint).components().count())
}

/// The path as an absolute one, found out without asking a file system that may not answer.
fn absolute(path: &Path) -> io::Result<PathBuf> {
    let mut absolute = PathBuf::new();
    for component in std::path::absolute(path)?.components() {
        match component {
            Component::ParentDir => drop(absolute.pop()),
            other => absolute.push(other),
        }
    }
    Ok(absolute)
}

fn json(mounts: &[Status], silent: &[Silent]) -> Result<String, CliError> {
    serde_json::to_string_pretty(&Answers { mounts, silent })
        .map(|text| text + "\n")
        .map_err(|error| CliError::System(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definition_is_sound() {
        <StatusArgs as clap::CommandFactory>::command().debug_assert();
    }

    #[test]
    fn a_path_below_a_mount_finds_the_innermost_mount() {
        let mount = |path: &str| Status { mountpoint: path.to_owned(), ..screen::tests::example() };
        let mounts = || vec![mount("/mnt/a"), mount("/mnt/a/b"), mount("/mnt/ab")];
        let found = |path: &str| innermost(mounts(), &absolute(Path::new(path)).unwrap()).map(|mount| mount.mountpoint);
        assert_eq!(found("/mnt/a/c/").as_deref(), Some("/mnt/a"));
        assert_eq!(found("/mnt/a/b/c/../d").as_deref(), Some("/mnt/a/b"));
        assert_eq!(found("/mnt/abc"), None);
    }
}
