//! Cuts a byte stream into frames of the direct TCP or NetBIOS transport, and reads the SMB2 headers in them.

/// SMB2 commands that tests count (MS-SMB2 2.2.1).
pub(crate) mod command {
    pub(crate) const NEGOTIATE: u16 = 0;
    pub(crate) const SESSION_SETUP: u16 = 1;
    pub(crate) const CREATE: u16 = 5;
    pub(crate) const FLUSH: u16 = 7;
    pub(crate) const READ: u16 = 8;
    pub(crate) const WRITE: u16 = 9;
    pub(crate) const IOCTL: u16 = 11;
    pub(crate) const QUERY_DIRECTORY: u16 = 14;
    pub(crate) const SET_INFO: u16 = 17;
}

const HEADER: usize = 64;

/// Cuts a stream into frames. Of an incomplete frame it keeps the length bytes and at most as much of the content as
/// the caller asks for.
#[derive(Default)]
pub(crate) struct Splitter {
    head: Vec<u8>,
    /// Bytes still to come of the current frame, when as much of it as is to be kept has arrived.
    rest: usize,
}

impl Splitter {
    /// Accepts the next bytes of the stream and calls `found` for every frame that ends in them, with its four length
    /// bytes and at most `keep` bytes of its content.
    pub(crate) fn push(&mut self, mut bytes: &[u8], keep: usize, mut found: impl FnMut(&[u8])) {
        while !bytes.is_empty() {
            if self.rest > 0 {
                let taken = self.rest.min(bytes.len());
                self.rest -= taken;
                bytes = &bytes[taken..];
                if self.rest == 0 {
                    found(&std::mem::take(&mut self.head));
                }
                continue;
            }
            let length = (self.head.len() >= 4).then(|| length(&self.head));
            let wanted = 4 + length.map_or(0, |length| length.min(keep));
            let taken = (wanted - self.head.len()).min(bytes.len());
            self.head.extend_from_slice(&bytes[..taken]);
            bytes = &bytes[taken..];
            if self.head.len() < wanted {
                continue;
            }
            match length {
                None if self::length(&self.head) > 0 => {}
                None => found(&std::mem::take(&mut self.head)),
                Some(length) if length > keep => self.rest = length - keep,
                Some(_) => found(&std::mem::take(&mut self.head)),
            }
        }
    }
}

/// The length in the four bytes before a frame: 24 bits for direct TCP (MS-SMB2 2.1). The NetBIOS session service uses
/// 17 bits, with zeros above (RFC 1002 4.3.1).
fn length(head: &[u8]) -> usize {
    usize::from(head[1]) << 16 | usize::from(head[2]) << 8 | usize::from(head[3])
}

/// The commands of the SMB2 messages in a frame, which includes its four length bytes. Empty if the frame is encrypted.
pub(crate) fn commands(frame: &[u8]) -> Vec<u16> {
    let mut found = Vec::new();
    let mut message = frame.get(4..).unwrap_or_default();
    while message.len() >= HEADER && message.starts_with(b"\xfeSMB") {
        found.push(u16::from_le_bytes([message[12], message[13]]));
        let next = u32::from_le_bytes([message[20], message[21], message[22], message[23]]) as usize;
        match message.get(next..) {
            Some(rest) if next > 0 => message = rest,
            _ => break,
        }
    }
    found
}

/// Whether a frame begins with a CREATE of a name that must not exist yet: the disposition is FILE_CREATE (MS-SMB2
/// 2.2.13). The frame includes its four length bytes.
pub(crate) fn makes(frame: &[u8]) -> bool {
    const DISPOSITION: usize = 4 + HEADER + 36;
    commands(frame).first() == Some(&command::CREATE) && frame.get(DISPOSITION) == Some(&2)
}

/// Whether a frame contains a SET_INFO, the command that also removes and renames.
pub(crate) fn sets(frame: &[u8]) -> bool {
    commands(frame).contains(&command::SET_INFO)
}

/// Whether a frame contains a WRITE.
pub(crate) fn writes(frame: &[u8]) -> bool {
    commands(frame).contains(&command::WRITE)
}

/// Whether a frame contains a FLUSH.
pub(crate) fn flushes(frame: &[u8]) -> bool {
    commands(frame).contains(&command::FLUSH)
}

/// Whether a frame is encrypted (MS-SMB2 2.2.41).
pub(crate) fn is_encrypted(frame: &[u8]) -> bool {
    frame.get(4..8) == Some(b"\xfdSMB")
}

/// Whether the first message of a frame has SMB2_FLAGS_SIGNED (MS-SMB2 2.2.1.2).
pub(crate) fn is_signed(frame: &[u8]) -> bool {
    frame.get(4 + 16).is_some_and(|flags| flags & 0x08 != 0)
}

#[test]
fn frames_are_found_however_the_stream_is_cut() {
    let frames: [&[u8]; 4] = [b"\0\0\0\x03abc", b"\0\0\0\0", b"\0\0\0\x0a0123456789", b"\x85\0\0\0"];
    let kept: [&[u8]; 4] = [b"\0\0\0\x03abc", b"\0\0\0\0", b"\0\0\0\x0a01234", b"\x85\0\0\0"];
    let stream = frames.concat();
    for size in 1..=stream.len() {
        let (mut splitter, mut found) = (Splitter::default(), Vec::new());
        for piece in stream.chunks(size) {
            splitter.push(piece, 5, |frame| found.push(frame.to_vec()));
        }
        assert_eq!(found, kept, "in pieces of {size}");
    }
}

#[test]
fn the_commands_of_a_compound_are_found() {
    let mut message = [0; 64];
    message[..4].copy_from_slice(b"\xfeSMB");
    message[12] = 5;
    message[20] = 64;
    let mut last = message;
    (last[12], last[20]) = (6, 0);
    let frame = [b"\0\0\0\x80".as_slice(), &message, &last].concat();
    assert_eq!(commands(&frame), [5, 6]);
}
