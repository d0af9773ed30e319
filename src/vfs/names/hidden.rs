//! Names of files that are removed while they are open: `.cifs-fuse-`, the version of this format, the id of the mount
//! that owns the file, and a number, both in hexadecimal digits: `.cifs-fuse-1-0123456789abcdef-00000001`.
//!
//! The owner removes the file when its last handle is closed. Other clients do not show the file while it is open. A
//! hidden file that no client has open was left by a client that crashed. Earlier versions used sixteen digits and no
//! owner.

use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU32, Ordering};

const PREFIX: &str = ".cifs-fuse-";
const VERSION: &str = "1-";
const DIGITS: usize = 16;
const NUMBER_DIGITS: usize = 8;

/// The id of a mount, as the owner of hidden files, and the number of its next hidden name.
#[derive(Debug)]
pub(crate) struct Owner {
    id: u64,
    next: AtomicU32,
}

impl Owner {
    /// A random id, so that each mount has its own.
    pub(crate) fn random() -> Owner {
        Owner { id: RandomState::new().hash_one(std::process::id()), next: AtomicU32::new(1) }
    }

    /// A hidden name that this mount has not used before.
    pub(crate) fn next_name(&self) -> Vec<u16> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        self.prefix().chain(format!("{number:0NUMBER_DIGITS$x}").encode_utf16()).collect()
    }

    /// Whether a hidden name is one of this mount.
    pub(crate) fn owns(&self, name: &[u16]) -> bool {
        let prefix: Vec<u16> = self.prefix().collect();
        name.starts_with(&prefix)
    }

    fn prefix(&self) -> impl Iterator<Item = u16> {
        format!("{PREFIX}{VERSION}{:0DIGITS$x}-", self.id).encode_utf16().collect::<Vec<_>>().into_iter()
    }
}

/// Whether a name is a hidden one, of this or any other mount.
pub(crate) fn is_hidden(name: &[u16]) -> bool {
    let Some(rest) = strip(name, PREFIX) else { return false };
    match strip(rest, VERSION) {
        Some(rest) if rest.len() == DIGITS + 1 + NUMBER_DIGITS => {
            let (owner, number) = rest.split_at(DIGITS);
            number[0] == u16::from(b'-') && are_digits(owner) && are_digits(&number[1..])
        }
        _ => rest.len() == DIGITS && are_digits(rest),
    }
}

fn strip<'a>(name: &'a [u16], prefix: &str) -> Option<&'a [u16]> {
    let prefix: Vec<u16> = prefix.encode_utf16().collect();
    name.strip_prefix(&prefix[..])
}

fn are_digits(units: &[u16]) -> bool {
    units.iter().all(|unit| u8::try_from(*unit).is_ok_and(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hidden_names_and_their_owner_are_recognised() {
        let (mine, other) = (Owner { id: 7, next: AtomicU32::new(1) }, Owner { id: 8, next: AtomicU32::new(1) });
        let (first, second) = (mine.next_name(), mine.next_name());
        assert_ne!(first, second);
        assert!(is_hidden(&first) && mine.owns(&first) && !other.owns(&first));
        assert_eq!(String::from_utf16(&second).unwrap(), ".cifs-fuse-1-0000000000000007-00000002");
    }

    #[test]
    fn names_of_earlier_versions_are_hidden_and_owned_by_none() {
        let old: Vec<u16> = ".cifs-fuse-0123456789abcdef".encode_utf16().collect();
        assert!(is_hidden(&old) && !Owner::random().owns(&old));
    }

    #[test]
    fn other_names_are_not_hidden() {
        let others = [
            ".cifs-fuse-",
            ".cifs-fuse-0123456789abcdeg",
            ".cifs-fuse-0123456789abcdef0",
            ".cifs-fuse-1-0000000000000007-0000000",
            ".cifs-fuse-1-0000000000000007_00000001",
            ".cifs-fuse-2-0000000000000007-00000001",
            "cifs",
        ];
        for name in others {
            assert!(!is_hidden(&name.encode_utf16().collect::<Vec<_>>()), "{name}");
        }
    }
}
