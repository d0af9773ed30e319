//! Directories as this mount knows them: the [`Catalogue`](super::catalogue::Catalogue), kept by what the server
//! says, by what this mount does, and by what watches tell.
//!
//! A directory that was listed is watched if the server does that. One task of the mount follows all watches; it is
//! told of a new one by a bounded queue, and a watch that finds no room there is ended.
//!
//! Whoever follows a watch asks again at once if somebody else has changed something after a quiet time, and otherwise
//! rests between an answer and the next question: this mount's own changes are told as well, and must not cost a round
//! trip each. What is known is then at most as old as the attribute timeout.
//!
//! Invariants: a lock on the catalogue is taken under the one on the inodes or alone, and a watch that has left the
//! catalogue is ended at the server.

use super::catalogue::{Catalogue, Followed, Look, MAX_WATCHES, Ticket, Vouched, concerns_name, is_recent};
use super::errno::{Result, VfsError};
use super::file::attributes::FetchToken;
use super::file::driver::Open;
use super::inodes::{Admission, Inodes, Node, ROOT};
use super::kernel_view::Forgotten;
use super::names::hidden;
use super::presentation::Attr;
use super::{Vfs, names};
use crate::share::{Again, ChangeKind, DirChange, DirEntry, FileKind, FileTime, LeaseKey, Metadata, Share};
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use std::ffi::OsStr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

/// After so long without a change the next one is told at once.
const QUIET: Duration = Duration::from_secs(5);
/// A watch has begun for certain so long after the listing with which it was asked for. What was listed is believed for
/// longer than that anyway, and a directory that is changed or left meanwhile need not be looked at again.
const BEGUN_AFTER: Duration = Duration::from_millis(700);
/// The rest between an answer and the next question: it grows as long as answers come thick.
const FIRST_REST: Duration = Duration::from_millis(50);
const LONGEST_REST: Duration = Duration::from_secs(1);

/// A watch at the server.
pub(crate) struct Watched<S: Share> {
    share: Arc<S>,
    watch: S::Watch,
    id: u64,
    /// Of the directory: its key and its inode number.
    key: u64,
    ino: u64,
}

impl<S: Share> Followed for Arc<Watched<S>> {
    fn is_armed(&self) -> bool {
        self.share.is_armed(&self.watch)
    }

    fn id(&self) -> u64 {
        self.id
    }

    fn lease(&self) -> Option<LeaseKey> {
        self.share.lease(&self.watch)
    }
}

/// Watches that nobody follows yet.
pub(crate) struct NewWatches<S: Share> {
    sender: mpsc::Sender<Arc<Watched<S>>>,
    receiver: parking_lot::Mutex<Option<mpsc::Receiver<Arc<Watched<S>>>>>,
}

impl<S: Share> NewWatches<S> {
    pub(crate) fn new() -> NewWatches<S> {
        let (sender, receiver) = mpsc::channel(MAX_WATCHES);
        NewWatches { sender, receiver: parking_lot::Mutex::new(Some(receiver)) }
    }
}

/// A listing on its way into the catalogue.
pub(crate) struct Gathered<S: Share> {
    key: u64,
    ino: u64,
    begun: (Ticket, Instant),
    watch: Option<Arc<Watched<S>>>,
    entries: Vec<(Vec<u16>, Metadata)>,
}

impl<S: Share> Gathered<S> {
    /// The next entries that were listed.
    pub(crate) fn add(&mut self, entries: &[DirEntry]) {
        self.entries.extend(entries.iter().map(|entry| (entry.name.clone(), entry.metadata)));
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }
}

/// The catalogue of a mount.
pub(crate) type Directories<S> = Catalogue<Arc<Watched<S>>>;

impl<S: Share> Vfs<S> {
    /// Works on what is known of directories, and ends watches that are not needed any more.
    pub(super) fn with_catalogue<R>(&self, work: impl FnOnce(&mut Directories<S>) -> R) -> R {
        let (result, ended) = {
            let mut catalogue = self.catalogue.lock();
            (work(&mut catalogue), catalogue.take_ended())
        };
        ended.iter().for_each(|watched| self.share.unwatch(&watched.watch));
        result
    }

