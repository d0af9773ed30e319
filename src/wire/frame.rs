//! Requests to frames, and frames to replies: compounds, padding, signatures, encryption (MS-SMB2 3.2.4.1, 3.2.5.1).
//!
//! A frame is the content of one transport packet: one message, a compound of several, or either of them encrypted.
//! When a frame is sent, payloads of more than 2 KiB are segments of one vectored write and are not copied. A frame
//! that must be signed or encrypted is copied into one buffer, because the copy costs less than signing in pieces. A
//! received frame is one buffer. A message that is at least three quarters of it is a slice of that buffer; smaller
//! messages are copied. When the payload of a READ is a slice of its message is decided in [`io`](super::messages::io).
//!
//! Invariant: [`assemble`] gives each request as many consecutive message ids as its charge, without a gap.

use super::codec::{Malformed, TooLong, length32};
use super::credits::{CREDIT_PAYLOAD, Cost, Lane, charge_for};
use super::crypto::encryption::TRANSFORM_SIZE;
use super::crypto::signing::{Nonce, Signature};
use super::crypto::{Sealer, Signer};
use super::header::{Command, HEADER_SIZE, Header, SIGNATURE, flags};
use super::messages::reparse::GET_REPARSE_POINT;
use super::messages::snapshots::ENUMERATE_SNAPSHOTS;
use super::status::NtStatus;
use bytes::{Buf, Bytes, BytesMut};
use std::sync::Arc;

/// The largest payload that is copied behind its header, in bytes: up to this size the copy costs less than a segment.
const INLINE_PAYLOAD: usize = 2048;
/// The largest frame, in bytes: the transport's length field has 24 bits (MS-SMB2 2.1).
pub const MAX_FRAME: usize = (1 << 24) - 1;
/// The transport's length prefix, in bytes.
const PREFIX_SIZE: usize = 4;
/// The largest response without a payload, in bytes: header, create contexts, error data.
const SMALL_RESPONSE: u32 = 4096;

/// The FileId that means the file of the message before, in a related compound (MS-SMB2 3.2.4.1.4).
pub const RELATED_FILE: [u8; 16] = [0xff; 16];

/// One request, without its header.
#[derive(Clone, Debug)]
pub struct Request {
    /// The command.
    pub command: Command,
    /// The message body. Offsets in it count from the start of the header.
    pub body: Vec<u8>,
    /// The data that follows the body: that of a WRITE, or the input of an IOCTL.
    pub payload: Bytes,
    /// The credits that it costs (CreditCharge).
    pub charge: u16,
    /// The largest response that it can have, in bytes. Frames larger than all expected responses together are refused.
    pub response_limit: u32,
    /// Whether no program waits for it: it is sent in the bulk lane, behind small requests.
    pub patient: bool,
    /// The part that is too long to be sent, if there is one.
    too_long: Option<TooLong>,
    /// Whether it works on a file of its own even behind related requests of a compound.
    pub unrelated: bool,
}

impl Request {
    /// A request of one credit, with a small response and no payload.
    pub fn new(command: Command, body: Vec<u8>) -> Request {
        Request {
            command,
            body,
            payload: Bytes::new(),
            charge: 1,
            response_limit: SMALL_RESPONSE,
            patient: false,
            unrelated: false,
            too_long: None,
        }
    }

    /// A request like [`Request::new`]. If `body` is an error, [`Chain::fits`] fails with it.
    pub fn checked(command: Command, body: Result<Vec<u8>, TooLong>) -> Request {
        let too_long = body.as_ref().err().copied();
        Request { too_long, ..Request::new(command, body.unwrap_or_default()) }
    }

    /// The same request, working on a file of its own behind related ones.
    pub fn unrelated(self) -> Request {
        Request { unrelated: true, ..self }
    }

    /// Sets the FileId of a request on an open file. No effect on other requests.
    pub fn works_on(&mut self, file: [u8; 16]) {
        if let Some(field) = file_id_offset(self.command).and_then(|at| self.body.get_mut(at..at + 16)) {
            field.copy_from_slice(&file);
        }
    }

    /// The same request, for which no program waits: it is sent in the bulk lane.
    pub fn patient(self) -> Request {
        Request { patient: true, ..self }
    }

