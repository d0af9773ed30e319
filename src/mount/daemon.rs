//! Goes to the background, and reports to the caller whether the mount works.
//!
//! The actors: the parent, which the user or mount(8) started, and which only waits; the child, which mounts and
//! serves; a pipe from the child to the parent, which carries the result. Until it has reported, the child keeps its
//! parent's terminal, so its early messages are visible and Ctrl-C reaches both.
//!
//! The child leaves its session only when the mount works. While an automount point is being mounted, the kernel lets a
//! process pass it only if it is in the process group of the process that serves the automount (for that reason systemd
//! starts mount(8) in its own group). A child that left the group before it mounted would wait for its own mount.
//!
//! The invariant: the parent always ends, with the child's result, with the way the child ended, or with a timeout. A
//! child that has not reported by the deadline is ended, which takes at most 4 s more.

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid, dup2_stderr, dup2_stdin, dup2_stdout, fork, pipe2, setsid};
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread;
use std::time::{Duration, Instant};

/// The first byte of a success. In a failure, the first byte is the exit code.
const READY: u8 = 0;

/// The exit code if the child ends without a report: a system error.
const SYSTEM_ERROR: u8 = 2;

/// The exit code if the mount does not work in time.
const MOUNT_FAILURE: u8 = 32;

/// The longest message that is accepted from the child, in bytes.
const MESSAGE_LIMIT: u64 = 64 * 1024;

/// How long a child may take to end after SIGTERM, and again after SIGKILL.
const GRACE: Duration = Duration::from_secs(2);

/// Interval between checks of whether the child has ended, and of the number of threads.
const TICK: Duration = Duration::from_millis(5);

/// The result of the parent if the mount does not work.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Failure {
    /// The exit code.
    pub code: u8,
    /// The message for standard error.
    pub message: String,
}

impl Failure {
    fn system(message: String) -> Failure {
        Failure { code: SYSTEM_ERROR, message }
    }
}

/// The child's end of the pipe. If it is dropped without a report, the parent finds out how the child ended.
#[derive(Debug)]
pub struct Ready(File);

impl Ready {
    /// Reports success with a line for the user: leaves the session, the working directory and the terminal, then lets
    /// the parent end with success.
    ///
    /// # Errors
    ///
    /// The parent has ended already, or this process cannot be detached. The caller must then end the mount, since
    /// success was not reported.
    pub fn ok(mut self, line: &str) -> io::Result<()> {
        if let Err(error) = detach() {
            self.failed(SYSTEM_ERROR, &format!("system: going to the background failed: {error}"));
            return Err(error);
        }
        self.0.write_all(&[&[READY], line.as_bytes()].concat())
    }

    /// Reports a failure: the parent ends with `code`, and writes `message` to its standard error. Must be called after
    /// everything has been cleaned up, since the user may try again at once.
    pub fn failed(mut self, code: u8, message: &str) {
        let verdict = [&[code.max(1)], message.as_bytes()].concat();
        if self.0.write_all(&verdict).is_err() {
            // The parent has ended, but the terminal may still exist.
            eprintln!("{message}");
        }
    }
}

fn detach() -> io::Result<()> {
    let null = OpenOptions::new().read(true).write(true).open("/dev/null")?;
    setsid()?;
    std::env::set_current_dir("/")?;
    dup2_stdin(&null)?;
    dup2_stdout(&null)?;
    dup2_stderr(&null)?;
    Ok(())
}

/// Forks. In the child, `child` runs, and its result becomes the exit code. In the parent, this returns the child's
/// result, on success its line for the user. Must be called while the process has one thread.
///
/// # Errors
///
/// The failure that the child reported; the way it ended, if it reported nothing; a timeout, if it did not report
/// within `limit` (it is ended then); a system error, if the process has several threads or cannot fork.
pub fn background(limit: Duration, child: impl FnOnce(Ready) -> u8) -> Result<String, Failure> {
    match threads() {
        Ok(1) => {}
        Ok(several) => return Err(Failure::system(format!("system: a process with {several} threads cannot fork"))),
        Err(error) => return Err(Failure::system(format!("system: /proc/self/task cannot be read: {error}"))),
    }
    fork_and_wait(limit, child)
}

