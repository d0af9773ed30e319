//! From a host name to a tree: resolve, connect, negotiate, sign in, tree connect, each with its own error stage; then
//! the validation of the negotiation below SMB 3.1.1, and the further connections of the session, where the server
//! accepts them. DFS referrals are not followed: the share must be on this server.
//!
//! [`connect`] returns a [`Tree`]: the session's connections, the tree id, the negotiated [`Terms`] and the server's
//! clock. [`disconnect`] ends it in order. Invariant: an error says at which [`Stage`] it occurred and whether the
//! proof of the password was sent ([`Proof`]), because servers count failed sign-ins.

use super::channels::Channels;
use super::codec::{Fields, Malformed, Put, TooLong, length16};
use super::connection::Connection;
use super::crypto::{Cipher, SigningAlgorithm};
use super::error::{ConnectError, Proof, Stage};
use super::frame::{Chain, Reply, Request};
use super::greeting::{Greeted, Greeting, greet};
use super::header::{Command, behind};
use super::negotiate::{self, Negotiated, Offer};
use super::signin::{self, SessionKind, SessionRequirements};
use super::status::NtStatus;
use super::{netbios, transport};
use crate::config::{Dialect, DialectRange, Identity, Protection, Transport};
use crate::telemetry::Counters;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};

/// The configuration of a connection to a share.
#[derive(Clone, Debug)]
pub struct ConnectConfig {
    /// The server's name or address.
    pub host: String,
    /// The server's TCP port.
    pub port: u16,
    /// The transport: direct TCP or NetBIOS.
    pub transport: Transport,
    /// The share's name.
    pub share: String,
    /// The user who signs in, or an anonymous session.
    pub identity: Identity,
    /// The dialects that the client offers.
    pub dialects: DialectRange,
    /// Whether messages are signed.
    pub signing: Protection,
    /// Whether messages are encrypted.
    pub encryption: Protection,
    /// The most connections of the session. More than one is used only where the server offers multichannel.
    pub connections: u8,
    /// The time limit for all steps together; [`connect`] says how the sign-in can exceed it.
    pub connect_timeout: Duration,
    /// How long a connection is quiet before it is probed with an ECHO.
    pub echo_interval: Duration,
    /// Counts what is sent and received, for the mount that this is part of.
    pub counters: Arc<Counters>,
}

impl ConnectConfig {
    /// The user's requirements for the session.
    pub(super) fn requirements(&self) -> SessionRequirements {
        SessionRequirements { identity: self.identity.clone(), signing: self.signing, encryption: self.encryption }
    }
}

/// A session with a tree: a share that is ready for use.
#[derive(Debug)]
pub struct Tree {
    /// The connections of the session.
    pub channels: Channels,
    /// The TreeId (MS-SMB2 2.2.1.2).
    pub id: u32,
    /// Whether the share requires encryption: all requests in the tree are then encrypted (MS-SMB2 2.2.10:
    /// SMB2_SHAREFLAG_ENCRYPT_DATA).
    pub seal: bool,
    /// What was negotiated with the server.
    pub terms: Terms,
    /// Why the server refused the credentials for a further connection, if it did.
    pub binding_refused: Option<ConnectError>,
    /// The lineage. Of sessions with the same number, each had ended at the server before the next one began. 0 after
    /// [`connect`]; the caller that reconnects sets it.
    pub lineage: u32,
    /// When the session became usable. A session that was named as [`Previous::Named`] had ended by then.
    pub connected: std::time::Instant,
}

/// The session that a new one replaces. If it is named, the server ends it first, with its opens and its requests in
/// flight (MS-SMB2 3.3.5.5.3).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Previous {
    /// There is no previous session, or it is not named and may still exist.
    Unnamed,
    /// The previous session's id, and how long the server may need to end it: smbd waits for the process that serves
    /// it.
    Named(u64, Duration),
}

