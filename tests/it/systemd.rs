//! The unit files, as systemd itself reads them.

use crate::support::command::run;
use crate::support::mount::linked_as;
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
