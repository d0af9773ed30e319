//! Every option, defined once: [`Args`] is the source of the long options, the `-o` options, the URL's query, the help,
//! the table in docs/options.md, the manual pages and the completions.
//!
//! Mount options are under the headings below; each is also accepted as `-o name=value`, with `_` or `-`. Options under
//! [`COMMAND`] control this one call: they are accepted neither in `-o` nor in a URL.

use super::help;
use super::values::{self, BufferSize};
use crate::config::options::MOST_CONNECTIONS;
use crate::config::url::UrlError;
use crate::config::{
    CacheMode, Dialect, DialectRange, Keeping, OwnerSource, Protection, ShareUrl, Symlinks, Transport,
};
use clap::builder::BoolishValueParser;
use clap::parser::ValueSource;
use clap::{Arg, ArgAction, Command, CommandFactory, FromArgMatches, Parser};
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

/// The heading of the options that are not mount options.
pub(super) const COMMAND: &str = "Command";

pub(super) const SIGNING_IN: &str = "Signing in";
pub(super) const CONNECTION: &str = "Connection";
const FILES: &str = "Files";
const CACHE: &str = "Cache and buffers";
const PROCESS: &str = "Process";
pub(super) const LOG: &str = "Log";

/// The usage line.
pub(super) const USAGE: &str = "cifs-fuse URL DIR [options]";

/// Mounts an SMB share as a local directory
///
/// Mounts the share, or a folder on it, on the directory DIR, and continues in the background. Unmount it with
/// fusermount3 -u DIR or umount DIR.
#[derive(Parser, Debug)]
#[command(
    name = "cifs-fuse",
    version,
    override_usage = USAGE,
    args_override_self = true,
    disable_help_flag = true,
    disable_version_flag = true
)]
pub(super) struct Args {
    /// The share: cifs://host[:port]/share[/path]
    #[arg(value_name = "URL")]
    pub(super) url: Option<String>,

    /// The directory to mount on
    #[arg(value_name = "DIR")]
    pub(super) mountpoint: Option<PathBuf>,

    /// The user to sign in as; DOMAIN\name and DOMAIN/name are allowed
    #[arg(long, value_name = "NAME", help_heading = SIGNING_IN, aliases = ["auth-username", "user"])]
    pub(super) username: Option<String>,

    /// The user's domain or workgroup
    #[arg(long, value_name = "NAME", help_heading = SIGNING_IN, aliases = ["auth-domain", "dom", "workgroup"])]
    pub(super) domain: Option<String>,

    /// Read name, password and domain from a file with lines of username=, password=, domain=
    #[arg(long, value_name = "FILE", help_heading = SIGNING_IN, alias = "cred")]
    pub(super) credentials: Option<PathBuf>,

    /// Read the password from this open file descriptor, up to its end
    #[arg(long, value_name = "N", help_heading = SIGNING_IN)]
    pub(super) password_fd: Option<u32>,

    /// Use the password that `cifs-fuse login HOST` has stored in the desktop's keyring
    #[arg(long, help_heading = SIGNING_IN)]
    pub(super) keyring: bool,

    /// Sign in as guest, unless the URL names a user
    #[arg(long, help_heading = SIGNING_IN)]
    pub(super) guest: bool,

    /// Sign in anonymously, unless the URL names a user
    #[arg(long, help_heading = SIGNING_IN)]
    pub(super) anonymous: bool,

    /// The transport: directtcp (port 445) or netbios (port 139)
    #[arg(long, value_name = "TRANSPORT", help_heading = CONNECTION, default_value = "directtcp")]
    pub(super) transport: Transport,

    /// The oldest SMB dialect to offer: 2.0.2, 2.1, 3.0, 3.0.2 or 3.1.1
    #[arg(long, value_name = "DIALECT", help_heading = CONNECTION)]
    pub(super) min_dialect: Option<Dialect>,

