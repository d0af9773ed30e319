//! A server in memory that a test scripts frame by frame: [`pair`] makes a [`Connection`] to a [`Scripted`] server,
//! which receives requests and answers them; [`tree`] makes a session with it, without frames.

use super::channels::Channels;
use super::connect::{ServerClock, Terms, Tree};
use super::connection::Connection;
use super::header::{HEADER_SIZE, Header, SIGNATURE, flags};
use super::status::NtStatus;
use super::transport::Sink;
use crate::config::Dialect;
use bytes::{Buf, BytesMut};
use futures_util::future::BoxFuture;
use std::io::{self, IoSlice};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncWriteExt, DuplexStream};
use tokio::sync::mpsc;

/// A tree in a session without protection, and the server that the test plays. The server grants directory leases too,
/// if it grants leases and the dialect has them.
pub(crate) async fn tree(dialect: Dialect, leasing: bool) -> (Arc<Tree>, Scripted) {
    let (connection, server) = pair().await;
    let terms = Terms {
        dialect,
        signing: None,
        cipher: None,
        guest: false,
        read_only: false,
        leasing,
        directory_leasing: leasing && dialect >= Dialect::Smb300,
        max_read: 65_536,
        max_write: 65_536,
        max_transact: 65_536,
        clock: ServerClock::unknown(),
    };
    let tree = Tree {
        channels: Channels::new(connection, Vec::new()),
        id: 3,
        seal: false,
        terms,
        binding_refused: None,
        lineage: 0,
        connected: std::time::Instant::now(),
    };
    (Arc::new(tree), server)
}

/// A request as the server receives it.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) header: Header,
    pub(crate) body: Vec<u8>,
    pub(crate) signature: [u8; 16],
}

/// The messages of a frame that has no prefix.
pub(crate) fn seen(frame: &[u8]) -> Vec<Seen> {
    let (mut seen, mut rest) = (Vec::new(), frame);
    while !rest.is_empty() {
        let header = Header::parse(rest).unwrap();
        let end = if header.next_command == 0 { rest.len() } else { header.next_command as usize };
        let signature = rest[SIGNATURE].try_into().unwrap();
        seen.push(Seen { header, body: rest[HEADER_SIZE..end].to_vec(), signature });
        rest = &rest[end..];
    }
    seen
}

/// A response to a request, as bytes without a prefix.
pub(crate) fn response(request: &Header, status: NtStatus, credits: u16, more_flags: u32, body: &[u8]) -> Vec<u8> {
    let header = Header { status, credits, flags: flags::RESPONSE | more_flags, next_command: 0, ..*request };
    let mut message = Vec::new();
    header.put(&mut message);
    message.extend_from_slice(body);
    message
}

/// The server's end of a connection in memory.
pub(crate) struct Scripted {
    to_client: DuplexStream,
    from_client: mpsc::UnboundedReceiver<Vec<u8>>,
    received: BytesMut,
}

/// The sending half of the client's stream, which accepts everything at once.
#[derive(Debug)]
struct ToServer(mpsc::UnboundedSender<Vec<u8>>);

impl Sink for ToServer {
    fn try_write_vectored(&self, segments: &[IoSlice<'_>]) -> io::Result<usize> {
        let bytes = segments.iter().flat_map(|segment| segment.iter().copied()).collect::<Vec<u8>>();
        let size = bytes.len();
        // As with a socket, bytes that are sent to a dropped server are lost.
        let _ = self.0.send(bytes);
        Ok(size)
    }

    fn writable(&self) -> BoxFuture<'_, io::Result<()>> {
        Box::pin(std::future::ready(Ok(())))
    }
}

/// A connection and its scripted server.
pub(crate) async fn pair() -> (Connection, Scripted) {
    let (to_client, read_half) = tokio::io::duplex(1 << 20);
    let (write_half, from_client) = mpsc::unbounded_channel();
    let peer = ([192, 0, 2, 1], 445).into();
    let client = Connection::over(read_half, ToServer(write_half), peer, Duration::from_secs(60), Arc::default());
    (client, Scripted { to_client, from_client, received: BytesMut::new() })
}

impl Scripted {
    /// The messages of the next frame.
    pub(crate) async fn receive(&mut self) -> Vec<Seen> {
        self.try_receive().await.expect("the client should send")
    }

    /// The messages of the next frame; `None` if the client has ended the connection.
    pub(crate) async fn try_receive(&mut self) -> Option<Vec<Seen>> {
        loop {
            if let Some((prefix, rest)) = self.received.split_first_chunk() {
                let length = u32::from_be_bytes(*prefix) as usize;
                if rest.len() >= length {
                    self.received.advance(4);
                    return Some(seen(&self.received.split_to(length)));
                }
            }
            self.received.extend_from_slice(&self.from_client.recv().await?);
        }
    }

    /// The next request, which must have a frame of its own.
    pub(crate) async fn receive_one(&mut self) -> Seen {
        let mut seen = self.receive().await;
        assert_eq!(seen.len(), 1, "the frame should have one message");
        seen.remove(0)
    }

    /// Answers a request.
    pub(crate) async fn answer(&mut self, request: &Header, status: NtStatus, credits: u16, body: &[u8]) {
        self.send(&response(request, status, credits, 0, body)).await;
    }

    /// Sends a frame with this content, behind a prefix.
    pub(crate) async fn send(&mut self, frame: &[u8]) {
        self.to_client.write_all(&(frame.len() as u32).to_be_bytes()).await.unwrap();
        self.to_client.write_all(frame).await.unwrap();
    }
}
