//! Watches on directories: when they begin, what their reports cause, and when they end.
//!
//! A directory is watched from its listing on, if the server supports that. One task of the mount follows all watches.
//! New watches reach it through a bounded queue; a watch that finds the queue full ends. After a report the server is
//! asked for the next changes at once, also after changes by this mount, unless [`Brake`] orders a pause: until the
//! next CHANGE_NOTIFY is at the server, the watch covers no answer.
//!
//! Invariant: a watch that the namespace has ended is ended at the server too.

use super::Names;
use super::brake::Brake;
use super::namespace::{Asked, Report, WatchEvent};
use crate::share::{Again, LeaseKey, Share};
use crate::vfs::lane::Forgotten;
use futures_util::StreamExt;
use futures_util::future::join_all;
use futures_util::stream::FuturesUnordered;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::{Notify, mpsc};

/// The most watches that wait in the queue for the task that follows them.
const QUEUE: usize = 1_000;
/// The time after which a CHANGE_NOTIFY that was sent with a listing has certainly begun at the server. By default the
/// attribute timeout (1 s) covers the listing for longer. A directory whose watch ends within this time needs no second
/// look.
const BEGUN_AFTER: Duration = Duration::from_millis(700);
/// The longest time that the break of a directory lease, for which another client waits, waits for the kernel to forget
/// names.
const FORGETS_WITHIN: Duration = Duration::from_millis(100);
/// The time between a removal from a directory by another client and the question whether the directory itself is being
/// removed: `rm -r` removes it within this time.
const REMOVED_WITHIN: Duration = Duration::from_millis(25);

/// A watch at the server.
pub(super) struct Watched<S: Share> {
    share: Arc<S>,
    watch: S::Watch,
    number: u64,
    ino: u64,
    /// Notified by each report: the first one shows that the watch has begun.
    begun: Notify,
}

/// The watches at the server, by their numbers.
pub(super) struct Watches<S: Share> {
    next: AtomicU64,
    at_server: Mutex<HashMap<u64, Arc<Watched<S>>>>,
    sender: mpsc::Sender<Arc<Watched<S>>>,
    receiver: Mutex<Option<mpsc::Receiver<Arc<Watched<S>>>>>,
}

impl<S: Share> Watches<S> {
    /// No watch yet.
    pub(super) fn new() -> Watches<S> {
        let (sender, receiver) = mpsc::channel(QUEUE);
        Watches { next: AtomicU64::new(1), at_server: Mutex::default(), sender, receiver: Mutex::new(Some(receiver)) }
    }

    /// How many watches there are.
    pub(super) fn count(&self) -> usize {
        self.at_server.lock().len()
    }

    /// Ends a watch at the server.
    pub(super) fn end(&self, number: u64) {
        let watched = self.at_server.lock().remove(&number);
        if let Some(watched) = watched {
            watched.share.unwatch(&watched.watch);
        }
    }
}

impl<S: Share> Names<S> {
    /// How many directories are watched.
    pub(crate) fn watch_count(&self) -> usize {
        self.watches.count()
    }

    /// Records a watch that the server granted with the listing of a directory, and queues it for the task that follows
    /// watches.
    pub(super) fn watch(&self, ino: u64, watch: S::Watch, asked: Asked) {
        let number = self.watches.next.fetch_add(1, Ordering::Relaxed);
        let (lease, is_armed) = (self.share.lease(&watch), self.share.is_armed(&watch));
        let watched = Arc::new(Watched { share: Arc::clone(&self.share), watch, number, ino, begun: Notify::new() });
        self.watches.at_server.lock().insert(number, Arc::clone(&watched));
        self.with(|namespace, _| namespace.watch(ino, (number, lease, is_armed), asked));
        if self.watches.sender.try_send(watched).is_err() {
            self.with(|namespace, now| namespace.on_watch(number, WatchEvent::Ended, now));
        }
    }

    /// Ends the watches of a directory and of all directories below it. To be called before the directory is removed or
    /// renamed: the server refuses both while directories there are open. Waits first for listings ahead there. Watches
    /// of directories to which no name leads any more end too, because they may be below the directory at the server.
    pub(crate) async fn end_watches(&self, directory: u64) {
        self.until_listed_ahead_below(directory).await;
        self.with(|namespace, _| namespace.end_watches_within(directory));
    }

    /// Ends the watches that were not used for 24 s (`namespace/bounds.rs`). Called every 4 s.
    pub(crate) fn end_idle_watches(&self) {
        self.with(|namespace, now| namespace.end_idle_watches(now));
    }

