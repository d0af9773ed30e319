//! Random runs: callers that submit, wait and give up, and a server that loses, reorders, delays, splits and forges
//! replies. After each step every guarantee of the channel is checked. A run depends on its seed alone; a failing run
//! prints it.

use super::pair::{Answer, Pair};
use super::server::{Held, Message, Mode, Server, async_id};
use super::*;
use std::collections::{BTreeMap, HashMap, HashSet};

/// The number of runs.
const RUNS: u64 = 900;
/// The steps of each run.
const STEPS: u32 = 1000;
const ECHO_INTERVAL: Duration = Duration::from_millis(800);
/// The most callers that wait at the same time.
const CALLERS: usize = 40;

/// Pseudorandom numbers from a seed (splitmix64).
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % limit
    }

    fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }
}

/// A caller that waits.
struct Caller {
    tag: u32,
    deadline: Option<Instant>,
    /// The credits that its chain costs.
    cost: u32,
}

/// A frame on its way to the client.
struct Flight {
    bytes: Vec<u8>,
    messages: Vec<Message>,
}

struct World {
    random: Random,
    pair: Pair,
    server: Server,
    mode: Mode,
    callers: BTreeMap<u64, Caller>,
    /// The tags of the chains whose callers have given up or were answered.
    given_up: HashSet<u32>,
    /// The tags of the chains for which the server has sent an interim reply.
    pending: HashSet<u32>,
    tags: u32,
    stream: VecDeque<Flight>,
    /// The bytes of the first frame in the stream that the client has received.
    arrived: usize,
    /// Requests whose final response the client has not received, with the credits that they hold.
    outstanding: HashMap<u64, u32>,
    granted: u64,
    last_received: Instant,
    breaks: u128,
    breaks_arrived: u128,
    /// The tags of chains that open a file and do not close it.
    opening: HashSet<u32>,
    /// Files that are open at the server although their callers have given up.
    orphans: HashSet<u32>,
    forged: bool,
    tally: Tally,
}

/// How often each event of interest has happened.
#[derive(Default, Debug)]
struct Tally {
    answered: u32,
    queued: u32,
    timed_out: u32,
    too_costly: u32,
    cancelled: u32,
    orphans_closed: u32,
    probes: u32,
    forged: u32,
    silent: u32,
}

impl Tally {
    fn add(&mut self, other: &Tally) {
        self.answered += other.answered;
        self.queued += other.queued;
        self.timed_out += other.timed_out;
        self.too_costly += other.too_costly;
        self.cancelled += other.cancelled;
        self.orphans_closed += other.orphans_closed;
        self.probes += other.probes;
        self.forged += other.forged;
        self.silent += other.silent;
    }
}

impl World {
    fn new(seed: u64) -> World {
        let mode = [Mode::Plain, Mode::Signed, Mode::Sealed][(seed % 3) as usize];
        let (server, security) = Server::new(mode);
        let mut pair = Pair::with_interval(ECHO_INTERVAL);
        pair.protect(security);
        pair.channel.enable_multi_credit();
        World {
            last_received: pair.now,
            random: Random(seed),
            pair,
            server,
            mode,
            callers: BTreeMap::new(),
            given_up: HashSet::new(),
            pending: HashSet::new(),
            tags: 0,
            stream: VecDeque::new(),
            arrived: 0,
            outstanding: HashMap::new(),
            granted: 1,
            breaks: 0,
            breaks_arrived: 0,
            opening: HashSet::new(),
            orphans: HashSet::new(),
            forged: false,
            tally: Tally::default(),
        }
    }

    fn run(&mut self) {
        for _ in 0..STEPS {
            match self.random.below(100) {
                0..25 => self.submit(),
                25..28 => self.post(),
                28..32 => self.cancel(),
                32..60 => self.serve(),
                60..85 => self.deliver(),
                85..97 => self.pass(),
                97 => self.break_lease(),
                98 if self.random.chance(8) => self.forge(),
                _ => {}
            }
            self.check();
            if self.pair.channel.ended().is_some() {
                return self.check_end();
            }
        }
        self.pair.channel.end("the server closed it", self.pair.now);
        self.pair.carry_out();
        self.check();
        self.check_end();
    }