    /// What `name` in the directory `parent` is, if that is known without asking; the inode gets one more lookup.
    /// To be called within the runtime.
    pub fn known_entry(&self, parent: u64, name: &OsStr) -> Option<Result<Attr>> {
        let name = names::encode(name).ok()?;
        let now = Instant::now();
        self.with_inodes(|inodes| {
            let key = inodes.get(parent)?.key();
            match self.with_catalogue(|catalogue| catalogue.look(key, &name, now, self.options.attr_timeout)) {
                Look::Present { metadata, fetched } => {
                    let is_kept = inodes.at(parent, &name).is_some_and(|ino| self.is_kept(inodes, ino));
                    let Admission::Node(ino) = inodes.admit_listed(parent, &name, metadata, fetched, is_kept) else {
                        return None;
                    };
                    let attr = self.believed(inodes, ino, now);
                    match inodes.file(ino).filter(|_| attr.is_some()) {
                        Some(file) => file.lock().shown_to_kernel(),
                        None => inodes.forget(ino, 1),
                    }
                    attr.map(Ok)
                }
                Look::Absent if inodes.at(parent, &name).is_none() => Some(Err(VfsError {
                    level: tracing::Level::DEBUG,
                    ..VfsError::rule(libc::ENOENT, "there is no such name")
                })),
                Look::Absent | Look::Unknown => None,
            }
        })
    }

    /// Attributes as stat(2) shows them, with how long they may be believed: for longer than the timeout if the server vouches.
    pub(super) fn shown(&self, inodes: &Inodes<Open<S>>, ino: u64, now: Instant) -> Option<Attr> {
        inodes.attr(ino, &self.show, now, self.options.attr_timeout, self.vouched(inodes, ino, now))
    }

    /// The same, if they may be believed at all.
    pub(super) fn believed(&self, inodes: &mut Inodes<Open<S>>, ino: u64, now: Instant) -> Option<Attr> {
        self.take_listed(inodes, ino, now);
        let attr = self.shown(inodes, ino, now)?;
        let node = inodes.get(ino)?;
        (!attr.ttl.is_zero() || node.is_gone() || node.file.lock().is_dirty()).then_some(attr)
    }

    /// A node learns what a listing has said since the server was asked for it; not if it is open there, even if nobody uses
    /// that: servers are late with what they say of open files.
    fn take_listed(&self, inodes: &mut Inodes<Open<S>>, ino: u64, now: Instant) {
        let Some((key, name)) =
            inodes.place(ino).and_then(|place| Some((inodes.get(place.parent)?.key(), &place.name)))
        else {
            return;
        };
        let look = self.with_catalogue(|catalogue| catalogue.look(key, name, now, self.options.attr_timeout));
        if let Look::Present { metadata, fetched } = look
            && inodes.is_still(ino, &metadata)
            && !self.is_kept(inodes, ino)
        {
            inodes.store_listed(ino, metadata, fetched);
        }
    }

    /// What is known to be still true of a node's attributes. Of an open file, which its programs may be changing, nothing
    /// is vouched for; of a directory, only if it is itself watched.
    fn vouched(&self, inodes: &Inodes<Open<S>>, ino: u64, now: Instant) -> Option<Vouched> {
        let node = inodes.get(ino)?;
        let catalogue = self.catalogue.lock();
        let inside = match node.kind {
            FileKind::Directory => Some(catalogue.vouched_directory(node.key(), now)?),
            FileKind::File if node.file.lock().has_handles() => return None,
            FileKind::File => None,
        };
        let entry = match inodes.place(ino) {
            Some(place) => Some(catalogue.vouched(inodes.get(place.parent)?.key(), &place.name, now)?),
            None if ino == ROOT => None,
            None => return None,
        };
        [inside, entry]
            .into_iter()
            .flatten()
            .reduce(|one, other| Vouched { since: one.since.max(other.since), until: one.until.min(other.until) })
    }

    /// The server said what a name means, when it was asked.
    pub(super) fn saw(&self, parent: u64, name: &[u16], found: Option<Metadata>, asked: (Ticket, Instant)) {
        self.with_inodes(|inodes| {
            if let Some(key) = inodes.get(parent).map(Node::key) {
                self.with_catalogue(|catalogue| catalogue.saw(key, name, found, asked));
            }
        });
    }

    /// To be taken before the server is asked about a name.
    pub(super) fn asking(&self) -> (Ticket, Instant) {
        (self.catalogue.lock().ticket(), Instant::now())
    }

    /// This mount has changed what a name means, to `found` if that is known. Under the lock on the inodes.
    pub(super) fn entry_changed(
        &self,
        inodes: &mut Inodes<Open<S>>,
        parent: u64,
        name: &[u16],
        found: Option<Option<Metadata>>,
    ) {
        self.space_changes();
        let Some(key) = inodes.get(parent).map(Node::key) else { return };
        self.with_catalogue(|catalogue| catalogue.changed(key, name, Instant::now(), found));
        // A file that was just made has the time of its directory.
        let time = found.flatten().map_or_else(|| self.share.clock(), |metadata| metadata.changed);
        let time = if time == FileTime(0) { self.share.clock() } else { time };
        inodes.entries_changed(parent, time, Instant::now());
    }

