//! Previous versions: paths that lead to one, and FSCTL_SRV_ENUMERATE_SNAPSHOTS (MS-SMB2 2.2.32.2).
//!
//! A component `@GMT-YYYY.MM.DD-HH.MM.SS` of a path means the rest of the path as it was at that time, as in the paths of
//! Windows (MS-SMB2 2.2.32.2 has the form). On the wire the component is taken out, and the CREATE carries the time in
//! SMB2_CREATE_TIMEWARP_TOKEN (2.2.13.2.7): servers do not look for such components in the paths of SMB2. A component
//! [`FOLDER`] directly before it is taken out too. Only the first such component of a path counts.

use super::FileId;
use super::ioctl::{ioctl, output};
use crate::wire::codec::{Fields, Malformed};
use crate::wire::frame::{Reply, Request};

/// `FSCTL_SRV_ENUMERATE_SNAPSHOTS` (MS-SMB2 2.2.31)
pub(in crate::wire) const ENUMERATE_SNAPSHOTS: u32 = 0x0014_4064;
/// The name of the folder in which the previous versions of a folder are shown.
pub const FOLDER: &str = ".snapshots";
/// The most previous versions that are accepted in a response: Windows keeps 512 of a volume.
pub const MOST: usize = 4096;
/// The size of the fixed fields of SRV_SNAPSHOT_ARRAY, in bytes.
const FIXED: usize = 12;
/// The length of a token, in UTF-16 units.
const UNITS: usize = 24;
/// The form of a token: `0` stands for a digit.
const FORM: &[u8; UNITS] = b"@GMT-0000.00.00-00.00.00";
const SEPARATOR: u16 = b'\\' as u16;
/// Days from 1601-01-01 to 1970-01-01.
const DAYS_TO_1970: i64 = 134_774;
const TICKS_PER_SECOND: u64 = 10_000_000;

/// The time of a previous version, as a FILETIME in whole seconds (MS-DTYP 2.3.3).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Snapshot(pub u64);

impl Snapshot {
    /// The time that a token means; `None` if the name is no token.
    pub fn parse(name: &[u16]) -> Option<Snapshot> {
        let has_form = name.len() == UNITS
            && name.iter().zip(FORM).all(|(unit, form)| match form {
                b'0' => (u16::from(b'0')..=u16::from(b'9')).contains(unit),
                other => *unit == u16::from(*other),
            });
        if !has_form {
            return None;
        }
        let number = |at: usize, digits: usize| {
            name[at..at + digits].iter().fold(0, |number, unit| 10 * number + i64::from(*unit - u16::from(b'0')))
        };
        let (year, month, day) = (number(5, 4), number(10, 2), number(13, 2));
        let (hour, minute, second) = (number(16, 2), number(19, 2), number(22, 2));
        let is_date =
            (1601..).contains(&year) && (1..=12).contains(&month) && (1..=length_of(year, month)).contains(&day);
        if !is_date || hour > 23 || minute > 59 || second > 59 {
            return None;
        }
        let seconds = days(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second;
        Some(Snapshot(u64::try_from(seconds).ok()? * TICKS_PER_SECOND))
    }
}

/// Whether a year of the Gregorian calendar is a leap year.
fn is_leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

/// The number of days of a month.
fn length_of(year: i64, month: i64) -> i64 {
    match month {
        2 => 28 + i64::from(is_leap(year)),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days from 1601-01-01 to this date of the Gregorian calendar.
fn days(year: i64, month: i64, day: i64) -> i64 {
    // Years begin in March, so that the leap day is the last one: 400 of them have 146,097 days.
    let year = if month <= 2 { year - 1 } else { year };
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let since_march_of_0 = 365 * year + year / 4 - year / 100 + year / 400 + day_of_year;
    since_march_of_0 - 719_468 + DAYS_TO_1970
}

/// Whether a name is that of a folder of previous versions, or of one of them: listings do not show such names.
pub fn is_name(name: &[u16]) -> bool {
    is_folder(name) || Snapshot::parse(name).is_some()
}

/// Whether a name is [`FOLDER`].
pub fn is_folder(name: &[u16]) -> bool {
    name.iter().copied().eq(FOLDER.encode_utf16())
}

/// A path that leads to a previous version.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Previous {
    /// The folder whose previous version it is, in UTF-16 units.
    pub folder: Vec<u16>,
    /// The whole path without the component that means the time.
    pub path: Vec<u16>,
    /// The time.
    pub at: Snapshot,
}

impl Previous {
    /// Parses a path of a share; `None` if it leads to no previous version.
    pub fn parse(path: &[u16]) -> Option<Previous> {
        // Most paths have no such character, and this is called for each open.
        if !path.contains(&u16::from(b'@')) {
            return None;
        }
        let components: Vec<&[u16]> = path.split(|unit| *unit == SEPARATOR).collect();
        let (index, at) =
            components.iter().enumerate().find_map(|(index, name)| Some((index, Snapshot::parse(name)?)))?;
        let (before, after) = (&components[..index], &components[index + 1..]);
        let before = match before.split_last() {
            Some((last, rest)) if is_folder(last) => rest,
            _ => before,
        };
        let join = |components: &[&[u16]]| components.join(&SEPARATOR);
        Some(Previous { folder: join(before), path: join(&[before, after].concat()), at })
    }
}

/// A request for the previous versions of a folder that is open, with space for `size` bytes.
pub fn enumerate(folder: FileId, size: u32) -> Request {
    ioctl(ENUMERATE_SNAPSHOTS, folder, Ok(Vec::new()), size)
}

/// SRV_SNAPSHOT_ARRAY.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Snapshots {
    /// The tokens, newest first; without those that have another form.
    pub tokens: Vec<Vec<u16>>,
    /// There are more, for which the request had no space.
    pub is_cut: bool,
}

impl Snapshots {
    /// Parses a successful response.
    ///
    /// # Errors
    ///
    /// [`Malformed`] if it is not that of an IOCTL or shorter than its fixed fields, or if it has more than [`MOST`]
    /// tokens.
    pub fn parse(reply: &Reply) -> Result<Snapshots, Malformed> {
        Snapshots::of(output(reply)?)
    }

