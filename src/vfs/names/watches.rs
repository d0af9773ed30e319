//! Watches on directories: what they report, and when they end.
//!
//! A directory that was listed is watched if the server does that. One task of the mount follows all watches; a bounded
//! queue hands it new ones, and a watch that finds no room there is ended. When the server has reported changes, it is asked
//! for the next ones at once, also if they were this mount's own, unless [`Brake`] says otherwise: until then nothing is
//! answered from the watch.
//!
//! Invariant: a watch that the namespace has ended is ended at the server.

use super::Names;
use super::brake::Brake;
use super::namespace::{Asked, Report, WatchEvent};
use crate::share::{Again, LeaseKey, Share};
use futures_util::StreamExt;
use futures_util::future::join_all;
use futures_util::stream::FuturesUnordered;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::{Notify, mpsc};

/// Watches that wait for the task that follows them.
const QUEUE: usize = 1_000;
/// A watch has begun for certain so long after the listing with which it was asked for. What was listed is believed for
/// longer than that anyway, and a directory that is changed or left meanwhile need not be looked at again.
const BEGUN_AFTER: Duration = Duration::from_millis(700);
/// Another client waits for so long at the most until the kernel has forgotten names.
const FORGETS_WITHIN: Duration = Duration::from_millis(100);
/// A directory that is removed with what was in it follows so soon.
const DOOMED_WITHIN: Duration = Duration::from_millis(25);

/// A watch at the server.
pub(super) struct Watched<S: Share> {
    share: Arc<S>,
    watch: S::Watch,
    number: u64,
    ino: u64,
    /// Notified when it is known to have begun, by its first report.
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
    pub(super) fn new() -> Watches<S> {
        let (sender, receiver) = mpsc::channel(QUEUE);
        Watches { next: AtomicU64::new(1), at_server: Mutex::default(), sender, receiver: Mutex::new(Some(receiver)) }
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
    /// The server watches a directory from its listing on.
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

    /// Ends the watches of a directory and of all below it, at the server before it is removed or renamed: it could not
    /// be otherwise. Of those that another client has moved it is not known where they are now.
    pub(crate) async fn end_watches(&self, directory: u64) {
        self.until_listed_ahead_below(directory).await;
        self.with(|namespace, _| namespace.end_watches_within(directory));
    }

    /// Ends the watches that were not used for too long.
    pub(crate) fn end_idle_watches(&self) {
        self.with(|namespace, now| namespace.end_idle_watches(now));
    }

    /// Another client is about to change a directory that is watched by a lease, or to rename or remove it. It waits at the
    /// server until the break is acknowledged, which is to be done when the kernel has forgotten the names.
    pub(crate) async fn directory_broken(&self, lease: LeaseKey) {
        let (is_known, forgotten) = self.change(|namespace, now| namespace.lease_broken(lease, now));
        if !is_known {
            return;
        }
        // The directory is not to be open any more when the server goes on.
        self.share.send_closes();
        let forgotten = join_all(forgotten.into_iter().map(|what| self.kernel_view.until_forgotten(what)));
        // A request of this mount in the directory, for which the kernel waits, may itself wait for the server.
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

    async fn follow_watch(&self, watched: Arc<Watched<S>>) {
        let confirm = async {
            if self.share.lease(&watched.watch).is_none() {
                let _ = tokio::time::timeout(BEGUN_AFTER, watched.begun.notified()).await;
                self.with(|namespace, now| namespace.on_watch(watched.number, WatchEvent::Begun, now));
                // As long as it is being listed, the listing goes on from where it is in the same open.
                while self.with(|namespace, _| namespace.wants_a_look(watched.number)).is_none() {
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
            // It was removed, say, and the client that did it waits until its name is free.
            self.share.send_closes();
        }
    }

    /// A watch has begun. If that may serve, the directory is looked at once more: from then on nothing is missed.
    async fn look_again(&self, watched: &Watched<S>) {
        let (number, ino) = (watched.number, watched.ino);
        if self.with(|namespace, _| namespace.wants_a_look(number)) != Some(true) {
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
            Err(error) => tracing::debug!(%error, "a watched directory was not looked at again"),
        }
    }

    async fn follow_changes(&self, watched: &Watched<S>) {
        let (mut brake, mut may_be_doomed) = (Brake::default(), false);
        loop {
            let armed = || {
                self.with(|namespace, now| namespace.on_watch(watched.number, WatchEvent::Armed, now));
            };
            let mut changes = std::pin::pin!(self.share.changes(&watched.watch, armed));
            let reported = tokio::select! {
                reported = &mut changes => reported,
                is_doomed = self.is_doomed(watched), if may_be_doomed => match is_doomed {
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
                // What is closed for another client is not to wait for company.
                self.share.send_closes();
            }
            may_be_doomed = report == (Report::ByOthers { gone: true });
            if let Some(pause) = brake.on(report, Instant::now()) {
                tokio::time::sleep(pause).await;
            }
        }
    }

    /// Whether a directory from which another client has removed something is itself being removed, a moment later. smbd says so
    /// to a CHANGE_NOTIFY that it has, and may miss one that comes at that moment.
    async fn is_doomed(&self, watched: &Watched<S>) -> bool {
        tokio::time::sleep(DOOMED_WITHIN).await;
        self.share.is_being_removed(&watched.watch).await.unwrap_or(true)
    }
}
