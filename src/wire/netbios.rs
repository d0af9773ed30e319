//! The NetBIOS session service (RFC 1001, RFC 1002): SMB on port 139.
//!
//! A session request carries the called name. Nearly every server accepts `*SMBSERVER`. A server that insists on its
//! own name is asked for it with a node status query over UDP (IPv4 only), and gets a second session request with that
//! name. A retarget response (RFC 1002 4.3.5) is not followed: it is an error.

use super::error::{ConnectError, Stage};
use super::transport;
use smb_transport::SmbTcpMessageHeader;
use std::net::{IpAddr, SocketAddr};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::{Instant, timeout_at};

/// The suffix (16th byte) of a file server's name (RFC 1001 and Microsoft's list of suffixes).
const FILE_SERVER: u8 = 0x20;
/// The suffix of a workstation's name: the calling name of a session request.
const WORKSTATION: u8 = 0x00;
/// The UDP port of the NetBIOS name service (RFC 1002 4.2).
const NAME_SERVICE_PORT: u16 = 137;
/// Packet type of the session service (RFC 1002 4.3.1): session request.
const SESSION_REQUEST: u8 = 0x81;
/// Packet type: positive session response.
const POSITIVE_RESPONSE: u8 = 0x82;
/// Packet type: negative session response.
const NEGATIVE_RESPONSE: u8 = 0x83;
/// The largest payload of a READ, WRITE or listing on this transport, in bytes: that of one credit, because a frame's
/// length has only 17 bits (RFC 1002 4.3.1).
pub const MAX_PAYLOAD: u32 = 65_536;

/// Connects over TCP and opens a NetBIOS session.
///
/// # Errors
///
/// [`ConnectError`] at [`Stage::Connect`]: no address accepts the connection, the server does not answer by `deadline`
/// or answers with another packet, or it refuses the session under `*SMBSERVER` and its own name is unknown or refused
/// too.
pub async fn connect(addresses: &[SocketAddr], deadline: Instant) -> Result<TcpStream, ConnectError> {
    let mut stream = transport::connect(addresses, deadline).await?;
    let peer = stream.peer_addr().map_err(|error| failed(error.to_string()))?;
    let Some(refusal) = request_session(&mut stream, "*SMBSERVER", deadline).await? else { return Ok(stream) };
    drop(stream);
    tracing::debug!(%peer, refusal, "the server does not answer to *SMBSERVER: asking for its name");
    let name = node_status(peer.ip(), deadline).await.map_err(|why| {
        failed(format!(
            "the server refused a netbios session as *SMBSERVER ({refusal}), and its own name is unknown: {why}"
        ))
    })?;
    let mut stream = transport::connect(&[peer], deadline).await?;
    match request_session(&mut stream, &name, deadline).await? {
        None => Ok(stream),
        Some(refusal) => Err(failed(format!("the server refused a netbios session as {name:?}: {refusal}"))),
    }
}

fn failed(why: impl Into<String>) -> ConnectError {
    let remedy = "NetBIOS is on port 139, and off on most servers: leave out transport=netbios to use port 445";
    ConnectError::new(Stage::Connect, why).with_remedy(remedy)
}

/// Sends a session request; returns the server's refusal, if it refuses (RFC 1002 4.3).
async fn request_session(
    stream: &mut TcpStream,
    called: &str,
    deadline: Instant,
) -> Result<Option<String>, ConnectError> {
    let exchange = async {
        stream.write_all(&session_request(called)).await?;
        let mut header = [0; SmbTcpMessageHeader::SIZE];
        stream.read_exact(&mut header).await?;
        let length = usize::from(u16::from_be_bytes([header[2], header[3]]));
        // The longest answer is a retarget response, of 6 bytes (RFC 1002 4.3.5).
        let mut body = vec![0; length.min(6)];
        stream.read_exact(&mut body).await?;
        std::io::Result::Ok((header[0], body))
    };
    let (kind, body) = timeout_at(deadline, exchange)
        .await
        .map_err(|_| failed("the server did not answer the NetBIOS session request in time"))?
        .map_err(|error| failed(format!("no answer to the NetBIOS session request: {error}")))?;
    if kind == POSITIVE_RESPONSE {
        return Ok(None);
    }
    if kind == NEGATIVE_RESPONSE {
        return Ok(Some(refusal(body.first().copied())));
    }
    Err(failed(format!("the server answered the NetBIOS session request with type {kind:#04x}")))
}

/// The reason in a negative session response, from its error code (RFC 1002 4.3.4).
fn refusal(code: Option<u8>) -> String {
    match code {
        Some(0x80) => "not listening on the called name".into(),
        Some(0x81) => "not listening for the calling name".into(),
        Some(0x82) => "the called name is not present".into(),
        Some(0x83) => "insufficient resources".into(),
        Some(code) => format!("error {code:#04x}"),
        None => "no reason given".into(),
    }
}

/// A session request packet (RFC 1002 4.3.2).
fn session_request(called: &str) -> Vec<u8> {
    // Two names in first-level encoding, each of 34 bytes.
    let mut packet = vec![SESSION_REQUEST, 0, 0, 2 * 34];
    packet.extend_from_slice(&encoded_name(called, FILE_SERVER));
    packet.extend_from_slice(&encoded_name(&own_name(), WORKSTATION));
    packet
}

