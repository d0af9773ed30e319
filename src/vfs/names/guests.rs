//! Room at the server for another open of this client. Watches and kept opens are opens that no program needs: if the
//! server refuses an open because there are too many, half of the watches and half of the kept opens are closed, and
//! the request is sent again. Such refusals also lower the bounds of both ([`namespace`](super::namespace), `bounds`;
//! `vfs/file/kept_opens.rs`).

use super::Names;
use crate::share::{Refusal, Share, ShareError};
use std::future::Future;
use std::time::{Duration, Instant};

/// The most times that a request is sent, the first one included.
const ATTEMPTS: usize = 8;
/// Requests that are refused within this time of each other close watches and kept opens only once.
const ONCE_WITHIN: Duration = Duration::from_millis(20);
/// The pause before a request is sent again if no watch and no kept open is left to close, or if another request has
/// just closed them: other requests may be about to close what they have opened.
const PAUSE: Duration = Duration::from_millis(15);

impl<S: Share> Names<S> {
    /// Sends a request that opens something. While the server refuses it for too many opens, makes room and sends it
    /// again, up to [`ATTEMPTS`] times in all.
    ///
    /// # Errors
    /// The last answer of the share.
    pub(crate) async fn with_room<T, F>(&self, request: impl Fn() -> F) -> Result<T, ShareError>
    where
        F: Future<Output = Result<T, ShareError>> + Send,
    {
        for _ in 1..ATTEMPTS {
            match request().await {
                Err(error) if error.refusal() == Some(Refusal::TooManyOpen) => self.make_room(&error).await,
                result => return result,
            }
        }
        request().await
    }

    /// Closes half of the watches and half of the kept opens, or waits for [`PAUSE`].
    async fn make_room(&self, error: &ShareError) {
        let now = Instant::now();
        let is_first = {
            let mut room_made_at = self.room_made_at.lock();
            let is_first = room_made_at.is_none_or(|at| now.saturating_duration_since(at) >= ONCE_WITHIN);
            if is_first {
                *room_made_at = Some(now);
            }
            is_first
        };
        if !is_first {
            tokio::time::sleep(PAUSE).await;
            return;
        }
        let watches = self.with(|namespace, now| namespace.end_half_of_watches(now));
        let kept = self.files.close_unused_half();
        tracing::info!(
            %error,
            watches,
            kept = kept.len(),
            "the server has no room for another open; unused watches and kept opens are closed"
        );
        let is_any = watches > 0 || !kept.is_empty();
        self.files.close_kept(&kept).await;
        self.share.send_closes();
        if !is_any {
            tokio::time::sleep(PAUSE).await;
        }
    }
}
