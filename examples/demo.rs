//! Shows what the program does, without any setup: starts a server on a free loopback port, shares a few sample files,
//! mounts them, and copies a file there and back.
//!
//!     cargo run --release --example demo            stays mounted until Ctrl-C
//!     cargo run --release --example demo -- --once  ends at once
//!
//! The server is the crate `smb-server`, inside this process. The mount is made by a second process of this program,
//! which then behaves as `cifs-fuse`: see [`mount`].

use sha2::{Digest, Sha256};
use smb_server::{Access, LocalFsBackend, Share, ShutdownHandle, SmbServer};
use std::error::Error;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode};
use std::time::{Duration, Instant};
use std::{env, thread};
use tokio::runtime::Runtime;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

const USER: &str = "demo";
const SHARE: &str = "demo";
/// The environment variable that marks the process that mounts.
const MOUNTING: &str = "CIFS_FUSE_DEMO_MOUNTS";
/// Size of the copied file, in bytes.
const COPIED: usize = 64 << 20;
/// Time limit of every step. Each one takes less on any machine.
const LIMIT: Duration = Duration::from_secs(30);

fn main() -> ExitCode {
    if env::var_os(MOUNTING).is_some() {
        return cifs_fuse::cli::run();
    }
    let once = match env::args().skip(1).collect::<Vec<_>>().as_slice() {
        [] => false,
        [word] if word == "--once" => true,
        _ => {
            eprintln!("usage: demo [--once]");
            return ExitCode::from(1);
        }
    };
    match show(once) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("demo: {error}");
            ExitCode::FAILURE
        }
    }
}

fn show(once: bool) -> Result<()> {
    let runtime = Runtime::new()?;
    // Installed first, so that Ctrl-C ends this program cleanly from here on.
    let mut interrupts = runtime.block_on(async {
        use tokio::signal::unix::{SignalKind, signal};
        io::Result::Ok((signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?))
    })?;

    let folder = tempfile::Builder::new().prefix("cifs-fuse-demo-").tempdir()?;
    let files = folder.path().join("files");
    samples(&files)?;
    let password = random_word()?;
    let server = Server::start(&runtime, &files, &password)?;
    println!("Server   {} shares {}", server.address, files.display());

    let mountpoint = folder.path().join("mnt");
    fs::create_dir(&mountpoint)?;
    let url = format!("cifs://{}/{SHARE}", server.address);
    let mount = mount(&url, &mountpoint, &password, &folder.path().join("log"))?;
    println!("Mounted  {url} on {}", mountpoint.display());
    for line in mount.terms() {
        println!("         {line}");
    }
    list(&mountpoint)?;
    copy(&mountpoint, &files)?;

    if !once {
        println!("\nLook around in {}; Ctrl-C unmounts it.", mountpoint.display());
        runtime.block_on(async {
            tokio::select! {
                _ = interrupts.0.recv() => {}
                _ = interrupts.1.recv() => {}
            }
        });
    }
    mount.end()?;
    server.shutdown.shutdown();
    println!("\nUnmounted, and nothing is left behind.");
    Ok(())
}

/// A running server.
struct Server {
    address: SocketAddr,
    shutdown: ShutdownHandle,
}

impl Server {
    fn start(runtime: &Runtime, files: &Path, password: &str) -> Result<Server> {
        let share = Share::new(SHARE, LocalFsBackend::new(files)?).user(USER, Access::ReadWrite);
        let listen = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let server = SmbServer::builder().listen(listen).user(USER, password).share(share).build()?;
        let address = runtime.block_on(server.bind())?;
        let shutdown = server.shutdown_handle();
        runtime.spawn(server.serve());
        Ok(Server { address, shutdown })
    }
}

/// The process that serves the mount.
struct Mount {
    process: Child,
    log: PathBuf,
}

/// Mounts as a user would, with a command line, in a second process of this program: a process that serves a mount must
/// not read or write in it.
fn mount(url: &str, mountpoint: &Path, password: &str, log: &Path) -> Result<Mount> {
    let mut command = Command::new(env::current_exe()?);
    command.arg(url).arg(mountpoint).args(["--foreground", "--log-level=info"]);
    command.arg(format!("--log-target=file:{}", log.display()));
    command.env(MOUNTING, "1").env("AUTH_USERNAME", USER).env("AUTH_PASSWORD", password);
    // In a process group of its own, since the terminal's Ctrl-C is meant for this process.
    let mut mount = Mount { process: command.process_group(0).spawn()?, log: log.to_owned() };
    let start = Instant::now();
    while !is_mounted(mountpoint)? {
        if mount.process.try_wait()?.is_some() || start.elapsed() > LIMIT {
            return Err("the share was not mounted".into());
        }
        thread::sleep(Duration::from_millis(10));
    }
    Ok(mount)
}