    /// The same request with a payload behind the body. Sets the charge to that of the payload, whatever the response
    /// costs.
    pub fn with_payload(mut self, payload: Bytes) -> Request {
        match length32(payload.len(), TooLong::Other("the data of a request")) {
            Ok(length) => self.charge = charge_for(length),
            Err(too_long) => self.too_long = Some(too_long),
        }
        self.payload = payload;
        self
    }

    /// The same request with a response that carries up to `length` bytes of data. Sets the charge to that of the
    /// response, whatever the payload costs.
    pub fn with_response(mut self, length: u32) -> Request {
        self.charge = charge_for(length);
        self.response_limit = length.saturating_add(SMALL_RESPONSE);
        self
    }

    /// Whether it belongs to the bulk lane: it carries at least 64 KiB of file data in either direction, or no program
    /// waits for it.
    fn is_bulk(&self) -> bool {
        let received = self.response_limit.saturating_sub(SMALL_RESPONSE);
        let is_long = received >= CREDIT_PAYLOAD || self.payload.len() >= CREDIT_PAYLOAD as usize;
        self.patient || (matches!(self.command, Command::Read | Command::Write) && is_long)
    }

    /// The size of the message, in bytes, without padding.
    fn size(&self) -> usize {
        HEADER_SIZE + self.body.len() + self.payload.len()
    }
}

/// The value of [`Chain::related_from`] for a chain in which no request works on the file of another.
pub const UNRELATED: usize = usize::MAX;

/// The requests of one frame.
#[derive(Clone, Debug)]
pub struct Chain {
    /// The requests in order; at least one.
    pub requests: Vec<Request>,
    /// The index of the first related request. From it on, each request works on the file of the one before it unless
    /// it is [`Request::unrelated`]. The requests before it have files of their own.
    pub related_from: usize,
    /// The TreeId; 0 outside of any tree.
    pub tree_id: u32,
    /// Whether the tree requires encryption.
    pub seal: bool,
    /// Whether it is signed even in a session that does not sign every message.
    pub force_signature: bool,
}

impl Chain {
    /// A chain of one request, outside of any tree.
    pub fn single(request: Request) -> Chain {
        Chain { requests: vec![request], related_from: UNRELATED, tree_id: 0, seal: false, force_signature: false }
    }

    /// Whether the request at `index` works on the file of the one before it.
    pub fn is_related(&self, index: usize) -> bool {
        index >= self.related_from && !self.requests[index].unrelated
    }

    /// The cost of all requests, and the lane of the chain: bulk if one of them is.
    pub fn cost(&self) -> Cost {
        let credits = self.requests.iter().map(|request| u32::from(request.charge)).sum();
        Cost { credits, lane: if self.requests.iter().any(Request::is_bulk) { Lane::Bulk } else { Lane::Small } }
    }

    /// Checks that each request and the frame as a whole can be sent.
    ///
    /// # Errors
    ///
    /// [`TooLong`] with the part that is too long, or if the frame would exceed [`MAX_FRAME`].
    pub fn fits(&self) -> Result<(), TooLong> {
        if let Some(too_long) = self.requests.iter().find_map(|request| request.too_long) {
            return Err(too_long);
        }
        let most = self.requests.iter().map(|request| request.size().next_multiple_of(8)).sum::<usize>();
        if most + TRANSFORM_SIZE > MAX_FRAME { Err(TooLong::Other("a frame")) } else { Ok(()) }
    }

    /// The bytes of data in its payloads.
    pub fn payload(&self) -> usize {
        self.requests.iter().map(|request| request.payload.len()).sum()
    }

    /// Whether it contains a WRITE.
    pub fn writes(&self) -> bool {
        self.requests.iter().any(|request| request.command == Command::Write)
    }
}

/// Whether these requests contain a WRITE, SET_INFO or IOCTL: a change that must not be executed late. A CREATE does
/// not count, because it changes no file data.
pub fn changes(requests: &[Request]) -> bool {
    let changing = |request: &Request| match request.command {
        Command::Write | Command::SetInfo => true,
        // The control code is the third field (MS-SMB2 2.2.31).
        Command::Ioctl => {
            let reads = [GET_REPARSE_POINT, ENUMERATE_SNAPSHOTS].map(u32::to_le_bytes);
            !reads.iter().any(|code| request.body.get(4..8) == Some(&code[..]))
        }
        _ => false,
    };
    requests.iter().any(changing)
}

