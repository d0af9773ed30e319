//! Leases and oplocks on real servers: what is granted, what takes it away, and who waits for what.

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
/// Who has not gone on for so long waits. (If he only is slow, a test can miss that he did not wait.)
const WAITS: Duration = Duration::from_millis(300);

/// The ways in which a client is told what it may cache.
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

    /// What is left to somebody who had everything when another opens the file.
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

/// The next lease that something is taken from.
async fn next_break(events: &mut Events) -> Broken {
    loop {
        if let Event::Broken(broken) = events.next().await.expect("the share is there") {
            return broken;
        }
    }
}

/// A client that has a file open.
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
        let events = share.events().expect("nobody has asked before");
        let (file, ..) = share.open(&file(), how(Some(Caching::ALL))).await.unwrap();
        assert_eq!(share.granted(KEY).caching, Caching::ALL, "{way:?}");
        Holder { share, file, events }
    }

    async fn next(&mut self) -> Broken {
        tokio::time::timeout(DEADLINE, next_break(&mut self.events)).await.expect("something is taken away")
    }

    /// Somebody does something that takes caching away, and waits until that is acknowledged.
    async fn gives_way<R: Send + 'static>(
        &mut self,
        left: Caching,
        work: impl Future<Output = R> + Send + 'static,
    ) -> R {
        let work = self.begins_to_give_way(left, work).await;
        tokio::time::timeout(DEADLINE, work).await.expect("the server goes on").unwrap()
    }

    /// The same for who wants the name: newer smbd (4.22) takes the lease in two steps, and waits after each.
    async fn gives_the_name<R: Send + 'static>(
        &mut self,
        left: Caching,
        work: impl Future<Output = R> + Send + 'static,
    ) -> R {
        let mut work = self.begins_to_give_way(left, work).await;
        loop {
            let next = tokio::time::timeout(DEADLINE, next_break(&mut self.events));
            tokio::select! {
                done = &mut work => return done.unwrap(),
                broken = next => self.share.acknowledge(broken.expect("the server goes on")).await.unwrap(),
            }
        }
    }

    async fn begins_to_give_way<R: Send + 'static>(
        &mut self,
        left: Caching,
        work: impl Future<Output = R> + Send + 'static,
    ) -> JoinHandle<R> {
        let mut work = tokio::spawn(work);
        let broken = self.next().await;
        assert_eq!((broken.key, broken.left), (KEY, left));
        assert_eq!(self.share.granted(KEY).caching, left);
        assert!(tokio::time::timeout(WAITS, &mut work).await.is_err(), "the server did not wait");
        self.share.acknowledge(broken).await.unwrap();
        work
    }

    /// Everything that is left is taken away as well, and nobody waits for it.
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
async fn alone_a_client_gets_what_it_asks_for() {
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
async fn opens_of_one_key_share_a_lease() {
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
async fn a_second_oplock_of_one_client_takes_the_first() {
    for way in [Way::Oplock, Way::OplockOnly] {
        let smbd = way.server();
        let mut holder = Holder::of_everything(&smbd, way).await;
        let share = Arc::clone(&holder.share);
        let opening = async move { share.open(&file(), how(Some(Caching::ALL))).await.unwrap().0 };
        let second = holder.gives_way(Caching::READ, opening).await;
        assert_eq!(holder.share.granted(KEY).caching, Caching::READ, "{way:?}");
        holder.share.close(&second).await.unwrap();
        assert_eq!(holder.share.granted(KEY).caching, Caching::READ, "{way:?}");
    }
}

#[tokio::test]
async fn somebody_who_writes_waits_until_the_others_have_written() {
    for way in WAYS {
        let smbd = way.server();
        let mut holder = Holder::of_everything(&smbd, way).await;
        let port = smbd.port();
        let local = scratch::folder("put").join("file");
        fs::write(&local, b"from smbclient").unwrap();
        let put = format!("put {} file", local.display());
        let putting = tokio::task::spawn_blocking(move || smbclient(port, put));
        // It overwrites the file, which leaves nothing.
        holder.gives_way(Caching::NONE, async move { putting.await.unwrap().success() }).await;
        assert_eq!(holder.share.read(&holder.file, 0, 100).await.unwrap(), "from smbclient");
    }
}

#[tokio::test]
async fn a_second_client_waits_and_both_may_read() {
    for way in WAYS {
        let smbd = way.server();
        let mut holder = Holder::of_everything(&smbd, way).await;
        let second = Arc::new(connect_with(smbd.port(), way.dialects()).await);
        let opener = Arc::clone(&second);
        let opening = async move { opener.open(&file(), how(Some(Caching::ALL))).await.unwrap().0 };
        let theirs = holder.gives_way(way.shared(), opening).await;
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
                "who writes keeps his lease, though not a level II oplock"
            );
        }
    }
}