/// The number of threads. A thread that was just joined may still be listed, so this waits up to 200 ms for a single
/// one.
fn threads() -> io::Result<usize> {
    let patience = Instant::now() + Duration::from_millis(200);
    loop {
        let count = std::fs::read_dir("/proc/self/task")?.count();
        if count == 1 || Instant::now() >= patience {
            return Ok(count);
        }
        thread::sleep(TICK);
    }
}

fn fork_and_wait(limit: Duration, child: impl FnOnce(Ready) -> u8) -> Result<String, Failure> {
    let (read, write) =
        pipe2(OFlag::O_CLOEXEC).map_err(|errno| Failure::system(format!("system: no pipe can be created: {errno}")))?;
    // SAFETY: `background` has checked that this is the only thread, so no lock and no allocator state is held by a
    // thread that the child does not have. (The tests of this file call it in a process whose one other thread only
    // waits.)
    match unsafe { fork() } {
        Err(errno) => Err(Failure::system(format!("system: forking failed: {errno}"))),
        Ok(ForkResult::Child) => {
            drop(read);
            // A panic must not unwind into the parent's code after this call.
            let code = catch_unwind(AssertUnwindSafe(|| child(Ready(File::from(write))))).unwrap_or(101);
            std::process::exit(code.into());
        }
        Ok(ForkResult::Parent { child }) => {
            drop(write);
            verdict(File::from(read), child, Instant::now() + limit).unwrap_or_else(|| {
                end(child);
                Err(Failure {
                    code: MOUNT_FAILURE,
                    message: format!("mount: the share was not mounted within {} s", limit.as_secs_f32()),
                })
            })
        }
    }
}

/// The child's result, or the way it ended; `None` after the deadline.
fn verdict(mut pipe: File, child: Pid, deadline: Instant) -> Option<Result<String, Failure>> {
    let mut first = [0];
    wait_readable(&pipe, deadline)?;
    match pipe.read(&mut first) {
        Ok(1) => {
            // The message is written in one call, but a long one fills the pipe several times.
            let mut message = Vec::new();
            let rest = super::deadline::within(deadline.saturating_duration_since(Instant::now()), move || {
                // A partial message is shown, whatever error follows it.
                let _ = pipe.take(MESSAGE_LIMIT).read_to_end(&mut message);
                String::from_utf8_lossy(&message).into_owned()
            });
            match first[0] {
                // The mount works, with or without its line.
                READY => Some(Ok(rest.unwrap_or_default())),
                code => Some(Err(Failure { code, message: rest.ok()? })),
            }
        }
        _ => {
            let fate = wait_for_end(child, deadline)?;
            Some(Err(Failure::system(format!("system: the background process {fate} without a message"))))
        }
    }
}

fn wait_readable(pipe: &File, deadline: Instant) -> Option<()> {
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
        match poll(&mut [PollFd::new(pipe.as_fd(), PollFlags::POLLIN)], timeout) {
            Ok(0) if left.is_zero() => return None,
            Ok(0) | Err(Errno::EINTR) => {}
            Ok(_) | Err(_) => return Some(()),
        }
    }
}

/// How the child ended, as the end of a sentence that begins with "the process"; `None` if it still runs at the
/// deadline.
fn wait_for_end(child: Pid, deadline: Instant) -> Option<String> {
    loop {
        match waitpid(child, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::Exited(_, code)) => return Some(format!("ended with exit code {code}")),
            Ok(WaitStatus::Signaled(_, signal, _)) => return Some(format!("was killed by {signal}")),
            Ok(_) | Err(Errno::EINTR) if Instant::now() < deadline => thread::sleep(TICK),
            Ok(_) | Err(Errno::EINTR) => return None,
            Err(errno) => return Some(format!("ended in an unknown way ({errno})")),
        }
    }
}

