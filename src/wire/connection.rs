//! One connection at work: one reader, one writer, a table of requests in flight.
//!
//! A caller's task takes credits and message ids, signs or encrypts, and hands the frame to the
//! socket, all in one step without waiting in between: so a future that is dropped has either sent
//! nothing or sent everything. The reader task pairs replies with their chains and wakes the waiters,
//! who check signatures and structure on their own time. A waiter that goes away cancels its requests; their ids
//! and credits come back with the server's answer. Whatever breaks the protocol ends the connection,
//! and everyone who waits is told why. Connections of one session are tied together: the end of one is
//! the end of all, in the same step.

mod shared;
mod tasks;

use super::codec::Malformed;
use super::credits::{CreditWindow, Lane};
use super::crypto::{Sealer, Signer};
use super::error::WireError;
use super::frame::{self, Chain, Protect, RELATED_FILE, Reply, Request};
use super::header::Command;
use super::messages::lease::Break;
use super::status::NtStatus;
use super::table::MessageTable;
use super::transport::{FrameReader, Outbox};
use bytes::Bytes;
use shared::{Last, Shared, State, created_file};
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;
use tasks::{keep_alive, receive, transmit};
use tokio::net::TcpStream;
use tokio::sync::{Notify, Semaphore, mpsc, oneshot, watch};
use tokio::time::{Instant, timeout};

/// Credits to hold: 1024 pay for 64 MiB in flight.
const CREDIT_TARGET: u32 = 1024;
/// Breaks that wait to be taken: twice as many as there are files that a mount keeps open, so that a server can break
/// all leases at once.
pub(super) const BREAKS: usize = 8192;

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
    breaks: Mutex<Option<mpsc::Receiver<Break>>>,
}

/// All replies to a chain, or why there are none.
pub type Answer = Result<Vec<Reply>, WireError>;

