//! A share in memory, for the tests of the rooms above.
//!
//! It behaves as a Windows server does where that differs from POSIX: a removed file that is open keeps its name
//! until it is closed; read-only files are neither removed, replaced nor opened for writing; open files are not
//! replaced; directories are never replaced. Its clock advances with each change.
//!
//! Tests give it faults ([`MemoryShare::fail`], [`MemoryShare::hold`]), count its operations
//! ([`MemoryShare::count`]), and change files as another client does ([`MemoryShare::put`]). With
//! [`Behaviour::leases`] it grants leases, which the operations of other clients break. The functions
//! `…_as_other_client` wait until no written data is held back, `link_as_other_client` excepted; `put` and the others
//! do not wait, as after the server's timeout.
//!
//! `tree.rs` has the files, `tree/removal.rs` removing and renaming, `tree/special.rs` links and special files,
//! `grants.rs` the leases at the server, `watches.rs` the watches, `owners.rs` owners and modes, `tests.rs` what this
//! share promises about leases.

mod grants;
mod owners;
mod tests;
mod tree;
mod watches;

use super::breaks::{Holding, Leases};
use super::error::{Cause, ShareError};
use super::types::*;
use super::{Broken, Events, Files, Names, Result, Rights, Watches};
use crate::telemetry::Counters;
use crate::wire::NtStatus;
use bytes::Bytes;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::sync::Notify;
use tree::Tree;
pub(crate) use watches::MemoryWatch;

/// How the server behaves.
#[derive(Clone, Debug)]
pub(crate) struct Behaviour {
    pub ignores_case: bool,
    pub limits: IoLimits,
    /// The maximum number of entries in one answer to a listing.
    pub batch: usize,
    pub ids: Ids,
    /// CLOSE answers with metadata.
    pub close_answers: bool,
    /// The largest copy in one request, in bytes; `None` if the server cannot copy.
    pub copies: Option<u32>,
    /// A link is answered with success, and is a copy.
    pub copies_links: bool,
    /// Leases are granted.
    pub leases: bool,
    /// An open can return the first bytes of the file in the same round trip.
    pub reads_at_open: bool,
    /// Directories are watched.
    pub watches: bool,
    /// READs report the end of the file from this offset on, whatever the size.
    pub reads_end_at: u64,
    /// Owners and modes are stored.
    pub keeps_owners: bool,
}

/// How the server reports file ids.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Ids {
    Stable,
    None,
    /// A different one in each answer.
    Unstable,
}

impl Default for Behaviour {
    fn default() -> Self {
        Behaviour {
            ignores_case: false,
            limits: IoLimits { read: 64 * 1024, write: 64 * 1024 },
            batch: 100,
            ids: Ids::Stable,
            close_answers: true,
            copies: Some(64 * 1024),
            copies_links: false,
            leases: false,
            reads_at_open: false,
            watches: false,
            reads_end_at: u64::MAX,
            keeps_owners: false,
        }
    }
}

/// The share.
#[derive(Debug)]
pub(crate) struct MemoryShare {
    behaviour: Behaviour,
    counters: Arc<Counters>,
    tree: Arc<Mutex<Tree>>,
    faults: Mutex<Vec<Fault>>,
    log: Mutex<Vec<(&'static str, String)>>,
    /// The client's side of the leases.
    leases: Arc<Leases>,
    /// Notified when a lease was acknowledged or closed: operations that wait for it check again.
    lease_released: Notify,
    has_session: AtomicBool,
}

/// The client's only session.
const SESSION: u64 = 1;

/// An open file.
#[derive(Debug)]
pub(crate) struct MemoryFile {
    open: u64,
    path: RemotePath,
    holding: Mutex<Option<Holding>>,
}

/// A listing in progress.
#[derive(Debug)]
pub(crate) struct MemoryListing {
    path: RemotePath,
    itself: Metadata,
    rest: Vec<DirEntry>,
}

#[derive(Debug)]
struct Fault {
    operation: &'static str,
    /// The number of operations of this name that pass before the fault takes effect.
    after: usize,
    effect: Effect,
}

#[derive(Clone, Debug)]
enum Effect {
    Fail(Cause),
    HoldRequest(Arc<Gate>),
    HoldAnswer(Arc<Gate>),
}

/// Holds up one operation.
#[derive(Debug, Default)]
pub(crate) struct Gate {
    reached: Notify,
    opened: Notify,
}

impl Gate {
    /// Waits until the operation has come.
    pub(crate) async fn reached(&self) {
        let reached = tokio::time::timeout(Duration::from_secs(60), self.reached.notified());
        reached.await.expect("the operation that was to be held up never came");
    }

