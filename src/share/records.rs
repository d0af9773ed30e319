//! The records of all files that are open, each found by the file's identity: all opens of a file share one.

use super::file::Identity;
use super::record::{FileRecord, Known, Loss, OwnChange, Sent};
use super::types::{FileTime, RemotePath};
use crate::wire::connect::Tree;
use crate::wire::messages::create::FileInfo;
use parking_lot::{Mutex, MutexGuard};
use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::time::Instant;
use tokio::sync::Semaphore;

/// The number of records at which those of closed files are swept out first.
const SMALLEST_SWEEP: usize = 256;

/// The record of a file, with the session that it is of.
#[derive(Debug)]
pub(super) struct Record {
    state: Mutex<FileRecord>,
    /// Where what is known was learnt.
    tree: Mutex<Arc<Tree>>,
    /// One open of the file is made again at a time, and the first one judges.
    pub(super) turn: Semaphore,
}

impl Record {
    /// Of a file that was just opened in this tree.
    pub(super) fn new(tree: Arc<Tree>, known: Known) -> Record {
        Record { state: Mutex::new(FileRecord::new(known)), tree: Mutex::new(tree), turn: Semaphore::new(1) }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, FileRecord> {
        self.state.lock()
    }

    /// Whether what is known is of a session before this one, which lives.
    pub(super) fn is_older_than(&self, tree: &Arc<Tree>) -> bool {
        let own = self.tree.lock();
        !Arc::ptr_eq(&own, tree) && own.channels.ended().is_some() && tree.channels.ended().is_none()
    }

    /// The end of the session that the record is of, and the beginning of this one, by the clock of each.
    pub(super) fn loss(&self, tree: &Tree) -> Loss {
        let own = self.tree.lock();
        let lost = own.channels.ended_at().and_then(|at| own.terms.clock.at(at)).map(FileTime);
        let clock = tree.terms.clock;
        let renewed = clock.start().zip(clock.now()).map(|(start, now)| FileTime(start)..=FileTime(now));
        Loss { lost, renewed }
    }

    /// From now on the record is of this session.
    pub(super) fn move_to(&self, tree: &Arc<Tree>) {
        *self.tree.lock() = Arc::clone(tree);
    }

    /// The server reports how the file is, in this session; it was asked at `asked`.
    pub(super) fn reported(&self, tree: &Arc<Tree>, info: &FileInfo, asked: Instant) {
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

/// A change under way. Dropped without [`UnderWay::answered`], it may have been done or not.
#[derive(Debug)]
pub(super) struct UnderWay {
    record: Arc<Record>,
    number: u64,
    is_open: bool,
}

impl UnderWay {
    /// The server has done it.
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

/// What the server's answer says of a file's version.
pub(super) fn known(info: &FileInfo) -> Known {
    let changed = if info.changed == 0 { info.modified } else { info.changed };
    Known { size: info.size, changed: FileTime(changed) }
}

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Records(Mutex<Tables>);

#[derive(Debug, Default)]
struct Tables {
    by_identity: HashMap<Identity, Weak<Record>>,
    by_path: HashMap<RemotePath, Weak<Record>>,
    sweep_at: usize,
}

impl Records {
    /// The record of a file that was opened by this path, or a new one. Where the server has no ids a file is known by its
    /// path only.
    pub(super) fn of(&self, identity: Identity, path: &RemotePath, new: impl FnOnce() -> Record) -> Arc<Record> {
        let mut tables = self.0.lock();
        let known = match identity.disk_id {
            0 => tables.by_path.get(path),
            _ => tables.by_identity.get(&identity),
        };
        if let Some(record) = known.and_then(Weak::upgrade) {
            let weak = Arc::downgrade(&record);
            if !tables.by_path.get(path).is_some_and(|known| known.ptr_eq(&weak)) {
                tables.by_path.insert(path.clone(), weak);
            }
            return record;
        }
        let record = Arc::new(new());
        tables.by_identity.insert(identity, Arc::downgrade(&record));
        tables.by_path.insert(path.clone(), Arc::downgrade(&record));
        tables.sweep();
        record
    }

    /// A file that was opened by a path has another one now.
    pub(super) fn renamed(&self, from: &RemotePath, to: &RemotePath) {
        let mut tables = self.0.lock();
        match tables.by_path.remove(from) {
            Some(record) => tables.by_path.insert(to.clone(), record),
            None => tables.by_path.remove(to),
        };
    }

    /// The record of the file that was opened by this path, which is about to be changed by it.
    pub(super) fn at(&self, path: &RemotePath) -> Option<Arc<Record>> {
        self.0.lock().by_path.get(path).and_then(Weak::upgrade)
    }
}

impl Tables {
    fn sweep(&mut self) {
        if self.by_identity.len().max(self.by_path.len()) < self.sweep_at.max(SMALLEST_SWEEP) {
            return;
        }
        self.by_identity.retain(|_, record| record.strong_count() > 0);
        self.by_path.retain(|_, record| record.strong_count() > 0);
        self.sweep_at = 2 * self.by_identity.len().max(self.by_path.len());
    }
}
