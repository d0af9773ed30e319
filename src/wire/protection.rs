//! The protection of a session's messages: which of them are signed or encrypted, and which replies are accepted
//! (MS-SMB2 3.2.4.1.1, 3.2.4.1.8, 3.2.5.1.1, 3.2.5.1.3).
//!
//! Nothing here has mutable state or needs a lock, because keys do not change. Several threads can sign, encrypt and
//! verify at the same time. Decryption comes first: the receiving task decrypts each frame ([`open`]).
//!
//! Invariant: replies leave [`Unverified`] by [`Unverified::accept`], which checks all of them. The one exception is
//! [`Unverified::unchecked`], for a sign-in, whose caller checks the signature.
//!
//! Breaks and interim replies are not verified: servers do not sign them, and they are accepted unencrypted even in an
//! encrypted session. The credits in a header count before the reply is verified.

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

/// Bytes of data above which a message is signed, encrypted or verified on a thread of the runtime: 65,536, the payload
/// of one credit. 64 KiB take 3 µs with AES-GMAC and AES-GCM, 55 µs with AES-CMAC and 120 µs with AES-CCM
/// (`benches/crypto.rs`), about as long as it takes to wake a thread. 1 MiB takes 16 times as long, up to 2 ms, in
/// which the kernel's thread would accept no other request.
const LONG_WORK: usize = CREDIT_PAYLOAD as usize;

/// The keys of a session on one connection, and what they protect.
#[derive(Clone, Debug)]
pub struct Security {
    /// Signs and verifies; `None` if the session has no signing key (guest and anonymous sessions).
    pub signer: Option<Arc<Signer>>,
    /// Sign every message, rather than only chains with [`Chain::force_signature`].
    pub sign_all: bool,
    /// Encrypts and decrypts; `None` if no cipher was negotiated or the session has no key. All connections of a
    /// session share it, and with it the nonce counter.
    pub sealer: Option<Arc<Sealer>>,
    /// Encrypt every message, rather than only chains of trees that require encryption ([`Chain::seal`]).
    pub seal_all: bool,
}

impl Security {
    /// The protection of a chain (MS-SMB2 3.2.4.1.1, 3.2.4.1.8).
    ///
    /// # Errors
    ///
    /// [`WireError::Closed`] if the chain must be encrypted and there is no key: it is never sent in plain.
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

    /// The protection of a CANCEL: that of the whole session, since a CANCEL names no tree (MS-SMB2 3.2.4.24).
    pub fn of_cancel(&self) -> Protect {
        match self {
            Security { seal_all: true, sealer: Some(sealer), .. } => Protect::Seal(Arc::clone(sealer)),
            Security { sign_all: true, signer: Some(signer), .. } => Protect::Sign(Arc::clone(signer)),
            _ => Protect::Plain,
        }
    }
}

/// Whether protecting or verifying `bytes` bytes of data takes too long for the thread that receives the kernel's
/// requests.
pub fn is_long_work(protect: &Protect, bytes: usize) -> bool {
    bytes > LONG_WORK && !matches!(protect, Protect::Plain)
}

/// Decrypts a frame, if it is encrypted, and splits it into its messages (MS-SMB2 3.2.5.1.1).
///
/// # Errors
///
/// [`Malformed`] if the frame does not consist of SMB2 responses, if it is encrypted and there is no key, or if it was
/// altered on its way.
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

/// Replies that were received and not checked yet.
#[derive(Debug)]
pub struct Unverified {
    /// The protection of their requests.
    protect: Protect,
    /// The replies, in the order of the requests.
    replies: Vec<Reply>,
    /// The tree in which the replies leave a file open if no caller receives them.
    orphan: Option<Orphan>,
}

impl Unverified {
    /// Replies to requests that were protected by `protect`, in the order of the requests.
    pub fn new(protect: Protect, replies: Vec<Reply>, orphan: Option<Orphan>) -> Unverified {
        Unverified { protect, replies, orphan }
    }

    /// Whether verifying the replies takes too long for the thread that receives the kernel's requests.
    pub fn is_long_work(&self) -> bool {
        // Decryption has already verified what was received encrypted.
        let signed = matches!(self.protect, Protect::Sign(_));
        signed && is_long_work(&self.protect, self.replies.iter().map(|reply| reply.message.len()).sum())
    }

    /// The replies to `requests`, checked.
    ///
    /// # Errors
    ///
    /// [`Forged`] if a reply is not protected as its request was (MS-SMB2 3.2.5.1.3), or does not have the structure
    /// that its request demands. The caller then ends the connection.
    pub fn accept(self, requests: &[Request]) -> Result<Vec<Reply>, Forged> {
        self.verify()?;
        let checked = requests.iter().zip(&self.replies).try_for_each(|(request, reply)| check(request, reply));
        checked.map_err(Forged::Structure)?;
        Ok(self.replies)
    }

    /// The replies, unchecked: for a sign-in, whose caller checks the signature with a key that this value does not
    /// have.
    pub fn unchecked(self) -> Vec<Reply> {
        self.replies
    }

    /// The CLOSE for replies that no caller receives: it closes the file that they leave open at the server. `None` if
    /// they leave none open.
    ///
    /// # Errors
    ///
    /// [`Forged::Protection`] if a reply is not protected as its request was. The caller then ends the connection.
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

/// Why replies were rejected. The connection then ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Forged {
    /// A reply is not signed or encrypted as its request was; with the reply's status and the defect.
    Protection(String),
    /// A reply does not have the structure that its request demands.
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

/// The FileId in a CREATE response (MS-SMB2 2.2.14); `None` if the reply is to another command or too short.
pub fn created_file(reply: &Reply) -> Option<[u8; 16]> {
    let is_create = reply.header.command == Command::Create as u16;
    if is_create { reply.message.get(HEADER_SIZE + 64..HEADER_SIZE + 80)?.try_into().ok() } else { None }
}
