//! What programs expect of a local file system and find differently here.

use crate::support::command::run;
use crate::support::files::{fails_with, names};
use crate::support::pair::Pair;
use crate::support::scene::Scene;
use crate::support::server::{Kind, both_servers};
use crate::support::wait_until;
use rustix::fs::inotify::{self, CreateFlags, Reader, WatchFlags};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use std::ffi::CString;
use std::fs::{self, File};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

both_servers!(
    programs_that_count_links_find_every_subfolder,
    a_file_without_a_name_cannot_be_made,
    a_name_is_found_in_the_form_in_which_it_is_stored,
);

const SOON: Duration = Duration::from_secs(10);

/// find(1) and Perl's File::Find take a link count of 2 as proof that a folder has no subfolders.
fn programs_that_count_links_find_every_subfolder(kind: Kind) {
    let scene = Scene::on(kind);
    fs::create_dir_all(scene.here("a/b/c")).unwrap();
    fs::write(scene.here("a/b/c/file"), "x").unwrap();
    for folder in ["", "a", "a/b/c"] {
        assert_eq!(fs::metadata(scene.here(folder)).unwrap().nlink(), 1, "{folder:?}");
    }
    let script =
        "use File::Find; $File::Find::dont_use_nlink = 0; find(sub { print \"$File::Find::name\\n\" }, $ARGV[0])";
    let mut perl = Command::new("perl");
    perl.arg("-e").arg(script).arg(scene.here("a"));
    let found = run(&mut perl, Duration::from_secs(30)).success().stdout;
    assert!(found.contains("a/b/c/file"), "{found}");
    let mut find = Command::new("find");
    find.arg(scene.here("a")).args(["-type", "f"]);
    assert!(run(&mut find, Duration::from_secs(30)).success().stdout.contains("a/b/c/file"));
}

/// Programs that try O_TMPFILE make a named file after EOPNOTSUPP.
fn a_file_without_a_name_cannot_be_made(kind: Kind) {
    let scene = Scene::on(kind);
    let opened = rustix::fs::open(scene.mount.path(), OFlags::TMPFILE | OFlags::WRONLY, Mode::RUSR | Mode::WUSR);
    fails_with(opened, Errno::OPNOTSUPP);
    assert_eq!(names(&scene.folder), [""; 0]);
}

/// Macs store accents as combining characters (NFD), other systems as one character with the letter (NFC).
fn a_name_is_found_in_the_form_in_which_it_is_stored(kind: Kind) {
    let scene = Scene::on(kind);
    let (combined, single) = ("cafe\u{301}", "caf\u{e9}");
    fs::write(scene.there(combined), "from a Mac").unwrap();
    assert_eq!(names(scene.mount.path()), [combined]);
    assert_eq!(fs::read(scene.here(combined)).unwrap(), b"from a Mac");
    fails_with(fs::metadata(scene.here(single)), Errno::NOENT);
    fs::write(scene.here(single), "other").unwrap();
    assert_eq!(names(&scene.folder), [combined, single]);
    assert_eq!(fs::read(scene.there(combined)).unwrap(), b"from a Mac");
}

/// A file handle as name_to_handle_at(2) returns it.
#[repr(C)]
struct Handle {
    length: u32,
    kind: i32,
    bytes: [u8; 128],
}

impl Handle {
    fn of(path: &Path) -> io::Result<Handle> {
        let path = CString::new(path.as_os_str().as_bytes()).expect("no zero in the path");
        let (mut handle, mut mount) = (Handle { length: 128, kind: 0, bytes: [0; 128] }, 0_i32);
        let into = (&raw mut handle).cast::<libc::c_void>();
        // SAFETY: the path ends with a zero. The handle has the layout of struct file_handle, with room for as many bytes
        // as its first field says, and both it and the mount id live until the call returns.
        let done = unsafe {
            libc::syscall(libc::SYS_name_to_handle_at, libc::AT_FDCWD, path.as_ptr(), into, &raw mut mount, 0)
        };
        if done == 0 { Ok(handle) } else { Err(io::Error::last_os_error()) }
    }

    /// Opens the file. Returns the errno of the failure, if it fails.
    fn open(&mut self, mount: &File) -> Option<i32> {
        let handle = (&raw mut *self).cast::<libc::c_void>();
        // SAFETY: the handle has the layout of struct file_handle and lives until the call returns.
        let opened = unsafe { libc::syscall(libc::SYS_open_by_handle_at, mount.as_raw_fd(), handle, libc::O_RDONLY) };
        if opened < 0 {
            return io::Error::last_os_error().raw_os_error();
        }
        // SAFETY: the kernel has just returned this descriptor, and nothing else owns it.
        drop(unsafe { <OwnedFd as std::os::fd::FromRawFd>::from_raw_fd(opened as i32) });
        None
    }
}

/// A handle leads to a file only while the kernel knows the file (open_by_handle_at(2) needs root).
#[test]
fn the_handle_of_a_file_that_is_forgotten_is_stale() {
    let scene = Scene::on(Kind::Smbd);
    fs::write(scene.here("file"), "x").unwrap();
    let mut handle = match Handle::of(&scene.here("file")) {
        Ok(handle) => handle,
        // Kernels before 6.5 make no handles for file systems that cannot be exported.
        Err(error) => return assert_eq!(error.raw_os_error(), Some(libc::EOPNOTSUPP)),
    };
    let mount = File::open(scene.mount.path()).unwrap();
    fs::remove_file(scene.here("file")).unwrap();
    let stale = |errno: Option<i32>| matches!(errno, Some(libc::ESTALE | libc::EPERM));
    assert!(wait_until(SOON, || stale(handle.open(&mount))), "{:?}", handle.open(&mount));
}

/// The events of a folder that have come so far: names of files that were made.
fn made(watch: &OwnedFd) -> Vec<String> {
    let mut buffer = [MaybeUninit::uninit(); 4096];
    let mut reader = Reader::new(watch, &mut buffer);
    let mut names = Vec::new();
    while let Ok(event) = reader.next() {
        names.extend(event.file_name().map(|name| name.to_string_lossy().into_owned()));
    }
    names
}

#[test]
fn inotify_tells_of_changes_on_this_mount_only() {
    let pair = Pair::on(Kind::Smbd);
    let watch = inotify::init(CreateFlags::NONBLOCK).unwrap();
    inotify::add_watch(&watch, pair.scene.mount.path(), WatchFlags::CREATE).unwrap();
    fs::write(pair.here("own"), "x").unwrap();
    fs::write(pair.other("theirs"), "x").unwrap();
    assert!(wait_until(SOON, || names(pair.scene.mount.path()) == ["own", "theirs"]));
    assert_eq!(made(&watch), ["own"]);
}

#[test]
fn a_mount_for_all_users_says_that_they_act_as_one_account() {
    let said = "acts on the server as the one account";
    let open = Scene::with(Kind::Smbd, |request| request.args(["--allow-other", "--log-level=info"]).foreground());
    assert!(wait_until(SOON, || open.mount.messages().contains(said)), "{}", open.mount.messages());
    let own = Scene::with(Kind::Smbd, |request| request.arg("--log-level=info").foreground());
    assert!(!own.mount.messages().contains(said));
}
