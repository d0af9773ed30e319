//! Which account signs in, out of all the places where a user can name it.
//!
//! The places, in order of priority: the URL (its query before its `user:password@`), the options (`username`,
//! `domain`, and `password` from an fstab line), the credentials file, the password descriptor, systemd's
//! `$CREDENTIALS_DIRECTORY`, the environment (`AUTH_USERNAME`, `AUTH_PASSWORD`, `AUTH_DOMAIN`), the keyring if that is
//! asked for, and last questions on the terminal (`unanswered.rs`). The keyring is asked only if no place before it has a
//! password: asking can open a window in which the user unlocks it.
//!
//! Each of name, password and domain is used from the first place that has it. A place that names another user than the
//! one already found is skipped ([`Credentials::or`]), so that no password is sent with another user's name. If no
//! place names a user, the terminal is asked for one; without a terminal the guest account signs in, with a warning. A
//! password without a user is an error.
//!
//! The invariant: every copy of a password on its way into its [`SecretString`] is wiped.

mod file;
#[cfg(test)]
mod tests;
mod unanswered;

use super::Identity;
use secrecy::SecretString;
use std::io;
use std::path::{Path, PathBuf};

pub use file::CredentialsFile;
pub use unanswered::{Echo, Unanswered};

/// The credentials that one place contains, or several together.
#[derive(Clone, Debug, Default)]
pub struct Credentials {
    /// The account's name; `DOMAIN\name` and `DOMAIN/name` are allowed.
    pub username: Option<String>,
    /// The password. An empty one is a password too.
    pub password: Option<SecretString>,
    /// The account's domain or workgroup.
    pub domain: Option<String>,
}

impl Credentials {
    /// These credentials, completed from a place of lower priority. If that place names another user, it is skipped.
    pub fn or(self, weaker: Credentials) -> Credentials {
        if let (Some(mine), Some(theirs)) = (&self.username, &weaker.username)
            && !is_same_account(mine, theirs)
        {
            return self;
        }
        Credentials {
            username: self.username.or(weaker.username),
            password: self.password.or(weaker.password),
            domain: self.domain.or(weaker.domain),
        }
    }

    /// These credentials with the domain apart from the name, so that it also completes a name from another place.
    fn with_domain_apart(self) -> Credentials {
        let (domain, username) = self.username.as_deref().map(split_domain).unzip();
        Credentials {
            domain: self.domain.or(domain.flatten().map(str::to_owned)),
            username: username.map(str::to_owned),
            password: self.password,
        }
    }
}

/// The warning that the keyring has no password.
fn not_kept(server: &str, username: Option<&str>) -> String {
    match username {
        Some(username) => format!(
            "no password of '{username}' for {server} is in the keyring; to store it: cifs-fuse login {server} \
             --username '{username}'"
        ),
        None => format!("no password for {server} is in the keyring; to store one: cifs-fuse login {server}"),
    }
}

/// Whether two user names mean the same account: the domain before a name, and the case, are ignored.
/// [`Identity::is_same_account`] compares exactly.
pub(crate) fn is_same_account(a: &str, b: &str) -> bool {
    split_domain(a).1.to_lowercase() == split_domain(b).1.to_lowercase()
}

/// Splits `DOMAIN\name` or `DOMAIN/name`; no account name contains either separator. `name@example.org` is a user
/// principal name, which servers accept as it is.
fn split_domain(username: &str) -> (Option<&str>, &str) {
    match username.split_once(['\\', '/']) {
        Some((domain, name)) => ((!domain.is_empty()).then_some(domain), name),
        None => (None, username),
    }
}

/// The kind of account to sign in with.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum SignInAs {
    /// The user that a place names; the guest account if none does.
    #[default]
    Named,
    /// The guest account, unless the URL names a user.
    Guest,
    /// Anonymously, unless the URL names a user.
    Anonymous,
}

/// What to do if no place names a user, or a user is named and no place has a password.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum WhenMissing {
    /// The user is asked on the terminal: [`account`] returns what is missing.
    Ask,
    /// Without a user the guest account signs in, with a warning. Without a password there is an error.
    Refuse,
    /// Without a user the guest account signs in, and without a password an empty one is used, since no sign-in
    /// follows.
    Ignore,
}

/// The passwords that the desktop keeps (Secret Service API).
#[derive(Clone, Debug)]
pub struct Keyring {
    /// The server as it is named there: the host, with the port if the URL has one.
    pub server: String,
    /// How it is asked.
    pub find: FindInKeyring,
}

/// Finds a user's password for a server. Without a user, finds the one user that has a password there. `None` if there
/// is none; an error is a message for the user.
pub type FindInKeyring = fn(server: &str, username: Option<&str>) -> Result<Option<Credentials>, String>;

