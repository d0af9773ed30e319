//! The unit files, as systemd itself reads them.

use crate::support::command::run;
use crate::support::mount::{Request, linked_as};
use crate::support::processes::{guardian_of, is_running};
use crate::support::scene::Scene;
use crate::support::scratch::free_port;
use crate::support::server::{Kind, Server, url};
use crate::support::{mountinfo, wait_until};
use rustix::process::{Pid, Signal, kill_process};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use tempfile::TempDir;

const LIMIT: Duration = Duration::from_secs(60);
const GENERATOR: &str = "/usr/lib/systemd/system-generators/systemd-fstab-generator";

fn unit(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("systemd").join(name)
}

/// The value of every `key=` in a unit file; comments do not count.
fn settings(text: &str) -> impl Iterator<Item = (&str, &str)> {
    text.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.split_once('='))
}

/// `systemd-analyze verify` wants the programs of a unit to exist, so here the service starts this
/// build's, by a path without spaces, which the folder of the build may have.
fn units_with_this_binary() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let program = linked_as("cifs-fuse");
    let program = program.to_str().unwrap();
    for name in ["cifs-fuse@.service", "mnt-nas.mount", "mnt-nas.automount"] {
        let text = fs::read_to_string(unit(name)).unwrap();
        fs::write(folder.path().join(name), text.replace("/usr/bin/cifs-fuse", program)).unwrap();
    }
    folder
}

#[test]
fn systemd_finds_nothing_wrong_with_the_units() {
    let units = units_with_this_binary();
    for names in [&["cifs-fuse@.service"][..], &["mnt-nas.mount", "mnt-nas.automount"]] {
        let mut verify = Command::new("systemd-analyze");
        let verified = run(verify.args(["verify", "--man=no"]).args(names).current_dir(units.path()), LIMIT);
        let said = &verified.stderr;
        // What it says about other units of the machine is not ours to answer for.
        let ours: Vec<&str> =
            said.lines().filter(|line| line.contains("cifs-fuse") || line.contains("mnt-nas")).collect();
        assert!(verified.code == Some(0) && ours.is_empty(), "{names:?}: {said}");
    }
}

#[test]
fn systemd_would_find_what_is_wrong() {
    let units = units_with_this_binary();
    let service = units.path().join("cifs-fuse@.service");
    let text = fs::read_to_string(&service).unwrap();
    fs::write(&service, text.replace("Type=notify", "Type=notfy")).unwrap();
    let verified = run(Command::new("systemd-analyze").args(["verify", "--man=no"]).arg(&service), LIMIT);
    assert!(verified.stderr.contains("cifs-fuse@.service"), "{verified}");
}

/// Each of these gives a service a mount namespace of its own (systemd.exec(5)): it would mount
/// where nobody else sees it.
#[test]
fn nothing_hides_the_mount_of_the_service() {
    const HIDING: [&str; 32] = [
        "BindPaths",
        "BindReadOnlyPaths",
        "DynamicUser",
        "ExecPaths",
        "ExtensionDirectories",
        "ExtensionImages",
        "InaccessiblePaths",
        "LogNamespace",
        "MountAPIVFS",
        "MountFlags",
        "MountImages",
        "NoExecPaths",
        "PrivateBPF",
        "PrivateDevices",
        "PrivateIPC",
        "PrivateMounts",
        "PrivatePIDs",
        "PrivateTmp",
        "PrivateUsers",
        "ProcSubset",
        "ProtectControlGroups",
        "ProtectHome",
        "ProtectKernelLogs",
        "ProtectKernelModules",
        "ProtectKernelTunables",
        "ProtectProc",
        "ProtectSystem",
        "ReadOnlyPaths",
        "ReadWritePaths",
        "RootDirectory",
        "RootImage",
        "TemporaryFileSystem",
    ];
    let text = fs::read_to_string(unit("cifs-fuse@.service")).unwrap();
    let keys: Vec<&str> = settings(&text).map(|(key, _)| key).collect();
    assert!(keys.contains(&"ExecStart"), "the unit was not read: {keys:?}");
    for key in keys {
        assert!(!HIDING.contains(&key), "{key}= hides the mount");
    }
}

