//! `cifs-fuse doctor URL`: takes the steps of a mount one by one, and says what was found at each.
//!
//! The options of a mount have the same meaning here. The screen shows each finding when its step ends; a report has
//! the same findings, what was negotiated, and the options.

mod report;
mod screen;

use super::args::{self, Args};
use super::command_line::CommandLine;
use super::{CliError, Environment, Invocation, Purpose, begin, journal, parse_for, share_url, shares};
use crate::config::ShareUrl;
use crate::config::url::url_of_unc;
use crate::mount::PIPES;
use crate::mount::doctor::{self, Outcome};
use clap::{CommandFactory, FromArgMatches, Parser};
use report::Report;
use std::ffi::OsString;
use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use zeroize::Zeroizing;

/// The first argument.
pub(super) const COMMAND: &str = "doctor";
/// The usage line.
const USAGE: &str = "cifs-fuse doctor URL [--report FILE] [--throughput] [options]";
/// The exit code if the report cannot be written: a system error.
const SYSTEM_ERROR: u8 = 2;

/// Takes the steps of a mount one by one, and says what was found at each
///
/// Nothing is mounted, and nothing is changed on the server. A refused password is sent once. The options of a mount
/// have the same meaning: see cifs-fuse --help. A server without a share lists its shares.
#[derive(Parser, Debug)]
#[command(
    name = "cifs-fuse doctor",
    bin_name = "cifs-fuse doctor",
    override_usage = USAGE,
    after_help = "Exit codes: 0 if a mount would succeed, otherwise that of the mount (1, 2, 32, 33)."
)]
struct DoctorArgs {
    /// The share: cifs://host[:port]/share[/path], //host/share, or a host
    #[arg(value_name = "URL")]
    url: Option<String>,

    /// Write a report for others to a new file. It names host, share and user, and contains no password
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,

    /// Also read a large file of the folder for some seconds
    #[arg(long)]
    throughput: bool,
}

/// The definition of the arguments.
pub(super) fn definition() -> clap::Command {
    DoctorArgs::command().name(COMMAND)
}

/// Runs the subcommand; `arguments` are those of the process, the program's name first.
pub(super) fn run(arguments: &[OsString], environment: &Environment) -> ExitCode {
    let (own, others) = split(arguments);
    let parsed = definition().try_get_matches_from(own).and_then(|found| DoctorArgs::from_arg_matches(&found));
    let args = match parsed {
        Ok(args) => args,
        Err(error) => return CliError::from(error).report(),
    };
    match parse_for(Purpose::Doctor, others, environment) {
        Ok(invocation) => diagnose(invocation, &args),
        Err(error) => error.report(),
    }
}

/// The words of this subcommand's own options, and those of a mount; both begin with the program's name.
fn split(arguments: &[OsString]) -> (Vec<OsString>, Vec<OsString>) {
    let program = arguments.first().cloned().unwrap_or_default();
    let (mut own, mut others) = (vec![program.clone()], vec![program]);
    let mut words = arguments.iter().skip(2).cloned();
    while let Some(word) = words.next() {
        match word.to_str() {
            Some("--report") => own.extend([word].into_iter().chain(words.next())),
            Some("--throughput" | "-h" | "--help") => own.push(word),
            Some(text) if text.starts_with("--report=") => own.push(word),
            _ => others.push(word),
        }
    }
    (own, others)
}

/// The share that the first argument names by its URL or as `//host/share`; the server's pipes if it names only a
/// host.
pub(super) fn share_or_server(args: &Args, line: &CommandLine) -> Result<ShareUrl, CliError> {
    let usage = |problem: &str| CliError::Usage(format!("{problem}\n\nUsage: {USAGE}"));
    let word = args.url.as_deref().ok_or_else(|| usage("there is no share to look at"))?;
    if args.mountpoint.is_some() {
        return Err(usage("'doctor' takes one share, and no directory: nothing is mounted"));
    }
    if let Some(url) = url_of_unc(line.original(word)).map(Zeroizing::new) {
        return args::parse_url(&url).map_err(|error| usage(&error.to_string()));
    }
    let place = word.split_once("://").map_or(word, |(_, rest)| rest);
    let place = place.split('?').next().unwrap_or_default().trim_matches(['/', '\\']);
    match place.contains(['/', '\\']) {
        true => share_url(args, line),
        false => shares::server_url(args, line, USAGE),
    }
}

