//! WS-Discovery (April 2005; Windows, and `wsdd` beside Samba): one Probe to the group, and who answers it.
//!
//! Only the sender's address is taken from an answer. Its XML is not parsed: it is searched for the number of the
//! Probe, for the name of the answer, and for the type of a computer, so that printers and cameras are left out.

use crate::wire::crypto::random_bytes;
use nix::ifaddrs::getifaddrs;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::SockaddrStorage;
use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddrV4, UdpSocket};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

/// The group and the port of WS-Discovery.
const GROUP: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(239, 255, 255, 250), 3702);
/// The most addresses of this machine that a Probe is sent from, and the most answers that are looked at.
const SOURCES: usize = 16;
const ANSWERS: usize = 1024;
/// The Probe is sent twice, as datagrams can be lost; the pause between them.
const AGAIN: Duration = Duration::from_millis(400);

/// The addresses of the computers that answer until `deadline`, at most `most` of them. A network that cannot be asked
/// is passed over.
pub(super) fn computers(deadline: Instant, most: usize) -> BTreeSet<IpAddr> {
    let number = Number::random();
    let sockets: Vec<UdpSocket> = local_addresses().into_iter().filter_map(socket).collect();
    let mut found = BTreeSet::new();
    let mut answers = 0;
    for until in [deadline.min(Instant::now() + AGAIN), deadline] {
        for socket in &sockets {
            // An address without a network fails here.
            let _ = socket.send_to(number.probe().as_bytes(), GROUP);
        }
        while answers < ANSWERS && found.len() < most && is_readable(&sockets, until) {
            for socket in &sockets {
                let mut datagram = [0; 8192];
                while let Ok((length, sender)) = socket.recv_from(&mut datagram) {
                    answers += 1;
                    if number.is_answered_by(&datagram[..length]) {
                        found.insert(sender.ip());
                    }
                    if answers >= ANSWERS || found.len() >= most {
                        break;
                    }
                }
            }
        }
    }
    found
}

/// Whether an interface of this machine has an address, which the loopback interface has as well.
pub(super) fn has_address() -> bool {
    let is_network =
        |address: SockaddrStorage| address.as_sockaddr_in().is_some() || address.as_sockaddr_in6().is_some();
    getifaddrs().is_ok_and(|mut interfaces| interfaces.any(|interface| interface.address.is_some_and(is_network)))
}

/// The IPv4 addresses of this machine.
fn local_addresses() -> Vec<Ipv4Addr> {
    let Ok(interfaces) = getifaddrs() else { return Vec::new() };
    let addresses = interfaces.filter_map(|interface| Some(interface.address?.as_sockaddr_in()?.ip()));
    addresses.take(SOURCES).collect()
}

/// A socket at a local address. The kernel sends to a group through the interface that has the address of the sender.
fn socket(address: Ipv4Addr) -> Option<UdpSocket> {
    let socket = UdpSocket::bind((address, 0)).ok()?;
    socket.set_nonblocking(true).ok()?;
    Some(socket)
}

/// Waits until a datagram has come, or until the moment has passed.
fn is_readable(sockets: &[UdpSocket], until: Instant) -> bool {
    let left = until.saturating_duration_since(Instant::now());
    if left.is_zero() {
        return false;
    }
    let mut waiting: Vec<PollFd<'_>> =
        sockets.iter().map(|socket| PollFd::new(socket.as_fd(), PollFlags::POLLIN)).collect();
    // At least a millisecond, so that the end is not awaited in a busy loop.
    let left = PollTimeout::try_from(left.max(Duration::from_millis(1))).unwrap_or(PollTimeout::MAX);
    // An interrupted wait is repeated; nothing was received then.
    poll(&mut waiting, left).map_or_else(|error| error == nix::errno::Errno::EINTR, |ready| ready > 0)
}

/// The MessageID of a Probe, which its answers repeat.
struct Number(String);

impl Number {
    fn random() -> Number {
        let number = u128::from_be_bytes(random_bytes());
        Number(format!(
            "{:08x}-{:04x}-4{:03x}-8{:03x}-{:012x}",
            number >> 96,
            (number >> 80) & 0xffff,
            (number >> 64) & 0xfff,
            (number >> 52) & 0xfff,
            number & 0xffff_ffff_ffff
        ))
    }

    /// The Probe for all devices.
    fn probe(&self) -> String {
        format!(
            "<?xml version=\"1.0\" encoding=\"utf-8\"?><soap:Envelope \
             xmlns:soap=\"http://www.w3.org/2003/05/soap-envelope\" \
             xmlns:wsa=\"http://schemas.xmlsoap.org/ws/2004/08/addressing\" \
             xmlns:wsd=\"http://schemas.xmlsoap.org/ws/2005/04/discovery\" \
             xmlns:wsdp=\"http://schemas.xmlsoap.org/ws/2006/02/devprof\"><soap:Header>\
             <wsa:To>urn:schemas-xmlsoap-org:ws:2005:04:discovery</wsa:To>\
             <wsa:Action>http://schemas.xmlsoap.org/ws/2005/04/discovery/Probe</wsa:Action>\
             <wsa:MessageID>urn:uuid:{}</wsa:MessageID></soap:Header><soap:Body><wsd:Probe>\
             <wsd:Types>wsdp:Device</wsd:Types></wsd:Probe></soap:Body></soap:Envelope>",
            self.0
        )
    }

    /// Whether a datagram is the answer of a computer to this Probe.
    fn is_answered_by(&self, datagram: &[u8]) -> bool {
        let text = String::from_utf8_lossy(datagram);
        text.contains(&self.0) && text.contains("ProbeMatches") && text.contains(":Computer")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_computer_that_answers_this_probe_counts() {
        let number = Number::random();
        let answer = |number: &Number, kind: &str| {
            format!(
                "<wsa:RelatesTo>urn:uuid:{}</wsa:RelatesTo><wsd:ProbeMatches><wsd:Types>wsdp:Device \
                 {kind}</wsd:Types></wsd:ProbeMatches>",
                number.0
            )
        };
        assert!(number.is_answered_by(answer(&number, "pub:Computer").as_bytes()));
        assert!(!number.is_answered_by(answer(&number, "print:Printer").as_bytes()));
        assert!(!number.is_answered_by(answer(&Number::random(), "pub:Computer").as_bytes()));
        assert!(!number.is_answered_by(number.probe().as_bytes()), "the Probe itself");
        assert!(!number.is_answered_by(b"\xff\xfe"));
    }

    #[test]
    fn a_number_has_the_form_of_a_uuid() {
        let Number(number) = Number::random();
        let lengths: Vec<usize> = number.split('-').map(str::len).collect();
        assert_eq!(lengths, [8, 4, 4, 4, 12]);
        assert!(number.chars().all(|c| c.is_ascii_hexdigit() || c == '-'));
    }
}
