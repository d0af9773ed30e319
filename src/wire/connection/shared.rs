//! What the tasks of a connection and its callers share: the [`Channel`] under one lock, and the way out.
//!
//! A change of the channel has consequences: frames to send, callers to tell, the end. The thread that makes the change
//! carries them out, in [`Shared::with`], after it has released the lock. Signing, encrypting and decrypting need no lock.
//!
//! Locks: the channel's is taken once to submit and once for each frame that comes; then the outbox's, to send. What is
//! only looked at (how the connection ended, its credits, how large a frame may be) is mirrored and needs none.

use super::super::channel::{Channel, Ended, Event, Ready, Submitted, Transmit, Waiters};
use super::super::codec::Malformed;
use super::super::error::WireError;
use super::super::frame::{Chain, Reply};
use super::super::header::Command;
use super::super::messages::lease::Break;
use super::super::protection::{self, Security, Unverified};
use super::super::table::Ticket;
use super::super::transport::{Outbox, Sink};
use crate::telemetry::Counters;
use crate::telemetry::counters::command_name;
use bytes::{Bytes, BytesMut};
use parking_lot::Mutex;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::time::{Duration, Instant};
use tokio::runtime::Handle;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio::task::AbortHandle;

/// The transport's length prefix, in bytes.
const PREFIX_SIZE: usize = 4;

/// Tells a caller.
pub(super) type Waiter = oneshot::Sender<Result<Unverified, WireError>>;

#[derive(Debug)]
pub(super) struct Shared {
    state: Mutex<State>,
    outbox: Outbox,
    /// The other connections of the session.
    pub(super) siblings: OnceLock<Vec<Weak<Shared>>>,
    pub(super) security: OnceLock<Security>,
    breaks: mpsc::Sender<Break>,
    ended: OnceLock<Ended>,
    ending: watch::Sender<bool>,
    /// The timer is to be set to an earlier time.
    rearmed: Notify,
    /// Credits at hand in the upper half, credits in use in the lower one.
    credits: AtomicU64,
    bulk_capacity: AtomicU32,
    frame_limit: AtomicU64,
    tasks: OnceLock<[AbortHandle; 3]>,
    runtime: Handle,
    pub(super) counters: Arc<Counters>,
    pub(super) started: Instant,
    pub(super) peer: SocketAddr,
}

#[derive(Debug)]
struct State {
    channel: Channel<Waiter>,
    /// When the timer goes off.
    armed: Option<Instant>,
}

/// What follows from a change of the channel.
struct Consequences {
    transmits: Vec<Transmit>,
    events: Vec<Event<Waiter>>,
    has_ended: bool,
    is_earlier: bool,
}

/// The clock of everything here.
pub(super) fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

impl Shared {
    pub(super) fn new(
        sink: impl Sink + 'static,
        breaks: mpsc::Sender<Break>,
        peer: SocketAddr,
        echo_interval: Duration,
        counters: Arc<Counters>,
    ) -> Arc<Shared> {
        let started = now();
        let channel = Channel::new(echo_interval, started);
        let shared = Shared {
            outbox: Outbox::new(sink),
            siblings: OnceLock::new(),
            security: OnceLock::new(),
            breaks,
            ended: OnceLock::new(),
            ending: watch::Sender::new(false),
            rearmed: Notify::new(),
            credits: AtomicU64::default(),
            bulk_capacity: AtomicU32::default(),
            frame_limit: AtomicU64::default(),
            tasks: OnceLock::new(),
            runtime: Handle::current(),
            counters,
            started,
            peer,
            state: Mutex::new(State { channel, armed: None }),
        };
        shared.mirror(&shared.state.lock().channel);
        Arc::new(shared)
    }

    /// These tasks end with the connection.
    pub(super) fn own(&self, tasks: [AbortHandle; 3]) {
        let tasks = self.tasks.get_or_init(|| tasks);
        if self.ended.get().is_some() {
            tasks.iter().for_each(AbortHandle::abort);
        }
    }

    /// Changes the channel, and carries out what follows from that.
    pub(super) fn with<R>(self: &Arc<Self>, change: impl FnOnce(&mut Channel<Waiter>, Instant) -> R) -> R {
        let now = now();
        let mut state = self.state.lock();
        let result = change(&mut state.channel, now);
        let consequences = self.consequences(&mut state);
        drop(state);
        self.carry_out(consequences);
        result
    }