    /// Lets the operation continue.
    pub(crate) fn open(&self) {
        self.opened.notify_one();
    }

    async fn pass(&self) {
        self.reached.notify_one();
        self.opened.notified().await;
    }
}

impl MemoryShare {
    pub(crate) fn new() -> Arc<MemoryShare> {
        MemoryShare::with(Behaviour::default())
    }

    pub(crate) fn with(behaviour: Behaviour) -> Arc<MemoryShare> {
        Arc::new(MemoryShare {
            tree: Arc::new(Mutex::new(Tree::new(behaviour.clone()))),
            behaviour,
            counters: Arc::default(),
            faults: Mutex::default(),
            log: Mutex::default(),
            leases: Arc::default(),
            lease_released: Notify::new(),
            has_session: true.into(),
        })
    }

    /// The `nth` operation of this name from now on, counted from 1, fails.
    pub(crate) fn fail(&self, operation: &'static str, nth: usize, cause: Cause) {
        self.add_fault(operation, nth, Effect::Fail(cause));
    }

    /// As [`MemoryShare::fail`], with a status.
    pub(crate) fn refuse(&self, operation: &'static str, nth: usize, status: NtStatus) {
        self.fail(operation, nth, Cause::Status(status));
    }

    /// The next operation of this name is held up before it is carried out.
    pub(crate) fn hold(&self, operation: &'static str) -> Arc<Gate> {
        let gate = Arc::<Gate>::default();
        self.add_fault(operation, 1, Effect::HoldRequest(Arc::clone(&gate)));
        gate
    }

    /// The next operation of this name is carried out at once, and its answer is held up.
    pub(crate) fn hold_answer(&self, operation: &'static str) -> Arc<Gate> {
        let gate = Arc::<Gate>::default();
        self.add_fault(operation, 1, Effect::HoldAnswer(Arc::clone(&gate)));
        gate
    }

    fn add_fault(&self, operation: &'static str, nth: usize, effect: Effect) {
        self.faults.lock().push(Fault { operation, after: nth - 1, effect });
    }

    /// The number of operations of this name since [`MemoryShare::forget_log`].
    pub(crate) fn count(&self, operation: &str) -> usize {
        self.log.lock().iter().filter(|(name, _)| *name == operation).count()
    }

    /// The number of all operations since then.
    pub(crate) fn total(&self) -> usize {
        self.log.lock().len()
    }

    /// The operations since then, each with its path.
    pub(crate) fn log(&self) -> Vec<(&'static str, String)> {
        self.log.lock().clone()
    }

    pub(crate) fn forget_log(&self) {
        self.log.lock().clear();
    }

    /// Another client writes a file. A file that exists keeps its id.
    pub(crate) fn put(&self, path: &str, data: &[u8]) {
        self.change(|tree| tree.put(&RemotePath::parse(path), data));
    }

    /// Another client writes an existing file, as soon as no client holds back data that was written to it.
    pub(crate) async fn write_as_other_client(&self, path: &str, data: &[u8]) {
        let file = self.open_as_other_client(path).await;
        self.put(path, data);
        self.close_other_client(file);
    }

    /// Another client opens an existing file for reading and writing.
    pub(crate) async fn open_as_other_client(&self, path: &str) -> u64 {
        let path = RemotePath::parse(path);
        self.contend(&path, None).await;
        let how = OpenHow { read: true, write: true, disposition: Disposition::Open, readonly: false, lease: None };
        self.change(|tree| tree.open(&path, how)).unwrap().0
    }

    /// Another client opens an existing file without sharing anything: no other open may read, write, rename or
    /// delete it.
    pub(crate) async fn open_alone_as_other_client(&self, path: &str) -> u64 {
        let file = self.open_as_other_client(path).await;
        self.change(|tree| tree.share_nothing(file));
        file
    }

    /// The other client closes it.
    pub(crate) fn close_other_client(&self, file: u64) {
        self.change(|tree| tree.close(file)).unwrap();
    }

