//! Leases and events of the share, and the acknowledgement of breaks.

use crate::share::smb::SmbShare;
use crate::share::task::Task;
use crate::share::types::*;
use crate::share::{Broken, Events, Leases, Result};
use crate::wire::NtStatus;
use crate::wire::error::WireError;

impl Leases for SmbShare {
    fn granted(&self, key: LeaseKey) -> Granted {
        self.leases.granted(key)
    }

    fn events(&self) -> Option<Events> {
        self.leases.events()
    }

    async fn acknowledge(&self, broken: Broken) -> Result<()> {
        let task = Task { operation: "OPLOCK_BREAK", path: &RemotePath::root() };
        let mut result = Ok(());
        for (tree, chain) in self.leases.carried_out(&broken) {
            match tree.channels.send(&chain, self.request_timeout).await {
                Ok(replies) => {
                    // The open may have been closed meanwhile, and its oplock with it; or the server may no longer
                    // wait.
                    if let Err(refusal) = task.all(&replies) {
                        if refusal.nt_status() != Some(NtStatus::FILE_CLOSED) {
                            self.leases.refused(broken.key);
                        }
                        tracing::debug!(%refusal, key = ?broken.key, "the server refused the acknowledgement of a break");
                    }
                }
                // Every lease has ended with the connection.
                Err(WireError::Closed(_)) => {}
                Err(error) => result = Err(task.wire(error)),
            }
        }
        result
    }
}
