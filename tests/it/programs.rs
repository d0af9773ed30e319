//! Real programs that work in a mount, as root and as an ordinary user.
//!
//! What each of them does is a script in `tests/programs`, which `tests/long` runs with more data. After the unmount the
//! script compares the files on the server's disk with what they must be.

use crate::support::command::run;
use crate::support::scene::Scene;
use crate::support::scratch;
use crate::support::server::Kind;
use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

/// The ordinary user: the account `nobody` on Debian.
const OTHER_UID: u32 = 65534;
/// How long one program may work. The scripts take 20 s at most on an idle machine.
const WORK: Duration = Duration::from_secs(150);
/// When the watchdog ends the mount: earlier than the script is given up, which could not be killed while it waits for the
/// mount.
const MOUNTED: Duration = Duration::from_secs(140);

#[test]
fn npm_installs_packages_with_links_to_their_programs() {
    works("npm");
}

#[test]
fn a_python_environment_has_its_links_and_pip_installs_a_wheel() {
    works("venv");
}

#[test]
fn git_clones_commits_collects_garbage_and_makes_a_worktree() {
    works("git");
}

#[test]
fn make_builds_what_has_changed_and_installs_with_links() {
    works("make");
}

#[test]
fn tar_unpacks_and_packs_links_times_and_attributes() {
    works("tar");
}

#[test]
fn rsync_has_nothing_to_do_the_second_time() {
    works("rsync");
}

#[test]
fn vim_saves_keeps_links_and_recovers() {
    works("vim");
}

/// Runs a script as root and as an ordinary user, each on a mount of their own.
#[track_caller]
fn works(program: &str) {
    for user in [None, Some(OTHER_UID)] {
        let scene = Scene::with(Kind::Smbd, |request| {
            let request = request.for_at_most(MOUNTED);
            if let Some(id) = user { request.by_user(id) } else { request }
        });
        let local = scratch::folder(program);
        if let Some(id) = user {
            chown(&local, Some(id), Some(id)).expect("root may change owners");
        }
        let mut work = script(program, "work", scene.mount.path(), &local);
        if let Some(id) = user {
            work.uid(id).gid(id);
        }
        run(&mut work, WORK).success();
        let Scene { mount, folder, server } = scene;
        mount.unmount();
        run(&mut script(program, "check", &folder, &local), WORK).success();
        drop(server);
        fs::remove_dir_all(local).expect("our own folder");
    }
}

fn script(program: &str, step: &str, folder: &Path, local: &Path) -> Command {
    let mut command = Command::new(scripts().join(program).with_extension("sh"));
    command.arg(step).arg(folder).arg(local);
    command
}

/// A copy of the scripts that every user may run: the checkout may be in a folder that only root may enter.
fn scripts() -> &'static Path {
    static COPY: OnceLock<PathBuf> = OnceLock::new();
    COPY.get_or_init(|| {
        let copy = scratch::folder("programs");
        for script in fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/programs")).expect("a folder") {
            let script = script.expect("an entry").path();
            let to = copy.join(script.file_name().expect("a name"));
            fs::copy(&script, &to).expect("a writable folder");
            fs::set_permissions(&to, fs::Permissions::from_mode(0o755)).expect("the permissions of our own file");
        }
        copy
    })
}
