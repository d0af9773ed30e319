//! The effective buffer size: the requested size, the server's limit, and the reason for the result.
//!
//! The same rule holds for reading and for writing. The invariant: the result is never zero, never above the server's
//! limit (unless that limit is implausible), and never above [`LARGEST`].

use super::size::show_size;
use std::fmt;

/// A requested size below this is ignored, in bytes.
pub const MINIMUM_SETTING: u32 = 10_000;

/// The size used if none was requested and the server's limit allows it, in bytes. A kernel request carries at most 1
/// MiB, so a larger chunk would only delay its first byte.
pub const DEFAULT_BUFFER: u32 = 1 << 20;

/// The largest size used, in bytes, whatever the server announces: the maximum of Windows and of Samba. It bounds the
/// memory of one request in flight.
pub const LARGEST: u32 = 8 << 20;

/// The size used if the server announces an implausible one, in bytes. Every dialect carries this much for a single
/// credit (MS-SMB2 3.1.5.2).
const FALLBACK: u32 = 64 << 10;
/// The smallest announced size that is plausible, in bytes: a page.
const SMALLEST_PLAUSIBLE: u32 = 4096;

/// A buffer size in use, and its reason. It is shown as `1 MiB: chosen, the server supports up to 8 MiB`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Effective {
    /// The size in use, in bytes.
    pub bytes: u32,
    /// The reason for this size.
    pub reason: Reason,
}

/// The reason for a buffer size. Sizes are in bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reason {
    /// No size was requested.
    Chosen {
        /// The size that the server announced.
        negotiated: u32,
    },
    /// The requested size is used unchanged.
    AsRequested,
    /// The requested size is above the server's limit.
    CappedByServer {
        /// The requested size.
        asked: u32,
    },
    /// The requested size and the server's limit are above [`LARGEST`].
    CappedHere {
        /// The requested size.
        asked: u32,
    },
    /// The requested size is below [`MINIMUM_SETTING`] and was ignored.
    BelowMinimum {
        /// The requested size.
        asked: u32,
    },
    /// The server announced an implausible size, and none up to 64 KiB was requested.
    Implausible {
        /// The size that the server announced.
        negotiated: u32,
    },
}

/// The buffer size for a request of `requested` bytes, if the connection carries up to `negotiated` bytes.
pub fn effective(requested: Option<u32>, negotiated: u32) -> Effective {
    let plausible = negotiated >= SMALLEST_PLAUSIBLE;
    let limit = if plausible { negotiated.min(LARGEST) } else { FALLBACK };
    let unasked = limit.min(DEFAULT_BUFFER);
    let (bytes, reason) = match requested {
        Some(asked) if asked < MINIMUM_SETTING => (unasked, Reason::BelowMinimum { asked }),
        Some(asked) if asked <= limit => (asked, Reason::AsRequested),
        _ if !plausible => (unasked, Reason::Implausible { negotiated }),
        Some(asked) if negotiated > limit => (limit, Reason::CappedHere { asked }),
        Some(asked) => (limit, Reason::CappedByServer { asked }),
        None => (unasked, Reason::Chosen { negotiated }),
    };
    Effective { bytes, reason }
}

impl Effective {
    /// The warning to show if the requested size of `option` was ignored.
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
            Reason::Chosen { negotiated } => write!(f, "chosen, the server supports up to {}", show(negotiated)),
            Reason::AsRequested => f.write_str("as requested"),
            Reason::CappedByServer { asked } => {
                write!(f, "{} requested, capped at the server's maximum", show(asked))
            }
            Reason::CappedHere { asked } => {
                write!(f, "{} requested, capped at the largest size in use", show(asked))
            }
            Reason::BelowMinimum { asked } => {
                write!(f, "chosen, since the requested {} are below {MINIMUM_SETTING} bytes", show(asked))
            }
            Reason::Implausible { negotiated } => {
                write!(f, "chosen, since the server's maximum of {} is implausible", show(negotiated))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u32 = 1 << 20;

    #[test]
    fn the_size_in_use_is_shown_with_its_reason() {
        for (requested, negotiated, shown) in [
            (None, 8 * MIB, "1 MiB: chosen, the server supports up to 8 MiB"),
            (None, 65536, "64 KiB: chosen, the server supports up to 64 KiB"),
            (Some(65536), 8 * MIB, "64 KiB: as requested"),
            (Some(4 * MIB), 8 * MIB, "4 MiB: as requested"),
            (Some(10_000), 8 * MIB, "10000 bytes: as requested"),
            (Some(MIB), 65536, "64 KiB: 1 MiB requested, capped at the server's maximum"),
            (Some(u32::MAX), MIB, "1 MiB: 4294967295 bytes requested, capped at the server's maximum"),
            (Some(16 * MIB), u32::MAX, "8 MiB: 16 MiB requested, capped at the largest size in use"),
            (Some(9_999), 8 * MIB, "1 MiB: chosen, since the requested 9999 bytes are below 10000 bytes"),
            (Some(0), 65536, "64 KiB: chosen, since the requested 0 bytes are below 10000 bytes"),
            (None, 0, "64 KiB: chosen, since the server's maximum of 0 bytes is implausible"),
            (Some(MIB), 1, "64 KiB: chosen, since the server's maximum of 1 byte is implausible"),
            (Some(16384), 0, "16 KiB: as requested"),
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
    fn the_size_is_usable_whatever_the_server_announces() {
        for negotiated in [0, 1, 4095, 4096, 65536, MIB, 8 * MIB, u32::MAX] {
            for requested in [None, Some(0), Some(9_999), Some(10_000), Some(MIB), Some(u32::MAX)] {
                let bytes = effective(requested, negotiated).bytes;
                assert!((SMALLEST_PLAUSIBLE..=LARGEST).contains(&bytes), "{requested:?} {negotiated}: {bytes}");
                assert!(negotiated < SMALLEST_PLAUSIBLE || bytes <= negotiated);
            }
        }
    }
}
