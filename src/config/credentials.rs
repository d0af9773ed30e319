//! Which account signs in, out of all the places where a user can name it.
//!
//! The places, in order of priority: the URL (its query before its `user:password@`), the options (`username`,
//! `domain`, and `password` from an fstab line), the credentials file, the password descriptor, systemd's
//! `$CREDENTIALS_DIRECTORY`, the environment (`AUTH_USERNAME`, `AUTH_PASSWORD`, `AUTH_DOMAIN`), and last a prompt on
//! the terminal, which asks for a password only.
//!
//! Each of name, password and domain is used from the first place that has it. A place that names another user than the
//! one already found is skipped ([`Credentials::or`]), so that no password is sent with another user's name. If no
//! place names a user, the guest account signs in, without a prompt; a password without a user is an error.
//!
//! The invariant: every copy of a password on its way into its [`SecretString`] is wiped.

mod file;
#[cfg(test)]
mod tests;

use super::Identity;
use secrecy::SecretString;
use std::io;
use std::path::{Path, PathBuf};

pub use file::CredentialsFile;

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
            && !same_account(mine, theirs)
        {
            return self;
        }
        Credentials {
            username: self.username.or(weaker.username),
            password: self.password.or(weaker.password),
            domain: self.domain.or(weaker.domain),
        }
    }
}

/// Whether two user names mean the same account: the domain before a name, and the case, are ignored.
/// [`Identity::is_same_account`] compares exactly.
fn same_account(a: &str, b: &str) -> bool {
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

/// What to do if a user is named and no place has a password.
#[derive(Clone, Copy, Debug)]
pub enum WithoutPassword {
    /// Ask on the terminal. The function gets the question and returns the password.
    Ask(fn(&str) -> io::Result<SecretString>),
    /// Fail with an error.
    Refuse,
    /// Continue with an empty password, since no sign-in follows.
    Ignore,
}

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
    /// The kind of account to sign in with.
    pub sign_in_as: SignInAs,
    /// What to do if there is no password.
    pub without_password: WithoutPassword,
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
                let later = Sources { environment, without_password: WithoutPassword::Refuse, ..self.clone() };
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
    /// the terminal is not used again. So if there was either of them, the password that was found (in whatever place)
    /// is remembered, with lowest priority and for the same user.
    #[must_use]
    pub fn read_again(mut self, identity: &Identity) -> Sources {
        let once = self.password_fd.take().is_some() || matches!(self.without_password, WithoutPassword::Ask(_));
        self.without_password = WithoutPassword::Refuse;
        self.remembered = match identity {
            Identity::User { username, password, .. } if once => {
                Some(Credentials { username: Some(username.clone()), password: Some(password.clone()), domain: None })
            }
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
    /// Something is missing, and there are warnings about what was read.
    #[error("{error}\n{}", warnings.join("\n"))]
    Incomplete {
        /// What is missing.
        error: Box<CredentialsError>,
        /// The warnings.
        warnings: Vec<String>,
    },
}

/// The warning for a sign-in without a user.
const NO_USER: &str = "no user is named, so the guest account signs in; name a user with --username NAME, or with auth-username= \
                       in the URL (--guest asks for the guest account)";

/// The account that signs in, and warnings for the user.
///
/// # Errors
/// A named place cannot be read, or the places together have too little.
pub fn identity(sources: Sources) -> Result<(Identity, Vec<String>), CredentialsError> {
    let url_names_user = sources.url.username.is_some();
    match sources.sign_in_as {
        SignInAs::Guest if !url_names_user => return Ok((guest(None), Vec::new())),
        SignInAs::Anonymous if !url_names_user => return Ok((Identity::Anonymous, Vec::new())),
        _ => {}
    }
    let mut warnings = Vec::new();
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
    found = found.or(sources.environment).or(sources.remembered.unwrap_or_default());
    if found.username.is_none() && found.password.is_none() {
        warnings.push(NO_USER.to_owned());
    }
    match named(found, sources.without_password) {
        Ok(identity) => Ok((identity, warnings)),
        Err(error) if warnings.is_empty() => Err(error),
        // A line that was not understood may be the missing password.
        Err(error) => Err(CredentialsError::Incomplete { error: Box::new(error), warnings }),
    }
}

/// The guest account: the user `guest` with an empty password.
fn guest(domain: Option<String>) -> Identity {
    Identity::User { username: "guest".to_owned(), domain, password: SecretString::from("") }
}

fn named(found: Credentials, without_password: WithoutPassword) -> Result<Identity, CredentialsError> {
    let Credentials { username, password, domain } = found;
    let Some(given) = username else {
        return if password.is_some() { Err(CredentialsError::NoUser) } else { Ok(guest(domain)) };
    };
    let (own_domain, username) = split_domain(&given);
    let domain = domain.or(own_domain.map(str::to_owned));
    let username = username.to_owned();
    let password = match (password, without_password) {
        (Some(password), _) => password,
        (None, _) if username.eq_ignore_ascii_case("guest") => return Ok(guest(domain)),
        (None, WithoutPassword::Ignore) => SecretString::from(""),
        (None, WithoutPassword::Refuse) => return Err(CredentialsError::NoPassword { username }),
        (None, WithoutPassword::Ask(ask)) => ask(&format!("Password for {username}: "))
            .map_err(|error| CredentialsError::Unreadable { what: "the terminal".to_owned(), error })?,
    };
    Ok(Identity::User { username, domain, password })
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
