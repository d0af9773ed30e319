//! Why a mount failed, as the message for the user.
//!
//! A [`MountError`] names the stage that failed, what happened, and the remedy if there is one. It is the last output
//! of a failed command, so it never contains a secret.

use crate::wire::NtStatus;
use std::fmt;

/// What failed: a step of mounting, a change of a running mount, or a signal, or the system.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Hash)]
pub enum Stage {
    /// Reading the URL and the options.
    Url,
    /// Resolving the host's name.
    Resolve,
    /// Opening a connection to one of the host's addresses.
    Connect,
    /// Negotiating a dialect, signing and encryption.
    Dialect,
    /// Signing in.
    SignIn,
    /// Signing in, if the server refused the account or its password: trying again does not help.
    Refused,
    /// Connecting to the share.
    Share,
    /// Finding the folder on the share.
    Path,
    /// Checking the directory to mount on, before any connection is made.
    MountPoint,
    /// Mounting.
    Mount,
    /// Changing or asking a mount that is running.
    Running,
    /// Opening the address of the metrics.
    Metrics,
    /// A signal arrived before the mount worked.
    Interrupted,
    /// The system refused something: processes, memory, descriptors.
    System,
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Stage::Url => "URL or options",
            Stage::Resolve => "name resolution",
            Stage::Connect => "connect",
            Stage::Dialect => "dialect",
            Stage::SignIn | Stage::Refused => "sign-in",
            Stage::Share => "share",
            Stage::Path => "path",
            Stage::MountPoint => "mountpoint",
            Stage::Mount => "mount",
            Stage::Running => "running mount",
            Stage::Metrics => "metrics",
            Stage::Interrupted => "interrupted",
            Stage::System => "system",
        })
    }
}

/// Why a mount failed. Shown as one line, and a second one with the remedy if there is one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MountError {
    /// The step that failed.
    pub stage: Stage,
    /// What happened, as a clause that can follow a colon.
    pub message: String,
    /// The server's status, if the server refused.
    pub status: Option<NtStatus>,
    /// What the user can do.
    pub remedy: Option<String>,
}

impl MountError {
    /// An error without a status and without a remedy.
    pub fn new(stage: Stage, message: impl Into<String>) -> MountError {
        MountError { stage, message: message.into(), status: None, remedy: None }
    }

    /// An error of this machine: the clause `what`, and its cause.
    pub fn system(what: &str, error: impl fmt::Display) -> MountError {
        MountError::new(Stage::System, format!("{what}: {error}"))
    }

    /// Adds what the user can do.
    #[must_use]
    pub fn remedy(mut self, remedy: impl Into<String>) -> MountError {
        self.remedy = Some(remedy.into());
        self
    }

    /// Adds the status in the server's answer.
    #[must_use]
    pub fn status(mut self, status: NtStatus) -> MountError {
        self.status = Some(status);
        self
    }

    /// The exit code, as mount(8) defines it: 1 for incorrect invocation or permissions, 2 for a system error, 8 for an
    /// interruption, 32 for a failed mount. They are bits, which can be combined: a refused sign-in is a mount that
    /// failed for lack of permissions. systemd/cifs-fuse@.service does not restart after 1 and 33.
    pub fn exit_code(&self) -> u8 {
        match self.stage {
            Stage::Url => 1,
            Stage::System | Stage::Metrics => 2,
            Stage::Interrupted => 8,
            Stage::Refused => 32 | 1,
            _ => 32,
        }
    }
}

impl fmt::Display for MountError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.stage, self.message)?;
        if let Some(status) = self.status {
            write!(f, " ({status})")?;
        }
        match &self.remedy {
            Some(remedy) => write!(f, "\n{remedy}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for MountError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_line_names_stage_and_status_and_the_second_the_remedy() {
        let refused = MountError::new(Stage::SignIn, "the server refused the password of ann")
            .status(NtStatus::LOGON_FAILURE)
            .remedy("check the user name and the password");
        assert_eq!(
            refused.to_string(),
            "sign-in: the server refused the password of ann (STATUS_LOGON_FAILURE)\n\
             check the user name and the password"
        );
        assert_eq!(
            MountError::new(Stage::Resolve, "no such host: nas").to_string(),
            "name resolution: no such host: nas"
        );
    }

    #[test]
    fn exit_codes_are_those_of_mount_8() {
        for (stage, code) in [
            (Stage::Url, 1),
            (Stage::System, 2),
            (Stage::Metrics, 2),
            (Stage::Interrupted, 8),
            (Stage::MountPoint, 32),
            (Stage::SignIn, 32),
            (Stage::Refused, 33),
        ] {
            assert_eq!(MountError::new(stage, "").exit_code(), code, "{stage:?}");
        }
    }
}
