//! Two mounts of one folder, and a program on the server's own disk: each sees the changes of the others, and none
//! waits for ever.
//!
//! Many choices are random. A failure prints the seed. With `COHERENCE_SEED` set to it, a test makes the same choices
//! again; the order in which its threads run may differ.

use crate::support::files::{noise, tree};
use crate::support::line::Line;
use crate::support::mount::{Mount, Request};
use crate::support::scene::{Scene, url_of};
use crate::support::server::{Kind, Server, both_servers};
use crate::support::wait_until;
use crate::writeback::smbclient;
use rustix::process::{Resource, Rlimit, Signal, getrlimit, setrlimit};
use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::hash::{BuildHasher, RandomState};
use std::io::{self, ErrorKind};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

both_servers!(
    names_changed_by_two_mounts_and_on_the_disk_are_soon_equal_everywhere,
    an_open_on_either_mount_reads_what_was_written_before,
    data_written_to_a_file_that_stays_open_is_seen_by_another_mount,
    a_file_that_grows_and_shrinks_without_a_pause_is_read_to_its_end,
);

/// The watchdog's deadline: a test that has not ended by then hangs.
const LIMIT: Duration = Duration::from_secs(60);
/// The longest time for repeating random operations. When two sessions open a file at the same moment, smbd 4.17
/// sometimes lets both wait for 5 to 9 seconds.
const LONG: Duration = Duration::from_secs(10);
const SOON: Duration = Duration::from_secs(10);
/// The attribute timeout of 1 s, and 1.5 s for a busy machine.
const COHERENCE_LIMIT: Duration = Duration::from_millis(2500);

/// Two mounts of one folder.
struct Pair {
    scene: Scene,
    other: Mount,
}

impl Pair {
    fn on(kind: Kind, option: &str) -> Pair {
        let scene = Scene::with(kind, |request| request.arg(option).for_at_most(LIMIT));
        let other = Request::new(scene.url()).arg(option).for_at_most(LIMIT).mount();
        Pair { scene, other }
    }

    fn roots(&self) -> [&Path; 2] {
        [self.scene.mount.path(), self.other.path()]
    }

    fn end(self) {
        self.other.unmount();
        self.scene.mount.unmount();
    }
}

/// A mount through a proxy, and a second, direct mount of the same folder.
fn line_and_mount() -> (Line, Mount) {
    let server = Server::shared(Kind::Smbd);
    let line = Line::to(Arc::clone(&server), &[]);
    let other = Request::new(url_of(&server, &line.folder)).for_at_most(LIMIT).mount();
    (line, other)
}

/// One client has dirty data in a thousand files. Another client reads all of them as fast as it can.
#[test]
fn a_thousand_leases_that_are_broken_at_once_lose_nothing() {
    const FILES: u64 = 1000;
    const READERS: usize = 16;
    let open_files = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: open_files.maximum, ..open_files }).unwrap();
    let pair = Pair::on(Kind::Smbd, "--cache=strict");
    let [here, other] = pair.roots();
    let text = |number| noise(number, 3000);
    let written: Vec<File> = (0..FILES)
        .map(|number| {
            let file = File::create(here.join(format!("{number}"))).unwrap();
            file.write_all_at(&text(number), 0).unwrap();
            file
        })
        .collect();
    let next = AtomicU64::new(0);
    thread::scope(|scope| {
        for _ in 0..READERS {
            scope.spawn(|| {
                while let Some(number) = Some(next.fetch_add(1, Ordering::Relaxed)).filter(|number| *number < FILES) {
                    let read = fs::read(other.join(format!("{number}"))).unwrap();
                    assert!(read == text(number), "file {number}: {} bytes", read.len());
                }
            });
        }
    });
    // The handles whose leases were broken still work.
    for file in &written {
        file.write_all_at(b"once more", 3000).unwrap();
    }
    drop(written);
    for number in 0..FILES {
        let name = format!("{number}");
        assert!(fs::read(pair.scene.there(&name)).unwrap() == [&text(number)[..], b"once more"].concat(), "{name}");
    }
    pair.end();
}

/// A pseudo-random generator. Each thread has its own, seeded by `part`.
struct Chance(u64);

