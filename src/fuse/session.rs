//! One mounted file system, from the descriptor of `/dev/fuse` to its end.

use super::adapter::Adapter;
use super::notify;
use crate::share::Share;
use crate::vfs::Vfs;
use fuser::{Config, SessionACL};
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::thread;
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::sync::oneshot;

/// Threads that read requests. One, so that requests are taken in the kernel's order: a close is known
/// before the open that follows it. Nothing that waits is done on it, and more of them gained little.
const THREADS: usize = 1;

/// A file system that answers the kernel.
#[derive(Debug)]
pub struct Session {
    ended: oneshot::Receiver<io::Result<()>>,
}

/// Answers the requests that come from `fd`, a descriptor of `/dev/fuse` with which the file system
/// has been mounted. When this returns, the kernel and the file system have agreed on how to talk.
///
/// The kernel checks permissions: it has to be mounted with `default_permissions`, and without
/// `allow_other` it lets nobody but the mounting user in.
///
/// # Errors
/// If the mount is gone, or the kernel's FUSE is too old.
pub fn serve<S: Share>(vfs: Arc<Vfs<S>>, fd: OwnedFd, runtime: Handle) -> io::Result<Session> {
    let mut config = Config::default();
    config.n_threads = Some(THREADS);
    // fuser's own check would refuse the kernel's requests that carry no user.
    config.acl = SessionACL::All;
    let forgotten = vfs.forgotten();
    let session = fuser::Session::from_fd(Adapter::new(vfs, runtime), fd, SessionACL::All, config)?;
    if let Some(forgotten) = forgotten {
        notify::start(&session.notifier(), &forgotten)?;
    }
    let (sender, ended) = oneshot::channel();
    thread::Builder::new().name("fuse".into()).spawn(move || {
        // Nobody listening means that nobody wants to know.
        let _ = sender.send(as_end(session.run()));
    })?;
    Ok(Session { ended })
}

impl Session {
    /// Waits until the file system has been unmounted and all that was open is closed.
    ///
    /// # Errors
    /// What ended the session, if it was not an unmount; `TimedOut` if it did not end in `deadline`:
    /// a thread that the kernel does not let go cannot be waited for, and must not hold up the exit.
    pub async fn join(&mut self, deadline: Duration) -> io::Result<()> {
        tokio::time::timeout(deadline, self.ended())
            .await
            .unwrap_or_else(|_| Err(io::Error::new(io::ErrorKind::TimedOut, "the FUSE session has not ended")))
    }

    /// As [`Session::join`], however long it takes. To be awaited to its end once only.
    ///
    /// # Errors
    /// What ended the session, if it was not an unmount.
    pub async fn ended(&mut self) -> io::Result<()> {
        (&mut self.ended).await.unwrap_or_else(|_| Err(io::Error::other("the FUSE session's thread is gone")))
    }
}

/// How a session ended, given what its loop returned. ECONNABORTED is an ordinary end. An abort causes it, which is how a stuck mount is
/// taken down. So does an unmount that overtakes a request: the kernel says so instead of ENODEV when a read has taken a request from
/// the queue, a RELEASE of the last open file for instance, and the connection ends before the request is handed over.
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
