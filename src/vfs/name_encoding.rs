//! Names: POSIX bytes on one side, UTF-16 of SMB on the other.
//!
//! SMB reserves characters that POSIX allows (MS-FSCC 2.1.5.2). They are sent as characters of Unicode's private
//! range, with the mapping of Services for Mac, which Samba (`vfs_fruit`), macOS and Linux's client use as well:
//! control characters as U+F001…U+F01F, the others as in the table `RESERVED`, and a trailing space or dot too.
//!
//! Invariants: [`decode`] returns byte for byte what [`encode`] accepted, unless the name has a character of
//! U+F001…U+F029 itself. [`encode`] returns unit for unit what [`decode`] accepted, unless the server's name has an
//! unmapped reserved character, an unmapped space or dot at its end, a mapped one before its end, or too many units. An
//! unpaired surrogate, which NTFS allows, becomes three bytes, as in WTF-8. A name that could lead a program out of its
//! directory (`..`, or one with a separator) is never returned.

use super::errno::{Result, VfsError};
use crate::share::RemotePath;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

/// The longest name that SMB file systems accept, in UTF-16 code units.
pub const MAX_UNITS: usize = 255;

/// Reserved characters and the characters sent for them. `/` cannot occur in a name.
const RESERVED: [(u16, u16); 8] = [
    (b'"' as u16, 0xF020),
    (b'*' as u16, 0xF021),
    (b':' as u16, 0xF022),
    (b'<' as u16, 0xF023),
    (b'>' as u16, 0xF024),
    (b'?' as u16, 0xF025),
    (b'\\' as u16, 0xF026),
    (b'|' as u16, 0xF027),
];
const SPACE: (u16, u16) = (b' ' as u16, 0xF028);
const DOT: (u16, u16) = (b'.' as u16, 0xF029);
/// Control characters are sent with this offset.
const CONTROL_BASE: u16 = 0xF000;

/// The name to send for a name from a program, in UTF-16 code units.
///
/// # Errors
/// `EILSEQ` if it is neither UTF-8 nor WTF-8, `ENAMETOOLONG` if it has more than [`MAX_UNITS`] units, `EINVAL` if it
/// is not the name of a directory entry: empty, `.`, `..`, or with a NUL or `/`.
pub fn encode(name: &OsStr) -> Result<Vec<u16>> {
    let bytes = name.as_bytes();
    if bytes.is_empty() || bytes == b"." || bytes == b".." || bytes.iter().any(|byte| matches!(byte, 0 | b'/')) {
        return Err(VfsError::rule(libc::EINVAL, "the name is not that of a directory entry"));
    }
    let mut units = wtf8_units(bytes).ok_or_else(|| VfsError::rule(libc::EILSEQ, "the name is not UTF-8"))?;
    for unit in &mut units {
        *unit = match *unit {
            control @ 1..=31 => CONTROL_BASE + control,
            other => RESERVED.iter().find(|(plain, _)| *plain == other).map_or(other, |(_, mapped)| *mapped),
        };
    }
    if let Some(last) = units.last_mut() {
        for (plain, mapped) in [SPACE, DOT] {
            if *last == plain {
                *last = mapped;
            }
        }
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
    if units.contains(&u16::from(b'\\')) {
        return None;
    }
    let plain = units.iter().map(|unit| match *unit {
        control @ 0xF001..=0xF01F => control - CONTROL_BASE,
        other => RESERVED
            .iter()
            .chain([&SPACE, &DOT])
            .find(|(_, mapped)| *mapped == other)
            .map_or(other, |(plain, _)| *plain),
    });
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

    proptest! {
        #[test]
        fn any_name_from_a_program_is_decoded_unchanged(bytes in proptest::collection::vec(1u8..=255, 1..300)) {
            if let Ok(sent) = encode(OsStr::from_bytes(&bytes)) {
                // A character of the private range itself decodes to the character that is mapped to it.
                let private = String::from_utf8_lossy(&bytes).chars().any(|c| ('\u{F001}'..='\u{F029}').contains(&c));
                if !private {
                    prop_assert_eq!(decode(&sent).unwrap().into_vec(), bytes);
                }
            }
        }

        #[test]
        fn any_text_from_a_program_is_decoded_unchanged(text in "[ -.0-~\u{1}-\u{1f}äß€😀]{1,40}") {
            prop_assume!(text != "." && text != "..");
            let sent = encode(OsStr::new(&text)).unwrap();
            prop_assert_eq!(decode(&sent).unwrap(), OsString::from(text));
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
