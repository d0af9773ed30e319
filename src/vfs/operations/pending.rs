//! Names that are still being deleted.
//!
//! A file or directory that was deleted keeps its name on the server until its last open is closed, whichever client
//! has it. Until then an open of that name is answered STATUS_DELETE_PENDING (MS-FSA 2.1.5.1.2), and an attempt to make
//! something under that name may be answered that the name exists. To a POSIX program the name is free, so the request
//! is repeated for a bounded time. Most such opens are a watch of another client on the directory, an open of a virus
//! scanner or an indexer, or an open whose close is in progress.

use crate::share::{RemotePath, Share, ShareError};
use crate::vfs::errno::{Result, VfsError};
use crate::vfs::{Vfs, refusals};
use std::future::Future;
use std::time::Duration;

/// The pauses between the attempts, in milliseconds: 1,270 in all.
const PAUSES: [u64; 7] = [10, 20, 40, 80, 160, 320, 640];

/// Makes something as soon as its name is free. `is_pending` asks the server whether the occupant of the name is being
/// deleted.
///
/// # Errors
/// After all attempts `ENOTEMPTY` if the server refused because a directory is not empty, otherwise `EBUSY`. What the
/// share answered, if waiting does not help.
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

/// Waits until a name is free, for [`PAUSES`] at most.
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
    tracing::info!("a removed file or directory keeps its name until another client closes it");
}

/// Whether the server is still deleting the file or directory at a path.
pub(super) async fn is_pending<S: Share>(vfs: &Vfs<S>, path: &RemotePath) -> bool {
    vfs.names.with_room(|| vfs.share.stat(path)).await.is_err_and(|error| refusals::is_pending(&error))
}

/// Whether the file or directory at a path is being deleted, or is gone by now: then a request that was refused because
/// the name was in use may be repeated.
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
    async fn something_is_made_as_soon_as_its_name_is_free() {
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
    async fn other_refusals_are_returned_at_once() {
        assert_eq!(after(1, NtStatus::DISK_FULL, true).await.unwrap_err().errno, libc::ENOSPC);
        assert_eq!(after(1, NtStatus::OBJECT_NAME_COLLISION, false).await.unwrap_err().errno, libc::EEXIST);
    }

    #[tokio::test(start_paused = true)]
    async fn a_removed_directory_is_waited_for_only_for_a_bounded_time() {
        let start = tokio::time::Instant::now();
        let asked = AtomicUsize::new(0);
        until_gone(|| async { asked.fetch_add(1, Ordering::Relaxed) < 2 }).await;
        assert_eq!(asked.load(Ordering::Relaxed), 3);
        until_gone(|| async { true }).await;
        assert!(start.elapsed() < Duration::from_secs(3));
    }
}
