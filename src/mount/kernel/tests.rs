//! Real mounts, by root and by an ordinary user.

use super::*;
use crate::mount::core_dump;
use crate::mount::testing::{Watchdog, as_ordinary_user, needs_root, scratch_directory, serve};
use fuser::BackgroundSession;
use std::fs::{self, File};

const PATIENCE: Duration = Duration::from_secs(20);

/// A source that an attacker could put into a URL.
const HOSTILE: &str = r"cifs://nas/a b,allow_other,c\,suid\\,user_id=7";

fn request(folder: &Path) -> MountRequest {
    MountRequest::new(point::check(folder).unwrap(), HOSTILE)
}

/// The entry in the kernel's table, as users and systemd see it.
fn shown(folder: &Path) -> MountEntry {
    MountTable::read().unwrap().topmost(folder).cloned().expect("nothing is mounted")
}

fn is_free(folder: &Path) -> bool {
    MountTable::read().unwrap().topmost(folder).is_none()
}

/// The session ends when the mount is gone, because the kernel reports it to the serving thread.
fn ends(session: BackgroundSession) {
    let result = within(PATIENCE, move || session.join()).expect("the session did not end");
    crate::fuse::session::as_end(result).unwrap();
}

fn mounts_serves_and_unmounts() {
    let folder = scratch_directory();
    let _watchdog = Watchdog::over(folder.path());
    let request = MountRequest { read_only: true, no_exec: true, max_read: Some(65536), ..request(folder.path()) };
    let mut mounted = mount(&request).unwrap();
    let session = serve(&mut mounted);

    let entry = shown(folder.path());
    assert_eq!(entry.fs_type, "fuse.cifs");
    assert_eq!(entry.source, HOSTILE);
    assert_eq!(entry.device, mounted.entry().device);
    let has = |options: &str, option: &str| options.split(',').any(|other| other == option);
    for option in ["ro", "nosuid", "nodev", "noexec"] {
        assert!(has(&entry.options, option), "{option} is missing in {}", entry.options);
    }
    let owner = format!("user_id={}", getuid());
    for option in [owner.as_str(), "default_permissions", "max_read=65536"] {
        assert!(has(&entry.super_options, option), "{option} is missing in {}", entry.super_options);
    }
    assert!(!has(&entry.super_options, "allow_other"), "{}", entry.super_options);

    assert!(fs::metadata(folder.path()).unwrap().is_dir());
    assert!(mounted.is_mounted());
    mounted.unmount(PATIENCE).unwrap();
    assert!(is_free(folder.path()) && !mounted.is_mounted());
    mounted.unmount(PATIENCE).unwrap();
    ends(session);
}

#[test]
fn root_mounts_with_mount_2() {
    needs_root();
    mounts_serves_and_unmounts();
}

#[test]
fn an_ordinary_user_mounts_through_fusermount3() {
    if as_ordinary_user("mount::kernel::tests::an_ordinary_user_mounts_through_fusermount3") {
        core_dump::disable().unwrap();
        mounts_serves_and_unmounts();
    }
}

#[test]
fn an_ordinary_user_gets_allow_other_or_a_remedy() {
    if !as_ordinary_user("mount::kernel::tests::an_ordinary_user_gets_allow_other_or_a_remedy") {
        return;
    }
    let folder = scratch_directory();
    let _watchdog = Watchdog::over(folder.path());
    let allowed = fs::read_to_string("/etc/fuse.conf").is_ok_and(|text| text.lines().any(|l| l == "user_allow_other"));
    match mount(&MountRequest { allow_other: true, ..request(folder.path()) }) {
        Ok(_mounted) => {
            assert!(allowed);
            assert!(shown(folder.path()).super_options.contains(",allow_other"));
        }
        Err(error) => {
            assert!(!allowed);
            assert!(error.to_string().contains("\nadd a line with the word user_allow_other"), "{error}");
            assert!(is_free(folder.path()));
        }
    }
}

#[test]
fn an_ordinary_user_detaches_a_busy_mount() {
    if as_ordinary_user("mount::kernel::tests::an_ordinary_user_detaches_a_busy_mount") {
        a_busy_mount_is_detached();
    }
}

#[test]
fn root_detaches_a_busy_mount() {
    needs_root();
    a_busy_mount_is_detached();
}

fn a_busy_mount_is_detached() {
    let folder = scratch_directory();
    let _watchdog = Watchdog::over(folder.path());
    let mut mounted = mount(&request(folder.path())).unwrap();
    let session = serve(&mut mounted);
    let open = File::open(folder.path()).unwrap();
    let busy = mounted.unmount(PATIENCE).unwrap_err();
    assert!(busy.to_string().contains("a program still uses it"), "{busy}");
    assert!(mounted.is_mounted());
    mounted.detach().unwrap();
    assert!(is_free(folder.path()) && !mounted.is_mounted());
    drop(open);
    ends(session);
}

