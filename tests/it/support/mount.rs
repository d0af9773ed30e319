//! A mount made by the built program. A watchdog aborts it if a test uses it for too long.

use super::apart::{apart, spawn};
use super::command::{Run, run, run_with_input, spawn_quiet, wait};
use super::mountinfo::{self, MountInfo};
use super::processes::{is_running, kill, processes_of, served_by};
use super::server::{PASSWORD, user};
use super::watchdog::{self, Watchdog};
use super::{scratch, wait_until};
use rustix::process::{Pid, Signal, kill_process};
use std::env;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

/// The program under test.
pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_cifs-fuse");

/// How long a mount attempt may take: longer than any connect timeout that a test sets.
const START: Duration = Duration::from_secs(45);
/// How long one test may use a mount, unless the test sets another deadline.
const USE: Duration = Duration::from_secs(90);
/// How long an unmount may take: the program waits up to 10 s each for the kernel's dirty pages, the end of the FUSE
/// session, its end after an abort, and the closing of open files.
const END: Duration = Duration::from_secs(45);

/// The parameters of a mount that a test is about to make.
pub(crate) struct Request {
    /// [`PROGRAM`] if `None`.
    program: Option<PathBuf>,
    url: String,
    mountpoint: PathBuf,
    arguments: Vec<OsString>,
    environment: Vec<(String, OsString)>,
    as_user: Option<u32>,
    input: Vec<u8>,
    foreground: bool,
    deadline: Duration,
}

impl Request {
    /// A request to mount `url` on a new empty folder, as the user that every server knows, with the password in the
    /// environment.
    pub(crate) fn new(url: impl Into<String>) -> Request {
        Request {
            program: None,
            url: url.into(),
            mountpoint: scratch::folder("mnt"),
            arguments: Vec::new(),
            environment: vec![
                ("AUTH_USERNAME".to_owned(), user().into()),
                ("AUTH_PASSWORD".to_owned(), PASSWORD.into()),
            ],
            as_user: None,
            input: Vec::new(),
            foreground: false,
            deadline: USE,
        }
    }

    /// Without credentials in the environment.
    pub(crate) fn without_credentials(mut self) -> Request {
        self.environment.clear();
        self
    }

    /// With one more argument, after the URL and the mountpoint.
    pub(crate) fn arg(mut self, argument: impl AsRef<OsStr>) -> Request {
        self.arguments.push(argument.as_ref().to_owned());
        self
    }

    /// With more arguments.
    pub(crate) fn args<T: AsRef<OsStr>>(self, arguments: impl IntoIterator<Item = T>) -> Request {
        arguments.into_iter().fold(self, Request::arg)
    }

    /// With one more variable in the environment.
    pub(crate) fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Request {
        self.environment.push((name.to_owned(), value.as_ref().to_owned()));
        self
    }

    /// With these bytes on standard input.
    pub(crate) fn input(mut self, bytes: &[u8]) -> Request {
        self.input = bytes.to_vec();
        self
    }

    /// Started through another path or name of the program.
    pub(crate) fn program(mut self, program: &Path) -> Request {
        self.program = Some(program.to_owned());
        self
    }

    /// At this mountpoint.
    pub(crate) fn at(mut self, mountpoint: &Path) -> Request {
        self.mountpoint = mountpoint.to_owned();
        self
    }

    /// As this user, who becomes the owner of the mountpoint.
    pub(crate) fn by_user(mut self, id: u32) -> Request {
        std::os::unix::fs::chown(&self.mountpoint, Some(id), Some(id)).expect("root may change owners");
        self.as_user = Some(id);
        self
    }

    /// With `--foreground`.
    pub(crate) fn foreground(mut self) -> Request {
        self.foreground = true;
        self
    }

    /// With this deadline of the watchdog.
    pub(crate) fn for_at_most(mut self, deadline: Duration) -> Request {
        self.deadline = deadline;
        self
    }

    /// Mounts. Panics with the program's messages if that fails.
    #[track_caller]
    pub(crate) fn mount(self) -> Mount {
        if self.foreground { self.mount_in_foreground() } else { self.mount_in_background() }
    }

    /// Tries to mount. The attempt must fail with this exit code and leave neither a mount nor a process.
    #[track_caller]
    pub(crate) fn fails(self, code: i32) -> Run {
        self.fails_with_any(&[code])
    }

    /// Tries to mount. The attempt must fail with one of these exit codes and leave neither a mount nor a process.
    #[track_caller]
    pub(crate) fn fails_with_any(self, codes: &[i32]) -> Run {
        let outcome = run_with_input(&mut self.command(), &self.input, START);
        let mounted = mountinfo::at(&self.mountpoint);
        let left = processes_of(&self.mountpoint);
        if let Some(mount) = &mounted {
            end(&self.mountpoint, mount.minor, &left);
        }
        assert!(mounted.is_none(), "a mount was left behind by {outcome}");
        assert!(left.is_empty(), "processes {left:?} were left behind by {outcome}");
        let expected = outcome.code.is_some_and(|code| codes.contains(&code));
        assert!(expected, "expected exit code {codes:?}: {outcome}");
        assert!(outcome.stdout.is_empty(), "errors belong on standard error: {outcome}");
        outcome
    }

