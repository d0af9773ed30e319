//! The session that all operations share, and how it comes back when it is lost.
//!
//! There is one [`Tree`] at a time. Whoever finds its connections ended makes a new one, alone; the
//! others wait for it. The new session names the old one, which the server then ends first: nothing that is
//! still on its way to the old one can be done after what is sent on the new one. A server that is away is tried again, with growing pauses, until the operation's
//! deadline: then the operation fails, and the next one tries anew.

use super::backoff::Backoff;
use super::breaks::Leases;
use super::error::Cause;
use crate::config::Identity;
use crate::wire::connect::{self, ConnectConfig, Tree};
use crate::wire::error::{ConnectError, Stage};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::time::Instant;

/// The current tree, and the way to the next one.
#[derive(Debug)]
pub(super) struct Link {
    config: ConnectConfig,
    leases: Arc<Leases>,
    current: Mutex<Arc<Tree>>,
    /// Who signs in the next time.
    identity: Mutex<Identity>,
    /// One reconnects, the others wait.
    reconnecting: Semaphore,
    /// No new connection is made any more: the share is being left.
    leaving: std::sync::atomic::AtomicBool,
}

impl Link {
    pub(super) async fn connect(config: ConnectConfig, leases: Arc<Leases>) -> Result<Link, ConnectError> {
        let tree = Arc::new(connect::connect(&config, 0).await?);
        leases.listen(&tree);
        tracing::info!(server = %tree.channels.peer(), share = %config.share, terms = %tree.terms,
            connections = tree.channels.connections().len(), "connected");
        let identity = Mutex::new(config.identity.clone());
        let current = Mutex::new(tree);
        Ok(Link { config, leases, current, identity, reconnecting: Semaphore::new(1), leaving: false.into() })
    }

    /// Who signs in the next time.
    pub(super) fn renew_identity(&self, identity: Identity) {
        *self.identity.lock().unwrap_or_else(PoisonError::into_inner) = identity;
    }

    /// The current tree, whether its connection works or not.
    pub(super) fn current(&self) -> Arc<Tree> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// A tree whose connection works as far as is known; a new one if need be.
    pub(super) async fn tree(&self, deadline: Instant) -> Result<Arc<Tree>, Cause> {
        let tree = self.current();
        if tree.channels.ended().is_none() {
            return Ok(tree);
        }
        let lost = tree.channels.ended().unwrap_or_else(|| "it ended".into());
        tokio::time::timeout_at(deadline, self.reconnect())
            .await
            .unwrap_or_else(|_| Err(Cause::Disconnected(format!("{lost}; the server did not come back in time"))))
    }

    async fn reconnect(&self) -> Result<Arc<Tree>, Cause> {
        let _turn = self.reconnecting.acquire().await.map_err(|_| Cause::Disconnected("the share was left".into()))?;
        let tree = self.current();
        let Some(reason) = tree.channels.ended() else { return Ok(tree) };
        tracing::warn!(server = %self.config.host, %reason, "the connection is lost: connecting again");
        let mut backoff = Backoff::default();
        loop {
            if self.leaving.load(std::sync::atomic::Ordering::Acquire) {
                return Err(Cause::Disconnected("the share was left".into()));
            }
            let identity = self.identity.lock().unwrap_or_else(PoisonError::into_inner).clone();
            let config = ConnectConfig { identity, ..self.config.clone() };
            match connect::connect(&config, tree.channels.session_id()).await {
                Ok(tree) => {
                    tracing::info!(server = %tree.channels.peer(), terms = %tree.terms, "connected again");
                    let tree = Arc::new(tree);
                    self.leases.listen(&tree);
                    *self.current.lock().unwrap_or_else(PoisonError::into_inner) = tree.clone();
                    return Ok(tree);
                }
                // A wrong password does not become right by trying, and trying locks accounts.
                Err(error) if error.stage == Stage::SignIn && error.status.is_some() => {
                    tracing::error!(%error, "the server does not let us in again");
                    return Err(Cause::Disconnected(error.to_string()));
                }
                Err(error) => {
                    let wait = backoff.after_failure();
                    tracing::debug!(%error, ?wait, "the server is still away");
                    tokio::time::sleep(wait).await;
                }
            }
        }
    }

    /// Leaves the share; nothing connects again.
    pub(super) async fn leave(&self, deadline: Duration) {
        self.leaving.store(true, std::sync::atomic::Ordering::Release);
        let tree = self.current();
        if tree.channels.ended().is_none() {
            connect::disconnect(&tree, deadline).await;
        }
    }
}
