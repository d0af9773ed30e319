//! The session that all operations share, and the task that restores it.
//!
//! There is one [`Tree`] at a time. When its connections end, a background task connects again whenever [`Session`]
//! allows it. An operation that needs the session may begin an attempt too; other operations wait for its result. An
//! attempt runs to its end even if the operation that began it has given up, so that no answer to a sign-in is
//! missed.
//!
//! The new session names the old one, which the server then ends first: nothing still in flight on the old session
//! can be carried out after what is sent on the new one. A process that hangs at the server does not end, and smbd
//! waits for it. After a while the next session begins without naming the old one, and with it a new *lineage*. The
//! hung process may carry out what lies in its socket when it continues. So a change that was sent on a session of
//! another lineage and not answered is not sent again but fails ([`Cause::Uncertain`]).
//!
//! Invariant: at most one attempt to connect is in flight.

use super::breaks::Leases;
use super::error::Cause;
use super::session::{For, Next, Repair, Session, SessionState};
use crate::config::Identity;
use crate::wire::connect::{self, ConnectConfig, Previous, Tree};
use crate::wire::error::{ConnectError, Proof, Stage};
use crate::wire::signin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;

/// The shortest time that the server has to end the previous session when the next one names it.
const LEAST_PATIENCE: Duration = Duration::from_secs(1);
/// The shortest interval between two reads of the source of credentials while they are refused, and the longest wait
/// of an operation for one read.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// Reads the credentials again; `None` if they cannot be read now. It may block.
pub type IdentitySource = Box<dyn Fn() -> Option<Identity> + Send + Sync>;

/// The current tree, and what makes the next one.
pub(super) struct Link(Arc<Inner>);

struct Inner {
    config: ConnectConfig,
    leases: Arc<Leases>,
    /// How long operations wait for a session, from the beginning of an outage.
    request_timeout: Duration,
    /// How long the server may take to end the previous session.
    patience: Duration,
    state: Mutex<State>,
    /// Notified when a change of the state may concern waiting operations.
    news: watch::Sender<()>,
    source: OnceLock<IdentitySource>,
    /// The source is being read.
    looking: AtomicBool,
    /// No new connection is made: the share is being left.
    leaving: AtomicBool,
}

struct State {
    tree: Arc<Tree>,
    /// The identity that the tree's session signed in with.
    signed_in: Identity,
    /// The identity for the next sign-in.
    identity: Identity,
    last_look: Option<Instant>,
    session: Session,
    /// An error was logged since the session was lost, and not only a warning.
    is_error: bool,
}

/// What an operation that wants a tree does next.
enum Step {
    Takes(Arc<Tree>),
    Fails(Cause),
    /// It waits for news, but not beyond this time, when an attempt may be made.
    Waits(Option<Instant>),
}

impl Link {
    /// Connects. An operation may take `request_timeout`, the wait for a new session included.
    ///
    /// # Errors
    /// The stage at which connecting failed, with the server's status if it answered one.
    pub(super) async fn connect(
        config: ConnectConfig,
        leases: Arc<Leases>,
        request_timeout: Duration,
    ) -> Result<Link, ConnectError> {
        let tree = Arc::new(connect::connect(&config, Previous::Unnamed, || ()).await?);
        tracing::info!(server = %tree.channels.peer(), share = %config.share, terms = %tree.terms,
            connections = tree.channels.connections().len(), "connected");
        Ok(Link::from(tree, config, leases, request_timeout))
    }

    /// The link that begins with this tree.
    pub(super) fn from(tree: Arc<Tree>, config: ConnectConfig, leases: Arc<Leases>, request_timeout: Duration) -> Link {
        leases.listen(&tree);
        let mut session = Session::default();
        session.connected(tree.binding_refused.as_ref(), Instant::now());
        let (signed_in, identity) = (config.identity.clone(), config.identity.clone());
        let state = State { tree, signed_in, identity, last_look: None, session, is_error: false };
        let inner = Arc::new(Inner {
            config,
            leases,
            request_timeout,
            patience: (request_timeout / 2).max(LEAST_PATIENCE),
            state: Mutex::new(state),
            news: watch::Sender::new(()),
            source: OnceLock::new(),
            looking: false.into(),
            leaving: false.into(),
        });
        tokio::spawn(keep(Arc::downgrade(&inner), inner.news.subscribe()));
        Link(inner)
    }

    /// The state of the session, and if it is lost, for how long and why.
    pub(super) fn state(&self) -> (SessionState, Option<(Duration, String)>) {
        let state = self.0.lock();
        (state.session.state(), state.session.outage(Instant::now()))
    }

