//! [`Files`]: hands events to files, and does what their actions say.
//!
//! An action that needs no answer is done before [`Files::event`] returns. A request becomes a task, which ends with
//! the event that its action names. A CLOSE is handed to the share before `event` returns, so that a request that
//! removes the file next can carry it in its frame.
//!
//! Invariant: no action is done under the file's lock.

mod coherence;

use super::event::{Action, Event};
use super::kept_opens::KeptOpens;
use super::{File, FileState};
use crate::cache::PageCache;
use crate::share::{After, Broken, Change, LeaseKey, Share, ShareError, Target};
use crate::vfs::kernel_view::KernelView;
use crate::vfs::lane::Forgotten;
use crate::vfs::policy::Policy;
use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::join_all;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

/// How long data written in small pieces stays dirty, unless it is sent earlier for another reason.
pub(crate) const LINGERS: Duration = Duration::from_secs(1);
/// The number of leases at which the leases of closed files are removed for the first time.
const SMALLEST_SWEEP: usize = 64;

/// An open of a file at the server.
pub(crate) type Open<S> = Arc<<S as crate::share::Files>::File>;
/// A file of a mount.
pub(crate) type FileOf<S> = Arc<File<Open<S>>>;

/// The table of files, which keeps a file as long as it has work left.
pub(crate) trait Nodes: Send + Sync {
    /// Something of the file has ended: removes the file from the table if nothing needs it.
    fn collect(&self, ino: u64);
}

/// The driver of all files of a mount.
pub(crate) struct Files<S: Share> {
    share: Arc<S>,
    cache: Arc<PageCache<ShareError>>,
    kernel: Arc<KernelView>,
    policy: Policy,
    nodes: Arc<dyn Nodes>,
    /// The files with kept opens.
    kept: Mutex<KeptOpens<FileOf<S>>>,
    /// The files by their leases.
    leased: Mutex<Leased<S>>,
    /// Breaks that are not acknowledged yet, by their numbers.
    broken: Mutex<HashMap<u64, Broken>>,
    next_break: AtomicU64,
    next_write: AtomicU64,
    /// Whether the server has ever granted a lease.
    grants_leases: AtomicBool,
}

/// Files by the leases that their opens asked for. Leases of closed files stay until the next sweep.
struct Leased<S: Share> {
    files: HashMap<LeaseKey, Weak<File<Open<S>>>>,
    /// Leases of opens that the server has answered and the file does not know yet.
    opening: Vec<LeaseKey>,
    /// The number of leases at which those of closed files are removed.
    sweep_at: usize,
}

/// A kernel WRITE under way. It ends when this is dropped.
pub(crate) struct WriteUnderWay<S: Share> {
    files: Arc<Files<S>>,
    file: FileOf<S>,
    number: u64,
}

/// An open on its way to the server. It ends when this is dropped.
pub(crate) struct Opening<S: Share> {
    file: FileOf<S>,
    /// The lease that it asks for.
    pub lease: LeaseKey,
}

impl<S: Share> Opening<S> {
    /// Registers an open that is about to be sent.
    pub(crate) fn begin(file: &FileOf<S>) -> Opening<S> {
        let lease = file.lock().begin_open(LeaseKey::random);
        Opening { file: Arc::clone(file), lease }
    }
}

impl<S: Share> Drop for Opening<S> {
    fn drop(&mut self) {
        self.file.lock().open_ended();
    }
}

impl<S: Share> Files<S> {
    /// The driver for the files of `nodes`.
    pub(crate) fn new(
        share: Arc<S>,
        cache: Arc<PageCache<ShareError>>,
        kernel: Arc<KernelView>,
        policy: Policy,
        nodes: Arc<dyn Nodes>,
    ) -> Arc<Files<S>> {
        Arc::new(Files {
            share,
            cache,
            kernel,
            policy,
            nodes,
            kept: Mutex::new(KeptOpens::new()),
            leased: Mutex::new(Leased { files: HashMap::new(), opening: Vec::new(), sweep_at: SMALLEST_SWEEP }),
            broken: Mutex::default(),
            next_break: AtomicU64::new(1),
            next_write: AtomicU64::new(1),
            grants_leases: AtomicBool::new(false),
        })
    }

