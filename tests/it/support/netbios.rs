//! A NetBIOS session service in front of smbd, on a loopback address (RFC 1001, RFC 1002). It accepts session
//! requests for a given list of names, answers node status queries on UDP port 137, and forwards accepted
//! sessions to smbd.

use super::frames::Splitter;
use super::proxy::listen;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::runtime::Runtime;

/// The called name that stands for any server.
pub(crate) const ANY_SERVER: &str = "*SMBSERVER";

/// The UDP port of the name service, which clients cannot configure.
const NAME_SERVICE: u16 = 137;

/// The requests that the service has received so far.
#[derive(Default)]
struct Seen {
    called: Vec<String>,
    queries: usize,
    wrong: Vec<String>,
}

/// A running service.
pub(crate) struct NetBios {
    address: SocketAddr,
    seen: Arc<Mutex<Seen>>,
    runtime: Option<Runtime>,
}

impl NetBios {
    /// Starts a service on `address` that accepts sessions for `names` and forwards them to `port` on
    /// 127.0.0.1. Node status queries are answered with the first of the names that is not [`ANY_SERVER`];
    /// without such a name the name service is not started. Binding port 137 needs root.
    pub(crate) fn start(address: Ipv4Addr, names: &[&str], port: u16) -> NetBios {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.expect("a runtime");
        let seen = Arc::new(Mutex::new(Seen::default()));
        let listener = listen(&runtime, SocketAddr::from((address, 0)));
        let bound = listener.local_addr().expect("a bound socket has an address");
        let names: Arc<[String]> = names.iter().map(|name| (*name).to_owned()).collect();
        if let Some(own) = names.iter().find(|name| *name != ANY_SERVER) {
            let socket = std::net::UdpSocket::bind((address, NAME_SERVICE));
            let socket = socket.expect("root may bind port 137 on an unused loopback address");
            socket.set_nonblocking(true).expect("sockets can be made non-blocking");
            let _guard = runtime.enter();
            let socket = UdpSocket::from_std(socket).expect("a runtime with I/O");
            runtime.spawn(answer_queries(socket, own.clone(), Arc::clone(&seen)));
        }
        runtime.spawn(accept(listener, names, port, Arc::clone(&seen)));
        NetBios { address: bound, seen, runtime: Some(runtime) }
    }

    /// The TCP address that accepts sessions.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// The called names of all session requests, in order of arrival.
    pub(crate) fn called(&self) -> Vec<String> {
        self.seen.lock().expect("no panic under this lock").called.clone()
    }

    /// The number of node status queries received.
    pub(crate) fn queries(&self) -> usize {
        self.seen.lock().expect("no panic under this lock").queries
    }

    /// Protocol violations by clients.
    pub(crate) fn wrong(&self) -> Vec<String> {
        self.seen.lock().expect("no panic under this lock").wrong.clone()
    }
}

