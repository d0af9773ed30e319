//! Credentials from files and descriptors, read without leaving copies in memory.

use super::{Credentials, CredentialsError};
use secrecy::SecretString;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use zeroize::Zeroizing;

/// The most that is read of a file or descriptor, in bytes; more is an error.
const LONGEST: usize = 64 << 10;

/// The content of a credentials file. The format is that of mount.cifs: lines of `username=`, `password=` and
/// `domain=`. A value is the rest of its line, unchanged, so a password may contain anything but a line break. Empty
/// lines and lines that begin with `#` are ignored.
#[derive(Debug)]
pub struct CredentialsFile {
    /// The credentials in the file.
    pub credentials: Credentials,
    /// Warnings for the file's owner. No warning quotes the file.
    pub warnings: Vec<String>,
}

impl CredentialsFile {
    /// Reads the file at `path`.
    ///
    /// # Errors
    /// The file can't be read, is longer than 64 KiB, or is not UTF-8 text.
    pub fn read(path: &Path) -> Result<CredentialsFile, CredentialsError> {
        let what = format!("the credentials file {}", path.display());
        let unreadable = |error| CredentialsError::Unreadable { what: what.clone(), error };
        let file = File::open(path).map_err(unreadable)?;
        let metadata = file.metadata().map_err(unreadable)?;
        let text = read_text(file, &what)?;
        let (credentials, mut warnings) = parse(&text, &what);
        if metadata.is_file() && metadata.mode() & 0o044 != 0 {
            warnings.push(format!("{what} can be read by other users; chmod 600 it"));
        }
        Ok(CredentialsFile { credentials, warnings })
    }
}

fn parse(text: &str, what: &str) -> (Credentials, Vec<String>) {
    let mut credentials = Credentials::default();
    let mut warnings = Vec::new();
    for (index, line) in text.trim_start_matches('\u{feff}').lines().enumerate() {
        let line = line.trim_start();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (key, value) = line.split_once('=').unwrap_or((line, ""));
        // Files of smbclient have spaces around the `=`. Those of mount.cifs have none, and leading spaces belong to
        // the value.
        let value = if key.ends_with([' ', '\t']) { value.trim_start() } else { value };
        let word = || Some(value.trim().to_owned()).filter(|word| !word.is_empty());
        match key.trim_end() {
            "username" | "user" => credentials.username = word(),
            "password" | "pass" => credentials.password = Some(SecretString::from(value)),
            "domain" | "dom" | "workgroup" => credentials.domain = word(),
            _ => warnings.push(format!("{what}: line {} is neither username=, password= nor domain=", index + 1)),
        }
    }
    (credentials, warnings)
}

/// Reads the password from a descriptor, to its end, without the final line break.
pub(super) fn password_from_descriptor(number: u32) -> Result<SecretString, CredentialsError> {
    let what = format!("the password descriptor {number}");
    // Opened again through /proc, so that the descriptor itself stays with its owner.
    let file = File::open(format!("/proc/self/fd/{number}"))
        .map_err(|error| CredentialsError::Unreadable { what: what.clone(), error })?;
    let text = read_text(file, &what)?;
    Ok(SecretString::from(without_line_break(&text)))
}

/// The content of a file without the final line break; `None` if the file does not exist.
pub(super) fn value_if_present(path: &Path) -> Result<Option<Zeroizing<String>>, CredentialsError> {
    let what = format!("the credential {}", path.display());
    match File::open(path) {
        Ok(file) => Ok(Some(Zeroizing::new(without_line_break(&read_text(file, &what)?).to_owned()))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(CredentialsError::Unreadable { what, error }),
    }
}

fn without_line_break(text: &str) -> &str {
    let text = text.strip_suffix('\n').unwrap_or(text);
    text.strip_suffix('\r').unwrap_or(text)
}

fn read_text(file: File, what: &str) -> Result<Zeroizing<String>, CredentialsError> {
    // The buffer has its full size from the start, since growing would leave a copy behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(LONGEST + 1));
    let read = file.take(LONGEST as u64 + 1).read_to_end(&mut bytes);
    read.map_err(|error| CredentialsError::Unreadable { what: what.to_owned(), error })?;
    if bytes.len() > LONGEST {
        return Err(CredentialsError::Unusable { what: what.to_owned(), problem: "is longer than 64 KiB" });
    }
    let text = std::str::from_utf8(&bytes)
        .map_err(|_| CredentialsError::Unusable { what: what.to_owned(), problem: "is not UTF-8 text" })?;
    Ok(Zeroizing::new(text.to_owned()))
}
