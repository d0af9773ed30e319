//! Samba's `smbd`, private to a test: own folders, own configuration, own password database, a free port of
//! the loopback. It runs without root; then it knows only the user who runs it.

use super::command::{run, run_with_input, spawn_quiet, wait};
use super::processes::{self, children, name};
use super::server::{Demand, PASSWORD, SHARE, Settings, share_folder, user};
use super::{new_samba, scratch, wait_until};
use cifs_fuse::config::Dialect;
use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::Mutex;
use std::time::Duration;
use std::{env, fs};

const START: Duration = Duration::from_secs(20);

/// A running smbd.
pub(crate) struct Smbd {
    /// The root folder of its programs; `None` for the installed Samba.
    root: Option<&'static Path>,
    home: PathBuf,
    folder: PathBuf,
    port: u16,
    process: Mutex<Option<Child>>,
}

impl Smbd {
    /// Starts a server. It answers when this returns.
    pub(crate) fn start(settings: Settings) -> Smbd {
        Smbd::start_in(None, settings)
    }

    /// Starts a server of the newer Samba. Panics if that is not available.
    pub(super) fn start_newer(settings: Settings) -> Smbd {
        Smbd::start_in(Some(new_samba::root().expect("its tests are skipped if it is missing")), settings)
    }

    fn start_in(root: Option<&'static Path>, settings: Settings) -> Smbd {
        let home = scratch::folder("smbd");
        let folder = share_folder(&home);
        for name in ["private", "lock", "state", "cache", "pid", "ncalrpc"] {
            fs::create_dir(home.join(name)).expect("the server's folder is new");
        }
        let port = scratch::free_port();
        let seen = if root.is_some() { Path::new(new_samba::HOME) } else { &home };
        let configuration = configuration(seen, keeps_attributes(&folder), port, &settings);
        fs::write(home.join("smb.conf"), configuration).expect("a writable folder");
        let server = Smbd { root, home, folder, port, process: Mutex::new(None) };
        server.add_user(PASSWORD);
        server.restart();
        server
    }

    /// The TCP port on 127.0.0.1.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// The share's folder.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Kills the server and all its processes. Clients get no notice.
    pub(crate) fn kill(&self) {
        let Some(mut process) = self.process.lock().expect("no panic under this lock").take() else { return };
        let group = Pid::from_child(&process);
        // The leader has not been waited for yet, so its process id is still the id of this group.
        let _ = kill_process_group(group, Signal::KILL);
        assert!(wait(&mut process, START).is_some(), "smbd survived SIGKILL");
    }

    /// Starts the server on the same port. If it runs, it is killed first.
    pub(crate) fn restart(&self) {
        self.kill();
        let mut command = self.program("smbd", "-s");
        command.args(["--foreground", "--no-process-group"]);
        let mut process = spawn_quiet(command).expect("smbd is installed (package samba)");
        let answers = wait_until(START, || {
            let ended = process.try_wait().expect("a child can be waited for");
            assert!(ended.is_none(), "smbd ended at once: {ended:?}\n{}", self.log());
            TcpStream::connect(("127.0.0.1", self.port)).is_ok() && self.serves()
        });
        *self.process.lock().expect("no panic under this lock") = Some(process);
        assert!(answers, "smbd does not serve on port {} after {START:?}\n{}", self.port, self.log());
    }

    /// Whether the share can be used. Shortly after smbd begins to listen, it may still refuse a tree connect
    /// with STATUS_NO_MEMORY.
    fn serves(&self) -> bool {
        let credentials = self.home.join("credentials");
        fs::write(&credentials, format!("username={}\npassword={PASSWORD}\n", user())).expect("a writable folder");
        let mut smbclient = Command::new("smbclient");
        smbclient.arg(format!("//127.0.0.1/{SHARE}")).arg("-A").arg(credentials);
        smbclient.args(["-p", &self.port.to_string(), "-c", "exit"]);
        run(&mut smbclient, START).code == Some(0)
    }

    /// Stops (SIGSTOP) smbd-notifyd, the process that watches directories, until the guard is dropped.
    pub(crate) fn stop_watching(&self) -> Stopped {
        let watcher = children(self.leader()).into_iter().find(|pid| name(*pid) == "smbd-notifyd");
        let watcher = Stopped(watcher.and_then(Pid::from_raw).expect("smbd has a process smbd-notifyd"));
        kill_process(watcher.0, Signal::STOP).expect("our own process");
        watcher
    }

    /// Stops (SIGSTOP) the server and all its processes until the guard is dropped.
    pub(crate) fn pause(&self) -> Paused {
        let group = Pid::from_raw(self.leader()).expect("no process has the number 0");
        kill_process_group(group, Signal::STOP).expect("our own processes");
        Paused(group)
    }

