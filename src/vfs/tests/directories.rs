//! What is known of directories that the server watches.
//!
//! The clock of the tasks is paused here, so watches are confirmed and report as soon as a test waits for them. The
//! validity of names and attributes goes by the real clock.

use super::*;
use crate::share::{Device, FileKind};
use crate::wire::NtStatus;

/// The attribute timeout of tests that wait until it has passed.
pub(super) const BRIEF: Duration = Duration::from_millis(30);
/// Requests of one listing of a short directory: its beginning, its entries, its end.
pub(super) const ONCE: usize = 3;

/// A server that watches directories.
pub(super) fn watching() -> Behaviour {
    Behaviour { watches: true, ..Behaviour::default() }
}

impl User {
    /// A user with a task that follows the watches.
    pub(super) fn following(behaviour: Behaviour, attr_timeout: Duration) -> User {
        let user = User::with(MemoryShare::with(behaviour), VfsOptions { attr_timeout, ..options() });
        tokio::spawn(follow_watches(Arc::clone(&user.vfs)));
        user
    }

    /// A user with a watched directory `d` that has these names, in a watched root.
    pub(super) async fn with_directory(attr_timeout: Duration, names: &[&str]) -> User {
        User::following(watching(), attr_timeout).having(names).await
    }

    /// Makes the directory `d` with these names, and lists it and the root.
    pub(super) async fn having(self, names: &[&str]) -> User {
        self.share.put_directory("d");
        names.iter().for_each(|name| self.share.put(&format!("d/{name}"), b"1"));
        self.list("").await;
        self.list("d").await;
        self.let_watches_report().await;
        self
    }

    /// Waits until watches are confirmed and have reported everything.
    pub(super) async fn let_watches_report(&self) {
        tokio::time::sleep(Duration::from_secs(9)).await;
        self.share.forget_log();
    }

    /// Waits until only names and attributes that a watch covers are valid.
    pub(super) async fn outlast_timeout(&self) {
        self.let_watches_report().await;
        std::thread::sleep(BRIEF + BRIEF / 2);
    }

    /// `stat`, as the kernel asks: without a request to the server where that is possible.
    pub(super) async fn stat(&self, path: &str) -> Result<Attr> {
        let mut at = ROOT;
        for name in path.split('/').map(OsStr::new) {
            at = match operations::known_entry(&self.vfs, at, name) {
                Some(known) => known?.ino,
                None => operations::lookup(&self.vfs, at, name).await?.ino,
            };
        }
        operations::getattr(&self.vfs, at).await
    }

    /// Whether a path exists.
    pub(super) async fn is_there(&self, path: &str) -> bool {
        match self.stat(path).await {
            Ok(_) => true,
            Err(error) if error.errno == libc::ENOENT => false,
            Err(error) => panic!("{path}: {error}"),
        }
    }

    /// `ls -l`, as the kernel asks.
    pub(super) async fn list(&self, path: &str) -> Vec<String> {
        let ino = if path.is_empty() { ROOT } else { self.stat(path).await.unwrap().ino };
        let handle = operations::opendir(&self.vfs, ino);
        let mut names = Vec::new();
        let mut take = |entry: Listed<'_>| {
            names.push(entry.name.to_string_lossy().into_owned());
            false
        };
        operations::readdir(&self.vfs, handle, 0, true, &mut take).await.unwrap();
        operations::releasedir(&self.vfs, handle);
        names.split_off(2)
    }

    /// The number of requests that listed a directory.
    pub(super) fn listed(&self, path: &str) -> usize {
        let path = RemotePath::parse(path).to_string();
        self.share.log().iter().filter(|(name, at)| *name == "QUERY_DIRECTORY" && *at == path).count()
    }
}

#[tokio::test(start_paused = true)]
async fn a_directory_is_known_for_as_long_as_its_watch_covers_it() {
    let user = User::with_directory(BRIEF, &["a", "b"]).await;
    user.outlast_timeout().await;
    assert_eq!(user.stat("d/a").await.unwrap().size, 1);
    assert!(!user.is_there("d/c").await);
    assert_eq!(user.stat("d").await.unwrap().kind, FileKind::Directory);
    assert_eq!(user.list("d").await, ["a", "b"]);
    assert_eq!(user.share.total(), 0);
    user.share.refuse("CHANGE_NOTIFY", 1, NtStatus::NOTIFY_CLEANUP);
    user.share.put("d/c", b"1");
    user.outlast_timeout().await;
    user.share.forget_log();
    assert!(user.is_there("d/c").await);
    assert!(user.share.total() > 0, "no watch covers the directory");
}

