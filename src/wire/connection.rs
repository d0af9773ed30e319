//! One connection: a [`Channel`](super::channel::Channel), a socket, and the tasks around it.
//!
//! A caller's future submits a chain to the channel, signs or encrypts it, and passes the frame to the socket, all in
//! one step without waiting in between. So a future that is dropped has sent each frame as a whole or not at all. The
//! receiving task passes replies to the channel and wakes the callers, whose own futures check signatures and
//! structure. A dropped future cancels its requests; their ids and credits return with the server's answer. Every
//! violation of the protocol ends the connection, and all waiting callers get the reason. Connections of one session
//! are tied together: the end of one ends all of them, in the same step.
//!
//! A future may be polled first on the thread that receives the kernel's requests. Signing, encrypting or verifying
//! much data there would delay all of them. So a future outside of a task of the runtime yields once before such work,
//! and its caller then spawns it as a task.
//!
//! | file | what is decided there |
//! |---|---|
//! | `shared` | the lock around the channel, and how its consequences (frames, answers, the end) are carried out |
//! | `tasks` | the three tasks: receive, transmit, timer |
//! | `pieces` | how a compound is sent as single requests, when the server grants too few credits |

mod pieces;
mod shared;
mod tasks;

use super::channel::Waiters;
use super::codec::Malformed;
use super::crypto::Signer;
use super::error::WireError;
use super::frame::{Chain, Protect, Reply, Request};
use super::messages::lease::Break;
use super::protection::{Unverified, is_long_work};
use super::status::NtStatus;
use super::table::Ticket;
use super::transport::{FrameReader, Sink};
use crate::telemetry::Counters;
use parking_lot::Mutex;
use pieces::Pieces;
use shared::{Shared, now};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tasks::{keep_time, receive, transmit};
use tokio::io::AsyncRead;
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot};

pub use super::protection::Security;

/// The most oplock and lease breaks that wait for their receiver: 8192, twice the number of files that a mount keeps
/// open, so that a server can break all leases at once. A further break ends the connection.
pub(super) const BREAKS: usize = 8192;

/// One connection of a session. Dropping it ends it.
#[derive(Debug)]
pub struct Connection {
    shared: Arc<Shared>,
    /// The receiving end of oplock and lease breaks, until [`Connection::breaks`] returns it.
    breaks: Mutex<Option<mpsc::Receiver<Break>>>,
}

/// All replies to a chain in the order of its requests, or why there are none.
pub type Answer = Result<Vec<Reply>, WireError>;

impl Connection {
    /// Starts a connection on a TCP stream. It is probed with an ECHO after `echo_interval` without a frame. Must be
    /// called within a runtime.
    ///
    /// # Errors
    ///
    /// The error of the socket if the server's address is unknown: the stream is no longer connected.
    pub fn start(stream: TcpStream, echo_interval: Duration, counters: Arc<Counters>) -> io::Result<Connection> {
        let peer = stream.peer_addr()?;
        let (read_half, write_half) = stream.into_split();
        Ok(Connection::over(read_half, write_half, peer, echo_interval, counters))
    }

    /// Starts a connection on any two halves of a stream.
    pub(super) fn over(
        read_half: impl AsyncRead + Send + Unpin + 'static,
        write_half: impl Sink + 'static,
        peer: SocketAddr,
        echo_interval: Duration,
        counters: Arc<Counters>,
    ) -> Connection {
        let (breaks_in, breaks_out) = mpsc::channel(BREAKS);
        let shared = Shared::new(write_half, breaks_in, peer, echo_interval, counters);
        let receiving = tokio::spawn(receive(shared.clone(), FrameReader::new(read_half)));
        let transmitting = tokio::spawn(transmit(shared.clone()));
        let timing = tokio::spawn(keep_time(shared.clone()));
        shared.own([receiving.abort_handle(), transmitting.abort_handle(), timing.abort_handle()]);
        Connection { shared, breaks: Mutex::new(Some(breaks_out)) }
    }

    /// The counters of the mount.
    pub fn counters(&self) -> &Counters {
        &self.shared.counters
    }

    /// The server's address.
    pub fn peer(&self) -> SocketAddr {
        self.shared.peer
    }

    /// Sets the session id of all further requests.
    pub fn set_session_id(&self, session_id: u64) {
        self.shared.with(|channel, _| channel.set_session_id(session_id));
    }

    /// The session id of requests; 0 before there is a session.
    pub fn session_id(&self) -> u64 {
        self.shared.look(|channel| channel.session_id())
    }

