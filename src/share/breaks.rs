//! The lease table at work: opens are announced to it, and connections deliver breaks to it.
//!
//! The breaks of a connection wait in a queue of its own. Every access to the table first processes what is in these
//! queues, and removes the sessions whose connection has ended. So a break that came before an answer on the same
//! connection counts before that answer, and nothing that is known to have ended is still used. A task for each
//! session does the same when there is no access.
//!
//! Invariant: what [`Leases::granted`] returns covers every break and every end of a session received so far.

use super::closing_alone::ClosingAlone;
use super::events::{Event, SessionNews};
use super::leases::{Broken, Grant, Holder, LeaseBreak, LeaseTable, Owed};
use super::types::{Caching, Granted, Lease, LeaseKey};
use crate::config::Dialect;
use crate::wire::connect::{Terms, Tree};
use crate::wire::connection::Connection;
use crate::wire::frame::{Chain, Request};
use crate::wire::messages::create::Created;
use crate::wire::messages::lease::{self, Break, Wanted, level};
use parking_lot::{Mutex, MutexGuard};
use std::future::poll_fn;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};
use tokio::sync::{Notify, mpsc};

/// All leases and oplocks of a share.
#[derive(Debug, Default)]
pub(super) struct Leases {
    state: Mutex<State>,
    /// Notified when an event waits to be read.
    news: Arc<Notify>,
    /// [`Leases::events`] was called.
    taken: AtomicBool,
}

#[derive(Debug, Default)]
struct State {
    table: LeaseTable,
    session: SessionNews,
    closing: ClosingAlone,
    lines: Vec<Line>,
    last_session: u64,
}

/// The stream of events of one share.
#[derive(Debug)]
pub struct Events {
    leases: Weak<Leases>,
    news: Arc<Notify>,
}

impl Events {
    pub(super) fn new(leases: &Arc<Leases>, news: Arc<Notify>) -> Events {
        Events { leases: Arc::downgrade(leases), news }
    }

    /// The next event; `None` when the share no longer exists.
    pub async fn next(&mut self) -> Option<Event> {
        loop {
            if let Some(event) = self.leases.upgrade()?.next_event() {
                return Some(event);
            }
            self.news.notified().await;
        }
    }
}

/// A session, with the queues of breaks of its connections.
#[derive(Debug)]
struct Line {
    session: u64,
    tree: Weak<Tree>,
    breaks: Vec<mpsc::Receiver<Break>>,
}

/// An open that was announced. Dropping it means that the open failed or was given up.
#[derive(Debug)]
pub(super) struct Announced {
    leases: Arc<Leases>,
    lease: Lease,
    number: u64,
    answered: bool,
}

/// A live open. Dropping it means that it is being closed.
#[derive(Debug)]
pub(super) struct Holding {
    leases: Arc<Leases>,
    number: u64,
}

/// An open that is being closed; see [`Leases::begin_to_close`].
#[derive(Debug)]
pub(super) struct BeingClosed {
    leases: Arc<Leases>,
    key: LeaseKey,
}

impl Drop for BeingClosed {
    fn drop(&mut self) {
        self.leases.state.lock().closing.end(self.key);
    }
}

impl Leases {
    /// How many keys have a lease or an oplock that allows to cache something.
    pub(super) fn count(&self) -> usize {
        self.resolved().table.count()
    }

    /// What may be cached under this key.
    pub(super) fn caching(&self, key: LeaseKey) -> Caching {
        self.granted(key).caching
    }

    /// See [`Leases::granted`](super::Leases::granted).
    pub(super) fn granted(&self, key: LeaseKey) -> Granted {
        self.resolved().table.granted(key)
    }

    /// An open with this lease is about to be closed. Until the returned value is dropped, [`Leases::is_alone`]
    /// remembers that no other client can open the file without a break. `None` if the key has no WRITE caching.
    pub(super) fn begin_to_close(self: &Arc<Self>, key: LeaseKey) -> Option<BeingClosed> {
        let mut state = self.resolved();
        state.table.granted(key).caching.writes().then(|| {
            state.closing.begin(key);
            BeingClosed { leases: Arc::clone(self), key }
        })
    }

    /// Whether no other client has the file of this lease open.
    pub(super) fn is_alone(&self, key: LeaseKey) -> bool {
        let state = self.resolved();
        state.table.granted(key).caching.writes() || state.closing.is_alone(key)
    }

    /// The stream of events, for the first caller.
    pub(super) fn events(self: &Arc<Self>) -> Option<Events> {
        let first = !self.taken.swap(true, Ordering::AcqRel);
        first.then(|| Events::new(self, Arc::clone(&self.news)))
    }

    /// The next event, if one waits.
    pub(super) fn next_event(&self) -> Option<Event> {
        let State { table, session, .. } = &mut *self.state.lock();
        session.next(|| table.next_broken())
    }

