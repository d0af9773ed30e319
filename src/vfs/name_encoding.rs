//! Names: POSIX bytes on one side, UTF-16 of SMB on the other.
//!
//! SMB reserves characters that POSIX allows (MS-FSCC 2.1.5.2). They are sent as characters of Unicode's private
//! range ([`reserved`]): control characters, some others, and a trailing space or dot.
//!
//! A character that is sent for another one stands for that one only: [`encode`] refuses it, and [`decode`] shows it where
//! the server's name has the reserved character itself, as Samba's names may. So no two names of a directory are shown
//! alike, and a program reaches the file that it sees or none. A mapped space or dot is one only at the end of a name.
//!
//! Invariants: [`decode`] returns byte for byte what [`encode`] accepted. [`encode`] returns unit for unit what [`decode`]
//! was given, or refuses. [`decode`] returns different names for different units. An unpaired surrogate, which NTFS
//! allows, becomes three bytes, as in WTF-8. A name that could lead a program out of its directory (`..`, or one with a
//! separator) is never returned.

use super::errno::{Result, VfsError};
use crate::share::{RemotePath, reserved};
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

/// The longest name that SMB file systems accept, in UTF-16 code units.
pub const MAX_UNITS: usize = 255;

/// The name to send for a name from a program, in UTF-16 code units.
///
/// # Errors
/// `EILSEQ` if it is neither UTF-8 nor WTF-8, or has a character that is sent for a reserved one; `ENAMETOOLONG` if it
/// has more than [`MAX_UNITS`] units, `EINVAL` if it is not the name of a directory entry: empty, `.`, `..`, or with a
/// NUL or `/`.
pub fn encode(name: &OsStr) -> Result<Vec<u16>> {
    let bytes = name.as_bytes();
    if bytes.is_empty() || bytes == b"." || bytes == b".." || bytes.iter().any(|byte| matches!(byte, 0 | b'/')) {
        return Err(VfsError::rule(libc::EINVAL, "the name is not that of a directory entry"));
    }
    let mut units = wtf8_units(bytes).ok_or_else(|| VfsError::rule(libc::EILSEQ, "the name is not UTF-8"))?;
    let last = units.len().saturating_sub(1);
    for (at, unit) in units.iter_mut().enumerate() {
        let swapped = reserved::swapped(*unit, at == last);
        if swapped < *unit {
            return Err(VfsError::rule(libc::EILSEQ, "the name has a character that stands for a reserved one"));
        }
        *unit = swapped;
    }
    if units.len() > MAX_UNITS {
        return Err(VfsError::rule(libc::ENAMETOOLONG, "the name is longer than 255 UTF-16 units"));
    }
    Ok(units)
}

/// The path to send for a path from a user: names from the root of the share down, with `/` between them.
///
/// # Errors
/// Those of [`encode`], for the first name that fails.
pub fn encode_path(path: &OsStr) -> Result<RemotePath> {
    let names = path.as_bytes().split(|byte| *byte == b'/').filter(|name| !name.is_empty());
    names.map(OsStr::from_bytes).try_fold(RemotePath::root(), |path, name| Ok(path.join(&encode(name)?)))
}

/// The name to show for a name from the server, in UTF-16 code units; `None` for a name that no honest server sends.
pub fn decode(units: &[u16]) -> Option<OsString> {
    const DOTS: [u16; 2] = [b'.' as u16; 2];
    if units.contains(&u16::from(b'\\')) || units == &DOTS[..1] || units == DOTS {
        return None;
    }
    let last = units.len().saturating_sub(1);
    let plain = units.iter().enumerate().map(|(at, unit)| reserved::swapped(*unit, at == last));
    let mut bytes = Vec::with_capacity(units.len() + units.len() / 2);
    for decoded in char::decode_utf16(plain) {
        match decoded {
            Ok(character) => bytes.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes()),
            Err(unpaired) => {
                let unit = unpaired.unpaired_surrogate();
                bytes.extend_from_slice(&[
                    0xE0 | (unit >> 12) as u8,
                    0x80 | (unit >> 6 & 0x3F) as u8,
                    0x80 | (unit & 0x3F) as u8,
                ]);
            }
        }
    }
    let hostile = bytes.is_empty() || bytes == b"." || bytes == b".." || bytes.iter().any(|b| matches!(b, 0 | b'/'));
    (!hostile).then(|| OsString::from_vec(bytes))
}