    /// Allows requests that cost more than one credit from now on (MS-SMB2 3.2.4.1.5).
    pub fn enable_multi_credit(&self) {
        self.shared.with(|channel, _| channel.enable_multi_credit());
    }

    /// Reports that the session is established: all further requests are protected by `security`. Only the first call
    /// has an effect.
    pub fn protect(&self, security: Security) {
        // A connection has one session in its whole life.
        if self.shared.security.set(security.clone()).is_ok() {
            self.shared.with(|channel, _| channel.protect(security));
        }
    }

    /// The keys of the session and what they protect; `None` before there is a session.
    pub fn security(&self) -> Option<&Security> {
        self.shared.security.get()
    }

    /// The receiver of oplock and lease breaks (MS-SMB2 2.2.23); `None` after the first call.
    pub fn breaks(&self) -> Option<mpsc::Receiver<Break>> {
        self.breaks.lock().take()
    }

    /// The most credits that one bulk request may cost, given what the server has granted so far.
    pub fn credit_capacity(&self) -> u32 {
        self.shared.bulk_capacity()
    }

    /// Available credits, and credits of requests in flight.
    pub fn credits(&self) -> (u32, u32) {
        self.shared.credits()
    }

    /// Why the connection ended, if it has.
    pub fn ended(&self) -> Option<Arc<str>> {
        self.shared.ended().map(|ended| ended.reason.clone())
    }

    /// When the connection ended, if it has.
    pub fn ended_at(&self) -> Option<Instant> {
        self.shared.ended().map(|ended| ended.at)
    }

    /// The time from the start of the connection to the last received frame.
    pub fn active_for(&self) -> Duration {
        self.last_received().saturating_duration_since(self.shared.started)
    }

    /// When the last frame was received; the start of the connection if none was.
    pub fn last_received(&self) -> Instant {
        self.shared.look(|channel| channel.last_received())
    }

    /// Waits until the connection has ended. The future does not keep it alive.
    pub fn ending(&self) -> impl Future<Output = ()> + Send + use<> {
        let mut ending = self.shared.ending();
        async move {
            // An error means that the connection is dropped already.
            let _ = ending.wait_for(|ended| *ended).await;
        }
    }

    /// Ends the connection: nothing more is sent, and all waiting callers get [`WireError::Closed`] with this reason.
    pub fn end(&self, reason: &str) {
        self.shared.end(reason);
    }

    /// Ties the connections of a session together: from now on the end of one ends all of them.
    pub fn tie(connections: &[Connection]) {
        for (index, connection) in connections.iter().enumerate() {
            let others = connections.iter().enumerate().filter(|(other, _)| *other != index);
            let others = others.map(|(_, other)| Arc::downgrade(&other.shared)).collect();
            // A connection belongs to one session in its whole life.
            let _ = connection.shared.siblings.set(others);
        }
        for connection in connections {
            if let Some(reason) = connection.ended() {
                connection.shared.end_siblings(&reason);
            }
        }
    }

    /// Sends requests in one frame and waits for all replies, in the order of the requests. `deadline` counts from now.
    /// If the server grants too few credits for a compound, its requests are sent one by one.
    ///
    /// # Errors
    ///
    /// - [`WireError::Closed`]: the connection has ended, the chain must be encrypted and there is no key, or a reply
    ///   is not protected as its request was, which ends the connection.
    /// - [`WireError::TimedOut`]: not all replies came within `deadline`.
    /// - [`WireError::Malformed`]: a reply breaks the protocol, which ends the connection.
    /// - [`WireError::TooLong`]: a part of the chain is longer than the protocol allows; nothing is sent.
    /// - [`WireError::Credits`]: the server grants fewer credits than a single request costs.
    pub async fn send(&self, chain: &Chain, deadline: Duration) -> Answer {
        let deadline = now() + deadline;
        match self.exchange(chain, deadline).await {
            Err(WireError::Credits { .. }) if chain.requests.len() > 1 => {
                let mut pieces = Pieces::new(chain);
                while let Some(piece) = pieces.next_piece() {
                    let reply = self.exchange(&piece, deadline).await?.pop().ok_or(Malformed("no reply"))?;
                    pieces.answered(reply);
                }
                Ok(pieces.replies())
            }
            answer => answer,
        }
    }

