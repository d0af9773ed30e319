//! What a program wants of which the kernel asks: whether a rename is about to give a name, and whether a program is to
//! see times.
//!
//! FUSE_LOOKUP does not say what a name is looked up for, nor FUSE_GETATTR what attributes are for. The thread that waits
//! for the answer is in a system call, whose number and arguments are in `/proc/TID/syscall` (proc_pid_syscall(5)); the
//! path that it passes is in its memory. Reading both needs the rights of a debugger, which a mount of an ordinary user
//! does not have where `kernel.yama.ptrace_scope` is 1 or more. Nothing may depend on the answer but convenience, and how
//! exact the time of a directory is for some milliseconds.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::time::Duration;
use tokio::sync::Semaphore;

/// The longest path that the kernel takes (PATH_MAX), in bytes.
const LONGEST: usize = 4096;

/// The most that an answer waits for another process's memory. The page may be one that this mount has to read first.
const PATIENCE: Duration = Duration::from_secs(1);

/// Whether a thread is known to rename something to this name. The thread must be waiting for an answer of this process.
pub(super) async fn renames_to(thread: u32, name: &OsStr) -> bool {
    let name = name.to_owned();
    looked(move || is_new_name(thread, &name)).await == Some(true)
}

/// Whether the path at an address of a thread's memory may be of the directory with this name itself, rather than of
/// something in it. The thread must be waiting for an answer of this process.
pub(super) async fn may_be_of(thread: u32, address: u64, name: Option<OsString>) -> bool {
    let look = move || string_at(thread, address).is_none_or(|path| may_be(&path, name.as_deref()));
    looked(look).await.unwrap_or(true)
}

/// Of what the system call of a thread shows the attributes to its program; of nothing, if this process may not look at the
/// thread. The thread must be waiting for an answer of this process. Waits for no other process: what the kernel shows of
/// a system call is in the kernel.
pub(super) fn shown_to(thread: u32) -> Shown {
    line_of(thread).as_deref().map_or(Shown::Nothing, shown)
}

/// The most looks at other processes at a time: those whose memory does not answer keep a thread each.
static LOOKS: Semaphore = Semaphore::const_new(16);

/// The answer of a look at another process; `None` if it takes too long, or too many take long already.
async fn looked(look: impl FnOnce() -> bool + Send + 'static) -> Option<bool> {
    let permit = LOOKS.try_acquire().ok()?;
    let look = tokio::task::spawn_blocking(move || {
        let _permit = permit;
        look()
    });
    tokio::time::timeout(PATIENCE, look).await.ok()?.ok()
}

/// The system call of a thread; `None` if this process may not know it.
fn line_of(thread: u32) -> Option<String> {
    fs::read_to_string(format!("/proc/{thread}/syscall")).ok()
}

/// Whether a path may be of the directory with this name itself. A path that ends in another name leads through it,
/// unless that is a link or a mount that leads to it. A server may ignore the case of names.
fn may_be(path: &[u8], name: Option<&OsStr>) -> bool {
    let folded = |name: &[u8]| String::from_utf8_lossy(name).to_lowercase();
    match (path, last_name(path)) {
        // fstat(2), which opendir(3) calls each time and does not use the times.
        (b"", _) => false,
        (_, b"" | b"." | b"..") => true,
        (_, last) => name.is_none_or(|name| folded(last) == folded(name.as_bytes())),
    }
}

/// Of what a system call shows the attributes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Shown {
    /// Of nothing, or of an open file.
    Nothing,
    /// Of nothing: it changes an entry of a directory. The kernel checks permissions of the directory twice for that, and
    /// forgets its attributes afterwards.
    Change,
    /// Of something that is not known.
    Anything,
    /// Of the file whose path is at this address.
    Path(u64),
}

/// Of what the system call in a line of `/proc/TID/syscall` shows the attributes. A thread that is in no system call may
/// work for io_uring; one of a 32-bit program has other numbers.
fn shown(line: &str) -> Shown {
    let mut words = line.split_ascii_whitespace();
    let Some(number) = words.next().and_then(|number| number.parse::<libc::c_long>().ok()) else {
        return Shown::Anything;
    };
    let is_one_of = |calls: &[libc::c_long]| calls.contains(&number);
    if is_one_of(CHANGE) || is_one_of(CHANGE_HERE) {
        return Shown::Change;
    }
    if is_one_of(SHOW_NOTHING) || is_one_of(SHOW_NOTHING_HERE) {
        let is_create = number == libc::SYS_openat && words.nth(2).is_some_and(creates);
        return if is_create { Shown::Change } else { Shown::Nothing };
    }
    let argument = STATS.iter().find(|(stat, _)| *stat == number).map(|(_, argument)| *argument);
    argument.and_then(|argument| value(words.nth(argument)?)).map_or(Shown::Anything, Shown::Path)
}

