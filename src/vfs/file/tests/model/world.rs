//! What all clients share: the clock, the server, the promises, and the tasks under way.

use super::promises::Promises;
use super::server::{Outcome, Reply, Request, Server};
use crate::share::FileTime;
use futures_util::FutureExt;
use futures_util::future::LocalBoxFuture;
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::task::Poll;
use std::time::{Duration, Instant};

/// A task under way, with its number.
struct Task {
    number: u64,
    future: LocalBoxFuture<'static, ()>,
}

/// The shared part of a run.
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
    /// A world with this server and number of clients.
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

    /// The time of the virtual clock.
    pub(super) fn now(&self) -> Instant {
        self.start + self.passed.get()
    }

    /// The server's clock, which clients know, in units of 100 ns.
    pub(super) fn clock(&self) -> FileTime {
        FileTime(self.passed.get().as_nanos() as u64 / 100)
    }

    /// Moves the clock.
    pub(super) fn pass(&self, time: Duration) {
        self.passed.set(self.passed.get() + time);
    }

    /// A new number. Numbers are never reused, and increase.
    pub(super) fn number(&self) -> u64 {
        self.next.set(self.next.get() + 1);
        self.next.get()
    }

    /// Identity of a file at the server: id and time of creation.
    pub(super) fn identity(&self, file: usize) -> (u64, FileTime) {
        let server = self.server.borrow();
        (server.disks[file].id, server.disks[file].created)
    }

    /// A client has judged a file that it reopened. The verdict is not certain if the client's own WRITEs without an
    /// answer are on the server: no evidence shows whether another client wrote after them.
    pub(super) fn judged(&self, client: usize, (file, open): (usize, u64), (is_unchanged, is_certain): (bool, bool)) {
        self.promises.borrow_mut().judged(client, file, open, is_certain || !is_unchanged);
        self.promises.borrow_mut().count(if is_unchanged { "judged unchanged" } else { "judged a conflict" });
    }

    /// Counts something that happened.
    pub(super) fn count(&self, what: &'static str) {
        self.promises.borrow_mut().count(what);
    }

    /// Records a failure of the run.
    pub(super) fn fail(&self, why: String) {
        self.promises.borrow_mut().fail(why);
    }

    /// The server works on a request. `None` if the request waits for an acknowledgement.
    pub(super) fn work(&self, client: usize, session: u64, request: &Request) -> Option<Reply> {
        let outcome = self.server.borrow_mut().work(client, session, request, self.clock());
        self.note();
        match outcome {
            Outcome::Reply(reply) => Some(reply),
            Outcome::Waits => None,
        }
    }

    /// Reports what the server did to the promises.
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

    /// Starts a task.
    pub(super) fn spawn(&self, future: impl Future<Output = ()> + 'static) {
        let number = self.number();
        let mut future = future.boxed_local();
        // The first poll does at once as much as can be done.
        if (&mut future).now_or_never().is_none() {
            self.tasks.borrow_mut().push(Task { number, future });
        }
    }

    /// Polls the tasks, but for some of them if `stalls` is not 0. Returns how many are left.
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

    /// Lets other tasks run, once in four calls.
    pub(super) async fn pause(&self) {
        let mut waits = self.number().is_multiple_of(4);
        std::future::poll_fn(|_| if std::mem::take(&mut waits) { Poll::Pending } else { Poll::Ready(()) }).await;
    }

    /// Drops all tasks.
    pub(super) fn end(&self) {
        let tasks = std::mem::take(&mut *self.tasks.borrow_mut());
        drop(tasks);
    }
}