/// Whether these requests, if they succeed, leave a file open at the server: a CREATE without a CLOSE.
pub fn leaves_open(requests: &[Request]) -> bool {
    let has = |command| requests.iter().any(|request| request.command == command && !request.unrelated);
    has(Command::Create) && !has(Command::Close)
}

/// The protection of a frame.
#[derive(Clone, Debug)]
pub enum Protect {
    /// None.
    Plain,
    /// Each message is signed.
    Sign(Arc<Signer>),
    /// The whole frame is encrypted, which authenticates it as well.
    Seal(Arc<Sealer>),
}

/// The header fields that do not depend on the requests.
#[derive(Clone, Copy, Debug)]
pub struct Addressing {
    /// The message id of the first request. Each request uses as many ids as its charge.
    pub first_id: u64,
    /// Credits that the last message requests beyond its charge.
    pub credits: u16,
    /// Whether multi-credit requests are supported. SMB 2.0.2 and NetBIOS do not support them: CreditCharge is then 0
    /// (MS-SMB2 2.2.1.2).
    pub multi_credit: bool,
    /// The SessionId; 0 before there is a session.
    pub session_id: u64,
}

/// The segments of a frame, in order, with the transport's length prefix. The caller ensures that the chain
/// [fits](Chain::fits).
pub fn assemble(chain: &Chain, address: Addressing, protect: &Protect) -> Vec<Bytes> {
    let last = chain.requests.len() - 1;
    let padded = |index: usize, size: usize| if index == last { size } else { size.next_multiple_of(8) };
    let plain_size: usize =
        chain.requests.iter().enumerate().map(|(index, request)| padded(index, request.size())).sum();
    // A frame that is signed or encrypted is one piece; otherwise a large payload is a segment of its own.
    let in_one_piece = !matches!(protect, Protect::Plain);
    let mut segments = Vec::with_capacity(3);
    let mut current = begin(plain_size, if in_one_piece { plain_size } else { 1024 }, protect);
    let mut message_id = address.first_id;
    for (index, request) in chain.requests.iter().enumerate() {
        let size = request.size();
        let padding = padded(index, size) - size;
        let header = Header {
            credit_charge: if address.multi_credit { request.charge } else { 0 },
            status: NtStatus::SUCCESS,
            command: request.command as u16,
            credits: request.charge.saturating_add(if index == last { address.credits } else { 0 }),
            flags: if chain.is_related(index) { flags::RELATED } else { 0 },
            next_command: if index == last { 0 } else { length_as_u32(size + padding) },
            message_id,
            async_or_tree: u64::from(chain.tree_id) << 32,
            session_id: address.session_id,
        };
        let start = current.len();
        put_message(&mut current, header, &request.body, protect);
        if in_one_piece || request.payload.len() <= INLINE_PAYLOAD {
            current.extend_from_slice(&request.payload);
        } else {
            segments.push(current.split().freeze());
            segments.push(request.payload.clone());
        }
        current.resize(current.len() + padding, 0);
        if in_one_piece {
            sign(&mut current[start..], protect, Nonce { message_id, from_server: false, cancel: false });
        }
        message_id = message_id.wrapping_add(u64::from(request.charge));
    }
    seal(&mut current, protect);
    if !current.is_empty() {
        segments.push(current.freeze());
    }
    segments
}

/// The frame of a CANCEL for the request `message_id`. A CANCEL has no message id of its own and costs no credit
/// (MS-SMB2 3.2.4.24).
pub fn assemble_cancel(message_id: u64, async_id: Option<u64>, session_id: u64, protect: &Protect) -> Bytes {
    const BODY: [u8; 4] = [4, 0, 0, 0];
    let size = HEADER_SIZE + BODY.len();
    let mut frame = begin(size, size, protect);
    let header = Header {
        credit_charge: 0,
        status: NtStatus::SUCCESS,
        command: Command::Cancel as u16,
        credits: 0,
        flags: if async_id.is_some() { flags::ASYNC } else { 0 },
        next_command: 0,
        message_id,
        async_or_tree: async_id.unwrap_or(0),
        session_id,
    };
    let start = frame.len();
    put_message(&mut frame, header, &BODY, protect);
    sign(&mut frame[start..], protect, Nonce { message_id, from_server: false, cancel: true });
    seal(&mut frame, protect);
    frame.freeze()
}

