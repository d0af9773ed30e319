//! Collects the status of a mount from its parts. Nothing here waits: every value is a counter, or is read under a lock
//! that no one holds while waiting.

use crate::config::{Identity, MountCommand, MountSpec};
use crate::mount::RunningLog;
use crate::mount::mountinfo::DeviceId;
use crate::share::{SessionState, SmbShare};
use crate::telemetry::metrics::Snapshot;
use crate::telemetry::recent::recent;
use crate::telemetry::status::{Away, Buffers, Cache, Server, Status, VERSION};
use crate::vfs::Vfs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;
use tokio::sync::watch;

/// The parts of a mount that requests are about.
pub(in crate::mount) struct Subject {
    pub(in crate::mount) spec: MountSpec,
    pub(in crate::mount) mountpoint: PathBuf,
    pub(in crate::mount) device: DeviceId,
    pub(in crate::mount) began: Instant,
    pub(in crate::mount) share: Arc<SmbShare>,
    pub(in crate::mount) buffers: Buffers,
    pub(in crate::mount) vfs: Arc<Vfs<SmbShare>>,
    pub(in crate::mount) log: Arc<dyn RunningLog>,
    pub(in crate::mount) command: MountCommand,
    /// Whether the mount is read-only: changes by a remount are sent here.
    pub(in crate::mount) access: watch::Sender<bool>,
}

impl Subject {
    /// The status now.
    pub(super) fn status(&self) -> Status {
        let spec = &self.spec;
        Status {
            version: VERSION,
            program: env!("CARGO_PKG_VERSION").to_owned(),
            process: std::process::id(),
            url: spec.url.to_string(),
            mountpoint: self.mountpoint.display().to_string(),
            device: self.device.to_string(),
            user: match &spec.identity {
                Identity::User { username, .. } => Some(username.clone()),
                Identity::Anonymous => None,
            },
            age: self.began.elapsed().as_secs(),
            read_only: self.vfs.is_read_only(),
            server: self.server(),
            buffers: self.buffers.clone(),
            cache: self.cache(),
            counters: self.vfs.counters().samples().into_iter().map(Into::into).collect(),
            recent: recent(),
        }
    }

    /// The metrics now, as text.
    pub(in crate::mount) fn metrics(&self) -> String {
        let url = &self.spec.url;
        let samples = self.vfs.counters().samples();
        Snapshot { status: self.status(), samples, server: url.host.clone(), share: url.share.clone() }.text()
    }

    fn server(&self) -> Server {
        let tree = self.share.tree();
        let terms = &tree.terms;
        let (credits_available, credits_in_use) = tree.channels.credits();
        let (state, away) = self.share.session_state();
        Server {
            address: tree.channels.peer().to_string(),
            state: state_name(state).to_owned(),
            away: away.map(|(duration, why)| Away { seconds: duration.as_secs(), why }),
            dialect: terms.dialect.to_string(),
            signing: terms.signing.map(|signing| signing.to_string()),
            encryption: terms.cipher.map(|cipher| cipher.to_string()),
            guest: terms.guest,
            share_read_only: terms.read_only,
            leasing: terms.leasing,
            directory_leasing: terms.directory_leasing,
            connections: tree.channels.connections().len(),
            credits_available,
            credits_in_use,
        }
    }

    fn cache(&self) -> Cache {
        let options = &self.spec.options;
        Cache {
            mode: options.cache.to_string(),
            attr_timeout: options.attr_timeout.as_secs_f64(),
            budget: options.cache_size,
            used: self.vfs.cached_bytes(),
            dirty: self.vfs.counters().dirty_bytes.get(),
            leases: self.share.leases(),
            watches: self.vfs.watches(),
        }
    }
}

fn state_name(state: SessionState) -> &'static str {
    match state {
        SessionState::Live => "live",
        SessionState::Lost => "lost",
        SessionState::Reconnecting => "reconnecting",
        SessionState::Reclaiming => "reclaiming",
        SessionState::Verifying => "verifying",
    }
}
