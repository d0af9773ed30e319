//! The steps up to a mount: the mountpoint, the server, the folder.
//!
//! The order matters: the mountpoint is checked before the server is contacted, and the server and the folder before
//! anything is mounted. Mounting and what follows is in [`super::serving`].

use super::daemon::{self, Failure, Ready};
use super::kernel::MountRequest;
use super::renewal::Renewal;
use super::serving::{Guarded, Service};
use super::signals::{self, Signals};
use super::{MountError, RunMode, Stage, point};
use crate::config::buffers::{self, Effective};
use crate::config::{Identity, MountOptions, MountSpec, Protection, credentials};
use crate::share::{FileKind, IoLimits, Names, RemotePath, ShareError, SmbShare};
use crate::telemetry::status::{Buffer, Buffers};
use crate::vfs::name_encoding;
use crate::wire::connect::PIPES;
use crate::wire::{self, ConnectConfig, ConnectError, NtStatus, Terms};
use std::sync::Arc;
use std::time::Duration;

/// Time without traffic after which a connection is probed with an ECHO request.
const ECHO_INTERVAL: Duration = Duration::from_secs(10);
/// Time limit for the local steps (checking the mountpoint, mounting and the FUSE handshake), in addition to
/// connecting.
const LOCAL_STEPS: Duration = Duration::from_secs(30);

/// Mounts, and serves the mount until it is unmounted or a signal ends it. In the background, this returns as soon as
/// the mount works.
///
/// # Errors
///
/// The message for the user and the exit code.
pub fn run(spec: MountSpec, mode: RunMode, renewal: &Renewal) -> Result<(), Failure> {
    match mode {
        RunMode::Foreground => serve(&spec, renewal, None).map_err(Failure::from),
        RunMode::Background => {
            let limit = spec.options.connect_timeout + LOCAL_STEPS;
            daemon::background(limit, |ready| in_background(&spec, renewal, ready))
        }
    }
}

fn in_background(spec: &MountSpec, renewal: &Renewal, ready: Ready) -> u8 {
    let mut ready = Some(ready);
    let Err(error) = serve(spec, renewal, Some(&mut ready)) else { return 0 };
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
fn serve(spec: &MountSpec, renewal: &Renewal, ready: Option<&mut Option<Ready>>) -> Result<(), MountError> {
    let blocked = signals::block().map_err(|error| MountError::system("signals cannot be blocked", error))?;
    let mountpoint = point::check(&spec.mountpoint)?;
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
    let service = Service { spec, root: root_of(spec)?, renewal, share: Arc::new(share), buffers, runtime: &runtime };
    let mut guarded = Guarded::mount(&request, spec.restart.is_some())?;
    let outcome = service.run(&mut guarded, &mut signals, ready);
    runtime.shutdown_timeout(Duration::from_secs(1));
    guarded.end();
    outcome
}

/// The folder to mount. The URL names it as a mount of the whole share shows it.
fn root_of(spec: &MountSpec) -> Result<RemotePath, MountError> {
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
    let share = SmbShare::connect(connect_config(spec), options.request_timeout, root.clone(), |terms| {
        buffers = choose_buffers(options, terms);
        IoLimits { read: buffers.read.bytes, write: buffers.write.bytes }
    })
    .await
    .map_err(|error| explain(spec, error))?;
    if share.tree().terms.read_only && !options.read_only {
        tracing::warn!(
            "the share {:?} is read-only for this user, so changes fail; --ro makes that visible to programs",
            spec.url.share
        );
    }
    let found = tokio::time::timeout(options.connect_timeout, share.stat(&root));
    let found = found.await.map_err(|_| MountError::new(Stage::Path, "the server did not answer in time"))?;
    match found.map_err(|error| no_folder(spec, &error))?.kind() {
        FileKind::Directory => Ok((share, buffers)),
        FileKind::File => Err(MountError::new(Stage::Path, format!("{:?} is a file", spec.url.path))
            .remedy("give the path of a folder on the share")),
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

fn no_folder(spec: &MountSpec, error: &ShareError) -> MountError {
    let path = &spec.url.path;
    match error.nt_status() {
        Some(status @ (NtStatus::OBJECT_NAME_NOT_FOUND | NtStatus::OBJECT_PATH_NOT_FOUND)) => {
            MountError::new(Stage::Path, format!("the share {:?} has no folder {path:?}", spec.url.share))
                .status(status)
                .remedy("check the path after the share's name in the URL")
        }
        Some(status @ NtStatus::ACCESS_DENIED) => {
            MountError::new(Stage::Path, format!("this user has no access to {path:?}"))
                .status(status)
                .remedy("check the folder's permissions on the server")
        }
        _ => MountError::new(Stage::Path, error.to_string()),
    }
}

/// The error for a failed connection, with its remedy.
pub(super) fn explain(spec: &MountSpec, error: ConnectError) -> MountError {
    let stage = match error.stage {
        wire::Stage::Resolve => Stage::Resolve,
        wire::Stage::Connect => Stage::Connect,
        wire::Stage::Dialect => Stage::Dialect,
        wire::Stage::SignIn if error.refusal().is_some() => Stage::Refused,
        wire::Stage::SignIn => Stage::SignIn,
        wire::Stage::Share => Stage::Share,
    };
    let explained = MountError::new(stage, &*error.message).remedy(remedy(spec, &error));
    match error.status {
        Some(status) => explained.status(status),
        None => explained,
    }
}

/// What the user can do about a failed connection.
fn remedy(spec: &MountSpec, error: &ConnectError) -> String {
    if let Some(remedy) = error.remedy {
        return remedy.to_owned();
    }
    let is_denied = error.status == Some(NtStatus::ACCESS_DENIED);
    let remedy = match error.stage {
        // smbd refuses plain sessions with this status if it requires encryption.
        wire::Stage::SignIn | wire::Stage::Share if is_denied && spec.options.encryption == Protection::Off => {
            "the server may require encryption: leave out --encryption off"
        }
        wire::Stage::Resolve => "check the host's name, or give its address",
        wire::Stage::Connect => {
            "check that the server is up, that a firewall lets the port through, and the port in the URL"
        }
        wire::Stage::Dialect => "check --min-dialect, --max-dialect, --encryption and the server's settings",
        wire::Stage::SignIn => wire::signin::remedy(error.status),
        wire::Stage::Share if spec.url.share.eq_ignore_ascii_case(PIPES) => {
            "the server may list its shares for other users: sign in with --username"
        }
        wire::Stage::Share => {
            return format!(
                "check the share's name and its permissions; Samba's client lists the shares: smbclient -L //{} -p {}{}",
                spec.url.host,
                spec.port(),
                match &spec.identity {
                    Identity::User { username, .. } => format!(" -U {username}"),
                    Identity::Anonymous => " -N".to_owned(),
                }
            );
        }
    };
    remedy.to_owned()
}