    /// The lease of a watched directory is broken: another client is about to change, rename or remove the directory,
    /// and waits at the server for the acknowledgement. Returns when the kernel has forgotten the names of the
    /// directory, but after [`FORGETS_WITHIN`] at the latest; the caller acknowledges then.
    pub(crate) async fn directory_broken(&self, lease: LeaseKey) {
        let (is_known, forgotten) = self.change(|namespace, now| namespace.lease_broken(lease, now));
        if !is_known {
            return;
        }
        // The directory must be closed when the server goes on.
        self.share.send_closes();
        let forgotten = join_all(forgotten.into_iter().map(|what| async {
            match what {
                Forgotten::Entry { .. } => drop(self.kernel_view.until_forgotten(what).await),
                // These wait for requests for attributes, which may wait for this very break.
                Forgotten::Attributes(_) | Forgotten::Pages(_) => self.kernel_view.forget(what).await,
            }
        }));
        // The kernel's wait may be for a request of this mount in the directory, which may itself wait for the server:
        // hence the limit.
        let _ = tokio::time::timeout(FORGETS_WITHIN, forgotten).await;
    }

    /// Follows the watches until the mount ends. For one task of a mount.
    pub(crate) async fn follow_watches(&self) {
        let Some(mut new) = self.watches.receiver.lock().take() else { return };
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

    /// Follows one watch until it ends. A watch by CHANGE_NOTIFY gets a second look when it has begun.
    async fn follow_watch(&self, watched: Arc<Watched<S>>) {
        let confirm = async {
            if self.share.lease(&watched.watch).is_none() {
                let _ = tokio::time::timeout(BEGUN_AFTER, watched.begun.notified()).await;
                self.with(|namespace, now| namespace.on_watch(watched.number, WatchEvent::Begun, now));
                // The listing in progress uses the enumeration position of the same open: the second look waits for its
                // end.
                while self.with(|namespace, _| namespace.needs_second_look(watched.number)).is_none() {
                    tokio::time::sleep(BEGUN_AFTER).await;
                }
                self.look_again(&watched).await;
            }
            std::future::pending().await
        };
        tokio::select! {
            () = confirm => {}
            () = self.follow_changes(&watched) => {}
        }
        let ends = self.with_kernel(|namespace, now| namespace.on_watch(watched.number, WatchEvent::Ended, now)).await;
        self.share.unwatch(&watched.watch);
        if ends != Report::Nothing {
            // The other client may have removed the directory, and waits until its name is free.
            self.share.send_closes();
        }
    }

    /// The watch has begun. If a second look can make it complete, the directory is listed once more: from then on no
    /// change is missed.
    async fn look_again(&self, watched: &Watched<S>) {
        let (number, ino) = (watched.number, watched.ino);
        if self.with(|namespace, _| namespace.needs_second_look(number)) != Some(true) {
            return;
        }
        let (token, asked, path) = (self.token(ino), self.asking(), self.path(ino));
        match self.share.look_again(&watched.watch).await {
            Ok(Again::Everything { itself, entries }) => {
                self.learn_directory(ino, itself, token, asked.at);
                let (Some(mut gathered), Ok(path)) = (self.gathered(ino, asked), path) else { return };
                gathered.add(&self.visible(&path, entries).await);
                self.enter(gathered);
            }
            Ok(Again::Same) => {
                self.with(|namespace, now| namespace.on_watch(number, WatchEvent::Confirmed, now));
            }
            Ok(Again::Changed) => {}
            Err(error) => tracing::debug!(%error, "a watched directory could not be listed once more"),
        }
    }

    /// Asks the server for changes and hands the reports to the namespace, until the watch ends or its directory is
    /// being removed.
    async fn follow_changes(&self, watched: &Watched<S>) {
        let (mut brake, mut may_be_removed) = (Brake::default(), false);
        loop {
            let armed = || {
                self.with(|namespace, now| namespace.on_watch(watched.number, WatchEvent::Armed, now));
            };
            let mut changes = std::pin::pin!(self.share.changes(&watched.watch, armed));
            let reported = tokio::select! {
                reported = &mut changes => reported,
                is_being_removed_there = self.is_being_removed_there(watched), if may_be_removed => match is_being_removed_there {
                    true => return,
                    false => changes.await,
                },
            };
            let event = match reported {
                Ok(Some(changes)) => WatchEvent::Reported(changes),
                Ok(None) => WatchEvent::Overflowed,
                Err(error) => {
                    tracing::debug!(%error, "a directory is not watched any more");
                    return;
                }
            };
            let report = self.with_kernel(|namespace, now| namespace.on_watch(watched.number, event, now)).await;
            watched.begun.notify_one();
            if let Report::ByOthers { .. } = report {
                // Another client may wait for these closes: they are not held back to be batched.
                self.share.send_closes();
            }
            may_be_removed = report == (Report::ByOthers { gone: true });
            if let Some(pause) = brake.on(report, Instant::now()) {
                tokio::time::sleep(pause).await;
            }
        }
    }

    /// Asks whether a directory is itself being removed, [`REMOVED_WITHIN`] after another client has removed an entry
    /// of it. smbd reports the removal only to a CHANGE_NOTIFY that is at the server at that moment, and may miss one
    /// that arrives then. A failed request counts as yes.
    async fn is_being_removed_there(&self, watched: &Watched<S>) -> bool {
        tokio::time::sleep(REMOVED_WITHIN).await;
        self.share.is_being_removed(&watched.watch).await.unwrap_or(true)
    }
}