    /// Another client removes a file.
    pub(crate) async fn remove_as_other_client(&self, path: &str) {
        self.contend(&RemotePath::parse(path), None).await;
        self.remove_as_other_client_at_once(path);
    }

    /// Another client renames a file.
    pub(crate) async fn rename_as_other_client(&self, from: &str, to: &str) {
        let (from, to) = (RemotePath::parse(from), RemotePath::parse(to));
        self.contend(&from, None).await;
        self.change(|tree| tree.rename(&from, &to, true)).unwrap();
    }

    /// Another client gives a file one more name.
    pub(crate) fn link_as_other_client(&self, from: &str, to: &str) {
        self.change(|tree| tree.link_to(&RemotePath::parse(from), &RemotePath::parse(to)).unwrap());
    }

    /// The number of breaks that this client has not acknowledged yet.
    pub(crate) fn unacknowledged(&self) -> usize {
        self.tree.lock().grants.unacknowledged()
    }

    /// The session is lost, and all leases with it. Operations fail until [`MemoryShare::restore_session`].
    pub(crate) fn lose_session(&self) {
        self.has_session.store(false, Ordering::Release);
        self.tree.lock().lose_leases();
        self.leases.lost(SESSION);
        self.lease_released.notify_waiters();
    }

    /// There is a session again. Open files continue in it, without their leases.
    pub(crate) fn restore_session(&self) {
        self.has_session.store(true, Ordering::Release);
        self.leases.connected();
    }

    /// The session is lost and restored before an operation notices it.
    pub(crate) fn lose_leases(&self) {
        self.lose_session();
        self.restore_session();
    }

    /// Another client creates a directory.
    pub(crate) fn put_directory(&self, path: &str) {
        self.tree.lock().create_directory(&RemotePath::parse(path)).unwrap();
    }

    /// Another client gives a directory an entry of exactly this name.
    pub(crate) fn put_name(&self, directory: &str, name: &[u16]) {
        let path = RemotePath::parse(directory);
        self.tree.lock().put_name(&path, name);
    }

    /// Another client removes a file, without waiting for an acknowledgement.
    pub(crate) fn remove_as_other_client_at_once(&self, path: &str) {
        self.change(|tree| tree.remove(&RemotePath::parse(path), FileKind::File)).unwrap();
    }

    /// Another client sets attributes.
    pub(crate) fn mark(&self, path: &str, attributes: u32) {
        self.tree.lock().mark(&RemotePath::parse(path), Attributes(attributes));
    }

    /// The content of a file; `None` if there is none.
    pub(crate) fn data(&self, path: &str) -> Option<Vec<u8>> {
        self.tree.lock().data(&RemotePath::parse(path))
    }

    /// The metadata of a path; `None` if it names nothing.
    pub(crate) fn look(&self, path: &str) -> Option<Metadata> {
        self.tree.lock().stat(&RemotePath::parse(path)).ok()
    }

    /// The names in a directory, in the order of the server.
    pub(crate) fn names(&self, path: &str) -> Vec<String> {
        let entries = self.tree.lock().list(&RemotePath::parse(path)).unwrap();
        entries.iter().map(|entry| String::from_utf16_lossy(&entry.name)).collect()
    }

    /// The number of open files.
    pub(crate) fn open_files(&self) -> usize {
        self.tree.lock().open_files()
    }

    /// The number of watched directories.
    pub(crate) fn watches(&self) -> usize {
        self.tree.lock().watchers.count()
    }

    async fn call<R>(
        &self,
        operation: &'static str,
        path: &RemotePath,
        work: impl FnOnce(&mut Tree) -> std::result::Result<R, NtStatus>,
    ) -> Result<R> {
        self.log.lock().push((operation, path.to_string()));
        let effect = self.effect(operation);
        match effect {
            Some(Effect::Fail(cause)) => return Err(ShareError { operation, path: path.clone(), cause }),
            Some(Effect::HoldRequest(ref gate)) => gate.pass().await,
            _ => {}
        }
        if !self.has_session.load(Ordering::Acquire) {
            let cause = Cause::Disconnected("the test has lost the session".into());
            return Err(ShareError { operation, path: path.clone(), cause });
        }
        let result = self.change(work).map_err(|status| ShareError::status(operation, path, status));
        if let Some(Effect::HoldAnswer(gate)) = effect {
            gate.pass().await;
        }
        result
    }

