//! Symbolic links of Minshall and French: regular files of exactly [`SIZE`] bytes, as macOS and Linux's client make them
//! on servers without symbolic links. The lines `XSym`, the length of the target in four digits, its MD5 in hexadecimal,
//! and the target, padded with a line break and spaces.

use bytes::Bytes;
use md5::{Digest, Md5};

/// The size of such a file, in bytes.
pub(super) const SIZE: usize = 1067;
/// The longest target, in bytes.
const LONGEST: usize = 1024;
/// Where the target begins: behind `XSym`, four digits and 32 hexadecimal digits, each with a line break.
const TARGET: usize = SIZE - LONGEST;

/// The file with this target; `None` if the target is too long.
pub(super) fn file(target: &[u8]) -> Option<Vec<u8>> {
    if target.len() > LONGEST {
        return None;
    }
    let mut file = format!("XSym\n{:04}\n{}\n", target.len(), sum(target)).into_bytes();
    file.extend_from_slice(target);
    if file.len() < SIZE {
        file.push(b'\n');
    }
    file.resize(SIZE, b' ');
    Some(file)
}

/// The target in a file; `None` if the file is no link. A cut file, and one whose sum is wrong, is none.
pub(super) fn target(file: &Bytes) -> Option<Bytes> {
    if file.len() != SIZE {
        return None;
    }
    let rest = file.strip_prefix(b"XSym\n")?;
    let (length, rest) = rest.split_at_checked(4)?;
    if !length.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let length: usize = std::str::from_utf8(length).ok()?.parse().ok()?;
    let found = rest.strip_prefix(b"\n")?.get(..33)?;
    let target = Some(length).filter(|length| (1..=LONGEST).contains(length)).map(|length| TARGET..TARGET + length)?;
    let target = file.slice(target);
    let is_right = found[..32].eq_ignore_ascii_case(sum(&target).as_bytes()) && found[32] == b'\n';
    (is_right && !target.contains(&0)).then_some(target)
}

fn sum(target: &[u8]) -> String {
    Md5::digest(target).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_link_has_the_bytes_that_other_clients_write() {
        let made = file(b"target").unwrap();
        assert_eq!(made.len(), 1067);
        assert!(made.starts_with(b"XSym\n0006\n42aefbae01d2dfd981f7da7d823d689e\ntarget\n  "), "{made:?}");
        assert_eq!(target(&made.into()).unwrap(), &b"target"[..]);
    }

    #[test]
    fn the_longest_target_fills_the_file() {
        let longest = vec![b'x'; 1024];
        assert_eq!(target(&file(&longest).unwrap().into()).unwrap(), longest);
        assert_eq!(file(&vec![b'x'; 1025]), None);
    }

    #[test]
    fn a_damaged_link_is_a_plain_file() {
        let whole = file(b"some/where").unwrap();
        let damaged = |change: &dyn Fn(&mut Vec<u8>)| {
            let mut file = whole.clone();
            change(&mut file);
            target(&file.into())
        };
        assert!(damaged(&|_| ()).is_some());
        assert_eq!(damaged(&|file| file.truncate(1066)), None, "cut");
        assert_eq!(damaged(&|file| file.push(b' ')), None, "longer");
        assert_eq!(damaged(&|file| file[0] = b'x'), None, "another beginning");
        assert_eq!(damaged(&|file| file[12] ^= 1), None, "another sum");
        assert_eq!(damaged(&|file| file[45] = b'X'), None, "another target");
        assert_eq!(damaged(&|file| file[8] = b'1'), None, "another length");
        assert_eq!(damaged(&|file| file[5..9].copy_from_slice(b"1025")), None, "a length that is too long");
        assert_eq!(damaged(&|file| file[5..9].copy_from_slice(b"+010")), None, "no digits");
        let empty = format!("XSym\n0000\n{}\n", sum(b""));
        let empty = Bytes::from([empty.as_bytes(), &[b' '; 1024]].concat());
        assert_eq!((empty.len(), target(&empty)), (SIZE, None), "an empty target");
        assert_eq!(target(&file(b"a\0b").unwrap().into()), None, "NUL");
        assert_eq!(target(&Bytes::from(vec![b' '; SIZE])), None);
    }

    proptest! {
        #[test]
        fn any_target_is_found_again(wanted in prop::collection::vec(1u8..=255, 1..=1024)) {
            prop_assert_eq!(target(&file(&wanted).unwrap().into()).unwrap(), wanted);
        }

        #[test]
        fn any_bytes_are_a_link_or_none(bytes in prop::collection::vec(any::<u8>(), 0..1100), length in 0u32..=9999) {
            let _ = target(&bytes.clone().into());
            let mut like = format!("XSym\n{length:04}\n").into_bytes();
            like.extend(bytes);
            like.resize(SIZE, b' ');
            let _ = target(&like.into());
        }
    }
}
