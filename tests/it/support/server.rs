//! What the servers have in common: settings, URLs, user and password, and instances that tests share.

use super::command::run;
use super::embedded::Embedded;
use super::scratch;
use super::smbd::Smbd;
use cifs_fuse::config::Dialect;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

/// The name of the one share that every server has.
pub(crate) const SHARE: &str = "share";

/// The password on every server. It has characters that a URL must encode, and a part that appears nowhere by
/// chance.
pub(crate) const PASSWORD: &str = "xyzzy-Plugh&7 +%/?#@:é";

/// The part of [`PASSWORD`] that no encoding changes.
pub(crate) const PASSWORD_MARK: &str = "xyzzy-Plugh";

/// The kind of server that a test runs on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    /// Samba.
    Smbd,
    /// Samba 4.22 or newer, which grants directory leases.
    NewSmbd,
    /// The crate `smb-server`.
    Embedded,
}

/// Whether a server requires, offers or refuses a feature.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) enum Demand {
    /// The server's own default.
    #[default]
    Default,
    /// No session without it.
    Required,
    /// The server does not offer it.
    Off,
}

/// The settings of a server. A setting that only one kind of server supports says so.
#[derive(Clone, Debug, Default)]
pub(crate) struct Settings {
    /// Lowest and highest dialect (smbd only).
    pub(crate) dialects: Option<(Dialect, Dialect)>,
    /// Signing.
    pub(crate) signing: Demand,
    /// Encryption.
    pub(crate) encryption: Demand,
    /// The share is open to guests and to anonymous sessions.
    pub(crate) guests: bool,
    /// The share is open to guests, and a wrong password makes a guest session (smbd only).
    pub(crate) guests_for_wrong_passwords: bool,
    /// The share is read-only.
    pub(crate) read_only: bool,
    /// The largest READ and WRITE, in bytes.
    pub(crate) max_io: Option<u32>,
    /// The most credits of a connection (smbd only).
    pub(crate) max_credits: Option<u32>,
    /// The most files and directories that a client may have open (smbd only).
    pub(crate) max_open_files: Option<u32>,
    /// Files may share blocks, if the server's disk supports that (smbd only).
    pub(crate) shares_blocks: bool,
    /// A session has one connection only (smbd only; smb-server never offers more).
    pub(crate) single_channel: bool,
    /// The server grants oplocks but no leases (smbd only; smb-server grants leases only).
    pub(crate) no_leases: bool,
    /// The server grants no oplocks either (smbd only; use it with `no_leases`).
    pub(crate) no_oplocks: bool,
    /// Further lines of the share's section in smb.conf (smbd only).
    pub(crate) share_lines: &'static [&'static str],
}

/// A running server. It stops when this is dropped.
pub(crate) enum Server {
    /// Samba.
    Smbd(Smbd),
    /// The crate `smb-server`.
    Embedded(Embedded),
}

impl Server {
    /// Starts a server.
    pub(crate) fn start(kind: Kind, settings: Settings) -> Server {
        match kind {
            Kind::Smbd => Server::Smbd(Smbd::start(settings)),
            Kind::NewSmbd => Server::Smbd(Smbd::start_newer(settings)),
            Kind::Embedded => Server::Embedded(Embedded::start(settings)),
        }
    }

    /// The instance with default settings that all tests share. It stops at the end of the test run.
    pub(crate) fn shared(kind: Kind) -> Arc<Server> {
        static SMBD: OnceLock<Instance> = OnceLock::new();
        static NEW_SMBD: OnceLock<Instance> = OnceLock::new();
        static EMBEDDED: OnceLock<Instance> = OnceLock::new();
        let instance = match kind {
            Kind::Smbd => &SMBD,
            Kind::NewSmbd => &NEW_SMBD,
            Kind::Embedded => &EMBEDDED,
        };
        let instance = instance.get_or_init(|| {
            scratch::at_exit(move || match kind {
                Kind::Smbd => end(&SMBD),
                Kind::NewSmbd => end(&NEW_SMBD),
                Kind::Embedded => end(&EMBEDDED),
            });
            Mutex::new(Some(Arc::new(Server::start(kind, Settings::default()))))
        });
        instance.lock().expect("no panic under this lock").clone().expect("it is removed only at the end of the run")
    }

    /// This server as an smbd, which has more operations. Panics if it is no smbd.
    pub(crate) fn smbd(&self) -> &Smbd {
        match self {
            Server::Smbd(server) => server,
            Server::Embedded(_) => panic!("not an smbd"),
        }
    }

    /// The TCP port on 127.0.0.1.
    pub(crate) fn port(&self) -> u16 {
        match self {
            Server::Smbd(server) => server.port(),
            Server::Embedded(server) => server.port(),
        }
    }

    /// The share's folder on the server's own disk.
    pub(crate) fn folder(&self) -> &Path {
        match self {
            Server::Smbd(server) => server.folder(),
            Server::Embedded(server) => server.folder(),
        }
    }

    /// A URL for a path on the share, without credentials.
    pub(crate) fn url(&self, path: &str) -> String {
        url("127.0.0.1", self.port(), path)
    }

    /// A new folder on the share, made on the server's own disk.
    pub(crate) fn new_folder(&self, prefix: &str) -> PathBuf {
        static NEXT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let number = NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let path = self.folder().join(format!("{prefix}-{number}"));
        fs::create_dir(&path).expect("the share's folder is writable");
        open_to_all(&path);
        path
    }
}

type Instance = Mutex<Option<Arc<Server>>>;

fn end(instance: &OnceLock<Instance>) {
    if let Some(instance) = instance.get() {
        drop(instance.lock().map(|mut server| server.take()));
    }
}

/// A URL for a path on the share of a server, without credentials.
pub(crate) fn url(host: &str, port: u16, path: &str) -> String {
    format!("cifs://{host}:{port}/{SHARE}/{path}").trim_end_matches('/').to_owned()
}

/// The user that every server knows: the user who runs the tests, since an smbd without root cannot act for
/// another user.
pub(crate) fn user() -> &'static str {
    static USER: OnceLock<String> = OnceLock::new();
    USER.get_or_init(|| {
        let id = run(Command::new("id").arg("-un"), Duration::from_secs(20)).success();
        id.stdout.trim().to_owned()
    })
}

/// Makes the share's folder below the home folder of a server.
pub(super) fn share_folder(home: &Path) -> PathBuf {
    let folder = home.join("files");
    fs::create_dir(&folder).expect("the server's folder is new");
    open_to_all(&folder);
    folder
}

/// Makes a folder writable for everyone, because guests act as another user on the server's disk.
fn open_to_all(folder: &Path) {
    fs::set_permissions(folder, fs::Permissions::from_mode(0o777)).expect("the permissions of our own folder");
}

/// Makes a test of each named function, on either server: `both_servers!(a, b)` makes `on_smbd::a`,
/// `on_embedded::a`, and so on. Each function gets the [`Kind`].
macro_rules! both_servers {
    ($($name:ident),+ $(,)?) => {
        mod on_smbd {
            $(#[test] fn $name() { super::$name($crate::support::server::Kind::Smbd); })+
        }
        mod on_embedded {
            $(#[test] fn $name() { super::$name($crate::support::server::Kind::Embedded); })+
        }
    };
}
pub(crate) use both_servers;