/// What was negotiated with the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Terms {
    /// The negotiated dialect.
    pub dialect: Dialect,
    /// The signing algorithm, if the session signs every message. `None` if it encrypts every message instead, signs
    /// only required messages, or has no key.
    pub signing: Option<SigningAlgorithm>,
    /// The cipher, if the session or the tree is encrypted.
    pub cipher: Option<Cipher>,
    /// Whether it is a guest or anonymous session.
    pub guest: bool,
    /// Whether the share can only be read, from its MaximalAccess (MS-SMB2 2.2.10).
    pub read_only: bool,
    /// Whether the server grants leases; otherwise it grants oplocks at most.
    pub leasing: bool,
    /// Whether the server also grants leases on directories.
    pub directory_leasing: bool,
    /// The largest READ, in bytes.
    pub max_read: u32,
    /// The largest WRITE, in bytes.
    pub max_write: u32,
    /// The largest buffer of a QUERY_DIRECTORY, QUERY_INFO, SET_INFO or CHANGE_NOTIFY, in bytes.
    pub max_transact: u32,
    /// The server's clock.
    pub clock: ServerClock,
}

/// The server's clock, from the SystemTime field of the NEGOTIATE response (MS-SMB2 2.2.4). Times are FILETIMEs: 100 ns
/// since 1601 (MS-DTYP 2.3.3).
///
/// The server read its clock between the request and the response. So there are two estimates, which differ by the time
/// that the response took: [`ServerClock::at`] is never earlier than the server's own clock, [`ServerClock::at_least`]
/// is never later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServerClock {
    /// The server's SystemTime, a FILETIME; 0 if the server sent none.
    then: u64,
    /// When the NEGOTIATE request was sent.
    at: std::time::Instant,
    /// The time between the NEGOTIATE request and its response.
    slack: Duration,
}

impl ServerClock {
    /// The clock of a server whose answer to a NEGOTIATE has just come: its SystemTime, and when the request was sent.
    pub(super) fn answered(then: u64, at: std::time::Instant) -> ServerClock {
        ServerClock { then, at, slack: at.elapsed() }
    }

    /// The server's time now, never too early, as a FILETIME; `None` if the server sent no time.
    pub fn now(self) -> Option<u64> {
        self.at(std::time::Instant::now())
    }

    /// The server's time at `moment`, never too early, as a FILETIME; `None` if the server sent no time.
    pub fn at(self, moment: std::time::Instant) -> Option<u64> {
        let passed = moment.saturating_duration_since(self.at).as_nanos() / 100;
        (self.then != 0).then(|| self.then.saturating_add(u64::try_from(passed).unwrap_or(u64::MAX)))
    }

    /// The server's time at `moment`, never too late, as a FILETIME; `None` if the server sent no time. A local change
    /// shows this time until the server reports its own: a file's time must not go backwards then.
    pub fn at_least(self, moment: std::time::Instant) -> Option<u64> {
        let slack = u64::try_from(self.slack.as_nanos() / 100).unwrap_or(u64::MAX);
        Some(self.at(moment)?.saturating_sub(slack).max(self.then))
    }

    /// The server's time when it answered NEGOTIATE, as a FILETIME; `None` if the server sent no time.
    pub fn start(self) -> Option<u64> {
        (self.then != 0).then_some(self.then)
    }

    /// How far [`ServerClock::at`] may be ahead of the server's own clock, at the most.
    pub fn slack(self) -> Duration {
        self.slack
    }

    /// The clock of a server that sends no time.
    #[cfg(test)]
    pub(crate) fn unknown() -> ServerClock {
        ServerClock::showing(0, std::time::Instant::now(), Duration::ZERO)
    }