    fn of(output: &[u8]) -> Result<Snapshots, Malformed> {
        let fields = Fields(output);
        let (all, returned) = (fields.u32(0)?, fields.u32(4)?);
        // NumberOfSnapShots and SnapShotArraySize are claims; only the bytes that came count.
        fields.u32(8)?;
        let units: Vec<u16> =
            output[FIXED..].chunks_exact(2).map(|unit| u16::from_le_bytes([unit[0], unit[1]])).collect();
        let names = units.split(|unit| *unit == 0).take_while(|name| !name.is_empty());
        let mut tokens = Vec::new();
        for name in names.filter(|name| Snapshot::parse(name).is_some()) {
            if tokens.len() == MOST {
                return Err(Malformed("more previous versions than there can be"));
            }
            tokens.push(name.to_vec());
        }
        tokens.sort_unstable_by(|one, other| other.cmp(one));
        tokens.dedup();
        Ok(Snapshots { is_cut: returned == 0 && all > 0 && tokens.is_empty(), tokens })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::codec::Put;
    use proptest::prelude::*;

    fn units(text: &str) -> Vec<u16> {
        text.encode_utf16().collect()
    }

    fn time(token: &str) -> Option<u64> {
        Some(Snapshot::parse(&units(token))?.0)
    }

    /// SRV_SNAPSHOT_ARRAY with these numbers and names.
    fn array(all: u32, returned: u32, names: &[&str]) -> Vec<u8> {
        let mut text = Vec::new();
        for name in names {
            text.put_utf16(&units(name)).put_u16(0);
        }
        text.put_u16(0);
        let mut array = Vec::new();
        array.put_u32(all).put_u32(returned).put_u32(text.len() as u32).put_bytes(&text);
        array
    }

    #[test]
    fn a_token_is_a_time() {
        assert_eq!(time("@GMT-1601.01.01-00.00.00"), Some(0));
        assert_eq!(time("@GMT-1970.01.01-00.00.00"), Some(116_444_736_000_000_000));
        assert_eq!(time("@GMT-2000.02.29-12.34.56"), Some((951_827_696 + 11_644_473_600) * TICKS_PER_SECOND));
        assert_eq!(time("@GMT-2024.12.31-23.59.59"), Some((1_735_689_599 + 11_644_473_600) * TICKS_PER_SECOND));
        assert_eq!(time("@GMT-9999.12.31-23.59.59"), Some((253_402_300_799 + 11_644_473_600) * TICKS_PER_SECOND));
    }

    #[test]
    fn other_names_are_no_tokens() {
        for name in [
            "",
            "@GMT-",
            "@gmt-2024.01.01-00.00.00",
            "@GMT-2024.01.01-00.00.0",
            "@GMT-2024.01.01-00.00.000",
            "@GMT-2024-01-01-00.00.00",
            "@GMT-1600.12.31-23.59.59",
            "@GMT-2023.02.29-00.00.00",
            "@GMT-1900.02.29-00.00.00",
            "@GMT-2024.00.01-00.00.00",
            "@GMT-2024.13.01-00.00.00",
            "@GMT-2024.04.31-00.00.00",
            "@GMT-2024.01.00-00.00.00",
            "@GMT-2024.01.01-24.00.00",
            "@GMT-2024.01.01-00.60.00",
            "@GMT-2024.01.01-00.00.60",
            "@GMT-２024.01.01-00.00.00",
        ] {
            assert_eq!(time(name), None, "{name}");
        }
    }

    #[test]
    fn the_time_is_taken_out_of_a_path() {
        let parsed = |path: &str| {
            let previous = Previous::parse(&units(path))?;
            Some((String::from_utf16(&previous.folder).unwrap(), String::from_utf16(&previous.path).unwrap()))
        };
        let some = |folder: &str, path: &str| Some((folder.to_owned(), path.to_owned()));
        const T: &str = "@GMT-2024.01.01-00.00.00";
        assert_eq!(parsed(T), some("", ""));
        assert_eq!(parsed(&format!(".snapshots\\{T}")), some("", ""));
        assert_eq!(parsed(&format!("{T}\\a\\b")), some("", "a\\b"));
        assert_eq!(parsed(&format!("a\\{T}\\b")), some("a", "a\\b"));
        assert_eq!(parsed(&format!("a\\.snapshots\\{T}\\b")), some("a", "a\\b"));
        assert_eq!(parsed(&format!("a\\.snapshots\\{T}")), some("a", "a"));
        assert_eq!(parsed(&format!(".snapshots\\a\\{T}")), some(".snapshots\\a", ".snapshots\\a"));
        assert_eq!(parsed(&format!("a\\{T}\\{T}")), some("a", &format!("a\\{T}")), "only the first one counts");
        for path in ["", "a\\b", "a\\.snapshots", "a@b\\c", "a\\@GMT-2024\\b", &format!("a\\x{T}")] {
            assert_eq!(parsed(path), None, "{path}");
        }
    }

    #[test]
    fn previous_versions_are_sorted_and_other_names_left_out() {
        let (old, new) = ("@GMT-2023.05.06-07.08.09", "@GMT-2024.01.01-00.00.00");
        let parsed = Snapshots::of(&array(4, 4, &[old, "..", new, "a\\b", old])).unwrap();
        assert_eq!(parsed, Snapshots { tokens: vec![units(new), units(old)], is_cut: false });
        assert_eq!(Snapshots::of(&array(0, 0, &[])), Ok(Snapshots { tokens: Vec::new(), is_cut: false }));
        // MS-SMB2 2.2.32.2: the array is empty if not all of it has space. Samba sends no array at all then.
        assert!(Snapshots::of(&array(7, 0, &[])).unwrap().is_cut);
        assert!(Snapshots::of(&array(7, 0, &[])[..12]).unwrap().is_cut);
    }

    #[test]
    fn claims_beyond_the_bytes_and_too_many_tokens_do_no_harm() {
        let token = "@GMT-2024.01.01-00.00.00";
        let parsed = Snapshots::of(&array(u32::MAX, u32::MAX, &[token])).unwrap();
        assert_eq!(parsed.tokens, [units(token)]);
        let whole = array(1, 1, &[token]);
        for length in 0..whole.len() {
            let cut = Snapshots::of(&whole[..length]);
            assert_eq!(cut.is_err(), length < FIXED, "{length}");
            assert!(cut.is_err() || cut.unwrap().tokens.len() <= 1);
        }
        let many = vec![token; MOST + 1];
        assert!(Snapshots::of(&array(1, 1, &many[..MOST])).is_ok());
        assert!(Snapshots::of(&array(1, 1, &many)).is_err());
    }

    proptest! {
        #[test]
        fn any_bytes_are_parsed_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            if let Ok(found) = Snapshots::of(&bytes) {
                prop_assert!(found.tokens.iter().all(|token| Snapshot::parse(token).is_some()));
            }
        }

        #[test]
        fn any_path_is_parsed(path in prop::collection::vec(any::<u16>(), 0..100)) {
            let _ = Previous::parse(&path);
        }
    }
}
