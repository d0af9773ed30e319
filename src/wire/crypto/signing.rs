//! Message signatures (MS-SMB2 3.1.4.1).
//!
//! AES-GMAC and AES-CMAC come from aws-lc. Its GMAC is five times as fast as implementations that accept a message in
//! pieces (`benches/crypto.rs`), so a message is signed and verified in one piece. HMAC-SHA256 comes from the `smb`
//! crate.

use aws_lc_rs::aead::{self, AES_128_GCM, Aad, LessSafeKey, UnboundKey};
use aws_lc_rs::cmac;
use aws_lc_rs::constant_time::verify_slices_are_equal;
use smb::crypto::{SigningAlgo, make_signing_algo};
use smb_msg::SigningAlgorithmId;

/// The Signature field of a header (MS-SMB2 2.2.1): 16 bytes.
pub type Signature = [u8; 16];

/// The signing algorithms, with their numbers in SMB2_SIGNING_CAPABILITIES (MS-SMB2 2.2.3.1.7).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SigningAlgorithm {
    /// HMAC-SHA256: the algorithm below SMB 3.0; SMB 3.1.1 can negotiate it.
    HmacSha256 = 0,
    /// AES-128-CMAC: the algorithm of SMB 3.0 and 3.0.2, and of SMB 3.1.1 unless another one is negotiated.
    AesCmac = 1,
    /// AES-128-GMAC: SMB 3.1.1, if both sides support it.
    AesGmac = 2,
}

impl SigningAlgorithm {
    /// The algorithms that are offered, the preferred one first.
    pub const OFFERED: [SigningAlgorithm; 3] =
        [SigningAlgorithm::AesGmac, SigningAlgorithm::AesCmac, SigningAlgorithm::HmacSha256];

    /// The algorithm with this number; `None` if it is unknown.
    pub fn from_id(id: u16) -> Option<SigningAlgorithm> {
        Self::OFFERED.into_iter().find(|algorithm| *algorithm as u16 == id)
    }
}

impl From<SigningAlgorithm> for SigningAlgorithmId {
    fn from(algorithm: SigningAlgorithm) -> SigningAlgorithmId {
        match algorithm {
            SigningAlgorithm::HmacSha256 => SigningAlgorithmId::HmacSha256,
            SigningAlgorithm::AesCmac => SigningAlgorithmId::AesCmac,
            SigningAlgorithm::AesGmac => SigningAlgorithmId::AesGmac,
        }
    }
}

impl std::fmt::Display for SigningAlgorithm {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            SigningAlgorithm::HmacSha256 => "HMAC-SHA256",
            SigningAlgorithm::AesCmac => "AES-CMAC",
            SigningAlgorithm::AesGmac => "AES-GMAC",
        })
    }
}

/// The parts of the nonce of a GMAC signature. Together they are unique under one key (MS-SMB2 3.1.4.1).
#[derive(Clone, Copy, Debug)]
pub struct Nonce {
    /// The message id.
    pub message_id: u64,
    /// Whether the server sent the message.
    pub from_server: bool,
    /// Whether the message is a CANCEL, which has the id of the message that it cancels.
    pub cancel: bool,
}

impl Nonce {
    /// The 12 bytes: message id, then the two flags.
    fn bytes(self) -> [u8; 12] {
        let mut bytes = [0; 12];
        bytes[..8].copy_from_slice(&self.message_id.to_le_bytes());
        bytes[8] = u8::from(self.from_server) | u8::from(self.cancel) << 1;
        bytes
    }
}

/// Signs and verifies with the signing key of a session.
pub struct Signer(Kind);

enum Kind {
    Gmac(LessSafeKey),
    Cmac(cmac::Key),
    Hmac(Box<dyn SigningAlgo>),
}

impl Signer {
    /// A signer with the signing key of a session.
    pub fn new(algorithm: SigningAlgorithm, key: &[u8; 16]) -> Signer {
        const RIGHT: &str = "a key of 16 bytes fits every algorithm";
        Signer(match algorithm {
            SigningAlgorithm::AesGmac => Kind::Gmac(LessSafeKey::new(UnboundKey::new(&AES_128_GCM, key).expect(RIGHT))),
            SigningAlgorithm::AesCmac => Kind::Cmac(cmac::Key::new(cmac::AES_128, key).expect(RIGHT)),
            SigningAlgorithm::HmacSha256 => {
                Kind::Hmac(make_signing_algo(SigningAlgorithmId::HmacSha256, key).expect(RIGHT))
            }
        })
    }