/// The UTF-16 of WTF-8, which is UTF-8 that may hold single surrogates; `None` if it is neither.
fn wtf8_units(mut bytes: &[u8]) -> Option<Vec<u16>> {
    let mut units = Vec::with_capacity(bytes.len());
    loop {
        let (valid, rest) = match std::str::from_utf8(bytes) {
            Ok(text) => (text, None),
            Err(error) => {
                let (valid, rest) = bytes.split_at(error.valid_up_to());
                (std::str::from_utf8(valid).ok()?, Some(rest))
            }
        };
        units.extend(valid.encode_utf16());
        let Some(rest) = rest else { return Some(units) };
        let [0xED, second @ 0xA0..=0xBF, third @ 0x80..=0xBF, tail @ ..] = rest else { return None };
        let unit = 0xD000 | u16::from(second & 0x3F) << 6 | u16::from(third & 0x3F);
        // A surrogate pair spelled as two single surrogates would come back as the one character that it encodes.
        let follows_high = valid.is_empty() && units.last().is_some_and(|last| (0xD800..0xDC00).contains(last));
        if follows_high && (0xDC00..0xE000).contains(&unit) {
            return None;
        }
        units.push(unit);
        bytes = tail;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn units(text: &str) -> Vec<u16> {
        text.encode_utf16().collect()
    }

    fn encoded(bytes: &[u8]) -> Vec<u16> {
        encode(OsStr::from_bytes(bytes)).unwrap()
    }

    fn errno(bytes: &[u8]) -> i32 {
        encode(OsStr::from_bytes(bytes)).unwrap_err().errno
    }

    #[test]
    fn ordinary_names_are_sent_unchanged() {
        for name in ["a", "Grüße 😀.txt", "a.b c", ".hidden", "..."] {
            let sent = encoded(name.as_bytes());
            assert_eq!(decode(&sent).unwrap(), name);
        }
        assert_eq!(encoded("Grüße".as_bytes()), units("Grüße"));
    }

    #[test]
    fn reserved_characters_are_mapped_as_services_for_mac_maps_them() {
        assert_eq!(encoded(b"\"*:<>?\\|"), [0xF020, 0xF021, 0xF022, 0xF023, 0xF024, 0xF025, 0xF026, 0xF027]);
        assert_eq!(encoded(b"\x01\x1f"), [0xF001, 0xF01F]);
        assert_eq!(encoded(b"a "), [0x61, 0xF028]);
        assert_eq!(encoded(b"a.."), [0x61, 0x2E, 0xF029]);
        assert_eq!(encoded(b" a.b"), units(" a.b"));
    }

    #[test]
    fn each_name_of_a_path_is_encoded() {
        let path = |text: &str| encode_path(OsStr::new(text)).map(|path| path.as_utf16().to_vec());
        assert_eq!(path("a:b/c./d\\e"), Ok(units("a\u{F022}b\\c\u{F029}\\d\u{F026}e")));
        assert_eq!(path("/films//old/"), Ok(units("films\\old")));
        assert_eq!(path(""), Ok(Vec::new()));
        assert_eq!(path("a/../b").unwrap_err().errno, libc::EINVAL);
        assert_eq!(path(&format!("a/{}", "ü".repeat(256))).unwrap_err().errno, libc::ENAMETOOLONG);
    }

    #[test]
    fn a_name_that_is_no_entry_or_no_text_is_refused() {
        assert_eq!(errno(b"\xFF"), libc::EILSEQ);
        assert_eq!(errno(b"a\xE2\x82"), libc::EILSEQ);
        // Two surrogates that make a pair have another spelling: four bytes of UTF-8.
        assert_eq!(errno(b"\xED\xA0\xBD\xED\xB8\x80"), libc::EILSEQ);
        assert_eq!(errno(b".."), libc::EINVAL);
        assert_eq!(errno(b"a/b"), libc::EINVAL);
    }

    #[test]
    fn the_length_of_a_name_is_counted_in_utf16_units() {
        assert_eq!(encoded("ü".repeat(255).as_bytes()).len(), 255);
        assert_eq!(errno("ü".repeat(256).as_bytes()), libc::ENAMETOOLONG);
        assert_eq!(errno("😀".repeat(128).as_bytes()), libc::ENAMETOOLONG);
    }

    #[test]
    fn an_unpaired_surrogate_is_decoded_and_encoded_unchanged() {
        let name = [0x61, 0xD83D, 0x62, 0xDE00];
        let shown = decode(&name).unwrap();
        assert_eq!(encode(&shown).unwrap(), name);
    }

    #[test]
    fn hostile_names_from_the_server_are_not_shown() {
        for name in ["", ".", "..", "a/b", "a\\b", "a\0", "\u{F029}", ".\u{F029}"] {
            assert_eq!(decode(&units(name)), None, "{name:?}");
        }
        // A mapped backslash is an ordinary character.
        assert_eq!(decode(&[0xF026]).unwrap(), "\\");
    }

    #[test]
    fn a_character_that_stands_for_a_reserved_one_is_refused() {
        for name in ["a\u{F022}b", "\u{F001}", "a\u{F028}", "a\u{F029}"] {
            assert_eq!(errno(name.as_bytes()), libc::EILSEQ, "{name:?}");
        }
        // Not at the end these two stand for themselves, as do all others of the private range.
        for name in ["a\u{F028}b", "\u{F029}b", "\u{F02A}", "\u{F03A}", "\u{F000}", "\u{E000}"] {
            assert_eq!(encoded(name.as_bytes()), units(name), "{name:?}");
        }
    }

    #[test]
    fn a_reserved_character_in_a_name_of_the_server_is_not_shown_as_a_mapped_one() {
        assert_eq!(decode(&units("a\u{F022}b")).unwrap(), "a:b");
        assert_eq!(decode(&units("a:b")).unwrap(), "a\u{F022}b");
        assert_eq!(decode(&units("a ")).unwrap(), "a\u{F028}");
        assert_eq!(decode(&units("a.\u{F029}")).unwrap(), "a..");
        assert_eq!(decode(&units("a\u{F029}.")).unwrap(), "a\u{F029}\u{F029}");
    }

    /// Names of few characters, among them all that are treated in a special way.
    fn tricky() -> impl Strategy<Value = Vec<u16>> {
        let special: Vec<u16> =
            "a.: *\u{1}\u{1f}|\"<>?\u{F001}\u{F01F}\u{F020}\u{F022}\u{F027}\u{F028}\u{F029}\u{F02A}"
                .encode_utf16()
                .collect();
        proptest::collection::vec(proptest::sample::select(special), 1..4)
    }

    proptest! {
        #[test]
        fn any_name_from_a_program_is_decoded_unchanged(bytes in proptest::collection::vec(1u8..=255, 1..300)) {
            if let Ok(sent) = encode(OsStr::from_bytes(&bytes)) {
                prop_assert_eq!(decode(&sent).unwrap().into_vec(), bytes);
            }
        }

        #[test]
        fn any_text_from_a_program_is_decoded_unchanged(text in "[ -.0-~\u{1}-\u{1f}äß€😀]{1,40}") {
            prop_assume!(text != "." && text != "..");
            let sent = encode(OsStr::new(&text)).unwrap();
            prop_assert_eq!(decode(&sent).unwrap(), OsString::from(text));
        }

        #[test]
        fn two_names_from_a_program_are_never_one_at_the_server(one in tricky(), other in tricky()) {
            let (one, other) = (String::from_utf16_lossy(&one), String::from_utf16_lossy(&other));
            if let (Ok(first), Ok(second)) = (encode(OsStr::new(&one)), encode(OsStr::new(&other))) {
                prop_assert_eq!(first == second, one == other);
            }
        }

        #[test]
        fn two_names_from_the_server_are_never_shown_alike(one in tricky(), other in tricky()) {
            if let (Some(first), Some(second)) = (decode(&one), decode(&other)) {
                prop_assert_eq!(first == second, one == other);
            }
        }

        #[test]
        fn a_shown_name_leads_to_its_own_file_or_to_none(name in prop_oneof![
            tricky(),
            proptest::collection::vec(any::<u16>(), 0..20)
        ]) {
            if let Some(Ok(sent)) = decode(&name).map(|shown| encode(&shown)) {
                prop_assert_eq!(sent, name);
            }
        }

        #[test]
        fn no_name_from_the_server_escapes_its_directory(name in proptest::collection::vec(any::<u16>(), 0..20)) {
            if let Some(shown) = decode(&name) {
                let bytes = shown.as_bytes();
                prop_assert!(!bytes.is_empty() && !bytes.contains(&b'/') && !bytes.contains(&0));
                prop_assert!(bytes != b"." && bytes != b"..");
            }
        }
    }
}