impl Chance {
    fn seed() -> u64 {
        static SEED: OnceLock<u64> = OnceLock::new();
        let given = || std::env::var("COHERENCE_SEED").ok()?.parse().ok();
        *SEED.get_or_init(|| given().unwrap_or_else(|| RandomState::new().hash_one(0) >> 1))
    }

    fn new(part: usize) -> Chance {
        Chance(Chance::seed() ^ part as u64)
    }

    /// A number below `end`.
    fn below(&mut self, end: usize) -> usize {
        self.0 = u64::from_le_bytes(noise(self.0, 8).try_into().unwrap());
        (self.0 >> 16) as usize % end
    }
}

impl Drop for Chance {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("COHERENCE_SEED={}", Chance::seed());
        }
    }
}

fn open(path: &Path) -> File {
    OpenOptions::new().read(true).write(true).open(path).unwrap()
}

/// A file that contains a number, which only grows: writers take turns, and each writes the next number.
struct Register {
    name: String,
    turn: Mutex<()>,
    begun: AtomicU64,
    /// When each number had been written; the index is the number.
    written: Mutex<Vec<Instant>>,
}

impl Register {
    fn new(number: usize, folder: &Path) -> Register {
        let name = format!("register {number}");
        fs::write(folder.join(&name), 0_u64.to_le_bytes()).unwrap();
        Register { name, turn: Mutex::new(()), begun: 0.into(), written: Mutex::new(vec![Instant::now()]) }
    }

    fn write(&self, write: impl FnOnce(u64) -> io::Result<()>) {
        let _turn = self.turn.lock().unwrap();
        write(self.begun.fetch_add(1, Ordering::SeqCst) + 1).unwrap();
        self.written.lock().unwrap().push(Instant::now());
    }

    /// Reads the number. It must not be a number that had been replaced `age` or longer before.
    fn read(&self, age: Duration, how: &str, file: impl FnOnce() -> io::Result<u64>) {
        let written = self.written.lock().unwrap().clone();
        let oldest = written.iter().rposition(|at| at.elapsed() >= age).unwrap_or(0) as u64;
        let (name, number, newest) = (&self.name, file().unwrap(), self.begun.load(Ordering::SeqCst));
        assert!((oldest..=newest).contains(&number), "{name} by {how}: {number}, not one of {oldest}..={newest}");
    }
}

fn number_in(file: &File) -> io::Result<u64> {
    let mut bytes = [0; 8];
    file.read_exact_at(&mut bytes, 0)?;
    Ok(u64::from_le_bytes(bytes))
}

/// A program that writes and reads several files, by new opens or through handles that it keeps open. A kept handle may
/// be out of date by `lag`. The first two files are never kept open, so their leases move between the mounts.
fn work(root: &Path, registers: &[Register], mut chance: Chance, lag: Duration) {
    let begun = Instant::now();
    let mut kept: Vec<Option<File>> = registers.iter().map(|_| None).collect();
    for _ in (0..300).take_while(|_| begun.elapsed() < LONG) {
        let at = chance.below(registers.len());
        let (register, kept, path) = (&registers[at], &mut kept[at], root.join(&registers[at].name));
        match (chance.below(10), &kept) {
            (0, Some(_)) => *kept = None,
            (0, None) if at > 1 => *kept = Some(open(&path)),
            (1..3, Some(file)) => register.write(|number| file.write_all_at(&number.to_le_bytes(), 0)),
            (3..6, Some(file)) => register.read(lag, "an open file", || number_in(file)),
            (1..6, _) => register.write(|number| {
                assert_eq!(number_in(&File::open(&path)?)?, number - 1, "{} on its writer's turn", register.name);
                open(&path).write_all_at(&number.to_le_bytes(), 0)
            }),
            _ => register.read(Duration::ZERO, "a new open", || number_in(&File::open(&path)?)),
        }
    }
}

/// Four programs on two mounts work as fast as they can: each open and each write breaks leases of the others.
fn programs_on_two_mounts(kind: Kind, option: &str, lag: Duration) {
    let pair = Pair::on(kind, option);
    let registers: Vec<Register> = (0..4).map(|number| Register::new(number, &pair.scene.folder)).collect();
    thread::scope(|scope| {
        for worker in 0..4 {
            let (registers, root) = (&registers, pair.roots()[worker % 2]);
            scope.spawn(move || work(root, registers, Chance::new(worker), lag));
        }
    });
    for register in &registers {
        let there = pair.scene.there(&register.name);
        register.read(Duration::ZERO, "the disk", || number_in(&File::open(there)?));
    }
    pair.end();
}