impl Drop for NetBios {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

async fn accept(listener: TcpListener, names: Arc<[String]>, port: u16, seen: Arc<Mutex<Seen>>) {
    while let Ok((client, _)) = listener.accept().await {
        tokio::spawn(session(client, Arc::clone(&names), port, Arc::clone(&seen)));
    }
}

async fn session(mut client: TcpStream, names: Arc<[String]>, port: u16, seen: Arc<Mutex<Seen>>) -> io::Result<()> {
    let note = |problem: String| seen.lock().expect("no panic under this lock").wrong.push(problem);
    // SESSION REQUEST (RFC 1002 4.3.2): type, flags, length, called name, calling name.
    let mut request = [0; 4 + 34 + 34];
    client.read_exact(&mut request).await?;
    if request[..4] != [0x81, 0, 0, 68] {
        note(format!("the session request begins with {:02x?}", &request[..4]));
        return Ok(());
    }
    let (Some((called, 0x20)), Some((_, 0x00))) = (decode(&request[4..38]), decode(&request[38..])) else {
        note(format!("malformed names in {request:02x?}"));
        return Ok(());
    };
    seen.lock().expect("no panic under this lock").called.push(called.clone());
    if !names.contains(&called) {
        // NEGATIVE SESSION RESPONSE (4.3.4): called name not present.
        return client.write_all(&[0x83, 0, 0, 1, 0x82]).await;
    }
    client.write_all(&[0x82, 0, 0, 0]).await?;
    client.set_nodelay(true)?;
    let mut server = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await?;
    server.set_nodelay(true)?;
    let (mut from_client, mut to_client) = client.split();
    let (mut from_server, mut to_server) = server.split();
    let up = async {
        let (mut splitter, mut buffer) = (Splitter::default(), vec![0; 65_536]);
        loop {
            let count = from_client.read(&mut buffer).await?;
            if count == 0 {
                return Ok::<_, io::Error>(());
            }
            splitter.push(&buffer[..count], 4, |frame| {
                // SESSION MESSAGE (4.3.1): 17 bits of length, the other flags zero.
                if frame[0] != 0 || frame[1] > 1 {
                    note(format!("a frame begins with {:02x?}", &frame[..4]));
                }
            });
            to_server.write_all(&buffer[..count]).await?;
        }
    };
    tokio::select! {
        done = up => done,
        done = copy(&mut from_server, &mut to_client) => done.map(drop),
    }
}

/// Answers NODE STATUS REQUESTs (RFC 1002 4.2.17, 4.2.18).
async fn answer_queries(socket: UdpSocket, name: String, seen: Arc<Mutex<Seen>>) {
    let mut packet = [0; 1024];
    while let Ok((length, sender)) = socket.recv_from(&mut packet).await {
        let query = &packet[..length];
        let well_formed = length == 50 && query[12] == 32 && query[46..50] == [0, 0x21, 0, 1];
        {
            let mut seen = seen.lock().expect("no panic under this lock");
            if !well_formed || decode(&query[12..46]) != Some(("*".to_owned(), 0)) {
                seen.wrong.push(format!("not a node status request: {query:02x?}"));
                continue;
            }
            seen.queries += 1;
        }
        let entry = |name: &str, suffix: u8, flags: u16| {
            let mut entry = format!("{name:<15}").into_bytes();
            entry.push(suffix);
            entry.extend(flags.to_be_bytes());
            entry
        };
        // A group name with another suffix stands first: only the unique name of the file server (suffix
        // 0x20) is the answer.
        let names = [entry("WORKGROUP", 0x00, 0x8400), entry(&name, 0x00, 0x0400), entry(&name, 0x20, 0x0400)];
        let statistics = [0; 46];
        let mut answer = query[..2].to_vec();
        answer.extend([0x84, 0, 0, 0, 0, 1, 0, 0, 0, 0]);
        answer.extend(&query[12..50]);
        answer.extend([0; 4]);
        answer.extend((1 + 18 * names.len() as u16 + statistics.len() as u16).to_be_bytes());
        answer.push(names.len() as u8);
        answer.extend(names.concat());
        answer.extend(statistics);
        let _ = socket.send_to(&answer, sender).await;
    }
}

/// Decodes a name in first-level encoding (RFC 1001 14.1): the text, and the suffix that gives the kind of
/// service.
fn decode(field: &[u8]) -> Option<(String, u8)> {
    let (&[0x20], letters, &[0]) = (field.get(..1)?, field.get(1..33)?, field.get(33..34)?) else { return None };
    let nibble = |letter: u8| letter.checked_sub(b'A').filter(|nibble| *nibble < 16);
    let bytes: Vec<u8> =
        letters.chunks(2).map(|pair| Some(nibble(pair[0])? << 4 | nibble(pair[1])?)).collect::<Option<_>>()?;
    let text = String::from_utf8_lossy(&bytes[..15]).trim_end_matches([' ', '\0']).to_owned();
    Some((text, bytes[15]))
}

#[test]
fn the_name_of_any_server_is_decoded() {
    // The encoding of `*SMBSERVER` with suffix 0x20 as packet captures show it.
    let field = b"\x20CKFDENECFDEFFCFGEFFCCACACACACACA\0";
    assert_eq!(decode(field), Some((ANY_SERVER.to_owned(), 0x20)));
}
