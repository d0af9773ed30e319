//! Sizes in bytes, as text.

/// The text is not a size.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("a size is a number of bytes, or a number with K, M, G or T (1024-fold: 64M, 1GiB)")]
pub struct NotASize;

/// The largest size that a text means, in bytes. Above 2^53 an `f64` cannot represent single bytes; no memory is that
/// large.
pub const LARGEST_SIZE: u64 = 9_000_000_000_000_000;

/// The bytes of `65536`, `64K`, `64KiB`, `1.5G`, in any case. `K` and `KiB` are 1024 bytes, `KB` is 1000; the same
/// holds for M, G and T.
///
/// Above [`LARGEST_SIZE`] it is that.
///
/// # Errors
/// If the text is not a number with a known unit, or is negative.
pub fn parse_size(text: &str) -> Result<u64, NotASize> {
    let text = text.trim();
    let unit_at = text.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(text.len());
    let (number, unit) = text.split_at(unit_at);
    let unit = unit.to_ascii_uppercase();
    let (prefix, base) = match unit.strip_suffix("IB") {
        Some(prefix) => (prefix, 1024.0),
        None => match unit.strip_suffix('B') {
            Some(prefix) => (prefix, 1000.0),
            None => (unit.as_str(), 1024.0),
        },
    };
    let power = match prefix {
        "" => 0,
        "K" => 1,
        "M" => 2,
        "G" => 3,
        "T" => 4,
        _ => return Err(NotASize),
    };
    let number: f64 = number.trim_end().parse().map_err(|_| NotASize)?;
    let bytes = number * f64::powi(base, power);
    match bytes >= 0.0 {
        // A larger number, an infinite one too, is converted to the limit.
        true => Ok((bytes as u64).min(LARGEST_SIZE)),
        false => Err(NotASize),
    }
}

/// A size for users: in MiB or KiB if that is exact, else in bytes.
pub fn show_size(bytes: u64) -> String {
    const KIB: u64 = 1 << 10;
    const MIB: u64 = 1 << 20;
    match bytes {
        0 => "0 bytes".to_owned(),
        1 => "1 byte".to_owned(),
        _ if bytes.is_multiple_of(MIB) => format!("{} MiB", bytes / MIB),
        _ if bytes.is_multiple_of(KIB) => format!("{} KiB", bytes / KIB),
        _ => format!("{bytes} bytes"),
    }
}

/// A size with two or three digits, for a value that changes: `11.8 MiB`. Below 1 KiB it is exact.
pub fn about(bytes: u64) -> String {
    // The loss of precision is far below the digits that are shown.
    #[allow(clippy::cast_precision_loss)]
    let scaled = |shift: u32| bytes as f64 / (1_u64 << shift) as f64;
    let (value, unit) = match bytes {
        0..1_024 => return show_size(bytes),
        1_024..1_048_576 => (scaled(10), "KiB"),
        1_048_576..1_073_741_824 => (scaled(20), "MiB"),
        _ => (scaled(30), "GiB"),
    };
    match value < 100.0 && value.fract() >= 0.05 {
        true => format!("{value:.1} {unit}"),
        false => format!("{value:.0} {unit}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_changing_size_is_shown_with_few_digits() {
        for (bytes, shown) in [
            (0, "0 bytes"),
            (1_023, "1023 bytes"),
            (1_024, "1 KiB"),
            (12_345_678, "11.8 MiB"),
            (256 << 20, "256 MiB"),
            (u64::MAX, "17179869184 GiB"),
        ] {
            assert_eq!(about(bytes), shown);
        }
    }

    #[test]
    fn sizes_are_read_with_and_without_units() {
        for (text, bytes) in [
            ("0", 0),
            ("65536", 65536),
            ("64k", 65536),
            ("64KiB", 65536),
            ("64KB", 64000),
            ("64 M", 64 << 20),
            ("1GiB", 1 << 30),
            ("1.5g", 3 << 29),
            ("10B", 10),
            ("1T", 1 << 40),
            ("9999999T", LARGEST_SIZE),
            ("99999999999999999999999", LARGEST_SIZE),
        ] {
            assert_eq!(parse_size(text), Ok(bytes), "{text}");
        }
        for text in ["", "M", "-1", "64X", "1e6", "inf", "NaN", "12MiBs"] {
            assert_eq!(parse_size(text), Err(NotASize), "{text}");
        }
    }

    #[test]
    fn sizes_are_shown_in_mib_or_kib_if_that_is_exact() {
        assert_eq!(show_size(8 << 20), "8 MiB");
        assert_eq!(show_size(65536), "64 KiB");
        assert_eq!(show_size(10000), "10000 bytes");
        assert_eq!(show_size(0), "0 bytes");
    }
}
