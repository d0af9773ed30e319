//! The records of all open files, found by the file's identity. All opens of a file share one record.
//!
//! Records of the last [`MOST_CLOSED`] closed files with unflushed data are kept, because a program may open the file
//! again to flush it.
//!
//! Invariant: a record is judged once per session, before anything is written in that session ([`super::reopen`]).

use super::identity::{Birth, Identity};
use super::places::{self, Places};
use super::record::{FileRecord, Known, Loss, OwnChange, Sent};
use super::types::{Attributes, FileTime, RemotePath};
use crate::wire::connect::Tree;
use crate::wire::messages::create::FileInfo;
use parking_lot::{Mutex, MutexGuard};
use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Instant;
use tokio::sync::Semaphore;

/// The table is first cleaned of closed files at this number of entries.
const SMALLEST_SWEEP: usize = 256;

/// The maximum number of closed files with unflushed data whose checksums are kept.
const MOST_CLOSED: usize = 256;
/// The maximum number of groups of checksums of all these files together (5 MiB).
const MOST_GROUPS: usize = 32 * 1024;

/// The record of a file, with the session in which it is valid.
#[derive(Debug)]
pub(super) struct Record {
    pub(super) identity: Identity,
    state: Mutex<FileRecord>,
    /// The tree in which the current knowledge was obtained.
    tree: Mutex<Arc<Tree>>,
    /// The file's time of creation was seen to be earlier than its other times.
    keeps_birth: AtomicBool,
    /// The file's attributes while the read-only attribute is off, so that the file can be opened again for writing.
    readonly: Mutex<Option<Attributes>>,
    /// One open of the file is made again at a time; the first one judges the file.
    pub(super) turn: Semaphore,
}

impl Record {
    /// A record of a file that was just opened in this tree.
    pub(super) fn new(identity: Identity, tree: Arc<Tree>, known: Known) -> Record {
        Record {
            identity,
            state: Mutex::new(FileRecord::new(known)),
            tree: Mutex::new(tree),
            keeps_birth: AtomicBool::new(false),
            readonly: Mutex::new(None),
            turn: Semaphore::new(1),
        }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, FileRecord> {
        self.state.lock()
    }

    /// Whether the record is from a session that has ended, and this tree's session is a live one after it.
    pub(super) fn is_older_than(&self, tree: &Arc<Tree>) -> bool {
        let own = self.tree.lock();
        !Arc::ptr_eq(&own, tree) && own.channels.ended().is_some() && tree.channels.ended().is_none()
    }

    /// The end of the record's session and the beginning of this one, each by the clock of its session.
    pub(super) fn loss(&self, tree: &Tree) -> Loss {
        let own = self.tree.lock();
        let lost = own.channels.ended_at().and_then(|at| own.terms.clock.at(at)).map(FileTime);
        let clock = tree.terms.clock;
        let renewed = clock.start().zip(clock.at(tree.connected)).map(|(start, now)| FileTime(start)..=FileTime(now));
        Loss { lost, renewed }
    }

    /// What the file's time of creation says about its identity in this session.
    pub(super) fn birth(&self, tree: &Tree) -> Birth {
        Birth { is_kept: self.keeps_birth.load(Ordering::Relaxed), lost: self.loss(tree).lost }
    }

    /// The attributes that have to be restored once the file is open for writing.
    pub(super) fn readonly(&self) -> Option<Attributes> {
        *self.readonly.lock()
    }

    /// The read-only attribute is about to be taken off a file with these attributes; `None`: it is on again.
    pub(super) fn set_readonly(&self, attributes: Option<Attributes>) {
        *self.readonly.lock() = attributes;
    }

    /// From now on the record is valid in this session.
    pub(super) fn move_to(&self, tree: &Arc<Tree>) {
        *self.tree.lock() = Arc::clone(tree);
    }

    /// The server reports the file in this session. It was asked at `asked`.
    pub(super) fn reported(&self, tree: &Arc<Tree>, info: &FileInfo, asked: Instant) {
        if is_created_before_all(info) {
            self.keeps_birth.store(true, Ordering::Relaxed);
        }
        if Arc::ptr_eq(&self.tree.lock(), tree) {
            self.state.lock().reported(known(info), asked);
        }
    }

    /// A change is about to be sent.
    pub(super) fn begin(self: &Arc<Self>, change: OwnChange) -> UnderWay {
        let number = self.state.lock().begin(change);
        UnderWay { record: Arc::clone(self), number, is_open: true }
    }
}

/// A change in flight. Dropped without [`UnderWay::answered`], it may or may not have been carried out.
#[derive(Debug)]
pub(super) struct UnderWay {
    record: Arc<Record>,
    number: u64,
    is_open: bool,
}

impl UnderWay {
    /// The server has carried out the change.
    pub(super) fn answered(mut self, tree: &Tree, data: Option<Sent>) {
        self.is_open = false;
        let clock = tree.terms.clock.now().map(FileTime);
        self.record.state.lock().answered(self.number, data, clock, Instant::now());
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        if self.is_open {
            self.record.state.lock().give_up(self.number, Instant::now());
        }
    }
}

/// Whether a file's time of creation is earlier than all its other times.
fn is_created_before_all(info: &FileInfo) -> bool {
    let others = [info.accessed, info.modified, info.changed].into_iter().filter(|time| *time != 0);
    info.created != 0 && others.min().is_some_and(|earliest| info.created < earliest)
}

/// The file's version in the server's answer.
pub(super) fn known(info: &FileInfo) -> Known {
    let changed = if info.changed == 0 { info.modified } else { info.changed };
    Known { size: info.size, changed: FileTime(changed) }
}

/// The path of an open at the server, with the file's record.
pub(super) type Place = places::Place<Arc<Record>>;

/// The records and places of all open files.
#[derive(Debug, Default)]
pub(super) struct Records(Mutex<Tables>);

#[derive(Debug, Default)]
struct Tables {
    by_identity: HashMap<Identity, Weak<Record>>,
    places: Places<Arc<Record>>,
    /// Closed files with unflushed data, with the number of groups of checksums of each. The first one was closed
    /// first.
    closed: VecDeque<(usize, Arc<Record>)>,
    sweep_at: usize,
}

impl Records {
    /// The place of a file that was opened by this path, with the file's existing record or a new one. Where the
    /// server has no file ids, a file is known by its path only.
    pub(super) fn opened(
        &self,
        identity: Identity,
        path: &RemotePath,
        found: Known,
        new: impl FnOnce() -> Record,
    ) -> Arc<Place> {
        let mut tables = self.0.lock();
        let known = match identity.disk_id {
            0 => tables.places.at(path).map(|place| Arc::clone(&place.about)),
            _ => tables.by_identity.get(&identity).and_then(Weak::upgrade),
        };
        if let Some(record) = &known
            && tables.forget_closed(record)
            && Arc::strong_count(record) == 1
        {
            record.lock().resumed(found);
        }
        let record = known.unwrap_or_else(|| {
            let record = Arc::new(new());
            tables.by_identity.insert(identity, Arc::downgrade(&record));
            record
        });
        let place = tables.places.opened(path, record);
        tables.sweep();
        place
    }

