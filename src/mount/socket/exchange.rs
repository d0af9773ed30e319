//! One request to a mount, and its answer.
//!
//! The invariant: an exchange ends by its deadline, whatever the other side does, and its answer is from a process of the
//! user whose directory the socket is in.

use super::directory::Directory;
use super::{Answer, LONGEST_ANSWER, LONGEST_REQUEST, Request};
use crate::telemetry::status::{Status, VERSION};
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;

/// The pause between attempts to connect to a socket whose queue is full.
const PAUSE: Duration = Duration::from_millis(10);

/// The longest error that is shown, in characters.
const LONGEST_ERROR: usize = 300;

/// A socket.
#[derive(Clone, Debug)]
pub(super) struct Address {
    directory: Arc<Directory>,
    name: String,
}

impl Address {
    /// All sockets in a directory.
    pub(super) fn all(directory: Directory) -> Vec<Address> {
        let directory = Arc::new(directory);
        let names = directory.sockets();
        names.into_iter().map(|name| Address { directory: Arc::clone(&directory), name }).collect()
    }

    /// The user whose socket it is.
    pub(super) fn owner(&self) -> u32 {
        self.directory.owner()
    }

    /// Its path, for people.
    pub(super) fn shown(&self) -> PathBuf {
        self.directory.shown(&self.name)
    }

    /// The status of its mount. `None` if its process is gone; the socket is removed then if it is this user's.
    pub(super) async fn status(&self, limit: Duration) -> Option<Result<Status, String>> {
        match self.exchange(&Request::Status, limit).await {
            Ok(answer) => Some(status_in(&answer)),
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                self.directory.remove(&self.name);
                None
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => Some(Err(error.to_string())),
        }
    }

    /// Sends a request, and returns the answer.
    ///
    /// # Errors
    /// There is no answer within `limit`, or it is none to this request.
    pub(super) async fn ask<T: DeserializeOwned>(&self, request: &Request, limit: Duration) -> io::Result<Answer<T>> {
        let answer = self.exchange(request, limit).await?;
        match serde_json::from_str(&answer) {
            Ok(Answer::Failed { error }) => Ok(Answer::Failed { error: shortened(&error) }),
            Ok(answer) => Ok(answer),
            Err(_) => Err(io::Error::other("the answer is not understood")),
        }
    }

    async fn exchange(&self, request: &Request, limit: Duration) -> io::Result<String> {
        let line = serde_json::to_string(request)? + "\n";
        if line.len() as u64 > LONGEST_REQUEST {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("too long: a request has at most {LONGEST_REQUEST} bytes"),
            ));
        }
        let late = |_| Err(io::Error::other(format!("no answer within {} s", limit.as_secs())));
        tokio::time::timeout(limit, self.talk(&line)).await.unwrap_or_else(late)
    }

    async fn talk(&self, request: &str) -> io::Result<String> {
        let mut stream = connect(&self.directory.through(&self.name)).await?;
        let user = stream.peer_cred()?.uid();
        // A name in the directory can be a link to the socket of another user.
        if user != self.owner() {
            return Err(io::Error::other(format!("a process of another user ({user}) listens there")));
        }
        stream.write_all(request.as_bytes()).await?;
        let mut answer = String::new();
        BufReader::new(stream.take(LONGEST_ANSWER)).read_line(&mut answer).await?;
        match answer.is_empty() {
            true => Err(io::Error::other("it closed the connection without an answer")),
            false => Ok(answer),
        }
    }
}

/// Connects, which can take any time: the queue of a stopped process can be full.
async fn connect(path: &Path) -> io::Result<UnixStream> {
    loop {
        match UnixStream::connect(path).await {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => tokio::time::sleep(PAUSE).await,
            result => return result,
        }
    }
}

/// A text of a mount that is not trusted to be short.
fn shortened(text: &str) -> String {
    text.chars().take(LONGEST_ERROR).collect()
}

