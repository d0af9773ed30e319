//! Message signatures (MS-SMB2 3.1.4.1).
//!
//! HMAC-SHA256 and AES-CMAC are the `smb` crate's. AES-GMAC is put together here from GHASH and AES,
//! since the usual AES-GCM interfaces want the whole message in one piece, which would cost a copy of
//! every payload.

use aes::cipher::{BlockCipherEncrypt, KeyInit};
use ghash::{GHash, universal_hash::UniversalHash};
use smb::crypto::{SigningAlgo, make_signing_algo};
use smb_msg::SigningAlgorithmId;

/// The algorithms, with their numbers in SMB2_SIGNING_CAPABILITIES (MS-SMB2 2.2.3.1.7).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SigningAlgorithm {
    /// Every session below SMB 3.0.
    HmacSha256 = 0,
    /// SMB 3.0 and later.
    AesCmac = 1,
    /// SMB 3.1.1, where both sides offer it.
    AesGmac = 2,
}

impl SigningAlgorithm {
    /// What is offered, the best first.
    pub const OFFERED: [SigningAlgorithm; 3] =
        [SigningAlgorithm::AesGmac, SigningAlgorithm::AesCmac, SigningAlgorithm::HmacSha256];

    /// The algorithm of a number.
    pub fn from_id(id: u16) -> Option<SigningAlgorithm> {
        Self::OFFERED.into_iter().find(|algorithm| *algorithm as u16 == id)
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

/// What makes the nonce of a GMAC signature unique (MS-SMB2 3.1.4.1).
#[derive(Clone, Copy, Debug)]
pub struct Nonce {
    /// The message's id.
    pub message_id: u64,
    /// The server sent it.
    pub from_server: bool,
    /// It is a CANCEL, which shares the id of the message that it cancels.
    pub cancel: bool,
}

impl Nonce {
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
    Gmac { cipher: Box<aes::Aes128>, hash: GHash },
    Streaming(Box<dyn SigningAlgo>),
}

impl Signer {
    /// A signer with this key.
    pub fn new(algorithm: SigningAlgorithm, key: &[u8; 16]) -> Signer {
        let id = match algorithm {
            SigningAlgorithm::AesGmac => {
                let cipher = Box::new(aes::Aes128::new(key.into()));
                let mut hash_key = ghash::Block::default();
                cipher.encrypt_block(&mut hash_key);
                let hash = GHash::new(&hash_key);
                return Signer(Kind::Gmac { cipher, hash });
            }
            SigningAlgorithm::AesCmac => SigningAlgorithmId::AesCmac,
            SigningAlgorithm::HmacSha256 => SigningAlgorithmId::HmacSha256,
        };
        let streaming = make_signing_algo(id, key).expect("both algorithms are compiled in");
        Signer(Kind::Streaming(streaming))
    }

    /// The signature of a message whose segments are given in order, its signature field as zeros.
    pub fn sign<'a>(&self, segments: impl IntoIterator<Item = &'a [u8]>, nonce: Nonce) -> [u8; 16] {
        match &self.0 {
            Kind::Gmac { cipher, hash } => gmac(cipher, hash.clone(), segments, nonce),
            Kind::Streaming(template) => {
                let mut mac = template.clone_box();
                segments.into_iter().for_each(|segment| mac.update(segment));
                mac.finalize().to_le_bytes()
            }
        }
    }
}

impl std::fmt::Debug for Signer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Signer")
    }
}

/// AES-GCM with an empty plaintext and the message as additional data (SP 800-38D 7.1), in segments.
fn gmac<'a>(
    cipher: &aes::Aes128,
    mut hash: GHash,
    segments: impl IntoIterator<Item = &'a [u8]>,
    nonce: Nonce,
) -> [u8; 16] {
    let mut length = 0u64;
    // What is left of a segment that did not end on a block boundary.
    let mut carry = [0u8; 16];
    let mut carried = 0;
    for mut segment in segments {
        length += segment.len() as u64;
        if carried > 0 {
            let taken = segment.len().min(16 - carried);
            carry[carried..carried + taken].copy_from_slice(&segment[..taken]);
            carried += taken;
            segment = &segment[taken..];
            if carried < 16 {
                continue;
            }
            hash.update_padded(&carry);
        }
        let whole = segment.len() & !15;
        hash.update_padded(&segment[..whole]);
        carried = segment.len() - whole;
        carry[..carried].copy_from_slice(&segment[whole..]);
    }
    hash.update_padded(&carry[..carried]);
    let mut lengths = [0u8; 16];
    lengths[..8].copy_from_slice(&(length * 8).to_be_bytes());
    hash.update_padded(&lengths);
    let mut counter = ghash::Block::default();
    counter[..12].copy_from_slice(&nonce.bytes());
    counter[15] = 1;
    cipher.encrypt_block(&mut counter);
    let tag = hash.finalize();
    std::array::from_fn(|i| tag[i] ^ counter[i])
}

#[cfg(test)]
mod tests {
    use super::*;
    use aes_gcm::{Aes128Gcm, aead::AeadInOut};

    const NONCE: Nonce = Nonce { message_id: 0x1234, from_server: true, cancel: false };

    #[test]
    fn gmac_in_segments_is_gcm_over_the_whole() {
        let key = [3u8; 16];
        let message: Vec<u8> = (0..1000u32).map(|i| i as u8).collect();
        let gcm = Aes128Gcm::new(&key.into());
        let nonce = NONCE.bytes();
        let mut nothing: [u8; 0] = [];
        let expected = gcm.encrypt_inout_detached(&nonce.into(), &message, nothing.as_mut_slice().into()).unwrap();
        let signer = Signer::new(SigningAlgorithm::AesGmac, &key);
        for cuts in [vec![], vec![0, 1000], vec![64], vec![7, 9, 23, 500], vec![15, 16, 17, 33]] {
            let mut segments = Vec::new();
            let mut from = 0;
            for cut in cuts.iter().copied().chain([1000]) {
                segments.push(&message[from..cut]);
                from = cut;
            }
            assert_eq!(signer.sign(segments, NONCE)[..], expected[..], "cut at {cuts:?}");
        }
    }

    #[test]
    fn every_algorithm_signs_segments_like_the_whole_and_sees_a_flipped_bit() {
        for algorithm in SigningAlgorithm::OFFERED {
            let signer = Signer::new(algorithm, &[8; 16]);
            let message = [0x55u8; 200];
            let whole = signer.sign([&message[..]], NONCE);
            assert_eq!(signer.sign([&message[..77], &message[77..]], NONCE), whole, "{algorithm}");
            let mut flipped = message;
            flipped[150] ^= 1;
            assert_ne!(signer.sign([&flipped[..]], NONCE), whole, "{algorithm}");
            assert_eq!(SigningAlgorithm::from_id(algorithm as u16), Some(algorithm));
        }
    }
}
