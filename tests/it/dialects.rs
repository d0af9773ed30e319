//! Every dialect and every kind of message protection: files are copied in both directions, and the proxy
//! verifies what was on the wire.

use crate::support::files::{names, noise};
use crate::support::frames::command;
use crate::support::mount::{Mount, Request};
use crate::support::proxy::Proxy;
use crate::support::server::{Demand, Kind, Server, Settings, both_servers, url};
use crate::support::wait_until;
use cifs_fuse::config::Dialect;
use std::fs;
use std::time::Duration;

both_servers!(
    each_dialect_can_be_selected_by_options,
    a_server_that_requires_signing_gets_signed_requests,
    a_server_that_requires_encryption_gets_encrypted_requests,
    signing_is_on_by_default,
    signing_can_be_turned_off,
    signing_off_is_overridden_by_a_server_that_requires_it,
    encryption_can_be_required,
    a_mount_that_requires_encryption_fails_at_a_dialect_without_it,
    a_guest_can_work,
    anonymous_can_work,
    guests_are_refused_by_a_share_that_admits_no_guests,
    a_guest_mount_that_requires_signing_fails,
    requests_are_no_larger_than_the_maximum_of_the_server,
);

const SOON: Duration = Duration::from_secs(20);

/// Copies files of several sizes in both directions and compares them on the server's disk and on the mount.
fn works(mount: &Mount, server: &Server) {
    for length in [10, 100_000, 2_500_001] {
        let data = noise(length as u64, length);
        fs::write(mount.join("file"), &data).unwrap();
        assert!(fs::read(server.folder().join("file")).unwrap() == data);
        let other = format!("file of {length}");
        fs::write(server.folder().join(&other), noise(length as u64 + 1, length)).unwrap();
        // It was made on the server's disk, so the mount may find it only after the server has reported it.
        assert!(wait_until(SOON, || mount.join(&other).exists()), "{other} does not turn up");
        assert!(fs::read(mount.join(&other)).unwrap() == noise(length as u64 + 1, length));
        fs::remove_file(mount.join(&other)).unwrap();
    }
    fs::create_dir(mount.join("folder")).unwrap();
    fs::rename(mount.join("file"), mount.join("folder/file")).unwrap();
    assert_eq!(names(&mount.join("folder")), ["file"]);
    fs::remove_dir_all(mount.join("folder")).unwrap();
    assert!(names(server.folder()).is_empty());
}

/// Mounts through a proxy, runs [`works`] and unmounts. Returns the proxy with what it recorded.
fn observed(server: &Server, adjust: impl FnOnce(Request) -> Request) -> Proxy {
    let proxy = Proxy::to_port(server.port());
    let mount = adjust(Request::new(url("127.0.0.1", proxy.port(), ""))).mount();
    works(&mount, server);
    mount.unmount();
    proxy
}

/// The dialects offered in the first NEGOTIATE request (MS-SMB2 2.2.3).
fn offered(proxy: &Proxy) -> Vec<u16> {
    let frames = proxy.first_frames();
    let negotiate = frames.iter().find(|frame| frame.get(4..8) == Some(b"\xfeSMB")).expect("an SMB2 NEGOTIATE");
    let body = &negotiate[4 + 64..];
    let count = usize::from(u16::from_le_bytes([body[2], body[3]]));
    body[36..36 + 2 * count].chunks(2).map(|pair| u16::from_le_bytes([pair[0], pair[1]])).collect()
}

fn each_dialect_can_be_selected_by_options(kind: Kind) {
    let server = Server::start(kind, Settings::default());
    for dialect in Dialect::ALL {
        let proxy = observed(&server, |request| {
            request.args([format!("--min-dialect={dialect}"), format!("--max-dialect={dialect}")])
        });
        assert_eq!(offered(&proxy), [dialect.revision()], "{dialect}");
        assert_eq!(proxy.encrypted_frames(), 0, "{dialect}");
    }
}

#[test]
fn each_dialect_works_with_a_server_that_has_no_other() {
    for dialect in Dialect::ALL {
        let server = Server::start(Kind::Smbd, Settings { dialects: Some((dialect, dialect)), ..Settings::default() });
        let proxy = observed(&server, |request| request);
        assert!(offered(&proxy).contains(&dialect.revision()));
    }
}

#[test]
fn a_dialect_that_the_server_lacks_is_named_in_the_error() {
    let server = Server::start(
        Kind::Smbd,
        Settings { dialects: Some((Dialect::Smb210, Dialect::Smb210)), ..Settings::default() },
    );
    Request::new(server.url("")).arg("--min-dialect=3.0").fails(32).says("dialect:").says("3.0");
    let newer = Server::start(
        Kind::Smbd,
        Settings { dialects: Some((Dialect::Smb311, Dialect::Smb311)), ..Settings::default() },
    );
    Request::new(newer.url("")).arg("--max-dialect=3.0.2").fails(32).says("dialect:");
}

/// The most unsigned frames of a signed connection. NEGOTIATE and SESSION_SETUP come first and are unsigned:
/// 2 frames, 3 with a multi-protocol NEGOTIATE, and one more for each further SESSION_SETUP.
const HANDSHAKE: u64 = 4;

fn a_server_that_requires_signing_gets_signed_requests(kind: Kind) {
    let server = Server::start(kind, Settings { signing: Demand::Required, ..Settings::default() });
    for dialect in Dialect::ALL {
        let range = [format!("--min-dialect={dialect}"), format!("--max-dialect={dialect}")];
        let proxy = observed(&server, |request| request.args(range));
        assert!(proxy.unsigned_frames() <= HANDSHAKE, "{dialect}: {} unsigned", proxy.unsigned_frames());
    }
}

