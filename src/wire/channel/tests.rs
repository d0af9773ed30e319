//! A channel against a server in memory, under a virtual clock: scripted cases here, forged replies in `forged`, random
//! runs in `random`. `pair` has the client's side, `server` the server's.

mod forged;
mod pair;
mod random;
mod server;

use super::*;
use crate::wire::NtStatus;
use crate::wire::codec::TooLong;
use crate::wire::credits::CREDIT_PAYLOAD;
use crate::wire::crypto::{Signer, SigningAlgorithm};
use crate::wire::frame::RELATED_FILE;
use crate::wire::header::{Header, flags};
use crate::wire::messages::{create, info, io, lease, notify};
use crate::wire::scripted::response;
use pair::{ERROR_BODY, PATIENCE, Pair, create_body, echo};

const SOON: Duration = Duration::from_millis(20);

fn open_and_close() -> Chain {
    let open = create::Create { path: &[0x61], access: 0, attributes: 0, disposition: 1, options: 0 };
    let requests = vec![open.request(), create::close(RELATED_FILE)];
    Chain { requests, related_from: 1, tree_id: 7, seal: false, force_signature: false }
}

#[test]
fn a_compound_is_one_frame_and_its_replies_may_have_several() {
    let mut pair = Pair::with_credits(10);
    let caller = pair.submit(&open_and_close());
    let seen = pair.receive();
    assert_eq!(seen.len(), 2);
    assert!(seen[1].header.has(flags::RELATED));
    for request in seen.iter().rev() {
        assert!(pair.take_answer(caller).is_none());
        pair.answer(&request.header, NtStatus::ACCESS_DENIED, 1, &ERROR_BODY);
    }
    let statuses: Vec<NtStatus> = pair.answer_of(caller).unwrap().iter().map(Reply::status).collect();
    assert_eq!(statuses, [NtStatus::ACCESS_DENIED, NtStatus::ACCESS_DENIED]);
    assert_eq!(pair.channel.credits(), (10, 0));
}

#[test]
fn a_request_that_costs_more_than_the_server_grants_fails_at_once() {
    let mut pair = Pair::new();
    let costly = Chain::single(io::read([0; 16], 0, 1 << 20));
    assert_eq!(pair.submit_within(&costly, PATIENCE), Err(WireError::Credits { needed: 16, capacity: 1 }));
}

#[test]
fn a_queued_request_fails_when_no_further_credits_can_come() {
    let mut pair = Pair::new();
    pair.submit(&echo());
    let costly = pair.submit(&Chain::single(io::read([0; 16], 0, 1 << 20)));
    let request = pair.receive_one();
    pair.answer(&request.header, NtStatus::SUCCESS, 2, &[4, 0, 0, 0]);
    assert_eq!(pair.answer_of(costly).unwrap_err(), WireError::Credits { needed: 16, capacity: 2 });
}

/// No part of the request or of its compound is sent, and it costs no credit.
#[test]
fn a_request_that_is_too_long_is_not_sent() {
    let mut pair = Pair::with_credits(10);
    let path = vec![0x61; 32_768];
    let open = create::Create { path: &path, access: 0, attributes: 0, disposition: 1, options: 0 }.request();
    let compound = Chain { requests: vec![open.clone(), create::close(RELATED_FILE)], ..open_and_close() };
    let rename = Chain::single(info::set_name([1; 16], &path, true));
    for chain in [Chain::single(open), compound, rename] {
        assert_eq!(pair.submit_within(&chain, PATIENCE), Err(WireError::TooLong(TooLong::Path)));
        assert!(!pair.post(&chain));
    }
    assert_eq!(pair.channel.credits(), (10, 0));
    pair.submit(&echo());
    assert_eq!(pair.receive_one().header.command, Command::Echo as u16, "the first that is sent");
}