/// Whether an argument is flags of open(2) with `O_CREAT`.
fn creates(flags: &str) -> bool {
    value(flags).is_some_and(|flags| flags & libc::O_CREAT as u64 != 0)
}

/// The value of an argument in a line of `/proc/TID/syscall`.
fn value(argument: &str) -> Option<u64> {
    u64::from_str_radix(argument.strip_prefix("0x")?, 16).ok()
}

/// System calls that change an entry of a directory. Neither these nor those of [`SHOW_NOTHING`] have the number that
/// stat(2) or its like has in a 32-bit program.
const CHANGE: &[libc::c_long] = &[
    libc::SYS_mkdirat,
    libc::SYS_mknodat,
    libc::SYS_symlinkat,
    libc::SYS_linkat,
    libc::SYS_unlinkat,
    libc::SYS_renameat2,
];

/// Those that only this architecture has.
#[cfg(target_arch = "x86_64")]
const CHANGE_HERE: &[libc::c_long] = &[
    libc::SYS_creat,
    libc::SYS_mkdir,
    libc::SYS_mknod,
    libc::SYS_symlink,
    libc::SYS_link,
    libc::SYS_rmdir,
    libc::SYS_unlink,
    libc::SYS_rename,
    libc::SYS_renameat,
];
#[cfg(not(target_arch = "x86_64"))]
const CHANGE_HERE: &[libc::c_long] = &[];

/// Other system calls that make the kernel check the permissions of a directory, and show no times of it.
const SHOW_NOTHING: &[libc::c_long] = &[
    libc::SYS_openat,
    libc::SYS_openat2,
    libc::SYS_readlinkat,
    libc::SYS_faccessat,
    libc::SYS_faccessat2,
    libc::SYS_fchmodat,
    libc::SYS_fchownat,
    libc::SYS_utimensat,
    libc::SYS_truncate,
    libc::SYS_chdir,
    libc::SYS_execve,
    libc::SYS_getdents64,
    libc::SYS_fstat,
];

/// Those that only this architecture has.
#[cfg(target_arch = "x86_64")]
const SHOW_NOTHING_HERE: &[libc::c_long] =
    &[libc::SYS_open, libc::SYS_readlink, libc::SYS_access, libc::SYS_chmod, libc::SYS_chown, libc::SYS_lchown];
#[cfg(not(target_arch = "x86_64"))]
const SHOW_NOTHING_HERE: &[libc::c_long] = &[];

/// The system calls that show the attributes of a file by its path, with the index of the argument that is the path.
#[cfg(target_arch = "x86_64")]
const STATS: &[(libc::c_long, usize)] =
    &[(libc::SYS_stat, 0), (libc::SYS_lstat, 0), (libc::SYS_newfstatat, 1), (libc::SYS_statx, 1)];
#[cfg(not(target_arch = "x86_64"))]
const STATS: &[(libc::c_long, usize)] = &[(libc::SYS_newfstatat, 1), (libc::SYS_statx, 1)];

fn is_new_name(thread: u32, name: &OsStr) -> bool {
    let path = line_of(thread).as_deref().and_then(new_path).and_then(|address| string_at(thread, address));
    path.is_some_and(|path| last_name(&path) == name.as_bytes())
}

/// The address of the new path, if a line of `/proc/TID/syscall` is of a system call that renames.
fn new_path(line: &str) -> Option<u64> {
    let mut words = line.split_ascii_whitespace();
    let number: i64 = words.next()?.parse().ok()?;
    let (_, argument) = RENAMES.iter().find(|(rename, _)| *rename == number)?;
    value(words.nth(*argument)?)
}

/// The system calls that rename, with the index of the argument that is the new path.
#[cfg(target_arch = "x86_64")]
const RENAMES: &[(i64, usize)] = &[(libc::SYS_rename, 1), (libc::SYS_renameat, 3), (libc::SYS_renameat2, 3)];
#[cfg(not(target_arch = "x86_64"))]
const RENAMES: &[(i64, usize)] = &[(libc::SYS_renameat2 as i64, 3)];

