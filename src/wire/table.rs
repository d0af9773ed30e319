//! The requests in flight, as a plain value.
//!
//! A chain of requests has one waiter, which gets all replies together when the last one is there:
//! they may come in one frame or apart, and in any order. A chain whose waiter has gone stays in the
//! table until its replies have come, so that their credits are counted and their ids are known.
//!
//! The last request of an open-ended chain (a CHANGE_NOTIFY, which may wait for days) counts as a chain of its own.

use super::codec::Malformed;
use super::credits::{Cost, Lane};
use super::frame::{Chain, Reply, Request, leaves_open};
use super::header::Command;
use std::collections::HashMap;

/// The requests in flight; `W` is whatever wakes a waiter.
#[derive(Debug)]
pub struct MessageTable<W> {
    /// By the id of their first message.
    chains: HashMap<u64, Entry<W>>,
    /// From a message's id to its chain and its place in it.
    messages: HashMap<u64, (u64, usize)>,
    response_limit: u64,
}

#[derive(Debug)]
struct Entry<W> {
    waiter: Option<W>,
    replies: Vec<Option<Reply>>,
    charges: Vec<u16>,
    async_ids: Vec<Option<u64>>,
    first_ids: Vec<u64>,
    lane: Lane,
    /// It waits for something to happen.
    open_ended: bool,
    response_limit: u64,
    orphan: Option<Orphan>,
}

/// Where a file is left open when nobody takes the answer to its CREATE.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Orphan {
    /// The tree of the open.
    pub tree_id: u32,
    /// The tree wants its traffic encrypted.
    pub seal: bool,
}

/// What a reply led to.
#[derive(Debug)]
pub enum Outcome<W> {
    /// It was interim, or others of its chain are still missing.
    Waiting {
        /// Credits whose use has ended.
        finished: Cost,
    },
    /// It was the last one of its chain.
    Complete {
        /// Credits whose use has ended.
        finished: Cost,
        /// Who waits for it; `None` if nobody does any more.
        waiter: Option<W>,
        /// In the order of the requests.
        replies: Vec<Reply>,
        /// A success of this chain leaves a file open.
        orphan: Option<Orphan>,
    },
}

impl<W> Default for MessageTable<W> {
    fn default() -> Self {
        MessageTable { chains: HashMap::new(), messages: HashMap::new(), response_limit: 0 }
    }
}

impl<W> MessageTable<W> {
    /// A chain was queued, its first message with this id.
    pub fn insert(&mut self, first_id: u64, chain: &Chain, waiter: W) {
        self.insert_requests(first_id, chain, &chain.requests, waiter);
    }

    /// The same for an open-ended chain, whose last reply somebody else waits for. If that is all there is, nobody
    /// waits for the rest.
    pub fn insert_open_ended(&mut self, first_id: u64, chain: &Chain, waiter: W, last: W) {
        let Some((open, head)) = chain.requests.split_last() else { return };
        let id = head.iter().fold(first_id, |id, request| id.wrapping_add(u64::from(request.charge)));
        if !head.is_empty() {
            self.insert_requests(first_id, chain, head, waiter);
        }
        self.insert_requests(id, chain, std::slice::from_ref(open), last);
    }

    fn insert_requests(&mut self, first_id: u64, chain: &Chain, requests: &[Request], waiter: W) {
        let charges: Vec<u16> = requests.iter().map(|request| request.charge).collect();
        let mut id = first_id;
        let mut first_ids = Vec::with_capacity(charges.len());
        for (index, charge) in charges.iter().enumerate() {
            self.messages.insert(id, (first_id, index));
            first_ids.push(id);
            id = id.wrapping_add(u64::from(*charge));
        }
        let response_limit = requests.iter().map(|request| u64::from(request.response_limit)).sum();
        self.response_limit += response_limit;
        let entry = Entry {
            waiter: Some(waiter),
            replies: vec![None; charges.len()],
            async_ids: vec![None; charges.len()],
            charges,
            first_ids,
            lane: chain.cost().lane,
            open_ended: requests.iter().any(|request| request.command == Command::ChangeNotify),
            response_limit,
            orphan: leaves_open(requests).then_some(Orphan { tree_id: chain.tree_id, seal: chain.seal }),
        };
        self.chains.insert(first_id, entry);
    }

    /// A reply has come.
    pub fn reply(&mut self, reply: Reply) -> Result<Outcome<W>, Malformed> {
        const UNKNOWN: Malformed = Malformed("a reply to a message that was never sent, or had its reply");
        let id = reply.header.message_id;
        let &(first_id, index) = self.messages.get(&id).ok_or(UNKNOWN)?;
        let entry = self.chains.get_mut(&first_id).ok_or(UNKNOWN)?;
        if reply.header.is_interim() {
            entry.async_ids[index] = reply.header.async_id();
            // Who waits for a change holds no credits: the interim reply gave them back (MS-SMB2 3.3.4.2).
            let ended = if entry.open_ended { std::mem::take(&mut entry.charges[index]) } else { 0 };
            return Ok(Outcome::Waiting { finished: Cost { credits: u32::from(ended), lane: entry.lane } });
        }
        self.messages.remove(&id);
        let finished = Cost { credits: u32::from(entry.charges[index]), lane: entry.lane };
        entry.replies[index] = Some(reply);
        if entry.replies.iter().any(Option::is_none) {
            return Ok(Outcome::Waiting { finished });
        }
        let entry = self.chains.remove(&first_id).ok_or(UNKNOWN)?;
        self.response_limit -= entry.response_limit;
        Ok(Outcome::Complete {
            finished,
            waiter: entry.waiter,
            replies: entry.replies.into_iter().flatten().collect(),
            orphan: entry.orphan,
        })
    }

