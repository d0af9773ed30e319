//! Why there is no mount, in the words that the user reads.
//!
//! A [`MountError`] names the stage that failed, what happened there and, where something can be
//! done, what. It is the last thing that a failed command prints, so it never carries a secret.

use crate::wire::NtStatus;
use std::fmt;

/// The steps on the way to a working mount, in their order.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Hash)]
pub enum Stage {
    /// Reading the URL and the options.
    Url,
    /// Finding the host's addresses.
    Resolve,
    /// Opening a connection to one of them.
    Connect,
    /// Agreeing on a dialect, signing and encryption.
    Dialect,
    /// Signing in.
    SignIn,
    /// Signing in, too: the server refused the account or its password, which trying again does not cure.
    Refused,
    /// Connecting to the share.
    Share,
    /// Finding the folder within the share.
    Path,
    /// Looking at the directory to mount on.
    MountPoint,
    /// Mounting.
    Mount,
    /// A signal came before the mount worked.
    Interrupted,
    /// Anything that this machine refuses: processes, memory, descriptors.
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
            Stage::Interrupted => "interrupted",
            Stage::System => "system",
        })
    }
}

/// Why there is no mount. Shown as one line, and a second one if there is something to do about it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MountError {
    /// The step that failed.
    pub stage: Stage,
    /// What happened, as a clause that can follow a colon.
    pub message: String,
    /// The server's status, if it was the server that refused.
    pub status: Option<NtStatus>,
    /// What the user can do about it.
    pub remedy: Option<String>,
}

impl MountError {
    /// An error that nobody can say more about.
    pub fn new(stage: Stage, message: impl Into<String>) -> MountError {
        MountError { stage, message: message.into(), status: None, remedy: None }
    }

    /// An error of this machine: what could not be done, and why.
    pub fn system(what: &str, error: impl fmt::Display) -> MountError {
        MountError::new(Stage::System, format!("{what}: {error}"))
    }

    /// Adds what the user can do about it.
    #[must_use]
    pub fn remedy(mut self, remedy: impl Into<String>) -> MountError {
        self.remedy = Some(remedy.into());
        self
    }

    /// Adds the status that the server answered.
    #[must_use]
    pub fn status(mut self, status: NtStatus) -> MountError {
        self.status = Some(status);
        self
    }

    /// The exit code for it, of those that mount(8) knows: 1 for incorrect invocation or permissions, 2 for a system
    /// error, 8 for an interruption, 32 for a mount that failed. They are bits, which can be combined: a refused sign-in is a mount
    /// that failed for want of permissions. systemd/cifs-fuse@.service relies on it.
    pub fn exit_code(&self) -> u8 {
        match self.stage {
            Stage::Url => 1,
            Stage::System => 2,
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
    fn the_first_line_says_the_stage_and_the_status_and_the_second_what_to_do() {
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
            (Stage::Interrupted, 8),
            (Stage::MountPoint, 32),
            (Stage::SignIn, 32),
            (Stage::Refused, 33),
        ] {
            assert_eq!(MountError::new(stage, "").exit_code(), code, "{stage:?}");
        }
    }
}
