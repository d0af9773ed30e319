//! A client's view of the server: requests that outlive their session, with the share's own values for leases and for
//! the record of a file. The run polls their waits, one after the other.

use super::server::{Info, Reply, Request};
use super::world::World;
use crate::share::error::Cause;
use crate::share::model::{Acknowledgement, Between, Breaking, Found, Leases, Own, Record};
use crate::share::{Caching, FileTime, Lease, LeaseKey, RemotePath, ShareError};
use bytes::Bytes;
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::future::poll_fn;
use std::rc::{Rc, Weak};
use std::task::Poll;
use std::time::{Duration, Instant};

/// The number of lost sessions at which an operation gives up.
const LOSSES: u32 = 5;
/// How long an operation waits for a session.
const PATIENCE: Duration = Duration::from_secs(120);
/// The unit in which ranges are read back, in bytes.
const PAGE: u64 = 4096;

pub(super) type Result<T> = std::result::Result<T, ShareError>;

/// A session of this client.
#[derive(Clone, Copy, Debug)]
pub(super) struct Session {
    pub(super) number: u64,
    /// When its connection was begun, and when it was ready, by the server's clock.
    pub(super) renewed: (FileTime, FileTime),
}

/// The connection between this client and the server.
#[derive(Default, Debug)]
pub(super) struct Line {
    /// The session of the client; `None` while it has none.
    pub(super) session: Option<Session>,
    /// The session that exists at the server.
    pub(super) at_server: Option<u64>,
    /// When the client noticed the loss of each session, by the server's clock.
    lost: BTreeMap<u64, FileTime>,
    /// A loss that the files have not been notified of.
    pub(super) has_lost: bool,
    /// Requests on their way to the server, with their numbers.
    pub(super) up: Vec<(u64, Request)>,
    /// Requests that the server keeps until a break is acknowledged.
    pub(super) waiting: Vec<(u64, Request)>,
    /// Replies on their way to the client.
    pub(super) down: Vec<(u64, Reply)>,
    /// Breaks on their way to the client.
    pub(super) breaks: VecDeque<Breaking>,
    /// Replies that have arrived; `None` if the session was lost instead.
    replies: BTreeMap<u64, Option<Reply>>,
    /// Requests that wait for a reply.
    outstanding: BTreeSet<u64>,
    next: u64,
    /// What the client knows of its leases.
    pub(super) leases: Leases,
}

/// A file's record, with the session in which it is valid.
#[derive(Debug)]
pub(super) struct RecordOf {
    pub(super) record: RefCell<Record>,
    session: Cell<u64>,
    /// An open of the file is being made again.
    is_turn: Cell<bool>,
}

/// An open file of a client.
#[derive(Debug)]
pub(super) struct RemoteFile {
    pub(super) file: usize,
    pub(super) write: bool,
    identity: (u64, FileTime),
    pub(super) lease: Option<LeaseKey>,
    pub(super) record: Rc<RecordOf>,
    /// The record's count of conflicts when it was opened.
    pub(super) conflicts: u64,
    /// It refuses changes because of a conflict.
    pub(super) refuses: Cell<bool>,
    /// Session and number of its open at the server.
    pub(super) live: Cell<(u64, u64)>,
    /// Its number in the leases.
    holding: Cell<Option<u64>>,
    closed: Cell<bool>,
}

impl RemoteFile {
    /// The number of the open at the server.
    pub(super) fn at_server(&self) -> u64 {
        self.live.get().1
    }
}

/// One client's connection to the server.
#[derive(Debug)]
pub(super) struct Remote {
    pub(super) world: Rc<World>,
    pub(super) client: usize,
    pub(super) line: RefCell<Line>,
    pub(super) records: RefCell<BTreeMap<(u64, FileTime), Weak<RecordOf>>>,
}

/// The failure of an operation.
pub(super) fn failure(operation: &'static str, cause: Cause) -> ShareError {
    ShareError { operation, path: RemotePath::root(), cause }
}

/// The failure of an operation that the server refused.
pub(super) fn refused(operation: &'static str) -> ShareError {
    ShareError::status(operation, &RemotePath::root(), crate::wire::NtStatus::DISK_FULL)
}

fn found(info: &Info) -> Found {
    Found { size: info.size, changed: info.changed }
}