/// The beginning of a frame whose messages have `plain_size` bytes: the length prefix, and space for the transform
/// header. The buffer has capacity for `room` bytes of messages.
fn begin(plain_size: usize, room: usize, protect: &Protect) -> BytesMut {
    let transform = if matches!(protect, Protect::Seal(_)) { TRANSFORM_SIZE } else { 0 };
    debug_assert!(plain_size + transform <= MAX_FRAME, "the chain fits");
    let mut frame = BytesMut::with_capacity(PREFIX_SIZE + transform + room);
    frame.extend_from_slice(&length_as_u32(plain_size + transform).to_be_bytes());
    frame.resize(PREFIX_SIZE + transform, 0);
    frame
}

/// A length within a frame that [fits](Chain::fits), and so is far below 2^32, as 32 bits.
fn length_as_u32(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}

/// Appends header and body of a message.
fn put_message(out: &mut BytesMut, mut header: Header, body: &[u8], protect: &Protect) {
    if let Protect::Sign(_) = protect {
        header.flags |= flags::SIGNED;
    }
    let mut bytes = Vec::with_capacity(HEADER_SIZE);
    header.put(&mut bytes);
    out.extend_from_slice(&bytes);
    out.extend_from_slice(body);
}

/// Signs a message whose Signature field holds zeros, if `protect` demands it.
fn sign(message: &mut [u8], protect: &Protect, nonce: Nonce) {
    if let Protect::Sign(signer) = protect {
        let signature = signer.sign(message, nonce);
        message[SIGNATURE].copy_from_slice(&signature);
    }
}

/// Encrypts a whole frame, if `protect` demands it.
fn seal(frame: &mut BytesMut, protect: &Protect) {
    if let Protect::Seal(sealer) = protect {
        sealer.seal(&mut frame[PREFIX_SIZE..]);
    }
}

/// One response: header and body.
#[derive(Clone, Debug)]
pub struct Reply {
    /// The header, parsed.
    pub header: Header,
    /// The whole message; offsets in it count from its start. The Signature field of a signed message holds zeros,
    /// because a signature is computed over zeros there.
    pub message: Bytes,
    /// The Signature field as received; zeros if the message is not signed.
    pub signature: Signature,
    /// Whether the message was received encrypted.
    pub sealed: bool,
}

impl Reply {
    /// The server's status.
    pub fn status(&self) -> NtStatus {
        self.header.status
    }

    /// The body: the message behind its header.
    pub fn body(&self) -> &[u8] {
        self.message.get(HEADER_SIZE..).unwrap_or_default()
    }

    /// The message as received, with its signature, which the pre-authentication hash covers (MS-SMB2 3.2.5.2).
    pub fn as_received(&self) -> Vec<u8> {
        let mut message = self.message.to_vec();
        if self.header.has(flags::SIGNED) {
            message[SIGNATURE].copy_from_slice(&self.signature);
        }
        message
    }

    /// Whether the message is signed and its signature is right (MS-SMB2 3.1.5.1).
    pub fn is_signed_by(&self, signer: &Signer) -> bool {
        if !self.header.has(flags::SIGNED) {
            return false;
        }
        let nonce = Nonce { message_id: self.header.message_id, from_server: true, cancel: false };
        signer.verify(&self.message, nonce, &self.signature)
    }
}

/// Splits a decrypted frame into its messages. `sealed` says whether the frame was received encrypted. Iteration ends
/// after a message with a wrong header or NextCommand, or that is no response.
pub fn split(frame: BytesMut, sealed: bool) -> Split {
    Split { size: frame.len(), rest: Some(frame), sealed }
}

