//! The list of shares, whole, in pieces, and from hostile servers.

use super::rpc::{Reassembly, RpcError, bind_request, parse_bind_ack};
use super::*;
use proptest::prelude::*;

fn put_string(stub: &mut Vec<u8>, text: &str) {
    let units: Vec<u16> = text.encode_utf16().chain([0]).collect();
    let count = units.len() as u32;
    stub.put_u32(count).put_u32(0).put_u32(count).put_utf16(&units).align(4);
}

/// The stub data of a response with these shares and this Win32 error.
fn stub(shares: &[(&str, u32, &str)], error: u32) -> Vec<u8> {
    let count = shares.len() as u32;
    let mut stub = Vec::new();
    stub.put_u32(1).put_u32(1).put_u32(POINTER).put_u32(count).put_u32(POINTER).put_u32(count);
    for (index, (_, kind, _)) in shares.iter().enumerate() {
        stub.put_u32(8 * index as u32 + 4).put_u32(*kind).put_u32(8 * index as u32 + 8);
    }
    for (name, _, comment) in shares {
        put_string(&mut stub, name);
        put_string(&mut stub, comment);
    }
    stub.put_u32(count).put_u32(POINTER).put_u32(0).put_u32(error);
    stub
}

/// A fragment of a response.
fn fragment(kind: u8, flags: u8, stub: &[u8]) -> Vec<u8> {
    let mut pdu = Vec::new();
    pdu.put_u8(5).put_u8(0).put_u8(kind).put_u8(flags).put_bytes(&[0x10, 0, 0, 0]);
    pdu.put_u16(24 + stub.len() as u16).put_u16(0).put_u32(1);
    pdu.put_u32(stub.len() as u32).put_u16(0).put_u16(0).put_bytes(stub);
    pdu
}

/// A response whose stub data is split into fragments of these sizes; the last one has what is left.
fn fragments(stub: &[u8], sizes: &[usize]) -> Vec<u8> {
    let (mut bytes, mut left) = (Vec::new(), stub);
    for (index, size) in sizes.iter().enumerate() {
        let (part, rest) = left.split_at((*size).min(left.len()));
        bytes.extend(fragment(2, u8::from(index == 0), part));
        left = rest;
    }
    bytes.extend(fragment(2, 2 | u8::from(sizes.is_empty()), left));
    bytes
}

fn list() -> Vec<u8> {
    stub(&[("media", 0, "films, ünïcode"), ("lp", 1, ""), ("IPC$", 0x8000_0003, "IPC"), ("C$", 0x8000_0000, "")], 0)
}

fn ack(result: u16, reason: u16) -> Vec<u8> {
    let mut bytes = bind_request();
    bytes[2] = 12;
    bytes.truncate(24);
    bytes.put_u16(13).put_bytes(b"\\PIPE\\srvsvc\0").align(4);
    bytes.put_u32(1).put_u16(result).put_u16(reason);
    let syntax = bind_request()[bind_request().len() - 20..].to_vec();
    bytes.put_bytes(&syntax);
    let length = bytes.len() as u16;
    bytes[8..10].copy_from_slice(&length.to_le_bytes());
    bytes
}

fn parsed(bytes: &[u8]) -> Result<Vec<ListedShare>, RpcError> {
    let whole = Reassembly::default().add(bytes)?.ok_or(Malformed("incomplete"))?;
    parse_shares(&whole)
}

#[test]
fn requests_have_the_length_that_they_claim() {
    let bind = bind_request();
    assert_eq!(bind.len(), 72);
    assert_eq!(bind[..16], [5, 0, 11, 3, 0x10, 0, 0, 0, 72, 0, 0, 0, 1, 0, 0, 0]);
    let request = enum_request("nas");
    assert_eq!(usize::from(u16::from_le_bytes([request[8], request[9]])), request.len());
    assert_eq!(request[22..24], [15, 0], "the operation");
    assert_eq!(request[24..40], [0, 0, 2, 0, 6, 0, 0, 0, 0, 0, 0, 0, 6, 0, 0, 0], "the name has 5 units and a NUL");
    assert!(enum_request(&"n".repeat(100_000)).len() < usize::from(MAX_FRAGMENT));
}

#[test]
fn the_answer_to_a_bind_is_checked() {
    assert_eq!(parse_bind_ack(&ack(0, 0)), Ok(()));
    assert_eq!(parse_bind_ack(&ack(2, 1)), Err(RpcError::NotBound(1)));
    assert_eq!(parse_bind_ack(&fragment(3, 3, &[5, 0, 0, 0])), Err(RpcError::Fault(5)));
    assert!(parse_bind_ack(&ack(0, 0)[..50]).is_err());
    assert!(parse_bind_ack(&fragment(2, 3, &[])).is_err());
}

