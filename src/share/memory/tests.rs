//! What the share in memory promises about leases, and about files that are open when they are removed or replaced.

use super::super::{Event, Leases as _, Refusal};
use super::*;

const KEY: LeaseKey = LeaseKey(1);

fn shared() -> Arc<MemoryShare> {
    let share = MemoryShare::with(Behaviour { leases: true, ..Behaviour::default() });
    share.put("file", b"data");
    share
}

async fn open(share: &MemoryShare, key: LeaseKey) -> MemoryFile {
    let lease = Some(Lease { key, caching: Caching::ALL });
    let how = OpenHow { read: true, write: true, disposition: Disposition::Open, readonly: false, lease };
    share.open(&RemotePath::parse("file"), how).await.unwrap().0
}

fn read_handle() -> Caching {
    Caching::READ | Caching::HANDLE
}

/// The next event, which must be a break.
async fn next_break(events: &mut Events) -> Broken {
    match events.next().await {
        Some(Event::Broken(broken)) => broken,
        other => panic!("{other:?} instead of a break"),
    }
}

/// Runs `work`, which waits for the acknowledgement of a break, and acknowledges the break. Returns what the break
/// left.
async fn contended<R>(share: &MemoryShare, events: &mut Events, work: impl Future<Output = R>) -> Caching {
    let mut left = Caching::NONE;
    let obey = async {
        let broken = next_break(events).await;
        left = broken.left;
        assert_eq!((share.granted(broken.key).caching, share.unacknowledged()), (left, 1));
        share.acknowledge(broken).await.unwrap();
    };
    tokio::pin!(work);
    tokio::select! {
        biased;
        _ = &mut work => panic!("it did not wait"),
        () = obey => {}
    }
    work.await;
    left
}

#[tokio::test]
async fn opens_of_one_key_share_a_lease_until_the_last_is_closed() {
    let share = shared();
    let (first, second) = (open(&share, KEY).await, open(&share, KEY).await);
    assert_eq!(share.granted(KEY).caching, Caching::ALL);
    share.close(&first).await.unwrap();
    assert_eq!(share.granted(KEY).caching, Caching::ALL);
    share.close(&second).await.unwrap();
    assert_eq!(share.granted(KEY).caching, Caching::NONE);
    assert_eq!(share.unacknowledged(), 0);
}

#[tokio::test]
async fn without_leases_nothing_is_granted() {
    let share = MemoryShare::new();
    share.put("file", b"");
    let _open = open(&share, KEY).await;
    assert_eq!(share.granted(KEY).caching, Caching::NONE);
}

#[tokio::test]
async fn another_clients_open_waits_for_held_back_data_and_its_write_breaks_the_rest() {
    let share = shared();
    let mut events = share.events().unwrap();
    let file = open(&share, KEY).await;
    let left = contended(&share, &mut events, share.open_as_other_client("file")).await;
    assert_eq!((left, share.granted(KEY).caching), (read_handle(), read_handle()));
    share.write_as_other_client("file", b"other").await;
    assert_eq!(share.granted(KEY).caching, Caching::NONE);
    let broken = next_break(&mut events).await;
    assert_eq!((broken.left, share.unacknowledged()), (Caching::NONE, 1));
    share.acknowledge(broken).await.unwrap();
    assert_eq!((share.count("OPLOCK_BREAK"), share.unacknowledged()), (2, 0));
    assert_eq!(share.read(&file, 0, 10).await.unwrap(), "other");
}

#[tokio::test]
async fn a_file_that_another_client_has_open_grants_no_write_caching() {
    let share = shared();
    let other_client = share.open_as_other_client("file").await;
    let first = open(&share, KEY).await;
    assert_eq!(share.granted(KEY).caching, read_handle());
    share.close_other_client(other_client);
    let second = open(&share, KEY).await;
    assert_eq!(share.granted(KEY).caching, Caching::ALL);
    share.close(&first).await.unwrap();
    share.close(&second).await.unwrap();
}

#[tokio::test]
async fn another_clients_removal_and_rename_wait_and_break_only_write_caching() {
    let share = shared();
    let mut events = share.events().unwrap();
    let file = open(&share, KEY).await;
    assert_eq!(contended(&share, &mut events, share.rename_as_other_client("file", "new")).await, read_handle());
    assert!(share.data("new").is_some());
    share.close(&file).await.unwrap();
    share.put("file", b"");
    let _file = open(&share, KEY).await;
    assert_eq!(contended(&share, &mut events, share.remove_as_other_client("file")).await, read_handle());
}

#[tokio::test]
async fn own_operations_by_path_break_leases_as_another_client_does() {
    let path = RemotePath::parse("file");
    let share = shared();
    let mut events = share.events().unwrap();
    let file = open(&share, KEY).await;
    let times = Change { modified: Some(FileTime(1)), ..Change::default() };
    share.stat(&path).await.unwrap();
    share.set(Target::Path(&path), &times).await.unwrap();
    share.set(Target::File(&file), &Change { size: Some(1), ..Change::default() }).await.unwrap();
    assert_eq!(share.granted(KEY).caching, Caching::ALL);
    let size = Change { size: Some(2), ..Change::default() };
    let left = contended(&share, &mut events, share.set(Target::Path(&path), &size)).await;
    assert_eq!((left, share.granted(KEY).caching), (read_handle(), Caching::NONE));
}

