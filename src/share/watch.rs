//! Watching directories: by a lease (MS-SMB2 3.3.5.9.11) where the server grants leases on directories, otherwise
//! with CHANGE_NOTIFY (3.3.5.19).
//!
//! A lease costs nothing until another client changes something. Then it is broken, and the watch has ended. It is
//! granted before the directory is listed, so no change is missed.
//!
//! With CHANGE_NOTIFY, one compound opens, lists and watches a directory; its last request stays unanswered until
//! something changes. From the first CHANGE_NOTIFY on the server collects changes of the directory, also while no
//! request waits for them, until the directory is closed. A change between the listing and that moment is missed, and
//! the moment may come late: Samba leaves it to another process. So a caller that relies on a watch looks at the
//! directory again afterwards ([`SmbWatch::look_again`]).
//!
//! Invariant: a directory stays open at the server as long as a watch or a listing of it lives, and no longer.

use super::Result;
use super::directory::Directory;
use super::directory_leases::DirectoryLease;
use super::error::Cause;
use super::file::Open;
use super::listing::{SmbListing, Whole, query};
use super::refusal::is_unknown_request;
use super::smb::SmbShare;
use super::task::{Task, metadata};
use super::types::{Again, Caching, ChangeKind, DirChange, DirEntry, Lease, LeaseKey, RemotePath};
use crate::wire::NtStatus;
use crate::wire::connect::Tree;
use crate::wire::connection::{Pending, Probe};
use crate::wire::error::WireError;
use crate::wire::frame::{Reply, Request};
use crate::wire::messages::create::{self, Created, FileInfo};
use crate::wire::messages::info::{self, Scan};
use crate::wire::messages::lease::Wanted;
use crate::wire::messages::{FileId, notify};
use futures_util::FutureExt;
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Poll;
use tokio::sync::Notify;

/// Space for changes in one answer, in bytes: about 600 of them. It costs one credit.
pub(super) const BUFFER: u32 = 32 * 1024;
/// A directory with at most this many entries is listed again in one answer.
const SHORT: usize = 256;
/// A directory with more entries than this is not listed again to find out whether they have changed.
const LONG: usize = 20_000;
/// The exactness of file times on servers that keep fractions of seconds, in units of 100 ns: 100 ms, more than a
/// tick of the clock.
const TICK: u64 = 1_000_000;
/// The exactness on servers that keep whole seconds or even ones, in units of 100 ns: 2 s.
const COARSE: u64 = 20_000_000;
/// One second, in units of 100 ns.
const SECOND: u64 = 10_000_000;

/// A watched directory.
#[derive(Debug)]
pub struct SmbWatch {
    path: RemotePath,
    /// `None` once the watch has ended.
    directory: Mutex<Option<Arc<Directory>>>,
    ended: Notify,
    by: By,
    /// The directory when its watch began.
    listed: Listed,
}

/// The means by which a directory is watched.
#[derive(Debug)]
enum By {
    /// A lease, which is given up when the watch ends.
    Lease { key: LeaseKey, held: Mutex<Option<DirectoryLease>> },
    /// CHANGE_NOTIFY.
    Notify(Box<Notified>),
}

/// The CHANGE_NOTIFY at the server.
#[derive(Debug, Default)]
struct Notified {
    /// Locked by the caller that waits for the answer.
    pending: tokio::sync::Mutex<Option<Pending>>,
    /// Shows whether the same request is at the server, without that lock.
    probe: Mutex<Option<Probe>>,
}

impl Notified {
    fn at_server(pending: Pending) -> Box<Notified> {
        let probe = Mutex::new(Some(pending.probe()));
        Box::new(Notified { pending: tokio::sync::Mutex::new(Some(pending)), probe })
    }
}

/// A directory when it was listed and its watch began.
#[derive(Debug)]
struct Listed {
    info: FileInfo,
    disk_id: u64,
    /// The server's clock after that.
    clock: Option<u64>,
    /// One answer holds all entries.
    is_short: bool,
}

impl SmbWatch {
    fn new(
        path: &RemotePath,
        directory: Arc<Directory>,
        listing: &SmbListing,
        (created, clock): (&Created, Option<u64>),
        by: By,
    ) -> SmbWatch {
        let is_short = listing.is_within(SHORT);
        SmbWatch {
            path: path.clone(),
            directory: Mutex::new(Some(directory)),
            ended: Notify::new(),
            by,
            listed: Listed { info: created.info, disk_id: created.disk_id, clock, is_short },
        }
    }

