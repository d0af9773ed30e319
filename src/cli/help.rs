//! The two screens of help: `-h` fits a terminal of 80 columns and 24 lines, `--help` is complete and wrapped to the
//! terminal.
//!
//! The texts are written in lines that fit. [`sections`] are those below the options, which the manual has as well.

mod blocks;

use super::shares;
use super::subcommands::{SUBCOMMANDS, Subcommand};
use super::text::{WIDTH, wrapped};
use crate::config::nearest;
use blocks::{blocks, on_terminal};

pub(super) use blocks::Block;

/// The answer to `-h`.
pub(super) fn short() -> String {
    let names: Vec<&str> = SUBCOMMANDS.iter().map(|subcommand| subcommand.name).collect();
    let commands = wrapped(&format!("Commands: {}", names.join(", ")), WIDTH).join("\n          ");
    format!("{SHORT}\n{commands}\n{MORE}")
}

const SHORT: &str = "\
Mounts an SMB share as a local directory.

Usage: cifs-fuse URL DIR [options]
       cifs-fuse COMMAND [arguments]
  URL  cifs://host[:port]/share[/path][?option=value&...], in 'single quotes'

      --username NAME      the user to sign in as; without one you are asked
      --credentials FILE   read username=, password= and domain= from a file
      --guest              sign in as guest
      --transport NAME     directtcp (port 445, the default) or netbios (139)
      --encryption WHEN    required, auto or off; --signing takes the same
  -r, --ro                 mount read-only
      --uid USER           owner of all files; --gid GROUP: their group
      --allow-other        let other users access the mount
      --cache MODE         strict (the default), none or loose
  -o OPTIONS               mount options, separated by commas, as in fstab
  -F, --foreground         stay in the foreground
  -v, --verbose            print and log more
";

const MORE: &str = "\
Unmount:  fusermount3 -u DIR
--help has all options, the sources of the password, signals and exit codes.
";

/// The width of the terminal, from 40 to 100 columns; 80 if there is none.
pub(super) fn width() -> usize {
    terminal_size::terminal_size().map_or(WIDTH, |(width, _)| usize::from(width.0).clamp(40, 100))
}

