//! The state that the tasks and the callers of a connection share: the [`Channel`] under one lock, and the outbox.
//!
//! A change of the channel has consequences: frames to send, callers to answer, the end. The thread that makes the
//! change carries them out in [`Shared::with`], after it has released the lock. Signing, encrypting and decrypting need
//! no lock.
//!
//! Locks: the channel's lock is held once per submission and once per received frame. The outbox's lock is acquired to
//! send, after the channel's lock is released. Values that are only read (the end of the connection, its credits, the
//! frame limit) are mirrored outside of the lock.

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

/// The handle that answers a waiting caller.
pub(super) type Waiter = oneshot::Sender<Result<Unverified, WireError>>;

/// The shared state of a connection.
#[derive(Debug)]
pub(super) struct Shared {
    state: Mutex<State>,
    outbox: Outbox,
    /// The other connections of the session.
    pub(super) siblings: OnceLock<Vec<Weak<Shared>>>,
    /// The keys of the session; set once it is established.
    pub(super) security: OnceLock<Security>,
    /// Where received breaks are queued.
    breaks: mpsc::Sender<Break>,
    /// Mirrored: why and when the connection ended.
    ended: OnceLock<Ended>,
    /// True once the connection has ended.
    ending: watch::Sender<bool>,
    /// Wakes the timer task, to set the timer to an earlier time.
    rearmed: Notify,
    /// Mirrored: available credits in the upper 32 bits, credits of requests in flight in the lower ones.
    credits: AtomicU64,
    /// Mirrored: the most credits that one bulk request may cost.
    bulk_capacity: AtomicU32,
    /// Mirrored: the largest frame that the server may send now, in bytes.
    frame_limit: AtomicU64,
    tasks: OnceLock<[AbortHandle; 3]>,
    /// Where long work is spawned: callers may run outside of the runtime.
    runtime: Handle,
    pub(super) counters: Arc<Counters>,
    /// When the connection was started.
    pub(super) started: Instant,
    pub(super) peer: SocketAddr,
}

/// The state under the lock.
#[derive(Debug)]
struct State {
    channel: Channel<Waiter>,
    /// The time that the timer is set to.
    armed: Option<Instant>,
}

/// The consequences of a change of the channel, carried out after the lock is released.
struct Consequences {
    transmits: Vec<Transmit>,
    events: Vec<Event<Waiter>>,
    /// Whether the change has ended the connection.
    has_ended: bool,
    /// Whether the timer must be set to an earlier time.
    is_earlier: bool,
}

