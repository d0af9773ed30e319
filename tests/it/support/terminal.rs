//! A program at a terminal, with a user who types. script(1) makes the terminal.

use super::apart::{apart, spawn};
use super::command::wait;
use super::wait_until;
use std::io::{Read, Write};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;
use std::{io, thread};

const LIMIT: Duration = Duration::from_secs(30);

/// A running shell script at a terminal of its own.
pub(crate) struct Terminal {
    child: Child,
    keyboard: mpsc::Sender<Vec<u8>>,
    screen: Arc<Mutex<Vec<u8>>>,
}

impl Terminal {
    /// Starts a script of sh(1) with an empty environment except PATH.
    pub(crate) fn run(script: &str) -> Terminal {
        // Ctrl-C has its usual effect, also if the tests run as a background job of a shell, which ignores the signal.
        let mut command = Command::new("env");
        command
            .args(["--default-signal=HUP,INT,QUIT", "script", "-qec", script, "/dev/null"])
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.env("SHELL", "/bin/sh").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let screen = Arc::<Mutex<Vec<u8>>>::default();
        let shown = Arc::clone(&screen);
        let (keyboard, typed) = mpsc::channel::<Vec<u8>>();
        // The pipes exist only for the threads that are started there.
        let child = apart(move || {
            let mut child = spawn(&mut command)?;
            let mut input = child.stdin.take().expect("the pipe was requested above");
            let mut output = child.stdout.take().expect("the pipe was requested above");
            thread::spawn(move || typed.iter().try_for_each(|keys| input.write_all(&keys)));
            thread::spawn(move || {
                let mut piece = [0; 4096];
                while let Ok(length @ 1..) = output.read(&mut piece) {
                    shown.lock().expect("no panic under this lock").extend_from_slice(&piece[..length]);
                }
            });
            io::Result::Ok(child)
        });
        Terminal { child: child.expect("script is installed (package bsdutils)"), keyboard, screen }
    }

    /// All that the terminal has shown.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.screen.lock().expect("no panic under this lock")).into_owned()
    }

    /// Waits until the terminal shows this text, then types.
    #[track_caller]
    pub(crate) fn answer(&self, question: &str, typed: &str) {
        self.shows(question);
        self.keyboard.send(typed.as_bytes().to_vec()).expect("the terminal is open");
    }

    /// Waits until the terminal shows this text.
    #[track_caller]
    pub(crate) fn shows(&self, text: &str) {
        assert!(wait_until(LIMIT, || self.text().contains(text)), "no {text:?} in {}", self.text());
    }

    /// Waits for the end of the script. Returns its exit code and all that the terminal has shown.
    #[track_caller]
    pub(crate) fn end(mut self) -> (Option<i32>, String) {
        let status = wait(&mut self.child, LIMIT);
        if status.is_none() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
        let status = status.unwrap_or_else(|| panic!("the program still runs: {}", self.text()));
        // The thread that reads the screen ends with the terminal.
        wait_until(LIMIT, || Arc::strong_count(&self.screen) == 1);
        (status.code(), self.text())
    }
}
