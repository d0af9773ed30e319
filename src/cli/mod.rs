//! The command line: the forms of the arguments, the messages, the exit codes.
//!
//! [`parse`] turns the arguments into an [`Invocation`]. [`run`] is the whole program: parse, start the log, mount.
//!
//! The files, and what is decided in each:
//!
//! - `command_line`: splits the arguments, for a call by hand, by mount(8) and by mount.fuse3, and removes passwords.
//! - `args`: the definition of every option. `help`: the screens of help, and the list of the subcommands.
//! - `mount_options`: the meaning of `-o`, and which of its words are accepted without effect.
//! - `mount_cifs`: what the options of mount.cifs mean here: another option, nothing, or a refusal.
//! - `values`: which texts are valid values of options.
//! - `secrets`: where an argument contains a password.
//! - `process_memory`: how passwords are removed from what the kernel shows of the process.
//! - `prompt`: the questions on the terminal, and what is checked before them.
//! - `environment`: what is read from the process's environment.
//! - `logging`: what is logged, and where.
//! - `journal`: whether standard error is the systemd journal, and the form of its lines.
//! - `internal`: the subcommands that the program itself calls. A subcommand is the first argument, where every other
//!   call has a URL or an option.
//! - `cleanup`: the subcommand that ends what a killed process has left.
//! - `keyring`, `login`: the passwords that the desktop keeps, and the subcommands that store and remove them.
//! - `discover`: the subcommand that lists the servers of the local network.
//! - `doctor`: the subcommand that takes the steps of a mount one by one, and says what was found.
//! - `shares`: the subcommand that lists the shares of a server.
//! - `log`: the command that shows or changes what a mount logs.
//! - `remount`: what `-o remount` changes of a running mount, and what it refuses.
//! - `status`: the command that shows what mounts are doing.
//! - `error`: the exit codes before a connection is made; those of a failed mount are in [`crate::mount::error`].
//! - `subcommands`: the list of the subcommands for users.
//! - `manual`, `completions`: the subcommands that print the manual pages and the scripts for shells.
//! - `table`: the table of options in the documentation.
//! - `text`: names of other machines on a screen, and its width.
//!
//! Which account signs in is decided in [`crate::config::credentials`]. Not supported: another mount namespace
//! (`-N`), and an mtab.
//!
//! The invariant: before a file that the user named is read, and before anything is sent, the passwords are removed
//! from the arguments and the environment that other processes can see.

mod args;
mod cleanup;
mod command_line;
mod completions;
mod discover;
mod doctor;
mod environment;
mod error;
mod help;
mod internal;
mod journal;
mod keyring;
mod log;
mod logging;
mod login;
mod manual;
mod mount_cifs;
mod mount_options;
mod process_memory;
mod prompt;
mod remount;
mod secrets;
mod shares;
mod status;
mod subcommands;
mod table;
#[cfg(test)]
mod tests;
mod text;
mod values;

use crate::config::connection::DialectRange;
use crate::config::credentials::{self, Account, CredentialsError, Keyring, SignInAs, Sources, WhenMissing};
use crate::config::ownership::Fixed;
use crate::config::url::{UrlError, cut_hint, has_known_scheme, url_of_unc};
use crate::config::{
    Credentials, Identity, KernelFlags, MetricsAddress, MountCommand, MountOptions, MountSpec, OwnerOptions, ShareUrl,
};
use crate::mount::{self, Renewal, RunMode};
use args::{Args, USAGE};
use command_line::CommandLine;
use secrecy::SecretString;
use std::ffi::OsString;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use tracing::Level;

pub use environment::{Ask, Environment};
pub use error::CliError;
pub use logging::{LogLevel, LogSettings, LogTarget};
pub use table::options_table;

const WITHOUT_NETDEV: &str =
    "systemd treats a mount without _netdev as local, and a missing server stops the boot: add _netdev to the options";

