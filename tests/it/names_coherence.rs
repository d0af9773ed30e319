//! After another client has changed a name, the next open, stat and listing find the change, whatever this client had
//! cached for the name.
//!
//! `here` makes the changes, `other` observes them.

use crate::support::files::{fails_with, names};
use crate::support::mount::Request;
use crate::support::new_samba::both_sambas;
use crate::support::pair::Pair;
use crate::support::scene::Scene;
use crate::support::server::{Kind, Server};
use crate::support::wait_until;
use rustix::io::Errno;
use std::fmt::Display;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, Instant};

both_sambas!(
    a_file_that_is_replaced_by_a_rename_is_the_new_one,
    a_folder_that_is_replaced_by_renames_is_the_new_one,
    a_file_that_is_removed_and_created_again_is_the_new_one,
    a_folder_that_is_removed_and_created_again_is_the_new_one,
    a_file_in_place_of_a_folder_is_a_file,
    a_folder_in_place_of_a_file_is_a_folder,
    a_folder_just_created_in_a_listed_folder_is_found,
    a_name_that_was_absent_is_found_after_its_creation,
    a_file_that_another_client_creates_in_a_folder_of_this_client_is_found,
    a_change_on_the_servers_disk_is_seen_within_the_timeout,
);

/// The watchdog's deadline: a test that has not ended by then hangs.
const LIMIT: Duration = Duration::from_secs(240);
const SOON: Duration = Duration::from_secs(20);
const ROUNDS: usize = 20;
/// The attribute timeout of 1 s, and 1.5 s for a busy machine.
const TIMEOUT: Duration = Duration::from_millis(2500);
/// Long enough for a watch to be armed again.
const PAUSE: Duration = Duration::from_millis(300);

/// The share's root, and a folder three levels below it.
const FOLDERS: [&str; 2] = ["", "a/b/c"];

/// The object of a name.
#[derive(Clone, PartialEq, Debug)]
enum Thing {
    /// A file with this text.
    File(String),
    /// A folder with these files, sorted by name, and their texts.
    Folder(Vec<(&'static str, String)>),
}

impl Thing {
    fn file(round: usize, age: &str) -> Thing {
        Thing::File(format!("{age} {round}"))
    }

    /// A folder with one name that both ages have, and one name of this age only.
    fn folder(round: usize, age: &'static str) -> Thing {
        Thing::Folder(vec![("both", format!("{age} {round}")), (age, String::new())])
    }

    fn make(&self, path: &Path) -> io::Result<()> {
        match self {
            Thing::File(text) => fs::write(path, text),
            Thing::Folder(files) => {
                fs::create_dir(path)?;
                files.iter().try_for_each(|(name, text)| fs::write(path.join(name), text))
            }
        }
    }

    /// The files that this is or contains: the name relative to the path, and the text.
    fn files(&self) -> Vec<(&str, &str)> {
        match self {
            Thing::File(text) => vec![("", text)],
            Thing::Folder(files) => files.iter().map(|(name, text)| (*name, text.as_str())).collect(),
        }
    }
}

/// The operation by which a client observes a name.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Look {
    /// Opens and reads each file.
    Read,
    /// Gets the attributes of the name itself and of each name in it.
    Stat,
    /// Lists the parent folder, and the folder itself.
    List,
}

const LOOKS: [Look; 3] = [Look::Read, Look::Stat, Look::List];

impl Look {
    /// Describes the difference from `wanted`; `None` if there is none.
    fn differs(self, path: &Path, wanted: &Thing) -> Option<String> {
        match self {
            Look::Read => wanted.files().into_iter().find_map(|(name, text)| {
                reads_not(&within(path, name), text).map(|read| format!("{name:?} {read}, not {text:?}"))
            }),
            Look::Stat => {
                let is_folder = fs::metadata(path).map(|found| found.is_dir());
                if !matches!((&is_folder, wanted), (Ok(true), Thing::Folder(_)) | (Ok(false), Thing::File(_))) {
                    return Some(format!("is a folder: {is_folder:?}"));
                }
                wanted.files().into_iter().find_map(|(name, text)| {
                    let size = fs::metadata(within(path, name)).map(|found| found.size());
                    let right = size.as_ref().is_ok_and(|size| *size == text.len() as u64);
                    (!right).then(|| format!("{name:?} has a size of {size:?}, not {}", text.len()))
                })
            }
            Look::List => {
                let is_folder = entry_is_folder(path);
                if is_folder != Some(matches!(wanted, Thing::Folder(_))) {
                    return Some(format!("is listed as a folder: {is_folder:?}"));
                }
                let Thing::Folder(files) = wanted else { return None };
                let wanted: Vec<_> = files.iter().map(|(name, _)| (*name).to_owned()).collect();
                let listed = list(path);
                let right = listed.as_ref().is_ok_and(|listed| *listed == wanted);
                (!right).then(|| format!("lists {listed:?}, not {wanted:?}"))
            }
        }
    }
}

fn within(path: &Path, name: &str) -> std::path::PathBuf {
    if name.is_empty() { path.to_owned() } else { path.join(name) }
}

fn list(path: &Path) -> io::Result<Vec<String>> {
    let names = fs::read_dir(path)?.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
    let mut names = names.collect::<io::Result<Vec<_>>>()?;
    names.sort();
    Ok(names)
}

/// What a file reads, if that is not `text`.
fn reads_not(path: &Path, text: &str) -> Option<String> {
    let read = fs::read_to_string(path);
    let right = read.as_ref().is_ok_and(|read| read == text);
    (!right).then(|| format!("reads {read:?}"))
}

/// Whether a listing of the parent folder has this name as a folder; `None` if the name is missing.
fn entry_is_folder(path: &Path) -> Option<bool> {
    let entries = fs::read_dir(path.parent()?).ok()?;
    entries.flatten().find(|entry| entry.path() == path).and_then(|entry| Some(entry.file_type().ok()?.is_dir()))
}

/// How a client has cached a name before the other client changes it.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Known {
    By(Look),
    /// By all looks, and a program has it open.
    Open,
}

