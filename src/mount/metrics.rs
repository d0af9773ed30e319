//! Offers the metrics of a mount to programs that collect them: HTTP/1.1 `GET /metrics`, on TCP or a Unix socket.
//!
//! The address is opened before anything is mounted ([`Bound::open`]), so that a mistake is an error of the mount, and
//! answers once the mount is served ([`Bound::serve`]).
//!
//! Invariants: the number of clients at once is bounded ([`clients`](super::clients)), and each is given up after
//! `LIMIT` for its request and `LIMIT` for the answer. Nothing that a client does changes the mount. A Unix socket can be
//! used by its owner and root only.

use super::clients::{self, Accept, Place};
use super::socket::directory::is_dead;
use super::socket::report::Subject;
use super::{MountError, Stage};
use crate::config::MetricsAddress;
use crate::telemetry::metrics::CONTENT_TYPE;
use nix::sys::socket::{self, AddressFamily, Backlog, SockFlag, SockType, UnixAddr};
use nix::sys::stat::{Mode, fchmod};
use nix::unistd::geteuid;
use std::fs;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::runtime::Runtime;
use tokio::task::AbortHandle;

/// The time that a client has to send its request, and again to read the answer.
const LIMIT: Duration = Duration::from_secs(3);
/// The longest request, in bytes.
const LONGEST_REQUEST: usize = 8192;
/// The most header lines of a request.
const MOST_HEADERS: usize = 64;

/// A socket that does not answer yet. A Unix socket is removed when this is dropped.
#[derive(Debug)]
pub(super) struct Bound {
    listener: Listener,
    _file: Option<SocketFile>,
}

#[derive(Debug)]
enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener),
}

/// A Unix socket that is removed when this is dropped, unless its path leads to another one by then.
#[derive(Debug)]
struct SocketFile {
    path: PathBuf,
    identity: (u64, u64),
}

impl SocketFile {
    fn new(path: &Path) -> io::Result<SocketFile> {
        Ok(SocketFile { path: path.to_owned(), identity: identity(path)? })
    }
}

/// Device and inode.
fn identity(path: &Path) -> io::Result<(u64, u64)> {
    fs::symlink_metadata(path).map(|found| (found.dev(), found.ino()))
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if identity(&self.path).is_ok_and(|found| found == self.identity)
            && let Err(error) = fs::remove_file(&self.path)
        {
            tracing::debug!(%error, path = %self.path.display(), "the socket of the metrics cannot be removed");
        }
    }
}

impl Bound {
    /// Opens the address.
    ///
    /// # Errors
    ///
    /// It is in use, it is not this machine's, or this user may not open it.
    pub(super) fn open(address: &MetricsAddress) -> Result<Bound, MountError> {
        match address {
            MetricsAddress::Tcp(address) => Bound::tcp(*address),
            MetricsAddress::Unix(path) => Bound::unix(path),
        }
        .map_err(|(what, remedy)| MountError::new(Stage::Metrics, format!("{address}: {what}")).remedy(remedy))
    }

    fn tcp(address: SocketAddr) -> Result<Bound, (String, &'static str)> {
        let open = || {
            let listener = TcpListener::bind(address)?;
            listener.set_nonblocking(true)?;
            Ok(Bound { listener: Listener::Tcp(listener), _file: None })
        };
        open().map_err(|error: io::Error| {
            let remedy = match error.kind() {
                io::ErrorKind::AddrInUse => {
                    "another program, or another mount, uses this port: give each mount its own"
                }
                io::ErrorKind::AddrNotAvailable => "this machine does not have the address: :PORT is always possible",
                io::ErrorKind::PermissionDenied => "only root may use ports below 1024",
                _ => "give another address, or mount without --metrics",
            };
            (error.to_string(), remedy)
        })
    }

    /// Makes the socket with mode 0600, which it has before it can be reached. A socket of this user that no process
    /// listens on is replaced.
    fn unix(path: &Path) -> Result<Bound, (String, &'static str)> {
        if let Ok(found) = fs::symlink_metadata(path) {
            let is_own = found.file_type().is_socket() && found.uid() == geteuid().as_raw();
            match is_own {
                true if is_dead(path) => drop(fs::remove_file(path)),
                true => return Err(("another process listens there".to_owned(), "give each mount its own path")),
                false => return Err(("there is something else".to_owned(), "give a path that does not exist")),
            }
        }
        let open = || {
            let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
            let socket = socket::socket(AddressFamily::Unix, SockType::Stream, flags, None)?;
            fchmod(&socket, Mode::S_IRUSR | Mode::S_IWUSR)?;
            socket::bind(socket.as_raw_fd(), &UnixAddr::new(path)?)?;
            let file = SocketFile::new(path)?;
            socket::listen(&socket, Backlog::MAXCONN)?;
            Ok(Bound { listener: Listener::Unix(socket.into()), _file: Some(file) })
        };
        open().map_err(|error: io::Error| {
            let remedy = match error.raw_os_error() {
                Some(libc::ENAMETOOLONG) => "the path of a socket has at most 107 bytes",
                _ => "the folder must exist, and this user must be allowed to write in it",
            };
            (error.to_string(), remedy)
        })
    }