    /// Kills the processes that serve clients, but not the one that accepts them. Waits until there is one.
    #[track_caller]
    pub(crate) fn kill_clients(&self) {
        let mut serving = Vec::new();
        let serves = wait_until(START, || {
            serving = self.serving();
            !serving.is_empty()
        });
        assert!(serves, "no process of smbd serves a client");
        for pid in serving {
            // One may end by itself at this moment.
            let _ = kill_process(pid, Signal::KILL);
        }
    }

    /// The processes that serve clients. Some versions of smbd add the client's address to their names.
    fn serving(&self) -> Vec<Pid> {
        let serves = |pid: &i32| name(*pid) == "smbd" || name(*pid).starts_with("smbd[");
        children(self.leader()).into_iter().filter(serves).filter_map(Pid::from_raw).collect()
    }

    /// The server's log.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.home.join("log")).unwrap_or_default()
    }

    /// Stops (SIGSTOP) the processes that serve clients until the guards are dropped.
    pub(crate) fn stop_serving(&self) -> Vec<Stopped> {
        let stop = |pid| {
            kill_process(pid, Signal::STOP).expect("our own process");
            Stopped(pid)
        };
        self.serving().into_iter().map(stop).collect()
    }

    /// Changes the password of the user.
    pub(crate) fn set_password(&self, password: &str) {
        self.pdbedit(&["-x", "-u", user()], "");
        self.add_user(password);
    }

    /// Disables the account of the user.
    pub(crate) fn disable_user(&self) {
        self.pdbedit(&["-r", "-u", user(), "-c", "[D]"], "");
    }

    /// Adds a line to the configuration of the share. It applies to connections made from now on.
    pub(crate) fn configure(&self, line: &str) {
        let path = self.home.join("smb.conf");
        let text = fs::read_to_string(&path).expect("our own file");
        fs::write(&path, format!("{text}{line}\n")).expect("a writable folder");
    }

    fn add_user(&self, password: &str) {
        let input = format!("{password}\n{password}\n");
        // As root, smbpasswd writes the database itself; as an ordinary user it would ask a running server.
        if !rustix::process::geteuid().is_root() {
            return self.pdbedit(&["-a", "-t", "-u", user()], &input);
        }
        let mut smbpasswd = self.program("smbpasswd", "-c");
        smbpasswd.args(["-a", "-s", user()]);
        run_with_input(&mut smbpasswd, input.as_bytes(), START).success();
    }

    /// The paths at or below a path of the share that the server's processes have open.
    pub(crate) fn open_below(&self, path: &Path) -> Vec<PathBuf> {
        let opens = children(self.leader()).into_iter().filter_map(|pid| fs::read_dir(format!("/proc/{pid}/fd")).ok());
        let paths = opens.flatten().flatten().filter_map(|open| fs::read_link(open.path()).ok());
        let share = self.seen().join("files");
        paths
            .filter_map(|open| Some(open.strip_prefix(&share).ok()?.to_owned()))
            .filter(|open| open.starts_with(path))
            .collect()
    }

    /// The process id of the smbd that accepts clients.
    fn leader(&self) -> i32 {
        self.process.lock().expect("no panic under this lock").as_ref().expect("it runs").id() as i32
    }

    /// The server's home folder, as its programs see it.
    fn seen(&self) -> &Path {
        if self.root.is_some() { Path::new(new_samba::HOME) } else { &self.home }
    }

    /// One of Samba's programs; `option` is its option for the path of the configuration.
    fn program(&self, name: &str, option: &str) -> Command {
        let mut command = match self.root {
            Some(root) => new_samba::command(root, &self.home, name),
            None => Command::new(program(name)),
        };
        command.arg(option).arg(self.seen().join("smb.conf"));
        command
    }

    fn pdbedit(&self, arguments: &[&str], input: &str) {
        let mut pdbedit = self.program("pdbedit", "-s");
        pdbedit.args(arguments);
        run_with_input(&mut pdbedit, input.as_bytes(), START).success();
    }
}

/// A stopped process. It continues when this is dropped.
pub(crate) struct Stopped(Pid);

impl Drop for Stopped {
    fn drop(&mut self) {
        let _ = kill_process(self.0, Signal::CONT);
    }
}

/// All processes of a server, stopped. They continue when this is dropped.
pub(crate) struct Paused(Pid);

impl Drop for Paused {
    fn drop(&mut self) {
        let _ = kill_process_group(self.0, Signal::CONT);
    }
}

