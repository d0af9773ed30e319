//! What the kernel keeps of this mount, and how it is made to forget it.
//!
//! The kernel keeps names, attributes and pages. A notification may block in the kernel: one about pages until the
//! READs of the file under way are answered, one about a name until the requests of its directory are answered. So
//! separate threads send them, from two bounded [`Lane`]s: names and attributes never wait behind pages. The order of
//! notifications does not matter: one only makes the kernel ask again, and the change that it announces was made before
//! it was added.
//!
//! When a lane is full, the caller waits for room. A notification is dropped only if its caller's patience
//! (`PATIENCE`) ends before there is room. Equal notifications that wait are merged. A notification that has begun is
//! not merged with a later one: a READ answered since may have brought new pages.
//!
//! [`KernelPages`](super::file::kernel_pages::KernelPages) records for one file whether the kernel may have pages of
//! it. If it has none, nothing waits for pages.

use super::lane::{Forgotten, Lane, Uncrossed};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::sync::oneshot;

/// The most that an operation waits for a notification. The kernel may hold a notification back until its requests
/// under way, such as READs of the pages, are answered.
const PATIENCE: Duration = Duration::from_secs(5);

/// Both lanes, for the threads that notify the kernel.
#[derive(Clone, Debug)]
pub struct Lanes {
    /// Names and attributes.
    pub names: Arc<Lane>,
    /// Pages.
    pub pages: Arc<Lane>,
}

/// The lanes, on the side that adds notifications. The lanes close when this is dropped.
#[derive(Debug)]
pub(crate) struct KernelView {
    lanes: Lanes,
    /// Whether threads notify the kernel. Until they do, no kernel uses this mount.
    has_kernel: AtomicBool,
    /// Whether a program can map a file of which the kernel keeps no pages.
    maps_direct: AtomicBool,
}

impl KernelView {
    pub(crate) fn new() -> KernelView {
        let lanes = Lanes { names: Arc::new(Lane::new()), pages: Arc::new(Lane::new()) };
        KernelView { lanes, has_kernel: AtomicBool::new(false), maps_direct: AtomicBool::new(false) }
    }

    /// The lanes, for the threads that notify the kernel. `None` from the second call on.
    pub(crate) fn listen(&self) -> Option<Lanes> {
        (!self.has_kernel.swap(true, Ordering::AcqRel)).then(|| self.lanes.clone())
    }

    /// Records that the kernel lets programs map a file of which it keeps no pages (FUSE_DIRECT_IO_ALLOW_MMAP).
    pub(crate) fn allows_direct_mappings(&self) {
        self.maps_direct.store(true, Ordering::Relaxed);
    }

    /// Whether a program can map a file of which the kernel keeps no pages.
    pub(crate) fn maps_direct(&self) -> bool {
        self.maps_direct.load(Ordering::Relaxed)
    }

    /// Adds a notification. Waits for room in the lane, not until the kernel has forgotten.
    pub(crate) async fn forget(&self, what: Forgotten) {
        if let Some(lane) = self.lane(&what) {
            lane.add(what, None).await;
        }
    }

    /// Adds a notification and waits until the kernel has forgotten or has refused to, for [`PATIENCE`] at most.
    /// Returns `false` if that time has passed.
    pub(crate) async fn until_forgotten(&self, what: Forgotten) -> bool {
        let Some(lane) = self.lane(&what) else { return true };
        let (done, gone) = oneshot::channel();
        let forgotten = async {
            lane.add(what, Some(done)).await;
            // A sender dropped without an answer means that the mount has ended, and with it everything that the
            // kernel kept.
            let _ = gone.await;
        };
        tokio::time::timeout(PATIENCE, forgotten).await.is_ok()
    }

    /// A future that adds the notification to drop the pages and attributes of an inode. It does not borrow this view.
    pub(crate) fn forget_later(&self, ino: u64) -> impl Future<Output = ()> + Send + use<> {
        let what = Forgotten::Pages(ino);
        let lane = self.lane(&what).cloned();
        async move {
            if let Some(lane) = lane {
                lane.add(what, None).await;
            }
        }
    }

    /// A request for the attributes of an inode has arrived. Notifications wait for the reply, which the caller sends before
    /// it drops the result.
    pub(crate) fn answers(&self, ino: u64) -> Uncrossed {
        Uncrossed::begin(ino, [Arc::clone(&self.lanes.names), Arc::clone(&self.lanes.pages)])
    }

    fn lane(&self, what: &Forgotten) -> Option<&Arc<Lane>> {
        let lane = match what {
            Forgotten::Entry { .. } | Forgotten::Attributes(_) => &self.lanes.names,
            Forgotten::Pages(_) => &self.lanes.pages,
        };
        self.has_kernel.load(Ordering::Acquire).then_some(lane)
    }
}

impl Drop for KernelView {
    fn drop(&mut self) {
        self.lanes.names.close();
        self.lanes.pages.close();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn without_a_kernel_no_notification_waits() {
        let view = KernelView::new();
        for ino in 0..10_000 {
            view.forget(Forgotten::Attributes(ino)).await;
        }
        assert!(view.until_forgotten(Forgotten::Pages(1)).await);
        let lanes = view.listen().unwrap();
        assert!(view.listen().is_none());
        assert!(lanes.names.next().is_none() && lanes.pages.next().is_none(), "no notification from before listen()");
    }

    #[tokio::test(start_paused = true)]
    async fn attributes_do_not_wait_behind_pages() {
        let view = KernelView::new();
        let lanes = view.listen().unwrap();
        view.forget_later(7).await;
        let stuck = lanes.pages.next().unwrap();
        view.forget(Forgotten::Attributes(7)).await;
        view.forget(Forgotten::Entry { parent: 7, name: "a".into() }).await;
        let forgotten = std::iter::from_fn(|| {
            let task = lanes.names.next()?;
            let what = task.what().clone();
            lanes.names.done(task);
            Some(what)
        });
        let expected = [Forgotten::Attributes(7), Forgotten::Entry { parent: 7, name: "a".into() }];
        assert_eq!(forgotten.collect::<Vec<_>>(), expected);
        assert_eq!(stuck.what(), &Forgotten::Pages(7));
    }

    #[tokio::test(start_paused = true)]
    async fn an_operation_waits_for_the_page_drop_but_not_for_ever() {
        let view = KernelView::new();
        let lanes = view.listen().unwrap();
        let answer = async {
            let task = lanes.pages.next().expect("a notification was added");
            lanes.pages.done(task);
        };
        let (gone, ()) = tokio::join!(biased; view.until_forgotten(Forgotten::Pages(7)), answer);
        assert!(gone);
        assert!(!view.until_forgotten(Forgotten::Pages(8)).await, "no thread answers");
        lanes.pages.close();
        assert!(view.until_forgotten(Forgotten::Pages(9)).await, "the mount has ended");
    }
}
