//! The tasks and futures around a channel: with a server in memory, and over a socket.

use super::*;
use crate::wire::crypto::SigningAlgorithm;
use crate::wire::crypto::signing::Nonce;
use crate::wire::frame::RELATED_FILE;
use crate::wire::header::{Command, Header, SIGNATURE, UNSOLICITED, flags};
use crate::wire::messages::{create, io};
use crate::wire::scripted::{Scripted, pair, response, seen};
use bytes::Bytes;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

const PATIENCE: Duration = Duration::from_secs(20);
const ERROR_BODY: [u8; 9] = [9, 0, 0, 0, 0, 0, 0, 0, 0];

fn echo() -> Chain {
    Chain::single(Request::new(Command::Echo, vec![4, 0, 0, 0]))
}

fn write(size: usize) -> Chain {
    Chain::single(io::write([1; 16], 0, Bytes::from(vec![7; size])))
}

/// Grants the client `credits` by the answer to an ECHO.
async fn grant(client: &Connection, server: &mut Scripted, credits: u16) {
    let chain = echo();
    let serve = async {
        let request = server.receive_one().await;
        server.answer(&request.header, NtStatus::SUCCESS, credits, &[4, 0, 0, 0]).await;
    };
    let (answer, ()) = tokio::join!(client.send(&chain, PATIENCE), serve);
    answer.unwrap();
}

fn open_and_close() -> Chain {
    let open = create::Create { path: &[0x61], access: 0, attributes: 0, disposition: 1, options: 0 };
    let requests = vec![open.request(), create::close(RELATED_FILE)];
    Chain { requests, related_from: 1, tree_id: 7, seal: false, force_signature: false }
}

fn create_body(file: [u8; 16]) -> Vec<u8> {
    let mut body = vec![0; 88];
    body[0] = 89;
    body[64..80].copy_from_slice(&file);
    body
}

async fn ends(client: &Connection) -> Arc<str> {
    tokio::time::timeout(PATIENCE, client.ending()).await.expect("the connection should have ended");
    client.ended().expect("its end has a reason")
}

/// Polls a future once.
fn poll<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
    Pin::new(future).poll(&mut Context::from_waker(std::task::Waker::noop()))
}

#[tokio::test]
async fn a_server_that_grants_one_credit_gets_a_compound_as_single_requests() {
    let (client, mut server) = pair().await;
    let chain = open_and_close();
    let serve = async {
        let open = server.receive_one().await;
        server.answer(&open.header, NtStatus::SUCCESS, 1, &create_body([9; 16])).await;
        let close = server.receive_one().await;
        assert_eq!(close.header.command, Command::Close as u16);
        assert_eq!(close.body[8..24], [9; 16], "the opened file replaces the placeholder of the compound");
        assert!(!close.header.has(flags::RELATED));
        server.answer(&close.header, NtStatus::SUCCESS, 1, &[60, 0, 0, 0]).await;
    };
    let (answer, ()) = tokio::join!(client.send(&chain, PATIENCE), serve);
    assert_eq!(answer.unwrap().len(), 2);
}

#[tokio::test]
async fn a_failed_open_fails_the_other_requests_of_a_split_compound() {
    let (client, mut server) = pair().await;
    let chain = open_and_close();
    let serve = async {
        let open = server.receive_one().await;
        server.answer(&open.header, NtStatus::OBJECT_NAME_NOT_FOUND, 1, &ERROR_BODY).await;
    };
    let (answer, ()) = tokio::join!(client.send(&chain, PATIENCE), serve);
    assert!(answer.unwrap().iter().all(|reply| reply.status() == NtStatus::OBJECT_NAME_NOT_FOUND));
}

