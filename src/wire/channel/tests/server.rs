//! A server in memory that holds requests until a test lets it answer: in any order, late, never, with unusual credits,
//! signed or encrypted, in frames of several messages, or forged.

use super::super::Security;
use super::pair::{ERROR_BODY, create_body};
use crate::wire::NtStatus;
use crate::wire::codec::Put;
use crate::wire::crypto::encryption::TRANSFORM_SIZE;
use crate::wire::crypto::signing::Nonce;
use crate::wire::crypto::{Cipher, Sealer, Signer, SigningAlgorithm};
use crate::wire::header::{Command, Header, SIGNATURE, UNSOLICITED, flags};
use crate::wire::scripted::{Seen, seen};
use std::sync::Arc;

/// The protection of a session.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Mode {
    Plain,
    Signed,
    Sealed,
}

/// A request that the server has received and holds.
#[derive(Clone, Debug)]
pub(super) struct Held {
    pub(super) header: Header,
    pub(super) body: Vec<u8>,
    /// The tree of its chain, by which the test tells chains apart.
    pub(super) tag: u32,
    /// Whether an interim response was sent.
    pub(super) is_async: bool,
    /// Whether it is alone in its chain.
    pub(super) is_single: bool,
}

impl Held {
    pub(super) fn is(&self, command: Command) -> bool {
        self.header.command == command as u16
    }
}

/// One message from the server.
#[derive(Clone, Debug)]
pub(super) struct Message {
    pub(super) header: Header,
    pub(super) body: Vec<u8>,
}

pub(super) struct Server {
    mode: Mode,
    signer: Signer,
    sealer: Sealer,
    pub(super) held: Vec<Held>,
    /// The id that the next request must have.
    pub(super) next_id: u64,
}

const SIGNING_KEY: [u8; 16] = [1; 16];

impl Server {
    /// A server, and the keys of its client.
    pub(super) fn new(mode: Mode) -> (Server, Security) {
        let (one, other) = ([2; 16], [3; 16]);
        let signer = || Signer::new(SigningAlgorithm::AesGmac, &SIGNING_KEY);
        let security = Security {
            signer: (mode != Mode::Plain).then(|| Arc::new(signer())),
            sign_all: mode != Mode::Plain,
            sealer: (mode == Mode::Sealed).then(|| Arc::new(Sealer::new(Cipher::Aes128Gcm, 0, &one, &other))),
            seal_all: mode == Mode::Sealed,
        };
        let sealer = Sealer::new(Cipher::Aes128Gcm, 0, &other, &one);
        (Server { mode, signer: signer(), sealer, held: Vec::new(), next_id: 0 }, security)
    }

    /// Receives a frame of the client, with its prefix. Returns its requests, and the message ids that it cancels.
    pub(super) fn take(&mut self, mut frame: Vec<u8>) -> (Vec<Held>, Vec<u64>) {
        let mut at = 4;
        assert_eq!(frame[..4], ((frame.len() - 4) as u32).to_be_bytes());
        if self.mode == Mode::Sealed {
            self.sealer.open(&mut frame[4..]).expect("the client should encrypt");
            at += TRANSFORM_SIZE;
        }
        self.verify(&frame[at..]);
        let messages = seen(&frame[at..]);
        let is_single = messages.len() == 1;
        let (mut held, mut cancelled) = (Vec::new(), Vec::new());
        for Seen { header, body, .. } in messages {
            if header.command == Command::Cancel as u16 {
                cancelled.push(header.message_id);
                continue;
            }
            assert_eq!(header.message_id, self.next_id, "a message id was left out, or used twice");
            assert!(header.credit_charge > 0);
            self.next_id += u64::from(header.credit_charge);
            held.push(Held { header, body, tag: header.tree_id(), is_async: false, is_single });
        }
        self.held.extend(held.iter().cloned());
        (held, cancelled)
    }

    fn verify(&self, mut rest: &[u8]) {
        while self.mode == Mode::Signed && !rest.is_empty() {
            let header = Header::parse(rest).unwrap();
            let end = if header.next_command == 0 { rest.len() } else { header.next_command as usize };
            let mut message = rest[..end].to_vec();
            let signature = message[SIGNATURE].try_into().unwrap();
            message[SIGNATURE].fill(0);
            let cancel = header.command == Command::Cancel as u16;
            let nonce = Nonce { message_id: header.message_id, from_server: false, cancel };
            assert!(self.signer.verify(&message, nonce, &signature), "the client should sign");
            rest = &rest[end..];
        }
    }

