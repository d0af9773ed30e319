//! Leases and oplocks on real servers: which caching is granted, which operations break it, and which
//! operation waits for which acknowledgement.

use crate::engine::connect_with;
use crate::support::command::{Run, run};
use crate::support::scratch;
use crate::support::server::{Kind, PASSWORD, SHARE, Server, Settings, user};
use crate::support::smbd::Smbd;
use bytes::Bytes;
use cifs_fuse::config::{Dialect, DialectRange};
use cifs_fuse::share::{
    Broken, Caching, Change, Disposition, Event, Events, FileKind, FileTime, Files, Lease, LeaseKey, Leases, Names,
    OpenHow, RemotePath, SmbFile, SmbShare, Target, Watches,
};
use std::fs;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinHandle;

const KEY: LeaseKey = LeaseKey(0x1234_5678_9abc_def0_0fed_cba9_8765_4321);
const DEADLINE: Duration = Duration::from_secs(60);
/// The time after which an unfinished operation counts as waiting. For an operation that is only slow, the
/// test cannot notice that the server did not wait.
const WAITS: Duration = Duration::from_millis(300);

/// The ways in which the protocol grants caching to a client.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Way {
    LeaseV2,
    LeaseV1,
    /// A dialect without leases.
    Oplock,
    /// A server without leases.
    OplockOnly,
}

const WAYS: [Way; 4] = [Way::LeaseV2, Way::LeaseV1, Way::Oplock, Way::OplockOnly];

impl Way {
    fn dialects(self) -> DialectRange {
        let only = |dialect| DialectRange { lowest: dialect, highest: dialect };
        match self {
            Way::LeaseV2 | Way::OplockOnly => only(Dialect::Smb311),
            Way::LeaseV1 => only(Dialect::Smb210),
            Way::Oplock => only(Dialect::Smb202),
        }
    }

    fn server(self) -> Smbd {
        Smbd::start(Settings { no_leases: self == Way::OplockOnly, ..Settings::default() })
    }

    fn has_leases(self) -> bool {
        matches!(self, Way::LeaseV2 | Way::LeaseV1)
    }

    /// The caching that a client with everything keeps when another client opens the file.
    fn shared(self) -> Caching {
        if self.has_leases() { Caching::READ | Caching::HANDLE } else { Caching::READ }
    }
}

fn how(caching: Option<Caching>) -> OpenHow {
    let lease = caching.map(|caching| Lease { key: KEY, caching });
    OpenHow { read: true, write: true, disposition: Disposition::OpenIf, readonly: false, lease }
}

fn file() -> RemotePath {
    RemotePath::parse("file")
}

/// The next lease break or oplock break.
async fn next_break(events: &mut Events) -> Broken {
    loop {
        if let Event::Broken(broken) = events.next().await.expect("the share is there") {
            return broken;
        }
    }
}

/// A client that has a file open with full caching.
struct Holder {
    share: Arc<SmbShare>,
    file: SmbFile,
    events: Events,
}

impl Holder {
    async fn of_everything(smbd: &Smbd, way: Way) -> Holder {
        fs::write(smbd.folder().join("file"), b"data").unwrap();
        Holder::at(smbd.port(), way).await
    }

    async fn at(port: u16, way: Way) -> Holder {
        let share = Arc::new(connect_with(port, way.dialects()).await);
        let events = share.events().expect("the events were not requested before");
        let (file, ..) = share.open(&file(), how(Some(Caching::ALL))).await.unwrap();
        assert_eq!(share.granted(KEY).caching, Caching::ALL, "{way:?}");
        Holder { share, file, events }
    }

    async fn next(&mut self) -> Broken {
        tokio::time::timeout(DEADLINE, next_break(&mut self.events)).await.expect("the server breaks the lease")
    }

