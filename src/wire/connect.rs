//! From a host's name to a tree: the steps that a connection takes, each with its own error; and the
//! further connections of its session, where the server takes them.

use super::channels::Channels;
use super::codec::{Fields, Malformed, Put, TooLong, length16};
use super::connection::Connection;
use super::crypto::{Cipher, SigningAlgorithm};
use super::error::{ConnectError, Proof, Stage};
use super::frame::{Chain, Reply, Request};
use super::header::{Command, behind};
use super::negotiate::{self, Negotiated, Offer};
use super::signin::{self, SessionKind, Wish};
use super::status::NtStatus;
use super::{netbios, transport};
use crate::config::{Dialect, DialectRange, Identity, Protection, Transport};
use crate::telemetry::Counters;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};

/// Everything that is needed to reach a share.
#[derive(Clone, Debug)]
pub struct ConnectConfig {
    /// The server's name or address.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// What carries the messages.
    pub transport: Transport,
    /// The share's name.
    pub share: String,
    /// Who signs in.
    pub identity: Identity,
    /// The dialects that are offered.
    pub dialects: DialectRange,
    /// Whether messages are signed.
    pub signing: Protection,
    /// Whether messages are encrypted.
    pub encryption: Protection,
    /// The most connections of the session; more than one only where the server offers multichannel.
    pub connections: u8,
    /// How long all steps together may take.
    pub connect_timeout: Duration,
    /// A line that is quiet for so long is probed.
    pub echo_interval: Duration,
    /// Counts what is sent and received, for the mount that this is part of.
    pub counters: Arc<Counters>,
}

/// A session with a tree: a share, ready for use.
#[derive(Debug)]
pub struct Tree {
    /// The connections of the session.
    pub channels: Channels,
    /// The tree.
    pub id: u32,
    /// All traffic of the tree is encrypted.
    pub seal: bool,
    /// What was agreed on, for people and for limits.
    pub terms: Terms,
    /// Why the server refused the credentials for a further connection, if it did.
    pub binding_refused: Option<ConnectError>,
    /// Of sessions with the same number, each had ended at the server before the next one began. Set by who connects again.
    pub lineage: u32,
    /// When it could be used first. A session that it takes the place of had ended by then.
    pub connected: std::time::Instant,
}

/// The session that a new one takes the place of. Naming it has the server end it first, with its opens and with what
/// is in flight on it (MS-SMB2 3.3.5.5.3).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Previous {
    /// There is none, or it is not named.
    Unnamed,
    /// Its id, and how long the server may take to end it: smbd waits for the process that serves it.
    Named(u64, Duration),
}

/// What was agreed on with the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Terms {
    /// The dialect.
    pub dialect: Dialect,
    /// How messages are signed, if they are.
    pub signing: Option<SigningAlgorithm>,
    /// How messages are encrypted, if they are.
    pub cipher: Option<Cipher>,
    /// It is a guest or anonymous session.
    pub guest: bool,
    /// The share can only be read (from its maximal access).
    pub read_only: bool,
    /// The server grants leases; otherwise there are oplocks at most.
    pub leasing: bool,
    /// It grants them on directories as well.
    pub directory_leasing: bool,
    /// The largest READ, in bytes.
    pub max_read: u32,
    /// The largest WRITE, in bytes.
    pub max_write: u32,
    /// The largest buffer of a listing, in bytes.
    pub max_transact: u32,
    /// The server's clock.
    pub clock: ServerClock,
}

/// What the server's clock showed at a moment of ours: known as soon as NEGOTIATE is answered, whose SystemTime field tells
/// it. The server read it between the question and the answer. So there are two readings, which differ by the time that the
/// answer took: [`ServerClock::at`] is never earlier than the server's own clock, [`ServerClock::at_least`] never later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServerClock {
    then: u64,
    at: std::time::Instant,
    /// How long the answer took.
    slack: Duration,
}

impl ServerClock {
    /// What it shows about now, as a FILETIME; `None` if the server did not tell.
    pub fn now(self) -> Option<u64> {
        self.at(std::time::Instant::now())
    }

