//! Requests whose program is killed while they wait.
//!
//! fuser answers FUSE_INTERRUPT itself, and no operation is cancelled by it. The kernel keeps a killed program until
//! its request is answered (state D). Therefore a waiting request is checked once a second: if SIGKILL is pending for
//! its thread, the request is answered EINTR, and the operation continues without it ([`super::answer`]).
//!
//! A request that is answered at once costs nothing here. [`Requests`], a plain value, decides which requests are
//! checked. One task makes the checks, and runs only while a request waits. The number of checks per second is bounded.

use futures_util::task::AtomicWaker;
use parking_lot::Mutex;
use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;
use std::time::Duration;
use tokio::runtime::Handle;

/// Interval between checks of the waiting requests; a request waits at least this long before its first check.
const EVERY: Duration = Duration::from_secs(1);
/// Largest number of requests per check. Reading the state of one thread costs about 30 microseconds.
const LOOKS: usize = 256;

/// A waiting request.
#[derive(Debug)]
struct Waiting {
    /// The thread that waits for its answer.
    thread: u32,
    is_abandoned: AtomicBool,
    waker: AtomicWaker,
}

/// The waiting requests by number, in the order of their arrival. A plain value.
#[derive(Debug, Default)]
struct Requests {
    next: u64,
    waiting: BTreeMap<u64, Arc<Waiting>>,
    /// Requests below this number were already waiting at the last check.
    old: u64,
    /// The next request to check.
    cursor: u64,
    /// Whether a task makes the checks.
    is_watched: bool,
}

impl Requests {
    fn add(&mut self, waiting: Arc<Waiting>) -> u64 {
        self.next += 1;
        self.waiting.insert(self.next, waiting);
        self.next
    }

    /// The requests to check now; called once every [`EVERY`]. Returns requests that have waited since the last check,
    /// in rotation. `None` means that no request waits, and ends the task.
    fn due(&mut self) -> Option<Vec<Arc<Waiting>>> {
        if self.waiting.is_empty() {
            self.is_watched = false;
            return None;
        }
        let old = std::mem::replace(&mut self.old, self.next + 1);
        let cursor = self.cursor.min(old);
        let in_turn = self.waiting.range(cursor..old).chain(self.waiting.range(..cursor));
        let due: Vec<_> = in_turn.take(LOOKS).map(|(number, waiting)| (*number, Arc::clone(waiting))).collect();
        self.cursor = due.last().map_or(0, |(number, _)| number + 1);
        Some(due.into_iter().map(|(_, waiting)| waiting).collect())
    }
}

/// Checks the waiting requests of one mount. (A watch on a directory is another thing: `vfs/names/watches.rs`.)
pub(super) struct Watch {
    requests: Mutex<Requests>,
    is_killed: Box<dyn Fn(u32) -> bool + Send + Sync>,
    runtime: Handle,
}

impl Watch {
    /// A watch that reads the state of threads from /proc. If /proc shows another PID namespace than that of this
    /// process, no thread counts as killed.
    pub(super) fn of_processes(runtime: Handle) -> Arc<Watch> {
        let sees_own =
            fs::read_link("/proc/self").is_ok_and(|own| own.to_str() == Some(&std::process::id().to_string()));
        Watch::new(runtime, move |thread| sees_own && is_killed(thread))
    }

    fn new(runtime: Handle, is_killed: impl Fn(u32) -> bool + Send + Sync + 'static) -> Arc<Watch> {
        Arc::new(Watch { requests: Mutex::default(), is_killed: Box::new(is_killed), runtime })
    }

