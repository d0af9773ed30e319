//! Little-endian fields: parsed from untrusted bytes ([`Fields`], [`Linked`]) and appended to messages ([`Put`]).
//!
//! Every read is checked against the received bytes, and fails with [`Malformed`] instead of panicking. Nothing is
//! allocated from a length that the server claims. Invariant: the entries of a list share no byte ([`Linked`]), so the
//! parsed parts of a message together are never larger than the message.

use std::fmt;

/// Bytes from the server that break the protocol. The text names the defect and follows "the server sent".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed(pub &'static str);

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for Malformed {}

/// A part of a message that is longer than the protocol allows. The message is not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TooLong {
    /// The path of a file: at most 65,535 bytes of UTF-16, which are 32,767 units.
    Path,
    /// Another part, with its name as a noun phrase.
    Other(&'static str),
}

impl fmt::Display for TooLong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self {
            TooLong::Path => "the path",
            TooLong::Other(what) => what,
        };
        write!(f, "{what} is longer than the protocol allows")
    }
}

impl std::error::Error for TooLong {}

/// A length for a field of 16 bits.
///
/// # Errors
///
/// `otherwise` if the length has more than 16 bits.
pub fn length16(length: usize, otherwise: TooLong) -> Result<u16, TooLong> {
    u16::try_from(length).map_err(|_| otherwise)
}

/// A length for a field of 32 bits.
///
/// # Errors
///
/// `otherwise` if the length has more than 32 bits.
pub fn length32(length: usize, otherwise: TooLong) -> Result<u32, TooLong> {
    u32::try_from(length).map_err(|_| otherwise)
}

/// The longest name of a file, in UTF-16 units (MS-FSCC 2.1.5.2).
pub const MAX_NAME: usize = 255;

/// Checked access to the fields of a message or structure, by offset in bytes from its start. Integers are
/// little-endian.
#[derive(Clone, Copy, Debug)]
pub struct Fields<'a>(pub &'a [u8]);

impl<'a> Fields<'a> {
    /// The `length` bytes at `offset`.
    ///
    /// # Errors
    ///
    /// [`Malformed`] if they reach past the end.
    pub fn bytes(self, offset: usize, length: usize) -> Result<&'a [u8], Malformed> {
        let end = offset.checked_add(length).ok_or(Malformed("a field's offset and length overflow"))?;
        self.0.get(offset..end).ok_or(Malformed("a field reaches past the end of its message"))
    }

    /// The buffer of `length` bytes at `offset`. An empty buffer may have any offset.
    ///
    /// # Errors
    ///
    /// [`Malformed`] if the buffer reaches past the end.
    pub fn buffer(self, offset: usize, length: usize) -> Result<&'a [u8], Malformed> {
        if length == 0 { Ok(&[]) } else { self.bytes(offset, length) }
    }

    fn array<const N: usize>(self, offset: usize) -> Result<[u8; N], Malformed> {
        let mut array = [0; N];
        array.copy_from_slice(self.bytes(offset, N)?);
        Ok(array)
    }

    /// The byte at `offset`.
    ///
    /// # Errors
    ///
    /// [`Malformed`] if it lies past the end.
    pub fn u8(self, offset: usize) -> Result<u8, Malformed> {
        Ok(self.array::<1>(offset)?[0])
    }

    /// The 16-bit integer at `offset`.
    ///
    /// # Errors
    ///
    /// [`Malformed`] if it reaches past the end.
    pub fn u16(self, offset: usize) -> Result<u16, Malformed> {
        self.array(offset).map(u16::from_le_bytes)
    }

    /// The 32-bit integer at `offset`.
    ///
    /// # Errors
    ///
    /// [`Malformed`] if it reaches past the end.
    pub fn u32(self, offset: usize) -> Result<u32, Malformed> {
        self.array(offset).map(u32::from_le_bytes)
    }

    /// The 64-bit integer at `offset`.
    ///
    /// # Errors
    ///
    /// [`Malformed`] if it reaches past the end.
    pub fn u64(self, offset: usize) -> Result<u64, Malformed> {
        self.array(offset).map(u64::from_le_bytes)
    }

    /// The 16 bytes at `offset`.
    ///
    /// # Errors
    ///
    /// [`Malformed`] if they reach past the end.
    pub fn block(self, offset: usize) -> Result<[u8; 16], Malformed> {
        self.array(offset)
    }

    /// The UTF-16 string of `length` bytes at `offset`, as units.
    ///
    /// # Errors
    ///
    /// [`Malformed`] if the length is odd, or the string reaches past the end.
    pub fn utf16(self, offset: usize, length: usize) -> Result<Vec<u16>, Malformed> {
        if !length.is_multiple_of(2) {
            return Err(Malformed("a UTF-16 string of an odd number of bytes"));
        }
        let bytes = self.bytes(offset, length)?;
        Ok(bytes.chunks_exact(2).map(|unit| u16::from_le_bytes([unit[0], unit[1]])).collect())
    }

    /// The file name of `length` bytes at `offset`, as UTF-16 units.
    ///
    /// # Errors
    ///
    /// As for [`Fields::check_name`].
    pub fn name(self, offset: usize, length: usize) -> Result<Vec<u16>, Malformed> {
        self.check_name(offset, length)?;
        self.utf16(offset, length)
    }

    /// Checks that there is a file name of `length` bytes at `offset`.
    ///
    /// # Errors
    ///
    /// [`Malformed`] if the name has more than [`MAX_NAME`] units or an odd number of bytes, or reaches past the end.
    pub fn check_name(self, offset: usize, length: usize) -> Result<(), Malformed> {
        if length > 2 * MAX_NAME {
            return Err(Malformed("a file name of more than 255 characters"));
        }
        if !length.is_multiple_of(2) {
            return Err(Malformed("a file name of an odd number of bytes"));
        }
        self.bytes(offset, length).map(drop)
    }

    /// Checks the StructureSize at the start of a message body.
    ///
    /// # Errors
    ///
    /// [`Malformed`] with the text `what` if it is not `size`; [`Malformed`] if the body has less than two bytes.
    pub fn expect_structure(self, size: u16, what: &'static str) -> Result<(), Malformed> {
        if self.u16(0)? == size { Ok(()) } else { Err(Malformed(what)) }
    }
}