    fn chain(&mut self) -> Chain {
        self.tags += 1;
        let file = u128::from(self.tags).to_le_bytes();
        let open = || create::Create { path: &[0x61], access: 0, attributes: 0, disposition: 1, options: 0 }.request();
        let payload = u32::try_from(self.random.below(16)).unwrap() * CREDIT_PAYLOAD + 8;
        let requests = match self.random.below(16) {
            0..3 => vec![Request::new(Command::Echo, vec![4, 0, 0, 0])],
            3..8 => vec![io::read(file, 0, 8)],
            8..11 => vec![io::read(file, 0, payload)],
            11 => vec![io::write(file, 0, vec![7; payload as usize / 8].into())],
            12..14 => vec![open(), create::close(RELATED_FILE)],
            14 => vec![open()],
            _ => vec![io::read(file, 0, 8), io::read(file, 8, payload), create::close(file)],
        };
        Chain { requests, related_from: 1, tree_id: self.tags, seal: false, force_signature: false }
    }

    fn submit(&mut self) {
        if self.callers.len() >= CALLERS {
            return;
        }
        let mut chain = self.chain();
        let time = Duration::from_millis(1 + self.random.below(5000));
        let (tag, deadline) = (self.tags, Some(self.pair.now + time));
        let is_watch = self.random.chance(10);
        if is_watch {
            let watch = notify::change_notify([1; 16], 4096);
            if self.random.chance(50) { chain.requests = vec![watch] } else { chain.requests.push(watch) }
        }
        if crate::wire::frame::leaves_open(&chain.requests) {
            self.opening.insert(tag);
        }
        let cost = chain.cost().credits;
        let queued = self.queued();
        let submitted = if is_watch {
            self.pair.submit_open_ended(&chain, time).map(|(head, last)| {
                head.map(|head| self.callers.insert(head, Caller { tag, deadline, cost }));
                self.callers.insert(last, Caller { tag, deadline: None, cost });
            })
        } else {
            self.pair.submit_within(&chain, time).map(|caller| {
                self.callers.insert(caller, Caller { tag, deadline, cost });
            })
        };
        match submitted {
            Ok(()) => self.tally.queued += u32::from(self.queued() > queued),
            Err(WireError::Credits { needed, capacity }) => assert!(needed > capacity && needed == cost),
            Err(error) => panic!("{error}"),
        }
    }

    /// The number of chains that wait for credits.
    fn queued(&self) -> usize {
        self.pair.channel.lines.iter().map(VecDeque::len).sum()
    }

    fn post(&mut self) {
        let chain = Chain::single(io::read([1; 16], 0, 8));
        let available = self.pair.channel.credits().0;
        assert!(!self.pair.post(&chain) || available > 0);
    }

    fn cancel(&mut self) {
        let at = self.random.below(1 + self.callers.len() as u64) as usize;
        let Some(caller) = self.callers.keys().nth(at).copied() else { return };
        let tag = self.callers[&caller].tag;
        // An open-ended chain has two waiters and one caller, which gives up both.
        for caller in self.callers.extract_if(.., |_, caller| caller.tag == tag).map(|(caller, _)| caller) {
            self.pair.cancel(caller);
        }
        self.given_up.insert(tag);
        self.tally.cancelled += 1;
    }