#[test]
fn a_request_waits_for_credits_and_is_sent_when_they_are_granted() {
    let mut pair = Pair::new();
    let (first, second) = (pair.submit(&echo()), pair.submit(&echo()));
    let mut interim = pair.receive_one().header;
    assert!(pair.sent.is_empty(), "one credit, one request");
    // The interim response grants the credit, the final one grants none.
    interim.async_or_tree = 55;
    pair.send(&response(&interim, NtStatus::PENDING, 1, flags::ASYNC, &ERROR_BODY));
    let next = pair.receive_one();
    pair.answer(&next.header, NtStatus::SUCCESS, 1, &[4, 0, 0, 0]);
    pair.answer_of(second).unwrap();
    assert!(pair.take_answer(first).is_none());
    pair.send(&response(&interim, NtStatus::SUCCESS, 0, flags::ASYNC, &[4, 0, 0, 0]));
    pair.answer_of(first).unwrap();
    assert_eq!(pair.channel.credits(), (1, 0));
}

#[test]
fn a_small_request_is_sent_while_bulk_waits_for_credits() {
    let mut pair = Pair::with_credits(64);
    let write = Chain::single(io::write([1; 16], 0, vec![7; 16 * CREDIT_PAYLOAD as usize].into()));
    let writes: Vec<u64> = (0..4).map(|_| pair.submit(&write)).collect();
    assert_eq!(pair.channel.credits(), (16, 48), "a quarter is reserved for small requests");
    let small = pair.submit(&echo());
    let held: Vec<Header> = (0..3).map(|_| pair.receive_one().header).collect();
    let request = pair.receive_one().header;
    assert_eq!(request.command, Command::Echo as u16);
    pair.answer(&request, NtStatus::SUCCESS, 1, &[4, 0, 0, 0]);
    pair.answer_of(small).unwrap();
    assert!(pair.sent.is_empty());
    pair.answer(&held[0], NtStatus::DISK_FULL, 16, &ERROR_BODY);
    assert_eq!(pair.answer_of(writes[0]).unwrap()[0].status(), NtStatus::DISK_FULL);
    assert_eq!(pair.receive_one().header.command, Command::Write as u16, "the one that waited");
}

#[test]
fn a_request_without_a_timely_answer_is_cancelled_and_its_credit_returns() {
    let mut pair = Pair::with_credits(2);
    let caller = pair.submit_within(&echo(), SOON).unwrap();
    pair.pass(SOON - Duration::from_millis(1));
    assert!(pair.take_answer(caller).is_none());
    pair.pass(Duration::from_millis(1));
    assert_eq!(pair.answer_of(caller).unwrap_err(), WireError::TimedOut);
    let request = pair.receive_one();
    let cancel = pair.receive_one();
    assert_eq!(cancel.header.command, Command::Cancel as u16);
    assert_eq!(cancel.header.message_id, request.header.message_id);
    assert_eq!(pair.channel.credits(), (1, 1));
    pair.answer(&request.header, NtStatus::CANCELLED, 1, &ERROR_BODY);
    assert_eq!(pair.channel.credits(), (2, 0));
}

#[test]
fn a_request_that_waits_for_other_clients_has_longer_but_not_for_ever() {
    let mut pair = Pair::with_credits(4);
    let callers = [0, 1].map(|_| pair.submit_within(&echo(), SOON).unwrap());
    let interim = [0, 1].map(|_| {
        let mut header = pair.receive_one().header;
        header.async_or_tree = 55 + header.message_id;
        pair.send(&response(&header, NtStatus::PENDING, 1, flags::ASYNC, &ERROR_BODY));
        header
    });
    pair.pass(SOON + FOR_OTHERS / 2);
    assert!(callers.iter().all(|caller| pair.take_answer(*caller).is_none()));
    pair.send(&response(&interim[0], NtStatus::SUCCESS, 0, flags::ASYNC, &[4, 0, 0, 0]));
    pair.answer_of(callers[0]).unwrap();
    // Another interim reply changes nothing.
    pair.send(&response(&interim[1], NtStatus::PENDING, 0, flags::ASYNC, &ERROR_BODY));
    pair.pass(FOR_OTHERS / 2);
    assert_eq!(pair.answer_of(callers[1]).unwrap_err(), WireError::TimedOut);
    assert_eq!(pair.receive_one().header.command, Command::Cancel as u16);
}

