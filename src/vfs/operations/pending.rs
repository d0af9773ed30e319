//! Names that are still being deleted.
//!
//! A file or directory that was deleted keeps its name on the server until its last open is closed, by whichever client.
//! Until then an open of that name answers STATUS_DELETE_PENDING (MS-FSA 2.1.5.1.2), and an attempt to make something new
//! there may answer that the name exists. To a POSIX program the name is free, so the server is asked again for a
//! bounded time: most such opens are those of clients that watch a directory, virus scanners, indexers and closes under way.

use crate::share::{RemotePath, Share, ShareError};
use crate::vfs::errno::{Result, VfsError};
use crate::vfs::{Vfs, refusals};
use std::future::Future;
use std::time::Duration;

/// The pauses between the tries, in milliseconds: a second and a quarter in all.
const PAUSES: [u64; 7] = [10, 20, 40, 80, 160, 320, 640];

/// Makes something, as soon as its name is free. `is_pending` asks the server whether what has the name is being deleted.
///
/// # Errors
/// `EBUSY` if another client keeps the name; otherwise what the share answered.
pub(super) async fn once_free<T, F, P>(make: impl Fn() -> F, is_pending: impl Fn() -> P) -> Result<T>
where
    F: Future<Output = std::result::Result<T, ShareError>> + Send,
    P: Future<Output = bool> + Send,
{
    let mut pauses = PAUSES.into_iter();
    loop {
        let error = match make().await {
            Ok(made) => return Ok(made),
            Err(error) => error,
        };
        let waits = refusals::is_pending(&error) || refusals::is_occupied(&error) && is_pending().await;
        if !waits {
            return Err(error.into());
        }
        let Some(pause) = pauses.next() else {
            let errno = if refusals::is_not_empty(&error) { libc::ENOTEMPTY } else { libc::EBUSY };
            return Err(VfsError { errno, ..error.into() });
        };
        tokio::time::sleep(Duration::from_millis(pause)).await;
    }
}

/// Waits until a name is free, for the same time at the most.
pub(super) async fn until_gone<P>(is_pending: impl Fn() -> P)
where
    P: Future<Output = bool> + Send,
{
    for pause in PAUSES {
        tokio::time::sleep(Duration::from_millis(pause)).await;
        if !is_pending().await {
            return;
        }
    }
    tracing::info!("another client keeps a directory open that was removed");
}

/// Whether the server is still deleting what is at a path.
pub(super) async fn is_pending<S: Share>(vfs: &Vfs<S>, path: &RemotePath) -> bool {
    vfs.names.with_room(|| vfs.share.stat(path)).await.is_err_and(|error| refusals::is_pending(&error))
}

/// Whether what is at a path is being deleted, or has gone by now: what was refused for it is worth another try.
pub(super) async fn is_going<S: Share>(vfs: &Vfs<S>, path: &RemotePath) -> bool {
    vfs.names.with_room(|| vfs.share.stat(path)).await.is_err_and(|error| refusals::is_absent(&error))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::NtStatus;
    use std::sync::atomic::{AtomicUsize, Ordering};

    async fn after(refusals: usize, status: NtStatus, is_pending: bool) -> Result<usize> {
        let tries = AtomicUsize::new(0);
        let make = || async {
            match tries.fetch_add(1, Ordering::Relaxed) {
                number if number < refusals => Err(ShareError::status("CREATE", &RemotePath::root(), status)),
                number => Ok(number),
            }
        };
        once_free(make, || async { is_pending }).await
    }

    #[tokio::test(start_paused = true)]
    async fn a_name_that_becomes_free_is_taken() {
        assert_eq!(after(0, NtStatus::DELETE_PENDING, false).await.unwrap(), 0);
        assert_eq!(after(5, NtStatus::DELETE_PENDING, false).await.unwrap(), 5);
        assert_eq!(after(5, NtStatus::OBJECT_NAME_COLLISION, true).await.unwrap(), 5);
        assert_eq!(after(5, NtStatus::FILE_IS_A_DIRECTORY, true).await.unwrap(), 5);
    }

    #[tokio::test(start_paused = true)]
    async fn a_name_that_another_client_keeps_is_busy() {
        assert_eq!(after(usize::MAX, NtStatus::DELETE_PENDING, false).await.unwrap_err().errno, libc::EBUSY);
        assert_eq!(after(usize::MAX, NtStatus::OBJECT_NAME_COLLISION, true).await.unwrap_err().errno, libc::EBUSY);
    }

    #[tokio::test(start_paused = true)]
    async fn other_refusals_are_told_at_once() {
        assert_eq!(after(1, NtStatus::DISK_FULL, true).await.unwrap_err().errno, libc::ENOSPC);
        assert_eq!(after(1, NtStatus::OBJECT_NAME_COLLISION, false).await.unwrap_err().errno, libc::EEXIST);
    }

    #[tokio::test(start_paused = true)]
    async fn a_removed_directory_is_waited_for_and_not_for_ever() {
        let start = tokio::time::Instant::now();
        let asked = AtomicUsize::new(0);
        until_gone(|| async { asked.fetch_add(1, Ordering::Relaxed) < 2 }).await;
        assert_eq!(asked.load(Ordering::Relaxed), 3);
        until_gone(|| async { true }).await;
        assert!(start.elapsed() < Duration::from_secs(3));
    }
}
