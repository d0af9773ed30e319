//! The environment of the process, as a plain value, so that parsing can be tested without it.

use super::{keyring, process_memory, prompt};
use crate::config::Credentials;
use crate::config::credentials::{Echo, FindInKeyring};
use secrecy::SecretString;
use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// Asks one question on a terminal, and returns the answer without its line break.
pub type Ask = fn(&str, Echo) -> io::Result<SecretString>;

/// What a command line is parsed with.
#[derive(Default)]
pub struct Environment {
    /// `AUTH_USERNAME`, `AUTH_PASSWORD`, `AUTH_DOMAIN`.
    pub credentials: Credentials,
    /// `$CREDENTIALS_DIRECTORY` (systemd.exec(5)).
    pub credentials_directory: Option<PathBuf>,
    /// `RUST_LOG`.
    pub log_filter: Option<String>,
    /// The directory that relative paths refer to: the working directory, or `/` if that cannot be found out.
    pub current_directory: PathBuf,
    /// Whether systemd manages this machine (sd_booted(3)).
    pub systemd: bool,
    /// Asks the desktop's keyring, for `--keyring`.
    pub find_in_keyring: Option<FindInKeyring>,
    /// Asks a question on the terminal; `None` if the standard input is not a terminal.
    pub ask: Option<Ask>,
}

impl Environment {
    /// Reads the environment of this process, and removes the password from it: neither a child process nor
    /// /proc/PID/environ shows it afterwards.
    pub fn of_this_process() -> Environment {
        let text = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let password = text("AUTH_PASSWORD").map(Zeroizing::new);
        process_memory::wipe_variable("AUTH_PASSWORD");
        Environment {
            credentials: Credentials {
                username: text("AUTH_USERNAME"),
                password: password.map(|password| SecretString::from(password.as_str())),
                domain: text("AUTH_DOMAIN"),
            },
            credentials_directory: text("CREDENTIALS_DIRECTORY").map(PathBuf::from),
            log_filter: text("RUST_LOG"),
            current_directory: std::env::current_dir().unwrap_or_else(|_| PathBuf::from("/")),
            systemd: Path::new("/run/systemd/system").is_dir(),
            find_in_keyring: Some(keyring::find),
            ask: io::stdin().is_terminal().then_some(prompt::ask as Ask),
        }
    }
}