    /// What it showed at a moment since then, as a FILETIME; `None` if the server did not tell.
    pub fn at(self, moment: std::time::Instant) -> Option<u64> {
        let passed = moment.saturating_duration_since(self.at).as_nanos() / 100;
        (self.then != 0).then(|| self.then.saturating_add(u64::try_from(passed).unwrap_or(u64::MAX)))
    }

    /// The same, and never later than the server's own clock: what a file is shown as changed at until the server says so
    /// itself, since that must not go back then.
    pub fn at_least(self, moment: std::time::Instant) -> Option<u64> {
        let slack = u64::try_from(self.slack.as_nanos() / 100).unwrap_or(u64::MAX);
        Some(self.at(moment)?.saturating_sub(slack).max(self.then))
    }

    /// What it showed when the connection was made, as a FILETIME; `None` if the server did not tell.
    pub fn start(self) -> Option<u64> {
        (self.then != 0).then_some(self.then)
    }

    /// How much later than the server's own clock it may show, at the most.
    pub fn slack(self) -> Duration {
        self.slack
    }

    /// A server that does not tell.
    #[cfg(test)]
    pub(crate) fn unknown() -> ServerClock {
        ServerClock::showing(0, std::time::Instant::now(), Duration::ZERO)
    }

    /// A clock that shows `then` at a moment.
    #[cfg(test)]
    pub(crate) fn showing(then: u64, at: std::time::Instant, slack: Duration) -> ServerClock {
        ServerClock { then, at, slack }
    }
}

impl std::fmt::Display for Terms {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SMB {}", self.dialect)?;
        match (self.cipher, self.signing) {
            (Some(cipher), _) => write!(f, ", encrypted with {cipher}")?,
            (None, Some(signing)) => write!(f, ", signed with {signing}")?,
            (None, None) => f.write_str(", not signed")?,
        }
        if self.guest { f.write_str(", as guest") } else { Ok(()) }
    }
}

/// Connects, negotiates, signs in and connects to the tree, all within `connect_timeout`. A `previous` session that is
/// named has ended at the server when this succeeds. `answered` is called when the server has answered for the first time.
pub async fn connect(
    config: &ConnectConfig,
    previous: Previous,
    answered: impl FnOnce() + Send,
) -> Result<Tree, ConnectError> {
    let deadline = Instant::now() + config.connect_timeout;
    let addresses = transport::resolve(&config.host, config.port, deadline).await?;
    let connection = open(config, &addresses, deadline).await?;
    let left = || deadline.saturating_duration_since(Instant::now());

    let wish = Wish { identity: config.identity.clone(), signing: config.signing, encryption: config.encryption };
    let offer = Offer::new(config.dialects, wish.requires_signing(), config.encryption, config.connections > 1);
    let asked = std::time::Instant::now();
    let agreed = negotiate::negotiate(&connection, &offer, left()).await?;
    let clock = ServerClock { then: agreed.system_time, at: asked, slack: asked.elapsed() };
    answered();
    let (named, limit) = match previous {
        Previous::Unnamed => (0, left()),
        Previous::Named(session, patience) => (session, patience.min(left())),
    };
    let session = signin::sign_in(&connection, &agreed, &wish, named, limit).await?;
    let tree = tree_connect(&connection, config, left()).await?;
    if tree.seal && connection.security().is_none_or(|security| security.sealer.is_none()) {
        let message = "the share wants encryption, and no cipher was agreed on, or the session has no key for it";
        return Err(ConnectError::new(Stage::Share, message));
    }
    let validated = negotiate::validate(&connection, &offer, &agreed, (tree.id, tree.seal), left()).await;
    validated.map_err(|error| error.with_proof(Proof::Accepted))?;
    let whole = Session { config, offer: &offer, agreed: &agreed, wish: &wish, first: &connection };
    let (further, binding_refused) = whole.further_channels(deadline).await;

    // What a frame of the NetBIOS session service can carry.
    let cap = |size: u32| if config.transport == Transport::NetBios { size.min(netbios::MAX_PAYLOAD) } else { size };
    let SessionKind { guest, signed, sealed } = session;
    let guest = guest || matches!(config.identity, Identity::Anonymous);
    let terms = Terms {
        dialect: agreed.dialect,
        signing: signed.then_some(agreed.signing),
        cipher: agreed.cipher.filter(|_| sealed || tree.seal),
        guest,
        read_only: tree.read_only,
        leasing: agreed.leasing,
        directory_leasing: agreed.directory_leasing,
        max_read: cap(agreed.max_read),
        max_write: cap(agreed.max_write),
        max_transact: cap(agreed.max_transact),
        clock,
    };
    let channels = Channels::new(connection, further);
    Ok(Tree {
        channels,
        id: tree.id,
        seal: tree.seal,
        terms,
        binding_refused,
        lineage: 0,
        connected: std::time::Instant::now(),
    })
}