/// All the places to read.
#[derive(Clone, Debug)]
pub struct Sources {
    /// The credentials in the URL.
    pub url: Credentials,
    /// The credentials in the options.
    pub options: Credentials,
    /// A file in the format of mount.cifs.
    pub file: Option<PathBuf>,
    /// A descriptor from which the password is read, to its end.
    pub password_fd: Option<u32>,
    /// systemd's `$CREDENTIALS_DIRECTORY`, with the files `username`, `password`, `domain`, `credentials`.
    pub directory: Option<PathBuf>,
    /// The credentials in the environment.
    pub environment: Credentials,
    /// The keyring, if it is to be asked.
    pub keyring: Option<Keyring>,
    /// The kind of account to sign in with.
    pub sign_in_as: SignInAs,
    /// What to do if there is no user or no password.
    pub when_missing: WhenMissing,
    /// The name and password of an earlier reading, if a descriptor or the terminal could have been their source.
    pub remembered: Option<Credentials>,
}

impl Sources {
    /// Checks that a process started later, with the same arguments and variables but without the passwords in them,
    /// finds the same password. Does not use the terminal.
    ///
    /// # Errors
    /// [`CredentialsError::NotLasting`] if only this process can read the password (descriptor, pipe, `AUTH_PASSWORD`,
    /// terminal), or if it is in the URL or in `-o`, of which no copy may be kept; any other error if a place cannot be
    /// read or has too little.
    pub fn check_lasting(&self) -> Result<(), CredentialsError> {
        let is_once = |path: &PathBuf| std::fs::metadata(path).is_ok_and(|file| !file.is_file());
        let place = match self {
            Sources { url: Credentials { password: Some(_), .. }, .. } => "in the URL",
            Sources { options: Credentials { password: Some(_), .. }, .. } => "in -o",
            Sources { password_fd: Some(_), .. } => "on a descriptor",
            Sources { file: Some(path), .. } if is_once(path) => "in a pipe",
            _ => {
                let environment = Credentials { password: None, ..self.environment.clone() };
                let later = Sources { environment, when_missing: WhenMissing::Refuse, ..self.clone() };
                match identity(later) {
                    Err(CredentialsError::NoPassword { .. }) if self.environment.password.is_some() => {
                        "in AUTH_PASSWORD"
                    }
                    Err(CredentialsError::NoPassword { .. }) => "from the terminal",
                    other => return other.map(drop),
                }
            }
        };
        Err(CredentialsError::NotLasting { place })
    }

    /// The places for a second reading, after `identity` was found in them. A descriptor has been read to its end, and
    /// the terminal is not used again. So if there was either of them, what was found (in whatever place) is remembered,
    /// with lowest priority and for the same user.
    #[must_use]
    pub fn read_again(mut self, identity: &Identity) -> Sources {
        let once = self.password_fd.take().is_some() || self.when_missing == WhenMissing::Ask;
        self.when_missing = WhenMissing::Refuse;
        self.remembered = match identity {
            Identity::User { username, password, domain } if once => Some(Credentials {
                username: Some(username.clone()),
                password: Some(password.clone()),
                domain: domain.clone(),
            }),
            _ => None,
        };
        self
    }
}

/// Why it cannot be determined which account signs in.
#[derive(Debug, thiserror::Error)]
pub enum CredentialsError {
    /// A file or descriptor cannot be read.
    #[error("{what}: {error}")]
    Unreadable {
        /// The file or descriptor.
        what: String,
        /// The cause.
        error: io::Error,
    },
    /// The content of a file or descriptor cannot be credentials.
    #[error("{what} {problem}")]
    Unusable {
        /// The file or descriptor.
        what: String,
        /// The problem with its content.
        problem: &'static str,
    },
    /// The keyring gives no answer.
    #[error("keyring: {0}")]
    Keyring(String),
    /// There is a password, but no user.
    #[error("a password is given, but no user name; add auth-username=NAME to the URL, or --username NAME")]
    NoUser,
    /// A mount with `restart` could not read the password a second time.
    #[error(
        "--restart needs a password that can be read again, not one {place}: put it in a file, and name that with \
         --credentials FILE"
    )]
    NotLasting {
        /// The place of the password.
        place: &'static str,
    },
    /// There is no password for the user.
    #[error(
        "there is no password for the user '{username}'; give it in a file with --credentials FILE, in AUTH_PASSWORD, \
         on a descriptor with --password-fd N, or as auth-password in the URL"
    )]
    NoPassword {
        /// The user.
        username: String,
    },
    /// Something is missing or cannot be read, and there are warnings about what was read.
    #[error("{error}\n{}", warnings.join("\n"))]
    Incomplete {
        /// What is wrong.
        error: Box<CredentialsError>,
        /// The warnings.
        warnings: Vec<String>,
    },
}

/// The warning for a sign-in without a user.
const NO_USER: &str = "no user is named, so the guest account signs in; name a user with --username NAME, or with auth-username= \
                       in the URL (--guest asks for the guest account)";

/// The account that signs in, as far as the places know it.
#[derive(Clone, Debug)]
pub enum Account {
    /// It is complete.
    Known(Identity),
    /// The user has to be asked.
    Asked(Unanswered),
}