    /// There is a new session: its breaks are processed from now on.
    pub(super) fn listen(self: &Arc<Self>, tree: &Arc<Tree>) {
        let breaks = tree.channels.connections().iter().filter_map(Connection::breaks).collect();
        let ending = tree.channels.ending();
        let mut state = self.resolved();
        state.connected();
        self.notify_reader(&state);
        state.last_session += 1;
        let session = state.last_session;
        state.lines.push(Line { session, tree: Arc::downgrade(tree), breaks });
        drop(state);
        let leases = Arc::clone(self);
        tokio::spawn(async move {
            tokio::select! {
                () = poll_fn(|context| leases.poll(session, context)) => {}
                () = ending => drop(leases.resolved()),
            }
        });
    }

    /// Call it before an open is sent.
    pub(super) fn announce(self: &Arc<Self>, lease: Lease) -> Announced {
        let number = self.resolved().table.begin(lease);
        Announced { leases: Arc::clone(self), lease, number, answered: false }
    }

    /// A break was carried out. Returns the acknowledgements to be sent, with the tree of each.
    pub(super) fn carried_out(&self, broken: &Broken) -> Vec<(Arc<Tree>, Chain)> {
        let mut state = self.resolved();
        state.table.carried_out(broken);
        let sent = broken.owed.iter().filter_map(|owed| {
            let tree = state.tree(owed.session)?;
            let chain = acknowledgement(&tree, owed.holder, broken.kept());
            Some((tree, chain))
        });
        sent.collect()
    }

    /// The server refused an acknowledgement under this key.
    pub(super) fn refused(&self, key: LeaseKey) {
        let mut state = self.resolved();
        state.table.refused(key);
        self.notify_reader(&state);
    }

    /// The state after everything received so far.
    fn resolved(&self) -> MutexGuard<'_, State> {
        let mut state = self.state.lock();
        let mut at = 0;
        while at < state.lines.len() {
            if state.process_breaks(at, None) {
                at += 1;
            }
        }
        self.notify_reader(&state);
        state
    }

    /// Processes the breaks of a session. Ready when the session has ended.
    fn poll(&self, session: u64, context: &mut Context<'_>) -> Poll<()> {
        let mut state = self.state.lock();
        let at = state.lines.iter().position(|line| line.session == session);
        let goes_on = at.is_some_and(|at| state.process_breaks(at, Some(context)));
        self.notify_reader(&state);
        if goes_on { Poll::Pending } else { Poll::Ready(()) }
    }

    fn notify_reader(&self, state: &State) {
        if state.table.waiting() > 0 || state.session.is_waiting() {
            self.news.notify_one();
        }
    }
}

impl State {
    fn tree(&self, session: u64) -> Option<Arc<Tree>> {
        self.lines.iter().find(|line| line.session == session)?.tree.upgrade()
    }

    /// Processes all breaks received in a session. Removes a session that has ended, with all that was granted in it.
    /// Returns whether the session continues. With a context, its task is woken for the next break.
    fn process_breaks(&mut self, at: usize, mut context: Option<&mut Context<'_>>) -> bool {
        let session = self.lines[at].session;
        loop {
            let line = &mut self.lines[at];
            let tree = line.tree.upgrade().filter(|tree| tree.channels.ended().is_none());
            let Some(tree) = tree else { break };
            let mut next = line.breaks.iter_mut().map(|breaks| match &mut context {
                Some(context) => breaks.poll_recv(context),
                None => breaks.try_recv().map_or(Poll::Pending, |broken| Poll::Ready(Some(broken))),
            });
            match next.find(Poll::is_ready).unwrap_or(Poll::Pending) {
                Poll::Ready(Some(broken)) => self.take(session, &tree, broken),
                Poll::Ready(None) => break,
                Poll::Pending => return true,
            }
        }
        self.lines.swap_remove(at);
        self.lost(session);
        false
    }

    fn lost(&mut self, session: u64) {
        self.table.lost(session);
        self.session.lost();
    }

    fn connected(&mut self) {
        self.session.connected(self.table.waiting());
    }

    fn take(&mut self, session: u64, tree: &Tree, broken: Break) {
        let given_up = match broken {
            Break::Oplock { file, level } => {
                self.closing.broken(None);
                self.table.oplock_broken(session, file, level_caching(level))
            }
            Break::Lease { key, left, epoch, acknowledge } => {
                self.closing.broken(Some(LeaseKey(key)));
                let epoch = has_epochs(&tree.terms).then_some(epoch);
                let left = Caching::from_bits(left);
                self.table.lease_broken(session, LeaseBreak { key: LeaseKey(key), left, epoch, acknowledge })
            }
        };
        self.give_up(given_up);
    }

    /// Acknowledges these breaks with nothing cached, without waiting for the server's answer.
    fn give_up(&self, given_up: impl IntoIterator<Item = Owed>) {
        for owed in given_up {
            let Some(tree) = self.tree(owed.session) else { continue };
            if !tree.channels.post(&acknowledgement(&tree, owed.holder, Caching::NONE)) {
                tracing::debug!(holder = ?owed.holder, "no credit to acknowledge the break of an unknown lease: the server \
                    waits until its own timeout");
            }
        }
    }
}