/// A name in first-level encoding: each half of each of its 16 bytes becomes a letter from A to P (RFC 1001 14.1).
fn encoded_name(name: &str, suffix: u8) -> Vec<u8> {
    let padded = name.bytes().chain(std::iter::repeat(b' ')).take(15).chain([suffix]);
    let letters = padded.flat_map(|byte| [b'A' + (byte >> 4), b'A' + (byte & 15)]);
    std::iter::once(32).chain(letters).chain([0]).collect()
}

/// The client's host name as a NetBIOS name: up to 15 ASCII letters and digits in upper case; `CIFSFUSE` if none are
/// left.
fn own_name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let name: String = name.split('.').next().unwrap_or_default().chars().filter(char::is_ascii_alphanumeric).collect();
    if name.is_empty() { "CIFSFUSE".to_owned() } else { name.to_ascii_uppercase().chars().take(15).collect() }
}

/// Asks a node for its names (RFC 1002 4.2.17); returns the name of its file server.
async fn node_status(host: IpAddr, deadline: Instant) -> Result<String, String> {
    let local: SocketAddr = match host {
        IpAddr::V4(_) => ([0, 0, 0, 0], 0).into(),
        IpAddr::V6(_) => return Err("NetBIOS names exist on IPv4 only".into()),
    };
    let exchange = async {
        let socket = UdpSocket::bind(local).await?;
        socket.connect((host, NAME_SERVICE_PORT)).await?;
        socket.send(&node_status_query()).await?;
        let mut answer = vec![0; 2048];
        let size = socket.recv(&mut answer).await?;
        answer.truncate(size);
        std::io::Result::Ok(answer)
    };
    let answer = timeout_at(deadline, exchange)
        .await
        .map_err(|_| "no answer to the node status query on UDP port 137".to_owned())?
        .map_err(|error| format!("the node status query on UDP port 137 failed: {error}"))?;
    file_server_name(&answer).ok_or_else(|| "the node status answer names no file server".to_owned())
}

/// The transaction id of the node status query: "CF". The answer repeats it.
const TRANSACTION: u16 = 0x4346;

/// A node status query (RFC 1002 4.2.17).
fn node_status_query() -> Vec<u8> {
    let mut query = Vec::with_capacity(50);
    for word in [TRANSACTION, 0, 1, 0, 0, 0] {
        query.extend_from_slice(&word.to_be_bytes());
    }
    // The wildcard name, "*" and 15 zeros, in first-level encoding (RFC 1001 14.1).
    query.push(32);
    query.extend_from_slice(b"CKAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA");
    query.push(0);
    query.extend_from_slice(&[0, 0x21, 0, 1]);
    query
}

/// The unique name with the file server's suffix in a node status answer (RFC 1002 4.2.18).
fn file_server_name(answer: &[u8]) -> Option<String> {
    const GROUP_NAME: u8 = 0x80;
    let mut at = 12;
    if answer.get(..2)? != TRANSACTION.to_be_bytes() {
        return None;
    }
    // The answer repeats the name in full, or as a two-byte pointer.
    at += match answer.get(at)? {
        length if *length >= 0xc0 => 2,
        length => usize::from(*length) + 2,
    };
    at += 2 + 2 + 4 + 2;
    let count = usize::from(*answer.get(at)?);
    at += 1;
    (0..count).find_map(|index| {
        let entry = answer.get(at + index * 18..at + index * 18 + 18)?;
        let is_server = entry[15] == FILE_SERVER && entry[16] & GROUP_NAME == 0;
        let name = std::str::from_utf8(&entry[..15]).ok()?.trim_end_matches([' ', '\0']);
        (is_server && name.is_ascii() && !name.is_empty()).then(|| name.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(names: &[(&str, u8, u8)]) -> Vec<u8> {
        let mut answer = node_status_query();
        answer.extend_from_slice(&[0, 0, 0, 0, 0, 0, names.len() as u8]);
        for (name, suffix, flags) in names {
            let mut entry = [b' '; 18];
            entry[..name.len()].copy_from_slice(name.as_bytes());
            (entry[15], entry[16], entry[17]) = (*suffix, *flags, 0);
            answer.extend_from_slice(&entry);
        }
        answer
    }

    #[test]
    fn the_session_request_calls_the_wildcard_server() {
        let packet = session_request("*SMBSERVER");
        assert_eq!(packet[..4], [0x81, 0, 0, 68]);
        assert_eq!(&packet[5..37], b"CKFDENECFDEFFCFGEFFCCACACACACACA");
    }

    #[test]
    fn the_file_servers_own_name_is_found_in_a_node_status() {
        let names = [("WORKGROUP", 0x00, 0x84), ("NAS", 0x00, 0x04), ("WORKGROUP", 0x20, 0x84), ("NAS", 0x20, 0x04)];
        assert_eq!(file_server_name(&answer(&names)).as_deref(), Some("NAS"));
        assert_eq!(file_server_name(&answer(&names[..3])), None);
    }

    #[test]
    fn a_truncated_node_status_answer_names_no_server() {
        let whole = answer(&[("NAS", 0x20, 0x04)]);
        for length in 0..whole.len() {
            assert_eq!(file_server_name(&whole[..length]), None, "cut at {length}");
        }
    }
}