fn is_mounted(mountpoint: &Path) -> Result<bool> {
    let table = fs::read_to_string("/proc/self/mountinfo")?;
    Ok(table.lines().any(|line| line.split(' ').nth(4).is_some_and(|field| Path::new(field) == mountpoint)))
}

impl Mount {
    /// The lines of the mount's log about the connection and the buffers.
    fn terms(&self) -> Vec<String> {
        let log = fs::read_to_string(&self.log).unwrap_or_default();
        let lines = log.lines().filter(|line| line.contains("connected") || line.contains("buffer"));
        // Without the time and the module at the beginning, and without messages printed before.
        let said = |line: &str| line.split_once(": ").map_or(line, |(_, said)| said).to_owned();
        lines.map(|line| line.split_once("terms=").map_or_else(|| said(line), |(_, terms)| terms.to_owned())).collect()
    }

    /// Unmounts, with the signal that systemd sends as well. All data is on the server afterwards.
    fn end(mut self) -> Result<()> {
        let pid = rustix::process::Pid::from_child(&self.process);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM)?;
        let start = Instant::now();
        while start.elapsed() < LIMIT {
            match self.process.try_wait()? {
                Some(status) if status.success() => return Ok(()),
                Some(status) => return Err(format!("the mount ended with {status}").into()),
                None => thread::sleep(Duration::from_millis(10)),
            }
        }
        Err(format!("the mount has not ended after {LIMIT:?}").into())
    }
}

/// An error in one of the steps must not leave a mount behind.
impl Drop for Mount {
    fn drop(&mut self) {
        if let Ok(None) = self.process.try_wait() {
            let pid = rustix::process::Pid::from_child(&self.process);
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
            let _ = self.process.wait();
        }
    }
}

/// Creates the sample files in the share's folder.
fn samples(files: &Path) -> Result<()> {
    fs::create_dir_all(files.join("photos"))?;
    fs::write(files.join("hello.txt"), "Hello from a share.\n")?;
    fs::write(files.join("photos").join("été à la mer.jpg"), vec![0xd8; 2_345_678])?;
    fs::write(files.join("notes.md"), "# Notes\n\nNames may hold anything: été, 日本, 🦀.\n")?;
    Ok(())
}

fn list(mountpoint: &Path) -> Result<()> {
    println!("Listing");
    let mut folders = vec![mountpoint.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder)? {
            let (path, metadata) = {
                let entry = entry?;
                (entry.path(), entry.metadata()?)
            };
            let name = path.strip_prefix(mountpoint)?.display().to_string();
            if metadata.is_dir() {
                println!("  {:>9}  {name}/", "");
                folders.push(path);
            } else {
                println!("  {:>9}  {name}", metadata.len());
            }
        }
    }
    Ok(())
}

/// Copies a file there and back, and compares it with the file on the server's disk.
fn copy(mountpoint: &Path, files: &Path) -> Result<()> {
    let mut data = vec![0; COPIED];
    File::open("/dev/urandom")?.read_exact(&mut data)?;
    let megabytes = COPIED as f64 / 1e6;

    let start = Instant::now();
    let mut file = File::create(mountpoint.join("copied"))?;
    file.write_all(&data)?;
    file.sync_all()?;
    drop(file);
    let there = start.elapsed().as_secs_f64();

    let start = Instant::now();
    let back = fs::read(mountpoint.join("copied"))?;
    let took = start.elapsed().as_secs_f64();

    let sums = [checksum(&data), checksum(&fs::read(files.join("copied"))?), checksum(&back)];
    println!("Copied   {megabytes:.0} MB there at {:.0} MB/s, back at {:.0} MB/s", megabytes / there, megabytes / took);
    println!("SHA-256  {} of the original", sums[0]);
    println!("         {} on the server", sums[1]);
    println!("         {} back again", sums[2]);
    fs::remove_file(mountpoint.join("copied"))?;
    match sums[0] == sums[1] && sums[1] == sums[2] {
        true => Ok(()),
        false => Err("the copies differ".into()),
    }
}

fn checksum(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A password for this run only, since every user of this machine can reach the server.
fn random_word() -> Result<String> {
    let mut bytes = [0; 16];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}
