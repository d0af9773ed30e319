//! Why a command line starts no mount, and the exit code for it (mount(8), EXIT STATUS).

use super::journal;
use crate::mount::MountError;
use std::io::{ErrorKind, Write};
use std::process::ExitCode;

/// Why nothing is mounted; the text is what to print.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum CliError {
    /// Help, the version or the table of options was requested instead of a mount.
    #[error("{0}")]
    Answer(String),
    /// The command line, the URL or the credentials are wrong.
    #[error("{0}")]
    Usage(String),
    /// The system refused something.
    #[error("{0}")]
    System(String),
    /// The requested operation is not possible on a mount.
    #[error("{0}")]
    Mount(String),
    /// A check before a question on the terminal failed, or the question had no answer.
    #[error(transparent)]
    Checked(#[from] MountError),
}

impl CliError {
    /// The exit code: 0, 1, 2 or 32, or that of a failed mount.
    pub fn exit_code(&self) -> u8 {
        match self {
            CliError::Answer(_) => 0,
            CliError::Usage(_) => 1,
            CliError::System(_) => 2,
            CliError::Mount(_) => 32,
            CliError::Checked(error) => error.exit_code(),
        }
    }

    /// Prints the text to standard output (an answer) or standard error, and returns the exit code.
    pub(super) fn report(&self) -> ExitCode {
        let CliError::Answer(text) = self else { return journal::fail(self.exit_code(), self) };
        print(text).map_or_else(|error| error.report(), |_| ExitCode::from(self.exit_code()))
    }
}

/// Prints to standard output. Returns whether somebody may still read there: a reader that has closed its pipe has read
/// enough.
///
/// # Errors
/// The text cannot be written.
pub(super) fn print(text: &str) -> Result<bool, CliError> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(CliError::System(format!("standard output: {error}"))),
    }
}

impl From<clap::Error> for CliError {
    fn from(error: clap::Error) -> CliError {
        let text = error.render().to_string();
        match error.use_stderr() {
            false => CliError::Answer(text),
            true => CliError::Usage(text.strip_prefix("error: ").unwrap_or(&text).trim_end().to_owned()),
        }
    }
}
