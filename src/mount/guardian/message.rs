//! The messages from a process to its guardian, over a pipe: records that end with a NUL, which no path contains.

use crate::mount::mountinfo::DeviceId;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

/// The longest record, in bytes: an argument, which the kernel limits to 128 KiB, and the record's first word.
const LONGEST: usize = (128 << 10) + 16;

/// One record.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Message {
    /// A mount on this path is about to be made.
    Mounting(PathBuf),
    /// The mount was made.
    Mounted {
        /// Its mount id in the kernel's table.
        id: u32,
        /// The device number of its file system.
        device: DeviceId,
    },
    /// The next word of the command line that mounts again.
    Word(OsString),
    /// The mount works. If the process dies from now on, the guardian runs the words as a command line, in this working
    /// directory.
    Working(PathBuf),
    /// The mount is being ended: it must not be made again.
    Ending,
    /// Nothing is left to end: the mount is gone, or was never made.
    Ended,
}

impl Message {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut record = match self {
            Message::Mounting(path) => [b"mounting ", path.as_os_str().as_bytes()].concat(),
            Message::Mounted { id, device } => format!("mounted {id} {} {}", device.major, device.minor).into_bytes(),
            Message::Word(word) => [b"word ", word.as_bytes()].concat(),
            Message::Working(directory) => [b"working ", directory.as_os_str().as_bytes()].concat(),
            Message::Ending => b"ending".to_vec(),
            Message::Ended => b"ended".to_vec(),
        };
        record.push(0);
        record
    }

    /// The message in a record without its NUL; `None` if it is malformed.
    fn decode(record: &[u8]) -> Option<Message> {
        let text = |prefix: &[u8]| record.strip_prefix(prefix).map(|rest| OsStr::from_bytes(rest).to_owned());
        if let Some(path) = text(b"mounting ") {
            return Some(Message::Mounting(path.into()));
        }
        if let Some(word) = text(b"word ") {
            return Some(Message::Word(word));
        }
        if let Some(directory) = text(b"working ") {
            return Some(Message::Working(directory.into()));
        }
        let mut words = std::str::from_utf8(record).ok()?.split(' ');
        match words.next()? {
            "mounted" => {
                let mut number = || words.next()?.parse().ok();
                let (id, major, minor) = (number()?, number()?, number()?);
                Some(Message::Mounted { id, device: DeviceId { major, minor } })
            }
            "ending" => Some(Message::Ending),
            "ended" => Some(Message::Ended),
            _ => None,
        }
    }
}

/// Assembles records from the pieces in which a pipe delivers them.
#[derive(Debug, Default)]
pub(super) struct Inbox(Vec<u8>);

impl Inbox {
    /// Adds the next piece, and returns the messages that are complete with it.
    pub(super) fn take(&mut self, piece: &[u8]) -> Vec<Message> {
        self.0.extend_from_slice(piece);
        let mut messages = Vec::new();
        while let Some(end) = self.0.iter().position(|byte| *byte == 0) {
            let record: Vec<u8> = self.0.drain(..=end).collect();
            messages.extend(Message::decode(&record[..end]));
        }
        // This program sends no record of this length.
        if self.0.len() > LONGEST {
            self.0.clear();
        }
        messages
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_arrive_as_they_were_sent_however_the_pipe_splits_them() {
        let sent = [
            Message::Mounting(PathBuf::from(OsStr::from_bytes(b"/mnt/a b\n\xff"))),
            Message::Mounted { id: 412, device: DeviceId { major: 0, minor: 53 } },
            Message::Word("-o".into()),
            Message::Word("".into()),
            Message::Working("/home/ann".into()),
            Message::Ending,
            Message::Ended,
        ];
        let bytes: Vec<u8> = sent.iter().flat_map(Message::encode).collect();
        for size in 1..=bytes.len() {
            let mut inbox = Inbox::default();
            let received: Vec<Message> = bytes.chunks(size).flat_map(|piece| inbox.take(piece)).collect();
            assert_eq!(received, sent);
        }
    }

    #[test]
    fn a_malformed_record_is_ignored() {
        let mut inbox = Inbox::default();
        assert_eq!(inbox.take(b"mounted 1 2\0mounted x 0 1\0\0ended\0"), [Message::Ended]);
        assert_eq!(inbox.take(&[b'x'; LONGEST + 1]), []);
        assert_eq!(inbox.take(b"ended\0"), [Message::Ended]);
    }
}
