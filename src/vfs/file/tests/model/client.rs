//! A client: its files, and the driver that does what their actions say. It checks what the client knows of its
//! leases, and what is done before an acknowledgement.

use super::kernel::Kernel;
use super::promises::{Mark, Tick};
use super::remote::{Remote, RemoteFile, Result};
use super::server::{Info, Origin};
use super::world::World;
use crate::config::CacheMode;
use crate::share::{Broken, Caching, Change, LeaseKey, Metadata};
use crate::vfs::file::FileState;
use crate::vfs::file::event::{Action, Event};
use crate::vfs::file::handle::Access;
use crate::vfs::policy::Policy;
use bytes::Bytes;
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::future::poll_fn;
use std::ops::Range;
use std::rc::{Rc, Weak};
use std::task::Poll;
use std::time::{Duration, Instant};

/// The grid of the client's caches and of its WRITEs, in bytes.
pub(super) const GRID: u64 = 1024;
/// The most bytes in flight.
const WINDOW: u64 = 2 * GRID;
/// How long data is valid without a lease.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Added to a handle's number of calls when it is closed.
pub(super) const CLOSING: u32 = 1000;
/// How long data lingers before it is sent.
const LINGERS: Duration = Duration::from_secs(1);

/// An open of the client at the server.
pub(super) type Open = Rc<RemoteFile>;

/// The cached data of a file: chunks that were read, each with the number of its request.
#[derive(Default, Debug)]
pub(super) struct Cache {
    chunks: BTreeMap<u64, (Vec<u8>, u64)>,
    /// Chunks that are being read, by request. A chunk that is invalidated meanwhile is not kept.
    flights: Vec<(u64, u64)>,
}

impl Cache {
    fn touches(chunk: u64, range: &Range<u64>) -> bool {
        chunk * GRID < range.end && range.start < (chunk + 1) * GRID
    }

    /// Drops all chunks of a range.
    pub(super) fn invalidate(&mut self, range: &Range<u64>) {
        self.chunks.retain(|chunk, _| !Cache::touches(*chunk, range));
        self.flights.retain(|(_, chunk)| !Cache::touches(*chunk, range));
    }

    /// A chunk, if all of it that is within `size` is cached.
    pub(super) fn get(&self, chunk: u64, size: u64) -> Option<&[u8]> {
        let needed = size.saturating_sub(chunk * GRID).min(GRID) as usize;
        self.chunks.get(&chunk).and_then(|(data, _)| data.get(..needed))
    }

    /// A READ of a chunk begins.
    pub(super) fn begin(&mut self, number: u64, chunk: u64) {
        self.flights.push((number, chunk));
    }

    /// A READ has ended: keeps its chunk, unless it was invalidated meanwhile.
    pub(super) fn end(&mut self, number: u64, data: &[u8]) {
        if let Some(at) = self.flights.iter().position(|(other, _)| *other == number) {
            let (_, chunk) = self.flights.swap_remove(at);
            self.chunks.insert(chunk, (data.to_vec(), number));
        }
    }

    fn oldest(&self) -> Option<u64> {
        self.chunks.values().map(|(_, number)| *number).min()
    }
}

/// A file that a client knows.
#[derive(Debug)]
pub(super) struct ClientFile {
    pub(super) file: usize,
    pub(super) state: RefCell<FileState<Open>>,
    pub(super) cache: RefCell<Cache>,
    pub(super) kernel: Kernel,
    /// Memory reserved for dirty data, in bytes.
    reserved: Cell<u64>,
    /// Calls of programs under way.
    pub(super) users: Cell<u32>,
    /// Opens under way.
    pub(super) opening: Cell<u32>,
}

/// A handle of a program.
#[derive(Debug)]
pub(super) struct Handle {
    pub(super) number: u64,
    pub(super) file: Rc<ClientFile>,
    pub(super) open: Open,
    pub(super) access: Access,
    /// Its reads return data of this position in the file's changes or later.
    pub(super) sure: Mark,
    /// Calls under way; from [`CLOSING`] on the handle is being closed.
    pub(super) busy: Cell<u32>,
}

/// A break that was handed to its file and is not acknowledged yet.
#[derive(Debug)]
struct PendingBreak {
    broken: Broken,
    left: Caching,
    /// The number at which it arrived.
    number: u64,
    /// When it arrived, by the order of calls.
    tick: Tick,
}

/// A client with its kernel and programs.
#[derive(Debug)]
pub(super) struct Client {
    pub(super) index: usize,
    pub(super) world: Rc<World>,
    pub(super) remote: Rc<Remote>,
    pub(super) policy: Policy,
    pub(super) files: RefCell<Vec<Rc<ClientFile>>>,
    pub(super) handles: RefCell<Vec<Rc<Handle>>>,
    leased: RefCell<BTreeMap<LeaseKey, Weak<ClientFile>>>,
    /// Breaks that were read and not handed to their files yet.
    popped: RefCell<VecDeque<Broken>>,
    broken: RefCell<BTreeMap<u64, PendingBreak>>,
    latest_write: Cell<u64>,
    pub(super) grants_leases: Cell<bool>,
}