    /// Whether a message has had an interim reply, and nothing else.
    pub fn is_kept(&self, id: u64) -> bool {
        let place = self.messages.get(&id).and_then(|(first, index)| Some((self.chains.get(first)?, *index)));
        place.is_some_and(|(entry, index)| entry.async_ids[index].is_some())
    }

    /// The waiter of a chain has gone: the ids, with their AsyncIds, of what should be cancelled.
    pub fn abandon(&mut self, first_id: u64) -> Vec<(u64, Option<u64>)> {
        let Some(entry) = self.chains.get_mut(&first_id) else { return Vec::new() };
        entry.waiter = None;
        let open = entry.replies.iter().zip(entry.first_ids.iter().zip(&entry.async_ids));
        open.filter(|(reply, _)| reply.is_none()).map(|(_, (id, async_id))| (*id, *async_id)).collect()
    }

    /// The connection has ended: everyone who waits.
    pub fn drain(&mut self) -> Vec<W> {
        self.messages.clear();
        self.response_limit = 0;
        self.chains.drain().filter_map(|(_, entry)| entry.waiter).collect()
    }

    /// How many messages are in flight.
    pub fn len(&self) -> usize {
        self.messages.len()
    }

    /// Whether nothing is in flight.
    pub fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    /// The most bytes that all outstanding replies together can have: no frame may be larger.
    pub fn response_limit(&self) -> u64 {
        self.response_limit
    }
}

#[cfg(test)]
mod tests {
    use super::super::frame::Request;
    use super::super::header::{Command, Header, flags};
    use super::super::status::NtStatus;
    use super::*;
    use bytes::Bytes;

    fn chain(commands: &[Command]) -> Chain {
        let requests = commands.iter().map(|command| Request::new(*command, vec![0; 4])).collect();
        Chain { requests, related_from: 1, tree_id: 3, seal: false, force_signature: false }
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

    #[test]
    fn replies_that_come_apart_and_out_of_order_wake_the_waiter_once() {
        let mut table = MessageTable::default();
        table.insert(10, &chain(&[Command::Create, Command::Close]), "waiter");
        assert!(matches!(
            table.reply(done(11)),
            Ok(Outcome::Waiting { finished: Cost { credits: 1, lane: Lane::Small } })
        ));
        let Ok(Outcome::Complete { waiter, replies, orphan, .. }) = table.reply(done(10)) else { panic!() };
        assert_eq!(waiter, Some("waiter"));
        assert_eq!(replies.iter().map(|r| r.header.message_id).collect::<Vec<_>>(), [10, 11]);
        assert_eq!(orphan, None);
        assert!(table.is_empty());
        assert_eq!(table.response_limit(), 0);
    }

    #[test]
    fn an_interim_reply_is_not_the_answer() {
        let mut table = MessageTable::default();
        table.insert(1, &chain(&[Command::Create]), ());
        let interim = reply(1, flags::ASYNC, NtStatus::PENDING);
        assert!(matches!(table.reply(interim), Ok(Outcome::Waiting { finished: Cost { credits: 0, .. } })));
        assert_eq!(table.abandon(1), [(1, Some(77))]);
        let Ok(Outcome::Complete { waiter: None, orphan: Some(Orphan { tree_id: 3, .. }), .. }) = table.reply(done(1))
        else {
            panic!("the orphaned open must be known")
        };
    }

    #[test]
    fn unknown_and_repeated_ids_are_refused() {
        let mut table = MessageTable::default();
        assert!(table.reply(done(4)).is_err());
        table.insert(4, &chain(&[Command::Echo]), ());
        assert!(table.reply(done(4)).is_ok());
        assert!(table.reply(done(4)).is_err());
    }

    #[test]
    fn an_abandoned_chain_keeps_its_ids_until_its_replies_come() {
        let mut table = MessageTable::default();
        table.insert(1, &chain(&[Command::Create, Command::Close]), ());
        table.reply(done(1)).unwrap();
        assert_eq!(table.abandon(1), [(2, None)]);
        assert_eq!(table.len(), 1);
        assert!(table.reply(done(2)).is_ok());
        assert!(table.is_empty());
    }

    #[test]
    fn the_end_of_a_connection_wakes_everyone() {
        let mut table = MessageTable::default();
        table.insert(1, &chain(&[Command::Echo]), 'a');
        table.insert(2, &chain(&[Command::Echo]), 'b');
        table.abandon(2);
        assert_eq!(table.drain(), ['a']);
    }
}