impl Announced {
    /// What to request on this connection, in a directory that has the lease `parent`.
    pub(super) fn wanted(&self, terms: &Terms, parent: Option<LeaseKey>) -> Wanted {
        wanted(terms, self.lease, parent)
    }

    /// What to request on this connection for a directory. Directories have no oplocks (MS-SMB2 3.3.5.9.11).
    pub(super) fn wanted_on_directory(&self, terms: &Terms, parent: Option<LeaseKey>) -> Wanted {
        if terms.directory_leasing { self.wanted(terms, parent) } else { Wanted::Nothing }
    }

    /// The answer to the open has come. `None` if its connection has ended by now.
    pub(super) fn opened(self, tree: &Arc<Tree>, created: &Created) -> Option<Holding> {
        let leases = Arc::clone(&self.leases);
        let mut state = leases.resolved();
        let session = state.lines.iter().find(|line| line.tree.as_ptr() == Arc::as_ptr(tree))?.session;
        let given_up = state.table.opened(self.number, session, grant(&tree.terms, created));
        state.give_up(given_up);
        leases.notify_reader(&state);
        drop(state);
        Some(self.held())
    }

    fn held(mut self) -> Holding {
        self.answered = true;
        Holding { leases: Arc::clone(&self.leases), number: self.number }
    }
}

/// For the share in memory, which has no connection.
#[cfg(test)]
impl Announced {
    pub(super) fn granted(self, session: u64, grant: Grant) -> Holding {
        let mut state = self.leases.state.lock();
        let given_up = state.table.opened(self.number, session, grant);
        assert!(given_up.is_empty(), "only oplocks are broken before they are known");
        self.leases.notify_reader(&state);
        drop(state);
        self.held()
    }
}

#[cfg(test)]
impl Leases {
    /// A break has come. Returns whether the server waits although this client does not have the lease.
    pub(super) fn broken(&self, session: u64, broken: LeaseBreak) -> bool {
        let mut state = self.state.lock();
        let given_up = state.table.lease_broken(session, broken);
        self.notify_reader(&state);
        given_up.is_some()
    }

    pub(super) fn lost(&self, session: u64) {
        let mut state = self.state.lock();
        state.lost(session);
        self.notify_reader(&state);
    }

    pub(super) fn connected(&self) {
        let mut state = self.state.lock();
        state.connected();
        self.notify_reader(&state);
    }
}

impl Drop for Announced {
    fn drop(&mut self) {
        if !self.answered {
            let mut state = self.leases.resolved();
            let given_up = state.table.abandon(self.number);
            state.give_up(given_up);
        }
    }
}

impl Drop for Holding {
    fn drop(&mut self) {
        self.leases.resolved().table.closed(self.number);
    }
}

/// What to request on a connection for this lease, in a directory that has the lease `parent`.
pub(super) fn wanted(terms: &Terms, lease: Lease, parent: Option<LeaseKey>) -> Wanted {
    let (key, state) = (lease.key.0, lease.caching.bits());
    match (terms.leasing, has_epochs(terms)) {
        (false, _) => Wanted::Oplock(wanted_level(lease.caching)),
        (true, false) => Wanted::LeaseV1 { key, state },
        (true, true) => Wanted::LeaseV2 { key, state, parent: parent.map(|parent| parent.0) },
    }
}

/// Epochs exist only in the leases of SMB 3, with version 2 of the context (MS-SMB2 2.2.13.2.10).
fn has_epochs(terms: &Terms) -> bool {
    terms.dialect >= Dialect::Smb300
}

/// The oplock level that comes nearest to this caching.
fn wanted_level(caching: Caching) -> u8 {
    match (caching.writes(), caching.handles(), caching.reads()) {
        (true, true, _) => level::BATCH,
        (true, false, _) => level::EXCLUSIVE,
        (false, _, true) => level::II,
        (false, _, false) => level::NONE,
    }
}

fn level_caching(level: u8) -> Caching {
    match level {
        level::BATCH => Caching::ALL,
        level::EXCLUSIVE => Caching::READ | Caching::WRITE,
        level::II => Caching::READ,
        _ => Caching::NONE,
    }
}

fn grant(terms: &Terms, created: &Created) -> Grant {
    match (terms.leasing, created.oplock, created.lease) {
        (true, level::LEASE, Some(granted)) => Grant::Lease {
            key: LeaseKey(granted.key),
            state: Caching::from_bits(granted.state),
            break_in_progress: granted.break_in_progress,
            epoch: granted.epoch,
        },
        (false, level, _) if level != level::LEASE => {
            Grant::Oplock { file: created.file, caching: level_caching(level) }
        }
        _ => Grant::Nothing,
    }
}

fn acknowledgement(tree: &Tree, holder: Holder, kept: Caching) -> Chain {
    let request: Request = match holder {
        Holder::Lease(key) => lease::acknowledge_lease(key.0, kept.bits()),
        Holder::Oplock(file) => lease::acknowledge_oplock(file, if kept.reads() { level::II } else { level::NONE }),
    };
    let mut chain = Chain::single(request);
    (chain.tree_id, chain.seal) = (tree.id, tree.seal);
    chain
}

#[cfg(test)]
mod tests;
