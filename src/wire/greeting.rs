//! What can be learned from a server without signing in: whether an address accepts a connection, and what the server
//! answers to NEGOTIATE. Neither the user's name nor anything of the password is sent.

use super::connect::{ConnectConfig, ServerClock, open};
use super::connection::Connection;
use super::error::ConnectError;
use super::negotiate::{self, Negotiated, Offer};
use super::transport;
use crate::config::Protection;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// An address that has accepted a connection. Dropping it ends the connection.
#[derive(Debug)]
pub struct Reached {
    connection: Connection,
    /// The time until the connection was there.
    pub took: Duration,
}

/// What the server answered to NEGOTIATE.
#[derive(Clone, Debug)]
pub struct Greeting {
    /// What was negotiated.
    pub agreed: Negotiated,
    /// The server's clock.
    pub clock: ServerClock,
}

/// Connects to one address, on NetBIOS with a session of its own, within `limit`.
///
/// # Errors
///
/// [`ConnectError`] at [`Stage::Connect`](super::Stage::Connect).
pub async fn reach(config: &ConnectConfig, address: SocketAddr, limit: Duration) -> Result<Reached, ConnectError> {
    let started = Instant::now();
    let connection = open(config, &[address], tokio::time::Instant::now() + limit).await?;
    Ok(Reached { connection, took: started.elapsed() })
}

impl Reached {
    /// The address.
    pub fn address(&self) -> SocketAddr {
        self.connection.peer()
    }

    /// Negotiates as [`connect`](super::connect::connect) would, within `limit`. A missing cipher is no error, even if
    /// the configuration requires encryption.
    ///
    /// # Errors
    ///
    /// [`ConnectError`] at [`Stage::Dialect`](super::Stage::Dialect).
    pub async fn greet(&self, config: &ConnectConfig, limit: Duration) -> Result<Greeting, ConnectError> {
        let encryption = match config.encryption {
            Protection::Required => Protection::Auto,
            other => other,
        };
        ask(&self.connection, config, encryption, limit).await.map(|(_, greeting)| greeting)
    }
}

/// A connection on which NEGOTIATE has succeeded.
pub(super) struct Greeted {
    pub(super) connection: Connection,
    pub(super) offer: Offer,
    pub(super) greeting: Greeting,
}

/// The first steps of a session: resolve, connect, negotiate.
///
/// # Errors
///
/// Those of [`connect`](super::connect::connect) up to the negotiation.
pub(super) async fn greet(config: &ConnectConfig, deadline: tokio::time::Instant) -> Result<Greeted, ConnectError> {
    let addresses = transport::resolve(&config.host, config.port, deadline).await?;
    let connection = open(config, &addresses, deadline).await?;
    let left = deadline.saturating_duration_since(tokio::time::Instant::now());
    let (offer, greeting) = ask(&connection, config, config.encryption, left).await?;
    Ok(Greeted { connection, offer, greeting })
}

/// Connects and negotiates within `connect_timeout`, and ends the connection: whether an SMB server answers that offers
/// what `config` requires.
///
/// # Errors
///
/// Those of [`connect`](super::connect::connect) up to the negotiation.
pub async fn check(config: &ConnectConfig) -> Result<(), ConnectError> {
    greet(config, tokio::time::Instant::now() + config.connect_timeout).await.map(drop)
}

async fn ask(
    connection: &Connection,
    config: &ConnectConfig,
    encryption: Protection,
    limit: Duration,
) -> Result<(Offer, Greeting), ConnectError> {
    let require_signing = config.requirements().requires_signing();
    let offer = Offer::new(config.dialects, require_signing, encryption, config.connections > 1);
    let asked = Instant::now();
    let agreed = negotiate::negotiate(connection, &offer, limit).await?;
    let clock = ServerClock::answered(agreed.system_time, asked);
    Ok((offer, Greeting { agreed, clock }))
}
