//! Forged replies: they end the connection, and their parsed parts are never larger than the reply.

use super::pair::{Pair, create_body};
use crate::wire::codec::{Malformed, Put};
use crate::wire::error::WireError;
use crate::wire::frame::{Chain, RELATED_FILE, Reply, Request, split};
use crate::wire::header::{Command, HEADER_SIZE, Header};
use crate::wire::messages::info::{Entry, Scan};
use crate::wire::messages::{check, create, info, io, ioctl, lease, notify};
use crate::wire::scripted::response;
use crate::wire::{NtStatus, negotiate};
use bytes::BytesMut;
use proptest::prelude::*;

const FILE: [u8; 16] = [7; 16];

/// The fixed part of an entry of a listing.
fn entry(next: u32, name_length: u32) -> Vec<u8> {
    let mut entry = Vec::new();
    entry.put_u32(next).put_bytes(&[0; 56]).put_u32(name_length).put_bytes(&[0; 16]);
    entry
}

fn change(next: u32, name_length: u32) -> Vec<u8> {
    let mut change = Vec::new();
    change.put_u32(next).put_u32(1).put_u32(name_length);
    change
}

/// A response of a command whose output has an offset of 16 and a length of 32 bits.
fn output(output: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    body.put_u16(9).put_u16(HEADER_SIZE as u16 + 8).put_u32(output.len() as u32).put_bytes(output);
    body
}

fn contexts(contexts: &[u8]) -> Vec<u8> {
    let mut body = create_body(FILE);
    body[80..84].copy_from_slice(&(HEADER_SIZE as u32 + 88).to_le_bytes());
    body[84..88].copy_from_slice(&(contexts.len() as u32).to_le_bytes());
    body.put_bytes(contexts);
    body
}

fn context(next: u32, name: (u16, u16), data: (u16, u32)) -> Vec<u8> {
    let mut context = Vec::new();
    context.put_u32(next).put_u16(name.0).put_u16(name.1).put_u16(0).put_u16(data.0).put_u32(data.1);
    context.put_bytes(b"QFid").put_bytes(&[0; 36]);
    context
}

fn listing() -> Request {
    info::query_directory(FILE, 65_536, Scan::Restarts)
}

fn open() -> Request {
    create::Create { path: &[0x61], access: 0, attributes: 0, disposition: 1, options: 0 }.request()
}

fn with_offset(mut body: Vec<u8>, at: usize, value: u32) -> Vec<u8> {
    body[at..at + 4].copy_from_slice(&value.to_le_bytes());
    body
}

/// Requests, each with a response that breaks the protocol.
fn forged() -> Vec<(&'static str, Request, Vec<u8>)> {
    let names = |length: usize| vec![0x41; length];
    let two = |first: Vec<u8>, second: Vec<u8>| output(&[first, second].concat());
    let written = [&[17, 0, 0, 0][..], &101u32.to_le_bytes(), &[0; 8]].concat();
    let read = [&[17, 0, 80, 0][..], &4097u32.to_le_bytes(), &[0; 8], &[0; 5000]].concat();
    let copied = with_offset(with_offset([&[49, 0][..], &[0; 60]].concat(), 32, 112), 36, 4000);
    vec![
        ("a name into the next entry", listing(), two(entry(80, 80), entry(0, 0))),
        ("a name of 256 units", listing(), output(&[entry(0, 512), names(512)].concat())),
        ("a name of an odd length", listing(), output(&[entry(0, 3), names(3)].concat())),
        ("a name behind the end", listing(), output(&entry(0, 2))),
        ("an entry that is not aligned", listing(), two([entry(84, 4), names(4)].concat(), entry(0, 0))),
        ("an entry within the one before", listing(), two(entry(8, 0), entry(0, 0))),
        ("an entry outside", listing(), two(entry(240, 0), entry(0, 0))),
        ("an entry that is cut", listing(), output(&entry(0, 0)[..79])),
        ("a listing outside", listing(), with_offset(output(&entry(0, 0)), 4, 81)),
        ("a change's name into the next", notify::change_notify(FILE, 4096), two(change(12, 2), change(0, 0))),
        (
            "a change of a name too long",
            notify::change_notify(FILE, 4096),
            output(&[change(0, 512), names(512)].concat()),
        ),
        (
            "a change that is not aligned",
            notify::change_notify(FILE, 4096),
            two([change(14, 2), names(2)].concat(), change(0, 0)),
        ),
        ("a change outside", notify::change_notify(FILE, 4096), output(&change(64, 0))),
        (
            "a context's data in the next",
            open(),
            contexts(&[context(56, (16, 4), (24, 40)), context(0, (16, 4), (24, 32))].concat()),
        ),
        (
            "a context's name in the next",
            open(),
            contexts(&[context(56, (56, 4), (24, 32)), context(0, (16, 4), (24, 32))].concat()),
        ),
        (
            "a context that is not aligned",
            open(),
            contexts(&[context(52, (16, 4), (24, 28)), context(0, (16, 4), (24, 32))].concat()),
        ),
        ("contexts outside", open(), with_offset(contexts(&context(0, (16, 4), (24, 32))), 84, 57)),
        ("an open that is cut", open(), create_body(FILE)[..87].to_vec()),
        ("a close without its attributes", create::close(FILE), vec![60, 0, 1, 0]),
        ("more than was to be read", io::read(FILE, 0, 4096), read),
        ("more than was to be written", io::write(FILE, 0, vec![0; 100].into()), written),
        ("times that are cut", info::query_file(FILE), output(&[0; 51])),
        ("space that is cut", info::query_space(FILE), output(&[0; 31])),
        ("less space that is cut", info::query_less_space(FILE), output(&[0; 23])),
        ("an output behind the end", ioctl::request_resume_key(FILE), copied),
    ]
}