    /// A clock of a server that sent `then` in answer to a request sent `at`, which took `slack`.
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

/// Connects, negotiates, signs in and connects to the tree. The steps share `connect_timeout`, but each round of the
/// sign-in may take all the time that was left when the sign-in began, or the time of [`Previous::Named`] if that is
/// shorter. A `previous` session that is named has ended at the server when this succeeds. `answered` is called once
/// NEGOTIATE has succeeded.
///
/// # Errors
///
/// [`ConnectError`] with the stage that failed: the host name does not resolve, no address accepts the connection, the
/// server does not answer in time, it refuses the dialects, the credentials or the share, it cannot encrypt as
/// required, or a response is malformed or altered. Further connections that fail are no error: see
/// [`Tree::binding_refused`].
pub async fn connect(
    config: &ConnectConfig,
    previous: Previous,
    answered: impl FnOnce() + Send,
) -> Result<Tree, ConnectError> {
    connect_to(config, ShareType::Disk, previous, answered).await
}

/// The name of the share that has a server's named pipes (MS-SMB2 3.3.5.7).
pub const PIPES: &str = "IPC$";

/// Connects as [`connect`] does, to the server's named pipes instead of `config.share`.
///
/// # Errors
///
/// Those of [`connect`].
pub async fn connect_pipes(config: &ConnectConfig) -> Result<Tree, ConnectError> {
    let config = ConnectConfig { share: PIPES.to_owned(), ..config.clone() };
    connect_to(&config, ShareType::Pipe, Previous::Unnamed, || {}).await
}

/// The ShareType of a TREE_CONNECT response (MS-SMB2 2.2.10).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum ShareType {
    Disk = 1,
    Pipe = 2,
}

async fn connect_to(
    config: &ConnectConfig,
    wanted: ShareType,
    previous: Previous,
    answered: impl FnOnce() + Send,
) -> Result<Tree, ConnectError> {
    let deadline = Instant::now() + config.connect_timeout;
    let left = || deadline.saturating_duration_since(Instant::now());
    let wish = config.requirements();
    let Greeted { connection, offer, greeting: Greeting { agreed, clock } } = greet(config, deadline).await?;
    answered();
    let (named, limit) = match previous {
        Previous::Unnamed => (0, left()),
        Previous::Named(session, patience) => (session, patience.min(left())),
    };
    let session = signin::sign_in(&connection, &agreed, &wish, named, limit).await?;
    let tree = tree_connect(&connection, config, wanted, left()).await?;
    if tree.seal && connection.security().is_none_or(|security| security.sealer.is_none()) {
        let (why, remedy) = wish.no_cipher(session.guest);
        let message = format!("the share wants encryption, and {why}");
        return Err(ConnectError::new(Stage::Share, message).with_remedy(remedy));
    }
    let validated = negotiate::validate(&connection, &offer, &agreed, (tree.id, tree.seal), left()).await;
    validated.map_err(|error| error.with_proof(Proof::Accepted))?;
    let whole = Session { config, offer: &offer, agreed: &agreed, wish: &wish, first: &connection };
    let (further, binding_refused) = whole.further_channels(deadline).await;

    // The limit of a frame of the NetBIOS session service.
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

/// Opens a connection without a session.
pub(super) async fn open(
    config: &ConnectConfig,
    addresses: &[SocketAddr],
    deadline: Instant,
) -> Result<Connection, ConnectError> {
    let stream: TcpStream = match config.transport {
        Transport::DirectTcp => transport::connect(addresses, deadline).await?,
        Transport::NetBios => netbios::connect(addresses, deadline).await?,
    };
    Connection::start(stream, config.echo_interval, Arc::clone(&config.counters))
        .map_err(|error| ConnectError::new(Stage::Connect, error.to_string()))
}

/// The time limit for all further connections together. The session works without them, so the mount does not wait
/// longer.
const FURTHER_LIMIT: Duration = Duration::from_secs(5);
/// The time limit for one attempt at a further connection.
const ATTEMPT_LIMIT: Duration = Duration::from_millis(1500);
/// How many attempts without an answer are repeated, for all further connections together.
const RETRIES: usize = 2;

/// A signed-in session, whose further connections are to be made.
struct Session<'a> {
    config: &'a ConnectConfig,
    offer: &'a Offer,
    agreed: &'a Negotiated,
    wish: &'a SessionRequirements,
    first: &'a Connection,
}

