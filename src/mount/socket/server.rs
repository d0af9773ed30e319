//! The socket of a mount: answers requests until it is dropped.

use super::directory::{Directory, is_dead};
use super::report::Subject;
use super::{Answer, DRAIN_LIMIT, Done, LONGEST_REQUEST, Request};
use crate::mount::CurrentLevel;
use crate::mount::clients::{self, Place};
use crate::vfs::operations;
use nix::unistd::geteuid;
use serde::Serialize;
use std::fs;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::runtime::Runtime;
use tokio::task::AbortHandle;

/// The time that a client has to send its request, and again to read the answer.
const LIMIT: Duration = Duration::from_secs(2);

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
    pub(in crate::mount) fn open(subject: Arc<Subject>, runtime: &Runtime) -> io::Result<Socket> {
        let directory = Directory::make()?;
        directory.remove_dead();
        let path = directory.shown(&format!("{}.sock", std::process::id()));
        // A socket of this name is of a process with the same number in another namespace, or is past the bound of those
        // that were looked at.
        if is_dead(&path) {
            fs::remove_file(&path)?;
        }
        let context = runtime.enter();
        let listener = UnixListener::bind(&path)?;
        drop(context);
        let answering = clients::serve("the status", listener, move |client, place| {
            let subject = Arc::clone(&subject);
            async move { answer(client, place, &subject).await }
        });
        let task = runtime.spawn(answering).abort_handle();
        Ok(Socket { path, task })
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        self.task.abort();
        if let Err(error) = fs::remove_file(&self.path) {
            tracing::debug!(%error, path = %self.path.display(), "the socket cannot be removed");
        }
    }
}

async fn answer(mut client: UnixStream, mut place: Place, subject: &Arc<Subject>) -> io::Result<()> {
    let user = client.peer_cred()?.uid();
    if user != 0 && user != geteuid().as_raw() {
        return Err(io::Error::other(format!("user {user} may not ask")));
    }
    let mut line = String::new();
    let (read, mut write) = client.split();
    let mut read = BufReader::new(read.take(LONGEST_REQUEST));
    place.request(LIMIT, read.read_line(&mut line)).await?;
    let answer = match serde_json::from_str(&line) {
        Ok(request) => answer_to(request, subject).await?,
        Err(error) => failed(format!("this is no request: {error}"))?,
    };
    tokio::time::timeout(LIMIT, write.write_all(format!("{answer}\n").as_bytes())).await??;
    Ok(())
}

/// The line that answers a request.
async fn answer_to(request: Request, subject: &Arc<Subject>) -> io::Result<String> {
    match request {
        Request::Status => is(subject.status()),
        Request::Log { set } => match log_level(subject, set).await {
            Ok(level) => is(level),
            Err(error) => failed(error),
        },
        Request::Command => is(&subject.command),
        Request::Drain => match drain(subject).await {
            Ok(()) => is(Done { done: true }),
            Err(error) => failed(error),
        },
        Request::Access { read_only } => {
            subject.vfs.set_read_only(read_only);
            subject.access.send_replace(read_only);
            is(Done { done: true })
        }
    }
}

/// The log level, after a change to `set`. A change writes to the log, whose file may not answer.
async fn log_level(subject: &Arc<Subject>, set: Option<String>) -> Result<CurrentLevel, String> {
    let log = Arc::clone(&subject.log);
    let changing = tokio::task::spawn_blocking(move || {
        set.map_or(Ok(()), |level| log.set(&level))?;
        Ok(log.level())
    });
    match tokio::time::timeout(LIMIT, changing).await {
        Ok(Ok(level)) => level,
        Ok(Err(_)) | Err(_) => Err("the log does not answer".to_owned()),
    }
}

async fn drain(subject: &Subject) -> Result<(), String> {
    let drained = tokio::time::timeout(DRAIN_LIMIT, operations::write_back(&subject.vfs)).await;
    match subject.vfs.counters().dirty_bytes.get() {
        0 if drained.is_ok() => Ok(()),
        dirty => Err(format!("{dirty} bytes that programs have written did not reach the server in time")),
    }
}

fn is(answer: impl Serialize) -> io::Result<String> {
    Ok(serde_json::to_string(&Answer::Is(answer))?)
}

fn failed(error: String) -> io::Result<String> {
    Ok(serde_json::to_string(&Answer::<()>::Failed { error })?)
}