/// The string at an address of a thread's memory, without the zero at its end.
fn string_at(thread: u32, address: u64) -> Option<Vec<u8>> {
    let memory = File::open(format!("/proc/{thread}/mem")).ok()?;
    let mut bytes = vec![0; LONGEST];
    let mut length = 0;
    // A read ends before the first page that is not mapped.
    while length < LONGEST {
        let read = memory.read_at(&mut bytes[length..], address.checked_add(length as u64)?).ok()?;
        if let Some(end) = bytes[length..length + read].iter().position(|byte| *byte == 0) {
            bytes.truncate(length + end);
            return Some(bytes);
        }
        if read == 0 {
            return None;
        }
        length += read;
    }
    None
}

/// The last name of a path, which may have slashes behind it.
fn last_name(path: &[u8]) -> &[u8] {
    path.split(|byte| *byte == b'/').rfind(|name| !name.is_empty()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_system_calls_that_rename_have_a_new_path() {
        let line = |number: i64| format!("{number} 0xffffff9c 0x10 0xffffff9d 0x2a 0x1 0x0 0x7ffc 0x7f0a\n");
        assert_eq!(new_path(&line(libc::SYS_renameat2)), Some(0x2a));
        assert_eq!(new_path(&line(libc::SYS_newfstatat)), None);
        for other in ["running\n", "-1 0x7ffd 0x7f0a\n", "", "316", "316 1 2 3 4"] {
            assert_eq!(new_path(other), None, "{other:?}");
        }
    }

    #[test]
    fn system_calls_that_show_attributes_name_a_path() {
        let line = |number: i64| format!("{number} 0x1a 0x2b 0x7ffd 0x100 0x0 0x0 0x7ffc 0x7f0a\n");
        for (number, expected) in [
            (libc::SYS_newfstatat, Shown::Path(0x2b)),
            (libc::SYS_statx, Shown::Path(0x2b)),
            (libc::SYS_io_uring_enter, Shown::Anything),
            // lstat64 of i386.
            (196, Shown::Anything),
            (-1, Shown::Anything),
            (libc::SYS_fstat, Shown::Nothing),
            (libc::SYS_renameat2, Shown::Change),
            (libc::SYS_unlinkat, Shown::Change),
            (libc::SYS_faccessat2, Shown::Nothing),
        ] {
            assert_eq!(shown(&line(number)), expected, "{number}");
        }
        assert_eq!(shown("running\n"), Shown::Anything);
        let open = |flags| format!("{} 0xffffff9c 0x2b {flags:#x} 0x1b6 0x0 0x0 0x7ffc 0x7f0a\n", libc::SYS_openat);
        assert_eq!(shown(&open(libc::O_RDWR | libc::O_CREAT)), Shown::Change);
        assert_eq!(shown(&open(libc::O_RDWR)), Shown::Nothing);
    }

    #[test]
    fn a_path_is_of_a_directory_itself_if_it_ends_in_its_name() {
        let folder = Some(OsStr::new("folder"));
        let itself: [&[u8]; 7] = [b"folder", b"/mnt/Folder", b"/mnt/folder/", b"/", b".", b"folder/..", b"./"];
        assert!(itself.iter().all(|path| may_be(path, folder)));
        let other: [&[u8]; 3] = [b"", b"folder/file", b"/mnt/folder/absent"];
        assert!(!other.iter().any(|path| may_be(path, folder)));
        assert!(may_be(b"anything", None));
    }

    #[test]
    fn a_path_is_read_from_memory() {
        let path = c"/mnt/share/Photos/";
        let own = std::process::id();
        let read = string_at(own, path.as_ptr() as u64);
        assert_eq!(read.as_deref(), Some(path.to_bytes()));
        assert_eq!((string_at(own, 0), string_at(own, u64::MAX)), (None, None));
    }

    #[test]
    fn the_last_name_of_a_path_is_that_before_its_slashes() {
        let last = |path: &str| String::from_utf8_lossy(last_name(path.as_bytes())).into_owned();
        assert_eq!((last("a/b/c"), last("c//"), last("/"), last("")), ("c".into(), "c".into(), "".into(), "".into()));
    }
}
