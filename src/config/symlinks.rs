//! How symbolic links are stored on the share, and whether at all.

use super::connection::NotOneOf;
use std::fmt;
use std::str::FromStr;

/// How new symbolic links are stored. Whatever it is, existing reparse points are shown as links.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Symlinks {
    /// As reparse points where the server takes them, otherwise as files of Minshall and French.
    #[default]
    Auto,
    /// As reparse points only.
    Reparse,
    /// As files of Minshall and French only.
    MfSymlinks,
    /// No symbolic links are made, and files that hold links are shown as files.
    Off,
}

/// `auto`, `reparse`, `mfsymlinks` or `off`.
impl FromStr for Symlinks {
    type Err = NotOneOf;

    fn from_str(text: &str) -> Result<Symlinks, NotOneOf> {
        match text {
            "auto" => Ok(Symlinks::Auto),
            "reparse" => Ok(Symlinks::Reparse),
            "mfsymlinks" => Ok(Symlinks::MfSymlinks),
            "off" => Ok(Symlinks::Off),
            _ => Err(NotOneOf("How links are stored must be one of: auto, reparse, mfsymlinks, off")),
        }
    }
}

impl fmt::Display for Symlinks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Symlinks::Auto => "auto",
            Symlinks::Reparse => "reparse",
            Symlinks::MfSymlinks => "mfsymlinks",
            Symlinks::Off => "off",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_read_as_they_are_shown() {
        for symlinks in [Symlinks::Auto, Symlinks::Reparse, Symlinks::MfSymlinks, Symlinks::Off] {
            assert_eq!(symlinks.to_string().parse(), Ok(symlinks));
        }
        assert!("on".parse::<Symlinks>().is_err());
    }
}
