//! One connection of a session, as a plain value: when a request is sent, and which caller a reply belongs to.
//!
//! Chains of requests go in ([`Channel::submit`]); so do frames ([`Channel::on_frame`]) and the time
//! ([`Channel::on_timeout`], at [`Channel::next_timeout`] at the latest). Frames to send come out
//! ([`Channel::poll_transmit`]), and so do the events for callers ([`Channel::poll_event`]). Nothing here waits, sends,
//! locks, or reads a clock.
//!
//! A chain is sent at once if the credit window admits it and no other chain waits in its lane. Otherwise it waits in
//! the queue of its lane until its turn comes, its deadline passes, or its caller cancels it. A chain that was sent and
//! then given up is cancelled at the server, and stays in the table until the server has answered.
//!
//! Invariants:
//! - An allocated message id is sent: the caller that receives a [`Ready`] or a [`Transmit`] sends it without waiting
//!   in between. A gap in the ids would close the server's window for good.
//! - Every waiter gets exactly one [`Event::Answered`], at its deadline or at the end of the connection at the latest,
//!   unless its caller cancels the request. The deadline is 10 s later if the server has sent an interim reply.
//! - Nothing is sent once the connection has ended.

use super::codec::Malformed;
use super::credits::{CreditWindow, Lane};
use super::error::WireError;
use super::frame::{self, Addressing, Chain, Protect, Reply, Request};
use super::header::{Command, UNSOLICITED};
use super::keep_alive::{Due, KeepAlive};
use super::messages::lease::Break;
use super::protection::{Security, Unverified, is_long_work};
use super::table::{MessageTable, Outcome, Ticket, Waiting};
use bytes::Bytes;
use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Credits that the window grows to: 1024, which pay for 64 MiB in flight.
const CREDIT_TARGET: u32 = 1024;
/// How much longer a caller waits for a request of which the server has said that it will take a while (MS-SMB2 3.3.4.2).
/// An open or a removal waits for other clients to give up their leases. Servers give up on a client that does not answer
/// after 35 s, 5 s after the usual deadline.
const FOR_OTHERS: Duration = Duration::from_secs(10);
/// Bytes that a frame may have beyond the expected responses: for unsolicited messages, and for an error that is larger
/// than a normal response.
const UNSOLICITED_ROOM: u64 = 65_536;

/// One connection of a session. `W` is the handle that wakes a waiting caller.
#[derive(Debug)]
pub struct Channel<W> {
    window: CreditWindow,
    table: MessageTable<W>,
    /// The chains that wait for credits, by lane.
    lines: [VecDeque<Queued<W>>; 2],
    /// The deadlines of all chains that a caller waits for, queued or sent.
    deadlines: BTreeSet<(Instant, Ticket)>,
    keep_alive: KeepAlive,
    session_id: u64,
    multi_credit: bool,
    security: Option<Security>,
    transmits: VecDeque<Transmit>,
    events: VecDeque<Event<W>>,
    /// The number of the next ticket.
    tickets: u64,
    ended: Option<Ended>,
}

/// Why and when a connection ended.
#[derive(Clone, Debug)]
pub struct Ended {
    /// The reason, as a clause for messages.
    pub reason: Arc<str>,
    /// The time at which it ended.
    pub at: Instant,
}

/// The waiters for the replies to a chain.
#[derive(Debug)]
pub struct Waiters<W> {
    /// The waiter for the replies to all requests, or to all but the last one if [`Waiters::last`] is set. `None` if
    /// the last request is the only one, or if no caller waits for the replies.
    pub head: Option<W>,
    /// The waiter for the reply to an open-ended last request, which may come at any time (a CHANGE_NOTIFY). It has no
    /// deadline once the request is sent.
    pub last: Option<W>,
}

/// A chain that waits for credits.
#[derive(Debug)]
struct Queued<W> {
    ticket: Ticket,
    chain: Chain,
    protect: Protect,
    waiters: Waiters<W>,
    deadline: Instant,
}

/// A chain that has its message ids. The caller must send it.
#[derive(Debug)]
pub struct Ready {
    /// The ticket of the chain.
    pub ticket: Ticket,
    address: Addressing,
    protect: Protect,
}

impl Ready {
    /// The message id of the first request of the chain.
    pub fn first_id(&self) -> u64 {
        self.address.first_id
    }

