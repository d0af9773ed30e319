use super::*;
use crate::wire::NtStatus;
use crate::wire::codec::Put;
use crate::wire::header::{Command, Header, UNSOLICITED};
use crate::wire::messages::create::FileInfo;
use crate::wire::messages::lease::Granted;
use crate::wire::scripted::{Scripted, tree};
use std::time::Duration;

const KEY: LeaseKey = LeaseKey(77);
const FILE: [u8; 16] = [5; 16];
const PATIENCE: Duration = Duration::from_secs(20);

/// A client, and the server that the test plays.
async fn connected(dialect: Dialect, leasing: bool) -> (Arc<Leases>, Arc<Tree>, Scripted) {
    let leases = Arc::<Leases>::default();
    let (tree, server) = another(&leases, dialect, leasing).await;
    (leases, tree, server)
}

/// Another session of this client.
async fn another(leases: &Arc<Leases>, dialect: Dialect, leasing: bool) -> (Arc<Tree>, Scripted) {
    let (tree, server) = tree(dialect, leasing).await;
    leases.listen(&tree);
    (tree, server)
}

fn created(oplock: u8, lease: Option<Granted>) -> Created {
    Created { file: FILE, action: 1, info: FileInfo::default(), disk_id: 1, oplock, lease, maximal_access: None }
}

fn open(leases: &Arc<Leases>, tree: &Arc<Tree>) -> Holding {
    let announced = leases.announce(Lease { key: KEY, caching: Caching::ALL });
    let granted = Granted { key: KEY.0, state: 7, break_in_progress: false, epoch: Some(1) };
    let created = match announced.wanted(&tree.terms, None) {
        Wanted::Oplock(level) => created(level, None),
        _ => created(level::LEASE, Some(granted)),
    };
    announced.opened(tree, &created).expect("the connection lives")
}

async fn send_break(server: &mut Scripted, body: &[u8]) {
    let header = Header { message_id: UNSOLICITED, ..Header::blank(Command::OplockBreak) };
    server.answer(&header, NtStatus::SUCCESS, 0, body).await;
}

async fn break_lease(server: &mut Scripted, key: u128, left: u32, epoch: u16) {
    let mut body = Vec::new();
    body.put_u16(44).put_u16(epoch).put_u32(1).put_bytes(&key.to_le_bytes()).put_u32(7).put_u32(left);
    body.resize(44, 0);
    send_break(server, &body).await;
}

async fn next_event(events: &mut Events) -> Event {
    tokio::time::timeout(PATIENCE, events.next()).await.expect("an event comes in time").expect("the share is there")
}

async fn next(events: &mut Events) -> Broken {
    match next_event(events).await {
        Event::Broken(broken) => broken,
        other => panic!("{other:?} instead of a break"),
    }
}

#[tokio::test]
async fn a_lease_is_broken_and_what_is_kept_is_acknowledged() {
    let (leases, tree, mut server) = connected(Dialect::Smb311, true).await;
    let mut events = leases.events().unwrap();
    assert!(leases.events().is_none());
    let _open = open(&leases, &tree);
    assert_eq!(leases.caching(KEY), Caching::ALL);
    break_lease(&mut server, KEY.0, 3, 2).await;
    let broken = next(&mut events).await;
    assert_eq!((broken.key, broken.left), (KEY, Caching::READ | Caching::HANDLE));
    assert_eq!(leases.caching(KEY), broken.left);
    let sent = leases.carried_out(&broken);
    assert_eq!(sent.len(), 1);
    assert_eq!(sent[0].1.requests[0].body, lease::acknowledge_lease(KEY.0, 3).body);
    assert_eq!(sent[0].1.tree_id, 3);
}

#[tokio::test]
async fn an_oplock_is_broken_and_acknowledged_by_its_open() {
    let (leases, tree, mut server) = connected(Dialect::Smb202, false).await;
    let mut events = leases.events().unwrap();
    let _open = open(&leases, &tree);
    assert_eq!(leases.caching(KEY), Caching::ALL);
    send_break(&mut server, &[&[24, 0, level::II, 0, 0, 0, 0, 0][..], &FILE].concat()).await;
    let broken = next(&mut events).await;
    assert_eq!(broken.left, Caching::READ);
    let sent = leases.carried_out(&broken);
    assert_eq!(sent[0].1.requests[0].body, lease::acknowledge_oplock(FILE, level::II).body);
}

