//! A second session of this mount, which is another client to the server.
//!
//! A server judges some requests by what the same client has open ([`super::operations`]). The few that need another client
//! go over this session. It has one connection and a ClientGuid of its own, is made when it is needed, and ended when it was
//! not used for [`IDLE`]. Nothing depends on it: where it cannot be had, there is another way.
//!
//! Invariant: at most one sign-in is made at a time, and after one that failed none for a while: servers count them.

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

/// How long it is kept without use: a program that saves one file often saves more. A server ends the process of a session
/// with it.
const IDLE: Duration = Duration::from_secs(10);
/// How long a program waits for it. The other way takes two round trips.
const LIMIT: Duration = Duration::from_secs(3);
/// How long no other one is tried after one that failed, and after one for which the credentials were refused: as long as
/// servers count refused passwords.
const PAUSE: Duration = Duration::from_secs(60);
const REFUSED_PAUSE: Duration = Duration::from_secs(30 * 60);
/// How long the server may take to end it.
const LEAVE: Duration = Duration::from_secs(1);

/// The session, if there is one, and what was learnt about it.
#[derive(Debug)]
pub(super) struct Auxiliary {
    state: Arc<Mutex<State>>,
    /// One at a time connects.
    turn: Semaphore,
    /// The server refuses over it what it refuses otherwise.
    is_useless: AtomicBool,
}

#[derive(Debug, Default)]
struct State {
    tree: Option<Arc<Tree>>,
    /// Requests that use it now.
    users: usize,
    /// Counts its uses: whether it was used meanwhile.
    uses: u64,
    /// Not before this time.
    not_before: Option<Instant>,
}

impl Default for Auxiliary {
    fn default() -> Auxiliary {
        Auxiliary { state: Arc::default(), turn: Semaphore::new(1), is_useless: AtomicBool::new(false) }
    }
}

impl Auxiliary {
    /// Whether it is worth a try.
    pub(super) fn may_help(&self) -> bool {
        let state = self.state.lock();
        !self.is_useless.load(Ordering::Acquire) && state.may_connect(Instant::now())
    }

    /// The server refused over it what it refuses over the session itself.
    pub(super) fn is_refused(&self) {
        self.is_useless.store(true, Ordering::Release);
    }

    /// The tree of the session, whose connection works as far as is known.
    ///
    /// # Errors
    /// [`Cause::Disconnected`], if it cannot be had now.
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
            return Err(gone("the last try failed"));
        }
        let left = deadline.saturating_duration_since(Instant::now());
        let config = ConnectConfig { connections: 1, connect_timeout: left, ..link.config_now() };
        // What was sent on the one before has ended with it, when this succeeds.
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

    /// It is used until what is returned is dropped, and ended if it is not used again soon.
    pub(super) fn begin_use(&self) -> Use {
        let mut state = self.state.lock();
        state.users += 1;
        state.uses += 1;
        drop(state);
        Use(Arc::clone(&self.state))
    }

    /// Ends it, and makes no other one.
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
        // Without a runtime there is no session any more.
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
    async fn after_a_refused_sign_in_none_is_made_for_as_long_as_servers_count() {
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
    fn where_the_server_refuses_the_same_it_is_not_tried_again() {
        let auxiliary = Auxiliary::default();
        auxiliary.is_refused();
        assert!(!auxiliary.may_help());
    }
}