    /// Looks at the channel.
    pub(super) fn look<R>(&self, look: impl FnOnce(&Channel<Waiter>) -> R) -> R {
        look(&self.state.lock().channel)
    }

    fn consequences(&self, state: &mut State) -> Consequences {
        let channel = &mut state.channel;
        self.mirror(channel);
        let has_ended = channel.ended().is_some_and(|ended| self.ended.set(ended.clone()).is_ok());
        let next = channel.next_timeout();
        let is_earlier = next.is_some_and(|next| state.armed.is_none_or(|armed| next < armed));
        if is_earlier {
            state.armed = next;
        }
        Consequences {
            transmits: std::iter::from_fn(|| channel.poll_transmit()).collect(),
            events: std::iter::from_fn(|| channel.poll_event()).collect(),
            has_ended,
            is_earlier,
        }
    }

    fn mirror(&self, channel: &Channel<Waiter>) {
        let (available, in_use) = channel.credits();
        self.credits.store(u64::from(available) << 32 | u64::from(in_use), Ordering::Relaxed);
        self.bulk_capacity.store(channel.bulk_capacity(), Ordering::Relaxed);
        self.frame_limit.store(channel.frame_limit(), Ordering::Relaxed);
    }

    fn carry_out(self: &Arc<Self>, consequences: Consequences) {
        let Consequences { transmits, events, has_ended, is_earlier } = consequences;
        for transmit in transmits {
            self.transmit(transmit);
        }
        for event in events {
            self.tell(event);
        }
        if is_earlier {
            self.rearmed.notify_one();
        }
        if has_ended {
            self.wind_up();
        }
    }

    /// Sends what has waited for its turn. What takes long to sign or to encrypt has a task of its own: this may be the
    /// task that receives, or the kernel's thread.
    fn transmit(self: &Arc<Self>, transmit: Transmit) {
        match &transmit {
            Transmit::Chain(chain, ready) => self.record_sent(chain, ready),
            Transmit::Cancel { message_id, .. } => {
                self.counters.frames_sent.count();
                self.counters.message(Command::Cancel as u16);
                tracing::trace!(peer = %self.peer, message_id, "sent CANCEL");
            }
        }
        if !transmit.is_long_work() {
            return self.push(transmit.assemble());
        }
        let this = Arc::clone(self);
        self.runtime.spawn(async move { this.push(transmit.assemble()) });
    }

    fn push(self: &Arc<Self>, segments: Vec<Bytes>) {
        if let Err(error) = self.outbox.push(segments) {
            self.end(&format!("sending failed: {error}"));
        }
    }

    fn tell(self: &Arc<Self>, event: Event<Waiter>) {
        match event {
            // A waiter can go at the last moment: its replies come back.
            Event::Answered(waiter, answer) => {
                if let Err(Ok(replies)) = waiter.send(answer) {
                    self.unclaimed(&replies);
                }
            }
            Event::Unclaimed(replies) => self.unclaimed(&replies),
            // A break that was lost would leave a lease in use that the server has taken back, so a queue that is full is
            // the end: then all leases are given up. Without a receiver there are no leases.
            Event::Broken(broken) => {
                self.counters.breaks.count();
                if let Err(TrySendError::Full(_)) = self.breaks.try_send(broken) {
                    self.end("the server sent more lease breaks than can be kept");
                }
            }
        }
    }

    /// No caller takes these replies: a file that they leave open must not stay open at the server.
    pub(super) fn unclaimed(self: &Arc<Self>, replies: &Unverified) {
        match replies.close_orphan() {
            Ok(None) => {}
            Ok(Some(close)) => {
                if self.with(|channel, _| channel.post(close)).is_err() {
                    // Without a credit to spare the file stays open until the session ends.
                    tracing::debug!(peer = %self.peer, "no credit to close an open that no caller waits for");
                }
            }
            Err(forged) => self.end(&forged.to_string()),
        }
    }

    /// The connection has ended: lets go of the stream and of the tasks, and ends the others of its session.
    fn wind_up(&self) {
        if let Some(Ended { reason, .. }) = self.ended.get() {
            tracing::debug!(peer = %self.peer, %reason, "connection ended");
            self.outbox.close();
            self.ending.send_replace(true);
            self.tasks.get().into_iter().flatten().for_each(AbortHandle::abort);
            self.end_siblings(reason);
        }
    }

    pub(super) fn end(self: &Arc<Self>, reason: &str) {
        self.with(|channel, now| channel.end(reason, now));
    }

