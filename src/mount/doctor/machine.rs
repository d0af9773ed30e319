//! This machine and this program, for a report.

use super::Facts;
use super::facts::of_options;
use crate::config::MountSpec;
use crate::mount::deadline::within;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// How long `fusermount3` may take to print its version.
const VERSION_LIMIT: Duration = Duration::from_secs(2);
/// The longest version that is shown, in characters.
const LONGEST_VERSION: usize = 200;

/// The version of the program, the system, FUSE, and the options in effect. The password is not among them.
pub fn machine(spec: &MountSpec) -> Facts {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let device = Path::new("/dev/fuse");
    let mut facts = vec![
        ("program", format!("cifs-fuse {}", env!("CARGO_PKG_VERSION"))),
        ("seconds since 1970", now.to_string()),
        ("kernel", kernel()),
        ("fuse device", if device.exists() { "/dev/fuse" } else { "there is no /dev/fuse" }.to_owned()),
        ("fusermount3", fusermount_version()),
        ("url", spec.url.to_string()),
    ];
    facts.extend(of_options(&spec.options));
    facts
}

/// What `fusermount3 -V` prints, or why it prints nothing.
fn fusermount_version() -> String {
    let program = std::env::var_os("FUSERMOUNT_PATH").unwrap_or_else(|| "fusermount3".into());
    let run = move || Command::new(program).arg("-V").stdin(Stdio::null()).output();
    match within(VERSION_LIMIT, run) {
        Ok(Ok(output)) => String::from_utf8_lossy(&output.stdout).trim().chars().take(LONGEST_VERSION).collect(),
        Ok(Err(error)) => error.to_string(),
        Err(_) => "it does not answer".to_owned(),
    }
}

/// The name, release and machine of the kernel, as `uname -srm` shows them.
fn kernel() -> String {
    match nix::sys::utsname::uname() {
        Ok(name) => [name.sysname(), name.release(), name.machine()].map(|part| part.to_string_lossy()).join(" "),
        Err(error) => error.to_string(),
    }
}