    /// The server says that a node's name is not what it was taken for.
    pub(super) fn doubt_name(&self, ino: u64) {
        self.with_inodes(|inodes| {
            let place = inodes.place(ino).and_then(|place| Some((inodes.get(place.parent)?.key(), &place.name)));
            if let Some((key, name)) = place {
                self.with_catalogue(|catalogue| catalogue.doubt(key, name, Instant::now()));
            }
        });
    }

    /// Begins to list a directory, and to watch it if nobody does.
    pub(super) async fn begin_listing(&self, ino: u64) -> Result<(S::Listing, Gathered<S>)> {
        let (path, key, token) = self
            .with_inodes(|inodes| {
                let node = inodes.get(ino)?;
                Some((inodes.path(ino, &self.root)?, node.key(), node.file.lock().token()))
            })
            .ok_or_else(VfsError::stale)?;
        let begun = self.asking();
        let (listing, watch) = if self.options.attr_timeout.is_zero() || self.catalogue.lock().is_watched(key) {
            (self.share.list(&path).await?, None)
        } else {
            self.share.list_watched(&path).await?
        };
        let id = self.next_watch.fetch_add(1, Ordering::Relaxed);
        let watch = watch.map(|watch| Arc::new(Watched { share: Arc::clone(&self.share), watch, id, key, ino }));
        self.listed(ino, self.share.listed(&listing), Some(token), begun.1);
        Ok((listing, Gathered { key, ino, begun, watch, entries: Vec::new() }))
    }

    /// A listing has told of the directory itself.
    fn listed(&self, ino: u64, itself: Metadata, token: Option<FetchToken>, asked: Instant) {
        self.with_inodes(|inodes| {
            if let Some(token) = token.filter(|_| inodes.is_still(ino, &itself)) {
                inodes.store(ino, itself, token, asked);
            }
        });
    }

    /// A listing has come to its end.
    pub(super) fn enter(&self, listed: Gathered<S>) {
        let Gathered { key, ino, begun, watch, entries } = listed;
        let entries = entries.into_iter().filter(|(name, _)| !hidden::is_hidden(name) && names::decode(name).is_some());
        let is_known = self.with_inodes(|inodes| {
            let is_known = inodes.get(ino).is_some_and(|node| node.key() == key);
            if is_known {
                self.with_catalogue(|catalogue| catalogue.listed((key, ino), entries, begun, watch.clone()));
            }
            is_known
        });
        if let Some(watch) = watch.filter(|_| is_known)
            && self.new_watches.sender.try_send(Arc::clone(&watch)).is_err()
        {
            self.with_catalogue(|catalogue| catalogue.unwatched(key, watch.id));
        }
    }

    /// Ends the watches of a directory and of all below it, at the server before it is removed or renamed: it could not
    /// be otherwise. Of those that somebody else has moved nobody knows where they are now.
    pub(super) async fn end_watches(&self, directory: u64) {
        self.settle_ahead_below(directory).await;
        self.with_inodes(|inodes| {
            let is_lost = |ino| !inodes.is_within(ino, ROOT);
            self.with_catalogue(|catalogue| {
                catalogue.end_watches(|ino| is_lost(ino) || inodes.is_within(ino, directory));
            });
        });
    }

    /// Somebody else is about to change a directory that is watched by a lease, or to rename or remove it.
    pub(super) async fn directory_broken(&self, lease: LeaseKey) {
        let Some(watched) = self.with_catalogue(|catalogue| catalogue.end_leased(lease)) else { return };
        // The directory is not to be open any more when the server goes on.
        self.share.send_closes();
        self.with_inodes(|inodes| inodes.doubt(watched.ino, Instant::now()));
        self.kernel_view.tell(Forgotten::Attributes(watched.ino)).await;
    }

    /// Follows the watches until the mount ends. For one task of a mount.
    pub async fn follow_watches(self: Arc<Self>) {
        let Some(mut new) = self.new_watches.receiver.lock().take() else { return };
        let mut followed = FuturesUnordered::new();
        loop {
            tokio::select! {
                watch = new.recv() => match watch {
                    Some(watch) => followed.push(self.follow_watch(watch)),
                    None => return,
                },
                Some(()) = followed.next() => {}
            }
        }
    }