/// What `--help` prints after the options, on a terminal of `width` columns.
pub(super) fn after_options(width: usize) -> String {
    let section = |(title, blocks): &(&str, Vec<Block<'_>>)| format!("{title}:\n{}", on_terminal(blocks, width));
    let texts: Vec<String> = sections().iter().map(section).collect();
    let mut commands = "Commands (cifs-fuse COMMAND --help):\n".to_owned();
    for Subcommand { name, arguments, meaning, .. } in &SUBCOMMANDS {
        commands += &format!("  {name} {arguments}\n      {meaning}\n");
    }
    // Behind the examples.
    let (first, last) = texts.split_at(texts.len() - 2);
    [first, &[commands], last].concat().join("\n")
}

/// The sections below the options, but for the list of the subcommands.
pub(super) fn sections() -> Vec<(&'static str, Vec<Block<'static>>)> {
    let mut sections: Vec<(&str, Vec<&str>)> = Vec::new();
    for line in URL_AND_PASSWORD.lines().chain(SIGNALS_AND_CODES.lines()) {
        match (line.strip_suffix(':').filter(|title| !title.starts_with(' ')), sections.last_mut()) {
            (Some(title), _) => sections.push((title, Vec::new())),
            (None, Some((_, lines))) => lines.push(line.strip_prefix("  ").unwrap_or(line)),
            (None, None) => {}
        }
    }
    sections.into_iter().map(|(title, lines)| (title, blocks(&lines))).collect()
}

const URL_AND_PASSWORD: &str = "\
URL:
  cifs://[user[:password]@]host[:port]/share[/path][?key=value&...]

  smb:// is the same. Without a path, the root of the share is mounted. The
  query may contain auth-username, auth-password, auth-domain, transport, and
  every mount option under its long name (read-buffer-size=65536); these
  override the command line. Special characters are percent-encoded (& is %26,
  + is %2B, % is %25); in the query, + is a space. Put the URL in 'single
  quotes': a shell ends the command at an & that is not quoted.

-o OPTIONS:
  Every mount option is also an -o option: -o ro,uid=1000,file_mode=0600. A
  comma in a value is written \\, or the value is put in \"double quotes\".
  Options of mount(8) and fstab(5) that have no meaning for a share are
  accepted. Those of mount.cifs are accepted, ignored with a warning, or
  refused with what to use instead; its pass is accepted with a warning, since
  every user can read /etc/fstab. If an option is given more than once, the
  last one counts.

Sources of the name and the password, highest priority first:
  1. the URL: auth-username, auth-password, auth-domain; then user:password@
  2. --username and --domain
  3. --credentials FILE, with lines of username=, password=, domain= as for
     mount.cifs
  4. --password-fd N
  5. $CREDENTIALS_DIRECTORY (systemd): the files username, password, domain, or
     one file credentials
  6. AUTH_USERNAME, AUTH_PASSWORD and AUTH_DOMAIN in the environment
  7. with --keyring, the desktop's keyring
  8. questions on the terminal, after the server has answered
  Name, password and domain are each read from the first source that has them;
  a source that names another user is skipped. If no source names a user and
  there is no terminal, the guest account signs in. DOMAIN\\name, DOMAIN/name
  and name@example.org are valid names; before a URL's @ the separator is
  written %5C or %2F. Until the program has started, other users can see a
  URL's password in ps.

Examples:
  cifs-fuse 'cifs://nas/media/films?auth-username=ann' /mnt/films
  cifs-fuse --credentials ~/.nas --ro cifs://nas/media /mnt/media
  AUTH_PASSWORD=... cifs-fuse cifs://ann@nas:4450/media /mnt/media -F
  fusermount3 -u /mnt/films

  in /etc/fstab:
  cifs://nas/media /mnt/media fuse.cifs credentials=/etc/nas,_netdev,nofail 0 0
";

const SIGNALS_AND_CODES: &str = "
Signals:
  SIGTERM, SIGINT, SIGQUIT  unmount cleanly; so does closing the terminal of a
                            --foreground mount
  SIGHUP                    read the credentials and the --log-level file
                            again, and reopen the log file
  SIGUSR1                   log at level debug; the next one returns to the
                            configured level

Exit codes:
  0   the share is mounted (--foreground: it was, and has been unmounted)
  1   wrong usage: the URL, an option, or the credentials
  2   the system refused something: a file, a process, memory
  8   a signal arrived before the share was mounted
  32  the share could not be mounted
  33  the server refused the sign-in: trying again does not help, and can lock
      the account
";

/// What a first word means that is neither a URL nor a subcommand, but looks like one; `None` if it does not.
pub(super) fn instead_of_command(word: &str) -> Option<String> {
    let is_word = word.chars().all(|c| c.is_ascii_alphanumeric() || c == '-') && !word.starts_with('-');
    if !is_word || word == "help" {
        return None;
    }
    let meant = match word.to_ascii_lowercase().as_str() {
        "mount" => "leave the word out, cifs-fuse URL DIR mounts".to_owned(),
        "umount" | "unmount" => "fusermount3 -u DIR unmounts".to_owned(),
        "list" | "ls" => format!("did you mean '{}'?", shares::COMMAND),
        word => match nearest(word, SUBCOMMANDS.iter().map(|subcommand| subcommand.name).chain(["help"])) {
            Some(name) => format!("did you mean '{name}'?"),
            None => return None,
        },
    };
    Some(format!("there is no command '{word}'; {meant}"))
}

#[cfg(test)]
mod tests {
    use super::super::args;
    use super::*;

    /// The lines of a text, each checked to fit a terminal of 80 columns.
    fn fitting(text: &str) -> usize {
        for line in text.lines() {
            assert!(line.chars().count() <= 80, "{line}");
        }
        text.lines().count()
    }

    #[test]
    fn the_short_help_fits_a_terminal_and_the_long_one_its_width() {
        assert!(fitting(&short()) <= 24, "{}", short());
        let long = args::command().render_long_help().to_string();
        assert!(fitting(&long) > 100, "{long}");
        for Subcommand { name, arguments, meaning, .. } in &SUBCOMMANDS {
            assert!(long.contains(&format!("{name} {arguments}\n      {meaning}\n")), "{name}");
        }
    }

    #[test]
    fn every_option_of_the_short_help_exists() {
        let command = args::command();
        let long: Vec<&str> = command.get_arguments().filter_map(|arg| arg.get_long()).collect();
        let named = SHORT.split([' ', ';', ',', ':', '\n']).filter_map(|word| word.strip_prefix("--"));
        assert!(named.clone().count() >= 12);
        for name in named {
            assert!(long.contains(&name), "--{name}");
        }
    }

    #[test]
    fn a_word_that_looks_like_a_command_is_answered_with_the_command_that_was_meant() {
        for (word, meant) in [
            ("mount", "URL DIR mounts"),
            ("umount", "fusermount3 -u"),
            ("staus", "'status'"),
            ("share", "'shares'"),
            ("Status", "'status'"),
            ("hepl", "'help'"),
        ] {
            assert!(instead_of_command(word).unwrap().contains(meant), "{word}");
        }
        for word in
            ["nas/media", "//nas/media", "cifs://nas", "/dev/sda1", "nas.example.org", "xyz", "help", "--help", "-v"]
        {
            assert_eq!(instead_of_command(word), None, "{word}");
        }
    }
}
