//! What is known of directories that the server watches.
//!
//! The clock of tasks is paused here, so that watches are confirmed and tell as soon as a test waits for them; what is
//! believed goes by the real one.

use super::*;
use crate::share::FileKind;
use crate::wire::NtStatus;

/// So long names are believed where a test waits until they are not.
pub(super) const BRIEF: Duration = Duration::from_millis(30);
/// The requests of one listing of a directory that is short: its begin, its entries, its end.
pub(super) const ONCE: usize = 3;

pub(super) fn watching() -> Behaviour {
    Behaviour { watches: true, ..Behaviour::default() }
}

impl User {
    /// With a task that follows the watches.
    pub(super) fn following(behaviour: Behaviour, attr_timeout: Duration) -> User {
        let user = User::with(MemoryShare::with(behaviour), VfsOptions { attr_timeout, ..options() });
        tokio::spawn(follow_watches(Arc::clone(&user.vfs)));
        user
    }

    /// With a watched directory `d`, in a watched root.
    pub(super) async fn with_directory(attr_timeout: Duration, names: &[&str]) -> User {
        User::following(watching(), attr_timeout).having(names).await
    }

    pub(super) async fn having(self, names: &[&str]) -> User {
        self.share.put_directory("d");
        names.iter().for_each(|name| self.share.put(&format!("d/{name}"), b"1"));
        self.list("").await;
        self.list("d").await;
        self.settle().await;
        self
    }

    /// Watches are confirmed, and tell what there is to tell.
    pub(super) async fn settle(&self) {
        tokio::time::sleep(Duration::from_secs(9)).await;
        self.share.forget_log();
    }

    /// Nothing is believed any more that nobody vouches for.
    pub(super) async fn outlast(&self) {
        self.settle().await;
        std::thread::sleep(BRIEF + BRIEF / 2);
    }

    /// `stat`, as the kernel asks: the server is left alone where that is possible.
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

    /// How many requests there were to list a directory.
    pub(super) fn listed(&self, path: &str) -> usize {
        let path = RemotePath::parse(path).to_string();
        self.share.log().iter().filter(|(name, at)| *name == "QUERY_DIRECTORY" && *at == path).count()
    }
}

#[tokio::test(start_paused = true)]
async fn a_directory_is_known_for_as_long_as_its_watch_vouches() {
    let user = User::with_directory(BRIEF, &["a", "b"]).await;
    user.outlast().await;
    assert_eq!(user.stat("d/a").await.unwrap().size, 1);
    assert!(!user.is_there("d/c").await);
    assert_eq!(user.stat("d").await.unwrap().kind, FileKind::Directory);
    assert_eq!(user.list("d").await, ["a", "b"]);
    assert_eq!(user.share.total(), 0);
    user.share.refuse("CHANGE_NOTIFY", 1, NtStatus::NOTIFY_CLEANUP);
    user.share.put("d/c", b"1");
    user.outlast().await;
    user.share.forget_log();
    assert!(user.is_there("d/c").await);
    assert!(user.share.total() > 0, "nobody vouches any more");
}

