//! Keeps passwords and session keys out of core dumps.
//!
//! Two measures, because neither is enough. `RLIMIT_CORE` of zero keeps the kernel from writing a core file, but is
//! ignored if cores are piped to a program (systemd-coredump, apport). A process that is not dumpable
//! (`PR_SET_DUMPABLE`, prctl(2)) produces no core in either case.
//!
//! A process that is not dumpable is also protected from others of the same user: /proc/PID belongs to root, so they
//! cannot attach to it (ptrace(2)) or read its memory, its environment (`AUTH_PASSWORD`) or its open files. A debugger
//! therefore needs root. The process itself, and `fusermount3` as its child, are not affected.
//!
//! The invariant: both are set before the process reads a password from anywhere but its arguments, and a fork inherits
//! both. A program that is executed inherits only the limit, so a guardian, which is this program again, calls
//! [`disable`] itself.

use super::error::{MountError, Stage};
use nix::sys::prctl::set_dumpable;
use nix::sys::resource::{Resource, setrlimit};

/// Disables core dumps of this process and its forks.
///
/// # Errors
///
/// [`Stage::System`], with the errno. None is expected: the kernel allows both calls to every user.
pub fn disable() -> Result<(), MountError> {
    set_dumpable(false)
        .and_then(|()| setrlimit(Resource::RLIMIT_CORE, 0, 0))
        .map_err(|errno| MountError::new(Stage::System, format!("core dumps cannot be turned off: {errno}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mount::testing::in_own_process;
    use nix::sys::prctl::get_dumpable;
    use nix::sys::resource::getrlimit;
    use std::os::unix::process::ExitStatusExt;

    #[test]
    fn a_process_that_crashes_leaves_no_core() {
        let name = "mount::core_dump::tests::a_process_that_crashes_leaves_no_core";
        let (output, _folder) = in_own_process(name, |folder| {
            std::env::set_current_dir(folder).unwrap();
            let (_, most) = getrlimit(Resource::RLIMIT_CORE).unwrap();
            setrlimit(Resource::RLIMIT_CORE, most, most).unwrap();
            disable().unwrap();
            assert!(!get_dumpable().unwrap() && getrlimit(Resource::RLIMIT_CORE).unwrap() == (0, 0));
            std::process::abort();
        });
        assert_eq!(output.status.signal(), Some(libc::SIGABRT), "{output:?}");
        assert!(!output.status.core_dumped());
    }
}
