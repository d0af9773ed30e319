//! A client around its namespace: it asks the server for names that are not valid, and follows watches. It does in
//! memory what [`Names`](crate::vfs::names::Names) does with a share.

use super::kernel::Kernel;
use super::server::{Granted, Message, Path, Reply, Request, Sent};
use super::steps::Setting;
use super::world::{World, pause, until};
use crate::share::{ChangeKind, FileTime, LeaseKey, Metadata, RemotePath};
use crate::vfs::file::attributes::FetchToken;
use crate::vfs::names::namespace::Report;
use crate::vfs::names::namespace::directory::Meaning;
use crate::vfs::names::namespace::tests::{show, units};
use crate::vfs::names::namespace::{Admission, Asked, Known, Namespace, ROOT, WatchEvent};
use crate::vfs::policy::Policy;
use std::cell::{Cell, RefCell};
use std::collections::{HashMap, HashSet};
use std::rc::Rc;
use std::time::{Duration, Instant};

/// How long names are valid without a watch, in milliseconds.
pub(super) const TIMEOUT: u64 = 1000;
/// The time after which a watch has certainly begun, in milliseconds.
const BEGUN_AFTER: u64 = 700;
/// Attempts before a lookup, or a listing without room, gives up.
const ATTEMPTS: usize = 4;
/// The server's clock, which does not matter for names.
pub(super) const CLOCK: FileTime = FileTime(1);

/// The result of a lookup: a node, which has one more lookup, and the moment from which on it may be the right one.
#[derive(Clone, Copy, Debug)]
pub(super) enum Looked {
    Found(u64, u64),
    Absent,
    Stale,
}

#[derive(Debug)]
pub(super) struct Client {
    pub(super) index: usize,
    pub(super) world: Rc<World>,
    pub(super) space: RefCell<Namespace<u32>>,
    pub(super) kernel: RefCell<Kernel>,
    pub(super) is_loose: bool,
    /// When an answer last used each watch whose listing was answered, in milliseconds.
    pub(super) watches: RefCell<HashMap<u64, u64>>,
    /// The watches with a CHANGE_NOTIFY at the server, as far as the client has been notified, or with a lease.
    pub(super) armed: RefCell<HashSet<u64>>,
    /// Leases that were broken before the answer that grants them arrived.
    broken: RefCell<HashSet<LeaseKey>>,
    /// The server has refused an open directory for lack of room, or this client's bound of watches is low.
    pub(super) was_refused: Cell<bool>,
    /// Directories in which the kernel is changing names.
    locked: RefCell<HashSet<u64>>,
    /// The number of program calls in progress: the kernel forgets no file meanwhile.
    pub(super) calls: Cell<usize>,
    looked_after: Cell<u64>,
    pub(super) most_watches: usize,
}

impl Client {
    pub(super) fn new(world: &Rc<World>, index: usize, setting: &Setting) -> Rc<Client> {
        let policy = Policy { mode: setting.mode, timeout: Duration::from_millis(TIMEOUT) };
        let mut space = Namespace::new(policy, show());
        let most = setting.most;
        space.bounds.limit(most.free, most.directories, most.watches);
        Rc::new(Client {
            index,
            world: Rc::clone(world),
            space: RefCell::new(space),
            kernel: RefCell::default(),
            is_loose: setting.mode == crate::config::CacheMode::Loose,
            watches: RefCell::default(),
            armed: RefCell::default(),
            broken: RefCell::default(),
            was_refused: Cell::new(most.watches < 100),
            locked: RefCell::default(),
            calls: Cell::new(0),
            looked_after: Cell::new(0),
            most_watches: most.watches,
        })
    }

    /// Works on the namespace, and carries out the effects.
    pub(super) fn with<R>(&self, work: impl FnOnce(&mut Namespace<u32>, Instant) -> R) -> R {
        let (result, effects) = {
            let mut space = self.space.borrow_mut();
            let result = work(&mut space, self.world.now());
            (result, space.take_effects())
        };
        if !effects.forgotten.is_empty() || !effects.ended_watches.is_empty() {
            let (ended, forgotten) = (&effects.ended_watches, &effects.forgotten);
            self.world.note(|| format!("client {} ends {ended:?}, forgets {forgotten:?}", self.index));
        }
        for number in effects.ended_watches {
            self.armed.borrow_mut().remove(&number);
            self.world.post(self.index, Request::CloseWatch(number));
        }
        effects.forgotten.iter().for_each(|what| self.kernel.borrow_mut().forgets(what));
        result
    }

