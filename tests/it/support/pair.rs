//! Two mounts of one folder, which act as two clients.

use super::mount::{Mount, Request};
use super::scene::Scene;
use super::server::{Kind, Server};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// Two clients of one folder.
pub(crate) struct Pair {
    /// The first client, and the server.
    pub(crate) scene: Scene,
    /// The second client.
    pub(crate) other: Mount,
}

impl Pair {
    /// A new folder on the shared server, mounted twice with the program's defaults.
    #[track_caller]
    pub(crate) fn on(kind: Kind) -> Pair {
        Pair::of(Server::shared(kind), Duration::from_secs(90))
    }

    /// A new folder on this server, mounted twice; `deadline` is the watchdog's deadline of each mount.
    #[track_caller]
    pub(crate) fn of(server: Arc<Server>, deadline: Duration) -> Pair {
        let scene = Scene::of(server, |request| request.for_at_most(deadline));
        let other = Request::new(scene.url()).for_at_most(deadline).mount();
        Pair { scene, other }
    }

    /// A path as the first client sees it.
    pub(crate) fn here(&self, name: impl AsRef<Path>) -> PathBuf {
        self.scene.here(name)
    }

    /// The same path as the second client sees it.
    pub(crate) fn other(&self, name: impl AsRef<Path>) -> PathBuf {
        self.other.join(name)
    }

    /// The same path on the server's own disk.
    pub(crate) fn there(&self, name: impl AsRef<Path>) -> PathBuf {
        self.scene.there(name)
    }

    /// Unmounts both mounts.
    #[track_caller]
    pub(crate) fn end(self) {
        self.other.unmount();
        self.scene.mount.unmount();
    }
}
