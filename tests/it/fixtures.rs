//! Tests of the fixtures: a test means nothing if a fixture that it relies on does not work.

use crate::support::command::{Run, run};
use crate::support::files::{self, noise};
use crate::support::frames::command;
use crate::support::line::Line;
use crate::support::netbios::NetBios;
use crate::support::proxy::Proxy;
use crate::support::server::{Demand, Kind, PASSWORD, SHARE, Server, Settings, both_servers, user};
use crate::support::silent::Silent;
use crate::support::smbd::{Smbd, protocol};
use crate::support::watchdog::{self, Watchdog};
use crate::support::{mountinfo, scratch};
use cifs_fuse::config::Dialect;
use rustix::io::Errno;
use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

const DEADLINE: Duration = Duration::from_secs(30);

both_servers!(
    serves_files_to_smbclient,
    can_require_signing,
    can_require_encryption,
    can_be_read_only,
    can_admit_guests
);

fn serves_files_to_smbclient(kind: Kind) {
    let server = Server::shared(kind);
    let folder = server.new_folder("fixture");
    let data = noise(1, 300_000);
    let local = scratch::folder("local").join("in");
    fs::write(&local, &data).unwrap();
    let name = folder.file_name().unwrap().to_str().unwrap();
    smbclient(server.port(), &[], &format!("cd {name}; put {} there", local.display())).success();
    assert!(fs::read(folder.join("there")).unwrap() == data);
    let other_client =
        run(
            Command::new("smbclient")
                .arg(format!("//127.0.0.1/{SHARE}"))
                .args(["-p", &server.port().to_string()])
                .args(["-U", &format!("{}%wrong", user()), "-c", "ls"]),
            DEADLINE,
        );
    other_client.says("NT_STATUS_LOGON_FAILURE");
}

fn can_require_signing(kind: Kind) {
    let server = Server::start(kind, Settings { signing: Demand::Required, ..Settings::default() });
    smbclient(server.port(), &["--client-protection=sign"], "ls").success();
    let proxy = Proxy::to_port(server.port());
    smbclient(proxy.port(), &["--option=client signing=disabled"], "ls");
    assert!(proxy.requests(command::CREATE) == 0 || proxy.unsigned_frames() < 5, "an unsigned session was served");
}

fn can_require_encryption(kind: Kind) {
    let server = Server::start(kind, Settings { encryption: Demand::Required, ..Settings::default() });
    let proxy = Proxy::to_port(server.port());
    smbclient(proxy.port(), &[], "ls").success();
    assert!(proxy.encrypted_frames() > 0);
    assert_eq!(proxy.requests(command::CREATE), 0, "a CREATE was sent unencrypted");
}

fn can_be_read_only(kind: Kind) {
    let server = Server::start(kind, Settings { read_only: true, ..Settings::default() });
    let denied = smbclient(server.port(), &[], "mkdir new");
    assert!(denied.text().contains("NT_STATUS_"), "{denied}");
    assert!(files::names(server.folder()).is_empty());
}

fn can_admit_guests(kind: Kind) {
    let server = Server::start(kind, Settings { guests: true, ..Settings::default() });
    let share = format!("//127.0.0.1/{SHARE}");
    let port = server.port().to_string();
    let guest = ["-p", &port, "-N", "-c", "mkdir made"];
    run(Command::new("smbclient").arg(&share).args(guest), DEADLINE).success();
    assert_eq!(files::names(server.folder()), ["made"]);
}

#[test]
fn smbd_speaks_only_the_dialect_of_its_settings() {
    for dialect in Dialect::ALL {
        let server = Smbd::start(Settings { dialects: Some((dialect, dialect)), ..Settings::default() });
        smbclient(server.port(), &[&format!("-m{}", protocol(dialect))], "ls").success();
        let other = if dialect == Dialect::Smb311 { Dialect::Smb302 } else { Dialect::Smb311 };
        let only = format!("--option=client min protocol={}", protocol(other));
        let refused = smbclient(server.port(), &[&only, &format!("-m{}", protocol(other))], "ls");
        if other > dialect {
            assert_ne!(refused.code, Some(0), "{dialect}: {refused}");
        }
    }
}

#[test]
fn smbd_can_be_killed_and_restarted() {
    let server = Smbd::start(Settings::default());
    smbclient(server.port(), &[], "mkdir before").success();
    server.kill();
    assert!(TcpStream::connect(("127.0.0.1", server.port())).is_err());
    server.restart();
    smbclient(server.port(), &[], "mkdir after").success();
    assert_eq!(files::names(server.folder()), ["after", "before"]);
}

#[test]
fn the_proxy_forwards_records_and_counts() {
    let server = Server::shared(Kind::Smbd);
    let proxy = Proxy::to_port(server.port());
    smbclient(proxy.port(), &[], "ls").success();
    assert_eq!(proxy.connections(), 1);
    assert!(proxy.requests(command::NEGOTIATE) >= 1 && proxy.requests(command::SESSION_SETUP) == 2);
    assert!(proxy.frames() > 5);
    assert!(
        proxy.first_frames()[1][4..].starts_with(b"\xfeSMB") || proxy.first_frames()[0][4..].starts_with(b"\xfeSMB")
    );
}

/// A proxy in front of an echo server, and a client connected to it.
fn echo() -> (Proxy, TcpStream) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let proxy = Proxy::to(listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for client in listener.incoming().flatten() {
            std::thread::spawn(move || std::io::copy(&mut &client, &mut &client));
        }
    });
    let client = TcpStream::connect(("127.0.0.1", proxy.port())).unwrap();
    client.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    (proxy, client)
}

