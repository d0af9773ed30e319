//! The engine without a mount: a connected [`SmbShare`], the same as a user of the library gets. (`tests/it/engine.rs`,
//! which tests it, has a `connect_with` for given dialects.)

use super::server::{PASSWORD, SHARE, user};
use cifs_fuse::config::{DialectRange, Identity, Protection, Transport};
use cifs_fuse::share::{IoLimits, RemotePath, SmbShare};
use cifs_fuse::wire::ConnectConfig;
use std::time::Duration;

/// The user that every server knows, with this password.
pub(crate) fn identity(password: &str) -> Identity {
    Identity::User { username: user().into(), domain: None, password: password.to_owned().into() }
}

/// Connects to the share of the server at this port of 127.0.0.1, with up to `connections` TCP connections.
/// Panics if the server cannot be reached.
pub(crate) async fn connect(port: u16, connections: u8, request_timeout: Duration) -> SmbShare {
    let config = ConnectConfig {
        host: "127.0.0.1".into(),
        port,
        transport: Transport::DirectTcp,
        share: SHARE.into(),
        identity: identity(PASSWORD),
        dialects: DialectRange::default(),
        signing: Protection::Auto,
        encryption: Protection::Auto,
        connections,
        connect_timeout: Duration::from_secs(10),
        echo_interval: Duration::from_secs(30),
        counters: Default::default(),
    };
    let limits = |_: &_| IoLimits { read: 1 << 20, write: 1 << 20 };
    SmbShare::connect(config, request_timeout, RemotePath::root(), limits).await.expect("the server is up")
}
