//! The keys, signatures and encryption of a session. Nothing here knows requests or connections.
//!
//! | file | what is decided there |
//! |---|---|
//! | [`kdf`] | which keys a session key yields, by dialect |
//! | [`signing`] | the signing algorithms and their nonces |
//! | [`encryption`] | the ciphers, their nonces, and the transform header |
//!
//! A message is signed, encrypted and decrypted in one piece and in place. Invariant: no nonce is used twice under one
//! key. Session keys and derived keys are wiped when dropped ([`Secret`]); their copies inside a [`Sealer`] or
//! [`Signer`] need not be.

pub mod encryption;
pub mod kdf;
pub mod signing;

pub use encryption::{Cipher, Sealer};
pub use kdf::{SessionKeys, derive_keys};
pub use signing::{Signer, SigningAlgorithm};

use zeroize::Zeroizing;

/// Secret bytes, which are wiped when dropped.
pub type Secret = Zeroizing<Vec<u8>>;

/// `N` random bytes that cannot be predicted: from the generator of aws-lc, which the operating system seeds.
///
/// # Panics
///
/// If the operating system has no random bytes to seed it with. Predictable keys would be worse.
pub fn random_bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    assert!(aws_lc_rs::rand::fill(&mut bytes).is_ok(), "the operating system gives no random bytes");
    bytes
}
