//! The command line and the environment of the process, as /proc shows them, contain no password.

use crate::support::apart::{apart, spawn};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};
use std::{fs, io, thread};

/// The program while it waits for a password on its standard input. It is killed when this is dropped.
struct Waiting {
    child: Child,
    /// Dropping this ends the standard input of the program.
    _input: mpsc::Sender<()>,
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Waiting {
    fn start(arguments: &[&str], variables: &[(&str, &str)]) -> Waiting {
        let mut command = Command::new(env!("CARGO_BIN_EXE_cifs-fuse"));
        command.args(arguments).args(["--password-fd", "0"]).env_clear().envs(variables.iter().copied());
        let (input, ended) = mpsc::channel::<()>();
        let child = apart(move || {
            let mut child = spawn(command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()))?;
            let pipe = child.stdin.take();
            thread::spawn(move || {
                let _ = ended.recv();
                drop(pipe);
            });
            Ok::<_, io::Error>(child)
        });
        Waiting { child: child.unwrap(), _input: input }
    }

    /// The content of `/proc/PID/name` as soon as it contains `marker` and no longer contains `secret`.
    fn shows_without(&mut self, name: &str, marker: &str, secret: &str) -> String {
        let path = format!("/proc/{}/{name}", self.child.id());
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            let shown = String::from_utf8_lossy(&fs::read(&path).unwrap()).replace('\0', " ");
            assert_eq!(self.child.try_wait().unwrap(), None, "the program must still wait for its standard input");
            if shown.contains(marker) && !shown.contains(secret) {
                return shown;
            }
            assert!(Instant::now() < deadline, "/proc/PID/{name} still shows the password");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

#[test]
fn the_command_line_in_proc_does_not_show_a_password() {
    let url = "cifs://ann:hunter2@127.0.0.1:1/m?auth-username=ann&auth-password=hunter2&transport=directtcp";
    let arguments = [url, "/nowhere", "-o", "ro,password=\"hunter2,hunter2\",uid=5"];
    let shown = Waiting::start(&arguments, &[]).shows_without("cmdline", "127.0.0.1", "hunter2");
    let covered = "cifs://ann:*******@127.0.0.1:1/m?auth-username=ann&auth-password=*******&transport=directtcp \
                   /nowhere -o ro,password=*****************,uid=5 --password-fd 0";
    assert!(shown.trim_end().ends_with(covered), "{shown}");
}

#[test]
fn the_environment_in_proc_does_not_show_a_password() {
    let variables = [("AUTH_USERNAME", "somebody"), ("AUTH_PASSWORD", "hunter2")];
    let shown = Waiting::start(&["cifs://127.0.0.1:1/m", "/nowhere"], &variables).shows_without(
        "environ",
        "AUTH_USERNAME=somebody",
        "hunter2",
    );
    assert!(shown.contains("AUTH_PASSWORD=*******"), "{shown}");
}
