//! Diagnosis of a mount: every step from the URL to the folder, one after the other, with what was found at each.
//!
//! [`diagnose`] takes the steps of a mount with the same code and reports the same errors; it mounts nothing, and
//! changes nothing on the server. A [`Finding`] is the result of one step.
//!
//! - `walk`: the order of the steps, and where they stop.
//! - `throughput`: which file is read to measure the speed, and for how long.
//! - `facts`: what was negotiated and which options are in effect, for a report.
//! - `machine`: this machine and this program, for a report.
//!
//! The invariant: a password that the server refuses is sent once, because servers lock accounts. Addresses are tried
//! without signing in, and a refused sign-in ends the walk.

mod facts;
mod machine;
mod throughput;
mod walk;

use super::MountError;
use crate::config::{Dialect, DialectRange, Protection};
use crate::share::Space;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

pub use crate::share::Rights;
pub use crate::wire::crypto::{Cipher, SigningAlgorithm};
pub use facts::Facts;
pub use machine::machine;
pub use throughput::Throughput;
pub use walk::diagnose;

/// The steps of a diagnosis, in their order.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Step {
    /// The URL, the options and the account.
    Url,
    /// The host's name.
    Name,
    /// The port of each address.
    Port,
    /// Whether SMB answers there.
    Smb,
    /// The dialect.
    Dialect,
    /// Signing.
    Signing,
    /// Encryption.
    Encryption,
    /// The server's clock.
    Clock,
    /// Signing in.
    SignIn,
    /// The share.
    Share,
    /// The folder on the share.
    Path,
    /// What the user may do in it.
    Rights,
    /// Leases.
    Leases,
    /// Reports of changes.
    Watches,
    /// Symbolic links.
    Symlinks,
    /// Free space.
    Space,
    /// The time of a round trip.
    RoundTrip,
    /// The speed of reading.
    Throughput,
}

impl Step {
    /// All steps, in their order.
    pub const ALL: [Step; 18] = [
        Step::Url,
        Step::Name,
        Step::Port,
        Step::Smb,
        Step::Dialect,
        Step::Signing,
        Step::Encryption,
        Step::Clock,
        Step::SignIn,
        Step::Share,
        Step::Path,
        Step::Rights,
        Step::Leases,
        Step::Watches,
        Step::Symlinks,
        Step::Space,
        Step::RoundTrip,
        Step::Throughput,
    ];

    /// The name for the user, at most ten characters.
    pub fn name(self) -> &'static str {
        match self {
            Step::Url => "URL",
            Step::Name => "name",
            Step::Port => "port",
            Step::Smb => "SMB",
            Step::Dialect => "dialect",
            Step::Signing => "signing",
            Step::Encryption => "encryption",
            Step::Clock => "clock",
            Step::SignIn => "sign-in",
            Step::Share => "share",
            Step::Path => "path",
            Step::Rights => "rights",
            Step::Leases => "leases",
            Step::Watches => "watches",
            Step::Symlinks => "symlinks",
            Step::Space => "space",
            Step::RoundTrip => "round trip",
            Step::Throughput => "throughput",
        }
    }
}

/// The result of one step. The port and SMB have one for each address.
#[derive(Clone, PartialEq, Debug)]
pub struct Finding {
    /// The step.
    pub step: Step,
    /// What came of it.
    pub outcome: Outcome,
}

/// What came of a step.
#[derive(Clone, PartialEq, Debug)]
pub enum Outcome {
    /// It succeeded.
    Found(Found),
    /// It failed in a way that does not prevent a mount: one of several addresses, or a question without an answer.
    Minor(MountError),
    /// It failed, and a mount fails in the same way.
    Failed(MountError),
    /// An earlier step failed.
    NotTried,
}

/// What a step found.
#[derive(Clone, PartialEq, Debug)]
pub enum Found {
    /// The URL without a password, and who is to sign in.
    Url {
        /// The URL.
        url: String,
        /// The account; `None` for an anonymous session.
        user: Option<String>,
    },
    /// The addresses of the host.
    Addresses(Vec<IpAddr>),
    /// The port of this address accepts connections.
    Open {
        /// The address and the port.
        address: SocketAddr,
        /// The time until the connection was there.
        took: Duration,
    },
    /// This address answers as an SMB server.
    Speaks(SocketAddr),
    /// The dialect that the server chose, and those that were offered.
    Dialect {
        /// The chosen one.
        chosen: Dialect,
        /// The offered ones.
        offered: DialectRange,
    },
    /// Who wants messages signed.
    Signing {
        /// Whether the server requires it.
        server_requires: bool,
        /// The setting of this client.
        client: Protection,
        /// The algorithm, if messages are signed.
        algorithm: SigningAlgorithm,
    },
    /// Whether messages can be encrypted.
    Encryption {
        /// The cipher that the server chose.
        cipher: Option<Cipher>,
        /// The setting of this client.
        client: Protection,
    },
    /// The server's clock, minus that of this machine, in milliseconds; `None` if the server does not say.
    Clock(Option<i64>),
    /// The sign-in was accepted.
    SignedIn {
        /// The account; `None` for an anonymous session.
        user: Option<String>,
        /// Whether it became a guest or anonymous session; `None` if that is not known because the share failed.
        guest: Option<bool>,
    },
    /// The share, and the protection of messages that is in use.
    Share {
        /// The name.
        name: String,
        /// How messages are protected, as a clause.
        protection: String,
    },
    /// The URL names no share; these are the shares of files on the server.
    Shares(Vec<String>),
    /// The folder exists; the path is empty for the root of the share.
    Folder(String),
    /// What the user may do in the folder; `None` if the server does not say.
    Rights {
        /// The rights.
        rights: Option<Rights>,
        /// Whether the mount is to be read-only anyway.
        read_only: bool,
    },
    /// Which leases the server grants.
    Leases {
        /// On files; otherwise the server grants oplocks at most.
        files: bool,
        /// On directories.
        directories: bool,
    },
    /// Whether the server reports changes in folders.
    Watches(bool),
    /// Whether the file system has reparse points, which symbolic links are.
    Symlinks(bool),
    /// Free space.
    Space(Space),
    /// The median of the times of some round trips.
    RoundTrip {
        /// The median.
        median: Duration,
        /// How many there were.
        count: usize,
    },
    /// The speed of reading; `None` if no file was large enough.
    Throughput(Option<Throughput>),
}

/// The result of all steps.
#[derive(Clone, Debug, Default)]
pub struct Diagnosis {
    /// The findings, in their order.
    pub findings: Vec<Finding>,
    /// What was negotiated, for a report.
    pub facts: Facts,
}

impl Diagnosis {
    /// The failure that a mount would end with.
    pub fn failure(&self) -> Option<(Step, &MountError)> {
        self.findings.iter().find_map(|finding| match &finding.outcome {
            Outcome::Failed(error) => Some((finding.step, error)),
            _ => None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_steps_are_listed_in_their_order() {
        assert!(Step::ALL.is_sorted());
        assert!(Step::ALL.iter().all(|step| step.name().len() <= 10));
        assert_eq!(*Step::ALL.last().unwrap() as usize + 1, Step::ALL.len());
    }
}