#[tokio::test(start_paused = true)]
async fn a_request_without_an_answer_ends_at_its_deadline() {
    let (client, mut server) = pair().await;
    grant(&client, &mut server, 2).await;
    let began = now();
    assert_eq!(client.send(&echo(), PATIENCE).await.unwrap_err(), WireError::TimedOut);
    assert!(now() - began >= PATIENCE);
    let request = server.receive_one().await;
    let cancel = server.receive_one().await;
    assert_eq!((cancel.header.command, cancel.header.message_id), (Command::Cancel as u16, request.header.message_id));
}

/// The timer is set to the later deadline first.
#[tokio::test(start_paused = true)]
async fn a_later_request_with_an_earlier_deadline_times_out_at_its_deadline() {
    let (client, mut server) = pair().await;
    grant(&client, &mut server, 2).await;
    let chain = echo();
    let mut late = Box::pin(client.send(&chain, 10 * PATIENCE));
    assert!(poll(&mut late).is_pending());
    let began = now();
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(client.send(&chain, Duration::from_secs(1)).await.unwrap_err(), WireError::TimedOut);
    assert!(now() - began < PATIENCE);
    assert!(poll(&mut late).is_pending());
}

#[tokio::test]
async fn ten_thousand_dropped_requests_lose_no_credit() {
    let (client, mut server) = pair().await;
    grant(&client, &mut server, 64).await;
    let serve = tokio::spawn(async move {
        // Every request is answered, late; a CANCEL is not.
        while let Some(requests) = server.try_receive().await {
            for request in requests.iter().filter(|request| request.header.command == Command::Echo as u16) {
                server.answer(&request.header, NtStatus::SUCCESS, 1, &[4, 0, 0, 0]).await;
            }
        }
    });
    let chain = echo();
    for round in 0..10_000u32 {
        let mut sending = Box::pin(client.send(&chain, PATIENCE));
        for _ in 0..round % 3 {
            if poll(&mut sending).is_ready() {
                break;
            }
            tokio::task::yield_now().await;
        }
    }
    client.send(&chain, PATIENCE).await.unwrap();
    // The answers that are still on their way belong to dropped requests.
    while client.credits().1 > 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(client.credits(), (64, 0));
    drop(client);
    serve.await.unwrap();
}

fn signed() -> Security {
    let signer = Some(Arc::new(Signer::new(SigningAlgorithm::AesGmac, &[1; 16])));
    Security { signer, sign_all: true, sealer: None, seal_all: false }
}

/// The kernel's thread polls each future once, outside of a task.
#[tokio::test]
async fn only_a_large_signed_request_waits_for_a_task_of_the_runtime() {
    for (security, size, goes_at_once) in [
        (Some(signed()), 65_536, true),
        (Some(signed()), 65_537, false),
        (None, 65_537, true),
        (Some(signed()), 0, true),
    ] {
        let (client, mut server) = pair().await;
        grant(&client, &mut server, 64).await;
        if let Some(security) = security {
            client.protect(security);
        }
        let client = Arc::new(client);
        let sending = {
            let client = Arc::clone(&client);
            async move { client.send(&write(size), PATIENCE).await }
        };
        let mut sending = Box::pin(sending);
        let outside = std::thread::spawn(move || {
            assert!(poll(&mut sending).is_pending());
            sending
        });
        let sending = tokio::task::spawn_blocking(|| outside.join().unwrap()).await.unwrap();
        let used = client.credits().1;
        assert_eq!(used > 0, goes_at_once, "{size} bytes");
        let task = tokio::spawn(sending);
        assert_eq!(server.receive_one().await.header.command, Command::Write as u16);
        assert!(client.credits().1 > 0);
        task.abort();
    }
}

#[tokio::test]
async fn a_future_that_is_dropped_before_it_becomes_a_task_has_sent_nothing() {
    let (client, mut server) = pair().await;
    grant(&client, &mut server, 64).await;
    client.protect(signed());
    let chain = write(1 << 20);
    let outside =
        || std::thread::scope(|scope| scope.spawn(|| poll(&mut Box::pin(client.send(&chain, PATIENCE)))).join());
    assert!(outside().unwrap().is_pending());
    assert_eq!(client.credits(), (64, 0));
    assert!(client.post(&echo()));
    assert_eq!(server.receive_one().await.header.command, Command::Echo as u16, "the first that is sent");
}

