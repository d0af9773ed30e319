//! What the tasks of a connection and those who use it share: the credits and the table under one lock, the
//! way out, and how the connection ends.
//!
//! Invariants: every id that was taken is sent, in the same step. Once `ended` is set, nothing is sent, and
//! nobody waits any more.

use super::super::codec::Malformed;
use super::super::crypto::encryption::{TRANSFORM_ID, TRANSFORM_SIZE};
use super::super::error::WireError;
use super::super::frame::{self, Addressing, Chain, Protect, Reply, Request};
use super::super::header::{Command, HEADER_SIZE, PROTOCOL_ID, UNSOLICITED};
use super::super::messages::{check, lease::Break};
use super::super::table::{MessageTable, Orphan, Outcome};
use super::super::transport::Outbox;
use super::{Answer, Security};
use crate::wire::credits::CreditWindow;
use bytes::{Bytes, BytesMut};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{Notify, Semaphore, mpsc, oneshot, watch};
use tokio::time::Instant;

/// Room for what the server sends unasked, and for an error larger than a normal response.
const UNASKED: u64 = 65_536;
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) state: Mutex<State>,
    pub(super) outbox: Outbox,
    /// Whoever needs credits passes the turnstile of its lane, one after the other, so that a costly
    /// request is not overtaken for ever by cheap ones.
    pub(super) turnstiles: [Semaphore; 2],
    /// Credits were granted, or somebody who waited for them went.
    pub(super) granted: Notify,
    /// The other connections of the session.
    pub(super) siblings: OnceLock<Vec<Weak<Shared>>>,
    pub(super) ended: watch::Sender<bool>,
    pub(super) session_id: AtomicU64,
    pub(super) multi_credit: AtomicBool,
    pub(super) security: OnceLock<Security>,
    pub(super) breaks: mpsc::Sender<Break>,
    /// Milliseconds from `started` to the last frame that came.
    pub(super) last_received: AtomicU64,
    pub(super) started: Instant,
    pub(super) peer: SocketAddr,
}

/// Who waits for the last reply of a chain.
pub(super) enum Last {
    /// Who waits for the others.
    LikeTheOthers,
    /// Somebody else, as soon as it is sent.
    OpenEnded(Option<oneshot::Receiver<Answer>>),
}

#[derive(Debug)]
pub(super) struct State {
    pub(super) window: CreditWindow,
    pub(super) table: MessageTable<oneshot::Sender<Answer>>,
    pub(super) ended: Option<Arc<str>>,
    pub(super) ended_at: Option<std::time::Instant>,
}

impl Shared {
    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn why_ended(&self) -> WireError {
        WireError::Closed(self.lock().ended.clone().unwrap_or_else(|| "it was ended".into()))
    }

    /// Takes ids and credits for a chain; `None` while there are too few.
    pub(super) fn take_ids(
        &self,
        chain: &Chain,
        last: &mut Last,
    ) -> Result<Option<(Addressing, oneshot::Receiver<Answer>)>, WireError> {
        let mut state = self.lock();
        if let Some(reason) = &state.ended {
            return Err(WireError::Closed(reason.clone()));
        }
        let cost = chain.cost();
        let credits = state.window.to_request(0);
        let Some(first_id) = state.window.take(cost) else {
            let (needed, capacity) = (cost.credits, state.window.capacity());
            let hopeless = state.window.in_use() == 0 && needed > capacity;
            return if hopeless { Err(WireError::Credits { needed, capacity }) } else { Ok(None) };
        };
        let (waiter, answer) = oneshot::channel();
        match last {
            Last::LikeTheOthers => state.table.insert(first_id, chain, waiter),
            Last::OpenEnded(receiver) => {
                let (last_waiter, last_answer) = oneshot::channel();
                state.table.insert_open_ended(first_id, chain, waiter, last_waiter);
                *receiver = Some(last_answer);
            }
        }
        let address = Addressing {
            first_id,
            credits,
            multi_credit: self.multi_credit.load(Ordering::Acquire),
            session_id: self.session_id.load(Ordering::Acquire),
        };
        Ok(Some((address, answer)))
    }

