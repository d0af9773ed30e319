//! The shares of a server: one call on the named pipe `srvsvc` of IPC$ (MS-SRVS 3.1.4.8), on a session of its own.

use super::task::compound;
use crate::wire::codec::Malformed;
use crate::wire::connect::{self, ConnectConfig, Tree};
use crate::wire::error::{ConnectError, Stage, WireError};
use crate::wire::frame::{Reply, Request};
use crate::wire::messages::FileId;
use crate::wire::messages::create::{Create, Created, access, close_pipe, disposition};
use crate::wire::messages::io;
use crate::wire::srvsvc::{self, ListedShare, Reassembly, RpcError};
use crate::wire::status::NtStatus;
use bytes::Bytes;
use std::time::Duration;
use tokio::time::{Instant, timeout_at};

/// How long the end of the session may take. The server ends it with its connection anyway.
const LEAVE_LIMIT: Duration = Duration::from_secs(1);

/// The shares of the server, in its order. `config.share` and `config.connections` are not used. After the sign-in, the
/// call may take `limit`.
///
/// # Errors
/// The stage that failed, as for a mount; [`Stage::Share`] if the server does not list its shares for this user.
pub async fn shares(mut config: ConnectConfig, limit: Duration) -> Result<Vec<ListedShare>, ConnectError> {
    config.connections = 1;
    let tree = connect::connect_pipes(&config).await?;
    let deadline = Instant::now() + limit;
    // The requests have their own deadlines; this one is for a server that answers with ever more fragments.
    let listed = timeout_at(deadline, list(&tree, &config.host, deadline)).await;
    connect::disconnect(&tree, LEAVE_LIMIT).await;
    listed.unwrap_or(Err(Failure::Wire(WireError::TimedOut))).map_err(ConnectError::from)
}

/// Signs in, and ends the session. `config.share` and `config.connections` are not used.
///
/// # Errors
/// The stage that failed, as for a mount.
pub async fn sign_in(mut config: ConnectConfig) -> Result<(), ConnectError> {
    config.connections = 1;
    match connect::connect_pipes(&config).await {
        Ok(tree) => connect::disconnect(&tree, LEAVE_LIMIT).await,
        // The account was accepted, and may only not use the pipes.
        Err(error) if error.stage == Stage::Share && error.status.is_some() => {}
        Err(error) => return Err(error),
    }
    Ok(())
}

/// Why there is no list.
enum Failure {
    Wire(WireError),
    Status(NtStatus),
    Rpc(RpcError),
}

impl From<Malformed> for Failure {
    fn from(malformed: Malformed) -> Failure {
        Failure::Wire(malformed.into())
    }
}

impl From<RpcError> for Failure {
    fn from(error: RpcError) -> Failure {
        Failure::Rpc(error)
    }
}

impl From<Failure> for ConnectError {
    fn from(failure: Failure) -> ConnectError {
        match failure {
            Failure::Wire(error) => ConnectError::new(Stage::Share, format!("the list of shares: {error}")),
            Failure::Status(status) => {
                ConnectError::refused(Stage::Share, "the server does not show its shares to this user", status)
            }
            Failure::Rpc(error) => ConnectError::new(Stage::Share, error.to_string()),
        }
    }
}

async fn list(tree: &Tree, host: &str, deadline: Instant) -> Result<Vec<ListedShare>, Failure> {
    let name: Vec<u16> = "srvsvc".encode_utf16().collect();
    let open = Create {
        path: &name,
        access: access::READ_DATA | access::WRITE_DATA,
        attributes: 0,
        disposition: disposition::OPEN,
        options: 0,
    };
    let reply = send(tree, open.request(), deadline).await?;
    let pipe = Pipe { tree, file: Created::parse(succeeded(&reply)?)?.file, deadline };
    let listed = pipe.call(host).await;
    // The end of the session closes the pipe as well.
    let _ = send(tree, close_pipe(pipe.file), deadline).await;
    listed
}

/// An open named pipe.
struct Pipe<'a> {
    tree: &'a Tree,
    file: FileId,
    deadline: Instant,
}

impl Pipe<'_> {
    async fn call(&self, host: &str) -> Result<Vec<ListedShare>, Failure> {
        self.write(srvsvc::bind_request()).await?;
        let mut answer = Vec::new();
        loop {
            let (bytes, is_whole) = self.read().await?;
            answer.extend_from_slice(&bytes);
            if is_whole {
                break;
            }
            if answer.len() > usize::from(srvsvc::MAX_FRAGMENT) {
                return Err(Malformed("an answer to an RPC bind that is longer than a fragment").into());
            }
        }
        srvsvc::parse_bind_ack(&answer)?;
        self.write(srvsvc::enum_request(host)).await?;
        let mut response = Reassembly::default();
        loop {
            let (bytes, _) = self.read().await?;
            if let Some(stub) = response.add(&bytes)? {
                return Ok(srvsvc::parse_shares(&stub)?);
            }
        }
    }

    /// Writes a message. A pipe takes it as a whole.
    async fn write(&self, message: Vec<u8>) -> Result<(), Failure> {
        let reply = send(self.tree, io::write(self.file, 0, Bytes::from(message)), self.deadline).await?;
        succeeded(&reply).map(drop)
    }

    /// Reads the next bytes, at least one, and whether they end a message of the pipe.
    async fn read(&self) -> Result<(Bytes, bool), Failure> {
        let length = u32::from(srvsvc::MAX_FRAGMENT);
        let reply = send(self.tree, io::read(self.file, 0, length), self.deadline).await?;
        // The warning BUFFER_OVERFLOW means that more of the message follows (MS-SMB2 3.3.5.12).
        let is_whole = reply.status() != NtStatus::BUFFER_OVERFLOW;
        let reply = if is_whole { succeeded(&reply)? } else { &reply };
        let bytes = io::parse_read(reply, length)?;
        if bytes.is_empty() {
            return Err(Malformed("an empty message on a named pipe").into());
        }
        Ok((bytes, is_whole))
    }
}

/// The reply, if the request succeeded.
fn succeeded(reply: &Reply) -> Result<&Reply, Failure> {
    match reply.status() {
        NtStatus::SUCCESS => Ok(reply),
        status => Err(Failure::Status(status)),
    }
}

async fn send(tree: &Tree, request: Request, deadline: Instant) -> Result<Reply, Failure> {
    let left = deadline.saturating_duration_since(Instant::now());
    let replies = tree.channels.send(&compound(tree, vec![request]), left).await.map_err(Failure::Wire)?;
    replies.into_iter().next().ok_or(Failure::Wire(Malformed("no reply").into()))
}