    pub(super) async fn ask(&self, request: Request) -> Reply {
        self.world.ask(self.index, request).await
    }

    pub(super) fn path(&self, ino: u64) -> Option<Path> {
        let path = self.space.borrow().path(ino, &RemotePath::root())?;
        let path = String::from_utf16_lossy(path.as_utf16());
        Some(path.split('\\').filter(|name| !name.is_empty()).map(str::to_owned).collect())
    }

    pub(super) fn path_in(&self, parent: u64, name: &str) -> Option<Path> {
        let mut path = self.path(parent)?;
        path.push(name.to_owned());
        Some(path)
    }

    /// Counts a program call while it is in progress.
    pub(super) async fn call(&self, call: impl Future<Output = ()>) {
        self.calls.set(self.calls.get() + 1);
        call.await;
        self.calls.set(self.calls.get() - 1);
    }

    pub(super) async fn lock(&self, ino: u64) {
        until(|| self.locked.borrow_mut().insert(ino)).await;
    }

    pub(super) fn unlock(&self, ino: u64) {
        self.locked.borrow_mut().remove(&ino);
    }

    /// The watch of a directory, as the namespace has it: its number, and whether it is a lease.
    pub(super) fn watch_of(&self, ino: u64) -> Option<(u64, bool)> {
        let space = self.space.borrow();
        let watch = space.directories.get(&ino)?.watch.as_ref()?;
        Some((watch.number, watch.lease.is_some()))
    }

    pub(super) fn uses(&self, ino: u64) {
        if let Some((number, _)) = self.watch_of(ino) {
            self.watches.borrow_mut().insert(number, self.world.passed());
        }
    }

    /// What a name means, if that is known without asking the server.
    pub(super) fn known(&self, parent: u64, name: &str, path: &[String]) -> Option<Looked> {
        self.uses(parent);
        Some(match self.with(|space, now| space.known(parent, &units(name), now))? {
            Known::File(attr) => {
                let from = self.believed(parent, name, self.id(attr.ino), path);
                Looked::Found(attr.ino, from)
            }
            Known::Absent => {
                self.believed(parent, name, None, path);
                Looked::Absent
            }
        })
    }

    /// The server's id of a node's file.
    pub(super) fn id(&self, ino: u64) -> Option<u64> {
        let space = self.space.borrow();
        let id = space.file(ino)?.lock().metadata().file_id;
        Some(id)
    }

    /// Looks a name up, at the server if it is not known.
    pub(super) async fn lookup(self: &Rc<Self>, parent: u64, name: &str, path: &[String]) -> Looked {
        if let Some(known) = self.known(parent, name, path) {
            return known;
        }
        if self.with(|space, _| space.missed(parent, &units(name))) {
            self.list(parent).await;
            if let Some(known) = self.known(parent, name, path) {
                return known;
            }
        }
        for _ in 0..ATTEMPTS {
            let Some(path) = self.path_in(parent, name) else { return Looked::Stale };
            let asked = self.with(|space, now| space.asking_about(parent, &units(name), now));
            let moment = self.world.moment();
            let metadata = match self.ask(Request::Stat(path)).await {
                Reply::Found(metadata) => metadata,
                Reply::NoFolder => {
                    self.with(|space, now| space.doubt_name(parent, now));
                    return Looked::Absent;
                }
                _ => {
                    self.with(|space, _| space.absent(parent, &units(name), asked));
                    return Looked::Absent;
                }
            };
            if self.follow_rename(parent, name, metadata).await {
                continue;
            }
            match self.with(|space, now| space.found(parent, &units(name), metadata, asked, now)) {
                Admission::Node(ino) => {
                    if self.id(ino) != Some(metadata.file_id) {
                        self.world
                            .fail(format!("{name} was found to be {metadata:?} and is shown as {:?}", self.id(ino)));
                    }
                    return Looked::Found(ino, moment);
                }
                Admission::Overtaken => self.world.count("an answer overtaken"),
            }
        }
        Looked::Stale
    }