    /// The newest SMB dialect to offer
    #[arg(long, value_name = "DIALECT", help_heading = CONNECTION)]
    pub(super) max_dialect: Option<Dialect>,

    /// Oldest and newest dialect at once, as in mount.cifs: one dialect, 3 (3.0 and newer) or default (all)
    #[arg(long, value_name = "VERSION", help_heading = CONNECTION, default_value = "default")]
    pub(super) vers: DialectRange,

    /// Sign messages: required, auto (except for guest and anonymous sessions) or off (only if the server requires it)
    #[arg(long, value_name = "WHEN", help_heading = CONNECTION, default_value = "auto")]
    pub(super) signing: Protection,

    /// Encrypt messages: required, auto (if the server requires it) or off (not offered)
    #[arg(long, value_name = "WHEN", help_heading = CONNECTION, default_value = "auto")]
    pub(super) encryption: Protection,

    /// The largest number of connections, 1 to 16; more than one needs SMB 3 multichannel on the server
    #[arg(long, value_name = "N", help_heading = CONNECTION, default_value = "2",
        value_parser = clap::value_parser!(u8).range(1..=i64::from(MOST_CONNECTIONS)))]
    pub(super) connections: u8,

    /// Time limit for connecting and signing in
    #[arg(long, value_name = "SECONDS", help_heading = CONNECTION, default_value = "10",
        value_parser = values::timeout)]
    pub(super) connect_timeout: Duration,

    /// Time limit for an answer of the server; operations also wait this long for a server that is away
    #[arg(long, value_name = "SECONDS", help_heading = CONNECTION, default_value = "30",
        value_parser = values::timeout)]
    pub(super) request_timeout: Duration,

    /// Owner of all files, by number or name; by default the user who mounts, and of new files the user who makes them
    #[arg(long, value_name = "USER", help_heading = FILES, value_parser = values::user)]
    pub(super) uid: Option<u32>,

    /// Group of all files, by number or name; by default as for the owner
    #[arg(long, value_name = "GROUP", help_heading = FILES, value_parser = values::group)]
    pub(super) gid: Option<u32>,

    /// Permissions of all files; by default 0755, and of new files what the program asks for
    #[arg(long, value_name = "OCTAL", help_heading = FILES, value_parser = values::mode)]
    pub(super) file_mode: Option<u32>,

    /// Permissions of all directories; by default as for files
    #[arg(long, value_name = "OCTAL", help_heading = FILES, value_parser = values::mode)]
    pub(super) dir_mode: Option<u32>,

    /// Where owner, group and permissions come from: options, or server (its access control lists)
    #[arg(long, value_name = "WHERE", help_heading = FILES, default_value = "options")]
    pub(super) owner: OwnerSource,

    /// What chmod does: store (on the server what it keeps, the rest is remembered), remember (on this mount), ignore
    /// or deny
    #[arg(long, value_name = "ACTION", help_heading = FILES, default_value = "store")]
    pub(super) chmod: Keeping,

    /// What chown and chgrp do, in the same words
    #[arg(long, value_name = "ACTION", help_heading = FILES, default_value = "store")]
    pub(super) chown: Keeping,

    /// Mount read-only; -r is the same, -w the opposite
    #[arg(long, help_heading = FILES, alias = "read-only")]
    pub(super) ro: bool,

    /// Do not run programs from the mount
    #[arg(long, help_heading = FILES)]
    pub(super) noexec: bool,

    /// Let other users access the mount (an ordinary user needs user_allow_other in /etc/fuse.conf)
    #[arg(long, help_heading = FILES)]
    pub(super) allow_other: bool,

    /// How to store symbolic links: auto (as the server allows), reparse (as Windows does), mfsymlinks (as macOS does
    /// on other servers), or off
    #[arg(long, value_name = "FORM", help_heading = FILES, default_value = "auto")]
    pub(super) symlinks: Symlinks,

    /// What to cache: strict (what the server guarantees to be current), none, or loose (for shares without other
    /// writers)
    #[arg(long, value_name = "MODE", help_heading = CACHE, default_value = "strict")]
    pub(super) cache: CacheMode,

    /// Memory for cached data, such as 64M or 1GiB; by default an eighth of the memory, at most 256M
    #[arg(long, value_name = "SIZE", help_heading = CACHE, value_parser = values::cache_size)]
    pub(super) cache_size: Option<u64>,

    /// How long names and attributes are cached, such as 0.5; by default 1, with --cache none 0, with loose 30
    #[arg(long, value_name = "SECONDS", help_heading = CACHE, alias = "actimeo", value_parser = values::seconds)]
    pub(super) attr_timeout: Option<Duration>,

    /// Size of reads; below 10000 bytes it is ignored, above the server's maximum it is reduced. Rarely needed
    #[arg(long, value_name = "SIZE", help_heading = CACHE, alias = "rsize", allow_negative_numbers = true)]
    pub(super) read_buffer_size: Option<BufferSize>,

    /// Size of writes, with the same limits. Rarely needed
    #[arg(long, value_name = "SIZE", help_heading = CACHE, alias = "wsize", allow_negative_numbers = true)]
    pub(super) write_buffer_size: Option<BufferSize>,

    /// Mount again when the process that serves the mount is killed or crashes. The password must come from a file or
    /// the keyring. Not with --foreground, where the program that started this one restarts it
    #[arg(long, help_heading = PROCESS)]
    pub(super) restart: bool,

    /// How much to log: off, error, warn, info, debug or trace; a filter such as cifs_fuse::wire=trace; or file:PATH, a
    /// file that contains one of these
    #[arg(long, value_name = "LEVEL", help_heading = LOG)]
    pub(super) log_level: Option<String>,

    /// Where to log: stderr, syslog or file:PATH; by default stderr, and in the background syslog
    #[arg(long, value_name = "TARGET", help_heading = LOG)]
    pub(super) log_target: Option<String>,

    /// Offer metrics for Prometheus at this address: 127.0.0.1:9311, :9311 (the same) or unix:PATH. Another machine can
    /// read them only if its network's address is given
    #[arg(long, value_name = "ADDRESS", help_heading = LOG, hide_short_help = true)]
    pub(super) metrics: Option<String>,

    /// Mount options, separated by commas
    // Split before this parser runs; the field exists for the help.
    #[arg(short = 'o', value_name = "OPTIONS", help_heading = COMMAND)]
    pub(super) o: Option<String>,

    /// Stay in the foreground
    #[arg(short = 'F', long, help_heading = COMMAND)]
    pub(super) foreground: bool,

    /// Print and log more
    #[arg(short = 'v', long, help_heading = COMMAND)]
    pub(super) verbose: bool,

    /// Check the URL, the options and the credentials; do not connect or mount
    #[arg(short = 'f', long, help_heading = COMMAND)]
    pub(super) fake: bool,

    /// Ignore unknown -o options
    #[arg(short = 's', help_heading = COMMAND)]
    pub(super) sloppy: bool,

    /// Accepted without effect: no mtab is written
    #[arg(short = 'n', help_heading = COMMAND, hide = true)]
    pub(super) no_mtab: bool,

    /// Not supported: another mount namespace
    #[arg(short = 'N', value_name = "NAMESPACE", help_heading = COMMAND, hide = true)]
    pub(super) namespace: Option<String>,

    /// The file system type that mount(8) passes
    #[arg(short = 't', value_name = "TYPE", help_heading = COMMAND, hide = true)]
    pub(super) fs_type: Option<String>,

    /// Print the table of options for the documentation
    #[arg(long, help_heading = COMMAND, hide = true)]
    pub(super) print_options_table: bool,

    /// Print help; -h prints one screen
    #[arg(long, help_heading = COMMAND, action = ArgAction::HelpLong)]
    help: Option<bool>,

    /// Print one screen of help
    #[arg(short = 'h', help_heading = COMMAND, hide = true)]
    pub(super) short_help: bool,

    /// Print the version
    #[arg(short = 'V', long, help_heading = COMMAND, action = ArgAction::Version)]
    version: Option<bool>,
}

