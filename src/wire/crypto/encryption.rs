//! Message encryption (MS-SMB2 3.1.4.3) and its transform header (2.2.41).
//!
//! AES-GCM comes from aws-lc, the fastest of those measured (`benches/crypto.rs`). aws-lc has no AES-CCM with the nonce
//! size of SMB (11 bytes), so AES-CCM comes from RustCrypto.
//!
//! Invariant: no nonce is used twice under one key. All connections of a session share one [`Sealer`] with its counter.

use super::super::codec::{Fields, Malformed, Put};
use super::random_bytes;
use aws_lc_rs::aead::{AES_128_GCM, AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use ccm::Ccm;
use ccm::aead::{AeadInOut, KeyInit, consts::U11, consts::U16};
use std::sync::atomic::{AtomicU64, Ordering};

/// The size of the transform header, in bytes.
pub const TRANSFORM_SIZE: usize = 52;
/// The first four bytes of an encrypted message.
pub const TRANSFORM_ID: [u8; 4] = *b"\xfdSMB";
/// The offset of the authenticated part of the transform header: from the nonce to its end.
const AUTHENTICATED: usize = 20;

/// The ciphers, with their numbers in SMB2_ENCRYPTION_CAPABILITIES (MS-SMB2 2.2.3.1.2).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Cipher {
    /// AES-128-CCM: the cipher of SMB 3.0 and 3.0.2.
    Aes128Ccm = 1,
    /// AES-128-GCM: the usual cipher of SMB 3.1.1.
    Aes128Gcm = 2,
    /// AES-256-CCM: for servers that require 256 bits.
    Aes256Ccm = 3,
    /// AES-256-GCM: for servers that require 256 bits.
    Aes256Gcm = 4,
}

impl Cipher {
    /// The ciphers that are offered, the preferred one first: GCM is several times faster than CCM.
    pub const OFFERED: [Cipher; 4] = [Cipher::Aes128Gcm, Cipher::Aes256Gcm, Cipher::Aes128Ccm, Cipher::Aes256Ccm];

    /// The cipher with this number; `None` if it is unknown.
    pub fn from_id(id: u16) -> Option<Cipher> {
        Self::OFFERED.into_iter().find(|cipher| *cipher as u16 == id)
    }

    /// The length of the cipher's key, in bytes.
    pub fn key_length(self) -> usize {
        match self {
            Cipher::Aes128Ccm | Cipher::Aes128Gcm => 16,
            Cipher::Aes256Ccm | Cipher::Aes256Gcm => 32,
        }
    }
}

impl From<Cipher> for smb_msg::EncryptionCipher {
    fn from(cipher: Cipher) -> smb_msg::EncryptionCipher {
        match cipher {
            Cipher::Aes128Ccm => smb_msg::EncryptionCipher::Aes128Ccm,
            Cipher::Aes128Gcm => smb_msg::EncryptionCipher::Aes128Gcm,
            Cipher::Aes256Ccm => smb_msg::EncryptionCipher::Aes256Ccm,
            Cipher::Aes256Gcm => smb_msg::EncryptionCipher::Aes256Gcm,
        }
    }
}

impl std::fmt::Display for Cipher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Cipher::Aes128Ccm => "AES-128-CCM",
            Cipher::Aes128Gcm => "AES-128-GCM",
            Cipher::Aes256Ccm => "AES-256-CCM",
            Cipher::Aes256Gcm => "AES-256-GCM",
        })
    }
}

/// One direction of one cipher with its key.
enum Aead {
    Ccm128(Box<Ccm<aes::Aes128, U16, U11>>),
    Ccm256(Box<Ccm<aes::Aes256, U16, U11>>),
    Gcm(LessSafeKey),
}

/// The cipher refused: too much data, or a tag that does not belong to the data.
struct Refused;

