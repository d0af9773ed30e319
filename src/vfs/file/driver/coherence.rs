//! How long data of files that other clients may have open is valid.

use super::{FileOf, Files};
use crate::share::{Caching, Share};
use std::sync::Arc;
use std::sync::atomic::Ordering;

impl<S: Share> Files<S> {
    /// Whether the version of a file with this granted caching shows each change of its data, because as far as can
    /// be known no other client has it open.
    pub(crate) fn is_alone(&self, granted: Caching) -> bool {
        self.policy.trusts_version(granted, self.grants_leases.load(Ordering::Relaxed))
    }

    /// Notes what the server granted to an open: whether it ever grants a lease.
    pub(crate) fn learn_from(&self, granted: Caching) {
        if granted != Caching::NONE {
            self.grants_leases.store(true, Ordering::Relaxed);
        }
    }

    /// Bounds what is read from now on of a file that another client may be writing: at the end of the timeout it is
    /// revalidated here and dropped by the kernel, whatever its version is then.
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