    fn mount_in_background(self) -> Mount {
        let outcome = run_with_input(&mut self.command(), &self.input, START);
        let info = mountinfo::at(&self.mountpoint);
        let processes = processes_of(&self.mountpoint);
        if outcome.code != Some(0)
            && let Some(info) = &info
        {
            end(&self.mountpoint, info.minor, &processes);
        }
        assert!(outcome.code == Some(0), "{outcome}");
        let info = info.unwrap_or_else(|| panic!("nothing is mounted after {outcome}"));
        let mut mount = self.watch(info, processes.first().copied(), None);
        assert!(processes.len() == 1, "a mount must have one process, not {processes:?}, after {outcome}");
        mount.messages = outcome.stderr;
        mount
    }

    fn mount_in_foreground(self) -> Mount {
        let log = self.log();
        let (mut command, messages) = (self.command(), log.clone());
        let started = apart(move || {
            let messages = File::create(messages).expect("a writable folder");
            spawn(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(messages))
        });
        let mut child = started.expect("the program was built");
        let mut info = None;
        wait_until(START, || {
            info = mountinfo::at(&self.mountpoint);
            info.is_some() || child.try_wait().expect("a child can be waited for").is_some()
        });
        let Some(info) = info else {
            let _ = child.kill();
            let status = child.wait();
            panic!("no mount by --foreground: {status:?}\n{}", fs::read_to_string(log).unwrap_or_default());
        };
        let pid = child.id() as i32;
        self.watch(info, Some(pid), Some(child))
    }

    fn watch(self, info: MountInfo, pid: Option<i32>, child: Option<Child>) -> Mount {
        let watchdog = Watchdog::new(&format!("the mount of {}", self.url), info.minor, self.deadline);
        let log = self.log();
        Mount {
            mountpoint: self.mountpoint,
            log,
            minor: info.minor,
            pid,
            child,
            as_user: self.as_user,
            messages: String::new(),
            watchdog: Some(watchdog),
        }
    }

    /// The file that receives standard error of a program in the foreground.
    fn log(&self) -> PathBuf {
        let mut name = self.mountpoint.clone().into_os_string();
        name.push(".log");
        PathBuf::from(name)
    }

    fn command(&self) -> Command {
        let program = match (&self.program, self.as_user) {
            (Some(program), _) => program,
            (None, Some(_)) => program_for_all(),
            (None, None) => Path::new(PROGRAM),
        };
        let mut command = Command::new(program);
        command.arg(&self.url).arg(&self.mountpoint).args(&self.arguments);
        if self.foreground {
            command.arg("--foreground");
        }
        command.env_clear().env("PATH", env::var_os("PATH").unwrap_or_default());
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        if let Some(id) = self.as_user {
            command.uid(id).gid(id);
        }
        command
    }
}

/// A mount. Dropping it unmounts it, in whatever state it is.
pub(crate) struct Mount {
    mountpoint: PathBuf,
    log: PathBuf,
    minor: u32,
    pid: Option<i32>,
    child: Option<Child>,
    as_user: Option<u32>,
    messages: String,
    watchdog: Option<Watchdog>,
}

impl Mount {
    /// A mount made by another program and served by a process of the program under test.
    #[track_caller]
    pub(crate) fn found_at(mountpoint: &Path, deadline: Duration) -> Mount {
        let info = mountinfo::at(mountpoint).unwrap_or_else(|| panic!("no mount on {}", mountpoint.display()));
        let mut pids = Vec::new();
        wait_until(END, || {
            pids = served_by(mountpoint);
            pids.len() == 1
        });
        let watchdog = Watchdog::new(&format!("the mount on {}", mountpoint.display()), info.minor, deadline);
        Mount {
            mountpoint: mountpoint.to_owned(),
            log: PathBuf::new(),
            minor: info.minor,
            pid: Some(pids.first().copied().unwrap_or_else(|| panic!("no process serves {}", mountpoint.display()))),
            child: None,
            as_user: None,
            messages: String::new(),
            watchdog: Some(watchdog),
        }
    }

    /// Where it is mounted.
    pub(crate) fn path(&self) -> &Path {
        &self.mountpoint
    }

    /// A path below the mountpoint.
    pub(crate) fn join(&self, name: impl AsRef<Path>) -> PathBuf {
        self.mountpoint.join(name)
    }

    /// The process that serves it.
    pub(crate) fn process(&self) -> i32 {
        self.pid.expect("a mount has a process")
    }