impl Aead {
    fn new(cipher: Cipher, key: &[u8]) -> Aead {
        const RIGHT: &str = "keys are derived at the cipher's length";
        let gcm = |algorithm| Aead::Gcm(LessSafeKey::new(UnboundKey::new(algorithm, key).expect(RIGHT)));
        match cipher {
            Cipher::Aes128Ccm => Aead::Ccm128(Box::new(KeyInit::new_from_slice(key).expect(RIGHT))),
            Cipher::Aes256Ccm => Aead::Ccm256(Box::new(KeyInit::new_from_slice(key).expect(RIGHT))),
            Cipher::Aes128Gcm => gcm(&AES_128_GCM),
            Cipher::Aes256Gcm => gcm(&AES_256_GCM),
        }
    }

    /// Encrypts in place and returns the tag. `nonce` is the 16-byte field; CCM uses its first 11 bytes, GCM its first
    /// 12.
    fn encrypt(&self, nonce: &[u8; 16], aad: &[u8], data: &mut [u8]) -> Result<[u8; 16], Refused> {
        let sealed = match self {
            Aead::Ccm128(aead) => aead.encrypt_inout_detached(&first(nonce).into(), aad, data.into()).ok(),
            Aead::Ccm256(aead) => aead.encrypt_inout_detached(&first(nonce).into(), aad, data.into()).ok(),
            Aead::Gcm(key) => {
                let nonce = Nonce::assume_unique_for_key(first(nonce));
                let tag = key.seal_in_place_separate_tag(nonce, Aad::from(aad), data).ok();
                return tag.and_then(|tag| tag.as_ref().try_into().ok()).ok_or(Refused);
            }
        };
        sealed.map(Into::into).ok_or(Refused)
    }

    /// Verifies the tag and decrypts in place.
    fn decrypt(&self, nonce: &[u8; 16], aad: &[u8], data: &mut [u8], tag: &[u8; 16]) -> Result<(), Refused> {
        match self {
            Aead::Ccm128(aead) => {
                aead.decrypt_inout_detached(&first(nonce).into(), aad, data.into(), tag.into()).map_err(|_| Refused)
            }
            Aead::Ccm256(aead) => {
                aead.decrypt_inout_detached(&first(nonce).into(), aad, data.into(), tag.into()).map_err(|_| Refused)
            }
            Aead::Gcm(key) => {
                let nonce = Nonce::assume_unique_for_key(first(nonce));
                key.open_in_place_separate_tag(nonce, Aad::from(aad), tag, data).map(drop).map_err(|_| Refused)
            }
        }
    }
}

/// The part of the nonce field that a cipher uses.
fn first<const N: usize>(field: &[u8; 16]) -> [u8; N] {
    std::array::from_fn(|i| field[i])
}

/// Encrypts and decrypts the messages of one session.
pub struct Sealer {
    session_id: u64,
    outgoing: Aead,
    incoming: Aead,
    /// The next value of bytes 0 to 7 of the nonce: a counter from 0, because a nonce must never repeat under one key.
    counter: AtomicU64,
    /// Bytes 8 to 10 of every nonce: random for each sealer, then constant.
    nonce_salt: [u8; 3],
}

impl Sealer {
    /// A sealer with the keys of both directions, which have the cipher's key length.
    pub fn new(cipher: Cipher, session_id: u64, client_to_server: &[u8], server_to_client: &[u8]) -> Sealer {
        Sealer {
            session_id,
            outgoing: Aead::new(cipher, client_to_server),
            incoming: Aead::new(cipher, server_to_client),
            counter: AtomicU64::new(0),
            nonce_salt: random_bytes(),
        }
    }