    /// Answers in a task of the runtime until the result is dropped.
    ///
    /// # Errors
    ///
    /// The runtime cannot wait for the socket.
    pub(super) fn serve(self, subject: Arc<Subject>, runtime: &Runtime) -> io::Result<Serving> {
        let context = runtime.enter();
        let task = match self.listener {
            Listener::Tcp(listener) => {
                let listener = tokio::net::TcpListener::from_std(listener)?;
                runtime.spawn(serve(subject, listener))
            }
            Listener::Unix(listener) => {
                let listener = tokio::net::UnixListener::from_std(listener)?;
                runtime.spawn(serve(subject, listener))
            }
        };
        drop(context);
        Ok(Serving { task: task.abort_handle(), _file: self._file })
    }
}

/// A socket that answers until this is dropped.
pub(super) struct Serving {
    task: AbortHandle,
    _file: Option<SocketFile>,
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Answers all clients.
async fn serve(subject: Arc<Subject>, listener: impl Accept) {
    clients::serve("the metrics", listener, move |client, place| {
        let subject = Arc::clone(&subject);
        async move { answer(client, place, &subject).await }
    })
    .await;
}

async fn answer(
    mut client: impl AsyncRead + AsyncWrite + Unpin,
    mut place: Place,
    subject: &Subject,
) -> io::Result<()> {
    let status = place.request(LIMIT, requested(&mut client)).await?;
    let (kind, body) = match status {
        "200 OK" => (CONTENT_TYPE, subject.metrics()),
        refused => ("text/plain; charset=utf-8", format!("{refused}\nthe metrics are at GET /metrics\n")),
    };
    let length = body.len();
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\nAllow: GET\r\nConnection: close\r\n\r\n"
    );
    let sending = async {
        client.write_all((head + &body).as_bytes()).await?;
        client.shutdown().await
    };
    tokio::time::timeout(LIMIT, sending).await?
}

/// Reads the head of a request, and returns the status of the answer.
async fn requested(client: &mut (impl AsyncRead + Unpin)) -> io::Result<&'static str> {
    let mut head = Vec::with_capacity(1024);
    loop {
        if client.read_buf(&mut head).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let mut headers = [httparse::EMPTY_HEADER; MOST_HEADERS];
        let mut request = httparse::Request::new(&mut headers);
        match request.parse(&head) {
            Ok(httparse::Status::Complete(_)) => return Ok(status_of(&request)),
            Ok(httparse::Status::Partial) if head.len() < LONGEST_REQUEST => {}
            Ok(httparse::Status::Partial) | Err(httparse::Error::TooManyHeaders) => {
                return Ok("431 Request Header Fields Too Large");
            }
            Err(_) => return Ok("400 Bad Request"),
        }
    }
}

fn status_of(request: &httparse::Request<'_, '_>) -> &'static str {
    let path = request.path.and_then(|path| path.split('?').next());
    match (request.method, path) {
        (Some("GET"), Some("/metrics")) => "200 OK",
        (_, Some("/metrics")) => "405 Method Not Allowed",
        _ => "404 Not Found",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_request_is_read_in_any_pieces_and_only_one_is_answered() {
        let long = format!("GET /metrics HTTP/1.1\r\nA: {}", "x".repeat(LONGEST_REQUEST));
        for (sent, expected) in [
            ("GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n", "200 OK"),
            ("GET /metrics?a=b HTTP/1.0\r\n\r\n", "200 OK"),
            ("POST /metrics HTTP/1.1\r\n\r\n", "405 Method Not Allowed"),
            ("GET / HTTP/1.1\r\n\r\n", "404 Not Found"),
            ("nonsense\r\n\r\n", "400 Bad Request"),
            (&long, "431 Request Header Fields Too Large"),
        ] {
            let (mut near, mut far) = tokio::io::duplex(7);
            let sending = async { drop(far.write_all(sent.as_bytes()).await) };
            let (status, ()) = tokio::join!(
                async {
                    let status = requested(&mut near).await;
                    drop(near);
                    status
                },
                sending
            );
            assert_eq!(status.unwrap(), expected, "{sent}");
        }
    }

    #[test]
    fn a_socket_is_private_and_replaced_only_if_nobody_listens() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("m");
        let address = MetricsAddress::Unix(path.clone());
        let bound = Bound::open(&address).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        assert!(Bound::open(&address).unwrap_err().to_string().contains("another process listens there"));
        drop(bound);
        assert!(!path.exists());
        let replaced = Bound::open(&address).unwrap();
        fs::remove_file(&path).unwrap();
        let _other = UnixListener::bind(&path).unwrap();
        drop(replaced);
        assert!(path.exists(), "a socket of another process is removed");
        fs::remove_file(&path).unwrap();
        drop(UnixListener::bind(&path).unwrap());
        drop(Bound::open(&address).unwrap());
        fs::write(&path, "mine").unwrap();
        assert!(Bound::open(&address).unwrap_err().to_string().contains("there is something else"));
        assert_eq!(fs::read(&path).unwrap(), b"mine");
    }
}