    /// The server answers some of the requests that it holds, or drops one.
    fn serve(&mut self) {
        if self.server.held.is_empty() {
            return;
        }
        let mut messages = Vec::new();
        for _ in 0..=self.random.below(3).min(self.server.held.len() as u64 - 1) {
            let at = self.random.below(self.server.held.len() as u64) as usize;
            let credits = self.credits(at);
            if !self.server.held[at].is_async && (self.random.chance(15) || self.is_watch(at)) {
                self.pending.insert(self.server.held[at].tag);
                messages.push(Server::interim(&mut self.server.held[at], credits));
            } else if self.random.chance(97) {
                let held = self.server.held.swap_remove(at);
                messages.push(Server::response(&held, self.random.chance(20), credits));
            }
            if self.server.held.is_empty() {
                break;
            }
        }
        // Sometimes a request is never answered.
        if self.random.chance(1) && !self.server.held.is_empty() {
            self.server.held.swap_remove(0);
        }
        if !messages.is_empty() {
            let frame = self.server.frame(&messages);
            self.fly(&frame, messages);
        }
    }

    fn is_watch(&self, at: usize) -> bool {
        self.server.held[at].is(Command::ChangeNotify)
    }

    /// The credits to grant: none, few or many, and in the long run as many as are used.
    fn credits(&mut self, at: usize) -> u16 {
        let Header { credits: asked, credit_charge: charge, .. } = self.server.held[at].header;
        match self.random.below(20) {
            0..2 => 0,
            2 => 1,
            3..5 => asked,
            5 => 1000,
            _ => charge,
        }
    }

    fn fly(&mut self, frame: &[u8], messages: Vec<Message>) {
        let bytes = [&(frame.len() as u32).to_be_bytes()[..], frame].concat();
        self.stream.push_back(Flight { bytes, messages });
    }

    /// The client receives some bytes, of one frame or of several.
    fn deliver(&mut self) {
        let mut count = self.random.below(4000) as usize;
        while count > 0
            && self.pair.channel.ended().is_none()
            && let Some(flight) = self.stream.front()
        {
            let piece = flight.bytes[self.arrived..].iter().take(count).copied().collect::<Vec<u8>>();
            count -= piece.len();
            self.arrived += piece.len();
            if self.arrived == flight.bytes.len() {
                self.arrived = 0;
                let flight = self.stream.pop_front().expect("it is the first");
                flight.messages.iter().for_each(|message| self.arrives(message));
            }
            self.pair.arrive(&piece);
            self.take();
        }
    }

    /// Records a message that the client is about to receive.
    fn arrives(&mut self, message: &Message) {
        self.last_received = self.pair.now;
        let Message { header, .. } = message;
        if header.message_id == UNSOLICITED {
            self.breaks_arrived += 1;
            return;
        }
        self.granted += u64::from(header.credits);
        self.opens(message);
        if !header.is_interim() {
            assert!(self.outstanding.remove(&header.message_id).is_some());
        } else if header.command == Command::ChangeNotify as u16 {
            self.outstanding.insert(header.message_id, 0);
        }
    }

    /// Records the file that a CREATE response opens, if its caller has given up and there is a credit to close it: it
    /// must be closed.
    fn opens(&mut self, Message { header, body }: &Message) {
        let is_open = header.command == Command::Create as u16 && !header.status.is_error() && !header.is_interim();
        let tag = body.get(64..68).map_or(0, |file| u32::from_le_bytes(file.try_into().expect("four bytes")));
        let waits = self.callers.values().any(|caller| caller.tag == tag && caller.deadline.is_some());
        if is_open && self.opening.contains(&tag) && !waits && self.pair.channel.credits().0 > 64 {
            self.orphans.insert(tag);
        }
    }