fn an_open_on_either_mount_reads_what_was_written_before(kind: Kind) {
    programs_on_two_mounts(kind, "--attr-timeout=1", COHERENCE_LIMIT);
}

#[test]
fn without_an_attribute_timeout_open_files_are_never_out_of_date() {
    programs_on_two_mounts(Kind::Smbd, "--attr-timeout=0", Duration::ZERO);
}

/// The server updates the times of a file late while a writer keeps it open, so the times do not show the change.
fn data_written_to_a_file_that_stays_open_is_seen_by_another_mount(kind: Kind) {
    let pair = Pair::on(kind, "--attr-timeout=1");
    let [here, other] = pair.roots();
    for kept in [false, true] {
        fs::write(here.join("file"), 0_u64.to_le_bytes()).unwrap();
        let (writer, reader) = (open(&here.join("file")), open(&other.join("file")));
        let reader = kept.then_some(reader);
        let write = |number: u64| writer.write_all_at(&number.to_le_bytes(), 0).unwrap();
        for number in 1..10 {
            write(number);
            assert_eq!(number_in(&File::open(other.join("file")).unwrap()).unwrap(), number, "by a new open");
        }
        for (reader, number) in reader.iter().cycle().zip(10..13) {
            write(number);
            assert!(wait_until(SOON, || number_in(reader).unwrap() == number), "{number} by an open file");
        }
    }
    pair.end();
}

/// Everything below a folder: files with size and checksum, folders with `None`.
fn view(root: &Path) -> BTreeMap<PathBuf, Option<(u64, String)>> {
    let sized = |path: &Path, sum: Option<String>| sum.map(|sum| (fs::metadata(root.join(path)).unwrap().len(), sum));
    tree(root).into_iter().map(|(path, sum)| (path.clone(), sized(&path, sum))).collect()
}

/// Makes, renames and removes files and folders. The actor's own names must always be as it left them. The other names
/// are changed by other actors at the same time.
fn change_names(root: &Path, actor: &str, chance: &mut Chance) {
    let mut own: Vec<(PathBuf, Option<usize>)> = Vec::new();
    for step in 0..60 {
        let folder = root.join(["", "left", "right"][chance.below(3)]);
        let (mine, shared) =
            (folder.join(format!("{actor} {step}")), folder.join(format!("shared {}", chance.below(4))));
        match chance.below(12) {
            0..4 => {
                let length = (chance.below(4) > 0).then(|| chance.below(5000));
                length.map_or_else(|| fs::create_dir(&mine), |length| fs::write(&mine, noise(step, length))).unwrap();
                own.push((mine, length));
            }
            4..6 if !own.is_empty() => {
                let at = chance.below(own.len());
                fs::rename(&own[at].0, &mine).unwrap();
                assert!(!own[at].0.exists(), "{} was renamed by {actor}", own[at].0.display());
                own[at].0 = mine;
            }
            6 if !own.is_empty() => {
                let (path, length) = own.swap_remove(chance.below(own.len()));
                length.map_or_else(|| fs::remove_dir(&path), |_| fs::remove_file(&path)).unwrap();
                assert!(!path.exists(), "{} was removed by {actor}", path.display());
            }
            // Other actors change the shared names at the same time, so any result is right.
            7 => drop(fs::write(&shared, noise(step, 1000))),
            8 => drop(fs::remove_file(&shared)),
            9 => drop(fs::create_dir(&shared)),
            10 => drop(fs::remove_dir(&shared)),
            _ => drop(fs::rename(&shared, root.join(format!("shared {}", chance.below(4))))),
        }
        for (path, length) in &own {
            let found = fs::metadata(path).unwrap_or_else(|error| panic!("{} of {actor}: {error}", path.display()));
            let found = found.is_file().then_some(found.len() as usize);
            assert_eq!(found, *length, "{} of {actor}", path.display());
        }
    }
}

