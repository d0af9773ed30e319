//! Every option, defined once: [`Args`] is the source of the long options, the `-o` options, the URL's query, the help
//! and the table in docs/options.md.
//!
//! Mount options are under the headings below; each is also accepted as `-o name=value`, with `_` or `-`. Options under
//! [`COMMAND`] control this one call: they are accepted neither in `-o` nor in a URL.

use super::values::{self, BufferSize};
use crate::config::options::MOST_CONNECTIONS;
use crate::config::{CacheMode, Dialect, DialectRange, Protection, Transport};
use clap::builder::BoolishValueParser;
use clap::{Arg, ArgAction, Command, CommandFactory, FromArgMatches, Parser};
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

/// The heading of the options that are not mount options.
pub(super) const COMMAND: &str = "Command";

const SIGNING_IN: &str = "Signing in";
const CONNECTION: &str = "Connection";
const FILES: &str = "Files";
const CACHE: &str = "Cache and buffers";
const PROCESS: &str = "Process";
const LOG: &str = "Log";

/// The usage line.
pub(super) const USAGE: &str = "cifs-fuse URL DIR [options]";

const AFTER_HELP: &str = "Use --help for more: sources of the password, examples, signals, exit codes.";

const AFTER_LONG_HELP: &str = "\
URL:
  cifs://[user[:password]@]host[:port]/share[/path][?key=value&...]

  smb:// is the same. Without a path, the root of the share is mounted. The query may contain \
  auth-username, auth-password, auth-domain, transport, and every mount option under its long name \
  (read-buffer-size=65536); these override the command line. Special characters are percent-encoded \
  (& is %26, + is %2B, % is %25); in the query, + is a space. Put the URL in 'single quotes': a shell \
  ends the command at an & that is not quoted.

-o OPTIONS:
  Every mount option is also an -o option: -o ro,read-buffer-size=65536,file_mode=0600. A comma in a \
  value is written \\, or the value is put in \"double quotes\". Options of mount(8) and fstab(5) that \
  have no meaning for a share are accepted. Those of mount.cifs are accepted, ignored with a warning, \
  or refused with what to use instead; its pass is accepted with a warning, since every user can read \
  /etc/fstab. If an option is given more than once, the last one counts.

Sources of the name and the password, highest priority first:
  1. the URL: auth-username, auth-password, auth-domain; then user:password@
  2. --username and --domain
  3. --credentials FILE, with lines of username=, password=, domain= as for mount.cifs
  4. --password-fd N
  5. $CREDENTIALS_DIRECTORY (systemd): the files username, password, domain, or one file credentials
  6. AUTH_USERNAME, AUTH_PASSWORD and AUTH_DOMAIN in the environment
  7. a prompt on the terminal, for the password only
  Name, password and domain are each read from the first source that has them; a source that names \
  another user is skipped. If no source names a user, the guest account signs in. DOMAIN\\name, \
  DOMAIN/name and name@example.org are valid names; before a URL's @ the separator is written %5C \
  or %2F. Until the program has started, other users can see a URL's password in ps.

Examples:
  cifs-fuse 'cifs://nas/media/films?auth-username=ann' /mnt/films
  cifs-fuse --credentials ~/.nas --ro cifs://nas/media /mnt/media
  AUTH_PASSWORD=... cifs-fuse cifs://ann@nas:4450/media /mnt/media --foreground --log-level info
  fusermount3 -u /mnt/films

  in /etc/fstab:
  cifs://nas/media /mnt/media fuse.cifs-fuse credentials=/etc/nas,uid=1000,_netdev,nofail 0 0

Shares of a server:
  cifs-fuse shares URL_OR_HOST [options]   list them; with --all also hidden disk shares (NAME$)
  The options for signing in and the connection are those of a mount.

What the mounts of this user are doing (for root, those of all users):
  cifs-fuse status [DIR] [--json] [--watch]

Signals:
  SIGTERM, SIGINT, SIGQUIT   unmount cleanly; so does closing the terminal of a --foreground mount
  SIGHUP                     read the credentials and the --log-level file again, and reopen the log file
  SIGUSR1                    log at level debug; the next one returns to the configured level

Exit codes:
  0   the share is mounted (with --foreground: it was mounted, and has been unmounted)
  1   wrong usage: the URL, an option, or the credentials
  2   the system refused something: a file, a process, memory
  8   a signal arrived before the share was mounted
  32  the share could not be mounted
  33  the server refused the sign-in: trying again does not help, and can lock the account";