#[tokio::test(start_paused = true)]
async fn without_a_watch_it_is_asked_again() {
    let user = User::following(Behaviour::default(), BRIEF);
    user.share.put("a", b"1");
    user.list("").await;
    user.outlast().await;
    assert!(user.is_there("a").await);
    assert_eq!(user.listed(""), ONCE);
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_may_have_missed_something_vouches_from_the_next_listing_on() {
    let user = User::following(watching(), BRIEF);
    user.share.put("a", b"1");
    user.share.refuse("LOOK_AGAIN", 1, NtStatus::INVALID_DEVICE_REQUEST);
    user.list("").await;
    user.outlast().await;
    user.list("").await;
    assert_eq!((user.listed(""), user.share.count("WATCH")), (ONCE, 0));
    user.outlast().await;
    assert!(user.is_there("a").await && !user.is_there("b").await);
    assert_eq!(user.list("").await, ["a"]);
    assert_eq!(user.share.total(), 0);
}

#[tokio::test(start_paused = true)]
async fn what_somebody_else_does_is_seen_once_the_watch_has_told() {
    let user = User::with_directory(LONG, &["changed", "gone", "old", "same"]).await;
    user.share.put("d/changed", b"12345");
    user.share.take_away("d/gone");
    user.share.rename_as_stranger("d/old", "d/renamed").await;
    user.share.put("d/new", b"1");
    user.share.put_directory("d/sub");
    user.settle().await;
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
async fn the_kernel_is_told_to_forget_what_somebody_else_changed() {
    let user = User::with_directory(LONG, &["changed", "gone"]).await;
    let lanes = user.vfs.forgotten().unwrap();
    let (d, changed) = (user.stat("d").await.unwrap().ino, user.stat("d/changed").await.unwrap().ino);
    user.share.put("d/changed", b"12345");
    user.settle().await;
    let told = || told_by(&lanes.names).iter().map(|what| format!("{what:?}")).collect::<Vec<_>>();
    let news = told();
    assert!(
        news.contains(&format!("Attributes({changed})")) && !news.contains(&format!("Attributes({d})")),
        "{news:?}"
    );
    user.share.take_away("d/gone");
    user.settle().await;
    let news = told();
    assert!(news.contains(&format!("Attributes({d})")), "{news:?}");
    assert!(news.contains(&format!("Entry {{ parent: {d}, name: \"gone\" }}")), "{news:?}");
}

/// Everything that this mount can do to a directory, once.
async fn change_everything(user: &User) {
    let (vfs, d) = (&user.vfs, user.stat("d").await.unwrap().ino);
    let (_, opened) =
        operations::create(vfs, d, OsStr::new("made"), 0o644, libc::O_WRONLY | libc::O_CREAT).await.unwrap();
    user.write(opened, 0, b"22").await.unwrap();
    user.close(opened).await;
    let emptied =
        operations::open(vfs, user.stat("d/same").await.unwrap().ino, libc::O_WRONLY | libc::O_TRUNC).await.unwrap();
    user.close(emptied).await;
    operations::mkdir(vfs, d, OsStr::new("sub")).await.unwrap();
    operations::mkdir(vfs, d, OsStr::new("brief")).await.unwrap();
    operations::rmdir(vfs, d, OsStr::new("brief")).await.unwrap();
    operations::unlink(vfs, d, OsStr::new("gone")).await.unwrap();
    operations::rename(vfs, d, OsStr::new("old"), d, OsStr::new("renamed"), 0).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn own_changes_are_seen_at_once_and_their_echo_changes_nothing() {
    let user = User::with_directory(LONG, &["gone", "old", "same"]).await;
    let lanes = user.vfs.forgotten().unwrap();
    change_everything(&user).await;
    for told in [false, true] {
        if told {
            user.settle().await;
        }
        user.share.forget_log();
        assert_eq!(user.stat("d/made").await.unwrap().size, 2);
        assert!(user.is_there("d/sub").await && user.is_there("d/same").await);
        for name in ["gone", "old", "brief", "other"] {
            assert!(!user.is_there(&format!("d/{name}")).await, "{name}");
        }
        assert_eq!(user.share.total(), 0, "{:?}", user.share.log());
    }
    assert!(told_by(&lanes.names).is_empty() && told_by(&lanes.pages).is_empty(), "the kernel knows");
    let mut names = user.list("d").await;
    names.sort_unstable();
    assert_eq!(names, ["made", "renamed", "same", "sub"]);
    // What becomes of a file that is renamed only the server knows.
    assert!(user.listed("d") <= ONCE);
    user.share.forget_log();
    user.list("d").await;
    assert!(user.is_there("d/renamed").await);
    assert_eq!(user.share.total(), 0);
}

#[tokio::test(start_paused = true)]
async fn somebody_elses_change_of_an_own_name_is_noticed() {
    let user = User::with_directory(BRIEF, &["gone", "old", "same"]).await;
    change_everything(&user).await;
    user.outlast().await;
    user.list("d").await;
    user.outlast().await;
    assert!(user.is_there("d/made").await && !user.is_there("d/gone").await);
    assert_eq!(user.share.total(), 0, "the listing has made them known");
    user.share.put("d/made", b"333");
    user.share.put("d/gone", b"4444");
    user.share.take_away("d/renamed");
    user.outlast().await;
    assert_eq!((user.stat("d/made").await.unwrap().size, user.stat("d/gone").await.unwrap().size), (3, 4));
    assert!(!user.is_there("d/renamed").await);
}

#[tokio::test(start_paused = true)]
async fn an_open_file_that_is_unlinked_leaves_nothing_unknown_behind() {
    let user = User::with_directory(LONG, &["a", "b"]).await;
    let (d, a) = (user.stat("d").await.unwrap().ino, user.stat("d/a").await.unwrap().ino);
    let opened = operations::open(&user.vfs, a, libc::O_RDONLY).await.unwrap();
    operations::unlink(&user.vfs, d, OsStr::new("a")).await.unwrap();
    user.settle().await;
    user.close(opened).await;
    user.settle().await;
    assert_eq!(user.share.names("d"), ["b"]);
    assert_eq!(user.list("d").await, ["b"]);
    assert_eq!(user.listed("d"), 0);
}

#[tokio::test(start_paused = true)]
async fn own_changes_in_a_directory_leave_its_own_name_known() {
    let user = User::with_directory(LONG, &["a"]).await;
    let lanes = user.vfs.forgotten().unwrap();
    let d = user.stat("d").await.unwrap().ino;
    operations::mknod(&user.vfs, d, OsStr::new("new"), 0o644).await.unwrap();
    operations::unlink(&user.vfs, d, OsStr::new("a")).await.unwrap();
    user.settle().await;
    assert_eq!(user.list("").await, ["d"]);
    assert!(user.is_there("d/new").await);
    assert_eq!(user.share.total(), 0);
    assert!(told_by(&lanes.names).is_empty() && told_by(&lanes.pages).is_empty());
}

#[tokio::test(start_paused = true)]
async fn another_spelling_is_for_the_server_to_judge() {
    let user = User::following(Behaviour { ignores_case: true, ..watching() }, LONG);
    for name in ["Readme", "b", "Grün"] {
        user.share.put(name, b"1");
    }
    user.list("").await;
    user.settle().await;
    assert!(user.is_there("README").await && user.is_there("GRÜN").await);
    assert_eq!((user.share.count("STAT"), user.listed("")), (2, 0), "a listing does not tell");
    assert!(!user.is_there("LONGNA~1").await && !user.is_there("Grau").await);
    assert_eq!(user.share.count("STAT"), 3);
    assert_eq!(user.list("").await.len(), 3);
}

#[tokio::test(start_paused = true)]
async fn an_absent_name_is_not_believed_in_when_another_spelling_of_it_comes() {
    let user = User::following(Behaviour { ignores_case: true, ..watching() }, LONG);
    for name in ["mine", "theirs", "renamed"] {
        user.share.put(name, b"1");
    }
    user.list("").await;
    for name in ["mine", "theirs"] {
        operations::unlink(&user.vfs, ROOT, OsStr::new(name)).await.unwrap();
        assert!(!user.is_there(name).await);
    }
    user.settle().await;
    user.share.put("Theirs", b"1");
    operations::mknod(&user.vfs, ROOT, OsStr::new("Mine"), 0o644).await.unwrap();
    operations::rename(&user.vfs, ROOT, OsStr::new("renamed"), ROOT, OsStr::new("Renamed"), 0).await.unwrap();
    user.settle().await;
    assert!(user.is_there("mine").await && user.is_there("theirs").await && user.is_there("renamed").await);
    assert_eq!(user.list("").await.len(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_listing_that_crosses_changes_does_not_undo_them() {
    let user = User::with_directory(LONG, &["a", "b"]).await;
    user.share.put("d/new", b"1");
    user.settle().await;
    let d = user.stat("d").await.unwrap().ino;
    let gate = user.share.hold_answer("QUERY_DIRECTORY");
    let changes = async {
        gate.reached().await;
        operations::mknod(&user.vfs, d, OsStr::new("mine"), 0o644).await.unwrap();
        operations::unlink(&user.vfs, d, OsStr::new("a")).await.unwrap();
        user.share.put("d/theirs", b"1");
        user.share.take_away("d/b");
        user.settle().await;
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
        user.settle().await;
        gate.open();
    };
    let (answer, ()) = tokio::join!(operations::lookup(&user.vfs, d, OsStr::new("new~")), change);
    assert_eq!(errno(answer), libc::ENOENT, "it was so");
    assert!(user.is_there("d/new~").await);
    user.share.put("d/a", b"22");
    user.settle().await;
    let gate = user.share.hold_answer("STAT");
    let change = async {
        gate.reached().await;
        user.share.put("d/a", b"333");
        user.settle().await;
        gate.open();
    };
    let (answer, ()) = tokio::join!(operations::getattr(&user.vfs, a), change);
    answer.unwrap();
    assert_eq!(user.stat("d/a").await.unwrap().size, 3);
}
