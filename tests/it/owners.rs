//! Owners and modes that programs set: what they see then, what other mounts see, and what the server keeps.

use crate::support::command::{Run, run};
use crate::support::frames::command;
use crate::support::line::Line;
use crate::support::mount::{Mount, Request};
use crate::support::scene::{Scene, url_of};
use crate::support::scratch;
use crate::support::server::{Kind, Server, Settings, both_servers};
use crate::support::wait_until;
use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

both_servers!(
    copies_by_root_keep_their_owners_and_modes,
    a_second_rsync_finds_no_difference,
    a_new_file_has_the_mode_that_its_program_asks_for,
    a_directory_with_the_set_group_id_bit_hands_its_group_down,
    git_works_as_root_and_as_an_ordinary_user,
    what_was_set_follows_a_rename_and_not_another_file,
    another_mount_shows_only_what_the_server_keeps,
    ignored_and_denied_changes_leave_everything_as_it_is,
);

/// A user id other than root's: that of the account `nobody` on Debian.
const OTHER: u32 = 65534;
const LIMIT: Duration = Duration::from_secs(60);

/// Runs a script in a shell. It must succeed and say nothing on standard error.
#[track_caller]
fn quietly(script: &str) -> Run {
    let outcome = run(Command::new("sh").args(["-ec", script]), LIMIT).success();
    assert!(outcome.stderr.is_empty(), "{outcome}");
    outcome
}

fn as_user(id: u32, script: &str) -> Run {
    let mut command = Command::new("sh");
    run(command.args(["-ec", script]).env("HOME", "/").uid(id).gid(id), LIMIT)
}

/// Owner, group and mode.
fn owner(path: impl AsRef<Path>) -> (u32, u32, u32) {
    let metadata = fs::symlink_metadata(path).unwrap();
    (metadata.uid(), metadata.gid(), metadata.mode() & 0o7777)
}

fn mode(path: impl AsRef<Path>) -> u32 {
    owner(path).2
}

