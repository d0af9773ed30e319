//! A connection against a server that behaves in every way a server can.

use super::NtStatus;
use super::codec::TooLong;
use super::connection::{BREAKS, Connection, Security};
use super::crypto::{Signer, SigningAlgorithm};
use super::error::WireError;
use super::frame::{Chain, RELATED_FILE, Reply, Request};
use super::header::{Command, Header, flags};
use super::messages::{create, info, io, lease};
use super::scripted::{Scripted, pair, pair_with_echo, response};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::AsyncReadExt;

mod forged;

const PATIENCE: Duration = Duration::from_secs(20);
const ERROR_BODY: [u8; 9] = [9, 0, 0, 0, 0, 0, 0, 0, 0];

fn echo() -> Chain {
    Chain::single(Request::new(Command::Echo, vec![4, 0, 0, 0]))
}

/// Gives the client `credits`, by the answer to an ECHO.
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

#[tokio::test]
async fn a_compound_is_one_frame_and_its_answers_may_come_apart() {
    let (client, mut server) = pair().await;
    grant(&client, &mut server, 10).await;
    let chain = open_and_close();
    let serve = async {
        let seen = server.receive().await;
        assert_eq!(seen.len(), 2);
        assert!(seen[1].header.has(flags::RELATED));
        for request in seen.iter().rev() {
            server.answer(&request.header, NtStatus::ACCESS_DENIED, 1, &ERROR_BODY).await;
        }
    };
    let (answer, ()) = tokio::join!(client.send(&chain, PATIENCE), serve);
    let statuses: Vec<NtStatus> = answer.unwrap().iter().map(Reply::status).collect();
    assert_eq!(statuses, [NtStatus::ACCESS_DENIED, NtStatus::ACCESS_DENIED]);
    assert_eq!(client.credits(), (10, 0));
}

#[tokio::test]
async fn a_server_that_grants_one_credit_gets_a_compound_in_pieces() {
    let (client, mut server) = pair().await;
    let chain = open_and_close();
    let serve = async {
        let open = server.receive_one().await;
        server.answer(&open.header, NtStatus::SUCCESS, 1, &create_body([9; 16])).await;
        let close = server.receive_one().await;
        assert_eq!(close.header.command, Command::Close as u16);
        assert_eq!(close.body[8..24], [9; 16], "the file of the answer stands where the compound's placeholder was");
        assert!(!close.header.has(flags::RELATED));
        server.answer(&close.header, NtStatus::SUCCESS, 1, &[60, 0, 0, 0]).await;
    };
    let (answer, ()) = tokio::join!(client.send(&chain, PATIENCE), serve);
    assert_eq!(answer.unwrap().len(), 2);
}

#[tokio::test]
async fn in_pieces_a_failed_open_ends_the_compound() {
    let (client, mut server) = pair().await;
    let chain = open_and_close();
    let serve = async {
        let open = server.receive_one().await;
        server.answer(&open.header, NtStatus::OBJECT_NAME_NOT_FOUND, 1, &ERROR_BODY).await;
    };
    let (answer, ()) = tokio::join!(client.send(&chain, PATIENCE), serve);
    assert!(answer.unwrap().iter().all(|reply| reply.status() == NtStatus::OBJECT_NAME_NOT_FOUND));
}

#[tokio::test]
async fn a_request_that_costs_more_than_the_server_grants_fails_at_once() {
    let (client, _server) = pair().await;
    let costly = Chain::single(io::read([0; 16], 0, 1 << 20));
    let error = client.send(&costly, PATIENCE).await.unwrap_err();
    assert_eq!(error, WireError::Credits { needed: 16, capacity: 1 });
}

