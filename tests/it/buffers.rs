//! `--read-buffer-size` and `--write-buffer-size`: the sizes on the wire, and the messages about sizes that
//! cannot be used.

use crate::support::files::noise;
use crate::support::frames::command;
use crate::support::mount::Request;
use crate::support::proxy::Proxy;
use crate::support::scratch;
use crate::support::server::{Kind, Server, Settings, both_servers, url};
use std::fs;

both_servers!(
    requests_are_no_larger_than_the_buffer_sizes,
    a_buffer_size_that_is_too_small_is_ignored_with_a_warning,
    a_buffer_size_that_is_too_large_is_capped_and_logged,
);

fn requests_are_no_larger_than_the_buffer_sizes(kind: Kind) {
    const SIZE: usize = 65_536;
    let server = Server::start(kind, Settings::default());
    let proxy = Proxy::to_port(server.port());
    let sizes = [format!("--read-buffer-size={SIZE}"), format!("--write-buffer-size={SIZE}")];
    let mount = Request::new(url("127.0.0.1", proxy.port(), "")).args(sizes).mount();
    let data = noise(1, 10 * SIZE);
    fs::write(mount.join("file"), &data).unwrap();
    assert!(proxy.requests(command::WRITE) >= 10, "{} WRITEs", proxy.requests(command::WRITE));
    fs::write(server.folder().join("other"), &data).unwrap();
    assert!(fs::read(mount.join("other")).unwrap() == data);
    assert!(proxy.requests(command::READ) >= 10, "{} READs", proxy.requests(command::READ));
    assert_eq!(mount.messages(), "", "sizes in range cause no message");
    mount.unmount();
}

fn a_buffer_size_that_is_too_small_is_ignored_with_a_warning(kind: Kind) {
    let server = Server::shared(kind);
    let mount = Request::new(server.url("")).args(["--read-buffer-size=9999", "--write-buffer-size=0"]).mount();
    let said = mount.messages();
    for words in ["read-buffer-size=9999", "write-buffer-size=0", "10000", "1 MiB"] {
        assert!(said.contains(words), "no {words:?} in: {said}");
    }
    mount.unmount();
}

fn a_buffer_size_that_is_too_large_is_capped_and_logged(kind: Kind) {
    let server = Server::start(kind, Settings { max_io: Some(131_072), ..Settings::default() });
    let log = scratch::folder("log").join("log");
    let target = format!("--log-target=file:{}", log.display());
    let url = format!("{}?read-buffer-size=4194304&write-buffer-size=4194304", server.url(""));
    let mount = Request::new(url).args(["--log-level=info", &target]).mount();
    let data = noise(2, 1_000_000);
    fs::write(mount.join("file"), &data).unwrap();
    assert!(fs::read(server.folder().join("file")).unwrap() == data);
    mount.unmount();
    let log = fs::read_to_string(log).unwrap();
    assert!(log.matches("128 KiB").count() >= 2 && log.contains("4 MiB") && log.contains("capped"), "{log}");
}
