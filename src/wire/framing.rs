//! The boundaries of frames in a byte stream, as a plain value (MS-SMB2 2.1, RFC 1002 4.3.1).
//!
//! Both transports put a prefix of four bytes before each message: a type, which is 0 for a message, and a length.
//! Small frames share a buffer. A large frame is received into a buffer of its own, and its payload can later be a
//! slice of that buffer. Nothing is allocated for a frame that is larger than the caller admits.

use super::codec::Malformed;
use bytes::{Buf, BytesMut};

/// The size of the buffer for small frames and for the beginning of large ones, in bytes. Frames larger than this, with
/// their prefix, get a buffer of their own.
const HEAD_SIZE: usize = 512;
/// The transport's length prefix, in bytes.
const PREFIX_SIZE: usize = smb_transport::SmbTcpMessageHeader::SIZE;
/// Frame type of a message (RFC 1002 4.3.1), the only one of direct TCP.
const SESSION_MESSAGE: u8 = 0;
/// Frame type of a NetBIOS keep-alive, which has no content.
const SESSION_KEEP_ALIVE: u8 = 0x85;

/// Cuts a byte stream into frames.
#[derive(Debug)]
pub struct Deframer {
    /// Received bytes that no frame uses yet. The buffer is small, so that a small frame needs one system call and a
    /// large one is received into a buffer of its own.
    head: BytesMut,
    /// The large frame that is being received, and its length in bytes.
    large: Option<(BytesMut, usize)>,
}

impl Default for Deframer {
    fn default() -> Self {
        Deframer { head: BytesMut::with_capacity(HEAD_SIZE), large: None }
    }
}

impl Deframer {
    /// The buffer for the next bytes of the stream, and how many of them it accepts: at least one, once
    /// [`Deframer::next`] has returned `None`.
    pub fn room(&mut self) -> (&mut BytesMut, usize) {
        if let Some((frame, length)) = &mut self.large {
            let missing = *length - frame.len();
            return (frame, missing);
        }
        if self.head.capacity() - self.head.len() < HEAD_SIZE / 2 {
            self.head.reserve(HEAD_SIZE);
        }
        let room = HEAD_SIZE - self.head.len().min(HEAD_SIZE - 1);
        (&mut self.head, room)
    }

    /// The next frame, without its prefix; `None` if more bytes are needed. `admits` decides whether a frame may have a
    /// length, in bytes, as soon as the prefix is received.
    ///
    /// # Errors
    ///
    /// [`Malformed`] if the frame is neither a message nor an empty keep-alive, or if `admits` refuses the length.
    pub fn next(&mut self, admits: impl Fn(u64) -> bool) -> Result<Option<BytesMut>, Malformed> {
        if let Some((frame, length)) = self.large.take() {
            if frame.len() == length {
                return Ok(Some(frame));
            }
            self.large = Some((frame, length));
            return Ok(None);
        }
        while self.head.len() >= PREFIX_SIZE {
            let kind = self.head[0];
            let length = u32::from_be_bytes([0, self.head[1], self.head[2], self.head[3]]) as usize;
            if kind == SESSION_KEEP_ALIVE && length == 0 {
                self.head.advance(PREFIX_SIZE);
                continue;
            }
            if kind != SESSION_MESSAGE {
                return Err(Malformed(no_frame(&self.head)));
            }
            if !admits(length as u64) {
                return Err(Malformed("a frame larger than everything that was asked for"));
            }
            return Ok(self.cut(length));
        }
        Ok(None)
    }

    /// The frame of this length at the start of the received bytes, if it is complete. A large frame moves to its own
    /// buffer.
    fn cut(&mut self, length: usize) -> Option<BytesMut> {
        let whole = PREFIX_SIZE + length;
        if self.head.len() >= whole {
            self.head.advance(PREFIX_SIZE);
            return Some(self.head.split_to(length));
        }
        if whole > HEAD_SIZE {
            self.head.advance(PREFIX_SIZE);
            let mut frame = BytesMut::with_capacity(length);
            frame.extend_from_slice(&self.head.split());
            self.large = Some((frame, length));
        }
        None
    }
}