const KNOWN: [Known; 4] = [Known::By(Look::Read), Known::By(Look::Stat), Known::By(Look::List), Known::Open];

/// Looks at a name until it is the old object. Returns the open file if `known` is [`Known::Open`].
fn know(known: Known, path: &Path, old: &Thing) -> Option<File> {
    let looks: &[Look] = match &known {
        Known::By(look) => std::slice::from_ref(look),
        Known::Open => &LOOKS,
    };
    for look in looks {
        let mut seen = None;
        let is_known = wait_until(SOON, || {
            seen = look.differs(path, old);
            seen.is_none()
        });
        assert!(is_known, "{known:?} {}, before it is changed: {seen:?}", path.display());
    }
    (known == Known::Open).then(|| File::open(path).unwrap())
}

/// An operation that replaces the old object by the new one.
type Change = fn(path: &Path, beside: &Path, new: &Thing) -> io::Result<()>;

fn rename_over(path: &Path, beside: &Path, new: &Thing) -> io::Result<()> {
    new.make(beside)?;
    fs::rename(beside, path)
}

fn rename_away_and_in(path: &Path, beside: &Path, new: &Thing) -> io::Result<()> {
    new.make(beside)?;
    fs::rename(path, beside.with_extension("away"))?;
    fs::rename(beside, path)
}

fn make_anew(path: &Path, _: &Path, new: &Thing) -> io::Result<()> {
    match fs::metadata(path) {
        Ok(found) if found.is_dir() => fs::remove_dir_all(path)?,
        Ok(_) => fs::remove_file(path)?,
        Err(_) => {}
    }
    new.make(path)
}

/// Two clients whose attribute timeout is longer than the test. So a right answer came from the server, or the server
/// had reported the change.
fn pair(kind: Kind) -> Pair {
    let scene = Scene::of(Server::shared(kind), with_long_timeout);
    let other = with_long_timeout(Request::new(scene.url())).mount();
    let pair = Pair { scene, other };
    fs::create_dir_all(pair.here("a/b/c")).unwrap();
    pair
}

fn with_long_timeout(request: Request) -> Request {
    request.for_at_most(LIMIT).arg("--attr-timeout=600")
}

/// The results of looks at names after another client has changed them.
#[derive(Default)]
struct Looks {
    all: usize,
    /// The looks that did not find the change at once.
    late: Vec<String>,
}