/// The replies can arrive before the caller is polled again, and the caller can go away instead.
#[tokio::test]
async fn a_file_is_closed_if_its_caller_goes_away_when_the_reply_has_arrived() {
    let (client, mut server) = pair().await;
    grant(&client, &mut server, 64).await;
    let requests = vec![open_and_close().requests.remove(0)];
    let chain = Chain { requests, ..open_and_close() };
    let mut opening = Box::pin(client.send(&chain, PATIENCE));
    assert!(poll(&mut opening).is_pending());
    let seen = server.receive_one().await;
    server.answer(&seen.header, NtStatus::SUCCESS, 1, &create_body([5; 16])).await;
    while client.credits().1 > 0 {
        tokio::task::yield_now().await;
    }
    drop(opening);
    let close = server.receive_one().await;
    assert_eq!((close.header.command, &close.body[8..24]), (Command::Close as u16, &[5; 16][..]));
}

fn signed_response(request: &Header, body: &[u8]) -> Vec<u8> {
    let mut message = response(request, NtStatus::SUCCESS, 1, flags::SIGNED, body);
    let nonce = Nonce { message_id: request.message_id, from_server: true, cancel: false };
    let signature = signed().signer.expect("a key").sign(&message, nonce);
    message[SIGNATURE].copy_from_slice(&signature);
    message
}

/// The replies may be received before the kernel's thread polls the future for the second time.
#[tokio::test]
async fn much_data_is_verified_in_a_task() {
    for (size, at_once) in [(4096u32, true), (1 << 20, false)] {
        let (client, mut server) = pair().await;
        grant(&client, &mut server, 64).await;
        client.protect(signed());
        let open = open_and_close().requests.remove(0);
        let requests = vec![open, io::read(RELATED_FILE, 0, size)];
        let chain = Chain { requests, ..open_and_close() };
        let mut reading = Box::pin(client.send(&chain, PATIENCE));
        assert!(poll(&mut reading).is_pending());
        let seen = server.receive().await;
        server.send(&signed_response(&seen[0].header, &create_body([5; 16]))).await;
        let data = [&[17, 0, 80, 0][..], &size.to_le_bytes(), &[0; 8], &vec![7; size as usize]].concat();
        server.send(&signed_response(&seen[1].header, &data)).await;
        while client.credits().1 > 0 {
            tokio::task::yield_now().await;
        }
        assert_eq!(poll(&mut reading).is_ready(), at_once, "{size} bytes");
        drop(reading);
        if !at_once {
            let close = server.receive_one().await;
            assert_eq!(
                (close.header.command, &close.body[8..24]),
                (Command::Close as u16, &[5; 16][..]),
                "a file without a caller is closed"
            );
        }
    }
}

/// The second WRITE is queued before the session is protected. A chain keeps the protection of its submission, so this
/// one is sent unsigned.
#[tokio::test]
async fn much_data_that_has_waited_for_credits_is_sent() {
    let (client, mut server) = pair().await;
    grant(&client, &mut server, 17).await;
    let chain = write(1 << 20);
    let first = client.send(&chain, PATIENCE);
    let second = client.send(&chain, PATIENCE);
    let serve = async {
        let request = server.receive_one().await;
        client.protect(signed());
        server.answer(&request.header, NtStatus::DISK_FULL, 17, &ERROR_BODY).await;
        let request = server.receive_one().await;
        assert_eq!(request.header.command, Command::Write as u16);
        server.answer(&request.header, NtStatus::DISK_FULL, 17, &ERROR_BODY).await;
    };
    let (first, second, ()) = tokio::join!(first, second, serve);
    assert_eq!(first.unwrap()[0].status(), NtStatus::DISK_FULL);
    assert_eq!(second.unwrap()[0].status(), NtStatus::DISK_FULL);
}

