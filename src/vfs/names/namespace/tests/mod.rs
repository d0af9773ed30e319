//! What the namespace guarantees, one rule for each test.
//!
//! [`Names`] is a namespace with its own clock, in milliseconds. The server answers at once unless a test delays the
//! answer.

mod belief;
mod bounds;
mod model;
mod nodes;
mod reports;
mod spellings;

use super::*;
use crate::config::CacheMode;
use crate::share::{Attributes, ChangeKind, DirChange, FileTime};
use crate::vfs::names::namespace::changes::Change;
use std::time::Duration;

/// How long names are valid without a watch.
const TIMEOUT: Duration = Duration::from_secs(1);
/// The number of the watch in [`Names::watched`].
const WATCH: u64 = 1;
/// The server's clock, which does not matter here.
const CLOCK: FileTime = FileTime(1);

fn units(name: &str) -> Vec<u16> {
    name.encode_utf16().collect()
}

/// A file whose creation time follows from its id.
fn file(file_id: u64) -> Metadata {
    Metadata { file_id, created: FileTime(file_id + 1), ..Metadata::default() }
}

fn folder(file_id: u64) -> Metadata {
    Metadata { attributes: Attributes(Attributes::DIRECTORY), ..file(file_id) }
}

fn change(name: &str, kind: ChangeKind) -> DirChange {
    DirChange { name: units(name), kind }
}

struct Names {
    space: Namespace<u32>,
    start: Instant,
    /// The directory in which the calls below look, list and change names.
    directory: u64,
}

/// Files of root, as the options of a mount say it.
fn show() -> Presentation {
    Presentation {
        uid: 0,
        gid: 0,
        file_mode: 0o644,
        dir_mode: 0o755,
        has_write_bit_from_server: true,
        owner_is_fetched: false,
        block_size: 4096,
    }
}

impl Names {
    /// A namespace with only the root.
    fn nothing(mode: CacheMode) -> Names {
        let space = Namespace::new(Policy { mode, timeout: TIMEOUT }, show());
        Names { space, start: Instant::now(), directory: ROOT }
    }

    fn strict() -> Names {
        Names::nothing(CacheMode::Strict)
    }

    /// The root, listed at the start, on a server that cannot watch it.
    fn unwatchable(mode: CacheMode, names: &[&str]) -> Names {
        let mut known = Names::nothing(mode);
        known.space.is_unwatchable(ROOT);
        known.list(names, 0);
        known
    }

    /// The root with a watch that covers its listing at the start.
    fn watched(names: &[&str]) -> Names {
        let mut known = Names::strict();
        known.watch(WATCH, None, 0);
        known.list(names, 0);
        known.on(WatchEvent::Begun, 0);
        known.list(names, 0);
        known
    }

    fn at(&self, milliseconds: u64) -> Instant {
        self.start + Duration::from_millis(milliseconds)
    }

    fn watch(&mut self, number: u64, lease: Option<LeaseKey>, at: u64) {
        let asked = self.space.asking(self.at(at));
        self.space.watch(self.directory, (number, lease, true), asked);
    }

    /// Lists the directory; each name has its own file.
    fn list(&mut self, names: &[&str], at: u64) {
        let asked = self.space.asking(self.at(at));
        self.list_as_of(names, asked);
    }

    fn list_as_of(&mut self, names: &[&str], asked: Asked) {
        let entries: Vec<_> = names.iter().map(|name| (units(name), file(id(name)))).collect();
        self.space.listed(self.directory, entries, asked);
    }

    /// For [`WatchEvent::Begun`]: whether the directory needs a second look. For other events: whether another client
    /// has changed something.
    fn on(&mut self, event: WatchEvent, at: u64) -> bool {
        let (now, begins) = (self.at(at), matches!(event, WatchEvent::Begun));
        let report = self.space.on_watch(WATCH, event, now);
        if begins {
            self.space.needs_second_look(WATCH) == Some(true)
        } else {
            matches!(report, Report::ByOthers { .. })
        }
    }