fn set_mode(path: impl AsRef<Path>, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

/// A local folder with files and folders of several owners and modes.
fn tree() -> PathBuf {
    let tree = scratch::folder("owners");
    fs::create_dir(tree.join("sub")).unwrap();
    for (name, mode) in [("plain", 0o640), ("program", 0o755), ("protected", 0o444), ("sub/secret", 0o600)] {
        fs::write(tree.join(name), name).unwrap();
        set_mode(tree.join(name), mode);
    }
    set_mode(tree.join("sub"), 0o2750);
    for (name, uid, gid) in [("plain", 1234, 4321), ("program", 1234, 0), ("sub", 0, 77), ("sub/secret", OTHER, 77)] {
        // chown(2) clears the set-id bits of files only.
        chown(tree.join(name), Some(uid), Some(gid)).unwrap();
    }
    tree
}

#[track_caller]
fn is_like(tree: &Path, copy: &Path) {
    for name in ["plain", "program", "protected", "sub", "sub/secret"] {
        let as_numbers = |(uid, gid, mode)| format!("{uid}:{gid} {mode:o}");
        assert_eq!(as_numbers(owner(copy.join(name))), as_numbers(owner(tree.join(name))), "{name}");
    }
    assert_eq!(fs::read(copy.join("sub/secret")).unwrap(), b"sub/secret");
}

fn copies_by_root_keep_their_owners_and_modes(kind: Kind) {
    let scene = Scene::on(kind);
    let (tree, there) = (tree(), scene.mount.path().display().to_string());
    let from = tree.display();
    quietly(&format!("tar cf {from}.tar -C {from} . && mkdir {there}/tar && tar xf {from}.tar -C {there}/tar"));
    is_like(&tree, &scene.here("tar"));
    quietly(&format!("cp -a {from} {there}/cp"));
    is_like(&tree, &scene.here("cp"));
    quietly(&format!("rsync -a {from}/ {there}/rsync"));
    is_like(&tree, &scene.here("rsync"));
    quietly(&format!("install -o 1234 -g 4321 -m 4711 {from}/plain {there}/installed"));
    assert_eq!(owner(scene.here("installed")), (1234, 4321, 0o4711));
    quietly(&format!("cp -a {from} {from}.moved && mv {from}.moved {there}/mv"));
    is_like(&tree, &scene.here("mv"));
    let _ = (fs::remove_file(format!("{from}.tar")), fs::remove_dir_all(&tree));
}

fn a_second_rsync_finds_no_difference(kind: Kind) {
    let scene = Scene::on(kind);
    let (tree, back) = (tree(), scratch::folder("back"));
    let copy = |from: &Path, to: &Path| quietly(&format!("rsync -ai {}/ {}", from.display(), to.display())).stdout;
    assert!(copy(&tree, &scene.here("copy")).contains("plain"));
    assert_eq!(copy(&tree, &scene.here("copy")), "");
    assert!(copy(&scene.here("copy"), &back).contains("plain"));
    is_like(&tree, &back);
    assert_eq!(copy(&scene.here("copy"), &back), "");
    let _ = (fs::remove_dir_all(&tree), fs::remove_dir_all(&back));
}

fn a_new_file_has_the_mode_that_its_program_asks_for(kind: Kind) {
    let scene = Scene::with(kind, |request| request.by_user(OTHER));
    let there = scene.mount.path().display();
    let made = as_user(
        OTHER,
        &format!(
            "cd {there}; umask 077; mkdir private; echo key > private/key; umask 022; mkdir open; : > open/file
            ssh-keygen -q -t ed25519 -N '' -f id; ssh-keygen -y -f id; stat -c '%u:%g %a %n' * */*"
        ),
    );
    let listed = made.success();
    for line in ["700 private", "600 private/key", "755 open", "644 open/file", "600 id", "644 id.pub"] {
        listed.says(&format!("{OTHER}:{OTHER} {line}\n"));
    }
}

fn a_directory_with_the_set_group_id_bit_hands_its_group_down(kind: Kind) {
    let scene = Scene::on(kind);
    fs::create_dir(scene.here("team")).unwrap();
    chown(scene.here("team"), None, Some(77)).unwrap();
    set_mode(scene.here("team"), 0o2775);
    fs::create_dir(scene.here("team/sub")).unwrap();
    fs::write(scene.here("team/sub/file"), "x").unwrap();
    let (_, group, mode) = owner(scene.here("team/sub"));
    assert_eq!((group, mode & 0o2000), (77, 0o2000));
    assert_eq!(owner(scene.here("team/sub/file")).1, 77);
}

fn git_works_as_root_and_as_an_ordinary_user(kind: Kind) {
    let script = |there: &Path| {
        let settings = "-c user.name=a -c user.email=a@b -c protocol.file.allow=always";
        format!(
            "cd {} && git init -q repo && cd repo && echo one > file && cp /bin/true program && git add . && \
             git {settings} commit -qm one && git {settings} clone -q . ../clone && cd ../clone && chmod +x file && \
             git {settings} commit -qam two && git status --porcelain && git ls-files -s",
            there.display()
        )
    };
    let check = |outcome: Run| {
        let outcome = outcome.success();
        assert!(outcome.stderr.is_empty(), "{outcome}");
        assert_eq!(outcome.stdout.matches("100755").count(), 2, "{outcome}");
        assert_eq!(outcome.stdout.lines().count(), 2, "git status has nothing to say: {outcome}");
    };
    let scene = Scene::on(kind);
    check(run(Command::new("sh").args(["-ec", &script(scene.mount.path())]).env("HOME", "/nonexistent"), LIMIT));
    let scene = Scene::with(kind, |request| request.by_user(OTHER));
    check(as_user(OTHER, &script(scene.mount.path())));
}

fn what_was_set_follows_a_rename_and_not_another_file(kind: Kind) {
    let scene = Scene::on(kind);
    fs::write(scene.here("one"), "1").unwrap();
    chown(scene.here("one"), Some(1234), Some(4321)).unwrap();
    set_mode(scene.here("one"), 0o4700);
    fs::rename(scene.here("one"), scene.here("two")).unwrap();
    assert_eq!(owner(scene.here("two")), (1234, 4321, 0o4700));
    fs::remove_file(scene.here("two")).unwrap();
    fs::write(scene.there("two"), "another").unwrap();
    let is_new = || fs::metadata(scene.here("two")).is_ok() && owner(scene.here("two")) == (0, 0, 0o755);
    assert!(wait_until(LIMIT, is_new));
}

fn another_mount_shows_only_what_the_server_keeps(kind: Kind) {
    let scene = Scene::on(kind);
    fs::write(scene.here("file"), "x").unwrap();
    chown(scene.here("file"), Some(1234), Some(4321)).unwrap();
    set_mode(scene.here("file"), 0o440);
    assert_eq!(owner(scene.here("file")), (1234, 4321, 0o440));
    let other = scene.second_mount();
    assert_eq!(owner(other.join("file")), (0, 0, 0o555), "the read-only attribute is the write bit");
    set_mode(other.join("file"), 0o640);
    assert!(wait_until(LIMIT, || mode(scene.here("file")) == 0o640), "a write bit that another client gives back");
}

fn ignored_and_denied_changes_leave_everything_as_it_is(kind: Kind) {
    let scene = Scene::with(kind, |request| request.args(["--chmod=ignore", "--chown=ignore"]));
    fs::write(scene.here("file"), "x").unwrap();
    quietly(&format!("chown 1234:4321 {0}; chmod 400 {0}", scene.here("file").display()));
    assert_eq!(owner(scene.here("file")), (0, 0, 0o755));

    let scene = Scene::with(kind, |request| request.args(["--chmod=deny", "--chown=deny"]));
    fs::write(scene.here("file"), "x").unwrap();
    for change in ["chown 1234", "chgrp 4321", "chmod 400"] {
        let refused =
            run(Command::new("sh").args(["-c", &format!("{change} {}", scene.here("file").display())]), LIMIT);
        refused.says("operation not permitted");
    }
    quietly(&format!("chown 0:0 {0}; chmod 755 {0}", scene.here("file").display()));
    assert_eq!(owner(scene.here("file")), (0, 0, 0o755));
}

#[test]
fn the_kernel_checks_the_shown_owner_and_mode() {
    let scene = Scene::with(Kind::Smbd, |request| request.arg("--allow-other"));
    let file = scene.here("file");
    fs::write(&file, "secret").unwrap();
    set_mode(&file, 0o600);
    let read = format!("cat {}", file.display());
    as_user(OTHER, &read).says("permission denied");
    chown(&file, Some(OTHER), None).unwrap();
    as_user(OTHER, &read).success().says("secret");
    as_user(OTHER, &format!("chmod 400 {0}; ! echo more >> {0}", file.display()));
    assert_eq!(fs::read(scene.there("file")).unwrap(), b"secret");
    as_user(OTHER, &format!("chown 0 {}", file.display())).says("operation not permitted");
    set_mode(&file, 0o4755);
    as_user(OTHER, &format!("test ! -u {0} || : >> {0}", file.display()));
}

#[test]
fn a_write_takes_the_set_user_id_bit_away() {
    let scene = Scene::with(Kind::Smbd, |request| request.arg("--allow-other"));
    let file = scene.here("file");
    fs::write(&file, "x").unwrap();
    chown(&file, Some(OTHER), None).unwrap();
    set_mode(&file, 0o4755);
    assert_eq!(mode(&file), 0o4755);
    as_user(OTHER, &format!("echo more >> {}", file.display())).success();
    assert_eq!(mode(&file), 0o755);
    set_mode(&file, 0o4755);
    chown(&file, Some(1234), None).unwrap();
    assert_eq!(mode(&file), 0o755, "so does chown(2)");
}

/// The kernel leaves it to the mount (FUSE_HANDLE_KILLPRIV_V2).
#[test]
fn set_id_bits_go_when_the_owner_changes_or_a_user_changes_the_data() {
    let scene = Scene::with(Kind::Smbd, |request| request.arg("--allow-other"));
    let file = scene.here("file");
    fs::write(&file, "some data").unwrap();
    for (change, before, after) in [
        (&[Some(OTHER), None], 0o4755, 0o755),
        (&[None, Some(OTHER)], 0o6755, 0o755),
        (&[None, Some(77)], 0o2745, 0o2745),
    ] {
        set_mode(&file, before);
        assert_eq!(mode(&file), before);
        chown(&file, change[0], change[1]).unwrap();
        assert_eq!(mode(&file), after, "{change:?}");
    }
    fs::write(scene.here("source"), "source").unwrap();
    let name = file.display();
    let source = scene.here("source").display().to_string();
    chown(&file, Some(0), Some(0)).unwrap();
    for change in [
        format!("echo more >> {name}"),
        format!("printf x 1<> {name}"),
        format!("truncate -s 3 {name}"),
        format!(": > {name}"),
        format!("dd status=none if={source} of={name} conv=notrunc oflag=direct"),
        format!("cp {source} {name}"),
    ] {
        set_mode(&file, 0o4777);
        quietly(&change);
        assert_eq!(mode(&file), 0o4777, "root: {change}");
        let outcome = as_user(OTHER, &change).success();
        assert!(outcome.stderr.is_empty(), "{outcome}");
        assert_eq!(mode(&file), 0o777, "{change}");
    }
}

#[test]
fn changes_that_the_server_does_not_keep_cost_no_frame() {
    let line = Line::to(Server::shared(Kind::Smbd), &[]);
    fs::write(line.there("file"), "x").unwrap();
    fs::create_dir(line.there("folder")).unwrap();
    quietly(&format!("ls -l {}", line.mount.path().display()));
    let before = line.proxy.frames() - line.proxy.watching_frames();
    for name in ["file", "folder"] {
        chown(line.here(name), Some(1234), Some(4321)).unwrap();
        set_mode(line.here(name), 0o2711);
        assert_eq!(owner(line.here(name)), (1234, 4321, 0o2711));
    }
    assert_eq!(line.proxy.frames() - line.proxy.watching_frames(), before);
}

/// An smbd that keeps whole access control lists.
fn with_lists() -> Arc<Server> {
    let server = Server::start(Kind::Smbd, Settings::default());
    server.smbd().configure("vfs objects = acl_xattr");
    server.smbd().configure("acl_xattr:security_acl_name = user.NTACL");
    Arc::new(server)
}

fn mount_of(server: &Server, folder: &Path) -> Mount {
    Request::new(url_of(server, folder)).args(["--owner=server", "--allow-other"]).mount()
}

/// Samba without further modules, and with lists.
fn both(check: impl Fn(Arc<Server>)) {
    check(Server::shared(Kind::Smbd));
    check(with_lists());
}

#[test]
fn owners_and_modes_kept_by_the_server_outlive_the_mount() {
    both(|server| {
        let folder = server.new_folder("kept");
        let (tree, mount) = (tree(), mount_of(&server, &folder));
        quietly(&format!("rsync -a {}/ {}", tree.display(), mount.join("copy").display()));
        is_like(&tree, &mount.join("copy"));
        mount.unmount();
        let mount = mount_of(&server, &folder);
        for name in ["plain", "program", "protected", "sub/secret"] {
            assert_eq!(owner(mount.join("copy").join(name)), owner(tree.join(name)), "{name}");
        }
        let (uid, gid, mode) = owner(mount.join("copy/sub"));
        assert_eq!((uid, gid, mode), (0, 77, 0o750), "Samba's lists have no set-group-id bit");
        mount.unmount();
        let _ = fs::remove_dir_all(&tree);
    });
}

#[test]
fn a_changed_mode_gives_others_no_more_than_it_shows() {
    both(|server| {
        let folder = server.new_folder("modes");
        fs::write(folder.join("file"), "x").unwrap();
        set_mode(folder.join("file"), 0o666);
        let mount = mount_of(&server, &folder);
        assert_eq!(mode(mount.join("file")), 0o666);
        for shown in [0o600, 0o640, 0o444, 0o000, 0o755] {
            set_mode(mount.join("file"), shown);
            assert_eq!(mode(mount.join("file")), shown);
            let there = mode(folder.join("file"));
            assert_eq!(there & 0o007, shown & 0o007, "{shown:o}: {there:o} for others on the server's disk");
            let list = run(Command::new("getfacl").args(["-cp"]).arg(folder.join("file")), LIMIT).success();
            assert_eq!(list.stdout.contains("group::rw"), shown & 0o020 != 0, "{shown:o}: {list}");
        }
        chown(mount.join("file"), Some(1234), Some(4321)).unwrap();
        let list = run(Command::new("getfacl").args(["-cpn"]).arg(folder.join("file")), LIMIT).success();
        assert!(!list.stdout.contains("user:0:") && !list.stdout.contains("group:0:"), "the owner before: {list}");
    });
}

#[test]
fn an_access_list_of_others_is_left_as_it_is() {
    both(|server| {
        let folder = server.new_folder("lists");
        fs::write(folder.join("file"), "x").unwrap();
        quietly(&format!("setfacl -m u:{OTHER}:rw {}", folder.join("file").display()));
        let list = || run(Command::new("getfacl").args(["-cpn"]).arg(folder.join("file")), LIMIT).success().stdout;
        let (before, mount) = (list(), mount_of(&server, &folder));
        set_mode(mount.join("file"), 0o600);
        assert_eq!(mode(mount.join("file")), 0o600, "it is remembered");
        assert_eq!(list(), before);
    });
}

#[test]
fn a_change_on_the_server_is_shown_after_the_timeout() {
    let server = Server::shared(Kind::Smbd);
    let folder = server.new_folder("foreign");
    fs::write(folder.join("file"), "x").unwrap();
    set_mode(folder.join("file"), 0o644);
    let mount = mount_of(&server, &folder);
    assert_eq!(mode(mount.join("file")), 0o644);
    set_mode(folder.join("file"), 0o751);
    chown(folder.join("file"), Some(1234), Some(4321)).unwrap();
    assert!(wait_until(LIMIT, || owner(mount.join("file")) == (1234, 4321, 0o751)));
}

#[test]
fn the_servers_owners_cost_one_frame_a_file_and_a_change_one_more() {
    let line = Line::to(Server::shared(Kind::Smbd), &["--owner=server"]);
    fs::write(line.there("file"), "x").unwrap();
    // Each of these frames begins with a CREATE; those that arm the watch again have none.
    let asked = || line.proxy.requests(command::CREATE);
    let file = line.here("file");
    // On a busy machine what is known may have become too old before it is used.
    let within = |budget: u64, what: &str, before: &dyn Fn(), work: &dyn Fn()| {
        let cost = || {
            before();
            let before = asked();
            work();
            asked() - before
        };
        let costs: Vec<u64> = (0..6).map(|_| cost()).collect();
        assert!(costs.iter().any(|cost| *cost <= budget), "{what}: {costs:?} frames");
    };
    let outdated = || {
        std::thread::sleep(Duration::from_millis(1100));
        fs::metadata(line.mount.path()).unwrap();
    };
    let known = || {
        outdated();
        fs::metadata(&file).unwrap();
    };
    within(1, "stat", &outdated, &|| {
        fs::metadata(&file).unwrap();
    });
    within(2, "chmod", &known, &|| set_mode(&file, mode(&file) ^ 0o100));
    within(2, "chown", &known, &|| chown(&file, Some(owner(&file).0 + 1), Some(4321)).unwrap());
    assert!(fs::metadata(line.there("file")).unwrap().uid() > 0, "it is on the server's disk");
}

#[test]
fn a_server_without_owners_is_not_asked_to_keep_them_again() {
    let line = Line::to(Server::shared(Kind::Embedded), &["--owner=server"]);
    for name in ["one", "two"] {
        fs::write(line.there(name), "x").unwrap();
        chown(line.here(name), Some(1234), Some(4321)).unwrap();
        set_mode(line.here(name), 0o2711);
        assert_eq!(owner(line.here(name)), (1234, 4321, 0o2711), "{name}");
    }
    let before = line.proxy.requests(command::SET_INFO);
    chown(line.here("two"), Some(77), None).unwrap();
    set_mode(line.here("two"), 0o755);
    assert_eq!(line.proxy.requests(command::SET_INFO), before);
}