/// A lost break would leave its lease in use for ever.
#[tokio::test]
async fn a_break_that_finds_the_queue_full_ends_the_connection() {
    let (client, mut server) = pair().await;
    let mut breaks = client.breaks().unwrap();
    assert!(client.breaks().is_none());
    let header = Header { message_id: UNSOLICITED, ..Header::blank(Command::OplockBreak) };
    for key in 0..=BREAKS as u128 {
        let mut body = vec![0; 44];
        body[0] = 44;
        body[8..24].copy_from_slice(&key.to_le_bytes());
        server.answer(&header, NtStatus::SUCCESS, 0, &body).await;
    }
    assert!(ends(&client).await.contains("breaks"));
    for expected in 0..BREAKS as u128 {
        let broken = breaks.recv().await;
        assert!(matches!(broken, Some(Break::Lease { key, .. }) if key == expected), "{expected}: {broken:?}");
    }
}

#[tokio::test]
async fn a_waiting_request_fails_when_the_server_closes_the_connection() {
    let (client, server) = pair().await;
    let chain = echo();
    let leave = async { drop(server) };
    let (answer, ()) = tokio::join!(client.send(&chain, PATIENCE), leave);
    assert!(matches!(answer, Err(WireError::Closed(_))));
    assert!(matches!(client.send(&chain, PATIENCE).await, Err(WireError::Closed(_))), "a later request too");
    assert!(client.ended_at().is_some());
}

#[tokio::test]
async fn a_connection_that_is_dropped_leaves_no_task_behind() {
    let (client, mut server) = pair().await;
    let shared = Arc::downgrade(&client.shared);
    drop(client);
    assert!(server.try_receive().await.is_none());
    tokio::time::timeout(PATIENCE, async {
        while shared.strong_count() > 0 {
            tokio::task::yield_now().await;
        }
    })
    .await
    .expect("the tasks should have ended");
}

/// A socket accepts a frame in parts when the server is slow.
#[tokio::test]
async fn bytes_that_a_socket_does_not_accept_at_once_are_sent_later() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (mut server, _) = listener.accept().await.unwrap();
    let client = Connection::start(client, Duration::from_secs(60), Arc::default()).unwrap();
    let serve = async {
        let header = receive(&mut server).await.0;
        send(&mut server, &response(&header, NtStatus::SUCCESS, 512, 0, &[4, 0, 0, 0])).await;
        for _ in 0..8 {
            let (header, size) = receive(&mut server).await;
            assert_eq!(size, 64 + 48 + (2 << 20));
            send(&mut server, &response(&header, NtStatus::DISK_FULL, 32, 0, &ERROR_BODY)).await;
        }
        server
    };
    let chain = write(2 << 20);
    let work = async {
        client.send(&echo(), PATIENCE).await.unwrap();
        // All frames are in the outbox before the server reads the first.
        let answers = futures_util::future::join_all((0..8).map(|_| client.send(&chain, PATIENCE))).await;
        assert!(answers.iter().all(|answer| answer.as_ref().unwrap()[0].status() == NtStatus::DISK_FULL));
    };
    let ((), server) = tokio::join!(work, serve);
    drop(server);
    assert!(ends(&client).await.contains("closed"));
}

/// The header of the next frame, and its size.
async fn receive(server: &mut TcpStream) -> (Header, usize) {
    let size = server.read_u32().await.unwrap() as usize;
    let mut frame = vec![0; size];
    server.read_exact(&mut frame).await.unwrap();
    (seen(&frame)[0].header, size)
}

async fn send(server: &mut TcpStream, frame: &[u8]) {
    server.write_u32(frame.len() as u32).await.unwrap();
    server.write_all(frame).await.unwrap();
}