    /// Whether the file was renamed at the server: then its node has its new name.
    async fn follow_rename(&self, parent: u64, name: &str, found: Metadata) -> bool {
        let old = {
            let space = self.space.borrow();
            space.elsewhere(parent, &units(name), &found).and_then(|ino| Some((ino, space.name_of(ino)?.clone())))
        };
        let Some((ino, id)) = old else { return false };
        let Some(path) = self.path(ino) else { return false };
        let asked = self.with(|space, now| space.asking(now));
        let there = match self.ask(Request::Stat(path)).await {
            Reply::Found(there) => Some(there),
            Reply::NoFolder => {
                self.with(|space, now| space.doubt_name(id.directory, now));
                return false;
            }
            _ => None,
        };
        let is_gone = there.is_none_or(|there| there.identity() != found.identity());
        is_gone
            && self.with(|space, now| {
                let is_still = space.name_of(ino) == Some(&id) && space.at(parent, &units(name)).is_none();
                if is_still {
                    self.world.count("a rename followed");
                    space.relocate((id.directory, &id.name), (parent, &units(name)), now);
                    space.learn(id.directory, &id.name, there, asked);
                }
                is_still
            })
    }

    /// Lists a directory, and watches it unless it is watched. Returns the entries, the state before the request, the
    /// token of the directory's attributes, and the moment from which on the entries may be right.
    pub(super) async fn list(
        self: &Rc<Self>,
        ino: u64,
    ) -> Option<(Vec<(String, Metadata)>, Asked, Option<FetchToken>, u64)> {
        let mut attempts = 0;
        let (asked, token, moment, entries, watch) = loop {
            let path = self.path(ino)?;
            let (asked, token) =
                self.with(|space, now| (space.asking(now), space.file(ino).map(|file| file.lock().token())));
            let is_watched = self.space.borrow().is_watched(ino);
            let number = (!is_watched).then(|| self.world.number());
            let moment = self.world.moment();
            match self.ask(Request::List(path, number)).await {
                Reply::Listed { entries, watch } => break (asked, token, moment, entries, number.map(|n| (n, watch))),
                Reply::NoRoom if attempts < ATTEMPTS => {
                    self.was_refused.set(true);
                    self.world.count("a watch refused");
                    self.with(|space, now| space.end_half_of_watches(now));
                    attempts += 1;
                }
                _ => return None,
            }
        };
        if let Some((number, granted)) = watch {
            self.watched(ino, number, granted, asked);
        }
        pause().await;
        let listed: Vec<_> = entries.iter().map(|(name, metadata)| (units(name), *metadata)).collect();
        self.with(|space, _| space.listed(ino, listed, asked));
        Some((entries, asked, token, moment))
    }

    /// Records what a listing was granted.
    fn watched(self: &Rc<Self>, ino: u64, number: u64, granted: Granted, asked: Asked) {
        let lease = match granted {
            Granted::Nothing => return self.with(|space, _| space.is_unwatchable(ino)),
            Granted::Notify => None,
            Granted::Lease(lease) => Some(lease),
        };
        if lease.is_some_and(|lease| self.broken.borrow_mut().remove(&lease)) {
            self.world.post(self.index, Request::CloseWatch(number));
            return;
        }
        let is_reported = self.world.server.borrow().sent.iter().any(|sent| sent.watch == number);
        self.watches.borrow_mut().insert(number, self.world.passed());
        if !is_reported {
            self.armed.borrow_mut().insert(number);
        }
        self.with(|space, _| space.watch(ino, (number, lease, !is_reported), asked));
        if lease.is_none() {
            let client = Rc::clone(self);
            self.world.spawn(async move { client.look_again(ino, number).await });
        }
    }

