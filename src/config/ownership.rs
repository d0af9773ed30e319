//! Where owner, group and mode of files come from, and what chmod(2) and chown(2) do.

use super::connection::NotOneOf;
use std::fmt;
use std::str::FromStr;

/// Where the owner, group and mode that stat(2) shows come from. What a program has set on this mount, and the server
/// does not keep, is shown above either.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum OwnerSource {
    /// The options of the mount, and the read-only attribute.
    #[default]
    Options,
    /// The security descriptors of the server, and the options where a descriptor does not say it.
    Server,
}

impl FromStr for OwnerSource {
    type Err = NotOneOf;

    fn from_str(text: &str) -> Result<OwnerSource, NotOneOf> {
        match text {
            "options" => Ok(OwnerSource::Options),
            "server" => Ok(OwnerSource::Server),
            _ => Err(NotOneOf("it must be one of: options, server")),
        }
    }
}

impl fmt::Display for OwnerSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            OwnerSource::Options => "options",
            OwnerSource::Server => "server",
        })
    }
}

/// What chmod(2), or chown(2), does with a new value.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Keeping {
    /// Stores it at the server; what the server does not keep is remembered.
    #[default]
    Store,
    /// Remembers it on this mount, and sends nothing.
    Remember,
    /// Succeeds without effect.
    Ignore,
    /// Fails with `EPERM`, unless it is the value that is shown already.
    Deny,
}

impl Keeping {
    /// Whether a program sees the value that it has set.
    pub fn keeps(self) -> bool {
        matches!(self, Keeping::Store | Keeping::Remember)
    }
}

impl FromStr for Keeping {
    type Err = NotOneOf;

    fn from_str(text: &str) -> Result<Keeping, NotOneOf> {
        match text {
            "store" => Ok(Keeping::Store),
            "remember" => Ok(Keeping::Remember),
            "ignore" => Ok(Keeping::Ignore),
            "deny" => Ok(Keeping::Deny),
            _ => Err(NotOneOf("it must be one of: store, remember, ignore, deny")),
        }
    }
}

impl fmt::Display for Keeping {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Keeping::Store => "store",
            Keeping::Remember => "remember",
            Keeping::Ignore => "ignore",
            Keeping::Deny => "deny",
        })
    }
}

/// Which values the user has set for the mount. New files have them too; what was not set, a new file gets from the
/// program that makes it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Fixed {
    /// The owner (`--uid`).
    pub uid: bool,
    /// The group (`--gid`).
    pub gid: bool,
    /// The mode of files (`--file-mode`).
    pub file_mode: bool,
    /// The mode of directories (`--dir-mode`).
    pub dir_mode: bool,
}

/// The options about owners and modes, beside the values themselves.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct OwnerOptions {
    /// Where the shown values come from.
    pub source: OwnerSource,
    /// What chmod(2) does.
    pub chmod: Keeping,
    /// What chown(2) does.
    pub chown: Keeping,
    /// Which values the user has set.
    pub fixed: Fixed,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_read_as_they_are_shown() {
        for source in [OwnerSource::Options, OwnerSource::Server] {
            assert_eq!(source.to_string().parse(), Ok(source));
        }
        for keeping in [Keeping::Store, Keeping::Remember, Keeping::Ignore, Keeping::Deny] {
            assert_eq!(keeping.to_string().parse(), Ok(keeping));
        }
        assert!("sid".parse::<OwnerSource>().is_err() && "keep".parse::<Keeping>().is_err());
    }
}
