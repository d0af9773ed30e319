//! What all clients share: the clock, the server, and the requests and tasks in flight.

use super::server::{Reply, Request, Server};
use futures_util::FutureExt;
use futures_util::future::LocalBoxFuture;
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::task::Poll;
use std::time::{Duration, Instant};

/// A request in flight, or its answer.
struct Asked {
    number: u64,
    client: usize,
    request: Request,
    /// Nothing waits for the answer.
    is_posted: bool,
    /// The answer, and the first change that the server made for it.
    reply: Option<(Reply, Option<u64>)>,
    has_arrived: bool,
}

pub(super) struct World {
    start: Instant,
    passed: Cell<u64>,
    pub(super) server: RefCell<Server>,
    requests: RefCell<Vec<Asked>>,
    tasks: RefCell<Vec<LocalBoxFuture<'static, ()>>>,
    next: Cell<u64>,
    /// The events of the run, if it is traced.
    pub(super) trace: RefCell<Option<Vec<String>>>,
    pub(super) wrong: RefCell<Option<String>>,
    pub(super) counts: RefCell<BTreeMap<&'static str, u64>>,
}

impl std::fmt::Debug for World {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("World")
    }
}

impl World {
    pub(super) fn new(server: Server) -> Rc<World> {
        Rc::new(World {
            start: Instant::now(),
            passed: Cell::new(1000),
            server: RefCell::new(server),
            requests: RefCell::default(),
            tasks: RefCell::default(),
            next: Cell::new(1),
            trace: RefCell::default(),
            wrong: RefCell::default(),
            counts: RefCell::default(),
        })
    }

    pub(super) fn now(&self) -> Instant {
        self.start + Duration::from_millis(self.passed.get())
    }

    /// The time in milliseconds.
    pub(super) fn passed(&self) -> u64 {
        self.passed.get()
    }

    pub(super) fn pass(&self, milliseconds: u64) {
        self.passed.set(self.passed.get() + milliseconds);
        self.server.borrow_mut().now = self.passed.get();
    }

    /// A number that is not used elsewhere.
    pub(super) fn number(&self) -> u64 {
        self.next.set(self.next.get() + 1);
        self.next.get()
    }

    pub(super) fn moment(&self) -> u64 {
        self.server.borrow().tree.moment()
    }

    pub(super) fn count(&self, what: &'static str) {
        *self.counts.borrow_mut().entry(what).or_default() += 1;
    }

    pub(super) fn note(&self, what: impl FnOnce() -> String) {
        if let Some(trace) = self.trace.borrow_mut().as_mut() {
            trace.push(format!("{} {}: {}", self.passed(), self.server.borrow().tree.moment(), what()));
        }
    }

    pub(super) fn fail(&self, why: String) {
        self.wrong.borrow_mut().get_or_insert(why);
    }

    /// Sends a request, and waits for the answer.
    pub(super) async fn ask(&self, client: usize, request: Request) -> Reply {
        let number = self.send(client, request, false);
        std::future::poll_fn(|_| {
            let mut requests = self.requests.borrow_mut();
            let at = requests.iter().position(|asked| asked.number == number && asked.has_arrived);
            match at.and_then(|at| requests.swap_remove(at).reply) {
                Some((reply, _)) => Poll::Ready(reply),
                None => Poll::Pending,
            }
        })
        .await
    }

    /// Sends a request whose answer is not waited for.
    pub(super) fn post(&self, client: usize, request: Request) {
        self.send(client, request, true);
    }

    fn send(&self, client: usize, request: Request, is_posted: bool) -> u64 {
        let number = self.number();
        let asked = Asked { number, client, request, is_posted, reply: None, has_arrived: false };
        self.requests.borrow_mut().push(asked);
        number
    }

    fn choose(&self, client: usize, choice: u64, fits: impl Fn(&Asked) -> bool) -> Option<usize> {
        let requests = self.requests.borrow();
        let all: Vec<usize> =
            (0..requests.len()).filter(|at| requests[*at].client == client && fits(&requests[*at])).collect();
        (!all.is_empty()).then(|| all[choice as usize % all.len()])
    }

    /// The server answers one of the requests of a client. Returns whether it could.
    pub(super) fn work(&self, client: usize, choice: u64) -> bool {
        let Some(at) = self.choose(client, choice, |asked| asked.reply.is_none()) else { return false };
        let mut requests = self.requests.borrow_mut();
        let mut server = self.server.borrow_mut();
        let before = server.tree.moment();
        let Some(reply) = server.work(client, &requests[at].request) else { return false };
        drop(server);
        self.note(|| format!("client {client} {:?}: {reply:?}", requests[at].request));
        let server = self.server.borrow();
        if requests[at].is_posted {
            requests.swap_remove(at);
        } else {
            let own = (server.tree.moment() > before).then_some(before + 1);
            requests[at].reply = Some((reply, own));
        }
        true
    }

    /// One of the answers to a client arrives. Returns whether there was one.
    pub(super) fn answer(&self, client: usize, choice: u64) -> bool {
        let is_answered = |asked: &Asked| asked.reply.is_some() && !asked.has_arrived;
        let Some(at) = self.choose(client, choice, is_answered) else { return false };
        self.requests.borrow_mut()[at].has_arrived = true;
        self.go_on();
        true
    }

    /// The first change that a client has made and of which it has no answer yet.
    pub(super) fn first_unanswered(&self, client: usize) -> Option<u64> {
        let requests = self.requests.borrow();
        requests.iter().filter(|asked| asked.client == client).filter_map(|asked| asked.reply.as_ref()?.1).min()
    }

    /// Starts a task.
    pub(super) fn spawn(&self, future: impl Future<Output = ()> + 'static) {
        let mut future = future.boxed_local();
        if (&mut future).now_or_never().is_none() {
            self.tasks.borrow_mut().push(future);
        }
    }

    /// Continues all tasks. Returns how many are left.
    pub(super) fn go_on(&self) -> usize {
        let tasks = std::mem::take(&mut *self.tasks.borrow_mut());
        for mut task in tasks {
            if (&mut task).now_or_never().is_none() {
                self.tasks.borrow_mut().push(task);
            }
        }
        self.tasks.borrow().len()
    }

    /// Ends all tasks.
    pub(super) fn end(&self) {
        let tasks = std::mem::take(&mut *self.tasks.borrow_mut());
        drop(tasks);
    }
}

/// Waits until `is_so` holds.
pub(super) async fn until(mut is_so: impl FnMut() -> bool) {
    std::future::poll_fn(|_| if is_so() { Poll::Ready(()) } else { Poll::Pending }).await;
}

/// Lets other tasks continue once.
pub(super) async fn pause() {
    let mut has_waited = false;
    until(|| std::mem::replace(&mut has_waited, true)).await;
}