    /// The second look at a directory, when its watch has begun.
    async fn look_again(self: Rc<Self>, ino: u64, number: u64) {
        let begun = self.world.passed() + BEGUN_AFTER;
        until(|| self.world.passed() >= begun).await;
        self.with(|space, now| space.on_watch(number, WatchEvent::Begun, now));
        if self.with(|space, _| space.needs_second_look(number)) != Some(true) {
            return;
        }
        let asked = self.with(|space, now| space.asking(now));
        match self.ask(Request::LookAgain(number)).await {
            Reply::Listed { entries, .. } => {
                let listed: Vec<_> = entries.iter().map(|(name, metadata)| (units(name), *metadata)).collect();
                self.with(|space, _| space.listed(ino, listed, asked));
            }
            Reply::Same => {
                self.with(|space, now| space.on_watch(number, WatchEvent::Confirmed, now));
            }
            _ => {}
        }
    }

    /// Whether a message is of a watch that the client knows.
    pub(super) fn can_take(&self, sent: &Sent) -> bool {
        matches!(sent.message, Message::Broken(_)) || self.watches.borrow().contains_key(&sent.watch)
    }

    /// A message arrives.
    pub(super) fn takes(&self, sent: Sent) {
        let number = sent.watch;
        self.world.note(|| format!("client {} receives {:?} of {number}", self.index, sent.message));
        let event = match sent.message {
            Message::Broken(lease) => {
                self.armed.borrow_mut().remove(&number);
                self.world.count("a broken lease");
                if !self.watches.borrow().contains_key(&number) {
                    self.broken.borrow_mut().insert(lease);
                }
                self.with(|space, now| space.lease_broken(lease, now));
                return;
            }
            Message::Armed => {
                if self.space.borrow().directory_of(number).is_some() {
                    self.armed.borrow_mut().insert(number);
                }
                WatchEvent::Armed
            }
            Message::Reported(changes) => WatchEvent::Reported(changes),
            Message::Overflowed => {
                self.world.count("an overflow");
                WatchEvent::Overflowed
            }
            Message::Ended => WatchEvent::Ended,
        };
        let is_report = matches!(event, WatchEvent::Reported(_));
        let asks = is_report || matches!(event, WatchEvent::Overflowed);
        if !matches!(event, WatchEvent::Armed) {
            self.armed.borrow_mut().remove(&number);
        }
        let is_known = self.space.borrow().directory_of(number).is_some();
        if !is_known {
            self.world.server.borrow_mut().lost(self.index, sent.folder, &sent.moments);
        }
        let gone = self.reported_gone(number, &event);
        let report = self.with(|space, now| space.on_watch(number, event, now));
        let by_others = matches!(report, Report::ByOthers { .. });
        for (ino, directory, name) in gone {
            let space = self.space.borrow();
            let is_foreign = space.entry(directory, &name).is_some_and(|entry| entry.meaning == Meaning::Unknown);
            if is_foreign && space.is_watched(ino) {
                self.world.fail(format!("client {} watches a folder that another one has moved", self.index));
            }
        }
        if is_report && is_known {
            self.world.count(if by_others { "a foreign report" } else { "an own report" });
        }
        if asks && is_known {
            self.world.post(self.index, Request::Notify(number));
        }
    }

    /// The nodes of the names that a report shows as removed: node, directory and name.
    fn reported_gone(&self, number: u64, event: &WatchEvent) -> Vec<(u64, u64, Vec<u16>)> {
        let (WatchEvent::Reported(changes), space) = (event, self.space.borrow()) else { return Vec::new() };
        let Some(directory) = space.directory_of(number) else { return Vec::new() };
        let gone = changes.iter().filter(|change| change.kind == ChangeKind::Removed);
        gone.filter_map(|change| Some((space.at(directory, &change.name)?, directory, change.name.clone()))).collect()
    }

    /// The periodic check that ends unused watches.
    pub(super) fn look_after(&self) {
        let now = self.world.passed();
        if now < self.looked_after.get() + 2000 {
            return;
        }
        self.looked_after.set(now);
        self.with(|space, now| space.end_idle_watches(now));
    }

    /// The directories with a watch.
    pub(super) fn watched_directories(&self) -> Vec<u64> {
        self.space.borrow().watched.values().copied().collect()
    }

    pub(super) fn folder_id(&self, ino: u64) -> Option<u64> {
        if ino == ROOT { Some(super::tree::TOP) } else { self.id(ino) }
    }
}
