//! The requests in flight, as a plain value.
//!
//! A chain of requests has one waiter, which gets all replies together once the last one is received. Replies may be in
//! one frame or in several, and in any order. A chain whose waiter has given up stays in the table until its replies
//! are received, so that their credits are counted and their ids are known.
//!
//! The last request of an open-ended chain (a CHANGE_NOTIFY, which may wait for days) is a part of its own, with its
//! own ticket and waiter.

use super::codec::Malformed;
use super::credits::{Cost, Lane};
use super::frame::{Chain, Protect, Reply, leaves_open};
use super::header::Command;
use std::collections::HashMap;
use std::ops::Range;
use std::time::Instant;

/// Names a part of a chain: the requests that share one waiter.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Ticket(pub u64);

impl Ticket {
    /// The ticket of the open-ended last request of the chain that this ticket names.
    #[must_use]
    pub fn last(self) -> Ticket {
        Ticket(self.0 + 1)
    }
}

/// The requests in flight. `W` is the handle that wakes a waiting caller.
#[derive(Debug)]
pub struct MessageTable<W> {
    /// The parts of chains that still miss a reply.
    parts: HashMap<Ticket, Entry<W>>,
    /// From a message id to its part and its index in the part.
    messages: HashMap<u64, (Ticket, usize)>,
    /// The sum of the parts' limits, in bytes.
    response_limit: u64,
}

/// The waiter of a part of a chain, its deadline, and the protection of the requests.
#[derive(Debug)]
pub struct Waiting<W> {
    /// The waiter; `None` if no caller waits for the replies.
    pub waiter: Option<W>,
    /// When the waiter gives up; `None` for never.
    pub deadline: Option<Instant>,
    /// The protection of the requests, which their replies must have too.
    pub protect: Protect,
}

/// A part of a chain in flight. The vectors have an element for each request.
#[derive(Debug)]
struct Entry<W> {
    waiting: Waiting<W>,
    /// The final replies received so far.
    replies: Vec<Option<Reply>>,
    /// The credits that each request still holds.
    charges: Vec<u16>,
    /// The AsyncId from the interim reply, if there was one.
    async_ids: Vec<Option<u64>>,
    /// The message id of each request: the first of those that it uses.
    first_ids: Vec<u64>,
    /// Whether the waiter waits longer than its caller has asked for.
    is_extended: bool,
    lane: Lane,
    /// Whether it contains a CHANGE_NOTIFY, which is answered when a change happens.
    open_ended: bool,
    /// The most bytes that its replies can have.
    response_limit: u64,
    orphan: Option<Orphan>,
}

/// The tree in which a file would stay open if no caller received the reply to its CREATE.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Orphan {
    /// The tree of the open.
    pub tree_id: u32,
    /// Whether the tree requires encryption.
    pub seal: bool,
}

/// The result of a reply.
#[derive(Debug)]
pub enum Outcome<W> {
    /// The reply was interim, or other replies of its part are still missing.
    Waiting {
        /// Credits whose use has ended.
        finished: Cost,
    },
    /// The reply was the last one of its part.
    Complete {
        /// Credits whose use has ended.
        finished: Cost,
        /// All replies of the part.
        answered: Answered<W>,
    },
}

/// All replies to a part of a chain.
#[derive(Debug)]
pub struct Answered<W> {
    /// The ticket of the part.
    pub ticket: Ticket,
    /// Its waiter, if there still is one.
    pub waiting: Waiting<W>,
    /// The replies, in the order of the requests.
    pub replies: Vec<Reply>,
    /// The tree in which a success of this part leaves a file open, if it leaves one.
    pub orphan: Option<Orphan>,
}

impl<W> Default for MessageTable<W> {
    fn default() -> Self {
        MessageTable { parts: HashMap::new(), messages: HashMap::new(), response_limit: 0 }
    }
}

impl<W> MessageTable<W> {
    /// Enters the requests of a chain whose indices are in `part`. `first_id` is the message id of the first request of
    /// the whole chain.
    pub fn insert(&mut self, ticket: Ticket, first_id: u64, chain: &Chain, part: Range<usize>, waiting: Waiting<W>) {
        let (before, requests) = chain.requests[..part.end].split_at(part.start);
        let mut id = before.iter().fold(first_id, |id, request| id.wrapping_add(u64::from(request.charge)));
        let charges: Vec<u16> = requests.iter().map(|request| request.charge).collect();
        let mut first_ids = Vec::with_capacity(charges.len());
        for (index, charge) in charges.iter().enumerate() {
            self.messages.insert(id, (ticket, index));
            first_ids.push(id);
            id = id.wrapping_add(u64::from(*charge));
        }
        let response_limit = requests.iter().map(|request| u64::from(request.response_limit)).sum();
        self.response_limit += response_limit;
        let entry = Entry {
            waiting,
            replies: vec![None; charges.len()],
            async_ids: vec![None; charges.len()],
            charges,
            first_ids,
            is_extended: false,
            lane: chain.cost().lane,
            open_ended: requests.iter().any(|request| request.command == Command::ChangeNotify),
            response_limit,
            orphan: leaves_open(requests).then_some(Orphan { tree_id: chain.tree_id, seal: chain.seal }),
        };
        self.parts.insert(ticket, entry);
    }

