//! The settings of a connection and of the session on it.

use secrecy::SecretString;
use std::fmt;

/// How SMB2 messages travel.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Transport {
    /// Direct TCP, port 445 (MS-SMB2 2.1).
    #[default]
    DirectTcp,
    /// The NetBIOS session service over TCP, port 139 (RFC 1001, RFC 1002).
    NetBios,
}

impl Transport {
    /// The port that is used when the URL names none.
    pub fn default_port(self) -> u16 {
        match self {
            Transport::DirectTcp => 445,
            Transport::NetBios => 139,
        }
    }
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Transport::DirectTcp => "directtcp",
            Transport::NetBios => "netbios",
        })
    }
}

/// A dialect of SMB 2 or 3 (MS-SMB2 2.2.3), from the oldest to the newest.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Hash)]
pub enum Dialect {
    /// SMB 2.0.2
    Smb202,
    /// SMB 2.1
    Smb210,
    /// SMB 3.0
    Smb300,
    /// SMB 3.0.2
    Smb302,
    /// SMB 3.1.1
    Smb311,
}

impl Dialect {
    /// All of them, from the oldest to the newest.
    pub const ALL: [Dialect; 5] = [Dialect::Smb202, Dialect::Smb210, Dialect::Smb300, Dialect::Smb302, Dialect::Smb311];

    /// The DialectRevision on the wire.
    pub fn revision(self) -> u16 {
        match self {
            Dialect::Smb202 => 0x0202,
            Dialect::Smb210 => 0x0210,
            Dialect::Smb300 => 0x0300,
            Dialect::Smb302 => 0x0302,
            Dialect::Smb311 => 0x0311,
        }
    }

    /// The dialect of a DialectRevision.
    pub fn from_revision(revision: u16) -> Option<Dialect> {
        Dialect::ALL.into_iter().find(|dialect| dialect.revision() == revision)
    }
}

impl fmt::Display for Dialect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Dialect::Smb202 => "2.0.2",
            Dialect::Smb210 => "2.1",
            Dialect::Smb300 => "3.0",
            Dialect::Smb302 => "3.0.2",
            Dialect::Smb311 => "3.1.1",
        })
    }
}

/// The dialects to offer: `lowest` to `highest`, both included.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DialectRange {
    /// The oldest dialect to offer.
    pub lowest: Dialect,
    /// The newest dialect to offer.
    pub highest: Dialect,
}

impl Default for DialectRange {
    fn default() -> Self {
        DialectRange { lowest: Dialect::Smb202, highest: Dialect::Smb311 }
    }
}

impl DialectRange {
    /// The dialects of the range, from the oldest to the newest.
    pub fn dialects(self) -> impl Iterator<Item = Dialect> {
        Dialect::ALL.into_iter().filter(move |dialect| (self.lowest..=self.highest).contains(dialect))
    }
}

/// Whether messages are signed, or encrypted.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Protection {
    /// Without it there is no mount.
    Required,
    /// Signing: with every session that has a key. Encryption: where the server asks for it.
    #[default]
    Auto,
    /// Only where the server insists.
    Off,
}

/// Who signs in.
#[derive(Clone, Debug)]
pub enum Identity {
    /// Nobody: an anonymous session.
    Anonymous,
    /// A user with a password; the guest account is the user `guest` with an empty one.
    User {
        /// The account's name.
        username: String,
        /// The account's domain or workgroup; `None` leaves it to the server.
        domain: Option<String>,
        /// Never shown, wiped when dropped.
        password: SecretString,
    },
}