fn diagnose(invocation: Invocation, args: &DoctorArgs) -> ExitCode {
    let spec = match begin(invocation) {
        Ok(Some(spec)) => spec,
        Ok(None) => return ExitCode::SUCCESS,
        Err(error) => return error.report(),
    };
    let mut report = match args.report.as_deref().map(|path| Report::create(path, &doctor::machine(&spec))).transpose()
    {
        Ok(report) => report,
        Err(problem) => return journal::fail(SYSTEM_ERROR, problem),
    };
    let is_coloured = io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let diagnosis = doctor::diagnose(&spec, args.throughput, &mut |finding| {
        let text = screen::shown(finding, is_coloured);
        // An error means that the reader has closed the pipe.
        let _ = io::stdout().write_all(text.as_bytes());
        if let Some(report) = &mut report {
            report.add(finding);
        }
    });
    let written = report.map_or(Ok(()), |report| report.finish(&diagnosis));
    if let Some((step, error)) = diagnosis.failure() {
        // The system's own failures come before everything that the user wants to know.
        let _ = written.map_err(|problem| journal::fail(SYSTEM_ERROR, problem));
        let code = error.exit_code();
        return journal::fail(code, format_args!("doctor: a mount fails at the step '{}'", step.name()));
    }
    if let Err(problem) = written {
        return journal::fail(SYSTEM_ERROR, problem);
    }
    CliError::Answer(next(&spec.url, args.report.as_deref().map(|path| path.display().to_string()))).report()
}

/// What to do after a diagnosis without a failure.
fn next(url: &ShareUrl, report: Option<String>) -> String {
    let next = match url.share.eq_ignore_ascii_case(PIPES) {
        true => {
            let url = ShareUrl { share: "SHARE".to_owned(), ..url.clone() };
            format!("\nTo look at a share: cifs-fuse doctor '{url}'\n")
        }
        false => format!("\nTo mount it: cifs-fuse '{url}' DIR\n"),
    };
    match report {
        Some(path) => format!("{next}The report is in {path}\n"),
        None => next,
    }
}

/// Whether a finding is worth a second look.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Mark {
    /// Nothing to do.
    Ok,
    /// It works, and may not be what the user wants.
    Note,
    /// A mount fails.
    Failed,
    /// It was not tried.
    NotTried,
}

impl Mark {
    fn of(outcome: &Outcome) -> Mark {
        match outcome {
            Outcome::Found(found) => screen::advice(found).map_or(Mark::Ok, |_| Mark::Note),
            Outcome::Minor(_) => Mark::Note,
            Outcome::Failed(_) => Mark::Failed,
            Outcome::NotTried => Mark::NotTried,
        }
    }

    fn text(self) -> &'static str {
        match self {
            Mark::Ok => "ok",
            Mark::Note => "note",
            Mark::Failed => "FAIL",
            Mark::NotTried => "-",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Identity;
    use secrecy::ExposeSecret;

    fn parsed(arguments: &[&str]) -> Result<Invocation, CliError> {
        let words: Vec<OsString> = [&["cifs-fuse", COMMAND], arguments].concat().into_iter().map(Into::into).collect();
        parse_for(Purpose::Doctor, split(&words).1, &Environment::default())
    }

    #[test]
    fn the_definition_is_sound() {
        definition().debug_assert();
    }

    #[test]
    fn own_options_are_separated_from_those_of_a_mount() {
        let words = ["cifs-fuse", COMMAND, "--report", "a", "cifs://nas/s", "--throughput", "-o", "ro", "--report=b"];
        let (own, others) = split(&words.map(OsString::from));
        assert_eq!(own, ["cifs-fuse", "--report", "a", "--throughput", "--report=b"]);
        assert_eq!(others, ["cifs-fuse", "cifs://nas/s", "-o", "ro"]);
    }

    #[test]
    fn a_share_is_named_by_its_url_or_as_on_windows_and_a_host_stands_for_its_shares() {
        for (text, url) in [
            ("cifs://nas/media/films?signing=required", "cifs://nas/media/films"),
            ("smb://nas:4450/media", "cifs://nas:4450/media"),
            ("//nas/media/a b", "cifs://nas/media/a%20b"),
            (r"\\nas\media", "cifs://nas/media"),
            ("nas", "cifs://nas/IPC$"),
            ("cifs://nas/", "cifs://nas/IPC$"),
            ("[::1]:4450", "cifs://[::1]:4450/IPC$"),
        ] {
            let spec = parsed(&[text, "--ro"]).unwrap_or_else(|error| panic!("{text}: {error}")).spec;
            assert_eq!((spec.url.to_string().as_str(), spec.options.read_only), (url, true), "{text}");
        }
        for wrong in [&[][..], &["cifs://nas/media", "/mnt"], &["http://nas/media"], &["nas/media"]] {
            assert_eq!(parsed(wrong).unwrap_err().exit_code(), 1, "{wrong:?}");
        }
    }

    /// A redacted password would be a wrong one, and count at the server.
    #[test]
    fn a_password_in_the_first_argument_is_used_as_it_was_written_or_refused() {
        for text in ["cifs://ann:hunter2@nas/media", "//ann:hunter2@nas/media", "ann:hunter2@nas"] {
            match parsed(&[text]) {
                Ok(Invocation { spec, .. }) => {
                    let Identity::User { password, .. } = &spec.identity else { panic!("{text}: no user") };
                    assert_eq!(password.expose_secret(), "hunter2", "{text}");
                }
                Err(error) => assert!(!error.to_string().contains("hunter2"), "{text}: {error}"),
            }
        }
    }
}
