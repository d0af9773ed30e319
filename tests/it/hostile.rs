//! A server that violates the protocol: forged directory listings.

use crate::support::mount::Request;
use crate::support::server::{Kind, Server, url};
use rustix::io::Errno;
use std::fs;
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

const MIB: usize = 1 << 20;
const HEADER: usize = 64;
const QUERY_DIRECTORY: u16 = 14;

/// A listing of adjacent entries, each with a name that reaches to the end of the listing.
fn overlapping_names(size: usize) -> Vec<u8> {
    const ENTRY: usize = 80;
    let count = size / ENTRY;
    let mut listing = Vec::with_capacity(size);
    for index in (0..count).rev() {
        let mut entry = [1; ENTRY];
        entry[..4].copy_from_slice(&(if index > 0 { ENTRY as u32 } else { 0 }).to_le_bytes());
        entry[60..64].copy_from_slice(&((index * ENTRY) as u32).to_le_bytes());
        listing.extend_from_slice(&entry);
    }
    listing
}

/// A listing whose entries overlap: a new one begins every eight bytes. The first has a name of one character, the
/// others have names of four.
fn entries_that_overlap(size: usize) -> Vec<u8> {
    let mut listing: Vec<u8> = [8, 0, 0, 0].repeat(size / 4);
    listing[60..64].copy_from_slice(&[2, 0, 0, 0]);
    listing
}

fn one_long_name(size: usize) -> Vec<u8> {
    let mut listing = vec![0x41; size];
    listing[..4].fill(0);
    listing[60..64].copy_from_slice(&(size as u32 - 80).to_le_bytes());
    listing
}

/// Starts a proxy that forwards frames and replaces the content of every successful QUERY_DIRECTORY answer by
/// `listing`. Returns its port and the count of forged answers.
fn forging(port: u16, listing: Vec<u8>) -> (u16, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (address, forged) = (listener.local_addr().unwrap(), Arc::new(AtomicUsize::new(0)));
    let (listing, count) = (Arc::new(listing), Arc::clone(&forged));
    thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let Ok(server) = TcpStream::connect(("127.0.0.1", port)) else { return };
            let (client_in, server_in) = (client.try_clone().unwrap(), server.try_clone().unwrap());
            let (listing, count) = (Arc::clone(&listing), Arc::clone(&count));
            thread::spawn(move || pass(client_in, server, |frame| frame));
            thread::spawn(move || pass(server_in, client, |frame| forge(&frame, &listing, &count)));
        }
    });
    (address.port(), forged)
}

fn pass(mut from: TcpStream, mut to: TcpStream, change: impl Fn(Vec<u8>) -> Vec<u8>) {
    let mut work = || -> io::Result<()> {
        loop {
            let mut prefix = [0; 4];
            from.read_exact(&mut prefix)?;
            let mut frame = vec![0; u32::from_be_bytes(prefix) as usize];
            from.read_exact(&mut frame)?;
            let frame = change(frame);
            to.write_all(&(frame.len() as u32).to_be_bytes())?;
            to.write_all(&frame)?;
        }
    };
    // An error means that one side has closed the connection.
    let _ = work();
    let _ = to.shutdown(Shutdown::Both);
}

fn forge(frame: &[u8], listing: &[u8], forged: &AtomicUsize) -> Vec<u8> {
    let mut messages: Vec<Vec<u8>> = Vec::new();
    let mut rest = frame;
    while rest.starts_with(b"\xfeSMB") {
        let next = u32::from_le_bytes(rest[20..24].try_into().unwrap()) as usize;
        let (message, behind) = rest.split_at(if next == 0 { rest.len() } else { next });
        let (command, status) = (u16::from_le_bytes(message[12..14].try_into().unwrap()), &message[8..12]);
        let mut message = message.to_vec();
        if command == QUERY_DIRECTORY && status == [0; 4] {
            forged.fetch_add(1, Ordering::Relaxed);
            message.truncate(HEADER);
            message.extend([9, 0, HEADER as u8 + 8, 0]);
            message.extend((listing.len() as u32).to_le_bytes());
            message.extend(listing);
        }
        messages.push(message);
        rest = behind;
    }
    let last = messages.len().saturating_sub(1);
    for message in messages.iter_mut().take(last) {
        message.resize(message.len().next_multiple_of(8), 0);
        let size = message.len() as u32;
        message[20..24].copy_from_slice(&size.to_le_bytes());
    }
    if messages.is_empty() { frame.to_vec() } else { messages.concat() }
}

#[test]
fn a_forged_listing_is_an_error_and_needs_no_memory() {
    let server = Server::shared(Kind::Smbd);
    let forgeries = [overlapping_names, entries_that_overlap, one_long_name];
    for (number, forgery) in forgeries.into_iter().enumerate() {
        let (port, forged) = forging(server.port(), forgery(250_000));
        let request = Request::new(url("127.0.0.1", port, "")).args(["--signing=off", "--cache-size=16M"]);
        let mount = request.arg("--request-timeout=10").mount();
        let error = fs::read_dir(mount.path()).and_then(|entries| entries.collect::<io::Result<Vec<_>>>()).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(Errno::IO.raw_os_error()), "forgery {number}");
        assert!(forged.load(Ordering::Relaxed) > 0);
        let peak = crate::limits::peak_memory(mount.process());
        assert!(peak <= (16 + 64) * MIB, "{} MiB for forgery {number}", peak / MIB);
        mount.unmount();
    }
}