#[test]
fn a_forged_reply_ends_the_connection() {
    for (what, request, body) in forged() {
        let mut pair = Pair::with_credits(10);
        let caller = pair.submit(&Chain::single(request));
        let request = pair.receive_one();
        pair.answer(&request.header, NtStatus::SUCCESS, 1, &body);
        let answer = pair.answer_of(caller);
        assert!(matches!(answer, Err(WireError::Malformed(_))), "{what}: {answer:?}");
        assert!(pair.reason().contains("the server sent"), "{what}");
    }
}

#[test]
fn a_forged_reply_in_a_compound_ends_the_connection() {
    let mut pair = Pair::with_credits(10);
    let requests = vec![open(), info::query_directory(RELATED_FILE, 65_536, Scan::Continues)];
    let chain = Chain { requests, related_from: 1, tree_id: 7, seal: false, force_signature: false };
    let caller = pair.submit(&chain);
    let seen = pair.receive();
    pair.answer(&seen[0].header, NtStatus::SUCCESS, 1, &create_body(FILE));
    let forged = output(&[entry(80, 80), entry(0, 0)].concat());
    pair.answer(&seen[1].header, NtStatus::SUCCESS, 1, &forged);
    let answer = pair.answer_of(caller);
    assert!(matches!(answer, Err(WireError::Malformed(_))), "{answer:?}");
    assert!(pair.reason().contains("the server sent"));
}

/// The report of a watch may come at any time.
#[test]
fn a_forged_change_ends_the_connection() {
    let mut pair = Pair::with_credits(10);
    let chain = Chain::single(notify::change_notify(FILE, 4096));
    let (_, watch) = pair.submit_open_ended(&chain, super::SOON).unwrap();
    let request = pair.receive_one();
    let forged = output(&[change(12, 400), change(0, 0)].concat());
    pair.answer(&request.header, NtStatus::SUCCESS, 1, &forged);
    assert!(matches!(pair.answer_of(watch), Err(WireError::Malformed(_))));
    assert!(pair.reason().contains("the server sent"));
}

#[test]
fn a_reply_to_another_command_ends_the_connection() {
    let mut pair = Pair::with_credits(10);
    let caller = pair.submit(&Chain::single(io::read(FILE, 0, 10)));
    let request = pair.receive_one();
    let header = Header { command: Command::Create as u16, ..request.header };
    pair.answer(&header, NtStatus::SUCCESS, 1, &create_body(FILE));
    assert!(matches!(pair.answer_of(caller), Err(WireError::Malformed(_))));
    assert!(pair.channel.ended().is_some());
}

#[test]
fn a_reply_without_a_defect_is_accepted() {
    let names = |length: usize| vec![0x41; length];
    let full = [entry(592, 510), names(512), entry(0, 510), names(510)].concat();
    let checked = |request: &Request, body: &[u8]| check(request, &reply_to(request.command, body));
    assert_eq!(checked(&listing(), &output(&full)), Ok(()));
    assert_eq!(checked(&listing(), &output(&[])), Ok(()));
    assert_eq!(checked(&notify::change_notify(FILE, 100), &output(&[])), Ok(()));
    let two = [context(56, (16, 4), (24, 32)), context(0, (16, 4), (24, 32))].concat();
    assert_eq!(checked(&open(), &contexts(&two)), Ok(()));
}