fn round_trip(client: &mut TcpStream) -> std::io::Result<Vec<u8>> {
    client.write_all(b"\0\0\0\x04ping")?;
    let mut answer = vec![0; 8];
    client.read_exact(&mut answer)?;
    Ok(answer)
}

#[test]
fn the_proxy_stalls_and_forwards_again() {
    let (proxy, mut client) = echo();
    assert_eq!(round_trip(&mut client).unwrap(), b"\0\0\0\x04ping");
    proxy.stall();
    assert_eq!(round_trip(&mut client).unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
    proxy.forward();
    client.set_read_timeout(Some(DEADLINE)).unwrap();
    let mut answer = vec![0; 8];
    client.read_exact(&mut answer).unwrap();
    assert_eq!(answer, b"\0\0\0\x04ping", "held bytes must arrive");
    assert_eq!(proxy.frames(), 2);
}

#[test]
fn the_proxy_cuts_and_resets() {
    let (proxy, mut client) = echo();
    client.set_read_timeout(Some(DEADLINE)).unwrap();
    round_trip(&mut client).unwrap();
    proxy.cut();
    assert_eq!(client.read(&mut [0; 1]).unwrap(), 0, "the connection must end in order");
    let mut client = TcpStream::connect(("127.0.0.1", proxy.port())).unwrap();
    client.set_read_timeout(Some(DEADLINE)).unwrap();
    round_trip(&mut client).unwrap();
    proxy.reset();
    assert_eq!(client.read(&mut [0; 1]).unwrap_err().kind(), std::io::ErrorKind::ConnectionReset);
    proxy.refuse();
    let mut client = TcpStream::connect(("127.0.0.1", proxy.port())).unwrap();
    client.set_read_timeout(Some(DEADLINE)).unwrap();
    assert!(matches!(client.read(&mut [0; 1]), Ok(0) | Err(_)));
    assert_eq!(proxy.connections(), 3);
}

/// Programs inherit no open file of a test. If they did, their start would wait until the mount of each such file has
/// answered a FLUSH.
#[test]
fn programs_start_while_a_mount_is_stalled() {
    let line = Line::to(Server::shared(Kind::Smbd), &[]);
    let mut file = fs::File::create(line.here("file")).unwrap();
    line.proxy.stall();
    file.write_all(b"not sent yet").unwrap();
    run(&mut Command::new("true"), Duration::from_secs(5)).success();
    line.proxy.forward();
    drop(file);
    line.mount.unmount();
}

#[test]
fn the_proxy_delays_each_direction() {
    let (proxy, mut client) = echo();
    client.set_read_timeout(Some(DEADLINE)).unwrap();
    proxy.delay(Duration::from_millis(60));
    let start = Instant::now();
    round_trip(&mut client).unwrap();
    assert!(start.elapsed() >= Duration::from_millis(120), "{:?}", start.elapsed());
}

#[test]
fn the_watchdog_ends_a_mount_that_hangs() {
    let silent = Silent::new();
    let minor = mountinfo::at(&silent.mountpoint).unwrap().minor;
    let watchdog = Watchdog::new("a silent mount", minor, Duration::from_millis(200));
    let error = fs::metadata(&silent.mountpoint).expect_err("the file system never answers");
    assert!(matches!(error.raw_os_error(), Some(libc::ECONNABORTED | libc::ENOTCONN)), "{error}");
    let failed = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| drop(watchdog)));
    assert!(failed.is_err(), "a watchdog that aborted a mount must fail its test");
}

#[test]
fn an_aborted_mount_is_stale() {
    let silent = Silent::new();
    watchdog::abort(mountinfo::at(&silent.mountpoint).unwrap().minor);
    files::fails_with(fs::metadata(&silent.mountpoint), Errno::NOTCONN);
    let mountpoint = silent.mountpoint.clone();
    drop(silent);
    assert!(mountinfo::at(&mountpoint).is_none());
}

#[test]
fn a_watchdog_that_is_not_needed_does_nothing() {
    watchdog::control_folder();
    assert!(Path::new("/sys/fs/fuse/connections").is_dir());
    drop(Watchdog::new("nothing", u32::MAX, DEADLINE));
}

/// Samba's own client of the name service parses the answer and finds the requested name.
#[test]
fn the_name_service_answers_as_samba_expects() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: only root may bind port 137");
        return;
    }
    let _service = NetBios::start(Ipv4Addr::new(127, 0, 0, 3), &["OLDNAS"], 1);
    let answer = run(Command::new("nmblookup").args(["-A", "127.0.0.3"]), DEADLINE);
    answer.success().says("OLDNAS          <20>").says("WORKGROUP       <00> - <GROUP>");
}

/// Runs `smbclient` on the share with one command.
#[track_caller]
fn smbclient(port: u16, options: &[&str], command: &str) -> Run {
    let credentials = scratch::folder("smbclient").join("credentials");
    fs::write(&credentials, format!("username={}\npassword={PASSWORD}\n", user())).unwrap();
    let mut smbclient = Command::new("smbclient");
    smbclient.arg(format!("//127.0.0.1/{SHARE}")).args(["-p", &port.to_string(), "-c", command]);
    smbclient.arg("-A").arg(credentials).args(options);
    run(&mut smbclient, DEADLINE)
}
