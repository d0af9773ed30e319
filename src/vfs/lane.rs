//! A bounded queue of notifications to the kernel, served by several threads: one at a time for each inode, in parallel
//! for different inodes. A notification about an inode waits while the kernel's requests for the attributes of that
//! inode are answered ([`super::answering`]).
//!
//! [`Queue`] is the plain value that decides which notification is next. In [`Lane`], threads wait for the next
//! notification, and operations wait for room.
//!
//! Invariant: at most one notification of an inode is under way, and none that was added is lost before the end of the
//! mount.

use super::answering::Answering;
use parking_lot::{Condvar, Mutex};
use std::collections::{HashMap, HashSet, VecDeque};
use std::ffi::OsString;
use std::sync::Arc;
use std::time::Instant;
use tokio::sync::{Notify, oneshot};

/// What the kernel is to forget.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Forgotten {
    /// An entry of a directory: the inode that a name means.
    Entry {
        /// The inode number of the directory.
        parent: u64,
        /// The name in the directory.
        name: OsString,
    },
    /// The attributes of the inode with this number.
    Attributes(u64),
    /// The attributes and pages of the inode with this number.
    Pages(u64),
}

impl Forgotten {
    /// The inode that the kernel locks for the notification.
    fn subject(&self) -> u64 {
        match self {
            Forgotten::Entry { parent: ino, .. } | Forgotten::Attributes(ino) | Forgotten::Pages(ino) => *ino,
        }
    }

    /// Whether the kernel ignores attributes that it had asked for before the notification.
    fn spoils_replies(&self) -> bool {
        !matches!(self, Forgotten::Entry { .. })
    }
}

/// The most notifications that wait in a lane.
const CAPACITY: usize = 4096;
/// The most threads of a lane. One inode with a request under way at a slow server may block a thread.
const MOST_THREADS: usize = 16;

/// Wakes an operation that waits for a notification: answered when the kernel has forgotten or has refused to, dropped
/// at the end of the mount.
type Waiter = oneshot::Sender<()>;

/// The notifications that wait, and the inodes whose notification is under way.
#[derive(Debug, Default)]
struct Queue {
    /// The notifications in the order in which they were added, and when.
    order: VecDeque<(Forgotten, Instant)>,
    waiters: HashMap<Forgotten, Vec<Waiter>>,
    busy: HashSet<u64>,
    answering: Answering,
}

/// What [`Queue::next`] has found.
#[derive(Debug)]
enum Next {
    /// This notification has begun.
    Begun(Task),
    /// None can begin before this time, unless something changes. `None`: whatever the time is.
    NotBefore(Option<Instant>),
}

impl Queue {
    /// Adds a notification, or merges it with an equal one that waits. If there is no room, returns the waiter.
    fn add(&mut self, what: &Forgotten, waiter: Option<Waiter>, now: Instant) -> Result<(), Option<Waiter>> {
        if let Some(waiters) = self.waiters.get_mut(what) {
            waiters.extend(waiter);
            return Ok(());
        }
        if self.order.len() >= CAPACITY {
            return Err(waiter);
        }
        self.order.push_back((what.clone(), now));
        self.waiters.insert(what.clone(), waiter.into_iter().collect());
        Ok(())
    }

    /// Begins the first notification whose inode is not busy, and that crosses no reply.
    fn next(&mut self, now: Instant) -> Next {
        let mut earliest = None;
        let found = self.order.iter().position(|(what, added)| {
            if self.busy.contains(&what.subject()) {
                return false;
            }
            let held = what.spoils_replies().then(|| self.answering.holds(what.subject(), *added, now)).flatten();
            earliest = earliest.into_iter().chain(held).min();
            held.is_none()
        });
        let Some((what, _)) = found.and_then(|at| self.order.remove(at)) else { return Next::NotBefore(earliest) };
        self.busy.insert(what.subject());
        let waiters = self.waiters.remove(&what).unwrap_or_default();
        Next::Begun(Task { what, waiters })
    }

    /// A notification has ended: its inode is no longer busy.
    fn done(&mut self, task: &Task) {
        self.busy.remove(&task.what.subject());
    }
}

/// A notification that has begun.
#[derive(Debug)]
pub struct Task {
    what: Forgotten,
    waiters: Vec<Waiter>,
}

impl Task {
    /// What the kernel is to forget.
    pub fn what(&self) -> &Forgotten {
        &self.what
    }
}

/// A request of the kernel for the attributes of an inode that is being answered. The reply is sent before this is dropped.
/// Notifications about the inode wait for it, up to a limit.
#[derive(Debug)]
pub struct Uncrossed {
    ino: u64,
    lanes: [Arc<Lane>; 2],
}

impl Uncrossed {
    /// To be called when the request has arrived, with all lanes.
    pub(super) fn begin(ino: u64, lanes: [Arc<Lane>; 2]) -> Uncrossed {
        lanes.iter().for_each(|lane| lane.answers(ino));
        Uncrossed { ino, lanes }
    }
}

