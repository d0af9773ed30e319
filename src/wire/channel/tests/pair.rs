//! A channel and its server in memory, under a virtual clock: frames of the client wait in a queue, frames of the
//! server are received at once, and a test lets the time pass.

use super::super::*;
use crate::wire::NtStatus;
use crate::wire::framing::Deframer;
use crate::wire::header::Header;
use crate::wire::protection::{Forged, open};
use crate::wire::scripted::{Seen, response, seen};
use std::collections::HashMap;

pub(super) const PATIENCE: Duration = Duration::from_secs(20);
pub(super) const ERROR_BODY: [u8; 9] = [9, 0, 0, 0, 0, 0, 0, 0, 0];

/// A caller's answer, checked as callers do.
pub(super) type Answer = Result<Vec<Reply>, WireError>;

/// The client's side, as the tasks around a channel drive it; the test is the server.
pub(super) struct Pair {
    pub(super) channel: Channel<u64>,
    pub(super) now: Instant,
    pub(super) breaks: Vec<Break>,
    /// Frames with their prefixes that the server has not read yet.
    pub(super) sent: VecDeque<Vec<u8>>,
    /// The callers that still wait, each with its ticket and the requests whose replies it gets.
    pub(super) waiting: HashMap<u64, (Ticket, Vec<Request>)>,
    /// Answers that the test has not read yet, and when they came.
    pub(super) answers: VecDeque<(u64, Instant, Answer)>,
    security: Option<Security>,
    deframer: Deframer,
    callers: u64,
}

impl Pair {
    pub(super) fn new() -> Pair {
        Pair::with_interval(Duration::from_secs(60))
    }

    /// A pair whose client probes a connection that is quiet for `echo_interval`.
    pub(super) fn with_interval(echo_interval: Duration) -> Pair {
        let now = Instant::now();
        Pair {
            channel: Channel::new(echo_interval, now),
            now,
            breaks: Vec::new(),
            sent: VecDeque::new(),
            waiting: HashMap::new(),
            answers: VecDeque::new(),
            security: None,
            deframer: Deframer::default(),
            callers: 0,
        }
    }

    /// A pair whose client has `credits`, granted by the answer to an ECHO.
    pub(super) fn with_credits(credits: u16) -> Pair {
        let mut pair = Pair::new();
        pair.grant(credits);
        pair
    }

    pub(super) fn grant(&mut self, credits: u16) {
        let caller = self.submit(&echo());
        let request = self.receive_one();
        self.answer(&request.header, NtStatus::SUCCESS, credits, &[4, 0, 0, 0]);
        self.answer_of(caller).unwrap();
    }

    pub(super) fn protect(&mut self, security: Security) {
        self.security = Some(security.clone());
        self.channel.protect(security);
    }

    /// Submits a chain with the deadline `PATIENCE`. Returns the caller's number.
    pub(super) fn submit(&mut self, chain: &Chain) -> u64 {
        self.submit_within(chain, PATIENCE).unwrap()
    }

    pub(super) fn submit_within(&mut self, chain: &Chain, time: Duration) -> Result<u64, WireError> {
        let caller = self.caller();
        self.submit_for(chain, Waiters { head: Some(caller), last: None }, time)?;
        Ok(caller)
    }

    /// Submits an open-ended chain. Returns the callers for the head, if there is one, and for the last request.
    pub(super) fn submit_open_ended(&mut self, chain: &Chain, time: Duration) -> Result<(Option<u64>, u64), WireError> {
        let head = (chain.requests.len() > 1).then(|| self.caller());
        let last = self.caller();
        self.submit_for(chain, Waiters { head, last: Some(last) }, time)?;
        Ok((head, last))
    }

    fn caller(&mut self) -> u64 {
        self.callers += 1;
        self.callers
    }

    fn submit_for(&mut self, chain: &Chain, waiters: Waiters<u64>, time: Duration) -> Result<(), WireError> {
        let callers = [waiters.head, waiters.last];
        let ticket = match self.channel.submit(chain, waiters, self.now + time)? {
            Submitted::Ready(ready) => {
                self.sent.push_back(ready.assemble(chain).concat());
                ready.ticket
            }
            Submitted::Queued(ticket) => ticket,
        };
        let open_ended = callers[1].is_some();
        let end = chain.requests.len() - usize::from(open_ended);
        if let Some(head) = callers[0] {
            self.waiting.insert(head, (ticket, chain.requests[..end].to_vec()));
        }
        if let Some(last) = callers[1] {
            self.waiting.insert(last, (ticket.last(), chain.requests[end..].to_vec()));
        }
        self.carry_out();
        Ok(())
    }