/// What a command line requests.
#[derive(Clone, Debug)]
pub struct Invocation {
    /// What to mount, where, as which account and how.
    pub spec: MountSpec,
    /// Stay in the foreground.
    pub foreground: bool,
    /// Check everything that can be checked without the server, and stop.
    pub fake: bool,
    /// Print and log more.
    pub verbose: bool,
    /// Whether a user has called the program, and not mount(8) or systemd.
    pub by_hand: bool,
    /// What is logged, and where.
    pub log: LogSettings,
    /// Where the identity was found, for a later reading.
    pub sources: Sources,
    /// The command line itself.
    pub command: MountCommand,
    /// Warnings for the user. They do not stop the mount.
    pub warnings: Vec<String>,
}

/// Runs the program.
pub fn run() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().collect();
    process_memory::mask_arguments();
    if let Err(error) = mount::core_dump::disable() {
        return journal::fail(error.exit_code(), error);
    }
    if let Some(code) = internal::run(&arguments) {
        return code;
    }
    let environment = Environment::of_this_process();
    if let Some(help) = subcommands::help_asked(&arguments) {
        return help.report();
    }
    if let Some(subcommand) = subcommands::called(&arguments) {
        return subcommand.start(&arguments, &environment);
    }
    mount_or_remount(arguments, &environment)
}

fn mount_or_remount(arguments: Vec<OsString>, environment: &Environment) -> ExitCode {
    match read(arguments) {
        Ok(line) if line.mount_words.remount => remount::run(&line, environment),
        Ok(line) => parse_line(Purpose::Mount, line, environment).map_or_else(|error| error.report(), start),
        Err(error) => error.report(),
    }
}

fn start(invocation: Invocation) -> ExitCode {
    journal::warn(&invocation.warnings);
    let Invocation { spec, foreground, fake, verbose, by_hand, log, sources, command, .. } = invocation;
    if fake {
        if verbose {
            let mountpoint = spec.mountpoint.display();
            journal::print(
                Level::INFO,
                format_args!("cifs-fuse: {} on {mountpoint}: no error was found, and nothing was mounted", spec.url),
            );
        }
        return ExitCode::SUCCESS;
    }
    let log = match logging::start(&log) {
        Ok(log) => log,
        Err(error) => return error.report(),
    };
    let renewal = Renewal { sources, log: Arc::new(log), command };
    let mode = if foreground { RunMode::Foreground } else { RunMode::Background };
    // With -v the log says it, in more detail.
    let is_announced = by_hand && !verbose && std::io::stderr().is_terminal();
    let announce: mount::Print = &|line| journal::print(Level::INFO, format_args!("cifs-fuse: {line}"));
    match mount::run(spec, mode, &renewal, is_announced.then_some(announce)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => journal::fail(failure.code, failure.message),
    }
}

/// Begins a subcommand that asks a server: prints the warnings, and starts the log on the screen, where the user sees
/// all that happens; the system's log is for mounts. `None` with `--fake`.
///
/// # Errors
/// The log cannot be started.
fn begin(invocation: Invocation) -> Result<Option<MountSpec>, CliError> {
    journal::warn(&invocation.warnings);
    let Invocation { spec, fake, mut log, .. } = invocation;
    if fake {
        return Ok(None);
    }
    if log.target == LogTarget::StderrAndSyslog {
        log.target = LogTarget::Stderr;
    }
    logging::start(&log)?;
    Ok(Some(spec))
}

/// Parses a command line, the program's name first, and finds the account: this can read files and a descriptor, and
/// ask on the terminal.
///
/// # Errors
/// The first problem that prevents the mount before a connection is made, as a message for the user. Help, the version
/// and the table of options are [`CliError::Answer`], with exit code 0.
pub fn parse(arguments: Vec<OsString>, environment: &Environment) -> Result<Invocation, CliError> {
    parse_line(Purpose::Mount, read(arguments)?, environment)
}

/// Reads a command line that begins with no subcommand.
fn read(arguments: Vec<OsString>) -> Result<CommandLine, CliError> {
    let first = arguments.get(1).and_then(|word| word.to_str());
    if let Some(instead) = first.and_then(help::instead_of_command) {
        return Err(CliError::Usage(format!("{instead}\n\nUsage: {USAGE}")));
    }
    CommandLine::read(arguments)
}