    /// Sends one request of NEGOTIATE or a sign-in, signed if there is a `signer`. Returns the bytes that were sent,
    /// without the transport's prefix, because the pre-authentication hash covers them (MS-SMB2 3.2.5.2), and the
    /// reply, whose signature and structure the caller checks. `deadline` counts from now. Nothing else may be in
    /// flight.
    ///
    /// # Errors
    ///
    /// As for [`Connection::send`]; [`WireError::Credits`] if there is no credit now.
    pub async fn send_recorded(
        &self,
        request: Request,
        signer: Option<&Arc<Signer>>,
        deadline: Duration,
    ) -> Result<(Vec<u8>, Reply), WireError> {
        let chain = Chain::single(request);
        let protect = signer.map_or(Protect::Plain, |signer| Protect::Sign(Arc::clone(signer)));
        let (waiter, answer) = oneshot::channel();
        let began = now();
        let waiter = Some((waiter, began + deadline));
        let ready = self.shared.with(|channel, _| channel.submit_now(&chain, Some(protect), waiter))?;
        let sent = self.shared.send_recorded(&ready, &chain);
        let mut waiting = Waiting::new(&self.shared, &chain, began, ready.ticket, answer);
        let reply = waiting.unverified().await?.unchecked().pop().ok_or(Malformed("no reply"))?;
        Ok((sent, reply))
    }

    /// Sends requests in one frame, of which the last may be answered at any time or never (a CHANGE_NOTIFY). Waits for
    /// the replies to the others by `deadline`, which counts from now.
    ///
    /// # Errors
    ///
    /// As for [`Connection::send`], and [`WireError::Malformed`] if the chain has no request. The requests are not sent
    /// one by one: [`WireError::Credits`] if the server grants too few credits for all of them.
    pub async fn send_open_ended(&self, chain: &Chain, deadline: Duration) -> Result<(Vec<Reply>, Pending), WireError> {
        let (last, head) = chain.requests.split_last().ok_or(Malformed("no request"))?;
        let ((first, answer), (waiter, last_answer)) = (oneshot::channel(), oneshot::channel());
        let waiters = Waiters { head: (!head.is_empty()).then_some(first), last: Some(waiter) };
        let began = now();
        let ticket = self.submit(chain, waiters, began + deadline).await?;
        let shared = Arc::clone(&self.shared);
        let pending =
            Pending { shared, request: last.clone(), ticket: ticket.last(), answer: last_answer, answered: false };
        let replies = match head {
            [] => Vec::new(),
            head => Waiting::new(&self.shared, chain, began, ticket, answer).replies(head).await?,
        };
        Ok((replies, pending))
    }

    /// Sends requests without waiting for replies or credits. Returns whether they were sent.
    pub fn post(&self, chain: &Chain) -> bool {
        let ready = self.shared.with(|channel, _| channel.submit_now(chain, None, None));
        ready.is_ok_and(|ready| {
            self.shared.send(&ready, chain);
            true
        })
    }

    /// Sends a chain in one frame and waits for its replies.
    async fn exchange(&self, chain: &Chain, deadline: Instant) -> Answer {
        let (waiter, answer) = oneshot::channel();
        let began = now();
        let ticket = self.submit(chain, Waiters { head: Some(waiter), last: None }, deadline).await?;
        Waiting::new(&self.shared, chain, began, ticket, answer).replies(&chain.requests).await
    }

    /// Submits a chain, from a task of the runtime if signing or encrypting takes long.
    async fn submit(&self, chain: &Chain, waiters: Waiters<shared::Waiter>, by: Instant) -> Result<Ticket, WireError> {
        let protect = self.security().map_or(Ok(Protect::Plain), |security| security.of_chain(chain))?;
        if is_long_work(&protect, chain.payload()) {
            on_a_worker().await;
        }
        self.shared.submit(chain, waiters, by)
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.shared.end("it is no longer used");
    }
}

/// Continues in a task of the runtime. Outside of a task, where the kernel's thread polls each request's future once,
/// the future yields; within a task it continues at once.
async fn on_a_worker() {
    if tokio::task::try_id().is_none() {
        tokio::task::yield_now().await;
    }
}

/// A caller that waits for a chain's replies. Dropping it counts the round trip, and cancels requests without an
/// answer.
struct Waiting<'a> {
    shared: &'a Arc<Shared>,
    ticket: Ticket,
    answer: oneshot::Receiver<Result<Unverified, WireError>>,
    answered: bool,
    /// The first command of the chain, for the counters.
    command: u16,
    /// When the chain was submitted.
    began: Instant,
    /// When the replies arrived.
    arrived: Option<Instant>,
    /// Received replies that are checked once a task of the runtime polls the caller.
    held: Option<Unverified>,
}

