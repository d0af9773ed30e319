//! The threads that make the kernel drop what it keeps: entries, attributes and pages. Only these threads may call the
//! notifier, because a notification waits in the kernel for locks that requests in flight hold.
//!
//! A lane starts with one thread, and starts another whenever its last idle thread gets work, up to 16 (`vfs/lane.rs`).
//! So a notification that blocks in the kernel does not delay those for other inodes until 16 are blocked.

use crate::vfs::{Forgotten, Lane, Lanes};
use fuser::{INodeNo, Notifier};
use std::io;
use std::sync::Arc;
use std::thread;

/// The receiver of notifications.
pub(super) trait Kernel: Clone + Send + 'static {
    fn forget(&self, what: &Forgotten) -> io::Result<()>;
}

impl Kernel for Notifier {
    fn forget(&self, what: &Forgotten) -> io::Result<()> {
        match what {
            Forgotten::Entry { parent, name } => self.inval_entry(INodeNo(*parent), name),
            // A negative offset means attributes only (fs/fuse/inode.c).
            Forgotten::Attributes(ino) => self.inval_inode(INodeNo(*ino), -1, 0),
            Forgotten::Pages(ino) => self.inval_inode(INodeNo(*ino), 0, 0),
        }
    }
}

/// Starts the first thread of each lane. The threads end when the file system is dropped.
pub(super) fn start(kernel: &impl Kernel, lanes: &Lanes) -> io::Result<()> {
    start_thread("fuse-names", kernel, &lanes.names)?;
    start_thread("fuse-pages", kernel, &lanes.pages)
}

fn start_thread(name: &'static str, kernel: &impl Kernel, lane: &Arc<Lane>) -> io::Result<()> {
    let (kernel, lane) = (kernel.clone(), Arc::clone(lane));
    thread::Builder::new().name(name.into()).spawn(move || work(name, &kernel, &lane)).map(drop)
}

fn work(name: &'static str, kernel: &impl Kernel, lane: &Arc<Lane>) {
    while let Some((task, starts_another)) = lane.wait() {
        if starts_another && let Err(error) = start_thread(name, kernel, lane) {
            tracing::debug!(%error, name, "cannot start another thread for kernel notifications");
            lane.not_started();
        }
        if let Err(error) = kernel.forget(task.what()) {
            tracing::debug!(%error, what = ?task.what(), "the kernel did not accept a request to forget");
        }
        lane.done(task);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vfs::tests::User;
    use parking_lot::{Condvar, Mutex};
    use std::time::Duration;

    /// A kernel that reads the pages of some files, whose READs are not answered.
    #[derive(Clone, Default)]
    struct Recording(Arc<(Mutex<Record>, Condvar)>);

    #[derive(Default)]
    struct Record {
        stuck: Vec<u64>,
        forgotten: Vec<Forgotten>,
    }

    impl Kernel for Recording {
        fn forget(&self, what: &Forgotten) -> io::Result<()> {
            let (record, change) = &*self.0;
            let mut record = record.lock();
            while let Forgotten::Pages(ino) = what
                && record.stuck.contains(ino)
            {
                change.wait(&mut record);
            }
            record.forgotten.push(what.clone());
            change.notify_all();
            Ok(())
        }
    }

    impl Recording {
        fn block_pages(&self, inos: impl Iterator<Item = u64>) {
            self.0.0.lock().stuck.extend(inos);
        }

        fn answer(&self) {
            self.0.0.lock().stuck.clear();
            self.0.1.notify_all();
        }

        #[track_caller]
        fn forgets(&self, what: &Forgotten) {
            let mut record = self.0.0.lock();
            while !record.forgotten.contains(what) {
                let waited = self.0.1.wait_for(&mut record, Duration::from_secs(20));
                assert!(!waited.timed_out(), "{what:?} does not reach the kernel");
            }
        }
    }

    #[tokio::test]
    async fn a_read_in_flight_does_not_delay_notifications_of_other_files() {
        let (user, kernel) = (User::new(), Recording::default());
        kernel.block_pages(1..6);
        start(&kernel, &user.vfs.forgotten().unwrap()).unwrap();
        for ino in 1..9 {
            user.vfs.kernel_view().forget_later(ino).await;
            user.vfs.kernel_view().forget(Forgotten::Attributes(ino)).await;
        }
        (6..9).for_each(|ino| kernel.forgets(&Forgotten::Pages(ino)));
        (1..9).for_each(|ino| kernel.forgets(&Forgotten::Attributes(ino)));
        assert!(!kernel.0.0.lock().forgotten.contains(&Forgotten::Pages(1)));
        kernel.answer();
        (1..6).for_each(|ino| kernel.forgets(&Forgotten::Pages(ino)));
    }

    #[tokio::test]
    async fn the_threads_end_with_the_file_system() {
        let (user, kernel) = (User::new(), Recording::default());
        let watch = Arc::downgrade(&kernel.0);
        start(&kernel, &user.vfs.forgotten().unwrap()).unwrap();
        user.vfs.kernel_view().forget_later(1).await;
        kernel.forgets(&Forgotten::Pages(1));
        drop((user, kernel));
        for _ in 0..1000 {
            if watch.strong_count() == 0 {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("a thread is left");
    }
}