    /// Handles a received reply.
    ///
    /// # Errors
    ///
    /// [`Malformed`] if no request with its message id is in flight.
    pub fn reply(&mut self, reply: Reply) -> Result<Outcome<W>, Malformed> {
        const UNKNOWN: Malformed = Malformed("a reply to a message that was never sent, or had its reply");
        let id = reply.header.message_id;
        let &(ticket, index) = self.messages.get(&id).ok_or(UNKNOWN)?;
        let entry = self.parts.get_mut(&ticket).ok_or(UNKNOWN)?;
        if reply.header.is_interim() {
            entry.async_ids[index] = reply.header.async_id();
            // A request that waits for a change holds no credits: its interim reply has granted them again
            // (MS-SMB2 3.3.4.2).
            let ended = if entry.open_ended { std::mem::take(&mut entry.charges[index]) } else { 0 };
            return Ok(Outcome::Waiting { finished: Cost { credits: u32::from(ended), lane: entry.lane } });
        }
        self.messages.remove(&id);
        let finished = Cost { credits: u32::from(entry.charges[index]), lane: entry.lane };
        entry.replies[index] = Some(reply);
        if entry.replies.iter().any(Option::is_none) {
            return Ok(Outcome::Waiting { finished });
        }
        let entry = self.parts.remove(&ticket).ok_or(UNKNOWN)?;
        self.response_limit -= entry.response_limit;
        let replies = entry.replies.into_iter().flatten().collect();
        let answered = Answered { ticket, waiting: entry.waiting, replies, orphan: entry.orphan };
        Ok(Outcome::Complete { finished, answered })
    }

    /// Whether the only request of a part has had an interim reply and no final one.
    pub fn is_kept(&self, ticket: Ticket) -> bool {
        self.parts.get(&ticket).is_some_and(|entry| matches!(entry.async_ids[..], [Some(_)]))
    }

    /// Sets a later deadline for the waiter of a part, once, if the server has sent an interim reply to one of its requests
    /// and no final one. Returns whether it has.
    pub fn extend(&mut self, ticket: Ticket, deadline: Instant) -> bool {
        let Some(entry) = self.parts.get_mut(&ticket) else { return false };
        let mut open = entry.replies.iter().zip(&entry.async_ids);
        let extends = !entry.is_extended
            && entry.waiting.deadline.is_some()
            && open.any(|(reply, async_id)| reply.is_none() && async_id.is_some());
        if extends {
            (entry.is_extended, entry.waiting.deadline) = (true, Some(deadline));
        }
        extends
    }

    /// Withdraws the waiter of a part. Returns it with its deadline and the requests to cancel; `None` if no caller
    /// waits for the part.
    pub fn abandon(&mut self, ticket: Ticket) -> Option<Abandoned<W>> {
        let entry = self.parts.get_mut(&ticket)?;
        let waiter = entry.waiting.waiter.take()?;
        let deadline = entry.waiting.deadline.take();
        let open = entry.replies.iter().zip(entry.first_ids.iter().zip(&entry.async_ids));
        let unanswered =
            open.filter(|(reply, _)| reply.is_none()).map(|(_, (id, async_id))| (*id, *async_id)).collect();
        Some(Abandoned { waiter, deadline, unanswered })
    }

    /// Empties the table at the end of the connection. Returns all waiters.
    pub fn drain(&mut self) -> Vec<W> {
        self.messages.clear();
        self.response_limit = 0;
        self.parts.drain().filter_map(|(_, entry)| entry.waiting.waiter).collect()
    }

    /// The number of messages in flight.
    pub fn len(&self) -> usize {
        self.messages.len()
    }

    /// Whether nothing is in flight.
    pub fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    /// The most bytes that all expected replies together can have. No larger frame is accepted, apart from the room for
    /// unsolicited messages that the channel adds.
    pub fn response_limit(&self) -> u64 {
        self.response_limit
    }
}

/// A part whose waiter has given up.
#[derive(Debug)]
pub struct Abandoned<W> {
    /// The waiter.
    pub waiter: W,
    /// Its deadline; `None` if it had none.
    pub deadline: Option<Instant>,
    /// The message ids of the requests without a reply, each with its AsyncId if there was an interim reply.
    pub unanswered: Vec<(u64, Option<u64>)>,
}

#[cfg(test)]
mod tests {
    use super::super::frame::{Request, UNRELATED};
    use super::super::header::{Command, Header, flags};
    use super::super::status::NtStatus;
    use super::*;
    use bytes::Bytes;

    fn chain(commands: &[Command]) -> Chain {
        let requests = commands.iter().map(|command| Request::new(*command, vec![0; 4])).collect();
        Chain { requests, related_from: 1, tree_id: 3, seal: false, force_signature: false }
    }

