//! Requests that are gathered: nobody is in a hurry with them, so many of them share a frame.
//!
//! They are unrelated requests in one compound, each on an open of its own (MS-SMB2 3.2.4.1.4). A frame
//! goes when it is full, when its first request has waited for as long as these may, or when somebody asks for it
//! ([`Gathering::send`]), because what he is about to do comes after them.
//!
//! Invariant: what was sent goes on the wire before anything that is sent after [`Gathering::send`] on the
//! same connection, as long as there are credits for it.

use crate::wire::connect::Tree;
use crate::wire::frame::{Chain, Reply, Request};
use futures_util::FutureExt;
use parking_lot::Mutex;
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::sync::oneshot;

/// Requests in one frame.
const FULL: usize = 32;

/// What is gathered.
#[derive(Debug)]
pub(super) struct Gathering {
    gathered: Mutex<Vec<Gathered>>,
    /// How long the first one waits for others.
    patience: Duration,
    deadline: Duration,
}

#[derive(Debug)]
struct Gathered {
    tree: Arc<Tree>,
    request: Request,
    answer: oneshot::Sender<Reply>,
}

impl Gathering {
    /// A request waits for others this long; each frame may take until its deadline.
    pub(super) fn new(patience: Duration, deadline: Duration) -> Arc<Gathering> {
        Arc::new(Gathering { gathered: Mutex::default(), patience, deadline })
    }

    /// Sends a request with others. The answer ends without a reply if the connection does. To be called within
    /// the runtime.
    pub(super) fn gather(self: &Arc<Self>, tree: Arc<Tree>, request: Request) -> oneshot::Receiver<Reply> {
        let (answer, receiver) = oneshot::channel();
        let count = {
            let mut gathered = self.gathered.lock();
            gathered.push(Gathered { tree, request, answer });
            gathered.len()
        };
        if count >= FULL {
            self.send();
        } else if count == 1 {
            let this: Weak<Gathering> = Arc::downgrade(self);
            let patience = self.patience;
            tokio::spawn(async move {
                tokio::time::sleep(patience).await;
                if let Some(this) = this.upgrade() {
                    this.send();
                }
            });
        }
        receiver
    }

    /// Sends what is gathered now. To be called within the runtime.
    pub(super) fn send(&self) {
        let mut gathered = std::mem::take(&mut *self.gathered.lock());
        while let Some(first) = gathered.first() {
            let tree = Arc::clone(&first.tree);
            let same = |other: &Gathered| Arc::ptr_eq(&other.tree, &tree);
            let (frame, rest) = gathered.into_iter().partition::<Vec<_>, _>(same);
            gathered = rest;
            let mut exchange = Box::pin(exchange(tree, frame, self.deadline));
            // What can go at once does, before whoever called this goes on.
            if exchange.as_mut().now_or_never().is_none() {
                tokio::spawn(exchange);
            }
        }
    }
}

async fn exchange(tree: Arc<Tree>, frame: Vec<Gathered>, deadline: Duration) {
    let (requests, answers): (Vec<_>, Vec<_>) = frame.into_iter().map(|one| (one.request, one.answer)).unzip();
    let chain = Chain { requests, related: false, tree_id: tree.id, seal: tree.seal, force_signature: false };
    match tree.channels.send(&chain, deadline).await {
        Ok(replies) => {
            for (answer, reply) in answers.into_iter().zip(replies) {
                // Nobody has to wait for it.
                let _ = answer.send(reply);
            }
        }
        Err(error) => tracing::debug!(%error, requests = answers.len(), "gathered requests were not answered"),
    }
}