/// Nothing of it, and nothing of the compound that it is in; and it costs nothing.
#[tokio::test]
async fn what_is_too_long_is_not_sent() {
    let (client, mut server) = pair().await;
    grant(&client, &mut server, 10).await;
    let path = vec![0x61; 32_768];
    let open = create::Create { path: &path, access: 0, attributes: 0, disposition: 1, options: 0 }.request();
    let compound = Chain { requests: vec![open.clone(), create::close(RELATED_FILE)], ..open_and_close() };
    for chain in [Chain::single(open), compound] {
        let error = client.send(&chain, PATIENCE).await.unwrap_err();
        assert_eq!(error, WireError::TooLong(TooLong::Path));
        assert!(!client.post(&chain));
    }
    let rename = Chain::single(info::set_name([1; 16], &path, true));
    assert_eq!(client.send(&rename, PATIENCE).await.unwrap_err(), WireError::TooLong(TooLong::Path));
    assert_eq!(client.credits(), (10, 0));
    let chain = echo();
    let serve = async {
        let request = server.receive_one().await;
        assert_eq!(request.header.command, Command::Echo as u16, "the first that is sent");
        server.answer(&request.header, NtStatus::SUCCESS, 1, &[4, 0, 0, 0]).await;
    };
    let (answer, ()) = tokio::join!(client.send(&chain, PATIENCE), serve);
    answer.unwrap();
}

#[tokio::test]
async fn a_request_waits_for_credits_and_goes_when_they_come() {
    let (client, mut server) = pair().await;
    let client = Arc::new(client);
    let (first, second) = (echo(), echo());
    let serve = async {
        let request = server.receive_one().await;
        // The credit comes with the interim response, none with the final one.
        let mut interim = request.header;
        interim.async_or_tree = 55;
        server.send(&response(&interim, NtStatus::PENDING, 1, flags::ASYNC, &ERROR_BODY)).await;
        let next = server.receive_one().await;
        server.answer(&next.header, NtStatus::SUCCESS, 1, &[4, 0, 0, 0]).await;
        server.send(&response(&interim, NtStatus::SUCCESS, 0, flags::ASYNC, &[4, 0, 0, 0])).await;
    };
    let (one, other, ()) = tokio::join!(client.send(&first, PATIENCE), client.send(&second, PATIENCE), serve);
    one.unwrap();
    other.unwrap();
    assert_eq!(client.credits(), (1, 0));
}

#[tokio::test]
async fn a_small_request_goes_while_bulk_waits_for_credits() {
    let (client, mut server) = pair().await;
    grant(&client, &mut server, 64).await;
    let write = Chain::single(io::write([1; 16], 0, vec![7; 16 * 65_536].into()));
    let mut writes: Vec<_> = (0..4).map(|_| Box::pin(client.send(&write, PATIENCE))).collect();
    for write in &mut writes {
        assert!(!poll_once(write).await);
    }
    assert_eq!(client.credits(), (16, 48), "a quarter is left to small requests");
    let chain = echo();
    let serve = async {
        let mut held = Vec::new();
        for _ in 0..3 {
            held.push(server.receive_one().await.header);
        }
        let small = server.receive_one().await.header;
        assert_eq!(small.command, Command::Echo as u16);
        server.answer(&small, NtStatus::SUCCESS, 1, &[4, 0, 0, 0]).await;
        held
    };
    let (answer, held) = tokio::join!(client.send(&chain, PATIENCE), serve);
    answer.unwrap();
    assert!(!poll_once(&mut writes[3]).await);
    server.answer(&held[0], NtStatus::DISK_FULL, 16, &ERROR_BODY).await;
    let first = writes.remove(0).await.unwrap();
    assert_eq!(first[0].status(), NtStatus::DISK_FULL);
    let (last, request) = tokio::join!(poll_once(&mut writes[2]), server.receive_one());
    assert!(!last);
    assert_eq!(request.header.command, Command::Write as u16, "the one that waited");
}

#[tokio::test]
async fn a_waiter_that_goes_away_cancels_and_gives_its_credit_back() {
    let (client, mut server) = pair().await;
    grant(&client, &mut server, 2).await;
    let gone = client.send(&echo(), Duration::from_millis(20)).await;
    assert_eq!(gone.unwrap_err(), WireError::TimedOut);
    let request = server.receive_one().await;
    let cancel = server.receive_one().await;
    assert_eq!(cancel.header.command, Command::Cancel as u16);
    assert_eq!(cancel.header.message_id, request.header.message_id);
    assert_eq!(client.credits(), (1, 1));
    server.answer(&request.header, NtStatus::CANCELLED, 1, &ERROR_BODY).await;
    grant(&client, &mut server, 1).await;
    assert_eq!(client.credits(), (2, 0));
}

