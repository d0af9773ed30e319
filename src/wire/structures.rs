//! Structures of the `smb` crates, to bytes and back.
//!
//! The crates `smb-msg`, `smb-fscc` and `smb-dtyp` are used for a structure where their parser holds against hostile
//! bytes: it never panics, allocates no more than a small multiple of what was received, and accepts what MS-SMB2
//! allows. A fuzzer found for each parser whether it holds:
//!
//! | structure | parser of the crates (0.12.1) | used here |
//! |---|---|---|
//! | VALIDATE_NEGOTIATE_INFO | holds | the crates' |
//! | SRV_COPYCHUNK_COPY, SRV_COPYCHUNK_RESPONSE | holds | the crates' |
//! | negotiate contexts of a request | (only written) | the crates' |
//! | negotiate contexts of a response | holds, but fails on an unknown context or cipher | own: [`negotiate`] |
//! | SRV_REQUEST_RESUME_KEY | allocates the claimed length of its context, up to 4 GiB | own: [`ioctl`] |
//! | FSCTL_DUPLICATE_EXTENTS_TO_FILE | does not exist | own: [`ioctl`] |
//! | IOCTL response | unwraps its body's result, allocates the claimed length | own: [`ioctl`] |
//! | create contexts of a response | refuses a context without data and each unknown name | own: [`contexts`] |
//! | reparse data | does not exist | own: [`reparse`] |
//! | listings, notifications | allocates a name's claimed length; quadratic for overlaps | own: [`info`], [`notify`] |
//!
//! Not used by any request yet, and to be judged in the same way before they are: security descriptors (the offsets are
//! ignored, so group and owner can be swapped), extended attributes and streams (quadratic time; of extended
//! attributes [`reparse`] has a parser for one), DFS referrals (up to 5.7 GB for 128 KiB of input).
//!
//! Invariant: only a structure of the table's first three rows goes through [`decode`] or [`encode`].
//!
//! [`negotiate`]: super::negotiate
//! [`ioctl`]: super::messages::ioctl
//! [`contexts`]: super::messages::contexts
//! [`info`]: super::messages::info
//! [`reparse`]: super::messages::reparse
//! [`notify`]: super::messages::notify

use super::codec::{Malformed, TooLong};
use binrw::io::Cursor;
use binrw::{BinRead, BinWrite};

/// The bytes of a structure, little-endian as all of MS-SMB2.
///
/// # Errors
///
/// [`TooLong`] if a list or a buffer in it has more entries or bytes than its length field can hold.
pub fn encode<T>(structure: &T) -> Result<Vec<u8>, TooLong>
where
    T: for<'a> BinWrite<Args<'a> = ()>,
{
    let mut bytes = Cursor::new(Vec::new());
    structure.write_le(&mut bytes).map_err(|_| TooLong::Other("a structure of a request"))?;
    Ok(bytes.into_inner())
}

/// The structure at the beginning of `bytes`. Bytes behind it are ignored, as MS-SMB2 asks.
///
/// # Errors
///
/// [`Malformed`] if the bytes end within the structure, or a field has a value that does not exist.
pub fn decode<T>(bytes: &[u8], malformed: &'static str) -> Result<T, Malformed>
where
    T: for<'a> BinRead<Args<'a> = ()>,
{
    T::read_le(&mut Cursor::new(bytes)).map_err(|_| Malformed(malformed))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use smb_msg::{SrvCopychunkResponse, ValidateNegotiateInfoResponse};
    use std::fmt::Debug;

    const BROKEN: &str = "a structure that is cut short";

    /// Whatever the bytes are, the result is a structure or an error, and bytes that are too few are an error.
    fn holds<T>(bytes: &[u8], size: usize)
    where
        T: for<'a> BinRead<Args<'a> = ()> + Debug,
    {
        let decoded = decode::<T>(bytes, BROKEN);
        assert!(decoded.is_err() || bytes.len() >= size, "{decoded:?} of {} bytes", bytes.len());
    }

    #[test]
    fn a_structure_is_encoded_and_decoded_and_bytes_behind_it_are_ignored() {
        let chunks: SrvCopychunkResponse = decode(&[1, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0, 99], BROKEN).unwrap();
        assert_eq!((chunks.chunks_written, chunks.chunk_bytes_written, chunks.total_bytes_written), (1, 2, 3));
        assert_eq!(encode(&smb_msg::Dialect::Smb0311).unwrap(), [0x11, 3]);
    }

    /// Why the negotiate contexts of a response are parsed here: a client must ignore what it does not know.
    #[test]
    fn the_parser_of_the_crates_refuses_unknown_negotiate_contexts() {
        let unknown = [0, 1, 4, 0, 0, 0, 0, 0, 7, 7, 7, 7];
        assert!(decode::<smb_msg::NegotiateContext>(&unknown, BROKEN).is_err());
        let unknown_cipher = [2, 0, 4, 0, 0, 0, 0, 0, 1, 0, 0, 0];
        assert!(decode::<smb_msg::NegotiateContext>(&unknown_cipher, BROKEN).is_err());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4096))]

        #[test]
        fn parsers_of_the_crates_that_are_used_hold_against_hostile_bytes(
            bytes in prop::collection::vec(any::<u8>(), 0..64),
            dialect in prop::sample::select(vec![0x0202u16, 0x0311, 0x02FF, 0, u16::MAX]),
        ) {
            holds::<SrvCopychunkResponse>(&bytes, 12);
            holds::<ValidateNegotiateInfoResponse>(&bytes, 24);
            // Random bytes seldom name a dialect.
            let mut named = bytes;
            if let Some(field) = named.get_mut(22..24) {
                field.copy_from_slice(&dialect.to_le_bytes());
            }
            holds::<ValidateNegotiateInfoResponse>(&named, 24);
        }
    }
}
