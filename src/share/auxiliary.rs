//! A second session of this mount, which is another client to the server.
//!
//! A server judges some requests by what the same client has open ([`super::operations`]). The few that need another
//! client go over this session. It has one connection and a ClientGuid of its own. It is made when it is needed, and
//! ended when it was not used for [`IDLE`]. No operation depends on it: there is another way where it is not
//! available.
//!
//! Invariant: at most one sign-in is in flight, and after a failed one none is made for a while, because servers
//! count them.

use super::error::Cause;
use super::link::Link;
use crate::wire::connect::{self, ConnectConfig, Previous, Tree};
use crate::wire::error::ConnectError;
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};

/// How long the session is kept without use: a program that saves one file often saves more. Then it is ended, because
/// a session costs smbd a process.
const IDLE: Duration = Duration::from_secs(10);
/// How long an operation waits for the session. Without it the operation takes two round trips.
const LIMIT: Duration = Duration::from_secs(3);
/// The pause after a failed attempt to connect.
const PAUSE: Duration = Duration::from_secs(60);
/// The pause after refused credentials: as long as servers count refused passwords.
const REFUSED_PAUSE: Duration = Duration::from_secs(30 * 60);
/// How long the server may take to end the session.
const LEAVE: Duration = Duration::from_secs(1);

/// The session, if there is one, and the state of attempts to make one.
#[derive(Debug)]
pub(super) struct Auxiliary {
    state: Arc<Mutex<State>>,
    /// One connect at a time.
    turn: Semaphore,
    /// The server refuses over this session what it refuses over the main one, or the share is being left.
    is_useless: AtomicBool,
}

#[derive(Debug, Default)]
struct State {
    tree: Option<Arc<Tree>>,
    /// Requests that use the session now.
    users: usize,
    /// Counts its uses, to find out whether it was used in the meantime.
    uses: u64,
    /// No attempt to connect before this time.
    not_before: Option<Instant>,
}

impl Default for Auxiliary {
    fn default() -> Auxiliary {
        Auxiliary { state: Arc::default(), turn: Semaphore::new(1), is_useless: AtomicBool::new(false) }
    }
}

impl Auxiliary {
    /// Whether the session is worth an attempt.
    pub(super) fn may_help(&self) -> bool {
        let state = self.state.lock();
        !self.is_useless.load(Ordering::Acquire) && state.may_connect(Instant::now())
    }

    /// The server refused over this session what it refuses over the main one: it is not used again.
    pub(super) fn is_refused(&self) {
        self.is_useless.store(true, Ordering::Release);
    }

    /// The tree of the session, live as far as is known. Connects if there is no session and no pause.
    ///
    /// # Errors
    /// [`Cause::Disconnected`], if the session is not available now.
    pub(super) async fn tree(&self, link: &Link, deadline: Instant) -> Result<Arc<Tree>, Cause> {
        let deadline = deadline.min(Instant::now() + LIMIT);
        let gone = |why: &str| Cause::Disconnected(format!("no auxiliary session: {why}"));
        let turn = timeout_at(deadline, self.turn.acquire()).await;
        let Ok(Ok(_turn)) = turn else { return Err(gone("another request waits for it")) };
        let (lost, may_connect) = {
            let state = self.state.lock();
            match &state.tree {
                Some(tree) if tree.channels.ended().is_none() => return Ok(Arc::clone(tree)),
                lost => (lost.clone(), state.may_connect(Instant::now())),
            }
        };
        if !may_connect {
            return Err(gone("the last attempt failed"));
        }
        let left = deadline.saturating_duration_since(Instant::now());
        let config = ConnectConfig { connections: 1, connect_timeout: left, ..link.config_now() };
        // What was sent on the previous session has ended with it once this succeeds.
        let previous =
            lost.as_ref().map_or(Previous::Unnamed, |lost| Previous::Named(lost.channels.session_id(), left));
        let connected = connect::connect(&config, previous, || ()).await;
        self.connected(connected).map_err(|error| gone(&error.to_string()))
    }

    fn connected(&self, connected: Result<Tree, ConnectError>) -> Result<Arc<Tree>, ConnectError> {
        let mut state = self.state.lock();
        match connected {
            Ok(tree) => {
                let tree = Arc::new(tree);
                state.tree = Some(Arc::clone(&tree));
                tracing::debug!("an auxiliary session was made");
                Ok(tree)
            }
            Err(error) => {
                let pause = if error.refusal().is_some() { REFUSED_PAUSE } else { PAUSE };
                state.not_before = Some(Instant::now() + pause);
                Err(error)
            }
        }
    }

    /// Begins a use of the session, which lasts until the returned value is dropped. An unused session is ended after
    /// [`IDLE`].
    pub(super) fn begin_use(&self) -> Use {
        let mut state = self.state.lock();
        state.users += 1;
        state.uses += 1;
        drop(state);
        Use(Arc::clone(&self.state))
    }

    /// Ends the session. No other one is made.
    pub(super) async fn leave(&self) {
        self.is_refused();
        let tree = self.state.lock().tree.take();
        end(tree).await;
    }
}

/// A use of the session.
#[derive(Debug)]
pub(super) struct Use(Arc<Mutex<State>>);

impl Drop for Use {
    fn drop(&mut self) {
        let uses = {
            let mut state = self.0.lock();
            state.users -= 1;
            state.uses
        };
        let state = Arc::downgrade(&self.0);
        // Without a runtime there is no session.
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        runtime.spawn(async move {
            tokio::time::sleep(IDLE).await;
            let unused = state.upgrade().and_then(|state| {
                let mut state = state.lock();
                if state.uses == uses && state.users == 0 { state.tree.take() } else { None }
            });
            end(unused).await;
        });
    }
}

impl State {
    fn may_connect(&self, now: Instant) -> bool {
        self.not_before.is_none_or(|not_before| not_before <= now)
    }
}

async fn end(tree: Option<Arc<Tree>>) {
    if let Some(tree) = tree.filter(|tree| tree.channels.ended().is_none()) {
        connect::disconnect(&tree, LEAVE).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::NtStatus;
    use crate::wire::error::Stage;

    #[tokio::test(start_paused = true)]
    async fn after_a_refused_sign_in_none_is_made_while_servers_count_it() {
        let auxiliary = Auxiliary::default();
        assert!(auxiliary.may_help());
        let refused = ConnectError::refused(Stage::SignIn, "refused", NtStatus::LOGON_FAILURE);
        assert!(auxiliary.connected(Err(refused)).is_err());
        tokio::time::advance(REFUSED_PAUSE - Duration::from_secs(1)).await;
        assert!(!auxiliary.may_help());
        tokio::time::advance(Duration::from_secs(1)).await;
        assert!(auxiliary.may_help());
        assert!(auxiliary.connected(Err(ConnectError::new(Stage::Connect, "unreachable"))).is_err());
        assert!(!auxiliary.may_help());
        tokio::time::advance(PAUSE).await;
        assert!(auxiliary.may_help());
    }

    #[test]
    fn a_session_over_which_the_server_refuses_the_same_is_not_used_again() {
        let auxiliary = Auxiliary::default();
        auxiliary.is_refused();
        assert!(!auxiliary.may_help());
    }
}