/// The network and the session.
impl Remote {
    pub(super) fn new(world: &Rc<World>, client: usize) -> Rc<Remote> {
        Rc::new(Remote { world: Rc::clone(world), client, line: RefCell::default(), records: RefCell::default() })
    }

    /// Whether a session is the client's current one.
    pub(super) fn is_alive(&self, session: u64) -> bool {
        self.line.borrow().session.is_some_and(|live| live.number == session)
    }

    /// The client has a session now.
    pub(super) fn connected(&self, number: u64, renewed: (FileTime, FileTime)) {
        let mut line = self.line.borrow_mut();
        line.session = Some(Session { number, renewed });
        line.at_server = Some(number);
    }

    /// The client has noticed the loss of its session.
    pub(super) fn lost(&self) {
        let clock = self.world.clock();
        let line = &mut *self.line.borrow_mut();
        let Some(session) = line.session.take() else { return };
        line.lost.insert(session.number, clock);
        line.has_lost = true;
        line.replies.extend(std::mem::take(&mut line.outstanding).into_iter().map(|number| (number, None)));
        line.up.clear();
        line.down.clear();
        line.breaks.clear();
        line.leases.lost(session.number);
    }

    /// A reply has arrived.
    pub(super) fn answered(&self, number: u64, reply: Reply) {
        let line = &mut *self.line.borrow_mut();
        if line.outstanding.remove(&number) {
            line.replies.insert(number, Some(reply));
        }
    }

    /// A break has arrived.
    pub(super) fn broken(&self, breaking: Breaking) {
        let session = self.line.borrow().session.map_or(0, |session| session.number);
        let owed = self.line.borrow_mut().leases.broken(session, breaking);
        self.post(owed);
    }

    fn post(&self, owed: Vec<Acknowledgement>) {
        for Acknowledgement { session, key, kept } in owed {
            self.send(session, Request::Acknowledge { key, kept }, false);
        }
    }

    fn send(&self, session: u64, request: Request, waits: bool) -> Option<u64> {
        if !self.is_alive(session) {
            return None;
        }
        let line = &mut *self.line.borrow_mut();
        line.next += 1;
        line.up.push((line.next, request));
        if waits {
            line.outstanding.insert(line.next);
        }
        Some(line.next)
    }

    /// Sends a request and waits for the reply; `None` if the session was lost.
    pub(super) async fn call(&self, session: u64, request: Request) -> Option<Reply> {
        let number = self.send(session, request, true)?;
        poll_fn(|_| match self.line.borrow_mut().replies.remove(&number) {
            Some(reply) => Poll::Ready(reply),
            None => Poll::Pending,
        })
        .await
    }

    /// The client's session. Waits for one until the deadline.
    pub(super) async fn session(&self, operation: &'static str, deadline: Instant) -> Result<u64> {
        poll_fn(|_| match self.line.borrow().session {
            Some(session) => Poll::Ready(Ok(session.number)),
            None if self.world.now() > deadline => Poll::Ready(Err(failure(operation, Cause::TimedOut))),
            None => Poll::Pending,
        })
        .await
    }

    /// The deadline of an operation that begins now.
    pub(super) fn deadline(&self) -> Instant {
        self.world.now() + PATIENCE
    }
}

/// The attempts of an operation.
pub(super) struct Tries {
    operation: &'static str,
    pub(super) deadline: Instant,
    losses: u32,
}

impl Tries {
    pub(super) fn new(remote: &Remote, operation: &'static str) -> Tries {
        Tries { operation, deadline: remote.deadline(), losses: 0 }
    }

    /// A session was lost during an attempt. Fails if it was one too many.
    pub(super) fn lost(&mut self) -> Result<()> {
        self.losses += 1;
        let cause = Cause::LostAgain { times: self.losses, why: String::new() };
        if self.losses < LOSSES { Ok(()) } else { Err(failure(self.operation, cause)) }
    }
}

/// An open that was registered with the leases, until dropped.
struct Announced<'a>(&'a Remote, Option<u64>);

impl Drop for Announced<'_> {
    fn drop(&mut self) {
        if let Some(number) = self.1.take() {
            let owed = self.0.line.borrow_mut().leases.abandon(number);
            self.0.post(owed);
        }
    }
}

/// The right to make an open of a file again: one at a time.
struct Turn<'a>(&'a RecordOf);

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.is_turn.set(false);
    }
}

