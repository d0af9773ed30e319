//! The thread that tells the kernel what to forget. Nothing else may call the notifier: the kernel
//! makes it wait for locks that are held by requests which are being answered.

use crate::vfs::Forgotten;
use fuser::{INodeNo, Notifier};
use std::io;
use std::thread;
use tokio::sync::mpsc;

/// Starts it. It ends when nobody is left who could have something to say, or the mount is gone.
pub(super) fn start(notifier: Notifier, mut forgotten: mpsc::Receiver<Forgotten>) -> io::Result<()> {
    let work = move || {
        while let Some(what) = forgotten.blocking_recv() {
            if let Err(error) = tell(&notifier, what) {
                tracing::debug!(%error, "the kernel was not told what to forget");
            }
        }
    };
    thread::Builder::new().name("fuse-notify".into()).spawn(work).map(drop)
}

fn tell(notifier: &Notifier, what: Forgotten) -> io::Result<()> {
    match what {
        Forgotten::Entry { parent, name } => notifier.inval_entry(INodeNo(parent), &name),
        // A negative offset means attributes alone (fs/fuse/inode.c).
        Forgotten::Attributes(ino) => notifier.inval_inode(INodeNo(ino), -1, 0),
        Forgotten::Data(ino, done) => {
            let result = notifier.inval_inode(INodeNo(ino), 0, 0);
            // Who waited may have given up.
            let _ = done.send(());
            result
        }
    }
}