    /// Polls `work` until it is done or `thread` is killed. Returns `None` in the second case; the caller can continue
    /// to poll `work`. Thread 0 belongs to another PID namespace or to the kernel, and never counts as killed.
    pub(super) async fn unless_killed<F: Future>(
        self: &Arc<Self>,
        thread: u32,
        mut work: Pin<&mut F>,
    ) -> Option<F::Output> {
        let mut place: Option<Place> = None;
        poll_fn(|context| {
            if let Poll::Ready(output) = work.as_mut().poll(context) {
                return Poll::Ready(Some(output));
            }
            if thread == 0 {
                return Poll::Pending;
            }
            let waiting = &place.get_or_insert_with(|| self.wait(thread)).waiting;
            waiting.waker.register(context.waker());
            if waiting.is_abandoned.load(Ordering::Acquire) { Poll::Ready(None) } else { Poll::Pending }
        })
        .await
    }

    /// Adds a request to those that wait, and starts the task if none runs.
    fn wait(self: &Arc<Self>, thread: u32) -> Place {
        let waiting = Arc::new(Waiting { thread, is_abandoned: AtomicBool::new(false), waker: AtomicWaker::new() });
        let (number, was_watched) = {
            let mut requests = self.requests.lock();
            let number = requests.add(Arc::clone(&waiting));
            (number, std::mem::replace(&mut requests.is_watched, true))
        };
        if !was_watched {
            self.runtime.spawn(Arc::clone(self).watch());
        }
        Place { watch: Arc::clone(self), number, waiting }
    }

    async fn watch(self: Arc<Self>) {
        loop {
            tokio::time::sleep(EVERY).await;
            let Some(due) = self.requests.lock().due() else { return };
            if !due.is_empty() {
                let this = Arc::clone(&self);
                // An error means that the runtime is shutting down.
                let _ = tokio::task::spawn_blocking(move || this.look(&due)).await;
            }
        }
    }

    fn look(&self, due: &[Arc<Waiting>]) {
        let mut known = HashMap::new();
        for waiting in due {
            if *known.entry(waiting.thread).or_insert_with(|| (self.is_killed)(waiting.thread)) {
                waiting.is_abandoned.store(true, Ordering::Release);
                waiting.waker.wake();
            }
        }
    }
}

/// The entry of a request among those that wait; removed when dropped.
struct Place {
    watch: Arc<Watch>,
    number: u64,
    waiting: Arc<Waiting>,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.watch.requests.lock().waiting.remove(&self.number);
    }
}

/// Whether a thread was killed and waits in the kernel. `false` for a thread that /proc does not show.
fn is_killed(thread: u32) -> bool {
    fs::read_to_string(format!("/proc/{thread}/status")).is_ok_and(|status| status_is_killed(&status))
}

