//! The settings of a connection and of its session.

use secrecy::{ExposeSecret, SecretString};
use std::fmt;
use std::str::FromStr;

/// The transport of SMB2 messages.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Transport {
    /// Direct TCP, port 445 (MS-SMB2 2.1).
    #[default]
    DirectTcp,
    /// The NetBIOS session service over TCP, port 139 (RFC 1001, RFC 1002).
    NetBios,
}

impl Transport {
    /// The TCP port that is used if the URL has none.
    pub fn default_port(self) -> u16 {
        match self {
            Transport::DirectTcp => 445,
            Transport::NetBios => 139,
        }
    }
}

/// A word that a setting does not accept; its text is the message for the user.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{0}")]
pub struct NotOneOf(pub(super) &'static str);

/// `directtcp` or `netbios` in any case; an empty text means the default.
impl FromStr for Transport {
    type Err = NotOneOf;

    fn from_str(text: &str) -> Result<Transport, NotOneOf> {
        match text.trim().to_ascii_lowercase().as_str() {
            "" | "directtcp" => Ok(Transport::DirectTcp),
            "netbios" => Ok(Transport::NetBios),
            _ => Err(NotOneOf("Transport must be one of: directtcp, netbios")),
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

/// `2.0.2`, `2.1`, `3.0`, `3.0.2` or `3.1.1`.
impl FromStr for Dialect {
    type Err = NotOneOf;

    fn from_str(text: &str) -> Result<Dialect, NotOneOf> {
        Dialect::ALL
            .into_iter()
            .find(|dialect| dialect.to_string() == text)
            .ok_or(NotOneOf("The dialect must be one of: 2.0.2, 2.1, 3.0, 3.0.2, 3.1.1"))
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

/// The values of mount.cifs's `vers=`: one dialect, `3` for 3.0 and newer, or `default` for all. The values that mean
/// SMB 1 there are refused with a message of their own.
impl FromStr for DialectRange {
    type Err = NotOneOf;

    fn from_str(text: &str) -> Result<DialectRange, NotOneOf> {
        let (lowest, highest) = match text {
            "default" => return Ok(DialectRange::default()),
            "1" | "1.0" => return Err(NotOneOf("SMB 1 is not supported; the oldest dialect is 2.0.2")),
            "2.0" => (Dialect::Smb202, Dialect::Smb202),
            "3" => (Dialect::Smb300, Dialect::Smb311),
            "3.02" => (Dialect::Smb302, Dialect::Smb302),
            "3.11" => (Dialect::Smb311, Dialect::Smb311),
            other => other.parse().map(|dialect| (dialect, dialect))?,
        };
        Ok(DialectRange { lowest, highest })
    }
}

/// Whether messages are signed, or encrypted.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Protection {
    /// The mount fails if messages cannot be signed, or encrypted.
    Required,
    /// Signing: in every session that has a key. Encryption: if the server requires it.
    #[default]
    Auto,
    /// Signing: only if the server requires it. Encryption: not offered.
    Off,
}

/// `required`, `auto` or `off`.
impl FromStr for Protection {
    type Err = NotOneOf;

    fn from_str(text: &str) -> Result<Protection, NotOneOf> {
        match text {
            "required" => Ok(Protection::Required),
            "auto" => Ok(Protection::Auto),
            "off" => Ok(Protection::Off),
            _ => Err(NotOneOf("It must be one of: required, auto, off")),
        }
    }
}

impl fmt::Display for Protection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Protection::Required => "required",
            Protection::Auto => "auto",
            Protection::Off => "off",
        })
    }
}

/// The account to sign in with.
#[derive(Clone, Debug)]
pub enum Identity {
    /// No account: an anonymous session.
    Anonymous,
    /// A user with a password; the guest account is the user `guest` with an empty one.
    User {
        /// The account's name.
        username: String,
        /// The account's domain or workgroup; `None` leaves it to the server.
        domain: Option<String>,
        /// The password. It is never shown, and wiped when dropped.
        password: SecretString,
    },
}

impl Identity {
    /// Whether this asks for a guest or anonymous session. Neither has a key, so nothing in it is signed or encrypted.
    pub fn is_guest_or_anonymous(&self) -> bool {
        match self {
            Identity::Anonymous => true,
            Identity::User { username, password, .. } => {
                username.eq_ignore_ascii_case("guest") && password.expose_secret().is_empty()
            }
        }
    }

    /// Whether both are the same account of the same domain, in the same spelling, or both anonymous.
    pub fn is_same_account(&self, other: &Identity) -> bool {
        match (self, other) {
            (Identity::Anonymous, Identity::Anonymous) => true,
            (
                Identity::User { username, domain, .. },
                Identity::User { username: other_name, domain: other_domain, .. },
            ) => username == other_name && domain == other_domain,
            _ => false,
        }
    }

    /// Whether both are the same account with the same password.
    pub fn is_same(&self, other: &Identity) -> bool {
        let same_password = match (self, other) {
            (Identity::User { password, .. }, Identity::User { password: other, .. }) => {
                password.expose_secret() == other.expose_secret()
            }
            _ => true,
        };
        same_password && self.is_same_account(other)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_transport_is_read_in_any_case_and_empty_means_direct_tcp() {
        for (text, transport) in
            [("", Transport::DirectTcp), ("DirectTCP", Transport::DirectTcp), ("NETBIOS", Transport::NetBios)]
        {
            assert_eq!(text.parse(), Ok(transport));
        }
        let error = "quic".parse::<Transport>().unwrap_err();
        assert_eq!(error.to_string(), "Transport must be one of: directtcp, netbios");
    }

    #[test]
    fn every_dialect_is_read_as_it_is_shown() {
        for dialect in Dialect::ALL {
            assert_eq!(dialect.to_string().parse(), Ok(dialect));
        }
        assert!("3.2".parse::<Dialect>().is_err());
    }

    #[test]
    fn vers_accepts_the_values_of_mount_cifs_except_smb_1() {
        let range = |text: &str| text.parse::<DialectRange>().map(|range| (range.lowest, range.highest));
        assert_eq!(range("default"), Ok((Dialect::Smb202, Dialect::Smb311)));
        assert_eq!(range("2.0"), Ok((Dialect::Smb202, Dialect::Smb202)));
        assert_eq!(range("3"), Ok((Dialect::Smb300, Dialect::Smb311)));
        assert_eq!(range("3.0"), Ok((Dialect::Smb300, Dialect::Smb300)));
        assert_eq!(range("3.11"), Ok((Dialect::Smb311, Dialect::Smb311)));
        assert!(range("1.0").unwrap_err().to_string().contains("SMB 1"));
    }

    #[test]
    fn a_protection_is_read_as_it_is_shown() {
        for protection in [Protection::Required, Protection::Auto, Protection::Off] {
            assert_eq!(protection.to_string().parse(), Ok(protection));
        }
        assert!("on".parse::<Protection>().is_err());
    }

    #[test]
    fn an_identity_changes_with_its_password_and_an_account_does_not() {
        let user = |name: &str, domain: Option<&str>, password: &str| Identity::User {
            username: name.into(),
            domain: domain.map(str::to_owned),
            password: password.to_owned().into(),
        };
        let ann = user("ann", None, "old");
        assert!(ann.is_same(&user("ann", None, "old")) && Identity::Anonymous.is_same(&Identity::Anonymous));
        assert!(!ann.is_same(&user("ann", None, "new")) && ann.is_same_account(&user("ann", None, "new")));
        assert!(
            !ann.is_same_account(&user("bob", None, "old")) && !ann.is_same_account(&user("ann", Some("D"), "old"))
        );
        assert!(!ann.is_same(&Identity::Anonymous) && !ann.is_same_account(&Identity::Anonymous));
    }
}