    /// The segments of the frame of `chain`, signed or encrypted, with the transport's length prefix.
    pub fn assemble(&self, chain: &Chain) -> Vec<Bytes> {
        frame::assemble(chain, self.address, &self.protect)
    }
}

/// The result of submitting a chain.
#[derive(Debug)]
pub enum Submitted {
    /// The caller sends it now.
    Ready(Ready),
    /// It waits for credits; [`Channel::poll_transmit`] returns it when its turn comes.
    Queued(Ticket),
}

/// A frame that the caller must send.
#[derive(Debug)]
pub enum Transmit {
    /// A chain that has waited for credits, with its message ids.
    Chain(Chain, Ready),
    /// A CANCEL (MS-SMB2 3.2.4.24).
    Cancel {
        /// The id of the request that is cancelled.
        message_id: u64,
        /// The request's AsyncId, if the server has sent an interim reply (MS-SMB2 3.3.4.2).
        async_id: Option<u64>,
        /// The id of the session.
        session_id: u64,
        /// The protection of the CANCEL.
        protect: Protect,
    },
}

impl Transmit {
    /// The segments of the frame, signed or encrypted, with the transport's length prefix.
    pub fn assemble(&self) -> Vec<Bytes> {
        match self {
            Transmit::Chain(chain, ready) => ready.assemble(chain),
            Transmit::Cancel { message_id, async_id, session_id, protect } => {
                vec![frame::assemble_cancel(*message_id, *async_id, *session_id, protect)]
            }
        }
    }

    /// Whether signing or encrypting takes too long for the thread that receives the kernel's requests.
    pub fn is_long_work(&self) -> bool {
        match self {
            Transmit::Chain(chain, ready) => is_long_work(&ready.protect, chain.payload()),
            Transmit::Cancel { .. } => false,
        }
    }
}

/// An event for the callers of a channel.
#[derive(Debug)]
pub enum Event<W> {
    /// The answer for a waiter.
    Answered(W, Result<Unverified, WireError>),
    /// Replies without a waiter: there was none, or its caller gave up.
    Unclaimed(Unverified),
    /// The server breaks an oplock or a lease (MS-SMB2 2.2.23).
    Broken(Break),
}

impl<W> Channel<W> {
    /// A new connection: one credit, no session. Once it has a session, it is probed with an ECHO after `echo_interval`
    /// without a frame.
    pub fn new(echo_interval: Duration, now: Instant) -> Channel<W> {
        Channel {
            window: CreditWindow::new(CREDIT_TARGET),
            table: MessageTable::default(),
            lines: [VecDeque::new(), VecDeque::new()],
            deadlines: BTreeSet::new(),
            keep_alive: KeepAlive::new(echo_interval, now),
            session_id: 0,
            multi_credit: false,
            security: None,
            transmits: VecDeque::new(),
            events: VecDeque::new(),
            tickets: 0,
            ended: None,
        }
    }

    /// Sets the session id of all further requests.
    pub fn set_session_id(&mut self, session_id: u64) {
        self.session_id = session_id;
    }

    /// The session id of requests; 0 before there is a session.
    pub fn session_id(&self) -> u64 {
        self.session_id
    }

    /// Allows requests that cost more than one credit from now on (MS-SMB2 3.2.4.1.5).
    pub fn enable_multi_credit(&mut self) {
        self.multi_credit = true;
    }

    /// Reports that the session is established: all further requests are protected by `security`, and a quiet
    /// connection is probed.
    pub fn protect(&mut self, security: Security) {
        self.security = Some(security);
        self.keep_alive.begin();
    }

    /// Available credits, and credits of requests in flight.
    pub fn credits(&self) -> (u32, u32) {
        (self.window.available(), self.window.in_use())
    }

    /// The most credits that one bulk request may cost, given what the server has granted so far.
    pub fn bulk_capacity(&self) -> u32 {
        self.window.bulk_capacity()
    }

    /// Why and when the connection ended, if it has.
    pub fn ended(&self) -> Option<&Ended> {
        self.ended.as_ref()
    }

    /// When the last frame was received; the start of the connection if none was.
    pub fn last_received(&self) -> Instant {
        self.keep_alive.last_received()
    }