fn reply_to(command: Command, body: &[u8]) -> Reply {
    let message = response(&Header::blank(command), NtStatus::SUCCESS, 1, 0, body);
    split(BytesMut::from(&message[..]), false).next().unwrap().unwrap()
}

/// The least size of the entries of a listing in their message, in bytes.
fn weight(entries: &[Entry]) -> usize {
    entries.iter().map(|entry| 80 + 2 * entry.name.len()).sum()
}

fn fits(least: usize, message: usize) -> Result<(), TestCaseError> {
    prop_assert!(least <= message, "{} bytes parsed from {}", least, message);
    Ok(())
}

/// A list of a hostile server: offsets and lengths near to the right ones.
fn list(fixed: usize, length_at: usize) -> impl Strategy<Value = Vec<u8>> {
    let offsets =
        prop_oneof![Just(0u32), Just(fixed as u32), (0u32..80).prop_map(|step| step * 8), (0u32..600), any::<u32>()];
    let lengths = prop_oneof![(0u32..300).prop_map(|units| 2 * units), 0u32..600, any::<u32>()];
    let entry = (offsets, lengths, 0usize..600, any::<u8>()).prop_map(move |(next, length, room, fill)| {
        let mut entry = vec![fill; fixed + room];
        entry[..4].copy_from_slice(&next.to_le_bytes());
        entry[length_at..length_at + 4].copy_from_slice(&length.to_le_bytes());
        entry
    });
    prop::collection::vec(entry, 0..12).prop_map(|entries| entries.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn a_parsed_listing_is_never_larger_than_its_message(list in list(80, 60)) {
        let reply = reply_to(Command::QueryDirectory, &output(&list));
        let parsed = info::parse_entries(&reply);
        prop_assert_eq!(parsed.is_ok(), check(&listing(), &reply).is_ok());
        fits(weight(&parsed.unwrap_or_default()), reply.message.len())?;
    }

    #[test]
    fn parsed_changes_are_never_larger_than_their_message(list in list(12, 8)) {
        let reply = reply_to(Command::ChangeNotify, &output(&list));
        let parsed = notify::parse_changes(&reply);
        prop_assert_eq!(parsed.is_ok(), check(&notify::change_notify(FILE, 100), &reply).is_ok());
        let least = parsed.unwrap_or_default().iter().map(|(_, name)| 12 + 2 * name.len()).sum();
        fits(least, reply.message.len())?;
    }

    /// Each parser accepts or refuses every response; none panics or runs for ever.
    #[test]
    fn mutated_responses_never_panic(
        mut frame in prop::collection::vec(any::<u8>(), 0..400),
        structure in prop::sample::select(vec![9u16, 16, 17, 24, 44, 49, 60, 65, 89]),
        chops in prop::collection::vec((0usize..400, any::<u8>()), 0..8),
        next in prop::sample::select(vec![0u32, 8, 64, 72, 128, 200, u32::MAX]),
    ) {
        let mut message = response(&Header::blank(Command::Create), NtStatus::SUCCESS, 1, 0, &structure.to_le_bytes());
        message[20..24].copy_from_slice(&next.to_le_bytes());
        message.append(&mut frame);
        for (at, value) in chops {
            if let Some(byte) = message.get_mut(at) {
                *byte ^= value;
            }
        }
        let size = message.len();
        let Ok(replies) = split(BytesMut::from(&message[..]), false).collect::<Result<Vec<_>, Malformed>>() else {
            return Ok(());
        };
        fits(replies.iter().map(|reply| reply.message.len()).sum(), size)?;
        for reply in replies {
            let _ = create::Created::parse(&reply);
            let _ = create::parse_close(&reply);
            let _ = lease::Break::parse(&reply);
            fits(io::parse_read(&reply, 1 << 20).unwrap_or_default().len(), size)?;
            let _ = io::parse_write(&reply, 100);
            fits(weight(&info::parse_entries(&reply).unwrap_or_default()), size)?;
            let _ = info::parse_file(&reply);
            let _ = info::parse_space(&reply);
            let _ = info::parse_less_space(&reply);
            let _ = info::parse_shares_blocks(&reply);
            let _ = notify::parse_changes(&reply);
            let _ = ioctl::parse_resume_key(&reply);
            let _ = ioctl::parse_chunks(&reply);
            negotiate::tests_parse(&reply);
            for request in forged().into_iter().map(|(_, request, _)| request) {
                let _ = check(&request, &reply);
            }
        }
    }
}