    /// The mount as the kernel lists it in mountinfo.
    pub(crate) fn info(&self) -> MountInfo {
        mountinfo::at(&self.mountpoint).expect("still mounted")
    }

    /// Standard error of the program: in the background everything before it detached, in the foreground everything
    /// until now.
    pub(crate) fn messages(&self) -> String {
        match self.child {
            Some(_) => fs::read_to_string(&self.log).unwrap_or_default(),
            None => self.messages.clone(),
        }
    }

    /// Sends a signal to the process that serves the mount.
    pub(crate) fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.process()).expect("a process has a number above 0");
        kill_process(pid, signal).expect("our own process");
    }

    /// Unmounts with `fusermount3 -u`, as a user does, and waits until the process has ended.
    #[track_caller]
    pub(crate) fn unmount(mut self) {
        self.unmount_by(&["fusermount3", "-u"]);
        self.is_gone();
    }

    /// Unmounts with this command, as the user who mounted.
    ///
    /// The command is repeated for a while when it reports "busy": a test on another thread may have forked while a
    /// file of the mount was open, and the child keeps that file open until its exec.
    #[track_caller]
    pub(crate) fn unmount_by(&self, words: &[&str]) {
        let mut command = Command::new(words[0]);
        command.args(&words[1..]).arg(&self.mountpoint);
        if let Some(id) = self.as_user {
            command.uid(id).gid(id);
        }
        let mut outcome = run(&mut command, END);
        wait_until(END, || {
            let busy = outcome.code != Some(0) && outcome.text().contains("busy");
            if busy {
                outcome = run(&mut command, END);
            }
            !busy
        });
        outcome.success();
    }

    /// Waits until the mount is gone and its process has ended. Returns the exit code if the process is a child of this
    /// one.
    #[track_caller]
    pub(crate) fn is_gone(&mut self) -> Option<i32> {
        let pid = self.process();
        let mut code = None;
        let gone = match &mut self.child {
            Some(child) => match wait(child, END) {
                Some(status) => {
                    code = status.code();
                    true
                }
                None => false,
            },
            None => wait_until(END, || !is_running(pid)),
        };
        assert!(gone, "process {pid} has not ended {END:?} after the unmount\n{}", self.messages());
        assert!(mountinfo::at(&self.mountpoint).is_none(), "the process has ended, but the mount is still there");
        self.watchdog = None;
        code
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        if mountinfo::at(&self.mountpoint).is_some() {
            end(&self.mountpoint, self.minor, self.pid.as_slice());
        } else if let Some(pid) = self.pid
            && !wait_until(END, || !is_running(pid))
        {
            kill(pid);
        }
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
        let _ = fs::remove_file(&self.log);
        // Without what is in it: if a mount is left there, its content is on the share.
        let _ = fs::remove_dir(&self.mountpoint);
    }
}

/// Ends a mount: first by unmounting it, and if that fails by aborting its FUSE connection.
fn end(mountpoint: &Path, minor: u32, processes: &[i32]) {
    let quiet = |program: &str, arguments: &[&str]| {
        let mut command = Command::new(program);
        command.args(arguments).arg(mountpoint);
        spawn_quiet(command).ok().and_then(|mut child| wait(&mut child, END)).is_some_and(|status| status.success())
    };
    if !quiet("fusermount3", &["-u"]) {
        eprintln!("cannot unmount {}: aborting its connection", mountpoint.display());
        watchdog::abort(minor);
        quiet("umount", &["-l"]);
    }
    for pid in processes {
        if !wait_until(END, || !is_running(*pid)) {
            kill(*pid);
        }
    }
}

/// A copy of the program that every user may run. The original cannot be run by a user who may not enter one of the
/// folders above it, and the checkout may be in a home folder with mode 0700.
pub(crate) fn program_for_all() -> &'static Path {
    static COPY: OnceLock<PathBuf> = OnceLock::new();
    COPY.get_or_init(|| {
        let copy = scratch::folder("program").join("cifs-fuse");
        fs::copy(PROGRAM, &copy).expect("a writable folder with room for the program");
        fs::set_permissions(&copy, fs::Permissions::from_mode(0o755)).expect("the permissions of our own file");
        copy
    })
}

/// A symbolic link to the program with another name, in a new folder.
pub(crate) fn linked_as(name: &str) -> PathBuf {
    let link = scratch::folder("bin").join(name);
    std::os::unix::fs::symlink(PROGRAM, &link).expect("a writable folder");
    link
}

/// A command that runs the program with these arguments and an empty environment except PATH, for runs that mount
/// nothing.
pub(crate) fn program<'a>(arguments: impl IntoIterator<Item = &'a str>) -> Command {
    let mut command = Command::new(PROGRAM);
    command.env_clear().env("PATH", env::var_os("PATH").unwrap_or_default()).args(arguments);
    command
}