#[test]
fn a_mount_that_replaced_ours_is_not_unmounted() {
    needs_root();
    let folder = scratch_directory();
    let _watchdog = Watchdog::over(folder.path());
    let mut ours = mount(&request(folder.path())).unwrap();
    ends_after(&mut ours, |_| umount2(folder.path(), MntFlags::empty()).unwrap());
    // The kernel reuses freed ids and device numbers, so the new mount may look like the first one.
    let mut theirs = mount(&request(folder.path())).unwrap();
    let session = serve(&mut theirs);
    assert!(!ours.is_mounted());
    ours.unmount(PATIENCE).unwrap();
    ours.detach().unwrap();
    drop(ours);
    assert_eq!(shown(folder.path()).device, theirs.entry().device);
    fs::metadata(folder.path()).unwrap();
    theirs.unmount(PATIENCE).unwrap();
    ends(session);
}

fn ends_after(mounted: &mut Mounted, unmount: impl FnOnce(&Mounted)) {
    let session = serve(mounted);
    unmount(mounted);
    ends(session);
}

#[test]
fn a_covered_mount_is_not_unmounted_in_place_of_its_cover() {
    needs_root();
    let folder = scratch_directory();
    let _watchdog = Watchdog::over(folder.path());
    let mut ours = mount(&request(folder.path())).unwrap();
    let session = serve(&mut ours);
    nix::mount::mount(Some("cover"), folder.path(), Some("tmpfs"), MsFlags::empty(), None::<&str>).unwrap();
    let covered = ours.unmount(PATIENCE).unwrap_err();
    assert!(covered.to_string().contains("another mount covers it"), "{covered}");
    assert_eq!(shown(folder.path()).fs_type, "tmpfs");
    umount2(folder.path(), MntFlags::empty()).unwrap();
    ours.unmount(PATIENCE).unwrap();
    ends(session);
}

#[test]
fn a_mount_that_is_dropped_is_unmounted() {
    needs_root();
    let folder = scratch_directory();
    let _watchdog = Watchdog::over(folder.path());
    drop(mount(&request(folder.path())).unwrap());
    assert!(is_free(folder.path()));
}

#[test]
fn an_abort_wakes_a_program_that_waits_for_a_hung_mount() {
    needs_root();
    let folder = scratch_directory();
    let _watchdog = Watchdog::over(folder.path());
    let mounted = mount(&request(folder.path())).unwrap();
    let path = folder.path().to_owned();
    let (sender, waiting) = std::sync::mpsc::channel();
    let waiter = std::thread::spawn(move || {
        sender.send(()).unwrap();
        fs::metadata(path)
    });
    waiting.recv().unwrap();
    mounted.abort().unwrap();
    within(PATIENCE, move || waiter.join().unwrap().is_ok()).expect("the waiter still waits");
    mounted.abort().unwrap();
    mounted.unmount(PATIENCE).unwrap();
    assert!(is_free(folder.path()));
}

#[test]
fn read_ahead_is_set_on_the_mount_s_own_device() {
    needs_root();
    let folder = scratch_directory();
    let _watchdog = Watchdog::over(folder.path());
    let mut mounted = mount(&request(folder.path())).unwrap();
    let session = serve(&mut mounted);
    mounted.set_read_ahead(1024).unwrap();
    let set = fs::read_to_string(format!("/sys/class/bdi/{}/read_ahead_kb", mounted.entry().device)).unwrap();
    assert_eq!(set.trim(), "1024");
    mounted.unmount(PATIENCE).unwrap();
    ends(session);
    // Its device number is free now, and another mount may have it.
    assert_eq!(mounted.set_read_ahead(1024).unwrap_err().kind(), io::ErrorKind::NotConnected);
}

#[test]
fn a_mount_that_fails_leaves_nothing_and_says_why() {
    needs_root();
    let folder = scratch_directory();
    let _watchdog = Watchdog::over(folder.path());
    let unusable = MountRequest { source: "a\0b".into(), ..request(folder.path()) };
    let error = mount(&unusable).unwrap_err();
    assert_eq!(error.stage, Stage::Mount);
    assert!(error.message.starts_with("mount(2) on /"), "{error}");
    assert!(is_free(folder.path()));
}

/// Without the control file system, a connection is ended through the mount's path.
#[test]
fn forcing_ends_a_hung_mount_and_never_its_cover() {
    needs_root();
    let folder = scratch_directory();
    let _watchdog = Watchdog::over(folder.path());
    let mounted = mount(&request(folder.path())).unwrap();
    nix::mount::mount(Some("cover"), folder.path(), Some("tmpfs"), MsFlags::empty(), None::<&str>).unwrap();
    assert!(force(mounted.entry()).unwrap_err().to_string().contains("leads to another mount"));
    assert!(unmount(mounted.entry(), true, PATIENCE).unwrap_err().to_string().contains("leads to another mount"));
    assert_eq!(shown(folder.path()).fs_type, "tmpfs");
    assert!(mounted.is_connected());
    umount2(folder.path(), MntFlags::empty()).unwrap();
    force(mounted.entry()).unwrap();
    assert!(!mounted.is_connected());
    drop(mounted);
    assert!(is_free(folder.path()));
}