    /// The signature of a message whose Signature field holds zeros. `nonce` is used by AES-GMAC only.
    pub fn sign(&self, message: &[u8], nonce: Nonce) -> Signature {
        const SHORT: &str = "a message is far below the algorithm's limit";
        match &self.0 {
            Kind::Gmac(key) => {
                // AES-GCM with an empty plaintext and the message as additional data (SP 800-38D 3).
                let nonce = aead::Nonce::assume_unique_for_key(nonce.bytes());
                let tag = key.seal_in_place_separate_tag(nonce, Aad::from(message), &mut []).expect(SHORT);
                first_16(tag.as_ref())
            }
            Kind::Cmac(key) => first_16(cmac::sign(key, message).expect(SHORT).as_ref()),
            Kind::Hmac(template) => {
                let mut mac = template.clone_box();
                mac.update(message);
                mac.finalize().to_le_bytes()
            }
        }
    }

    /// Whether `signature` is that of a message whose Signature field holds zeros. Compares in constant time.
    pub fn verify(&self, message: &[u8], nonce: Nonce, signature: &Signature) -> bool {
        verify_slices_are_equal(&self.sign(message, nonce), signature).is_ok()
    }
}

fn first_16(tag: &[u8]) -> Signature {
    std::array::from_fn(|i| tag[i])
}

impl std::fmt::Debug for Signer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Signer")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONCE: Nonce = Nonce { message_id: 0x1234, from_server: true, cancel: false };

    #[test]
    fn cmac_is_that_of_the_smb_crate() {
        let mut reference = make_signing_algo(SigningAlgorithmId::AesCmac, &[8; 16]).unwrap();
        reference.update(&[0x55; 1001]);
        let signer = Signer::new(SigningAlgorithm::AesCmac, &[8; 16]);
        assert_eq!(signer.sign(&[0x55; 1001], NONCE), reference.finalize().to_le_bytes());
    }

    #[test]
    fn hmac_is_the_first_half_of_hmac_sha256() {
        use hmac::{Hmac, KeyInit, Mac};
        let mut reference = Hmac::<sha2::Sha256>::new_from_slice(&[8; 16]).unwrap();
        reference.update(&[0x55; 1001]);
        let signer = Signer::new(SigningAlgorithm::HmacSha256, &[8; 16]);
        assert_eq!(signer.sign(&[0x55; 1001], NONCE)[..], reference.finalize().into_bytes()[..16]);
    }

    #[test]
    fn gmac_is_the_tag_of_gcm_without_a_plaintext() {
        // An independent implementation of AES-GCM.
        use aes_gcm::{Aes128Gcm, KeyInit, aead::AeadInOut};
        let message: Vec<u8> = (0..1000u32).map(|i| i as u8).collect();
        let mut nothing: [u8; 0] = [];
        let gcm = Aes128Gcm::new(&[3; 16].into());
        let nonce = NONCE.bytes().into();
        let expected = gcm.encrypt_inout_detached(&nonce, &message, nothing.as_mut_slice().into()).unwrap();
        assert_eq!(Signer::new(SigningAlgorithm::AesGmac, &[3; 16]).sign(&message, NONCE)[..], expected[..]);
    }

    #[test]
    fn gmac_signatures_differ_by_direction_message_and_cancel() {
        let signer = Signer::new(SigningAlgorithm::AesGmac, &[3; 16]);
        let nonces = [
            NONCE,
            Nonce { message_id: 0x1235, ..NONCE },
            Nonce { from_server: false, ..NONCE },
            Nonce { from_server: false, cancel: true, ..NONCE },
        ];
        let signatures: std::collections::HashSet<_> =
            nonces.map(|nonce| signer.sign(b"a message", nonce)).into_iter().collect();
        assert_eq!(signatures.len(), nonces.len());
    }

    #[test]
    fn every_algorithm_verifies_its_signature_and_detects_a_flipped_bit() {
        for algorithm in SigningAlgorithm::OFFERED {
            let signer = Signer::new(algorithm, &[8; 16]);
            let message = [0x55u8; 200];
            let signature = signer.sign(&message, NONCE);
            assert!(signer.verify(&message, NONCE, &signature), "{algorithm}");
            let mut flipped = message;
            flipped[150] ^= 1;
            assert!(!signer.verify(&flipped, NONCE, &signature), "{algorithm}");
            assert!(!signer.verify(&message, NONCE, &[0; 16]), "{algorithm}");
            assert_eq!(SigningAlgorithm::from_id(algorithm as u16), Some(algorithm));
        }
    }
}