    /// The caller gives up.
    pub(super) fn cancel(&mut self, caller: u64) {
        let (ticket, _) = self.waiting.remove(&caller).expect("the caller waits");
        self.channel.cancel(ticket);
        self.carry_out();
    }

    pub(super) fn post(&mut self, chain: &Chain) -> bool {
        let posted = self.channel.submit_now(chain, None, None);
        let sent = posted.map(|ready| self.sent.push_back(ready.assemble(chain).concat()));
        sent.is_ok()
    }

    /// Carries out the consequences of a change of the channel.
    pub(super) fn carry_out(&mut self) {
        loop {
            let sent = std::iter::from_fn(|| self.channel.poll_transmit()).map(|transmit| transmit.assemble().concat());
            self.sent.extend(sent);
            let Some(event) = self.channel.poll_event() else { return };
            match event {
                Event::Answered(caller, answer) => self.answered(caller, answer),
                Event::Broken(broken) => self.breaks.push(broken),
                Event::Unclaimed(replies) => self.unclaimed(&replies),
            }
        }
    }

    fn answered(&mut self, caller: u64, answer: Result<Unverified, WireError>) {
        let (_, requests) = self.waiting.remove(&caller).expect("a caller is answered once");
        let accept = |replies: Unverified| {
            replies.accept(&requests).map_err(|forged: Forged| {
                self.channel.end(&forged.to_string(), self.now);
                forged.into()
            })
        };
        let answer = answer.and_then(accept);
        self.answers.push_back((caller, self.now, answer));
    }

    fn unclaimed(&mut self, replies: &Unverified) {
        match replies.close_orphan() {
            Ok(close) => drop(close.map(|close| self.channel.post(close))),
            Err(forged) => self.channel.end(&forged.to_string(), self.now),
        }
    }

    /// The answer that a caller has received.
    pub(super) fn answer_of(&mut self, caller: u64) -> Answer {
        self.take_answer(caller).expect("it should have been answered")
    }

    pub(super) fn take_answer(&mut self, caller: u64) -> Option<Answer> {
        let at = self.answers.iter().position(|(number, ..)| *number == caller)?;
        self.answers.remove(at).map(|(.., answer)| answer)
    }

    /// The messages of the next frame that the server reads.
    pub(super) fn receive(&mut self) -> Vec<Seen> {
        seen(&self.sent.pop_front().expect("the client should have sent")[4..])
    }

    pub(super) fn receive_one(&mut self) -> Seen {
        let mut seen = self.receive();
        assert_eq!(seen.len(), 1, "the frame should have one message");
        seen.remove(0)
    }

    /// The server answers a request.
    pub(super) fn answer(&mut self, request: &Header, status: NtStatus, credits: u16, body: &[u8]) {
        self.send(&response(request, status, credits, 0, body));
    }

    /// The server sends a frame.
    pub(super) fn send(&mut self, frame: &[u8]) {
        self.arrive(&(frame.len() as u32).to_be_bytes());
        self.arrive(frame);
    }

    /// The client receives bytes of the stream.
    pub(super) fn arrive(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let (buffer, room) = self.deframer.room();
            let (now, later) = bytes.split_at(room.min(bytes.len()));
            buffer.extend_from_slice(now);
            bytes = later;
            loop {
                let limit = self.channel.frame_limit();
                match self.deframer.next(|length| length <= limit) {
                    Ok(None) => break,
                    Ok(Some(frame)) => self.channel.on_frame(open(self.security.as_ref(), frame), self.now),
                    Err(malformed) => {
                        self.channel.end(&format!("the server sent {malformed}"), self.now);
                        return self.carry_out();
                    }
                }
                self.carry_out();
            }
        }
    }

    /// Lets the time pass. Everything that becomes due meanwhile happens at its time.
    pub(super) fn pass(&mut self, time: Duration) {
        let until = self.now + time;
        while let Some(due) = self.channel.next_timeout().filter(|due| *due <= until) {
            self.now = self.now.max(due);
            self.channel.on_timeout(self.now);
            self.carry_out();
            let next = self.channel.next_timeout();
            assert!(next.is_none_or(|next| next > self.now), "the timeout at {:?} stays due", self.now);
        }
        self.now = until;
    }

    /// Why the connection has ended.
    pub(super) fn reason(&self) -> Arc<str> {
        self.channel.ended().expect("the connection should have ended").reason.clone()
    }
}

pub(super) fn echo() -> Chain {
    Chain::single(Request::new(Command::Echo, vec![4, 0, 0, 0]))
}

/// The body of a CREATE response with this file.
pub(super) fn create_body(file: [u8; 16]) -> Vec<u8> {
    let mut body = vec![0; 88];
    body[0] = 89;
    body[64..80].copy_from_slice(&file);
    body
}