    /// Runs `work`, which breaks the lease to `left`, and acknowledges the break. `work` must wait until
    /// then. Returns its result.
    async fn acknowledges_break_of<R: Send + 'static>(
        &mut self,
        left: Caching,
        work: impl Future<Output = R> + Send + 'static,
    ) -> R {
        let work = self.acknowledges_first_break_of(left, work).await;
        tokio::time::timeout(DEADLINE, work).await.expect("the server answers after the acknowledgement").unwrap()
    }

    /// Like [`Holder::acknowledges_break_of`], for `work` that removes or renames the file: newer smbd (4.22) breaks
    /// the lease in two steps and waits after each.
    async fn gives_the_name<R: Send + 'static>(
        &mut self,
        left: Caching,
        work: impl Future<Output = R> + Send + 'static,
    ) -> R {
        let mut work = self.acknowledges_first_break_of(left, work).await;
        loop {
            let next = tokio::time::timeout(DEADLINE, next_break(&mut self.events));
            tokio::select! {
                done = &mut work => return done.unwrap(),
                broken = next => self.share.acknowledge(broken.expect("the server breaks again or answers")).await.unwrap(),
            }
        }
    }

    async fn acknowledges_first_break_of<R: Send + 'static>(
        &mut self,
        left: Caching,
        work: impl Future<Output = R> + Send + 'static,
    ) -> JoinHandle<R> {
        let mut work = tokio::spawn(work);
        let broken = self.next().await;
        assert_eq!((broken.key, broken.left), (KEY, left));
        assert_eq!(self.share.granted(KEY).caching, left);
        assert!(
            tokio::time::timeout(WAITS, &mut work).await.is_err(),
            "the server did not wait for the acknowledgement"
        );
        self.share.acknowledge(broken).await.unwrap();
        work
    }

    /// The rest of the caching is broken as well. No operation waits for this acknowledgement.
    async fn loses_the_rest(&mut self) {
        let broken = self.next().await;
        assert_eq!((broken.left, self.share.granted(KEY).caching), (Caching::NONE, Caching::NONE));
        self.share.acknowledge(broken).await.unwrap();
    }
}

fn smbclient(port: u16, commands: String) -> Run {
    let mut smbclient = Command::new("smbclient");
    smbclient.arg(format!("//127.0.0.1/{SHARE}")).args(["-p", &port.to_string()]);
    smbclient.args(["-U", &format!("{}%{PASSWORD}", user()), "-c", &commands]);
    run(&mut smbclient, DEADLINE)
}

#[tokio::test]
async fn a_client_without_competitors_is_granted_the_caching_it_requests() {
    for way in WAYS {
        let smbd = way.server();
        let share = connect_with(smbd.port(), way.dialects()).await;
        let read_write = Caching::READ | Caching::WRITE;
        for asked in [Caching::READ, read_write, Caching::ALL] {
            let (file, ..) = share.open(&file(), how(Some(asked))).await.unwrap();
            assert_eq!(share.granted(KEY).caching, asked, "{way:?}");
            share.close(&file).await.unwrap();
            assert_eq!(share.granted(KEY).caching, Caching::NONE, "{way:?}");
        }
        let (_file, ..) = share.open(&file(), how(None)).await.unwrap();
        assert_eq!(share.granted(KEY).caching, Caching::NONE);
    }
}

#[tokio::test]
async fn opens_with_one_key_share_a_lease() {
    for way in [Way::LeaseV2, Way::LeaseV1] {
        let smbd = way.server();
        let holder = Holder::of_everything(&smbd, way).await;
        for asked in [Caching::ALL, Caching::READ, Caching::NONE] {
            let (second, ..) = holder.share.open(&file(), how(Some(asked))).await.unwrap();
            assert_eq!(holder.share.granted(KEY).caching, Caching::ALL, "{way:?} and {asked:?}");
            holder.share.close(&second).await.unwrap();
        }
        holder.share.write(&holder.file, 0, Bytes::from_static(b"mine")).await.unwrap();
        let size = Change { size: Some(2), ..Change::default() };
        holder.share.set(Target::File(&holder.file), &size).await.unwrap();
        assert_eq!(holder.share.granted(KEY).caching, Caching::ALL);
    }
}

#[tokio::test]
async fn a_second_open_of_one_client_breaks_its_first_oplock() {
    for way in [Way::Oplock, Way::OplockOnly] {
        let smbd = way.server();
        let mut holder = Holder::of_everything(&smbd, way).await;
        let share = Arc::clone(&holder.share);
        let opening = async move { share.open(&file(), how(Some(Caching::ALL))).await.unwrap().0 };
        let second = holder.acknowledges_break_of(Caching::READ, opening).await;
        assert_eq!(holder.share.granted(KEY).caching, Caching::READ, "{way:?}");
        holder.share.close(&second).await.unwrap();
        assert_eq!(holder.share.granted(KEY).caching, Caching::READ, "{way:?}");
    }
}