fn signing_is_on_by_default(kind: Kind) {
    let server = Server::start(kind, Settings::default());
    let proxy = observed(&server, |request| request);
    assert!(proxy.unsigned_frames() <= HANDSHAKE, "{} unsigned", proxy.unsigned_frames());
}

fn signing_can_be_turned_off(kind: Kind) {
    let server = Server::start(kind, Settings::default());
    let proxy = observed(&server, |request| request.arg("--signing=off"));
    assert!(proxy.unsigned_frames() > proxy.frames() / 2, "{} of {}", proxy.unsigned_frames(), proxy.frames());
}

fn signing_off_is_overridden_by_a_server_that_requires_it(kind: Kind) {
    let server = Server::start(kind, Settings { signing: Demand::Required, ..Settings::default() });
    let proxy = observed(&server, |request| request.arg("--signing=off"));
    assert!(proxy.unsigned_frames() <= HANDSHAKE, "{} unsigned", proxy.unsigned_frames());
}

fn a_server_that_requires_encryption_gets_encrypted_requests(kind: Kind) {
    let server = Server::start(kind, Settings { encryption: Demand::Required, ..Settings::default() });
    for dialect in [Dialect::Smb300, Dialect::Smb302, Dialect::Smb311] {
        let range = [format!("--min-dialect={dialect}"), format!("--max-dialect={dialect}")];
        let proxy = observed(&server, |request| request.args(range));
        assert_eq!(proxy.requests(command::CREATE), 0, "{dialect}: a CREATE was sent unencrypted");
        assert!(proxy.encrypted_frames() > 10, "{dialect}");
    }
}

fn encryption_can_be_required(kind: Kind) {
    let server = Server::start(kind, Settings::default());
    for dialect in [Dialect::Smb300, Dialect::Smb311] {
        let range = [format!("--min-dialect={dialect}"), format!("--max-dialect={dialect}")];
        let proxy = observed(&server, |request| request.args(range).arg("--encryption=required"));
        assert_eq!(proxy.requests(command::CREATE), 0, "{dialect}: a CREATE was sent unencrypted");
        assert_eq!(proxy.requests(command::WRITE) + proxy.requests(command::READ), 0, "{dialect}");
        assert!(proxy.encrypted_frames() > 10, "{dialect}");
    }
}

fn a_mount_that_requires_encryption_fails_at_a_dialect_without_it(kind: Kind) {
    let server = Server::shared(kind);
    let request = Request::new(server.url("")).args(["--encryption=required", "--max-dialect=2.1"]);
    request.fails_with_any(&[1, 32]).says("encrypt");
}

#[test]
fn a_mount_that_requires_encryption_fails_at_a_server_without_it() {
    let server = Server::start(Kind::Smbd, Settings { encryption: Demand::Off, ..Settings::default() });
    Request::new(server.url("")).arg("--encryption=required").fails(32).says("encrypt");
    let proxy = observed(&server, |request| request);
    assert_eq!(proxy.encrypted_frames(), 0);
}

fn open_to_guests(kind: Kind) -> Server {
    Server::start(kind, Settings { guests: true, ..Settings::default() })
}

fn a_guest_can_work(kind: Kind) {
    let server = open_to_guests(kind);
    for request in [Request::new(server.url("")).arg("--guest"), Request::new(server.url("")).without_credentials()] {
        let mount = request.mount();
        works(&mount, &server);
        mount.unmount();
    }
}

fn anonymous_can_work(kind: Kind) {
    let server = open_to_guests(kind);
    let mount = Request::new(server.url("")).without_credentials().arg("--anonymous").mount();
    works(&mount, &server);
    mount.unmount();
}

fn guests_are_refused_by_a_share_that_admits_no_guests(kind: Kind) {
    let server = Server::shared(kind);
    let request = || Request::new(server.url("")).without_credentials();
    request().arg("--guest").fails(33).says("STATUS_");
    request().arg("--anonymous").fails_with_any(&[32, 33]).says("STATUS_");
}

/// A guest session has no key, so it cannot be signed. The mount must fail and change nothing on the share.
fn a_guest_mount_that_requires_signing_fails(kind: Kind) {
    let server = open_to_guests(kind);
    let request = Request::new(server.url("")).without_credentials();
    request.args(["--guest", "--signing=required"]).fails_with_any(&[32, 33]).says("sign");
    assert!(names(server.folder()).is_empty());
}

fn requests_are_no_larger_than_the_maximum_of_the_server(kind: Kind) {
    let server = Server::start(kind, Settings { max_io: Some(65_536), ..Settings::default() });
    let proxy = observed(&server, |request| request);
    assert!(proxy.requests(command::WRITE) >= 2_500_001 / 65_536, "{}", proxy.requests(command::WRITE));
}

#[test]
fn a_server_that_grants_16_credits_can_be_used_by_8_threads() {
    let server = Server::start(Kind::Smbd, Settings { max_credits: Some(16), ..Settings::default() });
    let mount = Request::new(server.url("")).mount();
    works(&mount, &server);
    std::thread::scope(|scope| {
        for worker in 0..8_u64 {
            let path = mount.join(worker.to_string());
            scope.spawn(move || {
                let data = noise(worker, 400_000);
                fs::write(&path, &data).unwrap();
                assert!(fs::read(&path).unwrap() == data);
            });
        }
    });
    mount.unmount();
}