    /// The largest frame that the server may send now, in bytes.
    pub fn frame_limit(&self) -> u64 {
        self.table.response_limit() + UNSOLICITED_ROOM + super::crypto::encryption::TRANSFORM_SIZE as u64
    }

    /// Whether the server has sent an interim reply to an open-ended request (MS-SMB2 3.3.4.2) and no final one.
    pub fn is_kept(&self, ticket: Ticket) -> bool {
        self.table.is_kept(ticket)
    }

    /// Submits a chain. `waiters` are answered by the deadline at the latest, or 10 s later if the server has sent an
    /// interim reply, but [`Waiters::last`] only while the chain is queued. The returned ticket names the chain and its head; its [`Ticket::last`] names an open-ended last
    /// request.
    ///
    /// # Errors
    ///
    /// The chain is not sent:
    /// - [`WireError::Closed`]: the connection has ended, or the chain must be encrypted and there is no key.
    /// - [`WireError::TooLong`]: a part of it, or the frame as a whole, is longer than the protocol allows.
    /// - [`WireError::Credits`]: nothing is in flight, and the server has granted fewer credits than the chain costs.
    ///   The waiters of a queued chain get this error as their answer.
    pub fn submit(&mut self, chain: &Chain, waiters: Waiters<W>, deadline: Instant) -> Result<Submitted, WireError> {
        let (protect, cost) = (self.check(chain)?, chain.cost());
        let ticket = self.next_ticket();
        if self.lines[cost.lane as usize].is_empty() {
            if let Some(first_id) = self.window.take(cost) {
                let address = self.sent(ticket, first_id, chain, &protect, waiters, Some(deadline));
                return Ok(Submitted::Ready(Ready { ticket, address, protect }));
            }
            self.check_attainable(cost.credits)?;
            self.window.stand(cost);
        }
        self.deadlines.insert((deadline, ticket));
        let queued = Queued { ticket, chain: chain.clone(), protect, waiters, deadline };
        self.lines[cost.lane as usize].push_back(queued);
        Ok(Submitted::Queued(ticket))
    }

    /// Submits a chain that waits neither for credits nor behind queued chains of its lane. `protect` replaces the
    /// protection that the session demands. Without a waiter, the replies are [`Event::Unclaimed`].
    ///
    /// # Errors
    ///
    /// [`WireError::Closed`] and [`WireError::TooLong`] as for [`Channel::submit`]; [`WireError::Credits`] if the
    /// credit window does not admit the chain now.
    pub fn submit_now(
        &mut self,
        chain: &Chain,
        protect: Option<Protect>,
        waiter: Option<(W, Instant)>,
    ) -> Result<Ready, WireError> {
        let (usual, cost) = (self.check(chain)?, chain.cost());
        let too_few = WireError::Credits { needed: cost.credits, capacity: self.window.capacity() };
        let first_id = self.window.take(cost).ok_or(too_few)?;
        let (ticket, protect) = (self.next_ticket(), protect.unwrap_or(usual));
        let (head, deadline) = waiter.unzip();
        let address = self.sent(ticket, first_id, chain, &protect, Waiters { head, last: None }, deadline);
        Ok(Ready { ticket, address, protect })
    }

    /// The protection of a chain, if it can be sent.
    fn check(&self, chain: &Chain) -> Result<Protect, WireError> {
        if let Some(ended) = &self.ended {
            return Err(WireError::Closed(ended.reason.clone()));
        }
        chain.fits()?;
        self.security.as_ref().map_or(Ok(Protect::Plain), |security| security.of_chain(chain))
    }

    fn next_ticket(&mut self) -> Ticket {
        let ticket = Ticket(self.tickets);
        // Each chain has two tickets: see `Ticket::last`.
        self.tickets += 2;
        ticket
    }

    /// Enters a chain that has got its message ids into the table.
    fn sent(
        &mut self,
        ticket: Ticket,
        first_id: u64,
        chain: &Chain,
        protect: &Protect,
        waiters: Waiters<W>,
        deadline: Option<Instant>,
    ) -> Addressing {
        let Waiters { head, last } = waiters;
        let count = chain.requests.len();
        let end = if last.is_some() { count - 1 } else { count };
        if end > 0 {
            self.deadlines.extend(deadline.map(|deadline| (deadline, ticket)));
            let waiting = Waiting { waiter: head, deadline, protect: protect.clone() };
            self.table.insert(ticket, first_id, chain, 0..end, waiting);
        }
        if last.is_some() {
            let waiting = Waiting { waiter: last, deadline: None, protect: protect.clone() };
            self.table.insert(ticket.last(), first_id, chain, end..count, waiting);
        }
        let credits = self.window.to_request(0);
        Addressing { first_id, credits, multi_credit: self.multi_credit, session_id: self.session_id }
    }

