//! The cache modes: which data and attributes are used without asking the server each time.

use super::connection::NotOneOf;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// What is cached, and what keeps it valid.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum CacheMode {
    /// What the server guarantees to be current by a lease, an oplock or a watch, while it does. Everything else is
    /// revalidated: data at each open and after the attribute timeout, names and attributes after that timeout.
    #[default]
    Strict,
    /// Nothing: each read and each write is a request to the server.
    None,
    /// Everything, for the attribute timeout, as if no other client changed the share. Written data is sent at close(2)
    /// at the latest.
    Loose,
}

impl CacheMode {
    /// How long names and attributes are used without revalidation, unless the user sets it.
    pub fn attr_timeout(self) -> Duration {
        match self {
            CacheMode::Strict => Duration::from_secs(1),
            CacheMode::None => Duration::ZERO,
            CacheMode::Loose => Duration::from_secs(30),
        }
    }
}

/// `strict`, `none` or `loose`, the words of mount.cifs.
impl FromStr for CacheMode {
    type Err = NotOneOf;

    fn from_str(text: &str) -> Result<CacheMode, NotOneOf> {
        match text {
            "strict" => Ok(CacheMode::Strict),
            "none" => Ok(CacheMode::None),
            "loose" => Ok(CacheMode::Loose),
            _ => Err(NotOneOf("The cache mode must be one of: strict, none, loose")),
        }
    }
}

impl fmt::Display for CacheMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            CacheMode::Strict => "strict",
            CacheMode::None => "none",
            CacheMode::Loose => "loose",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_are_read_as_they_are_shown() {
        for mode in [CacheMode::Strict, CacheMode::None, CacheMode::Loose] {
            assert_eq!(mode.to_string().parse(), Ok(mode));
        }
        let error = "strikt".parse::<CacheMode>().unwrap_err();
        assert_eq!(error.to_string(), "The cache mode must be one of: strict, none, loose");
    }
}