#[tokio::test]
async fn an_open_under_another_key_waits_too() {
    let share = shared();
    let mut events = share.events().unwrap();
    let _file = open(&share, KEY).await;
    assert_eq!(contended(&share, &mut events, open(&share, LeaseKey(2))).await, read_handle());
}

#[tokio::test]
async fn a_lost_session_ends_every_lease() {
    let share = shared();
    let mut events = share.events().unwrap();
    let file = open(&share, KEY).await;
    share.lose_session();
    assert_eq!(share.granted(KEY).caching, Caching::NONE);
    assert_eq!(events.next().await, Some(Event::SessionLost));
    assert_eq!(next_break(&mut events).await.left, Caching::NONE);
    let refused = share.read(&file, 0, 10).await.unwrap_err();
    assert!(matches!(refused.cause, Cause::Disconnected(_)));
    share.restore_session();
    assert_eq!(events.next().await, Some(Event::SessionRestored));
    share.open_as_other_client("file").await;
    assert_eq!(share.read(&file, 0, 10).await.unwrap(), "data");
}

/// A path of the share.
fn path(name: &str) -> RemotePath {
    RemotePath::parse(name)
}

#[tokio::test]
async fn a_removed_file_that_is_open_is_renamed_aside_until_its_last_close() {
    let share = MemoryShare::new();
    share.put("file", b"old");
    let other_client = share.open_as_other_client("file").await;
    let (file, aside) = (path("file"), path(".aside"));
    assert!(share.remove(&file, FileKind::File, None, None, Some(&aside)).await.unwrap());
    assert_eq!(share.names(""), [".aside"]);
    assert_eq!(share.stat(&aside).await.unwrap_err().refusal(), Some(Refusal::DeletePending));
    assert!(!share.is_unused(&aside).await.unwrap(), "it is open until its client closes it");
    share.create_directory(&file).await.unwrap();
    share.close_other_client(other_client);
    assert_eq!(share.names(""), ["file"]);
}

#[tokio::test]
async fn without_another_name_a_removed_file_keeps_its_own_until_it_is_closed() {
    let share = MemoryShare::new();
    share.put("file", b"old");
    let other_client = share.open_as_other_client("file").await;
    assert!(!share.remove(&path("file"), FileKind::File, None, None, None).await.unwrap());
    assert_eq!(share.create_directory(&path("file")).await.unwrap_err().refusal(), Some(Refusal::Exists));
    share.close_other_client(other_client);
    assert!(share.names("").is_empty());
}

#[tokio::test]
async fn a_removed_file_that_is_not_open_is_never_renamed_aside() {
    let share = MemoryShare::new();
    share.put("file", b"old");
    let aside = path("missing/aside");
    assert!(share.remove(&path("file"), FileKind::File, None, None, Some(&aside)).await.unwrap());
    share.put("file", b"old");
    let other_client = share.open_as_other_client("file").await;
    assert!(!share.is_unused(&path("file")).await.unwrap());
    share.close_other_client(other_client);
    assert!(share.is_unused(&path("file")).await.unwrap());
    assert_eq!(share.is_unused(&path("other")).await.unwrap_err().refusal(), Some(Refusal::Absent));
}

#[tokio::test]
async fn an_open_that_shares_nothing_makes_every_other_operation_fail_as_busy() {
    let share = MemoryShare::new();
    share.put("file", b"old");
    let other_client = share.open_alone_as_other_client("file").await;
    let (file, other) = (path("file"), path("other"));
    let how = OpenHow { read: true, write: false, disposition: Disposition::Open, readonly: false, lease: None };
    let refusals = [
        share.open(&file, how).await.unwrap_err(),
        share.remove(&file, FileKind::File, None, None, Some(&other)).await.unwrap_err(),
        share.rename(&file, &other, false, None).await.unwrap_err(),
    ];
    assert!(refusals.iter().all(|error| error.refusal() == Some(Refusal::Busy)), "{refusals:?}");
    share.close_other_client(other_client);
    share.rename(&file, &other, false, None).await.unwrap();
}

#[tokio::test]
async fn an_open_file_is_replaced_and_its_old_data_stays_readable() {
    let share = MemoryShare::new();
    share.put("file", b"old");
    share.put("new", b"new");
    let how = OpenHow { read: true, write: true, disposition: Disposition::Open, readonly: false, lease: None };
    let (file, ..) = share.open(&path("file"), how).await.unwrap();
    let refused = share.rename(&path("new"), &path("file"), true, None).await.unwrap_err();
    assert_eq!(refused.refusal(), Some(Refusal::Denied));
    share.replace(&path("new"), &path("file"), None, &path(".aside")).await.unwrap();
    assert_eq!(share.data("file").unwrap(), b"new");
    assert_eq!(share.read(&file, 0, 10).await.unwrap(), "old");
    share.close(&file).await.unwrap();
    assert_eq!(share.names(""), ["file"]);
}