#[tokio::test]
async fn an_open_requests_a_lease_or_an_oplock_by_dialect_and_server() {
    let asked = |caching| Lease { key: KEY, caching };
    let wanted = async |dialect, leasing, caching| {
        let (leases, tree, _server) = connected(dialect, leasing).await;
        leases.announce(asked(caching)).wanted(&tree.terms, None)
    };
    let rw = Caching::READ | Caching::WRITE;
    let all = Caching::ALL;
    let v2 = Wanted::LeaseV2 { key: 77, state: 7, parent: None };
    assert_eq!(wanted(Dialect::Smb300, true, all).await, v2);
    assert_eq!(wanted(Dialect::Smb210, true, all).await, Wanted::LeaseV1 { key: 77, state: 7 });
    assert_eq!(wanted(Dialect::Smb311, false, all).await, Wanted::Oplock(level::BATCH));
    assert_eq!(wanted(Dialect::Smb311, false, rw).await, Wanted::Oplock(level::EXCLUSIVE));
    assert_eq!(wanted(Dialect::Smb202, false, Caching::READ).await, Wanted::Oplock(level::II));
    assert_eq!(wanted(Dialect::Smb202, false, Caching::NONE).await, Wanted::Oplock(level::NONE));
}

#[tokio::test]
async fn a_break_of_an_unknown_lease_is_acknowledged_at_once() {
    let (_leases, _tree, mut server) = connected(Dialect::Smb311, true).await;
    break_lease(&mut server, 99, 1, 2).await;
    let acknowledged = tokio::time::timeout(PATIENCE, server.receive_one()).await.expect("the server waits");
    assert_eq!(acknowledged.header.command, Command::OplockBreak as u16);
    assert_eq!(acknowledged.body, lease::acknowledge_lease(99, 0).body);
}

#[tokio::test]
async fn the_end_of_the_connection_ends_every_lease_at_once() {
    let (leases, tree, _server) = connected(Dialect::Smb311, true).await;
    let mut events = leases.events().unwrap();
    let holding = open(&leases, &tree);
    tree.channels.end("a test");
    assert_eq!(leases.caching(KEY), Caching::NONE);
    drop(holding);
    assert_eq!(next_event(&mut events).await, Event::SessionLost);
    let broken = next(&mut events).await;
    assert_eq!((broken.key, broken.left), (KEY, Caching::NONE));
    assert!(leases.carried_out(&broken).is_empty());
}

#[tokio::test]
async fn the_end_of_the_connection_is_reported_without_any_request() {
    let (leases, tree, server) = connected(Dialect::Smb311, true).await;
    let mut events = leases.events().unwrap();
    let _open = open(&leases, &tree);
    drop(server);
    assert_eq!(next_event(&mut events).await, Event::SessionLost);
    assert_eq!(next(&mut events).await.left, Caching::NONE);
}

#[tokio::test]
async fn an_answer_after_the_end_of_its_connection_grants_nothing() {
    let (leases, tree, _server) = connected(Dialect::Smb311, true).await;
    let announced = leases.announce(Lease { key: KEY, caching: Caching::ALL });
    tree.channels.end("a test");
    let granted = Granted { key: KEY.0, state: 7, break_in_progress: false, epoch: Some(1) };
    assert!(announced.opened(&tree, &created(level::LEASE, Some(granted))).is_none());
    assert_eq!(leases.caching(KEY), Caching::NONE);
}

#[tokio::test]
async fn an_answer_of_another_kind_than_was_asked_for_grants_nothing() {
    let granted = Some(Granted { key: KEY.0, state: 7, break_in_progress: false, epoch: Some(1) });
    for (leasing, answer) in [(false, created(level::LEASE, granted)), (true, created(level::BATCH, None))] {
        let (leases, tree, _server) = connected(Dialect::Smb311, leasing).await;
        let _open = leases.announce(Lease { key: KEY, caching: Caching::ALL }).opened(&tree, &answer).unwrap();
        assert_eq!(leases.caching(KEY), Caching::NONE);
    }
}

#[tokio::test]
async fn a_malformed_break_ends_the_connection() {
    let (leases, tree, mut server) = connected(Dialect::Smb311, true).await;
    let mut events = leases.events().unwrap();
    let _open = open(&leases, &tree);
    send_break(&mut server, &[36, 0, 0, 0]).await;
    assert_eq!(next_event(&mut events).await, Event::SessionLost);
    assert_eq!(next(&mut events).await.left, Caching::NONE);
    assert!(tree.channels.ended().is_some());
}

#[tokio::test]
async fn the_event_stream_ends_with_the_share() {
    let leases = Arc::<Leases>::default();
    let mut events = leases.events().unwrap();
    drop(leases);
    assert!(tokio::time::timeout(PATIENCE, events.next()).await.expect("it ends without waiting").is_none());
}

#[tokio::test]
async fn the_next_session_is_reported_after_the_loss_of_the_previous_one() {
    let (leases, tree, _server) = connected(Dialect::Smb311, true).await;
    let mut events = leases.events().unwrap();
    let _open = open(&leases, &tree);
    tree.channels.end("a test");
    let (next_tree, _next_server) = another(&leases, Dialect::Smb311, true).await;
    assert_eq!(next_event(&mut events).await, Event::SessionLost);
    assert_eq!(next(&mut events).await.key, KEY);
    assert_eq!(next_event(&mut events).await, Event::SessionRestored);
    drop(next_tree);
    assert_eq!(next_event(&mut events).await, Event::SessionLost);
}