impl Drop for Uncrossed {
    fn drop(&mut self) {
        self.lanes.iter().for_each(|lane| lane.answered(self.ino));
    }
}

#[derive(Debug)]
struct State {
    queue: Queue,
    threads: usize,
    idle: usize,
    is_closed: bool,
}

/// A bounded queue of notifications with its threads and waiting operations.
#[derive(Debug)]
pub struct Lane {
    state: Mutex<State>,
    work: Condvar,
    room: Notify,
}

impl Lane {
    pub(super) fn new() -> Lane {
        let state = State { queue: Queue::default(), threads: 1, idle: 0, is_closed: false };
        Lane { state: Mutex::new(state), work: Condvar::new(), room: Notify::new() }
    }

    /// Waits for room, then adds a notification. Does nothing after the end of the mount.
    pub(super) async fn add(&self, what: Forgotten, mut waiter: Option<Waiter>) {
        loop {
            let room = self.room.notified();
            {
                let mut state = self.state.lock();
                if state.is_closed {
                    return;
                }
                match state.queue.add(&what, waiter, Instant::now()) {
                    Ok(()) => break,
                    Err(back) => waiter = back,
                }
            }
            room.await;
        }
        self.work.notify_one();
    }

    /// Begins the next notification, if one can begin. The caller ends it with [`Lane::done`].
    pub fn next(&self) -> Option<Task> {
        let Next::Begun(task) = self.state.lock().queue.next(Instant::now()) else { return None };
        self.room.notify_waiters();
        Some(task)
    }

    /// A request for the attributes of an inode has arrived. The caller ends it with [`Lane::answered`].
    fn answers(&self, ino: u64) {
        self.state.lock().queue.answering.begin(ino);
    }

    /// A request for the attributes of an inode was answered.
    fn answered(&self, ino: u64) {
        let mut state = self.state.lock();
        state.queue.answering.end(ino, Instant::now());
        let is_waited_for = !state.queue.order.is_empty();
        drop(state);
        if is_waited_for {
            self.work.notify_all();
        }
    }

    /// As [`Lane::next`], but waits for a notification; `None` at the end of the mount. For the threads of the lane;
    /// the first thread is already counted. The flag says that the caller was the last idle thread and must start one
    /// more.
    pub fn wait(&self) -> Option<(Task, bool)> {
        let mut state = self.state.lock();
        state.idle += 1;
        let task = loop {
            if state.is_closed {
                return None;
            }
            match state.queue.next(Instant::now()) {
                Next::Begun(task) => break task,
                Next::NotBefore(Some(then)) => drop(self.work.wait_until(&mut state, then)),
                Next::NotBefore(None) => self.work.wait(&mut state),
            }
        };
        state.idle -= 1;
        let starts_another = state.idle == 0 && state.threads < MOST_THREADS;
        state.threads += usize::from(starts_another);
        drop(state);
        self.room.notify_waiters();
        Some((task, starts_another))
    }

    /// A thread that [`Lane::wait`] asked for could not be started.
    pub fn not_started(&self) {
        self.state.lock().threads -= 1;
    }

    /// Ends a notification: the kernel has forgotten, or has refused to.
    pub fn done(&self, task: Task) {
        self.state.lock().queue.done(&task);
        // The next notification of the same inode can begin.
        self.work.notify_one();
        // A waiter may have given up: then the send fails.
        for waiter in task.waiters {
            let _ = waiter.send(());
        }
    }

