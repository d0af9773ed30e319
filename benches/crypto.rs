//! The cost of signing and encrypting a READ or WRITE of 1 MiB, with this program's code and with RustCrypto's.

use aes_gcm::aead::AeadInOut;
use aes_gcm::{Aes128Gcm, KeyInit};
use cifs_fuse::wire::crypto::encryption::TRANSFORM_SIZE;
use cifs_fuse::wire::crypto::signing::Nonce;
use cifs_fuse::wire::crypto::{Cipher, Sealer, Signer, SigningAlgorithm};
use divan::counter::BytesCount;
use divan::{Bencher, black_box};
use smb::crypto::make_signing_algo;
use smb_msg::SigningAlgorithmId;

/// Size of the payload, in bytes.
const PAYLOAD: usize = 1 << 20;
/// Size of the headers of a WRITE, in bytes.
const HEADERS: usize = 112;
const KEY: [u8; 16] = [7; 16];
const NONCE: Nonce = Nonce { message_id: 1, from_server: false, cancel: false };

fn main() {
    divan::main();
}

fn mib() -> BytesCount {
    BytesCount::new(PAYLOAD)
}

fn message() -> Vec<u8> {
    (0..HEADERS + PAYLOAD).map(|i| i as u8).collect()
}

#[divan::bench(args = SigningAlgorithm::OFFERED)]
fn sign(bencher: Bencher<'_, '_>, algorithm: SigningAlgorithm) {
    let (signer, message) = (Signer::new(algorithm, &KEY), message());
    bencher.counter(mib()).bench_local(|| signer.sign(black_box(&message), NONCE));
}

/// A WRITE: its payload is copied after its headers, and both are signed.
#[divan::bench(args = SigningAlgorithm::OFFERED)]
fn copy_and_sign(bencher: Bencher<'_, '_>, algorithm: SigningAlgorithm) {
    let (signer, message) = (Signer::new(algorithm, &KEY), message());
    let mut frame = Vec::with_capacity(message.len());
    bencher.counter(mib()).bench_local(|| {
        frame.clear();
        frame.extend_from_slice(black_box(&message));
        signer.sign(&frame, NONCE)
    });
}

#[divan::bench]
fn sign_gmac_rustcrypto(bencher: Bencher<'_, '_>) {
    let (gcm, message) = (Aes128Gcm::new(&KEY.into()), message());
    bencher.counter(mib()).bench_local(|| {
        let mut nothing = [0u8; 0];
        gcm.encrypt_inout_detached(&[0; 12].into(), black_box(&message), nothing.as_mut_slice().into())
    });
}

#[divan::bench]
fn sign_cmac_rustcrypto(bencher: Bencher<'_, '_>) {
    let template = make_signing_algo(SigningAlgorithmId::AesCmac, &KEY).expect("AES-CMAC is compiled in");
    let message = message();
    bencher.counter(mib()).bench_local(|| {
        let mut mac = template.clone_box();
        mac.update(black_box(&message));
        mac.finalize()
    });
}

fn pair(cipher: Cipher) -> (Sealer, Sealer) {
    let (one, other) = (vec![1; cipher.key_length()], vec![2; cipher.key_length()]);
    (Sealer::new(cipher, 1, &one, &other), Sealer::new(cipher, 1, &other, &one))
}

fn room_and_message() -> Vec<u8> {
    [&[0; TRANSFORM_SIZE][..], &message()].concat()
}

#[divan::bench(args = Cipher::OFFERED)]
fn seal(bencher: Bencher<'_, '_>, cipher: Cipher) {
    let ((client, _), mut frame) = (pair(cipher), room_and_message());
    bencher.counter(mib()).bench_local(|| client.seal(black_box(&mut frame)));
}

#[divan::bench(args = Cipher::OFFERED)]
fn open(bencher: Bencher<'_, '_>, cipher: Cipher) {
    let ((client, server), mut frame) = (pair(cipher), room_and_message());
    client.seal(&mut frame);
    bencher.counter(mib()).with_inputs(|| frame.clone()).bench_local_refs(|frame| server.open(frame));
}

#[divan::bench]
fn seal_gcm_rustcrypto(bencher: Bencher<'_, '_>) {
    let (gcm, mut message) = (Aes128Gcm::new(&KEY.into()), message());
    bencher
        .counter(mib())
        .bench_local(|| gcm.encrypt_inout_detached(&[0; 12].into(), &[0; 32], black_box(&mut message[..]).into()));
}