    /// Works on the server, and delivers the breaks that this causes.
    fn change<R>(&self, work: impl FnOnce(&mut Tree) -> R) -> R {
        let mut tree = self.tree.lock();
        let result = work(&mut tree);
        while let Some(broken) = tree.grants.outgoing.pop_front() {
            if self.leases.broken(SESSION, broken) {
                tree.grants.acknowledge(broken.key, Caching::NONE);
                self.lease_released.notify_waiters();
            }
        }
        result
    }

    /// Waits until no client with another key holds back data that was written to the file.
    async fn contend(&self, path: &RemotePath, key: Option<LeaseKey>) {
        loop {
            let mut lease_released = std::pin::pin!(self.lease_released.notified());
            lease_released.as_mut().enable();
            if !self.change(|tree| tree.contend(path, key)) {
                return;
            }
            lease_released.await;
        }
    }

    /// The effect of the first fault that is due. The fault is then used up.
    fn effect(&self, operation: &str) -> Option<Effect> {
        let mut faults = self.faults.lock();
        let mut due = None;
        for (index, fault) in faults.iter_mut().enumerate().filter(|(_, fault)| fault.operation == operation) {
            match fault.after.checked_sub(1) {
                Some(left) => fault.after = left,
                None => due = due.or(Some(index)),
            }
        }
        due.map(|index| faults.remove(index).effect)
    }
}

impl Files for MemoryShare {
    type File = MemoryFile;

    fn counters(&self) -> &Arc<Counters> {
        &self.counters
    }

    fn limits(&self) -> IoLimits {
        self.behaviour.limits
    }

    async fn open(&self, path: &RemotePath, how: OpenHow) -> Result<(MemoryFile, Metadata, CreateAction)> {
        let announced = how.lease.map(|lease| self.leases.announce(lease));
        self.contend(path, how.lease.map(|lease| lease.key)).await;
        let opened = self.call("CREATE", path, |tree| {
            let opened = tree.open(path, how)?;
            Ok((opened, tree.grant(opened.0)))
        });
        let ((open, metadata, action), grant) = opened.await?;
        let holding = Mutex::new(announced.map(|announced| announced.granted(SESSION, grant)));
        Ok((MemoryFile { open, path: path.clone(), holding }, metadata, action))
    }

    async fn open_and_read(
        &self,
        path: &RemotePath,
        how: OpenHow,
        length: u32,
    ) -> Result<(MemoryFile, Metadata, CreateAction, Bytes)> {
        let (file, metadata, action) = self.open(path, how).await?;
        let length = if self.behaviour.reads_at_open { length } else { 0 };
        let data = self.tree.lock().read(file.open, 0, length).unwrap_or_default();
        Ok((file, metadata, action, data))
    }

    async fn write_and(&self, file: &MemoryFile, offset: u64, data: Bytes, after: After) -> Result<()> {
        self.write(file, offset, data).await?;
        if after.change != Change::default() {
            self.change(|tree| tree.set_open(file.open, &after.change))
                .map_err(|status| ShareError::status("SET_INFO", &file.path, status))?;
        }
        if after.flush { self.flush(file).await } else { Ok(()) }
    }

    fn send_closes(&self) {}

    async fn rename_around(
        &self,
        from: &RemotePath,
        to: &RemotePath,
        _known: Option<FileIdentity>,
        open: &[Arc<MemoryFile>],
    ) -> Result<()> {
        open.iter().for_each(|file| *file.holding.lock() = None);
        let aside: Vec<u64> = open.iter().map(|file| file.open).collect();
        self.call("RENAME_AROUND", from, |tree| tree.rename_around(from, to, &aside)).await
    }

    async fn metadata(&self, file: &MemoryFile) -> Result<Metadata> {
        self.call("QUERY_INFO", &file.path, |tree| tree.metadata(file.open)).await
    }

    async fn read(&self, file: &MemoryFile, offset: u64, length: u32) -> Result<Bytes> {
        assert!(length <= self.behaviour.limits.read, "a READ of {length} bytes is too long");
        let data = self.call("READ", &file.path, |tree| tree.read(file.open, offset, length)).await?;
        let left = self.behaviour.reads_end_at.saturating_sub(offset);
        Ok(data.slice(..data.len().min(usize::try_from(left).unwrap_or(usize::MAX))))
    }

