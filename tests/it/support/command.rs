//! Runs a program with a deadline and returns its exit code, its output and its running time.

use super::apart::{apart, spawn};
use super::wait_until;
use std::fmt;
use std::io::{Read, Write};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};
use std::{io, thread};

/// The result of a program that has ended.
pub(crate) struct Run {
    /// The command line, for messages.
    pub(crate) command: String,
    /// The exit code; `None` if a signal ended the program.
    pub(crate) code: Option<i32>,
    /// Standard output.
    pub(crate) stdout: String,
    /// Standard error.
    pub(crate) stderr: String,
    /// The time from start to end.
    pub(crate) took: Duration,
}

impl Run {
    /// Returns this run. Panics if the program did not succeed.
    #[track_caller]
    pub(crate) fn success(self) -> Run {
        assert!(self.code == Some(0), "{self}");
        self
    }

    /// Standard output followed by standard error.
    pub(crate) fn text(&self) -> String {
        format!("{}{}", self.stdout, self.stderr)
    }

    /// Asserts that the outputs contain `wanted`; case is ignored.
    #[track_caller]
    pub(crate) fn says(&self, wanted: &str) -> &Run {
        assert!(self.text().to_lowercase().contains(&wanted.to_lowercase()), "no {wanted:?} in: {self}");
        self
    }
}

impl fmt::Display for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ended with {:?} after {:?}", self.command, self.code, self.took)?;
        write!(f, "\n--- stdout\n{}--- stderr\n{}", self.stdout, self.stderr)
    }
}

/// Runs a program to its end, with nothing on its standard input.
#[track_caller]
pub(crate) fn run(command: &mut Command, deadline: Duration) -> Run {
    run_with_input(command, b"", deadline)
}

/// Runs a program to its end. Panics if at the deadline the program is still running (it is then killed), or
/// if a process that it left behind still holds its output open.
#[track_caller]
pub(crate) fn run_with_input(command: &mut Command, input: &[u8], deadline: Duration) -> Run {
    let text = describe(command);
    let started = Instant::now();
    let (mut child, stdout, stderr) =
        start(command, input.to_vec()).unwrap_or_else(|error| panic!("cannot start {text}: {error}"));

    let status = wait(&mut child, deadline);
    let took = started.elapsed();
    if status.is_none() {
        let _ = child.kill();
        let _ = child.wait();
    }
    let rest = deadline.saturating_sub(took).max(Duration::from_secs(2));
    let (stdout, stderr) = (stdout.recv_timeout(rest), stderr.recv_timeout(rest));
    let Some(status) = status else {
        panic!("{text} had not ended after {deadline:?}\n{stdout:?}\n{stderr:?}");
    };
    let (Ok(stdout), Ok(stderr)) = (stdout, stderr) else {
        panic!("{text} ended with {status}, but another process still holds its output open");
    };
    Run { command: text, code: status.code(), stdout, stderr, took }
}

/// A started program whose input was written, with what it writes to standard output and to standard error.
type Started = (Child, mpsc::Receiver<String>, mpsc::Receiver<String>);

fn start(command: &mut Command, input: Vec<u8>) -> io::Result<Started> {
    let mut sent = std::mem::replace(command, Command::new(""));
    let (sent, started) = apart(move || {
        let child = spawn(sent.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()));
        let started = child.map(|mut child| {
            // A program that reads no input may have closed its end; that is no error here.
            let _ = child.stdin.take().expect("the pipe was requested above").write_all(&input);
            let stdout = collect(child.stdout.take().expect("the pipe was requested above"));
            let stderr = collect(child.stderr.take().expect("the pipe was requested above"));
            (child, stdout, stderr)
        });
        (sent, started)
    });
    *command = sent;
    started
}

/// Starts a program with empty input; its output is discarded.
pub(crate) fn spawn_quiet(mut command: Command) -> io::Result<Child> {
    apart(move || spawn(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null())))
}

/// Waits at most `limit` for a child process to end. Returns `None` if it still runs.
pub(crate) fn wait(child: &mut Child, limit: Duration) -> Option<ExitStatus> {
    let mut status = None;
    wait_until(limit, || {
        status = child.try_wait().expect("a child can be waited for");
        status.is_some()
    });
    status
}

/// Reads to the end on a new thread, then sends the whole text.
fn collect(mut from: impl Read + Send + 'static) -> mpsc::Receiver<String> {
    let (done, result) = mpsc::channel();
    thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = from.read_to_end(&mut bytes);
        let _ = done.send(String::from_utf8_lossy(&bytes).into_owned());
    });
    result
}

fn describe(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}