#[test]
fn a_request_that_times_out_in_its_queue_is_not_sent_and_unblocks_others() {
    let mut pair = Pair::with_credits(16);
    let held = pair.submit(&echo());
    let read = Chain::single(io::read([1; 16], 0, 16 * CREDIT_PAYLOAD));
    let bulk = pair.submit_within(&read, SOON).unwrap();
    let small = pair.submit(&Chain::single(io::read([1; 16], 0, 1000)));
    pair.receive_one();
    assert!(pair.sent.is_empty(), "bulk that costs every credit was queued first");
    pair.pass(SOON);
    assert_eq!(pair.answer_of(bulk).unwrap_err(), WireError::TimedOut);
    let request = pair.receive_one();
    assert_eq!(request.header.command, Command::Read as u16);
    assert!(pair.sent.is_empty(), "a request that was not sent is not cancelled");
    assert!(pair.waiting.contains_key(&held) && pair.waiting.contains_key(&small));
}

#[test]
fn a_request_that_is_cancelled_in_its_queue_is_not_sent_and_unblocks_others() {
    let mut pair = Pair::with_credits(16);
    pair.submit(&echo());
    let bulk = pair.submit(&Chain::single(io::read([1; 16], 0, 16 * CREDIT_PAYLOAD)));
    pair.submit(&Chain::single(io::read([1; 16], 0, 1000)));
    pair.receive_one();
    assert!(pair.sent.is_empty());
    pair.cancel(bulk);
    assert_eq!(pair.receive_one().header.command, Command::Read as u16);
    assert!(pair.sent.is_empty());
}

#[test]
fn an_open_that_its_caller_gave_up_is_closed() {
    let mut pair = Pair::with_credits(4);
    let mut open = open_and_close();
    open.requests.pop();
    let caller = pair.submit(&open);
    pair.cancel(caller);
    let request = pair.receive_one();
    assert_eq!(pair.receive_one().header.command, Command::Cancel as u16);
    pair.answer(&request.header, NtStatus::SUCCESS, 1, &create_body([3; 16]));
    let close = pair.receive_one();
    assert_eq!(close.header.command, Command::Close as u16);
    assert_eq!(close.header.tree_id(), 7);
    assert_eq!(close.body[8..24], [3; 16]);
}

#[test]
fn an_armed_watch_has_no_deadline_and_holds_no_credit() {
    let mut pair = Pair::with_credits(3);
    let requests = vec![info::query_standard([1; 16]), notify::change_notify([1; 16], 4096).unrelated()];
    let chain = Chain { requests, ..open_and_close() };
    let (head, last) = pair.submit_open_ended(&chain, SOON).unwrap();
    let ticket = pair.waiting[&last].0;
    let seen = pair.receive();
    let watch = Header { async_or_tree: 9, ..seen[1].header };
    pair.send(&response(&watch, NtStatus::PENDING, 1, flags::ASYNC, &ERROR_BODY));
    assert!(pair.channel.is_kept(ticket));
    assert_eq!(pair.channel.credits(), (2, 1));
    pair.answer(&seen[0].header, NtStatus::ACCESS_DENIED, 1, &ERROR_BODY);
    pair.answer_of(head.unwrap()).unwrap();
    pair.pass(100 * SOON);
    assert!(pair.take_answer(last).is_none());
    pair.cancel(last);
    let cancel = pair.receive_one().header;
    assert_eq!((cancel.command, cancel.async_id()), (Command::Cancel as u16, Some(9)));
    assert!(pair.channel.is_kept(ticket), "until the server has answered");
    pair.send(&response(&watch, NtStatus::CANCELLED, 0, flags::ASYNC, &ERROR_BODY));
    assert!(!pair.channel.is_kept(ticket));
    assert_eq!(pair.channel.credits(), (3, 0));
}

fn signed() -> Security {
    let signer = Some(Arc::new(Signer::new(SigningAlgorithm::AesCmac, &[1; 16])));
    Security { signer, sign_all: true, sealer: None, seal_all: false }
}

#[test]
fn a_reply_that_should_be_signed_and_is_not_ends_the_connection() {
    for is_awaited in [true, false] {
        let mut pair = Pair::with_credits(10);
        pair.protect(signed());
        let caller = pair.submit(&echo());
        let request = pair.receive_one();
        assert!(request.header.has(flags::SIGNED));
        if !is_awaited {
            pair.cancel(caller);
        }
        pair.answer(&request.header, NtStatus::SUCCESS, 1, &[4, 0, 0, 0]);
        assert!(pair.reason().contains("not signed"));
        match pair.take_answer(caller) {
            Some(answer) => assert!(matches!(answer, Err(WireError::Closed(reason)) if reason.contains("not signed"))),
            None => assert!(!is_awaited),
        }
    }
}