/// Metadata of a file, from the server's answer.
pub(super) fn metadata(info: &Info) -> Metadata {
    Metadata {
        file_id: info.id,
        created: info.created,
        size: info.size,
        modified: info.changed,
        changed: info.changed,
        ..Metadata::default()
    }
}

/// Waits until a condition holds.
pub(super) async fn until(is_so: impl Fn() -> bool) {
    poll_fn(|_| if is_so() { Poll::Ready(()) } else { Poll::Pending }).await;
}

impl ClientFile {
    pub(super) fn new(file: usize, info: &Info) -> Rc<ClientFile> {
        Rc::new(ClientFile {
            file,
            state: RefCell::new(FileState::unknown(metadata(info))),
            cache: RefCell::default(),
            kernel: Kernel::default(),
            reserved: Cell::new(0),
            users: Cell::new(0),
            opening: Cell::new(0),
        })
    }
}

/// Events and actions.
impl Client {
    pub(super) fn new(world: &Rc<World>, index: usize) -> Rc<Client> {
        let remote = Remote::new(world, index);
        let files = {
            let server = world.server.borrow();
            (0..server.disks.len()).map(|file| ClientFile::new(file, &server.info(file))).collect()
        };
        Rc::new(Client {
            index,
            world: Rc::clone(world),
            remote,
            policy: Policy { mode: CacheMode::Strict, timeout: TIMEOUT },
            files: RefCell::new(files),
            handles: RefCell::default(),
            leased: RefCell::default(),
            popped: RefCell::default(),
            broken: RefCell::default(),
            latest_write: Cell::new(0),
            grants_leases: Cell::new(false),
        })
    }

    /// Hands an event to a file, and does the actions that follow.
    pub(super) fn event(self: &Rc<Self>, file: &Rc<ClientFile>, event: Event<'_, Open>) {
        self.with(file, |state, now| ((), state.on(event, now)));
    }

    /// Works on a file, and does the actions that follow. Checks the memory that is reserved.
    pub(super) fn with<R>(
        self: &Rc<Self>,
        file: &Rc<ClientFile>,
        work: impl FnOnce(&mut FileState<Open>, Instant) -> (R, Vec<Action<Open>>),
    ) -> R {
        let (result, actions, dirty) = {
            let mut state = file.state.borrow_mut();
            state.set_window(WINDOW);
            let (result, actions) = work(&mut state, self.world.now());
            (result, actions, state.dirty_bytes())
        };
        let released: u64 =
            actions.iter().map(|action| if let Action::Release(bytes) = action { *bytes } else { 0 }).sum();
        if file.reserved.get() != dirty + released {
            self.world.fail(format!(
                "{} bytes are reserved, {dirty} are dirty, {released} are released",
                file.reserved.get()
            ));
        }
        file.reserved.set(file.reserved.get().saturating_sub(released));
        actions.into_iter().for_each(|action| self.perform(file, action));
        result
    }

    /// Reserves memory for dirty data.
    pub(super) fn reserve(&self, file: &ClientFile, length: u64) {
        file.reserved.set(file.reserved.get() + length);
    }

    /// Releases reserved memory.
    pub(super) fn release(&self, file: &ClientFile, length: u64) {
        file.reserved.set(file.reserved.get().saturating_sub(length));
    }

    fn perform(self: &Rc<Self>, file: &Rc<ClientFile>, action: Action<Open>) {
        let (this, owned) = (Rc::clone(self), Rc::clone(file));
        match action {
            Action::Drop(range) => file.cache.borrow_mut().invalidate(&range),
            Action::Release(_) => {}
            Action::Write { job, open, offset, data, change, flush } => {
                let touch = change != Change::default();
                self.world.spawn(async move { this.send(&owned, (job, open), (offset, data), (flush, touch)).await });
            }
            Action::Set { open, .. } => self.world.spawn(async move {
                let result = this.remote.touch(&open).await;
                this.event(&owned, Event::Set { result });
            }),
            Action::Close { id, open } => {
                self.world.spawn(async move { this.close(&owned, id, &open).await });
                let lease = file.state.borrow().shared_lease();
                if let Some(lease) = lease {
                    let granted = self.remote.granted(lease);
                    self.event(file, Event::Granted { lease, granted });
                }
            }
            Action::Linger => self.world.spawn(async move {
                let end = this.world.now() + LINGERS;
                until(|| this.world.now() >= end).await;
                this.event(&owned, Event::Lingered);
            }),
            Action::ForgetPages { number } => self.world.spawn(async move {
                this.forget_pages(&owned).await;
                this.event(&owned, Event::PagesForgotten { number });
            }),
            Action::Acknowledge { number } => {
                self.check_acknowledged(file, number);
                let Some(carried_out) = self.broken.borrow_mut().remove(&number) else { return };
                self.world.spawn(async move { this.remote.acknowledge(carried_out.broken).await });
            }
        }
    }

