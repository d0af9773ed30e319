//! A mount from its beginning to its end.
//!
//! The order matters: the mountpoint is looked at before the server is bothered, the server and the
//! folder before anything is mounted, and only when the kernel has an answering file system is the
//! user told that it works. At the end it goes backwards: unmounted, everything closed on the server,
//! the session left. Every step is bounded, so that a server that has gone cannot keep the process.

use super::daemon::{self, Failure, Ready};
use super::kernel::{self, MountRequest, Mounted};
use super::{MountError, RunMode, Stage, core_dump, notify, point};
use crate::config::buffers::{self, Effective};
use crate::config::{MountOptions, MountSpec};
use crate::fuse;
use crate::share::{FileKind, IoLimits, RemotePath, Share, ShareError, SmbShare};
use crate::vfs::{Vfs, VfsOptions};
use crate::wire::{self, ConnectConfig, ConnectError, NtStatus, Terms};
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Runtime;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// A line that is quiet for so long is probed.
const ECHO_INTERVAL: Duration = Duration::from_secs(10);
/// What looking at the mountpoint, mounting and the FUSE handshake may take, beside connecting.
const LOCAL_STEPS: Duration = Duration::from_secs(30);
/// How long an unmount may wait for users of the mount to finish.
const UNMOUNT_LIMIT: Duration = Duration::from_secs(10);
/// How long the end of the FUSE session and the farewell to the server may take.
const FAREWELL: Duration = Duration::from_secs(10);
/// How far the kernel reads ahead of a sequential reader, in KiB.
const KERNEL_READ_AHEAD: u32 = 4096;

/// Mounts and serves the mount until it is unmounted or a signal ends it. In the background, this
/// returns as soon as the mount works.
///
/// # Errors
///
/// The one message for the user, with the exit code.
pub fn run(spec: MountSpec, mode: RunMode) -> Result<(), Failure> {
    core_dump::disable()?;
    match mode {
        RunMode::Foreground => serve(&spec, None).map_err(Failure::from),
        RunMode::Background => {
            let limit = spec.options.connect_timeout + LOCAL_STEPS;
            daemon::background(limit, |ready| in_background(&spec, ready))
        }
    }
}

fn in_background(spec: &MountSpec, ready: Ready) -> u8 {
    let mut ready = Some(ready);
    let Err(error) = serve(spec, Some(&mut ready)) else { return 0 };
    match ready {
        Some(ready) => ready.failed(error.exit_code(), &error.to_string()),
        // The parent has gone long ago: only the log is left.
        None => tracing::error!(%error, "the mount has ended"),
    }
    error.exit_code()
}

impl From<MountError> for Failure {
    fn from(error: MountError) -> Failure {
        Failure { code: error.exit_code(), message: error.to_string() }
    }
}

fn system(what: &str, error: impl std::fmt::Display) -> MountError {
    MountError::new(Stage::System, format!("{what}: {error}"))
}

/// From the mountpoint to the end of the mount. `ready` is taken when the mount works.
fn serve(spec: &MountSpec, ready: Option<&mut Option<Ready>>) -> Result<(), MountError> {
    let mountpoint = point::check(&spec.mountpoint)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_name("cifs-fuse")
        .build()
        .map_err(|error| system("the worker threads could not be started", error))?;
    let signals = runtime.block_on(async { Signals::listen() })?;
    let share = Arc::new(runtime.block_on(connect(spec))?);

    let request = MountRequest {
        source: spec.url.to_string(),
        read_only: spec.options.read_only,
        no_exec: spec.options.kernel.no_exec,
        allow_other: spec.options.allow_other,
        ..MountRequest::new(mountpoint, "")
    };
    let mut mounted = kernel::mount(&request)?;
    let vfs = Arc::new(Vfs::new(share.clone(), vfs_options(&spec.options), RemotePath::parse(&spec.url.path)));
    runtime.spawn(vfs.clone().obey_breaks());
    runtime.spawn(vfs.clone().tend());
    runtime.spawn(vfs.clone().follow_watches());
    let descriptor = mounted.take_descriptor().ok_or_else(|| system("the mount", "has no descriptor"))?;
    let mut session = fuse::serve(vfs.clone(), descriptor, runtime.handle().clone())
        .map_err(|error| MountError::new(Stage::Mount, format!("the FUSE handshake failed: {error}")))?;
    raise_read_ahead(&mounted);

    let status = format!("{} on {}: {}", spec.url, mounted.mountpoint().display(), share.tree().terms);
    tracing::info!("mounted {status}");
    notify::ready(&status);
    if let Some(ready) = ready.and_then(Option::take) {
        ready.ok().map_err(|error| system("going to the background", error))?;
    }
    let outcome = match runtime.block_on(signals.or_end_of(&mut session)) {
        Ending::Session(result) => result.map_err(|error| system("the FUSE session broke off", error)),
        Ending::Signal(name) => {
            notify::stopping("unmounting");
            tracing::info!("{name}: unmounting {}", mounted.mountpoint().display());
            unmount(&mounted, &mut session, &runtime)
        }
    };
    runtime.block_on(async {
        let drained = tokio::time::timeout(FAREWELL, vfs.drain()).await;
        if drained.is_err() {
            tracing::error!("the server did not let open files be closed in time");
        }
        share.leave(Duration::from_secs(2)).await;
    });
    runtime.shutdown_timeout(Duration::from_secs(1));
    outcome
}

