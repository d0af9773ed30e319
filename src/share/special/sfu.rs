//! Special files as Services for Unix stored them, and as Linux's client stores them with its option `sfu`: regular
//! files with the system attribute, whose first eight bytes say what they are.
//!
//! Linux's client writes 24 bytes: the name of the kind, and the numbers of a device or zeros. Windows' own services
//! wrote devices in 16 bytes as well. An empty system file (a fifo to them) and one of a single zero (a socket) are
//! regular files here: a program that opens a fifo waits, and system files that are merely empty exist.

use super::super::types::{Device, NewSpecial, Special};
use super::text;
use crate::wire::codec::Fields;
use bytes::Bytes;

const KIND: usize = 8;
/// The size of a file that is written, in bytes.
const SIZE: usize = 24;
/// The longest target of a link that is read, in bytes of UTF-16.
const LONGEST: usize = 2 * text::LONGEST;

/// Whether a system file of this size can be a special file. A link is one only if `links` are recognised.
pub(super) fn may_be(size: u64, links: bool) -> bool {
    let most = if links { KIND + LONGEST } else { SIZE };
    (KIND as u64..=most as u64).contains(&size)
}

/// The content of a new special file. There are no links in this form: those of [`mf`](super::mf) are known to more
/// clients.
pub(super) fn file(new: NewSpecial<'_>) -> Option<Vec<u8>> {
    let (kind, device): (&[u8; KIND], Device) = match new {
        NewSpecial::Symlink(_) => return None,
        NewSpecial::Fifo => (b"LnxFIFO\0", Device::default()),
        NewSpecial::Socket => (b"LnxSOCK\0", Device::default()),
        NewSpecial::CharDevice(device) => (b"IntxCHR\0", device),
        NewSpecial::BlockDevice(device) => (b"IntxBLK\0", device),
    };
    let (major, minor) = (u64::from(device.major).to_le_bytes(), u64::from(device.minor).to_le_bytes());
    Some([&kind[..], &major, &minor].concat())
}

/// What a system file with this content is, with the target of a link; `None` if it is a regular file.
pub(super) fn parse(content: &Bytes) -> Option<(Special, Option<Bytes>)> {
    let (kind, rest) = content.split_at_checked(KIND)?;
    Some(match kind {
        b"IntxCHR\0" => (Special::CharDevice(device(rest)?), None),
        b"IntxBLK\0" => (Special::BlockDevice(device(rest)?), None),
        b"LnxFIFO\0" => (Special::Fifo, None),
        b"LnxSOCK\0" => (Special::Socket, None),
        b"IntxLNK\x01" => {
            let target = text::plain(&Fields(rest).utf16(0, rest.len()).ok()?)?;
            (Special::Symlink { length: target.len() as u32 }, Some(target))
        }
        _ => return None,
    })
}

/// Major and minor number, with 64 or 32 bits each; a file without them is no device.
fn device(numbers: &[u8]) -> Option<Device> {
    let number = |bytes: &[u8]| {
        let mut number = [0; 8];
        number[..bytes.len()].copy_from_slice(bytes);
        u32::try_from(u64::from_le_bytes(number)).ok()
    };
    let (major, minor) = match numbers.len() {
        8 | 16 => numbers.split_at(numbers.len() / 2),
        _ => return None,
    };
    Some(Device { major: number(major)?, minor: number(minor)? })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parsed(content: &[u8]) -> Option<(Special, Option<Bytes>)> {
        parse(&Bytes::copy_from_slice(content))
    }

    #[test]
    fn special_files_have_the_bytes_of_linux_client() {
        let device = Device { major: 5, minor: 300 };
        let numbers = [5, 0, 0, 0, 0, 0, 0, 0, 0x2C, 1, 0, 0, 0, 0, 0, 0];
        assert_eq!(file(NewSpecial::CharDevice(device)).unwrap(), [&b"IntxCHR\0"[..], &numbers].concat());
        assert_eq!(file(NewSpecial::BlockDevice(device)).unwrap(), [&b"IntxBLK\0"[..], &numbers].concat());
        assert_eq!(file(NewSpecial::Fifo).unwrap(), [&b"LnxFIFO\0"[..], &[0; 16]].concat());
        assert_eq!(file(NewSpecial::Socket).unwrap(), [&b"LnxSOCK\0"[..], &[0; 16]].concat());
        assert_eq!(file(NewSpecial::Symlink(b"x")), None);
        for new in [NewSpecial::CharDevice(device), NewSpecial::BlockDevice(device), NewSpecial::Fifo] {
            assert_eq!(parsed(&file(new).unwrap()), Some((new.special(), None)));
        }
    }

    #[test]
    fn what_other_clients_write_is_understood() {
        let short = [&b"IntxBLK\0"[..], &[8, 0, 0, 0, 1, 0, 0, 0]].concat();
        assert_eq!(parsed(&short), Some((Special::BlockDevice(Device { major: 8, minor: 1 }), None)));
        assert_eq!(parsed(b"LnxSOCK\0"), Some((Special::Socket, None)));
        let link = Some((Special::Symlink { length: 3 }, Some(Bytes::from_static(b"a/b"))));
        assert_eq!(parsed(b"IntxLNK\x01a\0/\0b\0"), link);
    }

    #[test]
    fn other_system_files_are_regular_files() {
        let huge = [&b"IntxCHR\0"[..], &[0xFF; 16]].concat();
        for content in [&b""[..], b"\0", b"IntxCHR", b"IntxCHR\0", b"IntxLNK\x01", b"IntxLNK\x01a", b"[.Shell]", &huge]
        {
            assert_eq!(parsed(content), None, "{content:?}");
        }
        assert!(!may_be(0, true) && !may_be(1, true) && !may_be(9000, true) && !may_be(25, false));
        assert!(may_be(8, false) && may_be(24, false) && may_be(26, true));
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_special_file_or_none(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            let _ = parsed(&bytes);
            for kind in [b"IntxCHR\0", b"IntxLNK\x01"] {
                let _ = parsed(&[&kind[..], &bytes].concat());
            }
        }
    }
}