    /// Ends the threads and all waits, and drops the notifications that wait.
    pub(super) fn close(&self) {
        let queue = {
            let mut state = self.state.lock();
            state.is_closed = true;
            std::mem::take(&mut state.queue)
        };
        drop(queue);
        self.work.notify_all();
        self.room.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;
    use std::time::Duration;

    fn add(queue: &mut Queue, what: &Forgotten, waiter: Option<Waiter>) {
        queue.add(what, waiter, Instant::now()).unwrap();
    }

    fn next(queue: &mut Queue) -> Option<(Forgotten, Task)> {
        match queue.next(Instant::now()) {
            Next::Begun(task) => Some((task.what.clone(), task)),
            Next::NotBefore(_) => None,
        }
    }

    fn name(parent: u64, name: &str) -> Forgotten {
        Forgotten::Entry { parent, name: name.into() }
    }

    #[test]
    fn there_is_one_notification_of_an_inode_at_a_time_and_other_inodes_overtake() {
        let mut queue = Queue::default();
        let all = [name(1, "a"), name(1, "b"), Forgotten::Attributes(2), Forgotten::Attributes(1)];
        all.iter().for_each(|what| add(&mut queue, what, None));
        let (first, task) = next(&mut queue).unwrap();
        assert_eq!(first, all[0]);
        assert_eq!(next(&mut queue).unwrap().0, all[2], "1 is busy");
        assert!(next(&mut queue).is_none());
        queue.done(&task);
        let (second, task) = next(&mut queue).unwrap();
        assert_eq!(second, all[1]);
        queue.done(&task);
        assert_eq!(next(&mut queue).unwrap().0, all[3]);
    }

    #[test]
    fn equal_notifications_are_merged_until_one_of_them_has_begun() {
        let mut queue = Queue::default();
        let pages = Forgotten::Pages(1);
        let waiters: Vec<_> = (0..3).map(|_| oneshot::channel()).collect();
        let (mut senders, mut gone): (Vec<_>, Vec<_>) = waiters.into_iter().unzip();
        add(&mut queue, &pages, senders.pop());
        add(&mut queue, &pages, senders.pop());
        let (_, task) = next(&mut queue).unwrap();
        add(&mut queue, &pages, senders.pop());
        assert!(next(&mut queue).is_none(), "the inode is busy");
        queue.done(&task);
        task.waiters.into_iter().for_each(|waiter| waiter.send(()).unwrap());
        assert!(gone[2].try_recv().is_ok() && gone[1].try_recv().is_ok());
        assert!(gone[0].try_recv().is_err(), "a READ may have brought pages after the first one began");
        assert_eq!(next(&mut queue).unwrap().1.waiters.len(), 1);
    }

    #[test]
    fn a_notification_that_would_cross_a_reply_is_overtaken() {
        let (mut queue, start) = (Queue::default(), Instant::now());
        queue.answering.begin(1);
        let all = [Forgotten::Attributes(1), name(1, "a"), Forgotten::Attributes(2)];
        all.iter().for_each(|what| queue.add(what, None, start).unwrap());
        let mut begun = |now| match queue.next(now) {
            Next::Begun(task) => {
                queue.done(&task);
                Ok(task.what)
            }
            Next::NotBefore(then) => Err(then),
        };
        assert_eq!(begun(start).unwrap(), all[1]);
        assert_eq!(begun(start).unwrap(), all[2]);
        let then = begun(start).unwrap_err().unwrap();
        assert!(then > start);
        assert_eq!(begun(then).unwrap(), all[0]);
        assert_eq!(begun(then).unwrap_err(), None);
    }

    #[test]
    fn a_thread_waits_until_the_reply_is_sent() {
        let lane = Arc::new(Lane::new());
        let uncrossed = Uncrossed::begin(1, [Arc::clone(&lane), Arc::new(Lane::new())]);
        lane.add(Forgotten::Attributes(1), None).now_or_never().unwrap();
        assert!(lane.next().is_none());
        let thread = std::thread::spawn({
            let lane = Arc::clone(&lane);
            move || lane.wait().unwrap().0.what
        });
        std::thread::sleep(Duration::from_millis(10));
        drop(uncrossed);
        assert_eq!(thread.join().unwrap(), Forgotten::Attributes(1));
    }

    #[tokio::test]
    async fn a_full_lane_makes_callers_wait_and_drops_nothing() {
        let lane = Lane::new();
        for ino in 0..CAPACITY as u64 {
            assert_eq!(lane.add(Forgotten::Attributes(ino), None).now_or_never(), Some(()));
        }
        let mut waiting = Box::pin(lane.add(Forgotten::Attributes(u64::MAX), None));
        assert_eq!(waiting.as_mut().now_or_never(), None);
        assert_eq!(
            lane.add(Forgotten::Attributes(5), None).now_or_never(),
            Some(()),
            "an equal notification waits already"
        );
        let mut forgotten = vec![lane.next().unwrap().what.subject()];
        waiting.await;
        forgotten.extend(std::iter::from_fn(|| Some(lane.next()?.what.subject())));
        assert_eq!(forgotten, (0..CAPACITY as u64).chain([u64::MAX]).collect::<Vec<_>>());
    }

    #[test]
    fn threads_are_started_while_all_are_busy_up_to_a_bound() {
        let lane = Lane::new();
        let mut started = 1;
        for ino in 0..2 * MOST_THREADS as u64 {
            lane.add(Forgotten::Pages(ino), None).now_or_never().unwrap();
            started += usize::from(lane.wait().unwrap().1);
        }
        assert_eq!(started, MOST_THREADS);
    }

    #[tokio::test]
    async fn the_end_of_the_mount_ends_threads_and_waits() {
        let lane = Arc::new(Lane::new());
        let thread = std::thread::spawn({
            let lane = Arc::clone(&lane);
            move || lane.wait().is_none()
        });
        lane.close();
        assert!(thread.join().unwrap());
        let (sender, gone) = oneshot::channel();
        lane.add(Forgotten::Pages(1), Some(sender)).await;
        assert!(gone.await.is_err());
    }
}
