//! A Samba newer than the machine's own, with directory leases: a Debian in a folder, which `tests/new-samba` makes
//! once and keeps below Cargo's target folder. Its programs run with that folder as their root, in a mount namespace
//! that ends with them; processes and network are the machine's own.
//!
//! The tests of it run only if `CIFS_FUSE_TEST_NEW_SAMBA` is set: to `1`, or to a folder that already holds such a
//! Debian.

use super::command::run;
use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

const VARIABLE: &str = "CIFS_FUSE_TEST_NEW_SAMBA";
/// A download of 150 packages, and their installation.
const MAKING: Duration = Duration::from_secs(900);

/// Where the home of a server is, seen from inside.
pub(super) const HOME: &str = "/mnt";

/// Enters the root in a new mount namespace, which keeps no mount of the old one: a copy of a FUSE mount would keep
/// that alive. Arguments: the root, the home, the command.
const ENTER: &str = r#"
set -e
export PATH=/usr/sbin:/usr/bin:/sbin:/bin
root=$1 home=$2
shift 2
mount --bind "$root" "$root"
mount --bind "$home" "$root/mnt"
mount -t proc proc "$root/proc" 2>/dev/null || mount --rbind /proc "$root/proc"
mount --rbind /dev "$root/dev"
cd "$root"
pivot_root . srv
umount -l /srv
exec "$@"
"#;

/// The folder with the newer Samba; `None`, after one line that says why, where there is none.
pub(super) fn root() -> Option<&'static Path> {
    static ROOT: OnceLock<Option<PathBuf>> = OnceLock::new();
    let found = ROOT.get_or_init(|| found().map_err(|why| eprintln!("tests of a newer Samba are skipped: {why}")).ok());
    found.as_deref()
}

/// Whether tests can have it.
pub(crate) fn is_there() -> bool {
    root().is_some()
}

fn found() -> Result<PathBuf, String> {
    let wanted = env::var(VARIABLE).map_err(|_| format!("{VARIABLE} is not set"))?;
    if !rustix::process::geteuid().is_root() {
        return Err("they need root".to_owned());
    }
    let folder = match wanted.as_str() {
        "1" => Path::new(env!("CARGO_TARGET_TMPDIR")).join("new-samba"),
        folder => PathBuf::from(folder),
    };
    if !folder.exists() {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/new-samba");
        let made = run(Command::new(script).arg(&folder), MAKING);
        if made.code != Some(0) {
            return Err(made.text().lines().last().unwrap_or("it cannot be made").to_owned());
        }
    }
    Ok(folder)
}

/// A command that runs `program` in the root, with the home of a server as [`HOME`]. The program becomes the process
/// that is started, so that waiting for it and killing its group work as usual.
pub(super) fn command(root: &Path, home: &Path, program: &str) -> Command {
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation", "private", "sh", "-c", ENTER, "sh"]);
    command.arg(root).arg(home).arg(program);
    command
}

/// Makes a test of every function named, on the machine's Samba and on the newer one: `both_sambas!(a, b)` makes
/// `on_smbd::a`, `on_new_smbd::a`, and so on. Each function gets the `Kind`.
macro_rules! both_sambas {
    ($($name:ident),+ $(,)?) => {
        mod on_smbd {
            $(#[test] fn $name() { super::$name($crate::support::server::Kind::Smbd); })+
        }
        mod on_new_smbd {
            $(
                #[test]
                fn $name() {
                    if $crate::support::new_samba::is_there() {
                        super::$name($crate::support::server::Kind::NewSmbd);
                    }
                }
            )+
        }
    };
}
pub(crate) use both_sambas;
