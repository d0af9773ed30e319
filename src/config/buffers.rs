//! The effective buffer size: what was asked for, what the server takes, and the reason for the result.
//!
//! The same rule holds for reading and for writing. The invariant: the result is never zero, never
//! more than the server takes (unless what it announces is no size at all), and never more than [`LARGEST`].

use super::size::show_size;
use std::fmt;

/// A setting below this many bytes is ignored.
pub const MINIMUM_SETTING: u32 = 10_000;

/// What is used when nothing was asked for, if the server takes as much. A kernel request carries no
/// more than 1 MiB, so a larger chunk would only make the first byte wait longer.
pub const DEFAULT_BUFFER: u32 = 1 << 20;

/// The most that is used whatever a server announces: the maximum of Windows and of Samba. It bounds
/// the memory that one request in flight can take.
pub const LARGEST: u32 = 8 << 20;

/// What is used when the server announces less than a page, which no server means. Every dialect
/// carries this much for a single credit (MS-SMB2 3.1.5.2).
const FALLBACK: u32 = 64 << 10;
const SMALLEST_BELIEVED: u32 = 4096;

/// A buffer size in use, and why. It is shown as `1 MiB: chosen, the server takes up to 8 MiB`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Effective {
    /// The size in use, in bytes.
    pub bytes: u32,
    /// Why it is this size.
    pub reason: Reason,
}

/// Why a buffer size is what it is. Sizes are in bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reason {
    /// Nothing was asked for.
    Chosen {
        /// What the server announced.
        negotiated: u32,
    },
    /// The setting is used as it is.
    AsAsked,
    /// The setting is more than the server takes.
    CappedByServer {
        /// The setting.
        asked: u32,
    },
    /// The setting, and what the server takes, are more than [`LARGEST`].
    CappedHere {
        /// The setting.
        asked: u32,
    },
    /// The setting is less than [`MINIMUM_SETTING`] and was ignored.
    BelowMinimum {
        /// The setting.
        asked: u32,
    },
    /// The server announced a size that it can't mean, and the setting does not say less.
    Implausible {
        /// What the server announced.
        negotiated: u32,
    },
}

/// The buffer size to use for a setting of `requested` bytes where the connection carries up to
/// `negotiated` bytes.
pub fn effective(requested: Option<u32>, negotiated: u32) -> Effective {
    let plausible = negotiated >= SMALLEST_BELIEVED;
    let limit = if plausible { negotiated.min(LARGEST) } else { FALLBACK };
    let unasked = limit.min(DEFAULT_BUFFER);
    let (bytes, reason) = match requested {
        Some(asked) if asked < MINIMUM_SETTING => (unasked, Reason::BelowMinimum { asked }),
        Some(asked) if asked <= limit => (asked, Reason::AsAsked),
        _ if !plausible => (unasked, Reason::Implausible { negotiated }),
        Some(asked) if negotiated > limit => (limit, Reason::CappedHere { asked }),
        Some(asked) => (limit, Reason::CappedByServer { asked }),
        None => (unasked, Reason::Chosen { negotiated }),
    };
    Effective { bytes, reason }
}

impl Effective {
    /// The sentence to warn with when the setting of `option` was ignored, if it was.
    pub fn warning(&self, option: &str) -> Option<String> {
        match self.reason {
            Reason::BelowMinimum { asked } => Some(format!(
                "{option}={asked} is ignored, since it is below {MINIMUM_SETTING} bytes; {} is used instead",
                show_size(self.bytes.into())
            )),
            _ => None,
        }
    }
}

impl fmt::Display for Effective {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let show = |bytes: u32| show_size(bytes.into());
        write!(f, "{}: ", show(self.bytes))?;
        match self.reason {
            Reason::Chosen { negotiated } => write!(f, "chosen, the server takes up to {}", show(negotiated)),
            Reason::AsAsked => f.write_str("as asked"),
            Reason::CappedByServer { asked } => {
                write!(f, "asked for {}, capped to what the server takes", show(asked))
            }
            Reason::CappedHere { asked } => {
                write!(f, "asked for {}, capped to the most that is sent at once", show(asked))
            }
            Reason::BelowMinimum { asked } => {
                write!(f, "chosen, since the {} asked for are below {MINIMUM_SETTING} bytes", show(asked))
            }
            Reason::Implausible { negotiated } => {
                write!(f, "chosen, since the server's maximum of {} can't be meant", show(negotiated))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u32 = 1 << 20;

    #[test]
    fn the_size_in_use_and_its_reason() {
        for (requested, negotiated, shown) in [
            (None, 8 * MIB, "1 MiB: chosen, the server takes up to 8 MiB"),
            (None, 65536, "64 KiB: chosen, the server takes up to 64 KiB"),
            (Some(65536), 8 * MIB, "64 KiB: as asked"),
            (Some(4 * MIB), 8 * MIB, "4 MiB: as asked"),
            (Some(10_000), 8 * MIB, "10000 bytes: as asked"),
            (Some(MIB), 65536, "64 KiB: asked for 1 MiB, capped to what the server takes"),
            (Some(u32::MAX), MIB, "1 MiB: asked for 4294967295 bytes, capped to what the server takes"),
            (Some(16 * MIB), u32::MAX, "8 MiB: asked for 16 MiB, capped to the most that is sent at once"),
            (Some(9_999), 8 * MIB, "1 MiB: chosen, since the 9999 bytes asked for are below 10000 bytes"),
            (Some(0), 65536, "64 KiB: chosen, since the 0 bytes asked for are below 10000 bytes"),
            (None, 0, "64 KiB: chosen, since the server's maximum of 0 bytes can't be meant"),
            (Some(MIB), 1, "64 KiB: chosen, since the server's maximum of 1 byte can't be meant"),
            (Some(16384), 0, "16 KiB: as asked"),
        ] {
            assert_eq!(effective(requested, negotiated).to_string(), shown);
        }
    }

    #[test]
    fn only_an_ignored_setting_warns_and_the_warning_names_option_value_and_result() {
        let warning = effective(Some(4096), 8 * MIB).warning("read-buffer-size").unwrap();
        assert_eq!(warning, "read-buffer-size=4096 is ignored, since it is below 10000 bytes; 1 MiB is used instead");
        for requested in [None, Some(10_000), Some(u32::MAX)] {
            assert_eq!(effective(requested, 65536).warning("write-buffer-size"), None);
        }
    }

    #[test]
    fn whatever_a_server_announces_the_size_is_usable() {
        for negotiated in [0, 1, 4095, 4096, 65536, MIB, 8 * MIB, u32::MAX] {
            for requested in [None, Some(0), Some(9_999), Some(10_000), Some(MIB), Some(u32::MAX)] {
                let bytes = effective(requested, negotiated).bytes;
                assert!((SMALLEST_BELIEVED..=LARGEST).contains(&bytes), "{requested:?} {negotiated}: {bytes}");
                assert!(negotiated < SMALLEST_BELIEVED || bytes <= negotiated);
            }
        }
    }
}
