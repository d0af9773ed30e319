//! CLOSEs that are gathered: nobody is in a hurry with them, so many of them share a frame.
//!
//! They are unrelated requests in one compound, each with a file of its own (MS-SMB2 3.2.4.1.4). A frame
//! goes when it is full, when its first CLOSE has waited for [`PATIENCE`], or when somebody asks for it
//! ([`Closes::send`]), because what he is about to do comes after them.
//!
//! Invariant: what was sent goes on the wire before anything that is sent after [`Closes::send`] on the
//! same connection, as long as there are credits for it.

use super::file::Open;
use crate::wire::connect::Tree;
use crate::wire::frame::{Chain, Reply, Request};
use crate::wire::messages::create;
use futures_util::FutureExt;
use parking_lot::Mutex;
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::sync::oneshot;

/// CLOSEs in one frame.
const FULL: usize = 32;
/// How long the first one waits for others.
const PATIENCE: Duration = Duration::from_millis(20);

/// What is gathered.
#[derive(Debug)]
pub(super) struct Closes {
    gathered: Mutex<Vec<Gathered>>,
    deadline: Duration,
}

#[derive(Debug)]
struct Gathered {
    open: Open,
    answer: oneshot::Sender<Reply>,
}

impl Closes {
    /// Each frame may take so long.
    pub(super) fn new(deadline: Duration) -> Arc<Closes> {
        Arc::new(Closes { gathered: Mutex::default(), deadline })
    }

    /// Closes an open with others. The answer ends without a reply if the connection does. To be called within
    /// the runtime.
    pub(super) fn gather(self: &Arc<Self>, open: Open) -> oneshot::Receiver<Reply> {
        let (answer, receiver) = oneshot::channel();
        let count = {
            let mut gathered = self.gathered.lock();
            gathered.push(Gathered { open, answer });
            gathered.len()
        };
        if count >= FULL {
            self.send();
        } else if count == 1 {
            let this: Weak<Closes> = Arc::downgrade(self);
            tokio::spawn(async move {
                tokio::time::sleep(PATIENCE).await;
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
            let tree = Arc::clone(&first.open.tree);
            let same = |closing: &Gathered| Arc::ptr_eq(&closing.open.tree, &tree);
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
    let requests: Vec<Request> = frame.iter().map(|closing| create::close(closing.open.file)).collect();
    let chain = Chain { requests, related: false, tree_id: tree.id, seal: tree.seal, force_signature: false };
    match tree.channels.send(&chain, deadline).await {
        Ok(replies) => {
            for (closing, reply) in frame.into_iter().zip(replies) {
                // Nobody has to wait for it.
                let _ = closing.answer.send(reply);
            }
        }
        Err(error) => tracing::debug!(%error, files = frame.len(), "closes were not answered"),
    }
}
