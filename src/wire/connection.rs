//! One connection at work: one reader, one writer, a table of requests in flight.
//!
//! A caller's task takes credits and message ids, signs or encrypts, and hands the frame to the
//! socket, all in one step without waiting in between: so a future that is dropped has either sent
//! nothing or sent everything. The reader task pairs replies with their chains and wakes the waiters,
//! who check the signatures on their own time. A waiter that goes away cancels its requests; their ids
//! and credits come back with the server's answer. Whatever breaks the protocol ends the connection,
//! and everyone who waits is told why. Connections of one session are tied together: the end of one is
//! the end of all, in the same step.

use super::codec::Malformed;
use super::credits::{CreditWindow, Lane};
use super::crypto::encryption::{TRANSFORM_ID, TRANSFORM_SIZE};
use super::crypto::{Sealer, Signer};
use super::error::WireError;
use super::frame::{self, Addressing, Chain, Protect, RELATED_FILE, Reply, Request};
use super::header::{Command, HEADER_SIZE, PROTOCOL_ID, UNSOLICITED};
use super::status::NtStatus;
use super::table::{MessageTable, Orphan, Outcome};
use super::transport::{FrameReader, Outbox};
use bytes::{Bytes, BytesMut};
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::sync::{Notify, Semaphore, mpsc, oneshot, watch};
use tokio::time::{Instant, timeout};

/// Credits to hold: 1024 pay for 64 MiB in flight.
const CREDIT_TARGET: u32 = 1024;
/// Room for what the server sends unasked, and for an error larger than a normal response.
const UNASKED: u64 = 65_536;
/// Unsolicited messages that wait to be taken.
const BREAKS: usize = 1024;

/// How the messages of a session are protected.
#[derive(Debug)]
pub struct Security {
    /// Signs, where the session has a key.
    pub signer: Option<Signer>,
    /// Sign everything, rather than only what must be.
    pub sign_all: bool,
    /// Encrypts, where a cipher was agreed on. All connections of a session share it, and so its nonces.
    pub sealer: Option<Arc<Sealer>>,
    /// Encrypt everything, rather than only what is sent to trees that want it.
    pub seal_all: bool,
}

/// A connection. Dropping it ends it.
#[derive(Debug)]
pub struct Connection {
    shared: Arc<Shared>,
    /// Lease and oplock breaks, until somebody takes the receiving end.
    breaks: Mutex<Option<mpsc::Receiver<Reply>>>,
}

/// All replies to a chain, or why there are none.
pub type Answer = Result<Vec<Reply>, WireError>;

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    outbox: Outbox,
    /// Whoever needs credits passes the turnstile of its lane, one after the other, so that a costly
    /// request is not overtaken for ever by cheap ones.
    turnstiles: [Semaphore; 2],
    /// Credits were granted, or somebody who waited for them went.
    granted: Notify,
    /// The other connections of the session.
    siblings: OnceLock<Vec<Weak<Shared>>>,
    ended: watch::Sender<bool>,
    session_id: AtomicU64,
    multi_credit: AtomicBool,
    security: OnceLock<Security>,
    breaks: mpsc::Sender<Reply>,
    /// Milliseconds from `started` to the last frame that came.
    last_received: AtomicU64,
    started: Instant,
    peer: SocketAddr,
}

#[derive(Debug)]
struct State {
    window: CreditWindow,
    table: MessageTable<oneshot::Sender<Answer>>,
    ended: Option<Arc<str>>,
}

impl Connection {
    /// Starts to talk on a stream. A line that is quiet for `echo_interval` is probed with an ECHO.
    pub fn start(stream: TcpStream, echo_interval: Duration) -> io::Result<Connection> {
        let peer = stream.peer_addr()?;
        let (read_half, write_half) = stream.into_split();
        let (breaks_in, breaks_out) = mpsc::channel(BREAKS);
        let window = CreditWindow::new(CREDIT_TARGET);
        let shared = Arc::new(Shared {
            state: Mutex::new(State { window, table: MessageTable::default(), ended: None }),
            outbox: Outbox::new(write_half),
            turnstiles: [Semaphore::new(1), Semaphore::new(1)],
            granted: Notify::new(),
            siblings: OnceLock::new(),
            ended: watch::Sender::new(false),
            session_id: AtomicU64::new(0),
            multi_credit: AtomicBool::new(false),
            security: OnceLock::new(),
            breaks: breaks_in,
            last_received: AtomicU64::new(0),
            started: Instant::now(),
            peer,
        });
        tokio::spawn(receive(shared.clone(), FrameReader::new(read_half)));
        tokio::spawn(transmit(shared.clone()));
        tokio::spawn(keep_alive(shared.clone(), echo_interval));
        Ok(Connection { shared, breaks: Mutex::new(Some(breaks_out)) })
    }

