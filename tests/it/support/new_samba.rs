//! A Samba that is newer than the installed one and grants directory leases. It is in a Debian root folder, which
//! `tests/new-samba` makes once and keeps below Cargo's target folder. Its programs run with that folder as their root,
//! in a mount namespace that ends with them; processes and network are those of the host.
//!
//! Its tests run only if `CIFS_FUSE_TEST_NEW_SAMBA` is set: to `1`, or to the path of another folder for that root,
//! which is made if it does not exist.

use super::command::run;
use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

const VARIABLE: &str = "CIFS_FUSE_TEST_NEW_SAMBA";
/// How long making the root may take: downloading and installing 150 packages.
const MAKING: Duration = Duration::from_secs(900);

/// The path of a server's home folder inside the root.
pub(super) const HOME: &str = "/mnt";

/// Shell script that enters the root in a new mount namespace. It keeps no mount of the old namespace: a copy of a FUSE
/// mount would keep that mount alive. Arguments: the root, the home, the command.
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

/// The root folder with the newer Samba. `None` if there is none; the reason is printed once.
pub(super) fn root() -> Option<&'static Path> {
    static ROOT: OnceLock<Option<PathBuf>> = OnceLock::new();
    let found =
        ROOT.get_or_init(|| found().map_err(|why| eprintln!("the tests with a newer Samba are skipped: {why}")).ok());
    found.as_deref()
}

/// Whether the newer Samba is available.
pub(crate) fn is_there() -> bool {
    root().is_some()
}

fn found() -> Result<PathBuf, String> {
    let wanted = env::var(VARIABLE).map_err(|_| format!("{VARIABLE} is not set"))?;
    if !rustix::process::geteuid().is_root() {
        return Err("root is needed".to_owned());
    }
    let folder = match wanted.as_str() {
        "1" => Path::new(env!("CARGO_TARGET_TMPDIR")).join("new-samba"),
        folder => PathBuf::from(folder),
    };
    if !folder.exists() {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/new-samba");
        let made = run(Command::new(script).arg(&folder), MAKING);
        if made.code != Some(0) {
            return Err(made.text().lines().last().unwrap_or("tests/new-samba failed without a message").to_owned());
        }
    }
    Ok(folder)
}

/// A command that runs `program` in the root, with the home of a server at [`HOME`]. `program` replaces the started
/// process, so waiting for it and killing its process group work as usual.
pub(super) fn command(root: &Path, home: &Path, program: &str) -> Command {
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation", "private", "sh", "-c", ENTER, "sh"]);
    command.arg(root).arg(home).arg(program);
    command
}

/// Makes a test of each named function, on the installed Samba and on the newer one: `both_sambas!(a, b)` makes
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