    fn task(&self, operation: &'static str) -> Task<'_> {
        Task { operation, path: &self.path }
    }

    pub(super) fn path(&self) -> &RemotePath {
        &self.path
    }

    fn directory(&self) -> Option<Arc<Directory>> {
        self.directory.lock().clone()
    }

    /// Whether the watch is armed: its lease is not broken, or its CHANGE_NOTIFY has an interim reply (MS-SMB2 3.3.4.2)
    /// and no final one.
    pub(super) fn is_armed(&self, share: &SmbShare) -> bool {
        match &self.by {
            By::Lease { key, .. } => share.leases.caching(*key).reads(),
            By::Notify(notified) => notified.probe.lock().as_ref().is_some_and(Probe::is_kept),
        }
    }

    /// The key of the lease by which the directory is watched.
    pub(super) fn lease(&self) -> Option<LeaseKey> {
        match self.by {
            By::Lease { key, .. } => Some(key),
            By::Notify(_) => None,
        }
    }

    /// Waits for changes, as [`Watches::changes`](super::Watches::changes) describes. Sends another CHANGE_NOTIFY if
    /// none is at the server. `armed` is called when one is.
    ///
    /// # Errors
    /// [`Cause::Stale`] if the watch has ended or its lease was broken; DELETE_PENDING or NOTIFY_CLEANUP if the
    /// directory was deleted; [`Cause::Disconnected`], [`Cause::TimedOut`], [`Cause::Malformed`].
    pub(super) async fn changes(
        &self,
        share: &SmbShare,
        armed: impl FnOnce() + Send,
    ) -> Result<Option<Vec<DirChange>>> {
        let task = self.task("CHANGE_NOTIFY");
        let ended = self.ended.notified();
        tokio::pin!(ended);
        // From here on the end of the watch is not missed.
        ended.as_mut().enable();
        let directory = self.directory();
        let gone = || task.fail(Cause::Stale);
        let open = directory.as_deref().and_then(Directory::open).ok_or_else(gone)?;
        match &self.by {
            By::Lease { .. } => {
                // A break that came before the lease was known to the caller has ended the watch already.
                if self.is_armed(share) {
                    drop(directory);
                    ended.await;
                }
                Err(gone())
            }
            By::Notify(notified) => {
                let reported = self.next_report(share, notified, (open.file, Arc::clone(&open.tree)), armed);
                drop(directory);
                tokio::select! {
                    reported = reported => reported,
                    () = ended => Err(gone()),
                }
            }
        }
    }

    async fn next_report(
        &self,
        share: &SmbShare,
        notified: &Notified,
        (file, tree): (FileId, Arc<Tree>),
        armed: impl FnOnce() + Send,
    ) -> Result<Option<Vec<DirChange>>> {
        let task = self.task("CHANGE_NOTIFY");
        let mut pending = notified.pending.lock().await;
        let request = match &mut *pending {
            Some(request) => {
                armed();
                request
            }
            none => {
                let requests = vec![info::query_standard(file), notify::change_notify(file, BUFFER).unrelated()];
                let chain = super::task::compound(&tree, requests);
                let mut sending = std::pin::pin!(tree.channels.send_open_ended(&chain, share.request_timeout));
                // The request is on its way once this has been polled.
                let sent = match futures_util::poll!(sending.as_mut()) {
                    Poll::Ready(sent) => sent,
                    Poll::Pending => {
                        armed();
                        sending.await
                    }
                };
                let (replies, request) = sent.map_err(|error| task.wire(error))?;
                // If the directory was removed while no request was at the server, the server does not report that.
                // This open keeps the directory's name in use.
                let state = replies.first().filter(|reply| reply.status() == NtStatus::SUCCESS);
                if state.is_some_and(|reply| info::parse_delete_pending(reply).unwrap_or(false)) {
                    return Err(task.status(NtStatus::DELETE_PENDING));
                }
                *notified.probe.lock() = Some(request.probe());
                none.insert(request)
            }
        };
        let reply = request.reply().await;
        *pending = None;
        changes_in(task, reply)
    }

    /// Ends the watch. Gathers the CLOSE of the directory, unless a listing continues in it.
    pub(super) fn end(&self, share: &SmbShare) {
        let directory = self.directory.lock().take();
        match &self.by {
            By::Lease { held, .. } => drop(held.lock().take()),
            By::Notify(notified) => drop(notified.probe.lock().take()),
        }
        self.ended.notify_waiters();
        let Some(mut directory) = directory.and_then(Arc::into_inner) else { return };
        if let Some(open) = directory.take().filter(|open| open.tree.channels.ended().is_none()) {
            drop(share.closes.gather(Arc::clone(&open.tree), create::close(open.file)));
        }
    }

    /// Lists the directory again. If it has more than [`LONG`] entries, or was short and has outgrown one answer, its
    /// times are compared with those from the listing instead. The times count only if they are old enough that a later
    /// change would have moved them.
    ///
    /// # Errors
    /// [`Cause::Stale`] if the watch has ended; the server's refusal; [`Cause::Disconnected`], [`Cause::TimedOut`],
    /// [`Cause::Malformed`].
    pub(super) async fn look_again(&self, share: &SmbShare) -> Result<Again> {
        let task = self.task("QUERY_DIRECTORY");
        let gone = || task.fail(Cause::Stale);
        let Listed { info: before, disk_id, clock, is_short } = self.listed;
        let replies = {
            let directory = self.directory();
            let open = directory.as_deref().and_then(Directory::open).ok_or_else(gone)?;
            let mut questions = vec![info::query_file(open.file)];
            if is_short {
                questions.extend(Whole::again(open.file));
            }
            share.questions.gather_all(&open.tree, questions.into_iter().map(Request::patient).collect())
        };
        let replies = replies.await.ok_or_else(|| task.fail(Cause::Disconnected("no answer came".into())))?;
        let now = task.parsed(info::parse_file(task.reply(&replies, 0)?))?;
        let entries = if is_short { Whole::everything(task, &replies[1..])? } else { self.list_again(share).await? };
        if let Some(entries) = entries {
            return Ok(Again::Everything { itself: metadata(now, disk_id, 0), entries });
        }
        let is_same = (now.modified, now.changed) == (before.modified, before.changed)
            && clock.is_some_and(|clock| is_conclusive(before.modified.max(before.changed), clock));
        Ok(if is_same { Again::Same } else { Again::Changed })
    }

    /// Whether the directory is being removed. This open then keeps its name in use.
    ///
    /// # Errors
    /// [`Cause::Stale`] if the watch has ended; the server's refusal; [`Cause::Disconnected`], [`Cause::Malformed`].
    pub(super) async fn is_being_removed(&self, share: &SmbShare) -> Result<bool> {
        let task = self.task("QUERY_INFO");
        let gone = || task.fail(Cause::Stale);
        let replies = {
            let directory = self.directory();
            let open = directory.as_deref().and_then(Directory::open).ok_or_else(gone)?;
            share.questions.gather_all(&open.tree, vec![info::query_standard(open.file)])
        };
        let replies = replies.await.ok_or_else(|| task.fail(Cause::Disconnected("no answer came".into())))?;
        task.parsed(info::parse_delete_pending(task.reply(&replies, 0)?))
    }

    /// All entries of the directory; `None` if there are too many. The directory is not kept open for this: a caller
    /// that ends the watch is about to rename or remove it.
    async fn list_again(&self, share: &SmbShare) -> Result<Option<Vec<DirEntry>>> {
        let task = self.task("QUERY_DIRECTORY");
        let (mut all, mut scan) = (Vec::new(), Scan::Restarts);
        while all.len() <= LONG {
            let (tree, file) = {
                let directory = self.directory();
                let open = directory.as_deref().and_then(Directory::open).ok_or_else(|| task.fail(Cause::Stale))?;
                (Arc::clone(&open.tree), open.file)
            };
            match query(share, task, (&tree, file), std::mem::replace(&mut scan, Scan::Continues)).await? {
                Some(more) => all.extend(more),
                None => return Ok(Some(all)),
            }
        }
        Ok(None)
    }
}

/// Whether a change at this time of the server's clock would give the directory another time than `last`.
fn is_conclusive(last: u64, clock: u64) -> bool {
    let exactness = if last.is_multiple_of(SECOND) { COARSE } else { TICK };
    last.saturating_add(exactness) < clock
}

fn changes_in(task: Task<'_>, reply: std::result::Result<Reply, WireError>) -> Result<Option<Vec<DirChange>>> {
    let reply = reply.map_err(|error| task.wire(error))?;
    if reply.status() == NtStatus::NOTIFY_ENUM_DIR {
        return Ok(None);
    }
    let changes = task.parsed(notify::parse_changes(task.reply(&[reply], 0)?))?;
    // An empty report means that the changes did not fit into the answer.
    Ok(Some(changes).filter(|changes| !changes.is_empty()).map(|changes| {
        changes
            .into_iter()
            .map(|(action, name)| {
                let kind = match action {
                    notify::action::ADDED | notify::action::RENAMED_NEW_NAME => ChangeKind::Added,
                    notify::action::REMOVED | notify::action::RENAMED_OLD_NAME => ChangeKind::Removed,
                    _ => ChangeKind::Modified,
                };
                DirChange { name, kind }
            })
            .collect()
    }))
}

impl SmbShare {
    /// Lists a directory and watches it, in one frame if it is small.
    ///
    /// # Errors
    /// Those of [`SmbListing::begin`]. A server that cannot watch is no error.
    pub(super) async fn list_and_watch(&self, path: &RemotePath) -> Result<(SmbListing, Option<SmbWatch>)> {
        if self.tree().terms.directory_leasing {
            return self.list_under_lease(path).await;
        }
        if !self.can_watch.load(Ordering::Relaxed) {
            return Ok((SmbListing::begin(self, path).await?, None));
        }
        let task = Task { operation: "QUERY_DIRECTORY", path };
        let requests = |tree: &_| {
            let mut requests = Whole::requests(tree, path, Wanted::Nothing);
            requests.push(notify::change_notify(crate::wire::frame::RELATED_FILE, BUFFER));
            requests
        };
        let (tree, replies, mut pending) = self.run_open_ended(task, requests).await?;
        let created = task.created(&replies)?;
        let directory = Directory::new(Open::new(Arc::clone(&tree), created.file));
        let listing = SmbListing::from_whole(task, &replies, Arc::clone(&directory))?;
        // A server that cannot watch refuses the request together with the other answers.
        if let Some(answer) = pending.reply().now_or_never() {
            if let Some(status) = answer.ok().map(|reply| reply.status()).filter(|status| is_refusal(*status)) {
                tracing::info!(%path, %status, "the server watches no directories: changes by other clients are \
                    noticed by revalidation only");
                self.can_watch.store(false, Ordering::Relaxed);
            }
            return Ok((listing, None));
        }
        let listed = (&created, tree.terms.clock.now());
        let watch = SmbWatch::new(path, directory, &listing, listed, By::Notify(Notified::at_server(pending)));
        Ok((listing, Some(watch)))
    }

