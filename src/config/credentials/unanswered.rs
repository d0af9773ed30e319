//! What only the user can say: a name and a password, asked for on a terminal.

use super::{guest, split_domain};
use crate::config::Identity;
use secrecy::{ExposeSecret, SecretString};
use std::io;

/// Whether the terminal shows the answer while it is typed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Echo {
    /// A name.
    On,
    /// A password.
    Off,
}

/// An account without a name, or without a password.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Unanswered {
    /// The account's name, without a domain before it; `None` if it is to be asked for.
    pub(super) username: Option<String>,
    /// The account's domain, if a place has one.
    pub(super) domain: Option<String>,
}

impl Unanswered {
    /// Asks for what is missing, each once. `server` is named in the question for a user. An empty name, like the name
    /// `guest`, is the guest account, which has no password.
    ///
    /// # Errors
    /// That of a question.
    pub fn ask(self, server: &str, ask: impl Fn(&str, Echo) -> io::Result<SecretString>) -> io::Result<Identity> {
        let (username, domain) = match self.username {
            Some(username) => (username, self.domain),
            None => {
                let typed = ask(&format!("User name on {server} (empty for guest): "), Echo::On)?;
                let (own_domain, username) = split_domain(typed.expose_secret().trim());
                (username.to_owned(), own_domain.map(str::to_owned).or(self.domain))
            }
        };
        if username.is_empty() || username.eq_ignore_ascii_case("guest") {
            return Ok(guest(domain));
        }
        let password = ask(&format!("Password for {username}: "), Echo::Off)?;
        Ok(Identity::User { username, domain, password })
    }
}
