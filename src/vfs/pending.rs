//! Names that are still being deleted.
//!
//! A file that was deleted keeps its name on the server until its last open is closed, by whomever;
//! whoever wants to make something new of that name is told STATUS_DELETE_PENDING until then (MS-FSA
//! 2.1.5.1.2). To a POSIX program the name is free, so the server is asked again for a moment: most such
//! opens are of virus scanners, indexers and closes under way.

use super::errno::{Result, VfsError};
use crate::share::ShareError;
use crate::wire::NtStatus;
use std::future::Future;
use std::time::Duration;

/// The pauses between the tries, in milliseconds: a second and a quarter in all.
const PAUSES: [u64; 7] = [10, 20, 40, 80, 160, 320, 640];

/// Makes something, as soon as its name is free.
///
/// # Errors
/// `EBUSY` if somebody keeps the name; otherwise what the share answered.
pub(super) async fn once_free<T, F>(make: impl Fn() -> F) -> Result<T>
where
    F: Future<Output = std::result::Result<T, ShareError>> + Send,
{
    for pause in PAUSES {
        match make().await {
            Err(error) if is_pending(&error) => tokio::time::sleep(Duration::from_millis(pause)).await,
            result => return Ok(result?),
        }
    }
    make().await.map_err(|error| match is_pending(&error) {
        true => VfsError { errno: libc::EBUSY, ..error.into() },
        false => error.into(),
    })
}

fn is_pending(error: &ShareError) -> bool {
    error.nt_status() == Some(NtStatus::DELETE_PENDING)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::share::RemotePath;
    use std::sync::atomic::{AtomicUsize, Ordering};

    async fn after(refusals: usize, status: NtStatus) -> Result<usize> {
        let tries = AtomicUsize::new(0);
        once_free(|| async {
            match tries.fetch_add(1, Ordering::Relaxed) {
                number if number < refusals => Err(ShareError::status("CREATE", &RemotePath::root(), status)),
                number => Ok(number),
            }
        })
        .await
    }

    #[tokio::test(start_paused = true)]
    async fn a_name_that_becomes_free_is_taken() {
        assert_eq!(after(0, NtStatus::DELETE_PENDING).await.unwrap(), 0);
        assert_eq!(after(5, NtStatus::DELETE_PENDING).await.unwrap(), 5);
    }

    #[tokio::test(start_paused = true)]
    async fn a_name_that_somebody_keeps_is_busy() {
        assert_eq!(after(usize::MAX, NtStatus::DELETE_PENDING).await.unwrap_err().errno, libc::EBUSY);
    }

    #[tokio::test(start_paused = true)]
    async fn other_refusals_are_told_at_once() {
        assert_eq!(after(1, NtStatus::DISK_FULL).await.unwrap_err().errno, libc::ENOSPC);
    }
}