    /// Lists a directory under a lease. If no lease is granted, the first [`SmbWatch::changes`] sends a CHANGE_NOTIFY.
    async fn list_under_lease(&self, path: &RemotePath) -> Result<(SmbListing, Option<SmbWatch>)> {
        let task = Task { operation: "QUERY_DIRECTORY", path };
        let key = LeaseKey::random();
        let announced = self.leases.announce(Lease { key, caching: Caching::READ | Caching::HANDLE });
        let parent = self.directory_leases.on_parent_of(path);
        let requests = |tree: &Tree| Whole::requests(tree, path, announced.wanted_on_directory(&tree.terms, parent));
        let (tree, replies) = self.run(task, requests).await?;
        let created = task.created(&replies)?;
        let directory = Directory::new(Open::new(Arc::clone(&tree), created.file));
        let holding = announced.opened(&tree, &created);
        let listing = SmbListing::from_whole(task, &replies, Arc::clone(&directory))?;
        let lease = holding.filter(|_| self.leases.caching(key).reads());
        let by = match lease.map(|holding| DirectoryLease::new(&self.directory_leases, path, key, holding)) {
            Some(lease) => By::Lease { key, held: Mutex::new(Some(lease)) },
            None => By::Notify(Box::default()),
        };
        let listed = (&created, tree.terms.clock.now());
        let watch = SmbWatch::new(path, directory, &listing, listed, by);
        Ok((listing, Some(watch)))
    }
}

/// Whether this answer to a CHANGE_NOTIFY means that the server watches no directories.
fn is_refusal(status: NtStatus) -> bool {
    status == NtStatus::INTERNAL_ERROR || is_unknown_request(status)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_show_whether_there_was_a_change_once_they_are_old_enough() {
        let last = 7 * SECOND + 5;
        assert!(!is_conclusive(last, last));
        assert!(!is_conclusive(last, last + TICK));
        assert!(is_conclusive(last, last + TICK + 1));
        // A server that keeps whole seconds may keep only even ones.
        assert!(!is_conclusive(7 * SECOND, 9 * SECOND));
        assert!(is_conclusive(7 * SECOND, 9 * SECOND + 1));
        assert!(!is_conclusive(u64::MAX, u64::MAX));
    }
}
