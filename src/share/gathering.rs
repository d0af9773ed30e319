//! Requests that are gathered: none of them is urgent, so many of them share a frame.
//!
//! They are unrelated requests in one compound, each on an open of its own (MS-SMB2 3.2.4.1.4). A frame is sent when
//! it is full, when one of its requests has waited as long as it may, or on demand ([`Gathering::send`]), because
//! what is sent next must come after them. Or they travel behind the requests of another frame ([`Gathering::take`]).
//!
//! Invariant: gathered requests go on the wire before anything that is sent after [`Gathering::send`] on the same
//! connection, if there are credits for them.

use crate::wire::connect::Tree;
use crate::wire::frame::{Chain, Reply, Request, UNRELATED};
use futures_util::FutureExt;
use futures_util::future::try_join_all;
use parking_lot::Mutex;
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::sync::oneshot;

/// The requests that wait, and when they are sent.
#[derive(Debug)]
pub(super) struct Gathering {
    state: Mutex<State>,
    /// At this number of waiting requests all of them are sent, one frame per tree.
    full: usize,
    /// How long a request waits for others.
    patience: Duration,
    /// How long a frame may take to be answered.
    deadline: Duration,
}

#[derive(Debug, Default)]
struct State {
    gathered: Vec<Gathered>,
    /// The number of the last addition. Requests that were added together have the same number.
    number: u64,
}

#[derive(Debug)]
struct Gathered {
    number: u64,
    tree: Arc<Tree>,
    request: Request,
    answer: oneshot::Sender<Reply>,
}

/// The receivers of the answers to requests that travel behind another frame.
#[derive(Debug)]
pub(super) struct Waiting(Vec<oneshot::Sender<Reply>>);

impl Waiting {
    /// Hands out the answers: the replies from index `at` on, which are removed from `replies`.
    pub(super) fn answer(self, replies: &mut Vec<Reply>, at: usize) {
        let theirs = at.min(replies.len())..(at + self.0.len()).min(replies.len());
        for (answer, reply) in self.0.into_iter().zip(replies.drain(theirs)) {
            // The receiver may have been dropped.
            let _ = answer.send(reply);
        }
    }
}

impl Gathering {
    /// `full` waiting requests are sent at once; each request waits `patience` for others; each frame may take
    /// `deadline` to be answered.
    pub(super) fn new(full: usize, patience: Duration, deadline: Duration) -> Arc<Gathering> {
        Arc::new(Gathering { state: Mutex::default(), full, patience, deadline })
    }

    /// Adds a request. The receiver ends without a reply if the connection ends or no answer comes. Must be called
    /// within the runtime.
    pub(super) fn gather(self: &Arc<Self>, tree: Arc<Tree>, request: Request) -> oneshot::Receiver<Reply> {
        self.gather_within(self.patience, tree, request)
    }

    /// The same, for a request that waits at most `patience`.
    pub(super) fn gather_within(
        self: &Arc<Self>,
        patience: Duration,
        tree: Arc<Tree>,
        request: Request,
    ) -> oneshot::Receiver<Reply> {
        let (answer, receiver) = oneshot::channel();
        self.add(vec![(tree, request, answer)], patience.min(self.patience));
        receiver
    }

    /// The same, for several requests in one frame; `None` if the connection ends or no answer comes.
    pub(super) fn gather_all(
        self: &Arc<Self>,
        tree: &Arc<Tree>,
        requests: Vec<Request>,
    ) -> impl Future<Output = Option<Vec<Reply>>> + Send + use<> {
        let (gathered, answers): (Vec<_>, Vec<_>) = requests
            .into_iter()
            .map(|request| {
                let (answer, receiver) = oneshot::channel();
                ((Arc::clone(tree), request, answer), receiver)
            })
            .unzip();
        self.add(gathered, self.patience);
        try_join_all(answers).map(Result::ok)
    }

    fn add(self: &Arc<Self>, new: Vec<(Arc<Tree>, Request, oneshot::Sender<Reply>)>, patience: Duration) {
        let (count, number) = {
            let mut state = self.state.lock();
            state.number += 1;
            let number = state.number;
            state.gathered.extend(new.into_iter().map(|(tree, request, answer)| Gathered {
                number,
                tree,
                request,
                answer,
            }));
            (state.gathered.len(), number)
        };
        if count >= self.full {
            self.send();
        } else {
            let this: Weak<Gathering> = Arc::downgrade(self);
            tokio::spawn(async move {
                tokio::time::sleep(patience).await;
                if let Some(this) = this.upgrade().filter(|this| this.waits_for(number)) {
                    this.send();
                }
            });
        }
    }

    /// Whether the addition of this number, or an earlier one, is still waiting. Requests leave in the order in which
    /// they came, so the first one decides.
    fn waits_for(&self, number: u64) -> bool {
        self.state.lock().gathered.first().is_some_and(|first| first.number <= number)
    }

    /// Removes the waiting requests of a tree, fewer than a full frame, to send them behind the requests of another
    /// frame.
    pub(super) fn take(&self, tree: &Arc<Tree>) -> (Vec<Request>, Waiting) {
        let mut state = self.state.lock();
        let (removed, rest) = of_tree(std::mem::take(&mut state.gathered), tree);
        state.gathered = rest;
        let (requests, answers) = removed.into_iter().map(|one| (one.request.unrelated(), one.answer)).unzip();
        (requests, Waiting(answers))
    }

    /// Sends everything that is waiting. Must be called within the runtime.
    pub(super) fn send(&self) {
        let mut gathered = std::mem::take(&mut self.state.lock().gathered);
        while let Some(first) = gathered.first() {
            let tree = Arc::clone(&first.tree);
            let (frame, rest) = of_tree(gathered, &tree);
            gathered = rest;
            let mut exchange = Box::pin(exchange(tree, frame, self.deadline));
            // What can be sent at once is, before the caller continues.
            if exchange.as_mut().now_or_never().is_none() {
                tokio::spawn(exchange);
            }
        }
    }
}

/// The requests of this tree, and the rest.
fn of_tree(gathered: Vec<Gathered>, tree: &Arc<Tree>) -> (Vec<Gathered>, Vec<Gathered>) {
    gathered.into_iter().partition(|one| Arc::ptr_eq(&one.tree, tree))
}

async fn exchange(tree: Arc<Tree>, frame: Vec<Gathered>, deadline: Duration) {
    let (requests, answers): (Vec<_>, Vec<_>) = frame.into_iter().map(|one| (one.request, one.answer)).unzip();
    let chain = Chain { requests, related_from: UNRELATED, tree_id: tree.id, seal: tree.seal, force_signature: false };
    match tree.channels.send(&chain, deadline).await {
        Ok(mut replies) => Waiting(answers).answer(&mut replies, 0),
        Err(error) => tracing::debug!(%error, requests = answers.len(), "gathered requests were not answered"),
    }
}