/// Each change is reported to the other mount while programs there open the file and ask for its size.
fn a_file_that_grows_and_shrinks_without_a_pause_is_read_to_its_end(kind: Kind) {
    const PIECE: &[u8] = &[b'x'; 1000];
    const LARGEST: usize = 500 * PIECE.len();
    const READS: usize = 400;
    let pair = Pair::on(kind, "--cache=strict");
    let [here, other] = pair.roots();
    let log = File::create(here.join("log")).unwrap();
    // The size that the file has at least since it was last emptied, and how often that was begun and done.
    let (least, begun, emptied) = (AtomicUsize::new(0), AtomicUsize::new(0), AtomicUsize::new(0));
    let (start, reads) = (Instant::now(), AtomicUsize::new(0));
    let is_done = || reads.load(Ordering::Relaxed) >= READS || start.elapsed() > LONG;
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while !is_done() {
                    let (before, expected) = (emptied.load(Ordering::SeqCst), least.load(Ordering::SeqCst));
                    let found = fs::read(other.join("log")).unwrap();
                    // Whoever reads while the file is emptied may see zeros, or nothing.
                    if begun.load(Ordering::SeqCst) == before {
                        assert!(found.len() >= expected, "{} of {expected} bytes", found.len());
                        assert!(found.iter().all(|byte| *byte == b'x'), "{} bytes, not all written", found.len());
                        reads.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
        }
        let mut size = 0;
        while !is_done() {
            if size >= LARGEST {
                begun.fetch_add(1, Ordering::SeqCst);
                least.store(0, Ordering::SeqCst);
                log.set_len(0).unwrap();
                emptied.fetch_add(1, Ordering::SeqCst);
                size = 0;
            }
            log.write_all_at(PIECE, size as u64).unwrap();
            log.sync_all().unwrap();
            size += PIECE.len();
            least.store(size, Ordering::SeqCst);
        }
    });
    assert!(reads.into_inner() > 0, "the file was read while it grew");
    drop(log);
    pair.end();
}

fn names_changed_by_two_mounts_and_on_the_disk_are_soon_equal_everywhere(kind: Kind) {
    let pair = Pair::on(kind, "--attr-timeout=1");
    let [here, other] = pair.roots();
    let actors = [("here", here), ("other", other), ("disk", &pair.scene.folder)];
    ["left", "right"].iter().for_each(|folder| fs::create_dir(here.join(folder)).unwrap());
    assert!(wait_until(SOON, || other.join("right").exists()));
    for round in 0..2 {
        thread::scope(|scope| {
            for (number, (actor, root)) in actors.iter().enumerate() {
                let mut chance = Chance::new(round * actors.len() + number);
                scope.spawn(move || change_names(root, &format!("{actor} {round}"), &mut chance));
            }
        });
        let ended = Instant::now();
        wait_until(SOON, || ended.elapsed() > COHERENCE_LIMIT);
        let there = view(&pair.scene.folder);
        assert!(there.len() > 10);
        for root in [here, other] {
            assert_eq!(view(root), there, "round {round}, COHERENCE_SEED={}", Chance::seed());
        }
    }
    pair.end();
}

/// Data in flight when another client opens the file reaches the server before that open succeeds.
#[test]
fn an_open_during_a_copy_to_the_server_reads_all_data_written_before() {
    const PIECE: usize = 100_000;
    const PIECES: usize = 100;
    let (line, other) = line_and_mount();
    line.proxy.delay(Duration::from_millis(5));
    let mut chance = Chance::new(0);
    for round in 0..5 {
        let (name, data) = (format!("file {round}"), noise(round, PIECES * PIECE));
        let (written, limit) = (AtomicUsize::new(0), 1 + chance.below(PIECES / 2));
        thread::scope(|scope| {
            scope.spawn(|| {
                let file = File::create_new(line.here(&name)).unwrap();
                for (index, piece) in data.chunks(PIECE).enumerate() {
                    file.write_all_at(piece, (index * PIECE) as u64).unwrap();
                    written.store((index + 1) * PIECE, Ordering::SeqCst);
                }
                nix::unistd::close(file).unwrap();
            });
            for limit in [limit, PIECES / 2, PIECES * 3 / 4] {
                let has_begun = || written.load(Ordering::SeqCst) >= limit * PIECE && other.join(&name).exists();
                assert!(wait_until(SOON, has_begun));
                let least = written.load(Ordering::SeqCst);
                let found = fs::read(other.join(&name)).unwrap();
                assert!(
                    found.get(..least) == Some(&data[..least]),
                    "{name}: not all of the {least} bytes written before the open, in {} bytes read",
                    found.len()
                );
            }
        });
        assert!(fs::read(line.there(&name)).unwrap() == data, "{name} on the disk");
        assert!(fs::read(other.join(&name)).unwrap() == data, "{name}");
    }
    other.unmount();
    line.mount.unmount();
}

