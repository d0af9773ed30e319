//! Waiting for a condition that other tasks change.

use tokio::sync::Notify;

/// Waits until `is_so` returns true. Each change that can make it true must be followed by [`Notify::notify_waiters`]
/// on `changed`.
pub(crate) async fn until(changed: &Notify, is_so: impl Fn() -> bool) {
    loop {
        let change = changed.notified();
        tokio::pin!(change);
        // From here on no notification is missed.
        change.as_mut().enable();
        if is_so() {
            return;
        }
        change.await;
    }
}
