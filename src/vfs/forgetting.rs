//! What the kernel has to forget: names, attributes and pages that it keeps of this mount.
//!
//! The kernel may make whoever tells it wait, for a page that a READ holds or for a directory that a
//! lookup holds; so a thread of its own does it, and everybody else puts what there is to say into a
//! bounded queue ([`Forgetting`]). Names and attributes are told without waiting: the kernel believes
//! them for the attribute timeout at the most, so what finds no room in the queue does no harm. Whoever must
//! know that pages have gone waits for it, but not for ever.

use parking_lot::Mutex;
use std::ffi::OsString;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};

/// What may wait to be told.
const QUEUE: usize = 4096;
/// So long the kernel may take to drop pages: it waits for READs of them that are under way.
const PATIENCE: Duration = Duration::from_secs(5);

/// Something that the kernel is to forget.
#[derive(Debug)]
pub enum Forgotten {
    /// What a name in a directory means.
    Entry {
        /// The directory.
        parent: u64,
        /// The name.
        name: OsString,
    },
    /// The attributes of an inode.
    Attributes(u64),
    /// Attributes and pages of an inode, and who waits for that.
    Data(u64, oneshot::Sender<()>),
}

/// The queue, on the side of those who have something to say.
#[derive(Debug)]
pub(crate) struct Forgetting {
    sender: mpsc::Sender<Forgotten>,
    /// Until somebody tells the kernel, there is no kernel to be told.
    receiver: Mutex<Option<mpsc::Receiver<Forgotten>>>,
}

impl Forgetting {
    pub(crate) fn new() -> Forgetting {
        let (sender, receiver) = mpsc::channel(QUEUE);
        Forgetting { sender, receiver: Mutex::new(Some(receiver)) }
    }

    /// What there is to say, for the one who says it.
    pub(crate) fn listen(&self) -> Option<mpsc::Receiver<Forgotten>> {
        self.receiver.lock().take()
    }

    /// Does not wait.
    pub(crate) fn tell(&self, what: Forgotten) {
        if self.has_listener() && self.sender.try_send(what).is_err() {
            tracing::debug!("the kernel is slow to forget: it will by its own timeout");
        }
    }

    /// Waits until the kernel has dropped the pages and attributes of an inode. Says whether it has.
    pub(crate) async fn data(&self, ino: u64) -> bool {
        if !self.has_listener() {
            return true;
        }
        let (done, gone) = oneshot::channel();
        let told = async {
            // Without a listener the mount has ended.
            let _ = self.sender.send(Forgotten::Data(ino, done)).await;
            let _ = gone.await;
        };
        tokio::time::timeout(PATIENCE, told).await.is_ok()
    }

    /// Has the kernel drop the pages and attributes of an inode when this is awaited.
    pub(crate) fn later(&self, ino: u64) -> impl Future<Output = ()> + Send + use<> {
        let sender = self.has_listener().then(|| self.sender.clone());
        async move {
            if let Some(sender) = sender {
                let _ = sender.send(Forgotten::Data(ino, oneshot::channel().0)).await;
            }
        }
    }

    fn has_listener(&self) -> bool {
        self.receiver.lock().is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attributes_of(what: Forgotten) -> u64 {
        match what {
            Forgotten::Attributes(ino) => ino,
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test]
    async fn without_a_kernel_nothing_waits() {
        let forgetting = Forgetting::new();
        (0..2 * QUEUE as u64).for_each(|ino| forgetting.tell(Forgotten::Attributes(ino)));
        assert!(forgetting.data(1).await);
        let mut listener = forgetting.listen().unwrap();
        assert!(forgetting.listen().is_none());
        assert!(listener.try_recv().is_err(), "nothing of before");
    }

    #[tokio::test]
    async fn what_finds_no_room_is_left_out_and_the_order_is_kept() {
        let forgetting = Forgetting::new();
        let mut listener = forgetting.listen().unwrap();
        (0..2 * QUEUE as u64).for_each(|ino| forgetting.tell(Forgotten::Attributes(ino)));
        for expected in 0..QUEUE as u64 {
            assert_eq!(attributes_of(listener.recv().await.unwrap()), expected);
        }
        assert!(listener.try_recv().is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn pages_are_waited_for_but_not_for_ever() {
        let forgetting = Forgetting::new();
        let mut listener = forgetting.listen().unwrap();
        let answer = async {
            let Some(Forgotten::Data(7, done)) = listener.recv().await else { panic!("nothing was told") };
            done.send(()).unwrap();
            listener
        };
        let (gone, listener) = tokio::join!(forgetting.data(7), answer);
        assert!(gone);
        assert!(!forgetting.data(8).await, "nobody answers");
        drop(listener);
        assert!(forgetting.data(9).await, "the mount has ended");
    }
}