/// As [`is_killed`], from the text of /proc/TID/status (proc(5)). A thread in another state than D does not wait for an
/// answer from this program: it has ended, or its number now belongs to another thread than the one that made the
/// request.
fn status_is_killed(status: &str) -> bool {
    let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
    let signals = |name| field(name).and_then(|mask| u64::from_str_radix(mask, 16).ok()).unwrap_or(0);
    let pending = signals("SigPnd:") | signals("ShdPnd:");
    field("State:").is_some_and(|state| state.starts_with('D')) && pending & (1 << (libc::SIGKILL - 1)) != 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::pin::pin;
    use tokio::sync::oneshot;

    fn status(state: &str, own: &str, shared: &str) -> String {
        format!(
            "Name:\tcat State: D\nUmask:\t0022\nState:\t{state}\nTgid:\t7\nPid:\t7\nSigQ:\t1/31000\nSigPnd:\t{own}\n\
             ShdPnd:\t{shared}\nSigBlk:\t0000000000000100\nSigIgn:\t0000000000000100\nSigCgt:\t0000000000000000\n"
        )
    }

    const NONE: &str = "0000000000000000";
    const KILL: &str = "0000000000000100";

    #[test]
    fn sigkill_counts_whether_pending_for_thread_or_process() {
        assert!(status_is_killed(&status("D (disk sleep)", KILL, NONE)));
        assert!(status_is_killed(&status("D (disk sleep)", NONE, KILL)));
        assert!(status_is_killed(&status("D (disk sleep)", "0000000000004102", NONE)));
    }

    #[test]
    fn other_signals_do_not_count() {
        assert!(!status_is_killed(&status("D (disk sleep)", NONE, NONE)));
        assert!(!status_is_killed(&status("D (disk sleep)", "0000000000004002", "fffffffffffffeff")));
    }

    #[test]
    fn a_thread_that_does_not_wait_in_the_kernel_does_not_count_as_killed() {
        for state in ["Z (zombie)", "X (dead)", "S (sleeping)", "R (running)", "T (stopped)"] {
            assert!(!status_is_killed(&status(state, KILL, KILL)), "{state}");
        }
    }

    #[test]
    fn a_malformed_status_does_not_count_as_killed() {
        for text in ["", "State:\tD (disk sleep)", "State:\nSigPnd:\t100", "State:\tD\nSigPnd:\tx\nShdPnd:\t-100"] {
            assert!(!status_is_killed(text), "{text}");
        }
    }

    #[test]
    fn a_thread_that_has_ended_does_not_count_as_killed() {
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let pid = child.id();
        assert!(!is_killed(pid), "alive or a zombie");
        child.wait().unwrap();
        assert!(!is_killed(pid) && !is_killed(0) && !is_killed(u32::MAX) && !is_killed(std::process::id()));
    }

    fn request(thread: u32) -> Arc<Waiting> {
        Arc::new(Waiting { thread, is_abandoned: AtomicBool::new(false), waker: AtomicWaker::new() })
    }

    fn threads(due: Option<Vec<Arc<Waiting>>>) -> Vec<u32> {
        due.expect("a request waits").iter().map(|waiting| waiting.thread).collect()
    }

    #[test]
    fn a_request_is_checked_once_it_has_waited_since_the_last_check() {
        let mut requests = Requests { is_watched: true, ..Requests::default() };
        let first = requests.add(request(1));
        assert_eq!(threads(requests.due()), [0; 0]);
        requests.add(request(2));
        assert_eq!(threads(requests.due()), [1]);
        assert_eq!(threads(requests.due()), [2, 1]);
        requests.waiting.remove(&first);
        assert_eq!(threads(requests.due()), [2]);
        requests.waiting.clear();
        assert!(requests.due().is_none() && !requests.is_watched);
    }

    #[test]
    fn many_requests_are_checked_in_rotation() {
        let mut requests = Requests::default();
        let count = 2 * LOOKS as u32 + 10;
        for thread in 0..count {
            requests.add(request(thread));
        }
        assert_eq!(threads(requests.due()), [0; 0]);
        let looks: Vec<u32> = (0..3).flat_map(|_| threads(requests.due())).collect();
        assert_eq!(looks.len(), 3 * LOOKS);
        let mut seen = looks[..count as usize].to_vec();
        seen.sort_unstable();
        assert_eq!(seen, (0..count).collect::<Vec<_>>(), "each request once before any a second time");
    }

    #[tokio::test(start_paused = true)]
    async fn a_killed_thread_is_not_waited_for_and_its_work_can_continue() {
        let watch = Watch::new(Handle::current(), |thread| thread == 7);
        let (done, wait) = oneshot::channel::<u32>();
        let mut work = pin!(wait);
        assert!(watch.unless_killed(7, work.as_mut()).await.is_none());
        done.send(5).unwrap();
        assert_eq!(work.await, Ok(5));
        assert!(watch.requests.lock().waiting.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn work_for_threads_that_are_not_killed_is_waited_for() {
        let watch = Watch::new(Handle::current(), |thread| thread == 7 || thread == 0);
        let slow = || async {
            tokio::time::sleep(Duration::from_secs(20)).await;
            3
        };
        for thread in [0, 8] {
            assert_eq!(watch.unless_killed(thread, pin!(slow())).await, Some(3), "{thread}");
        }
        assert_eq!(watch.unless_killed(7, pin!(async { 4 })).await, Some(4), "work that need not wait completes");
        tokio::time::sleep(2 * EVERY).await;
        assert!(!watch.requests.lock().is_watched, "no task is left");
    }
}