    fn insert<W>(table: &mut MessageTable<W>, first_id: u64, chain: &Chain, waiter: W) -> Ticket {
        let ticket = Ticket(first_id);
        let waiting = Waiting { waiter: Some(waiter), deadline: None, protect: Protect::Plain };
        table.insert(ticket, first_id, chain, 0..chain.requests.len(), waiting);
        ticket
    }

    fn reply(message_id: u64, flags: u32, status: NtStatus) -> Reply {
        let header = Header {
            credit_charge: 1,
            status,
            credits: 1,
            flags: flags | flags::RESPONSE,
            message_id,
            async_or_tree: 77,
            session_id: 1,
            ..Header::blank(Command::Create)
        };
        Reply { header, message: Bytes::new(), signature: [0; 16], sealed: false }
    }

    fn done(message_id: u64) -> Reply {
        reply(message_id, 0, NtStatus::SUCCESS)
    }

    fn abandoned<W>(table: &mut MessageTable<W>, ticket: Ticket) -> Vec<(u64, Option<u64>)> {
        table.abandon(ticket).expect("it has a waiter").unanswered
    }

    #[test]
    fn replies_in_several_frames_and_out_of_order_wake_the_waiter_once() {
        let mut table = MessageTable::default();
        insert(&mut table, 10, &chain(&[Command::Create, Command::Close]), "waiter");
        assert!(matches!(
            table.reply(done(11)),
            Ok(Outcome::Waiting { finished: Cost { credits: 1, lane: Lane::Small } })
        ));
        let Ok(Outcome::Complete { answered, .. }) = table.reply(done(10)) else { panic!() };
        assert_eq!(answered.waiting.waiter, Some("waiter"));
        assert_eq!(answered.replies.iter().map(|r| r.header.message_id).collect::<Vec<_>>(), [10, 11]);
        assert_eq!(answered.orphan, None);
        assert!(table.is_empty());
        assert_eq!(table.response_limit(), 0);
    }

    #[test]
    fn an_interim_reply_is_not_the_answer() {
        let mut table = MessageTable::default();
        let ticket = insert(&mut table, 1, &chain(&[Command::Create]), ());
        let interim = reply(1, flags::ASYNC, NtStatus::PENDING);
        assert!(!table.is_kept(ticket));
        assert!(matches!(table.reply(interim), Ok(Outcome::Waiting { finished: Cost { credits: 0, .. } })));
        assert!(table.is_kept(ticket));
        assert_eq!(abandoned(&mut table, ticket), [(1, Some(77))]);
        let Ok(Outcome::Complete { answered, .. }) = table.reply(done(1)) else { panic!("it is the last reply") };
        assert_eq!(answered.waiting.waiter, None);
        assert_eq!(answered.orphan, Some(Orphan { tree_id: 3, seal: false }), "the orphaned open must be known");
    }

    #[test]
    fn the_parts_of_a_chain_are_answered_on_their_own() {
        let mut table = MessageTable::default();
        let mut chain = Chain { related_from: UNRELATED, ..chain(&[Command::QueryInfo, Command::ChangeNotify]) };
        chain.requests[0].charge = 3;
        let waiting = |waiter| Waiting { waiter: Some(waiter), deadline: None, protect: Protect::Plain };
        table.insert(Ticket(1), 10, &chain, 0..1, waiting('a'));
        table.insert(Ticket(2), 10, &chain, 1..2, waiting('b'));
        let Ok(Outcome::Complete { answered, .. }) = table.reply(done(13)) else { panic!("the id after 10 to 12") };
        assert_eq!(answered.waiting.waiter, Some('b'));
        let Ok(Outcome::Complete { answered, .. }) = table.reply(done(10)) else { panic!() };
        assert_eq!(answered.waiting.waiter, Some('a'));
    }

    #[test]
    fn unknown_and_repeated_ids_are_refused() {
        let mut table = MessageTable::default();
        assert!(table.reply(done(4)).is_err());
        insert(&mut table, 4, &chain(&[Command::Echo]), ());
        assert!(table.reply(done(4)).is_ok());
        assert!(table.reply(done(4)).is_err());
    }

    #[test]
    fn an_abandoned_chain_keeps_its_ids_until_its_replies_come() {
        let mut table = MessageTable::default();
        let ticket = insert(&mut table, 1, &chain(&[Command::Create, Command::Close]), ());
        table.reply(done(1)).unwrap();
        assert_eq!(abandoned(&mut table, ticket), [(2, None)]);
        assert!(table.abandon(ticket).is_none(), "it is cancelled once");
        assert_eq!(table.len(), 1);
        assert!(table.reply(done(2)).is_ok());
        assert!(table.is_empty());
    }

    #[test]
    fn the_end_of_a_connection_wakes_every_waiter() {
        let mut table = MessageTable::default();
        insert(&mut table, 1, &chain(&[Command::Echo]), 'a');
        let second = insert(&mut table, 2, &chain(&[Command::Echo]), 'b');
        table.abandon(second);
        assert_eq!(table.drain(), ['a']);
    }
}