#[test]
fn units_mount_with_the_type_that_systemd_takes_for_a_network_file_system() {
    let text = fs::read_to_string(unit("mnt-nas.mount")).unwrap();
    assert!(settings(&text).any(|setting| setting == ("Type", "fuse.cifs")));
}

/// An fstab line as the documentation gives it, in the hands of systemd's own generator.
#[test]
fn an_fstab_line_becomes_a_network_mount_whose_url_survives() {
    let folder = tempfile::tempdir().unwrap();
    let fstab = folder.path().join("fstab");
    fs::write(&fstab, "cifs://nas/media/My%20films /mnt/my\\040nas fuse.cifs nofail,x-systemd.mount-timeout=30s 0 0\n")
        .unwrap();
    run(Command::new(GENERATOR).args([folder.path(); 3]).env("SYSTEMD_FSTAB", &fstab), LIMIT).success();
    let mount = fs::read_to_string(folder.path().join("mnt-my\\x20nas.mount")).unwrap();
    let has = |key, value| settings(&mount).any(|setting| setting == (key, value));
    assert!(has("What", "cifs://nas/media/My%%20films") && has("Where", "/mnt/my nas"), "{mount}");
    assert!(folder.path().join("remote-fs.target.wants").join("mnt-my\\x20nas.mount").is_symlink());
}

/// The values of all lines `key=` of the service.
fn service(key: &str) -> Vec<String> {
    let text = fs::read_to_string(unit("cifs-fuse@.service")).unwrap();
    settings(&text).filter(|(found, _)| *found == key).map(|(_, value)| value.to_owned()).collect()
}

/// A server locks an account that is tried with a wrong password again and again. One that is away comes back.
#[test]
fn the_service_gives_up_after_a_refused_sign_in_and_waits_for_a_server() {
    assert_eq!(service("Restart"), ["on-failure"]);
    let never: Vec<i32> = service("RestartPreventExitStatus")
        .iter()
        .flat_map(|codes| codes.split_whitespace())
        .map(|code| code.parse().unwrap())
        .collect();
    let server = Server::shared(Kind::Smbd);
    let refused = Request::new(server.url("")).env("AUTH_PASSWORD", "wrong").foreground().fails(33);
    let away = Request::new(url("127.0.0.1", free_port(), "")).foreground().fails(32);
    assert!(refused.code.is_some_and(|code| never.contains(&code)), "{refused}");
    assert!(away.code.is_some_and(|code| !never.contains(&code)), "{away}");
    assert!(never.contains(&1), "wrong usage is not tried again: {never:?}");
}

/// What systemd runs when the process has ended with this result.
fn exec_stop_post(mountpoint: &Path, url: &str, result: &str) {
    let line = service("ExecStopPost").pop().unwrap();
    let script = line.strip_prefix("-/bin/sh -c '").and_then(|rest| rest.strip_suffix('\'')).unwrap();
    let script = script.replace("$$", "$").replace("/usr/bin/cifs-fuse", env!("CARGO_BIN_EXE_cifs-fuse"));
    let mut command = Command::new("/bin/sh");
    command.args(["-c", &script]).env("MOUNTPOINT", mountpoint).env("URL", url).env("SERVICE_RESULT", result);
    run(&mut command, LIMIT).success();
}

/// systemd kills all processes of a service, the guardian among them.
#[test]
fn the_service_leaves_nothing_when_all_its_processes_are_killed() {
    let scene = Scene::with(Kind::Smbd, Request::foreground);
    exec_stop_post(scene.mount.path(), &scene.url(), "signal");
    fs::write(scene.here("file"), "a mount that answers is left alone").unwrap();
    let guardian = guardian_of(scene.mount.process()).unwrap();
    kill_process(Pid::from_raw(guardian).unwrap(), Signal::KILL).unwrap();
    scene.mount.signal(Signal::KILL);
    assert!(wait_until(LIMIT, || !is_running(guardian) && !is_running(scene.mount.process())));
    assert!(mountinfo::at(scene.mount.path()).is_some(), "nothing is left to do");
    exec_stop_post(scene.mount.path(), &scene.url(), "exit-code");
    assert!(mountinfo::at(scene.mount.path()).is_some(), "a process that ended by itself has unmounted its own");
    exec_stop_post(scene.mount.path(), &scene.url(), "signal");
    assert!(mountinfo::at(scene.mount.path()).is_none());
}