    /// The watch reports changes, and the next CHANGE_NOTIFY reaches the server at once. Returns whether another client
    /// made them.
    fn reported(&mut self, changes: &[DirChange], at: u64) -> bool {
        let by_others = self.on(WatchEvent::Reported(changes.to_vec()), at);
        self.on(WatchEvent::Armed, at);
        by_others
    }

    /// Whether a name is present, if that is known without asking the server.
    fn look(&mut self, name: &str, at: u64) -> Option<bool> {
        let now = self.at(at);
        match self.space.known(self.directory, &units(name), now)? {
            Known::File(attr) => {
                self.space.forget(attr.ino, 1);
                Some(true)
            }
            Known::Absent => Some(false),
        }
    }

    /// The names in the directory, if all are valid without asking the server.
    fn names(&mut self, at: u64) -> Option<Vec<String>> {
        let now = self.at(at);
        let all = self.space.everything(self.directory, now)?;
        Some(all.into_iter().map(|(name, ..)| String::from_utf16_lossy(&name)).collect())
    }

    fn asking_about(&self, name: &str, at: u64) -> Asked {
        self.space.asking_about(self.directory, &units(name), self.at(at))
    }

    /// The server answers that the name means this file.
    fn found_as_of(&mut self, name: &str, metadata: Metadata, asked: Asked) -> Admission {
        self.space.found(self.directory, &units(name), metadata, asked, asked.at)
    }

    /// As [`Names::found_as_of`], with nothing between question and answer. The node has one more lookup.
    fn found(&mut self, name: &str, metadata: Metadata, at: u64) -> u64 {
        let asked = self.asking_about(name, at);
        match self.found_as_of(name, metadata, asked) {
            Admission::Node(ino) => ino,
            Admission::Overtaken => panic!("nothing has overtaken the answer"),
        }
    }

    fn absent(&mut self, name: &str, at: u64) {
        let asked = self.asking_about(name, at);
        self.space.absent(self.directory, &units(name), asked);
    }

    fn create(&mut self, name: &str, metadata: Metadata, at: u64) -> u64 {
        let asked = self.asking_about(name, at);
        self.space.changing(self.directory, &units(name), Echo::Added, asked.at);
        match self.space.made(self.directory, &units(name), metadata, (asked, CLOCK), asked.at) {
            Admission::Node(ino) => ino,
            Admission::Overtaken => panic!("nothing has overtaken the answer"),
        }
    }

    fn remove(&mut self, name: &str, at: u64) {
        let now = self.at(at);
        self.space.changing(self.directory, &units(name), Echo::Removed, now);
        self.space.removed(self.directory, &units(name), CLOCK, now);
    }

    fn changed(&mut self, name: &str, change: Change, at: u64) {
        let now = self.at(at);
        self.space.changed(self.directory, &units(name), change, CLOCK, now);
    }

    fn path(&self, ino: u64) -> Option<String> {
        self.space.path(ino, &RemotePath::root()).map(|path| path.to_string())
    }

    /// The server reports the attributes of an inode that are known, and the kernel gets them.
    fn show(&mut self, ino: u64, ms: u64) {
        let now = self.at(ms);
        let (metadata, token) = {
            let state = self.space.file(ino).unwrap().lock();
            (*state.metadata(), state.token())
        };
        self.space.store(ino, metadata, token, now);
        let attr = self.space.attr(ino, now).unwrap();
        self.space.shown_to_kernel(&attr, now);
    }

    /// The names that the kernel is to forget since the last call.
    fn forgotten(&mut self) -> Vec<String> {
        let forgotten = self.space.take_effects().forgotten.into_iter();
        let mut names: Vec<_> = forgotten
            .filter_map(|what| match what {
                Forgotten::Entry { name, .. } => Some(name.to_string_lossy().into_owned()),
                Forgotten::Attributes(_) | Forgotten::Pages(_) => None,
            })
            .collect();
        names.sort_unstable();
        names
    }
}

/// The file id for a name.
fn id(name: &str) -> u64 {
    name.bytes().fold(1, |id, byte| id * 257 + u64::from(byte))
}
