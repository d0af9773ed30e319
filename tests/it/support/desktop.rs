//! A desktop session's keyring: a session bus and GNOME Keyring on it, with a home of their own.

use super::apart::spawn;
use super::command::run;
use super::mount::program;
use super::scratch;
use super::wait_until;
use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// Time limit for a start.
const LIMIT: Duration = Duration::from_secs(10);

/// The session. Its processes end when it is dropped.
pub(crate) struct Desktop {
    folder: PathBuf,
    bus: Child,
    keyring: Option<Child>,
}

impl Desktop {
    /// A session without a keyring.
    pub(crate) fn start() -> Desktop {
        let folder = scratch::folder("desktop");
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o700)).expect("a folder of this user");
        let socket = folder.join("bus");
        // Without the folders of services, the bus starts none by itself.
        let configuration = format!(
            r#"<busconfig><type>session</type><listen>unix:path={}</listen>
<policy context="default"><allow send_destination="*" eavesdrop="true"/><allow eavesdrop="true"/><allow own="*"/></policy>
</busconfig>"#,
            socket.display()
        );
        fs::write(folder.join("bus.conf"), configuration).expect("a writable folder");
        let mut command = Command::new("dbus-daemon");
        command.arg("--nofork").arg("--config-file").arg(folder.join("bus.conf"));
        let bus = spawn(quiet(&mut command)).expect("the package dbus-daemon");
        assert!(wait_until(LIMIT, || socket.exists()), "the session bus has not started");
        Desktop { folder, bus, keyring: None }
    }

    /// The variables of a program in this session.
    pub(crate) fn variables(&self) -> [(&'static str, String); 3] {
        let folder = self.folder.display().to_string();
        [
            ("DBUS_SESSION_BUS_ADDRESS", format!("unix:path={folder}/bus")),
            ("XDG_RUNTIME_DIR", folder.clone()),
            ("HOME", folder),
        ]
    }

    /// Starts the keyring, or starts it again: unlocked with its password, or else locked.
    pub(crate) fn keyring(&mut self, unlocked: bool) {
        end(self.keyring.take());
        let mut command = Command::new("gnome-keyring-daemon");
        command.args(["--foreground", "--components=secrets"]).envs(self.variables());
        if unlocked {
            command.arg("--unlock");
        }
        let mut child = spawn(quiet(&mut command).stdin(Stdio::piped())).expect("the package gnome-keyring");
        child
            .stdin
            .take()
            .expect("the pipe was requested")
            .write_all(b"of the keyring")
            .expect("it reads its password");
        self.keyring = Some(child);
        let has_started = || {
            // It answers that it has nothing.
            let mut command = program(["keyring", "find", "no server"]);
            run(command.envs(self.variables()), LIMIT).code == Some(3)
        };
        assert!(wait_until(LIMIT, has_started), "the keyring has not started");
    }
}

impl Drop for Desktop {
    fn drop(&mut self) {
        end(self.keyring.take());
        let _ = self.bus.kill();
        let _ = self.bus.wait();
    }
}

fn quiet(command: &mut Command) -> &mut Command {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null())
}

fn end(child: Option<Child>) {
    if let Some(mut child) = child {
        let _ = child.kill();
        let _ = child.wait();
    }
}
