//! The steps up to a mount: the mountpoint, the server, the folder.
//!
//! The order matters: the mountpoint is checked before the server is contacted, and the server and the folder before
//! anything is mounted. Mounting and what follows is in [`super::serving`].

use super::daemon::{self, Failure, Ready};
use super::kernel::MountRequest;
use super::remedy::{Goal, explain, no_folder, other_shares};
use super::renewal::Renewal;
use super::serving::{Guarded, Service};
use super::signals::{self, Signals};
use super::{MountError, RunMode, Stage, metrics, point};
use crate::config::buffers::{self, Effective};
use crate::config::{MountOptions, MountSpec, credentials};
use crate::share::{self, FileKind, IoLimits, Names, RemotePath, SmbShare};
use crate::telemetry::status::{Buffer, Buffers};
use crate::vfs::name_encoding;
use crate::wire::{ConnectConfig, ConnectError, NtStatus, Terms};
use std::sync::Arc;
use std::time::Duration;

/// Time without traffic after which a connection is probed with an ECHO request.
const ECHO_INTERVAL: Duration = Duration::from_secs(10);
/// Time limit for the local steps (checking the mountpoint, mounting and the FUSE handshake), in addition to
/// connecting.
const LOCAL_STEPS: Duration = Duration::from_secs(30);

/// Time limit for listing the server's shares, for the message of a share that does not exist. Samba starts the program
/// that lists them at the first call.
const LISTING_LIMIT: Duration = Duration::from_secs(6);

/// Prints a line for the user.
pub type Print<'a> = &'a dyn Fn(&str);

/// Mounts, and serves the mount until it is unmounted or a signal ends it. In the background, this returns as soon as
/// the mount works. `announce` gets one line about the mount when it works.
///
/// # Errors
///
/// The message for the user and the exit code.
pub fn run(spec: MountSpec, mode: RunMode, renewal: &Renewal, announce: Option<Print<'_>>) -> Result<(), Failure> {
    match mode {
        RunMode::Foreground => serve(&spec, renewal, announce, None).map_err(Failure::from),
        RunMode::Background => {
            let limit = spec.options.connect_timeout + LOCAL_STEPS;
            let line = daemon::background(limit, |ready| in_background(&spec, renewal, announce, ready))?;
            if let Some(announce) = announce {
                announce(&line);
            }
            Ok(())
        }
    }
}

fn in_background(spec: &MountSpec, renewal: &Renewal, announce: Option<Print<'_>>, ready: Ready) -> u8 {
    let mut ready = Some(ready);
    let Err(error) = serve(spec, renewal, announce, Some(&mut ready)) else { return 0 };
    match ready {
        Some(ready) => ready.failed(error.exit_code(), &error.to_string()),
        // The parent has already ended, so only the log is left.
        None => tracing::error!(%error, "the mount has ended"),
    }
    error.exit_code()
}

impl From<MountError> for Failure {
    fn from(error: MountError) -> Failure {
        Failure { code: error.exit_code(), message: error.to_string() }
    }
}

/// Runs all steps, up to the end of the mount. `ready` becomes `None` when the mount works.
fn serve(
    spec: &MountSpec,
    renewal: &Renewal,
    announce: Option<Print<'_>>,
    ready: Option<&mut Option<Ready>>,
) -> Result<(), MountError> {
    let blocked = signals::block().map_err(|error| MountError::system("signals cannot be blocked", error))?;
    let mountpoint = point::check(&spec.mountpoint)?;
    let metrics = spec.options.metrics.as_ref().map(metrics::Bound::open).transpose()?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_name("cifs-fuse")
        .build()
        .map_err(|error| MountError::system("the worker threads could not be started", error))?;
    let mut signals = runtime.block_on(async { Signals::listen(&blocked) })?;
    let (share, buffers) = runtime.block_on(async {
        tokio::select! {
            connected = connect(spec) => connected,
            name = signals.end() => Err(MountError::new(Stage::Interrupted, format!("{name} came before the mount"))),
        }
    })?;
    let sources = renewal.sources.clone();
    share.read_identity_from(Box::new(move || Some(credentials::identity(sources.clone()).ok()?.0)));

    let request = MountRequest {
        source: spec.url.to_string(),
        read_only: spec.options.read_only,
        no_exec: spec.options.kernel.no_exec,
        allow_other: spec.options.allow_other,
        ..MountRequest::new(mountpoint, "")
    };
    let (root, share) = (root_of(spec)?, Arc::new(share));
    let service = Service { spec, root, renewal, announce, share, buffers, runtime: &runtime };
    let mut guarded = Guarded::mount(&request, spec.restart.is_some())?;
    let outcome = service.run(&mut guarded, &mut signals, ready, metrics);
    runtime.shutdown_timeout(Duration::from_secs(1));
    guarded.end();
    outcome
}