impl Args {
    /// Parses the words of a command line, the program's name first.
    pub(super) fn read(words: Vec<OsString>) -> Result<Args, clap::Error> {
        Args::from_arg_matches(&command().try_get_matches_from(words)?)
    }
}

/// The definition, in which mount options without a value also accept `--ro=true` and `--ro=false`, so that a URL's
/// query can override either.
pub(super) fn command() -> Command {
    let width = help::width();
    Args::command().term_width(width).after_long_help(help::after_options(width)).mut_args(|arg| {
        match arg.get_action() {
            ArgAction::SetTrue if is_mount_option(&arg) => arg
                .action(ArgAction::Set)
                .num_args(0..=1)
                .require_equals(true)
                .default_missing_value("true")
                .default_value("false")
                .value_name("BOOL")
                .value_parser(BoolishValueParser::new())
                .hide_default_value(true)
                .hide_possible_values(true),
            _ => arg,
        }
    })
}

fn is_mount_option(arg: &Arg) -> bool {
    arg.get_help_heading().is_some_and(|heading| heading != COMMAND)
}

/// The mount options, in the order of the help.
pub(super) fn mount_options() -> Vec<Arg> {
    command().get_arguments().filter(|arg| is_mount_option(arg)).cloned().collect()
}

/// The names of the mount options, including aliases.
pub(super) fn mount_option_names() -> Vec<String> {
    let names = |arg: &Arg| {
        let aliases = arg.get_all_aliases().unwrap_or_default();
        arg.get_long().into_iter().chain(aliases).map(str::to_owned).collect::<Vec<_>>()
    };
    mount_options().iter().flat_map(names).collect()
}

