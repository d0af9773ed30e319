//! [`Session`]: one mounted file system, from the descriptor of `/dev/fuse` to its end.

use super::adapter::Adapter;
use super::notify;
use crate::share::Share;
use crate::vfs::Vfs;
use fuser::{Config, SessionACL};
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::sync::oneshot;

/// Number of threads that read requests. With one, requests are decoded in the kernel's order: a close is known before
/// the open that follows it. Nothing blocks this thread, and measurements show little gain from more.
const THREADS: usize = 1;

/// A file system that answers the kernel.
#[derive(Debug)]
pub struct Session {
    ended: oneshot::Receiver<io::Result<()>>,
}

/// Answers the requests that come from `fd`, a descriptor of `/dev/fuse` with which the file system has been mounted.
/// When this returns, FUSE_INIT has been answered and the session runs.
///
/// The kernel checks permissions: the file system must be mounted with `default_permissions`. Without `allow_other` the
/// kernel admits only the user who mounted it. `mountpoint` tells by which name programs know the root.
///
/// # Errors
/// If the mount is gone, the kernel's FUSE version is too old, or a thread cannot be started.
pub fn serve<S: Share>(vfs: Arc<Vfs<S>>, fd: OwnedFd, mountpoint: &Path, runtime: Handle) -> io::Result<Session> {
    let mut config = Config::default();
    config.n_threads = Some(THREADS);
    // fuser's own check would refuse requests of the kernel that carry no user.
    config.acl = SessionACL::All;
    let forgotten = vfs.forgotten();
    let session = fuser::Session::from_fd(Adapter::new(vfs, mountpoint, runtime), fd, SessionACL::All, config)?;
    if let Some(forgotten) = forgotten {
        notify::start(&session.notifier(), &forgotten)?;
    }
    let (sender, ended) = oneshot::channel();
    thread::Builder::new().name("fuse".into()).spawn(move || {
        // An error means that the session was dropped: the result is not needed.
        let _ = sender.send(as_end(session.run()));
    })?;
    Ok(Session { ended })
}

impl Session {
    /// Waits until the file system is unmounted and all open files are closed.
    ///
    /// # Errors
    /// The cause if the session ended other than by an unmount or an abort. `TimedOut` if it did not end within
    /// `deadline`: a thread that is blocked in the kernel must not delay the exit.
    pub async fn join(&mut self, deadline: Duration) -> io::Result<()> {
        tokio::time::timeout(deadline, self.ended())
            .await
            .unwrap_or_else(|_| Err(io::Error::new(io::ErrorKind::TimedOut, "the FUSE session has not ended")))
    }

    /// Like [`Session::join`], without a deadline. Must not be awaited again after it has returned.
    ///
    /// # Errors
    /// The cause if the session ended other than by an unmount or an abort.
    pub async fn ended(&mut self) -> io::Result<()> {
        (&mut self.ended).await.unwrap_or_else(|_| Err(io::Error::other("the FUSE session's thread is gone")))
    }
}

/// The result of a session, given the result of its loop. ECONNABORTED is an ordinary end. An abort causes it, and an
/// abort is how a stuck mount is ended. An unmount that overtakes a request causes it too: the kernel returns it
/// instead of ENODEV if a read has removed a request from the queue (the RELEASE of the last open file, for instance)
/// and the connection ends before the request is copied out.
pub(crate) fn as_end(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.raw_os_error() == Some(libc::ECONNABORTED) => Ok(()),
        result => result,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unmount_that_overtakes_a_request_is_an_ordinary_end() {
        let end = |errno| as_end(Err(io::Error::from_raw_os_error(errno))).map_err(|error| error.raw_os_error());
        assert_eq!(end(libc::ECONNABORTED), Ok(()));
        assert_eq!(end(libc::EIO), Err(Some(libc::EIO)));
    }
}