/// Writes blocks of the second half of a file, by whichever of its two names it has. Returns the expected content of
/// that half.
fn write_by_any_name(root: &Path, names: [&str; 2], block: usize, half: usize) -> Vec<u8> {
    let (mut chance, mut expected, begun) = (Chance::new(1), vec![0; half * block], Instant::now());
    let mut arrived = 0;
    while arrived < 30 && begun.elapsed() < LONG {
        let (at, data) = (chance.below(half), noise(arrived + 10_000, block));
        let (name, offset) = (names[chance.below(2)], ((half + at) * block) as u64);
        let mut write = || -> io::Result<()> {
            let file = OpenOptions::new().read(true).write(true).open(root.join(name))?;
            let mut found = vec![0; block];
            file.read_exact_at(&mut found, offset)?;
            assert!(found == expected[at * block..][..block], "block {at} before it is written again");
            file.write_all_at(&data, offset)?;
            nix::unistd::close(file)?;
            expected[at * block..][..block].copy_from_slice(&data);
            arrived += 1;
            Ok(())
        };
        let is_other_name = |kind| [ErrorKind::NotFound, ErrorKind::StaleNetworkFileHandle].contains(&kind);
        let result = write();
        assert!(result.as_ref().map_or_else(|error| is_other_name(error.kind()), |()| true), "{name}: {result:?}");
        thread::sleep(Duration::from_millis(chance.below(8) as u64));
    }
    assert!(arrived > 5);
    expected
}

/// One mount writes the file, renames it while it is open, and writes again, many times. The other mount writes the
/// other half.
#[test]
fn a_file_renamed_while_two_mounts_write_to_it_has_all_data() {
    const BLOCK: usize = 5000;
    const HALF: usize = 40;
    let pair = Pair::on(Kind::Smbd, "--attr-timeout=1");
    let [here, other] = pair.roots();
    let names = ["one", "two"];
    fs::write(pair.scene.there("one"), vec![0; 2 * HALF * BLOCK]).unwrap();
    let (mut expected, mut round) = (vec![0; HALF * BLOCK], 0);
    thread::scope(|scope| {
        let theirs = scope.spawn(|| write_by_any_name(other, names, BLOCK, HALF));
        while !theirs.is_finished() || round < 60 {
            let (old, new) = (here.join(names[round % 2]), here.join(names[(round + 1) % 2]));
            let file = open(&old);
            for number in [2 * round, 2 * round + 1] {
                let (at, data) = (number % HALF * BLOCK, noise(number as u64, BLOCK));
                file.write_all_at(&data, at as u64).unwrap();
                expected[at..][..BLOCK].copy_from_slice(&data);
                if number % 2 == 0 {
                    fs::rename(&old, &new).unwrap();
                }
            }
            nix::unistd::close(file).unwrap();
            round += 1;
        }
        expected.extend(theirs.join().unwrap());
    });
    let name = names[round % 2];
    assert!(fs::read(pair.scene.there(name)).unwrap() == expected, "on the server's disk");
    assert!(fs::read(here.join(name)).unwrap() == expected);
    pair.end();
}