    /// Checks the replies to `requests` before they are handed on: signature or encryption, and structure. A reply that
    /// is wrong in either ends the connection.
    pub(super) fn accept(
        &self,
        protect: Protect<'_>,
        requests: &[Request],
        replies: &[Reply],
    ) -> Result<(), WireError> {
        self.verify(protect, replies)?;
        let checked = requests.iter().zip(replies).try_for_each(|(request, reply)| check(request, reply));
        checked.inspect_err(|malformed| self.end(&format!("the server sent {malformed}"))).map_err(WireError::Malformed)
    }

    /// A reply that should be signed or encrypted and isn't ends the connection (MS-SMB2 3.2.5.1.1, 3.2.5.1.3).
    fn verify(&self, protect: Protect<'_>, replies: &[Reply]) -> Result<(), WireError> {
        let problem = match protect {
            Protect::Plain => None,
            Protect::Seal(_) => replies.iter().find(|reply| !reply.sealed).map(|reply| (reply, "not encrypted")),
            Protect::Sign(signer) => replies
                .iter()
                .find(|reply| !reply.sealed && !reply.is_signed_by(signer))
                .map(|reply| (reply, "not signed, or its signature is wrong")),
        };
        let Some((reply, what)) = problem else { return Ok(()) };
        let reason = format!("the server's reply with {} is {what}", reply.status());
        self.end(&reason);
        Err(WireError::Closed(reason.into()))
    }

