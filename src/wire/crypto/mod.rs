//! Keys, signatures and encryption of a session.
//!
//! A message is signed, encrypted and decrypted in one piece and in place. Keys are wiped when they go.

pub mod encryption;
pub mod kdf;
pub mod signing;

pub use encryption::{Cipher, Sealer};
pub use kdf::{SessionKeys, derive_keys};
pub use signing::{Signer, SigningAlgorithm};

use zeroize::Zeroizing;

/// Secret bytes that are wiped when dropped.
pub type Secret = Zeroizing<Vec<u8>>;

/// Random bytes of the system's generator.
pub fn random_bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    for (piece, source) in bytes.chunks_mut(16).zip(std::iter::repeat_with(smb_dtyp::Guid::generate)) {
        let source = <[u8; 16]>::from(source);
        piece.copy_from_slice(&source[..piece.len()]);
    }
    bytes
}
