//! Every way to end a mount: afterwards the data is on the server, the mount is gone, and the process has
//! ended.

use crate::support::command::run;
use crate::support::files::noise;
use crate::support::processes::is_running;
use crate::support::scene::Scene;
use crate::support::server::{Kind, both_servers};
use rustix::process::Signal;
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::time::Duration;

both_servers!(
    fusermount_ends_it,
    umount_ends_it,
    sigterm_ends_it,
    sigint_ends_it,
    sigint_and_sigterm_end_a_mount_in_the_foreground,
    fusermount_ends_a_mount_in_the_foreground,
    a_signal_ends_the_mount_though_a_file_is_open,
    unmounting_a_mount_in_use_fails_with_busy,
    a_lazy_unmount_ends_when_the_last_file_is_closed,
    a_mountpoint_can_be_used_again_after_an_unmount,
);

const LIMIT: Duration = Duration::from_secs(20);

fn fill(scene: &Scene) -> Vec<u8> {
    let data = noise(1, 3_000_001);
    fs::write(scene.here("file"), &data).unwrap();
    data
}

fn ends(kind: Kind, how: impl FnOnce(&Scene)) {
    let mut scene = Scene::on(kind);
    let data = fill(&scene);
    how(&scene);
    scene.mount.is_gone();
    assert!(fs::read(scene.there("file")).unwrap() == data);
    assert!(fs::read_dir(scene.mount.path()).unwrap().next().is_none(), "the mountpoint must be empty and usable");
}

fn fusermount_ends_it(kind: Kind) {
    ends(kind, |scene| scene.mount.unmount_by(&["fusermount3", "-u"]));
}

fn umount_ends_it(kind: Kind) {
    ends(kind, |scene| scene.mount.unmount_by(&["umount"]));
}

fn sigterm_ends_it(kind: Kind) {
    ends(kind, |scene| scene.mount.signal(Signal::TERM));
}

fn sigint_ends_it(kind: Kind) {
    ends(kind, |scene| scene.mount.signal(Signal::INT));
}

fn sigint_and_sigterm_end_a_mount_in_the_foreground(kind: Kind) {
    for signal in [Signal::INT, Signal::TERM] {
        let mut scene = Scene::with(kind, |request| request.foreground());
        let data = fill(&scene);
        scene.mount.signal(signal);
        assert_eq!(scene.mount.is_gone(), Some(0));
        assert!(fs::read(scene.there("file")).unwrap() == data);
    }
}

fn fusermount_ends_a_mount_in_the_foreground(kind: Kind) {
    let mut scene = Scene::with(kind, |request| request.foreground());
    let data = fill(&scene);
    scene.mount.unmount_by(&["fusermount3", "-u"]);
    assert_eq!(scene.mount.is_gone(), Some(0));
    assert!(fs::read(scene.there("file")).unwrap() == data);
}

/// Data that a program wrote before the signal is on the server afterwards.
fn a_signal_ends_the_mount_though_a_file_is_open(kind: Kind) {
    let mut scene = Scene::on(kind);
    let mut file = File::create(scene.here("file")).unwrap();
    file.write_all(b"written before").unwrap();
    scene.mount.signal(Signal::TERM);
    scene.mount.is_gone();
    assert_eq!(fs::read(scene.there("file")).unwrap(), b"written before");
    assert!(file.write_all(b"written after").is_err());
}

fn unmounting_a_mount_in_use_fails_with_busy(kind: Kind) {
    let scene = Scene::on(kind);
    let mut file = File::create(scene.here("file")).unwrap();
    let refused = run(Command::new("fusermount3").arg("-u").arg(scene.mount.path()), LIMIT);
    assert_ne!(refused.code, Some(0));
    refused.says("busy");
    file.write_all(b"still works").unwrap();
    drop(file);
    assert_eq!(fs::read(scene.here("file")).unwrap(), b"still works");
    scene.mount.unmount();
}

fn a_lazy_unmount_ends_when_the_last_file_is_closed(kind: Kind) {
    let mut scene = Scene::on(kind);
    let mut file = File::create(scene.here("file")).unwrap();
    run(Command::new("umount").arg("-l").arg(scene.mount.path()), LIMIT).success();
    file.write_all(b"goes on").unwrap();
    file.sync_all().unwrap();
    assert!(is_running(scene.mount.process()));
    drop(file);
    scene.mount.is_gone();
    assert_eq!(fs::read(scene.there("file")).unwrap(), b"goes on");
}

fn a_mountpoint_can_be_used_again_after_an_unmount(kind: Kind) {
    let scene = Scene::on(kind);
    let mountpoint = crate::support::scratch::folder("mnt");
    for round in 0..5 {
        let mount = crate::support::mount::Request::new(scene.url()).at(&mountpoint).mount();
        fs::write(mount.join("round"), round.to_string()).unwrap();
        assert_eq!(fs::read_to_string(scene.here("round")).unwrap(), round.to_string());
        mount.unmount();
        fs::create_dir_all(&mountpoint).unwrap();
    }
}

/// An ordinary unmount leaves no error in the log.
#[test]
fn an_ordinary_unmount_logs_no_error() {
    for how in
        [&["fusermount3", "-u"][..], &["fusermount3", "-uz"], &["umount"], &["umount", "-l"], &["SIGTERM"], &["SIGINT"]]
    {
        for user in [None, Some(65534)] {
            if user.is_some() && how[0] == "umount" {
                continue;
            }
            let mut scene = Scene::with(Kind::Smbd, |request| match user {
                Some(id) => request.foreground().by_user(id),
                None => request.foreground().arg("--allow-other"),
            });
            let script =
                format!("cd / && echo x > {0}/a && cp /bin/ls {0}/b && cat {0}/a", scene.mount.path().display());
            as_user(user, &script);
            match how[0] {
                "SIGTERM" => scene.mount.signal(Signal::TERM),
                "SIGINT" => scene.mount.signal(Signal::INT),
                _ => scene.mount.unmount_by(how),
            }
            assert_eq!(scene.mount.is_gone(), Some(0));
            let log = scene.mount.messages();
            assert!(!log.contains("ERROR"), "{how:?} by {user:?}: {log}");
        }
    }
}

fn as_user(user: Option<u32>, script: &str) {
    let mut command = Command::new("sh");
    command.args(["-c", script]);
    if let Some(id) = user {
        command.uid(id).gid(id);
    }
    run(&mut command, LIMIT).success();
}