/// What the URL of a command line is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Purpose {
    /// A share is mounted on a directory.
    Mount,
    /// It names a server, for the subcommand with this usage line. There is no directory: the mountpoint is empty.
    Server(&'static str),
    /// The steps of a mount are taken one by one. There is no directory either.
    Doctor,
}

fn parse_for(purpose: Purpose, arguments: Vec<OsString>, environment: &Environment) -> Result<Invocation, CliError> {
    parse_line(purpose, CommandLine::read(arguments)?, environment)
}

fn parse_line(purpose: Purpose, mut line: CommandLine, environment: &Environment) -> Result<Invocation, CliError> {
    if line.mount_words.remount {
        return Err(CliError::Usage("remount changes a running mount, and nothing else".to_owned()));
    }
    let first = Args::read(line.words([]))?;
    if first.short_help {
        return Err(CliError::Answer(help::short()));
    }
    if first.print_options_table {
        return Err(CliError::Answer(options_table()));
    }
    let mut url = match purpose {
        Purpose::Mount => share_url(&first, &line)?,
        Purpose::Doctor => doctor::share_or_server(&first, &line)?,
        Purpose::Server(usage) => shares::server_url(&first, &line, usage)?,
    };
    let overrides = url.overrides.iter().filter_map(|(name, value)| mount_options::long_option(name, value.as_deref()));
    let args = Args::read(line.words(overrides))?;
    if args.namespace.is_some() {
        return Err(CliError::Usage("-N (another mount namespace) is not supported; call nsenter(1) first".to_owned()));
    }
    let mountpoint = match purpose {
        Purpose::Mount => args.mountpoint.as_ref().ok_or_else(|| missing_mountpoint(&args))?.clone(),
        Purpose::Server(_) | Purpose::Doctor => PathBuf::new(),
    };

    let mut warnings = Vec::new();
    let password = line.mount_words.password.take();
    if password.is_some() {
        warnings
            .push("a password in -o can be read by others, in /etc/fstab as in ps; use credentials=FILE".to_owned());
    }
    warnings.extend(line.mount_words.ignored());
    if needs_netdev(&args, &line) && environment.systemd {
        warnings.push(WITHOUT_NETDEV.to_owned());
    }
    let sources = sources(&args, &url, password, environment)?;
    let restart = restart(&args, &line, &sources, environment)?;
    let (account, more) = credentials::account(sources.clone()).map_err(|error| unidentified(error, &args))?;
    warnings.extend(more);
    // The account and the sources have the password; the URL does not need it any more.
    url.password = None;
    let log = log_settings(&args, environment, &mut warnings)?;
    let command = command_of(&line, environment);
    let options = options(&args, &url, &environment.current_directory, &mut warnings)?;
    let mountpoint = environment.current_directory.join(mountpoint);
    let mut spec = MountSpec { url, mountpoint, identity: Identity::Anonymous, options, restart };
    spec.identity = match (account, environment.ask) {
        (Account::Known(identity), _) => identity,
        (Account::Asked(unanswered), Some(ask)) => {
            let warnings = std::mem::take(&mut warnings);
            prompt::identity(unanswered, &spec, purpose, &warnings, ask)?
        }
        (Account::Asked(_), None) => return Err(CliError::System("there is no terminal to ask on".to_owned())),
    };
    let sources = sources.read_again(&spec.identity);
    let Args { foreground, fake, verbose, .. } = args;
    let by_hand = line.helper_for.is_none();
    Ok(Invocation { spec, foreground, fake, verbose, by_hand, log, sources, command, warnings })
}