/// The name of a mount option, of which the given one may be an alias.
pub(super) fn full_name(name: &str) -> Option<String> {
    let is_it = |arg: &&Arg| {
        arg.get_long() == Some(name) || arg.get_all_aliases().is_some_and(|aliases| aliases.contains(&name))
    };
    mount_options().iter().find(is_it).and_then(|arg| arg.get_long().map(str::to_owned))
}

/// The mount options that these words contain, each with its name and as `--name=value`.
pub(super) fn given(words: Vec<OsString>) -> Result<Vec<(String, String)>, clap::Error> {
    let matches = command().try_get_matches_from(words)?;
    let given = |arg: &Arg| {
        let is_given = matches.value_source(arg.get_id().as_str()) == Some(ValueSource::CommandLine);
        let value = matches.get_raw(arg.get_id().as_str())?.next_back()?.to_string_lossy();
        let name = arg.get_long().filter(|_| is_given)?;
        Some((name.to_owned(), format!("--{name}={value}")))
    };
    Ok(mount_options().iter().filter_map(given).collect())
}

/// Parses a URL, whose query can have every mount option.
///
/// # Errors
/// The first problem with the URL.
pub(super) fn parse_url(text: &str) -> Result<ShareUrl, UrlError> {
    let names = mount_option_names();
    ShareUrl::parse(text, &names.iter().map(String::as_str).collect::<Vec<_>>())
}

/// Whether an option needs no value.
pub(super) fn is_switch(arg: &Arg) -> bool {
    arg.get_num_args().is_some_and(|range| range.min_values() == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definition_is_sound() {
        command().debug_assert();
    }

    #[test]
    fn every_option_has_a_heading_and_a_help_text() {
        for arg in command().get_arguments().filter(|arg| !arg.is_positional()) {
            assert!(arg.get_help_heading().is_some(), "{} has no heading", arg.get_id());
            assert!(arg.get_help().is_some(), "{} has no help", arg.get_id());
        }
    }
}