    async fn send(
        self: &Rc<Self>,
        file: &Rc<ClientFile>,
        (job, open): (u64, Open),
        (offset, data): (u64, Bytes),
        after: (bool, bool),
    ) {
        let born = self.world.promises.borrow().born(self.index, file.file, offset, &data);
        let origin = Origin { held: true, call: None, born };
        let result = self.remote.write(&open, (offset, data.clone()), after, origin).await;
        file.cache.borrow_mut().invalidate(&(offset..offset + data.len() as u64));
        if result.is_err() {
            self.world.count("a held write failed");
            self.world.promises.borrow_mut().failed(self.index, file.file, (offset, &data), None);
        }
        self.event(file, Event::Sent { job, result });
    }

    async fn close(self: &Rc<Self>, file: &Rc<ClientFile>, id: u64, open: &RemoteFile) {
        let token = file.state.borrow().token();
        if let Some(info) = self.remote.close(open).await {
            self.event(file, Event::Fetched { metadata: metadata(&info), token });
        }
        self.event(file, Event::Closed { open: id });
    }
}

/// Waiting for requests under way.
impl Client {
    /// Sends all dirty data, and waits for the answers.
    pub(super) async fn drain_data(self: &Rc<Self>, file: &Rc<ClientFile>) {
        let mark = self.with(file, |state, now| {
            let actions = state.on(Event::Drain, now);
            (state.drain_mark(), actions)
        });
        until(|| file.state.borrow().is_drained(mark)).await;
    }

    /// As [`Client::drain_data`], and also sends and awaits the deferred change.
    pub(super) async fn drain(self: &Rc<Self>, file: &Rc<ClientFile>) {
        self.drain_data(file).await;
        let deferred = file.state.borrow_mut().take_deferred();
        if let Some((open, _)) = deferred {
            let result = self.remote.touch(&open).await;
            self.event(file, Event::Set { result });
        }
        until(|| !file.state.borrow().has_deferred()).await;
    }

    /// Registers a kernel WRITE of a range, and returns its number.
    pub(super) fn begin_write(self: &Rc<Self>, file: &Rc<ClientFile>, range: Range<u64>) -> u64 {
        self.latest_write.set(self.latest_write.get() + 1);
        let number = self.latest_write.get();
        self.event(file, Event::WriteBegan { number, range });
        number
    }

    /// Waits for the kernel WRITEs of a range that are under way now.
    pub(super) async fn until_written(&self, file: &ClientFile, range: &Range<u64>) {
        let latest = self.latest_write.get();
        until(|| !file.state.borrow().writes_touch_until(latest, range)).await;
    }

    /// Closes the kept open of a file.
    pub(super) async fn close_kept(self: &Rc<Self>, file: &Rc<ClientFile>) {
        self.event(file, Event::KeptOpenUnwanted);
        until(|| !file.state.borrow().is_closing()).await;
    }

    /// Fetches the file's metadata.
    pub(super) async fn refresh(self: &Rc<Self>, file: &Rc<ClientFile>) -> Result<()> {
        let token = file.state.borrow().token();
        let info = self.remote.query(file.file).await?;
        self.event(file, Event::Fetched { metadata: metadata(&info), token });
        Ok(())
    }
}

/// Leases and breaks.
impl Client {
    /// Registers a lease: its breaks go to this file.
    pub(super) fn lease(&self, key: LeaseKey, file: &Rc<ClientFile>) {
        self.leased.borrow_mut().insert(key, Rc::downgrade(file));
    }

    /// Reads that a session was lost, and the next break. The break is handed on later.
    pub(super) fn read_break(self: &Rc<Self>) {
        if std::mem::take(&mut self.remote.line.borrow_mut().has_lost) {
            let files: Vec<_> = self.leased.borrow().values().filter_map(Weak::upgrade).collect();
            files.iter().for_each(|file| self.event(file, Event::SessionLost));
        }
        let broken = self.remote.line.borrow_mut().leases.next_broken();
        self.popped.borrow_mut().extend(broken);
    }