/// A change under way: remote, record, and its number until it is answered.
pub(super) struct UnderWay<'a>(pub(super) &'a Remote, pub(super) &'a RecordOf, pub(super) Option<u64>);

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        if let Some(number) = self.2.take() {
            self.1.record.borrow_mut().give_up(number, self.0.world.now());
        }
    }
}

/// Opens.
impl Remote {
    /// CREATE of a file, with a lease if asked for.
    pub(super) async fn open(
        &self,
        file: usize,
        (write, truncate): (bool, bool),
        lease: Option<(LeaseKey, Caching)>,
    ) -> Result<(Rc<RemoteFile>, Info)> {
        let begin = |(key, caching)| self.line.borrow_mut().leases.begin(Lease { key, caching });
        let mut announced = Announced(self, lease.map(begin));
        let mut tries = Tries::new(self, "CREATE");
        loop {
            let asked = self.world.now();
            let session = self.session("CREATE", tries.deadline).await?;
            let request = Request::Create { file, lease, write, truncate };
            let (open, mut info, given) = match self.call(session, request).await {
                Some(Reply::Created { open, info, given }) => (open, info, given),
                Some(_) => return Err(refused("CREATE")),
                None => {
                    tries.lost()?;
                    continue;
                }
            };
            let record = self.record_of(file, &info, session);
            let opened = Rc::new(RemoteFile {
                file,
                write,
                identity: (info.id, info.created),
                lease: lease.map(|(key, _)| key),
                conflicts: record.record.borrow().conflicts(),
                record: Rc::clone(&record),
                refuses: Cell::new(false),
                live: Cell::new((session, open)),
                holding: Cell::new(None),
                closed: Cell::new(false),
            });
            if self.is_older(&record, session) {
                let _turn = self.turn(&record).await;
                self.judge(&record, session, (file, open, found(&info)), (lease.map(|(key, _)| key), false)).await;
            }
            if record.session.get() == session {
                record.record.borrow_mut().reported(found(&info), asked);
            }
            if truncate {
                let number = record.record.borrow_mut().begin(&Own::Resize(0));
                let (clock, now) = (self.world.clock(), self.world.now());
                record.record.borrow_mut().answered(number, &Own::Resize(0), clock, now);
                info.size = 0;
            }
            if let Some(number) = announced.1
                && self.is_alive(session)
            {
                announced.1 = None;
                let owed = self.line.borrow_mut().leases.opened(number, session, given);
                opened.holding.set(Some(number));
                self.post(owed);
            }
            return Ok((opened, info));
        }
    }

    fn record_of(&self, file: usize, info: &Info, session: u64) -> Rc<RecordOf> {
        let mut records = self.records.borrow_mut();
        let identity = (info.id, info.created);
        if let Some(record) = records.get(&identity).and_then(Weak::upgrade) {
            return record;
        }
        self.world.promises.borrow_mut().forgets_unsynced(self.client, file);
        let record = Rc::new(RecordOf {
            record: RefCell::new(Record::new(found(info))),
            session: Cell::new(session),
            is_turn: Cell::new(false),
        });
        records.insert(identity, Rc::downgrade(&record));
        record
    }

    fn is_older(&self, record: &RecordOf, session: u64) -> bool {
        record.session.get() != session && self.is_alive(session) && !self.is_alive(record.session.get())
    }

