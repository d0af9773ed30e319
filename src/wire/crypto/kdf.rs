//! The keys of a session, derived from its session key (MS-SMB2 3.1.4.2, 3.2.5.3).
//!
//! SMB 2 signs with the session key itself: its first 16 bytes, padded with zeros. SMB 3 derives a signing key and two
//! cipher keys. In SMB 3.1.1 the pre-authentication hash of the session is an input too.

use super::{Cipher, Secret};
use crate::config::Dialect;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use zeroize::Zeroizing;

/// The derived keys of a session.
pub struct SessionKeys {
    /// Signs both directions: 16 bytes.
    pub signing: Zeroizing<[u8; 16]>,
    /// Encrypts the client's messages: 16 or 32 bytes, by cipher; empty below SMB 3.0.
    pub client_to_server: Secret,
    /// Decrypts the server's messages: 16 or 32 bytes, by cipher; empty below SMB 3.0.
    pub server_to_client: Secret,
}

/// Derives the keys of a session (MS-SMB2 3.2.5.3.1). `preauth_hash` is the session's pre-authentication hash; only SMB
/// 3.1.1 uses it. Without a cipher the cipher keys have 16 bytes.
pub fn derive_keys(
    dialect: Dialect,
    session_key: &[u8],
    preauth_hash: &[u8; 64],
    cipher: Option<Cipher>,
) -> SessionKeys {
    let mut short = Zeroizing::new([0u8; 16]);
    let usable = session_key.len().min(16);
    short[..usable].copy_from_slice(&session_key[..usable]);
    if dialect < Dialect::Smb300 {
        return SessionKeys {
            signing: short,
            client_to_server: Secret::default(),
            server_to_client: Secret::default(),
        };
    }
    let labels: [(&[u8], &[u8]); 3] = if dialect == Dialect::Smb311 {
        [(b"SMBSigningKey\0", preauth_hash), (b"SMBC2SCipherKey\0", preauth_hash), (b"SMBS2CCipherKey\0", preauth_hash)]
    } else {
        [(b"SMB2AESCMAC\0", b"SmbSign\0"), (b"SMB2AESCCM\0", b"ServerIn \0"), (b"SMB2AESCCM\0", b"ServerOut\0")]
    };
    // Keys of 256-bit ciphers are derived from the whole session key, all other keys from its first 16 bytes.
    let key_length = cipher.map_or(16, Cipher::key_length);
    let cipher_base: &[u8] = if key_length == 32 { session_key } else { &*short };
    let mut signing = Zeroizing::new([0u8; 16]);
    signing.copy_from_slice(&kdf(&*short, labels[0].0, labels[0].1, 16));
    SessionKeys {
        signing,
        client_to_server: kdf(cipher_base, labels[1].0, labels[1].1, key_length),
        server_to_client: kdf(cipher_base, labels[2].0, labels[2].1, key_length),
    }
}

/// The key derivation of SP 800-108 in counter mode with HMAC-SHA256 and r = 32: one round yields up to 32 bytes,
/// `length` of which are returned.
fn kdf(key: &[u8], label: &[u8], context: &[u8], length: usize) -> Secret {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC accepts keys of any length");
    mac.update(&1u32.to_be_bytes());
    mac.update(label);
    mac.update(&[0]);
    mac.update(context);
    let bits = u32::try_from(8 * length).expect("a key has 32 bytes at most");
    mac.update(&bits.to_be_bytes());
    Zeroizing::new(mac.finalize().into_bytes()[..length].to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_16_bytes_agree_with_the_smb_crate() {
        let session_key = [0x5a; 16];
        let preauth = [7u8; 64];
        let keys = derive_keys(Dialect::Smb311, &session_key, &preauth, Some(Cipher::Aes128Gcm));
        let expect = |label: &[u8]| smb::crypto::kbkdf_hmacsha256(&session_key, label, &preauth).unwrap();
        assert_eq!(*keys.signing, expect(b"SMBSigningKey\0"));
        assert_eq!(keys.client_to_server[..], expect(b"SMBC2SCipherKey\0"));
        assert_eq!(keys.server_to_client[..], expect(b"SMBS2CCipherKey\0"));
    }

    #[test]
    fn smb_3_0_keys_use_fixed_contexts() {
        let session_key = [0x5a; 16];
        let keys = derive_keys(Dialect::Smb300, &session_key, &[0; 64], None);
        let expect = smb::crypto::kbkdf_hmacsha256(&session_key, b"SMB2AESCMAC\0", b"SmbSign\0").unwrap();
        assert_eq!(*keys.signing, expect);
        assert_ne!(keys.client_to_server, keys.server_to_client);
    }

    #[test]
    fn smb_2_signs_with_the_session_key_itself_padded_to_16_bytes() {
        let keys = derive_keys(Dialect::Smb210, &[9; 8], &[0; 64], None);
        assert_eq!(*keys.signing, [9, 9, 9, 9, 9, 9, 9, 9, 0, 0, 0, 0, 0, 0, 0, 0]);
    }

    #[test]
    fn ciphers_of_256_bits_get_keys_of_32_bytes() {
        let keys = derive_keys(Dialect::Smb311, &[1; 16], &[2; 64], Some(Cipher::Aes256Gcm));
        assert_eq!((keys.client_to_server.len(), keys.server_to_client.len()), (32, 32));
    }
}
