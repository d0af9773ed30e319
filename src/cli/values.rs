//! The values of options, parsed from text. The errors are the ends of sentences that name the option.

use crate::config::options::SMALLEST_CACHE;
use crate::config::size::{NotASize, parse_size, show_size};
use nix::unistd::{Group, User};
use std::str::FromStr;
use std::time::Duration;

/// A requested buffer size in bytes: any size, also a negative one, so that a warning can name what is wrong with it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct BufferSize(i64);

impl FromStr for BufferSize {
    type Err = NotASize;

    fn from_str(text: &str) -> Result<BufferSize, NotASize> {
        let text = text.trim();
        let (sign, size) = text.strip_prefix('-').map_or((1, text), |size| (-1, size));
        i64::try_from(parse_size(size)?).map(|bytes| BufferSize(sign * bytes)).map_err(|_| NotASize)
    }
}

impl BufferSize {
    /// The size in bytes, limited to `u32`. A negative number is ignored: the error is the warning for the user.
    pub(super) fn bytes(self, option: &str) -> Result<u32, String> {
        match self.0 {
            size if size < 0 => {
                Err(format!("{option}={size} is ignored; the size is chosen from the server's maximum"))
            }
            size => Ok(u32::try_from(size).unwrap_or(u32::MAX)),
        }
    }
}

/// Whole or fractional seconds, with or without an `s` after them.
pub(super) fn seconds(text: &str) -> Result<Duration, &'static str> {
    const PROBLEM: &str = "it must be a number of seconds, such as 30 or 0.5";
    let number = text.strip_suffix('s').unwrap_or(text);
    let seconds: f64 = number.trim().parse().map_err(|_| PROBLEM)?;
    Duration::try_from_secs_f64(seconds).map_err(|_| PROBLEM)
}

/// A time limit in seconds. It must not be zero, since every operation would fail.
pub(super) fn timeout(text: &str) -> Result<Duration, &'static str> {
    match seconds(text)? {
        Duration::ZERO => Err("it must be more than 0 seconds"),
        limit => Ok(limit),
    }
}

/// Permission bits, in octal.
pub(super) fn mode(text: &str) -> Result<u32, &'static str> {
    let digits = text.strip_prefix("0o").unwrap_or(text);
    match u32::from_str_radix(digits, 8) {
        Ok(mode) if mode <= 0o777 && !digits.starts_with('+') => Ok(mode),
        _ => Err("it must be an octal number up to 0777"),
    }
}

/// The number of a user, from a number or a name.
pub(super) fn user(text: &str) -> Result<u32, &'static str> {
    let by_name = || User::from_name(text).ok().flatten().map(|user| user.uid.as_raw());
    number(text).or_else(by_name).ok_or("there is no such user")
}

/// The number of a group, from a number or a name.
pub(super) fn group(text: &str) -> Result<u32, &'static str> {
    let by_name = || Group::from_name(text).ok().flatten().map(|group| group.gid.as_raw());
    number(text).or_else(by_name).ok_or("there is no such group")
}

/// The number of a user or a group. The largest one means "none" to the kernel (chown(2)).
fn number(text: &str) -> Option<u32> {
    text.parse().ok().filter(|number| *number != u32::MAX)
}

/// The budget of the page cache, in bytes.
pub(super) fn cache_size(text: &str) -> Result<u64, String> {
    match parse_size(text) {
        Ok(size) if size < SMALLEST_CACHE => Err(format!("it must be at least {}", show_size(SMALLEST_CACHE))),
        Ok(size) => Ok(size),
        Err(error) => Err(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_may_be_fractional_and_never_negative() {
        assert_eq!(seconds("0.5"), Ok(Duration::from_millis(500)));
        assert_eq!(seconds("30s"), Ok(Duration::from_secs(30)));
        assert_eq!(seconds("0"), Ok(Duration::ZERO));
        for text in ["", "-1", "soon", "inf", "NaN", "1e300", "5m"] {
            assert!(seconds(text).is_err(), "{text}");
        }
        assert!(timeout("0").is_err());
        assert_eq!(timeout("0.1"), Ok(Duration::from_millis(100)));
    }

    #[test]
    fn modes_are_octal_permission_bits() {
        assert_eq!(mode("0640"), Ok(0o640));
        assert_eq!(mode("777"), Ok(0o777));
        for text in ["", "0800", "4755", "rw", "-1", "+7"] {
            assert!(mode(text).is_err(), "{text}");
        }
    }

    #[test]
    fn users_and_groups_have_numbers_or_names() {
        assert_eq!(user("1000"), Ok(1000));
        assert_eq!(user("root"), Ok(0));
        assert_eq!(group("root"), Ok(0));
        for text in ["", "-1", "no such name", "4294967296"] {
            assert!(user(text).is_err() && group(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_buffer_size_is_any_size_and_a_negative_one_is_ignored() {
        let bytes = |text: &str| text.parse::<BufferSize>().unwrap().bytes("read-buffer-size");
        assert_eq!(bytes("65536"), Ok(65536));
        assert_eq!(bytes("64k"), Ok(65536));
        assert_eq!(bytes("1MiB"), Ok(1 << 20));
        assert_eq!(bytes("99999999999"), Ok(u32::MAX));
        assert!(bytes("-5").unwrap_err().contains("read-buffer-size=-5"));
        for text in ["", "64x", "1e6", "-", "--5", "-x"] {
            let said = text.parse::<BufferSize>().unwrap_err().to_string();
            assert_eq!(Err(said), cache_size(text), "every size has the same errors: {text}");
        }
    }

    #[test]
    fn a_cache_has_a_smallest_size() {
        assert_eq!(cache_size("64M"), Ok(64 << 20));
        assert!(cache_size("1M").unwrap_err().contains("16 MiB"));
        assert!(cache_size("much").is_err());
    }
}