    /// Fails if `needed` credits can never become available: nothing is in flight whose reply could grant more.
    fn check_attainable(&self, needed: u32) -> Result<(), WireError> {
        let capacity = self.window.capacity();
        let is_unattainable = self.window.in_use() == 0 && needed > capacity;
        if is_unattainable { Err(WireError::Credits { needed, capacity }) } else { Ok(()) }
    }

    /// Sends every queued chain that the credit window admits now.
    fn advance(&mut self) {
        while self.advance_line(Lane::Small) | self.advance_line(Lane::Bulk) {}
    }

    /// Sends the first chain of a queue, or fails it if it can never be sent. Returns whether the queue has become
    /// shorter.
    fn advance_line(&mut self, lane: Lane) -> bool {
        let Some(first) = self.lines[lane as usize].front() else { return false };
        let cost = first.chain.cost();
        let turn = match (self.window.take(cost), self.check_attainable(cost.credits)) {
            (Some(first_id), _) => Ok(first_id),
            (None, Err(error)) => Err(error),
            (None, Ok(())) => {
                self.window.stand(cost);
                return false;
            }
        };
        let Some(first) = self.leave(lane, 0) else { return false };
        match turn {
            Ok(first_id) => {
                let Queued { ticket, chain, protect, waiters, deadline } = first;
                let address = self.sent(ticket, first_id, &chain, &protect, waiters, Some(deadline));
                self.transmits.push_back(Transmit::Chain(chain, Ready { ticket, address, protect }));
            }
            Err(error) => self.answer(first.waiters, &error),
        }
        true
    }

    /// Removes a chain from its queue.
    fn leave(&mut self, lane: Lane, at: usize) -> Option<Queued<W>> {
        let queued = self.lines[lane as usize].remove(at)?;
        if at == 0 {
            self.window.leave(lane);
        }
        self.deadlines.remove(&(queued.deadline, queued.ticket));
        Some(queued)
    }

    fn answer(&mut self, waiters: Waiters<W>, error: &WireError) {
        let waiters = waiters.head.into_iter().chain(waiters.last);
        self.events.extend(waiters.map(|waiter| Event::Answered(waiter, Err(error.clone()))));
    }

    /// Handles a received frame: its messages, or its defect. A defect ends the connection.
    pub fn on_frame(&mut self, frame: Result<Vec<Reply>, Malformed>, now: Instant) {
        if self.ended.is_some() {
            return;
        }
        self.keep_alive.received(now);
        match frame.and_then(|replies| replies.into_iter().try_for_each(|reply| self.on_reply(reply))) {
            Ok(()) => self.advance(),
            Err(malformed) => self.end(&format!("the server sent {malformed}"), now),
        }
    }

    fn on_reply(&mut self, reply: Reply) -> Result<(), Malformed> {
        if reply.header.message_id == UNSOLICITED {
            if reply.header.command != Command::OplockBreak as u16 {
                return Err(Malformed("an unsolicited message that is not a break"));
            }
            self.events.push_back(Event::Broken(Break::parse(&reply)?));
            return Ok(());
        }
        let credits = reply.header.credits;
        let outcome = self.table.reply(reply)?;
        self.window.grant(credits);
        match outcome {
            Outcome::Waiting { finished } => self.window.finish(finished),
            Outcome::Complete { finished, answered } => {
                self.window.finish(finished);
                let Waiting { waiter, deadline, protect } = answered.waiting;
                if let Some(deadline) = deadline {
                    self.deadlines.remove(&(deadline, answered.ticket));
                }
                let replies = Unverified::new(protect, answered.replies, answered.orphan);
                self.events.push_back(match waiter {
                    Some(waiter) => Event::Answered(waiter, Ok(replies)),
                    None => Event::Unclaimed(replies),
                });
            }
        }
        Ok(())
    }

