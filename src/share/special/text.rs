//! Targets of symbolic links: bytes of a program on one side, UTF-16 with backslashes of Windows on the other.
//!
//! A relative target is a path on the share: its names are mapped as all names are ([`reserved`]). An absolute one of
//! Windows leads to a drive or another server and means nothing here. It is shown as Windows shows it (`C:\data`,
//! `\\server\share`): with backslashes, so that it is one name, which leads nowhere.

use super::super::reserved;
use bytes::Bytes;

/// The longest target, in bytes: PATH_MAX without the NUL.
pub(super) const LONGEST: usize = 4095;

const SLASH: u16 = b'/' as u16;
const BACKSLASH: u16 = b'\\' as u16;

/// A relative target for a symbolic link of Windows; `None` for a target that such a link cannot hold: an absolute one,
/// or one that is no UTF-8.
pub(super) fn for_windows(target: &[u8]) -> Option<Vec<u16>> {
    let text = std::str::from_utf8(target).ok().filter(|text| !text.starts_with('/'))?;
    let names = text.split('/').map(|name| {
        let mut name: Vec<u16> = name.encode_utf16().collect();
        if !matches!(&name[..], [DOT] | [DOT, DOT]) {
            reserved::map(&mut name);
        }
        name
    });
    Some(names.collect::<Vec<_>>().join(&BACKSLASH))
}

const DOT: u16 = b'.' as u16;

/// Whether a target can only be a directory. Windows has links to files and links to directories.
pub(super) fn names_a_directory(target: &[u8]) -> bool {
    let last = target.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
    matches!(last, b"" | b"." | b"..")
}

/// The target of a symbolic link or junction of Windows, as a program sees it; `None` if no program could use it.
pub(super) fn of_windows(target: &[u16]) -> Option<Bytes> {
    const DEVICES: &str = "\\??\\";
    const UNC: &str = "UNC\\";
    let starts = |target: &[u16], with: &str| {
        target.len() >= with.len() && with.encode_utf16().eq(target[..with.len()].iter().copied())
    };
    if starts(target, DEVICES) {
        let rest = &target[DEVICES.len()..];
        let shown = match starts(rest, UNC) {
            true => [&[BACKSLASH; 2], &rest[UNC.len()..]].concat(),
            false => rest.to_vec(),
        };
        return plain(&shown);
    }
    let has_drive = target.get(1) == Some(&u16::from(b':'));
    if has_drive || target.starts_with(&[BACKSLASH, BACKSLASH]) {
        return plain(target);
    }
    let separated = target.iter().map(|unit| if *unit == BACKSLASH { SLASH } else { reserved::plain(*unit) });
    plain(&separated.collect::<Vec<_>>())
}

/// A target without conversion; `None` if no program could use it: empty, too long, with NUL, or no text.
pub(super) fn plain(target: &[u16]) -> Option<Bytes> {
    usable(String::from_utf16(target).ok()?.into_bytes().into())
}

/// The target, unless no program could use it: empty, too long, or with NUL.
pub(super) fn usable(target: Bytes) -> Option<Bytes> {
    Some(target).filter(|target| (1..=LONGEST).contains(&target.len()) && !target.contains(&0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn utf16(text: &str) -> Vec<u16> {
        text.encode_utf16().collect()
    }

    #[test]
    fn a_relative_target_is_stored_with_mapped_names_and_comes_back() {
        for (target, stored) in [
            ("a/b", "a\\b"),
            ("../a/./b", "..\\a\\.\\b"),
            ("..", ".."),
            ("a:b/c.", "a\u{F022}b\\c\u{F029}"),
            ("back\\slash/é", "back\u{F026}slash\\é"),
            ("dir/", "dir\\"),
        ] {
            assert_eq!(for_windows(target.as_bytes()), Some(utf16(stored)), "{target}");
            assert_eq!(of_windows(&utf16(stored)).as_deref(), Some(target.as_bytes()), "{stored}");
        }
    }

    #[test]
    fn an_absolute_target_and_one_that_is_no_text_need_another_form() {
        assert_eq!(for_windows(b"/etc/passwd"), None);
        assert_eq!(for_windows(b"\xFF"), None);
    }

    #[test]
    fn absolute_targets_of_windows_are_one_name() {
        let shown = |stored: &str| String::from_utf8(of_windows(&utf16(stored)).unwrap().to_vec()).unwrap();
        assert_eq!(shown("\\??\\C:\\data\\x"), "C:\\data\\x");
        assert_eq!(shown("\\??\\UNC\\server\\share\\x"), "\\\\server\\share\\x");
        assert_eq!(shown("\\\\server\\share"), "\\\\server\\share");
        assert_eq!(shown("D:\\data"), "D:\\data");
        assert_eq!(shown("\\??\\Volume{1-2}\\"), "Volume{1-2}\\");
        assert_eq!(shown("\\from\\the\\root"), "/from/the/root");
    }

    #[test]
    fn a_target_that_no_program_can_use_is_none() {
        assert_eq!(of_windows(&[]), None);
        assert_eq!(of_windows(&utf16("\\??\\")), None);
        assert_eq!(of_windows(&utf16("a\0b")), None);
        assert_eq!(of_windows(&[0xD800]), None);
        assert!(of_windows(&[0x61; LONGEST]).is_some());
        assert_eq!(of_windows(&[0x61; LONGEST + 1]), None);
    }

    #[test]
    fn only_an_end_that_no_file_can_have_names_a_directory() {
        for (target, is_directory) in
            [("a/", true), ("..", true), ("a/..", true), (".", true), ("a", false), ("a..", false)]
        {
            assert_eq!(names_a_directory(target.as_bytes()), is_directory, "{target}");
        }
    }
}
