//! The start of most tests: a new folder on a shared server, mounted.

use super::mount::{Mount, Request};
use super::server::{Kind, Server};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A folder on a server, and a mount of it.
pub(crate) struct Scene {
    /// The mount.
    pub(crate) mount: Mount,
    /// The same folder on the server's own disk.
    pub(crate) folder: PathBuf,
    /// The server.
    pub(crate) server: Arc<Server>,
}

impl Scene {
    /// A new folder on the shared server, mounted with the program's defaults.
    #[track_caller]
    pub(crate) fn on(kind: Kind) -> Scene {
        Scene::with(kind, |request| request)
    }

    /// A new folder on the shared server, mounted with the request that `adjust` returns.
    #[track_caller]
    pub(crate) fn with(kind: Kind, adjust: impl FnOnce(Request) -> Request) -> Scene {
        Scene::of(Server::shared(kind), adjust)
    }

    /// A new folder on this server, mounted with the request that `adjust` returns.
    #[track_caller]
    pub(crate) fn of(server: Arc<Server>, adjust: impl FnOnce(Request) -> Request) -> Scene {
        let folder = server.new_folder("scene");
        let mount = adjust(Request::new(url_of(&server, &folder))).mount();
        Scene { mount, folder, server }
    }

    /// A second mount of the same folder.
    #[track_caller]
    pub(crate) fn second_mount(&self) -> Mount {
        Request::new(self.url()).mount()
    }

    /// The URL of the folder.
    pub(crate) fn url(&self) -> String {
        url_of(&self.server, &self.folder)
    }

    /// A path as the programs on this mount see it.
    pub(crate) fn here(&self, name: impl AsRef<Path>) -> PathBuf {
        self.mount.join(name)
    }

    /// The same path on the server's own disk.
    pub(crate) fn there(&self, name: impl AsRef<Path>) -> PathBuf {
        self.folder.join(name)
    }
}

/// The URL of a folder on a server's share.
pub(crate) fn url_of(server: &Server, folder: &Path) -> String {
    server.url(&folder.file_name().expect("a folder on the share").to_string_lossy())
}
