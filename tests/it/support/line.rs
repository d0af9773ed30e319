//! A mount whose connections pass through a [`Proxy`], which counts, holds and cuts them.

use super::mount::{Mount, Request};
use super::proxy::Proxy;
use super::server::{Server, url};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A new folder on a server, and a mount of it through a proxy.
pub(crate) struct Line {
    /// The mount.
    pub(crate) mount: Mount,
    /// The proxy between the mount and the server.
    pub(crate) proxy: Proxy,
    /// The same folder on the server's own disk.
    pub(crate) folder: PathBuf,
    _server: Arc<Server>,
}

impl Line {
    /// Makes a new folder on this server and mounts it with these options.
    #[track_caller]
    pub(crate) fn to(server: Arc<Server>, options: &[&str]) -> Line {
        let folder = server.new_folder("line");
        let proxy = Proxy::to_port(server.port());
        let name = folder.file_name().expect("a folder on the share").to_string_lossy();
        let request = options.iter().fold(Request::new(url("127.0.0.1", proxy.port(), &name)), Request::arg);
        let mount = request.mount();
        Line { mount, proxy, folder, _server: server }
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