impl Session<'_> {
    /// Makes the configured number of further connections, or as many as the server accepts. It makes none if the
    /// server does not offer multichannel, or if the session has no key to bind with (guest and anonymous sessions).
    ///
    /// A binding is signed and not encrypted. Samba accepts that unless it requires encryption of every session: then
    /// the session keeps one connection.
    ///
    /// The connections are made one after the other. Samba 4.17 passes a further connection to the process that has the
    /// first one. The process that accepted it can still read the next request from the socket, and then the request
    /// has no answer. That is rare, and rarer if the connections are not made at once. An attempt without an answer is
    /// repeated, up to [`RETRIES`] times in all.
    ///
    /// Any other failure ends the attempts. The connections made so far are returned, with the error if the server
    /// refused the credentials.
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

    /// Makes one further connection and binds it to the session.
    async fn further_channel(&self, deadline: Instant) -> Result<Connection, ConnectError> {
        let left = || deadline.saturating_duration_since(Instant::now());
        // The address of the first connection. Another address of the same host name could be another server.
        let connection = open(self.config, &[self.first.peer()], deadline).await?;
        let agreed = negotiate::negotiate(&connection, self.offer, left()).await?;
        if !agreed.fits(self.agreed) {
            return Err(ConnectError::new(Stage::Dialect, "the server negotiated other terms on a further connection"));
        }
        signin::bind(&connection, &agreed, self.wish, self.first, left()).await?;
        Ok(connection)
    }
}

/// The fields of a TREE_CONNECT response that are used (MS-SMB2 2.2.10).
struct TreeAnswer {
    id: u32,
    seal: bool,
    read_only: bool,
}

async fn tree_connect(
    connection: &Connection,
    config: &ConnectConfig,
    wanted: ShareType,
    deadline: Duration,
) -> Result<TreeAnswer, ConnectError> {
    let path: Vec<u16> = format!("\\\\{}\\{}", config.host, config.share).encode_utf16().collect();
    let length = length16(2 * path.len(), TooLong::Other("the name of the share"));
    let length = length.map_err(|too_long| ConnectError::new(Stage::Share, too_long.to_string()))?;
    let mut body = Vec::with_capacity(8 + 2 * path.len());
    body.put_u16(9).put_u16(0).put_u16(behind(8)).put_u16(length).put_utf16(&path);
    let mut chain = Chain::single(Request::new(Command::TreeConnect, body));
    // SMB 3.1.1 demands a signed TREE_CONNECT in every session that has a key (MS-SMB2 3.2.4.1.1).
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
    if kind != wanted as u8 {
        let problem = match wanted {
            ShareType::Disk => "is a printer or a pipe, not a share of files",
            ShareType::Pipe => "is not the share of the server's named pipes",
        };
        return Err(failed(format!("{:?} {problem}", config.share)));
    }
    Ok(answer)
}

/// The sentence for a refused TREE_CONNECT.
fn refusal(share: &str, status: NtStatus) -> String {
    match status {
        NtStatus::BAD_NETWORK_NAME => format!("the server has no share {share:?}"),
        NtStatus::ACCESS_DENIED => format!("this user may not use the share {share:?}"),
        _ => format!("the server refused the share {share:?}"),
    }
}

/// The TREE_CONNECT response and its ShareType (MS-SMB2 2.2.10).
fn parse_tree(reply: &Reply) -> Result<(TreeAnswer, u8), Malformed> {
    const ENCRYPT_DATA: u32 = 0x8000;
    /// FILE_WRITE_DATA and FILE_APPEND_DATA: a share that grants neither is read-only (MS-SMB2 2.2.13.1.1).
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

/// Disconnects the tree, logs off the session and ends its connections, within `deadline`. Failures are ignored: the
/// server ends the session with its connections.
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
    fn the_servers_clock_is_between_two_estimates() {
        let asked = std::time::Instant::now();
        let slack = Duration::from_millis(30);
        let clock = ServerClock::showing(1_000_000, asked, slack);
        let answered = asked + slack;
        assert_eq!((clock.at_least(answered), clock.at(answered)), (Some(1_000_000), Some(1_300_000)));
        let later = answered + Duration::from_secs(1);
        assert_eq!((clock.at_least(later), clock.at(later)), (Some(11_000_000), Some(11_300_000)));
        assert_eq!(clock.at_least(asked), Some(1_000_000), "the server's clock showed no earlier time");
        assert_eq!(ServerClock::unknown().at_least(answered), None);
    }
}