/// The entries of a list in which each entry begins with the offset of the next one, in 32 bits (MS-FSCC 2.4, MS-SMB2
/// 2.2.13.2). The offset counts from the start of the entry; it is 0 in the last one.
///
/// An entry consists of the bytes up to the next one; the last one has all bytes that are left. Iteration ends after an
/// entry whose offset is wrong.
#[derive(Clone, Debug)]
pub struct Linked<'a> {
    /// The list from the next entry on; `None` after the last one.
    rest: Option<&'a [u8]>,
    kind: Entries,
}

/// The shape of the entries of a list.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Entries {
    /// The size of an entry without its name or data, in bytes.
    pub least: usize,
    /// The alignment of each entry, in bytes from the start of the list.
    pub alignment: usize,
}

impl<'a> Linked<'a> {
    /// The entries in these bytes; no entry if there are no bytes.
    pub fn new(list: &'a [u8], kind: Entries) -> Linked<'a> {
        Linked { rest: Some(list).filter(|list| !list.is_empty()), kind }
    }

    /// The first entry of `rest`. Keeps the bytes after it for the next call.
    fn cut(&mut self, rest: &'a [u8]) -> Result<Fields<'a>, Malformed> {
        let next = Fields(rest).u32(0)? as usize;
        // The last entry has the offset 0 (MS-FSCC 2.4.24); on some servers it points to the end of the list.
        if next == 0 || next == rest.len() || next == rest.len().next_multiple_of(self.kind.alignment) {
            return Ok(Fields(rest));
        }
        if next < self.kind.least {
            return Err(Malformed("a list entry that overlaps the one before"));
        }
        if !next.is_multiple_of(self.kind.alignment) {
            return Err(Malformed("a list entry that is not aligned"));
        }
        let (entry, rest) = rest.split_at_checked(next).ok_or(Malformed("a list entry that lies outside its list"))?;
        self.rest = Some(rest);
        Ok(Fields(entry))
    }
}

impl<'a> Iterator for Linked<'a> {
    type Item = Result<Fields<'a>, Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        let rest = self.rest.take()?;
        Some(self.cut(rest))
    }
}

/// Appends little-endian fields to a message body.
pub trait Put {
    /// Appends a byte.
    fn put_u8(&mut self, value: u8) -> &mut Self;
    /// Appends a 16-bit integer.
    fn put_u16(&mut self, value: u16) -> &mut Self;
    /// Appends a 32-bit integer.
    fn put_u32(&mut self, value: u32) -> &mut Self;
    /// Appends a 64-bit integer.
    fn put_u64(&mut self, value: u64) -> &mut Self;
    /// Appends bytes as they are.
    fn put_bytes(&mut self, bytes: &[u8]) -> &mut Self;
    /// Appends UTF-16 code units.
    fn put_utf16(&mut self, units: &[u16]) -> &mut Self;
    /// Appends a small count, or the length of a short part, in 16 bits. The caller ensures that it fits; otherwise a
    /// debug build panics and a release build appends 65,535.
    fn put_count(&mut self, count: usize) -> &mut Self;
    /// Appends zeros up to a multiple of `alignment` bytes.
    fn align(&mut self, alignment: usize) -> &mut Self;
}

impl Put for Vec<u8> {
    fn put_u8(&mut self, value: u8) -> &mut Self {
        self.push(value);
        self
    }