/// Ends a child that did not report in time: with SIGTERM, so that it can unmount, then with SIGKILL.
fn end(child: Pid) {
    for (signal, patience) in [(Signal::SIGTERM, GRACE), (Signal::SIGKILL, GRACE)] {
        // It may have ended by itself just now.
        let _ = kill(child, signal);
        if wait_for_end(child, Instant::now() + patience).is_some() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mount::testing::in_own_process;
    use std::path::Path;

    /// What the process that called `background` does with the result.
    fn report(result: Result<String, Failure>) -> ! {
        match result {
            Ok(line) => {
                println!("{line}");
                std::process::exit(0)
            }
            Err(failure) => {
                eprintln!("{}", failure.message);
                std::process::exit(failure.code.into());
            }
        }
    }

    const PATIENCE: Duration = Duration::from_secs(30);

    #[test]
    fn a_ready_child_releases_its_parent_and_continues_without_its_terminal() {
        let name = "mount::daemon::tests::a_ready_child_releases_its_parent_and_continues_without_its_terminal";
        let (output, folder) = in_own_process(name, |folder| {
            report(fork_and_wait(PATIENCE, |ready| {
                eprintln!("an early message");
                ready.ok("it works").unwrap();
                let stdio = [0, 1, 2].map(|fd| std::fs::read_link(format!("/proc/self/fd/{fd}")).unwrap());
                let own_session = nix::unistd::getsid(None).unwrap() == nix::unistd::getpid();
                let state = format!("{stdio:?} {:?} {own_session}", std::env::current_dir().unwrap());
                std::fs::write(folder.join("unfinished"), state).unwrap();
                std::fs::rename(folder.join("unfinished"), folder.join("state")).unwrap();
                0
            }))
        });
        assert_eq!(output.status.code(), Some(0));
        assert!(String::from_utf8_lossy(&output.stderr).contains("an early message"));
        assert!(String::from_utf8_lossy(&output.stdout).contains("it works\n"));
        let state = wait_for_file(&folder.path().join("state"));
        assert_eq!(state, r#"["/dev/null", "/dev/null", "/dev/null"] "/" true"#);
    }

    fn wait_for_file(path: &Path) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match std::fs::read_to_string(path) {
                Ok(text) => return text,
                Err(error) => assert!(Instant::now() < deadline, "{}: {error}", path.display()),
            }
            thread::sleep(TICK);
        }
    }

    #[test]
    fn the_parent_fails_with_the_failure_of_its_child() {
        let name = "mount::daemon::tests::the_parent_fails_with_the_failure_of_its_child";
        let (output, _folder) = in_own_process(name, |_| {
            report(fork_and_wait(PATIENCE, |ready| {
                // More than the pipe can hold.
                ready.failed(32, &format!("share: there is none\n{}", "x".repeat(100_000)));
                32
            }))
        });
        assert_eq!(output.status.code(), Some(32));
        assert!(String::from_utf8_lossy(&output.stderr).starts_with("share: there is none\nxxx"));
    }

    #[test]
    fn a_child_that_dies_without_a_report_is_reported_with_its_signal() {
        let name = "mount::daemon::tests::a_child_that_dies_without_a_report_is_reported_with_its_signal";
        let (output, _folder) =
            in_own_process(name, |_| report(fork_and_wait(PATIENCE, |_ready| std::process::abort())));
        assert_eq!(output.status.code(), Some(SYSTEM_ERROR.into()));
        assert!(String::from_utf8_lossy(&output.stderr).contains("was killed by SIGABRT without a message"));
    }

    #[test]
    fn a_child_that_panics_does_not_run_the_code_of_its_parent() {
        let name = "mount::daemon::tests::a_child_that_panics_does_not_run_the_code_of_its_parent";
        let (output, _folder) =
            in_own_process(name, |_| report(fork_and_wait(PATIENCE, |_ready| panic!("out of luck"))));
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(said.contains("out of luck") && said.contains("ended with exit code 101 without a message"), "{said}");
    }

    #[test]
    fn a_child_that_does_not_report_in_time_is_ended() {
        let name = "mount::daemon::tests::a_child_that_does_not_report_in_time_is_ended";
        let (output, folder) = in_own_process(name, |folder| {
            report(fork_and_wait(Duration::from_secs(2), |_ready| {
                std::fs::write(folder.join("child"), std::process::id().to_string()).unwrap();
                loop {
                    thread::park();
                }
            }))
        });
        assert_eq!(output.status.code(), Some(MOUNT_FAILURE.into()));
        assert!(String::from_utf8_lossy(&output.stderr).contains("was not mounted within 2 s"));
        let child = std::fs::read_to_string(folder.path().join("child")).unwrap();
        assert!(!Path::new("/proc").join(child).exists());
    }

    #[test]
    fn a_process_with_several_threads_is_not_forked() {
        let (_open, never) = std::sync::mpsc::channel::<()>();
        thread::spawn(move || never.recv());
        let failure = background(PATIENCE, |_| unreachable!()).unwrap_err();
        assert!(failure.message.contains("threads cannot fork"), "{}", failure.message);
    }
}