#[test]
fn shares_have_names_kinds_and_comments() {
    let shares = parsed(&fragments(&list(), &[])).unwrap();
    let plain: Vec<_> = shares.iter().map(|share| (&*share.name, share.kind, &*share.comment)).collect();
    let expected = [
        ("media", ShareKind::Disk, "films, ünïcode"),
        ("lp", ShareKind::Printer, ""),
        ("IPC$", ShareKind::Pipe, "IPC"),
        ("C$", ShareKind::Disk, ""),
    ];
    assert_eq!(plain, expected);
    assert_eq!(shares.iter().map(ListedShare::is_hidden).collect::<Vec<_>>(), [false, false, true, true]);
    assert_eq!(parsed(&fragments(&stub(&[], 0), &[])), Ok(vec![]));
    let cut = parse_shares(&stub(&[("a\0b", 7, "c\0d")], MORE_DATA)).unwrap();
    assert_eq!((&*cut[0].name, cut[0].kind, &*cut[0].comment), ("a", ShareKind::Other, "c"));
}

#[test]
fn refusals_and_faults_have_their_status() {
    assert_eq!(parsed(&fragments(&stub(&[], 5), &[])), Err(RpcError::Refused(5)));
    let null = [1u32, 1, 0, 0, 0, 5].map(u32::to_le_bytes).concat();
    assert_eq!(parse_shares(&null), Err(RpcError::Refused(5)));
    assert_eq!(parsed(&fragment(3, 3, &[0xf7, 6, 0, 0])), Err(RpcError::Fault(1783)));
    assert!(matches!(parsed(&fragment(3, 3, &[])), Err(RpcError::Malformed(_))));
}

#[test]
fn claims_beyond_the_message_are_malformed() {
    let valid = stub(&[("media", 0, "films")], 0);
    assert!(parse_shares(&valid).is_ok());
    // The counts of the container and of its array, then the string's sizes and offset.
    for (at, value) in [(12, u32::MAX), (12, 2), (20, 0), (36, 1), (40, 1), (44, u32::MAX), (44, 7)] {
        let mut changed = valid.clone();
        changed[at..at + 4].copy_from_slice(&value.to_le_bytes());
        assert!(matches!(parse_shares(&changed), Err(RpcError::Malformed(_))), "{at}: {value}");
    }
    let mut many = valid.clone();
    for at in [12, 20] {
        many[at..at + 4].copy_from_slice(&4097u32.to_le_bytes());
    }
    many.resize(100_000, 0);
    assert_eq!(parse_shares(&many), Err(Malformed("a list of more than 4096 shares").into()));
    for length in 0..valid.len() {
        assert!(parse_shares(&valid[..length]).is_err(), "{length}");
    }
}

#[test]
fn fragments_are_bounded_and_in_order() {
    let mut whole = Reassembly::default();
    assert_eq!(whole.add(&fragment(2, 1, &[0; 60_000])), Ok(None));
    let end = (0..20).find_map(|_| whole.add(&fragment(2, 0, &[0; 60_000])).err());
    assert_eq!(end, Some(Malformed("an RPC response of more than 1 MiB").into()));
    assert!(Reassembly::default().add(&fragment(2, 2, &[])).is_err(), "the first fragment is missing");
    let twice = [fragment(2, 1, &[]), fragment(2, 1, &[])].concat();
    assert!(Reassembly::default().add(&twice).is_err());
    let behind = [fragment(2, 3, &[]), vec![5]].concat();
    assert!(Reassembly::default().add(&behind).is_err());
}

proptest! {
    #[test]
    fn any_split_of_a_response_gives_the_same_shares(
        sizes in prop::collection::vec(0usize..80, 0..12),
        pieces in prop::collection::vec(1usize..90, 0..40),
    ) {
        let bytes = fragments(&list(), &sizes);
        let (mut whole, mut left, mut stub) = (Reassembly::default(), &bytes[..], None);
        for size in pieces.into_iter().chain([usize::MAX]) {
            let (piece, rest) = left.split_at(size.min(left.len()));
            left = rest;
            if let Some(found) = whole.add(piece)? {
                stub = Some(found);
                break;
            }
        }
        prop_assert!(left.is_empty());
        prop_assert_eq!(parse_shares(&stub.unwrap())?, parse_shares(&list())?);
    }

    #[test]
    fn random_bytes_do_no_harm(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = parse_bind_ack(&bytes);
        let _ = parse_shares(&bytes);
        let _ = Reassembly::default().add(&bytes);
    }

    #[test]
    fn changed_bytes_do_no_harm(changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6)) {
        for valid in [fragments(&list(), &[7, 100]), list(), ack(0, 0)] {
            let mut bytes = valid.clone();
            for (at, value) in &changes {
                let at = at.index(bytes.len());
                bytes[at] = *value;
            }
            let _ = parse_bind_ack(&bytes);
            let _ = parse_shares(&bytes);
            let _ = parsed(&bytes);
        }
    }
}