/// The account that signs in, without asking, and warnings for the user.
///
/// # Errors
/// A named place cannot be read, or the places together have too little.
pub fn identity(sources: Sources) -> Result<(Identity, Vec<String>), CredentialsError> {
    let when_missing =
        if sources.when_missing == WhenMissing::Ask { WhenMissing::Refuse } else { sources.when_missing };
    match account(Sources { when_missing, ..sources })? {
        (Account::Known(identity), warnings) => Ok((identity, warnings)),
        (Account::Asked(unanswered), _) => {
            Err(CredentialsError::NoPassword { username: unanswered.username.unwrap_or_default() })
        }
    }
}

/// The account that signs in, or what to ask for, and warnings for the user.
///
/// # Errors
/// A named place cannot be read, or the places together have too little.
pub fn account(sources: Sources) -> Result<(Account, Vec<String>), CredentialsError> {
    let mut warnings = Vec::new();
    match found(sources, &mut warnings) {
        Ok(account) => Ok((account, warnings)),
        Err(error) if warnings.is_empty() => Err(error),
        // A line that was not understood may be what is missing.
        Err(error) => Err(CredentialsError::Incomplete { error: Box::new(error), warnings }),
    }
}

fn found(sources: Sources, warnings: &mut Vec<String>) -> Result<Account, CredentialsError> {
    let url_names_user = sources.url.username.is_some();
    match sources.sign_in_as {
        SignInAs::Guest if !url_names_user => return Ok(Account::Known(guest(None))),
        SignInAs::Anonymous if !url_names_user => return Ok(Account::Known(Identity::Anonymous)),
        _ => {}
    }
    let mut found = sources.url.or(sources.options);
    if let Some(path) = &sources.file {
        let file = CredentialsFile::read(path)?;
        warnings.extend(file.warnings);
        found = found.or(file.credentials);
    }
    if let Some(number) = sources.password_fd {
        found = found.or(Credentials { password: Some(file::password_from_descriptor(number)?), ..Default::default() });
    }
    if let Some(directory) = &sources.directory {
        found = found.or(from_directory(directory)?);
    }
    found = found.or(sources.environment);
    if let Some(keyring) = sources.keyring.filter(|_| found.password.is_none()) {
        match (keyring.find)(&keyring.server, found.username.as_deref()).map_err(CredentialsError::Keyring)? {
            Some(kept) => found = found.or(kept.with_domain_apart()),
            // The user has asked for a password, and not for a guest.
            None if found.username.is_none() && sources.when_missing == WhenMissing::Refuse => {
                return Err(CredentialsError::Keyring(not_kept(&keyring.server, None)));
            }
            None => warnings.push(not_kept(&keyring.server, found.username.as_deref())),
        }
    }
    found = found.or(sources.remembered.unwrap_or_default());
    if found.username.is_none() && found.password.is_none() && sources.when_missing != WhenMissing::Ask {
        warnings.push(NO_USER.to_owned());
    }
    named(found, sources.when_missing)
}

/// The guest account: the user `guest` with an empty password.
fn guest(domain: Option<String>) -> Identity {
    Identity::User { username: "guest".to_owned(), domain, password: SecretString::from("") }
}

fn named(found: Credentials, when_missing: WhenMissing) -> Result<Account, CredentialsError> {
    let Credentials { username, password, domain } = found;
    let Some(given) = username else {
        return match (password, when_missing) {
            (Some(_), _) => Err(CredentialsError::NoUser),
            (None, WhenMissing::Ask) => Ok(Account::Asked(Unanswered { username: None, domain })),
            (None, _) => Ok(Account::Known(guest(domain))),
        };
    };
    let (own_domain, username) = split_domain(&given);
    let domain = domain.or(own_domain.map(str::to_owned));
    let username = username.to_owned();
    let password = match (password, when_missing) {
        (Some(password), _) => password,
        (None, _) if username.eq_ignore_ascii_case("guest") => return Ok(Account::Known(guest(domain))),
        (None, WhenMissing::Ignore) => SecretString::from(""),
        (None, WhenMissing::Refuse) => return Err(CredentialsError::NoPassword { username }),
        (None, WhenMissing::Ask) => return Ok(Account::Asked(Unanswered { username: Some(username), domain })),
    };
    Ok(Account::Known(Identity::User { username, domain, password }))
}

/// systemd's credentials (systemd.exec(5), LoadCredential=): one file per value, completed from one file with all of
/// them.
fn from_directory(directory: &Path) -> Result<Credentials, CredentialsError> {
    let text = |name: &str| -> Result<Option<String>, CredentialsError> {
        Ok(file::value_if_present(&directory.join(name))?.map(|value| value.trim().to_owned()))
    };
    let values = Credentials {
        username: text("username")?.filter(|name| !name.is_empty()),
        password: file::value_if_present(&directory.join("password"))?.map(|value| SecretString::from(value.as_str())),
        domain: text("domain")?.filter(|domain| !domain.is_empty()),
    };
    let all = directory.join("credentials");
    // The file's warnings are dropped: whatever its mode, only systemd and the service can enter this directory.
    Ok(if all.is_file() { values.or(CredentialsFile::read(&all)?.credentials) } else { values })
}