    /// Hands an event to a file, and does the actions that follow. Must be called within the runtime.
    pub(crate) fn event(self: &Arc<Self>, file: &FileOf<S>, event: Event<'_, Open<S>>) {
        let ends = event.ends_something();
        self.with(file, |state, now| ((), state.on(event, now)));
        if ends {
            file.progressed();
        }
    }

    /// Works on a file under its lock, then does the actions that follow. Must be called within the runtime.
    pub(crate) fn with<R>(
        self: &Arc<Self>,
        file: &FileOf<S>,
        work: impl FnOnce(&mut FileState<Open<S>>, Instant) -> (R, Vec<Action<Open<S>>>),
    ) -> R {
        let (now, window) = (Instant::now(), self.cache.write_window());
        let (result, actions) = {
            let mut state = file.lock();
            state.set_window(window);
            work(&mut state, now)
        };
        actions.into_iter().for_each(|action| self.perform(file, action));
        result
    }

    fn perform(self: &Arc<Self>, file: &FileOf<S>, action: Action<Open<S>>) {
        let (this, owned) = (Arc::clone(self), Arc::clone(file));
        match action {
            Action::Drop(range) => self.cache.invalidate(file.key, range),
            Action::Release(bytes) => self.cache.release_dirty(bytes),
            Action::Write { job, open, offset, data, change, flush } => {
                let after = After { held: true, change, flush };
                tokio::spawn(async move { this.write(&owned, job, &open, offset, data, after).await });
            }
            Action::Set { open, change } => {
                tokio::spawn(async move { this.set(&owned, &open, change).await });
            }
            Action::Close { id, open } => {
                let mut closing = Box::pin(async move { this.close(&owned, id, &open).await });
                if closing.as_mut().now_or_never().is_none() {
                    tokio::spawn(closing);
                }
                // The CLOSE has given up this open's part in the lease.
                let lease = file.lock().shared_lease();
                if let Some(lease) = lease {
                    let granted = self.share.granted(lease);
                    self.event(file, Event::Granted { lease, granted });
                }
            }
            Action::Linger => {
                let file = Arc::downgrade(file);
                tokio::spawn(async move {
                    tokio::time::sleep(LINGERS).await;
                    if let Some(file) = file.upgrade() {
                        this.event(&file, Event::Lingered);
                    }
                });
            }
            Action::ForgetPages { number } => {
                tokio::spawn(async move {
                    if !this.kernel_forgets(&owned).await {
                        tracing::warn!(
                            ino = owned.ino,
                            "the kernel did not drop its pages in time: programs may read stale data"
                        );
                    }
                    this.event(&owned, Event::PagesForgotten { number });
                });
            }
            Action::Acknowledge { number } => {
                tokio::spawn(async move { this.acknowledge(number).await });
            }
        }
    }

    async fn write(
        self: &Arc<Self>,
        file: &FileOf<S>,
        job: u64,
        open: &S::File,
        offset: u64,
        data: Bytes,
        after: After,
    ) {
        let (sent, length) = (self.cache.write_sent(), data.len() as u64);
        let result = self.share.write_and(open, offset, data, after).await;
        if result.is_ok() {
            self.cache.write_answered(sent, length, Instant::now());
        }
        // Data read meanwhile may be older than this WRITE. While the range is dirty, no program gets that data.
        self.cache.invalidate(file.key, offset..offset + length);
        self.event(file, Event::Sent { job, result });
    }

    async fn set(self: &Arc<Self>, file: &FileOf<S>, open: &S::File, change: Change) {
        let result = self.share.set(Target::File(open), &change).await;
        self.event(file, Event::Set { result });
    }