impl<'a> Waiting<'a> {
    fn new(
        shared: &'a Arc<Shared>,
        chain: &Chain,
        began: Instant,
        ticket: Ticket,
        answer: oneshot::Receiver<Result<Unverified, WireError>>,
    ) -> Waiting<'a> {
        let command = chain.requests.first().map_or(u16::MAX, |request| request.command as u16);
        Waiting { shared, ticket, answer, answered: false, command, began, arrived: None, held: None }
    }

    /// The replies as received, unchecked.
    async fn unverified(&mut self) -> Result<Unverified, WireError> {
        let answer = (&mut self.answer).await;
        self.answered = true;
        self.arrived = matches!(answer, Ok(Ok(_))).then(now);
        answer.unwrap_or_else(|_| Err(self.shared.why_ended()))
    }

    /// The replies to `requests`, checked.
    async fn replies(mut self, requests: &[Request]) -> Answer {
        let mut replies = self.unverified().await?;
        if replies.is_long_work() {
            self.held = Some(replies);
            on_a_worker().await;
            replies = self.held.take().ok_or(Malformed("no reply"))?;
        }
        accept(self.shared, requests, replies)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let took = self.arrived.map(|arrived| arrived.saturating_duration_since(self.began));
        self.shared.counters.round_trip(self.command, took);
        if !self.answered {
            // Closed first: replies that arrive from now on are returned to their sender.
            self.answer.close();
            match self.answer.try_recv() {
                Ok(Ok(replies)) => self.shared.unclaimed(&replies),
                _ => self.shared.with(|channel, _| channel.cancel(self.ticket)),
            }
        }
        if let Some(replies) = &self.held {
            self.shared.unclaimed(replies);
        }
    }
}

/// Checks the replies to `requests`. Replies that are not accepted end the connection.
fn accept(shared: &Arc<Shared>, requests: &[Request], replies: Unverified) -> Answer {
    replies.accept(requests).inspect_err(|forged| shared.end(&forged.to_string())).map_err(WireError::from)
}

/// A request that was sent and is answered when an event happens at the server (a CHANGE_NOTIFY). Dropping it cancels
/// the request, unless it is answered.
#[derive(Debug)]
pub struct Pending {
    shared: Arc<Shared>,
    request: Request,
    ticket: Ticket,
    answer: oneshot::Receiver<Result<Unverified, WireError>>,
    answered: bool,
}

impl Pending {
    /// A handle that shows whether the request is armed, without waiting for its reply.
    pub fn probe(&self) -> Probe {
        Probe { shared: Arc::clone(&self.shared), ticket: self.ticket }
    }

    /// Waits for the reply, or for the end of the connection. Must not be called again after it has returned.
    ///
    /// # Errors
    ///
    /// [`WireError::Closed`] if the connection ends or the reply is not protected as the request was,
    /// [`WireError::Malformed`] if the reply breaks the protocol; both replies end the connection. While the request
    /// waits for credits, also [`WireError::TimedOut`] and [`WireError::Credits`].
    pub async fn reply(&mut self) -> Result<Reply, WireError> {
        let answer = (&mut self.answer).await;
        self.answered = true;
        let replies = answer.unwrap_or_else(|_| Err(self.shared.why_ended()))?;
        let mut replies = accept(&self.shared, std::slice::from_ref(&self.request), replies)?;
        Ok(replies.pop().ok_or(Malformed("no reply"))?)
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        if !self.answered {
            self.shared.with(|channel, _| channel.cancel(self.ticket));
        }
    }
}

/// Shows whether a [`Pending`] request is armed: whether it waits at the server.
#[derive(Debug)]
pub struct Probe {
    shared: Arc<Shared>,
    ticket: Ticket,
}

impl Probe {
    /// Whether the server has sent an interim reply (MS-SMB2 3.3.4.2) and no final one.
    pub fn is_kept(&self) -> bool {
        self.shared.look(|channel| channel.is_kept(self.ticket))
    }
}

/// Whether a status means that the session or the tree no longer exists at the server, though the connection does.
pub fn session_is_gone(status: NtStatus) -> bool {
    matches!(
        status,
        NtStatus::USER_SESSION_DELETED | NtStatus::NETWORK_SESSION_EXPIRED | NtStatus::NETWORK_NAME_DELETED
    )
}

#[cfg(test)]
mod tests;