/// A connection without a session.
async fn open(config: &ConnectConfig, addresses: &[SocketAddr], deadline: Instant) -> Result<Connection, ConnectError> {
    let stream: TcpStream = match config.transport {
        Transport::DirectTcp => transport::connect(addresses, deadline).await?,
        Transport::NetBios => netbios::connect(addresses, deadline).await?,
    };
    Connection::start(stream, config.echo_interval, Arc::clone(&config.counters))
        .map_err(|error| ConnectError::new(Stage::Connect, error.to_string()))
}

/// How long the mount waits for further connections, which it can do without: for all, and for one.
const FURTHER_LIMIT: Duration = Duration::from_secs(5);
const ATTEMPT_LIMIT: Duration = Duration::from_millis(1500);
/// How often an attempt that had no answer is made again, for all together.
const RETRIES: usize = 2;

/// A session that may get further connections.
struct Session<'a> {
    config: &'a ConnectConfig,
    offer: &'a Offer,
    agreed: &'a Negotiated,
    wish: &'a Wish,
    first: &'a Connection,
}

impl Session<'_> {
    /// As many further connections as are wanted and can be had. None where the server does not offer
    /// them, and for guests, whose sessions have no key to bind with.
    ///
    /// A binding is signed and not encrypted. Samba takes that, unless it requires encryption of every session:
    /// then one connection is what there is.
    ///
    /// They are made one after the other. Samba 4.17 hands a further connection over to the process that has
    /// the first one, and the process that accepted it can still take the next request from the socket,
    /// which then has no answer. That is rare, and rarer if they do not come at once; then it is tried again.
    ///
    /// A refusal of the credentials ends it, and is answered with what there is.
    async fn further_channels(&self, deadline: Instant) -> (Vec<Connection>, Option<ConnectError>) {
        let (mut further, mut refused) = (Vec::new(), None);
        let has_key = self.first.security().is_some_and(|security| security.signer.is_some());
        if !self.agreed.multi_channel || !has_key {
            return (further, refused);
        }
        let deadline = deadline.min(Instant::now() + FURTHER_LIMIT);
        let mut unanswered = 0;
        while further.len() + 1 < usize::from(self.config.connections) {
            match self.further_channel(deadline.min(Instant::now() + ATTEMPT_LIMIT)).await {
                Ok(connection) => further.push(connection),
                Err(error) if error.is_silence() && error.stage != Stage::Connect && unanswered < RETRIES => {
                    unanswered += 1;
                }
                Err(error) => {
                    let (wanted, have) = (self.config.connections, 1 + further.len());
                    tracing::info!(%error, wanted, have, "not all connections could be had: going on with fewer");
                    refused = Some(error).filter(|error| error.refusal().is_some());
                    break;
                }
            }
        }
        (further, refused)
    }

    async fn further_channel(&self, deadline: Instant) -> Result<Connection, ConnectError> {
        let left = || deadline.saturating_duration_since(Instant::now());
        // The same address, and not another one of the same name: that could be another server.
        let connection = open(self.config, &[self.first.peer()], deadline).await?;
        let agreed = negotiate::negotiate(&connection, self.offer, left()).await?;
        if !agreed.fits(self.agreed) {
            return Err(ConnectError::new(Stage::Dialect, "the server agreed on something else this time"));
        }
        signin::bind(&connection, &agreed, self.wish, self.first, left()).await?;
        Ok(connection)
    }
}