impl Looks {
    /// Looks, and repeats the look if the first one did not find the change. `wrong` returns what a look found instead.
    ///
    /// smbd answers the client that makes a change first, and reports the change to the watches of other clients
    /// through two more processes. A look in between finds the old state.
    #[track_caller]
    fn at(&mut self, what: &dyn Display, mut wrong: impl FnMut() -> Option<String>) {
        self.all += 1;
        let Some(first) = wrong() else { return };
        let mut last = None;
        let is_found = wait_until(SOON, || {
            last = wrong();
            last.is_none()
        });
        assert!(is_found, "{what}: {first}; after {SOON:?} still: {last:?}");
        self.late.push(format!("{what}: {first}"));
    }

    /// Asserts that at least half of the looks found the change at once. A client that uses a cached name which no
    /// lease or watch covers is late every time.
    #[track_caller]
    fn end(self) {
        let Looks { all, late } = self;
        assert!(late.len() <= all / 2, "{} of {all} looks were late:\n{}", late.len(), late.join("\n"));
    }
}

/// After a change, the first look of each kind finds the new object, however the old one was cached. Each round begins
/// with another kind of look. Every second name was changed in earlier rounds. In every third round the observing
/// client has just changed the folder itself.
fn is_the_new_one(kind: Kind, old: fn(usize) -> Thing, new: fn(usize) -> Thing, change: Change) {
    let pair = pair(kind);
    let mut looks = Looks::default();
    for (folder, known) in FOLDERS.iter().flat_map(|folder| KNOWN.map(|known| (folder, known))) {
        for round in 0..ROUNDS {
            let name = if round % 2 == 0 { format!("{known:?}") } else { format!("{known:?} {round}") };
            let [path, other] = [pair.here(folder), pair.other(folder)].map(|root| root.join(&name));
            let beside = pair.here(folder).join(format!("beside {known:?} {round}"));
            make_anew(&path, &beside, &old(round)).unwrap();
            let open = know(known, &other, &old(round));
            if round % 3 == 2 {
                fs::write(pair.other(folder).join(format!("own {known:?} {round}")), "").unwrap();
            }
            if round % 5 == 4 {
                std::thread::sleep(PAUSE);
            }
            if let Err(error) = change(&path, &beside, &new(round)) {
                panic!("the change of {name} in {folder:?}, round {round}: {error}");
            }
            for look in LOOKS.iter().cycle().skip(round).take(LOOKS.len()) {
                let what = format!("{look:?} of {name} in {folder:?}, round {round}");
                looks.at(&what, || look.differs(&other, &new(round)));
            }
            if let (Some(mut open), Thing::File(old)) = (open, old(round)) {
                let mut text = String::new();
                open.read_to_string(&mut text).unwrap();
                assert_eq!(text, old, "the handle opened before the change must read the old file");
            }
        }
    }
    looks.end();
    pair.end();
}

fn a_file_that_is_replaced_by_a_rename_is_the_new_one(kind: Kind) {
    is_the_new_one(kind, |round| Thing::file(round, "old"), |round| Thing::file(round, "newer"), rename_over);
}

fn a_folder_that_is_replaced_by_renames_is_the_new_one(kind: Kind) {
    let (old, new) = (|round| Thing::folder(round, "old"), |round| Thing::folder(round, "newer"));
    is_the_new_one(kind, old, new, rename_away_and_in);
}

fn a_file_that_is_removed_and_created_again_is_the_new_one(kind: Kind) {
    is_the_new_one(kind, |round| Thing::file(round, "old"), |round| Thing::file(round, "newer"), make_anew);
}

fn a_folder_that_is_removed_and_created_again_is_the_new_one(kind: Kind) {
    is_the_new_one(kind, |round| Thing::folder(round, "old"), |round| Thing::folder(round, "newer"), make_anew);
}

fn a_file_in_place_of_a_folder_is_a_file(kind: Kind) {
    is_the_new_one(kind, |round| Thing::folder(round, "old"), |round| Thing::file(round, "newer"), make_anew);
}

fn a_folder_in_place_of_a_file_is_a_folder(kind: Kind) {
    is_the_new_one(kind, |round| Thing::file(round, "old"), |round| Thing::folder(round, "newer"), make_anew);
}