/// A mount with dirty data loses its connection while another client waits for that data.
#[test]
fn synced_data_survives_a_connection_lost_while_another_client_opens_the_file() {
    const PIECE: usize = 100_000;
    const PIECES: usize = 30;
    const ROUNDS: u64 = 12;
    let (line, other) = line_and_mount();
    let (mut chance, mut confirmed) = (Chance::new(0), 0);
    for round in 0..ROUNDS {
        let (name, data) = (format!("file {round}"), noise(round, PIECES * PIECE));
        let (synced, written) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let cut = 1 + chance.below(PIECES - 1);
        let opened = if round % 3 > 0 { cut } else { 1 + chance.below(PIECES - 1) };
        line.proxy.delay(Duration::from_millis(chance.below(4) as u64));
        let reach = |pieces: usize| wait_until(SOON, || written.load(Ordering::SeqCst) >= pieces);
        let outcome = thread::scope(|scope| {
            let writer = scope.spawn(|| -> io::Result<()> {
                let file = File::create_new(line.here(&name))?;
                let mut outcome = Ok(());
                for (index, piece) in data.chunks(PIECE).enumerate() {
                    outcome = outcome.and(file.write_all_at(piece, (index * PIECE) as u64));
                    if index == PIECES / 3 {
                        outcome = outcome.and(file.sync_all());
                        synced.store(if outcome.is_ok() { (index + 1) * PIECE } else { 0 }, Ordering::SeqCst);
                    }
                    written.store(index + 1, Ordering::SeqCst);
                }
                if round % 2 == 0 {
                    outcome = outcome.and(file.sync_all());
                }
                outcome.and(nix::unistd::close(file).map_err(io::Error::from))
            });
            scope.spawn(|| {
                assert!(reach(opened) && wait_until(SOON, || other.join(&name).exists()));
                let least = synced.load(Ordering::SeqCst);
                let found = fs::read(other.join(&name)).unwrap();
                assert!(found.get(..least) == Some(&data[..least]), "{name}: the synced data is not read");
            });
            assert!(reach(cut));
            line.proxy.cut();
            writer.join().unwrap()
        });
        let (there, synced) = (fs::read(line.there(&name)).unwrap(), synced.into_inner());
        assert!(there.get(..synced) == Some(&data[..synced]), "{name}: the synced data is not on the server");
        assert!(outcome.is_err() || there == data, "{name}: data was lost without an error");
        confirmed += u64::from(there == data);
    }
    assert!(confirmed >= ROUNDS / 2, "only {confirmed} of {ROUNDS} files are complete on the server");
    other.unmount();
    line.mount.unmount();
}

/// As a computer that was suspended. smbd waits 35 s for it, and then goes on.
#[test]
fn a_file_of_a_client_that_does_not_answer_can_be_opened_after_a_while() {
    const FOR_LONG: Duration = Duration::from_secs(100);
    let scene = Scene::with(Kind::Smbd, |request| request.for_at_most(FOR_LONG));
    let other = Request::new(scene.url()).for_at_most(FOR_LONG).mount();
    let file = File::create(scene.here("file")).unwrap();
    file.write_all_at(b"dirty", 0).unwrap();
    scene.mount.signal(Signal::STOP);
    let read = fs::read(other.join("file"));
    scene.mount.signal(Signal::CONT);
    assert!(b"dirty".starts_with(&read.unwrap()));
    file.sync_all().unwrap();
    drop(file);
    assert!(wait_until(SOON, || fs::read(other.join("file")).unwrap() == b"dirty"));
    other.unmount();
    scene.mount.unmount();
}

/// After a read, this mount keeps the file open at the server for a while. Other clients must not notice.
#[test]
fn another_client_can_delete_or_rename_a_file_at_once_after_it_was_read_here() {
    let scene = Scene::with(Kind::Smbd, |request| request.for_at_most(LIMIT));
    let folder = scene.folder.file_name().unwrap().to_str().unwrap();
    for round in 0..3 {
        for command in ["del", "rename"] {
            let (name, data) = (format!("{command} {round}"), noise(round, 10_000));
            fs::write(scene.there(&name), &data).unwrap();
            assert!(wait_until(SOON, || fs::read(scene.here(&name)).is_ok_and(|read| read == data)));
            let (from, to) = (format!("\"{folder}/{name}\""), format!("\"{folder}/{name} new\""));
            let line = if command == "del" { format!("del {from}") } else { format!("rename {from} {to}") };
            let begun = Instant::now();
            smbclient(scene.server.port(), &line);
            assert!(begun.elapsed() < SOON && !scene.there(&name).exists(), "{line}");
            assert!(wait_until(SOON, || !scene.here(&name).exists()), "{line}");
            let is_renamed = || fs::read(scene.here(format!("{name} new"))).is_ok_and(|read| read == data);
            assert!(command == "del" || wait_until(SOON, is_renamed));
        }
    }
    scene.mount.unmount();
}
