//! Waiting until something is so.

use tokio::sync::Notify;

/// Waits until `is_so`, which can have changed whenever `changed` tells all who wait
/// ([`Notify::notify_waiters`]).
pub(crate) async fn until(changed: &Notify, is_so: impl Fn() -> bool) {
    loop {
        let change = changed.notified();
        tokio::pin!(change);
        // From here on no change is missed.
        change.as_mut().enable();
        if is_so() {
            return;
        }
        change.await;
    }
}