    /// The server's address.
    pub fn peer(&self) -> SocketAddr {
        self.shared.peer
    }

    /// The session of all further requests.
    pub fn set_session_id(&self, session_id: u64) {
        self.shared.session_id.store(session_id, Ordering::Release);
    }

    /// The session of requests.
    pub fn session_id(&self) -> u64 {
        self.shared.session_id.load(Ordering::Acquire)
    }

    /// Requests may cost more than one credit from now on.
    pub fn enable_multi_credit(&self) {
        self.shared.multi_credit.store(true, Ordering::Release);
    }

    /// The session is established: all further requests are protected like this.
    pub fn protect(&self, security: Security) {
        // A second session on a connection is never made.
        let _ = self.shared.security.set(security);
    }

    /// How messages are protected; `None` before there is a session.
    pub fn security(&self) -> Option<&Security> {
        self.shared.security.get()
    }

    /// Oplock and lease breaks, for the first who asks.
    pub fn breaks(&self) -> Option<mpsc::Receiver<Reply>> {
        self.breaks.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Credits that one large request may cost, at the most, as far as the server has granted yet.
    pub fn credit_capacity(&self) -> u32 {
        self.shared.lock().window.bulk_capacity()
    }

    /// Credits at hand, and credits of requests in flight.
    pub fn credits(&self) -> (u32, u32) {
        let state = self.shared.lock();
        (state.window.available(), state.window.in_use())
    }

    /// Why the connection ended, if it has.
    pub fn ended(&self) -> Option<Arc<str>> {
        self.shared.lock().ended.clone()
    }

    /// Waits until the connection has ended, without keeping it from that.
    pub fn ending(&self) -> impl Future<Output = ()> + Send + use<> {
        let mut ended = self.shared.ended.subscribe();
        async move {
            // An error means that the connection has even been forgotten.
            let _ = ended.wait_for(|ended| *ended).await;
        }
    }

    /// Ends the connection: nothing is sent any more, and everyone who waits is told this reason.
    pub fn end(&self, reason: &str) {
        self.shared.end(reason);
    }

    /// Ties the connections of a session together: from now on the end of one is the end of all.
    pub fn tie(connections: &[Connection]) {
        for (index, connection) in connections.iter().enumerate() {
            let others = connections.iter().enumerate().filter(|(other, _)| *other != index);
            let others = others.map(|(_, other)| Arc::downgrade(&other.shared)).collect();
            // A connection belongs to one session for all its life.
            let _ = connection.shared.siblings.set(others);
        }
        for connection in connections {
            if let Some(reason) = connection.ended() {
                connection.shared.end_siblings(&reason);
            }
        }
    }

    /// Sends requests in one frame and waits for all replies, which come in the order of the requests.
    /// A server that grants too few credits for a related compound gets its parts one by one.
    pub async fn send(&self, chain: &Chain, deadline: Duration) -> Answer {
        let work = async {
            match self.exchange(chain).await {
                Err(WireError::Credits { .. }) if chain.requests.len() > 1 && chain.related => {
                    self.one_by_one(chain).await
                }
                answer => answer,
            }
        };
        timeout(deadline, work).await.unwrap_or(Err(WireError::TimedOut))
    }

    /// Sends one request of a sign-in, signed or not, and answers the bytes that were sent, without the
    /// prefix, since the pre-authentication hash covers them (MS-SMB2 3.2.5.2). The reply's signature is
    /// left to the caller.
    pub async fn send_recorded(
        &self,
        request: Request,
        signer: Option<&Signer>,
        deadline: Duration,
    ) -> Result<(Vec<u8>, Reply), WireError> {
        let mut sent = Vec::new();
        let chain = Chain::single(request);
        let mut record = |segments: &[Bytes]| sent = segments.concat().split_off(4);
        let transfer = self.transfer(&chain, signer.map_or(Protect::Plain, Protect::Sign), &mut record);
        let mut replies = timeout(deadline, transfer).await.unwrap_or(Err(WireError::TimedOut))?;
        let reply = replies.pop().ok_or(Malformed("no reply"))?;
        Ok((sent, reply))
    }

    /// Sends and waits for nothing, not even for credits: whether it was sent.
    pub fn post(&self, chain: &Chain) -> bool {
        self.shared.send_detached(chain)
    }

    async fn exchange(&self, chain: &Chain) -> Answer {
        let protect = self.shared.protection(chain)?;
        let replies = self.transfer(chain, protect, &mut |_| ()).await?;
        self.verify(protect, &replies)?;
        Ok(replies)
    }

    async fn transfer(&self, chain: &Chain, protect: Protect<'_>, record: &mut impl FnMut(&[Bytes])) -> Answer {
        let mut waiting = self.queue(chain, protect, record).await?;
        let answer = (&mut waiting.answer).await;
        waiting.answered = true;
        answer.unwrap_or_else(|_| Err(self.shared.why_ended()))
    }

    /// Waits for credits, then sends. No await lies between taking the ids and sending.
    async fn queue(
        &self,
        chain: &Chain,
        protect: Protect<'_>,
        record: &mut impl FnMut(&[Bytes]),
    ) -> Result<Waiting<'_>, WireError> {
        let shared = &*self.shared;
        let cost = chain.cost();
        let _turn = shared.turnstiles[cost.lane as usize].acquire().await.map_err(|_| shared.why_ended())?;
        let _place = Place { shared, lane: cost.lane };
        loop {
            let granted = shared.granted.notified();
            if let Some((first_id, answer)) = shared.try_send(chain, protect, record)? {
                return Ok(Waiting { shared, first_id, answer, answered: false });
            }
            shared.lock().window.stand(cost);
            granted.await;
        }
    }

