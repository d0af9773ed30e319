//! The socket of a mount: answers requests until it is dropped.

use super::report::Subject;
use super::{LONGEST_REQUEST, Request, directory};
use nix::unistd::geteuid;
use std::fs;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::runtime::Runtime;
use tokio::sync::Semaphore;
use tokio::task::AbortHandle;

/// The most clients at once. Others wait in the socket's queue.
const CLIENTS: usize = 8;
/// The time that a client has to send its request, and again to read the answer.
const LIMIT: Duration = Duration::from_secs(2);
/// The pause after a failed accept: descriptors may have run out.
const PAUSE: Duration = Duration::from_secs(1);

/// The socket. It is removed when this is dropped.
pub(in crate::mount) struct Socket {
    path: PathBuf,
    task: AbortHandle,
}

impl Socket {
    /// Makes the socket of this process, and answers in a task of the runtime.
    ///
    /// # Errors
    /// The directory of sockets is unusable, or the socket cannot be made in it.
    pub(in crate::mount) fn open(subject: Subject, runtime: &Runtime) -> io::Result<Socket> {
        let path = directory::make()?.join(format!("{}.sock", std::process::id()));
        // A socket of this name was left by a killed process that had the same number.
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let context = runtime.enter();
        let listener = UnixListener::bind(&path)?;
        drop(context);
        let task = runtime.spawn(answer_all(listener, Arc::new(subject))).abort_handle();
        Ok(Socket { path, task })
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        self.task.abort();
        if let Err(error) = fs::remove_file(&self.path) {
            tracing::debug!(%error, path = %self.path.display(), "the status socket cannot be removed");
        }
    }
}

async fn answer_all(listener: UnixListener, subject: Arc<Subject>) {
    let places = Arc::new(Semaphore::new(CLIENTS));
    loop {
        // The semaphore is never closed.
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        match listener.accept().await {
            Ok((client, _)) => {
                let subject = Arc::clone(&subject);
                tokio::spawn(async move {
                    if let Err(error) = answer(client, &subject).await {
                        tracing::debug!(%error, "a request for the status was not answered");
                    }
                    drop(place);
                });
            }
            Err(error) => {
                tracing::debug!(%error, "no client can be accepted at the status socket");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

async fn answer(mut client: UnixStream, subject: &Subject) -> io::Result<()> {
    let user = client.peer_cred()?.uid();
    if user != 0 && user != geteuid().as_raw() {
        return Err(io::Error::other(format!("user {user} may not ask")));
    }
    let mut line = String::new();
    let (read, mut write) = client.split();
    let mut read = BufReader::new(read.take(LONGEST_REQUEST));
    tokio::time::timeout(LIMIT, read.read_line(&mut line)).await??;
    let answer = match serde_json::from_str(&line) {
        Ok(Request::Status) => serde_json::to_string(&subject.status())?,
        Err(error) => serde_json::json!({ "error": format!("this is no request: {error}") }).to_string(),
    };
    tokio::time::timeout(LIMIT, write.write_all(format!("{answer}\n").as_bytes())).await??;
    Ok(())
}
