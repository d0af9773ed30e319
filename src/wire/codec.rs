//! Little-endian fields out of, and into, untrusted bytes.
//!
//! Every read is checked against the bytes that are there, and fails with [`Malformed`] instead of
//! panicking; nothing is allocated from a length that the other side claims.

use std::fmt;

/// Bytes from the other side that break the protocol, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed(pub &'static str);

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for Malformed {}

/// Checked access to the fields of a message or structure, by offset from its start.
#[derive(Clone, Copy, Debug)]
pub struct Fields<'a>(pub &'a [u8]);

impl<'a> Fields<'a> {
    /// The `length` bytes at `offset`.
    pub fn bytes(self, offset: usize, length: usize) -> Result<&'a [u8], Malformed> {
        let end = offset.checked_add(length).ok_or(Malformed("a field's offset and length overflow"))?;
        self.0.get(offset..end).ok_or(Malformed("a field reaches past the end of its message"))
    }

    fn array<const N: usize>(self, offset: usize) -> Result<[u8; N], Malformed> {
        let mut array = [0; N];
        array.copy_from_slice(self.bytes(offset, N)?);
        Ok(array)
    }

    /// The byte at `offset`.
    pub fn u8(self, offset: usize) -> Result<u8, Malformed> {
        Ok(self.array::<1>(offset)?[0])
    }

    /// The 16-bit integer at `offset`.
    pub fn u16(self, offset: usize) -> Result<u16, Malformed> {
        self.array(offset).map(u16::from_le_bytes)
    }

    /// The 32-bit integer at `offset`.
    pub fn u32(self, offset: usize) -> Result<u32, Malformed> {
        self.array(offset).map(u32::from_le_bytes)
    }

    /// The 64-bit integer at `offset`.
    pub fn u64(self, offset: usize) -> Result<u64, Malformed> {
        self.array(offset).map(u64::from_le_bytes)
    }

    /// The 16 bytes at `offset`.
    pub fn block(self, offset: usize) -> Result<[u8; 16], Malformed> {
        self.array(offset)
    }

    /// The UTF-16 string of `length` bytes at `offset`.
    pub fn utf16(self, offset: usize, length: usize) -> Result<Vec<u16>, Malformed> {
        if !length.is_multiple_of(2) {
            return Err(Malformed("a UTF-16 string of an odd number of bytes"));
        }
        let bytes = self.bytes(offset, length)?;
        Ok(bytes.chunks_exact(2).map(|unit| u16::from_le_bytes([unit[0], unit[1]])).collect())
    }

    /// Checks the StructureSize at the start of a message body.
    pub fn expect_structure(self, size: u16, what: &'static str) -> Result<(), Malformed> {
        if self.u16(0)? == size { Ok(()) } else { Err(Malformed(what)) }
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

    #[test]
    fn fields_go_in_little_endian_and_aligned() {
        let mut body = Vec::new();
        body.put_u8(1).put_u16(0x0302).align(8).put_utf16(&[0x41]);
        assert_eq!(body, [1, 2, 3, 0, 0, 0, 0, 0, 0x41, 0]);
    }
}