    async fn write(&self, file: &MemoryFile, offset: u64, data: Bytes) -> Result<()> {
        let limit = u64::from(self.behaviour.limits.write);
        let end = offset + data.len() as u64;
        assert!(offset / limit == (end - 1) / limit, "a WRITE of {offset}..{end} does not keep to the grid");
        self.call("WRITE", &file.path, |tree| tree.write(file.open, offset, &data)).await
    }

    async fn copy(
        &self,
        from: &MemoryFile,
        from_offset: u64,
        to: &MemoryFile,
        to_offset: u64,
        length: u32,
    ) -> Result<u32> {
        let Some(most) = self.behaviour.copies else {
            let cause = Cause::Unsupported(NtStatus::NOT_SUPPORTED);
            return Err(ShareError { operation: "COPY", path: to.path.clone(), cause });
        };
        let copy = |tree: &mut Tree| tree.copy((from.open, from_offset), (to.open, to_offset), length.min(most));
        self.call("COPY", &to.path, copy).await
    }

    async fn flush(&self, file: &MemoryFile) -> Result<()> {
        self.call("FLUSH", &file.path, |tree| tree.flush(file.open)).await
    }

    fn is_in_doubt(&self, _: &MemoryFile) -> bool {
        false
    }

    async fn confirm(&self, _: &MemoryFile) -> Result<()> {
        Ok(())
    }

    async fn close(&self, file: &MemoryFile) -> Result<Option<Metadata>> {
        drop(file.holding.lock().take());
        let metadata = self.call("CLOSE", &file.path, |tree| tree.close(file.open)).await?;
        self.lease_released.notify_waiters();
        Ok(self.behaviour.close_answers.then_some(metadata))
    }

    async fn set(&self, target: Target<'_, MemoryFile>, change: &Change) -> Result<()> {
        match target {
            Target::Path(path) => {
                if change.size.is_some() {
                    self.contend(path, None).await;
                }
                self.call("SET_INFO", path, |tree| tree.set_path(path, change)).await
            }
            Target::File(file) => self.call("SET_INFO", &file.path, |tree| tree.set_open(file.open, change)).await,
        }
    }
}

impl Names for MemoryShare {
    type Listing = MemoryListing;

    async fn stat(&self, path: &RemotePath) -> Result<Metadata> {
        self.call("STAT", path, |tree| tree.stat(path)).await
    }

    async fn create_special(&self, path: &RemotePath, new: NewSpecial<'_>) -> Result<Metadata> {
        self.call("MAKE", path, |tree| tree.create_special(path, new)).await
    }

    async fn read_link(&self, path: &RemotePath, known: &Metadata) -> Result<Option<Bytes>> {
        self.target_of(path, known).await
    }

    async fn create_directory(&self, path: &RemotePath) -> Result<Metadata> {
        self.call("MKDIR", path, |tree| tree.create_directory(path)).await
    }

    async fn remove(
        &self,
        path: &RemotePath,
        kind: FileKind,
        _lease: Option<LeaseKey>,
        _known: Option<FileIdentity>,
        aside: Option<&RemotePath>,
    ) -> Result<bool> {
        self.contend(path, None).await;
        self.call("REMOVE", path, |tree| tree.remove_aside(path, kind, aside)).await
    }

    async fn is_unused(&self, path: &RemotePath) -> Result<bool> {
        self.contend(path, None).await;
        self.call("UNUSED", path, |tree| tree.is_unused(path)).await
    }

    async fn replace(
        &self,
        from: &RemotePath,
        to: &RemotePath,
        _known: Option<FileIdentity>,
        aside: &RemotePath,
    ) -> Result<()> {
        self.contend(from, None).await;
        self.call("REPLACE", from, |tree| tree.replace(from, to, aside)).await
    }

    async fn rename(
        &self,
        from: &RemotePath,
        to: &RemotePath,
        replace: bool,
        _known: Option<FileIdentity>,
    ) -> Result<()> {
        self.contend(from, None).await;
        self.call("RENAME", from, |tree| tree.rename(from, to, replace)).await
    }

    async fn link(&self, from: &RemotePath, to: &RemotePath, _known: Option<FileIdentity>) -> Result<Metadata> {
        self.call("LINK", from, |tree| tree.link_to(from, to)).await
    }