fn share_url(args: &Args, line: &CommandLine) -> Result<ShareUrl, CliError> {
    let Some(shown) = &args.url else {
        return Err(CliError::Usage(format!(
            "nothing to mount\n\nUsage: {USAGE}\n\nFor more information, try '--help'."
        )));
    };
    args::parse_url(line.original(shown)).map_err(|error| {
        let said = match error {
            UrlError::NotAUrl => match url_of_unc(shown) {
                Some(url) => format!("'{shown}' is not a URL; write the share as '{url}'"),
                None => format!("'{shown}': {error}"),
            },
            error => error.to_string(),
        };
        let swapped = args.mountpoint.as_ref().and_then(|path| path.to_str()).is_some_and(has_known_scheme);
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
        CredentialsError::Unreadable { .. } | CredentialsError::Keyring(_) => CliError::System(error.to_string()),
        CredentialsError::Incomplete { error, warnings } => {
            let with_warnings = |problem: String| format!("{problem}\n{}", warnings.join("\n"));
            match unidentified(*error, args) {
                CliError::Usage(problem) => CliError::Usage(with_warnings(problem)),
                CliError::System(problem) => CliError::System(with_warnings(problem)),
                other => other,
            }
        }
        CredentialsError::NoPassword { .. } => {
            let hint = args.url.as_deref().and_then(cut_hint).map(|hint| format!("\n{hint}")).unwrap_or_default();
            CliError::Usage(format!("{error}{hint}"))
        }
        _ => CliError::Usage(error.to_string()),
    }
}

/// Whether systemd would order this mount among the local ones: the program runs as a mount helper, and neither
/// `_netdev` nor the type marks the mount as a network file system (`fstype_is_network()` of systemd).
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
        keyring: environment
            .find_in_keyring
            .filter(|_| args.keyring)
            .map(|find| Keyring { server: login::server(url), find }),
        sign_in_as,
        when_missing: match environment.ask {
            _ if args.fake => WhenMissing::Ignore,
            // An answer could not be given again after a restart.
            Some(_) if !args.restart => WhenMissing::Ask,
            _ => WhenMissing::Refuse,
        },
        remembered: None,
    })
}

/// The command line for mounting again; `None` if the mount is not to be restarted.
fn restart(
    args: &Args,
    line: &CommandLine,
    sources: &Sources,
    environment: &Environment,
) -> Result<Option<MountCommand>, CliError> {
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
    Ok(Some(command_of(line, environment)))
}

/// The command line without its passwords.
fn command_of(line: &CommandLine, environment: &Environment) -> MountCommand {
    MountCommand { directory: environment.current_directory.clone(), words: line.words([]) }
}

/// What is logged, and where. The level is that of the command line, or else the filter of the environment, or else
/// `info` with `-v`, or else `warn`.
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

fn options(
    args: &Args,
    url: &ShareUrl,
    directory: &Path,
    warnings: &mut Vec<String>,
) -> Result<MountOptions, CliError> {
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
        file_mode: args.file_mode.unwrap_or(defaults.file_mode),
        dir_mode: args.dir_mode.unwrap_or(defaults.dir_mode),
        owner: OwnerOptions {
            source: args.owner,
            chmod: args.chmod,
            chown: args.chown,
            fixed: Fixed {
                uid: args.uid.is_some(),
                gid: args.gid.is_some(),
                file_mode: args.file_mode.is_some(),
                dir_mode: args.dir_mode.is_some(),
            },
        },
        read_only: args.ro,
        allow_other: args.allow_other,
        kernel: KernelFlags { no_exec: args.noexec, ..defaults.kernel },
        cache_size: args.cache_size.unwrap_or(defaults.cache_size),
        cache: args.cache,
        symlinks: args.symlinks,
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
        metrics: metrics_address(args, directory, warnings)?,
    })
}

fn metrics_address(
    args: &Args,
    directory: &Path,
    warnings: &mut Vec<String>,
) -> Result<Option<MetricsAddress>, CliError> {
    let Some(text) = &args.metrics else { return Ok(None) };
    let address =
        MetricsAddress::parse(text, directory).map_err(|problem| CliError::Usage(format!("--metrics: {problem}")))?;
    warnings.extend(address.warning());
    Ok(Some(address))
}

fn dialects(args: &Args) -> Result<DialectRange, CliError> {
    let lowest = args.min_dialect.unwrap_or(args.vers.lowest);
    let highest = args.max_dialect.unwrap_or(args.vers.highest);
    match lowest <= highest {
        true => Ok(DialectRange { lowest, highest }),
        false => Err(CliError::Usage(format!("the oldest dialect ({lowest}) is newer than the newest ({highest})"))),
    }
}
