//! Servers that do not speak SMB.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;

/// What a server does with the first bytes of a connection.
#[derive(Clone, Copy)]
pub(crate) enum Stranger {
    /// It answers these, and waits for more.
    Answers(&'static [u8]),
    /// It ends the connection.
    Closes,
    /// It waits.
    IsSilent,
}

impl Stranger {
    /// Starts the server. Returns its port.
    pub(crate) fn start(self) -> u16 {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("a bound socket has an address").port();
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                thread::spawn(move || self.serve(client));
            }
        });
        port
    }

    fn serve(self, mut client: TcpStream) {
        let mut request = [0; 4096];
        let _ = client.read(&mut request);
        match self {
            Stranger::Answers(bytes) => drop(client.write_all(bytes)),
            Stranger::Closes => return,
            Stranger::IsSilent => {}
        }
        while client.read(&mut request).is_ok_and(|length| length > 0) {}
    }
}