    async fn close(self: &Arc<Self>, file: &FileOf<S>, id: u64, open: &S::File) {
        let token = file.lock().token();
        match self.share.close(open).await {
            Ok(Some(metadata)) => self.event(file, Event::Fetched { metadata, token }),
            Ok(None) => {}
            Err(error) => tracing::warn!(%error, "a CLOSE failed: the file may stay open at the server"),
        }
        self.event(file, Event::Closed { open: id });
        self.nodes.collect(file.ino);
    }

    /// Has the kernel forget a file's attributes, and waits for that. Returns whether it has.
    pub(crate) async fn kernel_forgets_attributes(&self, file: &FileOf<S>) -> bool {
        self.kernel.until_forgotten(Forgotten::Attributes(file.ino)).await
    }

    /// Has the kernel forget a file's attributes, and its pages if it may have any, and waits for that. Returns
    /// whether it has forgotten all of it.
    async fn kernel_forgets(&self, file: &FileOf<S>) -> bool {
        let pages = file.lock().kernel_pages();
        let attributes = self.kernel_forgets_attributes(file);
        let Some(mark) = pages else { return attributes.await };
        // The page notification may wait behind another one of the same file; the one about attributes does not.
        let (attributes, pages) = tokio::join!(attributes, self.kernel.until_forgotten(Forgotten::Pages(file.ino)));
        if pages {
            file.lock().kernel_forgot(mark);
        }
        attributes && pages
    }

    async fn acknowledge(&self, number: u64) {
        let Some(broken) = self.broken.lock().remove(&number) else { return };
        if let Err(error) = self.share.acknowledge(broken).await {
            tracing::debug!(%error, "a lease break was not acknowledged; other clients may wait");
        }
    }
}

/// Waiting for requests under way.
impl<S: Share> Files<S> {
    /// Sends all dirty data, and waits until the server has answered for it. Each WRITE has a deadline.
    pub(crate) async fn drain_data(self: &Arc<Self>, file: &FileOf<S>) {
        let mark = self.with(file, |state, now| {
            let actions = state.on(Event::Drain, now);
            (state.drain_mark(), actions)
        });
        file.until(|state| state.is_drained(mark)).await;
    }

    /// As [`Files::drain_data`], and also sends and awaits the change deferred behind the data.
    pub(crate) async fn drain(self: &Arc<Self>, file: &FileOf<S>) {
        self.drain_data(file).await;
        let deferred = file.lock().take_deferred();
        if let Some((open, change)) = deferred {
            self.set(file, &open, change).await;
        }
        file.until(|state| !state.has_deferred()).await;
    }

    /// Registers a kernel WRITE of a range. Must be called in the order of the kernel's requests.
    pub(crate) fn begin_write(self: &Arc<Self>, file: &FileOf<S>, range: Range<u64>) -> WriteUnderWay<S> {
        let number = self.next_write.fetch_add(1, Ordering::Relaxed);
        self.event(file, Event::WriteBegan { number, range });
        WriteUnderWay { files: Arc::clone(self), file: Arc::clone(file), number }
    }

    /// Waits for the kernel WRITEs of a range that are under way now. Each has a deadline.
    pub(crate) async fn until_written(&self, file: &FileOf<S>, range: &Range<u64>) {
        let latest = self.next_write.load(Ordering::Relaxed);
        file.until(|state| !state.writes_touch_until(latest, range)).await;
    }

    /// Waits for the kernel WRITEs of a range that began before this one. Two WRITEs never wait for each other.
    pub(crate) async fn until_written_before(&self, write: &WriteUnderWay<S>, file: &FileOf<S>, range: &Range<u64>) {
        file.until(|state| !state.writes_touch_until(write.number - 1, range)).await;
    }
}

impl<S: Share> Drop for WriteUnderWay<S> {
    fn drop(&mut self) {
        self.files.event(&self.file, Event::WriteEnded { number: self.number });
    }
}

/// Leases.
impl<S: Share> Files<S> {
    /// Registers a lease: from now on its breaks go to this file. Must be called before the share is asked what is
    /// granted. When the file knows of its open, [`Files::leased`] must be called.
    pub(crate) fn lease(&self, lease: LeaseKey, file: &FileOf<S>) {
        let mut leased = self.leased.lock();
        leased.opening.push(lease);
        leased.files.insert(lease, Arc::downgrade(file));
        if leased.files.len() >= leased.sweep_at {
            leased.sweep();
        }
    }