    pub(super) fn end_siblings(&self, reason: &str) {
        for sibling in self.siblings.get().into_iter().flatten().filter_map(Weak::upgrade) {
            sibling.end(reason);
        }
    }

    /// Submits a chain, and sends it if it can go at once: no await lies between taking its ids and sending.
    pub(super) fn submit(
        self: &Arc<Self>,
        chain: &Chain,
        waiters: Waiters<Waiter>,
        deadline: Instant,
    ) -> Result<Ticket, WireError> {
        match self.with(|channel, _| channel.submit(chain, waiters, deadline))? {
            Submitted::Ready(ready) => Ok(self.send(&ready, chain)),
            Submitted::Queued(ticket) => Ok(ticket),
        }
    }

    /// Sends a chain that has its ids.
    pub(super) fn send(self: &Arc<Self>, ready: &Ready, chain: &Chain) -> Ticket {
        self.record_sent(chain, ready);
        self.push(ready.assemble(chain));
        ready.ticket
    }

    /// The same for a chain of a sign-in, whose bytes are wanted as they were sent, without the transport's prefix.
    pub(super) fn send_recorded(self: &Arc<Self>, ready: &Ready, chain: &Chain) -> Vec<u8> {
        self.record_sent(chain, ready);
        let segments = ready.assemble(chain);
        let sent = segments.concat().split_off(PREFIX_SIZE);
        self.push(segments);
        sent
    }

    /// A frame has come. It is decrypted before the lock is taken.
    pub(super) fn take_frame(self: &Arc<Self>, frame: BytesMut) {
        let frame = protection::open(self.security.get(), frame);
        self.record_received(&frame);
        self.with(|channel, now| channel.on_frame(frame, now));
    }

    /// Counts a frame, and logs its headers at the level `trace`. No payload is logged: it may hold secrets.
    fn record_sent(&self, chain: &Chain, ready: &Ready) {
        self.counters.frames_sent.count();
        for request in &chain.requests {
            self.counters.message(request.command as u16);
        }
        tracing::trace!(
            peer = %self.peer,
            message_id = ready.first_id(),
            tree_id = chain.tree_id,
            payload = chain.payload(),
            "sent {}",
            chain.requests.iter().map(|request| command_name(request.command as u16)).collect::<Vec<_>>().join("+")
        );
    }

    /// The same for a frame that was received.
    fn record_received(&self, frame: &Result<Vec<Reply>, Malformed>) {
        self.counters.frames_received.count();
        for reply in frame.iter().flatten() {
            let header = &reply.header;
            tracing::trace!(
                peer = %self.peer,
                message_id = header.message_id,
                status = %header.status,
                credits = header.credits,
                length = reply.message.len(),
                "received {}",
                command_name(header.command)
            );
        }
    }

    /// Whether a frame of this length may come now.
    pub(super) fn admits(&self, length: u64) -> bool {
        // What is mirrored may be late; it is not what ends a connection.
        length <= self.frame_limit.load(Ordering::Relaxed) || length <= self.look(Channel::frame_limit)
    }

    /// Sets the timer to the channel's next timeout.
    pub(super) fn arm(&self) -> Option<Instant> {
        let mut state = self.state.lock();
        state.armed = state.channel.next_timeout();
        state.armed
    }

    /// Waits until the timer is to be set to an earlier time.
    pub(super) async fn rearmed(&self) {
        self.rearmed.notified().await;
    }

    /// The writer task: sends what the socket did not take at once.
    pub(super) async fn drain(&self) -> io::Result<()> {
        self.outbox.drain().await
    }

    pub(super) fn ended(&self) -> Option<&Ended> {
        self.ended.get()
    }

    pub(super) fn why_ended(&self) -> WireError {
        WireError::Closed(self.ended().map_or_else(|| "it was ended".into(), |ended| ended.reason.clone()))
    }

    pub(super) fn ending(&self) -> watch::Receiver<bool> {
        self.ending.subscribe()
    }

    /// Credits at hand, and credits of requests in flight.
    pub(super) fn credits(&self) -> (u32, u32) {
        let [a, b, c, d, e, f, g, h] = self.credits.load(Ordering::Relaxed).to_be_bytes();
        (u32::from_be_bytes([a, b, c, d]), u32::from_be_bytes([e, f, g, h]))
    }

    pub(super) fn bulk_capacity(&self) -> u32 {
        self.bulk_capacity.load(Ordering::Relaxed)
    }
}