/// Mounts an SMB share as a local directory
///
/// Mounts the share, or a folder on it, on the directory DIR, and continues in the background. Unmount it with
/// fusermount3 -u DIR or umount DIR.
#[derive(Parser, Debug)]
#[command(
    name = "cifs-fuse",
    version,
    override_usage = USAGE,
    after_help = AFTER_HELP,
    after_long_help = AFTER_LONG_HELP,
    args_override_self = true,
    max_term_width = 100,
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
    #[arg(long, value_name = "N", help_heading = SIGNING_IN, hide_short_help = true)]
    pub(super) password_fd: Option<u32>,

    /// Sign in as guest, unless the URL names a user
    #[arg(long, help_heading = SIGNING_IN)]
    pub(super) guest: bool,

    /// Sign in anonymously, unless the URL names a user
    #[arg(long, help_heading = SIGNING_IN, hide_short_help = true)]
    pub(super) anonymous: bool,

    /// The transport: directtcp (port 445) or netbios (port 139)
    #[arg(long, value_name = "TRANSPORT", help_heading = CONNECTION, default_value = "directtcp")]
    pub(super) transport: Transport,

    /// The oldest SMB dialect to offer: 2.0.2, 2.1, 3.0, 3.0.2 or 3.1.1
    #[arg(long, value_name = "DIALECT", help_heading = CONNECTION, hide_short_help = true)]
    pub(super) min_dialect: Option<Dialect>,

    /// The newest SMB dialect to offer
    #[arg(long, value_name = "DIALECT", help_heading = CONNECTION, hide_short_help = true)]
    pub(super) max_dialect: Option<Dialect>,

    /// Oldest and newest dialect at once, as in mount.cifs: one dialect, 3 (3.0 and newer) or default (all)
    #[arg(long, value_name = "VERSION", help_heading = CONNECTION, default_value = "default", hide_short_help = true)]
    pub(super) vers: DialectRange,

    /// Sign messages: required, auto (except for guest and anonymous sessions) or off (only if the server requires it)
    #[arg(long, value_name = "WHEN", help_heading = CONNECTION, default_value = "auto")]
    pub(super) signing: Protection,

    /// Encrypt messages: required, auto (if the server requires it) or off (not offered)
    #[arg(long, value_name = "WHEN", help_heading = CONNECTION, default_value = "auto")]
    pub(super) encryption: Protection,

    /// The largest number of connections, 1 to 16; more than one needs SMB 3 multichannel on the server
    #[arg(long, value_name = "N", help_heading = CONNECTION, default_value = "2",
        value_parser = clap::value_parser!(u8).range(1..=i64::from(MOST_CONNECTIONS)), hide_short_help = true)]
    pub(super) connections: u8,

    /// Time limit for connecting and signing in
    #[arg(long, value_name = "SECONDS", help_heading = CONNECTION, default_value = "10",
        value_parser = values::timeout, hide_short_help = true)]
    pub(super) connect_timeout: Duration,

    /// Time limit for an answer of the server; operations also wait this long for a server that is away
    #[arg(long, value_name = "SECONDS", help_heading = CONNECTION, default_value = "30",
        value_parser = values::timeout, hide_short_help = true)]
    pub(super) request_timeout: Duration,

    /// Owner of all files, by number or name; by default the user who mounts
    #[arg(long, value_name = "USER", help_heading = FILES, value_parser = values::user)]
    pub(super) uid: Option<u32>,

    /// Group of all files, by number or name; by default the group of the user who mounts
    #[arg(long, value_name = "GROUP", help_heading = FILES, value_parser = values::group)]
    pub(super) gid: Option<u32>,

    /// Permissions of files
    #[arg(long, value_name = "OCTAL", help_heading = FILES, default_value = "0755", value_parser = values::mode)]
    pub(super) file_mode: u32,

    /// Permissions of directories
    #[arg(long, value_name = "OCTAL", help_heading = FILES, default_value = "0755", value_parser = values::mode)]
    pub(super) dir_mode: u32,

    /// Mount read-only; -r is the same, -w the opposite
    #[arg(long, help_heading = FILES, alias = "read-only")]
    pub(super) ro: bool,

    /// Do not run programs from the mount
    #[arg(long, help_heading = FILES, hide_short_help = true)]
    pub(super) noexec: bool,

    /// Let other users access the mount (an ordinary user needs user_allow_other in /etc/fuse.conf)
    #[arg(long, help_heading = FILES)]
    pub(super) allow_other: bool,

    /// What to cache: strict (what the server guarantees to be current), none, or loose (for shares without other
    /// writers)
    #[arg(long, value_name = "MODE", help_heading = CACHE, default_value = "strict")]
    pub(super) cache: CacheMode,

    /// Memory for cached data, such as 64M or 1GiB; by default an eighth of the memory, at most 256M
    #[arg(long, value_name = "SIZE", help_heading = CACHE, value_parser = values::cache_size)]
    pub(super) cache_size: Option<u64>,

    /// How long names and attributes are cached, such as 0.5; by default 1, with --cache none 0, with loose 30
    #[arg(long, value_name = "SECONDS", help_heading = CACHE, alias = "actimeo", value_parser = values::seconds,
        hide_short_help = true)]
    pub(super) attr_timeout: Option<Duration>,

    /// Size of reads; below 10000 it is ignored, above the server's maximum it is reduced. Rarely needed
    #[arg(long, value_name = "BYTES", help_heading = CACHE, alias = "rsize", allow_negative_numbers = true,
        hide_short_help = true)]
    pub(super) read_buffer_size: Option<BufferSize>,

    /// Size of writes, with the same limits. Rarely needed
    #[arg(long, value_name = "BYTES", help_heading = CACHE, alias = "wsize", allow_negative_numbers = true,
        hide_short_help = true)]
    pub(super) write_buffer_size: Option<BufferSize>,

    /// Mount again when the process that serves the mount is killed or crashes. The password must come from a file. Not
    /// with --foreground, where the program that started this one restarts it
    #[arg(long, help_heading = PROCESS, hide_short_help = true)]
    pub(super) restart: bool,

    /// How much to log: off, error, warn, info, debug or trace; a filter such as cifs_fuse::wire=trace; or file:PATH, a
    /// file that contains one of these
    #[arg(long, value_name = "LEVEL", help_heading = LOG)]
    pub(super) log_level: Option<String>,

    /// Where to log: stderr, syslog or file:PATH; by default stderr, and in the background syslog
    #[arg(long, value_name = "TARGET", help_heading = LOG)]
    pub(super) log_target: Option<String>,

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
    #[arg(short = 'f', long, help_heading = COMMAND, hide_short_help = true)]
    pub(super) fake: bool,

    /// Ignore unknown -o options
    #[arg(short = 's', help_heading = COMMAND, hide_short_help = true)]
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

    /// Print help (-h prints less)
    #[arg(short = 'h', long, help_heading = COMMAND, action = ArgAction::Help)]
    help: Option<bool>,

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
fn command() -> Command {
    Args::command().mut_args(|arg| match arg.get_action() {
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