/// Unmounts and waits for the session's end. Users of the mount who do not go are cut off.
fn unmount(mounted: &Mounted, session: &mut fuse::Session, runtime: &Runtime) -> Result<(), MountError> {
    if let Err(error) = mounted.unmount(UNMOUNT_LIMIT) {
        tracing::warn!(%error, "the mount is still in use: detaching it");
        mounted.detach()?;
    }
    if runtime.block_on(session.join(FAREWELL)).is_ok() {
        return Ok(());
    }
    tracing::warn!("someone still holds files of the mount open: cutting them off");
    mounted.abort().map_err(|error| system("the FUSE connection could not be aborted", error))?;
    if let Err(error) = runtime.block_on(session.join(FAREWELL)) {
        tracing::warn!(%error, "the FUSE session does not end");
    }
    Ok(())
}

/// More read-ahead lets one sequential reader keep several READs in flight. It is a wish: only root may.
fn raise_read_ahead(mounted: &Mounted) {
    match mounted.set_read_ahead(KERNEL_READ_AHEAD) {
        Ok(()) => tracing::debug!(kib = KERNEL_READ_AHEAD, "the kernel's read-ahead is raised"),
        Err(error) => tracing::info!(%error, "the kernel's read-ahead stays as it is"),
    }
}

fn vfs_options(options: &MountOptions) -> VfsOptions {
    VfsOptions {
        uid: options.uid,
        gid: options.gid,
        file_mode: options.file_mode,
        dir_mode: options.dir_mode,
        read_only: options.read_only,
        cache: options.cache,
        attr_timeout: options.attr_timeout,
        cache_size: options.cache_size,
    }
}

/// Connects to the share, and looks at the folder that is to be mounted.
async fn connect(spec: &MountSpec) -> Result<SmbShare, MountError> {
    let options = &spec.options;
    let config = ConnectConfig {
        host: spec.url.host.clone(),
        port: spec.port(),
        transport: options.transport,
        share: spec.url.share.clone(),
        identity: spec.identity.clone(),
        dialects: options.dialects,
        signing: options.signing,
        encryption: options.encryption,
        connections: options.connections,
        connect_timeout: options.connect_timeout,
        echo_interval: ECHO_INTERVAL,
    };
    let root = RemotePath::parse(&spec.url.path);
    let share = SmbShare::connect(config, options.request_timeout, root.clone(), |terms| choose_limits(options, terms))
        .await
        .map_err(explain)?;
    let found = tokio::time::timeout(options.connect_timeout, share.stat(&root));
    let found = found.await.map_err(|_| MountError::new(Stage::Path, "the server did not answer in time"))?;
    match found.map_err(|error| no_folder(spec, &error))?.kind() {
        FileKind::Directory => Ok(share),
        FileKind::File => Err(MountError::new(Stage::Path, format!("{:?} is a file", spec.url.path))
            .remedy("give the path of a folder on the share")),
    }
}

fn choose_limits(options: &MountOptions, terms: &Terms) -> IoLimits {
    let choose = |name: &str, asked: Option<u32>, negotiated: u32| {
        let chosen: Effective = buffers::effective(asked, negotiated);
        match chosen.warning(name) {
            Some(warning) => tracing::warn!("{warning}"),
            None => tracing::info!("--{name}: {chosen}"),
        }
        chosen.bytes
    };
    IoLimits {
        read: choose("read-buffer-size", options.read_buffer_size, terms.max_read),
        write: choose("write-buffer-size", options.write_buffer_size, terms.max_write),
    }
}

fn no_folder(spec: &MountSpec, error: &ShareError) -> MountError {
    let path = &spec.url.path;
    match error.nt_status() {
        Some(status @ (NtStatus::OBJECT_NAME_NOT_FOUND | NtStatus::OBJECT_PATH_NOT_FOUND)) => {
            MountError::new(Stage::Path, format!("the share {:?} has no folder {path:?}", spec.url.share))
                .status(status)
                .remedy("check the path behind the share's name in the URL")
        }
        Some(status @ NtStatus::ACCESS_DENIED) => {
            MountError::new(Stage::Path, format!("this user may not look at {path:?}"))
                .status(status)
                .remedy("check the folder's permissions on the server")
        }
        _ => MountError::new(Stage::Path, error.to_string()),
    }
}

/// A failure to connect, with what the user can do about it.
fn explain(error: ConnectError) -> MountError {
    let (stage, remedy) = match error.stage {
        wire::Stage::Resolve => (Stage::Resolve, "check the host's name, or give its address"),
        wire::Stage::Connect => (
            Stage::Connect,
            "check that the server is up, that a firewall lets the port through, and the port in the URL",
        ),
        wire::Stage::Dialect => {
            (Stage::Dialect, "check --min-dialect, --max-dialect, --encryption and the server's settings")
        }
        wire::Stage::SignIn => (Stage::SignIn, wire::signin::remedy(error.status)),
        wire::Stage::Share => {
            (Stage::Share, "check the share's name and its permissions: `smbclient -L HOST` lists the shares")
        }
    };
    let explained = MountError::new(stage, error.message).remedy(remedy);
    match error.status {
        Some(status) => explained.status(status),
        None => explained,
    }
}

/// What ends a mount from outside.
struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    fn listen() -> Result<Signals, MountError> {
        let listen = |kind| signal(kind).map_err(|error| system("signals cannot be received", error));
        Ok(Signals { interrupt: listen(SignalKind::interrupt())?, terminate: listen(SignalKind::terminate())? })
    }

    /// Waits for a signal or for the end of the session.
    async fn or_end_of(mut self, session: &mut fuse::Session) -> Ending {
        tokio::select! {
            _ = self.interrupt.recv() => Ending::Signal("SIGINT"),
            _ = self.terminate.recv() => Ending::Signal("SIGTERM"),
            result = session.ended() => Ending::Session(result),
        }
    }
}

/// What ended a mount.
enum Ending {
    Signal(&'static str),
    /// It was unmounted, or something broke.
    Session(std::io::Result<()>),
}
