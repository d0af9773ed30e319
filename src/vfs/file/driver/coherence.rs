//! How long data of files that other clients may have open is valid.

use super::{FileOf, Files};
use crate::share::{Caching, Share};
use std::sync::Arc;
use std::sync::atomic::Ordering;

impl<S: Share> Files<S> {
    /// Whether the version of a file with this granted caching shows each change of its data: the lease shows that no
    /// other client has the file open, or the server grants no leases. See [`Policy::trusts_version`].
    ///
    /// [`Policy::trusts_version`]: crate::vfs::policy::Policy::trusts_version
    pub(crate) fn is_alone(&self, granted: Caching) -> bool {
        self.policy.trusts_version(granted, self.grants_leases.load(Ordering::Relaxed))
    }

    /// Notes what the server granted to an open: whether it ever grants a lease.
    pub(crate) fn learn_from(&self, granted: Caching) {
        if granted != Caching::NONE {
            self.grants_leases.store(true, Ordering::Relaxed);
        }
    }

    /// Bounds the validity of data that is read from now on, if another client may be writing the file: after the
    /// timeout the data cached here must be revalidated, and the kernel drops its pages, whatever the version is then.
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
