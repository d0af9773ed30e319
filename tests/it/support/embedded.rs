//! The crate `smb-server` inside the test process, on a runtime of its own.

use super::scratch;
use super::server::{Demand, PASSWORD, SHARE, Settings, share_folder, user};
use smb_server::{Access, LocalFsBackend, Share, ShutdownHandle, SmbServer};
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;
use tokio::runtime::{Builder, Runtime};

/// A running server. It stops when this is dropped, and its folder is removed.
pub(crate) struct Embedded {
    home: PathBuf,
    folder: PathBuf,
    port: u16,
    shutdown: ShutdownHandle,
    runtime: Option<Runtime>,
}

impl Embedded {
    /// Starts a server. It listens when this returns.
    pub(crate) fn start(settings: Settings) -> Embedded {
        assert!(
            settings.dialects.is_none()
                && settings.max_credits.is_none()
                && settings.max_open_files.is_none()
                && !settings.shares_blocks,
            "smb-server has no such setting"
        );
        assert!(settings.signing != Demand::Off && settings.encryption != Demand::Off, "smb-server always offers both");
        let home = scratch::folder("embedded");
        let folder = share_folder(&home);
        let backend = LocalFsBackend::new(&folder).expect("the share's folder exists");
        let access = if settings.read_only { Access::Read } else { Access::ReadWrite };
        let share = Share::new(SHARE, backend);
        // A share of this server is either for named users or public.
        let share = match (settings.guests, settings.read_only) {
            (false, _) => share.user(user(), access),
            (true, false) => share.public(),
            (true, true) => share.public_read_only(),
        };
        let mut builder = SmbServer::builder()
            .listen(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))
            .user(user(), PASSWORD)
            .share(share)
            .require_signing(settings.signing == Demand::Required)
            // Some tests log in with a wrong password on purpose; they must not lock the other tests out.
            .logon_throttle(0, Duration::ZERO);
        if settings.encryption == Demand::Required {
            builder = builder.encrypt_data(true);
        }
        if let Some(bytes) = settings.max_io {
            builder = builder.max_read_size(bytes).max_write_size(bytes);
        }
        let server = builder.build().expect("settings that fit together");
        let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
        let shutdown = server.shutdown_handle();
        let (bound, address) = std::sync::mpsc::channel();
        runtime.spawn(async move {
            let _ = bound.send(server.bind().await);
            server.serve().await
        });
        let address = address.recv().expect("the runtime runs").expect("the loopback has free ports");
        Embedded { home, folder, port: address.port(), shutdown, runtime: Some(runtime) }
    }

    /// The TCP port on 127.0.0.1.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// The share's folder.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }
}

impl Drop for Embedded {
    fn drop(&mut self) {
        self.shutdown.shutdown();
        if let Some(runtime) = self.runtime.take() {
            // On a new thread, since a runtime must not be dropped on a thread of another runtime.
            let _ = thread::spawn(move || runtime.shutdown_timeout(Duration::from_secs(2))).join();
        }
        let _ = fs::remove_dir_all(&self.home);
    }
}