#[tokio::test]
async fn a_client_that_writes_waits_until_the_holder_has_written() {
    for way in WAYS {
        let smbd = way.server();
        let mut holder = Holder::of_everything(&smbd, way).await;
        let port = smbd.port();
        let local = scratch::folder("put").join("file");
        fs::write(&local, b"from smbclient").unwrap();
        let put = format!("put {} file", local.display());
        let putting = tokio::task::spawn_blocking(move || smbclient(port, put));
        // smbclient overwrites the file, which breaks the lease to nothing.
        holder.acknowledges_break_of(Caching::NONE, async move { putting.await.unwrap().success() }).await;
        assert_eq!(holder.share.read(&holder.file, 0, 100).await.unwrap(), "from smbclient");
    }
}

#[tokio::test]
async fn a_second_client_waits_and_then_both_may_cache_reads() {
    for way in WAYS {
        let smbd = way.server();
        let mut holder = Holder::of_everything(&smbd, way).await;
        let second = Arc::new(connect_with(smbd.port(), way.dialects()).await);
        let opener = Arc::clone(&second);
        let opening = async move { opener.open(&file(), how(Some(Caching::ALL))).await.unwrap().0 };
        let theirs = holder.acknowledges_break_of(way.shared(), opening).await;
        assert_eq!(
            (holder.share.granted(KEY).caching, second.granted(KEY).caching),
            (way.shared(), way.shared()),
            "{way:?}"
        );
        second.write(&theirs, 0, Bytes::from_static(b"new")).await.unwrap();
        holder.loses_the_rest().await;
        if way.has_leases() {
            assert_eq!(
                second.granted(KEY).caching,
                way.shared(),
                "a client that writes keeps its own lease, but not its level II oplock"
            );
        }
    }
}

#[tokio::test]
async fn a_client_that_removes_or_renames_waits_for_the_holder() {
    for way in WAYS {
        let smbd = way.server();
        for command in ["rename file new", "del file"] {
            let mut holder = Holder::of_everything(&smbd, way).await;
            let port = smbd.port();
            let working = tokio::task::spawn_blocking(move || smbclient(port, command.to_owned()));
            holder.gives_the_name(way.shared(), async move { working.await.unwrap().success() }).await;
            holder.share.close(&holder.file).await.unwrap();
        }
    }
}

/// An operation by path has no lease key, so Samba cannot know that it comes from the holder of the lease.
#[tokio::test]
async fn an_operation_by_path_breaks_the_lease_of_the_same_client() {
    let way = Way::LeaseV2;
    let smbd = way.server();
    let mut holder = Holder::of_everything(&smbd, way).await;
    let share = Arc::clone(&holder.share);
    let times = Change { modified: Some(FileTime::from_unix(1, 0)), ..Change::default() };
    share.stat(&file()).await.unwrap();
    share.set(Target::Path(&file()), &times).await.unwrap();
    assert_eq!(share.granted(KEY).caching, Caching::ALL, "setting times and stat break no lease");
    let resizing = Arc::clone(&share);
    let resizing = async move {
        let size = Change { size: Some(1), ..Change::default() };
        resizing.set(Target::Path(&file()), &size).await.unwrap();
    };
    holder.acknowledges_break_of(way.shared(), resizing).await;
    holder.loses_the_rest().await;
    holder.share.close(&holder.file).await.unwrap();

    let mut holder = Holder::of_everything(&smbd, way).await;
    let removing = Arc::clone(&holder.share);
    holder
        .gives_the_name(way.shared(), async move {
            removing.remove(&file(), FileKind::File, None, None, None).await.unwrap()
        })
        .await;
}

