//! `-o remount`: changes a running mount, where that is possible.
//!
//! mount(8) adds to the options of the user those of fstab(5), or those that the kernel shows. So every option is
//! compared with the running mount: the process that serves it reports its own command line, and an option that would
//! make a difference there is refused, unless it is `ro`, `rw` or `log-level`. All of them are checked before one is
//! carried out.

use super::args::{self, Args};
use super::command_line::CommandLine;
use super::environment::Environment;
use super::error::CliError;
use super::logging::LogLevel;
use super::text::printable;
use super::{journal, log, mount_options, options, share_url};
use crate::config::ownership::Fixed;
use crate::config::{MountCommand, MountOptions, ShareUrl};
use crate::mount::remount::set_read_only;
use crate::mount::socket::client::Running;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// The options that can be changed on a running mount.
const CHANGEABLE: [&str; 2] = ["ro", "log-level"];

/// Carries out a command line with `remount`.
pub(super) fn run(line: &CommandLine, environment: &Environment) -> ExitCode {
    match remount(line, environment) {
        Ok(warnings) => {
            journal::warn(&warnings);
            ExitCode::SUCCESS
        }
        Err(error) => error.report(),
    }
}

/// Changes the mount. Returns warnings.
fn remount(line: &CommandLine, environment: &Environment) -> Result<Vec<String>, CliError> {
    let args = Args::read(line.words([]))?;
    let url = share_url(&args, line)?;
    let directory = args.mountpoint.as_ref().ok_or_else(|| super::missing_mountpoint(&args))?;
    let mount = log::running(&environment.current_directory.join(directory))?;
    let running = mount.command().map_err(log::failed)?;
    let mut given = args::given(line.words([]))?;
    // mount(8) passes noexec unless programs are to be run from now on.
    if line.helper_for.is_some() && !given.iter().any(|(name, _)| name == "noexec") {
        given.push(("noexec".to_owned(), "--noexec=false".to_owned()));
    }
    let asked = Asked::new(given, &url);
    check(&asked, &url, &mount, &running)?;
    let level = asked.level(&running, environment)?;
    if args.fake {
        return Ok(Vec::new());
    }
    let mut warnings = Vec::new();
    if let Some(read_only) = asked.read_only()? {
        if !read_only && mount.status.read_only && mount.status.server.share_read_only {
            warnings.push(format!("the share {:?} is read-only for this user, so changes fail", url.share));
        }
        set_read_only(&mount, read_only).map_err(log::failed)?;
    }
    if let Some(level) = level {
        mount.set_log_level(&level).map_err(log::failed)?;
    }
    Ok(warnings)
}

/// The mount options that a remount names, as `--name` or `--name=value`, the last of each name.
struct Asked(Vec<(String, String)>);

impl Asked {
    /// The options of the command line, and those in the URL's query, which have priority.
    fn new(given: Vec<(String, String)>, url: &ShareUrl) -> Asked {
        let overrides = url.overrides.iter().filter_map(|(name, value)| {
            Some((args::full_name(name)?, mount_options::long_option(name, value.as_deref())?))
        });
        let mut asked: Vec<(String, String)> = Vec::new();
        for (name, option) in given.into_iter().chain(overrides) {
            asked.retain(|(other, _)| *other != name);
            asked.push((name, option));
        }
        Asked(asked)
    }

    fn option(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(other, _)| other == name).map(|(_, option)| option.as_str())
    }

    /// Whether the mount is to be read-only; `None` if that is not requested.
    fn read_only(&self) -> Result<Option<bool>, CliError> {
        let Some(option) = self.option("ro") else { return Ok(None) };
        Ok(Some(Args::read(["cifs-fuse", option].map(OsString::from).into())?.ro))
    }

    /// The log level as the mount understands it; `None` if none is requested.
    fn level(&self, running: &MountCommand, environment: &Environment) -> Result<Option<String>, CliError> {
        let Some(text) = self.option("log-level").and_then(|option| option.strip_prefix("--log-level=")) else {
            return Ok(None);
        };
        let usage = |problem: String| CliError::Usage(format!("--log-level: {problem}"));
        let configured = Args::read(running.words.clone())?.log_level;
        match LogLevel::parse(text, &environment.current_directory).map_err(usage)? {
            _ if configured.as_deref() == Some(text) => Ok(Some("configured".to_owned())),
            LogLevel::Fixed(_) => Ok(Some(text.to_owned())),
            LogLevel::File(_) => Err(unchangeable(&["log-level=file:PATH".to_owned()])),
        }
    }
}

