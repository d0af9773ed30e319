//! The command line: the forms of the arguments, the messages, the exit codes.
//!
//! [`parse`] turns the arguments into an [`Invocation`]: `command_line` makes them one form, `args`
//! defines the options, `mount_options` reads `-o`, [`crate::config::credentials`] finds who signs in.
//! [`run`] is what the program does: read, begin the log, mount.
//!
//! The first word is a URL. Any other word that may stand there is a subcommand, which can't be mistaken for one:
//! `internal` has those that the program and its systemd units use.
//!
//! The invariant: by the time anything is read from a file or sent anywhere, the passwords are gone
//! from this process's arguments and environment as others see them.

mod args;
mod command_line;
mod environment;
mod error;
mod internal;
mod logging;
mod mount_options;
mod process_memory;
mod secrets;
mod table;
#[cfg(test)]
mod tests;
mod values;

use crate::config::connection::DialectRange;
use crate::config::credentials::{self, CredentialsError, SignInAs, Sources, WithoutPassword};
use crate::config::url::{UrlError, cut_hint, has_our_scheme};
use crate::config::{Credentials, KernelFlags, MountOptions, MountSpec, Restart, ShareUrl};
use crate::mount::{self, Renewal, RunMode};
use args::{Args, USAGE};
use command_line::CommandLine;
use secrecy::SecretString;
use std::ffi::OsString;
use std::process::ExitCode;

pub use environment::Environment;
pub use error::CliError;
pub use logging::{LogLevel, LogSettings, LogTarget};
pub use table::options_table;

const WITHOUT_NETDEV: &str =
    "without _netdev in its options, systemd takes this mount for a local one, and a missing server stops the boot";

/// What a command line asks for.
#[derive(Clone, Debug)]
pub struct Invocation {
    /// The mount.
    pub spec: MountSpec,
    /// Do not go to the background.
    pub foreground: bool,
    /// Stop once everything has been checked that can be checked without the server.
    pub fake: bool,
    /// Say more.
    pub verbose: bool,
    /// The log.
    pub log: LogSettings,
    /// Where the identity was found, for another reading.
    pub sources: Sources,
    /// What the user should be told, although it stops nothing.
    pub warnings: Vec<String>,
}

/// What the program does.
pub fn run() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().collect();
    process_memory::cover_arguments();
    if let Some(code) = internal::run(&arguments) {
        return code;
    }
    let environment = Environment::of_this_process();
    match parse(arguments, &environment) {
        Ok(invocation) => start(invocation),
        Err(error) => error.report(),
    }
}

fn start(invocation: Invocation) -> ExitCode {
    for warning in &invocation.warnings {
        eprintln!("cifs-fuse: warning: {warning}");
    }
    let Invocation { spec, foreground, fake, verbose, log, sources, .. } = invocation;
    if fake {
        if verbose {
            eprintln!(
                "cifs-fuse: {} on {}: nothing is wrong so far, and nothing was mounted",
                spec.url,
                spec.mountpoint.display()
            );
        }
        return ExitCode::SUCCESS;
    }
    let log = match logging::start(&log) {
        Ok(log) => log,
        Err(error) => return error.report(),
    };
    let renewal = Renewal { sources, log: Box::new(move || log.renew()) };
    match mount::run(spec, if foreground { RunMode::Foreground } else { RunMode::Background }, &renewal) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("cifs-fuse: {}", failure.message);
            ExitCode::from(failure.code)
        }
    }
}