#[tokio::test]
async fn who_removes_or_renames_waits_too() {
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

/// Of one file, by its path: Samba cannot know that it is the same program.
#[tokio::test]
async fn what_a_client_does_by_path_takes_its_own_lease() {
    let way = Way::LeaseV2;
    let smbd = way.server();
    let mut holder = Holder::of_everything(&smbd, way).await;
    let share = Arc::clone(&holder.share);
    let times = Change { modified: Some(FileTime::from_unix(1, 0)), ..Change::default() };
    share.stat(&file()).await.unwrap();
    share.set(Target::Path(&file()), &times).await.unwrap();
    assert_eq!(share.granted(KEY).caching, Caching::ALL, "times and stat take nothing");
    let resizing = Arc::clone(&share);
    let resizing = async move {
        let size = Change { size: Some(1), ..Change::default() };
        resizing.set(Target::Path(&file()), &size).await.unwrap();
    };
    holder.gives_way(way.shared(), resizing).await;
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
async fn a_lost_connection_takes_every_lease() {
    for way in [Way::LeaseV2, Way::Oplock] {
        let smbd = way.server();
        let mut holder = Holder::of_everything(&smbd, way).await;
        smbd.kill();
        let broken = holder.next().await;
        assert_eq!((broken.left, holder.share.granted(KEY).caching), (Caching::NONE, Caching::NONE));
        holder.share.acknowledge(broken).await.unwrap();
        smbd.restart();
        assert_eq!(holder.share.read(&holder.file, 0, 100).await.unwrap(), "data", "the file is open again");
        assert_eq!(holder.share.granted(KEY).caching, Caching::NONE, "and has no lease");
        // By its key it is open all the same, so that it breaks no lease of another open of the file.
        holder.share.close(&holder.file).await.unwrap();
        let (again, ..) = holder.share.open(&file(), how(Some(Caching::ALL))).await.unwrap();
        assert_eq!(holder.share.granted(KEY).caching, Caching::ALL, "which the next open can get");
        holder.share.close(&again).await.unwrap();
    }
}

/// smb-server 0.8 has leases.
#[tokio::test]
async fn another_server_breaks_leases_alike() {
    let server = Server::start(Kind::Embedded, Settings::default());
    for way in [Way::LeaseV2, Way::LeaseV1] {
        let mut holder = Holder::at(server.port(), way).await;
        let second = connect_with(server.port(), way.dialects()).await;
        let opening = async move { second.open(&file(), how(None)).await.map(|_| ()).unwrap() };
        holder.gives_way(way.shared(), opening).await;
        holder.share.close(&holder.file).await.unwrap();
    }
}

/// And no oplocks.
#[tokio::test]
async fn a_server_that_grants_nothing_lets_nothing_be_cached() {
    let server = Server::shared(Kind::Embedded);
    let share = connect_with(server.port(), Way::Oplock.dialects()).await;
    let path = RemotePath::parse("nothing to cache");
    let (file, ..) = share.open(&path, how(Some(Caching::ALL))).await.unwrap();
    assert_eq!(share.granted(KEY).caching, Caching::NONE);
    share.write(&file, 0, Bytes::from_static(b"data")).await.unwrap();
    share.close(&file).await.unwrap();
}

/// By a lease where smbd grants leases on directories (from 4.22 on), by a notification otherwise.
#[tokio::test]
async fn a_watched_directory_tells_that_somebody_changed_it() {
    let smbd = Smbd::start(Settings::default());
    fs::create_dir(smbd.folder().join("folder")).unwrap();
    let share = connect_with(smbd.port(), Way::LeaseV2.dialects()).await;
    let mut events = share.events().expect("nobody has asked before");
    let (_listing, watch) = share.list_watched(&RemotePath::parse("folder")).await.unwrap();
    let watch = watch.expect("smbd watches directories");
    let armed = async {
        while !share.is_armed(&watch) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(DEADLINE, armed).await.expect("it is watched at last");
    assert_eq!(share.lease(&watch).is_some(), share.tree().terms.directory_leasing);
    if share.lease(&watch).is_some() {
        let (file, ..) = share.open(&RemotePath::parse("folder/own"), how(Some(Caching::ALL))).await.unwrap();
        share.close(&file).await.unwrap();
        share.remove(&RemotePath::parse("folder/own"), FileKind::File, None, None, None).await.unwrap();
        share.create_directory(&RemotePath::parse("folder/sub")).await.unwrap();
        assert!(share.is_armed(&watch), "own changes break no own lease");
    }
    let port = smbd.port();
    let making = tokio::task::spawn_blocking(move || smbclient(port, "mkdir folder/new".to_owned()));
    if let Some(key) = share.lease(&watch) {
        let broken = tokio::time::timeout(DEADLINE, next_break(&mut events)).await.unwrap();
        assert_eq!(broken.key, key);
        assert!(!share.is_armed(&watch));
        assert!(share.changes(&watch, || {}).await.is_err(), "the watch has ended");
        share.unwatch(&watch);
        share.acknowledge(broken).await.unwrap();
    } else {
        let told = tokio::time::timeout(DEADLINE, share.changes(&watch, || {})).await.unwrap().unwrap();
        let names: Vec<_> = told.unwrap().iter().map(|change| String::from_utf16_lossy(&change.name)).collect();
        assert_eq!(names, ["new"]);
    }
    making.await.unwrap().success();
}