impl Drop for Smbd {
    fn drop(&mut self) {
        self.kill();
        // The programs for named pipes, which Samba starts at the first list of shares, stay behind in sessions of their
        // own.
        processes::kill_with_argument(&format!("--configfile={}/smb.conf", self.home.display()));
        let _ = fs::remove_dir_all(&self.home);
    }
}

/// The path of a program. Debian installs some of Samba's programs in folders that are on the PATH of root
/// only.
fn program(name: &str) -> PathBuf {
    let path = env::var_os("PATH").unwrap_or_default();
    let folders = env::split_paths(&path).chain(["/usr/sbin".into(), "/sbin".into()]);
    folders.map(|folder| folder.join(name)).find(|file| file.exists()).unwrap_or_else(|| name.into())
}

/// The text of smb.conf for a server with this home folder, as its programs see that folder.
fn configuration(home: &Path, keeps_attributes: bool, port: u16, settings: &Settings) -> String {
    let home = home.display();
    let mut global = vec![
        "server role = standalone server".to_owned(),
        "interfaces = lo".to_owned(),
        "bind interfaces only = yes".to_owned(),
        format!("smb ports = {port}"),
        format!("private dir = {home}/private"),
        format!("lock directory = {home}/lock"),
        format!("state directory = {home}/state"),
        format!("cache directory = {home}/cache"),
        format!("pid directory = {home}/pid"),
        format!("ncalrpc dir = {home}/ncalrpc"),
        format!("log file = {home}/log"),
        "log level = 1".to_owned(),
        "disable netbios = yes".to_owned(),
        "disable spoolss = yes".to_owned(),
        "load printers = no".to_owned(),
        "passdb backend = tdbsam".to_owned(),
        format!("guest account = {}", user()),
        format!("map to guest = {}", map_to_guest(settings)),
    ];
    if let Some((lowest, highest)) = settings.dialects {
        global.push(format!("server min protocol = {}", protocol(lowest)));
        global.push(format!("server max protocol = {}", protocol(highest)));
    }
    match settings.signing {
        Demand::Default => {}
        Demand::Required => global.push("server signing = mandatory".to_owned()),
        Demand::Off => global.push("server signing = disabled".to_owned()),
    }
    match settings.encryption {
        Demand::Default => {}
        Demand::Required => global.push("server smb encrypt = required".to_owned()),
        Demand::Off => global.push("server smb encrypt = off".to_owned()),
    }
    if let Some(bytes) = settings.max_io {
        global.extend(["read", "write", "trans"].map(|kind| format!("smb2 max {kind} = {bytes}")));
    }
    if let Some(credits) = settings.max_credits {
        global.push(format!("smb2 max credits = {credits}"));
    }
    if let Some(files) = settings.max_open_files {
        global.push(format!("max open files = {files}"));
    }
    if settings.single_channel {
        global.push("server multi channel support = no".to_owned());
    }
    if settings.no_leases {
        global.push("smb2 leases = no".to_owned());
    }
    let yes = |on: bool| if on { "yes" } else { "no" };
    let mut share = vec![
        format!("path = {home}/files"),
        format!("read only = {}", yes(settings.read_only)),
        format!("guest ok = {}", yes(settings.guests || settings.guests_for_wrong_passwords)),
        format!("store dos attributes = {}", yes(keeps_attributes)),
    ];
    if settings.no_oplocks {
        share.push("oplocks = no".to_owned());
    }
    if settings.shares_blocks {
        share.push("vfs objects = btrfs".to_owned());
    }
    share.extend(settings.share_lines.iter().map(|line| (*line).to_owned()));
    format!("[global]\n{}\n[{SHARE}]\n{}\n", global.join("\n"), share.join("\n"))
}

fn map_to_guest(settings: &Settings) -> &'static str {
    match (settings.guests_for_wrong_passwords, settings.guests) {
        (true, _) => "bad password",
        (false, true) => "bad user",
        (false, false) => "never",
    }
}

/// Samba's name of a dialect (smb.conf(5), "server max protocol").
pub(crate) fn protocol(dialect: Dialect) -> &'static str {
    match dialect {
        Dialect::Smb202 => "SMB2_02",
        Dialect::Smb210 => "SMB2_10",
        Dialect::Smb300 => "SMB3_00",
        Dialect::Smb302 => "SMB3_02",
        Dialect::Smb311 => "SMB3_11",
    }
}

/// Whether a folder supports extended attributes. Samba stores DOS attributes and creation times in them, and
/// not every temporary folder has them.
fn keeps_attributes(folder: &Path) -> bool {
    let flags = rustix::fs::XattrFlags::empty();
    let kept = rustix::fs::setxattr(folder, "user.cifs-fuse-it", b"1", flags).is_ok();
    if kept {
        let _ = rustix::fs::removexattr(folder, "user.cifs-fuse-it");
    }
    kept
}