    async fn one_by_one(&self, chain: &Chain) -> Answer {
        let mut replies: Vec<Reply> = Vec::with_capacity(chain.requests.len());
        let mut file: Option<[u8; 16]> = None;
        for request in &chain.requests {
            let mut request = request.clone();
            if let (Some(file), Some(offset)) = (file, frame::file_id_offset(request.command)) {
                let field = request.body.get_mut(offset..offset + 16);
                if let Some(field) = field.filter(|field| **field == RELATED_FILE) {
                    field.copy_from_slice(&file);
                }
            }
            let command = request.command;
            let single = Chain { requests: vec![request], related: false, ..chain.clone() };
            let mut answer = self.exchange(&single).await?;
            let reply = answer.pop().ok_or(Malformed("no reply"))?;
            if command == Command::Create {
                if reply.status().is_error() {
                    // In a compound the others would have failed alike (MS-SMB2 3.3.5.2.7.2).
                    replies.resize(chain.requests.len(), reply);
                    return Ok(replies);
                }
                file = created_file(&reply);
            }
            replies.push(reply);
        }
        Ok(replies)
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
        self.shared.end(&reason);
        Err(WireError::Closed(reason.into()))
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.shared.end("it is no longer used");
    }
}

/// Someone who waits for a chain's replies; going away cancels the requests.
struct Waiting<'a> {
    shared: &'a Shared,
    first_id: u64,
    answer: oneshot::Receiver<Answer>,
    answered: bool,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if !self.answered {
            self.shared.cancel(self.first_id);
        }
    }
}

