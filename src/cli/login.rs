//! `cifs-fuse login URL_OR_HOST` and `cifs-fuse logout URL_OR_HOST`: the password of a server in the desktop's keyring.
//!
//! The password is stored only after the server has accepted it.

use super::args::Args;
use super::command_line::CommandLine;
use super::subcommands::{for_server, server_argument, without_name};
use super::{CliError, Environment, Purpose, begin, journal, keyring, parse_for, shares};
use crate::config::{Identity, ShareUrl};
use crate::mount;
use clap::{Arg, Command};
use std::ffi::OsString;
use std::process::ExitCode;

/// The first argument for storing a password.
pub(super) const LOGIN: &str = "login";
/// The first argument for removing it.
pub(super) const LOGOUT: &str = "logout";

const LOGIN_USAGE: &str = "cifs-fuse login URL_OR_HOST [--username NAME] [options]";
const LOGOUT_USAGE: &str = "cifs-fuse logout URL_OR_HOST [--username NAME]";

/// The definition of the arguments of `login`.
pub(super) fn login_definition() -> Command {
    for_server(LOGIN, "Signs in to a server once, and stores the password in the desktop's keyring", LOGIN_USAGE)
}

/// The definition of the arguments of `logout`.
pub(super) fn logout_definition() -> Command {
    let user = Arg::new("username").long("username").value_name("NAME").help("Only the password of this user");
    let about = "Removes the passwords for a server from the desktop's keyring";
    Command::new(LOGOUT).about(about).override_usage(LOGOUT_USAGE).args([server_argument(), user])
}

/// Runs `login`; `arguments` are those of the process, the program's name first.
pub(super) fn log_in(arguments: &[OsString], environment: &Environment) -> ExitCode {
    let invocation = match parse_for(Purpose::Server(LOGIN_USAGE), without_name(arguments), environment) {
        Ok(invocation) => invocation,
        Err(error) => return error.report(),
    };
    let spec = match begin(invocation) {
        Ok(Some(spec)) => spec,
        Ok(None) => return ExitCode::SUCCESS,
        Err(error) => return error.report(),
    };
    let Identity::User { username, domain, password } = &spec.identity else { return no_user() };
    if username.is_empty() || username.eq_ignore_ascii_case("guest") {
        return no_user();
    }
    if let Err(error) = mount::sign_in(&spec) {
        return journal::fail(error.exit_code(), error);
    }
    let user = match domain {
        Some(domain) => format!("{domain}\\{username}"),
        None => username.clone(),
    };
    let server = server(&spec.url);
    match keyring::keep(&server, &user, password) {
        Ok(()) => CliError::Answer(format!(
            "the keyring has the password of {user} for {server}; to use it: cifs-fuse --keyring cifs://{server}/SHARE DIR\n"
        ))
        .report(),
        Err(problem) => CliError::System(format!("keyring: {problem}")).report(),
    }
}

fn no_user() -> ExitCode {
    CliError::Usage(format!("a password belongs to a user: add --username NAME\n\nUsage: {LOGIN_USAGE}")).report()
}

/// Runs `logout`; `arguments` are those of the process, the program's name first.
pub(super) fn log_out(arguments: &[OsString]) -> ExitCode {
    forget(without_name(arguments)).unwrap_or_else(|error| error).report()
}

/// Removes the passwords. The answer names them.
fn forget(words: Vec<OsString>) -> Result<CliError, CliError> {
    let line = CommandLine::read(words)?;
    let args = Args::read(line.words([]))?;
    let url = shares::server_url(&args, &line, LOGOUT_USAGE)?;
    let username = url.username.as_deref().or(args.username.as_deref());
    let server = server(&url);
    let users =
        keyring::forget(&server, username).map_err(|problem| CliError::System(format!("keyring: {problem}")))?;
    Ok(match users.is_empty() {
        true => CliError::Usage(format!("the keyring has no password for {server}")),
        false => {
            CliError::Answer(format!("the keyring has no longer the password of {} for {server}\n", users.join(", ")))
        }
    })
}

/// The server as the keyring names it: the host, in the form of a URL, and its port if the URL has one.
pub(super) fn server(url: &ShareUrl) -> String {
    let host = match url.host.contains(':') {
        true => format!("[{}]", url.host.replace('%', "%25")),
        false => url.host.to_ascii_lowercase(),
    };
    match url.port {
        Some(port) => format!("{host}:{port}"),
        None => host,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_server_has_the_same_name_in_the_keyring() {
        let named = |url: &str| server(&ShareUrl::parse(url, &[]).unwrap());
        assert_eq!(named("cifs://NAS/media/films"), "nas");
        assert_eq!(named("smb://ann@nas/other"), "nas");
        assert_eq!(named("cifs://nas:4450/media"), "nas:4450");
        assert_eq!(named("cifs://[fe80::1%25eth0]:4450/media"), "[fe80::1%25eth0]:4450");
    }
}