    /// A file was closed. A program may open it again to flush it, so its checksums are kept until other closed files
    /// need the space.
    pub(super) fn closed(&self, record: &Arc<Record>) {
        let groups = record.lock().unflushed.groups();
        let mut tables = self.0.lock();
        tables.forget_closed(record);
        if groups == 0 {
            return;
        }
        tables.closed.push_back((groups, Arc::clone(record)));
        let mut all: usize = tables.closed.iter().map(|(groups, _)| groups).sum();
        while tables.closed.len() > MOST_CLOSED || all > MOST_GROUPS {
            all -= tables.closed.pop_front().map_or(all, |(groups, _)| groups);
        }
    }

    /// A rename is about to be sent. It ends by [`Renaming::done`]; without that it may or may not have been carried
    /// out.
    pub(super) fn renaming<'a>(&'a self, from: &'a RemotePath, to: &'a RemotePath) -> Renaming<'a> {
        self.0.lock().places.may_change(from, to);
        // A rename counts as a change of the file: it moves the change time.
        let under_way = self.at(from).map(|record| record.begin(OwnChange::Attributes));
        Renaming { records: self, from, to, under_way }
    }

    /// A file was found by one of the paths that it might have.
    pub(super) fn found(&self, place: &Place, path: &RemotePath) {
        self.0.lock().places.found(place, path);
    }

    /// The record of the file that is open at this path.
    pub(super) fn at(&self, path: &RemotePath) -> Option<Arc<Record>> {
        self.0.lock().places.at(path).map(|place| Arc::clone(&place.about))
    }
}

/// A rename in flight.
#[derive(Debug)]
pub(super) struct Renaming<'a> {
    records: &'a Records,
    from: &'a RemotePath,
    to: &'a RemotePath,
    under_way: Option<UnderWay>,
}

impl Renaming<'_> {
    /// The server has carried out the rename.
    pub(super) fn done(self, tree: &Tree) {
        {
            let places = &mut self.records.0.lock().places;
            places.replaced(self.to);
            places.moved(self.from, self.to);
        }
        if let Some(under_way) = self.under_way {
            under_way.answered(tree, None);
        }
    }
}

impl Tables {
    /// Removes the file from the closed ones. Returns whether it was among them.
    fn forget_closed(&mut self, record: &Arc<Record>) -> bool {
        let index = self.closed.iter().position(|(_, other)| Arc::ptr_eq(other, record));
        index.and_then(|index| self.closed.remove(index)).is_some()
    }

    fn sweep(&mut self) {
        if self.by_identity.len().max(self.places.len()) < self.sweep_at.max(SMALLEST_SWEEP) {
            return;
        }
        self.by_identity.retain(|_, record| record.strong_count() > 0);
        self.places.sweep();
        self.sweep_at = 2 * self.by_identity.len().max(self.places.len());
    }
}