impl Connection {
    /// Starts to talk on a stream. A line that is quiet for `echo_interval` is probed with an ECHO.
    pub fn start(stream: TcpStream, echo_interval: Duration) -> io::Result<Connection> {
        let peer = stream.peer_addr()?;
        let (read_half, write_half) = stream.into_split();
        let (breaks_in, breaks_out) = mpsc::channel(BREAKS);
        let window = CreditWindow::new(CREDIT_TARGET);
        let shared = Arc::new(Shared {
            state: Mutex::new(State { window, table: MessageTable::default(), ended: None, ended_at: None }),
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
    pub fn breaks(&self) -> Option<mpsc::Receiver<Break>> {
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

    /// When the connection ended, if it has.
    pub fn ended_at(&self) -> Option<std::time::Instant> {
        self.shared.lock().ended_at
    }

    /// From its start to the last frame that came.
    pub fn active_for(&self) -> Duration {
        Duration::from_millis(self.shared.last_received.load(Ordering::Relaxed))
    }

    /// When the last frame came; the start, if none has.
    pub fn heard_at(&self) -> Instant {
        self.shared.started + self.active_for()
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
    /// A server that grants too few credits for a compound gets its parts one by one.
    pub async fn send(&self, chain: &Chain, deadline: Duration) -> Answer {
        let work = async {
            match self.exchange(chain).await {
                Err(WireError::Credits { .. }) if chain.requests.len() > 1 => self.one_by_one(chain).await,
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

    /// Sends requests in one frame, of which the last may be answered at any time or never, and waits for the other
    /// replies. There is no way around a server that grants too few credits for all of them.
    pub async fn send_open_ended(&self, chain: &Chain, deadline: Duration) -> Result<(Vec<Reply>, Pending), WireError> {
        let work = async {
            let protect = self.shared.protection(chain)?;
            let mut last = Last::OpenEnded(None);
            let mut waiting = self.queue(chain, protect, &mut last, &mut |_| ()).await?;
            let Last::OpenEnded(Some(answer)) = last else { return Err(self.shared.why_ended()) };
            let head = &chain.requests[..chain.requests.len() - 1];
            let id = head.iter().fold(waiting.first_id, |id, request| id.wrapping_add(u64::from(request.charge)));
            let pending =
                Pending { shared: Arc::clone(&self.shared), chain: chain.clone(), id, answer, answered: false };
            if head.is_empty() {
                waiting.answered = true;
                return Ok((Vec::new(), pending));
            }
            let answer = (&mut waiting.answer).await;
            waiting.answered = true;
            let replies = answer.unwrap_or_else(|_| Err(self.shared.why_ended()))?;
            self.shared.accept(protect, head, &replies)?;
            Ok((replies, pending))
        };
        timeout(deadline, work).await.unwrap_or(Err(WireError::TimedOut))
    }

    /// Sends and waits for nothing, not even for credits: whether it was sent.
    pub fn post(&self, chain: &Chain) -> bool {
        self.shared.send_detached(chain)
    }

    async fn exchange(&self, chain: &Chain) -> Answer {
        let protect = self.shared.protection(chain)?;
        let replies = self.transfer(chain, protect, &mut |_| ()).await?;
        self.shared.accept(protect, &chain.requests, &replies)?;
        Ok(replies)
    }

    async fn transfer(&self, chain: &Chain, protect: Protect<'_>, record: &mut impl FnMut(&[Bytes])) -> Answer {
        let mut waiting = self.queue(chain, protect, &mut Last::LikeTheOthers, record).await?;
        let answer = (&mut waiting.answer).await;
        waiting.answered = true;
        answer.unwrap_or_else(|_| Err(self.shared.why_ended()))
    }

    /// Waits for credits, then sends. No await lies between taking the ids and sending.
    async fn queue(
        &self,
        chain: &Chain,
        protect: Protect<'_>,
        last: &mut Last,
        record: &mut impl FnMut(&[Bytes]),
    ) -> Result<Waiting<'_>, WireError> {
        let shared = &*self.shared;
        let cost = chain.cost();
        let _turn = shared.turnstiles[cost.lane as usize].acquire().await.map_err(|_| shared.why_ended())?;
        let _place = Place { shared, lane: cost.lane };
        loop {
            let granted = shared.granted.notified();
            if let Some((first_id, answer)) = shared.try_send(chain, protect, last, record)? {
                return Ok(Waiting { shared, first_id, answer, answered: false });
            }
            shared.lock().window.stand(cost);
            granted.await;
        }
    }

    async fn one_by_one(&self, chain: &Chain) -> Answer {
        let mut replies: Vec<Reply> = Vec::with_capacity(chain.requests.len());
        let mut file: Option<[u8; 16]> = None;
        let mut refusal: Option<Reply> = None;
        for (index, request) in chain.requests.iter().enumerate() {
            // In a compound the others would have failed alike (MS-SMB2 3.3.5.2.7.2).
            if let Some(refusal) = refusal.as_ref().filter(|_| chain.is_related(index)) {
                replies.push(refusal.clone());
                continue;
            }
            let mut request = request.clone();
            if let (Some(file), Some(offset)) = (file, frame::file_id_offset(request.command)) {
                let field = request.body.get_mut(offset..offset + 16);
                if let Some(field) = field.filter(|field| **field == RELATED_FILE) {
                    field.copy_from_slice(&file);
                }
            }
            let command = request.command;
            let single = Chain { requests: vec![request], related_from: frame::UNRELATED, ..chain.clone() };
            let mut answer = self.exchange(&single).await?;
            let reply = answer.pop().ok_or(Malformed("no reply"))?;
            if command == Command::Create {
                let failed = reply.status().is_error();
                (file, refusal) = if failed { (None, Some(reply.clone())) } else { (created_file(&reply), None) };
            }
            replies.push(reply);
        }
        Ok(replies)
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

/// A request that was sent and is answered when something happens. Dropping it cancels the request.
#[derive(Debug)]
pub struct Pending {
    shared: Arc<Shared>,
    /// What it was the last of.
    chain: Chain,
    id: u64,
    answer: oneshot::Receiver<Answer>,
    answered: bool,
}

impl Pending {
    /// For those who do not wait for it.
    pub fn probe(&self) -> Probe {
        Probe { shared: Arc::clone(&self.shared), id: self.id }
    }

    /// Waits for the reply, or for the end of the connection. To be awaited to its end once only.
    pub async fn reply(&mut self) -> Result<Reply, WireError> {
        let answer = (&mut self.answer).await;
        self.answered = true;
        let mut replies = answer.unwrap_or_else(|_| Err(self.shared.why_ended()))?;
        let last = self.chain.requests.last().map_or(&[][..], std::slice::from_ref);
        self.shared.accept(self.shared.protection(&self.chain)?, last, &replies)?;
        Ok(replies.pop().ok_or(Malformed("no reply"))?)
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        if !self.answered {
            self.shared.cancel(self.id);
        }
    }
}

/// Tells of a request that was sent whether the server keeps it.
#[derive(Debug)]
pub struct Probe {
    shared: Arc<Shared>,
    id: u64,
}

impl Probe {
    /// Whether the server has said that it will answer later (MS-SMB2 3.3.4.2), and has not answered.
    pub fn is_kept(&self) -> bool {
        let state = self.shared.lock();
        state.ended.is_none() && state.table.is_kept(self.id)
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

/// Whether a status means that the session or the tree is gone, though the connection is not.
pub fn session_is_gone(status: NtStatus) -> bool {
    matches!(
        status,
        NtStatus::USER_SESSION_DELETED | NtStatus::NETWORK_SESSION_EXPIRED | NtStatus::NETWORK_NAME_DELETED
    )
}
