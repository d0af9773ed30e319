//! The machines of the local network that announce SMB over multicast DNS (RFC 6762, RFC 6763: `_smb._tcp`), and those
//! that answer WS-Discovery as computers (`ws_discovery`): Windows, which announces nothing.
//!
//! The answers are not authenticated: any machine can send any name. So their number and lengths are bounded here,
//! and they are only shown; nothing connects by itself.

mod ws_discovery;

use super::MountError;
use mdns_sd::{ResolvedService, ServiceDaemon, ServiceEvent};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::IpAddr;
use std::thread;
use std::time::{Duration, Instant};

/// The port of SMB.
pub const SMB_PORT: u16 = 445;
/// The service that SMB servers announce.
const SERVICE: &str = "_smb._tcp.local.";
/// The most machines, the most addresses of each, and the longest name in characters (RFC 1035 2.3.4: 255 octets).
const MACHINES: usize = 256;
const ADDRESSES: usize = 8;
const LONGEST_NAME: usize = 255;
/// How long the end of the search may take.
const END_LIMIT: Duration = Duration::from_secs(1);

/// A machine that announces SMB. Its names are as it sent them, except that they are bounded.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Machine {
    /// The name that it shows to users; `None` if only its address is known, from WS-Discovery.
    pub name: Option<String>,
    /// Its host name, without a dot at the end, or its address.
    pub host: String,
    /// Its addresses, those of IPv4 first; a link-local one of IPv6 has its interface (`fe80::1%eth0`).
    pub addresses: Vec<String>,
    /// The TCP port.
    pub port: u16,
}

/// Asks all networks of this machine, and waits for answers until `limit` has passed. Sorted by host.
///
/// # Errors
/// This machine has no network, or the sockets for multicast cannot be opened.
pub fn discover(limit: Duration) -> Result<Vec<Machine>, MountError> {
    if !ws_discovery::has_address() {
        let error = io::Error::from(io::ErrorKind::NetworkUnreachable);
        return Err(MountError::system("this machine has no network", error));
    }
    let failed = |error: mdns_sd::Error| MountError::system("multicast DNS cannot be used", error);
    let deadline = Instant::now() + limit;
    let computers = thread::spawn(move || ws_discovery::computers(deadline, MACHINES));
    let daemon = ServiceDaemon::new().map_err(failed)?;
    let answers = daemon.browse(SERVICE).map_err(failed)?;
    // By the service's full name: a machine answers on each network, and again when it has found more addresses.
    let mut found: BTreeMap<String, Machine> = BTreeMap::new();
    while let Ok(event) = answers.recv_deadline(deadline) {
        match event {
            ServiceEvent::ServiceResolved(service) if service.get_port() != 0 => {
                let key = bounded(service.get_fullname());
                if found.len() < MACHINES || found.contains_key(&key) {
                    found.insert(key, machine(&service));
                }
            }
            ServiceEvent::ServiceRemoved(_, name) => drop(found.remove(&bounded(&name))),
            _ => {}
        }
    }
    // The process ends the thread of the search with itself if this fails.
    if let Ok(ended) = daemon.shutdown() {
        let _ = ended.recv_timeout(END_LIMIT);
    }
    let mut machines: Vec<Machine> = found.into_values().collect();
    let computers = computers.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    machines.extend(without_a_name(&machines, &computers));
    machines.sort_by(|one, other| (&one.host, one.port).cmp(&(&other.host, other.port)));
    Ok(machines)
}

/// The computers that have not announced SMB themselves.
fn without_a_name(known: &[Machine], computers: &BTreeSet<IpAddr>) -> Vec<Machine> {
    let is_new = |address: &String| !known.iter().any(|machine| machine.addresses.contains(address));
    let addresses = computers.iter().map(IpAddr::to_string).filter(is_new);
    addresses
        .map(|address| Machine { name: None, host: address.clone(), addresses: vec![address], port: SMB_PORT })
        .collect()
}

fn machine(service: &ResolvedService) -> Machine {
    let name = service.get_fullname().strip_suffix(SERVICE).unwrap_or(service.get_fullname());
    let mut addresses: Vec<_> = service.get_addresses().iter().collect();
    addresses.sort_by_key(|address| (is_awkward(address.to_ip_addr()), address.to_ip_addr()));
    Machine {
        name: Some(bounded(name.trim_end_matches('.'))),
        host: bounded(service.get_hostname().trim_end_matches('.')),
        addresses: addresses.into_iter().take(ADDRESSES).map(ToString::to_string).collect(),
        port: service.get_port(),
    }
}

/// The order of addresses: IPv4, then IPv6, then what does not lead far.
fn is_awkward(address: IpAddr) -> u8 {
    match address {
        IpAddr::V4(address) if !address.is_loopback() && !address.is_link_local() => 0,
        IpAddr::V6(address) if !address.is_loopback() && !address.is_unicast_link_local() => 1,
        IpAddr::V4(_) => 2,
        IpAddr::V6(_) => 3,
    }
}

fn bounded(name: &str) -> String {
    name.chars().take(LONGEST_NAME).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_that_lead_far_come_first() {
        let mut addresses = ["fe80::1", "169.254.1.1", "fd00::1", "127.0.0.1", "192.168.1.5"];
        addresses.sort_by_key(|text| is_awkward(text.parse().unwrap()));
        assert_eq!(addresses, ["192.168.1.5", "fd00::1", "169.254.1.1", "127.0.0.1", "fe80::1"]);
    }

    #[test]
    fn a_machine_that_announces_smb_is_not_listed_again_by_its_address() {
        let nas = Machine {
            name: Some("NAS".to_owned()),
            host: "nas.local".to_owned(),
            addresses: vec!["10.0.0.1".to_owned()],
            port: 445,
        };
        let computers = BTreeSet::from(["10.0.0.1".parse().unwrap(), "10.0.0.2".parse().unwrap()]);
        let others = without_a_name(&[nas], &computers);
        assert_eq!(others.len(), 1);
        assert_eq!((others[0].host.as_str(), others[0].port), ("10.0.0.2", 445));
    }

    #[test]
    fn names_are_bounded() {
        assert_eq!(bounded(&"é".repeat(300)).chars().count(), LONGEST_NAME);
    }
}