/// The messages of a frame: see [`split`].
#[derive(Debug)]
pub struct Split {
    /// The bytes that are not split yet; `None` at the end.
    rest: Option<BytesMut>,
    /// The size of the whole frame, in bytes.
    size: usize,
    /// Whether the frame was received encrypted.
    sealed: bool,
}

impl Split {
    /// The first message of `frame`. Keeps the bytes after it for the next call.
    fn cut(&mut self, mut frame: BytesMut) -> Result<Reply, Malformed> {
        let header = Header::parse(&frame)?;
        if !header.has(flags::RESPONSE) {
            return Err(Malformed("a request, where a response should be"));
        }
        let size = match header.next_command as usize {
            0 => frame.len(),
            next if next < HEADER_SIZE || !next.is_multiple_of(8) || next >= frame.len() => {
                return Err(Malformed("a NextCommand that points nowhere"));
            }
            next => next,
        };
        // A slice keeps the whole frame in memory. A message of less than three quarters of the frame is copied
        // instead: a reply can wait long for the others of its chain, and file data stays in the cache.
        let mut message = if size < self.size - self.size / 4 {
            let message = BytesMut::from(&frame[..size]);
            frame.advance(size);
            message
        } else {
            frame.split_to(size)
        };
        self.rest = (header.next_command != 0).then_some(frame);
        let mut signature = Signature::default();
        if header.has(flags::SIGNED) {
            signature.swap_with_slice(&mut message[SIGNATURE]);
        }
        Ok(Reply { header, message: message.freeze(), signature, sealed: self.sealed })
    }
}

impl Iterator for Split {
    type Item = Result<Reply, Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        let rest = self.rest.take()?;
        Some(self.cut(rest))
    }
}