    /// The time at which [`Channel::on_timeout`] is to be called next; `None` if nothing is due.
    pub fn next_timeout(&self) -> Option<Instant> {
        if self.ended.is_some() {
            return None;
        }
        let deadline = self.deadlines.first().map(|(at, _)| *at);
        deadline.into_iter().chain(self.keep_alive.next_timeout()).min()
    }

    /// Handles everything that is due at `now`: deadlines, and the probe or the end of a quiet connection.
    pub fn on_timeout(&mut self, now: Instant) {
        if self.ended.is_some() {
            return;
        }
        while self.deadlines.first().is_some_and(|(at, _)| *at <= now)
            && let Some((deadline, ticket)) = self.deadlines.pop_first()
        {
            if self.table.extend(ticket, deadline + FOR_OTHERS) {
                self.deadlines.insert((deadline + FOR_OTHERS, ticket));
                continue;
            }
            let waiters = self.give_up(ticket);
            self.answer(waiters, &WireError::TimedOut);
        }
        match self.keep_alive.on_timeout(now) {
            // If no credit is available, requests are in flight, and a reply to one of them proves as much as a reply
            // to the ECHO.
            Some(Due::Probe) => drop(self.post(Chain::single(Request::new(Command::Echo, vec![4, 0, 0, 0])))),
            Some(Due::Silent(time)) => {
                self.end(&format!("the server was silent for {:.0} s", time.as_secs_f64()), now);
            }
            None => {}
        }
        self.advance();
    }

    /// Withdraws the caller of a ticket. The requests of a sent chain that the ticket names are cancelled at the
    /// server; a queued chain is dropped as a whole, with both waiters.
    pub fn cancel(&mut self, ticket: Ticket) {
        drop(self.give_up(ticket));
        self.advance();
    }

    fn give_up(&mut self, ticket: Ticket) -> Waiters<W> {
        if let Some(abandoned) = self.table.abandon(ticket) {
            if let Some(deadline) = abandoned.deadline {
                self.deadlines.remove(&(deadline, ticket));
            }
            let protect = self.security.as_ref().map_or(Protect::Plain, Security::of_cancel);
            let session_id = self.session_id;
            self.transmits.extend(abandoned.unanswered.into_iter().map(|(message_id, async_id)| Transmit::Cancel {
                message_id,
                async_id,
                session_id,
                protect: protect.clone(),
            }));
            return Waiters { head: Some(abandoned.waiter), last: None };
        }
        let queued = [Lane::Small, Lane::Bulk].into_iter().find_map(|lane| {
            let named = |queued: &Queued<W>| queued.ticket == ticket || queued.ticket.last() == ticket;
            let at = self.lines[lane as usize].iter().position(named)?;
            self.leave(lane, at)
        });
        queued.map_or(Waiters { head: None, last: None }, |queued| queued.waiters)
    }

    /// Sends a chain that no caller waits for, without waiting for credits.
    ///
    /// # Errors
    ///
    /// As for [`Channel::submit_now`].
    pub fn post(&mut self, chain: Chain) -> Result<(), WireError> {
        let ready = self.submit_now(&chain, None, None)?;
        self.transmits.push_back(Transmit::Chain(chain, ready));
        Ok(())
    }

    /// Ends the connection: nothing more is sent, and every waiter is answered with [`WireError::Closed`] and this
    /// reason. Further calls have no effect.
    pub fn end(&mut self, reason: &str, now: Instant) {
        if self.ended.is_some() {
            return;
        }
        let reason: Arc<str> = reason.into();
        self.ended = Some(Ended { reason: reason.clone(), at: now });
        self.transmits.clear();
        self.deadlines.clear();
        let error = WireError::Closed(reason);
        for waiter in self.table.drain() {
            self.answer(Waiters { head: Some(waiter), last: None }, &error);
        }
        for queued in std::mem::take(&mut self.lines).into_iter().flatten() {
            self.answer(queued.waiters, &error);
        }
    }

    /// The next frame that the caller must send.
    pub fn poll_transmit(&mut self) -> Option<Transmit> {
        self.transmits.pop_front()
    }

    /// The next event for a caller.
    pub fn poll_event(&mut self) -> Option<Event<W>> {
        self.events.pop_front()
    }
}

#[cfg(test)]
mod tests;
