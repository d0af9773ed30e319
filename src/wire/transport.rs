//! The byte stream under a connection: addresses, TCP, receiving frames, and the queue of bytes to send.
//!
//! [`Outbox::push`] never waits. Bytes that the socket does not accept at once stay in the outbox, and the writer task
//! sends them ([`Outbox::run_writer`]). One vectored write sends several messages with their payloads.
//!
//! Invariant: bytes are sent in the order in which they were queued.

use super::error::{ConnectError, Stage};
use super::framing::Deframer;
use bytes::{Buf, Bytes, BytesMut};
use futures_util::future::BoxFuture;
use parking_lot::{Mutex, MutexGuard};
use std::collections::VecDeque;
use std::io::{self, ErrorKind, IoSlice};
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::net::TcpStream;
use tokio::net::tcp::OwnedWriteHalf;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

/// The addresses of a host, without repetitions, in the order in which they are tried.
///
/// # Errors
///
/// [`ConnectError`] at [`Stage::Resolve`]: the name does not resolve by `deadline`, or it has no address.
pub async fn resolve(host: &str, port: u16, deadline: Instant) -> Result<Vec<SocketAddr>, ConnectError> {
    let failed = |why: String| ConnectError::new(Stage::Resolve, format!("the host name {host:?} {why}"));
    let found = timeout_at(deadline, tokio::net::lookup_host((host, port)))
        .await
        .map_err(|_| failed("was not resolved in time".into()))?
        .map_err(|error| failed(format!("does not resolve ({error})")))?;
    let mut addresses: Vec<SocketAddr> = Vec::new();
    for address in found {
        if !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    if addresses.is_empty() { Err(failed("has no address".into())) } else { Ok(addresses) }
}

/// Connects to the first address that accepts. The time until `deadline` is divided among the addresses that are left,
/// so that a silent address does not use up the time of the others.
///
/// # Errors
///
/// [`ConnectError`] at [`Stage::Connect`]: no address accepts a connection in its time. The message names each address
/// with its reason.
pub async fn connect(addresses: &[SocketAddr], deadline: Instant) -> Result<TcpStream, ConnectError> {
    let mut failures = Vec::new();
    for (index, address) in addresses.iter().enumerate() {
        let left = deadline.saturating_duration_since(Instant::now());
        let turn = Instant::now() + left / u32::try_from(addresses.len() - index).unwrap_or(u32::MAX);
        match timeout_at(turn, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => {
                // Nagle's algorithm would delay each request until the one before it is acknowledged.
                if let Err(error) = stream.set_nodelay(true) {
                    tracing::warn!(%address, %error, "TCP_NODELAY could not be set: requests will be slow");
                }
                return Ok(stream);
            }
            Ok(Err(error)) => failures.push(format!("{address}: {error}")),
            Err(_) => failures.push(format!("{address}: no answer within {:.1} s", left.as_secs_f64())),
        }
    }
    Err(ConnectError::new(Stage::Connect, format!("no connection to the server: {}", failures.join("; "))))
}

/// Receives frames from a stream.
#[derive(Debug)]
pub struct FrameReader<R> {
    half: R,
    deframer: Deframer,
}

impl<R: AsyncRead + Unpin> FrameReader<R> {
    /// A reader of the receiving half of a stream.
    pub fn new(half: R) -> FrameReader<R> {
        FrameReader { half, deframer: Deframer::default() }
    }

    /// The next frame, without its prefix. `admits` decides whether a frame may have a length, in bytes.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidData`] if the stream does not consist of frames or a frame is too large,
    /// [`ErrorKind::UnexpectedEof`] if the server has closed the stream, or the error of the socket.
    pub async fn next(&mut self, admits: impl Fn(u64) -> bool) -> io::Result<BytesMut> {
        let invalid = |malformed| io::Error::new(ErrorKind::InvalidData, malformed);
        loop {
            if let Some(frame) = self.deframer.next(&admits).map_err(invalid)? {
                return Ok(frame);
            }
            let (buffer, room) = self.deframer.room();
            if (&mut self.half).take(room as u64).read_buf(buffer).await? == 0 {
                return Err(ErrorKind::UnexpectedEof.into());
            }
        }
    }
}

/// The sending half of a stream.
pub trait Sink: std::fmt::Debug + Send + Sync {
    /// Writes as much as can be written without waiting. Returns the number of bytes written.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::WouldBlock`] if nothing can be written without waiting, and errors of the socket.
    fn try_write_vectored(&self, segments: &[IoSlice<'_>]) -> io::Result<usize>;

    /// Waits until more can be written.
    ///
    /// # Errors
    ///
    /// Errors of the socket.
    fn writable(&self) -> BoxFuture<'_, io::Result<()>>;
}

impl Sink for OwnedWriteHalf {
    fn try_write_vectored(&self, segments: &[IoSlice<'_>]) -> io::Result<usize> {
        OwnedWriteHalf::try_write_vectored(self, segments)
    }

    fn writable(&self) -> BoxFuture<'_, io::Result<()>> {
        Box::pin(OwnedWriteHalf::writable(self))
    }
}

/// The queue of bytes to send.
#[derive(Debug)]
pub struct Outbox {
    queue: Mutex<Queue>,
    /// Wakes the writer task: the socket was full, or the outbox was closed.
    blocked: Notify,
}

/// The queued segments and the stream they are sent through.
#[derive(Debug)]
struct Queue {
    segments: VecDeque<Bytes>,
    /// The sending half; `None` once the outbox is closed.
    half: Option<Arc<dyn Sink>>,
}

/// The most segments of one system call: more than any compound has.
const SEGMENTS_AT_ONCE: usize = 64;

impl Outbox {
    /// An outbox that sends through the sending half of a stream.
    pub fn new(half: impl Sink + 'static) -> Outbox {
        let queue = Queue { segments: VecDeque::new(), half: Some(Arc::new(half)) };
        Outbox { queue: Mutex::new(queue), blocked: Notify::new() }
    }

    /// Queues a frame, and sends as much as the socket accepts without waiting.
    ///
    /// Segments are sent in the order in which they were queued. The queue is bounded by the credits of the frames in
    /// it, which pay for about 64 MiB: on a connection that carries bulk, every frame waits behind the data queued
    /// before it. So bulk has connections of its own where the server allows it (see [`super::channels`]).
    ///
    /// # Errors
    ///
    /// Errors of the socket. The connection then ends.
    pub fn push(&self, segments: impl IntoIterator<Item = Bytes>) -> io::Result<()> {
        let mut queue = self.lock();
        if queue.half.is_some() {
            queue.segments.extend(segments);
        }
        if queue.flush()? {
            self.blocked.notify_one();
        }
        Ok(())
    }

    /// The writer task: sends bytes that the socket did not accept at once, until the outbox is closed.
    ///
    /// # Errors
    ///
    /// Errors of the socket. The connection then ends.
    pub async fn run_writer(&self) -> io::Result<()> {
        loop {
            self.blocked.notified().await;
            loop {
                let Some(half) = self.lock().half.clone() else { return Ok(()) };
                half.writable().await?;
                if !self.lock().flush()? {
                    break;
                }
            }
        }
    }

    /// Drops the sending half and all bytes that were not sent.
    pub fn close(&self) {
        let mut queue = self.lock();
        queue.half = None;
        queue.segments.clear();
        self.blocked.notify_one();
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock()
    }
}

impl Queue {
    /// Writes until the queue is empty or the socket is full. Returns whether the socket was full.
    fn flush(&mut self) -> io::Result<bool> {
        let Some(half) = self.half.clone() else { return Ok(false) };
        while !self.segments.is_empty() {
            let slices: Vec<IoSlice<'_>> =
                self.segments.iter().take(SEGMENTS_AT_ONCE).map(|segment| IoSlice::new(segment)).collect();
            match half.try_write_vectored(&slices) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(written) => self.consume(written),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(true),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(false)
    }

    /// Removes `written` bytes from the front of the queue.
    fn consume(&mut self, mut written: usize) {
        while let Some(front) = self.segments.front_mut() {
            if written < front.len() {
                front.advance(written);
                return;
            }
            written -= front.len();
            self.segments.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::TcpListener;

    fn soon() -> Instant {
        Instant::now() + std::time::Duration::from_secs(10)
    }

    #[tokio::test]
    async fn after_an_address_that_refuses_the_next_one_is_tried() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let good = listener.local_addr().unwrap();
        let closed = TcpListener::bind("127.0.0.2:0").await.unwrap().local_addr().unwrap();
        let stream = connect(&[closed, good], soon()).await.unwrap();
        assert_eq!(stream.peer_addr().unwrap(), good);
        assert!(stream.nodelay().unwrap());
    }

    #[tokio::test]
    async fn an_unreachable_server_is_reported_with_each_address_and_its_reason() {
        let closed = TcpListener::bind("127.0.0.2:0").await.unwrap().local_addr().unwrap();
        let error = connect(&[closed, closed], soon()).await.unwrap_err();
        assert_eq!(error.stage, Stage::Connect);
        assert_eq!(error.message.matches(&closed.to_string()).count(), 2, "{error}");
    }

    #[tokio::test]
    async fn an_unknown_host_name_is_named_in_the_error() {
        let error = resolve("no-such-host.invalid", 445, soon()).await.unwrap_err();
        assert_eq!(error.stage, Stage::Resolve);
        assert!(error.message.contains("no-such-host.invalid"));
    }
}
