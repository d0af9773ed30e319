//! `cifs-fuse discover`: the servers that announce themselves, and computers that answer WS-Discovery. The tests
//! announce and answer themselves, on this machine.

use crate::support::command::{Run, run};
use crate::support::mount::program;
use mdns_sd::{ServiceDaemon, ServiceInfo};
use std::net::{Ipv4Addr, UdpSocket};
use std::process::Command;
use std::sync::Mutex;
use std::thread;
use std::time::Duration;

/// A server that has announced itself is not listed again by its address, so the tests run one at a time.
static NETWORK: Mutex<()> = Mutex::new(());
const LIMIT: Duration = Duration::from_secs(60);
const PORT: u16 = 44_517;

fn discover(more: &[&str]) -> Run {
    run(&mut program(["discover", "--timeout", "3"].into_iter().chain(more.iter().copied())), LIMIT).success()
}

/// Announces a server whose names try to control the terminal, until the daemon is dropped.
fn announce() -> ServiceDaemon {
    let daemon = ServiceDaemon::new().unwrap();
    let none: &[(&str, &str)] = &[];
    let service = ServiceInfo::new("_smb._tcp.local.", "evil\u{1b}[2J nas", "cifs-fuse-test.local.", "", PORT, none);
    daemon.register(service.unwrap().enable_addr_auto()).unwrap();
    daemon
}

#[test]
fn an_announced_server_is_listed_with_the_command_that_lists_its_shares() {
    let _alone = NETWORK.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let daemon = announce();
    // An announcement is preceded by probes (RFC 6762 8.1), which take a second on a quiet machine.
    let found = (0..5).map(|_| discover(&[])).find(|found| found.stdout.contains("cifs-fuse-test"));
    let found = found.expect("the announced server was not found");
    assert!(found.stdout.contains(&format!("    cifs-fuse shares cifs-fuse-test.local:{PORT}\n")), "{found}");
    assert!(!found.text().contains('\u{1b}') && found.stdout.contains("evil\\u{1b}[2J nas"), "{found}");

    let json: serde_json::Value = serde_json::from_str(&discover(&["--json"]).stdout).unwrap();
    let machines = json["machines"].as_array().unwrap();
    let ours = machines.iter().find(|machine| machine["host"] == "cifs-fuse-test.local").unwrap();
    assert_eq!(ours["port"], PORT);
    assert!(!ours["addresses"].as_array().unwrap().is_empty(), "{json}");
    let _ = daemon.shutdown();
}

/// Answers each Probe (WS-Discovery 5.3) as a computer does, until the end of the tests, and also a Probe that nobody
/// has sent.
fn answer_probes() {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 3702)).expect("no other program answers WS-Discovery here");
    socket.join_multicast_v4(&Ipv4Addr::new(239, 255, 255, 250), &Ipv4Addr::LOCALHOST).unwrap();
    thread::spawn(move || {
        let mut datagram = [0; 8192];
        while let Ok((length, sender)) = socket.recv_from(&mut datagram) {
            let probe = String::from_utf8_lossy(&datagram[..length]).into_owned();
            let number = probe.split("<wsa:MessageID>").nth(1).and_then(|rest| rest.split('<').next());
            for number in ["urn:uuid:other", number.expect("a Probe has a MessageID")] {
                let answer = format!(
                    "<wsa:RelatesTo>{number}</wsa:RelatesTo><wsd:ProbeMatches><wsd:ProbeMatch>\
                     <wsd:Types>wsdp:Device pub:Computer</wsd:Types></wsd:ProbeMatch></wsd:ProbeMatches>"
                );
                socket.send_to(answer.as_bytes(), sender).unwrap();
            }
        }
    });
}

#[test]
fn a_computer_that_answers_ws_discovery_is_listed_once_by_its_address() {
    let _alone = NETWORK.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    answer_probes();
    let found = discover(&[]);
    assert_eq!(found.stdout.matches("    cifs-fuse shares 127.0.0.1\n").count(), 1, "{found}");
    let json: serde_json::Value = serde_json::from_str(&discover(&["--json"]).stdout).unwrap();
    let is_ours = |machine: &&serde_json::Value| machine["host"] == "127.0.0.1";
    let ours = json["machines"].as_array().unwrap().iter().find(is_ours).unwrap();
    assert!(ours["name"].is_null(), "{json}");
}

#[test]
fn the_time_to_wait_has_bounds() {
    for wrong in ["0", "61", "soon"] {
        let outcome = run(&mut program(["discover", "--timeout", wrong]), LIMIT);
        assert_eq!(outcome.code, Some(1), "{outcome}");
    }
    let help = run(&mut program(["discover", "--help"]), LIMIT).success();
    help.says("--json").says("Exit codes: 0, also if none was found");
}

#[test]
fn a_machine_without_a_network_is_told_so() {
    let mut command = Command::new("unshare");
    command.args(["--net", env!("CARGO_BIN_EXE_cifs-fuse"), "discover"]);
    let outcome = run(&mut command, LIMIT);
    assert_eq!(outcome.code, Some(2), "{outcome}");
    outcome.says("no network");
}