/// The first place in the line of a lane; leaving it, for whatever reason, may let others go.
struct Place<'a> {
    shared: &'a Shared,
    lane: Lane,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.shared.lock().window.leave(self.lane);
        self.shared.granted.notify_waiters();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn why_ended(&self) -> WireError {
        WireError::Closed(self.lock().ended.clone().unwrap_or_else(|| "it was ended".into()))
    }

    /// Takes ids and credits for a chain; `None` while there are too few.
    fn take_ids(&self, chain: &Chain) -> Result<Option<(Addressing, oneshot::Receiver<Answer>)>, WireError> {
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
        state.table.insert(first_id, chain, waiter);
        let address = Addressing {
            first_id,
            credits,
            multi_credit: self.multi_credit.load(Ordering::Acquire),
            session_id: self.session_id.load(Ordering::Acquire),
        };
        Ok(Some((address, answer)))
    }

    fn protection(&self, chain: &Chain) -> Result<Protect<'_>, WireError> {
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

    fn cancel(&self, first_id: u64) {
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

    fn end(&self, reason: &str) {
        let waiters = {
            let mut state = self.lock();
            if state.ended.is_some() {
                return;
            }
            state.ended = Some(reason.into());
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

    fn end_siblings(&self, reason: &str) {
        for sibling in self.siblings.get().into_iter().flatten().filter_map(Weak::upgrade) {
            sibling.end(reason);
        }
    }

    /// The largest frame that may come now.
    fn frame_limit(&self) -> u64 {
        self.lock().table.response_limit() + UNASKED + TRANSFORM_SIZE as u64
    }

    fn take_frame(self: &Arc<Self>, mut frame: BytesMut) -> Result<(), Malformed> {
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
        frame::split(frame, sealed)?.into_iter().try_for_each(|reply| self.take_reply(reply))
    }

    fn take_reply(self: &Arc<Self>, reply: Reply) -> Result<(), Malformed> {
        if reply.header.message_id == UNSOLICITED {
            if reply.header.command != Command::OplockBreak as u16 {
                return Err(Malformed("an unsolicited message that is not a break"));
            }
            if self.breaks.try_send(reply).is_err() {
                tracing::warn!(peer = %self.peer, "more breaks than can be kept: one is lost");
            }
            return Ok(());
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

    /// Nobody took the answer to a CREATE: the open must not stay at the server.
    fn close_orphan(self: &Arc<Self>, replies: &[Reply], orphan: Orphan) {
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
    fn try_send(
        &self,
        chain: &Chain,
        protect: Protect<'_>,
        record: &mut impl FnMut(&[Bytes]),
    ) -> Result<Option<(u64, oneshot::Receiver<Answer>)>, WireError> {
        let Some((address, answer)) = self.take_ids(chain)? else { return Ok(None) };
        let segments = frame::assemble(chain, address, protect);
        record(&segments);
        if let Err(error) = self.outbox.push(segments) {
            self.end(&format!("sending failed: {error}"));
        }
        Ok(Some((address.first_id, answer)))
    }

    /// Sends if there are credits for it, and waits for nothing: whether it was sent.
    fn send_detached(&self, chain: &Chain) -> bool {
        let send = |protect| self.try_send(chain, protect, &mut |_| ());
        matches!(self.protection(chain).and_then(send), Ok(Some(_)))
    }
}

/// The FileId in a CREATE response (MS-SMB2 2.2.14).
fn created_file(reply: &Reply) -> Option<[u8; 16]> {
    reply.message.get(HEADER_SIZE + 64..HEADER_SIZE + 80)?.try_into().ok()
}

async fn receive(shared: Arc<Shared>, mut reader: FrameReader) {
    let mut ended = shared.ended.subscribe();
    let reason = loop {
        let frame = tokio::select! {
            frame = reader.next(|| shared.frame_limit()) => frame,
            _ = ended.wait_for(|ended| *ended) => return,
        };
        match frame {
            Ok(frame) => {
                let now = shared.started.elapsed().as_millis() as u64;
                shared.last_received.store(now, Ordering::Relaxed);
                if let Err(malformed) = shared.take_frame(frame) {
                    break format!("the server sent {malformed}");
                }
            }
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => break "the server closed it".to_owned(),
            Err(error) if error.kind() == io::ErrorKind::InvalidData => break format!("the server sent {error}"),
            Err(error) => break format!("receiving failed: {error}"),
        }
    };
    shared.end(&reason);
}

async fn transmit(shared: Arc<Shared>) {
    let mut ended = shared.ended.subscribe();
    let sent = tokio::select! {
        sent = shared.outbox.drain() => sent,
        _ = ended.wait_for(|ended| *ended) => return,
    };
    if let Err(error) = sent {
        shared.end(&format!("sending failed: {error}"));
    }
}

/// Probes a quiet line, so that a server that has gone is noticed (MS-SMB2 3.2.6.1).
async fn keep_alive(shared: Arc<Shared>, interval: Duration) {
    let mut ended = shared.ended.subscribe();
    loop {
        tokio::select! {
            () = tokio::time::sleep(interval) => {}
            _ = ended.wait_for(|ended| *ended) => return,
        }
        let received = Duration::from_millis(shared.last_received.load(Ordering::Relaxed));
        if shared.started.elapsed().saturating_sub(received) < interval || shared.security.get().is_none() {
            continue;
        }
        let before = shared.last_received.load(Ordering::Relaxed);
        // Without a credit to spare, requests are in flight, and any reply to them will do.
        shared.send_detached(&Chain::single(Request::new(Command::Echo, vec![4, 0, 0, 0])));
        tokio::select! {
            () = tokio::time::sleep(interval) => {}
            _ = ended.wait_for(|ended| *ended) => return,
        }
        if shared.last_received.load(Ordering::Relaxed) == before {
            return shared.end(&format!("the server was silent for {:.0} s", (2 * interval).as_secs_f64()));
        }
    }
}

/// Whether a status means that the session or the tree is gone, though the connection is not.
pub fn session_is_gone(status: NtStatus) -> bool {
    matches!(
        status,
        NtStatus::USER_SESSION_DELETED | NtStatus::NETWORK_SESSION_EXPIRED | NtStatus::NETWORK_NAME_DELETED
    )
}
