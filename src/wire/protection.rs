//! How the messages of a session are protected: which of them are signed or encrypted, and what must be true of
//! the replies (MS-SMB2 3.2.4.1.1, 3.2.4.1.8, 3.2.5.1.1, 3.2.5.1.3).
//!
//! Nothing here has state or needs a lock: keys do not change. So messages of several requests are signed, encrypted
//! and verified at the same time. Decryption comes first and is done frame by frame, where frames are received.
//!
//! Invariant: replies leave [`Unverified`] only by [`Unverified::accept`], which checks all of them.

use super::codec::Malformed;
use super::credits::CREDIT_PAYLOAD;
use super::crypto::encryption::{TRANSFORM_ID, TRANSFORM_SIZE};
use super::crypto::{Sealer, Signer};
use super::error::WireError;
use super::frame::{self, Chain, Protect, Reply, Request};
use super::header::{Command, HEADER_SIZE, PROTOCOL_ID};
use super::messages::check;
use super::table::Orphan;
use bytes::BytesMut;
use std::fmt;
use std::sync::Arc;

/// Bytes of data above which signing or encrypting a message, or verifying one, is work for a thread of the runtime:
/// what one credit pays for. 64 KiB take 3 µs with AES-GMAC and AES-GCM, 55 µs with AES-CMAC and 120 µs with AES-CCM
/// (`benches/crypto.rs`), about as long as it takes to wake a thread. 1 MiB takes 16 times as long, up to 2 ms, and the
/// kernel's thread would take no other request meanwhile.
const MUCH: usize = CREDIT_PAYLOAD as usize;

/// How the messages of a session are protected.
#[derive(Clone, Debug)]
pub struct Security {
    /// Signs, where the session has a key.
    pub signer: Option<Arc<Signer>>,
    /// Sign everything, rather than only what must be.
    pub sign_all: bool,
    /// Encrypts, where a cipher was agreed on. All connections of a session share it, and so its nonces.
    pub sealer: Option<Arc<Sealer>>,
    /// Encrypt everything, rather than only what is sent to trees that want it.
    pub seal_all: bool,
}

impl Security {
    /// How a chain is protected.
    ///
    /// # Errors
    ///
    /// It must be encrypted, and there is no key for that: it is never sent in plain.
    pub fn of_chain(&self, chain: &Chain) -> Result<Protect, WireError> {
        if self.seal_all || chain.seal {
            let unable = || WireError::Closed("the share wants encryption, and none was agreed on".into());
            return self.sealer.clone().map(Protect::Seal).ok_or_else(unable);
        }
        Ok(match &self.signer {
            Some(signer) if self.sign_all || chain.force_signature => Protect::Sign(Arc::clone(signer)),
            _ => Protect::Plain,
        })
    }

    /// How a CANCEL is protected.
    pub fn of_cancel(&self) -> Protect {
        match self {
            Security { seal_all: true, sealer: Some(sealer), .. } => Protect::Seal(Arc::clone(sealer)),
            Security { sign_all: true, signer: Some(signer), .. } => Protect::Sign(Arc::clone(signer)),
            _ => Protect::Plain,
        }
    }
}

/// Whether protecting, or verifying, so many bytes of data is too long for the thread that the kernel's requests come on.
pub fn is_long_work(protect: &Protect, bytes: usize) -> bool {
    bytes > MUCH && !matches!(protect, Protect::Plain)
}

/// Decrypts a frame, if it is encrypted, and takes it apart into its messages.
///
/// # Errors
///
/// It is not made of SMB2 responses, or was altered on its way.
pub fn open(security: Option<&Security>, mut frame: BytesMut) -> Result<Vec<Reply>, Malformed> {
    let sealed = frame.starts_with(&TRANSFORM_ID);
    if sealed {
        let sealer = security.and_then(|security| security.sealer.as_ref());
        sealer.ok_or(Malformed("an encrypted message, and no key for it"))?.open(&mut frame)?;
        let _ = frame.split_to(TRANSFORM_SIZE);
    }
    if frame.starts_with(b"\xffSMB") {
        return Err(Malformed("an SMB1 message: the server speaks only SMB1"));
    }
    if !frame.starts_with(&PROTOCOL_ID) {
        return Err(Malformed("a message of an unknown protocol"));
    }
    frame::split(frame, sealed).collect()
}