/// Refuses what cannot be changed.
fn check(asked: &Asked, url: &ShareUrl, mount: &Running, running: &MountCommand) -> Result<(), CliError> {
    if url.to_string() != mount.status.url {
        let Running { status, .. } = mount;
        let said = format!("{} shows {}, not {url}", status.mountpoint, status.url);
        return Err(CliError::Mount(printable(&said)));
    }
    let owner = mount.owner();
    let before = Settings::of(running, owner, None).map_err(|error| {
        let said = format!("the command line of the running mount is not understood: {error}");
        CliError::Mount(printable(said.lines().next().unwrap_or_default()))
    })?;
    let mut refused = Vec::new();
    for (name, option) in asked.0.iter().filter(|(name, _)| !CHANGEABLE.contains(&name.as_str())) {
        if Settings::of(running, owner, Some(option))? != before {
            refused.push(name.clone());
        }
    }
    if refused.is_empty() { Ok(()) } else { Err(unchangeable(&refused)) }
}

fn unchangeable(names: &[String]) -> CliError {
    CliError::Mount(format!(
        "{} cannot be changed on a running mount: unmount it, and mount it again (remount changes ro, rw and log-level)",
        names.join(", ")
    ))
}

/// All that the options of a mount decide.
#[derive(PartialEq, Debug)]
struct Settings {
    options: MountOptions,
    names: [Option<String>; 3],
    credentials: Option<PathBuf>,
    password_fd: Option<u32>,
    flags: [bool; 3],
}

impl Settings {
    /// Those of a command line, with one more option. The user and the group who mounted own the files by default, who
    /// need not be those of this process.
    fn of(
        command: &MountCommand,
        (user, group): (Option<u32>, Option<u32>),
        more: Option<&str>,
    ) -> Result<Settings, CliError> {
        let plain = Args::read(command.words.clone())?;
        let url = plain.url.as_deref().unwrap_or_default();
        let url = args::parse_url(url).map_err(|error| CliError::Usage(error.to_string()))?;
        let overrides =
            url.overrides.iter().filter_map(|(name, value)| mount_options::long_option(name, value.as_deref()));
        let end = command.words.iter().position(|word| word == "--").unwrap_or(command.words.len());
        let (options_of, rest) = command.words.split_at(end);
        let more = overrides.chain(more.map(str::to_owned)).map(OsString::from);
        let args = Args::read(options_of.iter().cloned().chain(more).chain(rest.iter().cloned()).collect())?;
        let directory: &Path = &command.directory;
        // The mount has printed the warnings.
        let mut options = options(&args, &url, directory, &mut Vec::new())?;
        options.uid = args.uid.or(user).unwrap_or(options.uid);
        options.gid = args.gid.or(group).unwrap_or(options.gid);
        // An option with the value that the mount has anyway changes nothing.
        options.owner.fixed = Fixed::default();
        Ok(Settings {
            options,
            credentials: args.credentials.map(|path| directory.join(path)),
            password_fd: args.password_fd,
            flags: [args.guest, args.anonymous, args.restart],
            names: [args.username, args.domain, args.log_target],
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Root remounts what user 7 mounted.
    #[test]
    fn the_default_owner_of_files_is_the_user_who_mounted() {
        let words = ["cifs-fuse", "cifs://nas/share", "/mnt"].map(OsString::from).to_vec();
        let command = MountCommand { directory: "/".into(), words };
        let settings = |more| Settings::of(&command, (Some(7), Some(8)), more).unwrap();
        assert_eq!(settings(Some("--uid=7")), settings(None));
        assert_eq!(settings(Some("--gid=8")), settings(None));
        assert_ne!(settings(Some("--uid=0")), settings(None));
        assert_ne!(settings(Some("--gid=0")), settings(None));
    }
}