/// Reads a command line, the program's name first. The files it names for credentials are read, too.
///
/// # Errors
/// Whatever stops the mount before anything is connected to, as a message for the user.
pub fn parse(arguments: Vec<OsString>, environment: &Environment) -> Result<Invocation, CliError> {
    let mut line = CommandLine::read(arguments)?;
    if line.mount_words.remount {
        return Err(CliError::Mount("a mount can't be remounted; unmount it and mount it again".to_owned()));
    }
    let first = Args::read(line.words([]))?;
    if first.print_options_table {
        return Err(CliError::Answer(options_table()));
    }
    let mut url = share_url(&first, &line)?;
    let overrides = url.overrides.iter().filter_map(|(name, value)| mount_options::long_option(name, value.as_deref()));
    let args = Args::read(line.words(overrides))?;
    if args.namespace.is_some() {
        return Err(CliError::Usage("-N (another mount namespace) is not supported; call nsenter(1) first".to_owned()));
    }
    let mountpoint = args.mountpoint.as_ref().ok_or_else(|| missing_mountpoint(&args))?;

    let mut warnings = Vec::new();
    let password = line.mount_words.password.take();
    if password.is_some() {
        warnings
            .push("a password in -o can be read by others, in /etc/fstab as in ps; use credentials=FILE".to_owned());
    }
    if needs_netdev(&args, &line) && environment.systemd {
        warnings.push(WITHOUT_NETDEV.to_owned());
    }
    let sources = sources(&args, &url, password, environment)?;
    let restart = restart(&args, &line, &sources, environment)?;
    let (identity, more) = credentials::identity(sources.clone()).map_err(|error| unidentified(error, &args))?;
    let sources = sources.read_again(&identity);
    warnings.extend(more);
    // From here on, the identity holds what is needed of it.
    url.password = None;
    let log = log_settings(&args, environment, &mut warnings)?;
    let options = options(&args, &url, &mut warnings)?;
    let mountpoint = environment.current_directory.join(mountpoint);
    let spec = MountSpec { url, mountpoint, identity, options, restart };
    let Args { foreground, fake, verbose, .. } = args;
    Ok(Invocation { spec, foreground, fake, verbose, log, sources, warnings })
}

fn share_url(args: &Args, line: &CommandLine) -> Result<ShareUrl, CliError> {
    let Some(shown) = &args.url else {
        return Err(CliError::Usage(format!(
            "nothing to mount\n\nUsage: {USAGE}\n\nFor more information, try '--help'."
        )));
    };
    let names = args::mount_option_names();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    ShareUrl::parse(line.original(shown), &names).map_err(|error| {
        let said = match error {
            UrlError::NotAUrl => format!("'{shown}': {error}"),
            error => error.to_string(),
        };
        let swapped = args.mountpoint.as_ref().and_then(|path| path.to_str()).is_some_and(has_our_scheme);
        let hint = if swapped { "\nThe URL comes first, then the directory." } else { "" };
        CliError::Usage(format!("{said}{hint}\n\nUsage: {USAGE}"))
    })
}

fn missing_mountpoint(args: &Args) -> CliError {
    let hint = args.url.as_deref().and_then(cut_hint).map(|hint| format!("\n{hint}")).unwrap_or_default();
    CliError::Usage(format!("there is no directory to mount on{hint}\n\nUsage: {USAGE}"))
}

fn unidentified(error: CredentialsError, args: &Args) -> CliError {
    match error {
        CredentialsError::Unreadable { .. } => CliError::System(error.to_string()),
        CredentialsError::NoPassword { .. } => {
            let hint = args.url.as_deref().and_then(cut_hint).map(|hint| format!("\n{hint}")).unwrap_or_default();
            CliError::Usage(format!("{error}{hint}"))
        }
        _ => CliError::Usage(error.to_string()),
    }
}

/// Whether systemd would order this mount among the local ones: a helper was called, and neither
/// `_netdev` nor the type says that there is a network behind (`fstype_is_network()` of systemd).
fn needs_netdev(args: &Args, line: &CommandLine) -> bool {
    let Some(helper_for) = &line.helper_for else { return false };
    let fs_type = args.fs_type.as_ref().unwrap_or(helper_for);
    let fs_type = fs_type.strip_prefix("fuse.").unwrap_or(fs_type);
    !line.mount_words.netdev && !["cifs", "smb3", "smbfs"].contains(&fs_type)
}

fn sources(
    args: &Args,
    url: &ShareUrl,
    password: Option<SecretString>,
    environment: &Environment,
) -> Result<Sources, CliError> {
    let sign_in_as = match (args.guest, args.anonymous, &args.username) {
        (true, true, _) => return Err(CliError::Usage("guest and anonymous exclude each other".to_owned())),
        (true, _, Some(_)) => return Err(CliError::Usage("guest and a user name exclude each other".to_owned())),
        (_, true, Some(_)) => return Err(CliError::Usage("anonymous and a user name exclude each other".to_owned())),
        (true, ..) => SignInAs::Guest,
        (_, true, _) => SignInAs::Anonymous,
        _ => SignInAs::Named,
    };
    Ok(Sources {
        url: url.credentials(),
        options: Credentials { username: args.username.clone(), password, domain: args.domain.clone() },
        file: args.credentials.as_ref().map(|path| environment.current_directory.join(path)),
        password_fd: args.password_fd,
        directory: environment.credentials_directory.clone(),
        environment: environment.credentials.clone(),
        sign_in_as,
        without_password: match environment.ask {
            _ if args.fake => WithoutPassword::Ignore,
            Some(ask) => WithoutPassword::Ask(ask),
            None => WithoutPassword::Refuse,
        },
        remembered: None,
    })
}