/// Replies that have come, and were not checked yet.
#[derive(Debug)]
pub struct Unverified {
    /// How their requests were protected.
    protect: Protect,
    /// In the order of the requests.
    replies: Vec<Reply>,
    /// Where they leave a file open if they are not taken.
    orphan: Option<Orphan>,
}

impl Unverified {
    /// Replies to requests that were protected like this.
    pub fn new(protect: Protect, replies: Vec<Reply>, orphan: Option<Orphan>) -> Unverified {
        Unverified { protect, replies, orphan }
    }

    /// Whether verifying them is too long for the thread that the kernel's requests come on.
    pub fn is_long_work(&self) -> bool {
        // What came encrypted has been verified.
        let signed = matches!(self.protect, Protect::Sign(_));
        signed && is_long_work(&self.protect, self.replies.iter().map(|reply| reply.message.len()).sum())
    }

    /// The replies to these requests, if each is protected as its request was and has the structure that it demands.
    pub fn accept(self, requests: &[Request]) -> Result<Vec<Reply>, Forged> {
        self.verify()?;
        let checked = requests.iter().zip(&self.replies).try_for_each(|(request, reply)| check(request, reply));
        checked.map_err(Forged::Structure)?;
        Ok(self.replies)
    }

    /// The replies, whose protection the caller checks.
    pub fn unchecked(self) -> Vec<Reply> {
        self.replies
    }

    /// For replies that no caller takes: a request to close the file that they leave open at the server, if they do.
    pub fn close_orphan(&self) -> Result<Option<Chain>, Forged> {
        self.verify()?;
        let created = self.replies.first().filter(|reply| !reply.status().is_error()).and_then(created_file);
        let (Some(orphan), Some(file)) = (self.orphan, created) else { return Ok(None) };
        let mut body = vec![24, 0, 0, 0, 0, 0, 0, 0];
        body.extend_from_slice(&file);
        let mut chain = Chain::single(Request::new(Command::Close, body));
        (chain.tree_id, chain.seal) = (orphan.tree_id, orphan.seal);
        Ok(Some(chain))
    }

    fn verify(&self) -> Result<(), Forged> {
        let wrong = match &self.protect {
            Protect::Plain => None,
            Protect::Seal(_) => self.replies.iter().find(|reply| !reply.sealed).map(|reply| (reply, "not encrypted")),
            Protect::Sign(signer) => self
                .replies
                .iter()
                .find(|reply| !reply.sealed && !reply.is_signed_by(signer))
                .map(|reply| (reply, "not signed, or its signature is wrong")),
        };
        match wrong {
            Some((reply, what)) => Err(Forged::Protection(format!("reply with {} is {what}", reply.status()))),
            None => Ok(()),
        }
    }
}

/// What is wrong with replies. It ends their connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Forged {
    /// One is not signed or encrypted as it should be.
    Protection(String),
    /// One is not what its request asked for.
    Structure(Malformed),
}

impl fmt::Display for Forged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Forged::Protection(what) => write!(f, "the server's {what}"),
            Forged::Structure(malformed) => write!(f, "the server sent {malformed}"),
        }
    }
}

impl From<Forged> for WireError {
    fn from(forged: Forged) -> Self {
        match forged {
            Forged::Structure(malformed) => WireError::Malformed(malformed),
            Forged::Protection(_) => WireError::Closed(forged.to_string().into()),
        }
    }
}

/// The FileId in a CREATE response (MS-SMB2 2.2.14).
pub fn created_file(reply: &Reply) -> Option<[u8; 16]> {
    let is_create = reply.header.command == Command::Create as u16;
    if is_create { reply.message.get(HEADER_SIZE + 64..HEADER_SIZE + 80)?.try_into().ok() } else { None }
}
