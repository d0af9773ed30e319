//! Requests that are gathered: nobody is in a hurry with them, so many of them share a frame.
//!
//! They are unrelated requests in one compound, each on an open of its own (MS-SMB2 3.2.4.1.4). A frame
//! goes when it is full, when its first request has waited for as long as these may, or when somebody asks for it
//! ([`Gathering::send`]), because what he is about to do comes after them. Or he takes them along
//! ([`Gathering::take`]).
//!
//! Invariant: what was sent goes on the wire before anything that is sent after [`Gathering::send`] on the
//! same connection, as long as there are credits for it.

use crate::wire::connect::Tree;
use crate::wire::frame::{Chain, Reply, Request, UNRELATED};
use futures_util::FutureExt;
use futures_util::future::try_join_all;
use parking_lot::Mutex;
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::sync::oneshot;

/// What is gathered.
#[derive(Debug)]
pub(super) struct Gathering {
    gathered: Mutex<Vec<Gathered>>,
    /// So many are a frame.
    full: usize,
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

/// Who waits for the answers to what was taken along.
#[derive(Debug)]
pub(super) struct Waiting(Vec<oneshot::Sender<Reply>>);

impl Waiting {
    /// How many answers are theirs.
    pub(super) fn count(&self) -> usize {
        self.0.len()
    }

    /// Hands them their answers: the first ones of these, which are taken away.
    pub(super) fn answer(self, replies: &mut Vec<Reply>) {
        let count = self.count().min(replies.len());
        for (answer, reply) in self.0.into_iter().zip(replies.drain(..count)) {
            // Nobody has to wait for it.
            let _ = answer.send(reply);
        }
    }
}

impl Gathering {
    /// So many requests are a frame; each waits for others this long; each frame may take until its deadline.
    pub(super) fn new(full: usize, patience: Duration, deadline: Duration) -> Arc<Gathering> {
        Arc::new(Gathering { gathered: Mutex::default(), full, patience, deadline })
    }

    /// Sends a request with others. The answer ends without a reply if the connection does. To be called within
    /// the runtime.
    pub(super) fn gather(self: &Arc<Self>, tree: Arc<Tree>, request: Request) -> oneshot::Receiver<Reply> {
        let (answer, receiver) = oneshot::channel();
        self.add(vec![Gathered { tree, request, answer }]);
        receiver
    }

    /// The same for several requests, in one frame; `None` if the connection ends.
    pub(super) fn gather_all(
        self: &Arc<Self>,
        tree: &Arc<Tree>,
        requests: Vec<Request>,
    ) -> impl Future<Output = Option<Vec<Reply>>> + Send + use<> {
        let (gathered, answers): (Vec<_>, Vec<_>) = requests
            .into_iter()
            .map(|request| {
                let (answer, receiver) = oneshot::channel();
                (Gathered { tree: Arc::clone(tree), request, answer }, receiver)
            })
            .unzip();
        self.add(gathered);
        try_join_all(answers).map(Result::ok)
    }

    fn add(self: &Arc<Self>, new: Vec<Gathered>) {
        let (was_empty, count) = {
            let mut gathered = self.gathered.lock();
            let was_empty = gathered.is_empty();
            gathered.extend(new);
            (was_empty, gathered.len())
        };
        if count >= self.full {
            self.send();
        } else if was_empty {
            let this: Weak<Gathering> = Arc::downgrade(self);
            let patience = self.patience;
            tokio::spawn(async move {
                tokio::time::sleep(patience).await;
                if let Some(this) = this.upgrade() {
                    this.send();
                }
            });
        }
    }

    /// Takes what is gathered for a tree, to go at the head of another frame: less than a frame full.
    pub(super) fn take(&self, tree: &Arc<Tree>) -> (Vec<Request>, Waiting) {
        let mut gathered = self.gathered.lock();
        let (taken, rest) = of_tree(std::mem::take(&mut *gathered), tree);
        *gathered = rest;
        let (requests, answers) = taken.into_iter().map(|one| (one.request, one.answer)).unzip();
        (requests, Waiting(answers))
    }

    /// Sends what is gathered now. To be called within the runtime.
    pub(super) fn send(&self) {
        let mut gathered = std::mem::take(&mut *self.gathered.lock());
        while let Some(first) = gathered.first() {
            let tree = Arc::clone(&first.tree);
            let (frame, rest) = of_tree(gathered, &tree);
            gathered = rest;
            let mut exchange = Box::pin(exchange(tree, frame, self.deadline));
            // What can go at once does, before whoever called this goes on.
            if exchange.as_mut().now_or_never().is_none() {
                tokio::spawn(exchange);
            }
        }
    }
}

/// What is for this tree, and the rest.
fn of_tree(gathered: Vec<Gathered>, tree: &Arc<Tree>) -> (Vec<Gathered>, Vec<Gathered>) {
    gathered.into_iter().partition(|one| Arc::ptr_eq(&one.tree, tree))
}

async fn exchange(tree: Arc<Tree>, frame: Vec<Gathered>, deadline: Duration) {
    let (requests, answers): (Vec<_>, Vec<_>) = frame.into_iter().map(|one| (one.request, one.answer)).unzip();
    let chain = Chain { requests, related_from: UNRELATED, tree_id: tree.id, seal: tree.seal, force_signature: false };
    match tree.channels.send(&chain, deadline).await {
        Ok(mut replies) => Waiting(answers).answer(&mut replies),
        Err(error) => tracing::debug!(%error, requests = answers.len(), "gathered requests were not answered"),
    }
}