/// How to mount again, if that is wanted.
fn restart(
    args: &Args,
    line: &CommandLine,
    sources: &Sources,
    environment: &Environment,
) -> Result<Option<Restart>, CliError> {
    if !args.restart {
        return Ok(None);
    }
    if args.foreground {
        return Err(CliError::Usage(
            "--restart is for a mount in the background; one with --foreground is restarted by what started it \
             (systemd: Restart=on-failure)"
                .to_owned(),
        ));
    }
    sources.check_lasting().map_err(|error| unidentified(error, args))?;
    Ok(Some(Restart { directory: environment.current_directory.clone(), words: line.words([]) }))
}

/// The level of the command line, or else the filter of the environment, or else the default.
fn log_settings(args: &Args, environment: &Environment, warnings: &mut Vec<String>) -> Result<LogSettings, CliError> {
    let default = if args.verbose { "info" } else { "warn" };
    let directory = &environment.current_directory;
    let level = match (&args.log_level, &environment.log_filter) {
        (Some(text), _) => {
            LogLevel::parse(text, directory).map_err(|problem| CliError::Usage(format!("--log-level: {problem}")))?
        }
        (None, Some(text)) => LogLevel::parse(text, directory).or_else(|problem| {
            warnings.push(format!("RUST_LOG is ignored: {problem}"));
            LogLevel::parse(default, directory).map_err(CliError::Usage)
        })?,
        (None, None) => LogLevel::parse(default, directory).map_err(CliError::Usage)?,
    };
    let target = match &args.log_target {
        Some(text) => {
            logging::target(text, directory).map_err(|problem| CliError::Usage(format!("--log-target: {problem}")))?
        }
        None if args.foreground => LogTarget::Stderr,
        None => LogTarget::StderrAndSyslog,
    };
    Ok(LogSettings { level, target })
}

fn options(args: &Args, url: &ShareUrl, warnings: &mut Vec<String>) -> Result<MountOptions, CliError> {
    let mut buffer = |name: &str, size: Option<values::BufferSize>| match size?.bytes(name) {
        Ok(bytes) => Some(bytes),
        Err(warning) => {
            warnings.push(warning);
            None
        }
    };
    let defaults = MountOptions::default();
    Ok(MountOptions {
        uid: args.uid.unwrap_or(defaults.uid),
        gid: args.gid.unwrap_or(defaults.gid),
        file_mode: args.file_mode,
        dir_mode: args.dir_mode,
        read_only: args.ro,
        allow_other: args.allow_other,
        kernel: KernelFlags { no_exec: args.noexec, ..defaults.kernel },
        cache_size: args.cache_size.unwrap_or(defaults.cache_size),
        cache: args.cache,
        attr_timeout: args.attr_timeout.unwrap_or(args.cache.attr_timeout()),
        read_buffer_size: buffer("read-buffer-size", args.read_buffer_size),
        write_buffer_size: buffer("write-buffer-size", args.write_buffer_size),
        connections: args.connections,
        connect_timeout: args.connect_timeout,
        request_timeout: args.request_timeout,
        dialects: dialects(args)?,
        signing: args.signing,
        encryption: args.encryption,
        transport: url.transport.unwrap_or(args.transport),
    })
}

fn dialects(args: &Args) -> Result<DialectRange, CliError> {
    let lowest = args.min_dialect.unwrap_or(args.vers.lowest);
    let highest = args.max_dialect.unwrap_or(args.vers.highest);
    match lowest <= highest {
        true => Ok(DialectRange { lowest, highest }),
        false => Err(CliError::Usage(format!("the oldest dialect ({lowest}) is newer than the newest ({highest})"))),
    }
}