    /// How a chain is protected.
    pub(super) fn protection(&self, chain: &Chain) -> Result<Protect<'_>, WireError> {
        let Some(security) = self.security.get() else { return Ok(Protect::Plain) };
        if security.seal_all || chain.seal {
            // Never in plain what is meant to be encrypted.
            let unable = || WireError::Closed("the share wants encryption, and none was agreed on".into());
            return security.sealer.as_deref().map(Protect::Seal).ok_or_else(unable);
        }
        Ok(match &security.signer {
            Some(signer) if security.sign_all || chain.force_signature => Protect::Sign(signer),
            _ => Protect::Plain,
        })
    }

    pub(super) fn cancel(&self, first_id: u64) {
        let unanswered = self.lock().table.abandon(first_id);
        let protect = match self.security.get() {
            Some(Security { seal_all: true, sealer: Some(sealer), .. }) => Protect::Seal(sealer),
            Some(Security { sign_all: true, signer: Some(signer), .. }) => Protect::Sign(signer),
            _ => Protect::Plain,
        };
        let session_id = self.session_id.load(Ordering::Acquire);
        for (message_id, async_id) in unanswered {
            let frame = frame::assemble_cancel(message_id, async_id, session_id, protect);
            if let Err(error) = self.outbox.push([frame]) {
                self.end(&format!("sending failed: {error}"));
            }
        }
    }

    pub(super) fn end(&self, reason: &str) {
        let waiters = {
            let mut state = self.lock();
            if state.ended.is_some() {
                return;
            }
            state.ended = Some(reason.into());
            state.ended_at = Some(std::time::Instant::now());
            state.table.drain()
        };
        tracing::debug!(peer = %self.peer, reason, "connection ended");
        for waiter in waiters {
            // A waiter that has gone needs no answer.
            let _ = waiter.send(Err(WireError::Closed(reason.into())));
        }
        self.outbox.close();
        self.ended.send_replace(true);
        self.turnstiles.iter().for_each(Semaphore::close);
        self.granted.notify_waiters();
        self.end_siblings(reason);
    }

    pub(super) fn end_siblings(&self, reason: &str) {
        for sibling in self.siblings.get().into_iter().flatten().filter_map(Weak::upgrade) {
            sibling.end(reason);
        }
    }

    /// The largest frame that may come now.
    pub(super) fn frame_limit(&self) -> u64 {
        self.lock().table.response_limit() + UNASKED + TRANSFORM_SIZE as u64
    }

    pub(super) fn take_frame(self: &Arc<Self>, mut frame: BytesMut) -> Result<(), Malformed> {
        let sealed = frame.starts_with(&TRANSFORM_ID);
        if sealed {
            let sealer = self.security.get().and_then(|security| security.sealer.as_ref());
            sealer.ok_or(Malformed("an encrypted message, and no key for it"))?.open(&mut frame)?;
            let _ = frame.split_to(TRANSFORM_SIZE);
        }
        if frame.starts_with(b"\xffSMB") {
            return Err(Malformed("an SMB1 message: the server speaks only SMB1"));
        }
        if !frame.starts_with(&PROTOCOL_ID) {
            return Err(Malformed("a message of an unknown protocol"));
        }
        frame::split(frame, sealed).try_for_each(|reply| self.take_reply(reply?))
    }

    pub(super) fn take_reply(self: &Arc<Self>, reply: Reply) -> Result<(), Malformed> {
        if reply.header.message_id == UNSOLICITED {
            if reply.header.command != Command::OplockBreak as u16 {
                return Err(Malformed("an unsolicited message that is not a break"));
            }
            return self.take_break(Break::parse(&reply)?);
        }
        let outcome = {
            let mut state = self.lock();
            let credits = reply.header.credits;
            let outcome = state.table.reply(reply)?;
            state.window.grant(credits);
            let (Outcome::Waiting { finished } | Outcome::Complete { finished, .. }) = &outcome;
            state.window.finish(*finished);
            outcome
        };
        self.granted.notify_waiters();
        if let Outcome::Complete { waiter, replies, orphan, .. } = outcome {
            // A waiter can go at the last moment: its replies come back and are treated as abandoned.
            let unclaimed = match waiter {
                Some(waiter) => waiter.send(Ok(replies)).err().and_then(Result::ok),
                None => Some(replies),
            };
            if let (Some(replies), Some(orphan)) = (unclaimed, orphan) {
                self.close_orphan(&replies, orphan);
            }
        }
        Ok(())
    }

    /// A break has come. One that was lost would leave a lease in use that the server has taken back, so a queue that is
    /// full is the end: then all leases are given up.
    fn take_break(&self, broken: Break) -> Result<(), Malformed> {
        match self.breaks.try_send(broken) {
            Err(TrySendError::Full(_)) => Err(Malformed("more lease breaks than can be kept")),
            // Without a receiver there are no leases.
            Ok(()) | Err(TrySendError::Closed(_)) => Ok(()),
        }
    }

    /// Nobody took the answer to a CREATE: the open must not stay at the server.
    pub(super) fn close_orphan(self: &Arc<Self>, replies: &[Reply], orphan: Orphan) {
        let Some(file) = replies.first().filter(|reply| !reply.status().is_error()).and_then(created_file) else {
            return;
        };
        let mut body = vec![24, 0, 0, 0, 0, 0, 0, 0];
        body.extend_from_slice(&file);
        let mut chain = Chain::single(Request::new(Command::Close, body));
        (chain.tree_id, chain.seal) = (orphan.tree_id, orphan.seal);
        if !self.send_detached(&chain) {
            // Without a credit to spare the file stays open until the session ends.
            tracing::debug!(peer = %self.peer, "no credit to close an open that nobody waits for");
        }
    }

    /// Sends if there are credits for it. How it is protected is known before an id is taken, so that
    /// every id that is taken is sent.
    pub(super) fn try_send(
        &self,
        chain: &Chain,
        protect: Protect<'_>,
        last: &mut Last,
        record: &mut impl FnMut(&[Bytes]),
    ) -> Result<Option<(u64, oneshot::Receiver<Answer>)>, WireError> {
        chain.fits()?;
        let Some((address, answer)) = self.take_ids(chain, last)? else { return Ok(None) };
        let segments = frame::assemble(chain, address, protect);
        record(&segments);
        if let Err(error) = self.outbox.push(segments) {
            self.end(&format!("sending failed: {error}"));
        }
        Ok(Some((address.first_id, answer)))
    }

    /// Sends if there are credits for it, and waits for nothing: whether it was sent.
    pub(super) fn send_detached(&self, chain: &Chain) -> bool {
        let send = |protect| self.try_send(chain, protect, &mut Last::LikeTheOthers, &mut |_| ());
        matches!(self.protection(chain).and_then(send), Ok(Some(_)))
    }
}

/// The FileId in a CREATE response (MS-SMB2 2.2.14).
pub(super) fn created_file(reply: &Reply) -> Option<[u8; 16]> {
    reply.message.get(HEADER_SIZE + 64..HEADER_SIZE + 80)?.try_into().ok()
}