/// The offset of the FileId in a request's body; `None` for commands that do not work on an open file.
pub fn file_id_offset(command: Command) -> Option<usize> {
    match command {
        Command::Close | Command::Flush | Command::Lock | Command::Ioctl | Command::QueryDirectory => Some(8),
        Command::ChangeNotify => Some(8),
        Command::Read | Command::Write | Command::SetInfo => Some(16),
        Command::QueryInfo => Some(24),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::crypto::{Cipher, SigningAlgorithm};
    use super::*;

    const ADDRESS: Addressing = Addressing { first_id: 5, credits: 10, multi_credit: true, session_id: 42 };

    const RESPONSE: Header =
        Header { credits: 1, flags: flags::RESPONSE, message_id: 1, ..Header::blank(Command::Echo) };

    fn chain() -> Chain {
        let requests = vec![
            Request::new(Command::Create, vec![1; 57]),
            Request::new(Command::Write, vec![2; 48]).with_payload(Bytes::from(vec![3; 100_000])),
            Request::new(Command::Close, vec![4; 24]),
        ];
        Chain { requests, related_from: 1, tree_id: 9, seal: false, force_signature: false }
    }

    /// The messages of a frame as the server receives them, each turned into a response.
    fn as_responses(segments: &[Bytes]) -> Vec<Reply> {
        let mut frame = segments.concat();
        assert_eq!(u32::from_be_bytes(frame[..4].try_into().unwrap()) as usize, frame.len() - 4);
        let mut at = 4;
        loop {
            frame[at + 16] |= flags::RESPONSE as u8;
            match Header::parse(&frame[at..]).unwrap().next_command {
                0 => break,
                next => at += next as usize,
            }
        }
        replies(&frame[4..]).unwrap()
    }

    fn replies(frame: &[u8]) -> Result<Vec<Reply>, Malformed> {
        split(BytesMut::from(frame), false).collect()
    }

    #[test]
    fn messages_of_a_compound_are_aligned_numbered_and_related() {
        let replies = as_responses(&assemble(&chain(), ADDRESS, &Protect::Plain));
        assert_eq!(replies.iter().map(|r| r.header.message_id).collect::<Vec<_>>(), [5, 6, 8]);
        assert_eq!(replies.iter().map(|r| r.header.credit_charge).collect::<Vec<_>>(), [1, 2, 1]);
        assert_eq!(replies.iter().map(|r| r.header.has(flags::RELATED)).collect::<Vec<_>>(), [false, true, true]);
        assert_eq!(replies[0].header.tree_id(), 9);
        assert_eq!(replies[2].header.credits, 11);
        assert_eq!(&replies[1].body()[48..100_048], &[3; 100_000][..]);
    }

    #[test]
    fn a_large_payload_is_a_segment_of_its_own_and_not_a_copy() {
        let chain = chain();
        let segments = assemble(&chain, ADDRESS, &Protect::Plain);
        assert!(segments.iter().any(|segment| segment.as_ptr() == chain.requests[1].payload.as_ptr()));
    }

    #[test]
    fn each_message_of_a_compound_is_signed_with_its_padding() {
        let signer = Arc::new(Signer::new(SigningAlgorithm::AesCmac, &[1; 16]));
        let frame = assemble(&chain(), ADDRESS, &Protect::Sign(Arc::clone(&signer))).concat();
        let mut at = 4;
        for _ in 0..3 {
            let header = Header::parse(&frame[at..]).unwrap();
            let end = if header.next_command == 0 { frame.len() } else { at + header.next_command as usize };
            let mut message = frame[at..end].to_vec();
            let signature = message[SIGNATURE].to_vec();
            message[SIGNATURE].fill(0);
            let nonce = Nonce { message_id: header.message_id, from_server: false, cancel: false };
            assert_eq!(signer.sign(&message, nonce)[..], signature[..]);
            at = end;
        }
    }

    #[test]
    fn a_signed_reply_is_verified_with_its_signature_as_zeros() {
        let signer = Arc::new(Signer::new(SigningAlgorithm::AesGmac, &[1; 16]));
        let protect = Protect::Sign(Arc::clone(&signer));
        let mut frame = Vec::new();
        // Two messages of 80 bytes, the second with another id.
        for (message_id, next_command) in [(8, 80), (9, 0)] {
            let flags = flags::RESPONSE | flags::SIGNED;
            let start = frame.len();
            Header { message_id, next_command, flags, ..RESPONSE }.put(&mut frame);
            frame.extend_from_slice(&[message_id as u8; 16]);
            sign(&mut frame[start..], &protect, Nonce { message_id, from_server: true, cancel: false });
        }
        let replies = self::replies(&frame).unwrap();
        assert_eq!(replies.iter().flat_map(Reply::as_received).collect::<Vec<_>>(), frame);
        for reply in &replies {
            assert!(reply.is_signed_by(&signer));
            assert_eq!(reply.message[SIGNATURE], [0; 16]);
        }
        for changed in 80..160 {
            let mut frame = frame.clone();
            frame[changed] ^= 1;
            let replies = self::replies(&frame).unwrap_or_default();
            assert!(replies.iter().skip(1).all(|reply| !reply.is_signed_by(&signer)), "byte {changed}");
            assert!(replies.first().is_none_or(|reply| reply.is_signed_by(&signer)), "byte {changed}");
        }
    }

    #[test]
    fn an_unsigned_reply_is_unchanged_even_if_its_signature_field_is_not_zero() {
        let signer = Signer::new(SigningAlgorithm::AesGmac, &[1; 16]);
        let mut frame = Vec::new();
        RESPONSE.put(&mut frame);
        frame[SIGNATURE].fill(7);
        let reply = replies(&frame).unwrap().remove(0);
        assert_eq!((&reply.message[..], reply.as_received()), (&frame[..], frame.clone()));
        assert!(!reply.is_signed_by(&signer));
    }

    #[test]
    fn a_decrypted_frame_is_the_plain_one() {
        let keys = ([1u8; 16], [2u8; 16]);
        let client = Sealer::new(Cipher::Aes128Gcm, 42, &keys.0, &keys.1);
        let server = Sealer::new(Cipher::Aes128Gcm, 42, &keys.1, &keys.0);
        let mut sealed = assemble(&chain(), ADDRESS, &Protect::Seal(Arc::new(client))).concat();
        server.open(&mut sealed[4..]).unwrap();
        let plain = assemble(&chain(), ADDRESS, &Protect::Plain).concat();
        assert_eq!(sealed[4 + TRANSFORM_SIZE..], plain[4..]);
    }

    #[test]
    fn a_cancel_names_its_request_and_is_signed_or_encrypted() {
        let signer = Arc::new(Signer::new(SigningAlgorithm::AesGmac, &[1; 16]));
        let signed = assemble_cancel(7, Some(99), 42, &Protect::Sign(Arc::clone(&signer)));
        assert_eq!(signed[..4], [0, 0, 0, 68]);
        let header = Header::parse(&signed[4..]).unwrap();
        assert_eq!((header.message_id, header.async_id(), header.session_id), (7, Some(99), 42));
        let mut message = signed[4..].to_vec();
        message[SIGNATURE].fill(0);
        let nonce = Nonce { message_id: 7, from_server: false, cancel: true };
        assert_eq!(signer.sign(&message[..], nonce)[..], signed[4..][SIGNATURE]);

        let client = Sealer::new(Cipher::Aes128Gcm, 42, &[1; 16], &[2; 16]);
        let server = Sealer::new(Cipher::Aes128Gcm, 42, &[2; 16], &[1; 16]);
        let mut sealed = assemble_cancel(7, None, 42, &Protect::Seal(Arc::new(client))).to_vec();
        server.open(&mut sealed[4..]).unwrap();
        assert_eq!(sealed[4 + TRANSFORM_SIZE..], assemble_cancel(7, None, 42, &Protect::Plain)[4..]);
    }

    #[test]
    fn only_reads_and_writes_of_64_kib_and_more_are_bulk() {
        let lane = |request: Request| Chain::single(request).cost().lane;
        let write = |length| Request::new(Command::Write, vec![0; 48]).with_payload(Bytes::from(vec![0; length]));
        assert_eq!(lane(write(65_536)), Lane::Bulk);
        assert_eq!(lane(write(65_535)), Lane::Small);
        assert_eq!(lane(Request::new(Command::Read, vec![0; 48]).with_response(65_536)), Lane::Bulk);
        assert_eq!(lane(Request::new(Command::Read, vec![0; 48]).with_response(4096)), Lane::Small);
        assert_eq!(lane(Request::new(Command::QueryDirectory, vec![0; 32]).with_response(1 << 20)), Lane::Small);
        assert_eq!(chain().cost(), Cost { credits: 4, lane: Lane::Bulk });
    }

    #[test]
    fn a_chain_that_exceeds_a_frame_does_not_fit() {
        let write =
            |length: usize| Request::new(Command::Write, vec![0; 48]).with_payload(Bytes::from(vec![0; length]));
        let pair = |length| Chain { requests: vec![write(length), write(length)], ..chain() };
        assert_eq!(pair(8 << 19).fits(), Ok(()));
        assert_eq!(pair(8 << 20).fits(), Err(TooLong::Other("a frame")));
        let path = Request::checked(Command::Create, Err(TooLong::Path));
        assert_eq!(Chain { requests: vec![write(1), path], ..chain() }.fits(), Err(TooLong::Path));
    }

    #[test]
    fn a_frame_with_a_wrong_next_command_or_a_request_is_refused() {
        for next in [1, 8, 56, 63, 68, 72, 1 << 31, u32::MAX] {
            let mut frame = Vec::new();
            Header { next_command: next, ..RESPONSE }.put(&mut frame);
            frame.extend_from_slice(&[0; 8]);
            assert!(replies(&frame).is_err(), "NextCommand {next}");
        }
        let mut request = Vec::new();
        Header { flags: 0, ..RESPONSE }.put(&mut request);
        assert!(replies(&request).is_err());
    }

    #[test]
    fn only_a_message_that_is_most_of_its_frame_keeps_the_frame_in_memory() {
        let mut frame = Vec::new();
        Header { next_command: 128, ..RESPONSE }.put(&mut frame);
        frame.resize(128, 0);
        RESPONSE.put(&mut frame);
        frame.resize(4096, 7);
        let frame = BytesMut::from(&frame[..]);
        let whole = frame.as_ptr_range();
        let replies: Vec<Reply> = split(frame, false).collect::<Result<_, _>>().unwrap();
        assert_eq!(replies.iter().map(|reply| reply.message.len()).collect::<Vec<_>>(), [128, 4096 - 128]);
        assert!(!whole.contains(&replies[0].message.as_ptr()));
        assert!(whole.contains(&replies[1].message.as_ptr()));
    }
}