    async fn follow_watch(&self, watched: Arc<Watched<S>>) {
        let confirm = async {
            if self.share.lease(&watched.watch).is_none() {
                tokio::time::sleep(BEGUN_AFTER).await;
                self.look_again(&watched).await;
            }
            std::future::pending().await
        };
        tokio::select! {
            () = confirm => {}
            () = self.follow_changes(&watched) => {}
        }
        let ends = self.with_catalogue(|catalogue| catalogue.unwatched(watched.key, watched.id));
        self.share.unwatch(&watched.watch);
        if ends {
            // It was removed, say, and the client that did it waits until its name is free.
            self.share.send_closes();
        }
    }

    /// A watch has begun. If that may serve, the directory is looked at once more: from then on nothing is missed.
    async fn look_again(&self, watched: &Watched<S>) {
        let (key, ino) = (watched.key, watched.ino);
        if !self.with_catalogue(|catalogue| catalogue.begun(key, watched.id, Instant::now())) {
            return;
        }
        let token = self.with_inodes(|inodes| inodes.token(ino));
        let begun = self.asking();
        match self.share.look_again(&watched.watch).await {
            Ok(Again::Everything { itself, entries }) => {
                self.listed(ino, itself, token, begun.1);
                let mut gathered = Gathered { key, ino, begun, watch: None, entries: Vec::new() };
                gathered.add(&entries);
                self.enter(gathered);
            }
            Ok(Again::Same) => self.with_catalogue(|catalogue| catalogue.confirm(key, watched.id)),
            Ok(Again::Changed) => {}
            Err(error) => tracing::debug!(%error, "a watched directory was not looked at again"),
        }
    }

    async fn follow_changes(&self, watched: &Watched<S>) {
        // A directory that was just listed is one that this mount may be about to change.
        let mut told_last = Instant::now();
        let mut rest = FIRST_REST;
        loop {
            let by_others = match self.share.changes(&watched.watch).await {
                Ok(Some(changes)) => self.told(watched, changes).await,
                Ok(None) => {
                    self.with_catalogue(|catalogue| catalogue.lost(watched.key, watched.id));
                    true
                }
                Err(error) => {
                    tracing::debug!(%error, "a directory is not watched any more");
                    return;
                }
            };
            let was_quiet = std::mem::replace(&mut told_last, Instant::now()).elapsed() > QUIET;
            if by_others && was_quiet {
                rest = FIRST_REST;
                continue;
            }
            // Whoever changes a directory is likely to go on, or to remove it.
            let pause = if by_others { rest } else { LONGEST_REST };
            tokio::time::sleep(pause.min(self.options.attr_timeout / 2)).await;
            rest = (2 * rest).min(LONGEST_REST);
        }
    }

    /// A watch has told of changes. Says whether somebody else has made any of them.
    async fn told(&self, watched: &Watched<S>, changes: Vec<DirChange>) -> bool {
        let now = Instant::now();
        let directory = watched.ino;
        // Nobody sees a hidden file, but that it goes changes its directory.
        let (unseen, changes): (Vec<_>, _) = changes.into_iter().partition(|change| hidden::is_hidden(&change.name));
        let has_gone = unseen.iter().any(|change| change.kind == ChangeKind::Removed);
        let foreign = self.with_inodes(|inodes| {
            let is_own = |name: &[u16], own: Option<Instant>| {
                let file = inodes.at(directory, name).and_then(|ino| inodes.file(ino));
                is_recent(own, now)
                    || file.is_some_and(|file| {
                        let state = file.lock();
                        state.is_dirty() || is_recent(state.changed_at(), now)
                    })
            };
            self.with_catalogue(|catalogue| catalogue.told((watched.key, watched.id), changes, now, is_own))
        });
        if has_gone || foreign.iter().any(concerns_name) {
            self.with_inodes(|inodes| inodes.doubt(directory, now));
            self.kernel_view.tell(Forgotten::Attributes(directory)).await;
        }
        let by_others = !foreign.is_empty();
        for change in foreign {
            self.changed_by_others(directory, change).await;
        }
        by_others
    }

    /// Somebody else has changed an entry.
    async fn changed_by_others(&self, directory: u64, change: DirChange) {
        let ino = self.with_inodes(|inodes| {
            let ino = inodes.at(directory, &change.name)?;
            inodes.doubt(ino, Instant::now());
            Some(ino)
        });
        match (change.kind, ino) {
            (ChangeKind::Modified, Some(ino)) => self.kernel_view.tell(Forgotten::Attributes(ino)).await,
            (ChangeKind::Modified, None) => {}
            (ChangeKind::Added | ChangeKind::Removed, _) => {
                if let Some(name) = names::decode(&change.name) {
                    self.kernel_view.tell(Forgotten::Entry { parent: directory, name }).await;
                }
            }
        }
        if let Some(ino) = ino {
            // It would keep alive what is deleted, and hide a new time.
            self.close_deferred(ino).await;
        }
    }
}
