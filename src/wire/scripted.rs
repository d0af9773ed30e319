//! A server that does what a test tells it, frame by frame.

use super::connection::Connection;
use super::header::{HEADER_SIZE, Header, SIGNATURE, flags};
use super::status::NtStatus;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// The server's end of a connection.
pub(crate) struct Scripted {
    pub(crate) stream: TcpStream,
}

/// A request as the server sees it.
pub(crate) struct Seen {
    pub(crate) header: Header,
    pub(crate) body: Vec<u8>,
    pub(crate) signature: [u8; 16],
}

/// A connection to a scripted server.
pub(crate) async fn pair() -> (Connection, Scripted) {
    pair_with_echo(Duration::from_secs(60)).await
}

pub(crate) async fn pair_with_echo(echo_interval: Duration) -> (Connection, Scripted) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (stream, _) = listener.accept().await.unwrap();
    (Connection::start(client, echo_interval).unwrap(), Scripted { stream })
}

impl Scripted {
    /// The messages of the next frame.
    pub(crate) async fn receive(&mut self) -> Vec<Seen> {
        let mut prefix = [0; 4];
        self.stream.read_exact(&mut prefix).await.unwrap();
        let mut frame = vec![0; u32::from_be_bytes(prefix) as usize];
        self.stream.read_exact(&mut frame).await.unwrap();
        let mut seen = Vec::new();
        let mut rest = &frame[..];
        loop {
            let header = Header::parse(rest).unwrap();
            let end = if header.next_command == 0 { rest.len() } else { header.next_command as usize };
            let signature = rest[SIGNATURE].try_into().unwrap();
            seen.push(Seen { header, body: rest[HEADER_SIZE..end].to_vec(), signature });
            rest = &rest[end..];
            if rest.is_empty() {
                return seen;
            }
        }
    }

    /// One request, in a frame of its own.
    pub(crate) async fn receive_one(&mut self) -> Seen {
        let mut seen = self.receive().await;
        assert_eq!(seen.len(), 1, "a compound came");
        seen.remove(0)
    }

    /// Answers a request; returns the message for tests that change it.
    pub(crate) async fn answer(&mut self, request: &Header, status: NtStatus, credits: u16, body: &[u8]) {
        self.send(&response(request, status, credits, 0, body)).await;
    }

    /// Sends a frame with this content.
    pub(crate) async fn send(&mut self, frame: &[u8]) {
        self.stream.write_all(&(frame.len() as u32).to_be_bytes()).await.unwrap();
        self.stream.write_all(frame).await.unwrap();
    }
}

/// A response, as bytes.
pub(crate) fn response(request: &Header, status: NtStatus, credits: u16, more_flags: u32, body: &[u8]) -> Vec<u8> {
    let header = Header { status, credits, flags: flags::RESPONSE | more_flags, next_command: 0, ..*request };
    let mut message = Vec::new();
    header.put(&mut message);
    message.extend_from_slice(body);
    message
}
