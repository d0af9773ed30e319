//! A bounded queue of notifications to the kernel, served by several threads: in order for each inode, in parallel
//! for different inodes.
//!
//! [`Queue`] is the plain value that decides which notification is next. In [`Lane`], threads wait for the next
//! notification, and operations wait for room.
//!
//! Invariant: at most one notification of an inode is under way, and none that was added is lost before the end of the
//! mount.

use parking_lot::{Condvar, Mutex};
use std::collections::{HashMap, HashSet, VecDeque};
use std::ffi::OsString;
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
    /// The inode that the kernel locks for the notification. Notifications of one inode keep their order.
    fn subject(&self) -> u64 {
        match self {
            Forgotten::Entry { parent: ino, .. } | Forgotten::Attributes(ino) | Forgotten::Pages(ino) => *ino,
        }
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
    order: VecDeque<Forgotten>,
    waiters: HashMap<Forgotten, Vec<Waiter>>,
    busy: HashSet<u64>,
}

impl Queue {
    /// Adds a notification, or merges it with an equal one that waits. If there is no room, returns the waiter.
    fn add(&mut self, what: &Forgotten, waiter: Option<Waiter>) -> Result<(), Option<Waiter>> {
        if let Some(waiters) = self.waiters.get_mut(what) {
            waiters.extend(waiter);
            return Ok(());
        }
        if self.order.len() >= CAPACITY {
            return Err(waiter);
        }
        self.order.push_back(what.clone());
        self.waiters.insert(what.clone(), waiter.into_iter().collect());
        Ok(())
    }

    /// Begins the first notification whose inode is not busy.
    fn next(&mut self) -> Option<Task> {
        let at = self.order.iter().position(|what| !self.busy.contains(&what.subject()))?;
        let what = self.order.remove(at)?;
        self.busy.insert(what.subject());
        let waiters = self.waiters.remove(&what).unwrap_or_default();
        Some(Task { what, waiters })
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
                match state.queue.add(&what, waiter) {
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
        let task = self.state.lock().queue.next()?;
        self.room.notify_waiters();
        Some(task)
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
            match state.queue.next() {
                Some(task) => break task,
                None => self.work.wait(&mut state),
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
    use std::sync::Arc;

    fn add(queue: &mut Queue, what: &Forgotten) {
        queue.add(what, None).unwrap();
    }

    fn next(queue: &mut Queue) -> Option<(Forgotten, Task)> {
        queue.next().map(|task| (task.what.clone(), task))
    }

    fn name(parent: u64, name: &str) -> Forgotten {
        Forgotten::Entry { parent, name: name.into() }
    }

    #[test]
    fn notifications_of_one_inode_keep_their_order_and_other_inodes_overtake() {
        let mut queue = Queue::default();
        let all = [name(1, "a"), name(1, "b"), Forgotten::Attributes(2), Forgotten::Attributes(1)];
        all.iter().for_each(|what| add(&mut queue, what));
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
        queue.add(&pages, senders.pop()).unwrap();
        queue.add(&pages, senders.pop()).unwrap();
        let task = queue.next().unwrap();
        queue.add(&pages, senders.pop()).unwrap();
        assert!(queue.next().is_none(), "the inode is busy");
        queue.done(&task);
        task.waiters.into_iter().for_each(|waiter| waiter.send(()).unwrap());
        assert!(gone[2].try_recv().is_ok() && gone[1].try_recv().is_ok());
        assert!(gone[0].try_recv().is_err(), "a READ may have brought pages after the first one began");
        assert_eq!(queue.next().unwrap().waiters.len(), 1);
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