#[tokio::test]
async fn an_open_that_nobody_waits_for_is_closed() {
    let (client, mut server) = pair().await;
    grant(&client, &mut server, 4).await;
    let mut open = open_and_close();
    open.requests.pop();
    assert!(client.send(&open, Duration::from_millis(20)).await.is_err());
    let request = server.receive_one().await;
    assert_eq!(server.receive_one().await.header.command, Command::Cancel as u16);
    server.answer(&request.header, NtStatus::SUCCESS, 1, &create_body([3; 16])).await;
    let close = server.receive_one().await;
    assert_eq!(close.header.command, Command::Close as u16);
    assert_eq!(close.header.tree_id(), 7);
    assert_eq!(close.body[8..24], [3; 16]);
}

#[tokio::test]
async fn ten_thousand_dropped_requests_leave_every_credit_in_place() {
    let (client, mut server) = pair().await;
    grant(&client, &mut server, 64).await;
    let serve = tokio::spawn(async move {
        // A CANCEL is not answered, and every request is, late.
        while let Ok(size) = server.stream.read_u32().await {
            let mut frame = vec![0; size as usize];
            server.stream.read_exact(&mut frame).await.unwrap();
            let header = Header::parse(&frame).unwrap();
            if header.command == Command::Echo as u16 {
                server.answer(&header, NtStatus::SUCCESS, 1, &[4, 0, 0, 0]).await;
            }
        }
    });
    let chain = echo();
    for round in 0..10_000u32 {
        let mut sending = Box::pin(client.send(&chain, PATIENCE));
        for _ in 0..round % 3 {
            let _ = poll_once(&mut sending).await;
        }
    }
    client.send(&chain, PATIENCE).await.unwrap();
    // Answers that are still on their way belong to requests that nobody waits for.
    while client.credits().1 > 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(client.credits(), (64, 0));
    drop(client);
    serve.await.unwrap();
}

/// Polls a future once, whatever comes of it.
async fn poll_once<F: Future + Unpin>(future: &mut F) -> bool {
    std::future::poll_fn(|context| std::task::Poll::Ready(std::pin::Pin::new(&mut *future).poll(context).is_ready()))
        .await
}

#[tokio::test]
async fn a_reply_that_should_be_signed_and_is_not_ends_the_connection() {
    let (client, mut server) = pair().await;
    grant(&client, &mut server, 10).await;
    let signer = Some(Signer::new(SigningAlgorithm::AesCmac, &[1; 16]));
    client.protect(Security { signer, sign_all: true, sealer: None, seal_all: false });
    let chain = echo();
    let serve = async {
        let request = server.receive_one().await;
        assert!(request.header.has(flags::SIGNED));
        // The server's own key is another one.
        server.answer(&request.header, NtStatus::SUCCESS, 1, &[4, 0, 0, 0]).await;
    };
    let (answer, ()) = tokio::join!(client.send(&chain, PATIENCE), serve);
    assert!(matches!(answer, Err(WireError::Closed(reason)) if reason.contains("not signed")));
    assert!(client.ended().is_some());
}

#[tokio::test]
async fn a_break_is_delivered_and_other_unsolicited_messages_end_the_connection() {
    let (client, mut server) = pair().await;
    let mut breaks = client.breaks().unwrap();
    assert!(client.breaks().is_none());
    let header = Header { message_id: u64::MAX, ..Header::blank(Command::OplockBreak) };
    server.answer(&header, NtStatus::SUCCESS, 0, &lease_break(7)).await;
    let broken = lease::Break::Lease { key: 7, left: 0, epoch: 0, acknowledge: false };
    assert_eq!(breaks.recv().await, Some(broken));
    server.answer(&Header { command: Command::Echo as u16, ..header }, NtStatus::SUCCESS, 0, &[4, 0]).await;
    assert!(ends(&client).await.contains("unsolicited"));
}

