//! The passwords that the desktop keeps for servers (Secret Service API: GNOME Keyring, KWallet, KeePassXC).
//!
//! The service is asked by a process of its own, this program with the first argument [`COMMAND`] ([`child`]). The
//! reasons: a library for D-Bus starts threads, and a process with threads cannot go to the background; and the user
//! may leave the window open that asks for the keyring's own password, so the wait needs a bound.
//!
//! | arguments | standard input | standard output |
//! |---|---|---|
//! | `find SERVER [USER]` | | the user, a line end, and the password |
//! | `keep SERVER USER` | the password | |
//! | `forget SERVER [USER]` | | the users whose passwords were removed, one per line |
//!
//! The exit code [`ABSENT`] says that nothing is stored, [`LATE`] that the service did not answer in time; after every
//! other failure, standard error has the reason.
//!
//! Invariants: a password is in no argument and in no variable of a process. Every buffer that held one is wiped.

pub(super) mod child;

use crate::config::Credentials;
use secrecy::{ExposeSecret, SecretString};
use std::io::{self, Read, Write};
use std::process::{Command, ExitStatus, Stdio};
use zeroize::Zeroizing;

/// The first argument of the process that asks the service.
pub(super) const COMMAND: &str = "keyring";
/// The exit code if nothing is stored.
const ABSENT: u8 = 3;
/// The exit code if the service does not answer in time.
const LATE: u8 = 4;
/// The longest output that is read, in bytes.
const LONGEST: usize = 64 * 1024;

/// Finds the user's password for a server. Without a user, finds that of the one user for whom there is one. Waits
/// until the user has unlocked the keyring, at most [`child::LIMIT`].
///
/// # Errors
/// Why the keyring does not tell, as a message for the user.
pub(super) fn find(server: &str, username: Option<&str>) -> Result<Option<Credentials>, String> {
    let words = ["find", server].into_iter().chain(username);
    let Some(output) = ask(words, None)? else { return Ok(None) };
    let text = std::str::from_utf8(&output).map_err(|_| "the password in it is not UTF-8".to_owned())?;
    let (username, password) = text.split_once('\n').ok_or("the answer has no user")?;
    Ok(Some(Credentials {
        username: Some(username.to_owned()),
        password: Some(SecretString::from(password)),
        domain: None,
    }))
}

/// Stores a password, in the place of an older one.
///
/// # Errors
/// Why it is not stored, as a message for the user.
pub(super) fn keep(server: &str, username: &str, password: &SecretString) -> Result<(), String> {
    ask(["keep", server, username].into_iter(), Some(password)).map(drop)
}

/// Removes the passwords for a server, or one user's. Returns the users.
///
/// # Errors
/// Why they are not removed, as a message for the user.
pub(super) fn forget(server: &str, username: Option<&str>) -> Result<Vec<String>, String> {
    let words = ["forget", server].into_iter().chain(username);
    let Some(output) = ask(words, None)? else { return Ok(Vec::new()) };
    Ok(String::from_utf8_lossy(&output).lines().map(str::to_owned).collect())
}

/// Runs the process. Returns its output; `None` if nothing is stored.
fn ask<'a>(
    words: impl Iterator<Item = &'a str>,
    input: Option<&SecretString>,
) -> Result<Option<Zeroizing<Vec<u8>>>, String> {
    let failed = |error: io::Error| format!("the program cannot be started again: {error}");
    let mut child = Command::new("/proc/self/exe")
        .arg(COMMAND)
        .args(words)
        .stdin(if input.is_some() { Stdio::piped() } else { Stdio::null() })
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(failed)?;
    if let (Some(mut pipe), Some(input)) = (child.stdin.take(), input) {
        // A process that has ended early says why.
        let _ = pipe.write_all(input.expose_secret().as_bytes());
    }
    // A buffer that grows would leave copies behind.
    let mut output = Zeroizing::new(Vec::with_capacity(LONGEST + 1));
    let mut reason = String::new();
    if let (Some(stdout), Some(stderr)) = (child.stdout.take(), child.stderr.take()) {
        let _ = stdout.take(LONGEST as u64).read_to_end(&mut output);
        let _ = stderr.take(LONGEST as u64).read_to_string(&mut reason);
    }
    outcome(child.wait().map_err(failed)?, &reason).map(|found| found.then_some(output))
}

/// Whether something is stored.
fn outcome(status: ExitStatus, reason: &str) -> Result<bool, String> {
    match status.code() {
        Some(0) => Ok(true),
        Some(code) if code == i32::from(ABSENT) => Ok(false),
        Some(code) if code == i32::from(LATE) => {
            Err(format!("no answer within {} s: is it locked? Unlock it, and try again", child::LIMIT.as_secs()))
        }
        _ if reason.trim().is_empty() => Err(format!("the process that asks it has failed ({status})")),
        _ => Err(reason.trim().to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::process::ExitStatusExt;

    fn ended_with(wait_status: i32, reason: &str) -> Result<bool, String> {
        outcome(ExitStatus::from_raw(wait_status), reason)
    }

    #[test]
    fn the_end_of_the_process_is_explained() {
        assert_eq!(ended_with(0, "a warning of a library"), Ok(true));
        assert_eq!(ended_with(i32::from(ABSENT) << 8, ""), Ok(false));
        assert_eq!(ended_with(1 << 8, "it is locked\n"), Err("it is locked".to_owned()));
        let late = ended_with(i32::from(LATE) << 8, "").unwrap_err();
        assert!(late.contains("within 60 s") && late.contains("Unlock"), "{late}");
        let killed = ended_with(libc::SIGKILL, "").unwrap_err();
        assert!(killed.contains("has failed") && killed.contains("SIGKILL"), "{killed}");
    }
}