    /// Begins a repair, which ends when the returned value is dropped.
    pub(super) fn repairing(&self, repair: Repair) -> Repairing<'_> {
        self.0.lock().session.begins(repair);
        Repairing { link: self, repair }
    }

    /// The current tree. Its session may have ended.
    pub(super) fn current(&self) -> Arc<Tree> {
        self.0.lock().tree.clone()
    }

    /// A tree whose session is live as far as is known; waits for a new one if necessary.
    ///
    /// # Errors
    /// [`Cause::AccessRefused`] if the server refuses the sign-in or the share, [`Cause::Away`] if there is no session
    /// in time, [`Cause::Disconnected`] once the share was left.
    pub(super) async fn tree(&self, deadline: Instant) -> Result<Arc<Tree>, Cause> {
        let mut news = self.0.news.subscribe();
        loop {
            self.0.look_for_credentials().await;
            news.borrow_and_update();
            let now = Instant::now();
            let until = match self.0.step(For::Operation, now) {
                Step::Takes(tree) => return Ok(tree),
                Step::Fails(cause) => return Err(cause),
                Step::Waits(until) => until,
            };
            let deadline = self.0.lock().session.waits_until(deadline, self.0.request_timeout);
            if until.is_some_and(|until| until >= deadline) || now >= deadline {
                return Err(self.0.lock().session.why(now));
            }
            // The sender lives as long as this value.
            let _ = tokio::time::timeout_at(until.unwrap_or(deadline), news.changed()).await;
        }
    }

    /// The configuration for a session that is made now.
    pub(super) fn config_now(&self) -> ConnectConfig {
        ConnectConfig { identity: self.0.lock().identity.clone(), ..self.0.config.clone() }
    }

    /// Sets the identity for the next sign-in. A refused sign-in is tried again at once, even if nothing has changed.
    pub(super) fn renew_identity(&self, identity: Identity) {
        self.0.renew_identity(identity);
    }

    /// Sets the source of credentials, which is read while they are refused. Call it once.
    pub(super) fn read_identity_from(&self, source: IdentitySource) {
        // There is never a second source.
        let _ = self.0.source.set(source);
    }

    /// Leaves the share. Nothing connects again.
    pub(super) async fn leave(&self, deadline: Duration) {
        self.0.leaving.store(true, Ordering::Release);
        let tree = self.current();
        if tree.channels.ended().is_none() {
            connect::disconnect(&tree, deadline).await;
        }
    }
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The tree, or what to wait for. Begins an attempt if one may be made now.
    fn step(self: &Arc<Self>, wanted: For, now: Instant) -> Step {
        let mut state = self.lock();
        let Some(reason) = state.tree.channels.ended() else { return Step::Takes(state.tree.clone()) };
        if self.leaving.load(Ordering::Acquire) {
            return Step::Fails(Cause::Disconnected("the share was left".into()));
        }
        if !state.session.is_lost() {
            self.config.counters.losses.count();
            tracing::warn!(server = %self.config.host, %reason, "the connection is lost: connecting again");
            let active_for = state.tree.channels.active_for();
            let began = state.tree.channels.silent_since().unwrap_or(now);
            state.session.lost(&reason, active_for, began, now);
        }
        match state.session.next(wanted, now) {
            Next::Wait(at) => Step::Waits(Some(at)),
            Next::WaitForNews => Step::Waits(None),
            Next::Refused(refused) => Step::Fails(Cause::AccessRefused(refused)),
            Next::Try { name_previous } => {
                state.session.tries(wanted, now);
                self.begin(&state, name_previous, now);
                Step::Waits(None)
            }
        }
    }

    /// Begins an attempt. It runs in a task of its own: the operation that wanted it may end sooner.
    fn begin(self: &Arc<Self>, state: &State, name_previous: bool, now: Instant) {
        let mut config = ConnectConfig { identity: state.identity.clone(), ..self.config.clone() };
        if !state.session.allow_binding(now) {
            config.connections = 1;
        }
        // The server ends sessions of the same user only.
        let named = name_previous && state.identity.is_same_account(&state.signed_in);
        let previous = match named {
            true => Previous::Named(state.tree.channels.session_id(), self.patience),
            false => Previous::Unnamed,
        };
        let this = Arc::clone(self);
        tokio::spawn(async move {
            let identity = config.identity.clone();
            // A task of its own, so that a panic in it ends the attempt and not the wait for it.
            let link = Arc::downgrade(&this);
            let answered = move || {
                if let Some(link) = link.upgrade() {
                    link.lock().session.answered();
                    link.news.send_replace(());
                }
            };
            let tried = tokio::spawn(async move { connect::connect(&config, previous, answered).await }).await;
            let broken = |error| ConnectError::new(Stage::SignIn, format!("{error}")).with_proof(Proof::Dropped);
            this.end(tried.map_err(broken).flatten(), identity, named);
        });
    }

    /// An attempt has ended.
    fn end(&self, tried: Result<Tree, ConnectError>, identity: Identity, named: bool) {
        let now = Instant::now();
        let mut state = self.lock();
        match tried {
            Ok(tree) => self.connected(&mut state, tree, identity, named, now),
            Err(error) => {
                self.config.counters.connect_failed(error.stage.name());
                if error.refusal().is_some() {
                    self.config.counters.refused_sign_ins.count();
                }
                let is_news = state.session.failed(&error, named, now);
                let is_news = is_news && !self.leaving.load(Ordering::Acquire);
                state.is_error |= is_news && (error.refusal().is_some() || error.stage == Stage::Share);
                self.log(&error, is_news);
            }
        }
        drop(state);
        self.news.send_replace(());
    }

    fn connected(&self, state: &mut State, mut tree: Tree, identity: Identity, named: bool, now: Instant) {
        tree.lineage = state.tree.lineage;
        if !named {
            tree.lineage = tree.lineage.wrapping_add(1);
            tracing::warn!(server = %self.config.host, "the previous session may go on at the server (it hangs there, \
                or the user is another one now): writes that were in flight when it was lost fail, and the server may \
                still carry them out");
        }
        self.config.counters.reconnects.count();
        // As loud as what was logged of the loss: a log that shows one shows both.
        let (server, terms) = (tree.channels.peer(), tree.terms.clone());
        match std::mem::take(&mut state.is_error) {
            true => tracing::error!(%server, %terms, "connected again: operations succeed again"),
            false => tracing::warn!(%server, %terms, "connected again"),
        }
        state.session.connected(tree.binding_refused.as_ref(), now);
        state.tree = Arc::new(tree);
        state.signed_in = identity;
        self.leases.listen(&state.tree);
    }

    fn log(&self, error: &ConnectError, is_news: bool) {
        let server = &self.config.host;
        match (error.refusal(), error.stage) {
            (Some(_), _) if is_news => tracing::error!(%server, %error, "the server refuses the sign-in, and all \
                operations fail: {}; then send SIGHUP to this process", signin::remedy(error.status)),
            (None, Stage::Share) if is_news => tracing::error!(%server, share = %self.config.share, %error,
                "the server refuses the share: check that it exists and that this user may use it"),
            _ if is_news => {
                tracing::warn!(%server, %error, "connecting again failed: it is tried again in the background, and \
                operations fail meanwhile with EHOSTDOWN")
            }
            _ => tracing::debug!(%server, %error, "connecting again failed"),
        }
    }

    fn renew_identity(&self, identity: Identity) {
        let mut state = self.lock();
        state.identity = identity;
        state.session.renew();
        drop(state);
        self.news.send_replace(());
    }

    /// Reads the source for other credentials, if the current ones were refused.
    async fn look_for_credentials(self: &Arc<Self>) {
        if self.source.get().is_none() || !self.may_look(Instant::now()) {
            return;
        }
        let this = Arc::clone(self);
        // The source may be a file on a file system that does not answer: wait only for a moment.
        let look = tokio::task::spawn_blocking(move || {
            if let Some(identity) = this.source.get().and_then(|source| source()) {
                this.found(identity);
            }
            this.looking.store(false, Ordering::Release);
        });
        let _ = tokio::time::timeout(LOOK_INTERVAL, look).await;
    }

    /// Whether the source is to be read now; true for one caller at a time.
    fn may_look(&self, now: Instant) -> bool {
        let mut state = self.lock();
        let wanted = state.session.state() == SessionState::Lost && state.session.has_refused_credentials();
        if !wanted || state.last_look.is_some_and(|last| now < last + LOOK_INTERVAL) {
            return false;
        }
        if self.looking.swap(true, Ordering::AcqRel) {
            return false;
        }
        state.last_look = Some(now);
        true
    }

    /// The source has returned this identity.
    fn found(&self, identity: Identity) {
        if !identity.is_same(&self.lock().identity) {
            tracing::info!(server = %self.config.host, "the source has other credentials: trying them");
            self.renew_identity(identity);
        }
    }
}

/// Restores the session after every loss, even if no operation needs it. It ends with the link.
async fn keep(link: Weak<Inner>, mut news: watch::Receiver<()>) {
    while let Some(ending) = link.upgrade().map(|link| link.lock().tree.channels.ending()) {
        ending.await;
        loop {
            let Some(link) = link.upgrade() else { return };
            news.borrow_and_update();
            let until = match link.step(For::Later, Instant::now()) {
                Step::Takes(_) => break,
                Step::Waits(until) => until,
                // Wait until an operation tries again, or there are other credentials.
                Step::Fails(_) => None,
            };
            drop(link);
            let news = async { news.changed().await.is_ok() };
            let goes_on = match until {
                Some(until) => tokio::time::timeout_at(until, news).await.unwrap_or(true),
                None => news.await,
            };
            if !goes_on {
                return;
            }
        }
    }
}

/// A repair in the new session. It ends when this is dropped.
pub(super) struct Repairing<'a> {
    link: &'a Link,
    repair: Repair,
}

impl Drop for Repairing<'_> {
    fn drop(&mut self) {
        self.link.0.lock().session.ends(self.repair);
    }
}

impl std::fmt::Debug for Link {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Link").field("config", &self.0.config).finish_non_exhaustive()
    }
}