#[tokio::test]
async fn a_lost_connection_ends_every_lease() {
    for way in [Way::LeaseV2, Way::Oplock] {
        let smbd = way.server();
        let mut holder = Holder::of_everything(&smbd, way).await;
        smbd.kill();
        let broken = holder.next().await;
        assert_eq!((broken.left, holder.share.granted(KEY).caching), (Caching::NONE, Caching::NONE));
        holder.share.acknowledge(broken).await.unwrap();
        smbd.restart();
        assert_eq!(holder.share.read(&holder.file, 0, 100).await.unwrap(), "data", "the file must be open again");
        assert_eq!(holder.share.granted(KEY).caching, Caching::NONE, "the new open must have no lease");
        // The new open uses the same key nevertheless, so that it breaks no lease of another open of the
        // file.
        holder.share.close(&holder.file).await.unwrap();
        let (again, ..) = holder.share.open(&file(), how(Some(Caching::ALL))).await.unwrap();
        assert_eq!(holder.share.granted(KEY).caching, Caching::ALL, "the next open must be granted a lease");
        holder.share.close(&again).await.unwrap();
    }
}

/// smb-server 0.8 grants leases.
#[tokio::test]
async fn smb_server_breaks_leases_like_samba() {
    let server = Server::start(Kind::Embedded, Settings::default());
    for way in [Way::LeaseV2, Way::LeaseV1] {
        let mut holder = Holder::at(server.port(), way).await;
        let second = connect_with(server.port(), way.dialects()).await;
        let opening = async move { second.open(&file(), how(None)).await.map(|_| ()).unwrap() };
        holder.acknowledges_break_of(way.shared(), opening).await;
        holder.share.close(&holder.file).await.unwrap();
    }
}

/// smb-server 0.8 grants no oplocks.
#[tokio::test]
async fn without_oplocks_and_leases_no_caching_is_granted() {
    let server = Server::shared(Kind::Embedded);
    let share = connect_with(server.port(), Way::Oplock.dialects()).await;
    let path = RemotePath::parse("nothing to cache");
    let (file, ..) = share.open(&path, how(Some(Caching::ALL))).await.unwrap();
    assert_eq!(share.granted(KEY).caching, Caching::NONE);
    share.write(&file, 0, Bytes::from_static(b"data")).await.unwrap();
    share.close(&file).await.unwrap();
}

/// Changes are noticed by a lease break where smbd grants directory leases (4.22 and newer), by CHANGE_NOTIFY
/// otherwise.
#[tokio::test]
async fn a_watched_directory_reports_changes_of_another_client() {
    let smbd = Smbd::start(Settings::default());
    fs::create_dir(smbd.folder().join("folder")).unwrap();
    let share = connect_with(smbd.port(), Way::LeaseV2.dialects()).await;
    let mut events = share.events().expect("the events were not requested before");
    let (_listing, watch) = share.list_watched(&RemotePath::parse("folder")).await.unwrap();
    let watch = watch.expect("smbd watches directories");
    let armed = async {
        while !share.is_armed(&watch) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(DEADLINE, armed).await.expect("the watch becomes armed");
    assert_eq!(share.lease(&watch).is_some(), share.tree().terms.directory_leasing);
    if share.lease(&watch).is_some() {
        let (file, ..) = share.open(&RemotePath::parse("folder/own"), how(Some(Caching::ALL))).await.unwrap();
        share.close(&file).await.unwrap();
        share.remove(&RemotePath::parse("folder/own"), FileKind::File, None, None, None).await.unwrap();
        share.create_directory(&RemotePath::parse("folder/sub")).await.unwrap();
        assert!(share.is_armed(&watch), "own changes must not break the own lease");
    }
    let port = smbd.port();
    let making = tokio::task::spawn_blocking(move || smbclient(port, "mkdir folder/new".to_owned()));
    if let Some(key) = share.lease(&watch) {
        let broken = tokio::time::timeout(DEADLINE, next_break(&mut events)).await.unwrap();
        assert_eq!(broken.key, key);
        assert!(!share.is_armed(&watch));
        assert!(share.changes(&watch, || {}).await.is_err(), "the watch must have ended");
        share.unwatch(&watch);
        share.acknowledge(broken).await.unwrap();
    } else {
        let changes = tokio::time::timeout(DEADLINE, share.changes(&watch, || {})).await.unwrap().unwrap();
        let names: Vec<_> = changes.unwrap().iter().map(|change| String::from_utf16_lossy(&change.name)).collect();
        assert_eq!(names, ["new"]);
    }
    making.await.unwrap().success();
}