#[test]
fn a_request_that_must_be_encrypted_is_not_sent_in_plain() {
    let mut pair = Pair::with_credits(10);
    pair.protect(signed());
    let chain = Chain { seal: true, ..echo() };
    let refused = pair.submit_within(&chain, PATIENCE);
    assert!(matches!(refused, Err(WireError::Closed(reason)) if reason.contains("wants encryption")));
    assert!(pair.sent.is_empty());
}

fn lease_break(key: u128) -> Vec<u8> {
    let mut body = vec![0; 44];
    body[0] = 44;
    body[8..24].copy_from_slice(&key.to_le_bytes());
    body
}

const UNASKED_BREAK: Header = Header { message_id: UNSOLICITED, ..Header::blank(Command::OplockBreak) };

#[test]
fn a_break_is_delivered_and_other_unsolicited_messages_end_the_connection() {
    let mut pair = Pair::new();
    pair.answer(&UNASKED_BREAK, NtStatus::SUCCESS, 0, &lease_break(7));
    assert_eq!(pair.breaks, [lease::Break::Lease { key: 7, left: 0, epoch: 0, acknowledge: false }]);
    let other = Header { command: Command::Echo as u16, ..UNASKED_BREAK };
    pair.answer(&other, NtStatus::SUCCESS, 0, &[4, 0]);
    assert!(pair.reason().contains("unsolicited"));
}

#[test]
fn a_break_that_is_malformed_ends_the_connection() {
    let mut pair = Pair::new();
    pair.answer(&UNASKED_BREAK, NtStatus::SUCCESS, 0, &lease_break(7)[..31]);
    assert!(pair.reason().contains("the server sent"));
}

#[test]
fn malformed_frames_end_the_connection_with_the_reason() {
    let cases: [(&[u8], &str); 6] = [
        (b"\xffSMB\x72rest", "SMB1"),
        (b"\xfcSMB", "unknown protocol"),
        (b"\xfdSMB", "no key"),
        (b"", "unknown protocol"),
        (b"\xfeSMB", "past the end"),
        (&[b'G'; 200], "unknown protocol"),
    ];
    for (frame, why) in cases {
        let mut pair = Pair::new();
        pair.send(frame);
        assert!(pair.reason().contains(why), "{frame:02x?}: {}", pair.reason());
    }
}

#[test]
fn a_frame_larger_than_all_expected_responses_ends_the_connection() {
    let mut pair = Pair::new();
    pair.arrive(&[0, 0xff, 0xff, 0xff]);
    assert!(pair.reason().contains("larger"));
}

#[test]
fn a_server_that_falls_silent_ends_the_connection() {
    let mut pair = Pair::with_credits(10);
    pair.protect(signed());
    let caller = pair.submit_within(&echo(), 10 * PATIENCE).unwrap();
    pair.receive_one();
    pair.pass(Duration::from_secs(60));
    assert_eq!(pair.receive_one().header.command, Command::Echo as u16);
    assert!(pair.channel.ended().is_none());
    pair.pass(Duration::from_secs(60));
    assert!(pair.reason().contains("silent for 120 s"));
    assert!(matches!(pair.answer_of(caller), Err(WireError::Closed(_))));
    assert_eq!(pair.channel.next_timeout(), None);
}

#[test]
fn every_caller_gets_the_reason_for_the_end_of_the_connection() {
    let mut pair = Pair::new();
    let (sent, queued) = (pair.submit(&echo()), pair.submit(&echo()));
    pair.channel.end("a test", pair.now);
    pair.carry_out();
    for caller in [sent, queued] {
        assert_eq!(pair.answer_of(caller).unwrap_err(), WireError::Closed("a test".into()));
    }
    let later = pair.submit_within(&echo(), PATIENCE);
    assert_eq!(later, Err(WireError::Closed("a test".into())), "a later caller too");
    assert_eq!(pair.channel.ended().unwrap().at, pair.now);
    assert!(!pair.post(&echo()));
}
