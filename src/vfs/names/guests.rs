//! Room at the server. Watches and kept opens are guests there: where the server has no room for another open of this
//! client, they give way, and the request is sent again. How many the server bears is learnt from that.

use super::Names;
use crate::share::{Refusal, Share, ShareError};
use std::future::Future;
use std::time::{Duration, Instant};

/// So often a request is sent again.
const ATTEMPTS: usize = 8;
/// Requests that are refused at about the same time have guests give way once.
const ONCE_WITHIN: Duration = Duration::from_millis(20);
/// Where there is none left, other requests may be about to close what they have opened.
const PAUSE: Duration = Duration::from_millis(15);

impl<S: Share> Names<S> {
    /// Sends a request that opens something, again and again while guests can give way to it.
    ///
    /// # Errors
    /// What the share answered.
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

    async fn make_room(&self, error: &ShareError) {
        let now = Instant::now();
        let is_first = {
            let mut gave_way = self.gave_way.lock();
            let is_first = gave_way.is_none_or(|at| now.saturating_duration_since(at) >= ONCE_WITHIN);
            if is_first {
                *gave_way = Some(now);
            }
            is_first
        };
        if !is_first {
            tokio::time::sleep(PAUSE).await;
            return;
        }
        let watches = self.with(|namespace, now| namespace.watches_give_way(now));
        let kept = self.files.give_way();
        tracing::info!(%error, watches, kept = kept.len(), "watches and kept opens give way");
        let is_any = watches > 0 || !kept.is_empty();
        self.files.close_kept(&kept).await;
        self.share.send_closes();
        if !is_any {
            tokio::time::sleep(PAUSE).await;
        }
    }
}