struct TreeAnswer {
    id: u32,
    seal: bool,
    read_only: bool,
}

async fn tree_connect(
    connection: &Connection,
    config: &ConnectConfig,
    deadline: Duration,
) -> Result<TreeAnswer, ConnectError> {
    let path: Vec<u16> = format!("\\\\{}\\{}", config.host, config.share).encode_utf16().collect();
    let length = length16(2 * path.len(), TooLong::Other("the name of the share"));
    let length = length.map_err(|too_long| ConnectError::new(Stage::Share, too_long.to_string()))?;
    let mut body = Vec::with_capacity(8 + 2 * path.len());
    body.put_u16(9).put_u16(0).put_u16(behind(8)).put_u16(length).put_utf16(&path);
    let mut chain = Chain::single(Request::new(Command::TreeConnect, body));
    // SMB 3.1.1 has it signed in any session that can (MS-SMB2 3.2.4.1.1).
    chain.force_signature = true;
    let failed = |message: String| ConnectError::new(Stage::Share, message);
    let replies = connection
        .send(&chain, deadline)
        .await
        .map_err(|error| failed(format!("the server did not answer for the share {:?}: {error}", config.share)))?;
    let reply = replies.first().ok_or_else(|| failed("no reply".into()))?;
    if reply.status().is_error() {
        return Err(ConnectError::refused(Stage::Share, refusal(&config.share, reply.status()), reply.status()));
    }
    let (answer, kind) = parse_tree(reply).map_err(|malformed| failed(malformed.to_string()))?;
    const DISK: u8 = 1;
    if kind != DISK {
        return Err(failed(format!("{:?} is a printer or a pipe, not a share of files", config.share)));
    }
    Ok(answer)
}

fn refusal(share: &str, status: NtStatus) -> String {
    match status {
        NtStatus::BAD_NETWORK_NAME => format!("the server has no share {share:?}"),
        NtStatus::ACCESS_DENIED => format!("this user may not use the share {share:?}"),
        _ => format!("the server refused the share {share:?}"),
    }
}

/// MS-SMB2 2.2.10.
fn parse_tree(reply: &Reply) -> Result<(TreeAnswer, u8), Malformed> {
    const ENCRYPT_DATA: u32 = 0x8000;
    /// FILE_WRITE_DATA and FILE_APPEND_DATA: without either nothing can be written (MS-SMB2 2.2.13.1.1).
    const ANY_WRITE: u32 = 0x2 | 0x4;
    let body = Fields(reply.body());
    body.expect_structure(16, "a TREE_CONNECT response whose StructureSize is not 16")?;
    let answer = TreeAnswer {
        id: reply.header.tree_id(),
        seal: body.u32(4)? & ENCRYPT_DATA != 0,
        read_only: body.u32(12)? & ANY_WRITE == 0,
    };
    Ok((answer, body.u8(2)?))
}

/// Leaves tree and session in order; what goes wrong then is of no consequence.
pub async fn disconnect(tree: &Tree, deadline: Duration) {
    let words = async {
        for command in [Command::TreeDisconnect, Command::Logoff] {
            let mut chain = Chain::single(Request::new(command, vec![4, 0, 0, 0]));
            (chain.tree_id, chain.seal) = (tree.id, tree.seal);
            let _ = tree.channels.send(&chain, deadline).await;
        }
    };
    let _ = timeout_at(Instant::now() + deadline, words).await;
    tree.channels.end("the share was left");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_servers_clock_is_between_two_readings() {
        let asked = std::time::Instant::now();
        let slack = Duration::from_millis(30);
        let clock = ServerClock::showing(1_000_000, asked, slack);
        let answered = asked + slack;
        assert_eq!((clock.at_least(answered), clock.at(answered)), (Some(1_000_000), Some(1_300_000)));
        let later = answered + Duration::from_secs(1);
        assert_eq!((clock.at_least(later), clock.at(later)), (Some(11_000_000), Some(11_300_000)));
        assert_eq!(clock.at_least(asked), Some(1_000_000), "the answer tells no earlier time");
        assert_eq!(ServerClock::unknown().at_least(answered), None);
    }
}
