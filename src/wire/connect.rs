//! From a host's name to a tree: the steps that a connection takes, each with its own error.

use super::codec::{Fields, Malformed, Put};
use super::connection::Connection;
use super::crypto::{Cipher, SigningAlgorithm};
use super::error::{ConnectError, Stage};
use super::frame::{Chain, Reply, Request};
use super::header::{Command, HEADER_SIZE};
use super::negotiate::{self, Offer};
use super::signin::{self, SessionKind, Wish};
use super::status::NtStatus;
use super::{netbios, transport};
use crate::config::{Dialect, DialectRange, Identity, Protection, Transport};
use std::time::Duration;
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
    /// How long all steps together may take.
    pub connect_timeout: Duration,
    /// A line that is quiet for so long is probed.
    pub echo_interval: Duration,
}

/// A connection with a session and a tree: a share, ready for use.
#[derive(Debug)]
pub struct Tree {
    /// The connection.
    pub connection: Connection,
    /// The tree.
    pub id: u32,
    /// All traffic of the tree is encrypted.
    pub seal: bool,
    /// What was agreed on, for people and for limits.
    pub terms: Terms,
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
    /// The largest READ, in bytes.
    pub max_read: u32,
    /// The largest WRITE, in bytes.
    pub max_write: u32,
    /// The largest buffer of a listing, in bytes.
    pub max_transact: u32,
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

/// Connects, negotiates, signs in and connects to the tree, all within `connect_timeout`.
pub async fn connect(config: &ConnectConfig) -> Result<Tree, ConnectError> {
    let deadline = Instant::now() + config.connect_timeout;
    let addresses = transport::resolve(&config.host, config.port, deadline).await?;
    let stream = match config.transport {
        Transport::DirectTcp => transport::connect(&addresses, deadline).await?,
        Transport::NetBios => netbios::connect(&addresses, deadline).await?,
    };
    let connection = Connection::start(stream, config.echo_interval)
        .map_err(|error| ConnectError::new(Stage::Connect, error.to_string()))?;
    let left = || deadline.saturating_duration_since(Instant::now());

    let wish = Wish { identity: config.identity.clone(), signing: config.signing, encryption: config.encryption };
    let offer = Offer::new(config.dialects, wish.requires_signing(), config.encryption);
    let agreed = negotiate::negotiate(&connection, &offer, left()).await?;
    let session = signin::sign_in(&connection, &agreed, &wish, left()).await?;
    let tree = tree_connect(&connection, config, left()).await?;
    if tree.seal && connection.security().is_none_or(|security| security.sealer.is_none()) {
        let message = "the share wants encryption, and no cipher was agreed on, or the session has no key for it";
        return Err(ConnectError::new(Stage::Share, message));
    }
    negotiate::validate(&connection, &offer, &agreed, (tree.id, tree.seal), left()).await?;

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
        max_read: cap(agreed.max_read),
        max_write: cap(agreed.max_write),
        max_transact: cap(agreed.max_transact),
    };
    Ok(Tree { connection, id: tree.id, seal: tree.seal, terms })
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
    let mut body = Vec::with_capacity(8 + 2 * path.len());
    body.put_u16(9).put_u16(0).put_u16((HEADER_SIZE + 8) as u16).put_u16(2 * path.len() as u16).put_utf16(&path);
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
            let _ = tree.connection.send(&chain, deadline).await;
        }
    };
    let _ = timeout_at(Instant::now() + deadline, words).await;
    tree.connection.end("the share was left");
}