    async fn turn<'a>(&self, record: &'a RecordOf) -> Turn<'a> {
        poll_fn(|_| if record.is_turn.replace(true) { Poll::Pending } else { Poll::Ready(()) }).await;
        Turn(record)
    }

    /// The file's open on the current session, made again if its session was lost.
    pub(super) async fn live(
        &self,
        file: &RemoteFile,
        operation: &'static str,
        deadline: Instant,
    ) -> Result<(u64, u64)> {
        if self.is_alive(file.live.get().0) {
            return Ok(file.live.get());
        }
        let _turn = self.turn(&file.record).await;
        let mut tries = Tries { operation, deadline, losses: 0 };
        loop {
            if self.is_alive(file.live.get().0) {
                return Ok(file.live.get());
            }
            let session = self.session(operation, deadline).await?;
            match self.reopen(file, operation, session).await? {
                Some(open) if file.closed.get() => {
                    self.let_go(file);
                    self.send(session, Request::Close { open }, false);
                    return Err(failure(operation, Cause::Stale));
                }
                Some(open) => file.live.set((session, open)),
                None => tries.lost()?,
            }
        }
    }

    async fn reopen(&self, file: &RemoteFile, operation: &'static str, session: u64) -> Result<Option<u64>> {
        self.let_go(file);
        let mut is_written = false;
        // It asks for its own lease's key, so it does not break that lease.
        let lease = file.lease.map(|key| (key, Caching::NONE));
        if file.write && self.is_older(&file.record, session) {
            match self.call(session, Request::Look { file: file.file, key: file.lease }).await {
                None => return Ok(None),
                Some(reply) => is_written = matches!(reply, Reply::Busy),
            }
        }
        let begin = |(key, caching)| self.line.borrow_mut().leases.begin(Lease { key, caching });
        let mut announced = Announced(self, lease.map(begin));
        let request = Request::Create { file: file.file, lease, write: file.write, truncate: false };
        let (open, info, given) = match self.call(session, request).await {
            None => return Ok(None),
            Some(Reply::Created { open, info, given }) => (open, info, given),
            Some(_) => return Err(refused(operation)),
        };
        if file.identity != (info.id, info.created) {
            self.send(session, Request::Close { open }, false);
            return Err(failure(operation, Cause::Stale));
        }
        // The open keeps the lease at the server, and its breaks concern it.
        if let Some(number) = announced.1
            && self.is_alive(session)
        {
            announced.1 = None;
            let owed = self.line.borrow_mut().leases.opened(number, session, given);
            file.holding.set(Some(number));
            self.post(owed);
        }
        self.judge(&file.record, session, (file.file, open, found(&info)), (file.lease, is_written)).await;
        Ok(Some(open))
    }

    async fn judge(
        &self,
        of: &RecordOf,
        session: u64,
        (file, open, found): (usize, u64, Found),
        (key, is_written): (Option<LeaseKey>, bool),
    ) {
        if !self.is_older(of, session) {
            return;
        }
        let between = {
            let line = self.line.borrow();
            let lost = line.lost.get(&of.session.get()).copied().unwrap_or_default();
            Between { lost, renewed: line.session.map_or((lost, lost), |session| session.renewed) }
        };
        let verdict = if is_written { Some(false) } else { of.record.borrow().judge(found, &between) };
        let is_certain = verdict.is_some();
        let verdict = match verdict {
            Some(verdict) => verdict,
            None => {
                let under_way = of.record.borrow().under_way();
                let read = self.read_back(session, (file, key), under_way, found.size).await;
                if !self.is_alive(session) {
                    return;
                }
                of.record.borrow().weigh(found, &read, &between)
            }
        };
        of.record.borrow_mut().adopt(found, verdict);
        of.session.set(session);
        self.world.judged(self.client, (file, open), (verdict, is_certain));
    }

    async fn read_back(
        &self,
        session: u64,
        (file, key): (usize, Option<LeaseKey>),
        under_way: Vec<(u64, std::ops::Range<u64>)>,
        size: u64,
    ) -> Vec<(u64, Bytes)> {
        let mut read = Vec::new();
        let lease = key.map(|key| (key, Caching::NONE));
        let request = Request::Create { file, lease, write: false, truncate: false };
        let Some(Reply::Created { open, .. }) = self.call(session, request).await else { return read };
        for (number, range) in under_way {
            let (start, end) = (range.start / PAGE * PAGE, range.end.next_multiple_of(PAGE).min(size));
            let request = Request::Read { open, offset: start, length: end.saturating_sub(start) };
            if let Some(Reply::Data(data)) = self.call(session, request).await {
                read.push((number, data.into()));
            }
        }
        self.send(session, Request::Close { open }, false);
        read
    }

    fn let_go(&self, file: &RemoteFile) {
        if let Some(number) = file.holding.take() {
            self.line.borrow_mut().leases.closed(number);
        }
    }

    /// CLOSE. `None` if it was closed before, its session was lost, or the server refused.
    pub(super) async fn close(&self, file: &RemoteFile) -> Option<Info> {
        self.let_go(file);
        let (session, open) = file.live.get();
        if file.closed.replace(true) || !self.is_alive(session) {
            return None;
        }
        match self.call(session, Request::Close { open }).await {
            Some(Reply::Closed(info)) => Some(info),
            _ => None,
        }
    }
}
