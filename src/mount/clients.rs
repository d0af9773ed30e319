//! The clients of a socket that answers one request of each.
//!
//! The invariant: at most `MOST` clients have a place at once. When all places are taken, the client that has been
//! sending its request for the longest time gives up its place to the next one. So clients that send half a request and
//! wait keep nobody out, and a client whose request has arrived gets its answer.

use parking_lot::Mutex;
use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

/// The most clients at once. Others wait in the socket's queue.
const MOST: usize = 8;
/// The pause after a failed accept: descriptors may have run out.
const PAUSE: Duration = Duration::from_secs(1);

/// A socket that accepts clients.
pub(super) trait Accept: Send + Sync + 'static {
    /// The connection to a client.
    type Client: AsyncRead + AsyncWrite + Unpin + Send + 'static;

    /// The next client.
    fn next(&self) -> impl Future<Output = io::Result<Self::Client>> + Send;
}

impl Accept for tokio::net::TcpListener {
    type Client = tokio::net::TcpStream;

    async fn next(&self) -> io::Result<Self::Client> {
        Ok(self.accept().await?.0)
    }
}

impl Accept for tokio::net::UnixListener {
    type Client = tokio::net::UnixStream;

    async fn next(&self) -> io::Result<Self::Client> {
        Ok(self.accept().await?.0)
    }
}

/// Accepts clients without end; `answer` reads the request of one, through its place, and answers it. `what` names the
/// socket in the log.
pub(super) async fn serve<L, F>(what: &'static str, listener: L, answer: impl Fn(L::Client, Place) -> F)
where
    L: Accept,
    F: Future<Output = io::Result<()>> + Send + 'static,
{
    let clients = Clients::new(MOST);
    loop {
        match listener.next().await {
            Ok(client) => {
                let answering = answer(client, clients.admit().await);
                tokio::spawn(async move {
                    if let Err(error) = answering.await {
                        tracing::debug!(%error, "{what}: a request was not answered");
                    }
                });
            }
            Err(error) => {
                tracing::debug!(%error, "{what}: no client can be accepted");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

/// The places for clients.
struct Clients {
    places: Arc<Semaphore>,
    senders: Arc<Mutex<Senders>>,
}

/// The clients that have not sent their whole request, the oldest first. Dropping the end of a channel tells the client's
/// task to give up its place.
#[derive(Default)]
struct Senders {
    next: u64,
    waiting: VecDeque<(u64, oneshot::Sender<()>)>,
}

impl Clients {
    fn new(most: usize) -> Clients {
        Clients { places: Arc::new(Semaphore::new(most)), senders: Arc::default() }
    }

    /// A place for one more client. If all are taken, the oldest client without a whole request gives up its own; if
    /// there is none, this waits for the end of an answer.
    async fn admit(&self) -> Place {
        if self.places.available_permits() == 0 {
            drop(self.senders.lock().waiting.pop_front());
        }
        let permit = Arc::clone(&self.places).acquire_owned().await.expect("this semaphore is never closed");
        let (sender, dismissed) = oneshot::channel();
        let mut senders = self.senders.lock();
        let number = senders.next;
        senders.next += 1;
        senders.waiting.push_back((number, sender));
        Place { number, dismissed, senders: Arc::clone(&self.senders), _permit: permit }
    }
}

/// The place of one client, until this is dropped.
pub(super) struct Place {
    number: u64,
    dismissed: oneshot::Receiver<()>,
    senders: Arc<Mutex<Senders>>,
    _permit: OwnedSemaphorePermit,
}

impl Place {
    /// Reads the client's request with `reading`. Afterwards the client keeps its place until it is answered.
    ///
    /// # Errors
    ///
    /// `reading` fails or takes longer than `limit`, or another client needs the place.
    pub(super) async fn request<T>(
        &mut self,
        limit: Duration,
        reading: impl Future<Output = io::Result<T>>,
    ) -> io::Result<T> {
        let request = tokio::select! {
            read = tokio::time::timeout(limit, reading) => read?,
            _ = &mut self.dismissed => Err(io::Error::other("another client needed the place")),
        };
        self.leave();
        request
    }

    fn leave(&self) {
        self.senders.lock().waiting.retain(|(number, _)| *number != self.number);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.leave();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{UnixListener, UnixStream};

    const LONG: Duration = Duration::from_secs(60);

    /// Answers each request of four bytes with the same bytes.
    async fn echo(mut client: UnixStream, mut place: Place) -> io::Result<()> {
        let mut request = [0; 4];
        place.request(LONG, client.read_exact(&mut request)).await?;
        client.write_all(&request).await
    }

    #[tokio::test]
    async fn clients_with_half_a_request_keep_nobody_out() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        let listener = UnixListener::bind(&path).unwrap();
        let serving = tokio::spawn(serve("a test", listener, echo));
        let mut halves = Vec::new();
        for _ in 0..MOST {
            let mut client = UnixStream::connect(&path).await.unwrap();
            client.write_all(b"ha").await.unwrap();
            halves.push(client);
        }
        let exchange = async {
            let mut client = UnixStream::connect(&path).await.unwrap();
            client.write_all(b"full").await.unwrap();
            let mut answer = String::new();
            client.read_to_string(&mut answer).await.unwrap();
            answer
        };
        assert_eq!(tokio::time::timeout(LONG / 2, exchange).await.expect("it waits for the others"), "full");
        // The oldest was dropped, and the newest may still complete its request.
        let mut rest = Vec::new();
        assert_eq!(halves[0].read_to_end(&mut rest).await.unwrap_or(0), 0);
        let newest = halves.last_mut().unwrap();
        newest.write_all(b"lf").await.unwrap();
        newest.read_to_end(&mut rest).await.unwrap();
        assert_eq!(rest, b"half");
        serving.abort();
    }

    #[tokio::test]
    async fn a_client_whose_request_has_arrived_keeps_its_place() {
        let clients = Clients::new(1);
        let mut place = clients.admit().await;
        place.request(LONG, async { Ok(()) }).await.unwrap();
        assert!(tokio::time::timeout(Duration::from_millis(50), clients.admit()).await.is_err());
        drop(place);
        clients.admit().await;
    }
}
