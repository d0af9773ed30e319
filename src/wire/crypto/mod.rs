//! The keys, signatures and encryption of a session. Nothing here knows requests or connections.
//!
//! | file | what is decided there |
//! |---|---|
//! | [`kdf`] | which keys a session key yields, by dialect |
//! | [`signing`] | the signing algorithms and their nonces |
//! | [`encryption`] | the ciphers, their nonces, and the transform header |
//!
//! A message is signed, encrypted and decrypted in one piece and in place. Invariant: no nonce is used twice under one
//! key. Session keys and derived keys are wiped when dropped ([`Secret`]); the copies inside the ciphers' and signers'
//! own states are not covered by that.

pub mod encryption;
pub mod kdf;
pub mod signing;

pub use encryption::{Cipher, Sealer};
pub use kdf::{SessionKeys, derive_keys};
pub use signing::{Signer, SigningAlgorithm};

use zeroize::Zeroizing;

/// Secret bytes, which are wiped when dropped.
pub type Secret = Zeroizing<Vec<u8>>;

/// `N` random bytes from the operating system's generator.
pub fn random_bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    for (piece, source) in bytes.chunks_mut(16).zip(std::iter::repeat_with(smb_dtyp::Guid::generate)) {
        let source = <[u8; 16]>::from(source);
        piece.copy_from_slice(&source[..piece.len()]);
    }
    bytes
}
