//! The unit files, verified with systemd's own programs.

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
/// The service that an ordinary user's manager starts.
const USER_UNIT: &str = "user/cifs-fuse@.service";
const GENERATOR: &str = "/usr/lib/systemd/system-generators/systemd-fstab-generator";

fn unit(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("systemd").join(name)
}

/// The pairs `key=value` of a unit file, without comments.
fn settings(text: &str) -> impl Iterator<Item = (&str, &str)> {
    text.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.split_once('='))
}

/// The unit files in a new folder, with the path of this build's program. `systemd-analyze verify` requires the
/// programs of a unit to exist. The path is a link without spaces, because the build folder may have spaces in its
/// path.
fn units_with_this_binary() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let program = linked_as("cifs-fuse");
    let program = program.to_str().unwrap();
    for name in ["cifs-fuse@.service", USER_UNIT, "mnt-nas.mount", "mnt-nas.automount"] {
        let text = fs::read_to_string(unit(name)).unwrap();
        let copy = folder.path().join(name);
        fs::create_dir_all(copy.parent().unwrap()).unwrap();
        fs::write(copy, text.replace("/usr/bin/cifs-fuse", program)).unwrap();
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
        // Messages about other units of the host are ignored.
        let ours: Vec<&str> =
            said.lines().filter(|line| line.contains("cifs-fuse") || line.contains("mnt-nas")).collect();
        assert!(verified.code == Some(0) && ours.is_empty(), "{names:?}: {said}");
    }
}

#[test]
fn systemd_finds_nothing_wrong_with_the_unit_of_a_user() {
    let units = units_with_this_binary();
    let mut verify = Command::new("systemd-analyze");
    verify.args(["--user", "verify", "--man=no", USER_UNIT]).env("XDG_RUNTIME_DIR", units.path());
    let verified = run(verify.current_dir(units.path()), LIMIT);
    assert!(verified.code == Some(0) && !verified.stderr.contains("cifs-fuse"), "{verified}");
}

/// fusermount3 has the set-user-id bit, which these settings switch off for the processes of a service (systemd.exec(5):
/// each implies NoNewPrivileges=yes for a service of a user's manager).
#[test]
fn the_unit_of_a_user_lets_fusermount3_mount() {
    let text = fs::read_to_string(unit(USER_UNIT)).unwrap();
    let keys: Vec<&str> = settings(&text).map(|(key, _)| key).collect();
    assert!(keys.contains(&"ExecStart"), "the unit was not read: {keys:?}");
    for key in keys {
        let implies = ["NoNewPrivileges", "SystemCall", "Restrict", "Private", "Protect", "Lock", "Memory", "Device"];
        assert!(!implies.iter().any(|prefix| key.starts_with(prefix)), "{key}=");
    }
}

#[test]
fn systemd_finds_a_mistake_in_a_unit() {
    let units = units_with_this_binary();
    let service = units.path().join("cifs-fuse@.service");
    let text = fs::read_to_string(&service).unwrap();
    fs::write(&service, text.replace("Type=notify", "Type=notfy")).unwrap();
    let verified = run(Command::new("systemd-analyze").args(["verify", "--man=no"]).arg(&service), LIMIT);
    assert!(verified.stderr.contains("cifs-fuse@.service"), "{verified}");
}

/// Each of these settings gives a service a mount namespace of its own (systemd.exec(5)), so no other process would see
/// the mount.
#[test]
fn no_setting_of_the_service_hides_its_mount() {
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
fn the_mount_unit_has_the_type_of_a_network_file_system() {
    let text = fs::read_to_string(unit("mnt-nas.mount")).unwrap();
    assert!(settings(&text).any(|setting| setting == ("Type", "fuse.cifs")));
}

/// The fstab line from the documentation, converted by systemd's own generator.
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

/// A server locks an account after repeated wrong passwords, so a refused login is not tried again. A server that is
/// away may come back, so the service starts again.
#[test]
fn the_service_restarts_for_an_absent_server_but_not_after_a_refused_login() {
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
    assert!(never.contains(&1), "wrong usage must not cause a restart: {never:?}");
}

/// Runs ExecStopPost of the service, as systemd does after the process has ended with this result.
fn exec_stop_post(mountpoint: &Path, url: &str, result: &str) {
    let line = service("ExecStopPost").pop().unwrap();
    let script = line.strip_prefix("-/bin/sh -c '").and_then(|rest| rest.strip_suffix('\'')).unwrap();
    let script = script.replace("$$", "$").replace("/usr/bin/cifs-fuse", env!("CARGO_BIN_EXE_cifs-fuse"));
    let mut command = Command::new("/bin/sh");
    command.args(["-c", &script]).env("MOUNTPOINT", mountpoint).env("URL", url).env("SERVICE_RESULT", result);
    run(&mut command, LIMIT).success();
}

/// systemd kills all processes of a service, including the guardian.
#[test]
fn no_mount_is_left_when_all_processes_of_the_service_are_killed() {
    let scene = Scene::with(Kind::Smbd, Request::foreground);
    exec_stop_post(scene.mount.path(), &scene.url(), "signal");
    fs::write(scene.here("file"), "a mount that answers is left alone").unwrap();
    let guardian = guardian_of(scene.mount.process()).unwrap();
    kill_process(Pid::from_raw(guardian).unwrap(), Signal::KILL).unwrap();
    scene.mount.signal(Signal::KILL);
    assert!(wait_until(LIMIT, || !is_running(guardian) && !is_running(scene.mount.process())));
    assert!(mountinfo::at(scene.mount.path()).is_some(), "the dead mount must still be there");
    exec_stop_post(scene.mount.path(), &scene.url(), "exit-code");
    assert!(mountinfo::at(scene.mount.path()).is_some(), "no cleanup is due after a process that ended by itself");
    exec_stop_post(scene.mount.path(), &scene.url(), "signal");
    assert!(mountinfo::at(scene.mount.path()).is_none());
}
