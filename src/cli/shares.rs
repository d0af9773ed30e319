//! `cifs-fuse shares URL_OR_HOST`: the shares of a server, as a table.
//!
//! The options of a mount for signing in, the connection and the log have the same meaning here. A share in the URL
//! counts for nothing.

use super::args::{self, Args};
use super::command_line::CommandLine;
use super::subcommands::{for_server, without_name};
use super::text::printable;
use super::{CliError, Environment, Invocation, Purpose, begin, journal, parse_for};
use crate::config::ShareUrl;
use crate::mount::{self, ListedShare, PIPES, ShareKind};
use clap::{Arg, ArgAction, Command};
use std::ffi::OsString;
use std::fmt::Write;
use std::process::ExitCode;
use zeroize::Zeroizing;

/// The first argument.
pub(super) const COMMAND: &str = "shares";
/// The usage line.
const USAGE: &str = "cifs-fuse shares URL_OR_HOST [--all] [options]";

/// The definition of the arguments, for the manual and the completions.
pub(super) fn definition() -> Command {
    let all = Arg::new("all").long("all").action(ArgAction::SetTrue).help("List hidden disk shares (NAME$) as well");
    for_server(COMMAND, "Lists the shares of a server", USAGE).arg(all)
}

/// Runs the subcommand; `arguments` are those of the process, the program's name first.
pub(super) fn run(arguments: &[OsString], environment: &Environment) -> ExitCode {
    let (all, words): (Vec<_>, Vec<_>) = arguments.iter().cloned().partition(|word| word == "--all");
    match parse_for(Purpose::Server(USAGE), without_name(&words), environment) {
        Ok(invocation) => list(invocation, !all.is_empty()),
        Err(error) => error.report(),
    }
}

fn list(invocation: Invocation, all: bool) -> ExitCode {
    let spec = match begin(invocation) {
        Ok(Some(spec)) => spec,
        Ok(None) => return ExitCode::SUCCESS,
        Err(error) => return error.report(),
    };
    match mount::shares(&spec) {
        Ok(shares) => CliError::Answer(shown(&shares, all, &spec.url)).report(),
        Err(error) => journal::fail(error.exit_code(), error),
    }
}

/// The URL of the server's pipes, for the server that the first argument names by its URL or name. An error ends with
/// the usage line.
pub(super) fn server_url(args: &Args, line: &CommandLine, usage_line: &str) -> Result<ShareUrl, CliError> {
    let usage = |problem: &str| CliError::Usage(format!("{problem}\n\nUsage: {usage_line}"));
    let word = args.url.as_deref().ok_or_else(|| usage("no server is named"))?;
    if args.mountpoint.is_some() {
        return Err(usage("expected one server, and no directory"));
    }
    let text = line.original(word);
    let (scheme, rest) = match text.split_once("://") {
        Some(parts) => parts,
        None if text.split_once('@').is_some_and(|(user, _)| user.contains(':')) => {
            return Err(usage("a password can only be given in a URL, or better in a file (--credentials FILE)"));
        }
        None => ("cifs", text.trim_start_matches(['/', '\\'])),
    };
    let (place, query) = rest.split_at(rest.find('?').unwrap_or(rest.len()));
    // A URL has a share. Behind a share this one is a folder.
    let whole = Zeroizing::new(format!("{scheme}://{}/{PIPES}{query}", place.trim_end_matches(['/', '\\'])));
    let mut url = args::parse_url(&whole).map_err(|error| usage(&error.to_string()))?;
    (url.share, url.path) = (PIPES.to_owned(), String::new());
    Ok(url)
}

/// The table of the shares, and how to mount the first. Hidden disk shares are left out unless `all` is set.
fn shown(shares: &[ListedShare], all: bool, server: &ShareUrl) -> String {
    let is_listed = |share: &&ListedShare| all || share.kind != ShareKind::Disk || !share.is_hidden();
    let row = |share: &ListedShare| {
        let kind = if share.is_hidden() { format!("{}, hidden", share.kind) } else { share.kind.to_string() };
        [printable(&share.name), kind, printable(&share.comment)]
    };
    let rows: Vec<[String; 3]> = shares.iter().filter(is_listed).map(row).collect();
    if rows.is_empty() {
        return "the server lists no shares for this user\n".to_owned();
    }
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let (name_width, kind_width) = (width(0), width(1));
    let mut text = String::new();
    for [name, kind, comment] in &rows {
        let line = format!("{name:name_width$}  {kind:kind_width$}  {comment}");
        // Writing to a string does not fail.
        let _ = writeln!(text, "{}", line.trim_end());
    }
    // A URL cannot contain control characters.
    let mountable = |share: &&ListedShare| share.kind == ShareKind::Disk && !share.name.contains(char::is_control);
    if let Some(first) = shares.iter().filter(is_listed).find(mountable) {
        let url = ShareUrl { share: first.name.clone(), ..server.clone() };
        let _ = writeln!(text, "\nTo mount the first: cifs-fuse '{url}' DIR");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(arguments: &[&str]) -> Result<Invocation, CliError> {
        let words = [&["cifs-fuse"], arguments].concat().into_iter().map(OsString::from).collect();
        parse_for(Purpose::Server(USAGE), words, &Environment::default())
    }

    fn share(name: &str, kind: ShareKind, comment: &str) -> ListedShare {
        ListedShare { name: name.to_owned(), kind, comment: comment.to_owned() }
    }

    #[test]
    fn a_server_is_named_by_its_url_or_name() {
        for (text, url) in [
            ("nas", "cifs://nas/IPC$"),
            ("nas:4450", "cifs://nas:4450/IPC$"),
            ("//nas/", "cifs://nas/IPC$"),
            ("cifs://nas", "cifs://nas/IPC$"),
            ("smb://nas:4450/media/films?transport=netbios", "cifs://nas:4450/IPC$"),
            ("[::1]:4450", "cifs://[::1]:4450/IPC$"),
        ] {
            let spec = parsed(&[text, "--signing", "required"]).unwrap_or_else(|error| panic!("{text}: {error}")).spec;
            assert_eq!(spec.url.to_string(), url, "{text}");
            assert_eq!(spec.options.signing, crate::config::Protection::Required);
        }
    }

    #[test]
    fn a_command_line_without_one_server_is_refused() {
        assert!(parsed(&[]).unwrap_err().to_string().contains("URL_OR_HOST"));
        assert_eq!(parsed(&["nas", "/mnt"]).unwrap_err().exit_code(), 1);
        let error = parsed(&["ann:hunter2@nas"]).unwrap_err().to_string();
        assert!(error.contains("--credentials") && !error.contains("hunter2"), "{error}");
        assert!(parsed(&["http://nas"]).is_err());
    }

    #[test]
    fn the_table_is_aligned_and_leaves_out_hidden_disks() {
        let shares = [
            share("print$", ShareKind::Disk, ""),
            share("media", ShareKind::Disk, "films\u{1b}[2J\n"),
            share("IPC$", ShareKind::Pipe, "IPC"),
        ];
        let server = parsed(&["nas:4450"]).unwrap().spec.url;
        assert_eq!(
            shown(&shares, false, &server),
            "media  disk          films\\u{1b}[2J\\n\nIPC$   pipe, hidden  IPC\n\n\
             To mount the first: cifs-fuse 'cifs://nas:4450/media' DIR\n"
        );
        assert!(shown(&shares, true, &server).starts_with("print$  disk, hidden\nmedia "));
        assert_eq!(shown(&shares[..1], false, &server), "the server lists no shares for this user\n");
    }
}