/// What the first bytes of a stream are that do not begin a frame: other servers are recognised by their greetings.
fn no_frame(begin: &[u8]) -> &'static str {
    match begin {
        [b'H', b'T', b'T', b'P', ..] | [b'<', ..] => "HTTP, as a web server does",
        [b'S', b'S', b'H', b'-', ..] => "the greeting of an SSH server",
        // An alert or a handshake record (RFC 8446 5.1).
        [0x15 | 0x16, 3, ..] => "TLS, as a server of encrypted web pages or mail does",
        // The reply codes of FTP and SMTP (RFC 959 4.2, RFC 5321 4.2).
        [b'2' | b'5', b'0'..=b'5', b'0'..=b'9', b' ' | b'-', ..] => "the greeting of an FTP or mail server",
        _ => "a frame that is not a session message",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The frames of a stream that is received in pieces of these sizes, repeated.
    fn cut(stream: &[u8], pieces: &[usize]) -> Result<Vec<Vec<u8>>, Malformed> {
        let (mut deframer, mut frames, mut rest) = (Deframer::default(), Vec::new(), stream);
        for piece in pieces.iter().cycle() {
            while let Some(frame) = deframer.next(|length| length < 100_000)? {
                frames.push(frame.to_vec());
            }
            if rest.is_empty() {
                return Ok(frames);
            }
            let (buffer, room) = deframer.room();
            let (now, later) = rest.split_at((*piece).min(room).min(rest.len()));
            buffer.extend_from_slice(now);
            rest = later;
        }
        Ok(frames)
    }

    fn stream(lengths: &[usize]) -> (Vec<u8>, Vec<Vec<u8>>) {
        let frames: Vec<Vec<u8>> = lengths.iter().enumerate().map(|(fill, length)| vec![fill as u8; *length]).collect();
        let prefixed = frames.iter().map(|frame| [&(frame.len() as u32).to_be_bytes()[..], frame].concat());
        (prefixed.collect::<Vec<_>>().concat(), frames)
    }

    #[test]
    fn frames_are_the_same_at_every_split_of_the_stream() {
        let lengths = [0, 1, 507, 508, 509, 4, 512, 4096, 70_000, 68, 68, 68, 20_000];
        let (stream, frames) = stream(&lengths);
        for pieces in [&[1][..], &[3, 4, 5], &[511, 1], &[512], &[4096, 7], &[1 << 20]] {
            assert_eq!(cut(&stream, pieces).as_ref(), Ok(&frames), "in pieces of {pieces:?}");
        }
    }

    #[test]
    fn netbios_keep_alive_packets_are_skipped() {
        let stream = [&[0x85, 0, 0, 0][..], &[0, 0, 0, 1, 7], &[0x85, 0, 0, 0]].concat();
        assert_eq!(cut(&stream, &[3]), Ok(vec![vec![7]]));
    }

    #[test]
    fn an_unknown_or_too_large_frame_is_refused_at_its_prefix() {
        assert!(cut(&[1, 0, 0, 1], &[4]).is_err_and(|malformed| malformed.0.contains("session message")));
        assert!(cut(&[0x85, 0, 0, 1], &[4]).is_err());
        assert!(cut(&[0, 0xff, 0xff, 0xff], &[4]).is_err_and(|malformed| malformed.0.contains("larger")));
        assert!(cut(b"GET / HTTP/1.1", &[4]).is_err());
    }

    #[test]
    fn a_large_frame_is_received_into_its_own_buffer_without_a_copy() {
        let mut deframer = Deframer::default();
        deframer.room().0.extend_from_slice(&[0, 0, 0x40, 0, 1, 2, 3]);
        assert_eq!(deframer.next(|_| true), Ok(None));
        let (buffer, room) = deframer.room();
        assert_eq!((buffer.capacity(), room), (0x4000, 0x4000 - 3));
        let at = buffer.as_ptr();
        buffer.resize(0x4000, 9);
        let frame = deframer.next(|_| true).unwrap().unwrap();
        assert_eq!((frame.as_ptr(), frame.len()), (at, 0x4000));
    }

    #[test]
    fn other_servers_are_recognised_by_their_greetings() {
        for (greeting, name) in [
            (&b"HTTP/1.1 400 Bad Request"[..], "HTTP"),
            (b"<!DOCTYPE html>", "HTTP"),
            (b"SSH-2.0-OpenSSH_9.2", "SSH"),
            (b"\x15\x03\x01\0\x02\x02\x46", "TLS"),
            (b"220 mail ESMTP", "mail"),
            (b"\x9f\x8e\x7d\x6c", "not a session message"),
        ] {
            let error = cut(greeting, &[greeting.len()]).unwrap_err();
            assert!(error.0.contains(name), "{greeting:?}: {error:?}");
        }
    }
}
