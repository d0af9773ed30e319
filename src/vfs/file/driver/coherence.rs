//! What may be believed of files that other clients may have open.

use super::{FileOf, Files};
use crate::share::{Caching, Share};
use std::sync::Arc;
use std::sync::atomic::Ordering;

impl<S: Share> Files<S> {
    /// Whether a file that was granted this is open nowhere else, as far as can be known, so that its version shows whether
    /// it has changed.
    pub(crate) fn is_alone(&self, granted: Caching) -> bool {
        self.policy.trusts_version(granted, self.grants_leases.load(Ordering::Relaxed))
    }

    /// A file was opened with a lease: that shows whether the server ever grants one.
    pub(crate) fn learn_from(&self, granted: Caching) {
        if granted != Caching::NONE {
            self.grants_leases.store(true, Ordering::Relaxed);
        }
    }

    /// What is read from now on of a file that another client may be writing is believed for the timeout at the most,
    /// whatever its version is then.
    pub(crate) fn forget_in_time(&self, file: &FileOf<S>) {
        let expires = {
            let mut state = file.lock();
            !self.policy.keeps_no_pages()
                && !self.policy.decide(state.caching()).believes_data
                && state.begin_expiring()
        };
        if !expires {
            return;
        }
        let (expiring, timeout) = (Arc::downgrade(file), self.policy.timeout);
        let forget = self.kernel.forget_later(file.ino);
        tokio::spawn(async move {
            tokio::time::sleep(timeout).await;
            let Some(file) = expiring.upgrade() else { return };
            file.lock().expired();
            forget.await;
        });
    }
}