    /// The server receives all frames that were sent.
    fn take(&mut self) {
        for frame in std::mem::take(&mut self.pair.sent) {
            let (held, cancelled) = self.server.take(frame);
            for Held { header, body, tag, .. } in held {
                self.outstanding.insert(header.message_id, header.credit_charge.into());
                if header.command == Command::Close as u16 {
                    let file = u32::from_le_bytes(body[8..12].try_into().expect("a file"));
                    self.tally.orphans_closed += u32::from(self.orphans.remove(&file));
                }
                self.tally.probes += u32::from(tag == 0 && header.command == Command::Echo as u16);
                let waits = self.callers.values().any(|caller| caller.tag == tag);
                // An ECHO or a CLOSE of the channel itself, or a posted chain, has the tag of no waiting caller.
                assert!(waits || tag == 0 || header.command == Command::Close as u16 || !self.given_up.contains(&tag));
            }
            for id in cancelled {
                assert!(self.outstanding.contains_key(&id), "a cancelled request was sent and is not answered");
                if self.random.chance(60)
                    && let Some(at) = self.server.held.iter().position(|held| held.header.message_id == id)
                {
                    let held = self.server.held.swap_remove(at);
                    let response = Server::response(&held, true, held.header.credit_charge);
                    let frame = self.server.frame(std::slice::from_ref(&response));
                    self.fly(&frame, vec![response]);
                }
            }
        }
    }

    fn pass(&mut self) {
        let time = self.random.below(400);
        self.pair.pass(Duration::from_millis(time));
    }

    fn break_lease(&mut self) {
        let message = Server::lease_break(self.breaks);
        self.breaks += 1;
        let frame = self.server.frame(std::slice::from_ref(&message));
        self.fly(&frame, vec![message]);
    }

    /// The client receives a frame that no server with the session's keys would send, after all frames on their way.
    fn forge(&mut self) {
        while !self.stream.is_empty() && self.pair.channel.ended().is_none() {
            self.deliver();
        }
        self.check();
        if self.pair.channel.ended().is_some() {
            return;
        }
        let single = self.server.held.iter().find(|held| held.is_single && held.is(Command::Read)).cloned();
        let frame = match (self.random.below(6), self.mode, single) {
            (0..3, Mode::Signed | Mode::Sealed, Some(held)) => {
                let response = Server::response(&held, false, 1);
                self.server.forged(&[response], self.random.chance(50))
            }
            (3, _, Some(held)) => {
                let mut response = Server::response(&held, false, 1);
                response.header.message_id = self.server.next_id;
                self.server.frame(&[response])
            }
            (4, ..) => vec![b'G'; 100],
            _ => vec![0; self.pair.channel.frame_limit() as usize + 1],
        };
        self.forged = true;
        self.pair.send(&frame);
        assert!(self.pair.channel.ended().is_some(), "a forged frame ends the connection");
    }

    /// Checks the guarantees that hold after each step.
    fn check(&mut self) {
        self.take();
        self.check_answers();
        self.pair.channel.advance();
        let channel = &self.pair.channel;
        assert_eq!(self.pair.breaks.len() as u128, self.breaks_arrived);
        assert!(channel.transmits.is_empty() && channel.events.is_empty(), "a frame or an event is held back");
        let late = |caller: &Caller| caller.deadline.is_some_and(|at| self.latest(caller.tag, at) <= self.pair.now);
        assert!(!self.callers.values().any(late), "a deadline has passed");
        assert!(channel.next_timeout().is_none_or(|next| next > self.pair.now));
        if channel.ended().is_some() {
            return;
        }
        assert!(self.orphans.is_empty(), "a file without a caller stays open");
        let (available, in_use) = channel.credits();
        assert_eq!(u64::from(available), self.granted - self.server.next_id, "a credit was lost, or invented");
        assert_eq!(in_use, self.outstanding.values().sum::<u32>());
        assert_eq!(channel.table.len(), self.outstanding.len(), "the table has every message until it is answered");
        assert_eq!(
            channel.table.is_empty(),
            channel.frame_limit() == Channel::<()>::new(ECHO_INTERVAL, self.pair.now).frame_limit()
        );
        let queued = self.queued();
        assert!(queued <= self.callers.len());
        assert!(in_use > 0 || queued == 0, "a request waits though nothing is in flight");
        let heads = self.callers.values().filter(|caller| caller.deadline.is_some()).count();
        let headless = channel.lines.iter().flatten().filter(|queued| queued.waiters.head.is_none()).count();
        assert_eq!(channel.deadlines.len(), heads + headless);
    }

