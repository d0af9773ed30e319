//! The process that asks the Secret Service.
//!
//! An item of the service has the attributes `service` (`cifs-fuse:SERVER`) and `username`, which are readable without
//! unlocking, and as its secret the password.
//!
//! The invariant: the process ends by itself after [`LIMIT`], whatever the service does.

use super::{ABSENT, LATE};
use crate::config::credentials::is_same_account;
use keyring_core::api::CredentialStoreApi;
use keyring_core::{Entry, Error};
use std::collections::HashMap;
use std::io::{self, IsTerminal, Read, Write};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;
use zbus_secret_service_keyring_store::Store;
use zeroize::Zeroizing;

/// Time limit for the service, which may be waiting for the user to unlock the keyring.
pub(super) const LIMIT: Duration = Duration::from_secs(60);
/// The longest password that is stored, in bytes.
const LONGEST: u64 = 4096;

/// Why the process fails.
enum Failure {
    /// Nothing is stored.
    Absent,
    /// A message for the user.
    Message(String),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        match error {
            Error::NoEntry => Failure::Absent,
            Error::NoStorageAccess(_) => {
                Failure::Message("it is locked, and was not unlocked: unlock it, and try again".to_owned())
            }
            error => Failure::Message(reason(&error)),
        }
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Failure {
        Failure::Message(error.to_string())
    }
}

/// Runs the process; `words` are the arguments behind the name of the command.
pub(in crate::cli) fn run(words: &[&str]) -> ExitCode {
    std::thread::spawn(|| {
        std::thread::sleep(LIMIT);
        std::process::exit(LATE.into());
    });
    let result = match words {
        ["find", server] => find(server, None),
        ["find", server, username] => find(server, Some(username)),
        ["keep", server, username] => keep(server, username),
        ["forget", server] => forget(server, None),
        ["forget", server, username] => forget(server, Some(username)),
        _ => Err(Failure::Message("this command is for the program itself".to_owned())),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure::Absent) => ExitCode::from(ABSENT),
        Err(Failure::Message(message)) => {
            eprintln!("{message}");
            ExitCode::FAILURE
        }
    }
}

fn find(server: &str, username: Option<&str>) -> Result<(), Failure> {
    if io::stdout().is_terminal() {
        return Err(Failure::Message("a password is not shown on a terminal".to_owned()));
    }
    let mut found = entries(&*open()?, server, username)?;
    let (user, entry) = match found.len() {
        0 => return Err(Failure::Absent),
        1 => found.remove(0),
        _ => {
            let users: Vec<String> = found.into_iter().map(|(user, _)| user).collect();
            let users = users.join(", ");
            return Err(Failure::Message(format!("it has several users for {server} ({users}): name one of them")));
        }
    };
    let password = Zeroizing::new(entry.get_password()?);
    let answer = Zeroizing::new(format!("{user}\n{}", *password));
    Ok(io::stdout().write_all(answer.as_bytes())?)
}

fn keep(server: &str, username: &str) -> Result<(), Failure> {
    let mut password = Zeroizing::new(String::with_capacity(LONGEST as usize + 1));
    io::stdin().take(LONGEST + 1).read_to_string(&mut password)?;
    if password.len() as u64 > LONGEST {
        return Err(Failure::Message(format!("a password of more than {LONGEST} bytes is not stored")));
    }
    let label = format!("{username} on {server} (cifs-fuse)");
    let modifiers = HashMap::from([("label", label.as_str())]);
    open()?.build(&service(server), username, Some(&modifiers))?.set_password(&password)?;
    Ok(())
}

fn forget(server: &str, username: Option<&str>) -> Result<(), Failure> {
    let found = entries(&*open()?, server, username)?;
    if found.is_empty() {
        return Err(Failure::Absent);
    }
    for (user, entry) in found {
        entry.delete_credential()?;
        writeln!(io::stdout(), "{user}")?;
    }
    Ok(())
}

fn open() -> Result<Arc<Store>, Failure> {
    Store::new().map_err(|error| {
        Failure::Message(format!(
            "it cannot be reached ({}): it needs a desktop session of this user, or a Secret Service on \
             DBUS_SESSION_BUS_ADDRESS",
            reason(&error)
        ))
    })
}

/// The entries for a server, each with its user; for one user, if that is named. A user's domain and the case do not
/// count, as long as the name means one entry.
fn entries(store: &Store, server: &str, username: Option<&str>) -> Result<Vec<(String, Entry)>, Failure> {
    let service = service(server);
    let mut found = Vec::new();
    for entry in store.search(&HashMap::from([("service", service.as_str())]))? {
        let Some((_, user)) = entry.get_specifiers() else { continue };
        // Another program may have stored a name that this one would not.
        if !user.contains(char::is_control) && username.is_none_or(|wanted| is_same_account(wanted, &user)) {
            found.push((user, entry));
        }
    }
    if let Some(exact) = found.iter().position(|(user, _)| Some(user.as_str()) == username) {
        return Ok(vec![found.remove(exact)]);
    }
    Ok(found)
}

fn service(server: &str) -> String {
    format!("cifs-fuse:{server}")
}

/// The innermost cause of an error: those around it repeat it in other words.
fn reason(error: &Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}
