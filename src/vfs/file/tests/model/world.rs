//! What all clients share: the clock, the server, the promises, and what is under way.

use super::promises::Promises;
use super::server::{Outcome, Reply, Request, Server};
use crate::share::FileTime;
use futures_util::FutureExt;
use futures_util::future::LocalBoxFuture;
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::task::Poll;
use std::time::{Duration, Instant};

/// Something under way, with the client that it belongs to.
struct Task {
    number: u64,
    future: LocalBoxFuture<'static, ()>,
}

pub(super) struct World {
    start: Instant,
    passed: Cell<Duration>,
    pub(super) server: RefCell<Server>,
    pub(super) promises: RefCell<Promises>,
    tasks: RefCell<Vec<Task>>,
    next: Cell<u64>,
}

impl std::fmt::Debug for World {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("World")
    }
}

impl World {
    pub(super) fn new(server: Server, clients: usize) -> Rc<World> {
        let data = server.disks.iter().map(|disk| disk.data.clone()).collect();
        Rc::new(World {
            start: Instant::now(),
            passed: Cell::new(Duration::from_secs(1)),
            server: RefCell::new(server),
            promises: RefCell::new(Promises::new(data, clients)),
            tasks: RefCell::default(),
            next: Cell::new(1),
        })
    }

    pub(super) fn now(&self) -> Instant {
        self.start + self.passed.get()
    }

    /// The server's clock, which clients know.
    pub(super) fn clock(&self) -> FileTime {
        FileTime(self.passed.get().as_nanos() as u64 / 100)
    }

    pub(super) fn pass(&self, time: Duration) {
        self.passed.set(self.passed.get() + time);
    }

    /// A number that nothing else has.
    pub(super) fn number(&self) -> u64 {
        self.next.set(self.next.get() + 1);
        self.next.get()
    }

    pub(super) fn identity(&self, file: usize) -> (u64, FileTime) {
        let server = self.server.borrow();
        (server.disks[file].id, server.disks[file].created)
    }

    /// A client has judged a file that it opened again. It is not certain if its own WRITEs, which had no answer, are there:
    /// whether another client has written after them no evidence tells.
    pub(super) fn judged(&self, client: usize, (file, open): (usize, u64), (is_unchanged, is_certain): (bool, bool)) {
        self.promises.borrow_mut().judged(client, file, open, is_certain || !is_unchanged);
        self.promises.borrow_mut().count(if is_unchanged { "judged unchanged" } else { "judged a conflict" });
    }

    pub(super) fn count(&self, what: &'static str) {
        self.promises.borrow_mut().count(what);
    }

    pub(super) fn fail(&self, why: String) {
        self.promises.borrow_mut().fail(why);
    }

    /// The server works on a request.
    pub(super) fn work(&self, client: usize, session: u64, request: &Request) -> Option<Reply> {
        let outcome = self.server.borrow_mut().work(client, session, request, self.clock());
        self.note();
        match outcome {
            Outcome::Reply(reply) => Some(reply),
            Outcome::Waits => None,
        }
    }

    /// Tells the promises what the server did.
    pub(super) fn note(&self) {
        use super::server::Applied;
        let applied = std::mem::take(&mut self.server.borrow_mut().applied);
        for applied in applied {
            let file = match &applied {
                Applied::Write { file, .. }
                | Applied::Resize { file, .. }
                | Applied::Flushed { file }
                | Applied::Opened { file, .. } => *file,
            };
            self.promises.borrow_mut().applied(applied, &self.server.borrow().disks[file].data);
        }
    }

    /// From now on this is under way.
    pub(super) fn spawn(&self, future: impl Future<Output = ()> + 'static) {
        let number = self.number();
        let mut future = future.boxed_local();
        // As much as can be done at once is done at once.
        if (&mut future).now_or_never().is_none() {
            self.tasks.borrow_mut().push(Task { number, future });
        }
    }

    /// What is under way goes on, but for some of it. Says how much is left.
    pub(super) fn go_on(&self, stalls: u64) -> usize {
        let tasks = std::mem::take(&mut *self.tasks.borrow_mut());
        for mut task in tasks {
            let is_stalled = stalls != 0 && (task.number.wrapping_mul(0x9E37_79B9) ^ stalls).is_multiple_of(3);
            if is_stalled || (&mut task.future).now_or_never().is_none() {
                self.tasks.borrow_mut().push(task);
            }
        }
        self.tasks.borrow().len()
    }

    /// Lets others go on, now and then.
    pub(super) async fn pause(&self) {
        let mut waits = self.number().is_multiple_of(4);
        std::future::poll_fn(|_| if std::mem::take(&mut waits) { Poll::Pending } else { Poll::Ready(()) }).await;
    }

    /// Ends all that is under way.
    pub(super) fn end(&self) {
        let tasks = std::mem::take(&mut *self.tasks.borrow_mut());
        drop(tasks);
    }
}