/// The folder to mount. The URL names it as a mount of the whole share shows it.
pub(super) fn root_of(spec: &MountSpec) -> Result<RemotePath, MountError> {
    let path = &spec.url.path;
    name_encoding::encode_path(path.as_ref())
        .map_err(|error| MountError::new(Stage::Path, format!("{path:?}: {error}")))
}

/// The configuration of the connection to the share.
pub(super) fn connect_config(spec: &MountSpec) -> ConnectConfig {
    let options = &spec.options;
    ConnectConfig {
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
        counters: Arc::default(),
    }
}

/// Connects to the share, and checks that the folder to mount exists. Returns the share and its buffer sizes, which do
/// not change when the session is made again.
async fn connect(spec: &MountSpec) -> Result<(SmbShare, Buffers), MountError> {
    let options = &spec.options;
    let root = root_of(spec)?;
    let mut buffers = Buffers::default();
    let connected = SmbShare::connect(connect_config(spec), options.request_timeout, root.clone(), |terms| {
        buffers = choose_buffers(options, terms);
        IoLimits { read: buffers.read.bytes, write: buffers.write.bytes }
    });
    let share = match connected.await {
        Ok(share) => share,
        Err(error) => return Err(unconnected(spec, &error).await),
    };
    share.use_symlinks(options.symlinks);
    check_folder(spec, &share, &root).await?;
    Ok((share, buffers))
}

/// Checks that the folder to mount exists.
pub(super) async fn check_folder(spec: &MountSpec, share: &SmbShare, root: &RemotePath) -> Result<(), MountError> {
    let found = tokio::time::timeout(spec.options.connect_timeout, share.stat(root));
    let found = found.await.map_err(|_| MountError::new(Stage::Path, "the server did not answer in time"))?;
    match found.map_err(|error| no_folder(spec, &error))?.stored_kind() {
        FileKind::Directory => Ok(()),
        _ => Err(MountError::new(Stage::Path, format!("{:?} is a file", spec.url.path))
            .remedy("give the path of a folder on the share")),
    }
}

/// The error for a failed connection. If the share does not exist, it names those that do; for that, the account signs
/// in once more, with the password that the server has just accepted.
pub(super) async fn unconnected(spec: &MountSpec, error: &ConnectError) -> MountError {
    let explained = explain(spec, Goal::Mount, error);
    if explained.stage != Stage::Share || error.status != Some(NtStatus::BAD_NETWORK_NAME) {
        return explained;
    }
    let limit = LISTING_LIMIT.min(spec.options.connect_timeout);
    match tokio::time::timeout(limit, share::shares(connect_config(spec), limit)).await {
        Ok(Ok(shares)) => explained.remedy(other_shares(spec, &shares)),
        // The server lists no shares for this account: the message is complete without them.
        Ok(Err(_)) | Err(_) => explained,
    }
}

fn choose_buffers(options: &MountOptions, terms: &Terms) -> Buffers {
    let choose = |name: &str, asked: Option<u32>, negotiated: u32| {
        let chosen: Effective = buffers::effective(asked, negotiated);
        match chosen.warning(name) {
            Some(warning) => tracing::warn!("{warning}"),
            None => tracing::info!("--{name}: {chosen}"),
        }
        Buffer { bytes: chosen.bytes, reason: chosen.to_string() }
    };
    Buffers {
        read: choose("read-buffer-size", options.read_buffer_size, terms.max_read),
        write: choose("write-buffer-size", options.write_buffer_size, terms.max_write),
    }
}