    fn put_u16(&mut self, value: u16) -> &mut Self {
        self.put_bytes(&value.to_le_bytes())
    }

    fn put_u32(&mut self, value: u32) -> &mut Self {
        self.put_bytes(&value.to_le_bytes())
    }

    fn put_u64(&mut self, value: u64) -> &mut Self {
        self.put_bytes(&value.to_le_bytes())
    }

    fn put_bytes(&mut self, bytes: &[u8]) -> &mut Self {
        self.extend_from_slice(bytes);
        self
    }

    fn put_utf16(&mut self, units: &[u16]) -> &mut Self {
        self.extend(units.iter().flat_map(|unit| unit.to_le_bytes()));
        self
    }

    fn put_count(&mut self, count: usize) -> &mut Self {
        debug_assert!(count <= usize::from(u16::MAX), "a length that can exceed 16 bits is checked before");
        self.put_u16(u16::try_from(count).unwrap_or(u16::MAX))
    }

    fn align(&mut self, alignment: usize) -> &mut Self {
        self.resize(self.len().next_multiple_of(alignment), 0);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_past_the_end_fail_and_never_wrap() {
        let fields = Fields(&[1, 2, 3, 4]);
        assert_eq!(fields.u32(0), Ok(0x0403_0201));
        assert!(fields.u32(1).is_err());
        assert!(fields.u64(usize::MAX - 3).is_err());
        assert!(fields.bytes(4, usize::MAX).is_err());
        assert!(fields.utf16(0, 3).is_err());
    }

    const ENTRIES: Entries = Entries { least: 8, alignment: 8 };

    fn lengths(list: &[u8]) -> Result<Vec<usize>, Malformed> {
        Linked::new(list, ENTRIES).map(|entry| entry.map(|fields| fields.0.len())).collect()
    }

    fn list(offsets: &[(u32, usize)]) -> Vec<u8> {
        let mut list = Vec::new();
        for (next, size) in offsets {
            let start = list.len();
            list.put_u32(*next).resize(start + size, 0);
        }
        list
    }

    #[test]
    fn each_entry_of_a_list_has_its_own_bytes() {
        assert_eq!(lengths(&[]), Ok(vec![]));
        assert_eq!(lengths(&list(&[(0, 9)])), Ok(vec![9]));
        assert_eq!(lengths(&list(&[(16, 16), (8, 8), (0, 11)])), Ok(vec![16, 8, 11]));
        assert_eq!(lengths(&list(&[(16, 16), (11, 11)])), Ok(vec![16, 11]), "it points to the end of the list");
        assert_eq!(lengths(&list(&[(16, 16), (16, 11)])), Ok(vec![16, 11]), "it points behind the padding");
    }

    #[test]
    fn a_list_ends_at_an_entry_with_a_wrong_offset() {
        for next in [1, 4, 7, 12, 32, u32::MAX] {
            let list = list(&[(16, 16), (next, 20)]);
            let entries: Vec<_> = Linked::new(&list, ENTRIES).collect();
            assert!(matches!(entries[..], [Ok(_), Err(_)]), "{next}: {entries:?}");
        }
        assert!(lengths(&[0; 3]).is_err());
    }

    #[test]
    fn names_are_bounded() {
        let bytes = [0x41; 600];
        assert_eq!(Fields(&bytes).name(10, 510).unwrap().len(), MAX_NAME);
        assert!(Fields(&bytes).name(10, 512).is_err());
        assert!(Fields(&bytes).name(100, 502).is_err(), "the name reaches past the end");
    }

    #[test]
    fn lengths_never_wrap() {
        assert_eq!(length16(65_535, TooLong::Path), Ok(65_535));
        assert_eq!(length16(65_536, TooLong::Path), Err(TooLong::Path));
        assert_eq!(length32(1 << 32, TooLong::Other("it")), Err(TooLong::Other("it")));
    }

    #[test]
    fn fields_are_appended_little_endian_and_aligned() {
        let mut body = Vec::new();
        body.put_u8(1).put_u16(0x0302).align(8).put_utf16(&[0x41]);
        assert_eq!(body, [1, 2, 3, 0, 0, 0, 0, 0, 0x41, 0]);
    }
}
