//! `transport=netbios`: the session request, the fallback to the server's own name, and file operations over
//! such a session.

use crate::support::files::{names, noise};
use crate::support::mount::{Mount, Request};
use crate::support::netbios::{ANY_SERVER, NetBios};
use crate::support::proxy::Proxy;
use crate::support::server::{Kind, SHARE, Server, url};
use std::fs;
use std::net::Ipv4Addr;
use std::path::Path;

fn works(mount: &Mount, folder: &Path) {
    let data = noise(1, 2_000_001);
    fs::write(mount.join("file"), &data).unwrap();
    assert!(fs::read(folder.join("file")).unwrap() == data);
    assert!(fs::read(mount.join("file")).unwrap() == data);
    for number in 0..500 {
        fs::write(folder.join(format!("entry {number}")), "x").unwrap();
    }
    assert_eq!(names(mount.path()).len(), 501);
}

#[test]
fn the_session_request_calls_the_general_name_smbserver() {
    let server = Server::shared(Kind::Smbd);
    let folder = server.new_folder("netbios");
    let service = NetBios::start(Ipv4Addr::LOCALHOST, &[ANY_SERVER], server.port());
    let path = folder.file_name().unwrap().to_str().unwrap();
    let mount = Request::new(format!("cifs://{}/{SHARE}/{path}?transport=netbios", service.address())).mount();
    works(&mount, &folder);
    mount.unmount();
    assert!(service.called().iter().all(|name| name == ANY_SERVER), "{:?}", service.called());
    assert_eq!(service.wrong(), Vec::<String>::new());
}

#[test]
fn a_server_that_refuses_the_general_name_is_called_by_its_own() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: only root may bind port 137");
        return;
    }
    let server = Server::shared(Kind::Smbd);
    let folder = server.new_folder("netbios");
    let service = NetBios::start(Ipv4Addr::new(127, 0, 0, 2), &["OLDNAS"], server.port());
    let path = folder.file_name().unwrap().to_str().unwrap();
    let mount = Request::new(format!("cifs://{}/{SHARE}/{path}?transport=netbios", service.address())).mount();
    works(&mount, &folder);
    mount.unmount();
    assert_eq!(service.called()[..2], [ANY_SERVER, "OLDNAS"]);
    assert!(service.queries() >= 1);
    assert_eq!(service.wrong(), Vec::<String>::new());
}

#[test]
fn a_server_that_refuses_every_name_is_named_in_the_error() {
    let service = NetBios::start(Ipv4Addr::LOCALHOST, &[], 1);
    let url = format!("cifs://{}/{SHARE}?transport=netbios", service.address());
    // No name service answers on 127.0.0.1.
    Request::new(url).arg("--connect-timeout=5").fails(32).says("connect:").says("refused").says(ANY_SERVER);
    assert_eq!(service.called()[0], ANY_SERVER);
}

/// smbd accepts the session request on any port, not only on 139.
#[test]
fn samba_itself_accepts_the_session_request() {
    let server = Server::shared(Kind::Smbd);
    let folder = server.new_folder("netbios");
    let proxy = Proxy::to_port(server.port());
    let path = folder.file_name().unwrap().to_str().unwrap();
    let mount = Request::new(url("127.0.0.1", proxy.port(), path)).arg("--transport=netbios").mount();
    works(&mount, &folder);
    mount.unmount();
    let first = &proxy.first_frames()[0];
    assert_eq!((first[0], first.len()), (0x81, 72), "the first frame must be a session request");
}

#[test]
fn direct_tcp_sends_no_session_request() {
    let server = Server::shared(Kind::Smbd);
    let proxy = Proxy::to_port(server.port());
    for url in [url("127.0.0.1", proxy.port(), ""), url("127.0.0.1", proxy.port(), "") + "?transport=DirectTCP"] {
        Request::new(url).mount().unmount();
    }
    assert!(proxy.first_frames().iter().all(|frame| frame[0] == 0));
}