    /// The file knows of its open with this lease now.
    pub(crate) fn leased(&self, lease: LeaseKey) {
        let mut leased = self.leased.lock();
        if let Some(at) = leased.opening.iter().position(|other| *other == lease) {
            leased.opening.swap_remove(at);
        }
    }

    /// Hands a break to its file. Returns the break if it concerns no file.
    pub(crate) fn broken(self: &Arc<Self>, broken: Broken) -> Option<Broken> {
        let file = self.leased.lock().files.get(&broken.key).and_then(Weak::upgrade);
        let Some(file) = file else { return Some(broken) };
        let number = self.next_break.fetch_add(1, Ordering::Relaxed);
        let (left, serial) = (broken.left, broken.serial);
        self.broken.lock().insert(number, broken);
        self.event(&file, Event::Broken { number, left, serial });
        // Another client waits for the CLOSE of the kept open: it is sent at once, not batched with others.
        self.share.send_closes();
        None
    }
}

impl<S: Share> Files<S> {
    /// The session was lost: hands [`Event::SessionLost`] to each file whose opens asked for a lease.
    pub(crate) fn session_lost(self: &Arc<Self>) {
        let files: Vec<_> = self.leased.lock().files.values().filter_map(Weak::upgrade).collect();
        for file in files {
            self.event(&file, Event::SessionLost);
        }
    }
}

impl<S: Share> Leased<S> {
    /// Removes the leases of closed files.
    fn sweep(&mut self) {
        let opening = &self.opening;
        self.files.retain(|lease, file| {
            let is_open = |file: FileOf<S>| file.lock().lease() == Some(*lease);
            opening.contains(lease) || file.upgrade().is_some_and(is_open)
        });
        self.sweep_at = (2 * self.files.len()).max(SMALLEST_SWEEP);
    }
}

/// Opens that are kept without a handle.
impl<S: Share> Files<S> {
    /// Registers the kept open of a file. If that is one too many, the kept open released longest ago is closed.
    pub(crate) fn kept(self: &Arc<Self>, file: &FileOf<S>) {
        let pushed_out = self.kept.lock().keep(file.key, Arc::clone(file), Instant::now());
        if let Some(other) = pushed_out {
            self.event(&other, Event::KeptOpenUnwanted);
        }
    }

    /// Removes and returns the files with kept opens that match.
    pub(crate) fn remove_kept(&self, meant: impl Fn(&FileOf<S>) -> bool) -> Vec<FileOf<S>> {
        self.kept.lock().remove_matching(meant)
    }

    /// Removes and returns the files whose opens were kept for too long.
    pub(crate) fn expire_kept(&self) -> Vec<FileOf<S>> {
        self.kept.lock().expire(Instant::now())
    }

    /// The server refuses more opens: removes and returns the files whose kept opens must be closed first. Empty if
    /// there are no kept opens.
    pub(crate) fn close_unused_half(&self) -> Vec<FileOf<S>> {
        self.kept.lock().close_unused_half(Instant::now())
    }

    /// Begins to close the kept opens of files. Their CLOSEs go with the next request that can carry them.
    pub(crate) fn begin_to_close(self: &Arc<Self>, files: &[FileOf<S>]) {
        for file in files {
            self.event(file, Event::KeptOpenUnwanted);
        }
    }

    /// Waits for the CLOSEs under way of these files.
    pub(crate) async fn until_closed(&self, files: &[FileOf<S>]) {
        join_all(files.iter().map(|file| file.until(|state| !state.is_closing()))).await;
    }

    /// Closes the kept opens of files in few frames, and waits for the answers.
    pub(crate) async fn close_kept(self: &Arc<Self>, files: &[FileOf<S>]) {
        if !files.is_empty() {
            self.begin_to_close(files);
            self.share.send_closes();
            self.until_closed(files).await;
        }
    }
}