#[tokio::test(start_paused = true)]
async fn without_a_watch_a_directory_is_listed_again() {
    let user = User::following(Behaviour::default(), BRIEF);
    user.share.put("a", b"1");
    user.list("").await;
    user.outlast_timeout().await;
    assert!(user.is_there("a").await);
    assert_eq!(user.listed(""), ONCE);
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_may_have_missed_a_change_covers_a_directory_from_its_next_listing() {
    let user = User::following(watching(), BRIEF);
    user.share.put("a", b"1");
    user.share.refuse("LOOK_AGAIN", 1, NtStatus::INVALID_DEVICE_REQUEST);
    user.list("").await;
    user.outlast_timeout().await;
    user.list("").await;
    assert_eq!((user.listed(""), user.share.count("WATCH")), (ONCE, 0));
    user.outlast_timeout().await;
    assert!(user.is_there("a").await && !user.is_there("b").await);
    assert_eq!(user.list("").await, ["a"]);
    assert_eq!(user.share.total(), 0);
}

#[tokio::test(start_paused = true)]
async fn changes_by_another_client_are_seen_once_the_watch_has_reported() {
    let user = User::with_directory(LONG, &["changed", "gone", "old", "same"]).await;
    user.share.put("d/changed", b"12345");
    user.share.remove_as_other_client_at_once("d/gone");
    user.share.rename_as_other_client("d/old", "d/renamed").await;
    user.share.put("d/new", b"1");
    user.share.put_directory("d/sub");
    user.let_watches_report().await;
    assert_eq!(user.stat("d").await.unwrap().modified, user.share.look("d").unwrap().modified);
    user.share.forget_log();
    assert!(user.is_there("d/same").await && !user.is_there("d/other").await);
    assert_eq!(user.share.total(), 0);
    assert!(user.is_there("d/new").await);
    assert_eq!(user.stat("d/changed").await.unwrap().size, 5);
    assert!(!user.is_there("d/gone").await && !user.is_there("d/old").await);
    assert!(user.is_there("d/renamed").await && user.is_there("d/sub").await);
    let mut names = user.list("d").await;
    names.sort_unstable();
    assert_eq!(names, ["changed", "new", "renamed", "same", "sub"]);
}

#[tokio::test(start_paused = true)]
async fn the_kernel_is_made_to_forget_what_another_client_changed() {
    let user = User::with_directory(LONG, &["changed", "gone"]).await;
    let lanes = user.vfs.forgotten().unwrap();
    let (d, changed) = (user.stat("d").await.unwrap().ino, user.stat("d/changed").await.unwrap().ino);
    user.share.put("d/changed", b"12345");
    user.let_watches_report().await;
    let forgotten = || forgotten_by(&lanes.names).iter().map(|what| format!("{what:?}")).collect::<Vec<_>>();
    let news = forgotten();
    assert!(
        news.contains(&format!("Attributes({changed})")) && !news.contains(&format!("Attributes({d})")),
        "{news:?}"
    );
    user.share.remove_as_other_client_at_once("d/gone");
    user.let_watches_report().await;
    let news = forgotten();
    assert!(news.contains(&format!("Attributes({d})")), "{news:?}");
    assert!(news.contains(&format!("Entry {{ parent: {d}, name: \"gone\" }}")), "{news:?}");
}

/// Makes every change that this mount can make to a directory, once.
async fn change_everything(user: &User) {
    let (vfs, d) = (&user.vfs, user.stat("d").await.unwrap().ino);
    let (_, opened) =
        operations::create(vfs, d, OsStr::new("made"), by(0o644), libc::O_WRONLY | libc::O_CREAT).await.unwrap();
    user.write(opened, 0, b"22").await.unwrap();
    user.close(opened).await;
    let emptied =
        operations::open(vfs, user.stat("d/same").await.unwrap().ino, libc::O_WRONLY | libc::O_TRUNC).await.unwrap();
    user.close(emptied).await;
    operations::mkdir(vfs, d, OsStr::new("sub"), by(0o755)).await.unwrap();
    operations::mkdir(vfs, d, OsStr::new("brief"), by(0o755)).await.unwrap();
    operations::rmdir(vfs, d, OsStr::new("brief")).await.unwrap();
    operations::unlink(vfs, d, OsStr::new("gone")).await.unwrap();
    operations::rename(vfs, d, OsStr::new("old"), d, OsStr::new("renamed"), 0).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn changes_of_this_mount_are_seen_at_once_and_their_reports_change_nothing() {
    let user = User::with_directory(LONG, &["gone", "old", "same"]).await;
    let lanes = user.vfs.forgotten().unwrap();
    change_everything(&user).await;
    for forgotten in [false, true] {
        if forgotten {
            user.let_watches_report().await;
        }
        user.share.forget_log();
        assert_eq!(user.stat("d/made").await.unwrap().size, 2);
        assert!(user.is_there("d/sub").await && user.is_there("d/same").await);
        for name in ["gone", "old", "brief", "other"] {
            assert!(!user.is_there(&format!("d/{name}")).await, "{name}");
        }
        assert_eq!(user.share.total(), 0, "{:?}", user.share.log());
    }
    let d = Forgotten::Attributes(user.ino("d").await);
    assert_eq!(forgotten_by(&lanes.names), [d], "the kernel knows the other changes already");
    assert_eq!(forgotten_by(&lanes.pages), []);
    let mut names = user.list("d").await;
    names.sort_unstable();
    assert_eq!(names, ["made", "renamed", "same", "sub"]);
    // Only the server knows the metadata of a file after its rename.
    assert!(user.listed("d") <= ONCE);
    user.share.forget_log();
    user.list("d").await;
    assert!(user.is_there("d/renamed").await);
    assert_eq!(user.share.total(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_change_by_another_client_of_a_file_made_here_is_noticed() {
    let user = User::with_directory(BRIEF, &["gone", "old", "same"]).await;
    change_everything(&user).await;
    user.outlast_timeout().await;
    user.list("d").await;
    user.outlast_timeout().await;
    assert!(user.is_there("d/made").await && !user.is_there("d/gone").await);
    assert_eq!(user.share.total(), 0, "the names are known from the listing");
    user.share.put("d/made", b"333");
    user.share.put("d/gone", b"4444");
    user.share.remove_as_other_client_at_once("d/renamed");
    user.outlast_timeout().await;
    assert_eq!((user.stat("d/made").await.unwrap().size, user.stat("d/gone").await.unwrap().size), (3, 4));
    assert!(!user.is_there("d/renamed").await);
}

#[tokio::test(start_paused = true)]
async fn a_directory_stays_known_after_an_open_file_in_it_is_unlinked() {
    let user = User::with_directory(LONG, &["a", "b"]).await;
    let (d, a) = (user.stat("d").await.unwrap().ino, user.stat("d/a").await.unwrap().ino);
    let opened = operations::open(&user.vfs, a, libc::O_RDONLY).await.unwrap();
    operations::unlink(&user.vfs, d, OsStr::new("a")).await.unwrap();
    user.let_watches_report().await;
    user.close(opened).await;
    user.let_watches_report().await;
    assert_eq!(user.share.names("d"), ["b"]);
    assert_eq!(user.list("d").await, ["b"]);
    assert_eq!(user.listed("d"), 0);
}

#[tokio::test(start_paused = true)]
async fn changes_of_this_mount_in_a_directory_leave_its_own_name_known() {
    let user = User::with_directory(LONG, &["a"]).await;
    let lanes = user.vfs.forgotten().unwrap();
    let d = user.stat("d").await.unwrap().ino;
    operations::mknod(&user.vfs, d, OsStr::new("new"), by(0o644), Device::default()).await.unwrap();
    operations::unlink(&user.vfs, d, OsStr::new("a")).await.unwrap();
    user.let_watches_report().await;
    assert_eq!(user.list("").await, ["d"]);
    assert!(user.is_there("d/new").await);
    assert_eq!(user.share.total(), 0);
    assert_eq!(forgotten_by(&lanes.names), [Forgotten::Attributes(d)], "once, for replies that were on their way");
    assert_eq!(forgotten_by(&lanes.pages), []);
}

#[tokio::test(start_paused = true)]
async fn another_spelling_of_a_name_is_looked_up_at_the_server() {
    let user = User::following(Behaviour { ignores_case: true, ..watching() }, LONG);
    for name in ["Readme", "b", "Grün"] {
        user.share.put(name, b"1");
    }
    user.list("").await;
    user.let_watches_report().await;
    assert!(user.is_there("README").await && user.is_there("GRÜN").await);
    assert_eq!((user.share.count("STAT"), user.listed("")), (2, 0), "a listing does not show other spellings");
    assert!(!user.is_there("LONGNA~1").await && !user.is_there("Grau").await);
    assert_eq!(user.share.count("STAT"), 3);
    assert_eq!(user.list("").await.len(), 3);
}

#[tokio::test(start_paused = true)]
async fn an_absent_name_is_looked_up_again_when_another_spelling_of_it_appears() {
    let user = User::following(Behaviour { ignores_case: true, ..watching() }, LONG);
    for name in ["mine", "theirs", "renamed"] {
        user.share.put(name, b"1");
    }
    user.list("").await;
    for name in ["mine", "theirs"] {
        operations::unlink(&user.vfs, ROOT, OsStr::new(name)).await.unwrap();
        assert!(!user.is_there(name).await);
    }
    user.let_watches_report().await;
    user.share.put("Theirs", b"1");
    operations::mknod(&user.vfs, ROOT, OsStr::new("Mine"), by(0o644), Device::default()).await.unwrap();
    operations::rename(&user.vfs, ROOT, OsStr::new("renamed"), ROOT, OsStr::new("Renamed"), 0).await.unwrap();
    user.let_watches_report().await;
    assert!(user.is_there("mine").await && user.is_there("theirs").await && user.is_there("renamed").await);
    assert_eq!(user.list("").await.len(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_listing_that_crosses_changes_does_not_undo_them() {
    let user = User::with_directory(LONG, &["a", "b"]).await;
    user.share.put("d/new", b"1");
    user.let_watches_report().await;
    let d = user.stat("d").await.unwrap().ino;
    let gate = user.share.hold_answer("QUERY_DIRECTORY");
    let changes = async {
        gate.reached().await;
        operations::mknod(&user.vfs, d, OsStr::new("mine"), by(0o644), Device::default()).await.unwrap();
        operations::unlink(&user.vfs, d, OsStr::new("a")).await.unwrap();
        user.share.put("d/theirs", b"1");
        user.share.remove_as_other_client_at_once("d/b");
        user.let_watches_report().await;
        gate.open();
    };
    tokio::join!(user.list("d"), changes);
    for (name, is_there) in [("theirs", true), ("b", false), ("mine", true), ("a", false), ("new", true)] {
        assert_eq!(user.is_there(&format!("d/{name}")).await, is_there, "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_crosses_a_change_is_not_kept() {
    let user = User::with_directory(LONG, &["a"]).await;
    let (d, a) = (user.stat("d").await.unwrap().ino, user.stat("d/a").await.unwrap().ino);
    let gate = user.share.hold_answer("STAT");
    let change = async {
        gate.reached().await;
        user.share.put("d/new~", b"1");
        user.let_watches_report().await;
        gate.open();
    };
    let (answer, ()) = tokio::join!(operations::lookup(&user.vfs, d, OsStr::new("new~")), change);
    assert_eq!(errno(answer), libc::ENOENT, "the name did not exist at that time");
    assert!(user.is_there("d/new~").await);
    user.share.put("d/a", b"22");
    user.let_watches_report().await;
    let gate = user.share.hold_answer("STAT");
    let change = async {
        gate.reached().await;
        user.share.put("d/a", b"333");
        user.let_watches_report().await;
        gate.open();
    };
    let (answer, ()) = tokio::join!(operations::getattr(&user.vfs, a), change);
    answer.unwrap();
    assert_eq!(user.stat("d/a").await.unwrap().size, 3);
}