    /// The time by which the caller with this deadline is answered at the latest.
    fn latest(&self, tag: u32, deadline: Instant) -> Instant {
        if self.pending.contains(&tag) { deadline + FOR_OTHERS } else { deadline }
    }

    fn check_answers(&mut self) {
        while let Some((caller, at, answer)) = self.pair.answers.pop_front() {
            let caller = self.callers.remove(&caller).expect("it waits");
            self.check_answer(&caller, at, answer);
            if !self.callers.values().any(|other| other.tag == caller.tag) {
                self.given_up.insert(caller.tag);
            }
        }
    }

    fn check_answer(&mut self, caller: &Caller, at: Instant, answer: Answer) {
        let has_ended = self.pair.channel.ended().is_some();
        match answer {
            Ok(replies) => {
                self.tally.answered += 1;
                assert!(caller.deadline.is_none_or(|deadline| at < self.latest(caller.tag, deadline)));
                for reply in &replies {
                    let tag = reply.header.tree_id();
                    assert!(tag == caller.tag || reply.header.async_id() == Some(async_id(caller.tag)));
                    let is_read = reply.header.command == Command::Read as u16 && !reply.status().is_error();
                    assert!(!is_read || reply.body()[16..24] == reply.header.message_id.to_le_bytes());
                }
                assert!(replies.is_sorted_by_key(|reply| reply.header.message_id));
            }
            Err(WireError::TimedOut) => {
                self.tally.timed_out += 1;
                // A watch that waits for credits has the deadline of its chain.
                let is_due = |deadline| at == deadline || at == self.latest(caller.tag, deadline);
                assert!(caller.deadline.is_none_or(is_due));
            }
            Err(WireError::Credits { needed, capacity }) => {
                self.tally.too_costly += 1;
                assert!(needed > capacity && needed == caller.cost);
            }
            Err(WireError::Closed(_)) => assert!(has_ended),
            Err(error) => panic!("{error}"),
        }
    }

    /// Checks the guarantees that hold after the end of the connection.
    fn check_end(&mut self) {
        let reason = self.pair.reason();
        self.tally.forged += u32::from(self.forged);
        if reason.contains("silent") {
            self.tally.silent += 1;
            assert!(self.pair.now - self.last_received >= 2 * ECHO_INTERVAL);
        } else {
            assert!(self.forged || &*reason == "the server closed it", "{reason}");
        }
        assert!(self.callers.is_empty(), "a caller waits for ever");
        let channel = &self.pair.channel;
        assert!(
            channel.table.is_empty() && channel.deadlines.is_empty() && channel.lines.iter().all(VecDeque::is_empty)
        );
        assert_eq!(channel.next_timeout(), None);
        let later = self.pair.submit_within(&echo(), PATIENCE);
        assert!(matches!(later, Err(WireError::Closed(_))));
        assert!(self.pair.sent.is_empty(), "nothing is sent after the end");
    }
}

/// Prints the seed of a failing run.
struct Naming(u64);

impl Drop for Naming {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the run with the seed {} has failed", self.0);
        }
    }
}

#[test]
fn with_any_server_each_caller_is_answered_once_and_no_credit_is_lost() {
    let mut all = Tally::default();
    for seed in 0..RUNS {
        let _naming = Naming(seed);
        let mut world = World::new(seed);
        world.run();
        all.add(&world.tally);
    }
    let Tally { answered, queued, timed_out, too_costly, cancelled, orphans_closed, probes, forged, silent } = all;
    let rare = [too_costly, orphans_closed, probes, forged, silent];
    assert!(rare.iter().all(|count| *count >= 5), "{all:?}");
    assert!([answered, queued, timed_out, cancelled].iter().all(|count| *count > 1000), "{all:?}");
}
