//! Asks mounts for their status.

use super::{LONGEST_ANSWER, Request, directory};
use crate::telemetry::status::Status;
use serde::Serialize;
use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

/// The time that a mount has for each step of an answer.
const LIMIT: Duration = Duration::from_secs(2);

/// A mount that could not be asked.
#[derive(Debug, Serialize)]
pub struct Silent {
    /// The path of its socket.
    pub socket: String,
    /// Why there is no answer.
    pub error: String,
}

/// The status of each mount of this user, or of all users for root. All are asked at once, so that one that does not
/// answer delays the others only once. A socket that a killed process has left is removed and not reported.
pub fn all() -> Vec<Result<Status, Silent>> {
    let asking: Vec<_> = sockets().into_iter().map(|socket| thread::spawn(move || ask(socket))).collect();
    asking.into_iter().filter_map(|thread| thread.join().ok().flatten()).collect()
}

fn sockets() -> Vec<PathBuf> {
    let entries = directory::all().into_iter().filter_map(|path| fs::read_dir(path).ok()).flatten().flatten();
    let mut sockets: Vec<_> = entries.map(|entry| entry.path()).filter(|path| is_socket_name(path)).collect();
    sockets.sort();
    sockets
}

fn is_socket_name(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "sock")
}

/// The status of the mount with this socket; `None` if its process is gone.
fn ask(socket: PathBuf) -> Option<Result<Status, Silent>> {
    match status(&socket) {
        Ok(status) => Some(Ok(status)),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            // Another user's socket, or one that is gone by now, may stay.
            let _ = fs::remove_file(&socket);
            None
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => Some(Err(Silent { socket: socket.display().to_string(), error: error.to_string() })),
    }
}

fn status(socket: &Path) -> io::Result<Status> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(LIMIT))?;
    stream.set_write_timeout(Some(LIMIT))?;
    let mut request = serde_json::to_string(&Request::Status)?;
    request.push('\n');
    stream.write_all(request.as_bytes())?;
    let mut answer = String::new();
    BufReader::new(stream.take(LONGEST_ANSWER)).read_line(&mut answer)?;
    Ok(serde_json::from_str(&answer)?)
}