    /// The final response to a request.
    pub(super) fn response(held: &Held, fails: bool, credits: u16) -> Message {
        let is_async = if held.is_async { flags::ASYNC } else { 0 };
        let status = if fails { NtStatus::ACCESS_DENIED } else { NtStatus::SUCCESS };
        let header = Header { status, credits, flags: flags::RESPONSE | is_async, ..held.header };
        let async_or_tree = if held.is_async { async_id(held.tag) } else { held.header.async_or_tree };
        let body = if fails { ERROR_BODY.to_vec() } else { body(held) };
        Message { header: Header { async_or_tree, next_command: 0, ..header }, body }
    }

    /// The interim response to a request.
    pub(super) fn interim(held: &mut Held, credits: u16) -> Message {
        held.is_async = true;
        let Message { header, .. } = Server::response(held, true, credits);
        Message { header: Header { status: NtStatus::PENDING, ..header }, body: ERROR_BODY.to_vec() }
    }

    /// The break of a lease.
    pub(super) fn lease_break(key: u128) -> Message {
        let mut body = vec![0; 44];
        body[0] = 44;
        body[8..24].copy_from_slice(&key.to_le_bytes());
        let header = Header { message_id: UNSOLICITED, flags: flags::RESPONSE, ..Header::blank(Command::OplockBreak) };
        Message { header, body }
    }

    /// A frame of these messages, without its prefix.
    pub(super) fn frame(&self, messages: &[Message]) -> Vec<u8> {
        self.frame_in(self.mode, &self.signer, messages)
    }

    /// A frame of these messages that is made without the keys of the session, or altered in one bit.
    pub(super) fn forged(&self, messages: &[Message], flips_a_bit: bool) -> Vec<u8> {
        let other = Signer::new(SigningAlgorithm::AesGmac, &[9; 16]);
        let mode = if self.mode == Mode::Sealed && !flips_a_bit { Mode::Signed } else { self.mode };
        let mut frame = self.frame_in(mode, &other, messages);
        if flips_a_bit && let Some(last) = frame.last_mut() {
            *last ^= 1;
        }
        frame
    }

    fn frame_in(&self, mode: Mode, signer: &Signer, messages: &[Message]) -> Vec<u8> {
        let mut frame = vec![0; if mode == Mode::Sealed { TRANSFORM_SIZE } else { 0 }];
        let last = messages.len() - 1;
        for (index, Message { header, body }) in messages.iter().enumerate() {
            let start = frame.len();
            let size = (64 + body.len()).next_multiple_of(8);
            let next_command = if index == last { 0 } else { size as u32 };
            let sign = mode == Mode::Signed && header.message_id != UNSOLICITED && !header.is_interim();
            let signed = if sign { flags::SIGNED } else { 0 };
            Header { next_command, flags: header.flags | signed, ..*header }.put(&mut frame);
            frame.extend_from_slice(body);
            if index != last {
                frame.resize(start + size, 0);
            }
            if sign {
                let nonce = Nonce { message_id: header.message_id, from_server: true, cancel: false };
                let signature = signer.sign(&frame[start..], nonce);
                frame[start..][SIGNATURE].copy_from_slice(&signature);
            }
        }
        if mode == Mode::Sealed {
            self.sealer.seal(&mut frame);
        }
        frame
    }
}

/// The AsyncId of the requests of a chain.
pub(super) fn async_id(tag: u32) -> u64 {
    u64::from(tag) | 1 << 40
}

/// The body of a success. The data of a READ is its own message id.
fn body(held: &Held) -> Vec<u8> {
    let mut body = Vec::new();
    match held {
        held if held.is(Command::Read) => {
            body.put_u16(17).put_u16(80).put_u32(8).put_u64(0).put_u64(held.header.message_id);
        }
        held if held.is(Command::Write) => {
            body.put_u32(17).put_bytes(&held.body[4..8]).put_u64(0);
        }
        held if held.is(Command::Create) => body = create_body(u128::from(held.tag).to_le_bytes()),
        held if held.is(Command::Close) => body = vec![60, 0, 0, 0],
        held if held.is(Command::ChangeNotify) => body = vec![9, 0, 72, 0, 0, 0, 0, 0],
        _ => body = vec![4, 0, 0, 0],
    }
    body
}