    /// Encrypts a message or a whole compound in place (MS-SMB2 3.1.4.3). `frame` begins with [`TRANSFORM_SIZE`] bytes
    /// for the transform header, followed by the plain bytes.
    pub fn seal(&self, frame: &mut [u8]) {
        let plain_size = u32::try_from(frame.len() - TRANSFORM_SIZE);
        let Ok(plain_size) = plain_size else { unreachable!("a frame has a length of 24 bits") };
        let mut nonce = [0u8; 16];
        nonce[..8].copy_from_slice(&self.counter.fetch_add(1, Ordering::Relaxed).to_le_bytes());
        nonce[8..11].copy_from_slice(&self.nonce_salt);
        let mut header = Vec::with_capacity(TRANSFORM_SIZE);
        header
            .put_bytes(&TRANSFORM_ID)
            .put_bytes(&[0; 16])
            .put_bytes(&nonce)
            .put_u32(plain_size)
            .put_u16(0)
            .put_u16(1) // Flags: encrypted; or, below SMB 3.1.1, EncryptionAlgorithm: AES-128-CCM. Both are 1.
            .put_u64(self.session_id);
        let (room, data) = frame.split_at_mut(TRANSFORM_SIZE);
        let sealed = self.outgoing.encrypt(&nonce, &header[AUTHENTICATED..], data);
        let Ok(tag) = sealed else { unreachable!("a message is far below the cipher's limit") };
        header[4..20].copy_from_slice(&tag);
        room.copy_from_slice(&header);
    }

    /// Decrypts a message in place (MS-SMB2 3.2.5.1.1). The plain bytes begin at [`TRANSFORM_SIZE`].
    ///
    /// # Errors
    ///
    /// [`Malformed`] if the transform header is wrong or of another session, or if the message was altered on its way.
    pub fn open(&self, frame: &mut [u8]) -> Result<(), Malformed> {
        let fields = Fields(frame);
        let tag = fields.block(4)?;
        let nonce = fields.block(20)?;
        let original_size = fields.u32(36)? as usize;
        let flags = fields.u16(42)?;
        let session_id = fields.u64(44)?;
        if flags != 1 {
            return Err(Malformed("a transform header that is not of an encrypted message"));
        }
        if session_id != self.session_id {
            return Err(Malformed("an encrypted message of another session"));
        }
        if frame.len() - TRANSFORM_SIZE != original_size {
            return Err(Malformed("an encrypted message whose OriginalMessageSize is not its size"));
        }
        let (header, data) = frame.split_at_mut(TRANSFORM_SIZE);
        self.incoming
            .decrypt(&nonce, &header[AUTHENTICATED..], data, &tag)
            .map_err(|_| Malformed("an encrypted message that was altered on its way"))
    }
}

impl std::fmt::Debug for Sealer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Sealer")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(cipher: Cipher) -> (Sealer, Sealer) {
        let (one, other) = (vec![1; cipher.key_length()], vec![2; cipher.key_length()]);
        (Sealer::new(cipher, 77, &one, &other), Sealer::new(cipher, 77, &other, &one))
    }

    fn sealed(sealer: &Sealer, plain: &[u8]) -> Vec<u8> {
        let mut frame = vec![0; TRANSFORM_SIZE];
        frame.extend_from_slice(plain);
        sealer.seal(&mut frame);
        frame
    }

    #[test]
    fn a_message_encrypted_by_one_side_is_decrypted_by_the_other() {
        for cipher in Cipher::OFFERED {
            let (client, server) = pair(cipher);
            let mut frame = sealed(&client, b"a message");
            assert_ne!(&frame[TRANSFORM_SIZE..], b"a message");
            server.open(&mut frame).unwrap();
            assert_eq!(&frame[TRANSFORM_SIZE..], b"a message", "{cipher}");
            assert_eq!(Cipher::from_id(cipher as u16), Some(cipher));
        }
    }

    #[test]
    fn a_changed_bit_anywhere_in_a_message_is_detected() {
        let (client, server) = pair(Cipher::Aes128Gcm);
        let frame = sealed(&client, b"a message");
        for position in 4..frame.len() {
            let mut changed = frame.clone();
            changed[position] ^= 0x10;
            assert!(server.open(&mut changed).is_err(), "byte {position}");
        }
        assert!(server.open(&mut frame[..TRANSFORM_SIZE - 1].to_vec()).is_err());
    }

    #[test]
    fn no_nonce_is_used_twice() {
        let (client, _) = pair(Cipher::Aes128Gcm);
        let nonces: std::collections::HashSet<_> = (0..1000).map(|_| sealed(&client, b"x")[20..36].to_vec()).collect();
        assert_eq!(nonces.len(), 1000);
    }
}