    /// Hands the next break to its file. Returns whether there was one.
    pub(super) fn hand_on(self: &Rc<Self>) -> bool {
        let Some(broken) = self.popped.borrow_mut().pop_front() else { return false };
        self.world.count("breaks");
        let file = self.leased.borrow().get(&broken.key).and_then(Weak::upgrade);
        let Some(file) = file else {
            let remote = Rc::clone(&self.remote);
            self.world.spawn(async move { remote.acknowledge(broken).await });
            return true;
        };
        let number = self.world.number();
        let (left, serial) = (broken.left, broken.serial);
        let tick = self.world.promises.borrow_mut().broken(self.index, file.file);
        self.broken.borrow_mut().insert(number, PendingBreak { broken, left, number, tick });
        self.event(&file, Event::Broken { number, left, serial });
        true
    }

    /// Checks that everything a break requires is done when it is acknowledged.
    fn check_acknowledged(&self, file: &ClientFile, number: u64) {
        let broken = self.broken.borrow();
        let Some(PendingBreak { left, number, tick, .. }) = broken.get(&number) else {
            return self.world.fail(format!("break {number} is acknowledged twice"));
        };
        let state = file.state.borrow();
        let pending = self.world.promises.borrow().pending(self.index, file.file, *tick);
        // Data that is dirty under a newer grant does not concern this break.
        let is_dirty = state.is_dirty() && !state.caching().writes();
        let wrong = if !left.writes() && (is_dirty || pending.is_some()) {
            Some("with dirty data")
        } else if !left.writes() && file.kernel.oldest_dirty().is_some_and(|at| at < *number) {
            Some("with dirty pages in the kernel")
        } else if !left.reads() && file.cache.borrow().oldest().is_some_and(|at| at < *number) {
            Some("with old data in the cache")
        } else if !left.reads() && state.has_handles() && file.kernel.oldest().is_some_and(|at| at < *number) {
            // Without a handle no program reads them, and the next open compares their version.
            Some("with old pages in the kernel")
        } else if state.has_kept_open() && !state.caching().covers(Caching::ALL) {
            Some("with a kept open")
        } else {
            None
        };
        if let Some(wrong) = wrong {
            let dirty = state.dirty_bytes();
            self.world
                .fail(format!("client {} acknowledges a break to {left:?} {wrong}: {dirty}, {pending:?}", self.index));
        }
    }

    /// The caching that the server counts as granted to this client for a file, and whether it is being broken;
    /// `None` where the server knows no session of this client.
    fn at_server(&self, file: &ClientFile) -> Option<(Caching, bool)> {
        let line = self.remote.line.borrow();
        let session = line.session.filter(|session| line.at_server == Some(session.number))?.number;
        let key = file.state.borrow().lease()?;
        Some(self.world.server.borrow().granted(self.index, session, key).unwrap_or((Caching::NONE, false)))
    }

    /// Whether a break has not been handed to its file yet.
    fn has_news(&self) -> bool {
        !self.popped.borrow().is_empty() || self.remote.line.borrow().leases.has_news()
    }

    /// Checks that the file does not know more rights than the server grants. Notes when the client is sure of its
    /// data.
    pub(super) fn check_granted(&self, file: &ClientFile) {
        let believed = file.state.borrow().caching();
        let Some((granted, is_breaking)) = self.at_server(file) else { return };
        let unread =
            self.remote.line.borrow().breaks.iter().any(|broken| Some(broken.key) == file.state.borrow().lease());
        if !granted.covers(believed) && !unread {
            let table = file.state.borrow().lease().map(|key| self.remote.granted(key));
            if table.is_none_or(|table| !table.caching.covers(believed)) && !self.has_news() {
                self.world.fail(format!(
                    "client {} assumes {believed:?} for file {}, but granted is {granted:?}, {table:?}",
                    self.index, file.file
                ));
            }
        }
        let is_sure = believed.reads() && granted.reads() && !is_breaking && !unread && !self.has_news();
        if is_sure && file.opening.get() == 0 {
            self.world.promises.borrow_mut().is_sure(self.index, file.file);
        }
    }

    /// Checks that the server grants the right to write back.
    pub(super) fn check_may_write_back(&self, file: &ClientFile) {
        if !self.has_news() && self.at_server(file).is_some_and(|(granted, _)| !granted.writes()) {
            self.world.fail(format!("client {} holds a write dirty without a lease", self.index));
        }
    }

    /// Checks that no work is left when nothing is under way.
    pub(super) fn check_idle(&self) {
        for file in self.files.borrow().iter() {
            let state = file.state.borrow();
            if !state.is_idle() || file.reserved.get() > 0 {
                self.world.fail(format!("client {}: file {} is not idle at the end: {state:?}", self.index, file.file));
            }
        }
        let opens = self.world.server.borrow().opens_of(self.index);
        if opens > 0 || !self.broken.borrow().is_empty() || !self.popped.borrow().is_empty() {
            self.world.fail(format!(
                "client {}: {opens} opens, {:?} left at the end",
                self.index,
                self.broken.borrow()
            ));
        }
    }
}
