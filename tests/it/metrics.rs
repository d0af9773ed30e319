//! `--metrics`: what is offered, to whom, and that nothing that a reader does harms the mount.

use crate::support::command::run;
use crate::support::files::noise;
use crate::support::line::Line;
use crate::support::mount::{Mount, Request, program};
use crate::support::scene::Scene;
use crate::support::server::{Kind, PASSWORD, Server, both_servers, user};
use crate::support::{scratch, wait_until};
use std::collections::BTreeSet;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

both_servers!(
    the_metrics_count_what_programs_do_and_say_when_the_server_is_away,
    a_reader_that_hangs_leaves_the_mount_and_other_readers_unharmed,
);

const LIMIT: Duration = Duration::from_secs(20);

fn socket() -> PathBuf {
    scratch::folder("metrics").join("socket")
}

fn option(socket: &Path) -> String {
    format!("--metrics=unix:{}", socket.display())
}

/// The answer to a request, head and body.
fn answer(socket: &Path, request: &str) -> String {
    let mut stream = UnixStream::connect(socket).unwrap();
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text
}

fn metrics(socket: &Path) -> String {
    let text = answer(socket, "GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert!(text.starts_with("HTTP/1.1 200 OK\r\nContent-Type: application/openmetrics-text"), "{text}");
    text.split_once("\r\n\r\n").unwrap().1.to_owned()
}

/// The value of a metric with its labels.
fn value(text: &str, metric: &str) -> f64 {
    let line = text.lines().find_map(|line| line.strip_prefix(metric)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no {metric} in {text}")).parse().unwrap()
}

fn the_metrics_count_what_programs_do_and_say_when_the_server_is_away(kind: Kind) {
    let socket = socket();
    let line = Line::to(Server::shared(kind), &[&option(&socket)]);
    fs::write(line.here("file"), noise(1, 300_000)).unwrap();
    assert_eq!(fs::read(line.here("file")).unwrap().len(), 300_000);
    // The kernel sends the RELEASE of a file after close(2) has returned.
    assert!(wait_until(LIMIT, || value(&metrics(&socket), "cifs_fuse_requests_in_flight") == 0.0));
    let text = metrics(&socket);
    assert_eq!(value(&text, "cifs_fuse_request_bytes_total{operation=\"write\"}"), 300_000.0);
    assert_eq!(value(&text, "cifs_fuse_request_duration_seconds_count{operation=\"create\"}"), 1.0);
    assert_eq!(value(&text, "cifs_fuse_request_duration_seconds_bucket{le=\"+Inf\",operation=\"create\"}"), 1.0);
    assert!(value(&text, "cifs_fuse_request_duration_seconds_sum{operation=\"create\"}") > 0.0);
    assert!(value(&text, "cifs_fuse_round_trip_duration_seconds_count{command=\"CREATE\"}") >= 1.0);
    assert!(value(&text, "cifs_fuse_cache_budget_bytes") > 0.0);
    assert_eq!(value(&text, "cifs_fuse_requests_in_flight"), 0.0);
    assert_eq!((value(&text, "cifs_fuse_server_away"), value(&text, "cifs_fuse_read_only")), (0.0, 0.0));
    assert!(text.ends_with("# EOF\n"), "{text}");
    let path = line.mount.path().to_str().unwrap();
    assert!(!text.contains(PASSWORD) && !text.contains(path) && !text.contains(&format!("\"{}\"", user())), "{text}");
    line.proxy.refuse();
    line.proxy.cut();
    assert!(wait_until(LIMIT, || value(&metrics(&socket), "cifs_fuse_server_away") == 1.0));
    assert!(wait_until(LIMIT, || metrics(&socket).contains("cifs_fuse_connect_failures_total{stage=\"")));
    line.proxy.forward();
    assert!(wait_until(LIMIT, || value(&metrics(&socket), "cifs_fuse_reconnects_total") == 1.0));
    line.mount.unmount();
    assert!(!socket.exists());
}

fn a_reader_that_hangs_leaves_the_mount_and_other_readers_unharmed(kind: Kind) {
    let socket = socket();
    let scene = Scene::with(kind, |request| request.arg(option(&socket)));
    let mut hanging: Vec<UnixStream> = (0..8).map(|_| UnixStream::connect(&socket).unwrap()).collect();
    hanging[0].write_all(b"GET /metrics HTT").unwrap();
    let status = private_socket(&scene.mount);
    let silent: Vec<UnixStream> = (0..8).map(|_| UnixStream::connect(&status).unwrap()).collect();
    fs::write(scene.here("file"), "x").unwrap();
    assert_eq!(fs::read(scene.there("file")).unwrap(), b"x");
    // Their slots are free again after seconds.
    assert!(metrics(&socket).contains("cifs_fuse_build_info"));
    let path = scene.mount.path().to_str().unwrap();
    run(&mut program(["status", path]), LIMIT).success();
    drop((hanging, silent));
    scene.mount.unmount();
}

/// The socket on which the mount answers `cifs-fuse status`.
fn private_socket(mount: &Mount) -> PathBuf {
    PathBuf::from(format!("/run/cifs-fuse/{}.sock", mount.process()))
}

#[test]
fn only_get_metrics_is_answered() {
    let socket = socket();
    let scene = Scene::with(Kind::Smbd, |request| request.arg(option(&socket)));
    assert_eq!(fs::metadata(&socket).unwrap().permissions().mode() & 0o777, 0o600);
    for (request, status) in [
        ("GET / HTTP/1.1\r\n\r\n", "404"),
        ("DELETE /metrics HTTP/1.1\r\n\r\n", "405"),
        ("\u{1}\u{2}\u{3}\r\n\r\n", "400"),
    ] {
        let answer = answer(&socket, request);
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
    }
    scene.mount.unmount();
}

#[test]
fn an_address_that_cannot_be_opened_prevents_the_mount() {
    let server = Server::shared(Kind::Smbd);
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let file = scratch::folder("metrics").join("file");
    fs::write(&file, "mine").unwrap();
    for (address, said) in [
        (format!(":{port}"), "give each mount its own".to_owned()),
        ("192.0.2.1:9311".to_owned(), "this machine does not have the address".to_owned()),
        ("unix:/nowhere/at/all".to_owned(), "the folder must exist".to_owned()),
        (format!("unix:{}", file.display()), "there is something else".to_owned()),
    ] {
        let run = Request::new(server.url("")).arg(format!("--metrics={address}")).fails(2);
        run.says("cifs-fuse: metrics: ").says(&said);
    }
    Request::new(server.url("")).arg("--metrics=localhost:9311").fails(1).says("is no address for metrics");
    assert_eq!(fs::read(&file).unwrap(), b"mine");
}

#[test]
fn an_address_of_the_network_is_a_warning() {
    let said = run(&mut program(["cifs://nas/m", "/mnt", "-f", "--guest", "--metrics=0.0.0.0:9311"]), LIMIT);
    said.success().says("everyone on the network can read the metrics");
    let said = run(&mut program(["cifs://nas/m", "/mnt", "-f", "--guest", "--metrics=:9311"]), LIMIT);
    assert_eq!(said.success().text(), "");
}

/// The names of the families in the text that a mount offers.
fn families(text: &str) -> BTreeSet<String> {
    text.lines().filter_map(|line| Some(line.strip_prefix("# TYPE ")?.split(' ').next()?.to_owned())).collect()
}

/// docs/metrics.md lists all metrics and no others, and the dashboard uses no other.
#[test]
fn the_documented_metrics_are_the_exported_ones() {
    let socket = socket();
    let scene = Scene::with(Kind::Smbd, |request| request.arg(option(&socket)));
    let text = metrics(&socket);
    scene.mount.unmount();
    let exported = families(&text);
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = fs::read_to_string(root.join("docs/metrics.md")).unwrap();
    let rows = page.lines().filter_map(|line| line.strip_prefix("| `cifs_fuse_")?.split(['`', '{']).next());
    let documented: BTreeSet<String> = rows.map(|name| format!("cifs_fuse_{name}")).collect();
    // A counter's name ends with _total, which is no part of the name of its family.
    let plain = |name: &String| name.strip_suffix("_total").unwrap_or(name).to_owned();
    assert_eq!(documented.iter().map(plain).collect::<BTreeSet<_>>(), exported);

    let dashboard = fs::read_to_string(root.join("contrib/grafana/cifs-fuse.json")).unwrap();
    serde_json::from_str::<serde_json::Value>(&dashboard).unwrap();
    let words = dashboard.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    let used: BTreeSet<&str> = words.filter(|word| word.starts_with("cifs_fuse_")).collect();
    assert!(used.len() >= 10, "{used:?}");
    for name in used {
        let family =
            ["_total", "_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end)).unwrap_or(name);
        assert!(exported.contains(family), "the dashboard uses {name}, which is not exported");
    }
}
