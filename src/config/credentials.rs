//! Who signs in: the one answer out of all the places where a user may have said it.
//!
//! The places, from the strongest word to the weakest: the URL (its query before its `user:password@`),
//! the options (`username`, `domain`, and `password` from an fstab line), the credentials file, the
//! password descriptor, systemd's `$CREDENTIALS_DIRECTORY`, the environment (`AUTH_USERNAME`,
//! `AUTH_PASSWORD`, `AUTH_DOMAIN`), and last a prompt on the terminal, which asks for a password only.
//!
//! Each of name, password and domain is taken from the strongest place that has it. A place that
//! names another user than the one already found is left out altogether ([`Credentials::or`]), so
//! that nobody's password is sent under someone else's name. When no place names a user, the guest
//! account signs in; nobody is asked anything.
//!
//! The invariant: what a password passes through on its way into its [`SecretString`] is wiped.

mod file;
#[cfg(test)]
mod tests;

use super::Identity;
use secrecy::SecretString;
use std::io;
use std::path::{Path, PathBuf};

pub use file::CredentialsFile;

/// What one place says about who signs in; or what several say together.
#[derive(Clone, Debug, Default)]
pub struct Credentials {
    /// The account's name; `DOMAIN\name` and `DOMAIN/name` are allowed.
    pub username: Option<String>,
    /// The password. An empty one is a password, too.
    pub password: Option<SecretString>,
    /// The account's domain or workgroup.
    pub domain: Option<String>,
}

impl Credentials {
    /// These credentials, completed from a weaker place. A place that names another user adds nothing.
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

fn same_account(a: &str, b: &str) -> bool {
    split_domain(a).1.to_lowercase() == split_domain(b).1.to_lowercase()
}

/// `DOMAIN\name` or `DOMAIN/name` taken apart; no account's name holds either separator. `name@example.org` is a user principal
/// name, which servers take whole.
fn split_domain(username: &str) -> (Option<&str>, &str) {
    match username.split_once(['\\', '/']) {
        Some((domain, name)) => ((!domain.is_empty()).then_some(domain), name),
        None => (None, username),
    }
}

/// As what kind of user to sign in.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum SignInAs {
    /// As the user who is named somewhere; as guest if none is.
    #[default]
    Named,
    /// As guest, unless the URL names a user.
    Guest,
    /// As nobody, unless the URL names a user.
    Anonymous,
}

/// What there is to do when a user is named, and no password is given.
#[derive(Clone, Copy, Debug)]
pub enum WithoutPassword {
    /// Ask on the terminal: the question goes in, the password comes out.
    Ask(fn(&str) -> io::Result<SecretString>),
    /// Give up with an error.
    Refuse,
    /// Carry on with an empty one, since nobody is going to sign in.
    Ignore,
}

/// All the places to look at.
#[derive(Clone, Debug)]
pub struct Sources {
    /// What the URL says.
    pub url: Credentials,
    /// What the options say.
    pub options: Credentials,
    /// A file in the format of mount.cifs.
    pub file: Option<PathBuf>,
    /// A descriptor to read the password from, to its end.
    pub password_fd: Option<u32>,
    /// systemd's `$CREDENTIALS_DIRECTORY`, with the files `username`, `password`, `domain`, `credentials`.
    pub directory: Option<PathBuf>,
    /// What the environment says.
    pub environment: Credentials,
    /// As what kind of user to sign in.
    pub sign_in_as: SignInAs,
    /// What to do without a password.
    pub without_password: WithoutPassword,
    /// What an earlier reading found, if it was in a place that can be read only once.
    pub remembered: Option<Credentials>,
}

impl Sources {
    /// Checks that a process that is started later finds the same password without what this one was given. The terminal is not asked.
    ///
    /// # Errors
    /// The password is in a place that only this process can read, or where a later one must not find it; or a place can't be read.
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

    /// The same places for another reading, after `identity` was found in them. A descriptor is at its end by then, and
    /// no question is asked again: what either of them said is the weakest of all, under the name that it was said for.
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

/// Why it can't be said who signs in.
#[derive(Debug, thiserror::Error)]
pub enum CredentialsError {
    /// A file or descriptor can't be read.
    #[error("{what}: {error}")]
    Unreadable {
        /// Which one.
        what: String,
        /// Why.
        error: io::Error,
    },
    /// A file or descriptor holds what can't be credentials.
    #[error("{what} {problem}")]
    Unusable {
        /// Which one.
        what: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// A password for nobody.
    #[error("a password is given, but no user name; add auth-username=NAME to the URL, or --username NAME")]
    NoUser,
    /// A password that a mount with `restart` would not have again.
    #[error(
        "--restart needs a password that can be read again, not one {place}: put it in a file, and name that with \
         --credentials FILE"
    )]
    NotLasting {
        /// Where it is.
        place: &'static str,
    },
    /// Nothing to prove who the user is.
    #[error(
        "there is no password for the user '{username}'; give it in a file with --credentials FILE, in AUTH_PASSWORD, \
         on a descriptor with --password-fd N, or as auth-password in the URL"
    )]
    NoPassword {
        /// The user.
        username: String,
    },
}

/// Who signs in, and what the user should be warned of.
///
/// # Errors
/// A place that was named can't be read, or what was found is not enough.
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
    named(found, sources.without_password).map(|identity| (identity, warnings))
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

/// systemd's credentials (systemd.exec(5), LoadCredential=): one file a value, or a file of all.
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
    // Only systemd's manager and the service can come to this folder, whatever the file's mode says.
    Ok(if all.is_file() { values.or(CredentialsFile::read(&all)?.credentials) } else { values })
}