/// The status in an answer, if it is of the version that this program understands.
fn status_in(answer: &str) -> Result<Status, String> {
    let value: Value = serde_json::from_str(answer).map_err(|_| "the answer is not understood")?;
    match value["version"].as_u64() {
        Some(version) if version != u64::from(VERSION) => {
            let program =
                value["program"].as_str().unwrap_or("unknown").chars().take(LONGEST_ERROR).collect::<String>();
            return Err(format!(
                "another version of the program ({program}) serves it: its status has version {version}, and this \
                 program understands {VERSION}"
            ));
        }
        _ => {}
    }
    match serde_json::from_value(value) {
        Ok(Answer::Is(status)) => Ok(status),
        Ok(Answer::Failed { error }) => Err(shortened(&error)),
        Err(_) => Err("the answer is not understood".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::unistd::geteuid;
    use std::fs::DirBuilder;
    use std::io::{Read, Write};
    use std::os::unix::fs::{DirBuilderExt, symlink};
    use std::os::unix::net::UnixListener;
    use std::thread;
    use std::time::Instant;

    const LIMIT: Duration = Duration::from_millis(500);

    /// A private directory with a socket `1.sock`.
    fn listening() -> (tempfile::TempDir, PathBuf, UnixListener) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("d");
        DirBuilder::new().mode(0o700).create(&path).unwrap();
        let listener = UnixListener::bind(path.join("1.sock")).unwrap();
        (folder, path, listener)
    }

    fn status(path: &Path, owner: u32) -> Option<Result<Status, String>> {
        let address = Address::all(Directory::open(path, owner).unwrap()).remove(0);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(address.status(LIMIT))
    }

    /// The deadline is for all of it: each byte comes in time.
    #[test]
    fn an_answer_that_trickles_ends_at_the_deadline() {
        let (_folder, path, listener) = listening();
        thread::spawn(move || {
            let mut client = listener.accept().unwrap().0;
            while client.write_all(b" ").is_ok() {
                thread::sleep(LIMIT / 20);
            }
        });
        let began = Instant::now();
        let error = status(&path, geteuid().as_raw()).unwrap().unwrap_err();
        assert!(error.contains("no answer within"), "{error}");
        assert!(began.elapsed() < LIMIT * 20);
    }

    /// Only root can give a directory to another user; anyone else skips this.
    #[test]
    fn a_process_of_another_user_than_the_directory_s_is_not_asked() {
        let (_folder, path, listener) = listening();
        if std::os::unix::fs::chown(&path, Some(65_534), None).is_err() {
            return;
        }
        let asked = thread::spawn(move || {
            let mut text = String::new();
            let _ = listener.accept().unwrap().0.read_to_string(&mut text);
            text
        });
        let error = status(&path, 65_534).unwrap().unwrap_err();
        assert!(error.contains("a process of another user (0)"), "{error}");
        assert_eq!(asked.join().unwrap(), "");
    }

    #[test]
    fn the_socket_of_a_dead_process_is_removed() {
        let (_folder, path, listener) = listening();
        drop(listener);
        assert!(status(&path, geteuid().as_raw()).is_none());
        assert!(!path.join("1.sock").exists());
    }

    #[test]
    fn a_link_is_no_socket() {
        let (_folder, path, _listener) = listening();
        symlink("1.sock", path.join("0.sock")).unwrap();
        let addresses = Address::all(Directory::open(&path, geteuid().as_raw()).unwrap());
        assert_eq!(addresses.len(), 1);
    }

    #[test]
    fn the_version_is_checked_before_anything_else() {
        let error = status_in("{\"version\": 9, \"program\": \"4.2\"}").unwrap_err();
        assert!(error.contains("(4.2) serves it") && error.contains("version 9"), "{error}");
        assert_eq!(status_in("{\"error\": \"busy\"}").unwrap_err(), "busy");
        assert_eq!(status_in("{\"version\": 1}").unwrap_err(), "the answer is not understood");
    }

    #[test]
    fn a_request_that_is_too_long_is_not_sent() {
        let (_folder, path, _listener) = listening();
        let address = Address::all(Directory::open(&path, geteuid().as_raw()).unwrap()).remove(0);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let request = Request::Log { set: Some("x".repeat(5000)) };
        let error = runtime.block_on(address.ask::<Value>(&request, LIMIT)).unwrap_err();
        assert!(error.to_string().contains("at most 4096 bytes"), "{error}");
    }
}