/// The current time, by the clock of the runtime, which tests can pause.
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

    /// Registers the tasks that are aborted at the end of the connection.
    pub(super) fn own(&self, tasks: [AbortHandle; 3]) {
        let tasks = self.tasks.get_or_init(|| tasks);
        if self.ended.get().is_some() {
            tasks.iter().for_each(AbortHandle::abort);
        }
    }

    /// Changes the channel under the lock, then carries out the consequences.
    pub(super) fn with<R>(self: &Arc<Self>, change: impl FnOnce(&mut Channel<Waiter>, Instant) -> R) -> R {
        let now = now();
        let mut state = self.state.lock();
        let result = change(&mut state.channel, now);
        let consequences = self.consequences(&mut state);
        drop(state);
        self.carry_out(consequences);
        result
    }

    /// Reads from the channel under the lock.
    pub(super) fn look<R>(&self, look: impl FnOnce(&Channel<Waiter>) -> R) -> R {
        look(&self.state.lock().channel)
    }

    /// Collects the consequences of a change, under the lock.
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

    /// Updates the values that are read without the lock.
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
            self.deliver(event);
        }
        if is_earlier {
            self.rearmed.notify_one();
        }
        if has_ended {
            self.clean_up();
        }
    }

    /// Sends a frame from the channel's queue: a chain that has waited for credits, one of the channel itself (ECHO,
    /// CLOSE), or a CANCEL. A frame that takes long to sign or encrypt gets a task of its own, because the current
    /// thread may be that of the receiving task or the kernel's.
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

    /// Passes a frame to the outbox. A failure ends the connection.
    fn push(self: &Arc<Self>, segments: Vec<Bytes>) {
        if let Err(error) = self.outbox.push(segments) {
            self.end(&format!("sending failed: {error}"));
        }
    }

    /// Delivers an event to its caller.
    fn deliver(self: &Arc<Self>, event: Event<Waiter>) {
        match event {
            // A caller can give up at the last moment. Its replies then have no receiver.
            Event::Answered(waiter, answer) => {
                if let Err(Ok(replies)) = waiter.send(answer) {
                    self.unclaimed(&replies);
                }
            }
            Event::Unclaimed(replies) => self.unclaimed(&replies),
            // A lost break would leave a lease in use that the server has revoked. So a full queue ends the connection,
            // and with it all leases. Without a receiver there are no leases.
            Event::Broken(broken) => {
                self.counters.breaks.count();
                if let Err(TrySendError::Full(_)) = self.breaks.try_send(broken) {
                    self.end("the server sent more lease breaks than the queue holds");
                }
            }
        }
    }

    /// Handles replies that no caller receives: a file that they leave open at the server is closed. Replies that are
    /// not protected as their requests were end the connection.
    pub(super) fn unclaimed(self: &Arc<Self>, replies: &Unverified) {
        match replies.close_orphan() {
            Ok(None) => {}
            Ok(Some(close)) => {
                if self.with(|channel, _| channel.post(close)).is_err() {
                    // Without an available credit the file stays open until the session ends.
                    tracing::debug!(peer = %self.peer, "no credit for a CLOSE: a file stays open in this session");
                }
            }
            Err(forged) => self.end(&forged.to_string()),
        }
    }

    /// Cleans up after the end: closes the outbox, aborts the tasks, and ends the other connections of the session.
    fn clean_up(&self) {
        if let Some(Ended { reason, .. }) = self.ended.get() {
            tracing::debug!(peer = %self.peer, %reason, "connection ended");
            self.outbox.close();
            self.ending.send_replace(true);
            self.tasks.get().into_iter().flatten().for_each(AbortHandle::abort);
            self.end_siblings(reason);
        }
    }

    /// Ends the connection with this reason.
    pub(super) fn end(self: &Arc<Self>, reason: &str) {
        self.with(|channel, now| channel.end(reason, now));
    }

    /// Ends the other connections of the session.
    pub(super) fn end_siblings(&self, reason: &str) {
        for sibling in self.siblings.get().into_iter().flatten().filter_map(Weak::upgrade) {
            sibling.end(reason);
        }
    }

    /// Submits a chain, and sends it if the channel admits it at once. No await lies between allocating its ids and
    /// sending it.
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

    /// Sends a chain that has its message ids.
    pub(super) fn send(self: &Arc<Self>, ready: &Ready, chain: &Chain) -> Ticket {
        self.record_sent(chain, ready);
        self.push(ready.assemble(chain));
        ready.ticket
    }

    /// Sends a chain of a sign-in that has its message ids. Returns the sent bytes without the transport's prefix.
    pub(super) fn send_recorded(self: &Arc<Self>, ready: &Ready, chain: &Chain) -> Vec<u8> {
        self.record_sent(chain, ready);
        let segments = ready.assemble(chain);
        let sent = segments.concat().split_off(PREFIX_SIZE);
        self.push(segments);
        sent
    }

    /// Handles a received frame. It is decrypted before the lock is acquired.
    pub(super) fn on_frame(self: &Arc<Self>, frame: BytesMut) {
        let frame = protection::open(self.security.get(), frame);
        self.record_received(&frame);
        self.with(|channel, now| channel.on_frame(frame, now));
    }

    /// Counts a frame to send, and logs its headers at the level `trace`. No payload is logged: it may hold secrets.
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

    /// Counts a received frame, and logs its headers at the level `trace`.
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

    /// Whether the server may send a frame of this length now.
    pub(super) fn admits(&self, length: u64) -> bool {
        // The mirrored limit may be out of date, so only the channel's own limit can refuse a frame.
        length <= self.frame_limit.load(Ordering::Relaxed) || length <= self.look(Channel::frame_limit)
    }

    /// Sets the timer to the channel's next timeout and returns it.
    pub(super) fn arm(&self) -> Option<Instant> {
        let mut state = self.state.lock();
        state.armed = state.channel.next_timeout();
        state.armed
    }

    /// Waits until the timer is to be set to an earlier time.
    pub(super) async fn rearmed(&self) {
        self.rearmed.notified().await;
    }

    /// Runs the writer task: sends bytes that the socket did not accept at once.
    pub(super) async fn run_writer(&self) -> io::Result<()> {
        self.outbox.run_writer().await
    }

    /// Why and when the connection ended, if it has.
    pub(super) fn ended(&self) -> Option<&Ended> {
        self.ended.get()
    }

    /// The error for a caller whose waiter was dropped by the end of the connection.
    pub(super) fn why_ended(&self) -> WireError {
        WireError::Closed(self.ended().map_or_else(|| "it was ended".into(), |ended| ended.reason.clone()))
    }

    /// Becomes true when the connection has ended.
    pub(super) fn ending(&self) -> watch::Receiver<bool> {
        self.ending.subscribe()
    }

    /// Available credits, and credits of requests in flight.
    pub(super) fn credits(&self) -> (u32, u32) {
        let [a, b, c, d, e, f, g, h] = self.credits.load(Ordering::Relaxed).to_be_bytes();
        (u32::from_be_bytes([a, b, c, d]), u32::from_be_bytes([e, f, g, h]))
    }

    /// The most credits that one bulk request may cost.
    pub(super) fn bulk_capacity(&self) -> u32 {
        self.bulk_capacity.load(Ordering::Relaxed)
    }
}