    async fn rights(&self, directory: &RemotePath) -> Result<Option<Rights>> {
        self.call("CREATE", directory, |tree| tree.stat(directory)).await?;
        Ok(None)
    }

    async fn list(&self, path: &RemotePath) -> Result<MemoryListing> {
        let (itself, rest) =
            self.call("QUERY_DIRECTORY", path, |tree| Ok((tree.stat(path)?, tree.list(path)?))).await?;
        Ok(MemoryListing { path: path.clone(), itself, rest })
    }

    async fn next_entries(&self, listing: &mut MemoryListing) -> Result<Vec<DirEntry>> {
        let batch = self.behaviour.batch.min(listing.rest.len());
        let path = listing.path.clone();
        self.call("QUERY_DIRECTORY", &path, |_| Ok(listing.rest.drain(..batch).collect())).await
    }

    fn listed(&self, listing: &MemoryListing) -> Metadata {
        listing.itself
    }

    fn clock(&self) -> FileTime {
        self.tree.lock().now()
    }

    async fn space(&self, _directory: &RemotePath) -> Result<Space> {
        let space = Space { total: 1 << 40, free: 1 << 39, available: 1 << 38, unit: 4096 };
        self.call("SPACE", &RemotePath::root(), |_| Ok(space)).await
    }
}

impl Watches for MemoryShare {
    type Watch = MemoryWatch;

    async fn list_watched(&self, path: &RemotePath) -> Result<(MemoryListing, Option<MemoryWatch>)> {
        let listing = self.list(path).await?;
        if !self.behaviour.watches {
            return Ok((listing, None));
        }
        let watch = self.call("WATCH", path, |tree| tree.watch(path)).await?;
        Ok((listing, Some(MemoryWatch { watch, path: path.clone(), tree: Arc::clone(&self.tree) })))
    }

    async fn look_again(&self, watch: &MemoryWatch) -> Result<Again> {
        let look = |tree: &mut Tree| Ok((tree.stat(&watch.path)?, tree.list(&watch.path)?));
        let (itself, entries) = self.call("LOOK_AGAIN", &watch.path, look).await?;
        let is_short = entries.len() <= self.behaviour.batch;
        Ok(if is_short { Again::Everything { itself, entries } } else { Again::Same })
    }

    fn is_armed(&self, watch: &MemoryWatch) -> bool {
        self.tree.lock().watchers.is_empty(watch.watch)
    }

    fn lease(&self, _watch: &MemoryWatch) -> Option<LeaseKey> {
        None
    }

    async fn changes(&self, watch: &MemoryWatch, armed: impl FnOnce() + Send) -> Result<Option<Vec<DirChange>>> {
        let path = RemotePath::root();
        armed();
        loop {
            let more = Arc::clone(&self.tree.lock().watchers.reported);
            let mut more = std::pin::pin!(more.notified());
            more.as_mut().enable();
            let reported = self.tree.lock().watchers.take(watch.watch);
            match reported {
                Ok(Some(changes)) => return self.call("CHANGE_NOTIFY", &path, |_| Ok(changes)).await,
                Ok(None) => more.await,
                Err(()) => return Err(ShareError::status("CHANGE_NOTIFY", &path, NtStatus::NOTIFY_CLEANUP)),
            }
        }
    }

    async fn is_being_removed(&self, _watch: &MemoryWatch) -> Result<bool> {
        Ok(false)
    }

    fn unwatch(&self, watch: &MemoryWatch) {
        self.tree.lock().unwatch(watch.watch);
    }
}

impl super::Leases for MemoryShare {
    fn granted(&self, key: LeaseKey) -> Granted {
        self.leases.granted(key)
    }

    fn events(&self) -> Option<Events> {
        self.leases.events()
    }

    async fn acknowledge(&self, broken: Broken) -> Result<()> {
        self.leases.carried_out(&broken);
        if broken.owed.is_empty() {
            return Ok(());
        }
        let work = |tree: &mut Tree| {
            tree.grants.acknowledge(broken.key, broken.kept());
            Ok(())
        };
        self.call("OPLOCK_BREAK", &RemotePath::root(), work).await?;
        self.lease_released.notify_waiters();
        Ok(())
    }
}
