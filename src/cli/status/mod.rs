//! `cifs-fuse status`: shows what the mounts of this user are doing, for root those of all users.

mod screen;

use super::error::{CliError, print};
use super::{log, text};
use crate::mount::socket::client::{self, Found, Silent, Unreachable};
use crate::telemetry::status::{Status, VERSION};
use clap::{Command, CommandFactory, Parser};
use serde::Serialize;
use std::ffi::OsString;
use std::io::{self, IsTerminal};
use std::path::{Component, Path, PathBuf};
use std::process::ExitCode;
use std::thread;
use std::time::Duration;
use terminal_size::{Height, Width, terminal_size};

/// The first argument.
pub(super) const COMMAND: &str = "status";
/// The pause between two screens of `--watch`.
const INTERVAL: Duration = Duration::from_secs(1);
/// The control sequences that move to a terminal's first line, and clear what is below. What was shown before stays in
/// the terminal's memory.
const CLEAR: &str = "\x1b[H\x1b[J";
/// The columns and rows of a terminal that does not tell its size.
const SMALLEST: (u16, u16) = (80, 24);

/// Shows what the mounts of this user are doing; for root, those of all users
///
/// Each mount tells it on a private socket. It answers at once, also while its server is away.
#[derive(Parser, Debug)]
#[command(name = "cifs-fuse status", bin_name = "cifs-fuse status")]
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
    /// The version of this document and of the mounts in it.
    version: u32,
    /// The mounts that answered.
    mounts: &'a [Status],
    /// The sockets that did not.
    silent: &'a [Silent],
    /// The mounts that no answer is about.
    unreachable: &'a [Unreachable],
    /// Why there is no answer at all.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

/// The definition of the arguments.
pub(super) fn definition() -> Command {
    StatusArgs::command().name(COMMAND)
}

/// Runs the subcommand; `arguments` are those of the process, the program's name first.
pub(super) fn run(arguments: &[OsString]) -> ExitCode {
    show(&arguments[1..]).map_or_else(|error| error.report(), |()| ExitCode::SUCCESS)
}

/// Shows the status; `words` are the arguments, the name of the command first.
///
/// # Errors
/// The options are wrong, or the first look at the directory finds no mount. Later `--watch` shows that, and goes on.
fn show(words: &[OsString]) -> Result<(), CliError> {
    let args = StatusArgs::try_parse_from(words)?;
    let mut found = Ok(ask(args.directory.as_deref())?);
    loop {
        let shown = args.text(&found)?;
        let shown = match args.watch && !args.json && io::stdout().is_terminal() {
            true => {
                let (columns, rows) =
                    terminal_size().map_or(SMALLEST, |(Width(columns), Height(rows))| (columns, rows));
                CLEAR.to_owned() + &screen::cut(&shown, columns.into(), rows.into())
            }
            false => shown,
        };
        if !print(&shown)? || !args.watch {
            return Ok(());
        }
        thread::sleep(INTERVAL);
        found = ask(args.directory.as_deref());
    }
}

impl StatusArgs {
    /// What was found, or why nothing was, as text or JSON.
    fn text(&self, found: &Result<Found, CliError>) -> Result<String, CliError> {
        match found {
            Ok(found) if self.json => json(found, None),
            Ok(found) => Ok(screen::of(found, self.directory.is_some() || found.mounts.len() == 1)),
            Err(error) if self.json => json(&Found::default(), Some(error.to_string())),
            Err(error) => Ok(format!("{error}\n")),
        }
    }
}

/// The mounts, or the one that `path` is in.
fn ask(path: Option<&Path>) -> Result<Found, CliError> {
    match path {
        None => client::all().map_err(log::failed),
        Some(path) => Ok(Found { mounts: vec![log::running(path)?.status], ..Found::default() }),
    }
}

/// The path as an absolute one, found out without asking a file system that may not answer.
pub(super) fn absolute(path: &Path) -> io::Result<PathBuf> {
    let mut absolute = PathBuf::new();
    for component in std::path::absolute(path)?.components() {
        match component {
            Component::ParentDir => drop(absolute.pop()),
            other => absolute.push(other),
        }
    }
    Ok(absolute)
}

/// What was found as JSON, whose escapes also keep a terminal from being controlled.
fn json(found: &Found, error: Option<String>) -> Result<String, CliError> {
    let Found { mounts, silent, unreachable } = found;
    let answers = Answers { version: VERSION, mounts, silent, unreachable, error };
    let text = serde_json::to_string_pretty(&answers).map_err(|error| CliError::System(error.to_string()))?;
    let mut escaped = String::with_capacity(text.len() + 1);
    for c in text.chars() {
        match text::is_control(c) && c != '\n' {
            true => escaped += &format!("\\u{:04x}", u32::from(c)),
            false => escaped.push(c),
        }
    }
    escaped.push('\n');
    Ok(escaped)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definition_is_sound() {
        <StatusArgs as clap::CommandFactory>::command().debug_assert();
    }

    #[test]
    fn a_path_becomes_absolute_without_a_look_at_it() {
        assert_eq!(absolute(Path::new("/mnt/a/c/")).unwrap(), Path::new("/mnt/a/c"));
        assert_eq!(absolute(Path::new("/mnt/a/b/c/../d")).unwrap(), Path::new("/mnt/a/b/d"));
    }

    #[test]
    fn json_has_a_version_without_mounts_and_controls_no_terminal() {
        let empty: serde_json::Value = serde_json::from_str(&json(&Found::default(), None).unwrap()).unwrap();
        assert_eq!(empty["version"], VERSION);
        let silent = Silent { socket: "a\u{9b}2J\u{202e}b\n".to_owned(), error: String::new() };
        let text = json(&Found { silent: vec![silent], ..Found::default() }, None).unwrap();
        assert!(text.contains("a\\u009b2J\\u202eb\\n"), "{text}");
        let back: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(back["silent"][0]["socket"], "a\u{9b}2J\u{202e}b\n");
    }
}