fn lease_break(key: u128) -> Vec<u8> {
    let mut body = vec![0; 44];
    body[0] = 44;
    body[8..24].copy_from_slice(&key.to_le_bytes());
    body
}

/// A break that was dropped would leave its lease in use for ever.
#[tokio::test]
async fn a_break_that_finds_the_queue_full_ends_the_connection() {
    let (client, mut server) = pair().await;
    let mut breaks = client.breaks().unwrap();
    let header = Header { message_id: u64::MAX, ..Header::blank(Command::OplockBreak) };
    for key in 0..=BREAKS as u128 {
        server.answer(&header, NtStatus::SUCCESS, 0, &lease_break(key)).await;
    }
    assert!(ends(&client).await.contains("breaks"));
    for expected in 0..BREAKS as u128 {
        let broken = breaks.recv().await;
        assert!(matches!(broken, Some(lease::Break::Lease { key, .. }) if key == expected), "{expected}: {broken:?}");
    }
}

#[tokio::test]
async fn a_break_that_is_malformed_ends_the_connection() {
    let (client, mut server) = pair().await;
    let header = Header { message_id: u64::MAX, ..Header::blank(Command::OplockBreak) };
    server.answer(&header, NtStatus::SUCCESS, 0, &lease_break(7)[..31]).await;
    assert!(ends(&client).await.contains("the server sent"));
}

async fn ends(client: &Connection) -> Arc<str> {
    tokio::time::timeout(PATIENCE, async {
        loop {
            match client.ended() {
                Some(reason) => return reason,
                None => tokio::time::sleep(Duration::from_millis(1)).await,
            }
        }
    })
    .await
    .expect("the connection should have ended")
}

#[tokio::test]
async fn malformed_frames_end_the_connection_with_the_reason() {
    let cases: [(&[u8], &str); 6] = [
        (b"\xffSMB\x72rest", "SMB1"),
        (b"\xfcSMB", "unknown protocol"),
        (b"\xfdSMB", "no key"),
        (b"", "unknown protocol"),
        (b"\xfeSMB", "past the end"),
        (&[b'G'; 200], "unknown protocol"),
    ];
    for (frame, why) in cases {
        let (client, mut server) = pair().await;
        server.send(frame).await;
        let reason = ends(&client).await;
        assert!(reason.contains(why), "{frame:02x?}: {reason}");
    }
}

#[tokio::test]
async fn a_frame_that_claims_more_than_was_asked_for_is_not_waited_for() {
    let (client, mut server) = pair().await;
    use tokio::io::AsyncWriteExt;
    server.stream.write_all(&[0, 0xff, 0xff, 0xff]).await.unwrap();
    assert!(ends(&client).await.contains("larger"));
}

#[tokio::test]
async fn keep_alives_of_netbios_are_skipped() {
    let (client, mut server) = pair().await;
    use tokio::io::AsyncWriteExt;
    server.stream.write_all(&[0x85, 0, 0, 0]).await.unwrap();
    grant(&client, &mut server, 3).await;
    assert_eq!(client.credits(), (3, 0));
}

#[tokio::test]
async fn a_server_that_falls_silent_is_noticed() {
    let (client, mut server) = pair_with_echo(Duration::from_millis(50)).await;
    client.protect(Security { signer: None, sign_all: false, sealer: None, seal_all: false });
    assert_eq!(server.receive_one().await.header.command, Command::Echo as u16);
    assert!(ends(&client).await.contains("silent"));
}

#[tokio::test]
async fn everyone_who_waits_hears_that_the_server_has_gone() {
    let (client, server) = pair().await;
    let chain = echo();
    let leave = async { drop(server) };
    let (answer, ()) = tokio::join!(client.send(&chain, PATIENCE), leave);
    assert!(matches!(answer, Err(WireError::Closed(_))));
    assert!(matches!(client.send(&chain, PATIENCE).await, Err(WireError::Closed(_))), "and those who come later");
}