/// In each round the other client has just created a name in the folder, and this client has listed the folder.
fn a_folder_just_created_in_a_listed_folder_is_found(kind: Kind) {
    let (pair, mut looks) = (pair(kind), Looks::default());
    for folder in FOLDERS {
        let (here, other) = (pair.here(folder), pair.other(folder));
        for round in 0..ROUNDS {
            fs::write(here.join(format!("before {round}")), "").unwrap();
            names(&other);
            fs::create_dir(here.join(format!("{round}"))).unwrap();
            fs::write(here.join(format!("{round}/file")), "job").unwrap();
            looks
                .at(&format!("round {round} in {folder:?}"), || reads_not(&other.join(format!("{round}/file")), "job"));
        }
    }
    looks.end();
    pair.end();
}

fn a_name_that_was_absent_is_found_after_its_creation(kind: Kind) {
    let (pair, mut looks) = (pair(kind), Looks::default());
    for (folder, listed) in FOLDERS.iter().flat_map(|folder| [false, true].map(|listed| (folder, listed))) {
        for round in 0..ROUNDS {
            let name = format!("{listed} {round}");
            let (path, other) = (pair.here(folder).join(&name), pair.other(folder).join(&name));
            if listed {
                names(&pair.other(folder));
            }
            fails_with(
                if round % 2 == 0 { fs::metadata(&other).map(drop) } else { File::open(&other).map(drop) },
                Errno::NOENT,
            );
            if round % 5 == 4 {
                std::thread::sleep(PAUSE);
            }
            fs::write(&path, "made").unwrap();
            looks.at(&format!("{name} in {folder:?}, listed: {listed}"), || reads_not(&other, "made"));
        }
    }
    looks.end();
    pair.end();
}

/// Two programs on two clients share a folder: one creates the folder, the other puts a file into it.
fn a_file_that_another_client_creates_in_a_folder_of_this_client_is_found(kind: Kind) {
    let (pair, mut looks) = (pair(kind), Looks::default());
    for round in 0..ROUNDS {
        let folder = format!("{round}");
        fs::create_dir(pair.other(&folder)).unwrap();
        if round % 2 == 1 {
            assert_eq!(names(&pair.other(&folder)), Vec::<String>::new());
        }
        if !wait_until(SOON, || pair.here(&folder).is_dir()) {
            panic!("{folder} is not found");
        }
        fs::write(pair.here(&folder).join("file"), "job").unwrap();
        looks.at(&format!("round {round}"), || reads_not(&pair.other(&folder).join("file"), "job"));
    }
    looks.end();
    pair.end();
}

/// No lease covers changes by a program on the server itself.
fn a_change_on_the_servers_disk_is_seen_within_the_timeout(kind: Kind) {
    let pair = Pair::on(kind);
    fs::create_dir_all(pair.there("a/b/c")).unwrap();
    for (folder, known) in FOLDERS.iter().flat_map(|folder| KNOWN.map(|known| (folder, known))) {
        let [there, other] = [pair.there(folder), pair.other(folder)].map(|root| root.join(format!("{known:?}")));
        let mut wanted = Thing::file(0, "old");
        wanted.make(&there).unwrap();
        let mut open = know(known, &other, &wanted);
        let steps: [(&str, Change); 3] = [
            ("a write", |path, _, new| new.make(path)),
            ("a rename over it", rename_over),
            ("its removal and creation", make_anew),
        ];
        for (round, (step, change)) in steps.into_iter().enumerate() {
            wanted = Thing::file(round, &"newer ".repeat(round + 1));
            change(&there, &there.with_extension("beside"), &wanted).unwrap();
            let changed = Instant::now();
            for look in LOOKS {
                let rest = TIMEOUT.saturating_sub(changed.elapsed());
                let mut seen = None;
                let is_seen = wait_until(rest, || {
                    seen = look.differs(&other, &wanted);
                    seen.is_none()
                });
                assert!(is_seen, "{look:?} after {step}, {known:?} in {folder:?}: {seen:?}");
            }
            open = open.take().filter(|_| round == 0);
        }
        fs::remove_file(&there).unwrap();
        assert!(
            wait_until(TIMEOUT, || File::open(&other).is_err()),
            "{known:?} in {folder:?}: the removed file can still be opened"
        );
    }
    pair.end();
}
